"""The objective: −2 log-likelihood (or the REML criterion), profiled over β and σ.

Bates, Mächler, Bolker & Walker (2015), Fitting linear mixed-effects models using lme4, Journal of
Statistical Software 67(1), section 3.4, doi:10.18637/jss.v067.i01.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from mmlib.arrays import FloatArray
from mmlib.design.build import Design
from mmlib.design.terms import RandomTerm
from mmlib.engine.blocks import Blocks
from mmlib.engine.factor import Factor, factorize
from mmlib.errors import DataError

Numbers = TypeVar("Numbers", float, FloatArray)
LOG_2PI = float(np.log(2 * np.pi))
MAX_THETA = 1e50


class Objective:
    """The profiled objective of a linear mixed model as a function of θ.

    Where σ is known (`Design.sigma`), r²/σ² + ν log(2πσ²) takes the place of the last term.
    With r²(θ) the penalized residual sum of squares and ν = n (ML) or n − p (REML),

        d(θ) = log|Ω_Z| [+ log|Ω_X·Z|] + ν [1 + log(2π r²/ν)],   σ̂² = r²/ν.

    Parameters
    ----------
    design : Design or Blocks
        What `build_design` returns, or the cross-products of a fit.
    reml : bool, default True
        The REML criterion; otherwise −2 log-likelihood.

    Attributes
    ----------
    blocks : Blocks
        The cross-products that every evaluation starts from.

    Examples
    --------
    >>> import mmlib as mm
    >>> design = mm.build_design("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    >>> round(mm.Objective(design, reml=False)([0.6561922]), 6)
    16.511675
    """

    def __init__(self, design: Design | Blocks, *, reml: bool = True) -> None:
        if not isinstance(design, Design | Blocks):
            raise DataError(f"design must be what build_design returns, not {design!r:.60}.")
        self.blocks = design if isinstance(design, Blocks) else Blocks(design)
        self.reml = reml
        self.sigma = self.blocks.design.sigma
        self.dof = self.blocks.n - (self.blocks.p if reml else 0)

    def __call__(self, theta: ArrayLike) -> float:
        """The objective at θ.

        Parameters
        ----------
        theta : array, shape (k,)
            The lower triangles of the relative covariance factors, term after term.

        Returns
        -------
        float
        """
        return self.value(self.factorize(theta))

    def value_and_gradient(self, theta: ArrayLike) -> tuple[float, FloatArray]:
        """The objective and its gradient at θ, from one factorization.

        Parameters
        ----------
        theta : array, shape (k,)
            As for the objective itself.

        Returns
        -------
        float
        ndarray, shape (k,)

        Examples
        --------
        >>> import mmlib as mm
        >>> design = mm.build_design("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
        >>> value, slope = mm.Objective(design, reml=False).value_and_gradient([1.0])
        >>> bool(slope[0] > 0)  # the minimum is at 0.66
        True
        """
        value, slopes = self._value_and_slopes(self.factorize(theta))
        return value, self.blocks.gather(self._own(slopes))

    def at_scaled(self, templates: list[FloatArray]) -> tuple[float, list[FloatArray], float]:
        """The objective at templates for scaled columns, its slope in each, and its rounding."""
        factor = Factor(self.blocks, templates)
        return *self._value_and_slopes(factor), self.dof * factor.rounding

    def _value_and_slopes(self, factor: Factor) -> tuple[float, list[FloatArray]]:
        weight = self.dof / factor.rss if self.sigma is None else 1 / self.sigma**2
        return self.value(factor), factor.template_slopes(reml=self.reml, rss_weight=weight)

    def _own(self, slopes: list[FloatArray]) -> list[FloatArray]:
        """Slopes in the templates of the model's own columns, from those in the scaled ones."""
        groupings = self.blocks.groupings
        return [g.slope_from_scaled(slope) for g, slope in zip(groupings, slopes, strict=True)]

    def at_terms_and_sigma(
        self, templates: Mapping[RandomTerm, FloatArray], sigma: float
    ) -> tuple[float, dict[RandomTerm, FloatArray], float]:
        """The objective profiled over β only, with its slopes in the templates and in log σ.

        The templates, one (S, S) matrix for each term, need not be triangular.
        """
        groupings = self.blocks.groupings
        scaled = [grouping.to_scaled(grouping.assemble(templates)) for grouping in groupings]
        factor = Factor(self.blocks, scaled)
        weight = 1 / sigma**2
        value = self._log_determinants(factor.log_det_Z, factor.log_det_X) + self._misfit(
            factor.rss, sigma
        )
        slopes = self._own(factor.template_slopes(reml=self.reml, rss_weight=weight))
        by_term: dict[RandomTerm, FloatArray] = {}
        for grouping, slope in zip(groupings, slopes, strict=True):
            by_term |= grouping.by_term(slope)
        return value, by_term, 2 * (self.dof - factor.rss * weight)

    def at_sigma(self, theta: ArrayLike, sigma: float) -> float:
        """The objective at θ and σ, profiled over β only (what profiling σ needs)."""
        if not 0 < sigma < np.inf:
            raise DataError(f"sigma must be positive, not {sigma!r}.")
        entries = self.checked(theta)
        templates: dict[RandomTerm, FloatArray] = {}
        for grouping in self.blocks.groupings:
            templates |= grouping.by_term(grouping.template(entries))
        return self.at_terms_and_sigma(templates, sigma)[0]

    def factorize(self, theta: ArrayLike) -> Factor:
        """The blocked Cholesky factor at θ."""
        return factorize(self.blocks, self.checked(theta))

    def checked(self, theta: ArrayLike) -> FloatArray:
        """θ as an array of the right length.

        Raises
        ------
        DataError
            If it has another length, or an entry that is not a number of sensible size.
        """
        size = self.blocks.theta_size
        try:
            entries = np.asarray(theta, dtype=float)
        except (TypeError, ValueError):
            raise DataError(f"theta must be {size} number(s), not {theta!r}.") from None
        if entries.shape != (size,):
            raise DataError(f"theta must have {size} entries; it has shape {entries.shape}.")
        if not (np.abs(entries) < MAX_THETA).all():
            raise DataError(f"theta must be finite and below {MAX_THETA:g}, not {entries}.")
        return entries

    def value(self, factor: Factor) -> float:
        """The objective at a factor."""
        return float(self.compose(factor.log_det_Z, factor.log_det_X, factor.rss))

    def compose(self, log_det_Z: Numbers, log_det_X: Numbers, rss: Numbers) -> Numbers:
        """The objective from its parts, of one θ or of many."""
        if self.sigma is None:
            misfit = self.dof * (1 + LOG_2PI + np.log(rss / self.dof))
        else:
            misfit = self._misfit(rss, self.sigma)
        return self._log_determinants(log_det_Z, log_det_X) + misfit

    def _misfit(self, rss: Numbers, sigma: float) -> Numbers:
        """What the residuals add to the objective at a σ, not profiled."""
        return rss / sigma**2 + self.dof * (LOG_2PI + 2 * float(np.log(sigma)))

    def _log_determinants(self, log_det_Z: Numbers, log_det_X: Numbers) -> Numbers:
        constant = -self.blocks.sum_log_weights
        if self.reml:
            return log_det_Z + log_det_X + (constant + 2 * self.blocks.log_det_R)
        return log_det_Z + constant
