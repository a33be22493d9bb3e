"""Confidence intervals of the parameters of a fit, by profile, by Wald or by bootstrap.

The parameters are named ``sd_<column>|<group>``, ``cor_<column>.<column>|<group>``, ``sigma``, and
by the names of the fixed effects.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from typing import Any, Literal, TypedDict, Unpack

import numpy as np
import pandas as pd

from mmlib.design.checks import check_level, did_you_mean, names_in, require_choice
from mmlib.errors import DataError
from mmlib.inference.anova import Ddf, coef_table
from mmlib.inference.bootstrap import BootstrapResult, bootstrap
from mmlib.inference.held import parameters
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
    _require_own_options(method, ddf, boot)
    if method == "profile":
        return profile(fit).confint(level=level, parameters=parameters)
    if method == "wald":
        return _wald(fit, level, parameters, ddf)
    return _boot(fit, level, parameters, **boot)


def _require_own_options(method: str, ddf: str | None, boot: BootOptions) -> None:
    if ddf is not None and method != "wald":
        raise DataError(f"ddf= belongs to method='wald', not to {method!r}: leave it out.")
    if boot and method != "boot":
        names = ", ".join(f"{name}=" for name in boot)
        raise DataError(f"{names} belongs to method='boot', not to {method!r}: leave it out.")


def _chosen(names: str | Iterable[str] | None, known: Sequence[str]) -> list[str]:
    """The parameters asked for, each of which must be known."""
    chosen = list(known) if names is None else names_in(names)
    for name in chosen:
        if name not in known:
            raise DataError(
                f"there is no interval of this kind for {name!r}.{did_you_mean(str(name), known)} "
                f"There is one for {', '.join(known) or 'no parameter'}."
            )
    return chosen


def _wald(
    fit: Fit, level: float, names: str | Iterable[str] | None, ddf: Ddf | None
) -> pd.DataFrame:
    fixed = list(fit.design.fixed_names)
    if names is None and not fit.design.structured:
        names = fixed
    only_fixed = names is not None and set(names_in(names)) <= set(fixed)
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
