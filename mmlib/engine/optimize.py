"""Minimise the objective over θ, and make sure that what was found is a minimum.

The objective is smooth in θ everywhere and unchanged when a column of a template changes sign, so
no bounds are needed: signs are put right afterwards. For the same reason the gradient vanishes
wherever a column is zero, minimum or not; only the curvature tells. Hence: a quasi-Newton descent,
then the Hessian (differences of the analytic gradient), which polishes the point with Newton
steps, or shows the way out of a saddle.

The search works in coordinates (`mmlib.engine.coordinates`) in which neither the units nor the
origin of a variable matter; the θ that it reports is the model's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from mmlib.arrays import FloatArray, IntArray
from mmlib.design.design import Design
from mmlib.engine.coordinates import coordinates_of
from mmlib.engine.factor import BreakdownError, Factor, factorize
from mmlib.engine.halfline import scan
from mmlib.engine.objective import Objective
from mmlib.engine.progress import Watch
from mmlib.engine.quasi_newton import DOWNWARD, Point, QuadraticModel, descend, largest
from mmlib.errors import DataError, RankError
from mmlib.frozen import Frozen

MAX_ROUNDS = 8
COARSE = 1e-9
"""The descent ends when a step promises less than this share of the objective; Newton goes on."""

SMALL_COLUMN = 1e-2
"""Columns below this size are tried at exactly zero."""

NEGLIGIBLE = 1e-10
"""Differences in the objective below this share of its size are rounding."""

NEAR = 1e-4
"""Within this distance, relative to the largest entry of θ, a Hessian is not taken anew."""

UNLIKELY = 8.0
"""A column is tried at zero unless the objective should rise by more than this."""

SETTLED = 1e-6
"""A Newton step of this size, relative to θ, is the last: what is left is of its square."""

MAX_HESSIANS = 3
DISTINCT = 1e-6
"""Minima whose values differ by more than this share are two."""

OUTGROWN = 30.0
"""Size of an entry in which it is time to measure it in another unit."""

FAR = 10.0
"""A start at which the objective cannot be computed is brought nearer to zero by this factor; a
search is at the edge of what can be computed if that many times its θ is beyond."""

ALL_EXACT = (
    "the random effects can fit the response exactly, so the likelihood has no maximum; use a "
    "coarser grouping or fewer random effects."
)
ONE_LEVEL_EXACT = (
    "a residual variance goes to zero beside the others: with these random effects the rows of its "
    "level are fitted exactly. Use fewer random effects, or one variance for more rows."
)
AS_RESIDUALS = {
    "ar1": 'residual="ar1({time} | {group})"',
    "hetar1": 'residual="ar1({time} | {group})", dispersion="{time}"',
    "cs": 'residual="cs({group})", dispersion="{time}"',
    "homcs": 'residual="cs({group})"',
}
"""Residuals with the covariance of a term that leaves them none."""


@dataclass(frozen=True)
class Optimum(Frozen):
    """How the minimum was found.

    Attributes
    ----------
    start, theta : ndarray
        First and last θ.
    objective : float
        The objective at `theta`.
    evaluations : int
        Evaluations of the objective, most of them with its gradient.
    restarts : int
        Times the descent ended on a saddle (a variance of zero that should not be), or in the
        higher of two valleys, and went on.
    expected_decrease : float
        How much lower the objective could still get, by its quadratic model at `theta`.
    smallest_curvature : float
        Smallest eigenvalue of the Hessian, relative to the largest; negative on a saddle.
    converged : bool
        Whether `theta` is a minimum: nothing more to gain, and no direction that curves down.
    valleys : int
        How many minima the search has met, `theta` being the lowest.
    vanishing : str
        Where it has no minimum because a residual variance goes to zero: what to do.
    """

    start: FloatArray
    theta: FloatArray
    objective: float
    factor: Factor = field(repr=False)  # at theta; the estimates are read off it
    evaluations: int = 1
    restarts: int = 0
    expected_decrease: float = 0.0
    smallest_curvature: float = 1.0
    converged: bool = True
    valleys: int = 1
    vanishing: str = ""

    @property
    def shortfall(self) -> str:
        """What is missing where the search has not converged, and what to do."""
        if self.vanishing:
            return self.vanishing
        lack = f"the objective could still fall by {self.expected_decrease:.2g}"
        if self.smallest_curvature < -DOWNWARD:
            lack = "the objective still curves down, as it does where it has no minimum"
        return f"{lack}; centre and rescale the predictors, or simplify the random part"


def minimize_objective(
    objective: Objective, start: FloatArray | None = None, *, watch: Watch | None = None
) -> Optimum:
    """Find the θ that minimises `objective`.

    Parameters
    ----------
    objective : Objective
    start : ndarray, optional
        θ to start from; by default where the coordinates start.
    watch : callable, optional
        Called with the number of evaluations and the objective after each of them.

    Returns
    -------
    Optimum

    Raises
    ------
    DataError
        If the objective has no minimum because the model can fit the response exactly.
    """
    search = _Search(objective, watch)
    if not objective.blocks.design.n_theta:
        return search.report(np.zeros(0), [_Valley(search.at(np.zeros(0)))])
    variables = search.variables
    first = variables.start() if start is None else variables.from_theta(objective.checked(start))
    valleys = [search.descend_from(first)]
    for other in search.other_starts(valleys[0].point):
        lowest = min(valley.point.value for valley in valleys)
        valleys.append(search.descend_from(other, above=lowest))
    best = min(valleys, key=lambda valley: valley.point.value)
    for edge in variables.edges(best.point.x):
        valley = search.descend_from(search.lowest(edge), above=best.point.value)
        if valley.point.value < best.point.value:  # where it is higher there may be no minimum
            valleys.append(valley)
    return search.report(variables.to_theta(first), valleys)


def column_signs(x: FloatArray, columns: list[IntArray]) -> FloatArray:
    """The signs that make the diagonal entry of each column positive; the objective is the same."""
    signs = np.ones_like(x)
    for column in columns:
        signs[..., column] = np.where(x[..., column[:1]] < 0, -1.0, 1.0)
    return signs


def small_parts(columns: list[IntArray]) -> Iterator[IntArray]:
    """What may be zero at a minimum: each column, and its diagonal entry."""
    for column in columns:
        yield column
        yield column[:1]


def without(x: FloatArray, entries: IntArray) -> FloatArray:
    """A copy in which some entries are zero."""
    other = x.copy()
    other[..., entries] = 0.0
    return other


def without_residuals(design: Design) -> str:
    """What to do where a residual variance goes to zero."""
    instead, term = "simplify the random part", next(iter(design.terms), None)
    residuals = AS_RESIDUALS.get(term.part.structure.word) if term else None
    if term and residuals and len(design.terms) == 1:
        time = ", ".join(sorted(term.sources))
        instead = f"instead of {term.part} write {residuals.format(time=time, group=term.group)}"
    return f"the residual variance goes to zero: random effects can take its place; {instead}"


def search_from(objective: Objective, x: FloatArray) -> float:
    """The objective where one descent from these coordinates ends."""
    return _Search(objective).descend_from(x).point.value


@dataclass(frozen=True)
class _Valley:
    """Where one descent ended, `point.x` being the coordinates."""

    point: Point
    restarts: int = 0
    expected_decrease: float = 0.0
    smallest_curvature: float = 1.0
    converged: bool = True


class _Search:
    """The objective in its coordinates, with a count of its evaluations, and the search's moves.

    Each coordinate is measured in a `unit`, its own size where that is above 1.
    """

    def __init__(self, objective: Objective, watch: Watch | None = None) -> None:
        self.objective, self._watch = objective, watch
        self.blocks = objective.blocks
        self.variables = coordinates_of(objective)
        self.unit = np.ones(self.variables.size)
        self.evaluations = 0

    def at(self, x: FloatArray) -> Point:
        """The objective at `x` units; infinite where it cannot be computed."""
        self.evaluations += 1
        try:
            here, gradient = self.variables.at(x * self.unit)
            value = here.value
        except (BreakdownError, RankError, np.linalg.LinAlgError):
            return Point(x, np.inf, np.full_like(x, np.nan))
        if self._watch is not None:
            self._watch(self.evaluations, value)
        return Point(x, value, gradient * self.unit, here.rounding)

    def lowest(self, points: FloatArray) -> FloatArray:
        """The lowest of several points; with one there is nothing to compute."""
        if len(points) == 1:
            return points[0]
        return min(points, key=lambda x: self.at(x / self.unit).value)

    def descend_from(self, x: FloatArray, *, above: float = np.inf) -> _Valley:
        """The minimum below a point; where it is not below `above`, only about where it is."""
        self.unit = np.maximum(1.0, np.abs(x))
        point = self.at(x / self.unit)
        while not np.isfinite(point.value):
            point = self.at(point.x / FAR)
        restarts, tolerance = 0, COARSE
        for _ in range(MAX_ROUNDS):
            origin, begun, point = self.fall(point, tolerance)
            if above <= point.value < np.inf and tolerance == COARSE:
                return _Valley(replace(point, x=point.x * self.unit), 0, np.nan, np.nan, False)
            point = self.snap(self.rectify(point))
            near = largest(point.x - origin.x) <= NEAR * (1 + largest(point.x))
            if not near:
                point = self.in_its_units(point)
            point, model = self.polish(point, begun if near else self.model_at(point))
            gain, way_out = model.expected_decrease(point), model.way_out()
            beyond = None if way_out is None else self.leave_saddle(point, way_out)
            if beyond is None and gain <= self.tolerance(point):
                beyond = self.without_a_column(point, model)
                if beyond is None:
                    break
            if beyond is not None:
                point, restarts = beyond, restarts + 1
            tolerance = NEGLIGIBLE
        converged = beyond is None and gain <= self.tolerance(point)
        point = self.snap(self.rectify(point))
        point = replace(point, x=point.x * self.unit)
        return _Valley(point, restarts, gain, model.smallest_curvature, converged)

    def fall(self, point: Point, tolerance: float) -> tuple[Point, QuadraticModel, Point]:
        """Descend, in new units whenever entries outgrow theirs: last start, its model, the end."""
        while True:
            origin = self.in_its_units(point)
            begun = self.model_at(origin)
            point, _ = descend(self.at, origin, begun, tolerance=tolerance, outgrown=OUTGROWN)
            if largest(point.x) <= OUTGROWN:
                return origin, begun, point

    def in_its_units(self, point: Point) -> Point:
        """The same point, its large entries measured by themselves."""
        unit = np.maximum(1.0, np.abs(point.x * self.unit))
        ratio = unit / self.unit
        if (np.abs(np.log(ratio)) < 1.0).all():
            return point
        self.unit = unit
        return replace(point, x=point.x / ratio, gradient=point.gradient * ratio)

    def other_starts(self, point: Point) -> Iterator[FloatArray]:
        """Where another valley may be, lower than the one that was found."""
        if len(point.x) > 1 or self.blocks.design.structured:
            at_zero = any(np.any(point.x[c] == 0) for c in self.variables.columns)
            yield from self.variables.further_starts(at_zero=at_zero)
            return
        lam, values = scan(self.objective)
        outside = np.concatenate([[np.inf], values, [np.inf]])
        dips = (values <= outside[:-2]) & (values < outside[2:])
        home = int(np.searchsorted(lam, point.x[0] ** 2))
        for dip in np.flatnonzero(dips & (values < point.value + UNLIKELY)):
            between = values[dip + 1 : home] if dip < home else values[home:dip]
            if (between > max(values[dip], point.value)).any():
                yield np.sqrt(lam[[dip]])

    def report(self, first: FloatArray, valleys: list[_Valley]) -> Optimum:
        """The log of a search: the lowest valley, and how many there are."""
        best = min(valleys, key=lambda valley: valley.point.value)
        theta = self.variables.to_theta(best.point.x)
        theta.setflags(write=False)
        residual, vanishing = self.blocks.design.residual, self.vanishing(theta, best.point)
        beyond = FAR * best.point.x / self.unit  # on the way to where no residual variance is left
        edge = not best.converged and not np.isfinite(self.at(beyond).value)
        if edge or (residual and vanishing):
            raise DataError(ONE_LEVEL_EXACT if residual else ALL_EXACT)
        factor = factorize(self.blocks, theta)
        values = np.array([valley.point.value for valley in valleys])
        return Optimum(
            start=first,
            theta=theta,
            objective=self.objective.value(factor),
            factor=factor,
            evaluations=self.evaluations + 1,
            restarts=sum(valley.restarts for valley in valleys),
            expected_decrease=best.expected_decrease,
            smallest_curvature=best.smallest_curvature,
            converged=best.converged and not vanishing,
            vanishing=vanishing,
            valleys=1 + int((np.diff(np.sort(values)) > DISTINCT * (1 + abs(values[0]))).sum()),
        )

    def vanishing(self, theta: FloatArray, point: Point) -> str:
        """What to do if a residual variance goes to zero: nearer to it the objective is no higher.

        It need not fall for ever: effects of single rows take the place of their residuals.
        """
        for nearer in self.variables.nearer_to_zero(theta):
            trial = self.at(self.variables.from_theta(nearer) / self.unit)
            if trial.value <= point.value + self.tolerance(trial):
                return without_residuals(self.blocks.design)
        return ""

    def tolerance(self, point: Point) -> float:
        return NEGLIGIBLE * (1 + abs(point.value)) + point.rounding

    def model_at(self, point: Point) -> QuadraticModel:
        return QuadraticModel.by_differences(self.at, point)

    def rectify(self, point: Point) -> Point:
        """Flip the columns whose diagonal entry is negative; the objective does not change."""
        signs = column_signs(point.x, self.variables.columns)
        return replace(point, x=point.x * signs, gradient=point.gradient * signs)

    def snap(self, point: Point) -> Point:
        """Set small columns, and small diagonal entries, to zero unless the objective rises."""
        for small in small_parts(self.variables.columns):
            if 0 < np.abs(point.x[small] * self.unit[small]).max() < SMALL_COLUMN:
                trial = self.at(without(point.x, small))
                if trial.value <= point.value + self.tolerance(point):
                    point = trial
        return point

    def without_a_column(self, point: Point, model: QuadraticModel) -> Point | None:
        """The point with one column at zero, if that is lower.

        In unbalanced designs the likelihood may have a maximum at zero beside one that is not.
        """
        for column in self.variables.columns:
            nearby = without(point.x, column)
            if not 0 < model.rise(nearby - point.x) < UNLIKELY:
                continue
            trial = self.at(nearby)
            if trial.value < point.value - self.tolerance(point):
                return trial
        return None

    def polish(self, point: Point, model: QuadraticModel) -> tuple[Point, QuadraticModel]:
        """Newton steps as long as they lower the objective; a new Hessian after every few."""
        for _ in range(MAX_HESSIANS):
            for _ in range(4):
                step = model.newton_step(point.gradient)
                if largest(step) <= SETTLED * (1 + largest(point.x)):
                    point = replace(point, x=point.x + step)  # which would change no digit
                    break
                trial = self.at(point.x + step)
                if trial.value > point.value + self.tolerance(point):
                    break
                point = trial
            if model.way_out() is not None:
                break
            if model.expected_decrease(point) <= self.tolerance(point):
                break
            model = self.model_at(point)
        return point, model

    def leave_saddle(self, point: Point, direction: FloatArray) -> Point | None:
        """The best of a few points along a direction that seems to curve down, if it is lower."""
        steps = np.outer([0.5, 0.1, 0.02, -0.02, -0.1, -0.5], direction)
        best = min((self.at(point.x + step) for step in steps), key=lambda trial: trial.value)
        return best if best.value < point.value - self.tolerance(point) else None
