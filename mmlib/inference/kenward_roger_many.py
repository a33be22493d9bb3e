"""Kenward–Roger tests of one hypothesis for many responses at once, where there is one grouping.

The quantities of `mmlib.inference.information` and `mmlib.inference.kenward_roger`, with a first
axis that runs over the responses; what does not depend on y is computed once. A thousand tests of
a small design take a fraction of a second.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_triangular

from mmlib.arrays import TINY, FloatArray, Numbers, left_by, unit_patterns
from mmlib.engine.blocks import Blocks
from mmlib.engine.factor import shrunk
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
    size = grouping.n_levels * grouping.width * blocks.p * blocks.n_entries
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
        self._E = unit_patterns(*grouping.triangle, grouping.width)
        self._A = np.ascontiguousarray(blocks.dense[0][:, :, :-1])
        self._dof = blocks.n - blocks.p

    def __call__(self, responses: FloatArray, theta: FloatArray) -> FloatArray:
        """P-values, shape (B,), of responses (B, n) with their θ̂ (B, k); NaN where F has none."""
        with np.errstate(all="ignore"):
            lam = self._grouping.to_scaled(self._grouping.template(theta))
            W, Phi, M, forms = self._projected(lam)
            slopes, covariance, increase = self._spread(lam, Phi, M, forms)
            beta, sigma2 = self._estimates(responses, W, Phi)
            df, scaling = moments(self._rows, Phi, slopes, covariance)
            distance = beta @ self._rows.T - self._rhs
            adjusted = self._rows @ (Phi + increase) @ self._rows.T
            solved = np.linalg.solve(adjusted, distance[:, :, None])[:, :, 0]
            F = scaling * np.sum(distance * solved, axis=1) / sigma2 / len(self._rows)
            usable = (df > 0) & (scaling > 0)
            return np.where(usable, f_tail(len(self._rows), df, F), np.nan)

    def _projected(
        self, lam: FloatArray, step: FloatArray | None = None
    ) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        """W and Φ, and the sums of ZᵀPZ and of products of ZᵀV⁻¹XΦ: (B, S, S), (B, S, p, S, p)."""
        A, A11 = self._A, self._blocks.own[0]
        *_, W, shrink = shrunk(A11, lam[:, None], step)
        Phi = np.linalg.inv(np.eye(A.shape[2]) - _gram(A, W))
        left = shrink @ A
        seen = left @ Phi[:, None]
        M = shrink @ A11 - seen @ left.swapaxes(-1, -2)
        return W, Phi, M.sum(axis=1), np.einsum("blsp,bltq->bsptq", seen, seen, optimize=True)

    def _spread(
        self, lam: FloatArray, Phi: FloatArray, M: FloatArray, forms: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """As in `Spread`, with the scale last, and Φ_A − Φ."""
        E, k, p = self._E, len(self._E), Phi.shape[-1]
        information = np.empty((len(Phi), k + 1, k + 1))
        products = np.empty((len(Phi), k, k, p, p))
        for r, pattern in enumerate(E):
            _, _, moved, turned = self._projected(lam, TINY * pattern)
            information[:, :k, r] = -np.einsum("rst,bst->br", E, moved.imag) / TINY
            change = np.einsum("rst,bsptq->brpq", E, turned.imag) / TINY
            products[:, :, r] = -change / 2
        information[:, :k, k] = information[:, k, :k] = np.einsum("rst,bst->br", E, M)
        information[:, k, k] = self._dof
        covariance = 2 * pseudo_inverse(information)
        increase = np.einsum("brs,brsij->bij", covariance[:, :k, :k], products)
        slopes = np.einsum("rst,bsptq->brpq", E, forms)
        slopes = np.concatenate([slopes, Phi[:, None]], axis=1)
        return slopes, covariance, increase + np.swapaxes(increase, 1, 2)

    def _estimates(
        self, responses: FloatArray, W: FloatArray, Phi: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """β̂ in the orthonormal basis, shape (B, p), and σ̂², shape (B,)."""
        blocks, grouping = self._blocks, self._grouping
        if blocks.offset is not None:
            responses = responses - blocks.offset
        y = blocks.whiten(np.ascontiguousarray(responses.T))
        residual = left_by(blocks.basis, y)
        ols = blocks.basis.T @ (y - residual)
        z = (blocks.Zt[0] @ residual).reshape(grouping.n_levels, grouping.width, -1)
        weighted = np.einsum("blst,ltb->bls", W, z)
        score = -np.einsum("lsp,bls->bp", self._A, weighted)
        gained = np.einsum("bpq,bq->bp", Phi, score)
        rss = np.einsum("ib,ib->b", residual, residual)
        rss -= np.einsum("lsb,bls->b", z, weighted) + np.sum(score * gained, axis=1)
        return ols.T + gained, rss / self._dof


def _gram(A: FloatArray, weights: Numbers) -> Numbers:
    """Σ_j A_jᵀ W_j A_j for weights of shape (B, m, S, S): shape (B, p, p)."""
    levels, S, p = A.shape
    weighted = (weights @ A).reshape(len(weights), levels * S, p)
    return A.reshape(levels * S, p).T @ weighted
