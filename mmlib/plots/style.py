"""What all figures share: axes, colours, and how levels are named."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from mmlib.arrays import FloatArray
from mmlib.errors import DataError

# Okabe and Ito's colours: readers with any common colour vision can tell them apart.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
COLORS = (BLUE, ORANGE, GREEN, PURPLE, "#E69F00", "#56B4E9", "black")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
GREY = "0.45"
REFERENCE: dict[str, Any] = {"color": GREY, "linestyle": "--", "linewidth": 1}
"""The line of nothing: zero, or the mean of all."""

MANY = 30
"""More levels than this are not named one by one."""


def axes_for(ax: Axes | None, *, rows: int = 0) -> Axes:
    """The Axes to draw in: a new figure, taller for many rows, where none is given."""
    if ax is None:
        height = min(max(3.8, 1.9 + 0.16 * rows), 7.5)
        return plt.subplots(figsize=(6.4, height), layout="constrained")[1]
    if not isinstance(ax, Axes):
        raise DataError(f"ax must be a matplotlib Axes, not {type(ax).__name__}.")
    return ax


def legend_above(ax: Axes, given: Axes | None, **options: Any) -> None:
    """A legend where it hides no point, unless the Axes were given: then it is the caller's."""
    if given is None:
        place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0)}
        ax.legend(**place, frameon=False, borderaxespad=0.3, **options)


def look(place: int) -> dict[str, Any]:
    """Colour and marker of a level, by its place; the eighth looks like the first."""
    return {"marker": MARKERS[place % len(MARKERS)], "color": COLORS[place % len(COLORS)]}


def dots(n: int) -> dict[str, Any]:
    """Open circles, smaller where there are many."""
    size = float(np.clip(30 / np.sqrt(n), 2.0, 6.0))
    shape = {"linestyle": "none", "marker": "o", "markerfacecolor": "none", "markersize": size}
    return shape | {"color": BLUE}


def ties(x: ArrayLike, y: ArrayLike) -> FloatArray:
    """For each point how many before it are at the same place."""
    points = pd.DataFrame({"x": x, "y": y})
    return np.asarray(points.groupby(["x", "y"]).cumcount(), dtype=float)


def write_beside(ax: Axes, text: str, x: float, y: float, **options: Any) -> None:
    """Write a name to the right of a point."""
    place: dict[str, Any] = {"xytext": (6, 0), "textcoords": "offset points", "va": "center"}
    ax.annotate(text, (x, y), **place | options)


def with_unit(label: str, unit: str | None) -> str:
    """A label with its unit in brackets."""
    return label if unit is None else f"{label} ({unit})"


def effect_name(column: str, group: str) -> str:
    """A random effect as the formula writes it; an intercept goes by its grouping."""
    return group if column == "Intercept" else f"{column} | {group}"


def labels(index: pd.Index) -> list[str]:
    """Levels as text; those of a nested grouping as the formula joins them."""
    if isinstance(index, pd.MultiIndex):
        return [":".join(map(str, label)) for label in index]
    return [str(label) for label in index]


def name_columns(ax: Axes, levels: pd.Index) -> None:
    """Levels below the axis, upright where they would run into each other."""
    names = labels(levels)
    crowded = sum(len(name) + 1 for name in names) > 60
    ax.set_xticks(range(len(names)), names, rotation=90 if crowded else 0)


def name_rows(ax: Axes, levels: pd.Index) -> None:
    """Levels beside the axis, unless they are too many to be read."""
    names = labels(levels)
    if len(names) <= 2 * MANY:
        ax.set_yticks(range(len(names)), names, fontsize="small" if len(names) > 15 else None)
    else:
        ax.set_yticks([])
    ax.set_ylim(-0.7, len(names) - 0.3)
