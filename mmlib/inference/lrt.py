"""The likelihood-ratio test of two nested fits, at the boundary too.

Self & Liang (1987), Journal of the American Statistical Association 82, 605–610; Stram & Lee
(1994), Biometrics 50, 1171–1177.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmlib.design.checks import require_fit
from mmlib.design.words import by_our_words
from mmlib.errors import DataError
from mmlib.inference.nested import extra_covariances, extra_means
from mmlib.inference.pvalues import HypothesisTest, chi2_tail
from mmlib.results.estimates import Fit

WORSE = 1e-6
"""A larger model whose objective is higher by more than this was not fitted to the end."""


@dataclass(frozen=True, kw_only=True, repr=False)
class LikelihoodRatioTest(HypothesisTest):
    """Outcome of a likelihood-ratio test; `pvalue` is that of χ².

    Attributes
    ----------
    pvalue_mixture : float or None
        The p-value of ½χ²(df − 1) + ½χ²(df), where the null hypothesis puts one variance on its
        boundary; None where that is not the right distribution.
    valid : bool
        Whether χ² is the asymptotic distribution: False if the null hypothesis lies on the
        boundary of the larger model.
    """

    pvalue_mixture: float | None
    valid: bool

    def _columns(self) -> dict[str, str]:
        columns = super()._columns()
        if self.pvalue_mixture is not None:
            columns["p (χ²)"] = columns.pop("p-value")
            columns["p (mixture)"] = f"{self.pvalue_mixture:.4g}"
        return columns


@by_our_words
def lrt(small: Fit, large: Fit) -> LikelihoodRatioTest:
    """Compare two nested fits by twice the difference of their log-likelihoods.

    Whether they are nested is decided by the mean and covariance matrices that they allow, not by
    their formulas. Where they differ by variances, the null hypothesis lies on the boundary of the
    larger model, and χ² is not valid: the p-value of the mixture is given beside it where it is
    known.

    Parameters
    ----------
    small, large : LMMResult
        Fits to the same rows and response. Two REML fits must have the same fixed part.

    Returns
    -------
    LikelihoodRatioTest

    Raises
    ------
    DataError
        If the fits differ in their data or their criterion, are REML fits with different fixed
        parts, are not nested, are the same model or the wrong way round, or if the larger one has
        not converged.

    References
    ----------
    Self & Liang (1987), Journal of the American Statistical Association 82, 605–610; Stram & Lee
    (1994), Biometrics 50, 1171–1177.

    Examples
    --------
    >>> import mmlib as mm
    >>> pulp = mm.load_dataset("pulp")
    >>> null = mm.lmm("bright ~ 1", pulp, reml=False)
    >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", pulp, reml=False)
    >>> test = mm.lrt(null, fit)
    >>> round(test.statistic, 4), round(test.pvalue, 3), round(test.pvalue_mixture, 4)
    (2.5684, 0.109, 0.0545)
    """
    require_fit(small, large)
    require_same_data(small, large)
    if small.reml != large.reml:
        raise DataError(
            "one model is fitted by REML and the other by maximum likelihood: refit with "
            "reml=False, fit.refit(reml=False)."
        )
    means, covariances = extra_means(small, large), extra_covariances(small, large)
    if means is None or covariances is None:
        back, others = extra_means(large, small), extra_covariances(large, small)
        if back is None or others is None:
            raise DataError(_not_nested(small, large, means=means is None))
        if back + others[0] == 0:
            raise DataError(_equally_many(small, large))
        raise DataError("the first model contains the second: swap them, lrt(small, large).")
    variances, constraints = covariances
    if means + variances == 0:
        raise DataError(_equally_many(small, large))
    if small.reml and means:
        raise DataError(
            "REML criteria of models with different fixed parts cannot be compared: refit with "
            "reml=False, fit.refit(reml=False)."
        )

    df = means + variances
    statistic = _statistic(small, large)
    fewer, pvalue = (float(chi2_tail(k, statistic)) for k in (df - 1, df))
    return LikelihoodRatioTest(
        method="Likelihood-ratio test" + (" (REML)" if small.reml else ""),
        hypothesis=f"{small.design.description} against {large.design.description}",
        statistic_name="RLRT" if small.reml else "LRT",
        statistic=statistic,
        df=(df,),
        pvalue=pvalue,
        pvalue_mixture=(fewer + pvalue) / 2 if constraints == 1 else None,
        valid=constraints == 0,
        notes=_notes(small, large, df=df, constraints=constraints),
    )


def require_same_data(small: Fit, large: Fit) -> None:
    """Check that two fits are to the same rows, response and weights.

    Raises
    ------
    DataError
        If they are not.
    """
    one, two = small.design, large.design
    if one.n != two.n:
        raise DataError(
            f"the models are fitted to {one.n} and {two.n} rows: they cannot be compared. Drop the "
            "rows with missing values first, so that both use the same."
        )
    if not np.array_equal(one.y, two.y):
        raise DataError(
            "the models are fitted to different responses, or to rows in another order: they "
            "cannot be compared. Fit both to the same data."
        )
    if not np.array_equal(one.row_weights, two.row_weights):
        raise DataError("the models have different prior weights: fit both with the same.")
    if one.sigma != two.sigma:
        raise DataError(
            "the models take different σ as known, or only one of them does: fit both alike."
        )


def _not_nested(small: Fit, large: Fit, *, means: bool) -> str:
    one, other = small.design.description, large.design.description
    what = (
        f"the fixed part of {one!r} allows means"
        if means
        else f"the random part of {one!r}, with its residuals, allows covariances"
    )
    return (
        f"the models are not nested: {what} that {other!r} does not. Compare them by AIC, or test "
        "each against a model that contains both."
    )


def _equally_many(small: Fit, large: Fit) -> str:
    better = abs(_criterion(small) - _criterion(large))
    if better <= WORSE * max(1.0, abs(large.objective)):
        return (
            "the two fits are the same model (their fixed and random parts allow the same means "
            "and covariances, but for bounds that these data do not reach): there is nothing to "
            "test."
        )
    return (
        "the two models have the same parameters, but one allows what is beyond a bound of the "
        f"other, such as a negative correlation, and its objective is lower by {better:.4g}: χ² "
        "has no degrees of freedom for that; compare them by AIC."
    )


def _statistic(small: Fit, large: Fit) -> float:
    statistic = _criterion(small) - _criterion(large)
    if statistic < -WORSE * max(1.0, abs(large.objective)):
        raise DataError(
            "the larger model is not converged: its objective is "
            f"higher than the smaller one's by {-statistic:.3g}. Rescale its predictors or "
            "simplify it, and fit again."
        )
    return max(statistic, 0.0)


def _criterion(fit: Fit) -> float:
    """The objective; of a REML fit, as it is with an orthonormal basis of X."""
    return fit.objective - (2 * fit.blocks.log_det_X if fit.reml else 0.0)


def _notes(small: Fit, large: Fit, *, df: int, constraints: int) -> tuple[str, ...]:
    notes = []
    if not (small.converged and large.converged):
        notes.append("A fit is not converged: the statistic may be wrong.")
    if constraints == 1:
        notes.append(
            "χ² is not valid: under the null hypothesis a variance is zero, the edge of what it "
            f"can be. With many levels the distribution is ½χ²({df - 1}) + ½χ²({df}), the mixture; "
            "for the distribution with few, use exact_lrt or parametric_bootstrap."
        )
    elif constraints > 1:
        notes.append(
            "χ² is not valid: under the null hypothesis several variances are zero, the edge of "
            "what they can be, and no simple mixture of χ² is known. Use parametric_bootstrap, or "
            "test one variance at a time by exact_lrt."
        )
    if small.is_singular:
        notes.append(
            "The smaller model's own estimate is on the boundary, where no asymptotic distribution "
            "is reliable: use parametric_bootstrap."
        )
    return tuple(notes)
