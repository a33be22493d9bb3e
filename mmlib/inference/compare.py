"""Several models of the same data in one table: criteria, R² and tests between neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from mmlib.design.checks import require_fit
from mmlib.errors import DataError
from mmlib.frozen import Frozen
from mmlib.inference.lrt import LikelihoodRatioTest, lrt, require_same_data
from mmlib.results.display import Shown, Summary, Table
from mmlib.results.effect_sizes import r2
from mmlib.results.estimates import Fit

REFITTED = (
    "Refitted by maximum likelihood, to which all numbers belong: REML criteria can be compared "
    "neither between models with different fixed parts nor with likelihoods."
)


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Shown, Frozen):
    """Models of the same data, those with fewer parameters first.

    Attributes
    ----------
    names : tuple of str
        ``"m0"`` for the first model that was given, and so on.
    fits : tuple of LMMResult
        What the numbers belong to: the fits as given, or their refits by maximum likelihood.
    tests : tuple
        For each model its likelihood-ratio test against the one before it, None where there is
        none.
    notes : tuple of str
        What a reader must know before trusting the numbers.
    """

    names: tuple[str, ...]
    fits: tuple[Fit, ...]
    tests: tuple[LikelihoodRatioTest | None, ...] = field(repr=False)
    notes: tuple[str, ...]

    def to_frame(self) -> pd.DataFrame:
        """The table, one row for each model.

        Returns
        -------
        DataFrame
            Columns ``formula, parameters, AIC, AICc, BIC, logLik, R2_marginal, R2_conditional``,
            and of the test against the row above ``LRT, df, pvalue``, NaN where the two are not
            nested. Where the null hypothesis puts a variance on its boundary, and the mixture of χ²
            is known, its p-value stands in ``pvalue_mixture``.
        """
        rows = [
            {**_criteria(fit), **_outcome(test)}
            for fit, test in zip(self.fits, self.tests, strict=True)
        ]
        table = pd.DataFrame(rows, index=list(self.names))
        if table["pvalue_mixture"].isna().all():
            table = table.drop(columns="pvalue_mixture")
        return table

    def summary(self) -> Summary:
        """The table with its formulas and notes; text when printed, HTML in a notebook."""
        frame = self.to_frame().drop(columns="formula")
        mixture = {"pvalue": "p (χ²)", "pvalue_mixture": "p (mixture)"}
        headers = mixture if "pvalue_mixture" in frame else {"pvalue": "p-value"}
        formats = {"parameters": "d", "df": ".0f", **dict.fromkeys(headers.values(), ".4g")}
        kind = "REML" if self.fits[0].reml else "maximum likelihood"
        formulas = "\n".join(
            f"{name}: {fit.design.formula}" for name, fit in zip(self.names, self.fits, strict=True)
        )
        table = Table.of(
            f"Models fitted by {kind}", frame.rename(columns=headers), formats, default=".3f"
        )
        return Summary((formulas, table, *self.notes))


def compare(*fits: Fit) -> Comparison:
    """Put several models of the same data into one table.

    Neighbours in the table, sorted by their number of parameters, are tested against each other
    where one is nested in the other, by `lrt` and with its warnings about the boundary.

    Parameters
    ----------
    *fits : LMMResult
        Two or more fits to the same rows and response. Fits by different criteria, or REML fits
        whose fixed parts differ, are refitted by maximum likelihood, and a note says so.

    Returns
    -------
    Comparison
        `anova` with several fits gives the same.

    Raises
    ------
    DataError
        If there are fewer than two fits, or they differ in their rows, response or weights.

    Notes
    -----
    AIC, AICc and BIC are −2 log-likelihood plus 2k, 2k + 2k(k + 1)/(n − k − 1) and k log n, with k
    parameters (the variances among them) and n rows. All are marginal, for new groups; the
    conditional AIC, for the groups in the data, is not computed.

    References
    ----------
    Burnham & Anderson (2002), Model Selection and Multimodel Inference, section 2.4.

    Examples
    --------
    >>> import mmlib as mm
    >>> sleep = mm.load_dataset("sleepstudy")
    >>> one = mm.lmm("Reaction ~ Days + (1 | Subject)", sleep)
    >>> two = mm.lmm("Reaction ~ Days + (Days | Subject)", sleep)
    >>> mm.compare(one, two).to_frame()[["parameters", "AIC", "LRT", "df"]].round(2)
        parameters      AIC    LRT   df
    m0           4  1794.47    NaN  NaN
    m1           6  1755.63  42.84  2.0
    """
    require_fit(*fits)
    if len(fits) < 2:
        raise DataError("compare needs two fits or more: compare(small, large).")
    for fit in fits[1:]:
        require_same_data(fits[0], fit)
    comparable = _comparable(fits)
    chosen = (
        list(fits)
        if comparable
        else [fit if not fit.reml else fit.refit(reml=False) for fit in fits]
    )
    order = sorted(range(len(chosen)), key=lambda k: chosen[k].n_parameters)
    names = [f"m{k}" for k in order]
    chosen = [chosen[k] for k in order]
    tests: list[LikelihoodRatioTest | None] = [None]
    notes = [] if comparable else [REFITTED]
    for k in range(1, len(chosen)):
        test, remarks = _tested(chosen[k - 1], chosen[k])
        tests.append(test)
        notes += [f"{names[k - 1]} and {names[k]}: {remark}" for remark in remarks]
    return Comparison(tuple(names), tuple(chosen), tuple(tests), tuple(notes))


def _comparable(fits: Sequence[Fit]) -> bool:
    """Whether the criteria of the fits are those of one likelihood."""
    if len({fit.reml for fit in fits}) > 1:
        return False
    X = fits[0].design.X
    return not fits[0].reml or all(
        fit.design.X.shape == X.shape and np.allclose(fit.design.X, X) for fit in fits
    )


def _tested(small: Fit, large: Fit) -> tuple[LikelihoodRatioTest | None, tuple[str, ...]]:
    """The test of two neighbours, or why there is none."""
    if small.n_parameters == large.n_parameters:
        return None, ("they have as many parameters: there is no test, compare their AIC.",)
    try:
        test = lrt(small, large)
    except DataError as error:
        return None, (str(error),)
    return test, test.notes


def _criteria(fit: Fit) -> dict[str, object]:
    k, n = fit.n_parameters, fit.nobs
    explained = r2(fit)
    return {
        "formula": str(fit.design.formula),
        "parameters": k,
        "AIC": fit.aic,
        "AICc": fit.aic + 2 * k * (k + 1) / (n - k - 1) if n > k + 1 else np.nan,
        "BIC": fit.bic,
        "logLik": fit.loglik,
        "R2_marginal": explained["marginal"],
        "R2_conditional": explained["conditional"],
    }


def _outcome(test: LikelihoodRatioTest | None) -> dict[str, float]:
    if test is None:
        return dict.fromkeys(("LRT", "df", "pvalue", "pvalue_mixture"), np.nan)
    mixture = np.nan if test.pvalue_mixture is None else test.pvalue_mixture
    return {
        "LRT": test.statistic,
        "df": test.df[0],
        "pvalue": test.pvalue,
        "pvalue_mixture": mixture,
    }
