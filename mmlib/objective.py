"""The objective: −2 log-likelihood (or the REML criterion), profiled over β and σ.

Bates, Mächler, Bolker & Walker (2015), Fitting linear mixed-effects models using lme4, Journal of
Statistical Software 67(1), section 3.4, doi:10.18637/jss.v067.i01.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mmlib.blocks import Blocks, Factor
from mmlib.design import Design
from mmlib.errors import DataError
from mmlib.terms import FloatArray

LOG_2PI = float(np.log(2 * np.pi))


class Objective:
    """The profiled objective of a linear mixed model as a function of θ.

    With r²(θ) the penalized residual sum of squares and ν = n (ML) or n − p (REML),

        d(θ) = log|Ω_Z| [+ log|Ω_X·Z|] + ν [1 + log(2π r²/ν)],   σ̂² = r²/ν.

    Parameters
    ----------
    design : Design or Blocks
    reml : bool, default True

    Examples
    --------
    >>> import mmlib as mm
    >>> design = mm.build_design("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    >>> round(Objective(design, reml=False)([0.6561922]), 6)
    16.511675
    """

    def __init__(self, design: Design | Blocks, *, reml: bool = True) -> None:
        self.blocks = design if isinstance(design, Blocks) else Blocks(design)
        self.reml = reml
        self.dof = self.blocks.n - (self.blocks.p if reml else 0)

    @property
    def start(self) -> FloatArray:
        """The θ at which every template is the identity."""
        theta = np.zeros(self.blocks.theta_size)
        theta[self.diagonal] = 1.0
        return theta

    @property
    def diagonal(self) -> np.ndarray:
        """Marks the entries of θ on the diagonal of a template: relative standard deviations."""
        mask = np.zeros(self.blocks.theta_size, dtype=bool)
        for grouping in self.blocks.groupings:
            mask[grouping.positions] = grouping.theta_rows == grouping.theta_columns
        return mask

    @property
    def theta_columns(self) -> list[np.ndarray]:
        """Positions in θ of each column of each template, the diagonal entry first."""
        return [
            grouping.positions[grouping.theta_columns == column]
            for grouping in self.blocks.groupings
            for column in range(grouping.width)
        ]

    def __call__(self, theta: ArrayLike) -> float:
        """The objective at θ."""
        return self._value(self.factorize(theta))

    def value_and_gradient(self, theta: ArrayLike) -> tuple[float, FloatArray]:
        """The objective and its gradient at θ, from one factorization."""
        factor = self.factorize(theta)
        return self._value(factor), factor.gradient(reml=self.reml, dof=self.dof)

    def at_sigma(self, theta: ArrayLike, sigma: float) -> float:
        """The objective at θ and σ, profiled over β only (what profiling σ needs)."""
        factor = self.factorize(theta)
        variance = sigma**2
        return (
            self._log_determinants(factor)
            + factor.rss / variance
            + self.dof * (LOG_2PI + float(np.log(variance)))
        )

    def factorize(self, theta: ArrayLike) -> Factor:
        """The blocked Cholesky factor at θ."""
        theta = np.asarray(theta, dtype=float)
        if theta.shape != (self.blocks.theta_size,):
            raise DataError(
                f"theta must have {self.blocks.theta_size} entries; it has shape {theta.shape}."
            )
        return self.blocks.factorize(theta)

    def _value(self, factor: Factor) -> float:
        return self._log_determinants(factor) + self.dof * (
            1 + LOG_2PI + float(np.log(factor.rss / self.dof))
        )

    def _log_determinants(self, factor: Factor) -> float:
        total = factor.log_det_Z - self.blocks.sum_log_weights
        if self.reml:
            total += factor.log_det_X + 2 * self.blocks.log_det_R
        return total
