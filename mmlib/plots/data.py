"""Pictures of data, before there is a model."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from pandas.api.types import is_numeric_dtype

from mmlib.arrays import FloatArray
from mmlib.design.checks import as_numbers, require_columns, require_frame
from mmlib.errors import DataError
from mmlib.plots.style import (
    LINES,
    MARKERS,
    REFERENCE,
    axes_for,
    labels,
    legend_above,
    look,
    name_columns,
    ties,
    with_unit,
    write_beside,
)


def group_means(
    data: pd.DataFrame,
    response: str,
    group: str,
    *,
    unit: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw every observation by group, with the mean of each group and the overall mean.

    Equal values of one group are set side by side.

    Parameters
    ----------
    data : DataFrame
    response, group : str
        Columns of `data`.
    unit, ax
        As in every figure.

    Examples
    --------
    >>> import mmlib as mm
    >>> ax = mm.plots.group_means(mm.load_dataset("pulp"), "bright", "operator")
    >>> ax.get_xlabel()
    'operator'
    """
    values, (codes, levels) = _response(data, response), _levels(data, group)
    given, ax = ax, axes_for(ax)
    beside = 0.07 * ties(codes, values)
    for place in range(len(levels)):
        of_level = codes == place
        style = look(place if len(levels) <= len(MARKERS) else 0)
        ax.plot(place + beside[of_level], values[of_level], linestyle="none", **style)
    means = [values[codes == place].mean() for place in range(len(levels))]
    places = np.arange(len(levels))
    ax.hlines(means, places - 0.3, places + 0.3, color="black", label=f"mean by {group}")
    ax.axhline(values.mean(), **REFERENCE, label="mean of all")
    name_columns(ax, levels)
    legend_above(ax, given, ncols=2)
    ax.set(xlabel=group, ylabel=with_unit(response, unit))
    return ax


def group_lines(
    data: pd.DataFrame,
    response: str,
    group: str,
    x: str,
    *,
    named: bool = True,
    mean: bool = True,
    unit: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a line for each group across `x`, and their mean: parallel where nothing interacts.

    Parameters
    ----------
    data : DataFrame
    response, group, x : str
        Columns of `data`; several rows of one group at one `x` are averaged. Numbers of `x` are
        drawn to scale, levels side by side.
    named : bool, default True
        Give each line its own marker and its name; more than seven are thin and grey in any case.
    mean : bool, default True
        Draw the mean of the lines.
    unit, ax
        As in every figure.

    Examples
    --------
    >>> import mmlib as mm
    >>> ax = mm.plots.group_lines(mm.load_dataset("penicillin"), "yield", "blend", "treat")
    >>> len(ax.get_lines())
    6
    """
    values = _response(data, response)
    (columns, across), (rows, groups) = _levels(data, x), _levels(data, group)
    cells = pd.Series(values).groupby([rows, columns]).mean().unstack()
    cells = cells.reindex(index=range(len(groups)), columns=range(len(across)))
    to_scale = is_numeric_dtype(across)
    places = across.to_numpy(dtype=float) if to_scale else np.arange(len(across), dtype=float)
    given, ax = ax, axes_for(ax)
    ends: dict[tuple[float, float], list[str]] = {}
    for place, (name, line) in enumerate(zip(labels(groups), cells.to_numpy(), strict=True)):
        if named and len(groups) <= len(MARKERS):
            size = 6 if len(across) <= 12 else 3.5
            stroke = LINES[place % len(LINES)]
            ax.plot(places, line, linestyle=stroke, linewidth=1.2, markersize=size, **look(place))
            last = int(np.flatnonzero(np.isfinite(line))[-1])
            ends.setdefault((places[last], line[last]), []).append(name)
        else:
            ax.plot(places, line, color="0.6", linestyle="-", linewidth=0.9)
    for end, names in ends.items():
        write_beside(ax, ", ".join(names), *end)
    if mean:
        ax.plot(places, cells.mean(), color="black", linestyle="-", linewidth=3, label="mean")
        legend_above(ax, given)
    if not to_scale:
        name_columns(ax, across)
    ax.set(xlabel=x, ylabel=with_unit(response, unit))
    return ax


def _response(data: pd.DataFrame, response: str) -> FloatArray:
    data = require_frame(data)
    require_columns(data, [response])
    values = as_numbers(f"column {response!r}", data[response])
    if np.isnan(values).any():
        raise DataError(f"column {response!r} has missing values; drop these rows first.")
    return values


def _levels(data: pd.DataFrame, name: str) -> tuple[np.ndarray, pd.Index]:
    """Code of each row and the levels that occur."""
    require_columns(data, [name])
    if data[name].isna().any():
        raise DataError(f"column {name!r} has missing values; drop these rows first.")
    column = pd.Categorical(data[name]).remove_unused_categories()
    return np.asarray(column.codes), column.categories
