"""How the likelihood and vcov(β̂) depend on the variances: what the F tests are computed from.

Relative to σ², the variances and covariances of the random effects enter Var(y) linearly,

    Var(y) = σ²V,   V = I + Σ_r ρ_r G_r,   G_r = Z (I ⊗ E_r) Zᵀ,

with one ρ_r, and one symmetric pattern E_r of zeros and ones, for each entry of θ. With
P = V⁻¹ − V⁻¹X(XᵀV⁻¹X)⁻¹XᵀV⁻¹ everything follows from ZᵀV⁻¹X, ZᵀPy and the traces of PG_r and
PG_rPG_s. As parameter of scale we take the direction V itself: since V⁻¹V = I, it costs nothing.

The grouping that the engine eliminates level by level (Z₁) is eliminated here too: V₁, the part of
V that holds I and Z₁, is inverted by blocks, and V⁻¹ and P differ from V₁⁻¹ by V₁⁻¹Z₀KZ₀ᵀV₁⁻¹,
where Z₀ holds the other groupings (and X, for P). No matrix is larger than the engine's own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from mmlib.arrays import FloatArray, lower
from mmlib.engine.grouping import Grouping
from mmlib.engine.threads import single_threaded
from mmlib.results.fit import Fit

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


def pseudo_inverse(matrix: FloatArray) -> FloatArray:
    """Inverse of a symmetric matrix on the directions that it identifies (curves upwards in)."""
    diagonal = np.diag(matrix)
    scale = np.where(diagonal > 0, 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0)), 1.0)
    curvatures, directions = np.linalg.eigh(matrix * np.outer(scale, scale))
    kept = curvatures > FLAT * np.abs(curvatures).max(initial=0.0)
    half = directions[:, kept] * scale[:, None] / np.sqrt(curvatures[kept])
    return half @ half.T


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
    sigma_estimated : bool
        Whether the scale is a parameter too.
    """

    def __init__(self, fit: Fit) -> None:
        self.sigma_estimated = fit.design.sigma is None
        self._factor = fit.optimum.factor
        self._blocks = self._factor.blocks
        self.groupings = self._blocks.groupings
        self.templates = [lower(template) for template in self._factor.templates]
        self._q, self._p = self._blocks.q_rest, self._blocks.p
        self._size = self._q + self._p
        self._T = self._blocks.A00.copy()
        if self._blocks.groupings:
            self._T -= self._blocks.gram(self._factor.W)
            self._shrink = np.eye(len(self._factor.W[0])) - self._blocks.A11 @ self._factor.W
            self._inner = self._shrink @ self._blocks.A11
        self._K = self._kernel(reml=True)
        self.Phi: FloatArray = self._K[self._q :, self._q :]
        self._effects = self._seen_by_groups(self._K[:, self._q :])
        self.vcov_slopes = np.zeros((self._blocks.theta_size, self._p, self._p))
        for grouping, effects in zip(self._blocks.groupings, self._effects, strict=True):
            products = np.tensordot(effects, effects, axes=((0), (0)))
            self.vcov_slopes[grouping.positions] = np.einsum(
                "sptu,rst->rpu", products, patterns(grouping)
            )

    @staticmethod
    def vcov_of(fit: Fit) -> FloatArray:
        """Φ alone."""
        factor, q = fit.optimum.factor, fit.blocks.q_rest
        return factor.congruence(factor.inverse(q + fit.design.p))[q:, q:]

    def slopes_with_scale(self, slopes: FloatArray) -> FloatArray:
        """The slopes of Φ, and that in the scale, which is Φ itself, unless σ is known."""
        return np.concatenate([slopes, self.Phi[None]]) if self.sigma_estimated else slopes

    def slope_products(self) -> FloatArray:
        """ΦXᵀV⁻¹G_r P G_sV⁻¹XΦ for all r and s, shape (k, k, p, p)."""
        k = self._blocks.theta_size
        products = self._quadratic_form(self._effects)
        return products.reshape(k, self._p, k, self._p).transpose(0, 2, 1, 3)

    def score_products(self) -> tuple[FloatArray, FloatArray]:
        """The forms yᵀPG_rPy, shape (k,), and yᵀPG_rPG_sPy, shape (k, k)."""
        weights = np.append(-self._K @ self._T[: self._size, -1], 1.0)
        scores = self._seen_by_groups(weights[:, None])
        single = np.zeros(self._blocks.theta_size)
        for grouping, score in zip(self._blocks.groupings, scores, strict=True):
            products = score[:, :, 0].T @ score[:, :, 0]
            single[grouping.positions] = np.einsum("st,rst->r", products, patterns(grouping))
        return single, self._quadratic_form(scores)

    def traces(self, *, reml: bool) -> tuple[FloatArray, FloatArray]:
        """Traces of PG_r, shape (k,), and of PG_rPG_s, shape (k, k); V⁻¹ for P unless `reml`."""
        groupings = self._blocks.groupings
        k = self._blocks.theta_size
        single, double = np.zeros(k), np.zeros((k, k))
        if not groupings:
            return single, double
        K = self._kernel(reml=reml)
        size, q = len(K), self._q
        first, E = groupings[0], patterns(groupings[0])
        outer = self._shrink @ self._factor.level_adjoint(K) @ self._shrink.transpose(0, 2, 1)
        weights = self._shrink.transpose(0, 2, 1) @ E[:, None] @ self._shrink
        H = np.array([self._blocks.gram(each)[:size, :size] for each in weights])
        HK = H @ K
        single[first.positions] = np.einsum("st,rst->r", (self._inner - outer).sum(axis=0), E)
        pairs = np.tensordot(self._inner, self._inner - 2 * outer, axes=(0, 0))
        turned = np.tensordot(E, pairs, axes=((1, 2), (1, 2)))
        double[np.ix_(first.positions, first.positions)] = np.tensordot(
            turned, E, axes=((1, 2), (2, 1))
        ) + np.tensordot(HK, HK, axes=((1, 2), (2, 1)))
        if len(groupings) == 1:
            return single, double

        through = np.eye(q, size) - self._T[:q, :size] @ K
        M = through @ self._T[:size, :q]
        across = through @ H @ through.T
        later = self._factor.later()
        for g, _, rows in later:
            E_g = patterns(g)
            single[g.positions] = np.einsum("st,rst->r", _level_sum(M[rows, rows], g), E_g)
            mixed = np.einsum(
                "ust,rst->ur", [_level_sum(each[rows, rows], g) for each in across], E_g
            )
            double[np.ix_(first.positions, g.positions)] = mixed
            double[np.ix_(g.positions, first.positions)] = mixed.T
            for h, _, columns in later:
                block = M[rows, columns].reshape(g.n_levels, g.width, h.n_levels, h.width)
                pairs = np.tensordot(block, block, axes=((0, 2), (0, 2)))
                turned = np.tensordot(E_g, pairs, axes=((1, 2), (2, 0)))
                double[np.ix_(g.positions, h.positions)] = np.tensordot(
                    turned, patterns(h), axes=((1, 2), (1, 2))
                )
        return single, double

    def _kernel(self, *, reml: bool) -> FloatArray:
        """K, of order q_rest for V⁻¹ and q_rest + p for P."""
        return self._factor.congruence(self._factor.inverse(self._size if reml else self._q))

    def _seen_by_groups(self, columns: FloatArray) -> list[FloatArray]:
        """ZᵀV₁⁻¹Z₀ times `columns` of shape (≤ m, c): for each grouping shape (ℓ, S, c)."""
        blocks, q, rows = self._blocks, self._q, len(columns)
        if not blocks.groupings:
            return []
        lifted = blocks.A10[:, :, : rows - q] @ columns[q:]
        if blocks.cross is not None:
            lifted += blocks.cross.lift(columns[:q])
        rest = self._T[:q, :rows] @ columns
        return [
            self._shrink @ lifted,
            *(
                rest[span].reshape(grouping.n_levels, grouping.width, -1)
                for grouping, _, span in self._factor.later()
            ),
        ]

    def _quadratic_form(self, effects: list[FloatArray]) -> FloatArray:
        """WᵀZᵀPZW, where W puts (I ⊗ E_r)·effects side by side, the columns of r together."""
        groupings = self._blocks.groupings
        if not groupings:
            return np.zeros((0, 0))
        first, *later = (
            _turn(grouping, each, self._blocks.theta_size)
            for grouping, each in zip(groupings, effects, strict=True)
        )
        c, q = first.shape[2], self._q
        rest = np.vstack([np.zeros((0, c)), *(each.reshape(-1, c) for each in later)])
        inwards = self._shrink.transpose(0, 2, 1) @ first
        reached = np.tensordot(self._blocks.A10[:, :, : self._p], inwards, axes=((0, 1), (0, 1)))
        if self._blocks.cross is not None:
            reached = np.vstack([self._blocks.cross.project(inwards), reached])
        mixed = reached[:q].T @ rest
        form = np.tensordot(first, self._inner @ first, axes=((0, 1), (0, 1)))
        form += mixed + mixed.T + rest.T @ self._T[:q, :q] @ rest
        reached += self._T[: self._size, :q] @ rest
        return form - reached.T @ self._K @ reached


def patterns(grouping: Grouping) -> FloatArray:
    """The E_r of a grouping, in the order of its entries of θ, shape (k, S, S)."""
    rows, columns = grouping.theta_rows, grouping.theta_columns
    E = np.zeros((len(rows), grouping.width, grouping.width))
    E[np.arange(len(rows)), rows, columns] = 1.0
    E[np.arange(len(rows)), columns, rows] = 1.0
    return E


def _turn(grouping: Grouping, effects: FloatArray, k: int) -> FloatArray:
    """E_r times effects of shape (ℓ, S, c), for all r side by side: shape (ℓ, S, k·c)."""
    levels, width, c = effects.shape
    turned = np.zeros((levels, width, k, c))
    turned[:, :, grouping.positions] = np.einsum("rst,ltc->lsrc", patterns(grouping), effects)
    return turned.reshape(levels, width, k * c)


def _level_sum(block: FloatArray, grouping: Grouping) -> FloatArray:
    """Sum over the levels of the S×S blocks on the diagonal."""
    shape = (grouping.n_levels, grouping.width)
    return np.einsum("lslt->st", block.reshape(shape * 2))
