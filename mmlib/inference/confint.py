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
from mmlib.errors import DataError
from mmlib.inference.bootstrap import BootstrapResult, bootstrap
from mmlib.inference.coef_table import coef_table
from mmlib.inference.ddf import Ddf
from mmlib.inference.parameters import parameters
from mmlib.inference.profile import profile
from mmlib.inference.replicate import Progress
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
    """What `LMMResult.confint` gives."""
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
