"""What a fit knows about its random effects, and how well.

Two variances must not be mixed up. Given y, and with β taken as known, the random effects vary
around their conditional modes with Var(b | y). But β was estimated from the same data, and its
error moves the modes too: Var(b̂ − b), the prediction-error variance, is never smaller. (Henderson
1975, Best linear unbiased estimation and prediction under a selection model, Biometrics
31:423–447, doi:10.2307/2529430.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.linalg import solve_triangular

from mmlib.arrays import FloatArray, IntArray, random_matrix
from mmlib.engine.factor import Factor
from mmlib.engine.grouping import Grouping
from mmlib.frozen import close

CHUNK = 4096
"""Rows whose dense products are held in memory at once."""


class EffectsCovariance:
    """Covariance of the errors (b̂ − b, β̂ − β), over σ², without the q×q matrix.

    Once the rest is given, the effects of the largest grouping are independent between levels with
    variance W_j, and follow the rest through −W_j A_j. So with W block-diagonal, K the covariance
    of the rest (dense, but small) and E sparse, the covariance is

        diag(W, 0) + E K Eᵀ,    E = [−W A ; I],

    for the scaled columns of Z that the factor works in.

    Parameters
    ----------
    factor : Factor
        The Cholesky factor at the estimates.
    """

    def __init__(self, factor: Factor) -> None:
        blocks = factor.blocks
        self.factor, self.blocks = factor, blocks
        self.K = factor.congruence(factor.inverse(blocks.q_rest + blocks.p))
        self.E = sparse.eye_array(len(self.K), format="csr")
        self.n_first = 0
        if blocks.groupings:
            n_levels = blocks.groupings[0].n_levels
            self.n_first = blocks.groupings[0].n_effects
            self.W = sparse.bsr_array(
                (factor.W, np.arange(n_levels), np.arange(n_levels + 1))
            ).tocsr()
            A = [sparse.csr_array(blocks.A10[:, :, :-1].reshape(self.n_first, blocks.p))]
            if blocks.cross is not None:
                A.insert(0, blocks.cross.matrix)
            through = self.W @ sparse.hstack(A, format="csr")
            self.E = sparse.vstack([-through, self.E], format="csr")
        close(self)

    def rows(
        self, X: FloatArray, effects: Sequence[tuple[IntArray, FloatArray]], scale: FloatArray
    ) -> sparse.csr_array:
        """Rows (z, x) of combinations zᵀb + xᵀβ, in the order of the errors, each times `scale`.

        `effects` has codes and values for each grouping of `blocks`; a negative code is a level
        that the fit has not seen, and takes no part.
        """
        Z = [
            random_matrix(
                np.maximum(codes, 0),
                (values @ grouping.basis) * (scale * (codes >= 0))[:, None],
                grouping.n_levels,
            )
            for grouping, (codes, values) in zip(self.blocks.groupings, effects, strict=True)
        ]
        basis = solve_triangular(self.blocks.R, X.T, trans="T").T if self.blocks.p else X
        return sparse.hstack([*Z, sparse.csr_array(basis * scale[:, None])], format="csr")

    def variances(self, rows: sparse.csr_array) -> FloatArray:
        """Variance of each combination."""
        variances = np.zeros(rows.shape[0])
        if self.n_first:
            own = rows[:, : self.n_first]
            variances += (own @ self.W).multiply(own).sum(axis=1)
        through = rows @ self.E
        for start in range(0, len(variances), CHUNK):
            part = through[start : start + CHUNK]
            variances[start : start + CHUNK] += part.multiply(part @ self.K).sum(axis=1)
        return variances

    def matrix(self, rows: sparse.csr_array) -> FloatArray:
        """Covariance matrix of a few combinations."""
        through = rows @ self.E
        matrix = through @ (through @ self.K).T
        if self.n_first:
            own = rows[:, : self.n_first]
            matrix += (own @ self.W @ own.T).toarray()
        return matrix

    def with_beta(self, rows: sparse.csr_array) -> FloatArray:
        """Covariance of each combination with β̂, in the orthonormal basis of X: (k, p)."""
        return (rows @ self.E) @ self.K[:, self.blocks.q_rest :]


def as_tables(
    groupings: Sequence[Grouping], values: Sequence[FloatArray]
) -> dict[str, pd.DataFrame]:
    """Arrays of shape (ℓ, S), one for each grouping, as tables of levels × columns."""
    return {
        grouping.name: pd.DataFrame(
            table.copy(),
            index=grouping.terms[0].levels,
            columns=[name for term in grouping.terms for name in term.columns],
        )
        for grouping, table in zip(groupings, values, strict=True)
    }


def standard_deviations(variances: FloatArray) -> FloatArray:
    """Square roots of the diagonals of variance matrices of shape (ℓ, S, S): shape (ℓ, S)."""
    # A variance that is exactly zero may come out as minus a rounding error.
    return np.sqrt(np.maximum(np.diagonal(variances, axis1=1, axis2=2), 0.0))
