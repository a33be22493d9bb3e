"""Moment estimates of the variance components: where the search for θ starts.

With r = My the least-squares residuals, the sums Σ_j (z_jsᵀr)(z_jtᵀr)/w_jst over the levels of a
grouping, and rᵀr, have expectations that are linear in the (co)variances. Equating each to its
expectation is the ANOVA method (Henderson 1953, Biometrics 9:226–252, method 1, with the fixed
effects projected out). In balanced designs these are the REML estimates, as long as no variance
comes out negative; in others they are near enough to save half of the search.

All columns are the scaled ones of the blocks.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import sparse

from mmlib.arrays import FloatArray, IntArray
from mmlib.frozen import Closing

SMALLEST, LARGEST = 0.05, 1e6
"""Bounds of the relative standard deviations of a start: zero would be a saddle."""


class MomentEquations(Closing):
    """The expectations of the sums of products, which depend on the design only.

    Parameters
    ----------
    own, fixed : list of ndarray, shapes (ℓ, S, S) and (ℓ, S, p)
        For each grouping the diagonal blocks of ZᵀZ, and ZᵀX with X orthonormal.
    cross : callable
        Z_gᵀZ_h of groupings g and h, sparse.
    dof : int
        n − p.
    """

    def __init__(
        self,
        own: list[FloatArray],
        fixed: list[FloatArray],
        cross: Callable[[int, int], sparse.csr_array],
        dof: int,
    ) -> None:
        self._own, self._fixed, self._cross = own, fixed, cross
        self._weights = [_level_weights(own) for own in self._own]
        self._triangles = [np.tril_indices(own.shape[1]) for own in self._own]
        explained = [fixed @ fixed.transpose(0, 2, 1) for fixed in self._fixed]
        rows, totals = [], []
        for g, (weights, triangle) in enumerate(zip(self._weights, self._triangles, strict=True)):
            left = self._own[g] - explained[g]
            noise = (weights * left).sum(axis=0)[triangle]
            parts = [self._expected(g, h, explained[g])[triangle] for h in range(len(self._own))]
            folded = [_fold(part, self._triangles[h]) for h, part in enumerate(parts)]
            rows.append(np.column_stack([*folded, noise]))
            totals.append(_fold(left.sum(axis=0), triangle))
        last = np.concatenate([*totals, [dof]])
        self._inverse = np.linalg.pinv(np.vstack([*rows, last]))
        self._close()

    def _expected(self, g: int, h: int, explained: FloatArray) -> FloatArray:
        """Coefficients of the covariances (u, v) of grouping h in the sums (s, t) of grouping g."""
        weights, U, V = self._weights[g], self._fixed[g], self._fixed[h]
        outer = np.einsum("jsta,jtb->stab", weights[:, :, :, None] * U[:, :, None], U)
        inner = np.einsum("kua,kvb->uvab", V, V)
        expected = np.tensordot(outer, inner, axes=((2, 3), (2, 3)))
        if g == h:
            weighted = weights[:, :, :, None] * self._own[g][:, :, None]
            expected += np.einsum("jstu,jtv->stuv", weighted, self._own[g])
            mixed = np.einsum("jstu,jvt->stuv", weighted, explained)
        else:
            mixed = np.zeros_like(expected)
            width, other = U.shape[1], V.shape[1]
            C = self._cross(g, h)
            parts = {(s, u): C[s::width, u::other] for s in range(width) for u in range(other)}
            for s, t, u, v in np.ndindex(width, width, other, other):
                products = parts[s, u].multiply(parts[t, v])
                expected[s, t, u, v] += weights[:, s, t] @ products.sum(axis=1)
                mixed[s, t, u, v] = weights[:, s, t] @ ((parts[s, u] @ V[:, v]) * U[:, t]).sum(1)
        return expected - mixed - mixed.transpose(1, 0, 3, 2)

    def templates(self, scores: list[FloatArray], total: float) -> list[FloatArray]:
        """Start templates, from Zᵀr of each grouping, shape (ℓ, S), and rᵀr."""
        sums = [
            np.einsum("jst,js,jt->st", weights, score, score)[triangle]
            for weights, score, triangle in zip(self._weights, scores, self._triangles, strict=True)
        ]
        ends = np.cumsum([len(triangle[0]) for triangle in self._triangles])
        *components, residual = np.split(self._inverse @ np.concatenate([*sums, [total]]), ends)
        variance = float(residual[0])
        return [
            _template(entries / variance if variance > 0 else 0 * entries, triangle)
            for entries, triangle in zip(components, self._triangles, strict=True)
        ]


def _level_weights(own: FloatArray) -> FloatArray:
    """1/√(z_sᵀz_s · z_tᵀz_t) of each level, 0 where a column is zero; shape (ℓ, S, S)."""
    norms = np.sqrt(np.diagonal(own, axis1=1, axis2=2))
    inverse = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    return inverse[:, :, None] * inverse[:, None, :]


def _fold(values: FloatArray, triangle: tuple[IntArray, IntArray]) -> FloatArray:
    """From coefficients of all (u, v), the last two axes, to those of the lower triangle."""
    rows, columns = triangle
    mirrored = np.where(rows == columns, 0.0, values[..., columns, rows])
    return values[..., rows, columns] + mirrored


def _template(entries: FloatArray, triangle: tuple[IntArray, IntArray]) -> FloatArray:
    """Lower-triangular root of a relative covariance, its eigenvalues brought within bounds."""
    size = int(triangle[0][-1]) + 1
    covariance = np.zeros((size, size))
    covariance[triangle] = entries
    eigenvalues, vectors = np.linalg.eigh(covariance)  # reads the lower triangle
    bounded = np.clip(eigenvalues, SMALLEST**2, LARGEST**2)
    return np.linalg.cholesky((vectors * bounded) @ vectors.T)
