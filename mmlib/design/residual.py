"""Residuals with structure: Var(ε) = σ²R, R = W^(−½) D C D W^(−½).

D holds standard deviations relative to those of the first level of a factor (`dispersion`), and C
is block-diagonal: the correlations of the rows of each subject (`residual`),

    ar1(time | id)     ρ^|t − t′| for whole numbers t;  car1 for any, ρ ≥ 0
    cs(id)             ρ between any two rows
    symm(visit | id)   any correlation, one for each pair of visits
    us(visit | id)     that, and a standard deviation for each visit

(Pinheiro & Bates 2000, Mixed-Effects Models in S and S-PLUS, chapter 5.) φ has the ratios of the
standard deviations, then the correlations. With LLᵀ = R the model of the rows L⁻¹y, L⁻¹X, L⁻¹Z is
one with independent errors of variance σ². Subjects with as many rows are taken together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from mmlib.arrays import FloatArray, IntArray, lower_triangle, weigh
from mmlib.design.checks import did_you_mean
from mmlib.design.columns import as_floats, kind_of
from mmlib.design.labels import levels_of
from mmlib.errors import DataError, FormulaError, RankError
from mmlib.frozen import Frozen

KINDS = {
    "ar1": "AR(1)",
    "car1": "continuous AR(1)",
    "cs": "compound symmetry",
    "symm": "general correlation",
    "us": "unstructured",
}
"""Correlations of residuals by their words."""

HINT = "write residual='ar1(time | id)', 'car1(time | id)', 'cs(id)' or 'us(visit | id)'"

MOST_VISITS = 60
"""Different visits of an unstructured residual beyond this are a number, not a factor."""

HIGHEST_START = 0.8
SMALLEST_START = 0.05
NEAR_ZERO = 1e-3


@dataclass(frozen=True, eq=False)
class Batch(Frozen):
    """Subjects with m rows each.

    Attributes
    ----------
    rows : ndarray of int, shape (B, m)
    pattern : ndarray of int, shape (B,)
        Which of the U patterns a subject has.
    times : ndarray, shape (U, m)
        Times, or numbers of visits, of the rows of a pattern.
    strata : ndarray of int, shape (U, m)
        Which level of the dispersion factor they belong to.
    """

    rows: IntArray
    pattern: IntArray
    times: FloatArray
    strata: IntArray


@dataclass(frozen=True, eq=False)
class Residual(Frozen):
    """The structure of the residuals of a design.

    Attributes
    ----------
    dispersion : str or None
        The column whose levels have a standard deviation each.
    kind, time, group : str
        The correlation, empty where there is none, and its columns.
    levels, visits : tuple of str
        Levels of the dispersion factor, and visits where each pair has a correlation.
    codes : ndarray of int, shape (n,)
        Level of each row.
    subjects : ndarray of int, shape (n,)
        Subject of each row; a subject for each row where there is no correlation.
    times : ndarray, shape (n,)
    batches : tuple of Batch
    """

    dispersion: str | None
    kind: str
    time: str
    group: str
    levels: tuple[str, ...]
    visits: tuple[str, ...]
    codes: IntArray
    subjects: IntArray
    times: FloatArray
    batches: tuple[Batch, ...]

    # ---- φ ----------------------------------------------------------------------------------

    @property
    def n_ratios(self) -> tuple[int, int]:
        """Ratios of levels of the dispersion factor, and of visits."""
        return max(len(self.levels) - 1, 0), (len(self.visits) - 1) * (self.kind == "us")

    @property
    def n_subjects(self) -> int:
        """Number of subjects; of rows where there is no correlation."""
        return int(self.subjects.max()) + 1

    @property
    def n_correlations(self) -> int:
        """Correlations in φ."""
        if self.kind in ("us", "symm"):
            return len(self.visits) * (len(self.visits) - 1) // 2
        return int(bool(self.kind))

    @property
    def size(self) -> int:
        """Number of entries of φ."""
        return sum(self.n_ratios) + self.n_correlations

    @property
    def word(self) -> str:
        """What `residual` was called with."""
        if not self.kind:
            return ""
        return f"{self.kind}({self.time} | {self.group})" if self.time else f"cs({self.group})"

    @property
    def lowest_correlation(self) -> float:
        """The lower bound of a correlation."""
        if self.kind == "cs":
            most = max(batch.rows.shape[1] for batch in self.batches)
            return -1.0 / (most - 1)
        return 0.0 if self.kind == "car1" else -1.0

    @cached_property
    def pairs(self) -> tuple[IntArray, IntArray]:
        """Rows and columns of the correlations of visits, column by column."""
        i, j = lower_triangle(len(self.visits))
        return i[i > j], j[i > j]

    def split(self, phi: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Standard deviations of levels and of visits, relative to the first, and correlations."""
        a, b = self.n_ratios
        ones = np.ones(1)
        return (
            np.concatenate([ones, phi[:a]]),
            np.concatenate([ones, phi[a : a + b]]),
            phi[a + b :],
        )

    def visit_correlations(self, phi: FloatArray) -> FloatArray:
        """The correlation matrix of the visits."""
        matrix = np.eye(len(self.visits))
        i, j = self.pairs
        matrix[i, j] = matrix[j, i] = self.split(phi)[2]
        return matrix

    # ---- R ----------------------------------------------------------------------------------

    def covariances(self, phi: FloatArray) -> list[FloatArray]:
        """D C D of each pattern, shape (U, m, m) for each batch."""
        return [sds[:, :, None] * sds[:, None] * C for _, sds, C in self.parts(phi)]

    def parts(self, phi: FloatArray) -> Iterator[tuple[Batch, FloatArray, FloatArray]]:
        """Each batch with the standard deviations, (U, m), and correlations, (U, m, m)."""
        for batch in self.batches:
            yield batch, self._sds(batch, phi), self._correlations(batch, phi)

    def _sds(self, batch: Batch, phi: FloatArray) -> FloatArray:
        by_level, by_visit, _ = self.split(phi)
        sds = by_level[batch.strata]
        return sds * by_visit[batch.times.astype(int)] if self.kind == "us" else sds

    def _correlations(self, batch: Batch, phi: FloatArray) -> FloatArray:
        """C of each pattern."""
        m = batch.times.shape[1]
        correlations = self.split(phi)[2]
        if not self.kind:
            return np.ones((len(batch.times), 1, 1))
        if self.kind == "cs":
            return np.broadcast_to(
                np.where(np.eye(m) > 0, 1.0, correlations[0]), (len(batch.times), m, m)
            )
        if self.kind in ("ar1", "car1"):
            return _power(correlations[0], _lags(batch))
        visit = batch.times.astype(int)
        return self.visit_correlations(phi)[visit[:, :, None], visit[:, None]]

    def pull_back(self, phi: FloatArray, slopes: Sequence[FloatArray]) -> FloatArray:
        """The derivative in φ, from symmetric derivatives in D C D, (U, m, m) for each batch."""
        by_level, by_visit, correlations = self.split(phi)
        in_level, in_visit = np.zeros(len(by_level)), np.zeros(len(by_visit))
        in_correlation, K = np.zeros(len(correlations)), len(self.visits)
        in_pairs = np.zeros(K * K)
        for (batch, sds, C), slope in zip(self.parts(phi), slopes, strict=True):
            in_sd = 2 * np.einsum("uab,ub->ua", slope * C, sds)
            strata, visit = batch.strata, batch.times.astype(int)
            share = in_sd * (sds / by_level[strata])
            in_level += np.bincount(strata.ravel(), share.ravel(), len(by_level))
            if self.kind == "us":
                share = in_sd * by_level[strata]
                in_visit += np.bincount(visit.ravel(), share.ravel(), len(by_visit))
            in_C = slope * sds[:, :, None] * sds[:, None]
            if K:
                cells = visit[:, :, None] * K + visit[:, None]
                in_pairs += np.bincount(cells.ravel(), in_C.ravel(), K * K)
            elif self.kind:
                in_correlation += (in_C * self.correlation_slope(batch, correlations[0])).sum()
        if K:
            i, j = self.pairs
            in_correlation = in_pairs[i * K + j] + in_pairs[j * K + i]
        return np.concatenate([in_level[1:], in_visit[1:], in_correlation])

    def correlation_slope(self, batch: Batch, rho: float) -> FloatArray:
        """∂C/∂ρ of each pattern, where there is one ρ, shape (U, m, m)."""
        if self.kind == "cs":
            m = batch.times.shape[1]
            return np.broadcast_to(1 - np.eye(m), (len(batch.times), m, m))
        return _power_slope(rho, _lags(batch))

    def among(self, phi: FloatArray, rows: np.ndarray) -> FloatArray:
        """D C D of a few rows, weights left out."""
        few = Batch(
            rows=np.arange(len(rows))[None],
            pattern=np.zeros(1, dtype=np.intp),
            times=self.times[rows][None],
            strata=self.codes[rows][None],
        )
        sds = self._sds(few, phi)[0]
        same = self.subjects[rows][:, None] == self.subjects[rows]
        if not self.kind:
            return np.diag(sds**2)
        return np.where(same, sds[:, None] * sds * self._correlations(few, phi)[0], 0.0)

    def refuse_crossed(self, codes: IntArray, term: str) -> None:
        """Refuse a random term whose levels share the rows of a subject.

        Raises
        ------
        DataError
            If there is such a subject.
        """
        for batch in self.batches:
            levels = codes[batch.rows]
            if (levels != levels[:, :1]).any():
                raise DataError(
                    f"{term} crosses residual={self.word!r}: rows of one {self.group} are in "
                    "several of its levels, which is not supported yet; the levels of every random "
                    f"term must hold each {self.group} as a whole. A random term with a structure, "
                    f"such as ar1(0 + C({self.time or 'visit'}) | {self.group}), may cross others."
                )

    def row_variances(self, phi: FloatArray) -> FloatArray:
        """Variance of each row's residual, weights left out, shape (n,)."""
        variances = np.empty(len(self.codes))
        for batch in self.batches:
            variances[batch.rows] = self._sds(batch, phi)[batch.pattern] ** 2
        return variances

    # ---- numbers that a search moves ---------------------------------------------------------

    def to_smooth(self, phi: FloatArray, order: IntArray | None = None) -> FloatArray:
        """φ without bounds: logarithms of ratios, and what correlations are functions of.

        That of a correlation of visits depends on the `order` in which they are taken; of the first
        two visits it is ρ/√(1 − ρ²) alone.
        """
        a, b = self.n_ratios
        if self.kind not in ("us", "symm"):
            low = self.lowest_correlation if self.kind else 0.0
            return np.concatenate([np.log(phi[:a]), logit((phi[a:] - low) / (1 - low))])
        order = np.arange(len(self.visits)) if order is None else order
        triangle = np.linalg.cholesky(self.visit_correlations(phi)[np.ix_(order, order)])
        i, j = self.pairs
        return np.concatenate([np.log(phi[: a + b]), triangle[i, j] / triangle[i, i]])

    def from_smooth(
        self, smooth: FloatArray, order: IntArray | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """φ and its Jacobian ∂φ/∂smooth."""
        a, b = self.n_ratios
        ratios = np.exp(smooth[: a + b])
        jacobian = np.zeros((self.size, self.size))
        jacobian[: a + b, : a + b] = np.diag(ratios)
        rest = smooth[a + b :]
        if self.kind in ("us", "symm"):
            correlations, jacobian[a + b :, a + b :] = self._from_triangle(rest, order)
        else:
            low = self.lowest_correlation if self.kind else 0.0
            share = expit(rest)
            correlations = low + (1 - low) * share
            jacobian[a:, a:] = np.diag((1 - low) * share * (1 - share))
        return np.concatenate([ratios, correlations]), jacobian

    def _from_triangle(
        self, rest: FloatArray, order: IntArray | None
    ) -> tuple[FloatArray, FloatArray]:
        """Correlations of the rows of a unit lower triangle, and their derivatives."""
        i, j = self.pairs
        triangle = np.eye(len(self.visits))
        triangle[i, j] = rest
        lengths = np.linalg.norm(triangle, axis=1)
        unit = triangle / lengths[:, None]
        C = unit @ unit.T
        # Entry (r, c) moves row r only: ∂C_rk = (unit_kc − C_rk unit_rc) / length_r.
        rank = np.arange(len(C)) if order is None else np.argsort(order)
        a, b = rank[i], rank[j]  # the places of the visits of each correlation
        slope = np.zeros((len(i), len(i)))
        for number, (r, c) in enumerate(zip(i, j, strict=True)):
            change = (unit[:, c] - C[r] * unit[r, c]) / lengths[r]
            slope[a == r, number] = change[b[a == r]]
            slope[b == r, number] = change[a[b == r]]
        return C[a, b], slope

    def start(self, residual: FloatArray) -> FloatArray:
        """φ from the moments of independent residuals, weighted, shape (n,)."""
        sds = np.sqrt(np.bincount(self.codes, residual**2) / np.bincount(self.codes))
        sds = np.maximum(sds, SMALLEST_START * sds.max())
        ratios = sds[1:] / sds[0]
        scaled = residual / sds[self.codes]
        if not self.kind:
            return ratios
        K = len(self.visits)
        if not K:
            return np.append(ratios, self._one_correlation(scaled))
        table = np.full((int(self.subjects.max()) + 1, K), np.nan)
        table[self.subjects, self.times.astype(int)] = scaled
        seen = ~np.isnan(table)
        table = np.where(seen, table, 0.0)
        together = seen.T.astype(float) @ seen
        by_visit = np.sqrt((table**2).sum(axis=0) / seen.sum(axis=0))
        covariance = table.T @ table / np.maximum(together, 1)
        matrix = _nearby_correlation(covariance / np.outer(by_visit, by_visit))
        visits = by_visit[1:] / by_visit[0] if self.kind == "us" else np.zeros(0)
        return np.concatenate([ratios, visits, matrix[self.pairs]])

    def _one_correlation(self, scaled: FloatArray) -> float:
        """Mean product of neighbours (AR(1), over its distance), or of all pairs."""
        total, count, distance = 0.0, 0, 0.0
        for batch in self.batches:
            values = scaled[batch.rows]
            m = values.shape[1]
            if self.kind == "cs":
                total += float((values.sum(axis=1) ** 2 - (values**2).sum(axis=1)).sum())
                count += len(values) * m * (m - 1)
            else:
                total += float((values[:, 1:] * values[:, :-1]).sum())
                count += len(values) * (m - 1)
                distance += float(np.diff(batch.times, axis=1)[batch.pattern].sum())
        rho = total / max(count, 1)
        low = self.lowest_correlation
        if self.kind == "car1":
            rho = max(rho, NEAR_ZERO) ** (count / distance) if count else 0.5
        return float(np.clip(rho, HIGHEST_START * low + NEAR_ZERO * (low == 0), HIGHEST_START))

    # ---- rows of other data ------------------------------------------------------------------

    def sds_for(self, data: pd.DataFrame, phi: FloatArray) -> FloatArray:
        """Relative standard deviations of the residuals of new rows.

        Raises
        ------
        DataError
            If a level or a visit is none of the fit.
        """
        by_level, by_visit, _ = self.split(phi)
        sds = np.ones(len(data))
        if self.dispersion:
            sds = sds * by_level[_positions(self.levels, data[self.dispersion])]
        if self.kind == "us":
            sds = sds * by_visit[_positions(self.visits, data[self.time])]
        return sds

    @property
    def sd_columns(self) -> list[str]:
        """The columns that the standard deviations depend on."""
        return [*([self.dispersion] if self.dispersion else []), *[self.time] * (self.kind == "us")]


class Whitener:
    """L⁻¹ of LLᵀ = R: turns rows into those of a model with independent errors of one variance.

    Parameters
    ----------
    root_weights : ndarray, shape (n,), or None
    sum_log_weights : float
    residual : Residual, optional
    phi : ndarray, optional
        Where there is a structure.
    """

    def __init__(
        self,
        root_weights: FloatArray | None,
        sum_log_weights: float,
        residual: Residual | None = None,
        phi: FloatArray | None = None,
    ) -> None:
        self.root_weights = root_weights
        self.log_det = -sum_log_weights
        self.blocks: list[tuple[Batch, FloatArray, FloatArray]] = []
        if residual is None or phi is None:
            return
        for batch, C in zip(residual.batches, residual.covariances(phi), strict=True):
            L = np.asarray(np.linalg.cholesky(C), dtype=np.float64)
            counts = np.bincount(batch.pattern, minlength=len(L))
            logs = np.log(np.diagonal(L, axis1=1, axis2=2)).sum(axis=1)
            self.log_det += 2 * float(counts @ logs)
            inverse = np.asarray(np.linalg.inv(L), dtype=np.float64)
            self.blocks.append((batch, L, inverse))

    def __call__(self, columns: FloatArray) -> FloatArray:
        """L⁻¹ times columns of shape (n,) or (n, k)."""
        return self._by_blocks(weigh(self.root_weights, columns), lambda _, inverse: inverse)

    def transposed(self, columns: FloatArray) -> FloatArray:
        """L⁻ᵀ times columns."""
        turned = self._by_blocks(columns, lambda _, inverse: inverse.transpose(0, 2, 1))
        return weigh(self.root_weights, turned)

    def colour(self, columns: FloatArray) -> FloatArray:
        """L times columns: errors from independent ones."""
        coloured = self._by_blocks(columns, lambda L, _: L)
        if self.root_weights is None:
            return coloured
        return weigh(1 / self.root_weights, coloured)

    def precisions(self, n: int) -> FloatArray:
        """The diagonal of R⁻¹, shape (n,)."""
        diagonal = np.ones(n)
        for batch, _, inverse in self.blocks:
            diagonal[batch.rows] = (inverse**2).sum(axis=1)[batch.pattern]
        return diagonal if self.root_weights is None else diagonal * self.root_weights**2

    def _by_blocks(self, columns: FloatArray, choose: Any) -> FloatArray:
        if not self.blocks:
            return columns
        out = np.empty_like(columns, dtype=float)
        for batch, L, inverse in self.blocks:
            matrices = choose(L, inverse)[batch.pattern]
            if matrices.shape[1] == 1:
                rows = batch.rows[:, 0]
                out[rows] = weigh(matrices[:, 0, 0], columns[rows])
            elif columns.ndim == 1:
                out[batch.rows] = np.einsum("bij,bj->bi", matrices, columns[batch.rows])
            else:
                out[batch.rows] = matrices @ columns[batch.rows]
        return out


def sum_by_pattern(values: FloatArray, pattern: IntArray, n_patterns: int) -> FloatArray:
    """The sum of the values, shape (B, …), of the subjects of each pattern: shape (U, …)."""
    if n_patterns == 1:
        return values.sum(axis=0, keepdims=True)
    sums = np.zeros((n_patterns, *values.shape[1:]))
    order = np.argsort(pattern, kind="stable")
    starts = np.flatnonzero(np.diff(pattern[order], prepend=-1))
    sums[pattern[order][starts]] = np.add.reduceat(values[order], starts, axis=0)
    return sums


def build_residual(
    frame: pd.DataFrame, dispersion: str | None, residual: str | None
) -> Residual | None:
    """The structure that the arguments of `lmm` stand for, on complete rows.

    Raises
    ------
    FormulaError, DataError, RankError
        If the words are none of ours, or a column cannot be used so.
    """
    if dispersion is None and residual is None:
        return None
    n = len(frame)
    kind, time, group = parse_residual(residual) if residual is not None else ("", "", "")
    codes: IntArray = np.zeros(n, dtype=np.intp)
    levels: tuple[str, ...] = ()
    visits: tuple[str, ...] = ()
    if dispersion is not None:
        codes, levels = _strata(frame[dispersion])
    subjects, times = np.arange(n), np.zeros(n)
    if kind:
        subjects = levels_of(frame[group]).codes.astype(np.intp)
        subjects = np.unique(subjects, return_inverse=True)[1]
        if time:
            times, visits = _times(frame[time], kind)
            _refuse_repeats(frame, subjects, times, time, group)
        counts = np.bincount(subjects)
        if counts.max() < 2:
            raise RankError(
                f"every level of {group!r} has one row: residual={residual!r} is about several "
                "rows of each; use another column, or leave it out."
            )
        if visits:
            _refuse_unseen_pairs(subjects, times, visits, time, group, kind)
    return Residual(
        dispersion=dispersion,
        kind=kind,
        time=time,
        group=group,
        levels=levels,
        visits=visits,
        codes=codes,
        subjects=subjects,
        times=times,
        batches=_batches(subjects, times, codes, from_first=not visits),
    )


def residual_columns(dispersion: str | None, residual: str | None) -> set[str]:
    """The columns that they take from the data."""
    names = set() if residual is None else set(parse_residual(residual)[1:]) - {""}
    if dispersion is not None:
        if not isinstance(dispersion, str):
            raise DataError(f"dispersion must name a column, not {dispersion!r:.60}.")
        names.add(dispersion)
    return names


def parse_residual(text: object) -> tuple[str, str, str]:
    """Word, column of times (or none) and column of subjects of a residual's structure."""
    if not isinstance(text, str):
        raise FormulaError(f"residual must be text, not {text!r:.60}; {HINT}.")
    call = re.fullmatch(r"\s*(\w+)\s*\((.*)\)\s*", text, re.DOTALL)
    if not call:
        raise FormulaError(f"Cannot read residual={text!r}; {HINT}.")
    kind, (*times, group) = call[1], [part.strip().strip("`") for part in call[2].split("|")]
    if kind not in KINDS:
        raise FormulaError(
            f"There is no structure {kind!r} of residuals (in {text!r})."
            f"{did_you_mean(kind, KINDS)} There are {', '.join(KINDS)}; {HINT}."
        )
    if len(times) != (kind != "cs") or not all([group, *times]):
        form = (
            "cs(id)"
            if kind == "cs"
            else f"{kind}({'visit' if kind in ('us', 'symm') else 'time'} | id)"
        )
        raise FormulaError(
            f"residual={text!r} must look like '{form}': "
            + ("it has no times." if kind == "cs" else "when, and whose, the rows are.")
        )
    return kind, times[0] if times else "", group


def _strata(column: pd.Series) -> tuple[IntArray, tuple[str, ...]]:
    """Codes and labels of the levels that have a variance each."""
    codes, labels = _occurring(column)
    counts = np.bincount(codes)
    if len(labels) < 2:
        raise DataError(
            f"dispersion={column.name!r} has one level ({labels[0]!r}): there is nothing to "
            "compare; leave it out."
        )
    if counts.min() < 2:
        rare = labels[int(np.argmin(counts))]
        numbers = kind_of(column) == "numbers"
        raise RankError(
            f"dispersion={column.name!r} has a level with one row ({rare!r}), whose variance "
            "cannot be estimated; join levels"
            + (", or use a factor: each different number is a level here." if numbers else ".")
        )
    return codes, labels


def _occurring(column: pd.Series) -> tuple[IntArray, tuple[str, ...]]:
    levels = levels_of(column)
    seen, codes = np.unique(levels.codes, return_inverse=True)
    return codes.astype(np.intp), tuple(_shown(levels.categories[k]) for k in seen)


def _shown(label: Any) -> str:
    whole = isinstance(label, (float, np.floating)) and float(label).is_integer()
    return str(int(label)) if whole else str(label)


def _positions(known: tuple[str, ...], column: pd.Series) -> IntArray:
    found = pd.Index(known).get_indexer(pd.Index([_shown(value) for value in column]))
    if (found < 0).any():
        new = _shown(column.iloc[int(np.argmin(found))])
        raise DataError(
            f"column {column.name!r} has the level {new!r}, which the fit has not seen: its "
            "residual variance is unknown. A confidence interval does not need it."
        )
    return found


def _times(column: pd.Series, kind: str) -> tuple[FloatArray, tuple[str, ...]]:
    """When a row is, as numbers; and the visits, where each pair has a correlation."""
    name = column.name
    if kind in ("us", "symm"):
        codes, labels = _occurring(column)
        if len(labels) > MOST_VISITS:
            raise DataError(
                f"{kind}({name} | …) would have {len(labels)} different visits, each pair of which "
                "has a correlation of its own; use a column with the number of the visit, or "
                f"car1({name} | …)."
            )
        return codes.astype(float), labels
    if kind_of(column) == "a factor":
        if not isinstance(column.dtype, pd.CategoricalDtype):
            raise DataError(
                f"column {name!r} holds text, which does not say what time it is; use numbers, or "
                "a category whose levels are in order."
            )
        if kind == "car1":
            raise DataError(f"car1({name} | …) needs numbers: column {name!r} is a category.")
        return column.cat.codes.to_numpy().astype(float), ()
    if kind_of(column) is None:
        raise DataError(
            f"column {name!r} is of type {column.dtype}, no time that can be counted; convert it "
            "to numbers, such as days since the start."
        )
    times = as_floats(column)
    if not np.isfinite(times).all():
        raise DataError(f"column {name!r} has infinite values; drop these rows.")
    if kind == "ar1" and (times != np.round(times)).any():
        raise DataError(
            f"ar1({name} | …) counts steps between whole numbers, but {name!r} has others; write "
            f"car1({name} | …), which takes any."
        )
    return times, ()


def _refuse_repeats(
    frame: pd.DataFrame, subjects: IntArray, times: FloatArray, time: str, group: str
) -> None:
    order = np.lexsort((times, subjects))
    same = (np.diff(subjects[order]) == 0) & (np.diff(times[order]) == 0)
    if same.any():
        row = order[int(np.flatnonzero(same)[0])]
        raise DataError(
            f"{time} = {frame[time].iloc[row]} occurs more than once for {group} = "
            f"{frame[group].iloc[row]}: two rows at one time have no correlation of their own; "
            "average them, or name a column that tells them apart."
        )


def _refuse_unseen_pairs(
    subjects: IntArray,
    times: FloatArray,
    visits: tuple[str, ...],
    time: str,
    group: str,
    kind: str,
) -> None:
    n_subjects = int(subjects.max()) + 1
    seen = np.zeros((n_subjects, len(visits)))
    seen[subjects, times.astype(int)] = 1
    together = seen.T @ seen
    rare = np.argwhere(together < 2)
    if len(rare):
        a, b = rare[0]
        also = f" and {time} = {visits[b]}" if a != b else ""
        raise RankError(
            f"{kind}({time} | {group}): no two subjects have {'both ' * bool(also)}{time} = "
            f"{visits[a]}{also}, so that {'their' if also else 'its'} correlation cannot be "
            "estimated; use ar1 or cs, or join visits."
        )
    needed = len(visits) * (len(visits) + 1) // 2
    if needed >= len(subjects):
        raise RankError(
            f"{kind}({time} | {group}) has {needed} variances and correlations for "
            f"{len(subjects)} rows; use ar1 or cs."
        )
    if n_subjects < len(visits):
        raise RankError(
            f"{kind}({time} | {group}): {n_subjects} levels of {group!r} cannot tell the "
            f"correlations of {len(visits)} different values of {time!r}, of which there must be "
            "no more; use ar1 or cs, or join visits."
        )


def _batches(
    subjects: IntArray, times: FloatArray, codes: IntArray, *, from_first: bool
) -> tuple[Batch, ...]:
    """The subjects by their number of rows, which are in the order of time."""
    order = np.lexsort((times, subjects))
    counts = np.bincount(subjects)
    starts = np.cumsum(counts) - counts
    batches = []
    for m in np.unique(counts):
        rows = order[starts[counts == m][:, None] + np.arange(m)]
        when = times[rows]
        if from_first:  # only what lies between them counts
            when = when - when[:, :1]
        marks = np.hstack([when, codes[rows]])
        patterns, pattern = np.unique(marks, axis=0, return_inverse=True)
        batches.append(
            Batch(
                rows=rows,
                pattern=pattern.reshape(-1),
                times=patterns[:, :m],
                strata=patterns[:, m:].astype(np.intp),
            )
        )
    return tuple(batches)


def _lags(batch: Batch) -> FloatArray:
    return np.abs(batch.times[:, :, None] - batch.times[:, None])


def _power(rho: float, lags: FloatArray) -> FloatArray:
    return np.asarray(np.power(rho, lags))


def _power_slope(rho: float, lags: FloatArray) -> FloatArray:
    return np.where(lags > 0, lags * np.power(rho, np.where(lags > 0, lags - 1, 0.0)), 0.0)


def _nearby_correlation(matrix: FloatArray) -> FloatArray:
    """A correlation matrix well inside its bounds."""
    sizes, axes = np.linalg.eigh((matrix + matrix.T) / 2)
    bounded = (axes * np.maximum(sizes, 0.05 * sizes[-1])) @ axes.T
    scale = np.sqrt(np.diag(bounded))
    return bounded / np.outer(scale, scale)
