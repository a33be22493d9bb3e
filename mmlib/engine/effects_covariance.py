"""Covariance of the errors of random and fixed effects, as an operator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from scipy.linalg import solve_triangular

from mmlib.arrays import FloatArray, IntArray, random_matrix
from mmlib.engine.factor import Factor
from mmlib.frozen import Closing

CHUNK = 4096
"""Rows whose dense products are held in memory at once."""


class EffectsCovariance(Closing):
    """Covariance of the errors (b̂ − b, β̂ − β), over σ², without the q×q matrix.

    Once all that goes later is given, the effects of a round of the elimination are independent
    between levels with variance W_j, and follow the later ones through −W_j A_j. So the covariance
    is C = E diag(W₁, W₂, …, K) Eᵀ with W block-diagonal, K the covariance of the tail and of β̂,
    dense but small, and E = E₁E₂…, E_r = [I −W_rA_r; 0 I]. With W = VVᵀ a combination of errors, a
    row z, has the root z E diag(V₁, V₂, …, K^½): its variance is the sum of the root's squares.

    All is for the scaled columns of Z and the orthonormal basis of X that the factor works in.

    Parameters
    ----------
    factor : Factor
        The Cholesky factor at the estimates.
    beta_estimated : bool
        Otherwise β is taken as known: Var(b | y).
    """

    def __init__(self, factor: Factor, *, beta_estimated: bool = True) -> None:
        blocks, plan = factor.blocks, factor.plan
        self.factor, self.blocks = factor, blocks
        self._p = blocks.p * beta_estimated
        self._dense_root = factor.tail_root(plan.q_tail + self._p)
        self.n_dense = self._dense_root.shape[1]
        self._steps: list[tuple[sparse.csr_array, sparse.csr_array]] = []
        p = self._p
        self._order = np.concatenate([np.zeros(0, dtype=np.intp), *map(np.ravel, plan.columns)])
        if blocks.groupings:
            dense = blocks.dense[0][:, :, :p].reshape(blocks.groupings[0].n_effects, p)
            A = [sparse.csr_array(dense)]
            if blocks.cross is not None:
                A.insert(0, blocks.cross.matrix)
            self._add_step(factor.W, sparse.hstack(A, format="csr"))
        for gone in factor.rounds:
            each = gone.round
            n_later = plan.q + p - each.stop
            place = each.level[:, None] * each.width + np.arange(each.width)
            columns = np.repeat(each.column - each.stop, each.width)
            A = [
                sparse.csr_array(
                    (gone.A.ravel(), (place.ravel(), columns)),
                    shape=(each.n * each.width, n_later - p),
                ),
                sparse.csr_array(gone.B[:, :, :p].reshape(each.n * each.width, p)),
            ]
            self._add_step(gone.W, sparse.hstack(A, format="csr"))
        self._close()

    def _add_step(self, W: FloatArray, A: sparse.csr_array) -> None:
        sizes, vectors = np.linalg.eigh(W) if W.shape[1] > 1 else (W[:, 0], np.ones_like(W))
        roots = vectors * np.sqrt(np.maximum(sizes, 0.0))[:, None]
        self._steps.append((_block_diagonal(roots), _block_diagonal(W) @ A))

    def rows(
        self, X: FloatArray, effects: Sequence[tuple[IntArray, FloatArray]]
    ) -> sparse.csr_array:
        """Rows (z, x) of combinations zᵀb + xᵀβ, in the order of the errors.

        `effects` has codes and values for each grouping of `blocks`; a negative code is a level
        that the fit has not seen, and takes no part.
        """
        Z = [
            random_matrix(
                np.maximum(codes, 0),
                (values @ grouping.basis) * (codes >= 0)[:, None],
                grouping.n_levels,
            )
            for grouping, (codes, values) in zip(self.blocks.groupings, effects, strict=True)
        ]
        basis = solve_triangular(self.blocks.R, X.T, trans="T").T if self.blocks.p else X
        return self._by_place(Z, basis)

    def own_rows(self) -> sparse.csr_array:
        """The rows (z, x) of the data, whitened."""
        return self._by_place([Zt.T for Zt in self.blocks.Zt], self.blocks.basis[:, : self._p])

    def _by_place(self, Z: Sequence[sparse.csr_array], dense: FloatArray) -> sparse.csr_array:
        """Rows side by side, the effects after the first grouping by their places."""
        later = sparse.hstack([*Z[1:], sparse.csr_array((len(dense), 0))], format="csr")
        placed = sparse.csr_array(
            (later.data, self._order[later.indices], later.indptr), shape=later.shape
        )
        return sparse.hstack([*Z[:1], placed, sparse.csr_array(dense)], format="csr")

    def root(self, rows: sparse.csr_array) -> tuple[sparse.csr_array, FloatArray]:
        """A root of the covariance of combinations: a sparse part, and a dense one for the tail.

        The covariance of two of them is the product of their rows, in both parts together.
        """
        parts = [sparse.csr_array((rows.shape[0], 0))]
        for half, through in self._steps:
            own, rows = rows[:, : half.shape[0]], rows[:, half.shape[0] :]
            parts.append(own @ half)
            rows = rows - own @ through
        return sparse.hstack(parts, format="csr"), rows @ self._dense_root

    def variances(self, rows: sparse.csr_array) -> FloatArray:
        """Variance of each combination."""
        variances = np.empty(rows.shape[0])
        for start in range(0, len(variances), CHUNK):
            part, dense = self.root(rows[start : start + CHUNK])
            variances[start : start + CHUNK] = part.multiply(part).sum(axis=1)
            variances[start : start + CHUNK] += np.einsum("ij,ij->i", dense, dense)
        return variances

    def matrix(self, rows: sparse.csr_array) -> FloatArray:
        """Covariance matrix of a few combinations."""
        part, dense = self.root(rows)
        return (part @ part.T).toarray() + dense @ dense.T

    def with_beta(self, dense: FloatArray) -> FloatArray:
        """Covariance with β̂, in the orthonormal basis of X, of combinations with a root: (k, p)."""
        return dense @ self._dense_root[len(self._dense_root) - self.blocks.p :].T


def _block_diagonal(blocks: FloatArray) -> sparse.csr_array:
    n = len(blocks)
    return sparse.bsr_array((blocks, np.arange(n), np.arange(n + 1))).tocsr()
