"""From a formula and a DataFrame to the arrays of the model, with every row accounted for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from formulaic import ModelSpec
from numpy.typing import ArrayLike

from mmlib.arrays import FloatArray, IntArray, weigh
from mmlib.design.checks import (
    as_numbers,
    as_response,
    require_columns,
    require_frame,
    require_own_rows,
    require_positive,
)
from mmlib.design.columns import Kind, as_floats, kind_of, usable_columns
from mmlib.design.directions import refuse_unidentified_structure
from mmlib.design.facts import Facts
from mmlib.design.formula import (
    MixedFormula,
    RandomPart,
    columns_used,
    parse_formula,
    parse_with_formulaic,
)
from mmlib.design.identify import refuse_unidentified
from mmlib.design.matrix import evaluate, factors_of
from mmlib.design.names import as_written, shown, unquoted
from mmlib.design.residual import Residual, Whitener, build_residual, residual_columns
from mmlib.design.structures import US
from mmlib.design.terms import RandomTerm, check_identifiable, check_structure, group_codes, n_theta
from mmlib.design.words import NaturalSpline
from mmlib.errors import DataError, RankError
from mmlib.frozen import Frozen, gives_copies, read_only

ALIAS_TOLERANCE = 1e-7
"""A column is aliased when less than this share of it is left after the columns before it (R's)."""

ESTIMABLE = 1e-7
"""A row is a combination of those of the fit up to this share of its size."""

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
    kept : ndarray of bool
        Which columns of the model matrix `X` has: the others are aliased.
    kinds : dict of str to str
        What each column of an expression holds: numbers, true or false, or a factor.
    sigma : float or None
        The residual standard deviation, where it is known.
    residual : Residual or None
        The structure of the residuals, where they have one.
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
    kept: np.ndarray = field(repr=False)
    kinds: Mapping[str, Kind] = field(repr=False)
    sigma: float | None = None
    residual: Residual | None = None

    @property
    def all_names(self) -> tuple[str, ...]:
        """Names of the columns of the model matrix, those left out included."""
        return shown(self._spec.column_names)

    @property
    def description(self) -> str:
        """The formula, and the structure of the residuals where they have one."""
        residual = self.residual
        parts = [str(self.formula)]
        if residual is not None:
            parts += [f"dispersion={residual.dispersion!r}"] * (residual.dispersion is not None)
            parts += [f"residual={residual.word!r}"] * bool(residual.kind)
        return ", ".join(parts)

    @property
    def n(self) -> int:
        """Number of rows used."""
        return len(self.y)

    @property
    def has_rows(self) -> bool:
        """Whether the rows are kept, as they are unless the data came in parts."""
        return True

    def require_rows(self, what: str) -> None:
        """Check that the rows are kept, for what needs them."""

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
    def n_theta(self) -> int:
        """Number of covariance parameters θ: those of the terms, then those of the residuals."""
        return sum(map(n_theta, self.terms)) + (self.residual.size if self.residual else 0)

    @property
    def structured(self) -> bool:
        """Whether a term or the residuals have a structure."""
        return self.residual is not None or any(t.part.structure != US for t in self.terms)

    def phi(self, theta: FloatArray) -> FloatArray:
        """The part of θ that belongs to the residuals."""
        return theta[sum(map(n_theta, self.terms)) :]

    def whitener(self, theta: FloatArray | None = None) -> Whitener:
        """What turns rows into those of a model with independent errors of one variance."""
        phi = None if theta is None else self.phi(theta)
        return Whitener(self.root_weights, self.sum_log_weights, self.residual, phi)

    def residual_covariance(self, theta: FloatArray, rows: np.ndarray) -> FloatArray:
        """Covariance of the residuals of a few rows, over σ²."""
        if self.residual is None:
            return np.diag(1 / self.row_weights[rows])
        root = 1 / np.sqrt(self.row_weights[rows])
        return self.residual.among(self.phi(theta), rows) * root[:, None] * root

    def residual_variances(self, theta: FloatArray) -> FloatArray:
        """Variance of the residual of each row, over σ², shape (n,)."""
        if self.residual is None:
            return 1 / self.row_weights
        return self.residual.row_variances(self.phi(theta)) / self.row_weights

    @property
    def index(self) -> pd.Index:
        """Labels of the rows used."""
        return vars(self)["frame"].index.copy()

    @property
    def losses(self) -> tuple[str, ...]:
        """What was left out of the data, in words."""
        losses = []
        if self.n_missing:
            losses.append(f"{self.n_missing} row(s) left out because a value is missing.")
        if self.aliased:
            losses.append(
                "Column(s) left out because they depend on the ones before: "
                f"{', '.join(self.aliased)}."
            )
        return tuple(losses)

    @cached_property
    def facts(self) -> Facts:
        """What averages over the rows need to know of them."""
        return Facts.of(self.formula.fixed, self.frame)

    @property
    def mean_offset(self) -> float | None:
        """The mean of the offset, where there is one."""
        return None if self.offset is None else float(self.offset.mean())

    def triangle(self, columns: Sequence[int]) -> FloatArray:
        """R of some columns of the (weighted) X, in this order."""
        X = weigh(self.root_weights, self.X[:, list(columns)])
        return np.asarray(np.linalg.qr(X, mode="r"))

    @cached_property
    def functions_of_cells(self) -> FloatArray:
        """The coefficients as functions of those of all indicator columns, X⁺D."""
        solution = np.linalg.lstsq(self.X, self.dummy_coded(), rcond=None)[0]
        return read_only(np.asarray(solution, dtype=np.float64))

    @property
    def fixed_terms(self) -> tuple[FixedTerm, ...]:
        """The terms of the fixed part, in the order of their columns in `X`."""
        position = np.cumsum(self.kept) - 1
        kinds = {code: kind.value for code, (kind, _) in self._spec.encoder_state.items()}
        terms = []
        names = shown(map(str, self._spec.term_indices))
        for name, (term, columns) in zip(names, self._spec.term_indices.items(), strict=True):
            codes = {factor.expr for factor in term.factors}
            terms.append(
                FixedTerm(
                    name=name,
                    columns=tuple(int(position[i]) for i in columns if self.kept[i]),
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
        return self.every_column(data)[:, self.kept]

    def every_column(self, data: pd.DataFrame) -> FloatArray:
        """The same with the columns that were left out of the fit."""
        columns = sorted(columns_used(self._spec.formula))
        return evaluate(self._spec, usable_columns(data, columns))[0]

    def not_estimable(self, data: pd.DataFrame) -> np.ndarray:
        """Mark the rows of new data whose mean cannot be estimated.

        A column that was left out of the fit depends on others there. A row in which it does not
        depend on them in the same way, such as a cell that was never observed, is no combination
        of the rows of the fit.

        Returns
        -------
        ndarray of bool
        """
        if not self.aliased:
            return np.zeros(len(data), dtype=bool)
        columns = self.every_column(data)
        size = np.abs(columns[:, ~self.kept])
        size += np.abs(columns[:, self.kept]) @ np.abs(self.dependence)
        return np.asarray((np.abs(self.excess(columns)) > ESTIMABLE * size).any(axis=1))

    def excess(self, rows: FloatArray) -> FloatArray:
        """What rows of all columns have of those left out, beyond what the others say of them.

        A combination of the rows of the fit has none, and only such combinations can be estimated.
        """
        return rows[:, ~self.kept] - rows[:, self.kept] @ self.dependence

    @cached_property
    def dependence(self) -> FloatArray:
        """How the columns that were left out, if any, depend on those that were kept."""
        left_out = self.every_column(self.frame)[:, ~self.kept]
        solution = np.linalg.lstsq(self.X, left_out, rcond=None)[0]
        least = ESTIMABLE * np.abs(solution).max(initial=0.0)
        return read_only(np.where(np.abs(solution) > least, solution, 0.0))

    def check_types(self, data: pd.DataFrame, names: Iterable[str]) -> None:
        """Check that columns of new data are of the kind that the fit had.

        Raises
        ------
        DataError
            If one is not, or has missing or infinite values.
        """
        for name in names:
            column, had = data[name], self.kinds[name]
            missing = column.isna()
            if not missing.all() and kind_of(column) != had:
                raise DataError(
                    f"column {name!r} of the new data is of type {column.dtype}, but was {had} "
                    "in the fit; convert it."
                )
            if had == "numbers":
                missing |= np.isinf(as_floats(column))
            if missing.any():
                raise DataError(
                    f"column {name!r} of the new data has {int(missing.sum())} missing or "
                    "infinite value(s); fill or drop these rows, or pass missing='nan'."
                )


def build_design(
    formula: str | MixedFormula,
    data: pd.DataFrame,
    *,
    weights: str | ArrayLike | None = None,
    offset: str | ArrayLike | None = None,
    sigma: float | None = None,
    dispersion: str | None = None,
    residual: str | None = None,
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
    dispersion, residual : str, optional
        A column with a residual variance for each level, and the correlation of residuals.

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
    >>> design = mm.build_design("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    >>> design.X.shape, design.terms[0].Z.shape
    ((20, 1), (20, 4))
    """
    if not isinstance(formula, MixedFormula):
        formula = parse_formula(formula)
    data = require_frame(data)
    fixed = parse_with_formulaic(formula.fixed)
    response = parse_with_formulaic(f"0 + {formula.response}")
    varying = [parse_with_formulaic(part.expr) for part in formula.random]
    try:
        coded = set().union(*(columns_used(e) for e in (response, fixed, *varying)))
    except NaturalSpline as error:
        require_columns(data, [unquoted(error.column)])
        raise error.with_knots(as_numbers("x", data[unquoted(error.column)].dropna())) from None
    grouping = {name for part in formula.random for name in part.factors}
    grouping |= residual_columns(dispersion, residual)
    require_columns(data, sorted(coded | grouping))

    row_weights = as_positive(numbers_of("weights", weights, data))
    row_offset = numbers_of("offset", offset, data)
    frame = data[[name for name in data.columns if name in coded | grouping]]
    rows = complete_rows(frame, weights=row_weights, offset=row_offset)
    if len(rows) < len(data):
        frame = frame.iloc[rows]
        row_weights = None if row_weights is None else row_weights[rows]
        row_offset = None if row_offset is None else row_offset[rows]
    frame = usable_columns(frame, coded - {only_column(response)})

    y = _response(response, frame, formula.response)
    X, names, spec = model_matrix(fixed, frame, "fixed part", formula.fixed)
    kept = independent_columns(X, row_weights)
    terms = [
        term
        for part in formula.random
        for term in random_terms(part, frame, *group_codes(frame, part.factors))
    ]
    terms.sort(key=lambda term: -term.n_levels)
    of_residuals = build_residual(frame, dispersion, residual)
    _check_terms(terms, of_residuals)
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
        kept=kept,
        kinds={name: kind for name in coded if (kind := kind_of(frame[name]))},
        sigma=None if sigma is None else require_positive("sigma", sigma),
        residual=of_residuals,
    )
    _refuse_unidentified(design)
    if design.n <= design.p and sigma is None:
        raise RankError(
            f"{design.p} fixed effects for {design.n} rows leave nothing to estimate σ from; "
            "use fewer terms or more data."
        )
    return design


def _check_terms(terms: Sequence[RandomTerm], residual: Residual | None) -> None:
    """Refuse terms that cannot have their structure, or not beside that of the residuals."""
    for term in terms:
        check_structure(term)
        if residual is not None:
            residual.refuse_crossed(term.codes, str(term.part))


def _refuse_unidentified(design: Design) -> None:
    """Refuse variances that the data cannot tell apart."""
    if design.structured:
        refuse_unidentified_structure(
            design.terms,
            design.residual,
            design.row_weights,
            sigma_known=design.sigma is not None,
        )
        return
    if design.sigma is None:
        for term in design.terms:
            check_identifiable(term)
    refuse_unidentified(design.terms, design.weights)


def numbers_of(argument: str, values: Any, data: pd.DataFrame) -> FloatArray | None:
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


def as_positive(weights: FloatArray | None) -> FloatArray | None:
    """Weights, if they can be some."""
    if weights is not None and (weights <= 0).any():
        raise DataError(
            f"weights must be positive, but {np.count_nonzero(weights <= 0)} are zero or negative; "
            "drop the rows that should not count."
        )
    if weights is not None and (weights < 1 / MAX_VALUE).any():
        raise DataError(f"weights has values below {1 / MAX_VALUE:g}, too small; change the unit.")
    return weights


def complete_rows(frame: pd.DataFrame, **arguments: FloatArray | None) -> np.ndarray:
    """Positions of the rows that miss nothing."""
    given = {name: np.isnan(values) for name, values in arguments.items() if values is not None}
    missing = np.column_stack([frame.isna().to_numpy(), *given.values()])
    complete = ~missing.any(axis=1)
    if not complete.any():
        names = np.array([*map(str, frame.columns), *given])[missing.any(axis=0)]
        raise DataError(f"every row has a missing value; look at {', '.join(names)}.")
    return np.flatnonzero(complete)


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


def only_column(expression: Any) -> str:
    """The column that an expression consists of, if it is nothing else."""
    codes = [code for _, code in factors_of(expression)]
    return codes[0].text if len(codes) == 1 and codes[0].columns == {codes[0].text} else ""


def _response(expression: Any, frame: pd.DataFrame, text: str) -> FloatArray:
    column = only_column(expression)
    if column:
        return as_response(frame[column])
    values, names, _ = model_matrix(expression, frame, "response", text)
    if values.shape[1] != 1:
        raise DataError(
            f"the response {text!r} must be one numeric column, but gives {len(names)}: "
            f"{', '.join(names[:4])}."
        )
    return as_response(pd.Series(values[:, 0], name=text))


def random_terms(
    part: RandomPart, frame: pd.DataFrame, codes: IntArray, levels: pd.Index
) -> list[RandomTerm]:
    """The term of one part of the formula; for ``||`` one term for each of its columns."""
    if part.expr == "1":  # which needs no formulaic, and is what most terms have
        ones = np.ones((len(frame), 1))
        spec: Any = parse_with_formulaic("1")
        return [RandomTerm(part, ("Intercept",), levels, codes, ones, spec, (0,))]
    expression = parse_with_formulaic(part.whole or part.expr)
    values, names, spec = model_matrix(expression, frame, "random term", str(part))
    pieces = [tuple(range(len(names)))]
    if part.whole:
        terms = parse_with_formulaic(part.expr)
        pieces = [(column,) for term in terms for column in spec.term_indices[term]]
    return [
        RandomTerm(
            part if len(pieces) == 1 else RandomPart(f"0 + {names[columns[0]]}", part.factors),
            tuple(names[column] for column in columns),
            levels,
            codes,
            values[:, list(columns)],
            spec,
            columns,
        )
        for columns in pieces
    ]


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


def _refuse_one_level(spec: Any, text: str) -> None:
    """Refuse a factor with one level, whose column the coding would leave out in silence."""
    for code, (_, state) in spec.encoder_state.items():
        if len(levels := state.get("categories", "ab")) < 2:
            name, only = as_written(code), levels[0] if len(levels) else "none"
            raise DataError(
                f"{name} in {text!r} is a factor with one level ({str(only)!r}) in the rows of the "
                "fit: there is nothing to compare; leave it out."
            )


def independent_columns(X: FloatArray, weights: FloatArray | None) -> np.ndarray:
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
