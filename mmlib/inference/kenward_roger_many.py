"""Kenward–Roger tests of one hypothesis for many responses at once, where there is one grouping.

The quantities of `mmlib.inference.information` and `mmlib.inference.kenward_roger`, with a first
axis that runs over the responses; what does not depend on y is computed once. A thousand tests of
a small design take a fraction of a second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import chdtrc, fdtrc

from mmlib.arrays import FloatArray
from mmlib.engine.blocks import Blocks
from mmlib.inference.hypothesis import Hypothesis
from mmlib.inference.information import FLAT, patterns
from mmlib.inference.kenward_roger import VANISHES

MAX_NUMBERS = 10**4
"""Numbers of one response in the largest array up to which the responses are taken together."""


def suits(blocks: Blocks) -> bool:
    """Whether a design has one grouping, and few enough levels and columns."""
    if len(blocks.groupings) != 1 or blocks.design.structured:
        return False
    grouping = blocks.groupings[0]
    size = grouping.n_levels * grouping.width * blocks.p * blocks.theta_size
    return size <= MAX_NUMBERS


class ManyKenwardRoger:
    """The tests of Lβ = β_H for many responses to one design, each with its own θ.

    Parameters
    ----------
    blocks : Blocks
        Of a design that `suits`.
    tested : Hypothesis
    """

    def __init__(self, blocks: Blocks, tested: Hypothesis) -> None:
        self._blocks, self._rhs = blocks, tested.rhs
        self._rows = solve_triangular(blocks.R, tested.L.T, trans="T").T
        [grouping] = blocks.groupings
        self._grouping = grouping
        self._E = patterns(grouping)
        self._A = np.ascontiguousarray(blocks.dense[0][:, :, :-1])
        self._dof = blocks.n - blocks.p

    def __call__(self, responses: FloatArray, theta: FloatArray) -> FloatArray:
        """P-values, shape (B,), of responses (B, n) with their θ̂ (B, k); NaN where F has none."""
        with np.errstate(all="ignore"):
            known = _Information.at(self, theta)
            beta, sigma2 = self._estimates(responses, known)
            df, scaling = self._moments(known)
            distance = beta @ self._rows.T - self._rhs
            adjusted = self._rows @ known.adjusted @ self._rows.T
            solved = np.linalg.solve(adjusted, distance[:, :, None])[:, :, 0]
            F = scaling * np.sum(distance * solved, axis=1) / sigma2 / len(self._rows)
            return _tails(len(self._rows), df, F, scaling)

    def templates(self, theta: FloatArray) -> FloatArray:
        """The templates for the scaled columns, shape (B, 1, S, S)."""
        grouping = self._grouping
        lam = np.zeros((len(theta), grouping.width, grouping.width))
        lam[:, grouping.theta_rows, grouping.theta_columns] = theta[:, grouping.positions]
        return (grouping.inverse_basis @ lam)[:, None]

    def _estimates(
        self, responses: FloatArray, known: _Information
    ) -> tuple[FloatArray, FloatArray]:
        """β̂ in the orthonormal basis, shape (B, p), and σ̂², shape (B,)."""
        blocks, grouping = self._blocks, self._grouping
        if blocks.offset is not None:
            responses = responses - blocks.offset
        y = blocks.weigh(np.ascontiguousarray(responses.T))
        ols = blocks.basis.T @ y
        residual = y - blocks.basis @ ols
        correction = blocks.basis.T @ residual
        residual -= blocks.basis @ correction
        z = (blocks.Zt[0] @ residual).reshape(grouping.n_levels, grouping.width, -1)
        weighted = np.einsum("blst,ltb->bls", known.W, z)
        score = -np.einsum("lsp,bls->bp", self._A, weighted)
        gained = np.einsum("bpq,bq->bp", known.Phi, score)
        rss = np.einsum("ib,ib->b", residual, residual)
        rss -= np.einsum("lsb,bls->b", z, weighted) + np.sum(score * gained, axis=1)
        return (ols + correction).T + gained, rss / self._dof

    def _moments(self, known: _Information) -> tuple[FloatArray, FloatArray]:
        """Denominator degrees of freedom and scaling of each response, as in the single test."""
        ell = len(self._rows)
        triangle = np.linalg.cholesky(self._rows @ known.Phi @ self._rows.T)
        shape = (len(triangle), *self._rows.shape)
        white = np.linalg.solve(triangle, np.broadcast_to(self._rows, shape))
        slopes = white[:, None] @ known.slopes @ np.swapaxes(white, 1, 2)[:, None]
        traces = np.einsum("brii->br", slopes)
        A1 = np.einsum("br,brs,bs->b", traces, known.covariance, traces)
        A2 = np.einsum("brs,brij,bsji->b", known.covariance, slopes, slopes)
        if ell == 1:
            return 2 / A2, np.ones(len(A2))
        B = (A1 + 6 * A2) / (2 * ell)
        g = ((ell + 1) * A1 - (ell + 4) * A2) / ((ell + 2) * A2)
        divisor = 3 * ell + 2 * (1 - g)
        c1, c2, c3 = g / divisor, (ell - g) / divisor, (ell + 2 - g) / divisor
        mean, spread, above, below = 1 - A2 / ell, 1 - c2 * B, 1 + c1 * B, 1 - c3 * B
        vanish = np.maximum(np.abs(mean), np.abs(spread)) < VANISHES
        first, second = np.where(vanish, 1.0, mean), np.where(vanish, 1.0, spread)
        above = np.where(np.abs(above) < VANISHES, 0.0, above)
        excess = first**2 * above - second**2 * below
        df = np.where(excess == 0, np.inf, 4 + (ell + 2) * second**2 * below / excess)
        scaling = np.where(np.abs(df - 2) < 1e-2, 1.0, df * mean / (df - 2))
        return df, np.where(np.isinf(df), mean, scaling)


@dataclass(frozen=True, eq=False)
class _Information:
    """What the tests need of each θ; X in the orthonormal basis, V relative to σ².

    Attributes
    ----------
    W : ndarray, shape (B, ℓ, S, S)
    Phi, adjusted : ndarray, shape (B, p, p)
        Φ and Φ_A.
    slopes : ndarray, shape (B, k + 1, p, p)
        Derivatives of Φ in the variance parameters, the scale last.
    covariance : ndarray, shape (B, k + 1, k + 1)
        Inverse of the expected information of these.
    """

    W: FloatArray
    Phi: FloatArray
    adjusted: FloatArray
    slopes: FloatArray
    covariance: FloatArray

    @classmethod
    def at(cls, model: ManyKenwardRoger, theta: FloatArray) -> _Information:
        """At each θ of shape (B, k)."""
        A, A11, E = model._A, model._blocks.own[0], model._E
        lam = model.templates(theta)
        lam_t = np.swapaxes(lam, -1, -2)
        S, p, k = A.shape[1], A.shape[2], len(E)
        W = lam @ np.linalg.solve(lam_t @ A11 @ lam + np.eye(S), lam_t)
        shrink = np.eye(S) - A11 @ W
        inner = shrink @ A11
        Phi = np.asarray(np.linalg.inv(np.eye(p) - _gram(A, W)), dtype=np.float64)
        effects = shrink @ (A @ Phi[:, None])
        slopes = np.einsum("blsp,rst,bltq->brpq", effects, E, effects, optimize=True)
        shrink_t = np.swapaxes(shrink, -1, -2)
        outer = shrink @ (A @ Phi[:, None] @ A.transpose(0, 2, 1)) @ shrink_t
        single = np.einsum("rst,blst->br", E, inner - outer)
        H = np.stack([_gram(A, shrink_t @ each @ shrink) for each in E], axis=1)
        HK = H @ Phi[:, None]
        one, two = E @ inner[:, :, None], E @ (inner - 2 * outer)[:, :, None]
        double = np.einsum("blrst,blqts->brq", one, two, optimize=True)
        double = (double + np.swapaxes(double, 1, 2)) / 2
        double += np.einsum("brij,bsji->brs", HK, HK)
        information = np.empty((len(theta), k + 1, k + 1))
        information[:, :k, :k] = double
        information[:, :k, k] = information[:, k, :k] = single
        information[:, k, k] = model._dof
        covariance = 2 * _pseudo_inverses(information)
        turned = E @ effects[:, :, None]
        reached = np.einsum("lsp,blst,blrtq->brpq", A, shrink_t, turned, optimize=True)
        products = np.einsum("blrsp,blst,blqtu->brqpu", turned, inner, turned, optimize=True)
        products -= np.einsum("brip,bij,bqju->brqpu", reached, Phi, reached, optimize=True)
        increase = np.einsum("brs,brsij->bij", covariance[:, :k, :k], products)
        return cls(
            W=W,
            Phi=Phi,
            adjusted=Phi + increase + np.swapaxes(increase, 1, 2),
            slopes=np.concatenate([slopes, Phi[:, None]], axis=1),
            covariance=covariance,
        )


def _gram(A: FloatArray, weights: FloatArray) -> FloatArray:
    """Σ_j A_jᵀ W_j A_j for weights of shape (B, ℓ, S, S): shape (B, p, p)."""
    levels, S, p = A.shape
    weighted = (weights @ A).reshape(len(weights), levels * S, p)
    return A.reshape(levels * S, p).T @ weighted


def _pseudo_inverses(matrices: FloatArray) -> FloatArray:
    """Inverses on the directions that curve upwards, as `information.pseudo_inverse`."""
    diagonal = np.einsum("bii->bi", matrices)
    scale = np.where(diagonal > 0, 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0)), 1.0)
    scaled = matrices * scale[:, :, None] * scale[:, None, :]
    curvatures, directions = np.linalg.eigh(scaled)
    kept = curvatures > FLAT * np.abs(curvatures).max(axis=1, keepdims=True)
    roots = np.where(kept, 1 / np.sqrt(np.where(kept, curvatures, 1.0)), 0.0)
    half = directions * scale[:, :, None] * roots[:, None, :]
    return half @ np.swapaxes(half, 1, 2)


def _tails(ell: int, df: FloatArray, F: FloatArray, scaling: FloatArray) -> FloatArray:
    tails = np.where(
        np.isinf(df), chdtrc(ell, ell * F), fdtrc(ell, np.where(np.isinf(df), 1.0, df), F)
    )
    return np.where((df > 0) & (scaling > 0), tails, np.nan)
