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
from scipy.linalg import solve_triangular
from scipy.optimize import minimize

from mmlib.errors import DataError
from mmlib.objective import Objective
from mmlib.terms import FloatArray, lower

MAX_RESTARTS = 5
SMALL_COLUMN = 1e-2
"""Columns below this size are tried at exactly zero."""

NEGLIGIBLE = 1e-10
"""Differences in the objective below this share of its size are rounding."""

DIFFERENCE_STEP = 1e-5
MAX_HESSIANS = 3
EXACT_FIT = 1e-12
"""A residual sum of squares below this share of the one without random effects is zero."""

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
        Where to start; by default every effect has the residual's standard deviation, its
        variable being measured in root mean squares.

    Returns
    -------
    OptimizerLog

    Raises
    ------
    DataError
        If the objective has no minimum because the model can fit the response exactly.
    """
    search = _Search(objective)
    point = search.at(search.identity() if start is None else search.to_scaled(start))
    first = search.to_theta(point.scaled)
    way_out, model = None, _QuadraticModel(np.eye(len(first)))
    for restarts in range(MAX_RESTARTS + 1):
        if not len(first):
            model.newton_step(point.gradient)
            break
        point = search.snap(search.rectify(search.descend(point)))
        point, model = search.polish(point)
        point = search.snap(search.rectify(point))
        way_out = model.way_out()
        if way_out is None or restarts == MAX_RESTARTS:
            break
        point = search.leave_saddle(point, way_out)
    theta = search.to_theta(point.scaled)
    theta.setflags(write=False)
    factor = objective.factorize(theta)
    if factor.rss <= EXACT_FIT * objective.blocks.total_ss:
        raise DataError(
            "the random effects can fit the response exactly, so the likelihood has no maximum; "
            "use a coarser grouping or fewer random effects."
        )
    return OptimizerLog(
        start=first,
        theta=theta,
        objective=objective.value(factor),
        evaluations=search.evaluations + 1,
        restarts=restarts,
        expected_decrease=model.expected_decrease,
        smallest_curvature=model.smallest_curvature,
        converged=way_out is None and model.expected_decrease <= search.tolerance(point),
    )


@dataclass(frozen=True)
class _Point:
    scaled: FloatArray
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
    """The objective in scaled columns, with a count of its evaluations, and the search's moves."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.blocks = objective.blocks
        self.bases = [grouping.basis for grouping in self.blocks.groupings]
        self.evaluations = 0

    def identity(self) -> FloatArray:
        return self.blocks.gather([np.eye(len(basis)) for basis in self.bases])

    def to_theta(self, scaled: FloatArray) -> FloatArray:
        """The model's θ: the same covariances, for the columns as the user has them."""
        templates = self.blocks.templates(scaled)
        return self.blocks.gather(
            [lower(basis @ lam) for basis, lam in zip(self.bases, templates, strict=True)]
        )

    def to_scaled(self, theta: ArrayLike) -> FloatArray:
        """Inverse of `to_theta`."""
        templates = self.blocks.templates(self.objective.checked(theta))
        return self.blocks.gather(
            [
                lower(solve_triangular(basis, lam))
                for basis, lam in zip(self.bases, templates, strict=True)
            ]
        )

    def at(self, scaled: FloatArray) -> _Point:
        self.evaluations += 1
        templates = self.blocks.templates(scaled)
        value, slopes = self.objective.at_templates(
            [basis @ lam for basis, lam in zip(self.bases, templates, strict=True)]
        )
        gradient = self.blocks.gather(
            [basis.T @ slope for basis, slope in zip(self.bases, slopes, strict=True)]
        )
        return _Point(scaled, value, gradient)

    def tolerance(self, point: _Point) -> float:
        return NEGLIGIBLE * (1 + abs(point.value))

    def descend(self, point: _Point) -> _Point:
        """Quasi-Newton descent (L-BFGS-B without bounds)."""

        def value_and_gradient(scaled: FloatArray) -> tuple[float, FloatArray]:
            trial = self.at(scaled.copy())
            return trial.value, trial.gradient

        result = minimize(
            value_and_gradient,
            point.scaled,
            jac=True,
            method="L-BFGS-B",
            options={"ftol": 1e-11, "gtol": 1e-5, "maxcor": 20, "maxiter": 1000},
        )
        return _Point(result.x, float(result.fun), result.jac)

    def rectify(self, point: _Point) -> _Point:
        """Flip the columns whose diagonal entry is negative; the objective does not change."""
        scaled, gradient = point.scaled.copy(), point.gradient.copy()
        for column in self.objective.theta_columns:
            if scaled[column[0]] < 0:
                scaled[column] *= -1
                gradient[column] *= -1
        return _Point(scaled, point.value, gradient)

    def snap(self, point: _Point) -> _Point:
        """Set small columns, and small diagonal entries, to zero unless the objective objects."""
        for column in self.objective.theta_columns:
            for entries in (column, column[:1]):
                size = np.abs(point.scaled[entries]).max()
                if not 0 < size < SMALL_COLUMN:
                    continue
                scaled = point.scaled.copy()
                scaled[entries] = 0.0
                trial = self.at(scaled)
                if trial.value <= point.value + self.tolerance(point):
                    point = trial
        return point

    def polish(self, point: _Point) -> tuple[_Point, _QuadraticModel]:
        """Newton steps as long as they lower the objective; a new Hessian after every few."""
        for _ in range(MAX_HESSIANS):
            model = _QuadraticModel(self._hessian(point))
            step = model.newton_step(point.gradient)
            for _ in range(4):
                if np.abs(step).max() <= 1e-9 * (1 + np.abs(point.scaled).max()):
                    break
                trial = self.at(point.scaled + step)
                if trial.value > point.value + self.tolerance(point):
                    break
                point = trial
                step = model.newton_step(point.gradient)
            if model.way_out() is not None or model.expected_decrease <= self.tolerance(point):
                break
        return point, model

    def _hessian(self, point: _Point) -> FloatArray:
        """Symmetrised forward differences of the gradient."""
        steps = DIFFERENCE_STEP * np.eye(len(point.scaled))
        differences = [self.at(point.scaled + step).gradient - point.gradient for step in steps]
        hessian = np.array(differences) / DIFFERENCE_STEP
        return (hessian + hessian.T) / 2

    def leave_saddle(self, point: _Point, direction: FloatArray) -> _Point:
        """The best of a few points along a direction that curves down."""
        steps = np.outer([0.5, 0.1, 0.02, -0.02, -0.1, -0.5], direction)
        return min((self.at(point.scaled + step) for step in steps), key=lambda trial: trial.value)
