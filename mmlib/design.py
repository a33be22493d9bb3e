"""From a formula and a DataFrame to the arrays of the model, with every row accounted for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from formulaic.errors import FormulaicError
from numpy.typing import ArrayLike

from mmlib.checks import as_response, require_columns, require_frame
from mmlib.errors import DataError, FormulaError, RankError
from mmlib.formula import (
    MixedFormula,
    RandomPart,
    columns_used,
    parse_formula,
    parse_with_formulaic,
)
from mmlib.terms import FloatArray, RandomTerm, check_identifiable, group_codes

ALIAS_TOLERANCE = 1e-7
"""A column is aliased when less than this share of it is left after the columns before it (R's)."""

MAX_DENSE_BYTES = 2**30


@dataclass(frozen=True, eq=False)
class Design:
    """The arrays of a linear mixed model, ``y = Xβ + Zb + ε``.

    Attributes
    ----------
    formula : MixedFormula
    y : ndarray, shape (n,)
        The response as the formula has it; the offset is still in it.
    X : ndarray, shape (n, p)
        Model matrix of the fixed effects, of full column rank.
    fixed_names : tuple of str
        Names of the columns of `X`.
    aliased : tuple of str
        Columns that were left out because they depend on the columns before them.
    terms : tuple of RandomTerm
        The random terms, those with most levels first (lme4's order).
    weights, offset : ndarray, shape (n,), or None
        Prior weights (residual variance σ²/w) and a known part of the mean.
    offset_column : str or None
        The column that the offset was taken from.
    index : Index, length n
        Labels of the rows used.
    n_missing : int
        Rows left out because a value is missing.
    """

    formula: MixedFormula
    y: FloatArray
    X: FloatArray
    fixed_names: tuple[str, ...]
    aliased: tuple[str, ...]
    terms: tuple[RandomTerm, ...]
    weights: FloatArray | None
    offset: FloatArray | None
    offset_column: str | None
    index: pd.Index
    n_missing: int
    _spec: Any = field(repr=False)
    _kept: FloatArray = field(repr=False)

    @property
    def n(self) -> int:
        """Number of rows used."""
        return len(self.y)

    @property
    def p(self) -> int:
        """Number of fixed effects."""
        return len(self.fixed_names)

    def fixed_matrix(self, data: pd.DataFrame) -> FloatArray:
        """Model matrix of the fixed effects for new data, coded as the fit coded its own."""
        return _evaluate(self._spec, data)[0][:, self._kept]


def build_design(
    formula: str | MixedFormula,
    data: pd.DataFrame,
    *,
    weights: str | ArrayLike | None = None,
    offset: str | ArrayLike | None = None,
) -> Design:
    """Evaluate a formula on data.

    Rows with a missing value in a column that the model uses are left out and counted; the
    caller's data are never changed.

    Parameters
    ----------
    formula : str or MixedFormula
    data : DataFrame
    weights, offset : column name or array, shape (rows of `data`,), optional

    Returns
    -------
    Design

    Raises
    ------
    FormulaError, DataError, RankError
        If the formula cannot be evaluated, a column cannot be used, or the design cannot identify
        the parameters; the message names the culprit.

    Examples
    --------
    >>> import mmlib as mm
    >>> design = build_design("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    >>> design.X.shape, design.terms[0].Z.shape
    ((20, 1), (20, 4))
    """
    if not isinstance(formula, MixedFormula):
        formula = parse_formula(formula)
    require_frame(data)
    fixed = parse_with_formulaic(formula.fixed)
    response = parse_with_formulaic(f"0 + {formula.response}")
    varying = {part.expr: parse_with_formulaic(part.expr) for part in formula.random}
    grouping = {name for part in formula.random for name in part.factors}
    expressions = [response, fixed, *varying.values()]
    used = grouping.union(*(columns_used(e, data.columns) for e in expressions))
    require_columns(data, sorted(used))

    extra = {
        "weights": _numbers("weights", weights, data),
        "offset": _numbers("offset", offset, data),
    }
    frame = data[[name for name in data.columns if name in used]]
    complete = frame.notna().to_numpy().all(axis=1)
    for values in extra.values():
        if values is not None:
            complete &= ~np.isnan(values)
    if not complete.any():
        missing = [name for name in frame.columns if frame[name].isna().any()]
        raise DataError(f"every row has a missing value; look at {', '.join(map(str, missing))}.")
    if not complete.all():
        frame = frame.iloc[np.flatnonzero(complete)]
        extra = {name: v if v is None else v[complete] for name, v in extra.items()}
    frame = _usable_factors(frame)
    for expression in (fixed, *varying.values()):
        _refuse_huge_factors(frame, columns_used(expression, frame.columns))

    y = _response(response, frame, formula.response)
    X, names, spec = _model_matrix(fixed, frame, "fixed part", formula.fixed)
    kept = _independent_columns(X, extra["weights"])
    terms = [_random_term(part, varying[part.expr], frame) for part in formula.random]
    terms.sort(key=lambda term: -term.n_levels)
    design = Design(
        formula=formula,
        y=y,
        X=X if kept.all() else X[:, kept],
        fixed_names=tuple(name for name, keep in zip(names, kept, strict=True) if keep),
        aliased=tuple(name for name, keep in zip(names, kept, strict=True) if not keep),
        terms=tuple(terms),
        weights=_positive(extra["weights"]),
        offset=extra["offset"],
        offset_column=offset if isinstance(offset, str) else None,
        index=frame.index,
        n_missing=len(data) - len(frame),
        _spec=spec,
        _kept=kept,
    )
    if design.n <= design.p:
        raise RankError(
            f"{design.p} fixed effects for {design.n} rows leave nothing to estimate σ from; "
            "use fewer terms or more data."
        )
    return design


def _numbers(argument: str, values: Any, data: pd.DataFrame) -> FloatArray | None:
    """The `weights` or `offset` argument as floats, one for each row of `data`."""
    if values is None:
        return None
    if isinstance(values, str):
        require_columns(data, [values])
        argument, values = f"{argument} column {values!r}", data[values]
    try:
        numbers = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise DataError(f"{argument} must be numbers.") from None
    if numbers.shape != (len(data),):
        raise DataError(
            f"{argument} must have one number for each of the {len(data)} rows of data; "
            f"it has shape {numbers.shape}."
        )
    if np.isinf(numbers).any():
        raise DataError(f"{argument} has infinite values; correct them or drop these rows.")
    return numbers


def _positive(weights: FloatArray | None) -> FloatArray | None:
    if weights is not None and (weights <= 0).any():
        raise DataError(
            f"weights must be positive, but {np.count_nonzero(weights <= 0)} are zero or negative; "
            "drop the rows that should not count."
        )
    return weights


def _usable_factors(frame: pd.DataFrame) -> pd.DataFrame:
    """Drop unused levels, and refuse object columns that hold anything but text."""
    for name in frame.columns:
        column = frame[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            trimmed = column.cat.remove_unused_categories()
            if len(trimmed.cat.categories) < len(column.cat.categories):
                frame = frame.assign(**{name: trimmed})
        elif column.dtype == object and not column.map(lambda value: isinstance(value, str)).all():
            raise DataError(
                f"column {name!r} holds Python objects that are not all text; convert it to "
                "numbers with pandas.to_numeric or to a category with astype('category')."
            )
    return frame


def _refuse_huge_factors(frame: pd.DataFrame, names: Iterable[str]) -> None:
    for name in names:
        if pd.api.types.is_numeric_dtype(frame[name]):
            continue
        n_levels = frame[name].nunique()
        if n_levels * len(frame) * 8 > MAX_DENSE_BYTES:
            raise DataError(
                f"column {name!r} has {n_levels} levels: coded as a factor it would need a dense "
                f"matrix of {len(frame)} × {n_levels}; use it as a grouping, (1 | {name}), or "
                "convert it to numbers."
            )


def _response(expression: Any, frame: pd.DataFrame, text: str) -> FloatArray:
    values, names, _ = _model_matrix(expression, frame, "response", text)
    if values.shape[1] != 1:
        raise DataError(
            f"the response {text!r} must be one numeric column, but gives {len(names)}: "
            f"{', '.join(names[:4])}."
        )
    return as_response(pd.Series(values[:, 0], name=text))


def _random_term(part: RandomPart, expression: Any, frame: pd.DataFrame) -> RandomTerm:
    values, names, spec = _model_matrix(expression, frame, "random term", str(part))
    codes, levels = group_codes(frame, part.factors)
    term = RandomTerm(part, names, levels, codes, values, spec)
    check_identifiable(term)
    return term


def _model_matrix(
    expression: Any, frame: pd.DataFrame, role: str, text: str
) -> tuple[FloatArray, tuple[str, ...], Any]:
    """Values, column names and reusable specification of one expression; all values finite."""
    values, spec = _evaluate(expression, frame)
    names = tuple(spec.column_names)
    if not np.isfinite(values).all():
        bad = [
            name
            for name, column in zip(names, values.T, strict=True)
            if not np.isfinite(column).all()
        ]
        raise DataError(
            f"{', '.join(bad)} in the {role} {text!r} has infinite or undefined values; "
            "look at the data or the transformation."
        )
    return values, names, spec


def _evaluate(expression: Any, frame: pd.DataFrame) -> tuple[FloatArray, Any]:
    """Evaluate a formulaic formula or specification with no names but the columns' own."""
    try:
        with np.errstate(all="ignore"):
            matrix = expression.get_model_matrix(
                frame, context={}, output="numpy", na_action="ignore"
            )
    except FormulaicError as error:
        reason = str(error).split("[", 1)[-1].rstrip("]")
        hint = " (a power is written **)" if "xor" in reason or "^" in str(error) else ""
        raise FormulaError(f"Cannot evaluate {expression}: {reason}{hint}") from None
    values = np.asarray(matrix, dtype=float).reshape(len(frame), -1)
    return values, matrix.model_spec


def _independent_columns(X: FloatArray, weights: FloatArray | None) -> np.ndarray:
    """Mark the columns that do not depend on those before them, as R's ``lm`` does."""
    if weights is not None:
        X = X * np.sqrt(weights)[:, None]
    kept = np.ones(X.shape[1], dtype=bool)
    norms = np.linalg.norm(X, axis=0)
    while True:
        columns = np.flatnonzero(kept)[: X.shape[0]]
        left = np.abs(np.diag(np.linalg.qr(X[:, columns], mode="r")))
        dependent = columns[left <= ALIAS_TOLERANCE * norms[columns]]
        if not len(dependent):
            kept[np.flatnonzero(kept)[X.shape[0] :]] = False
            return kept
        kept[dependent[0]] = False
