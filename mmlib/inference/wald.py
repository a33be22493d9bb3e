"""Wald intervals of variances and correlations, each on a scale without bounds.

A standard deviation, or a ratio of two, is taken by its logarithm; a correlation between l and h by
log((ρ − l)/(h − ρ)), which for −1 and 1 is twice Fisher's z. There the estimate ± quantile ×
standard error is an interval, whose ends are carried back. The standard errors come from the
observed information of the fit's own criterion in (θ, log σ²), from which Satterthwaite's degrees
of freedom are made too. (Pinheiro & Bates 2000, Mixed-Effects Models in S and S-PLUS, section 2.4.)
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import expit

from mmlib.arrays import FloatArray
from mmlib.design.checks import normal_quantile
from mmlib.engine.coordinates import coordinates_of
from mmlib.engine.objective import Objective
from mmlib.engine.threads import single_threaded
from mmlib.inference.information import slopes_of
from mmlib.inference.parameters import variance_parameters
from mmlib.inference.satterthwaite import spread
from mmlib.results.estimates import SINGULAR_TOLERANCE, Fit

STEP = 1e-4
"""Step of the differences, relative to a coordinate, and that at least `LEAST`."""

LEAST = 1e-3


def wald_of_variances(fit: Fit, *, level: float) -> pd.DataFrame:
    """Limits ``lower, upper`` of all parameters but the fixed effects.

    What is at its bound, or almost there, is NaN, and is held there for the others. So is σ
    if it is known.
    """
    reach = normal_quantile(level)
    found = variance_parameters(fit.design, fit.theta, fit.sigma)
    values = np.array([each.estimate for each in found])
    low, high = np.array([each.limits for each in found]).T
    with single_threaded():
        J = _jacobian(fit, low, high)
        covariance = spread(fit).covariance
    unit = np.array([fit.sigma if each.kind in ("sd", "sigma") else 1.0 for each in found])
    off_bounds = np.minimum(values - low, high - values) > SINGULAR_TOLERANCE * unit
    with np.errstate(invalid="ignore", over="ignore"):
        centre = _unbounded(values, low, high)
        variances = np.einsum("ki,kl,li->i", J, covariance, J)
        inside = np.isfinite(centre) & (variances > 0) & off_bounds
        margin = reach * np.sqrt(np.where(inside, variances, np.nan))
        ends = [_bounded(centre + side * margin, low, high) for side in (-1, 1)]
    names = [each.name for each in found]
    return pd.DataFrame(dict(zip(["lower", "upper"], ends, strict=True)), index=names)


def _unbounded(values: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """On scales without bounds: logarithms, and logits between two bounds."""
    above, below = values - low, high - values
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(np.where(np.isfinite(high), above / below, above))


def _bounded(numbers: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """Back from there."""
    width = np.where(np.isfinite(high), high - low, 0.0)
    return low + np.where(np.isfinite(high), width * expit(numbers), np.exp(numbers))


def _jacobian(fit: Fit, low: FloatArray, high: FloatArray) -> FloatArray:
    """Derivatives on these scales in what a search moves and, unless σ is known, in log σ²."""
    design = fit.design
    variables = coordinates_of(Objective(fit.blocks, reml=fit.reml))
    x = variables.from_theta(fit.theta)
    if design.sigma is None:
        x = np.append(x, 2 * np.log(fit.sigma))

    def at(moved: FloatArray) -> FloatArray:
        theta, log_variance = np.split(moved, [variables.size])
        sigma = float(np.exp(log_variance[0] / 2)) if len(log_variance) else fit.sigma
        found = variance_parameters(design, variables.to_theta(theta), sigma)
        return _unbounded(np.array([each.estimate for each in found]), low, high)

    with np.errstate(invalid="ignore"):
        return slopes_of(at, x, STEP * np.maximum(np.abs(x), LEAST))
