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
from mmlib.design.design import Design
from mmlib.design.terms import RandomTerm, n_theta, template_slopes, templates
from mmlib.engine.blocks import Blocks
from mmlib.engine.factor import Factor, factorize
from mmlib.engine.residual_gradient import covariance_slopes
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
        if not isinstance(reml, (bool, np.bool_)):
            raise DataError(f"reml must be True or False (maximum likelihood), not {reml!r}.")
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
        entries = self.checked(theta)
        design = self.blocks.design
        if not design.structured:
            value, slopes = self._value_and_slopes(self.factorize(entries))
            return value, self.blocks.gather(self._own(slopes))
        by_term = dict(zip(design.terms, templates(design.terms, entries), strict=True))
        value, in_terms, in_phi, _ = self.at_parts(by_term, design.phi(entries))
        gradient, start = [np.zeros(0)], 0
        for term, slope in in_terms.items():
            size = n_theta(term)
            change = template_slopes(term, entries[start : start + size])
            gradient.append(np.einsum("kst,st->k", change, slope))
            start += size
        return value, np.concatenate([*gradient, in_phi])

    def at_scaled(self, templates: list[FloatArray]) -> tuple[float, list[FloatArray], float]:
        """The objective at templates for scaled columns, its slope in each, and its rounding."""
        factor = Factor(self.blocks, templates)
        return *self._value_and_slopes(factor), self.dof * factor.rounding

    def at_parts(
        self, templates: Mapping[RandomTerm, FloatArray], phi: FloatArray
    ) -> tuple[float, dict[RandomTerm, FloatArray], FloatArray, float]:
        """The objective at templates of terms and φ, its slopes in each, and its rounding."""
        factor = self.factor_at(templates, phi)
        value, slopes = self._value_and_slopes(factor)
        in_phi = self._in_phi(factor, phi, self._rss_weight(factor))
        own = self._by_term(self._own(slopes, factor))
        return value, own, in_phi, self.dof * factor.rounding

    def factor_at(self, templates: Mapping[RandomTerm, FloatArray], phi: FloatArray) -> Factor:
        """The factor at templates of terms and φ."""
        blocks = self.blocks
        if blocks.design.residual is not None:
            rest = np.zeros(blocks.design.n_theta - len(phi))
            blocks = blocks.at(np.concatenate([rest, phi]))
        return Factor(blocks, [g.to_scaled(g.assemble(templates)) for g in blocks.groupings])

    def _in_phi(self, factor: Factor, phi: FloatArray, weight: float) -> FloatArray:
        residual = self.blocks.design.residual
        if residual is None or not len(phi):
            return np.zeros(0)
        return residual.pull_back(phi, covariance_slopes(factor, reml=self.reml, rss_weight=weight))

    def _rss_weight(self, factor: Factor) -> float:
        return self.dof / factor.rss if self.sigma is None else 1 / self.sigma**2

    def _by_term(self, slopes: list[FloatArray]) -> dict[RandomTerm, FloatArray]:
        """Slopes in the templates of terms, in the order of the design."""
        by_term: dict[RandomTerm, FloatArray] = {}
        for grouping, slope in zip(self.blocks.groupings, slopes, strict=True):
            by_term |= grouping.by_term(slope)
        return {term: by_term[term] for term in self.blocks.design.terms}

    def _value_and_slopes(self, factor: Factor) -> tuple[float, list[FloatArray]]:
        weight = self._rss_weight(factor)
        return self.value(factor), factor.template_slopes(reml=self.reml, rss_weight=weight)

    def _own(self, slopes: list[FloatArray], factor: Factor | None = None) -> list[FloatArray]:
        """Slopes in the templates of the model's own columns, from those in the scaled ones."""
        groupings = (factor or self).blocks.groupings
        return [g.slope_from_scaled(slope) for g, slope in zip(groupings, slopes, strict=True)]

    def at_terms_and_sigma(
        self, templates: Mapping[RandomTerm, FloatArray], phi: FloatArray, sigma: float
    ) -> tuple[float, dict[RandomTerm, FloatArray], FloatArray, float]:
        """The objective profiled over β only, with its slopes in the templates, φ and log σ.

        The templates, one (S, S) matrix for each term, need not be triangular.
        """
        factor = self.factor_at(templates, phi)
        weight = 1 / sigma**2
        value = self._log_determinants(factor) + self._misfit(factor.rss, sigma)
        slopes = self._own(factor.template_slopes(reml=self.reml, rss_weight=weight), factor)
        in_phi = self._in_phi(factor, phi, weight)
        return value, self._by_term(slopes), in_phi, 2 * (self.dof - factor.rss * weight)

    def at_sigma(self, theta: ArrayLike, sigma: float) -> float:
        """The objective at θ and σ, profiled over β only (what profiling σ needs)."""
        if not 0 < sigma < np.inf:
            raise DataError(f"sigma must be positive, not {sigma!r}.")
        factor = self.factorize(theta)
        return self._log_determinants(factor) + self._misfit(factor.rss, sigma)

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
        size = self.blocks.design.n_theta
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
        return float(self._log_determinants(factor) + self._profiled(factor.rss))

    def compose(self, log_det_Z: Numbers, log_det_X: Numbers, rss: Numbers) -> Numbers:
        """The objective from its parts, of many θ; residuals have no structure."""
        log_det_X = log_det_X if self.reml else 0 * log_det_X
        return log_det_Z + log_det_X + self._constant(self.blocks) + self._profiled(rss)

    def _profiled(self, rss: Numbers) -> Numbers:
        """What the residuals add to the objective, at the best σ or the known one."""
        if self.sigma is None:
            return self.dof * (1 + LOG_2PI + np.log(rss / self.dof))
        return self._misfit(rss, self.sigma)

    def _misfit(self, rss: Numbers, sigma: float) -> Numbers:
        """What the residuals add to the objective at a σ, not profiled."""
        return rss / sigma**2 + self.dof * (LOG_2PI + 2 * float(np.log(sigma)))

    def _log_determinants(self, factor: Factor) -> float:
        in_X = factor.log_det_X if self.reml else 0.0
        return factor.log_det_Z + in_X + self._constant(factor.blocks)

    def _constant(self, blocks: Blocks) -> float:
        """What the objective has of the residuals' covariance, and of X alone."""
        return blocks.weigh.log_det + 2 * blocks.log_det_R * self.reml
