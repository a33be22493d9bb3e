"""How much of the variance a fit explains: R² and intraclass correlations.

Nakagawa & Schielzeth (2013), Methods in Ecology and Evolution 4, 133–142,
doi:10.1111/j.2041-210x.2012.00261.x; with random slopes Johnson (2014), Methods in Ecology and
Evolution 5, 944–946, doi:10.1111/2041-210X.12225.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mmlib.errors import DataError
from mmlib.results.estimates import Fit


@dataclass(frozen=True)
class ExplainedVariance:
    """The variance of y in the rows of a fit, taken apart.

    Attributes
    ----------
    fixed : float
        Sample variance of Xβ̂, an offset left out.
    random : dict of str to float
        For each grouping the mean over the rows of zᵀΣz, the variance of its effects there (Johnson
        2014, eq. 10): of an intercept alone, just its variance.
    residual : float
        Mean of σ²/w over the rows.
    """

    fixed: float
    random: dict[str, float]
    residual: float

    @classmethod
    def of(cls, fit: Fit) -> ExplainedVariance:
        """Of the rows and the estimates of a fit."""
        design = fit.design
        random = {term.group: 0.0 for term in design.terms}
        for term, estimate in zip(design.terms, fit.varcorr().terms, strict=True):
            Z = term.model_matrix
            random[term.group] += float(np.mean(np.sum(Z @ estimate.covariance * Z, axis=1)))
        return cls(
            fixed=float(np.var(design.X @ fit.beta, ddof=1)),
            random=random,
            residual=fit.sigma**2 * float(np.mean(design.residual_variances(fit.theta))),
        )

    @property
    def all_random(self) -> float:
        """The variance of the effects of all groupings together."""
        return sum(self.random.values())

    @property
    def total(self) -> float:
        """The sum of all parts."""
        return self.fixed + self.all_random + self.residual


def r2(fit: Fit) -> pd.Series:
    """What `LMMResult.r2` gives without an interval."""
    parts = ExplainedVariance.of(fit)
    shares = {
        "marginal": parts.fixed / parts.total,
        "conditional": (parts.fixed + parts.all_random) / parts.total,
    }
    return pd.Series(shares, name="R2")


def icc(fit: Fit, *, by_group: bool = False) -> pd.Series:
    """What `LMMResult.icc` gives without an interval."""
    if not fit.design.terms:
        raise DataError(
            f"{fit.design.formula} has no random term, so no intraclass correlation; r2() says "
            "what its fixed effects explain."
        )
    parts = ExplainedVariance.of(fit)
    without_fixed = parts.all_random + parts.residual
    if by_group:
        return pd.Series(parts.random, name="ICC") / without_fixed
    shares = {
        "adjusted": parts.all_random / without_fixed,
        "unadjusted": parts.all_random / parts.total,
    }
    return pd.Series(shares, name="ICC")
