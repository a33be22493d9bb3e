"""How the objective moves with the residuals' own covariance, R = LLᵀ.

Let V be the variance of the rows L⁻¹y, over σ², P what X leaves of V⁻¹, and e the residuals of
these rows. A change of R by LELᵀ moves log|V| by tr(V⁻¹E), log|V| + log|XᵀV⁻¹X| by tr(PE), and the
penalised sum of squares by −eᵀEe. E is block-diagonal, a block for each subject. So all that is
needed are the blocks of V⁻¹ or P on the diagonal, I − ACAᵀ with A the rows of [Z X] and C the
covariance of (b̂ − b, β̂ − β) over σ².
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from mmlib.arrays import FloatArray, IntArray
from mmlib.engine.effects_covariance import EffectsCovariance
from mmlib.engine.elimination import summing
from mmlib.engine.factor import Factor

CHUNK = 2 * 10**6
"""Numbers of dense rows that are held in memory at once."""


def residuals(factor: Factor) -> FloatArray:
    """e, shape (n,): the conditional residuals of the whitened rows, in units of y."""
    blocks, modes = factor.blocks, factor.modes()
    left = blocks.response - blocks.basis @ modes.beta
    for grouping, Zt, b in zip(blocks.groupings, blocks.Zt, modes.b, strict=True):
        left -= Zt.T @ (b @ grouping.inverse_basis.T).ravel()
    return left


def covariance_slopes(factor: Factor, *, reml: bool, rss_weight: float) -> list[FloatArray]:
    """Derivative of the objective in D C D of each pattern, shape (U, m, m) for each batch.

    As `Factor.template_slopes`, ``log|V| [+ log|XᵀV⁻¹X|] + rss_weight·rss`` is differentiated.
    """
    part, dense = _root(factor, reml=reml)
    e = residuals(factor)
    slopes = []
    for batch, _, inverse in factor.blocks.whiten.blocks:
        m = batch.rows.shape[1]
        sums = np.zeros((len(inverse), m, m))
        step = max(1, CHUNK // (m * max(dense.shape[1], m)))
        for start in range(0, len(batch.rows), step):
            rows = batch.rows[start : start + step]
            inner = np.eye(m) - rss_weight * e[rows][:, :, None] * e[rows][:, None]
            inner -= dense[rows] @ dense[rows].transpose(0, 2, 1)
            if part.shape[1]:
                inner -= _products(part, rows)
            sums += _sum_by_pattern(inner, batch.pattern[start : start + step], len(sums))
        slopes.append(inverse.transpose(0, 2, 1) @ sums @ inverse)
    return slopes


def _root(factor: Factor, *, reml: bool) -> tuple[sparse.csr_array, FloatArray]:
    """A root of ACAᵀ, sparse and dense columns side by side."""
    blocks = factor.blocks
    if not blocks.groupings:
        p = blocks.p * reml
        return sparse.csr_array((blocks.n, 0)), blocks.basis[:, :p] @ factor.tail_root(p)
    known = EffectsCovariance(factor, beta_estimated=reml)
    return known.root(known.own_rows())


def _products(part: sparse.csr_array, rows: IntArray) -> FloatArray:
    """Products of the rows of a sparse matrix with each other, within each block of them."""
    m = rows.shape[1]
    one = part[np.repeat(rows, m, axis=1).ravel()]
    other = part[np.tile(rows, (1, m)).ravel()]
    return np.asarray(one.multiply(other).sum(axis=1)).reshape(len(rows), m, m)


def _sum_by_pattern(values: FloatArray, pattern: IntArray, n_patterns: int) -> FloatArray:
    """The sum of the values, shape (B, …), of the subjects of each pattern: shape (U, …)."""
    if n_patterns == 1:
        return values.sum(axis=0, keepdims=True)
    sums = summing(pattern, n_patterns) @ values.reshape(len(values), -1)
    return np.asarray(sums).reshape(n_patterns, *values.shape[1:])
