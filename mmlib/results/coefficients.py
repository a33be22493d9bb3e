"""Coefficients of each group: fixed effects plus the group's own, with their errors.

The two are estimated from the same data, so their errors are correlated: the variance of the sum
comes from their joint covariance (Henderson 1975, Biometrics 31, 423–447, doi:10.2307/2529430).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmlib.arrays import FloatArray
from mmlib.design.checks import normal_quantile
from mmlib.engine.grouping import Grouping
from mmlib.engine.threads import single_threaded
from mmlib.results.estimates import Fit

COEFFICIENT = "coefficient"
"""The name of the level of the index that says which coefficient a row is."""


def coefficients(fit: Fit, *, level: float = 0.95) -> dict[str, pd.DataFrame]:
    """Coefficients of each group: fixed effects plus the group's own.

    Parameters
    ----------
    level : float
        Nominal coverage, between 0 and 1.

    Returns
    -------
    dict
        For each grouping a table with a row for each level and coefficient, and columns
        ``estimate, se, lower, upper``. ``table["estimate"].unstack()`` has a row for each
        level. A coefficient that the fixed part lacks is the group's own alone; one that does
        not vary is the fixed effect.

    Notes
    -----
    The standard error counts the errors of β̂ and of the conditional modes together, from their
    joint covariance; adding the two variances would be wrong, as the errors are correlated. θ and
    σ are taken as known, and the quantiles are normal, as in `predict`.

    References
    ----------
    Henderson (1975), Biometrics 31, 423–447, doi:10.2307/2529430.

    Examples
    --------
    >>> import mmlib as mm
    >>> fit = mm.lmm("Reaction ~ Days + (Days | Subject)", mm.load_dataset("sleepstudy"))
    >>> fit.coef()["Subject"].round(2).head(2)
                         estimate     se   lower   upper
    Subject coefficient
    308     Intercept      253.66  12.25  229.64  277.68
            Days            19.67   2.34   15.09   24.25
    """
    reach = normal_quantile(level)
    return {
        grouping.name: _of_grouping(fit, number, reach)
        for number, grouping in enumerate(fit.blocks.groupings)
    }


def _of_grouping(fit: Fit, number: int, reach: float) -> pd.DataFrame:
    grouping = fit.blocks.groupings[number]
    own = [name for term in grouping.terms for name in term.columns]
    names = list(dict.fromkeys([*fit.design.fixed_names, *own]))
    fixed = _picks(names, list(fit.design.fixed_names))
    varying = _picks(names, own)
    modes = fit.ranef()[grouping.name].to_numpy()
    estimate = fixed @ fit.beta + modes @ varying.T
    table = pd.DataFrame(
        {"estimate": estimate.ravel(), "se": _errors(fit, number, fixed, varying)},
        index=_rows(grouping, names),
    )
    table["lower"] = table["estimate"] - reach * table["se"]
    table["upper"] = table["estimate"] + reach * table["se"]
    return table


def _picks(names: list[str], among: list[str]) -> FloatArray:
    """A matrix of ones where a name (row) is one of those (columns)."""
    return np.equal.outer(np.array(names, object), np.array(among, object)).astype(float)


def _errors(fit: Fit, number: int, fixed: FloatArray, varying: FloatArray) -> FloatArray:
    """Standard errors of all coefficients of all levels of one grouping."""
    groupings = fit.blocks.groupings
    n_levels, n_names = groupings[number].n_levels, len(fixed)
    codes = np.repeat(np.arange(n_levels), n_names)
    effects = [
        (codes, np.tile(varying, (n_levels, 1)))
        if k == number
        else (np.full(len(codes), -1), np.zeros((len(codes), grouping.width)))
        for k, grouping in enumerate(groupings)
    ]
    with single_threaded():
        covariance = fit.effects_covariance
        rows = covariance.rows(np.tile(fixed, (n_levels, 1)), effects)
        return fit.sigma * np.sqrt(np.maximum(covariance.variances(rows), 0.0))


def _rows(grouping: Grouping, names: list[str]) -> pd.MultiIndex:
    """An index of level × coefficient; a level may itself be a combination of several labels."""
    levels = grouping.terms[0].levels
    labels = [
        np.repeat(levels.get_level_values(k).to_numpy(), len(names)) for k in range(levels.nlevels)
    ]
    return pd.MultiIndex.from_arrays(
        [*labels, np.tile(np.array(names, dtype=object), len(levels))],
        names=[*levels.names, COEFFICIENT],
    )
