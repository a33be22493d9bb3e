"""How the likelihood and vcov(β̂) depend on the variances: what the F tests are computed from.

Relative to σ², the variances and covariances of the random effects enter Var(y) linearly,

    Var(y) = σ²V,   V = I + Σ_r ρ_r G_r,   G_r = Z (I ⊗ E_r) Zᵀ,

with one ρ_r, and one symmetric pattern E_r of zeros and ones, for each entry of θ; of a term with a
structure the E_r are the slopes of its covariance in what a search moves. With
P = V⁻¹ − V⁻¹X(XᵀV⁻¹X)⁻¹XᵀV⁻¹ everything follows from ZᵀV⁻¹X and the traces of PG_r and PG_rPG_s.
As parameter of scale we take the direction V itself: since V⁻¹V = I, it costs nothing.

It is eliminated as the engine does, round after round, and nothing is larger than there. What is
linear in the G_r needs K, the covariance of the errors, only where levels meet. The rest follows as
derivatives in the ρ_s, since ∂P/∂ρ_s = −PG_sP. They are carried along by forward differentiation,
as the further rows of arrays whose first row is the value: jets. In the tail, where P is known
between all levels, they are written down at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from scipy import sparse
from scipy.linalg import solve_triangular

from mmlib.arrays import FloatArray, IntArray, lower_triangle, unit_patterns
from mmlib.design.directions import term_slopes
from mmlib.design.terms import RandomTerm, theta_by_term
from mmlib.engine.elimination import Round
from mmlib.engine.factor import Eliminated, mirror_upper
from mmlib.engine.threads import single_threaded
from mmlib.results.estimates import Fit

Result = TypeVar("Result")

FLAT = 1e-10
"""Directions with less than this share of the largest curvature count as not identified."""


def once_per_fit(function: Callable[[Fit], Result]) -> Callable[[Fit], Result]:
    """Remember what `function` said of a fit for as long as the fit lives."""
    known: WeakKeyDictionary[Fit, Result] = WeakKeyDictionary()

    @wraps(function)
    def remembered(fit: Fit) -> Result:
        if fit not in known:
            with single_threaded():
                known[fit] = function(fit)
        return known[fit]

    return remembered


def pseudo_inverse(matrices: FloatArray) -> FloatArray:
    """Inverses of symmetric matrices, shape (…, k, k), on the directions that curve upwards."""
    diagonal = np.diagonal(matrices, axis1=-2, axis2=-1)
    scale = np.where(diagonal > 0, 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0)), 1.0)
    curvatures, directions = np.linalg.eigh(matrices * scale[..., :, None] * scale[..., None, :])
    kept = curvatures > FLAT * np.abs(curvatures).max(axis=-1, keepdims=True, initial=0.0)
    roots = np.where(kept, 1 / np.sqrt(np.where(kept, curvatures, 1.0)), 0.0)
    half = directions * scale[..., :, None] * roots[..., None, :]
    return half @ half.swapaxes(-1, -2)


@dataclass(frozen=True, eq=False)
class Spread:
    """How sure a fit is of Φ, its vcov(β̂) over σ²; X in the orthonormal basis.

    Attributes
    ----------
    Phi : ndarray, shape (p, p)
    slopes : ndarray, shape (k, p, p)
        Derivatives of Φ in the variance parameters, the scale last (unless σ is known).
    covariance : ndarray, shape (k, k)
        That of the estimates of these parameters.
    notes : tuple of str
        What a reader must know before trusting them.
    """

    Phi: FloatArray
    slopes: FloatArray
    covariance: FloatArray
    notes: tuple[str, ...]

    def df(self, rows: FloatArray) -> FloatArray:
        """Degrees of freedom of each row tested alone, 2f²/Var(f) with f its variance, (m,)."""
        variances = np.einsum("mi,ij,mj->m", rows, self.Phi, rows)
        slopes = np.einsum("mi,kij,mj->mk", rows, self.slopes, rows)
        errors = np.einsum("mk,kl,ml->m", slopes, self.covariance, slopes)
        with np.errstate(invalid="ignore", divide="ignore"):  # a row of zeros has none
            return 2 * variances**2 / errors


def vcov_over_variance(fit: Fit) -> FloatArray:
    """Φ = (XᵀV⁻¹X)⁻¹, X in the engine's orthonormal basis: vcov(β̂) = σ²Φ."""
    root = np.linalg.inv(fit.optimum.factor.fixed_factor())
    return np.asarray(root.T @ root)


def with_scale(
    fit: Fit, Phi: FloatArray, slopes: FloatArray, mixed: FloatArray, curvature: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Slopes of Φ, and second derivatives of the objective, in log σ² too unless it is known.

    In that direction, V itself, the slope is Φ and the second derivative the degrees of freedom;
    `mixed` are the second derivatives in it and in the others.
    """
    if fit.design.sigma is not None:
        return slopes, curvature
    dof = np.full((1, 1), float(fit.nobs - fit.design.p * fit.reml))
    whole = np.block([[curvature, mixed[:, None]], [mixed, dof]])
    return np.concatenate([slopes, Phi[None]]), whole


def slopes_of(
    function: Callable[[FloatArray], FloatArray], x: FloatArray, steps: FloatArray
) -> FloatArray:
    """Derivatives in each coordinate, a row for each: differences at two steps, extrapolated."""

    def central(shift: FloatArray) -> FloatArray:
        return (function(x + shift) - function(x - shift)) / (2 * shift.sum())

    shifts = np.diag(steps)
    rows = [(4 * central(shift / 2) - central(shift)) / 3 for shift in shifts]
    return np.array(rows).reshape(len(x), function(x).size)


def in_basis(fit: Fit, L: FloatArray) -> FloatArray:
    """Rows of L in the engine's orthonormal basis of X."""
    return solve_triangular(fit.blocks.R, L.T, trans="T").T


@dataclass(frozen=True, eq=False)
class _Level:
    """Jets of what the factor keeps of a round (`Eliminated`), or of the first grouping."""

    D: FloatArray
    A: FloatArray
    B: FloatArray
    W: FloatArray
    shrink: FloatArray


class Information:
    """The quantities of the module's formulas at the estimates of a fit.

    X is in the orthonormal basis of the engine, Z in its scaled columns, and V relative to σ².

    Attributes
    ----------
    Phi : ndarray, shape (p, p)
        Φ = (XᵀV⁻¹X)⁻¹, so that vcov(β̂) = σ²Φ.
    vcov_slopes : ndarray, shape (k, p, p)
        ∂Φ/∂ρ_r = ΦXᵀV⁻¹G_rV⁻¹XΦ.
    traces : ndarray, shapes (k,) and (k, k)
        Of PG_r, and of PG_rPG_s.
    slope_products : ndarray, shape (k, k, p, p)
        ΦXᵀV⁻¹G_r P G_sV⁻¹XΦ and its transpose, averaged.
    """

    def __init__(self, fit: Fit) -> None:
        self._factor = fit.optimum.factor
        self._blocks = self._factor.blocks
        self._plan, self._p = self._blocks.plan, self._blocks.p
        self._groupings = self._blocks.groupings
        self._directions = _directions(fit)
        k, p = len(fit.theta), self._p
        self._M = [np.zeros((g.width, g.width)) for g in self._groupings]
        self._forms = [np.zeros((g.width, p, g.width, p)) for g in self._groupings]
        self._double, self.slope_products = np.zeros((k, k)), np.zeros((k, k, p, p))
        self._eliminate()
        self._start()
        for each, level in zip(self._plan.rounds[::-1], self._levels[::-1], strict=True):
            self._back(each, level)
        if self._groupings:
            self._back_to_first()
        single, self.vcov_slopes = np.zeros(k), np.zeros((k, p, p))
        for (at, E), M, form in zip(self._directions, self._M, self._forms, strict=True):
            single[at] = np.einsum("rst,st->r", E, M)
            self.vcov_slopes[at] = np.einsum("rst,sctd->rcd", E, form)
        self.traces = single, self._double
        # Derivatives in the ρ of the tail, of all that is before it, are known by symmetry.
        outer = np.array([at for _, at, _ in self._outer], dtype=np.intp)
        pure = np.setdiff1d(np.arange(k), outer)
        here, there = np.ix_(outer, pure), np.ix_(pure, outer)
        self._double[here] = self._double[there].T
        self.slope_products[here] = self.slope_products[there].swapaxes(0, 1)

    def increase(self, W: FloatArray) -> FloatArray:
        """2Φ{Σ W_rs(Q_rs − P_rΦP_s)}Φ, given the covariance W of the ρ̂."""
        half = np.einsum("rs,rsij->ij", W, self.slope_products)
        return half + half.T

    def contract(self, changes: list[FloatArray]) -> FloatArray:
        """ΦXᵀV⁻¹(ΔV)V⁻¹XΦ, of a change of each term's covariance."""
        by_term = dict(zip(self._blocks.design.terms, changes, strict=True))
        total = np.zeros_like(self.Phi)
        for grouping, form in zip(self._groupings, self._forms, strict=True):
            basis = grouping.inverse_basis
            total += np.einsum("st,sctd->cd", basis @ grouping.assemble(by_term) @ basis.T, form)
        return total

    # ---- from the first grouping to the tail -----------------------------------------------------

    def _eliminate(self) -> None:
        """What the factor has done, with derivatives in the ρ of all that is not in the tail."""
        blocks, factor, plan = self._blocks, self._factor, self._plan
        numbers = sorted({*range(len(self._groupings))[:1], *(r.grouping for r in plan.rounds)})
        self._outer = [
            (g, int(at), E) for g in numbers for at, E in zip(*self._directions[g], strict=True)
        ]
        self._flat = np.zeros((1 + len(self._outer), plan.size))
        self._flat[0] = factor.flat
        self._levels: list[_Level] = []
        if not self._groupings:
            return
        D, B = (_constant(each[0], len(self._flat)) for each in (blocks.own, blocks.dense))
        W, shrink = self._shrunk(0, D, factor.W)
        self._first = _Level(D, B[..., :0, 0], B, W, shrink)
        for slopes, change in zip(self._flat[1:], W[1:], strict=True):
            if change.any():
                blocks.add_gram(slopes, -change)
        for each, gone in factor.rounds:
            self._eliminate_round(each, gone)
        for slopes in self._flat[1:]:
            mirror_upper(plan.tail(slopes))

    def _shrunk(
        self, grouping: int, D: FloatArray, value: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Jets of W, of which the value is known, and of I − DW."""
        W, shrink = np.empty(D.shape), np.empty(D.shape)
        W[0], shrink[0] = value, np.eye(value.shape[-1]) - D[0] @ value
        W[1:] = -value @ D[1:] @ value
        for row, (g, _, E) in enumerate(self._outer, start=1):
            if g == grouping:
                W[row] += shrink[0].transpose(0, 2, 1) @ E @ shrink[0]
        shrink[1:] = -D[1:] @ value - D[0] @ W[1:]
        return W, shrink

    def _eliminate_round(self, each: Round, gone: Eliminated) -> None:
        flat, plan = self._flat, self._plan
        D, A, B = each.views(flat)
        for s, t in zip(*np.triu_indices(each.width, 1), strict=True):
            D[1:, :, t, s] = D[1:, :, s, t]
        W, shrink = self._shrunk(each.grouping, D, gone.W)
        WB = _product("lst,ltd->lsd", W, B)
        if len(each.level):
            WA = _product("kst,kt->ks", W[:, each.level], A)
            products = _product("ks,ks->k", A[:, each.one], WA[:, each.two])
            border = _product("ks,ksd->kd", A, WB[:, each.level])
            for row in range(1, len(flat)):
                total = np.bincount(each.label, products[row], len(each.targets))
                flat[row, each.targets] -= total
                flat[row, each.place_borders] -= each.by_place @ border[row]
        corner = _product("lsd,lse->de", B, WB)
        for row in range(1, len(flat)):
            plan.corner(flat[row])[...] -= corner[row]
        self._levels.append(_Level(D, A, B, W, shrink))

    # ---- and back: K, the covariance of the errors -----------------------------------------------

    def _start(self) -> None:
        """Jets of K in the tail, and what its levels add."""
        plan, factor = self._plan, self._factor
        q, size = plan.q_tail, plan.q_tail + self._p
        self._K = np.zeros(self._flat.shape)
        self._K[0] = factor.covariances(beta_estimated=True).flat
        tails = [plan.tail(each)[:size, :size] for each in self._K]
        K, T = tails[0], factor.T[:size, :size]
        self.Phi: FloatArray = K[q:, q:].copy()
        C = np.eye(q, size) - T[:q] @ K
        M, seen = C @ T[:, :q], -C[:, q:]
        for g, levels, span in plan.tail_spans:
            n, width = len(levels), self._groupings[g].width
            own = np.einsum("lslt->st", M[span, span].reshape(n, width, n, width))
            self._record(g, own, seen[span].reshape(n, width, self._p))
            for at, E in zip(*self._directions[g], strict=True):
                turned = -_times_each(M[:, span], E)
                self._record_tail(int(at), turned, M[:, span], seen, seen[span])
        for row, (g, at, E) in enumerate(self._outer, start=1):
            change = plan.tail(self._flat[row])[:size, :size]
            self._record_tail(at, C @ change, C, seen, K[:, q:])
            tails[row][...] = -K @ change @ K
            for h, _, span in plan.tail_spans:
                if h == g:
                    tails[row][...] += _times_each(C[span].T, E) @ C[span]
        self._corner = np.array([tail[q:, q:] for tail in tails])

    def _record_tail(
        self, at: int, left: FloatArray, right: FloatArray, seen: FloatArray, through: FloatArray
    ) -> None:
        """Add the derivatives of the tail's levels in ρ number `at`.

        That of M = ZᵀPZ is ``left @ right.T``, and that of Zᵀv, `seen`, is ``left @ through``.
        """
        change = left @ through
        for g, levels, span in self._plan.tail_spans:
            n, width = len(levels), self._groupings[g].width
            one, two = (each[span].reshape(n, width, -1) for each in (left, right))
            own, slope = (each[span].reshape(n, width, self._p) for each in (seen, change))
            self._record_slope(g, at, np.einsum("lsm,ltm->st", one, two), own, slope)

    def _record(self, g: int, M: FloatArray, seen: FloatArray) -> None:
        """Add levels of grouping g: the sum of their blocks of M, and Zᵀv for v = V⁻¹XΦ."""
        self._M[g] += M
        self._forms[g] += _outer(seen, seen)

    def _record_slope(
        self, g: int, at: int, M: FloatArray, seen: FloatArray, change: FloatArray
    ) -> None:
        """Add what the derivatives of these in ρ number `at` say of products."""
        here, E = self._directions[g]
        self._double[here, at] -= np.einsum("rst,st->r", E, M)
        half = np.einsum("rst,sctd->rcd", E, _outer(seen, change))
        self.slope_products[here, at] -= (half + half.transpose(0, 2, 1)) / 2

    def _record_jets(self, g: int, level: _Level, spread: FloatArray, reach: FloatArray) -> None:
        shrunk = _product("lst,ltu->lsu", level.shrink, spread)
        M = _product("lst,ltu->su", level.shrink, level.D)
        M -= _product("lst,lut->su", shrunk, level.shrink)
        seen = _product("lst,ltc->lsc", level.shrink, reach)
        self._record(g, M[0], seen[0])
        for row, (_, at, _) in enumerate(self._outer, start=1):
            self._record_slope(g, at, M[row], seen[0], seen[row])

    def _back(self, each: Round, level: _Level) -> None:
        """Jets of K in a round, from those of what goes later (`factor._recover`)."""
        A, B = level.A, level.B[..., : self._p]
        reach = _product("lsp,pc->lsc", B, self._corner)
        diagonal, cells, border = each.views(self._K)
        spread = np.zeros(level.D.shape)
        if len(each.level):
            later = self._borders(each.cell_borders)
            met = _product("kp,ksp->ks", later, B[:, each.level])
            for row in range(len(met)):
                met[row] += each.partners_times(self._K[row], A[0])
                if row:
                    met[row] += each.partners_times(self._K[0], A[row])
            through = _product("ks,kc->ksc", A, later)
            products = _product("ks,kt->kst", A, met)
            for row in range(len(met)):
                reach[row] += _sum_by(each.by_level, through[row])
                spread[row] += _sum_by(each.by_level, products[row])
            cells[...] = -_product("kst,kt->ks", level.W[:, each.level], met)
        spread += _product("lsp,ltp->lst", B, reach)
        inner = _product("lst,ltu->lsu", level.W, spread)
        diagonal[...] = level.W + _product("lst,ltu->lsu", inner, level.W)
        border[..., : self._p] = -_product("lst,ltc->lsc", level.W, reach)
        self._record_jets(each.grouping, level, spread, reach)

    def _back_to_first(self) -> None:
        blocks, p = self._blocks, self._p
        spread = np.array([self._factor.first_spread(K, p) for K in self._K])
        reach = np.array([blocks.dense[0][..., :p] @ corner for corner in self._corner])
        if blocks.cross is not None:
            borders = self._borders(self._plan.border)
            reach += np.array([blocks.cross.lift(each) for each in borders])
        self._record_jets(0, self._first, spread, reach)

    def _borders(self, starts: IntArray) -> FloatArray:
        """Jets of K between effects and X, which begin at these places of the flat vector."""
        return self._K[:, starts[:, None] + np.arange(self._p)]


def _times_each(columns: FloatArray, E: FloatArray) -> FloatArray:
    """Columns of levels, S each, times I ⊗ E."""
    return (columns.reshape(len(columns), -1, len(E)) @ E).reshape(columns.shape)


def _product(spec: str, left: FloatArray, right: FloatArray) -> FloatArray:
    """Product of two jets, as `numpy.einsum` writes it for their values."""
    operands, result = spec.split("->")
    one, two = operands.split(",")
    value = np.einsum(spec, left[0], right[0])
    slopes = np.einsum(f"z{one},{two}->z{result}", left[1:], right[0])
    slopes += np.einsum(f"{one},z{two}->z{result}", left[0], right[1:])
    return np.concatenate([value[None], slopes])


def _constant(value: FloatArray, n_jets: int) -> FloatArray:
    """The jets of what does not depend on ρ."""
    jets = np.zeros((n_jets, *value.shape))
    jets[0] = value
    return jets


def _sum_by(labels: sparse.csr_array, values: FloatArray) -> FloatArray:
    """Sums of items, the first axis, by their label."""
    flat = values.reshape(len(values), int(np.prod(values.shape[1:])))
    return (labels @ flat).reshape(labels.shape[0], *values.shape[1:])


def _outer(one: FloatArray, two: FloatArray) -> FloatArray:
    """Sum over levels of products of all entries of (n, S, c) arrays: shape (S, c, S, c)."""
    n, width, c = one.shape
    product = one.reshape(n, width * c).T @ two.reshape(n, width * c)
    return product.reshape(width, c, width, c)


def term_directions(term: RandomTerm, theta: FloatArray, basis: FloatArray) -> FloatArray:
    """∂Σ of a term in its directions, shape (k, S, S): variances, or what a search moves.

    `basis` changes to the columns in which they are wanted.
    """
    if term.part.structure.is_free:
        return unit_patterns(*lower_triangle(term.width), term.width)
    return basis @ term_slopes(term, theta) @ basis.T


def _directions(fit: Fit) -> list[tuple[IntArray, FloatArray]]:
    """For each grouping the numbers of its E_r, and these among its scaled columns, (k, S, S)."""
    terms = fit.design.terms
    thetas = dict(zip(terms, theta_by_term(terms, fit.theta), strict=True))
    numbers = dict(zip(terms, theta_by_term(terms, np.arange(len(fit.theta))), strict=True))
    directions = []
    for grouping in fit.blocks.groupings:
        found = []
        for term, basis in grouping.by_term(grouping.inverse_basis).items():
            own = term_directions(term, thetas[term], basis)
            E = np.zeros((len(own), grouping.width, grouping.width))
            E[:, grouping.spans[term], grouping.spans[term]] = own
            found.append(E)
        at = np.concatenate([numbers[term] for term in grouping.spans])
        directions.append((at, np.concatenate(found)))
    return directions
