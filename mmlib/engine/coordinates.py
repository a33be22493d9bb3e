"""The numbers that a search moves: in them the objective is smooth, the boundary included.

Of a plain design they are the entries of the templates for scaled columns. With structure they are
those of `mmlib.design.structures` (and of `mmlib.design.residual`) for each term, in units of its
columns; a term without structure keeps the entries of its triangle. These units are fixed, as the
scaled columns of the engine are not: they move with the residuals' covariance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import Protocol

import numpy as np
from scipy.linalg import solve_triangular

from mmlib.arrays import FloatArray, IntArray, lower, lower_triangle
from mmlib.design.design import Design
from mmlib.design.terms import RandomTerm
from mmlib.engine.factor import Factor
from mmlib.engine.objective import Objective
from mmlib.engine.starts import further_starts, uneven

PullBack = Callable[[Mapping[RandomTerm, FloatArray], FloatArray], FloatArray]

STARTS = (0.3, 0.9, -0.3)
"""Correlations that a search starts from: there may be several valleys."""

RESIDUAL_STARTS = (1.0, 0.3)
"""Shares of the moment estimates of residual correlations that it starts from, beside terms."""

LEAST = 0.3
"""Relative standard deviation of a start, where the moments are below."""


class Coordinates(Protocol):
    """What a search needs to know of its variables."""

    size: int
    columns: list[IntArray]
    """Variables that may change their sign together without changing the objective."""

    def evaluate(self, x: FloatArray) -> tuple[float, FloatArray, float]:
        """The objective, its gradient, and its rounding."""

    def start(self) -> FloatArray:
        """Where to start."""

    def further_starts(self, *, at_zero: bool) -> FloatArray:
        """Where to start again, shape (number, size); `at_zero` if a column of x vanishes."""

    def to_theta(self, x: FloatArray) -> FloatArray:
        """θ."""

    def from_theta(self, theta: FloatArray) -> FloatArray:
        """X at a θ."""


class PlainCoordinates:
    """Entries of the templates for scaled columns."""

    def __init__(self, objective: Objective) -> None:
        self._objective, self._blocks = objective, objective.blocks
        self.size = self._blocks.theta_size
        self.columns = self._blocks.theta_columns
        self.to_theta = self._blocks.to_theta
        self.from_theta = self._blocks.to_scaled

    def evaluate(self, x: FloatArray) -> tuple[float, FloatArray, float]:
        """The objective, its gradient, and its rounding."""
        value, slopes, rounding = self._objective.at_scaled(
            [g.template(x) for g in self._blocks.groupings]
        )
        return value, self._blocks.gather(slopes), rounding

    def start(self) -> FloatArray:
        """The moment estimates; with σ known, as there may be none, effects as large as errors."""
        blocks = self._blocks
        if blocks.design.sigma is not None:
            return blocks.gather([np.eye(grouping.width) for grouping in blocks.groupings])
        return blocks.gather(blocks.moment_templates())

    def further_starts(self, *, at_zero: bool) -> FloatArray:
        """Where the objective may have another valley."""
        if at_zero or uneven(self._blocks):
            return further_starts(self._blocks)
        return np.zeros((0, self.size))


class StructuredCoordinates:
    """Those of each term, then those of the residuals."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        blocks = objective.blocks
        design = blocks.design
        self._terms, self._residual = design.terms, design.residual
        basis: dict[RandomTerm, FloatArray] = {}
        for grouping in blocks.groupings:
            basis |= grouping.by_term(grouping.basis)
        self._parts = [_TermPart(term, basis[term], design) for term in self._terms]
        self._ends = np.cumsum([part.size for part in self._parts], dtype=int)
        n_phi = self._residual.size if self._residual else 0
        self.size = int(sum(part.size for part in self._parts)) + n_phi
        self.columns = [
            offset + column
            for offset, part in zip([0, *self._ends], self._parts, strict=False)
            for column in part.columns
        ]

    def evaluate(self, x: FloatArray) -> tuple[float, FloatArray, float]:
        """The objective, its gradient, and its rounding."""
        templates, phi, pull_back = self._parts_at(x)
        value, slopes, in_phi, rounding = self._objective.at_parts(templates, phi)
        return value, pull_back(slopes, in_phi), rounding

    def unprofiled(self, x: FloatArray, sigma: float) -> tuple[FloatArray, float, Factor]:
        """Gradient of the objective at a σ, its slope in log σ, and the factor."""
        templates, phi, pull_back = self._parts_at(x)
        objective = self._objective
        _, slopes, in_phi, in_log_sigma = objective.at_terms_and_sigma(templates, phi, sigma)
        return pull_back(slopes, in_phi), in_log_sigma, objective.factor_at(templates, phi)

    def _parts_at(self, x: FloatArray) -> tuple[dict[RandomTerm, FloatArray], FloatArray, PullBack]:
        """Templates and φ, and how the gradient follows from the slopes in them."""
        *own, rest = np.split(x, self._ends) if self._parts else [x]
        found = [part.at(each) for part, each in zip(self._parts, own, strict=True)]
        phi, jacobian = self._residual.from_smooth(rest) if self._residual else (rest, None)

        def pull_back(slopes: Mapping[RandomTerm, FloatArray], in_phi: FloatArray) -> FloatArray:
            gradient = [
                np.einsum("kst,st->k", change, slopes[term])
                for term, (_, change) in zip(self._terms, found, strict=True)
            ]
            if jacobian is not None:
                gradient.append(in_phi @ jacobian)
            return np.concatenate([np.zeros(0), *gradient])

        return {t: T for t, (T, _) in zip(self._terms, found, strict=True)}, phi, pull_back

    def start(self) -> FloatArray:
        """Effects as large as errors, and the residuals' moment estimates."""
        return self._from(STARTS[0], RESIDUAL_STARTS[0])

    def further_starts(self, *, at_zero: bool) -> FloatArray:
        """Where the objective may have another valley."""
        del at_zero  # valleys of correlations are elsewhere
        correlated = any(part.has_correlation for part in self._parts)
        residual = self._residual is not None and bool(self._residual.kind) and bool(self._parts)
        starts = list(
            product(STARTS if correlated else STARTS[:1], RESIDUAL_STARTS[: 1 + residual])
        )
        return np.array([self._from(*each) for each in starts[1:]]).reshape(-1, self.size)

    def _from(self, rho: float, share: float) -> FloatArray:
        x = [part.start(rho) for part in self._parts]
        if self._residual is not None:
            residual = self._residual
            phi = residual.start(self._objective.blocks.response)
            ratios = sum(residual.n_ratios)
            phi[ratios:] *= share
            x.append(residual.to_smooth(phi))
        return np.concatenate([np.zeros(0), *x])

    def to_theta(self, x: FloatArray) -> FloatArray:
        """θ."""
        *own, rest = np.split(x, self._ends) if self._parts else [x]
        theta = [part.to_theta(each) for part, each in zip(self._parts, own, strict=True)]
        if self._residual is not None:
            theta.append(self._residual.from_smooth(rest)[0])
        return np.concatenate([np.zeros(0), *theta])

    def from_theta(self, theta: FloatArray) -> FloatArray:
        """The variables at a θ."""
        x, start = [], 0
        for part in self._parts:
            x.append(part.from_theta(theta[start : start + part.size]))
            start += part.size
        if self._residual is not None:
            x.append(self._residual.to_smooth(theta[start:]))
        return np.concatenate([np.zeros(0), *x])


class _TermPart:
    """The variables of one term."""

    def __init__(self, term: RandomTerm, basis: FloatArray, design: Design) -> None:
        self._width, self._structure = term.width, term.part.structure
        self.size = self._structure.size(term.width)
        self._rows, self._columns = lower_triangle(term.width)
        self._basis = basis
        self.has_correlation = self._structure.correlation in ("ar1", "exchangeable")
        squares = term.model_matrix**2  # without rows, of weighted columns
        if design.has_rows:
            squares = design.row_weights[:, None] * squares
        squares = np.sqrt(np.mean(squares, axis=0))
        scales = 1 / np.where(squares > 0, squares, 1.0)
        if self._structure.common:
            scales = np.array([1 / np.sqrt(np.mean(squares**2))])
        self._unit = np.ones(self.size)
        if not self._structure.is_free:
            root = self.has_correlation and not self._structure.common
            self._unit[: len(scales)] = np.sqrt(scales) if root else scales
        if self._structure.is_free:
            self.columns = [np.flatnonzero(self._columns == c) for c in range(term.width)]
        else:
            self.columns = self._structure.sign_free(term.width)

    def at(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The template, and its derivatives."""
        if not self._structure.is_free:
            T, slopes = self._structure.at(x * self._unit, self._width)
            return T, slopes * self._unit[:, None, None]
        slopes = np.zeros((self.size, self._width, self._width))
        slopes[np.arange(self.size), :, self._columns] = self._basis[:, self._rows].T
        return np.tensordot(x, slopes, axes=1), slopes

    def start(self, rho: float) -> FloatArray:
        if self._structure.is_free:
            return np.eye(self._width)[self._rows, self._columns]
        theta = np.ones(self.size)
        if self.has_correlation:
            low = self._structure.lowest_correlation(self._width)
            theta[-1] = rho if rho > 0 else rho * -low
        return self._structure.to_smooth(theta, self._width)

    def to_theta(self, x: FloatArray) -> FloatArray:
        if self._structure.is_free:
            return lower(self.at(x)[0])[self._rows, self._columns]
        return self._structure.to_theta(x * self._unit, self._width)

    def from_theta(self, theta: FloatArray) -> FloatArray:
        if not self._structure.is_free:
            return self._structure.to_smooth(theta, self._width) / self._unit
        T = self._structure.template(theta, self._width)
        scaled = lower(solve_triangular(self._basis, T))
        return scaled[self._rows, self._columns]


def coordinates_of(objective: Objective) -> Coordinates:
    """Those that suit the design."""
    if objective.blocks.design.structured:
        return StructuredCoordinates(objective)
    return PlainCoordinates(objective)
