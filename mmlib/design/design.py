"""A design: the arrays of a linear mixed model, and the same coding for new data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import compress
from typing import Any

import numpy as np
import pandas as pd
from formulaic import ModelSpec

from mmlib.arrays import FloatArray, weigh
from mmlib.design.columns import Kind, as_floats, kind_of, usable_columns
from mmlib.design.facts import Facts
from mmlib.design.formula import MixedFormula, columns_used, parse_with_formulaic
from mmlib.design.matrix import evaluate
from mmlib.design.names import shown
from mmlib.design.residual import Residual
from mmlib.design.structures import US
from mmlib.design.terms import RandomTerm, n_theta
from mmlib.design.whiten import Whitener
from mmlib.errors import DataError
from mmlib.frozen import Frozen, gives_copies, read_only

ESTIMABLE = 1e-7
"""A row is a combination of those of the fit up to this share of its size."""


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
    kinds : mapping of str to str
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
    terms: tuple[RandomTerm, ...]
    weights: FloatArray | None
    offset: FloatArray | None
    offset_column: str | None
    frame: pd.DataFrame = field(repr=False)
    n_missing: int
    spec: Any = field(repr=False)
    kept: np.ndarray = field(repr=False)
    kinds: Mapping[str, Kind] = field(repr=False)
    sigma: float | None = None
    residual: Residual | None = None

    @property
    def all_names(self) -> tuple[str, ...]:
        """Names of the columns of the model matrix, those left out included."""
        return shown(self.spec.column_names)

    @cached_property
    def aliased(self) -> tuple[str, ...]:
        """Columns that were left out because they depend on the columns before them."""
        return tuple(compress(self.all_names, ~self.kept))

    @property
    def description(self) -> str:
        """The formula, and the structure of the residuals where they have one."""
        residual = self.residual
        parts = [str(self.formula)]
        if residual is not None:
            parts += [f"dispersion={residual.dispersion!r}"] * (residual.dispersion is not None)
            parts += [f"residual={residual.word!r}"] * bool(residual.kind)
        return ", ".join(parts)

    has_rows = True
    """Whether the rows are kept, as they are unless the data came in parts, or the fit is slim."""

    @cached_property
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

    @cached_property
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

    def whitener(self, phi: FloatArray | None = None) -> Whitener:
        """What turns rows into those of a model with independent errors of one variance."""
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
        """What marginal means need to know of the rows."""
        return Facts.of(self.formula.fixed, self.frame)

    @cached_property
    def mean_offset(self) -> float | None:
        """The mean of the offset, where there is one."""
        return None if self.offset is None else float(self.offset.mean())

    @cached_property
    def R(self) -> FloatArray:
        """R of the (weighted) X."""
        return read_only(np.linalg.qr(weigh(self.root_weights, self.X), mode="r"))

    def triangle(self, columns: Sequence[int]) -> FloatArray:
        """R of some columns of the (weighted) X, in this order."""
        return np.asarray(np.linalg.qr(self.R[:, list(columns)], mode="r"))

    @cached_property
    def functions_of_cells(self) -> FloatArray:
        """The coefficients as functions of those of all indicator columns, X⁺D."""
        solution = np.linalg.lstsq(self.X, self.dummy_coded(), rcond=None)[0]
        return read_only(np.asarray(solution, dtype=np.float64))

    @property
    def fixed_terms(self) -> tuple[FixedTerm, ...]:
        """The terms of the fixed part, in the order of their columns in `X`."""
        position = np.cumsum(self.kept) - 1
        kinds = {code: kind.value for code, (kind, _) in self.spec.encoder_state.items()}
        terms = []
        names = shown(map(str, self.spec.term_indices))
        for name, (term, columns) in zip(names, self.spec.term_indices.items(), strict=True):
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
        columns = sorted(columns_used(self.spec.formula))
        return evaluate(self.spec, usable_columns(data, columns))[0]

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
        """The columns left out, less what the columns kept predict of them, in some rows.

        A combination of the rows of the fit has none, and only such combinations can be estimated.
        """
        return rows[:, ~self.kept] - rows[:, self.kept] @ self.dependence

    @cached_property
    def dependence(self) -> FloatArray:
        """How the columns that were left out, if any, depend on those that were kept."""
        return dependence(self.every_column(self.frame), self.kept)

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


def dependence(columns: FloatArray, kept: np.ndarray) -> FloatArray:
    """How columns, or those of their R, depend on those of them that were kept."""
    solution = np.linalg.lstsq(columns[:, kept], columns[:, ~kept], rcond=None)[0]
    least = ESTIMABLE * np.abs(solution).max(initial=0.0)
    return read_only(np.where(np.abs(solution) > least, solution, 0.0))
