"""Evaluate a formula that formulaic has parsed: our columns and our language, its coding."""

from __future__ import annotations

import ast
import math
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from formulaic import Formula, ModelSpec
from formulaic.errors import DataMismatchWarning, FormulaicError
from formulaic.materializers import PandasMaterializer
from formulaic.utils.stateful_transforms import stateful_eval
from interface_meta import override

from mmlib.arrays import FloatArray
from mmlib.design.checks import MAX_VALUE
from mmlib.design.columns import as_factor, for_computing, kind_of
from mmlib.design.language import ENVIRONMENT, Code, as_typed, read_code
from mmlib.design.names import alias, as_written, name_of, shown
from mmlib.errors import DataError, FormulaError

ALIAS_TOLERANCE = 1e-7
"""A column is aliased when less than this share of it is left after the columns before it (R's)."""

SINGULAR = 1e-14
"""Columns of length 1 with a smaller share between their singular values depend on each other."""

MAX_DENSE_BYTES = 2**30

_FACTOR_FAILED = re.compile(r"Unable to evaluate factor `(.*)`\. \[(.*)\]$", re.DOTALL)
"""What formulaic says of a factor that fails."""

_OWN_CONTRASTS = re.compile(r"contr\.custom|C\([^,]*,\s*(contrasts\s*=\s*)?[\[({\d'\"]")


class _Materializer(PandasMaterializer):  # type: ignore[misc]
    """Formulaic's own, but for what a name and a Python expression stand for."""

    REGISTER_NAME = "mmlib"
    REGISTER_INPUTS = ()
    REGISTER_PRECEDENCE = -1.0

    @override
    def _lookup(self, name: str) -> tuple[Any, set[str]]:
        return as_factor(for_computing(self.data[name_of(name)])), set()

    @override
    def _evaluate(self, expr: str, metadata: Any, spec: ModelSpec) -> tuple[Any, set[str]]:
        code = read_code(expr)
        names = dict(ENVIRONMENT)
        for name in code.columns:
            column = self.data[name]
            names[alias(name)] = column if name in code.labels else for_computing(column)
        try:
            value = stateful_eval(code.text, names, {expr: metadata}, spec.transform_state, spec)
        except (ValueError, FormulaicError):
            _refuse_outside(code.text, names, spec)
            raise
        return as_factor(value), set()


def _refuse_outside(text: str, names: dict[str, Any], spec: ModelSpec) -> None:
    """Say which value lies outside the range of a spline, where one does."""
    for call, state in spec.transform_state.items():
        if call in text and "lower_bound" in state:
            node: Any = ast.parse(call, mode="eval").body
            argument = ast.unparse(node.args[0])
            values = stateful_eval(argument, names, {}, spec.transform_state, spec)
            low, high = state["lower_bound"], state["upper_bound"]
            outside = np.asarray(values)[(np.asarray(values) < low) | (np.asarray(values) > high)]
            if len(outside):
                value = f"{as_typed(argument)} = {outside[0]:g}"
                raise DataError(
                    f"{value} lies outside {low:g}…{high:g}, the range of the fit: the spline is "
                    "not known there; leave such rows out."
                )


def model_matrix(
    expression: Any, frame: pd.DataFrame, role: str, text: str
) -> tuple[FloatArray, tuple[str, ...], Any]:
    """Values, column names and reusable specification of one expression; all values usable."""
    _refuse_huge_factors(expression, frame)
    values, spec = evaluate(expression, frame)
    _refuse_one_level(spec, text)
    names = shown(spec.column_names)
    largest = np.abs(values).max(axis=0, initial=0.0)
    too_large = ~(largest < MAX_VALUE)
    too_small = (largest > 0) & (largest < 1 / MAX_VALUE)
    for unusable, what in (
        (too_large, f"infinite, undefined or too large values (beyond {MAX_VALUE:g})"),
        (too_small, f"too small values (all below {1 / MAX_VALUE:g})"),
    ):
        if unusable.any():
            bad = ", ".join(names[column] for column in np.flatnonzero(unusable))
            raise DataError(
                f"{bad} in the {role} {text!r} has {what}; look at the data, the transformation or "
                "the units."
            )
    return values, names, spec


def _refuse_huge_factors(expression: Any, frame: pd.DataFrame) -> None:
    """Refuse a term whose levels, or combinations of levels, would fill the memory as columns."""
    for term in expression:
        levels: dict[str, int] = {}
        for _, code in factors_of([term]):
            for name in code.columns:
                if name in code.labels or kind_of(frame[name]) == "a factor":
                    levels[name] = frame[name].nunique()
        n_columns = math.prod(levels.values())
        if n_columns * len(frame) * 8 > MAX_DENSE_BYTES:
            counts = " and ".join(f"{name!r} ({count} levels)" for name, count in levels.items())
            raise DataError(
                f"column {counts} in the term {str(term)!r}: coded as factors they would need a "
                f"dense matrix of {len(frame)} × {n_columns}; use a grouping such as "
                f"(1 | {':'.join(levels)}), or convert them to numbers."
            )


def _refuse_one_level(spec: Any, text: str) -> None:
    """Refuse a factor with one level, whose column the coding would leave out in silence."""
    for code, (_, state) in spec.encoder_state.items():
        if len(levels := state.get("categories", "ab")) < 2:
            name, only = as_written(code), levels[0] if len(levels) else "none"
            raise DataError(
                f"{name} in {text!r} is a factor with one level ({str(only)!r}) in the rows of the "
                "fit: there is nothing to compare; leave it out."
            )


def independent_columns(
    X: FloatArray, weights: FloatArray | None = None, *, tolerance: float = ALIAS_TOLERANCE
) -> np.ndarray:
    """Mark the columns that do not depend on those before them, as R's ``lm`` does.

    Each of many columns may leave a little more than the tolerance, and all together nothing but
    rounding, as splines with more columns than there are values do: then the tolerance rises.
    """
    if weights is not None:
        X = X * np.sqrt(weights)[:, None]
    while True:
        kept, sizes = _independent(X, tolerance)
        if not len(sizes) or sizes[-1] > SINGULAR * sizes[0]:
            return kept
        tolerance *= 10


def _independent(X: FloatArray, tolerance: float) -> tuple[np.ndarray, FloatArray]:
    """The columns that leave more than the tolerance, and their singular values at length 1."""
    kept = np.ones(X.shape[1], dtype=bool)
    norms = np.linalg.norm(X, axis=0)
    while True:
        columns = np.flatnonzero(kept)[: X.shape[0]]
        R = np.linalg.qr(X[:, columns], mode="r")
        dependent = columns[np.abs(np.diag(R)) <= tolerance * norms[columns]]
        if not len(dependent):
            kept[np.flatnonzero(kept)[X.shape[0] :]] = False
            return kept, np.linalg.svd(R / norms[columns], compute_uv=False)
        kept[dependent[0]] = False


def evaluate(expression: Any, frame: pd.DataFrame) -> tuple[FloatArray, ModelSpec]:
    """Evaluate a formulaic formula or specification on usable columns.

    Raises
    ------
    FormulaError
        If the expression fails.
    DataError
        If new data have a level, or a value, that the specification does not know.
    """
    if not isinstance(expression, ModelSpec):
        products = _products(tuple(expression))
        if products is not None and all(frame[n].dtype.kind in "iuf" for n in products.names):
            return products.of(frame), products.spec
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("error", DataMismatchWarning)
            matrix = _materialized(expression, frame)
            values = np.asarray(matrix, dtype=float)
    except DataMismatchWarning:
        if not isinstance(expression, ModelSpec):
            text = as_written(str(expression))
            raise FormulaError(f"{text} leaves levels of the data out of levels=.") from None
        raise DataError(_unseen_levels(expression, frame)) from None
    except (FormulaicError, LookupError, TypeError, ValueError, NotImplementedError) as error:
        if isinstance(error.__cause__, (FormulaError, DataError)):
            raise error.__cause__ from None
        raise FormulaError(_failure(expression, frame, error)) from None
    return values.reshape(len(frame), -1), matrix.model_spec


def _failure(expression: Any, frame: pd.DataFrame, error: Exception) -> str:
    """What could not be evaluated, and why."""
    text, reason = as_written(str(expression)), as_written(str(error)).rstrip(".")
    if failed := _FACTOR_FAILED.match(reason):
        text, reason = failed[1], failed[2].rstrip(".")
    reason += "; correct what it is given, or compute the column first"
    if _OWN_CONTRASTS.search(text):
        reason = (
            "contrasts of one's own are numbers and have a row for each level, "
            "as [[1], [-1]] for two"
        )
    terms = expression.formula if isinstance(expression, ModelSpec) else expression
    for factor, code in factors_of(terms):
        labels = sorted(n for n in code.columns - code.labels if kind_of(frame[n]) == "a factor")
        if as_written(factor) == text and labels and "isin" not in text:
            reason = f"{labels[0]!r} is a factor, and this needs numbers"
    return f"cannot evaluate {text}: {reason}."


def _materialized(expression: Any, frame: pd.DataFrame) -> Any:
    return _Materializer(frame).get_model_matrix(expression, output="numpy", na_action="ignore")


@dataclass(frozen=True, eq=False)
class _Products:
    """An expression that only multiplies columns: where they hold numbers, one column a term.

    Its specification is the same for all such data, so that formulaic, which takes as long as the
    fit of a small data set, is asked once.
    """

    factors: tuple[tuple[str, ...], ...]
    names: frozenset[str]
    spec: ModelSpec

    def of(self, frame: pd.DataFrame) -> FloatArray:
        columns = {name: frame[name].to_numpy(dtype=float) for name in self.names}
        matrix = np.ones((len(frame), len(self.factors)))
        with np.errstate(all="ignore"):
            for column, factors in zip(matrix.T, self.factors, strict=True):
                for name in factors:
                    column *= columns[name]
        return matrix


@lru_cache(maxsize=256)
def _products(terms: tuple[Any, ...]) -> _Products | None:
    """The terms, if all that they do is to multiply columns."""
    factors = [[f for f in term.factors if f.expr != "1"] for term in terms]
    if not terms or any(f.eval_method.value != "lookup" for each in factors for f in each):
        return None
    by_term = tuple(tuple(name_of(f.expr) for f in each) for each in factors)
    names = frozenset(name for each in by_term for name in each)
    row = pd.DataFrame(1.0, index=[0], columns=list(names))
    spec = _materialized(Formula(list(terms), _ordering="none"), row).model_spec
    return _Products(by_term, names, spec)


def factors_of(expression: Iterable[Any]) -> Iterator[tuple[str, Code]]:
    """The factors of a parsed expression, and what each takes from the data.

    (formulaic's ``required_variables`` forgets the columns inside ``poly()`` and its like, forgets
    those that are called like one of its functions, and cuts names at a dot.)
    """
    for factor in (factor for term in expression for factor in term.factors):
        if factor.eval_method.value == "lookup":
            name = name_of(factor.expr)
            yield factor.expr, Code(name, frozenset([name]), frozenset())
        elif factor.eval_method.value == "python":
            yield factor.expr, read_code(factor.expr)


def _unseen_levels(spec: ModelSpec, frame: pd.DataFrame) -> str:
    """What is wrong with new data that have levels of a factor which the fit has not."""
    for factor, code in factors_of(spec.formula):
        known = spec.encoder_state.get(factor, (None, {}))[1].get("categories", ())
        for name in code.columns:
            unseen = [str(level) for level in frame[name].unique() if level not in known]
            if len(known) and unseen:
                return (
                    f"column {name!r} of the new data has level(s) the fit has not seen: "
                    f"{', '.join(unseen[:3])}; it has estimates for "
                    f"{', '.join(map(str, known[:12]))} only."
                )
    return "the new data have levels of a factor that the fit has not seen."
