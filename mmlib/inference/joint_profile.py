"""Profile likelihood of two parameters at once: where both could be, the others adapting.

With d(φ, ψ) the ML objective minimised over everything but φ and ψ, the joint region of level 1 − α
is where d rises by less than the χ²₂ quantile. It is computed on a grid, not interpolated from
one-parameter profiles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import chdtr

from mmlib.arrays import FloatArray
from mmlib.design.checks import check_level, require_count
from mmlib.engine.threads import single_threaded
from mmlib.errors import DataError
from mmlib.frozen import Frozen
from mmlib.inference.profile import Profile, profile
from mmlib.inference.profile_objective import ProfileObjective
from mmlib.results.estimates import Fit


@dataclass(frozen=True, eq=False)
class JointProfile(Frozen):
    """How much the ML objective rises when two parameters are held.

    Attributes
    ----------
    parameters : tuple of two str
        As `Profile.parameters` has them.
    x, y : ndarray, shape (n,)
        Values of the first and of the second parameter.
    rise : ndarray, shape (n, n)
        The objective above its minimum; a row for each value of `y`.
    estimate : tuple of two float
        The maximum-likelihood estimates.
    """

    parameters: tuple[str, str]
    x: FloatArray
    y: FloatArray
    rise: FloatArray
    estimate: tuple[float, float]


def joint_profile(
    fit: Fit | Profile, first: str, second: str, *, level: float = 0.95, n: int = 21
) -> JointProfile:
    """Profile two parameters of a fit together (always by ML).

    Parameters
    ----------
    fit : LMMResult or Profile
    first, second : str
        Names of parameters, as `Profile.parameters` lists them.
    level : float
        The grid reaches as far as the joint region of this level.
    n : int
        Points in each direction; the cost is that of n² fits.

    Returns
    -------
    JointProfile

    Raises
    ------
    DataError
        If a parameter is unknown, the two are the same, or `n` is too small.

    Examples
    --------
    >>> import mmlib as mm
    >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    >>> joint = mm.joint_profile(fit, "sigma", "Intercept", n=5)
    >>> joint.rise.shape
    (5, 5)
    """
    check_level(level)
    n = require_count("n", n, least=3)
    profiled = fit if isinstance(fit, Profile) else profile(fit)
    if first == second:
        raise DataError(f"two different parameters are needed, not {first!r} twice.")
    one, other = (profiled._curve(name).parameter for name in (first, second))
    held = ProfileObjective(profiled.fit, [one, other])
    # The shadow of the joint region on either axis is the interval of one parameter at this level.
    shadow = float(chdtr(1, joint_quantile(level)))
    ends = profiled.confint(level=shadow, parameters=[first, second]).to_numpy()
    x, y = (np.linspace(low, high, n) for low, high in ends)
    with single_threaded():
        rise = _on_grid(held, x, y) - profiled.fit.objective
    estimates = one.estimate, other.estimate
    return JointProfile((first, second), x, y, np.maximum(rise, 0.0), estimates)


def _on_grid(held: ProfileObjective, x: FloatArray, y: FloatArray) -> FloatArray:
    """The objective at each pair of values, a row for each of `y`."""
    values, start = np.empty((len(y), len(x))), None
    for i, second in enumerate(y):
        # Back and forth, so that each search starts where a neighbour ended.
        for j in range(len(x))[:: -1 if i % 2 else 1]:
            point = held.minimum([float(x[j]), float(second)], start)
            values[i, j], start = point.value, point.x
    return values


def joint_quantile(level: float) -> float:
    """The χ²₂ quantile of `level`, −2 log(1 − level)."""
    return float(-2 * np.log1p(-level))
