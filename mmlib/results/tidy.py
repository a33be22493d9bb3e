"""A fit as plain tables with the columns of R's broom.mixed, for your own figures and tables.

Bolker & Robinson, broom.mixed: Tidying Methods for Mixed Models, an R package (methods for lme4).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from mmlib.results.estimates import Fit
from mmlib.results.varcorr import TermCovariance

FIXED_COLUMNS = {
    "Estimate": "estimate",
    "Std. Error": "std.error",
    "t value": "statistic",
    "df": "df",
    "Pr(>|t|)": "p.value",
    "lower": "conf.low",
    "upper": "conf.high",
}
"""The columns of a table of coefficients, in broom's order and under its names."""


def tidy(fit: Fit, coefficients: pd.DataFrame) -> pd.DataFrame:
    """What `LMMResult.tidy` gives, from the table of its fixed effects."""
    columns = {old: new for old, new in FIXED_COLUMNS.items() if old in coefficients}
    fixed = coefficients[list(columns)].rename(columns=columns)
    fixed.insert(0, "term", list(coefficients.index))
    fixed.insert(0, "group", np.nan)
    fixed.insert(0, "effect", "fixed")
    rows = [*fixed.to_dict("records"), *_variances(fit)]
    return pd.DataFrame(rows, columns=list(fixed.columns))


def glance(fit: Fit) -> pd.DataFrame:
    """The fit in one row, with the columns of R's broom.mixed.

    Returns
    -------
    DataFrame
        Columns ``nobs, sigma, logLik, AIC, BIC``, then ``REMLcrit`` or ``deviance``, and
        ``df.residual``.

    Examples
    --------
    >>> import mmlib as mm
    >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    >>> fit.glance().round(3).to_numpy().tolist()
    [[20.0, 0.326, -9.313, 24.626, 27.613, 18.626, 17.0]]
    """
    criterion = "REMLcrit" if fit.reml else "deviance"
    row = {
        "nobs": fit.nobs,
        "sigma": fit.sigma,
        "logLik": fit.loglik,
        "AIC": fit.aic,
        "BIC": fit.bic,
        criterion: fit.objective,
        "df.residual": fit.df_resid,
    }
    return pd.DataFrame([row])


def _variances(fit: Fit) -> Iterator[dict[str, object]]:
    varcorr = fit.varcorr()
    for term in varcorr.terms:
        for name, value in _of_term(term):
            yield _row(term.group, name, value)
    yield _row("Residual", "sd__Observation", varcorr.sigma)
    for name, value in varcorr.residual.named() if varcorr.residual else ():
        yield _row("Residual", name, value)


def _of_term(term: TermCovariance) -> Iterator[tuple[str, float]]:
    """Standard deviations and correlations by lme4's order: lower triangle, column by column."""
    correlation = term.correlation
    for j, name in enumerate(term.columns):
        yield f"sd__{name}", float(term.sd[j])
        for i in range(j + 1, len(term.columns)):
            yield f"cor__{name}.{term.columns[i]}", float(correlation[i, j])


def _row(group: str, name: str, value: float) -> dict[str, object]:
    return {"effect": "ran_pars", "group": group, "term": name, "estimate": value}
