"""Where the first grouping meets the others, and what eliminating it does to the rest."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from scipy import sparse
from scipy.linalg import blas

from mmlib.arrays import FloatArray, IntArray, Meeting
from mmlib.engine.elimination import Plan, pairs_within
from mmlib.engine.grouping import Grouping
from mmlib.engine.threads import threads_for
from mmlib.frozen import Closing

MAX_PAIRS = 10**8
"""Above this many stored products, the Schur complement is left to dense BLAS."""

PAIRS_AT_ONCE = 10**5

FEW_ENTRIES = 10**4
"""A matrix of up to so many entries is dense: calling a sparse one takes longer than it saves."""


class CrossBlock(Closing):
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
        self._matrix = _quick(self.matrix)
        self.pairs = list(combinations_with_replacement(range(self.width), 2))
        counts = np.bincount(self.level, minlength=self.n_levels)
        n_products = int((counts * (counts + 1) // 2).sum()) * len(self.pairs)
        self._products: list[sparse.csc_array | FloatArray] | None = None
        if n_products <= MAX_PAIRS or plan.rounds:
            self._multiply_pairs(counts)
        self._close()

    def _multiply_pairs(self, counts: IntArray) -> None:
        """A matrix for each pair (s, t): from the W_j[s, t] to the numbers that change."""
        ends = np.concatenate([[0], np.cumsum(counts)])
        pointers = np.concatenate([[0], np.cumsum(counts * (counts + 1) // 2)])
        position = np.empty(pointers[-1], dtype=np.int32 if self.plan.size < 2**31 else np.int64)
        data = [np.empty(pointers[-1]) for _ in self.pairs]
        occurs, diagonal = np.zeros((2, self.plan.size), dtype=bool)
        start = 0
        while start < self.n_levels:  # so many levels at a time that the pairs fit the cache
            stop = int(np.searchsorted(pointers, pointers[start] + PAIRS_AT_ONCE))
            stop = min(max(stop - 1, start + 1), self.n_levels)
            part = slice(pointers[start], pointers[stop])
            one, two = (cell + ends[start] for cell in pairs_within(counts[start:stop]))
            place = self.plan.positions(self.column[one], self.column[two])
            occurs[place] = True
            diagonal[place[one == two]] = True
            position[part] = place
            for (s, t), products in zip(self.pairs, data, strict=True):
                products[part] = self.cells[one, s] * self.cells[two, t]
                if s != t:
                    products[part] += self.cells[one, t] * self.cells[two, s]
            start = stop
        self._targets = np.flatnonzero(occurs)
        self._twice = np.where(diagonal[self._targets], 1.0, 2.0)
        rank = np.cumsum(occurs, dtype=position.dtype) - 1  # np.unique would sort
        row = np.take(rank, position, out=position, mode="clip")  # in place
        shape = (len(self._targets), self.n_levels)
        self._products = [
            _quick(sparse.csc_array((each, row, pointers), shape=shape)) for each in data
        ]

    def add_gram(self, flat: FloatArray, W: FloatArray, sign: float = 1.0) -> None:
        """Add ±G(W) to a flat vector."""
        if self._products is not None:
            for (s, t), products in zip(self.pairs, self._products, strict=True):
                flat[self._targets] += products @ (sign * W[:, s, t])
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
        with threads_for(self.q):
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
        adjoint = np.empty((self.n_levels, self.width, self.width))
        for (s, t), products in zip(self.pairs, self._products, strict=True):
            values = products.T @ weights
            adjoint[:, s, t] = adjoint[:, t, s] = values if s == t else values / 2
        return adjoint

    def project(self, columns: FloatArray) -> FloatArray:
        """Z_restᵀZ₁ times `columns` of shape (ℓ, S, c): shape (q_rest, c)."""
        return self._matrix.T @ columns.reshape(self.n_levels * self.width, -1)

    def lift(self, columns: FloatArray) -> FloatArray:
        """Z₁ᵀZ_rest times `columns` of shape (q_rest, c): shape (ℓ, S, c)."""
        return (self._matrix @ columns).reshape(self.n_levels, self.width, -1)


def _quick(matrix: sparse.csr_array | sparse.csc_array) -> Any:
    return matrix.toarray() if np.prod(matrix.shape) <= FEW_ENTRIES else matrix
