"""From a formula and a DataFrame to the arrays of the model, with every row accounted for."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from formulaic import ModelSpec
from formulaic.errors import DataMismatchWarning, FormulaicError
from numpy.typing import ArrayLike

from mmlib.arrays import FloatArray
from mmlib.design.checks import (
    as_numbers,
    as_response,
    require_columns,
    require_frame,
    require_own_rows,
    require_positive,
)
from mmlib.design.formula import (
    MixedFormula,
    RandomPart,
    columns_used,
    factors_of,
    parse_formula,
    parse_with_formulaic,
)
from mmlib.design.terms import RandomTerm, check_identifiable, group_codes, refuse_same_effects
from mmlib.errors import DataError, FormulaError, RankError
from mmlib.frozen import Frozen, gives_copies, read_only

ALIAS_TOLERANCE = 1e-7
"""A column is aliased when less than this share of it is left after the columns before it (R's)."""

MAX_DENSE_BYTES = 2**30
MAX_VALUE = 1e100
"""Numbers beyond this overflow when they are squared and summed."""


@dataclass(frozen=True)
class FixedTerm:
    """One term of the fixed part, such as ``x``, ``A:B`` or the intercept.

    Attributes
    ----------
    name : str
        As formulaic writes it; ``"1"`` is the intercept.
    columns : tuple of int
        Its columns in `Design.X`; none if all of them are aliased.
    factors, covariates : frozenset of str
        What it multiplies: categorical and numerical variables or expressions.
    """

    name: str
    columns: tuple[int, ...]
    factors: frozenset[str]
    covariates: frozenset[str]


@gives_copies("frame")
@dataclass(frozen=True, eq=False)
class Design(Frozen):
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
    frame : DataFrame, n rows
        The rows and columns used, without levels that do not occur; a refit to another response
        keeps the old one here.
    n_missing : int
        Rows left out because a value is missing.
    sigma : float or None
        The residual standard deviation, where it is known.
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
    frame: pd.DataFrame = field(repr=False)
    n_missing: int
    _spec: Any = field(repr=False)
    _kept: FloatArray = field(repr=False)
    _numeric: frozenset[str] = field(repr=False)
    sigma: float | None = None

    @property
    def n(self) -> int:
        """Number of rows used."""
        return len(self.y)

    @property
    def p(self) -> int:
        """Number of fixed effects."""
        return len(self.fixed_names)

    @property
    def row_weights(self) -> FloatArray:
        """Prior weights, 1 in every row where none were given."""
        return np.ones(self.n) if self.weights is None else self.weights

    @property
    def root_weights(self) -> FloatArray | None:
        """Square roots of the prior weights, where there are any."""
        return None if self.weights is None else np.sqrt(self.weights)

    @property
    def sum_log_weights(self) -> float:
        """Sum of the logarithms of the prior weights, 0 where none were given."""
        return 0.0 if self.weights is None else float(np.log(self.weights).sum())

    @property
    def index(self) -> pd.Index:
        """Labels of the rows used."""
        return vars(self)["frame"].index.copy()

    @property
    def fixed_terms(self) -> tuple[FixedTerm, ...]:
        """The terms of the fixed part, in the order of their columns in `X`."""
        position = np.cumsum(self._kept) - 1
        kinds = {code: kind.value for code, (kind, _) in self._spec.encoder_state.items()}
        terms = []
        for term, columns in self._spec.term_indices.items():
            codes = {factor.expr for factor in term.factors}
            terms.append(
                FixedTerm(
                    name=str(term),
                    columns=tuple(int(position[i]) for i in columns if self._kept[i]),
                    factors=frozenset(c for c in codes if kinds.get(c) == "categorical"),
                    covariates=frozenset(c for c in codes if kinds.get(c) == "numerical"),
                )
            )
        return tuple(terms)

    def with_response(self, y: FloatArray) -> Design:
        """The same design with another response, of which it takes a copy."""
        other = object.__new__(Design)
        vars(other).update(vars(self), y=read_only(y))
        return other

    def dummy_coded(self) -> FloatArray:
        """Model matrix of the fixed part with one indicator column for every level or cell.

        More columns than `X`, which they span: what sums over the cells of a table need.
        """
        spec = ModelSpec.from_spec(parse_with_formulaic(self.formula.fixed), ensure_full_rank=False)
        return evaluate(spec, self.frame)[0]

    def fixed_matrix(self, data: pd.DataFrame) -> FloatArray:
        """Model matrix of the fixed effects for new data, coded as the fit coded its own."""
        return evaluate(self._spec, data)[0][:, self._kept]

    def check_types(self, data: pd.DataFrame, names: Iterable[str]) -> None:
        """Check that columns of new data are of the kind, numbers or not, that the fit had.

        Raises
        ------
        DataError
            If one is not, or has missing or infinite values.
        """
        for name in names:
            column = data[name]
            if pd.api.types.is_numeric_dtype(column) != (name in self._numeric):
                had = "numbers" if name in self._numeric else "a factor"
                raise DataError(
                    f"column {name!r} of the new data is of type {column.dtype}, but was {had} "
                    "in the fit; convert it."
                )
            unusable = column.isna()
            if name in self._numeric:
                unusable |= np.isinf(column.astype(float))
            if unusable.any():
                raise DataError(
                    f"column {name!r} of the new data has {int(unusable.sum())} missing or "
                    "infinite value(s); fill or drop these rows."
                )


def build_design(
    formula: str | MixedFormula,
    data: pd.DataFrame,
    *,
    weights: str | ArrayLike | None = None,
    offset: str | ArrayLike | None = None,
    sigma: float | None = None,
) -> Design:
    """Evaluate a formula on data.

    Rows with a missing value in a column that the model uses are left out and counted; the
    caller's data are never changed.

    Parameters
    ----------
    formula : str or MixedFormula
    data : DataFrame
    weights, offset : column name or array, shape (rows of `data`,), optional
    sigma : float, optional
        The residual standard deviation, if it is known.

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
    data = require_frame(data)
    fixed = parse_with_formulaic(formula.fixed)
    response = parse_with_formulaic(f"0 + {formula.response}")
    varying = {part.expr: parse_with_formulaic(part.expr) for part in formula.random}
    coded = set().union(*(columns_used(e) for e in (response, fixed, *varying.values())))
    grouping = {name for part in formula.random for name in part.factors}
    require_columns(data, sorted(coded | grouping))

    row_weights = _positive(_numbers("weights", weights, data))
    row_offset = _numbers("offset", offset, data)
    frame = data[[name for name in data.columns if name in coded | grouping]]
    rows = _complete_rows(frame, weights=row_weights, offset=row_offset)
    if len(rows) < len(data):
        frame = frame.iloc[rows]
        row_weights = None if row_weights is None else row_weights[rows]
        row_offset = None if row_offset is None else row_offset[rows]
    frame = usable_columns(frame, coded)

    y = _response(response, frame, formula.response)
    X, names, spec = _model_matrix(fixed, frame, "fixed part", formula.fixed)
    kept = _independent_columns(X, row_weights)
    terms = [_random_term(part, varying[part.expr], frame) for part in formula.random]
    if sigma is None:
        for term in terms:
            check_identifiable(term)
    terms.sort(key=lambda term: -term.n_levels)
    for one, other in combinations(terms, 2):
        refuse_same_effects(one, other)
    design = Design(
        formula=formula,
        y=y,
        X=X if kept.all() else X[:, kept],
        fixed_names=tuple(name for name, keep in zip(names, kept, strict=True) if keep),
        aliased=tuple(name for name, keep in zip(names, kept, strict=True) if not keep),
        terms=tuple(terms),
        weights=row_weights,
        offset=row_offset,
        offset_column=offset if isinstance(offset, str) else None,
        frame=frame,
        n_missing=len(data) - len(frame),
        _spec=spec,
        _kept=kept,
        _numeric=frozenset(n for n in coded if pd.api.types.is_numeric_dtype(frame[n])),
        sigma=None if sigma is None else require_positive("sigma", sigma),
    )
    if design.n <= design.p and sigma is None:
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
    numbers = as_numbers(argument, values)
    if numbers.shape != (len(data),):
        raise DataError(
            f"{argument} must have one number for each of the {len(data)} rows of data; "
            f"it has shape {numbers.shape}."
        )
    require_own_rows(argument, values, data.index)
    if np.nanmax(np.abs(numbers), initial=0.0) > MAX_VALUE:
        raise DataError(f"{argument} has values beyond {MAX_VALUE:g}, too large; change the unit.")
    return numbers


def _positive(weights: FloatArray | None) -> FloatArray | None:
    if weights is not None and (weights <= 0).any():
        raise DataError(
            f"weights must be positive, but {np.count_nonzero(weights <= 0)} are zero or negative; "
            "drop the rows that should not count."
        )
    if weights is not None and (weights < 1 / MAX_VALUE).any():
        raise DataError(f"weights has values below {1 / MAX_VALUE:g}, too small; change the unit.")
    return weights


def _complete_rows(frame: pd.DataFrame, **arguments: FloatArray | None) -> np.ndarray:
    """Positions of the rows that miss nothing."""
    missing = {name: frame[name].isna().to_numpy() for name in frame.columns}
    missing |= {name: np.isnan(v) for name, v in arguments.items() if v is not None}
    complete = np.ones(len(frame), dtype=bool)
    for mask in missing.values():
        complete &= ~mask
    if not complete.any():
        names = ", ".join(str(name) for name, mask in missing.items() if mask.any())
        raise DataError(f"every row has a missing value; look at {names}.")
    return np.flatnonzero(complete)


def usable_columns(frame: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """Drop unused levels, and refuse columns that an expression could not code as meant.

    Raises
    ------
    DataError
        For complex numbers, dates, or objects that are not all text.
    """
    for name in names:
        column = frame[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            used = column.cat.remove_unused_categories()
            if len(used.cat.categories) < len(column.cat.categories):
                frame = frame.assign(**{name: used})
        elif pd.api.types.is_string_dtype(column):
            frame = frame.assign(**{name: column.astype(object)})
        elif column.dtype.kind not in "biuf":
            raise DataError(
                f"column {name!r} is of type {column.dtype}; convert it to numbers (dates to days "
                "since a start, for instance) or to a category with astype('category')."
            )
    return frame


def _refuse_huge_factors(expression: Any, frame: pd.DataFrame) -> None:
    """Refuse a term whose levels, or combinations of levels, would fill the memory as columns."""
    for term in expression:
        levels: dict[str, int] = {}
        for code, names in factors_of([term]):
            for name in names:
                if code.startswith("C(") or not pd.api.types.is_numeric_dtype(frame[name]):
                    levels[name] = frame[name].nunique()
        n_columns = math.prod(levels.values())
        if n_columns * len(frame) * 8 > MAX_DENSE_BYTES:
            counts = " and ".join(f"{name!r} ({count} levels)" for name, count in levels.items())
            raise DataError(
                f"column {counts} in the term {str(term)!r}: coded as factors they would need a "
                f"dense matrix of {len(frame)} × {n_columns}; use a grouping such as "
                f"(1 | {':'.join(levels)}), or convert them to numbers."
            )


def _response(expression: Any, frame: pd.DataFrame, text: str) -> FloatArray:
    if text in frame.columns:
        return as_response(frame[text])
    values, names, _ = _model_matrix(expression, frame, "response", text)
    if values.shape[1] != 1:
        raise DataError(
            f"the response {text!r} must be one numeric column, but gives {len(names)}: "
            f"{', '.join(names[:4])}."
        )
    return as_response(pd.Series(values[:, 0], name=text))


def _random_term(part: RandomPart, expression: Any, frame: pd.DataFrame) -> RandomTerm:
    names: tuple[str, ...] = ("Intercept",)
    values, spec = np.ones((len(frame), 1)), expression
    if part.expr != "1":  # which needs no formulaic, and is what most terms have
        values, names, spec = _model_matrix(expression, frame, "random term", str(part))
    codes, levels = group_codes(frame, part.factors)
    return RandomTerm(part, names, levels, codes, values, spec)


def _model_matrix(
    expression: Any, frame: pd.DataFrame, role: str, text: str
) -> tuple[FloatArray, tuple[str, ...], Any]:
    """Values, column names and reusable specification of one expression; all values usable."""
    _refuse_huge_factors(expression, frame)
    values, spec = evaluate(expression, frame)
    names = tuple(spec.column_names)
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


def evaluate(expression: Any, frame: pd.DataFrame) -> tuple[FloatArray, Any]:
    """Evaluate a formulaic formula or specification with no names but the columns' own.

    Raises
    ------
    FormulaError
        If the expression fails.
    DataError
        If a factor has a level that the specification does not know.
    """
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("error", DataMismatchWarning)
            matrix = expression.get_model_matrix(
                _in_floats(expression, frame), context={}, output="numpy", na_action="ignore"
            )
    except DataMismatchWarning:
        raise DataError(_unseen_levels(expression, frame)) from None
    except FormulaicError as error:
        reason = str(error).split("[", 1)[-1].rstrip("]")
        raise FormulaError(f"Cannot evaluate {expression}: {reason}") from None
    return np.asarray(matrix, dtype=float).reshape(len(frame), -1), matrix.model_spec


def _unseen_levels(spec: ModelSpec, frame: pd.DataFrame) -> str:
    """What is wrong with new data that have levels of a factor which the fit has not."""
    for code, names in factors_of(spec.formula):
        known = spec.encoder_state.get(code, (None, {}))[1].get("categories", ())
        for name in names:
            unseen = [str(level) for level in frame[name].unique() if level not in known]
            if len(known) and unseen:
                return (
                    f"column {name!r} of the new data has level(s) the fit has not seen: "
                    f"{', '.join(unseen[:3])}; it has estimates for "
                    f"{', '.join(map(str, known[:12]))} only."
                )
    return "the new data have levels of a factor that the fit has not seen."


def _in_floats(expression: Any, frame: pd.DataFrame) -> pd.DataFrame:
    """Whole numbers that are computed with as floats, which do not overflow.

    What is also a factor's label stays whole, but large.
    """
    computed: set[str] = set()
    labels: set[str] = set()
    for term in getattr(expression, "formula", expression):
        for code, names in factors_of([term]):
            if code.startswith("C("):
                labels |= names
            elif len(term.factors) > 1 or names != {code}:
                computed |= names
    whole = [name for name in computed if frame[name].dtype.kind in "iu"]
    types = {name: "int64" if name in labels else "float64" for name in whole}
    return frame.astype(types) if whole else frame


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
