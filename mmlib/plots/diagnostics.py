"""Pictures that show whether a model fits."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import ArrayLike
from pandas.api.types import is_numeric_dtype
from scipy.special import ndtri
from scipy.stats import beta as beta_distribution

from mmlib.arrays import FloatArray
from mmlib.design.checks import as_array, as_numbers, require_fit
from mmlib.errors import DataError
from mmlib.model import LMMResult
from mmlib.plots.effects import grouping_name
from mmlib.plots.style import (
    MANY,
    MARKERS,
    REFERENCE,
    axes_for,
    dots,
    labels,
    legend_above,
    look,
    ties,
    with_unit,
    write_beside,
)

CROWDED = 0.8
"""Points of a Q–Q plot nearer to the middle than this lie too close to be named."""


def residuals_vs_fitted(
    fit: LMMResult,
    kind: Literal["conditional", "marginal"] = "conditional",
    *,
    scaled: Literal["pearson", "standardized", "normalized"] | None = "standardized",
    group: str | None = None,
    unit: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw residuals against fitted values of the same kind.

    Parameters
    ----------
    fit : LMMResult
    kind, scaled
        As for `LMMResult.residuals`.
    group : str, optional
        A grouping of the fit whose levels get markers of their own (up to seven) and a bar at
        their mean residual.
    unit, ax
        As in every figure.

    Examples
    --------
    >>> import mmlib as mm
    >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    >>> mm.plots.residuals_vs_fitted(fit).get_ylabel()
    'standardized conditional residual'
    """
    require_fit(fit)
    residuals = fit.residuals(kind, scaled=scaled).to_numpy()
    fitted = (fit.fitted if kind == "conditional" else fit.predict(random=False)).to_numpy()
    chosen = None if group is None else grouping_name(fit, group)
    given, ax = ax, axes_for(ax)
    ax.axhline(0.0, **REFERENCE)
    if chosen is None:
        ax.plot(fitted, residuals, **dots(len(residuals)))
    else:
        _by_level(ax, fit, chosen, fitted, residuals)
        if len(fit.ranef()[chosen]) <= len(MARKERS):
            legend_above(ax, given, title=chosen, ncols=len(MARKERS))
    kind_of = {"pearson": "Pearson"}.get(str(scaled), scaled)
    label = f"{kind_of} {kind} residual" if scaled else f"{kind} residual"
    ax.set(
        xlabel=with_unit(f"{kind} fitted value", unit),
        ylabel=label if scaled else with_unit(label, unit),
    )
    return ax


def _by_level(
    ax: Axes, fit: LMMResult, group: str, fitted: FloatArray, residuals: FloatArray
) -> None:
    """Residuals by the level of a grouping, with their means; equal points are set side by side."""
    reach = 0.04 * (float(np.ptp(fitted)) or 1.0)
    [grouping] = [g for g in fit.blocks.groupings if g.name == group]
    places = fitted + reach / 2 * ties(fitted, residuals)
    for place, level in enumerate(labels(fit.ranef()[group].index)):
        rows = grouping.codes == place
        style = look(place if grouping.n_levels <= len(MARKERS) else 0)
        ax.plot(places[rows], residuals[rows], linestyle="none", **style, label=level)
        middle = fitted[rows].mean()
        ax.hlines(residuals[rows].mean(), middle - reach, middle + reach, color="black")


def qq(
    values: ArrayLike,
    *,
    samples: ArrayLike | None = None,
    unit: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw sorted values, such as residuals or random effects, against normal quantiles.

    The line passes through both quartiles. In the grey band are 95% of `samples`, place by place.
    Random effects are shrunk and, in small groups, close to normal whatever the truth is: a
    straight line is weak evidence, an outlier is strong.

    Parameters
    ----------
    values : Series or array, shape (n,)
        Missing values are left out. With at most 30 values and an index of names, the outer points
        are labelled.
    samples : array, shape (nsim, n), optional
        Replicates of such values under the model, as from `LMMResult.simulate` and
        `LMMResult.refit`; by default independent normal values.
    unit, ax
        As in every figure.

    Examples
    --------
    >>> import mmlib as mm
    >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    >>> mm.plots.qq(fit.ranef()["operator"]["Intercept"]).get_xlabel()
    'normal quantile'
    """
    series = values if isinstance(values, pd.Series) else pd.Series(values)
    ordered = pd.Series(as_numbers("values", series), series.index).dropna().sort_values()
    n = len(ordered)
    if n < 2:
        raise DataError(f"a Q–Q plot needs at least two values; there are {n}.")
    shift = 3 / 8 if n <= 10 else 1 / 2  # as R's ppoints
    ranks = np.arange(1, n + 1)
    places = ndtri((ranks - shift) / (n + 1 - 2 * shift))
    low, high = np.quantile(ordered, [0.25, 0.75])
    middle, slope = (low + high) / 2, (high - low) / (2 * ndtri(0.75))
    if samples is None:
        chances = beta_distribution.ppf([[0.025], [0.975]], ranks, n + 1 - ranks)
        band = middle + slope * ndtri(chances)
    else:
        band = _band(samples, n)
    given, ax = ax, axes_for(ax)
    ax.fill_between(places, *band, color="0.85", linewidth=0, label="95% band, place by place")
    ax.plot(places, middle + slope * places, **REFERENCE, label="normal, through the quartiles")
    ax.plot(places, ordered, **dots(n))
    if n <= MANY and not is_numeric_dtype(ordered.index):
        for x, y, label in zip(places, ordered, labels(ordered.index), strict=True):
            if n <= 10 or abs(x) >= CROWDED:
                write_beside(ax, label, x, y, fontsize="x-small", va="top")
    legend_above(ax, given, ncols=2)
    ax.set(xlabel="normal quantile", ylabel=with_unit(str(series.name or "value"), unit))
    return ax


def _band(samples: ArrayLike, n: int) -> FloatArray:
    """Between what limits 95% of the samples are, at each place of their order."""
    drawn = as_numbers("samples", as_array("samples", samples))
    if drawn.ndim != 2 or drawn.shape[1] != n:
        raise DataError(f"samples must have a row of {n} values for each; not {drawn.shape}.")
    limits: FloatArray = np.quantile(np.sort(drawn, axis=1), [0.025, 0.975], axis=0)
    return limits
