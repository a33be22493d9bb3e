"""How the likelihood and vcov(β̂) depend on the variances: what the F tests are computed from.

Relative to σ², the variances and covariances of the random effects enter Var(y) linearly,

    Var(y) = σ²V,   V = I + Σ_r ρ_r G_r,   G_r = Z (I ⊗ E_r) Zᵀ,

with one ρ_r, and one symmetric pattern E_r of zeros and ones, for each entry of θ. With
P = V⁻¹ − V⁻¹X(XᵀV⁻¹X)⁻¹XᵀV⁻¹ everything follows from ZᵀV⁻¹X, ZᵀPy and the traces of PG_r and
PG_rPG_s. As parameter of scale we take the direction V itself: since V⁻¹V = I, it costs nothing.

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

from mmlib.arrays import FloatArray, lower, unit_patterns
from mmlib.engine.elimination import Round
from mmlib.engine.factor import Eliminated, mirror_upper
from mmlib.engine.grouping import Grouping
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
    return np.array(rows).reshape(len(x), -1 if rows else 0)


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
    groupings, templates : list of Grouping, list of ndarray
        The groupings that the ρ_r belong to, and their λ: ρ_r are entries of λλᵀ.
    Phi : ndarray, shape (p, p)
        Φ = (XᵀV⁻¹X)⁻¹, so that vcov(β̂) = σ²Φ.
    vcov_slopes : ndarray, shape (k, p, p)
        ∂Φ/∂ρ_r = ΦXᵀV⁻¹G_rV⁻¹XΦ.
    """

    def __init__(self, fit: Fit) -> None:
        self.factor = fit.optimum.factor
        self.blocks = self.factor.blocks
        self.groupings = self.blocks.groupings
        self.templates = [lower(template) for template in self.factor.templates]
        self.patterns = [patterns(grouping) for grouping in self.groupings]
        self._eliminate()
        self._sweep = _Sweep(self, reml=True)
        p = self._p = self.blocks.p
        self.Phi: FloatArray = self._sweep.Phi
        self.vcov_slopes: FloatArray = self._sweep.forms[:, :p, :p]

    def slope_products(self) -> FloatArray:
        """ΦXᵀV⁻¹G_r P G_sV⁻¹XΦ and its transpose, averaged, for all r, s: shape (k, k, p, p)."""
        return -self._sweep.form_slopes[:, :, : self._p, : self._p] / 2

    def score_products(self) -> tuple[FloatArray, FloatArray]:
        """The forms yᵀPG_rPy, shape (k,), and yᵀPG_rPG_sPy, shape (k, k)."""
        return self._sweep.forms[:, -1, -1], -self._sweep.form_slopes[:, :, -1, -1] / 2

    def increase(self, W: FloatArray) -> FloatArray:
        """Kenward and Roger's Φ_A − Φ; W is the covariance of the ρ̂ (and, last, the scale)."""
        k = len(self.vcov_slopes)
        half = np.einsum("rs,rsij->ij", W[:k, :k], self.slope_products())
        return half + half.T

    def traces(self, *, reml: bool = True) -> tuple[FloatArray, FloatArray]:
        """Traces of PG_r, shape (k,), and of PG_rPG_s, shape (k, k); V⁻¹ for P unless `reml`."""
        sweep = self._sweep if reml else _Sweep(self, reml=False)
        return sweep.traces, -sweep.trace_slopes

    def _eliminate(self) -> None:
        """What the factor has done, with derivatives in the ρ of all that is not in the tail."""
        blocks, factor, plan = self.blocks, self.factor, self.blocks.plan
        numbers = sorted({*range(len(self.groupings))[:1], *(r.grouping for r in plan.rounds)})
        self.outer = [(g, n) for g in numbers for n in range(len(self.patterns[g]))]
        self.flat = np.zeros((1 + len(self.outer), plan.size))
        self.flat[0] = factor.flat
        self.rounds: list[_Level] = []
        if not self.groupings:
            return
        D, B = (_constant(each[0], len(self.flat)) for each in (blocks.own, blocks.dense))
        W, shrink = self._shrunk(0, D, factor.W)
        self.first = _Level(D, B[..., :0, 0], B, W, shrink)
        for slopes, change in zip(self.flat[1:], W[1:], strict=True):
            if change.any():
                blocks.add_gram(slopes, -change)
        for each, gone in factor.rounds:
            self._eliminate_round(each, gone)
        for slopes in self.flat[1:]:
            mirror_upper(plan.tail(slopes))

    def _shrunk(
        self, grouping: int, D: FloatArray, value: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Jets of W, of which the value is known, and of I − DW."""
        W, shrink = np.empty(D.shape), np.empty(D.shape)
        W[0], shrink[0] = value, np.eye(value.shape[-1]) - D[0] @ value
        W[1:] = -value @ D[1:] @ value
        for row, (g, n) in enumerate(self.outer, start=1):
            if g == grouping:
                W[row] += shrink[0].transpose(0, 2, 1) @ self.patterns[g][n] @ shrink[0]
        shrink[1:] = -D[1:] @ value - D[0] @ W[1:]
        return W, shrink

    def _eliminate_round(self, each: Round, gone: Eliminated) -> None:
        flat, plan = self.flat, self.blocks.plan
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
        self.rounds.append(_Level(D, A, B, W, shrink))


class _Sweep:
    """From the tail back to the first grouping: K, and what the G_r make of it.

    Attributes
    ----------
    Phi : ndarray, shape (p, p)
    traces, trace_slopes : ndarray, shapes (k,) and (k, k)
        tr(PG_r) and its derivatives in ρ_s; V⁻¹ for P unless `reml`.
    forms, form_slopes : ndarray, shapes (k, c, c) and (k, k, c, c)
        vᵀG_rv for v = (V⁻¹XΦ, Py), c = p + 1, and its derivatives; without `reml` c = 0.
    """

    def __init__(self, known: Information, *, reml: bool) -> None:
        self._known, self._reml = known, reml
        self._blocks, self._factor, self._plan = known.blocks, known.factor, known.blocks.plan
        self._p, self._c = (known.blocks.p, known.blocks.p + 1) if reml else (0, 0)
        k, c = known.blocks.theta_size, self._c
        self.traces, self.trace_slopes = np.zeros(k), np.zeros((k, k))
        self.forms, self.form_slopes = np.zeros((k, c, c)), np.zeros((k, k, c, c))
        self._outer = [int(known.groupings[g].positions[n]) for g, n in known.outer]
        self._start()
        for each, level in zip(self._plan.rounds[::-1], known.rounds[::-1], strict=True):
            self._back(each, level)
        if known.groupings:
            self._back_to_first(known.first)
        # Derivatives in the ρ of the tail, of all that is before it, are known by symmetry.
        outer = np.array(self._outer, dtype=np.intp)
        pure = np.setdiff1d(np.arange(k), outer)
        here, there = np.ix_(outer, pure), np.ix_(pure, outer)
        self.trace_slopes[here] = self.trace_slopes[there].T
        self.form_slopes[here] = self.form_slopes[there].swapaxes(0, 1)

    def _start(self) -> None:
        """Jets of K and Y, the coefficients of v, in the tail; traces and forms of its levels."""
        plan, known, factor = self._plan, self._known, self._factor
        q, p, n_jets = plan.q_tail, self._blocks.p, len(known.flat)
        size = q + self._p
        self.K, self.Y = np.zeros((n_jets, plan.size)), np.zeros((n_jets, plan.q + p + 1, self._c))
        self.K[0] = factor.covariances(beta_estimated=self._reml).flat
        K, T, Y = plan.tail(self.K[0])[:size, :size], factor.T, self.Y[:, plan.q - q :]
        self.Phi = K[q:, q:].copy()
        if self._reml:
            Y[0, :size, :-1], Y[0, :, -1] = K[:, q:], factor.solution.negative[plan.q - q :]
        C = np.eye(q, size) - T[:q, :size] @ K
        M, seen = C @ T[:size, :q], T[:q] @ Y[0]
        self._record_tail(M, M, None, seen)
        for g, _, span in plan.tail_spans:
            for at, E in zip(known.groupings[g].positions, known.patterns[g], strict=True):
                turned = M[:, span].reshape(q, -1, len(E)) @ E
                pulled = turned.reshape(q, -1) @ seen[span]
                self._record_tail(-turned.reshape(q, -1), M[:, span], int(at), seen, -pulled)
        for row, (g, n) in enumerate(known.outer, start=1):
            dT = plan.tail(known.flat[row])
            dTY = (dT @ Y[0])[:size]
            across = C @ dT[:size, :size]
            self._record_tail(across, C, self._outer[row - 1], seen, C @ dTY)
            change = plan.tail(self.K[row])[:size, :size]
            change[...] = -K @ dT[:size, :size] @ K
            Y[row, :size] = -K @ dTY
            for h, _, span in plan.tail_spans:
                if h == g:
                    E = known.patterns[g][n]
                    back = (C[span].T.reshape(size, -1, len(E)) @ E).reshape(size, -1)
                    change += back @ C[span]
                    Y[row, :size] -= back @ seen[span]

    def _record_tail(
        self,
        left: FloatArray,
        right: FloatArray,
        at: int | None,
        seen: FloatArray,
        change: FloatArray | None = None,
    ) -> None:
        """Traces and forms of the tail's levels, or their derivatives in ρ number `at`.

        M, or its derivative, is `left` itself, or with `at` ``left @ right.T``.
        """
        for g, levels, span in self._plan.tail_spans:
            n, width = len(levels), self._known.groupings[g].width
            own = seen[span].reshape(n, width, self._c)
            if at is None:
                blocks = left[span, span].reshape(n, width, n, width)
                self._record(g, np.einsum("lslt->st", blocks), own)
            elif change is not None:
                one, two = left[span].reshape(n, width, -1), right[span].reshape(n, width, -1)
                slope = change[span].reshape(n, width, self._c)
                self._record_slope(g, at, np.einsum("lsm,ltm->st", one, two), own, slope)

    def _record(self, g: int, M: FloatArray, seen: FloatArray) -> None:
        """Add levels of grouping g: the sum of their blocks of M = ZᵀPZ, and Zᵀv."""
        at, E = self._known.groupings[g].positions, self._known.patterns[g]
        self.traces[at] += np.einsum("rst,st->r", E, M)
        self.forms[at] += np.einsum("rst,sctd->rcd", E, _outer(seen, seen))

    def _record_slope(
        self, g: int, at: int, M: FloatArray, seen: FloatArray, change: FloatArray
    ) -> None:
        """Add the derivatives of these in ρ number `at`."""
        here, E = self._known.groupings[g].positions, self._known.patterns[g]
        self.trace_slopes[here, at] += np.einsum("rst,st->r", E, M)
        half = np.einsum("rst,sctd->rcd", E, _outer(seen, change))
        self.form_slopes[here, at] += half + half.transpose(0, 2, 1)

    def _record_jets(self, g: int, level: _Level, spread: FloatArray, reach: FloatArray) -> None:
        shrunk = _product("lst,ltu->lsu", level.shrink, spread)
        M = _product("lst,ltu->su", level.shrink, level.D)
        M -= _product("lst,lut->su", shrunk, level.shrink)
        seen = _product("lst,ltc->lsc", level.shrink, reach)
        self._record(g, M[0], seen[0])
        for row, at in enumerate(self._outer, start=1):
            self._record_slope(g, at, M[row], seen[0], seen[row])

    def _back(self, each: Round, level: _Level) -> None:
        """Jets of K and Y in a round, from those of what goes later (`factor._recover`)."""
        p, A, B = self._p, level.A, level.B
        reach = _product("lsd,dc->lsc", B, self.Y[:, self._plan.q :])
        diagonal, cells, border = each.views(self.K)
        spread = np.zeros(level.D.shape)
        if len(each.level):
            later = self.Y[:, each.column]
            met = _product("kp,ksp->ks", later[..., :p], B[:, each.level, :, :p])
            for row in range(len(met)):
                met[row] += each.partners_times(self.K[row], A[0])
                if row:
                    met[row] += each.partners_times(self.K[0], A[row])
            through = _product("ks,kc->ksc", A, later)
            products = _product("ks,kt->kst", A, met)
            for row in range(len(met)):
                reach[row] += _sum_by(each.by_level, through[row])
                spread[row] += _sum_by(each.by_level, products[row])
            cells[...] = -_product("kst,kt->ks", level.W[:, each.level], met)
        spread += _product("lsp,ltp->lst", B[..., :p], reach[..., :p])
        inner = _product("lst,ltu->lsu", level.W, spread)
        diagonal[...] = level.W + _product("lst,ltu->lsu", inner, level.W)
        own = -_product("lst,ltc->lsc", level.W, reach)
        border[..., :p] = own[..., :p]
        self.Y[:, each.start : each.stop] = own.reshape(len(own), each.n * each.width, self._c)
        self._record_jets(each.grouping, level, spread, reach)

    def _back_to_first(self, level: _Level) -> None:
        blocks, plan = self._blocks, self._plan
        spread = np.array([self._factor.first_spread(K, self._p) for K in self.K])
        reach = np.array([blocks.dense[0] @ Y for Y in self.Y[:, plan.q :]])
        if blocks.cross is not None:
            reach += np.array([blocks.cross.lift(Y) for Y in self.Y[:, : plan.q]])
        self._record_jets(0, level, spread, reach)


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


def patterns(grouping: Grouping) -> FloatArray:
    """The E_r of a grouping, in the order of its entries of θ, shape (k, S, S)."""
    return unit_patterns(grouping.theta_rows, grouping.theta_columns, grouping.width)
