"""Pictures of data, of a fit and of its inference, in matplotlib.

Every function draws into the `ax` it is given, or into a new figure, and returns the `Axes`; in a
figure of its own it adds a legend. None changes a setting of matplotlib. What colours tell apart,
markers, widths or line styles tell apart too. `unit` is the unit of what is drawn, for its axis:
``unit="ms"``. What cannot be drawn is refused with a `DataError`, before there is a figure.
"""

from mmlib.plots.data import group_lines, group_means
from mmlib.plots.diagnostics import qq, residuals_vs_fitted
from mmlib.plots.effects import caterpillar, shrinkage
from mmlib.plots.likelihood import (
    joint_regions,
    likelihood_surface,
    null_distribution,
    profile_zeta,
)

__all__ = [
    "caterpillar",
    "group_lines",
    "group_means",
    "joint_regions",
    "likelihood_surface",
    "null_distribution",
    "profile_zeta",
    "qq",
    "residuals_vs_fitted",
    "shrinkage",
]


def __dir__() -> list[str]:
    """The public names, and nothing else."""
    return __all__
