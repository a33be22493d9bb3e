"""Profile likelihood of two parameters at once: where both could be, the others adapting.

With d(φ, ψ) the ML objective minimised over everything but φ and ψ, the joint region of level 1 − α
is where d rises by less than the χ²₂ quantile. It is computed on a grid, not interpolated from
one-parameter profiles.

Standard deviations, σ and the correlations of one variable with others are coordinates of a
covariance matrix, completed by partial correlations; so holding two leaves the others free.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import OptimizeResult, minimize
from scipy.special import chdtr

from mmlib.blocks import Blocks
from mmlib.checks import did_you_mean
from mmlib.errors import DataError
from mmlib.objective import Objective
from mmlib.profile import Profile, check_level, profile
from mmlib.terms import FloatArray, RandomTerm
from mmlib.threads import single_threaded
from mmlib.varcorr import TermCovariance

if TYPE_CHECKING:
    from mmlib.model import LMMResult

STEP = 1e-6
"""Of the central differences of a small smooth map, good to 1e-10."""

NUDGE = 0.02
"""A standard deviation that starts at zero would stay there: it starts at this share of σ."""

LARGEST = 1 - 1e-9
"""Correlations are kept this far inside ±1, where the map to a factor has no slope."""


@dataclass(frozen=True, eq=False)
class JointProfile:
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
    fit: LMMResult | Profile, first: str, second: str, *, level: float = 0.95, n: int = 21
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
    >>> from mmlib.joint_profile import joint_profile
    >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    >>> joint = joint_profile(fit, "sigma", "Intercept", n=5)
    >>> joint.rise.shape
    (5, 5)
    """
    check_level(level)
    if not isinstance(n, (int, np.integer)) or n < 3:
        raise DataError(f"n must be a whole number of at least 3, not {n!r}.")
    profiled = fit if isinstance(fit, Profile) else profile(fit)
    if first == second:
        raise DataError(f"two different parameters are needed, not {first!r} twice.")
    for name in (first, second):
        if name not in profiled.parameters:
            raise DataError(
                f"there is no parameter {name!r}.{did_you_mean(name, profiled.parameters)} "
                f"The parameters are {', '.join(profiled.parameters)}."
            )
    search = _Search(profiled.fit, (first, second))
    # The shadow of the joint region on either axis is the interval of one parameter at this level.
    shadow = float(chdtr(1, joint_quantile(level)))
    ends = profiled.confint(shadow, parameters=[first, second]).to_numpy()
    x, y = (np.linspace(low, high, n) for low, high in ends)
    with single_threaded():
        rise = search.grid(x, y) - profiled.fit.objective
    estimates = profiled.estimates
    return JointProfile(
        (first, second),
        x,
        y,
        np.maximum(rise, 0.0),
        (float(estimates[first]), float(estimates[second])),
    )


def joint_quantile(level: float) -> float:
    """The χ²₂ quantile of `level`, −2 log(1 − level)."""
    return float(-2 * np.log1p(-level))


class _Coordinates:
    """Standard deviations and partial correlations of one term, some of them held.

    The order of the variables makes the held correlations plain ones: those with the first.
    """

    def __init__(
        self, term: RandomTerm, estimate: TermCovariance, held: dict[tuple[int, int], int]
    ) -> None:
        size = term.width
        pairs = [pair for pair in held if pair[0] != pair[1]]
        shared = set(range(size)).intersection(*pairs)
        if not shared:
            raise DataError(
                f"two correlations of {term.part} that share no variable cannot be held together; "
                "choose two that share one."
            )
        leader = min(shared)
        self.order = np.array([leader, *(k for k in range(size) if k != leader)], dtype=np.intp)
        self.rows, self.columns = np.tril_indices(size, -1)
        self.scales = np.sqrt(np.mean(term.model_matrix**2, axis=0))[self.order]
        names = [(int(k), int(k)) for k in self.order]
        names += [
            (int(max(pair)), int(min(pair)))
            for pair in zip(self.order[self.rows], self.order[self.columns], strict=True)
        ]
        self.held = {names.index(pair): source for pair, source in held.items()}
        self.free = np.array([k for k in range(len(names)) if k not in self.held], dtype=np.intp)
        self.start = self._of(estimate)

    def _of(self, estimate: TermCovariance) -> FloatArray:
        """Coordinates of the estimate: scaled standard deviations, then hyperbolic arctangents."""
        size = len(self.order)
        correlation = np.nan_to_num(estimate.correlation[np.ix_(self.order, self.order)])
        np.fill_diagonal(correlation, 1.0)
        triangle = np.linalg.cholesky(0.999 * correlation + 0.001 * np.eye(size))
        left = 1 - np.cumsum(triangle**2, axis=1) + triangle**2
        lower = self.rows, self.columns
        sd = estimate.sd[self.order] * self.scales
        return np.concatenate([sd, np.arctanh(triangle[lower] / np.sqrt(left[lower]))])

    def fill(self, free: FloatArray, values: tuple[float, float]) -> FloatArray:
        """All coordinates, from the free ones and the held values in natural units."""
        full = np.empty(len(self.free) + len(self.held))
        full[self.free] = free
        size = len(self.order)
        for k, source in self.held.items():
            value = values[source]
            is_sd = k < size
            full[k] = (
                value * self.scales[k] if is_sd else np.arctanh(np.clip(value, -LARGEST, LARGEST))
            )
        return full

    def factor(self, coordinates: FloatArray) -> FloatArray:
        """A matrix F with FFᵀ the covariance, in the term's own order and units."""
        size = len(self.order)
        triangle = np.zeros((size, size))
        triangle[self.rows, self.columns] = np.tanh(coordinates[size:])
        for row in range(size):
            left = 1.0
            for column in range(row):
                triangle[row, column] *= np.sqrt(left)
                left -= triangle[row, column] ** 2
            triangle[row, row] = np.sqrt(max(left, 0.0))
        factor = np.empty_like(triangle)
        factor[self.order] = (coordinates[:size] / self.scales)[:, None] * triangle
        return factor

    def pull_back(self, coordinates: FloatArray, slope: FloatArray) -> FloatArray:
        """Derivative in the free coordinates, from that in the factor."""
        moves = STEP * np.eye(len(coordinates))[self.free]
        return np.array(
            [
                np.sum(slope * (self.factor(coordinates + h) - self.factor(coordinates - h)))
                for h in moves
            ]
        ) / (2 * STEP)


class _Search:
    """Minimise the ML objective with two parameters held."""

    def __init__(self, fit: LMMResult, parameters: tuple[str, str]) -> None:
        design = fit.design
        self.design, self.terms = design, design.terms
        self.sigma_source: int | None = None
        self.fixed: list[tuple[int, int]] = []
        held: list[dict[tuple[int, int], int]] = [{} for _ in self.terms]
        for source, name in enumerate(parameters):
            if name == "sigma":
                self.sigma_source = source
            elif name in design.fixed_names:
                self.fixed.append((design.fixed_names.index(name), source))
            else:
                number, pair = _locate(self.terms, name)
                held[number][pair] = source
        columns = [column for column, _ in self.fixed]
        names = tuple(np.delete(np.array(design.fixed_names, dtype=object), columns))
        self.blocks = Blocks(
            dataclasses.replace(design, X=np.delete(design.X, columns, axis=1), fixed_names=names)
        )
        self.coordinates = [
            _Coordinates(term, estimate, pairs)
            for term, estimate, pairs in zip(self.terms, fit.varcorr().terms, held, strict=True)
        ]
        self.smallest = NUDGE * fit.sigma
        starts = [c.start[c.free] for c in self.coordinates]
        self.ends = np.cumsum([len(start) for start in starts], dtype=int)
        free_sigma = [] if self.sigma_source is not None else [float(np.log(fit.sigma))]
        self.estimate = np.concatenate([*starts, free_sigma])
        self.x = self.estimate
        self.is_sd = np.concatenate(
            [*(c.free < len(c.order) for c in self.coordinates), np.zeros(len(free_sigma), bool)]
        ).astype(bool)

    def grid(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """The objective at each pair of values, a row for each of `y`."""
        values = np.empty((len(y), len(x)))
        for i, second in enumerate(y):
            # Back and forth, so that each search starts where a neighbour ended.
            for j in range(len(x))[:: -1 if i % 2 else 1]:
                values[i, j] = self.minimum((float(x[j]), float(second)))
        return values

    def minimum(self, values: tuple[float, float]) -> float:
        """The smallest objective with the two parameters at `values`."""
        if self.sigma_source is not None and values[self.sigma_source] <= 0:
            return np.inf
        moved = self.design.y.copy()
        for column, source in self.fixed:
            moved -= values[source] * self.design.X[:, column]
        blocks = self.blocks.with_response(moved) if self.fixed else self.blocks
        objective = Objective(blocks, reml=False)
        if not len(self.x):
            return self._value_and_gradient(self.x, objective, values)[0]
        best = self._descend(self.x, objective, values)
        if (best.x[self.is_sd] < self.smallest).any():
            # A held correlation can make a false valley where a standard deviation is zero.
            again = self._descend(self.estimate, objective, values)
            best = min(best, again, key=lambda result: float(result.fun))
        self.x = best.x
        return float(best.fun)

    def _descend(
        self, x: FloatArray, objective: Objective, values: tuple[float, float]
    ) -> OptimizeResult:
        return minimize(
            self._value_and_gradient,
            np.where(self.is_sd, np.maximum(x, self.smallest), x),
            args=(objective, values),
            jac=True,
            method="L-BFGS-B",
            bounds=[(0.0 if is_sd else None, None) for is_sd in self.is_sd],
            options={"ftol": 1e-12, "gtol": 1e-5, "maxiter": 500},
        )

    def _value_and_gradient(
        self, x: FloatArray, objective: Objective, values: tuple[float, float]
    ) -> tuple[float, FloatArray]:
        *frees, rest = np.split(x, self.ends)
        source = self.sigma_source
        sigma = float(np.exp(rest[0])) if source is None else values[source]
        full = [c.fill(free, values) for c, free in zip(self.coordinates, frees, strict=True)]
        lambdas = {
            term: c.factor(all_) / sigma
            for term, c, all_ in zip(self.terms, self.coordinates, full, strict=True)
        }
        value, slope_of, in_log_sigma = objective.at_terms_and_sigma(lambdas, sigma)
        gradient = [
            c.pull_back(all_, slope_of[term] / sigma)
            for term, c, all_ in zip(self.terms, self.coordinates, full, strict=True)
        ]
        if source is None:
            through = sum(float(np.sum(slope_of[t] * lam)) for t, lam in lambdas.items())
            gradient.append(np.array([in_log_sigma - through]))
        return value, np.concatenate([np.zeros(0), *gradient])


def _locate(terms: tuple[RandomTerm, ...], name: str) -> tuple[int, tuple[int, int]]:
    """The term of a variance parameter, and its place in the term's covariance matrix."""
    for number, term in enumerate(terms):
        for i, one in enumerate(term.columns):
            if name == f"sd_{one}|{term.group}":
                return number, (i, i)
            for j, other in enumerate(term.columns[:i]):
                if name == f"cor_{one}.{other}|{term.group}":
                    return number, (i, j)
    raise KeyError(name)
