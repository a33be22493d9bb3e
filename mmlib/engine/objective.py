"""The objective: −2 log-likelihood (or the REML criterion), profiled over β and σ.

Bates, Mächler, Bolker & Walker (2015), Fitting linear mixed-effects models using lme4, Journal of
Statistical Software 67(1), section 3.4, doi:10.18637/jss.v067.i01.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from mmlib.arrays import FloatArray
from mmlib.design.checks import require_positive
from mmlib.design.design import Design
from mmlib.design.terms import RandomTerm, template_slopes, theta_by_term
from mmlib.engine.blocks import Blocks
from mmlib.engine.factor import Factor, factorize
from mmlib.engine.residual_gradient import covariance_slopes
from mmlib.engine.threads import single_threaded
from mmlib.errors import DataError
from mmlib.frozen import Closing

Numbers = TypeVar("Numbers", float, FloatArray)
LOG_2PI = float(np.log(2 * np.pi))
MAX_THETA = 1e50


class Objective(Closing):
    """The profiled objective of a linear mixed model as a function of θ.

    With r²(θ) the penalised residual sum of squares and ν = n (ML) or n − p (REML),

        d(θ) = log|Ω_Z| [+ log|Ω_X·Z|] + ν [1 + log(2π r²/ν)],   σ̂² = r²/ν.

    Where σ is known (`Design.sigma`), r²/σ² + ν log(2πσ²) takes the place of the last term.

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
        self._close()

    @single_threaded()
    def __call__(self, theta: ArrayLike, sigma: float | None = None) -> float:
        """The objective at θ.

        Parameters
        ----------
        theta : array, shape (k,)
            The lower triangles of the relative covariance factors, term after term.
        sigma : float, optional
            A residual standard deviation that takes the place of σ̂.

        Returns
        -------
        float
        """
        if sigma is not None:
            sigma = require_positive("sigma", sigma)
        return self.value(factorize(self.blocks, self.checked(theta)), sigma)

    @single_threaded()
    def value_and_gradient(self, theta: ArrayLike) -> tuple[float, FloatArray]:
        """The objective and its gradient at θ, from one factorisation.

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
        entries, design = self.checked(theta), self.blocks.design
        at = Evaluation(self, factorize(self.blocks, entries), design.phi(entries))
        gradient = [
            np.einsum("kst,st->k", template_slopes(term, own), at.slopes[term])
            for term, own in zip(design.terms, theta_by_term(design.terms, entries), strict=True)
        ]
        return at.value, np.concatenate([*gradient, at.in_phi])

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

    def value(self, factor: Factor, sigma: float | None = None) -> float:
        """The objective at a factor."""
        parts = factor.log_det_Z, factor.log_det_X, factor.rss
        return float(self.compose(*parts, sigma, factor.blocks))

    def compose(
        self,
        log_det_Z: Numbers,
        log_det_X: Numbers | float,
        rss: Numbers,
        sigma: float | None = None,
        blocks: Blocks | None = None,
    ) -> Numbers:
        """The objective from its parts, of one θ or of many with the same `blocks`."""
        blocks = blocks or self.blocks
        # What the residuals' covariance adds, and X alone.
        constant = blocks.whiten.log_det + 2 * blocks.log_det_R * self.reml
        sigma = self.sigma if sigma is None else sigma
        if sigma is None:
            misfit = self.dof * (1 + LOG_2PI + np.log(rss / self.dof))
        else:
            misfit = rss / sigma**2 + self.dof * (LOG_2PI + 2 * float(np.log(sigma)))
        return log_det_Z + log_det_X * self.reml + constant + misfit


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The objective at one point, and its slopes, computed when they are asked for.

    Attributes
    ----------
    objective : Objective
    factor : Factor
        That of the point.
    phi : ndarray
        Parameters of the residuals there.
    sigma : float or None
        Where the objective is not profiled over σ.
    """

    objective: Objective
    factor: Factor
    phi: FloatArray = field(default_factory=lambda: np.zeros(0))
    sigma: float | None = None

    @property
    def value(self) -> float:
        """The objective."""
        return self.objective.value(self.factor, self.sigma)

    @property
    def rounding(self) -> float:
        """How much of it may be rounding."""
        return self.objective.dof * self.factor.rounding

    @property
    def _rss_weight(self) -> float:
        sigma = self.objective.sigma if self.sigma is None else self.sigma
        return self.objective.dof / self.factor.rss if sigma is None else 1 / sigma**2

    @property
    def scaled_slopes(self) -> list[FloatArray]:
        """Slopes in the templates of groupings for scaled columns."""
        return self.factor.template_slopes(reml=self.objective.reml, rss_weight=self._rss_weight)

    @cached_property
    def slopes(self) -> dict[RandomTerm, FloatArray]:
        """Slopes in the templates of terms."""
        found: dict[RandomTerm, FloatArray] = {}
        for grouping, slope in zip(self.factor.blocks.groupings, self.scaled_slopes, strict=True):
            found |= grouping.by_term(grouping.inverse_basis.T @ slope)
        return found

    @property
    def in_phi(self) -> FloatArray:
        """Slopes in φ."""
        residual = self.objective.blocks.design.residual
        if residual is None or not len(self.phi):
            return np.zeros(0)
        reml, weight = self.objective.reml, self._rss_weight
        return residual.pull_back(
            self.phi, covariance_slopes(self.factor, reml=reml, rss_weight=weight)
        )

    @property
    def in_log_sigma(self) -> float:
        """The slope in log σ: zero where the objective is profiled over it."""
        return 2 * (self.objective.dof - self.factor.rss * self._rss_weight)
