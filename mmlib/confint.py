"""Confidence intervals of the parameters of a fit, by profile, by Wald or by bootstrap.

The parameters are named ``sd_<column>|<group>``, ``cor_<column>.<column>|<group>``, ``sigma``, and
by the names of the fixed effects.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from mmlib.bootstrap import BootstrapResult, bootstrap
from mmlib.checks import check_level, did_you_mean, normal_quantile, require_choice
from mmlib.errors import DataError
from mmlib.held import parameters
from mmlib.profile import profile
from mmlib.replicate import Progress

if TYPE_CHECKING:
    from mmlib.model import LMMResult

Method = Literal["profile", "wald", "boot"]
Ddf = Literal["kenward-roger", "satterthwaite"]

UNDEFINED = 1e300
"""Stands for the correlation with an effect that does not vary: a bootstrap needs numbers."""


class BootOptions(TypedDict, total=False):
    """What `confint` passes to `mmlib.bootstrap.bootstrap`, and the `kind` of interval."""

    nsim: int
    rng: np.random.Generator | int | None
    executor: Executor | None
    progress: Progress
    kind: Literal["percentile", "basic", "normal"]


def confint(
    fit: LMMResult,
    method: Method = "profile",
    *,
    level: float = 0.95,
    parameters: str | Sequence[str] | None = None,
    ddf: Ddf | None = None,
    **boot: Unpack[BootOptions],
) -> pd.DataFrame:
    """Confidence intervals of the parameters; what ``fit.confint(...)`` gives.

    Parameters
    ----------
    fit : LMMResult
    method : {"profile", "wald", "boot"}
        Profile likelihood, of the fit by maximum likelihood, whatever `fit` is. Or estimate ±
        quantile × standard error, for fixed effects only: the estimate of a variance is far from
        normal. Or a parametric bootstrap of `fit`, by its own criterion.
    level : float
        Coverage aimed at, between 0 and 1.
    parameters : str or sequence of str, optional
        Names, by default all: ``sd_<column>|<group>``, ``cor_<column>.<column>|<group>``,
        ``sigma``, and fixed effects.
    ddf : {"kenward-roger", "satterthwaite"}, optional
        With ``"wald"``, take the quantile of t with these degrees of freedom (and, for the first,
        the adjusted standard error); by default the normal quantile, as lme4 does.
    **boot
        With ``"boot"``: `nsim`, `rng`, `executor` and `progress` of `mmlib.bootstrap.bootstrap`,
        and `kind`, the `method` of `mmlib.bootstrap.BootstrapResult.confint`.

    Returns
    -------
    DataFrame
        Columns ``lower`` and ``upper``, a row for each parameter, in the parameter's unit.

    Raises
    ------
    DataError
        If the method, a parameter or the level is not one of those, or an option belongs to
        another method.
    BootstrapError
        If the bootstrap cannot be finished.

    References
    ----------
    Bates, Mächler, Bolker & Walker (2015), Journal of Statistical Software 67(1), section 5.1;
    Davison & Hinkley (1997), Bootstrap Methods and their Application, chapter 5.

    Examples
    --------
    >>> import mmlib as mm
    >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    >>> confint(fit).round(3)
                           lower   upper
    sd_Intercept|operator  0.000   0.618
    sigma                  0.239   0.482
    Intercept             60.071  60.729
    >>> confint(fit, "wald", ddf="satterthwaite").round(3).to_numpy().tolist()
    [[59.925, 60.875]]
    """
    check_level(level)
    require_choice("method", method, ("profile", "wald", "boot"))
    _require_own_options(method, ddf, boot)
    wanted = [parameters] if isinstance(parameters, str) else parameters
    if method == "profile":
        return profile(fit).confint(level, parameters=wanted)
    if method == "wald":
        return _wald(fit, level, wanted, ddf)
    return _boot(fit, level, wanted, **boot)


def _require_own_options(method: str, ddf: str | None, boot: BootOptions) -> None:
    if ddf is not None and method != "wald":
        raise DataError(f"ddf= belongs to method='wald', not to {method!r}: leave it out.")
    if boot and method != "boot":
        names = ", ".join(f"{name}=" for name in boot)
        raise DataError(f"{names} belongs to method='boot', not to {method!r}: leave it out.")


def _chosen(names: Iterable[str] | None, known: Sequence[str]) -> list[str]:
    """The parameters asked for, each of which must be known."""
    chosen = list(known if names is None else names)
    for name in chosen:
        if name not in known:
            raise DataError(
                f"there is no interval of this kind for {name!r}.{did_you_mean(str(name), known)} "
                f"There is one for {', '.join(known) or 'no parameter'}."
            )
    return chosen


def _wald(
    fit: LMMResult, level: float, names: Iterable[str] | None, ddf: Ddf | None
) -> pd.DataFrame:
    table = fit.coef_table(ddf=ddf)
    chosen = _chosen(names, list(table.index))
    quantile: Any = normal_quantile(level)
    if ddf is not None:
        quantile = stdtrit(table["df"], (1 + level) / 2)
    reach = quantile * table["Std. Error"]
    limits = pd.DataFrame({"lower": table["Estimate"] - reach, "upper": table["Estimate"] + reach})
    return limits.loc[chosen]


def _boot(
    fit: LMMResult,
    level: float,
    names: Iterable[str] | None,
    *,
    kind: Literal["percentile", "basic", "normal"] = "percentile",
    **options: Any,
) -> pd.DataFrame:
    chosen = _chosen(names, [parameter.name for parameter in parameters(fit)])
    require_choice("kind", kind, ("percentile", "basic", "normal"))
    drawn = bootstrap(fit, _finite_estimates, **options)
    ends = {name: _of_one(drawn, name).confint(level, method=kind).to_numpy()[0] for name in chosen}
    return pd.DataFrame.from_dict(ends, orient="index", columns=["lower", "upper"])


def _finite_estimates(fit: LMMResult) -> dict[str, float]:
    return {
        parameter.name: UNDEFINED if np.isnan(parameter.estimate) else parameter.estimate
        for parameter in parameters(fit)
    }


def _of_one(drawn: BootstrapResult, name: str) -> BootstrapResult:
    """The replicates of one parameter, without those in which it is not defined."""
    number = drawn.names.index(name)
    observed, column = drawn.observed[[number]], drawn.replicates[:, [number]]
    defined = column[column[:, 0] != UNDEFINED]
    return dataclasses.replace(
        drawn,
        names=(name,),
        observed=np.where(observed == UNDEFINED, np.nan, observed),
        replicates=defined if len(defined) else np.full((1, 1), np.nan),
    )
