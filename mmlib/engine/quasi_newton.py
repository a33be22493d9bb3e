"""Descend a smooth function of a few variables whose gradient is known.

BFGS that starts from the Hessian (differences of the gradient), with backtracking. Measured on the
57 models of the test oracle against scipy's L-BFGS-B and BFGS, it needs the fewest evaluations (on
InstEval 24 against 37), and never ended on a saddle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mmlib.arrays import FloatArray

MAX_STEPS = 500
MAX_HALVINGS = 30
SUFFICIENT = 1e-4
"""Share of the fall that the slope promises which a step must bring (Armijo's rule)."""

PRECISE = 1e-13
"""A search to the last digit ends when a step promises less than this share of the function."""

DIFFERENCE_STEP = 1e-5
LONGEST_STEP = 0.8
"""Longest step, relative to the largest variable (and that at least ½)."""

LEAST_CURVATURE = 1e-12
"""Smallest curvature, relative to the largest, that a step of the descent believes in."""

FLAT = 1e-9
"""Curvatures below this share of the largest count as flat: the minimum is not unique there."""

DOWNWARD = 1e-6
"""A curvature below minus this share of the largest is a way down, not rounding."""


@dataclass(frozen=True, eq=False)
class Point:
    """A function's value and gradient at `x`, and how much of the value may be rounding."""

    x: FloatArray
    value: float
    gradient: FloatArray
    rounding: float = 0.0


Evaluate = Callable[[FloatArray], Point]


class QuadraticModel:
    """A Hessian in its eigenvectors, and the steps that follow from it."""

    def __init__(self, hessian: FloatArray) -> None:
        self._hessian = hessian
        self._curvatures, self._directions = np.linalg.eigh(hessian)
        self._scale = max(abs(self._curvatures[0]), abs(self._curvatures[-1]), 1e-300)

    @classmethod
    def by_differences(cls, at: Evaluate, point: Point) -> QuadraticModel:
        """The Hessian from forward differences of the gradient."""
        steps = DIFFERENCE_STEP * np.eye(len(point.x))
        changes = [at(point.x + step).gradient - point.gradient for step in steps]
        hessian = np.array(changes) / DIFFERENCE_STEP
        if not np.isfinite(hessian).all():  # at the edge of what can be computed
            return cls(np.eye(len(point.x)) * np.linalg.norm(point.gradient))
        return cls((hessian + hessian.T) / 2)

    @property
    def smallest_curvature(self) -> float:
        """Smallest eigenvalue, relative to the largest."""
        return float(self._curvatures[0] / self._scale)

    def descent_step(self, gradient: FloatArray) -> FloatArray:
        """Newton step with every curvature taken as positive, so that it always goes down.

        Each variable is measured by its own curvature, so that a search whose variables have grown
        apart does not take the smaller curvatures for rounding.
        """
        own = np.abs(np.diag(self._hessian))
        unit = 1 / np.sqrt(np.maximum(own, 1e-30 * self._scale))
        curvatures, directions = np.linalg.eigh(self._hessian * np.outer(unit, unit))
        curvatures = np.abs(curvatures)
        curvatures = np.maximum(curvatures, LEAST_CURVATURE * curvatures.max())
        return -unit * (directions @ ((directions.T @ (unit * gradient)) / curvatures))

    def newton_step(self, gradient: FloatArray) -> FloatArray:
        """Newton step in the directions that curve upwards."""
        up = self._curvatures > FLAT * self._scale
        slopes = self._directions[:, up].T @ gradient
        return -self._directions[:, up] @ (slopes / self._curvatures[up])

    def rise(self, step: FloatArray) -> float:
        """How much higher the function is, by this model, a step away from its minimum."""
        return float(self._curvatures @ (self._directions.T @ step) ** 2) / 2

    def expected_decrease(self, point: Point) -> float:
        """How much lower the function seems to get.

        To the model's minimum where it curves up; over the distance to the origin where it is flat.
        """
        slopes = self._directions.T @ point.gradient
        up = self._curvatures > FLAT * self._scale
        falls = np.sum(slopes[up] ** 2 / self._curvatures[up]) / 2
        return float(falls + np.abs(slopes[~up]).sum() * largest(point.x))

    def way_out(self) -> FloatArray | None:
        """The direction that curves down most, if any does."""
        return self._directions[:, 0] if self.smallest_curvature < -DOWNWARD else None

    def updated(self, step: FloatArray, change: FloatArray) -> QuadraticModel:
        """BFGS update: after `step` the gradient has changed by `change`."""
        along = float(step @ change)
        if along <= 1e-10 * np.linalg.norm(step) * np.linalg.norm(change):
            return self
        positive = (self._directions * np.abs(self._curvatures)) @ self._directions.T
        pushed = positive @ step
        return QuadraticModel(
            positive - np.outer(pushed, pushed) / (step @ pushed) + np.outer(change, change) / along
        )


def descend(
    at: Evaluate,
    point: Point,
    model: QuadraticModel,
    *,
    tolerance: float,
    outgrown: float = np.inf,
) -> tuple[Point, QuadraticModel]:
    """Go down from `point` until a step promises less than `tolerance` of the function's size.

    Or until a variable is larger than `outgrown`.
    """
    for _ in range(MAX_STEPS):
        if largest(point.x) > outgrown:
            break
        step = model.descent_step(point.gradient)
        step *= min(1.0, LONGEST_STEP * max(0.5, largest(point.x)) / max(largest(step), 1e-300))
        expected = -float(point.gradient @ step)
        if expected <= tolerance * (1 + abs(point.value)) + point.rounding:
            break
        trial = _backtrack(at, point, step, expected)
        if trial is None or np.array_equal(trial.x, point.x):
            break
        model = model.updated(trial.x - point.x, trial.gradient - point.gradient)
        point = trial
    return point, model


def largest(x: FloatArray) -> float:
    """Size of the largest entry."""
    return float(np.abs(x).max())


def _backtrack(at: Evaluate, point: Point, step: FloatArray, expected: float) -> Point | None:
    """The first of ever shorter steps that lowers the function enough."""
    length = 1.0
    for _ in range(MAX_HALVINGS):
        trial = at(point.x + length * step)
        if trial.value <= point.value - SUFFICIENT * expected * length:
            return trial
        if expected * length <= point.rounding:
            break
        excess = trial.value - point.value + expected * length
        length *= float(np.clip(expected * length / (2 * excess), 0.1, 0.5))
    return None
