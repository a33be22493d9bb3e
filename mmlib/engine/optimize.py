"""Minimise the objective over θ, and make sure that what was found is a minimum.

The objective is smooth in θ everywhere and unchanged when a column of a template changes sign, so
no bounds are needed: signs are put right afterwards. For the same reason the gradient vanishes
wherever a column is zero, minimum or not; only the curvature tells. Hence: a quasi-Newton descent,
then the Hessian (differences of the analytic gradient), which polishes the point with Newton
steps, or shows the way out of a saddle.

The search works in columns of Z that were made orthogonal and of mean square 1 within each term, so
neither the units nor the origin of a variable matter; the θ that it reports is the model's own.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from mmlib.arrays import FloatArray, lower
from mmlib.engine.factor import Factor, factorize
from mmlib.engine.objective import Objective
from mmlib.engine.quasi_newton import DOWNWARD, Point, QuadraticModel, descend, largest
from mmlib.errors import DataError

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

MAX_HESSIANS = 3
NEARLY_EXACT = 1e-4
"""A search that found no minimum but left so small a share of the sum of squares was on its way
to an exact fit."""


@dataclass(frozen=True)
class Optimum:
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
    """

    start: FloatArray
    theta: FloatArray
    objective: float
    factor: Factor = field(repr=False)  # at theta; the estimates are read off it
    evaluations: int
    restarts: int
    expected_decrease: float
    smallest_curvature: float
    converged: bool

    @property
    def shortfall(self) -> str:
        """What is missing where the search has not converged."""
        if self.smallest_curvature < -DOWNWARD:
            return "the objective still curves down, as it does where it has no minimum"
        return f"the objective could still fall by {self.expected_decrease:.2g}"


def minimize_objective(objective: Objective, start: FloatArray | None = None) -> Optimum:
    """Find the θ that minimises `objective`.

    Parameters
    ----------
    objective : Objective
    start : ndarray, optional
        Where to start; by default at the moment estimates (`mmlib.engine.moments`).

    Returns
    -------
    Optimum

    Raises
    ------
    DataError
        If the objective has no minimum because the model can fit the response exactly.
    """
    if not objective.blocks.theta_size:
        return _nothing_to_search(objective)
    search = _Search(objective)
    point = search.at(search.moments() if start is None else search.to_scaled(start))
    first = search.to_theta(point.x)
    restarts, tolerance = 0, COARSE
    for _ in range(MAX_ROUNDS):
        begun, origin = search.model_at(point), point
        point, _ = descend(search.at, point, begun, tolerance=tolerance)
        point = search.snap(search.rectify(point))
        near = largest(point.x - origin.x) <= NEAR * (1 + largest(point.x))
        point, model = search.polish(point, begun if near else search.model_at(point))
        gain, way_out = model.expected_decrease(point), model.way_out()
        beyond = None if way_out is None else search.leave_saddle(point, way_out)
        if beyond is not None:
            point, restarts = beyond, restarts + 1
        elif gain <= search.tolerance(point):
            beyond = search.without_a_column(point, model)
            if beyond is None:
                break
            point, restarts = beyond, restarts + 1
        tolerance = NEGLIGIBLE
    converged = beyond is None and gain <= search.tolerance(point)
    point = search.snap(search.rectify(point))
    theta = search.to_theta(point.x)
    theta.setflags(write=False)
    factor = factorize(objective.blocks, theta)
    if not converged and factor.rss <= NEARLY_EXACT * objective.blocks.total_ss:
        raise DataError(
            "the random effects can fit the response exactly, so the likelihood has no maximum; "
            "use a coarser grouping or fewer random effects."
        )
    return Optimum(
        start=first,
        theta=theta,
        objective=objective.value(factor),
        factor=factor,
        evaluations=search.evaluations + 1,
        restarts=restarts,
        expected_decrease=gain,
        smallest_curvature=model.smallest_curvature,
        converged=converged,
    )


def _nothing_to_search(objective: Objective) -> Optimum:
    """The log of a model without random terms."""
    theta = np.zeros(0)
    factor = objective.factorize(theta)
    return Optimum(
        start=theta,
        theta=theta,
        objective=objective.value(factor),
        factor=factor,
        evaluations=1,
        restarts=0,
        expected_decrease=0.0,
        smallest_curvature=1.0,
        converged=True,
    )


class _Search:
    """The objective in scaled columns, with a count of its evaluations, and the search's moves."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.blocks = objective.blocks
        self.groupings = self.blocks.groupings
        self.evaluations = 0

    def moments(self) -> FloatArray:
        return self.blocks.gather(self.blocks.moment_templates())

    def to_theta(self, scaled: FloatArray) -> FloatArray:
        """The model's θ: the same covariances, for the columns as the user has them."""
        return self.blocks.gather([lower(g.basis @ g.template(scaled)) for g in self.groupings])

    def to_scaled(self, theta: ArrayLike) -> FloatArray:
        """Inverse of `to_theta`."""
        entries = self.objective.checked(theta)
        return self.blocks.gather([lower(g.to_scaled(g.template(entries))) for g in self.groupings])

    def at(self, scaled: FloatArray) -> Point:
        self.evaluations += 1
        value, slopes = self.objective.at_scaled([g.template(scaled) for g in self.groupings])
        return Point(scaled, value, self.blocks.gather(slopes))

    def tolerance(self, point: Point) -> float:
        return NEGLIGIBLE * (1 + abs(point.value))

    def model_at(self, point: Point) -> QuadraticModel:
        return QuadraticModel.by_differences(self.at, point)

    def rectify(self, point: Point) -> Point:
        """Flip the columns whose diagonal entry is negative; the objective does not change."""
        scaled, gradient = point.x.copy(), point.gradient.copy()
        for column in self.blocks.theta_columns:
            if scaled[column[0]] < 0:
                scaled[column] *= -1
                gradient[column] *= -1
        return Point(scaled, point.value, gradient)

    def snap(self, point: Point) -> Point:
        """Set small columns, and small diagonal entries, to zero unless the objective objects."""
        for column in self.blocks.theta_columns:
            for entries in (column, column[:1]):
                size = np.abs(point.x[entries]).max()
                if not 0 < size < SMALL_COLUMN:
                    continue
                scaled = point.x.copy()
                scaled[entries] = 0.0
                trial = self.at(scaled)
                if trial.value <= point.value + self.tolerance(point):
                    point = trial
        return point

    def without_a_column(self, point: Point, model: QuadraticModel) -> Point | None:
        """The point with one column at zero, if that is lower.

        In unbalanced designs the likelihood may have a maximum at zero beside one that is not.
        """
        for column in self.blocks.theta_columns:
            scaled = point.x.copy()
            scaled[column] = 0.0
            if not 0 < model.rise(scaled - point.x) < UNLIKELY:
                continue
            trial = self.at(scaled)
            if trial.value < point.value - self.tolerance(point):
                return trial
        return None

    def polish(self, point: Point, model: QuadraticModel) -> tuple[Point, QuadraticModel]:
        """Newton steps as long as they lower the objective; a new Hessian after every few."""
        for _ in range(MAX_HESSIANS):
            for _ in range(4):
                step = model.newton_step(point.gradient)
                if largest(step) <= 1e-9 * (1 + largest(point.x)):
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
