"""How the likelihood and vcov(β̂) depend on the variances: what the F tests are computed from.

Relative to σ², the variances and covariances of the random effects enter Var(y) linearly,

    Var(y) = σ²V,   V = I + Σ_r ρ_r G_r,   G_r = Z (I ⊗ E_r) Zᵀ,

with one ρ_r, and one symmetric pattern E_r of zeros and ones, for each entry of θ; of a term with a
structure the E_r are the slopes of its covariance in what a search moves. With
P = V⁻¹ − V⁻¹X(XᵀV⁻¹X)⁻¹XᵀV⁻¹ everything follows from ZᵀV⁻¹X and the traces of PG_r and PG_rPG_s.
As parameter of scale we take the direction V itself: since V⁻¹V = I, it costs nothing.

It is eliminated as the engine does, round after round, and nothing is larger than there. What is
linear in the G_r needs K, the covariance of the errors, only where levels meet. The rest follows as
derivatives in the ρ_s, since ∂P/∂ρ_s = −PG_sP: by a step of ρ_s off the real line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from types import MappingProxyType
from typing import TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from scipy.linalg import solve_triangular

from mmlib.arrays import TINY, FloatArray, IntArray, Numbers, product, triangle_units
from mmlib.design.directions import term_slopes
from mmlib.design.terms import RandomTerm, theta_by_term
from mmlib.engine.factor import Covariances, Eliminated, Factor, mirror_upper, shrunk
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
    """Derivatives in each coordinate, a row for each, by central differences."""
    rows = [function(x + shift) - function(x - shift) for shift in np.diag(steps)]
    return np.array(rows).reshape(len(x), -1 if rows else function(x).size) / (2 * steps[:, None])


def in_basis(fit: Fit, L: FloatArray) -> FloatArray:
    """Rows of L in the engine's orthonormal basis of X."""
    return solve_triangular(fit.blocks.R, L.T, trans="T").T


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
        factor, directions = fit.optimum.factor, _directions(fit)
        self._blocks = factor.blocks
        known = factor.covariances(beta_estimated=True)
        here = _Projected(factor, known)
        self.Phi, self._forms = here.Phi, here.forms
        k, p = len(fit.theta), factor.blocks.p
        single, double = np.zeros(k), np.zeros((k, k))
        self.vcov_slopes, self.slope_products = np.zeros((k, p, p)), np.zeros((k, k, p, p))
        for at, E, M, forms in zip(*directions, here.M, here.forms, strict=True):
            single[at] = np.einsum("rst,st->r", E, M)
            self.vcov_slopes[at] = np.einsum("rst,sctd->rcd", E, forms)
        for g, (numbers, patterns) in enumerate(zip(*directions, strict=True)):
            for number, pattern in zip(numbers, patterns, strict=True):
                there = _Projected(factor, known, {g: TINY * pattern}, here.C)
                for at, E, M, forms in zip(*directions, there.M, there.forms, strict=True):
                    double[at, number] = -np.einsum("rst,st->r", E, M.imag) / TINY
                    change = np.einsum("rst,sctd->rcd", E, forms.imag) / TINY
                    self.slope_products[at, number] = -change / 2
        self.traces = single, double

    def increase(self, W: FloatArray) -> FloatArray:
        """2Φ{Σ W_rs(Q_rs − P_rΦP_s)}Φ, given the covariance W of the ρ̂."""
        half = np.einsum("rs,rsij->ij", W, self.slope_products)
        return half + half.T

    def contract(self, changes: list[FloatArray]) -> FloatArray:
        """ΦXᵀV⁻¹(ΔV)V⁻¹XΦ, of a change of each term's covariance."""
        by_term = dict(zip(self._blocks.design.terms, changes, strict=True))
        total = np.zeros_like(self.Phi)
        for grouping, forms in zip(self._blocks.groupings, self._forms, strict=True):
            basis = grouping.inverse_basis
            total += np.einsum("st,sctd->cd", basis @ grouping.assemble(by_term) @ basis.T, forms)
        return total


class _Projected:
    """ZᵀPZ and ZᵀV⁻¹XΦ, where covariances Σ of some effects may be `steps` off the real line.

    Attributes
    ----------
    Phi : ndarray, shape (p, p)
    C : ndarray, shape (q, q + p)
        I − TK of the tail, real; it is not computed again where it is given.
    M : list of ndarray, shape (S, S)
        For each grouping the sum of its levels' blocks of ZᵀPZ.
    forms : list of ndarray, shape (S, p, S, p)
        The sum of products of all entries of their ZᵀV⁻¹XΦ.
    """

    def __init__(
        self,
        factor: Factor,
        known: Covariances,
        steps: Mapping[int, FloatArray] = MappingProxyType({}),
        C: FloatArray | None = None,
    ) -> None:
        self.C = C
        self._factor, self._known, self._steps = factor, known, steps
        self._blocks, self._plan, self._p = factor.blocks, factor.plan, factor.blocks.p
        groupings, p = self._blocks.groupings, self._p
        self._dtype: type = complex if steps else float
        self.M = [np.zeros((g.width, g.width), self._dtype) for g in groupings]
        self.forms = [np.zeros((g.width, p, g.width, p), self._dtype) for g in groupings]
        flat = self._first_gone()
        rounds = [
            Eliminated.out_of(
                flat, each, self._plan, factor.templates[each.grouping], steps.get(each.grouping)
            )
            for each in self._plan.rounds
        ]
        K = self._tail(mirror_upper(self._plan.tail(flat)))
        for gone in reversed(rounds):
            spread, reach = gone.recover(K, self._plan, p)
            self._record(gone.round.grouping, gone.D, gone.shrink, spread, reach)
        if groupings:
            self._back_to_first(K)

    def _first_gone(self) -> Numbers:
        blocks = self._blocks
        flat: Numbers = blocks.within.astype(self._dtype)
        if blocks.groupings:
            lam = self._factor.templates[0]
            *_, W, self._shrink = shrunk(blocks.own[0], lam, self._steps.get(0))
            blocks.add_gram(flat.real, self._factor.U)
            if np.iscomplexobj(W):
                blocks.add_gram(flat.imag, -W.imag)
        return flat

    def _tail(self, T: Numbers) -> Numbers:
        """K in the tail, in a flat vector, and what the tail's levels add.

        K⁻¹ = T + Σ⁻¹, so that dK = −K dT K + Cᵀ dΣ C with C = I − TK: no complex inverse.
        """
        plan, q = self._plan, self._plan.q_tail
        size = q + self._p
        flat: Numbers = self._known.flat.astype(self._dtype)
        K, T, known = (m[:size, :size] for m in (plan.tail(flat), T, plan.tail(self._known.flat)))
        value = np.ascontiguousarray(T.real[:q])
        if self.C is None:
            self.C = np.eye(q, size) - product(value, known)
        C: Numbers = self.C
        if np.iscomplexobj(T):
            step, change = np.ascontiguousarray(T.imag), np.zeros_like(known)
            if step.any():  # not where only covariances of the tail move
                step = product(step, known)
                change -= product(known, step)
            for g, _, span in plan.tail_spans:
                if g in self._steps:
                    blocks = C[span].T.reshape(size, -1, len(self.M[g])) @ self._steps[g]
                    change += product(blocks.reshape(size, -1), C[span])
            K.imag = change
            C = C - 1j * (step[:q] + product(value, change))
        self.Phi: Numbers = K[q:, q:].copy()
        for g, levels, span in plan.tail_spans:
            shape = len(levels), len(self.M[g]), -1
            rows, columns = C[span].reshape(shape), T[span].reshape(shape)
            self.M[g] += np.tensordot(rows, columns, axes=((0, 2), (0, 2)))
            self._record_seen(g, -C[span, q:].reshape(*shape[:2], self._p))
        return flat

    def _back_to_first(self, K: Numbers) -> None:
        blocks, p = self._blocks, self._p
        spread: Numbers = self._known.spreads[0].astype(self._dtype)
        if np.iscomplexobj(K):
            spread.imag = self._factor.first_spread(K.imag, p)
        reach = blocks.dense[0][:, :, :p] @ self._plan.corner(K)[:p, :p]
        if blocks.cross is not None:
            reach = reach + blocks.cross.lift(K[self._plan.border[:, None] + np.arange(p)])
        self._record(0, blocks.own[0], self._shrink, spread, reach)

    def _record(self, g: int, D: Numbers, shrink: Numbers, spread: Numbers, reach: Numbers) -> None:
        """Add levels of a grouping, which meet what goes later in `reach` and `spread`."""
        self.M[g] += (shrink @ (D - spread @ shrink.transpose(0, 2, 1))).sum(axis=0)
        self._record_seen(g, shrink @ reach)

    def _record_seen(self, g: int, seen: Numbers) -> None:
        n, width, p = seen.shape
        rows = seen.reshape(n, width * p)
        self.forms[g] += (rows.T @ rows).reshape(width, p, width, p)


def term_directions(term: RandomTerm, theta: FloatArray, basis: FloatArray) -> FloatArray:
    """∂Σ of a term in its directions, shape (k, S, S): variances, or what a search moves.

    `basis` changes to the columns in which they are wanted.
    """
    if term.part.structure.is_free:
        return triangle_units(term.width)
    return basis @ term_slopes(term, theta) @ basis.T


def _directions(fit: Fit) -> tuple[list[IntArray], list[FloatArray]]:
    """The numbers of each grouping's E_r, and these among its scaled columns, (k, S, S)."""
    terms = fit.design.terms
    thetas = dict(zip(terms, theta_by_term(terms, fit.theta), strict=True))
    numbers = dict(zip(terms, theta_by_term(terms, np.arange(len(fit.theta))), strict=True))
    places, patterns = [], []
    for grouping in fit.blocks.groupings:
        found = []
        for term, basis in grouping.by_term(grouping.inverse_basis).items():
            own = term_directions(term, thetas[term], basis)
            E = np.zeros((len(own), grouping.width, grouping.width))
            E[:, grouping.spans[term], grouping.spans[term]] = own
            found.append(E)
        places.append(np.concatenate([numbers[term] for term in grouping.spans]))
        patterns.append(np.concatenate(found))
    return places, patterns
