"""Satterthwaite: t and F tests of fixed effects with degrees of freedom from observed information.

Fai & Cornelius (1996), Journal of Statistical Computation and Simulation 54, 363–378; Kuznetsova,
Brockhoff & Christensen (2017), lmerTest, Journal of Statistical Software 82(13),
doi:10.18637/jss.v082.i13.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from mmlib.arrays import FloatArray
from mmlib.engine.coordinates import coordinates_of
from mmlib.engine.objective import Objective
from mmlib.engine.threads import single_threaded
from mmlib.inference.hypothesis import hypothesis_matrix
from mmlib.inference.information import (
    Spread,
    in_basis,
    once_per_fit,
    pseudo_inverse,
    slopes_of,
    vcov_over_variance,
    with_scale,
)
from mmlib.inference.pvalues import HypothesisTest, f_tail
from mmlib.results.estimates import Fit

BOUNDARY = (
    "The estimate is on the boundary: the degrees of freedom are those of the model without what "
    "is estimated as zero."
)
FEW = (
    "The approximation is poor: a component has 2 degrees of freedom or fewer. Prefer a parametric "
    "bootstrap."
)
SAME_DF = 1e-8
"""Degrees of freedom that differ by less than this share are the same."""

STEP = 2e-5
"""Step of the differences, relative to a coordinate, and that at least `LEAST`."""

LEAST = 0.1


def satterthwaite(
    fit: Fit, L: str | Sequence[str] | ArrayLike, *, rhs: ArrayLike | None = None
) -> HypothesisTest:
    """Test Lβ = β_H by an F test with Satterthwaite's degrees of freedom.

    F is Wald's statistic over h. For one row its denominator has ν = 2f²/Var(f) degrees of freedom,
    f = LΦLᵀ being the estimated variance of Lβ̂ and Var(f) its own, by the delta method from the
    observed information. For several rows Lβ̂ is rotated to uncorrelated components, whose degrees
    of freedom are combined as in lmerTest; as there, the result depends a little on the scaling of
    the rows unless the design is balanced.

    Parameters
    ----------
    fit : LMMResult
        By REML or by maximum likelihood.
    L : str, sequence of str, or array of shape (p,) or (h, p)
        A term's name, equations, or the hypothesis matrix; see `hypothesis_matrix`.
    rhs : float or array, shape (h,), optional
        Right-hand sides β_H for a matrix, by default 0.

    Returns
    -------
    HypothesisTest

    Raises
    ------
    FormulaError, DataError, RankError
        As `hypothesis_matrix`.

    References
    ----------
    Fai & Cornelius (1996), Journal of Statistical Computation and Simulation 54, 363–378;
    Kuznetsova, Brockhoff & Christensen (2017), Journal of Statistical Software 82(13).

    Examples
    --------
    >>> import mmlib as mm
    >>> fit = mm.lmm("Reaction ~ Days + (Days | Subject)", mm.load_dataset("sleepstudy"))
    >>> test = mm.satterthwaite(fit, "Days")
    >>> round(test.statistic, 3), [round(df, 4) for df in test.df]
    (45.853, [1, 17.0])
    """
    hypothesis = hypothesis_matrix(fit, L, rhs=rhs)
    with single_threaded():
        known = spread(fit)
        rows = in_basis(fit, hypothesis.L)
        variances, rotation = np.linalg.eigh(rows @ known.Phi @ rows.T)
    dfs = known.df(rotation.T @ rows)
    distances = rotation.T @ (hypothesis.L @ fit.beta - hypothesis.rhs)
    statistic = float(np.mean(distances**2 / variances)) / fit.sigma**2
    df = _combined(dfs)
    return HypothesisTest(
        method="F test with Satterthwaite's degrees of freedom",
        hypothesis=hypothesis.description,
        statistic_name="F",
        statistic=statistic,
        df=(len(rows), df),
        pvalue=float(f_tail(len(rows), df, statistic)),
        notes=known.notes + (FEW,) * bool(dfs.min() <= 2),
    )


def _combined(dfs: FloatArray) -> float:
    """Degrees of freedom of the mean of squares of t variables with `dfs`."""
    if np.isinf(dfs).all() or np.ptp(dfs) <= SAME_DF * dfs.max():
        return float(dfs.mean())
    if dfs.min() <= 2:
        return 2.0
    excess = float(np.sum(2 / (dfs - 2)))  # Σ ν/(ν − 2), the mean of the sum, less their number
    return 2 * (len(dfs) + excess) / excess


@once_per_fit
def spread(fit: Fit) -> Spread:
    """Φ, its slopes in what a search moves and log σ², and the covariance of these.

    Slopes, and the Hessian of the objective, by central differences of what is known exactly: Φ and
    the gradient. σ is not profiled.
    """
    variables = coordinates_of(Objective(fit.blocks, reml=fit.reml))
    x, p = variables.from_theta(fit.theta), fit.design.p

    def at(moved: FloatArray) -> FloatArray:
        here, gradient = variables.at(moved, fit.sigma)
        basis = fit.blocks.R @ np.linalg.inv(here.factor.blocks.R)  # that of X moves with φ
        half = basis @ np.linalg.inv(here.factor.fixed_factor()).T
        return np.concatenate([gradient, [here.in_log_sigma / 2], (half @ half.T).ravel()])

    rows = slopes_of(at, x, STEP * np.maximum(np.abs(x), LEAST))
    hessian, mixed, slopes = np.split(rows, [len(x), len(x) + 1], axis=1)
    Phi = vcov_over_variance(fit)
    slopes, hessian = with_scale(
        fit, Phi, slopes.reshape(len(x), p, p), mixed[:, 0], (hessian + hessian.T) / 2
    )
    notes = (BOUNDARY,) if fit.is_singular else ()
    return Spread(Phi, slopes, 2 * pseudo_inverse(hessian), notes)
