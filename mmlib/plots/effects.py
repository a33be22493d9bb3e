"""Pictures of random effects."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from mmlib.design.checks import normal_quantile, require_fit, require_names
from mmlib.errors import DataError
from mmlib.model import LMMResult
from mmlib.plots.style import (
    BLUE,
    GREY,
    MANY,
    ORANGE,
    REFERENCE,
    axes_for,
    effect_name,
    legend_above,
    name_rows,
    with_unit,
)


def shrinkage(
    fit: LMMResult,
    group: str | None = None,
    *,
    column: str | None = None,
    unit: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw how each level's own estimate is shrunk to its predicted random effect.

    Parameters
    ----------
    fit : LMMResult
    group, column : str, optional
        A grouping and one of its columns; by default the only grouping, and its first column.
    unit, ax
        As in every figure.

    Examples
    --------
    >>> import mmlib as mm
    >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    >>> mm.plots.shrinkage(fit).get_ylabel()
    'operator'
    """
    modes, column, group = _sorted_modes(fit, group, column)
    own = fit.unpooled()[group][column].loc[modes.index]
    given, ax = ax, axes_for(ax, rows=len(modes))
    places = np.arange(len(modes))
    ax.axvline(0.0, **REFERENCE)
    ax.hlines(places, own, modes, color=GREY, linewidth=1, zorder=1)
    ax.plot(own, places, "o", color=ORANGE, markerfacecolor="white", label="from its own rows")
    ax.plot(modes, places, "s", color=BLUE, label="predicted (BLUP)")
    _name_axes(ax, modes, column, group, unit)
    legend_above(ax, given, ncols=2)
    return ax


def caterpillar(
    fit: LMMResult,
    group: str | None = None,
    *,
    column: str | None = None,
    level: float = 0.95,
    unit: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the predicted random effects in order, each with two intervals.

    The thick one uses the conditional standard deviation, which takes β as known (as in lme4); the
    thin one uses the prediction-error standard deviation, which includes the error of β̂.

    Parameters
    ----------
    fit : LMMResult
    group, column : str, optional
        A grouping and one of its columns; by default the only grouping, and its first column.
    level : float
        Nominal coverage, between 0 and 1.
    unit, ax
        As in every figure.

    Examples
    --------
    >>> import mmlib as mm
    >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    >>> mm.plots.caterpillar(fit).get_legend().get_texts()[0].get_text()
    '± 1.96 conditional SD (β known)'
    """
    reach = normal_quantile(level)
    modes, column, group = _sorted_modes(fit, group, column)
    few = len(modes) <= MANY
    kinds = [
        ("conditional SD (β known)", fit.cond_sd(), BLUE, 5 if few else 2.5),
        ("prediction-error SD (β estimated)", fit.prediction_error_sd(), "black", 1.2),
    ]
    given, ax = ax, axes_for(ax, rows=len(modes))
    places = np.arange(len(modes))
    ax.axvline(0.0, **REFERENCE)
    for name, deviations, color, width in kinds:
        half = reach * deviations[group][column].loc[modes.index]
        label = f"± {reach:.3g} {name}"
        ax.hlines(places, modes - half, modes + half, color=color, linewidth=width, label=label)
    size = 8 if few else 4
    ax.plot(modes, places, "o", color="white", markeredgecolor="black", markersize=size)
    _name_axes(ax, modes, column, group, unit)
    legend_above(ax, given)
    return ax


def _sorted_modes(
    fit: LMMResult, group: str | None, column: str | None
) -> tuple[pd.Series, str, str]:
    """The conditional modes of one column in order, its name and that of its grouping."""
    group = grouping_name(fit, group)
    modes = fit.ranef()[group]
    column = str(modes.columns[0]) if column is None else column
    if column not in [*modes.columns]:
        raise DataError(
            f"grouping {group!r} has no random effect {column!r}; it has "
            f"{', '.join(modes.columns)}."
        )
    return modes[column].sort_values(kind="stable"), column, group


def _name_axes(ax: Axes, modes: pd.Series, column: str, group: str, unit: str | None) -> None:
    name_rows(ax, modes.index)
    ax.set(xlabel=with_unit(f"effect of {effect_name(column, group)}", unit), ylabel=group)


def grouping_name(fit: LMMResult, group: str | None) -> str:
    """The name of a grouping, checked; without a name, that of the only one.

    Raises
    ------
    DataError
        If there is none, or more than one to choose from.
    """
    require_fit(fit)
    known = list(fit.ranef())
    if group is None:
        if len(known) != 1:
            names = ", ".join(known) or "none"
            raise DataError(f"choose a grouping with group=; the fit has {names}.")
        return known[0]
    require_names("group", [group], known, "grouping of the fit")
    return group
