"""Where the first grouping meets the others, and what eliminating it does to the rest."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np
from scipy import sparse
from scipy.linalg import blas

from mmlib.arrays import FloatArray, IntArray
from mmlib.engine.elimination import Meeting, Plan, pairs_within
from mmlib.engine.grouping import Grouping

MAX_PAIRS = 3 * 10**7
"""Above this many stored products, the Schur complement is left to dense BLAS."""


class CrossBlock:
    """Z₁ᵀZ_rest, stored where a level of the first grouping meets a place of the others.

    Eliminating the first grouping subtracts ``G(W) = Σ_j A_jᵀ W_j A_j`` from the rest. G is linear
    in the small matrices W_j, and which products it adds up never changes: they are multiplied
    once and kept as one sparse matrix, so that each new θ costs a sparse matrix times a vector.
    """

    def __init__(self, first: Grouping, meetings: Sequence[Meeting], plan: Plan) -> None:
        self.plan = plan
        self.n_levels, self.width, self.q = first.n_levels, first.width, plan.q
        levels, columns, cells = [], [], []
        for meeting, places in zip(meetings, plan.columns, strict=True):
            breadth = places.shape[1]
            levels.append(np.repeat(meeting.level, breadth))
            columns.append(places[meeting.other].ravel())
            cells.append(meeting.blocks.transpose(0, 2, 1).reshape(-1, self.width))
        level, column = np.concatenate(levels), np.concatenate(columns)
        order = np.lexsort((column, level))
        self.level, self.column = level[order], column[order]
        self.cells: FloatArray = np.concatenate(cells)[order]
        rows = self.level[:, None] * self.width + np.arange(self.width)
        self.matrix = sparse.coo_array(
            (self.cells.ravel(), (rows.ravel(), np.repeat(self.column, self.width))),
            shape=(self.n_levels * self.width, self.q),
        ).tocsr()
        self.pairs = list(combinations_with_replacement(range(self.width), 2))
        counts = np.bincount(self.level, minlength=self.n_levels)
        n_products = int((counts * (counts + 1) // 2).sum()) * len(self.pairs)
        self._products: sparse.csr_array | None = None
        if n_products <= MAX_PAIRS or plan.rounds:
            self._multiply_pairs(counts)

    def _multiply_pairs(self, counts: IntArray) -> None:
        """Matrix from the W_j (upper triangles, pair after pair) to the numbers that change."""
        one, two = pairs_within(counts)
        position = self.plan.positions(self.column[one], self.column[two])
        occurs = np.zeros(self.plan.size, dtype=bool)
        occurs[position] = True
        self._targets = np.flatnonzero(occurs)
        row = (np.cumsum(occurs, dtype=np.intp) - 1)[position]  # np.unique would sort
        diagonal = np.zeros(self.plan.size, dtype=bool)
        diagonal[position[one == two]] = True
        self._twice = np.where(diagonal[self._targets], 1.0, 2.0)
        blocks = []
        for s, t in self.pairs:
            products = self.cells[one, s] * self.cells[two, t]
            if s != t:
                products += self.cells[one, t] * self.cells[two, s]
            shape = (len(self._targets), self.n_levels)
            blocks.append(sparse.csr_array((products, (row, self.level[one])), shape=shape))
        self._products = blocks[0] if len(blocks) == 1 else sparse.csr_array(sparse.hstack(blocks))

    def add_gram(self, flat: FloatArray, W: FloatArray, sign: float = 1.0) -> None:
        """Add ±G(W) to a flat vector."""
        if self._products is not None:
            total = self._products @ np.concatenate([W[:, s, t] for s, t in self.pairs])
            flat[self._targets] += sign * total
            return
        sizes, vectors = np.linalg.eigh(W)
        half = vectors * np.sqrt(np.abs(sizes))[:, None]
        for direction in (1.0, -1.0):
            part = half * (direction * sizes > 0)[:, None]
            if part.any():
                self._add_squares(flat, part, sign * direction)

    def _add_squares(self, flat: FloatArray, half: FloatArray, sign: float) -> None:
        """Add ±G(half·halfᵀ) by the symmetric kernel of BLAS, to the upper triangle."""
        dense = self.matrix.toarray().reshape(self.n_levels, self.width, self.q)
        rows = (half.transpose(0, 2, 1) @ dense).reshape(self.matrix.shape)
        gram = blas.dsyrk(sign, rows.T, lower=1)  # lower in Fortran's order is upper in ours
        self.plan.tail(flat)[: self.q, : self.q] += gram.T

    def gram_adjoint(self, flat: FloatArray) -> FloatArray:
        """The A_j K A_jᵀ, shape (ℓ, S, S), for K in a flat vector: the derivative of ⟨K, G(W)⟩."""
        if self._products is None:
            dense = self.matrix.toarray()
            shape = (self.n_levels, self.width, self.q)
            K = self.plan.tail(flat)[: self.q, : self.q]
            return (dense @ K).reshape(shape) @ dense.reshape(shape).transpose(0, 2, 1)
        weights = flat[self._targets] * self._twice
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
