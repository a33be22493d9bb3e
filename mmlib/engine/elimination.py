"""In which order the random effects are eliminated, and what fills in.

Eliminating a level joins all that it meets (the fill of sparse Cholesky factorisation: George & Liu
1981, Computer Solution of Large Sparse Positive Definite Systems). The grouping with most effects
goes first; its levels never meet. The levels of the others are then taken in rounds: a round is a
set of levels that do not meet, so that its block is block-diagonal and all of them are eliminated
at once, as arrays. Where groupings are nested nothing fills in, and each of them is one round. What
meets too much of the rest, as in crossed designs, is left for the end: a dense matrix, the tail.

Numbers of one symmetric matrix, the cross-products of [Z_rest X y], lie in one flat vector: for
each round its diagonal blocks, its cells (where a level meets a column that goes later) and its
border (X and y), then the upper triangle of the tail, which has X and y as its last columns.
Columns are counted in the order in which they go: their places.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import sparse

from mmlib.arrays import FloatArray, IntArray, Meeting
from mmlib.engine.grouping import Grouping
from mmlib.errors import DataError
from mmlib.frozen import Closing

FEW = 150
"""So few levels are left to the tail, whatever they meet."""

MAX_SHARE = 0.1
"""A level that meets a larger share of those left would cost more alone than in the tail."""

ENOUGH = 0.02
"""A round of a smaller share of the levels left is not worth its arrays."""

CROWDED = 1.0
"""With more pairs that meet than this share of all, counted as often as they do, all go to the
tail unseen: so crossed are they."""

MAX_FILL = 10**8
"""Pairs of levels that are looked at to find what fills in; with more, all goes to the tail."""


COPIES = 6
"""Matrices of the size of the tail that a fit holds at once."""


def free_memory() -> float:
    """Bytes that this process can still take, as far as the system says."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return 1024.0 * next(int(line.split()[1]) for line in lines if "MemAvailable" in line)
    except (OSError, StopIteration):
        pass
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return np.inf


def pairs_within(counts: IntArray) -> tuple[IntArray, IntArray]:
    """All pairs (one ≤ two) of consecutive items, `counts` of which belong together."""
    n = int(counts.sum())
    last = np.repeat(np.cumsum(counts), counts)
    partners = last - np.arange(n)
    one = np.repeat(np.arange(n), partners)
    starts = np.cumsum(partners) - partners
    return one, one + np.arange(len(one)) - np.repeat(starts, partners)


def summing(labels: IntArray, n_labels: int) -> sparse.csr_array:
    """The matrix that sums items by their label."""
    ones = np.ones(len(labels))
    return sparse.csr_array((ones, (labels, np.arange(len(labels)))), (n_labels, len(labels)))


class Plan(Closing):
    """The order of elimination after the first grouping, and where each number is kept.

    Parameters
    ----------
    groupings : sequence of Grouping
    meetings : sequence of Meeting
        Of the first grouping with each of the others.
    n_dense : int
        Columns of [X y].

    Attributes
    ----------
    rounds : tuple of Round
    columns : tuple of ndarray, shape (ℓ, S)
        The places of the effects of each grouping after the first.
    tail_spans : tuple of (int, ndarray, slice)
        For each of these groupings its number, which of its levels are in the tail, and where.
    q, q_tail, m_tail : int
        Columns of Z_rest, those of them in the tail, and columns of the tail with X and y.
    size : int
        Length of the flat vector.
    """

    def __init__(
        self, groupings: Sequence[Grouping], meetings: Sequence[Meeting], n_dense: int
    ) -> None:
        self.n_dense = n_dense
        later = list(groupings[1:])
        n_levels = np.array([g.n_levels for g in later], dtype=np.intp)
        offsets = np.concatenate([[0], np.cumsum(n_levels)]).astype(np.intp)
        owner = np.repeat(np.arange(len(later)), n_levels)
        width = np.array([g.width for g in later], dtype=np.intp)[owner]
        waves, tail = _waves(_incidence(groupings, meetings), owner)

        order = np.concatenate([*(nodes for nodes, _ in waves), tail]).astype(np.intp)
        first_place = np.empty(len(order), dtype=np.intp)
        first_place[order] = np.cumsum(width[order]) - width[order]
        self.columns = [
            first_place[offsets[k] : offsets[k + 1], None] + np.arange(g.width)
            for k, g in enumerate(later)
        ]
        self.q = int(width.sum())
        self.q_tail = int(width[tail].sum())
        self.m_tail = self.q_tail + n_dense
        self.rounds: list[Round] = []
        base = 0
        for nodes, neighbours in waves:
            k = int(owner[nodes[0]])
            level, column = _expand(neighbours, first_place, width)
            levels = nodes - offsets[k]
            start = int(first_place[nodes[0]])
            each = Round(k + 1, levels, later[k].width, start, level, column, base, self)
            self.rounds.append(each)
            base = each.end
        self.tail_start = base
        self.size = base + self.m_tail**2
        self._refuse_too_large([later[k].name for k in np.unique(owner[tail])])
        self.tail_spans = []
        for k, g in enumerate(later):
            levels = tail[owner[tail] == k] - offsets[k]
            if len(levels):
                start = int(self.columns[k][levels[0], 0]) - (self.q - self.q_tail)
                self.tail_spans.append((k + 1, levels, slice(start, start + len(levels) * g.width)))
        self.border = self._border_starts()
        for each in self.rounds:
            each.connect(self)
        self._close()

    def _refuse_too_large(self, names: list[str]) -> None:
        """Refuse a tail that does not fit the memory, before it is made."""
        needed, free = COPIES * 8 * self.m_tail**2, free_memory()
        if needed > free:
            raise DataError(
                f"the levels of {' and '.join(map(repr, names))} meet those of other groupings so "
                f"often that {self.q_tail:,} effects have to be kept as one dense matrix: the fit "
                f"needs about {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free; "
                "use a machine with more, or a coarser grouping."
            )

    def _border_starts(self) -> IntArray:
        """Where the numbers of each place and X and y begin in the flat vector."""
        rank = np.arange(self.q) - (self.q - self.q_tail)
        starts = self.tail_start + rank * self.m_tail + self.q_tail
        for each in self.rounds:
            own = np.arange(each.n * each.width) * self.n_dense
            starts[each.start : each.start + len(own)] = each.border_start + own
        return starts

    def positions(self, one: IntArray, two: IntArray) -> IntArray:
        """Where in the flat vector the numbers of places ``one ≤ two`` are kept."""
        rank = one - (self.q - self.q_tail)
        found = self.tail_start + rank * self.m_tail + (two - (self.q - self.q_tail))
        for each in self.rounds:
            own = np.flatnonzero((one >= each.start) & (one < each.stop))
            if len(own):
                found[own] = each.positions(one[own], two[own])
        return found

    def border_positions(self, places: IntArray) -> IntArray:
        """Where the numbers of places and X and y are kept, shape (k, p + 1)."""
        return self.border[places][:, None] + np.arange(self.n_dense)

    def tail(self, flat: FloatArray) -> FloatArray:
        """The tail of a flat vector, shape (m, m): a view."""
        return flat[self.tail_start :].reshape(self.m_tail, self.m_tail)

    def corner(self, flat: FloatArray) -> FloatArray:
        """The cross-products of X and y in a flat vector: a view."""
        return self.tail(flat)[self.q_tail :, self.q_tail :]


class Round(Closing):
    """Levels of one grouping that do not meet once those before them are gone.

    Attributes
    ----------
    grouping : int
        Number of the grouping.
    levels : ndarray, shape (n,)
    level, column : ndarray, shape (cells,)
        The cells: which level of the round meets which place that goes later.
    """

    def __init__(
        self,
        grouping: int,
        levels: IntArray,
        width: int,
        start: int,
        level: IntArray,
        column: IntArray,
        base: int,
        plan: Plan,
    ) -> None:
        self.grouping, self.levels, self.width = grouping, levels, width
        self.n, self.n_dense = len(levels), plan.n_dense
        self.start, self.stop = start, start + self.n * width
        self.level, self.column = level, column
        self._q = plan.q
        self._keys = level * self._q + column
        self.base = base
        self._cells_start = base + self.n * width**2
        self.border_start = self._cells_start + len(level) * width
        self.end = self.border_start + self.n * width * self.n_dense

    def positions(self, one: IntArray, two: IntArray) -> IntArray:
        """As `Plan.positions`, for places `one` of this round."""
        level, s = np.divmod(one - self.start, self.width)
        within = two - self.start - level * self.width
        own = self.base + (level * self.width + s) * self.width + within
        cell = np.searchsorted(self._keys, level * self._q + two)
        return np.where(within < self.width, own, self._cells_start + cell * self.width + s)

    def connect(self, plan: Plan) -> None:
        """Find where the products of the cells of a level go."""
        counts = np.bincount(self.level, minlength=self.n)
        one, two = pairs_within(counts)
        position = plan.positions(self.column[one], self.column[two])
        order = np.argsort(position, kind="stable")
        self.one, self.two, position = one[order], two[order], position[order]
        self.targets, self.first_of_target = np.unique(position, return_index=True)
        apart = self.one != self.two
        rows = np.concatenate([self.one, self.two[apart]])
        columns = np.concatenate([self.two, self.one[apart]])
        where = np.concatenate([position, position[apart]])
        order = np.lexsort((columns, rows))
        self.partner, self.where = columns[order], where[order]
        self.pointers = np.concatenate([[0], np.cumsum(np.repeat(counts, counts))])
        places, label = np.unique(self.column, return_inverse=True)
        self.by_place = summing(label, len(places))
        self.by_level = summing(self.level, self.n)
        self.place_borders = plan.border_positions(places)
        self.cell_borders = plan.border[self.column]
        self._close()

    def views(self, flat: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Diagonal blocks (n, S, S), cells (cells, S) and border (n, S, p+1) in flat vectors."""
        more = flat.shape[:-1]
        diagonal = flat[..., self.base : self._cells_start]
        cells = flat[..., self._cells_start : self.border_start]
        border = flat[..., self.border_start : self.end]
        return (
            diagonal.reshape(*more, self.n, self.width, self.width),
            cells.reshape(*more, -1, self.width),
            border.reshape(*more, self.n, self.width, self.n_dense),
        )

    def partners_times(self, flat: FloatArray, cells: FloatArray) -> FloatArray:
        """For each cell the sum over those of its level: numbers of the two places times cell."""
        shape = (len(cells), len(cells))
        return sparse.csr_array((flat[self.where], self.partner, self.pointers), shape) @ cells


def _incidence(groupings: Sequence[Grouping], meetings: Sequence[Meeting]) -> sparse.csr_array:
    """Which levels of the later groupings each level of the first meets."""
    n_first = groupings[0].n_levels if groupings else 0
    met = [
        sparse.csr_array(
            (np.ones(len(met.level), dtype=np.int32), (met.level, met.other)),
            shape=(n_first, grouping.n_levels),
        )
        for met, grouping in zip(meetings, groupings[1:], strict=True)
    ]
    return sparse.hstack([sparse.csr_array((n_first, 0), dtype=np.int32), *met], format="csr")


Waves = list[tuple[IntArray, sparse.csr_array]]


def _waves(incidence: sparse.csr_array, owner: IntArray) -> tuple[Waves, IntArray]:
    """The rounds, each with what its levels meet when they go, and the levels of the tail."""
    waves: Waves = []
    left = np.arange(incidence.shape[1])
    counts = np.diff(incidence.indptr).astype(np.int64)
    fill = int((counts * (counts - 1)).sum())
    if len(left) <= FEW or fill > min(MAX_FILL, CROWDED * len(left) ** 2):
        return waves, left
    graph = _without_loops(incidence.T @ incidence)
    luck = np.random.default_rng(0).permutation(len(left))  # the same order in every fit
    while len(left) > FEW:
        degree = np.diff(graph.indptr)
        rank = np.empty(len(left), dtype=np.intp)
        rank[np.lexsort((luck[left], degree))] = np.arange(len(left))
        chosen = (rank < _lowest(graph, rank)) & (degree < MAX_SHARE * len(left))
        fill = int((degree[chosen].astype(np.int64) ** 2).sum())
        if chosen.sum() < ENOUGH * len(left) or fill > MAX_FILL:
            break
        gone, kept = np.flatnonzero(chosen), np.flatnonzero(~chosen)
        for k in np.unique(owner[left[gone]]):
            of_one = gone[owner[left[gone]] == k]
            rows = graph[of_one]
            shape = (len(of_one), len(owner))
            neighbours = sparse.csr_array((rows.data, left[rows.indices], rows.indptr), shape)
            waves.append((left[of_one], neighbours))
        joined = graph[kept][:, gone] @ graph[gone][:, kept]
        graph = _without_loops(graph[kept][:, kept] + joined)
        left = left[kept]
    return waves, left


def _without_loops(graph: sparse.csr_array) -> sparse.csr_array:
    """The graph with edges of weight 1 and none from a node to itself."""
    edges = graph.tocoo()
    apart = edges.row != edges.col
    ones = np.ones(int(apart.sum()), dtype=np.int32)
    return sparse.csr_array((ones, (edges.row[apart], edges.col[apart])), shape=graph.shape)


def _lowest(graph: sparse.csr_array, rank: IntArray) -> IntArray:
    """The lowest rank among the neighbours of each node."""
    lowest = np.full(len(rank), len(rank), dtype=np.intp)
    some = np.flatnonzero(np.diff(graph.indptr))
    if len(some):
        lowest[some] = np.minimum.reduceat(rank[graph.indices], graph.indptr[some])
    return lowest


def _expand(
    neighbours: sparse.csr_array, first_place: IntArray, width: IntArray
) -> tuple[IntArray, IntArray]:
    """The cells of a round, sorted: rows of `neighbours`, and places of what they meet."""
    nodes = neighbours.indices
    counts = width[nodes]
    level = np.repeat(np.repeat(np.arange(neighbours.shape[0]), np.diff(neighbours.indptr)), counts)
    within = np.arange(len(level)) - np.repeat(np.cumsum(counts) - counts, counts)
    column = np.repeat(first_place[nodes], counts) + within
    order = np.lexsort((column, level))
    return level[order], column[order]
