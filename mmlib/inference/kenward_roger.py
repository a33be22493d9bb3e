"""Kenward–Roger: F tests of fixed effects with an adjusted covariance and matched moments.

Kenward & Roger (1997), Small sample inference for fixed effects from restricted maximum likelihood,
Biometrics 53, 983–997; Halekoh & Højsgaard (2014), Journal of Statistical Software 59(9),
doi:10.18637/jss.v059.i09.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.linalg import solve_triangular

from mmlib.arrays import FloatArray
from mmlib.design.checks import require_fit
from mmlib.engine.threads import single_threaded
from mmlib.inference.hypothesis import hypothesis_matrix
from mmlib.inference.information import Spread, in_basis, once_per_fit, pseudo_inverse, with_scale
from mmlib.inference.pvalues import HypothesisTest, f_tail, wald_f
from mmlib.inference.structured import expected, increase
from mmlib.results.estimates import Fit

REFITTED = "The fit is by maximum likelihood; the test is of its refit by REML."
BOUNDARY = (
    "The estimate is on the boundary: what is estimated as zero counts with the uncertainty of its "
    "expected information, though it cannot be negative."
)
VANISHES = 1e-10
"""Factors of the moments below this are zero."""

UNIDENTIFIED = (
    "Some variances cannot be told apart by these data; the test takes only what can be told."
)


@dataclass(frozen=True, kw_only=True, repr=False)
class KenwardRogerTest(HypothesisTest):
    """Outcome of a Kenward–Roger test; `statistic` is the scaled F.

    Attributes
    ----------
    scaling : float
        The λ that F is multiplied by, so that λF is close to an F distribution; 1 for one row.
    unscaled : float
        The F before it is scaled: (Lβ̂ − β_H)ᵀ(LΦ_ALᵀ)⁻¹(Lβ̂ − β_H)/h.
    """

    scaling: float
    unscaled: float

    def _columns(self) -> dict[str, str]:
        return {**super()._columns(), "scaling": f"{self.scaling:.4f}"}


def kenward_roger(
    fit: Fit, L: str | Sequence[str] | ArrayLike, *, rhs: ArrayLike | None = None
) -> KenwardRogerTest:
    """Test Lβ = β_H by the F test of Kenward and Roger.

    The covariance of β̂ is adjusted for the uncertainty of the variances, by their expected
    information, and F is scaled so that its first two moments are those of an F distribution. Prior
    weights are taken into account (pbkrtest ignores them). No n×n matrix is formed; what does not
    depend on L is computed once for each fit.

    Parameters
    ----------
    fit : LMMResult
        A fit by maximum likelihood is refitted by REML, and a note says so.
    L : str, sequence of str, or array of shape (p,) or (h, p)
        A term's name, equations, or the hypothesis matrix; see `hypothesis_matrix`.
    rhs : float or array, shape (h,), optional
        Right-hand sides β_H for a matrix, by default 0.

    Returns
    -------
    KenwardRogerTest

    Raises
    ------
    FormulaError, DataError, RankError
        As `hypothesis_matrix`.

    References
    ----------
    Kenward & Roger (1997), Biometrics 53, 983–997; Halekoh & Højsgaard (2014), Journal of
    Statistical Software 59(9), doi:10.18637/jss.v059.i09.

    Examples
    --------
    >>> import mmlib as mm
    >>> fit = mm.lmm("yield ~ treat + (1 | blend)", mm.load_dataset("penicillin"))
    >>> test = mm.kenward_roger(fit, "treat")
    >>> round(test.statistic, 4), [round(df, 4) for df in test.df], round(test.pvalue, 4)
    (1.2389, [3, 12.0], 0.3387)
    """
    hypothesis = hypothesis_matrix(fit, L, rhs=rhs)
    with single_threaded():
        adjusted = spread(fit)
        rows = in_basis(fit, hypothesis.L)
        df, scaling = map(float, moments(rows, adjusted.Phi, adjusted.slopes, adjusted.covariance))
        distance = hypothesis.L @ adjusted.beta - hypothesis.rhs
        unscaled = wald_f(hypothesis.L, distance, adjusted.vcov)
    statistic = scaling * unscaled
    return KenwardRogerTest(
        method="Kenward–Roger F test",
        hypothesis=hypothesis.description,
        statistic_name="F",
        statistic=statistic,
        df=(len(rows), df),
        pvalue=float(f_tail(len(rows), df, statistic)) if df > 0 and scaling > 0 else float("nan"),
        notes=adjusted.notes + _doubts(df, scaling),
        scaling=scaling,
        unscaled=unscaled,
    )


def adjusted_vcov(fit: Fit) -> pd.DataFrame:
    """Covariance matrix of the fixed effects, adjusted for the uncertainty of the variances.

    Φ_A of Kenward and Roger (1997); equal to `LMMResult.vcov` in balanced designs. A fit by
    maximum likelihood is refitted by REML.

    Parameters
    ----------
    fit : LMMResult

    Returns
    -------
    DataFrame, shape (p, p)
        In the units of the products of the coefficients.

    Examples
    --------
    >>> import mmlib as mm
    >>> fit = mm.lmm("yield ~ treat + (1 | blend)", mm.load_dataset("penicillin"))
    >>> round(float(mm.adjusted_vcov(fit).loc["treat[T.B]", "treat[T.B]"]), 5)
    7.53333
    """
    require_fit(fit)
    names = list(fit.design.fixed_names)
    return pd.DataFrame(spread(fit).vcov.copy(), index=names, columns=names)


@dataclass(frozen=True, eq=False)
class Adjustment(Spread):
    """What the test needs of a REML fit, whatever L; β̂ and Φ_A in the units of the data."""

    beta: FloatArray
    vcov: FloatArray


@once_per_fit
def by_reml(fit: Fit) -> Fit:
    """The refit by REML of a fit by maximum likelihood."""
    return fit.refit(reml=True)


@once_per_fit
def spread(fit: Fit) -> Adjustment:
    """Φ with its expected information; of a fit by maximum likelihood, that of its refit."""
    if not fit.reml:
        refitted = spread(by_reml(fit))
        return replace(refitted, notes=(REFITTED, *refitted.notes))
    known = expected(fit)
    slopes, twice = with_scale(fit, known.Phi, known.vcov_slopes, *known.traces)
    inverse = pseudo_inverse(twice)
    identified = not len(inverse) or np.linalg.matrix_rank(inverse) == len(inverse)
    half = solve_triangular(fit.blocks.R, np.eye(fit.design.p)) * fit.sigma
    return Adjustment(
        beta=fit.beta,
        vcov=half @ (known.Phi + increase(fit, known, 2 * inverse)) @ half.T,
        Phi=known.Phi,
        slopes=slopes,
        covariance=2 * inverse,
        notes=(BOUNDARY,) * fit.is_singular + (UNIDENTIFIED,) * (not identified),
    )


def moments(
    rows: FloatArray, Phi: FloatArray, slopes: FloatArray, covariance: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Denominator degrees of freedom ν and scaling λ of one fit, or of many.

    Parameters
    ----------
    rows : ndarray, shape (h, p)
        The hypothesis in the orthonormal basis of X.
    Phi, slopes, covariance : ndarray, shapes (…, p, p), (…, k, p, p), (…, k, k)
        As in `Spread`.
    """
    ell = len(rows)
    if not covariance.shape[-1]:  # nothing was estimated but β
        return np.full(Phi.shape[:-2], np.inf), np.ones(Phi.shape[:-2])
    # tr(ΘM) and tr(ΘMΘM) with Θ = Lᵀ(LΦLᵀ)⁻¹L: whiten L first.
    triangle = np.linalg.cholesky(rows @ Phi @ rows.T)
    white = np.linalg.solve(triangle, np.broadcast_to(rows, (*triangle.shape[:-2], *rows.shape)))
    slopes = white[..., None, :, :] @ slopes @ white.swapaxes(-1, -2)[..., None, :, :]
    traces = np.einsum("...rii->...r", slopes)
    with np.errstate(all="ignore"):
        A1 = np.einsum("...r,...rs,...s->...", traces, covariance, traces)
        A2 = np.einsum("...rs,...rij,...sji->...", covariance, slopes, slopes)
        if ell == 1:
            return 2 / A2, np.ones_like(A2)
        B = (A1 + 6 * A2) / (2 * ell)
        g = ((ell + 1) * A1 - (ell + 4) * A2) / ((ell + 2) * A2)
        divisor = 3 * ell + 2 * (1 - g)
        c1, c2, c3 = g / divisor, (ell - g) / divisor, (ell + 2 - g) / divisor
        mean, width, above, below = 1 - A2 / ell, 1 - c2 * B, 1 + c1 * B, 1 - c3 * B
        # The limits that pbkrtest takes where these vanish.
        vanish = np.maximum(np.abs(mean), np.abs(width)) < VANISHES
        first, second = np.where(vanish, 1.0, mean), np.where(vanish, 1.0, width)
        above = np.where(np.abs(above) < VANISHES, 0.0, above)
        excess = first**2 * above - second**2 * below
        df = np.where(excess == 0, np.inf, 4 + (ell + 2) * second**2 * below / excess)
        scaling = np.where(np.abs(df - 2) < 1e-2, 1.0, df * mean / (df - 2))
    return df, np.where(np.isinf(df), mean, scaling)


def _doubts(df: float, scaling: float) -> tuple[str, ...]:
    if df > 2 and scaling > 0:
        return ()
    if df > 0 and scaling > 0:
        return (
            f"The approximation is poor: {df:.2g} denominator degrees of freedom. Prefer a "
            "parametric bootstrap.",
        )
    return (
        "The moments of F match no F distribution: the data are too few for this test. Use a "
        "parametric bootstrap.",
    )
