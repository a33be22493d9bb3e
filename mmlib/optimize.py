"""Minimise the objective over θ, and make sure that what was found is a minimum.

The objective is smooth in θ everywhere and unchanged when a column of a template changes sign, so
no bounds are needed: signs are put right afterwards. For the same reason the gradient vanishes
wherever a column is zero, minimum or not; only the curvature tells. Hence: a quasi-Newton descent,
then the Hessian (differences of the analytic gradient), which polishes the point with Newton
steps, or shows the way out of a saddle.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import minimize

from mmlib.objective import Objective
from mmlib.terms import FloatArray

MAX_RESTARTS = 5
SMALL_COLUMN = 1e-2
"""Columns below this size are tried at exactly zero."""

NEGLIGIBLE = 1e-10
"""Differences in the objective below this share of its size are rounding."""

DIFFERENCE_STEP = 1e-5
FLAT = 1e-9
"""Curvatures below this share of the largest count as flat: θ is not unique in that direction."""


@dataclass(frozen=True)
class OptimizerLog:
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
        Times the descent ended on a saddle (a variance of zero that should not be) and went on.
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
    evaluations: int
    restarts: int
    expected_decrease: float
    smallest_curvature: float
    converged: bool


def minimize_objective(objective: Objective, start: FloatArray | None = None) -> OptimizerLog:
    """Find the θ that minimises `objective`.

    Parameters
    ----------
    objective : Objective
    start : ndarray, optional
        Where to start; by default every template is the identity.

    Returns
    -------
    OptimizerLog
    """
    start = objective.start if start is None else np.asarray(start, dtype=float)
    if start.size == 0:
        return OptimizerLog(
            start=start,
            theta=start,
            objective=objective(start),
            evaluations=1,
            restarts=0,
            expected_decrease=0.0,
            smallest_curvature=1.0,
            converged=True,
        )
    search = _Search(objective)
    point = search.at(start)
    for restarts in range(MAX_RESTARTS + 1):
        point = search.snap(search.rectify(search.descend(point)))
        point, model = search.polish(point)
        point = search.snap(search.rectify(point))
        way_out = model.way_out()
        if way_out is None or restarts == MAX_RESTARTS:
            break
        point = search.leave_saddle(point, way_out)
    converged = way_out is None and model.expected_decrease <= search.tolerance(point)
    return OptimizerLog(
        start=start,
        theta=point.theta,
        objective=point.value,
        evaluations=search.evaluations,
        restarts=restarts,
        expected_decrease=model.expected_decrease,
        smallest_curvature=model.smallest_curvature,
        converged=bool(converged),
    )


@dataclass(frozen=True)
class _Point:
    theta: FloatArray
    value: float
    gradient: FloatArray = field(repr=False)


class _QuadraticModel:
    """Gradient and Hessian at a point, in the eigenvectors of the Hessian."""

    def __init__(self, hessian: FloatArray) -> None:
        self._curvatures, self._directions = np.linalg.eigh(hessian)
        self._scale = max(abs(self._curvatures[0]), abs(self._curvatures[-1]), 1e-300)
        self.expected_decrease = np.inf

    @property
    def smallest_curvature(self) -> float:
        return float(self._curvatures[0] / self._scale)

    def newton_step(self, gradient: FloatArray) -> FloatArray:
        """Newton step in the directions that curve upwards; updates `expected_decrease`."""
        up = self._curvatures > FLAT * self._scale
        slopes = self._directions[:, up].T @ gradient
        self.expected_decrease = float(np.sum(slopes**2 / self._curvatures[up]) / 2)
        return -self._directions[:, up] @ (slopes / self._curvatures[up])

    def way_out(self) -> FloatArray | None:
        """The direction that curves down most, if any does."""
        if self._curvatures[0] >= -1e-6 * self._scale:
            return None
        return self._directions[:, 0]


class _Search:
    """The objective with a count of its evaluations, and the moves of the search."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.evaluations = 0

    def at(self, theta: FloatArray) -> _Point:
        self.evaluations += 1
        return _Point(theta, *self.objective.value_and_gradient(theta))

    def value(self, theta: FloatArray) -> float:
        self.evaluations += 1
        return self.objective(theta)

    def tolerance(self, point: _Point) -> float:
        return NEGLIGIBLE * (1 + abs(point.value))

    def descend(self, point: _Point) -> _Point:
        """Quasi-Newton descent (L-BFGS-B without bounds)."""

        def value_and_gradient(theta: FloatArray) -> tuple[float, FloatArray]:
            trial = self.at(theta.copy())
            return trial.value, trial.gradient

        result = minimize(
            value_and_gradient,
            point.theta,
            jac=True,
            method="L-BFGS-B",
            options={"ftol": 1e-11, "gtol": 1e-5, "maxcor": 20, "maxiter": 1000},
        )
        return _Point(result.x, float(result.fun), result.jac)

    def rectify(self, point: _Point) -> _Point:
        """Flip the columns whose diagonal entry is negative; the objective does not change."""
        theta, gradient = point.theta.copy(), point.gradient.copy()
        for column in self.objective.theta_columns:
            if theta[column[0]] < 0:
                theta[column] *= -1
                gradient[column] *= -1
        return _Point(theta, point.value, gradient)

    def snap(self, point: _Point) -> _Point:
        """Set small columns, and small diagonal entries, to zero unless the objective objects."""
        for column in self.objective.theta_columns:
            for entries in (column, column[:1]):
                size = np.abs(point.theta[entries]).max()
                if not 0 < size < SMALL_COLUMN:
                    continue
                theta = point.theta.copy()
                theta[entries] = 0.0
                trial = self.at(theta)
                if trial.value <= point.value + self.tolerance(point):
                    point = trial
        return point

    def polish(self, point: _Point) -> tuple[_Point, _QuadraticModel]:
        """Newton steps with one Hessian, as long as they lower the objective."""
        model = _QuadraticModel(self._hessian(point))
        step = model.newton_step(point.gradient)
        for _ in range(4):
            if np.abs(step).max() <= 1e-9 * (1 + np.abs(point.theta).max()):
                break
            trial = self.at(point.theta + step)
            if trial.value > point.value + self.tolerance(point):
                break
            point = trial
            step = model.newton_step(point.gradient)
        return point, model

    def _hessian(self, point: _Point) -> FloatArray:
        """Symmetrised forward differences of the gradient."""
        hessian = np.empty((len(point.theta), len(point.theta)))
        for k in range(len(point.theta)):
            theta = point.theta.copy()
            theta[k] += DIFFERENCE_STEP
            hessian[k] = (self.at(theta).gradient - point.gradient) / DIFFERENCE_STEP
        return (hessian + hessian.T) / 2

    def leave_saddle(self, point: _Point, direction: FloatArray) -> _Point:
        """The best of a few points along a direction that curves down."""
        steps = np.outer([0.5, 0.1, 0.02, -0.02, -0.1, -0.5], direction)
        return min((self.at(point.theta + step) for step in steps), key=lambda trial: trial.value)
