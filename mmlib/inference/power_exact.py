"""Power of the classical F test, where the test of Kenward and Roger is that one.

Where the degrees of freedom of Kenward and Roger do not depend on the variances and nothing is
adjusted, as in balanced designs, one mean square with ν degrees of freedom estimates the variance
of Lβ̂. The F test is then that of the classical analysis of variance, and its power follows from the
noncentral F distribution (Scheffé 1959, The Analysis of Variance, section 2.8).
"""

from __future__ import annotations

import numpy as np
from scipy.special import betainc, fdtri, gammaln

from mmlib.design.design import Design
from mmlib.design.directions import random_theta
from mmlib.inference.hypothesis import Hypothesis
from mmlib.inference.kenward_roger import adjusted_vcov, kenward_roger
from mmlib.inference.power_tests import at_theta
from mmlib.inference.pvalues import wald_f
from mmlib.results.estimates import Fit
from mmlib.results.simulate import Truth

SAME = 1e-6
"""Degrees of freedom that differ by less than this share are the same, and whole."""

NEGLIGIBLE = 1e-8
"""An adjustment of the covariance below this share of it is rounding."""


def exact_power(design: Design, truth: Truth, tested: Hypothesis, alpha: float) -> float:
    """Power of the classical F test, NaN where Kenward and Roger's df depend on the variances.

    That they do not is seen at two points, drawn once and for all.
    """
    rng, n_points = np.random.default_rng(0), 2 if len(truth.theta) else 1
    points = [random_theta(design.terms, design.residual, rng) for _ in range(n_points)]
    dfs = {_classical_df(at_theta(design, theta, reml=True), tested) for theta in points}
    df = dfs.pop()
    if df is None or dfs:
        return float("nan")
    fit = at_theta(design, truth.theta, reml=True)
    Phi = fit.vcov().to_numpy() * (truth.sigma / fit.sigma) ** 2
    distance = tested.L @ truth.beta - tested.rhs
    h = len(tested.L)
    return noncentral_f_power(h, df, h * wald_f(tested.L, distance, Phi), alpha)


def _classical_df(fit: Fit, tested: Hypothesis) -> int | None:
    """Denominator degrees of freedom, if they are whole and nothing is adjusted."""
    test = kenward_roger(fit, tested.L, rhs=tested.rhs)
    df, L = test.df[1], tested.L
    plain = L @ fit.vcov().to_numpy() @ L.T
    inflation = np.abs(L @ adjusted_vcov(fit).to_numpy() @ L.T - plain).max()
    if inflation > NEGLIGIBLE * np.abs(plain).max() or abs(test.scaling - 1) > SAME:
        return None
    whole = np.isfinite(df) and df > 1 - SAME and abs(df - round(df)) <= SAME * df
    return round(df) if whole else None


def noncentral_f_power(df1: int, df2: float, ncp: float, alpha: float) -> float:
    """P(F > F_{1−α}) for a noncentral F: a Poisson mixture of beta distributions.

    Examples
    --------
    >>> round(noncentral_f_power(3, 12, 8.4375, 0.05), 8)
    0.52718315
    """
    critical = float(fdtri(df1, df2, 1 - alpha))
    share = df2 / (df1 * critical + df2)
    half = ncp / 2
    reach = 12 * np.sqrt(half + 1) + 40
    lowest = max(0, int(half - reach))
    if betainc(df2 / 2, df1 / 2 + lowest, share) == 1:  # and so are all that follow
        return 1.0
    j = np.arange(lowest, int(half + reach))
    log_weights = -half + j * np.log(half) - gammaln(j + 1) if half > 0 else np.where(j, -np.inf, 0)
    return float(np.exp(log_weights) @ betainc(df2 / 2, df1 / 2 + j, share))
