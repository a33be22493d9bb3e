"""The numbers that a search moves: in them the objective is smooth, the boundary included.

Of a plain design they are the entries of the templates for scaled columns. With structure they are
those of `mmlib.design.structures` (and of `mmlib.design.residual`) for each term, in units of its
columns; a term without structure keeps the entries of its triangle. These units are fixed, as the
scaled columns of the engine are not: they move with the residuals' covariance.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
from scipy.linalg import solve_triangular

from mmlib.arrays import FloatArray, lower, lower_triangle
from mmlib.design.design import Design
from mmlib.design.terms import RandomTerm
from mmlib.engine.factor import Factor, factor_at
from mmlib.engine.objective import Evaluation, Objective
from mmlib.engine.starts import further_starts, uneven

STARTS = (0.3, 0.3), (0.9, 1.0), (-0.3, 1.0)
"""Correlations, and relative sizes, that a search starts from: there may be several valleys."""

RESIDUAL_STARTS = (1.0, 0.3)
"""Shares of the moment estimates of residual correlations that it starts from, beside terms."""

SMALL = 0.1
"""A relative standard deviation beside zero."""

TINY_BESIDE, NEARER = 30.0, 10.0
"""A residual standard deviation is tried nearer to zero if it is this much below another."""


class PlainCoordinates:
    """Entries of the templates for scaled columns.

    Attributes
    ----------
    size : int
    columns : list of ndarray of int
        Variables that may change their sign together without changing the objective.
    to_theta, from_theta : callable
        θ, and back.
    """

    def __init__(self, objective: Objective) -> None:
        self._objective, self._blocks = objective, objective.blocks
        self.size = self._blocks.n_entries
        self.columns = self._blocks.theta_columns
        self.to_theta = self._blocks.to_theta
        self.from_theta = self._blocks.to_scaled

    def at(self, x: FloatArray, sigma: float | None = None) -> tuple[Evaluation, FloatArray]:
        """The objective, profiled over σ or at one, and its gradient."""
        factor = Factor(self._blocks, [g.template(x) for g in self._blocks.groupings])
        at = Evaluation(self._objective, factor, sigma=sigma)
        return at, self._blocks.gather(at.scaled_slopes)

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

    def nearer_to_zero(self, theta: FloatArray) -> FloatArray:
        """None: where rows can be fitted exactly the objective has no minimum."""
        return theta[:0].reshape(0, self.size)

    def edges(self, x: FloatArray) -> Iterator[FloatArray]:
        """Points beside `x` from which a search finds valleys at the edge, one at a time.

        There the last column of a term is zero, and stays so until that is found to be a saddle.
        """
        if self.size == 1 or not uneven(self._blocks):  # one variance is scanned
            return
        for column in self.columns:
            if len(column) == 1 and x[column].all():
                yield np.where(np.arange(self.size) == column[0], 0.0, x)[None]


class StructuredCoordinates:
    """The coordinates of each term, then those of the residuals."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        blocks = objective.blocks
        design = blocks.design
        self._terms, self._residual = design.terms, design.residual
        basis: dict[RandomTerm, FloatArray] = {}
        for grouping in blocks.groupings:
            basis |= grouping.by_term(grouping.basis)
        self._of_terms = [_OfTerm(term, basis[term], design) for term in self._terms]
        self._ends = np.cumsum([each.size for each in self._of_terms], dtype=int)
        n_phi = self._residual.size if self._residual else 0
        self.size = int(sum(each.size for each in self._of_terms)) + n_phi
        starts = [0, *self._ends]
        self.columns = [
            offset + column
            for offset, each in zip(starts, self._of_terms, strict=False)
            for column in each.columns
        ]
        n_ratios = sum(self._residual.n_ratios) if self._residual else 0
        self._ratios = starts[-1] + np.arange(n_ratios)
        rhos = [end - 1 for end, t in zip(self._ends, self._terms, strict=True) if _has_rho(t)]
        self._sds = np.setdiff1d(np.arange(starts[-1] + n_ratios), rhos)

    def at(self, x: FloatArray, sigma: float | None = None) -> tuple[Evaluation, FloatArray]:
        """The objective, profiled over σ or at one, and its gradient by the chain rule."""
        *own, rest = np.split(x, self._ends)
        found = [of_term.at(each) for of_term, each in zip(self._of_terms, own, strict=True)]
        phi, jacobian = self._residual.from_smooth(rest) if self._residual else (rest, np.eye(0))
        templates = {term: T for term, (T, _) in zip(self._terms, found, strict=True)}
        factor = factor_at(self._objective.blocks, templates, phi)
        at = Evaluation(self._objective, factor, phi, sigma)
        gradient = [
            np.einsum("kst,st->k", change, at.slopes[term])
            for term, (_, change) in zip(self._terms, found, strict=True)
        ]
        return at, np.concatenate([*gradient, at.in_phi @ jacobian])

    def start(self) -> FloatArray:
        """Small effects, those of a triangle as large as errors; the residuals' moments."""
        rho, size = STARTS[0]
        return self._from(rho, size, RESIDUAL_STARTS[0])

    def edges(self, x: FloatArray) -> Iterator[FloatArray]:
        """Points beside `x` where what is zero is small, or another is zero in its place.

        Beside a standard deviation of zero a correlation has no meaning, but whether zero is a
        minimum depends on it: several points at a time, of which the lowest counts.
        """
        for start, of_term in zip([0, *self._ends], self._of_terms, strict=False):
            own = slice(start, start + of_term.size)
            for beside in of_term.beside_zero(x[own]):
                points = np.tile(x, (len(beside), 1))
                points[:, own] = beside
                yield points

    def nearer_to_zero(self, theta: FloatArray) -> FloatArray:
        """θ with one residual standard deviation a tenth as large, for each that is tiny."""
        points = np.tile(theta, (1 + len(self._ratios), 1))
        points[0, self._sds] *= NEARER  # that of the first level, in which all others are measured
        points[np.arange(1, len(points)), self._ratios] /= NEARER
        residual = np.append(1.0, theta[self._ratios])
        return points[residual * TINY_BESIDE < np.abs(theta[self._sds]).max(initial=1.0)]

    def further_starts(self, *, at_zero: bool) -> FloatArray:
        """Where the objective may have another valley."""
        del at_zero  # valleys of correlations are elsewhere
        correlated = any(map(_has_rho, self._terms))
        residual = self._residual is not None and bool(self._residual.kind) and bool(self._of_terms)
        starts = list(
            product(STARTS if correlated else STARTS[:1], RESIDUAL_STARTS[: 1 + residual])
        )
        return np.array(
            [self._from(rho, size, share) for (rho, size), share in starts[1:]]
        ).reshape(-1, self.size)

    def _from(self, rho: float, size: float, share: float) -> FloatArray:
        x = [each.start(rho, size) for each in self._of_terms]
        if (residual := self._residual) is not None:
            phi = residual.start(self._objective.blocks.response)
            phi[sum(residual.n_ratios) :] *= share
            x.append(residual.to_smooth(phi))
        return np.concatenate(x)

    def to_theta(self, x: FloatArray) -> FloatArray:
        """θ."""
        *own, rest = np.split(x, self._ends)
        theta = [of_term.to_theta(each) for of_term, each in zip(self._of_terms, own, strict=True)]
        phi = self._residual.from_smooth(rest)[0] if self._residual else rest
        return np.concatenate([*theta, phi])

    def from_theta(self, theta: FloatArray) -> FloatArray:
        """The variables at a θ."""
        *own, phi = np.split(theta, self._ends)
        x = [of_term.from_theta(each) for of_term, each in zip(self._of_terms, own, strict=True)]
        rest = self._residual.to_smooth(phi) if self._residual else phi
        return np.concatenate([*x, rest])


def _has_rho(term: RandomTerm) -> bool:
    return term.part.structure.has_rho


class _OfTerm:
    """The variables of one term: of a triangle, in scaled columns, otherwise in a unit each."""

    def __init__(self, term: RandomTerm, basis: FloatArray, design: Design) -> None:
        self._width, self._structure = term.width, term.part.structure
        self.size = self._structure.size(term.width)
        self.columns = self._structure.sign_free(term.width)
        self._unit = np.ones(self.size)
        self._basis = basis
        if not self._structure.is_free:
            self._basis = np.eye(term.width)
            self._measure(term.model_matrix, design)

    def _measure(self, columns: FloatArray, design: Design) -> None:
        """The unit of standard deviations: 1 over the size of their columns."""
        squares = columns**2  # without rows, of weighted columns
        if design.has_rows:
            squares = design.row_weights[:, None] * squares
        sizes = np.sqrt(np.mean(squares, axis=0))
        scales = 1 / np.where(sizes > 0, sizes, 1.0)
        structure = self._structure
        if structure.common:
            scales = np.array([1 / np.sqrt(np.mean(sizes**2))])
        root = structure.has_rho and not structure.common
        self._unit[: len(scales)] = np.sqrt(scales) if root else scales

    def at(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The template, and its derivatives."""
        T, slopes = self._structure.at(x * self._unit, self._width)
        return self._basis @ T, self._basis @ slopes * self._unit[:, None, None]

    def start(self, rho: float, size: float) -> FloatArray:
        if self._structure.is_free:
            return np.eye(self._width)[lower_triangle(self._width)]
        theta = np.full(self.size, size)
        if self._structure.has_rho:
            low = self._structure.lowest_correlation(self._width)
            theta[-1] = rho if rho > 0 else rho * -low
        return self._structure.to_smooth(theta, self._width)

    def beside_zero(self, x: FloatArray) -> Iterator[FloatArray]:
        """Points at which standard deviations of zero are small, with correlations of any size.

        First the others are as they are; then each of them is zero in turn.
        """
        structure = self._structure
        if not structure.has_rho or x[:-1].all():
            return
        zero = x[:-1] == 0
        rhos = np.linspace(structure.lowest_correlation(self._width), 1.0, 11)[1:-1]
        thetas = np.column_stack([np.full((len(rhos), self.size - 1), SMALL), rhos])
        small = np.array([structure.to_smooth(theta, self._width) for theta in thetas])
        points = np.where(np.append(zero, True), small, x)
        yield points
        for other in np.flatnonzero(~zero):
            yield np.where(np.arange(self.size) == other, 0.0, points)

    def to_theta(self, x: FloatArray) -> FloatArray:
        if self._structure.is_free:
            return lower(self.at(x)[0])[lower_triangle(self._width)]
        return self._structure.to_theta(x * self._unit, self._width)

    def from_theta(self, theta: FloatArray) -> FloatArray:
        if self._structure.is_free:
            T = self._structure.template(theta, self._width)
            return lower(solve_triangular(self._basis, T))[lower_triangle(self._width)]
        return self._structure.to_smooth(theta, self._width) / self._unit


Coordinates = PlainCoordinates | StructuredCoordinates


def coordinates_of(objective: Objective) -> Coordinates:
    """The coordinates that suit the design."""
    if objective.blocks.design.structured:
        return StructuredCoordinates(objective)
    return PlainCoordinates(objective)
