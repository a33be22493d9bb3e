"""Wald intervals of variances and correlations, each on a scale without bounds.

A standard deviation, or a ratio of two, is taken by its logarithm; a correlation between l and h by
log((ρ − l)/(h − ρ)), which for −1 and 1 is twice Fisher's z. There the estimate ± quantile ×
standard error is an interval, whose ends are carried back. The standard errors come from the
observed information of the fit's own criterion in (θ, log σ²), from which Satterthwaite's degrees
of freedom are made too. (Pinheiro & Bates 2000, Mixed-Effects Models in S and S-PLUS, section 2.4.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import expit

from mmlib.arrays import FloatArray
from mmlib.design.checks import normal_quantile
from mmlib.engine.coordinates import coordinates_of
from mmlib.engine.objective import Objective
from mmlib.engine.threads import single_threaded
from mmlib.inference.held import Parameter, variance_parameters
from mmlib.inference.satterthwaite import spread
from mmlib.results.fit import SINGULAR_TOLERANCE, Fit

STEP = 1e-4
"""Step of the differences, relative to a coordinate, and that at least `LEAST`."""

LEAST = 1e-3


def wald_of_variances(fit: Fit, *, level: float) -> pd.DataFrame:
    """Limits ``lower, upper`` of all parameters but the fixed effects.

    What is at its bound has nan, and is held there for the others. So has σ if it is known.
    """
    reach = normal_quantile(level)
    found = variance_parameters(fit.design, fit.theta, fit.sigma)
    centre = _unbounded(found)
    with single_threaded():
        J = _jacobian(fit)
        covariance = spread(fit).covariance
    with np.errstate(invalid="ignore", over="ignore"):
        variances = np.einsum("ik,kl,il->i", J, covariance, J)
        inside = np.isfinite(centre) & (variances > 0) & ~_at_bound(found, fit.sigma)
        margin = reach * np.sqrt(np.where(inside, variances, np.nan))
        ends = [_back(found, centre - margin), _back(found, centre + margin)]
    names = [parameter.name for parameter in found]
    return pd.DataFrame(dict(zip(["lower", "upper"], ends, strict=True)), index=names)


def _unbounded(found: Sequence[Parameter]) -> FloatArray:
    """The parameters on their scales without bounds."""
    values = np.array([parameter.estimate for parameter in found])
    low, high = np.array([parameter.limits for parameter in found]).T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(
            np.isfinite(high), np.log((values - low) / (high - values)), np.log(values - low)
        )


def _back(found: Sequence[Parameter], numbers: FloatArray) -> FloatArray:
    low, high = np.array([parameter.limits for parameter in found]).T
    bounded = np.isfinite(high)
    width = np.where(bounded, high, 0.0) - low
    return low + np.where(bounded, width * expit(numbers), np.exp(numbers))


def _at_bound(found: Sequence[Parameter], sigma: float) -> np.ndarray:
    """Which parameters are at a bound, or as good as there."""
    unit = np.array([sigma if p.kind in ("sd", "sigma") else 1.0 for p in found])
    values = np.array([parameter.estimate for parameter in found]) / unit
    low, high = np.array([parameter.limits for parameter in found]).T
    return np.minimum(values - low, high - values) <= SINGULAR_TOLERANCE


def _jacobian(fit: Fit) -> FloatArray:
    """Derivatives of these numbers in what a search moves and, unless σ is known, in log σ²."""
    design = fit.design
    variables = coordinates_of(Objective(fit.blocks, reml=fit.reml))
    x = variables.from_theta(fit.theta)
    if design.sigma is None:
        x = np.append(x, 2 * np.log(fit.sigma))

    def at(moved: FloatArray) -> FloatArray:
        theta, sigma = variables.to_theta(moved[: variables.size]), fit.sigma
        if design.sigma is None:
            sigma = float(np.exp(moved[-1] / 2))
        return _unbounded(variance_parameters(design, theta, sigma))

    columns = []
    for k in range(len(x)):
        shift = np.zeros_like(x)
        shift[k] = STEP * max(abs(x[k]), LEAST)
        with np.errstate(invalid="ignore"):
            columns.append((at(x + shift) - at(x - shift)) / (2 * shift[k]))
    return np.column_stack(columns) if columns else np.zeros((1, 0))
