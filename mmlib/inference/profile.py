"""Profile likelihood: how the objective rises as one parameter moves and the others adapt.

For a parameter φ, with d(φ) the ML objective minimised over everything else,

    ζ(φ) = sign(φ − φ̂) √(d(φ) − d_min),

and an interval is where |ζ| stays below the square root of the χ²₁ quantile. Each end is found as a
root, not by interpolation. (Bates et al. 2015, section 5.1; the boundary counts as an end where ζ
does not reach the quantile.)

What is minimised, with the parameter held, is in `mmlib.inference.profile_objective`.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.optimize import brentq

from mmlib.arrays import FloatArray
from mmlib.design.checks import (
    names_in,
    normal_quantile,
    require_count,
    require_estimated_sigma,
    require_fit,
    require_names,
)
from mmlib.engine.threads import single_threaded
from mmlib.errors import DataError
from mmlib.inference.parameters import Parameter, parameters
from mmlib.inference.profile_objective import ProfileObjective
from mmlib.results.estimates import Fit

ROOT_TOLERANCE = 1e-8
"""An end is found to this share of the interval that it is searched in."""

MAX_DOUBLINGS = 60


def profile(fit: Fit) -> Profile:
    """Profile the likelihood of a fit (always the ML one: a REML fit is refitted).

    Parameters
    ----------
    fit : LMMResult

    Returns
    -------
    Profile

    Examples
    --------
    >>> import mmlib as mm
    >>> fit = mm.lmm("Yield ~ 1 + (1 | Batch)", mm.load_dataset("dyestuff"))
    >>> mm.profile(fit).confint(parameters="sigma").round(4).to_numpy().tolist()
    [[38.2301, 67.6577]]
    """
    require_fit(fit)
    require_estimated_sigma(fit.design, "a profile")
    return Profile(fit.refit(reml=False) if fit.reml else fit)


@dataclass(frozen=True, eq=False, repr=False)
class Profile:
    """The profile likelihood of each parameter of a fit.

    Parameters are called ``sd_<column>|<group>``, ``cor_<column>.<column>|<group>``, ``sigma``,
    and by the names of the fixed effects.

    Attributes
    ----------
    fit : LMMResult
        The maximum-likelihood fit.
    """

    fit: Fit

    @cached_property
    def _curves(self) -> dict[str, _Curve]:
        return {parameter.name: _Curve(self.fit, parameter) for parameter in parameters(self.fit)}

    @property
    def parameters(self) -> list[str]:
        """Names of the parameters."""
        return list(self._curves)

    @property
    def estimates(self) -> pd.Series:
        """Maximum-likelihood estimates."""
        return pd.Series({name: curve.estimate for name, curve in self._curves.items()})

    def zeta(self, parameter: str, value: float) -> float:
        """Signed root ζ of the rise of the objective when a parameter is held.

        Parameters
        ----------
        parameter : str
            One of `parameters`.
        value : float
            Where it is held, in its own unit.

        Returns
        -------
        float
            Negative below the estimate.

        Raises
        ------
        DataError
            If there is no such parameter, or it cannot have this value.
        """
        curve = self._curve(parameter)
        try:
            possible = curve.lowest <= value <= curve.highest
        except TypeError:
            possible = False
        if not possible:
            raise DataError(
                f"{parameter} must lie between {curve.lowest:g} and {curve.highest:g}, "
                f"not at {value!r}."
            )
        with single_threaded():
            return curve.zeta(value)

    def confint(
        self, *, level: float = 0.95, parameters: str | Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Profile-likelihood intervals.

        Parameters
        ----------
        level : float
            Nominal coverage, between 0 and 1.
        parameters : str or sequence of str, optional
            By default all.

        Returns
        -------
        DataFrame
            Columns ``lower`` and ``upper``, a row for each parameter. An end on the boundary (a
            standard deviation of 0, a correlation of ±1) is the boundary itself.
        """
        reach = normal_quantile(level)
        names = self.parameters if parameters is None else names_in("parameters", parameters)
        with single_threaded():
            ends = {name: self._curve(name).interval(reach) for name in names}
        return pd.DataFrame.from_dict(ends, orient="index", columns=["lower", "upper"])

    def grid(self, parameter: str, *, level: float = 0.99, n: int = 25) -> pd.DataFrame:
        """ζ on a grid that spans the interval of the given level, for drawing.

        Parameters
        ----------
        parameter : str
            One of `parameters`.
        level : float
            Coverage of the interval that the grid spans, between 0 and 1.
        n : int
            Points of the grid.

        Returns
        -------
        DataFrame
            Columns ``value`` and ``zeta``, n rows.
        """
        curve, n = self._curve(parameter), require_count("n", n, least=2)
        with single_threaded():
            values = np.linspace(*curve.interval(normal_quantile(level)), n)
            zetas = [curve.zeta(value) for value in values]
        return pd.DataFrame({"value": values, "zeta": zetas})

    def _curve(self, parameter: str) -> _Curve:
        require_names("parameter", [parameter], self._curves, "parameter of the fit")
        return self._curves[parameter]

    def __repr__(self) -> str:
        return f"Profile of {self.fit.design.formula}: {', '.join(self.parameters)}"


class _Curve:
    """The profile of one parameter: ζ at any value, and where it reaches a height."""

    def __init__(self, fit: Fit, parameter: Parameter) -> None:
        self._fit, self.parameter = fit, parameter
        self.estimate = parameter.estimate
        self.lowest, self.highest = parameter.limits

    @cached_property
    def _held(self) -> ProfileObjective:
        return ProfileObjective(self._fit, [self.parameter])

    @cached_property
    def _known(self) -> dict[float, tuple[float, FloatArray]]:
        """Values with their ζ and the free numbers at which the others are at their best."""
        return {} if np.isnan(self.estimate) else {self.estimate: (0.0, self._held.start)}

    def zeta(self, value: float) -> float:
        if value not in self._known:
            point = self._held.minimum([value], self._start(value))
            root = np.sqrt(max(point.value - self._fit.objective, 0.0))
            self._known[value] = float(np.sign(value - self.estimate) * root), point.x
        return self._known[value][0]

    def _start(self, value: float) -> FloatArray | None:
        """Where to start the search: between what was found for the neighbours of `value`."""
        known = sorted(self._known)
        if not known:
            return None
        place = bisect(known, value)
        low, high = known[max(place - 1, 0)], known[min(place, len(known) - 1)]
        share = (value - low) / (high - low) if high > low else 0.0
        return (1 - share) * self._known[low][1] + share * self._known[high][1]

    def interval(self, reach: float) -> tuple[float, float]:
        if np.isnan(self.estimate):
            return self.lowest, self.highest
        return self._end(-1, reach), self._end(+1, reach)

    def _end(self, side: int, reach: float) -> float:
        """Where ζ reaches ±`reach`, or the limit of the parameter if it does not."""
        limit = self.lowest if side < 0 else self.highest
        near, far, step = self.estimate, self.estimate, side * reach * self._typical_step()
        for _ in range(MAX_DOUBLINGS):
            far = float(np.clip(self.estimate + step, self.lowest, self.highest))
            if side * self.zeta(far) >= reach:
                tolerance = ROOT_TOLERANCE * abs(far - near)
                return brentq(
                    lambda value: self.zeta(value) - side * reach, near, far, xtol=tolerance
                )
            if far == limit:
                break
            near, step = far, 2 * step
        return limit

    def _typical_step(self) -> float:
        """How far the parameter moves while the likelihood falls noticeably."""
        fit, place = self._fit, self.parameter.place
        if self.parameter.kind == "fixed":
            return float(np.sqrt(fit.vcov().to_numpy()[place[0], place[0]]))
        if np.isfinite(self.highest):
            return 0.1 * (self.highest - self.lowest)
        if self.estimate > 0:
            return 0.2 * self.estimate
        column = fit.design.terms[place[0]].model_matrix[:, place[1]]
        return 0.1 * fit.sigma / float(np.sqrt(np.mean(column**2)))
