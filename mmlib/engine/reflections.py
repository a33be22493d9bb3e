"""The factor of Ω(θ) by orthogonal transformations, for variances that are very far apart.

Cross-products square the condition of their columns: beside a second grouping whose levels differ
by 10⁶ residual standard deviations, the residual variance is the difference of two numbers of
10¹². So T is kept as MᵀM, and [MB; I 0] is reduced by reflections, whose errors grow with the
condition itself (Golub & Van Loan 2013, Matrix Computations, section 5.3).
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack

from mmlib.arrays import FloatArray

MAX_NUMBERS = 10**6
"""Numbers in the dense columns [Z_rest X y] up to which this way is taken."""


class Columns:
    """The columns [Z_rest X y], split into what the first grouping explains and the rest.

    Parameters
    ----------
    root, inverse_root : ndarray, shape (ℓ, S, S)
        R_j, where R_jᵀR_j are the cross-products of a level, and R_j⁺.
    within : ndarray, shape (n, m)
        What the levels leave of the columns.
    levels : ndarray, shape (ℓ, S, m)
        Their cross-products with the columns.
    """

    def __init__(
        self, root: FloatArray, inverse_root: FloatArray, within: FloatArray, levels: FloatArray
    ) -> None:
        self.root = root
        self.within = np.linalg.qr(within, mode="r")
        self.between = inverse_root.transpose(0, 2, 1) @ levels


class Reduced:
    """[MB; I 0] = QLᵀ with L lower-triangular, so that LLᵀ = BᵀTB + I.

    With R_jλ = P_j D_j V_jᵀ, M has the rows (I + D_j²)^(-½) P_jᵀ R_j⁺ᵀ A_j0 and a root of `within`.

    Attributes
    ----------
    L : ndarray, shape (m, m)
    rounding : float
        How well the squares of the last entries of L are known, relative to them.
    """

    def __init__(self, columns: Columns, template: FloatArray) -> None:
        self.columns = columns
        self._left, self._sizes, self._right = np.linalg.svd(columns.root @ template)
        self._shrunk = 1 / np.sqrt(1 + self._sizes**2)
        rotated = self._left.transpose(0, 2, 1) @ columns.between
        between = (self._shrunk[:, :, None] * rotated).reshape(-1, rotated.shape[2])
        self.root = np.vstack([between, columns.within])

    def reduce(self, scaled_root: FloatArray, q: int) -> None:
        """Find L and Q, from MB."""
        Q, R = np.linalg.qr(np.vstack([scaled_root, np.eye(q, scaled_root.shape[1])]))
        signs = np.where(np.diag(R) < 0, -1.0, 1.0)
        self._Q, self.L = Q[: len(scaled_root)] * signs, R.T * signs
        sizes = np.linalg.norm(scaled_root[:, q:], axis=0)
        shares = sizes / np.maximum(np.diag(self.L)[q:], np.finfo(float).tiny)
        self.rounding = float(np.finfo(float).eps * shares.max())

    def slope_roots(self, size: int, residual: FloatArray) -> tuple[FloatArray, FloatArray]:
        """G and MBGᵀ, where GᵀG is (LLᵀ)⁻¹ of `size` rows, plus the square of `residual`."""
        rows = np.zeros((size + 1, len(self.L)))
        rows[size] = residual
        if size:
            rows[:size, :size], _ = lapack.dtrtri(self.L[:size, :size], lower=1)
        last = self._Q[:, -1:] * (self.L[-1, -1] * residual[-1])
        return rows, np.hstack([self._Q[:, :size], last])

    def first_slope(self, fitted: FloatArray) -> FloatArray:
        """The slope in the first template, from MBGᵀ."""
        levels, width = self._sizes.shape
        own = fitted[: levels * width].reshape(levels, width, -1)
        share = self._sizes * self._shrunk
        inner = -(self._shrunk[:, :, None] * own) @ (own.transpose(0, 2, 1) * share[:, None])
        inner[:, np.arange(width), np.arange(width)] += share * self._shrunk
        outer = self.columns.root.transpose(0, 2, 1) @ self._left
        return 2 * (outer @ inner @ self._right).sum(axis=0)
