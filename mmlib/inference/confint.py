"""Confidence intervals of parameters, by profile, by Wald or by bootstrap; of R² by bootstrap.

The parameters are named ``sd_<column>|<group>``, ``cor_<column>.<column>|<group>``, ``sigma``, and
by the names of the fixed effects.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from typing import Any, Literal, TypedDict, Unpack

import numpy as np
import pandas as pd

from mmlib.design.checks import check_level, names_in, require_choice, require_names
from mmlib.engine.progress import Progress
from mmlib.errors import DataError
from mmlib.inference.bootstrap import BootstrapResult, bootstrap
from mmlib.inference.coef_table import coef_table
from mmlib.inference.ddf import Ddf
from mmlib.inference.parameters import parameters
from mmlib.inference.profile import profile
from mmlib.inference.wald import wald_of_variances
from mmlib.results.estimates import Fit

Method = Literal["profile", "wald", "boot"]

UNDEFINED = 1e300
"""Stands for the correlation with an effect that does not vary: a bootstrap needs numbers."""


class BootOptions(TypedDict, total=False):
    """What `confint` passes to `mmlib.bootstrap`, and the `kind` of interval."""

    nsim: int
    rng: np.random.Generator | int | None
    executor: Executor | None
    progress: Progress
    resume: BootstrapResult | None
    kind: Literal["percentile", "basic", "normal"]


def confint(
    fit: Fit,
    method: Method = "profile",
    *,
    level: float = 0.95,
    parameters: str | Sequence[str] | None = None,
    ddf: Ddf | None = None,
    **boot: Unpack[BootOptions],
) -> pd.DataFrame:
    """Confidence intervals of the parameters.

    Parameters
    ----------
    method : {"profile", "wald", "boot"}
        Profile likelihood, of the fit by maximum likelihood, whatever this one is. Or estimate
        ± quantile × standard error, for variances and correlations on a scale without bounds
        (see the notes). Or a parametric bootstrap of this fit, by its own criterion.
    level : float
        Nominal coverage, between 0 and 1.
    parameters : str or sequence of str, optional
        Names, by default all: ``sd_<column>|<group>``, ``cor_<column>.<column>|<group>``,
        ``sigma``, and fixed effects; with structure also ``sd_<structure>|<group>``,
        ``cor_<structure>|<group>``, ``residual_ratio_<level>|<column>`` and
        ``residual_cor|<group>``, of visits ``residual_cor_<visit>.<visit>|<group>``. With
        ``"wald"`` the fixed effects alone unless covariances have structure, as in lme4: the
        variances of any fit are there when named.
    ddf : {"kenward-roger", "satterthwaite"}, optional
        With ``"wald"``, take the quantile of t with these degrees of freedom (and, for the
        first, the adjusted standard error); by default the normal quantile, as lme4 does.
    **boot
        With ``"boot"``: ``nsim``, ``rng``, ``executor``, ``progress`` and ``resume`` as for
        `bootstrap`, and ``kind`` as for `BootstrapResult.confint`. An interrupted run gives the
        intervals of the replicates drawn until then, with a `BootstrapWarning`.

    Returns
    -------
    DataFrame
        Columns ``lower`` and ``upper``, a row for each parameter, in the parameter's unit.

    Raises
    ------
    DataError
        If the method, a parameter or the level is not valid, or an option belongs to another
        method.
    BootstrapError
        If the bootstrap cannot be finished; its ``result`` can be resumed.

    Notes
    -----
    Wald intervals take standard deviations and their ratios by the logarithm, a correlation ρ
    between l and h by log((ρ − l)/(h − ρ)), twice Fisher's z where these are ±1; standard
    errors are from the observed information of the fit's own criterion, as nlme's ``intervals``.
    What is estimated at its bound is NaN, and is held there for the others. Prefer the profile
    where a variance may be zero.

    References
    ----------
    Bates, Mächler, Bolker & Walker (2015), Journal of Statistical Software 67(1), section 5.1;
    Pinheiro & Bates (2000), Mixed-Effects Models in S and S-PLUS, section 2.4;
    Davison & Hinkley (1997), Bootstrap Methods and their Application, chapter 5.

    Examples
    --------
    >>> import mmlib as mm
    >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    >>> fit.confint().round(3)
                           lower   upper
    sd_Intercept|operator  0.000   0.618
    sigma                  0.239   0.482
    Intercept             60.071  60.729
    >>> fit.confint("wald", ddf="satterthwaite").round(3).to_numpy().tolist()
    [[59.925, 60.875]]
    >>> fit.confint("wald", parameters="sigma").round(3).to_numpy().tolist()
    [[0.231, 0.46]]
    """
    check_level(level)
    require_choice("method", method, ("profile", "wald", "boot"))
    if ddf is not None and method != "wald":
        _refuse(["ddf"], f"method='wald', not to {method!r}: leave it out.")
    if method != "boot":
        _refuse(boot, f"method='boot', not to {method!r}: leave it out.")
    if method == "profile":
        return profile(fit).confint(level=level, parameters=parameters)
    if method == "wald":
        return _wald(fit, level, parameters, ddf)
    return _boot(fit, level, parameters, **boot)


def with_interval(
    fit: Fit,
    statistic: Callable[[Fit], pd.Series],
    level: float | None,
    **boot: Unpack[BootOptions],
) -> pd.Series | pd.DataFrame:
    """The statistic of a fit; with a `level` also its parametric-bootstrap interval."""
    estimate = statistic(fit)
    if level is None:
        _refuse(boot, "an interval: pass level= too, or leave it out.")
        return estimate
    check_level(level)
    options: dict[str, Any] = dict(boot)
    kind = options.pop("kind", "percentile")
    limits = bootstrap(fit, statistic, **options).confint(kind, level=level)
    return limits.assign(estimate=estimate)[["estimate", "lower", "upper"]]


def _refuse(options: Iterable[str], belong: str) -> None:
    """Refuse options that belong to something else."""
    if names := ", ".join(f"{name}=" for name in options):
        raise DataError(f"{names} belongs to {belong}")


def _chosen(names: str | Iterable[str] | None, known: Sequence[str]) -> list[str]:
    """The parameters asked for, each of which must be known."""
    chosen = list(known) if names is None else names_in("parameters", names)
    require_names("parameters", chosen, known, "parameter with an interval of this kind")
    return chosen


def _wald(
    fit: Fit, level: float, names: str | Iterable[str] | None, ddf: Ddf | None
) -> pd.DataFrame:
    fixed = list(fit.design.fixed_names)
    if names is None and not fit.design.structured:
        names = fixed
    only_fixed = names is not None and set(names_in("parameters", names)) <= set(fixed)
    known = fixed if only_fixed else [parameter.name for parameter in parameters(fit)]
    chosen = _chosen(names, known)
    limits = coef_table(fit, ddf=ddf, level=level)[["lower", "upper"]]
    if not only_fixed:
        limits = pd.concat([wald_of_variances(fit, level=level), limits])
    return limits.loc[chosen]


def _boot(
    fit: Fit,
    level: float,
    names: str | Iterable[str] | None,
    *,
    kind: Literal["percentile", "basic", "normal"] = "percentile",
    **options: Any,
) -> pd.DataFrame:
    chosen = _chosen(names, [parameter.name for parameter in parameters(fit)])
    require_choice("kind", kind, ("percentile", "basic", "normal"))
    drawn = bootstrap(fit, _finite_estimates, **options)
    ends = {name: _of_one(drawn, name).confint(kind, level=level).to_numpy()[0] for name in chosen}
    return pd.DataFrame.from_dict(ends, orient="index", columns=["lower", "upper"])


def _finite_estimates(fit: Fit) -> dict[str, float]:
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
