"""Where two groupings meet: Z₁ᵀZ of the others, and what eliminating the first does to the rest."""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
from scipy import sparse

from mmlib.arrays import FloatArray, IntArray
from mmlib.engine.grouping import Grouping

MAX_PAIRS = 3 * 10**7
"""Above this many stored products, the Schur complement is left to dense BLAS."""


def level_products(
    codes: IntArray, left: FloatArray, right: FloatArray, n_levels: int
) -> FloatArray:
    """Sum of ``left[i]ᵀ right[i]`` over the rows of each level, shape (ℓ, S, T)."""
    products = np.empty((n_levels, left.shape[1], right.shape[1]))
    for s in range(left.shape[1]):
        for t in range(right.shape[1]):
            products[:, s, t] = np.bincount(codes, left[:, s] * right[:, t], n_levels)
    return products


class CrossBlock:
    """Z₁ᵀZ_rest, stored where a level of the first grouping meets a column of the others.

    Eliminating the first grouping subtracts ``G(W) = Σ_j A_jᵀ W_j A_j`` from the rest. G is linear
    in the small matrices W_j, and which products it adds up never changes: they are multiplied
    once and kept as one sparse matrix, so that each new θ costs a sparse matrix times a vector.
    """

    def __init__(self, first: Grouping, values: FloatArray, rest: sparse.csr_array) -> None:
        self.n_levels, self.width, self.q = first.n_levels, first.width, rest.shape[1]
        entries = rest.tocoo()
        cells, inverse = np.unique(
            first.codes[entries.row] * self.q + entries.col, return_inverse=True
        )
        self.level, self.column = np.divmod(cells, self.q)
        left, ones = values[entries.row] * entries.data[:, None], np.ones((len(inverse), 1))
        self.cells = level_products(inverse, left, ones, len(cells))[:, :, 0]
        rows = self.level[:, None] * self.width + np.arange(self.width)
        self.matrix = sparse.coo_array(
            (self.cells.ravel(), (rows.ravel(), np.repeat(self.column, self.width))),
            shape=(self.n_levels * self.width, self.q),
        ).tocsr()
        self.pairs = list(combinations_with_replacement(range(self.width), 2))
        counts = np.bincount(self.level, minlength=self.n_levels)
        n_products = int((counts * (counts + 1) // 2).sum()) * len(self.pairs)
        self._products = self._pair_products(counts) if n_products <= MAX_PAIRS else None

    def _pair_products(self, counts: IntArray) -> sparse.csr_array:
        """Matrix from the W_j (upper triangles, pair after pair) to the upper triangle of G."""
        last = np.cumsum(counts)[self.level]
        partners = last - np.arange(len(self.level))
        one = np.repeat(np.arange(len(self.level)), partners)
        starts = np.cumsum(partners) - partners
        two = one + np.arange(len(one)) - np.repeat(starts, partners)
        cell = self.column[one] * self.q + self.column[two]
        occurs = np.zeros(self.q * self.q, dtype=bool)
        occurs[cell] = True
        place = np.flatnonzero(occurs)
        position = (np.cumsum(occurs, dtype=np.int32) - 1)[cell]  # np.unique would sort
        self._upper = place
        self._lower = (place % self.q) * self.q + place // self.q
        blocks = []
        for s, t in self.pairs:
            products = self.cells[one, s] * self.cells[two, t]
            if s != t:
                products += self.cells[one, t] * self.cells[two, s]
            shape = (len(place), self.n_levels)
            blocks.append(sparse.csr_array((products, (position, self.level[one])), shape=shape))
        return blocks[0] if len(blocks) == 1 else sparse.csr_array(sparse.hstack(blocks))

    def gram(self, W: FloatArray) -> FloatArray:
        """G(W) = Σ_j A_jᵀ W_j A_j, shape (q_rest, q_rest)."""
        if self._products is None:
            dense = self.matrix.toarray()
            weighted = (W @ dense.reshape(self.n_levels, self.width, self.q)).reshape(dense.shape)
            return dense.T @ weighted
        total = self._products @ np.concatenate([W[:, s, t] for s, t in self.pairs])
        gram = np.zeros(self.q * self.q)
        gram[self._upper] = total
        gram[self._lower] = total
        return gram.reshape(self.q, self.q)

    def gram_adjoint(self, K: FloatArray) -> FloatArray:
        """The A_j K A_jᵀ, shape (ℓ, S, S): the derivative of ⟨K, G(W)⟩ for a symmetric K."""
        if self._products is None:
            dense = self.matrix.toarray()
            shape = (self.n_levels, self.width, self.q)
            return (dense @ K).reshape(shape) @ dense.reshape(shape).transpose(0, 2, 1)
        weights = K.ravel()[self._upper]
        weights[self._upper != self._lower] *= 2
        packed = (self._products.T @ weights).reshape(len(self.pairs), self.n_levels)
        adjoint = np.empty((self.n_levels, self.width, self.width))
        for (s, t), values in zip(self.pairs, packed, strict=True):
            adjoint[:, s, t] = adjoint[:, t, s] = values if s == t else values / 2
        return adjoint

    def project(self, columns: FloatArray) -> FloatArray:
        """Z_restᵀZ₁ times `columns` of shape (ℓ, S, c): shape (q_rest, c)."""
        return self.matrix.T @ columns.reshape(self.n_levels * self.width, -1)

    def lift(self, columns: FloatArray) -> FloatArray:
        """Z₁ᵀZ_rest times `columns` of shape (q_rest, c): shape (ℓ, S, c)."""
        return (self.matrix @ columns).reshape(self.n_levels, self.width, -1)
