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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from mmlib.arrays import FloatArray, IntArray, lower_triangle, nested
from mmlib.design.labels import label_of
from mmlib.errors import DataError
from mmlib.frozen import Frozen

KINDS = {
    "ar1": "AR(1)",
    "car1": "continuous AR(1)",
    "cs": "compound symmetry",
    "symm": "general correlation",
    "us": "unstructured",
}
"""Correlations of residuals by their words."""


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

    @cached_property
    def batches(self) -> tuple[Batch, ...]:
        """The subjects by their number of rows, which are in the order of time."""
        order = np.lexsort((self.times, self.subjects))
        counts = np.bincount(self.subjects)
        starts = np.cumsum(counts) - counts
        batches = []
        for m in np.unique(counts):
            rows = order[starts[counts == m][:, None] + np.arange(m)]
            when = self.times[rows]
            if not self.visits:  # only what lies between them counts
                when = when - when[:, :1]
            marks = np.hstack([when, self.codes[rows]])
            patterns, pattern = np.unique(marks, axis=0, return_inverse=True)
            strata = patterns[:, m:].astype(np.intp)
            batches.append(Batch(rows, pattern.reshape(-1), patterns[:, :m], strata))
        return tuple(batches)

    # ---- φ ----------------------------------------------------------------------------------

    @property
    def n_ratios(self) -> tuple[int, int]:
        """Ratios of levels of the dispersion factor, and of visits."""
        return max(len(self.levels) - 1, 0), (len(self.visits) - 1) * (self.kind == "us")

    @cached_property
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

    @cached_property
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
        return [sds[:, :, None] * sds[:, None] * C for _, sds, C in self.by_batch(phi)]

    def by_batch(self, phi: FloatArray) -> Iterator[tuple[Batch, FloatArray, FloatArray]]:
        """Each batch with the standard deviations, (U, m), and correlations, (U, m, m)."""
        for batch in self.batches:
            yield batch, self._sds(batch, phi), self._correlations(batch, phi)

    def _sds(self, batch: Batch, phi: FloatArray) -> FloatArray:
        by_level, by_visit, _ = self.split(phi)
        sds = by_level[batch.strata]
        return sds * by_visit[batch.times.astype(int)] if self.kind == "us" else sds

    def _correlations(self, batch: Batch, phi: FloatArray) -> FloatArray:
        """C of each pattern."""
        if not self.kind:
            return np.ones((len(batch.times), 1, 1))
        if self.visits:
            visit = batch.times.astype(int)
            return self.visit_correlations(phi)[visit[:, :, None], visit[:, None]]
        return np.asarray(np.power(self.split(phi)[2][0], self._lags(batch)))

    def _lags(self, batch: Batch) -> FloatArray:
        """The powers of ρ that the correlations are: times between rows, or 1 for any two."""
        lags = np.abs(batch.times[:, :, None] - batch.times[:, None])
        return lags if self.kind != "cs" else lags + (1 - np.eye(lags.shape[1]))

    def pull_back(self, phi: FloatArray, slopes: Sequence[FloatArray]) -> FloatArray:
        """The derivative in φ, from symmetric derivatives in D C D, (U, m, m) for each batch."""
        by_level, by_visit, correlations = self.split(phi)
        in_level, in_visit = np.zeros(len(by_level)), np.zeros(len(by_visit))
        in_correlation, K = np.zeros(len(correlations)), len(self.visits)
        in_pairs = np.zeros(K * K)
        for (batch, sds, C), slope in zip(self.by_batch(phi), slopes, strict=True):
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
        lags = self._lags(batch)
        return np.where(lags > 0, lags * np.power(rho, np.where(lags > 0, lags - 1, 0.0)), 0.0)

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
        if self.kind and not nested(self.subjects, codes):
            raise DataError(
                f"{term} crosses residual={self.word!r}: rows of one {self.group} are in several "
                "of its levels, which is not supported yet; the levels of every random term must "
                f"hold each {self.group} as a whole. A random term with a structure, such as "
                f"ar1(0 + C({self.time or 'visit'}) | {self.group}), may cross others."
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
            low = self.lowest_correlation
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
            low = self.lowest_correlation
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
        table = np.full((self.n_subjects, K), np.nan)
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


def _positions(known: tuple[str, ...], column: pd.Series) -> IntArray:
    found = pd.Index(known).get_indexer(pd.Index([label_of(value) for value in column]))
    if (found < 0).any():
        new = label_of(column.iloc[int(np.argmin(found))])
        raise DataError(
            f"column {column.name!r} has the level {new!r}, which the fit has not seen: its "
            "residual variance is unknown. A confidence interval does not need it."
        )
    return found


def _nearby_correlation(matrix: FloatArray) -> FloatArray:
    """A correlation matrix well inside its bounds."""
    sizes, axes = np.linalg.eigh((matrix + matrix.T) / 2)
    bounded = (axes * np.maximum(sizes, 0.05 * sizes[-1])) @ axes.T
    scale = np.sqrt(np.diag(bounded))
    return bounded / np.outer(scale, scale)
