"""Cross-products without rows: of data in parts, of a slim fit, or out of a file.

Of data in parts they are sums, taken part by part in two passes, since cross-products of raw
columns would lose digits: the first sums those of [Z X y], with X orthonormal and Z scaled as
`mmlib.engine.blocks` has them; the second those of what the fixed effects leave of y, and of what
the levels of the first grouping leave of both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from operator import add
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular

from mmlib.arrays import FloatArray, IntArray, Meeting, meet, triangle_units, weigh
from mmlib.design.identify import refuse_tradable
from mmlib.design.parts import DesignOfParts, NoRows, Parts, Reader, Settled, no_rows
from mmlib.design.slim import slim_design
from mmlib.design.terms import n_entries
from mmlib.engine.blocks import Blocks, refuse_exact_fit
from mmlib.engine.grouping import Grouping, level_products, term_triangles


@dataclass(frozen=True, eq=False)
class _Part:
    """A part in the engine's columns."""

    basis: FloatArray
    y: FloatArray
    codes: list[IntArray]
    Z: list[FloatArray]


@dataclass(eq=False)
class _Met:
    """Meetings of two groupings, some of them several times until they are put together."""

    n_other: int
    found: list[Meeting]
    waiting: int = 0

    def __add__(self, other: _Met) -> _Met:
        both = _Met(
            self.n_other, self.found + other.found, self.waiting + len(other.found[0].level)
        )
        return both if both.waiting < 2 * len(both.found[0].level) else both.together()

    def together(self) -> _Met:
        """Each meeting once."""
        level = np.concatenate([each.level for each in self.found])
        other = np.concatenate([each.other for each in self.found])
        blocks = np.concatenate([each.blocks for each in self.found])
        cells, label = np.unique(level * self.n_other + other, return_inverse=True)
        sums = np.empty((len(cells), *blocks.shape[1:]))
        for s, t in np.ndindex(*blocks.shape[1:]):
            sums[:, s, t] = np.bincount(label, blocks[:, s, t], len(cells))
        return _Met(self.n_other, [Meeting(*np.divmod(cells, self.n_other), sums)])


@dataclass(eq=False)
class _Sums:
    """Arrays, and meetings, that are added up over the parts."""

    arrays: list[FloatArray]
    met: list[_Met] = field(default_factory=list)

    def __add__(self, other: _Sums) -> _Sums:
        for one, two in zip(self.arrays, other.arrays, strict=True):
            one += two
        return _Sums(self.arrays, [one + two for one, two in zip(self.met, other.met, strict=True)])


@dataclass(frozen=True, eq=False)
class _Columns:
    """Turns a frame into a part, and parts into the sums of both passes."""

    reader: Reader
    groupings: list[Grouping]
    R: FloatArray

    def part(self, frame: Any) -> _Part:
        rows = self.reader(frame)
        X = weigh(rows.root_weights, rows.X)
        place = {term: k for k, term in enumerate(self.reader.terms)}
        codes, Z = [], []
        for grouping in self.groupings:
            members = [place[term] for term in grouping.terms]
            values = np.hstack([rows.columns[k] for k in members]) @ grouping.basis
            codes.append(rows.codes[members[0]])
            Z.append(weigh(rows.root_weights, values))
        basis = solve_triangular(self.R, X.T, trans="T").T if X.shape[1] else X
        return _Part(basis, weigh(rows.root_weights, rows.y), codes, Z)

    def first_sums(self, frame: Any) -> _Sums:
        """Those of the first pass."""
        part, groupings = self.part(frame), self.groupings
        with_y = np.column_stack([part.basis, part.y])
        own, dense, met = [], [], []
        for grouping, codes, Z in zip(groupings, part.codes, part.Z, strict=True):
            own.append(level_products(codes, Z, Z, grouping.n_levels))
            dense.append(level_products(codes, Z, with_y, grouping.n_levels))
        for g, h in combinations(range(len(groupings)), 2):
            one, other = groupings[g].n_levels, groupings[h].n_levels
            found = meet((part.codes[g], one), part.Z[g], (part.codes[h], other), part.Z[h])
            met.append(_Met(other, [found]))
        return _Sums([*own, *dense, with_y.T @ with_y], met)

    def second_sums(
        self, ols: FloatArray, shift: FloatArray, explained: list[FloatArray], frame: Any
    ) -> _Sums:
        """Those of the second pass.

        `explained` is what the first grouping, if there is one, explains of [X y]: its
        coefficients, shape (ℓ, S, p+1).
        """
        part = self.part(frame)
        residual = part.y - part.basis @ ols
        total = residual @ residual
        residual -= part.basis @ shift
        within = np.column_stack([part.basis, residual])
        for fitted in explained:
            within -= np.einsum("is,isc->ic", part.Z[0], fitted[part.codes[0]])
        sums = [within.T @ within, np.array([total])]
        for k, (grouping, codes, Z) in enumerate(
            zip(self.groupings, part.codes, part.Z, strict=True)
        ):
            columns = residual[:, None] if k == 0 else np.column_stack([residual, within])
            sums.append(level_products(codes, Z, columns, grouping.n_levels))
        return _Sums(sums)


@dataclass(frozen=True, eq=False)
class CrossProducts:
    """What a fit needs of its rows: sums over them, in the columns that `Blocks` works in.

    Attributes
    ----------
    own, dense, meetings, R, ols, total_ss
        As `Blocks` has them.
    corner : ndarray, shape (p+1, p+1)
        What the levels of the first grouping leave of [X y]ᵀ[X y].
    borders : list of ndarray, shape (ℓ·S, p+1)
        The same of Zᵀ[X y] of each later grouping.
    shift : ndarray, shape (p,)
        How far `ols` is from the least-squares estimates.
    log_det_X : float
        As `Blocks` has it.
    """

    own: list[FloatArray]
    dense: list[FloatArray]
    meetings: dict[tuple[int, int], Meeting]
    R: FloatArray
    corner: FloatArray
    borders: list[FloatArray]
    ols: FloatArray
    shift: FloatArray
    total_ss: float
    log_det_X: float

    @classmethod
    def of(cls, blocks: Blocks) -> CrossProducts:
        """Those of blocks, which are all that is needed to make them again."""
        plan, within = blocks.plan, blocks.within
        return cls(
            own=blocks.own,
            dense=blocks.dense,
            meetings=dict(blocks.meetings),
            R=blocks.R,
            corner=plan.corner(within).copy(),
            borders=[within[plan.border_positions(each.ravel())] for each in plan.columns],
            ols=blocks.ols,
            shift=blocks._shift,
            total_ss=blocks.total_ss,
            log_det_X=blocks.log_det_X,
        )


class RowlessBlocks(Blocks):
    """Cross-products of a design without rows: one of parts, or a slim one."""

    basis = NoRows("the model matrix")
    response = NoRows("the response of each row")
    Zt = NoRows("the random effects of each row")
    columns = None

    def __init__(
        self, design: DesignOfParts, sums: CrossProducts, phi: FloatArray | None = None
    ) -> None:
        self._describe(design, phi)
        self.own, self.dense, self.meetings = sums.own, sums.dense, sums.meetings
        self._set_triangle(sums.R)
        self._arrange()
        self.log_det_X = sums.log_det_X
        self._finish(sums.corner, sums.borders, sums.ols, sums.shift, sums.total_ss)

    def _finish(
        self,
        corner: FloatArray,
        borders: list[FloatArray],
        ols: FloatArray,
        shift: FloatArray,
        total_ss: float,
    ) -> None:
        """What is left within the levels of the first grouping."""
        self.ols, self._shift, self.total_ss = ols, shift, total_ss
        self._set_within_inverse(corner[:-1, :-1])
        self.within = np.zeros(self.plan.size)
        self.plan.corner(self.within)[...] = corner
        self._fill_rest(borders)
        self._close()

    def __reduce__(self) -> Any:
        return RowlessBlocks, (self.design, CrossProducts.of(self), self.phi)

    @property
    def is_slim(self) -> bool:
        """Whether there were rows before."""
        return bool(vars(self)["design"].is_slim)

    def at(self, phi: FloatArray) -> Blocks:
        """The same, unless the residuals' covariance would be another."""
        if self.phi is not None and not np.array_equal(self.phi, phi):
            raise no_rows("the rows at another covariance of the residuals", slim=self.is_slim)
        return self

    def with_response(self, _: FloatArray) -> Blocks:
        """Refused: there are no rows for another response."""
        raise no_rows("the rows for another response", slim=self.is_slim)


class BlocksOfParts(RowlessBlocks):
    """Cross-products of data in parts, made in two passes over them."""

    def __init__(self, settled: Settled, parts: Parts) -> None:
        self._describe(settled.design)
        R = settled.R
        self._set_triangle(R)
        columns = _Columns(settled.reader, self.groupings, R)
        k, p = len(self.groupings), self.p
        sums = parts.sum(columns.first_sums, add)
        products, square = sums.arrays[:-1], sums.arrays[-1]
        self.own, self.dense = products[:k], products[k:]
        pairs = combinations(range(k), 2)
        self.meetings = {
            pair: met.together().found[0] for pair, met in zip(pairs, sums.met, strict=True)
        }
        self._arrange()
        self._refuse_absorbed()
        if not self.design.structured:
            refuse_tradable(self.design, self._changes())
        ols: FloatArray = np.linalg.solve(square[:p, :p], square[:p, -1])
        fitted: list[FloatArray] = []
        shift = np.zeros(p)
        if k:
            dense = self.dense[0]
            dense[:, :, -1] -= dense[:, :, :p] @ ols
            fitted = [self.inverse_root @ (self.inverse_root.transpose(0, 2, 1) @ dense)]
            between = np.einsum("lsc,lsd->cd", dense, fitted[0])
            left = square[:p] - between[:p]
            self._set_within_inverse(left[:, :p])
            shift = self._within_inverse @ (square[:p, -1] - square[:p, :p] @ ols - between[:p, -1])
            fitted[0][:, :, -1] -= fitted[0][:, :, :p] @ shift
        done = parts.sum(partial(columns.second_sums, ols, shift, fitted), add)
        within, total, *by_level = done.arrays
        refuse_exact_fit(float(total[0]), float(square[-1, -1]))
        for dense, found in zip(self.dense, by_level, strict=True):
            dense[:, :, -1] = found[:, :, 0]
        borders = [found[:, :, 1:] for found in by_level[1:]]
        self._finish(within, borders, ols + shift, shift, float(total[0]))

    def _changes(self) -> FloatArray:
        """How Var(y) moves with each variance and covariance, and with σ².

        A root of the inner products of these matrices, which are sums over cells.
        """
        terms = self.design.terms
        place = {t: (g, s) for g, each in enumerate(self.groupings) for t, s in each.spans.items()}
        ends = np.cumsum([0, *map(n_entries, terms)])
        gram = np.zeros((ends[-1] + 1, ends[-1] + 1))  # its lower triangle
        gram[-1, -1] = self.n
        for a, one in enumerate(terms):
            g, rows = place[one]
            total = self.own[g][:, rows, rows].sum(axis=0)
            gram[-1, ends[a] : ends[a + 1]] = np.tensordot(triangle_units(one.width), total)
            for b, other in enumerate(terms[: a + 1]):
                h, columns = place[other]
                cells = self._cells(g, h)[:, rows, columns]
                gram[ends[a] : ends[a + 1], ends[b] : ends[b + 1]] = _inner_products(cells)
        sizes = 1 / np.sqrt(np.diag(gram))
        squares, vectors = np.linalg.eigh(gram * np.outer(sizes, sizes))
        return vectors * np.sqrt(np.maximum(squares, 0.0))

    def _cells(self, g: int, h: int) -> FloatArray:
        """Cross-products of two groupings where their levels meet, shape (cells, S, T)."""
        if g == h:
            return self.own[g]
        blocks = self.meetings[min(g, h), max(g, h)].blocks
        return blocks if g < h else blocks.transpose(0, 2, 1)


def _inner_products(cells: FloatArray) -> FloatArray:
    """Those of Z(I ⊗ E)Zᵀ, of each entry of one term's covariance, with those of another term.

    Each is the sum over the cells C of tr(E C E′ Cᵀ).
    """
    s, t = cells.shape[1:]
    flat = cells.reshape(-1, s * t)
    both = (flat.T @ flat).reshape(s, t, s, t)
    return np.einsum("asu,stuv,btv->ab", triangle_units(s), both, triangle_units(t), optimize=True)


def slim_blocks(blocks: Blocks, quantiles: FloatArray) -> RowlessBlocks:
    """The cross-products without the rows that they were made of.

    Parameters
    ----------
    blocks : Blocks
    quantiles : ndarray
        Of the scaled residuals.
    """
    triangles = term_triangles(blocks.groupings)
    design = slim_design(blocks.design, triangles, blocks.whiten.log_det, quantiles)
    return RowlessBlocks(design, CrossProducts.of(blocks), blocks.phi)
