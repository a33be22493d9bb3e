"""The blocked Cholesky factor of Ω(θ), and all that is read off it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack

from mmlib.arrays import FloatArray
from mmlib.design.terms import templates
from mmlib.engine.blocks import Blocks
from mmlib.engine.grouping import Grouping, diagonal_blocks
from mmlib.errors import DataError
from mmlib.frozen import close

NOTHING_LEFT = 1e-8
"""Residuals below this share of those of the fixed effects alone are lost in rounding."""

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


class Factor:
    """Blocked Cholesky factor of Ω(θ): log-determinants, residual sum of squares, back-solves.

    With λ, A_j the template and cross-products of level j of the first grouping,

        F_j = λᵀA_jλ + I,   W_j = λ F_j⁻¹ λᵀ,   T = A00 − Σ_j A_j0ᵀ W_j A_j0,   S = BᵀTB + I,

    where B applies the templates of the other groupings and leaves X and y as they are. All of it,
    the templates included, is for the scaled columns of Z. The difference in T would lose digits
    where λ is large; with A_j = R_jᵀR_j, and `within` what each level leaves of A00, it is the sum

        T = within + Σ_j A_j0ᵀ U_j A_j0,   U_j = A_j⁺ − W_j = R_j⁺ (R_jλλᵀR_jᵀ + I)⁻¹ R_j⁺ᵀ.

    Attributes
    ----------
    rounding : float
        How well the residual sum of squares is known, relative to it.
    """

    def __init__(self, blocks: Blocks, templates: list[FloatArray]) -> None:
        self.blocks = blocks
        self.templates = templates
        q, p = blocks.q_rest, blocks.p
        T = blocks.within.copy()
        self.log_det_Z = 0.0
        if blocks.groupings:
            self.log_det_Z, self.N, self.U = _eliminate(blocks, self.templates[0])
            self.W = self.N @ self.templates[0].T
            T += blocks.gram(self.U)
        self.TB = self._columns_times(T)
        S = self._times_rows(self.TB)
        S.flat[: q * len(S) : len(S) + 1] += 1.0
        before = np.diag(S)[q:].copy()
        self.L, info = lapack.dpotrf(S.T, lower=1, overwrite_a=1)  # S is symmetric: no copy
        diagonal = np.diag(self.L)
        if info > 0 or diagonal[-1] <= NOTHING_LEFT * np.sqrt(blocks.total_ss):
            raise BreakdownError(BREAKDOWN)
        self.rounding = EPSILON * float((before / diagonal[q:] ** 2).max())
        self.log_det_Z += 2 * float(np.log(diagonal[:q]).sum())
        self.log_det_X = 2 * float(np.log(diagonal[q : q + p]).sum())
        self.rss = float(diagonal[-1] ** 2)
        close(self)

    def __reduce__(self) -> tuple[type[Factor], tuple[Blocks, list[FloatArray]]]:
        return Factor, (self.blocks, self.templates)

    def _columns_times(self, matrix: FloatArray, *, transposed: bool = False) -> FloatArray:
        """`matrix` times B (or Bᵀ): each column block of a later grouping times its template."""
        product = matrix.copy()
        for grouping, lam, span in self.later():
            if grouping.width == 1:
                product[:, span] *= lam[0, 0]
            else:
                blocks = matrix[:, span].reshape(len(matrix), grouping.n_levels, grouping.width)
                product[:, span] = (blocks @ (lam.T if transposed else lam)).reshape(
                    len(matrix), -1
                )
        return product

    def _times_rows(self, matrix: FloatArray, *, transposed: bool = False) -> FloatArray:
        """Bᵀ (or B) times `matrix`: the same for its row blocks."""
        product = matrix.copy()
        for grouping, lam, span in self.later():
            if grouping.width == 1:
                product[span] *= lam[0, 0]
            else:
                blocks = matrix[span].reshape(grouping.n_levels, grouping.width, -1)
                product[span] = ((lam if transposed else lam.T) @ blocks).reshape(
                    grouping.n_effects, -1
                )
        return product

    def later(self) -> list[tuple[Grouping, FloatArray, slice]]:
        """The groupings after the first, each with its template and its columns in S."""
        return [
            (grouping, lam, span)
            for (grouping, span), lam in zip(self.blocks.spans, self.templates[1:], strict=True)
        ]

    def fixed_factor(self) -> FloatArray:
        """L_X in the orthonormal basis of X, lower triangular, shape (p, p)."""
        q, p = self.blocks.q_rest, self.blocks.p
        return self.L[q : q + p, q : q + p]

    def coefficients(self) -> FloatArray:
        """Solution (u_rest, β̃) of the penalized least-squares problem, from the last row of L."""
        return _solve_lower_transposed(self.L[:-1, :-1], self.L[-1, :-1])

    def modes(self) -> Modes:
        """Fixed effects (in the orthonormal basis) and conditional modes of the random effects."""
        blocks = self.blocks
        solution = self.coefficients()
        beta = solution[blocks.q_rest :]
        b = [
            solution[span].reshape(grouping.n_levels, grouping.width) @ lam.T
            for grouping, lam, span in self.later()
        ]
        if blocks.groupings:
            score = blocks.A10 @ np.append(-beta, 1.0)
            if blocks.cross is not None:
                b_rest = np.concatenate([modes.ravel() for modes in b])
                score -= blocks.cross.lift(b_rest[:, None])[:, :, 0]
            b.insert(0, np.einsum("lst,lt->ls", self.W, score))
        bases = [grouping.basis for grouping in blocks.groupings]
        return Modes(beta, [scaled @ basis.T for scaled, basis in zip(b, bases, strict=True)])

    def conditional_variances(self, *, beta_estimated: bool) -> list[FloatArray]:
        """Diagonal blocks, shape (ℓ, S, S), of the variance of each grouping's effects, over σ².

        With `beta_estimated` the uncertainty of β̂ is added: the prediction-error variance
        (Henderson 1975) instead of the variance given y and β.
        """
        blocks = self.blocks
        size = blocks.q_rest + (blocks.p if beta_estimated else 0)
        K = self.congruence(self.inverse(size))
        variances = []
        for grouping, _, span in self.later():
            variances.append(diagonal_blocks(K[span, span], grouping))
        if blocks.groupings:
            spread = self.level_adjoint(K) if size else np.zeros_like(self.W)
            variances.insert(0, self.W + self.W @ spread @ self.W)
        bases = [grouping.basis for grouping in blocks.groupings]
        return [basis @ V @ basis.T for V, basis in zip(variances, bases, strict=True)]

    def congruence(self, matrix: FloatArray) -> FloatArray:
        """B times a symmetric `matrix` times Bᵀ."""
        return self._times_rows(self._columns_times(matrix, transposed=True), transposed=True)

    def level_adjoint(self, K: FloatArray) -> FloatArray:
        """A_j0 K A_j0ᵀ for each level j of the first grouping; K covers the leading rows of A00."""
        blocks = self.blocks
        q = blocks.q_rest
        dense = blocks.A10[:, :, : len(K) - q]
        adjoint = dense @ K[q:, q:] @ dense.transpose(0, 2, 1)
        if blocks.cross is not None:
            adjoint += blocks.cross.gram_adjoint(K[:q, :q])
            mixed = blocks.cross.lift(K[:q, q:]) @ dense.transpose(0, 2, 1)
            adjoint += mixed + mixed.transpose(0, 2, 1)
        return adjoint

    def inverse(self, size: int) -> FloatArray:
        """Inverse of the leading `size` rows and columns of S."""
        if size == 0:
            return np.zeros((0, 0))
        leading = np.array(self.L[:size, :size], order="F")
        inverse, _ = lapack.dpotri(leading, lower=1, overwrite_c=1)
        return _mirror_lower(inverse)

    def template_slopes(self, *, reml: bool, rss_weight: float) -> list[FloatArray]:
        """Derivative of ``log|Ω_Z| [+ log|Ω_X·Z|] + rss_weight·rss`` in each template, (S, S).

        Each log-determinant is differentiated through S: with S̄ the derivative in S,
        the derivative in T is K = B S̄ Bᵀ, in W_j it is −A_j0 K A_j0ᵀ, and the rest is the
        product rule.
        """
        blocks = self.blocks
        m, q = len(self.L), blocks.q_rest
        residual = np.append(-self.coefficients(), 1.0)
        S_bar = np.outer(residual, residual) * rss_weight
        size = q + (blocks.p if reml else 0)
        S_bar[:size, :size] += self.inverse(size)

        slopes = []
        if blocks.groupings:
            W_bar = -self.level_adjoint(self.congruence(S_bar))
            slopes.append(2 * (blocks.A11 @ (self.N + self.U @ (W_bar @ self.N))).sum(axis=0))
        for grouping, _, span in self.later():
            shape = (grouping.n_levels, grouping.width, m)
            left, right = self.TB[span].reshape(shape), S_bar[span].reshape(shape)
            slopes.append(2 * np.einsum("lsm,ltm->st", left, right))
        return slopes


def factorize(blocks: Blocks, theta: FloatArray) -> Factor:
    """Blocked Cholesky factor of Ω(θ), θ being that of the model's own columns."""
    terms = blocks.design.terms
    by_term = dict(zip(terms, templates(terms, theta), strict=True))
    blocks = blocks.at(theta)
    return Factor(blocks, [g.to_scaled(g.assemble(by_term)) for g in blocks.groupings])


def _eliminate(blocks: Blocks, lam: FloatArray) -> tuple[float, FloatArray, FloatArray]:
    """Σ log|F_j|, N_j = λF_j⁻¹ and U_j of the first grouping."""
    if len(lam) == 1:
        G = 1 + blocks.A11 * lam**2
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


def _mirror_lower(matrix: FloatArray, width: int = 128) -> FloatArray:
    """Copy the lower triangle to the upper one, in place, a panel that fits the cache at a time."""
    for start in range(0, len(matrix), width):
        panel = slice(start, start + width)
        matrix[:start, panel] = matrix[panel, :start].T
        corner = matrix[panel, panel] + matrix[panel, panel].T  # above the diagonal are zeros
        corner.flat[:: len(corner) + 1] /= 2
        matrix[panel, panel] = corner
    return matrix


def _solve_lower_transposed(L: FloatArray, right: FloatArray) -> FloatArray:
    """Solve Lᵀx = right."""
    if not len(right):
        return right
    solution, _ = lapack.dtrtrs(L, right, lower=1, trans=1)
    return solution
