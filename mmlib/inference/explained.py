"""Bootstrap intervals of what a fit explains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

import pandas as pd

from mmlib.design.checks import check_level
from mmlib.errors import DataError
from mmlib.inference.bootstrap import bootstrap
from mmlib.inference.confint import BootOptions
from mmlib.results.estimates import Fit


def with_interval(
    fit: Fit,
    statistic: Callable[[Fit], pd.Series],
    level: float | None,
    **boot: Unpack[BootOptions],
) -> pd.Series | pd.DataFrame:
    """The statistic of a fit; with a `level` also its parametric-bootstrap interval."""
    estimate = statistic(fit)
    if level is None:
        if boot:
            names = ", ".join(f"{name}=" for name in boot)
            raise DataError(f"{names} belongs to an interval: pass level= too, or leave it out.")
        return estimate
    check_level(level)
    options: dict[str, Any] = dict(boot)
    kind = options.pop("kind", "percentile")
    limits = bootstrap(fit, statistic, **options).confint(kind, level=level)
    return limits.assign(estimate=estimate)[["estimate", "lower", "upper"]]
