"""The table of fixed effects, with standard errors and t tests of the model or robust ones."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmlib.arrays import FloatArray
from mmlib.design.checks import check_level, require_choice
from mmlib.errors import DataError
from mmlib.inference.ddf import CHOICES, Ddf, errors_of
from mmlib.inference.pvalues import t_quantile, two_sided_t
from mmlib.inference.robust import Robust, robust_covariance
from mmlib.results.estimates import Fit


def coef_table(
    fit: Fit,
    *,
    ddf: Ddf | None = None,
    level: float | None = None,
    robust: Robust | None = None,
    cluster: str | None = None,
) -> pd.DataFrame:
    """Estimate, standard error and t value of each fixed effect.

    Parameters
    ----------
    ddf : {"kenward-roger", "satterthwaite"}, optional
        Adds t tests with these degrees of freedom. With ``"kenward-roger"`` the standard errors
        are the adjusted ones.
    level : float, optional
        Adds the limits of a confidence interval with this coverage: by the t distribution where
        there are degrees of freedom, otherwise by the normal one.
    robust : {"CR0", "CR1", "CR1p", "CR2", "CR3"}, optional
        Standard errors that hold whatever the variance within clusters is, with degrees of
        freedom after Pustejovsky and Tipton. ``"CR2"`` is the one to use with few clusters.
    cluster : str, optional
        With `robust`, which rows belong together: as for `vcov`.

    Returns
    -------
    DataFrame
        Columns ``Estimate, Std. Error, t value``; with degrees of freedom ``Estimate, Std.
        Error, df, t value, Pr(>|t|)``; with `level` also ``lower, upper``.

    Raises
    ------
    DataError
        If `ddf` is another value, or goes with `robust`; if ``"kenward-roger"`` is asked of a
        fit by maximum likelihood; if `level` is not between 0 and 1; or as `vcov`.

    Examples
    --------
    >>> import mmlib as mm
    >>> fit = mm.lmm("yield ~ treat + (1 | blend)", mm.load_dataset("penicillin"))
    >>> fit.coef_table(ddf="kenward-roger").loc["treat[T.C]"].round(4).tolist()
    [5.0, 2.7447, 12.0, 1.8217, 0.0935]
    >>> limits = fit.coef_table(ddf="kenward-roger", level=0.95)[["lower", "upper"]]
    >>> limits.loc["treat[T.C]"].round(2).tolist()
    [-0.98, 10.98]
    """
    require_choice("ddf", ddf, CHOICES)
    if level is not None:
        check_level(level)
    if robust is not None:
        table = _robust_table(fit, ddf, robust, cluster)
    elif cluster is not None:
        raise DataError("cluster= belongs to robust=: coef_table(robust='CR2', cluster=...).")
    else:
        table = _model_table(fit, ddf)
    if level is None:
        return table
    dfs = table["df"].to_numpy() if "df" in table else np.inf
    reach = t_quantile((1 + level) / 2, dfs) * table["Std. Error"]
    return table.assign(lower=table["Estimate"] - reach, upper=table["Estimate"] + reach)


def _model_table(fit: Fit, ddf: Ddf | None) -> pd.DataFrame:
    """Estimates with the model's own standard errors."""
    if ddf == "kenward-roger" and not fit.reml:
        raise DataError(
            "the estimates are by maximum likelihood, but Kenward and Roger's standard errors are "
            "for REML: use fit.refit(reml=True).coef_table(ddf='kenward-roger')."
        )
    vcov, dfs, _ = errors_of(fit, np.eye(fit.design.p), ddf)
    return _t_table(fit, vcov, dfs if ddf else None)


def _robust_table(fit: Fit, ddf: Ddf | None, robust: Robust, cluster: str | None) -> pd.DataFrame:
    """Estimates with cluster-robust standard errors and their own degrees of freedom."""
    if ddf is not None:
        raise DataError(
            "robust= has degrees of freedom of its own (Pustejovsky and Tipton): leave ddf= out."
        )
    known = robust_covariance(fit, robust, cluster)
    dfs = np.array([known.df(row) for row in np.eye(fit.design.p)])
    return _t_table(fit, known.vcov, dfs)


def _t_table(fit: Fit, vcov: FloatArray, dfs: FloatArray | None) -> pd.DataFrame:
    se = np.sqrt(np.diag(vcov))
    columns = {"Estimate": fit.beta, "Std. Error": se}
    if dfs is not None:
        columns["df"] = dfs
    columns["t value"] = fit.beta / se
    if dfs is not None:
        columns["Pr(>|t|)"] = two_sided_t(np.abs(columns["t value"]), dfs)
    table = pd.DataFrame(columns, index=list(fit.design.fixed_names))
    return table.reindex(fit.design.all_names) if fit.design.aliased else table
