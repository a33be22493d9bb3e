"""Rows into those of a model with independent errors of one variance, and back."""

from __future__ import annotations

import numpy as np

from mmlib.arrays import FloatArray, weigh
from mmlib.design.residual import Batch, Residual
from mmlib.frozen import Closing


class Whitener(Closing):
    """L⁻¹ of LLᵀ = R: turns rows into those of a model with independent errors of one variance.

    Parameters
    ----------
    root_weights : ndarray, shape (n,), or None
    sum_log_weights : float
    residual : Residual, optional
    phi : ndarray, optional
        Where there is a structure.
    """

    def __init__(
        self,
        root_weights: FloatArray | None,
        sum_log_weights: float,
        residual: Residual | None = None,
        phi: FloatArray | None = None,
    ) -> None:
        self.root_weights = root_weights
        self.log_det = -sum_log_weights
        self.blocks: list[tuple[Batch, FloatArray, FloatArray]] = []
        if residual is not None and phi is not None:
            self._factorize(residual, phi)
        self._close()

    def _factorize(self, residual: Residual, phi: FloatArray) -> None:
        for batch, C in zip(residual.batches, residual.covariances(phi), strict=True):
            L = np.asarray(np.linalg.cholesky(C), dtype=np.float64)
            counts = np.bincount(batch.pattern, minlength=len(L))
            logs = np.log(np.diagonal(L, axis1=1, axis2=2)).sum(axis=1)
            self.log_det += 2 * float(counts @ logs)
            inverse = np.asarray(np.linalg.inv(L), dtype=np.float64)
            self.blocks.append((batch, L, inverse))

    def __call__(self, columns: FloatArray) -> FloatArray:
        """L⁻¹ times columns of shape (n,) or (n, k)."""
        inverses = [inverse for _, _, inverse in self.blocks]
        return self._by_blocks(inverses, weigh(self.root_weights, columns))

    def transposed(self, columns: FloatArray) -> FloatArray:
        """L⁻ᵀ times columns."""
        transposed = [inverse.transpose(0, 2, 1) for _, _, inverse in self.blocks]
        return weigh(self.root_weights, self._by_blocks(transposed, columns))

    def colour(self, columns: FloatArray) -> FloatArray:
        """L times columns: errors from independent ones."""
        coloured = self._by_blocks([L for _, L, _ in self.blocks], columns)
        if self.root_weights is None:
            return coloured
        return weigh(1 / self.root_weights, coloured)

    def precisions(self, n: int) -> FloatArray:
        """The diagonal of R⁻¹, shape (n,)."""
        diagonal = np.ones(n)
        for batch, _, inverse in self.blocks:
            diagonal[batch.rows] = (inverse**2).sum(axis=1)[batch.pattern]
        return diagonal if self.root_weights is None else diagonal * self.root_weights**2

    def _by_blocks(self, by_pattern: list[FloatArray], columns: FloatArray) -> FloatArray:
        """Matrices of the patterns of each batch, shape (U, m, m), times the rows of subjects."""
        if not self.blocks:
            return columns
        wide = columns.reshape(len(columns), -1)
        out = np.empty_like(wide, dtype=float)
        for (batch, _, _), each in zip(self.blocks, by_pattern, strict=True):
            out[batch.rows] = each[batch.pattern] @ wide[batch.rows]
        return out.reshape(columns.shape)
