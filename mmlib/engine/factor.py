"""The blocked Cholesky factor of Ω(θ), and all that is read off it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import NamedTuple

import numpy as np
from scipy.linalg import blas, lapack

from mmlib.arrays import FloatArray, IntArray, Numbers
from mmlib.design.terms import RandomTerm, templates
from mmlib.engine.blocks import Blocks
from mmlib.engine.elimination import Plan, Round
from mmlib.engine.reflections import Reduced
from mmlib.engine.threads import threads_for
from mmlib.errors import DataError
from mmlib.frozen import Closing

NOTHING_LEFT = 1e-8
"""Residuals below this share of those of the fixed effects alone are lost in cross-products,"""

NOTHING_AT_ALL = 1e-12
"""and below this one in the columns themselves."""

ROUGH = 1e-11
"""Beyond this rounding the factor comes from the columns, if they are few."""

LARGE = 1e3
"""Templates with entries above this are factored by singular values, which takes longer."""

EPSILON = float(np.finfo(float).eps)

BREAKDOWN = (
    "θ is so large that rounding leaves nothing of the residual variance, or all effects together "
    "fit the response exactly; use a coarser grouping or fewer random effects."
)


class BreakdownError(DataError):
    """The factor cannot be computed at a θ."""


@dataclass(frozen=True)
class Modes:
    """What the back-solves give: β̃ in the orthonormal basis, and b of each grouping, (ℓ, S)."""

    beta: FloatArray
    b: list[FloatArray]


@dataclass(frozen=True, eq=False)
class Eliminated:
    """A round that is gone: what it was, and what it has become. Its numbers may be complex.

    Attributes
    ----------
    round : Round
    D, A, B : ndarray, shapes (n, S, S), (cells, S), (n, S, p+1)
        Its diagonal blocks, cells and border when it went.
    log_det, N, W, shrink : ndarray, shapes (n,) and (n, S, S)
        What its levels shrink by (`shrunk`).
    """

    round: Round
    D: Numbers
    A: Numbers
    B: Numbers
    log_det: FloatArray
    N: FloatArray
    W: Numbers
    shrink: Numbers

    @classmethod
    def out_of(
        cls, flat: Numbers, each: Round, plan: Plan, lam: FloatArray, step: FloatArray | None = None
    ) -> Eliminated:
        """Take a round out of the flat vector, and its part out of what stays."""
        D, A, B = each.views(flat)
        for s, t in zip(*np.triu_indices(each.width, 1), strict=True):
            D[:, t, s] = D[:, s, t]
        log_det, N, W, shrink = shrunk(D, lam, step)
        WB = W @ B
        if len(A):
            WA = np.einsum("kst,kt->ks", W[each.level], A)
            products = np.einsum("ks,ks->k", A[each.one], WA[each.two])
            flat[each.targets] -= np.add.reduceat(products, each.first_of_target)
            border = np.einsum("ks,ksd->kd", A, WB[each.level])
            flat[each.place_borders] -= each.by_place @ border
        rows = B.reshape(-1, plan.n_dense)
        plan.corner(flat)[...] -= rows.T @ WB.reshape(rows.shape)
        return cls(each, D, A, B, log_det, N, W, shrink)

    def recover(self, flat: Numbers, plan: Plan, p: int) -> tuple[Numbers, Numbers]:
        """Put the covariances of the round into a flat vector, from those of what goes later.

        Returns A_j K A_jᵀ of its levels, shape (n, S, S), and A_j K between them and X, (n, S, p).
        """
        each, A, B = self.round, self.A, self.B[:, :, :p]
        diagonal, cells, border = each.views(flat)
        with_beta = plan.corner(flat)[:p, :p] @ B.transpose(0, 2, 1)
        spread = B @ with_beta
        if len(A):
            met = each.partners_times(flat, A)
            if p:
                borders = flat[each.cell_borders[:, None] + np.arange(p)]
                met += np.einsum("kp,ksp->ks", borders, B[each.level])
                reached = each.by_level @ (borders[:, :, None] * A[:, None, :]).reshape(len(A), -1)
                through = reached.reshape(with_beta.shape)
                with_beta += through
                spread += B @ through
            products = (A[:, :, None] * met[:, None, :]).reshape(len(A), -1)
            spread += (each.by_level @ products).reshape(spread.shape)
            cells[...] = -np.einsum("kst,kt->ks", self.W[each.level], met)
        border[:, :, :p] = -self.W @ with_beta.transpose(0, 2, 1)
        diagonal[...] = self.W + self.W @ spread @ self.W
        return spread, with_beta.transpose(0, 2, 1)


def shrunk(
    D: Numbers, lam: FloatArray, step: FloatArray | None = None
) -> tuple[FloatArray, FloatArray, Numbers, Numbers]:
    """log|F|, N = λF⁻¹, W = Nλᵀ and I − DW of levels with cross-products D, (…, S, S).

    F = λᵀDλ + I is symmetric: DΣ + I with Σ = λλᵀ loses digits where Σ is large and singular. Where
    D, or Σ by a `step`, leaves the real line, dW = (I − DW)ᵀ dΣ (I − DW) − W dD W.
    """
    own, lam_t = D.real, np.swapaxes(lam, -1, -2)
    F = lam_t @ own @ lam + np.eye(D.shape[-1])
    one = D.shape[-1] == 1
    log_det = np.log(F[..., 0, 0]) if one else np.linalg.slogdet(F)[1]
    N = lam / F if one else lam @ np.linalg.inv(F)
    W = N @ lam_t
    shrink = 1 / F if one else np.eye(D.shape[-1]) - own @ W
    if step is None and not np.iscomplexobj(D):
        return log_det, N, W, shrink
    change = -W @ D.imag @ W
    if step is not None:
        change = change + np.swapaxes(shrink, -1, -2) @ step @ shrink
    return log_det, N, W + 1j * change, shrink - 1j * (D.imag @ W + own @ change)


def template_slope(D: Numbers, N: FloatArray, shrink: Numbers, W_bar: FloatArray) -> FloatArray:
    """Derivative in λ of Σ_j log|F_j|, and of what moves by ⟨W̄_j, dW_j⟩: shape (…, S, S)."""
    return np.asarray(2 * (D @ N + shrink @ (W_bar @ N)).sum(axis=-3))


@dataclass(frozen=True, eq=False)
class Covariances:
    """Var(b | y)/σ², or Var(b̂ − b, β̂)/σ², where the engine needs it (Takahashi et al. 1973).

    Attributes
    ----------
    flat : ndarray
        As `Plan` keeps numbers; zeros for y, and for X where β is taken as known.
    spreads : list of ndarray, shape (n, S, S)
        A_j K A_jᵀ of the levels of each round, K being the covariance of what they meet.
    tail_slopes : list of ndarray, shape (S, S)
        Derivative of the log-determinant in the template of each grouping of the tail.
    """

    flat: FloatArray
    spreads: list[FloatArray]
    tail_slopes: list[FloatArray]


class Solution(NamedTuple):
    """What the back-solves give.

    Attributes
    ----------
    negative : ndarray, shape (q_rest + p + 1,)
        (−b, −β̃, 1), with the effects after the first grouping by their places.
    scores : list of ndarray, shape (n, S)
        For the first grouping and each round A_j(−b, −β̃, 1), of which its modes are W_j times.
    tail : ndarray
        (−u, −β̃, 1) of the tail, b = B u.
    """

    negative: FloatArray
    scores: list[FloatArray]
    tail: FloatArray


class Factor(Closing):
    """Blocked Cholesky factor of Ω(θ): log-determinants, residual sum of squares, back-solves.

    With λ, A_j the template and cross-products of level j of the first grouping,

        F_j = λᵀA_jλ + I,   W_j = λ F_j⁻¹ λᵀ,   T = A00 − Σ_j A_j0ᵀ W_j A_j0.

    T is what is left for the other groupings, X and y. It has the form of A00, so that further
    groupings go in the same way, round after round (see `mmlib.engine.elimination`). Of the tail
    S = BᵀTB + I is factored, where B applies the templates and leaves X and y as they are. All of
    it, the templates included, is for the scaled columns of Z. The difference in T would lose
    digits where λ is large; with A_j = R_jᵀR_j, and `within` what each level leaves of A00, it is

        T = within + Σ_j A_j0ᵀ U_j A_j0,   U_j = A_j⁺ − W_j = R_j⁺ (R_jλλᵀR_jᵀ + I)⁻¹ R_j⁺ᵀ.

    Attributes
    ----------
    rounds : tuple of Eliminated
    flat : ndarray
        Each round as it was when it went, and the tail (see `mmlib.engine.elimination`).
    T : ndarray, shape (m, m)
        The tail before it is factored.
    L : ndarray, shape (m, m)
        Its factor, lower triangular.
    rounding : float
        How well the residual sum of squares is known, relative to it.
    """

    def __init__(self, blocks: Blocks, templates: list[FloatArray]) -> None:
        self.blocks, self.plan = blocks, blocks.plan
        self.templates = templates
        p, q = blocks.p, self.plan.q_tail
        flat = self.flat = blocks.within.copy()
        log_det_Z = 0.0
        if blocks.groupings:
            log_det_Z, self.N, self.U = _eliminate(blocks, self.templates[0])
            self.W = self.N @ self.templates[0].T
            blocks.add_gram(flat, self.U)
        before = self.plan.corner(flat).diagonal().copy()
        self.rounds: list[Eliminated] = []
        for each in self.plan.rounds:
            gone = Eliminated.out_of(flat, each, self.plan, self.templates[each.grouping])
            self.rounds.append(gone)
            log_det_Z += float(gone.log_det.sum())
        self.T = mirror_upper(self.plan.tail(flat))
        S = self._times_rows(self._columns_times(self.T.copy()))
        S.flat[: q * len(S) : len(S) + 1] += 1.0
        with threads_for(len(S)):
            self.L, info = lapack.dpotrf(S.T, lower=1, overwrite_a=1)  # S is symmetric: no copy
        diagonal, least = self.L.diagonal(), NOTHING_LEFT
        broken = info > 0 or diagonal[-1] <= least * np.sqrt(blocks.total_ss)
        self.rounding = 1.0 if broken else EPSILON * float((before / diagonal[q:] ** 2).max())
        rough = self.rounding > ROUGH or (
            blocks.groupings and EPSILON * blocks.level_condition > ROUGH
        )
        self.reduced = self._reduced() if rough else None
        if self.reduced is not None:
            self.L, self.rounding = self.reduced.L, self.reduced.rounding
            diagonal, least = self.L.diagonal(), NOTHING_AT_ALL
        if self.rounding == 1.0 or diagonal[-1] <= least * np.sqrt(blocks.total_ss):
            raise BreakdownError(BREAKDOWN)
        self.log_det_Z = log_det_Z + 2 * float(np.log(diagonal[:q]).sum())
        self.log_det_X = 2 * float(np.log(diagonal[q : q + p]).sum())
        self.rss = float(diagonal[-1] ** 2)
        self._close()

    def _reduced(self) -> Reduced | None:
        """The same factor by reflections of the columns, where they are few."""
        if self.blocks.columns is None:
            return None
        reduced = Reduced(self.blocks.columns, self.templates[0])
        reduced.reduce(self._columns_times(reduced.root.copy()), self.plan.q_tail)
        return reduced

    def __reduce__(self) -> tuple[type[Factor], tuple[Blocks, list[FloatArray]]]:
        return Factor, (self.blocks, self.templates)

    def _times_rows(self, matrix: FloatArray, *, transposed: bool = False) -> FloatArray:
        """Bᵀ (or B) times `matrix`, in place: the templates of the tail times its rows."""
        for g, _, span in self.plan.tail_spans:
            lam, width = self.templates[g], len(self.templates[g])
            if width == 1:
                matrix[span] *= lam[0, 0]
            else:
                blocks = matrix[span].reshape(-1, width, matrix.shape[1])
                matrix[span] = ((lam if transposed else lam.T) @ blocks).reshape(
                    -1, matrix.shape[1]
                )
        return matrix

    def _columns_times(self, matrix: FloatArray, *, transposed: bool = False) -> FloatArray:
        """`matrix` times B (or Bᵀ), in place: the same for its columns."""
        self._times_rows(matrix.T, transposed=transposed)
        return matrix

    def fixed_factor(self) -> FloatArray:
        """L_X in the orthonormal basis of X, lower triangular, shape (p, p)."""
        q, p = self.plan.q_tail, self.blocks.p
        return self.L[q : q + p, q : q + p]

    @cached_property
    def solution(self) -> Solution:
        """The solution of the penalised least-squares problem, from the last row of L."""
        blocks, plan, q = self.blocks, self.plan, self.plan.q_tail
        last = np.zeros(len(self.L))
        last[-1] = self.L[-1, -1]
        tail = blas.dtrsv(self.L, last, lower=1, trans=1)
        negative = np.empty(plan.q + blocks.p + 1)
        negative[plan.q :] = tail[q:]
        b = self._times_rows(tail[:q, None].copy(), transposed=True)
        negative[plan.q - q : plan.q] = b[:, 0]
        scores: list[FloatArray] = []
        for gone in reversed(self.rounds):
            each = gone.round
            score = gone.B @ negative[plan.q :]
            if len(gone.A):
                score += each.by_level @ (gone.A * negative[each.column, None])
            negative[each.start : each.stop] = -np.einsum("lst,lt->ls", gone.W, score).ravel()
            scores.insert(0, score)
        if blocks.groupings:
            score = blocks.dense[0] @ negative[plan.q :]
            if blocks.cross is not None:
                score += blocks.cross.lift(negative[: plan.q, None])[:, :, 0]
            scores.insert(0, score)
        return Solution(negative, scores, tail)

    def modes(self) -> Modes:
        """Fixed effects (in the orthonormal basis) and conditional modes of the random effects."""
        negative, scores, _ = self.solution
        b = [-negative[places] for places in self.plan.columns]
        if self.blocks.groupings:
            b.insert(0, np.einsum("lst,lt->ls", self.W, scores[0]))
        bases = [grouping.basis for grouping in self.blocks.groupings]
        return Modes(
            -negative[self.plan.q : -1],
            [scaled @ basis.T for scaled, basis in zip(b, bases, strict=True)],
        )

    def conditional_variances(self, *, beta_estimated: bool) -> list[FloatArray]:
        """Diagonal blocks, shape (ℓ, S, S), of the variance of each grouping's effects, over σ².

        With `beta_estimated` the uncertainty of β̂ is added: the prediction-error variance
        (Henderson 1975) instead of the variance given y and β.
        """
        known = self.covariances(beta_estimated=beta_estimated)
        groupings = self.blocks.groupings
        variances = [np.empty((g.n_levels, g.width, g.width)) for g in groupings]
        if groupings:
            variances[0] = self.W + self.W @ known.spreads[0] @ self.W
        for each in self.plan.rounds:
            variances[each.grouping][each.levels] = each.views(known.flat)[0]
        tail = self.plan.tail(known.flat)
        for g, levels, span in self.plan.tail_spans:
            shape = (len(levels), groupings[g].width)
            variances[g][levels] = np.einsum("isit->ist", tail[span, span].reshape(shape * 2))
        bases = [grouping.basis for grouping in groupings]
        return [basis @ V @ basis.T for V, basis in zip(variances, bases, strict=True)]

    def covariances(self, *, beta_estimated: bool) -> Covariances:
        """The covariances that the engine needs, from the tail back to the first grouping."""
        blocks, plan = self.blocks, self.plan
        p = blocks.p if beta_estimated else 0
        flat = np.zeros(plan.size)
        tail_slopes = self._invert_tail(flat, plan.q_tail + p)
        spreads = [gone.recover(flat, plan, p)[0] for gone in reversed(self.rounds)][::-1]
        if blocks.groupings:
            spreads.insert(0, self.first_spread(flat, p))
        return Covariances(flat, spreads, tail_slopes)

    def _invert_tail(self, flat: FloatArray, size: int) -> list[FloatArray]:
        """Put B S⁻¹ Bᵀ, of the leading `size` columns, into a flat vector; slopes of log|S|."""
        K = self.plan.tail(flat)
        if size == 0:
            return []
        K[...] = self.L.T
        K[:size, size:], K[size:, size:] = 0.0, np.eye(len(K) - size)
        with threads_for(size):
            lapack.dpotri(K.T, lower=1, overwrite_c=1)  # in place, K.T being in Fortran's order
        K[size:, size:] = 0.0
        mirror_upper(K)
        half = self._columns_times(K, transposed=True)
        slopes = []
        for g, levels, span in self.plan.tail_spans:
            shape = (len(levels), self.blocks.groupings[g].width, size)
            left, right = self.T[span, :size].reshape(shape), half[span, :size].reshape(shape)
            slopes.append(2 * np.einsum("lsm,ltm->st", left, right))
        self._times_rows(half, transposed=True)
        return slopes

    def tail_root(self, size: int) -> FloatArray:
        """B L⁻ᵀ of the leading columns of the tail: their covariance is it times its transpose."""
        leading = np.array(self.L[:size, :size], order="F")
        if size:
            leading, _ = lapack.dtrtri(leading, lower=1, overwrite_c=1)
        return self._times_rows(np.ascontiguousarray(leading.T), transposed=True)

    def first_spread(self, flat: FloatArray, p: int) -> FloatArray:
        """A_j0 K A_j0ᵀ for each level j of the first grouping."""
        blocks, plan = self.blocks, self.plan
        dense = blocks.dense[0][:, :, :p]
        spread = dense @ plan.corner(flat)[:p, :p] @ dense.transpose(0, 2, 1)
        if blocks.cross is not None:
            spread += blocks.cross.gram_adjoint(flat)
            if p:
                borders = flat[plan.border[:, None] + np.arange(p)]
                mixed = blocks.cross.lift(borders) @ dense.transpose(0, 2, 1)
                spread += mixed + mixed.transpose(0, 2, 1)
        return spread

    def template_slopes(self, *, reml: bool, rss_weight: float) -> list[FloatArray]:
        """Derivative of ``log|Ω_Z| [+ log|Ω_X·Z|] + rss_weight·rss`` in each template, (S, S).

        The derivative in T is K + rss_weight·rrᵀ, with K the covariances and r = (−b, −β, 1); so
        that in W_j is −A_j(K + rss_weight·rrᵀ)A_jᵀ, and the rest is the product rule.
        """
        blocks, plan = self.blocks, self.plan
        negative, scores, tail = self.solution
        if self.reduced is not None:
            size = plan.q_tail + (blocks.p if reml else 0)
            return self._slopes_by_reflections(self.reduced, size, tail * np.sqrt(rss_weight))
        slopes = [np.zeros((g.width, g.width)) for g in blocks.groupings]
        known = self.covariances(beta_estimated=reml)
        W_bars = [
            -spread - rss_weight * score[:, :, None] * score[:, None, :]
            for spread, score in zip(known.spreads, scores, strict=True)
        ]
        if blocks.groupings:
            N, W_bar = self.N, W_bars.pop(0)
            slopes[0] += 2 * (blocks.own[0] @ (N + self.U @ (W_bar @ N))).sum(axis=0)
        for gone, W_bar in zip(self.rounds, W_bars, strict=True):
            slopes[gone.round.grouping] += template_slope(gone.D, gone.N, gone.shrink, W_bar)
        if plan.tail_spans:
            pulled = self.T @ negative[plan.q - plan.q_tail :]
        for (g, _, span), slope in zip(plan.tail_spans, known.tail_slopes, strict=True):
            width = blocks.groupings[g].width
            pull, push = pulled[span].reshape(-1, width), tail[span].reshape(-1, width)
            slopes[g] += slope + 2 * rss_weight * pull.T @ push
        return slopes

    def _slopes_by_reflections(
        self, reduced: Reduced, size: int, residual: FloatArray
    ) -> list[FloatArray]:
        """The same, from roots of S̄ and T: large numbers are not subtracted from each other."""
        rows, fitted = reduced.slope_roots(size, residual)
        slopes = [reduced.first_slope(fitted)]
        for g, levels, span in self.plan.tail_spans:  # where there are columns, all are there
            shape = (len(levels), self.blocks.groupings[g].width, -1)
            left = (reduced.root[:, span].T @ fitted).reshape(shape)
            slopes.append(2 * np.einsum("lsc,ltc->st", left, rows[:, span].T.reshape(shape)))
        return slopes


def factorize(blocks: Blocks, theta: FloatArray) -> Factor:
    """Blocked Cholesky factor of Ω(θ), θ being that of the model's own columns."""
    design = blocks.design
    by_term = dict(zip(design.terms, templates(design.terms, theta), strict=True))
    return factor_at(blocks, by_term, design.phi(theta))


def factor_at(blocks: Blocks, by_term: Mapping[RandomTerm, FloatArray], phi: FloatArray) -> Factor:
    """The same from the templates of terms, which need not be triangular, and φ."""
    blocks = blocks.at(phi)
    return Factor(blocks, [g.to_scaled(g.assemble(by_term)) for g in blocks.groupings])


def _eliminate(blocks: Blocks, lam: FloatArray) -> tuple[float, FloatArray, FloatArray]:
    """Σ log|F_j|, N_j = λF_j⁻¹ and U_j of the first grouping."""
    if len(lam) == 1:
        G = 1 + blocks.own[0] * lam**2
        return float(np.log(G).sum()), lam / G, blocks.inverse_root**2 / G
    spread, half = blocks.root @ lam, blocks.inverse_root
    if np.abs(lam).max() > LARGE:  # sizes too different for an inverse
        left, sizes, right = np.linalg.svd(spread)
        growth = 1 + sizes[:, None] ** 2
        N = ((lam @ right.transpose(0, 2, 1)) / growth) @ right
        half = half @ left
        return float(np.log(growth).sum()), N, (half / growth) @ half.transpose(0, 2, 1)
    G = spread @ spread.transpose(0, 2, 1) + np.eye(len(lam))
    N = lam @ np.linalg.inv(spread.transpose(0, 2, 1) @ spread + np.eye(len(lam)))
    diagonals = np.diagonal(np.linalg.cholesky(G), axis1=1, axis2=2)
    log_det = 2 * float(np.log(diagonals).sum())
    return log_det, N, half @ np.linalg.inv(G) @ half.transpose(0, 2, 1)


def mirror_upper(matrix: FloatArray, width: int = 128) -> FloatArray:
    """Copy the upper triangle to the lower one, in place, a panel that fits the cache at a time."""
    for start in range(0, len(matrix), width):
        panel = slice(start, start + width)
        matrix[panel, :start] = matrix[:start, panel].T
        corner = matrix[panel, panel]
        row, column = _below(len(corner))
        corner[row, column] = corner[column, row]
    return matrix


@cache
def _below(size: int) -> tuple[IntArray, IntArray]:
    """Rows and columns below the diagonal."""
    return np.tril_indices(size, -1)
