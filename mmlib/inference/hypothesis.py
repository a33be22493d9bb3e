"""Hypotheses about fixed effects, Lβ = β_H, from a matrix, a formula or the name of a term."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from formulaic.errors import FormulaicError
from formulaic.utils.constraints import LinearConstraints
from numpy.typing import ArrayLike

from mmlib.arrays import FloatArray
from mmlib.design.checks import did_you_mean, require_fit
from mmlib.design.design import FixedTerm
from mmlib.design.names import alias, name_of, quoted, split_at_colons, unquoted
from mmlib.errors import DataError, FormulaError, RankError
from mmlib.frozen import read_only
from mmlib.inference.term_hypotheses import contains, term_hypotheses
from mmlib.results.estimates import Fit

_QUOTED = "`(?:[^`]|``)+`"

DEPENDENT = 1e-9
"""A row depends on those before it when less than this share of it is left after them."""


class _Equations(NamedTuple):
    L: FloatArray
    rhs: FloatArray
    description: str


class Hypothesis(_Equations):
    """The hypothesis Lβ = rhs.

    Attributes
    ----------
    L : ndarray, shape (h, p)
        One row for each equation, linearly independent.
    rhs : ndarray, shape (h,)
        The right-hand sides.
    description : str
        The equations in words.
    """

    __slots__ = ()

    def __new__(cls, L: FloatArray, rhs: FloatArray, description: str) -> Self:
        """Take what cannot be written to."""
        return super().__new__(cls, read_only(L), read_only(rhs), description)

    @classmethod
    def _make(cls, iterable: Iterable[Any]) -> Hypothesis:  # type: ignore[override]
        return cls(*iterable)  # which `_replace` calls


def hypothesis_matrix(
    fit: Fit,
    L: str | Sequence[str] | ArrayLike,
    *,
    rhs: ArrayLike | None = None,
) -> Hypothesis:
    """Read a hypothesis about the fixed effects.

    Parameters
    ----------
    fit : LMMResult
    L : str, sequence of str, array of shape (p,) or (h, p), or Hypothesis
        The name of a term of the fixed part (``"treat"``, ``"A:B"``): what `mmlib.anova` tests,
        that all its coefficients are 0 or, if the term is also in an interaction, that its effects
        averaged over the levels there are 0 (type III; its coefficients if that interaction is
        named too). Equations in the coefficients, separated by commas (``"treat[T.B] =
        treat[T.C]"``, ``"2*x - 3 = z"``; without ``=`` the expression is 0); several such texts; or
        the matrix. A `Hypothesis` is returned as it is.
    rhs : float or array, shape (h,), optional
        Right-hand sides β_H for a matrix, by default 0. Equations carry their own.

    Returns
    -------
    Hypothesis
        A tuple ``(L, rhs, description)``.

    Raises
    ------
    FormulaError
        If a text names no term and is no equation in the coefficients; the message offers similar
        names.
    DataError
        If a matrix has the wrong shape, or values that are not finite numbers.
    RankError
        If an equation follows from the ones before it, or is empty.

    Examples
    --------
    >>> import mmlib as mm
    >>> fit = mm.lmm("yield ~ treat + (1 | blend)", mm.load_dataset("penicillin"))
    >>> mm.hypothesis_matrix(fit, "treat[T.B] = treat[T.C]").L
    array([[ 0.,  1., -1.,  0.]])
    >>> mm.hypothesis_matrix(fit, "treat").description
    'treat[T.B] = 0, treat[T.C] = 0, treat[T.D] = 0'
    """
    require_fit(fit)
    if isinstance(L, Hypothesis):
        return L
    names = fit.design.fixed_names
    if not names:
        raise DataError("the fit has no fixed effects, so there is no hypothesis about them.")
    texts = _texts(L)
    if texts is None:
        matrix, values = _from_matrix(L, rhs, names)
    elif rhs is not None:
        raise DataError("rhs goes with a matrix L; write it into the equation: 'x = 3'.")
    else:
        named = {text: find_term(fit, text) for text in texts}
        parts = [_from_text(fit, text, named) for text in texts]
        matrix = np.vstack([part for part, _ in parts])
        values = np.concatenate([part for _, part in parts])
    _require_independent(matrix, values, names)
    return Hypothesis(matrix, values, _describe(matrix, values, names))


def find_term(fit: Fit, name: str) -> FixedTerm | None:
    """The term of the fixed part called `name`.

    The order in a product is left open, and so is the coding: ``"treat"`` finds
    ``C(treat, contr.sum)``.
    """
    for wrap in (str, quoted):
        for term in fit.design.fixed_terms:
            if name == wrap(term.name):
                return term
    wanted = _parts(name)
    for spelling in (str, _uncoded):
        found = [
            term
            for term in fit.design.fixed_terms
            if sorted(map(spelling, _parts(term.name))) == wanted
        ]
        if len(found) == 1:
            return found[0]
    return None


def _parts(name: str) -> list[str]:
    """The factors of a product, without spaces, in one order."""
    return sorted(split_at_colons(_closed_up(name)))


def _uncoded(factor: str) -> str:
    """The column in ``C(column, ...)``."""
    coded = re.fullmatch(r"C\((`(?:[^`]|``)+`|[^,()]+)(,.*)?\)", factor)
    return unquoted(coded[1]) if coded else factor


def _closed_up(text: str) -> str:
    """`text` without spaces: formulaic writes ``I(x ** 2)`` for ``I(x**2)``."""
    return re.sub(r"\s", "", text)


def _texts(L: object) -> list[str] | None:
    """The texts that L consists of, or None if it is a matrix."""
    if isinstance(L, str):
        return [L]
    if isinstance(L, Sequence) and len(L) and all(isinstance(item, str) for item in L):
        return list(L)
    return None


def _from_matrix(
    L: ArrayLike, rhs: ArrayLike | None, names: Sequence[str]
) -> tuple[FloatArray, FloatArray]:
    matrix = np.atleast_2d(_numbers("L", L))
    if matrix.ndim != 2 or matrix.shape[1] != len(names) or not len(matrix):
        raise DataError(
            f"L must have one column for each of the {len(names)} fixed effects "
            f"({', '.join(names)}) and at least one row; its shape is {matrix.shape}."
        )
    values = _numbers("rhs", 0.0 if rhs is None else rhs)
    if values.shape not in ((), (len(matrix),)):
        raise DataError(
            f"rhs must have one value for each of the {len(matrix)} row(s) of L; "
            f"its shape is {values.shape}."
        )
    return matrix, np.broadcast_to(values, len(matrix)).copy()


def _numbers(argument: str, values: ArrayLike) -> FloatArray:
    try:
        if values is None or np.iscomplexobj(values):
            raise TypeError
        numbers = np.array(values, dtype=float)
    except (TypeError, ValueError):
        raise DataError(
            f"{argument} must be numbers, the name of a term or an equation, not {values!r}."
        ) from None
    if not np.isfinite(numbers).all():
        raise DataError(f"{argument} has missing or infinite values; correct them.")
    return numbers


def _from_text(
    fit: Fit, text: str, named: Mapping[str, FixedTerm | None]
) -> tuple[FloatArray, FloatArray]:
    """The rows of one text; `named` has all of them, with the terms that they name."""
    names = fit.design.fixed_names
    term = named[text]
    if term is None:
        return _from_equations(fit, text)
    if not term.columns:
        raise RankError(
            f"the columns of {text!r} were left out of the fit because they depend on others: "
            "there is nothing to test."
        )
    L = np.eye(len(names))[list(term.columns)]
    others = [each for each in fit.design.fixed_terms if each.columns]
    if any(contains(each, term) and each not in named.values() for each in others):
        if term.name == "1":
            raise FormulaError(
                f"{text!r} is the intercept, the mean at the reference levels: write "
                "'Intercept = 0' to test it, or emmeans(fit, '1') for the mean over all levels."
            )
        L = term_hypotheses(fit.design, type=3)[term.name]
    return L, np.zeros(len(L))


def _from_equations(fit: Fit, text: str) -> tuple[FloatArray, FloatArray]:
    design = fit.design
    example = f"'{design.fixed_names[-1]} = 0'"
    try:
        equations = LinearConstraints.from_spec(
            _with_aliases(text, design.all_names), variable_names=[*map(alias, design.all_names)]
        )
    except KeyError as error:
        unknown = name_of(str(error.args[0]))
        known = [*design.all_names, *(t.name for t in design.fixed_terms if t.name != "1")]
        raise FormulaError(
            f"{text!r}: the fit has no term or coefficient {unknown!r}."
            f"{did_you_mean(unknown, known)} Its coefficients are {', '.join(design.fixed_names)}."
        ) from None
    except (FormulaicError, ArithmeticError, RuntimeError, ValueError, TypeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "no equation"
        raise FormulaError(
            f"cannot read {text!r} as a linear hypothesis ({name_of(reason)}); write it as "
            f"{example}."
        ) from None
    matrix = np.atleast_2d(np.asarray(equations.constraint_matrix, dtype=float))
    if not matrix.size:
        raise FormulaError(f"cannot read {text!r}: write an equation such as {example}.")
    for name, column in zip(design.all_names, matrix.T, strict=True):
        if name in design.aliased and column.any():
            raise RankError(
                f"the coefficient {name!r} was left out of the fit because its column depends on "
                "others: it cannot be tested."
            )
    kept = [name not in design.aliased for name in design.all_names]
    return matrix[:, kept], np.asarray(equations.constraint_values, dtype=float).reshape(-1)


def _with_aliases(text: str, names: Sequence[str]) -> str:
    """Put aliases for the coefficients' names, which may hold signs of their own."""
    by_text: dict[str, list[str]] = {}
    for name in names:
        by_text.setdefault(_closed_up(name), []).append(name)
    longest = sorted(filter(None, by_text), key=len, reverse=True)
    spaced = [r"\s*".join(map(re.escape, text)) for text in longest]
    known = [rf"(?<![\w.\]:])(?:{text})(?![\w\[(:.])" for text in spaced]
    longer = [k for k, text in zip(known, longest, strict=True) if re.match(_QUOTED + ".", text)]
    pattern = "|".join([*longer, _QUOTED, *known])

    def as_alias(match: re.Match[str]) -> str:
        for written in (match[0], unquoted(match[0])):
            same = [written] if written in names else by_text.get(_closed_up(written), [])
            if len(same) == 1:
                return alias(same[0])
        return alias(unquoted(match[0]))

    return re.sub(pattern, as_alias, text)


def _require_independent(L: FloatArray, rhs: FloatArray, names: Sequence[str]) -> None:
    dependent = set(range(len(L))) - set(independent_rows(L))
    if dependent:
        row = min(dependent)
        equation = _describe(L[[row]], rhs[[row]], names)
        what = "follows from or contradicts those before it" if L[row].any() else "is empty"
        raise RankError(f"row {row + 1} of L ({equation}) {what}; leave it out.")


def independent_rows(L: FloatArray) -> list[int]:
    """The rows that do not depend on those before them."""
    basis = np.zeros((0, L.shape[1]))
    chosen = []
    for place, row in enumerate(L):
        left = row - (row @ basis.T) @ basis
        left -= (left @ basis.T) @ basis
        length = float(np.linalg.norm(left))
        if length > DEPENDENT * max(float(np.linalg.norm(row)), DEPENDENT):
            basis = np.vstack([basis, left / length])
            chosen.append(place)
    return chosen


def _describe(L: FloatArray, rhs: FloatArray, names: Sequence[str]) -> str:
    return ", ".join(
        f"{_combination(row, names)} = {value:g}" for row, value in zip(L, rhs, strict=True)
    )


def _combination(row: FloatArray, names: Sequence[str]) -> str:
    """A linear combination of coefficients as text, such as ``a - 2*b``."""
    text = ""
    for weight, name in zip(row, names, strict=True):
        if weight:
            factor = "" if abs(weight) == 1 else f"{abs(weight):g}*"
            sign = "-" if weight < 0 else "+"
            text += f" {sign} {factor}{name}" if text else f"{sign.strip('+')}{factor}{name}"
    return text or "0"
