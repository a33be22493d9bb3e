"""Marginal means, slopes and contrasts with their intervals."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from mmlib.inference.linear_functions import LinearFunctions
from mmlib.plots.style import BLUE, axes_for, with_unit


def linear_functions(
    functions: LinearFunctions, *, unit: str | None = None, ax: Axes | None = None
) -> Axes:
    """Draw estimates with their intervals, one line for each, families apart.

    What `LinearFunctions.plot` draws. The first row of the table is on top; contrasts stand beside
    a line at zero, ratios beside one at 1.

    Parameters
    ----------
    functions : LinearFunctions
    unit, ax
        As in every figure.

    Examples
    --------
    >>> import mmlib as mm
    >>> from mmlib.plots.means import linear_functions
    >>> fit = mm.lmm("yield ~ treat + (1 | blend)", mm.load_dataset("penicillin"))
    >>> ax = linear_functions(mm.emmeans(fit, "treat").contrasts(), unit="g")
    >>> ax.get_xlabel()
    'contrast of yield (g), with 95% intervals'
    """
    frame = functions.to_frame()
    ax = axes_for(ax, rows=len(frame))
    value = frame["estimate" if functions.kind == "contrast" else "mean"].to_numpy()
    places, ticks = _places(functions)
    reach = np.vstack([value - frame["lower"], frame["upper"] - value])
    ax.errorbar(value, places, xerr=reach, fmt="o", color=BLUE, capsize=3, zorder=3)
    if functions.kind == "contrast":
        ax.axvline(0.0 if functions.scale is None else 1.0, color="black", linewidth=0.8, zorder=1)
    ax.set_yticks(places, ticks)
    ax.invert_yaxis()
    ax.grid(axis="x", color="0.9", zorder=0)
    ax.set_xlabel(
        f"{_what(functions, unit)}, with {100 * functions.level:g}% intervals"
        + (f" ({functions.adjust})" if functions.adjust in ("holm", "bh") else "")
    )
    return ax


def _what(functions: LinearFunctions, unit: str | None) -> str:
    scale = functions.scale
    response = functions.fit.design.formula.response if scale is None else scale.response
    kind = "ratio" if functions.kind == "contrast" and scale is not None else functions.kind
    return with_unit(f"{kind} of {response}", None if kind in ("ratio", "slope") else unit)


def _places(functions: LinearFunctions) -> tuple[np.ndarray, list[str]]:
    """Where each row stands, with a gap between families, and what is written there."""
    places = np.arange(len(functions.L), dtype=float)
    texts = [""] * len(places)
    for gap, (_, rows) in enumerate(functions.families()):
        places[rows] = rows + gap
        for row in rows:
            texts[row] = functions.name(int(row))
    return places, texts
