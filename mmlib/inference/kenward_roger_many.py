"""Kenward–Roger tests of one hypothesis for many responses at once, where there is one grouping.

The quantities of `mmlib.inference.information` and `mmlib.inference.kenward_roger`, with a first
axis that runs over the responses; what does not depend on y is computed once. A thousand tests of
a small design take a fraction of a second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from mmlib.arrays import FloatArray, unit_patterns
from mmlib.engine.blocks import Blocks
from mmlib.inference.hypothesis import Hypothesis
from mmlib.inference.information import pseudo_inverse
from mmlib.inference.kenward_roger import moments
from mmlib.inference.pvalues import f_tail

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
        self._E = unit_patterns(grouping.theta_rows, grouping.theta_columns, grouping.width)
        self._A = np.ascontiguousarray(blocks.dense[0][:, :, :-1])
        self._dof = blocks.n - blocks.p

    def __call__(self, responses: FloatArray, theta: FloatArray) -> FloatArray:
        """P-values, shape (B,), of responses (B, n) with their θ̂ (B, k); NaN where F has none."""
        with np.errstate(all="ignore"):
            known = _Information.at(self, theta)
            beta, sigma2 = self._estimates(responses, known)
            df, scaling = moments(self._rows, known.Phi, known.slopes, known.covariance)
            distance = beta @ self._rows.T - self._rhs
            adjusted = self._rows @ known.adjusted @ self._rows.T
            solved = np.linalg.solve(adjusted, distance[:, :, None])[:, :, 0]
            F = scaling * np.sum(distance * solved, axis=1) / sigma2 / len(self._rows)
            usable = (df > 0) & (scaling > 0)
            return np.where(usable, f_tail(len(self._rows), df, F), np.nan)

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


@dataclass(frozen=True, eq=False)
class _Information:
    """What the tests need of each θ; X in the orthonormal basis, V relative to σ².

    Attributes
    ----------
    W : ndarray, shape (B, m, S, S)
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
        grouping = model._grouping
        lam = grouping.to_scaled(grouping.template(theta))[:, None]
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
        covariance = 2 * pseudo_inverse(information)
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
    """Σ_j A_jᵀ W_j A_j for weights of shape (B, m, S, S): shape (B, p, p)."""
    levels, S, p = A.shape
    weighted = (weights @ A).reshape(len(weights), levels * S, p)
    return A.reshape(levels * S, p).T @ weighted
