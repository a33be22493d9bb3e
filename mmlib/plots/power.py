"""Power along a grid of designs and effects."""

from __future__ import annotations

from matplotlib.axes import Axes

from mmlib.errors import DataError
from mmlib.inference.power import PowerResult
from mmlib.plots.style import axes_for, look


def power(result: PowerResult, *, ax: Axes | None = None) -> Axes:
    """Draw the power along a grid, with bars of ± 2 Monte Carlo errors; the exact one beside it.

    What `PowerResult.plot` draws. The first name of the grid is on the axis, and each combination
    of the others has a line of its own.

    Parameters
    ----------
    result : PowerResult
    ax
        As in every figure.

    Examples
    --------
    >>> import mmlib as mm
    >>> from mmlib.plots.power import power
    >>> fit = mm.lmm("Reaction ~ Days + (Days | Subject)", mm.load_dataset("sleepstudy"))
    >>> result = mm.power(fit, "Days", effect=5, along={"n_subjects": [8, 16]}, nsim=50, rng=1)
    >>> power(result).get_ylabel()
    'power at level 0.05'
    """
    if not result.names:
        raise DataError("there is one point only; pass along= to see how the power changes.")
    ax = axes_for(ax)
    frame = result.to_frame()
    x, *others = result.names
    parts = frame.groupby(others, sort=False) if others else [((), frame)]
    for place, (values, part) in enumerate(parts):
        label = ", ".join(f"{n} = {v:g}" for n, v in zip(others, values, strict=True))
        label = label or "simulated (± 2 Monte Carlo errors)"
        bars = 2 * part["mcse"]
        ax.errorbar(part[x], part["power"], yerr=bars, capsize=3, label=label, **look(place))
    if not others and frame["exact"].notna().any():
        ax.plot(frame[x], frame["exact"], linestyle="--", color="black", label="exact")
    ax.set(xlabel=x, ylabel=f"power at level {result.alpha:g}", ylim=(0, 1.02))
    ax.legend(frameon=False)
    return ax
