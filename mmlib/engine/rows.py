"""What the objective feels of the residuals' own covariance, R = LLᵀ.

Let V be the variance of the rows L⁻¹y, over σ², P what X leaves of V⁻¹, and e the residuals of
these rows. A change of R by LELᵀ moves log|V| by tr(V⁻¹E), log|V| + log|XᵀV⁻¹X| by tr(PE), and the
penalized sum of squares by −eᵀEe. E is block-diagonal, a block for each subject. So all that is
needed are the blocks of V⁻¹ or P on the diagonal, I − ACAᵀ with A the rows of [Z X] and C the
covariance of (b̂ − b, β̂ − β) over σ².
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from mmlib.arrays import FloatArray
from mmlib.engine.factor import Factor

CHUNK = 2 * 10**6
"""Numbers of dense rows that are held in memory at once."""


def residuals(factor: Factor) -> FloatArray:
    """e, shape (n,): the conditional residuals of the whitened rows, in units of y."""
    blocks, modes = factor.blocks, factor.modes()
    left = blocks.response - blocks.basis @ modes.beta
    if blocks.groupings:
        scaled = [
            (b @ g.inverse_basis.T).ravel() for g, b in zip(blocks.groupings, modes.b, strict=True)
        ]
        left = left - blocks.Z1t.T @ scaled[0]
        if len(scaled) > 1:
            left -= blocks.Z_rest_t.T @ np.concatenate(scaled[1:])
    return left


def covariance_slopes(factor: Factor, *, reml: bool, rss_weight: float) -> list[FloatArray]:
    """Derivative of the objective in D C D of each pattern, shape (U, m, m) for each batch.

    As `Factor.template_slopes`, ``log|V| [+ log|XᵀV⁻¹X|] + rss_weight·rss`` is differentiated.
    """
    left, right, through, K = _kernel(factor, reml=reml)
    e = residuals(factor)
    slopes = []
    for batch, _, inverse in factor.blocks.weigh.blocks:
        m = batch.rows.shape[1]
        sums = np.zeros((len(inverse), m, m))
        step = max(1, CHUNK // max(1, m * max(through.shape[1], left.shape[1], m)))
        for start in range(0, len(batch.rows), step):
            rows = batch.rows[start : start + step]
            inner = np.eye(m) - left[rows] @ right[rows].transpose(0, 2, 1)
            inner -= rss_weight * e[rows][:, :, None] * e[rows][:, None]
            if len(K):
                T = _dense(through, rows)
                inner -= (T @ K) @ T.transpose(0, 2, 1)
            np.add.at(sums, batch.pattern[start : start + step], inner)
        slopes.append(inverse.transpose(0, 2, 1) @ sums @ inverse)
    return slopes


def _dense(matrix: FloatArray | sparse.csr_array, rows: np.ndarray) -> FloatArray:
    if isinstance(matrix, np.ndarray):
        return matrix[rows]
    return matrix[rows.ravel()].toarray().reshape(*rows.shape, -1)


def _kernel(
    factor: Factor, *, reml: bool
) -> tuple[FloatArray, FloatArray, FloatArray | sparse.csr_array, FloatArray]:
    """G, z, T and K with ACAᵀ = Gzᵀ + TKTᵀ for rows of one level of the first grouping."""
    blocks = factor.blocks
    q, p = blocks.q_rest, blocks.p * reml
    K = factor.congruence(factor.inverse(q + p))
    T: FloatArray | sparse.csr_array = blocks.basis[:, :p]
    if not blocks.groupings:
        nothing = np.zeros((blocks.n, 0))
        return nothing, nothing, T, K
    first = blocks.groupings[0]
    z = blocks.Z1t.T.tocsr().data.reshape(blocks.n, first.width)
    G = np.einsum("ns,nst->nt", z, factor.W[first.codes])
    T = T - np.einsum("nt,ntp->np", G, blocks.A10[:, :, :p][first.codes])
    if q:
        pointers = np.arange(0, G.size + 1, first.width)
        columns = first.codes[:, None] * first.width + np.arange(first.width)
        own = sparse.csr_array(
            (G.ravel(), columns.ravel(), pointers), shape=(blocks.n, first.n_effects)
        )
        assert blocks.cross is not None
        T = sparse.hstack([blocks.Z_rest_t.T - own @ blocks.cross.matrix, sparse.csr_array(T)])
        T = sparse.csr_array(T)
    return G, z, T, K
