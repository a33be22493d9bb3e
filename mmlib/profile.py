"""Profile likelihood: how the objective rises as one parameter moves and the others adapt.

For a parameter φ, with d(φ) the ML objective minimised over everything else,

    ζ(φ) = sign(φ − φ̂) √(d(φ) − d_min),

and an interval is where |ζ| stays below the square root of the χ²₁ quantile. Each end is found as a
root, not by interpolation. (Bates et al. 2015, section 5.1; the boundary counts as an end where ζ
does not reach the quantile.)

The Cholesky factor of a covariance matrix has the standard deviation of its first variable as its
first entry. So a standard deviation is held by putting its variable first, and a correlation by
putting its two variables first: no constraint is left to the optimiser.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import ndtri

from mmlib.blocks import Blocks
from mmlib.checks import did_you_mean
from mmlib.errors import DataError
from mmlib.objective import Objective
from mmlib.quasi_newton import Evaluate, Point, QuadraticModel, descend
from mmlib.terms import FloatArray, IntArray, RandomTerm, lower, lower_triangle, templates
from mmlib.threads import single_threaded

if TYPE_CHECKING:
    from mmlib.model import LMMResult

NUDGE = 0.02
"""A column of a factor that starts at zero would stay there: it starts at this share of σ̂."""

TOLERANCE = 1e-13
"""A search ends when a step promises less than this share of the objective."""

MAX_DOUBLINGS = 60


def profile(fit: LMMResult) -> Profile:
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
    >>> profile(fit).confint(parameters=["sigma"]).round(4).to_numpy().tolist()
    [[38.2301, 67.6577]]
    """
    fit = fit.refit(reml=False) if fit.reml else fit
    return Profile(fit)


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

    fit: LMMResult

    @cached_property
    def _curves(self) -> dict[str, _Curve]:
        return {curve.name: curve for curve in _curves(self.fit)}

    @property
    def parameters(self) -> list[str]:
        """Names of the parameters."""
        return list(self._curves)

    @property
    def estimates(self) -> pd.Series:
        """Maximum-likelihood estimates."""
        return pd.Series({name: curve.estimate for name, curve in self._curves.items()})

    def zeta(self, parameter: str, value: float) -> float:
        """Signed root ζ of the rise of the objective when `parameter` is held at `value`."""
        curve = self._curve(parameter)
        if not curve.lowest <= value <= curve.highest:
            raise DataError(
                f"{parameter} must lie between {curve.lowest:g} and {curve.highest:g}, "
                f"not at {value:g}."
            )
        with single_threaded():
            return curve.zeta(value)

    def confint(
        self, level: float = 0.95, *, parameters: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Profile-likelihood intervals.

        Parameters
        ----------
        level : float
            Coverage aimed at, between 0 and 1.
        parameters : sequence of str, optional
            By default all.

        Returns
        -------
        DataFrame
            Columns ``lower`` and ``upper``, a row for each parameter. An end on the boundary (a
            standard deviation of 0, a correlation of ±1) is the boundary itself.
        """
        reach = normal_quantile(level)
        names = self.parameters if parameters is None else list(parameters)
        with single_threaded():
            ends = {name: self._curve(name).interval(reach) for name in names}
        return pd.DataFrame.from_dict(ends, orient="index", columns=["lower", "upper"])

    def grid(self, parameter: str, *, n: int = 25, level: float = 0.99) -> pd.DataFrame:
        """ζ on a grid that spans the interval of the given level, for drawing.

        Returns
        -------
        DataFrame
            Columns ``value`` and ``zeta``, n rows.
        """
        curve = self._curve(parameter)
        with single_threaded():
            values = np.linspace(*curve.interval(normal_quantile(level)), n)
            zetas = [curve.zeta(value) for value in values]
        return pd.DataFrame({"value": values, "zeta": zetas})

    def _curve(self, parameter: str) -> _Curve:
        if parameter not in self._curves:
            raise DataError(
                f"there is no parameter {parameter!r}.{did_you_mean(parameter, self._curves)} "
                f"The parameters are {', '.join(self._curves)}."
            )
        return self._curves[parameter]

    def __repr__(self) -> str:
        return f"Profile of {self.fit.design.formula}: {', '.join(self.parameters)}"


def normal_quantile(level: float) -> float:
    """The z with P(|Z| ≤ z) = `level`."""
    check_level(level)
    return float(ndtri((1 + level) / 2))


def check_level(level: object) -> None:
    """Check that `level` can be the coverage of an interval.

    Raises
    ------
    DataError
        If it is not a number between 0 and 1.
    """
    if not isinstance(level, int | float | np.floating) or not 0 < level < 1:
        raise DataError(f"level must be between 0 and 1, not {level!r}.")


@dataclass(eq=False)
class _Curve:
    """One parameter: its estimate, its range, a typical step, and the objective when it is held."""

    name: str
    estimate: float
    lowest: float
    highest: float
    step: float
    minimum: float
    held: Callable[[float], float]
    known: dict[float, float] = field(default_factory=dict)

    def zeta(self, value: float) -> float:
        if value not in self.known:
            rise = 0.0 if value == self.estimate else self.held(value) - self.minimum
            self.known[value] = float(np.sign(value - self.estimate) * np.sqrt(max(rise, 0.0)))
        return self.known[value]

    def interval(self, reach: float) -> tuple[float, float]:
        if np.isnan(self.estimate):
            return self.lowest, self.highest
        return self._end(-1, reach), self._end(+1, reach)

    def _end(self, side: int, reach: float) -> float:
        """Where ζ reaches ±`reach`, or the limit of the parameter if it does not."""
        limit = self.lowest if side < 0 else self.highest
        near, far = self.estimate, self.estimate
        for doubling in range(MAX_DOUBLINGS):
            far = self.estimate + side * self.step * reach * 2.0**doubling
            far = max(far, limit) if side < 0 else min(far, limit)
            if side * self.zeta(far) >= reach:
                tolerance = 1e-9 * (abs(far) + abs(near))
                return brentq(
                    lambda value: self.zeta(value) - side * reach, near, far, xtol=tolerance
                )
            if far == limit:
                return limit
            near = far
        return limit


def _curves(fit: LMMResult) -> list[_Curve]:
    """A curve for each standard deviation, correlation, σ and fixed effect."""
    search = _Search(fit, Objective(fit.blocks, reml=False))
    minimum = fit.objective
    curves = []
    for number, term in enumerate(fit.varcorr().terms):
        layout = search.layouts[number]
        for i, name in enumerate(term.columns):
            held = search.holding(number, partial(layout.hold_sd, i, fit.sigma))
            sd = float(term.sd[i])
            step = 0.25 * sd or 0.1 * fit.sigma / layout.scales[i]
            curves.append(_Curve(f"sd_{name}|{term.group}", sd, 0.0, np.inf, step, minimum, held))
            for j in range(i):
                held = search.holding(number, partial(layout.hold_cor, j, i))
                label = f"cor_{name}.{term.columns[j]}|{term.group}"
                r = float(term.correlation[i, j])
                curves.append(_Curve(label, r, -1.0, 1.0, 0.2, minimum, held))
    step = 0.1 * fit.sigma
    curves.append(_Curve("sigma", fit.sigma, 0.0, np.inf, step, minimum, search.holding_sigma()))
    errors = fit.coef_table()["Std. Error"].to_numpy()
    for j, name in enumerate(fit.design.fixed_names):
        held = _holding_fixed_effect(fit, j)
        beta, error = float(fit.beta[j]), float(errors[j])
        curves.append(_Curve(name, beta, -np.inf, np.inf, error, minimum, held))
    return curves


def _holding_fixed_effect(fit: LMMResult, j: int) -> Callable[[float], float]:
    """The objective with β_j held: x_j β_j moves to the offset."""
    design = fit.design
    names = design.fixed_names[:j] + design.fixed_names[j + 1 :]
    others = dataclasses.replace(design, X=np.delete(design.X, j, axis=1), fixed_names=names)
    blocks = Blocks(others)
    search, memory = _Search(fit, Objective(blocks, reml=False)), _Memory()

    def held(value: float) -> float:
        search.objective = Objective(
            blocks.with_response(design.y - value * design.X[:, j]), reml=False
        )
        return search.minimum(search.layouts, memory)

    return held


@dataclass(frozen=True, eq=False)
class _Layout:
    """Lower-triangular entries of one term's factor σλ/σ̂, as an affine function of free numbers.

    The factor C is for the variables in `order`, each divided by its root mean square `scales`;
    its entries, column by column, are ``basis @ free + fixed``, where `basis` has orthonormal
    columns. The first `n_lengths` free numbers stand for lengths: their signs do not count.
    """

    order: IntArray
    scales: FloatArray
    basis: FloatArray
    fixed: FloatArray
    n_lengths: int = 0

    @classmethod
    def unconstrained(cls, scales: FloatArray) -> _Layout:
        size = len(scales)
        n_entries = size * (size + 1) // 2
        return cls(np.arange(size), scales, np.eye(n_entries), np.zeros(n_entries))

    def hold_sd(self, i: int, unit: float, value: float) -> _Layout:
        """Variable i first: its standard deviation is the first entry."""
        fixed = np.zeros_like(self.fixed)
        fixed[0] = value / unit * self.scales[i]
        return dataclasses.replace(
            self, order=_first(len(self.scales), i), basis=np.eye(len(fixed))[:, 1:], fixed=fixed
        )

    def hold_cor(self, j: int, i: int, value: float) -> _Layout:
        """Variables j, i first: the second row is a free length times (ρ, √(1 − ρ²)).

        A negative length of either row would turn ρ into −ρ.
        """
        size = len(self.scales)
        basis = np.eye(len(self.fixed))
        basis[1, 1], basis[size, 1] = value, np.sqrt(1 - value**2)
        return dataclasses.replace(
            self, order=_first(size, j, i), basis=np.delete(basis, size, axis=1), n_lengths=2
        )

    def factor(self, free: FloatArray) -> FloatArray:
        """The factor for the variables in the term's own order and units."""
        ordered = np.zeros((len(self.order), len(self.order)))
        ordered[lower_triangle(len(self.order))] = self.basis @ free + self.fixed
        factor = np.empty_like(ordered)
        factor[self.order] = ordered
        return factor / self.scales[:, None]

    def pull_back(self, slope: FloatArray) -> FloatArray:
        """Derivative in the free numbers, from that in the factor."""
        ordered = (slope / self.scales[:, None])[self.order]
        return self.basis.T @ ordered[lower_triangle(len(self.order))]

    def start(self, factor: FloatArray) -> FloatArray:
        """Free numbers near a given factor."""
        ordered = lower((self.scales[:, None] * factor)[self.order])
        free = self.basis.T @ (ordered[lower_triangle(len(ordered))] - self.fixed)
        free[: self.n_lengths] = np.linalg.norm(ordered[: self.n_lengths], axis=1)
        return free

    def nudged(self, free: FloatArray) -> FloatArray:
        """The same numbers with no column at zero, where the search could not move it."""
        entries = self.basis @ free + self.fixed
        rows, columns = lower_triangle(len(self.order))
        small = (rows == columns) & (np.abs(entries) < NUDGE)
        return (
            self.basis.T @ (np.where(small, NUDGE, entries) - self.fixed) if small.any() else free
        )


def _first(size: int, *leaders: int) -> IntArray:
    """All positions, the leaders first."""
    return np.array([*leaders, *(k for k in range(size) if k not in leaders)], dtype=np.intp)


class _Search:
    """Minimise the objective over the factors σλ and σ, some of it held; σ̂ is the unit."""

    def __init__(self, fit: LMMResult, objective: Objective) -> None:
        self.objective = objective
        self.terms = fit.design.terms
        self.unit = fit.sigma
        self.layouts = [_Layout.unconstrained(_root_mean_squares(term)) for term in self.terms]
        self.factors = templates(self.terms, fit.theta)

    def holding(self, number: int, hold: Callable[[float], _Layout]) -> Callable[[float], float]:
        """The objective as a function of one value, which `hold` fixes in a term's layout."""
        memory = _Memory()

        def held(value: float) -> float:
            layouts = list(self.layouts)
            layouts[number] = hold(value)
            return self.minimum(layouts, memory)

        return held

    def holding_sigma(self) -> Callable[[float], float]:
        """The objective as a function of σ."""
        memory = _Memory()

        def held(value: float) -> float:
            sigma = value / self.unit
            return self.minimum(self.layouts, memory, sigma=sigma) if sigma > 0 else np.inf

        return held

    def minimum(
        self, layouts: Sequence[_Layout], memory: _Memory, *, sigma: float | None = None
    ) -> float:
        """The smallest objective that the layouts allow, at a given σ or over all."""
        sizes = [layout.basis.shape[1] for layout in layouts]
        ends = np.cumsum(sizes, dtype=int)
        is_length = np.zeros(sum(sizes) + (sigma is None), dtype=bool)
        for end, size, layout in zip(ends, sizes, layouts, strict=True):
            is_length[end - size : end - size + layout.n_lengths] = True

        def at(x: FloatArray) -> Point:
            sign = np.where(is_length & (x < 0), -1.0, 1.0)
            *frees, rest = np.split(sign * x, ends)
            s = float(np.exp(rest[0])) if sigma is None else sigma
            lambdas = [layout.factor(free) / s for layout, free in zip(layouts, frees, strict=True)]
            value, slopes, in_log_sigma = self._evaluate(lambdas, s * self.unit)
            gradient = [
                layout.pull_back(slope) / s for layout, slope in zip(layouts, slopes, strict=True)
            ]
            if sigma is None:
                through_lambda = sum(
                    float(np.sum(slope * lam)) for slope, lam in zip(slopes, lambdas, strict=True)
                )
                gradient.append(np.array([in_log_sigma - through_lambda]))
            return Point(x, value, sign * np.concatenate([np.zeros(0), *gradient]))

        def nudged(x: FloatArray) -> FloatArray:
            *frees, rest = np.split(np.where(is_length, np.abs(x), x), ends)
            moved = [layout.nudged(free) for layout, free in zip(layouts, frees, strict=True)]
            return np.concatenate([*moved, rest])

        starts = [
            layout.start(factor) for layout, factor in zip(layouts, self.factors, strict=True)
        ]
        point = at(nudged(np.concatenate([*starts, np.zeros(0 if sigma is not None else 1)])))
        if memory.x is not None:
            last = at(nudged(memory.x))
            if last.value <= point.value:
                point = last
            else:
                memory.forget()
        value = memory.minimum(at, point)
        if memory.x is not None and (np.abs(memory.x[is_length]) < NUDGE).any():
            # A false valley, which a held correlation makes where a standard deviation is zero.
            memory.forget()
        return value

    def _evaluate(
        self, lambdas: list[FloatArray], sigma: float
    ) -> tuple[float, list[FloatArray], float]:
        """The objective, its slope in each term's template, and in log σ at fixed templates."""
        by_term = dict(zip(self.terms, lambdas, strict=True))
        value, slope_of, in_log_sigma = self.objective.at_terms_and_sigma(by_term, sigma)
        return value, [slope_of[term] for term in self.terms], in_log_sigma


class _Memory:
    """Where the last of several like minimisations ended, and what it knew of the curvature."""

    def __init__(self) -> None:
        self.x: FloatArray | None = None
        self._model: QuadraticModel | None = None

    def forget(self) -> None:
        self.x = self._model = None

    def minimum(self, at: Evaluate, point: Point) -> float:
        if len(point.x):
            model = self._model or QuadraticModel.by_differences(at, point)
            point, self._model = descend(at, point, model, tolerance=TOLERANCE)
            self.x = point.x
        return point.value


def _root_mean_squares(term: RandomTerm) -> FloatArray:
    return np.sqrt(np.mean(term.model_matrix**2, axis=0))
