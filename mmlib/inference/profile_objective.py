"""The ML objective with some parameters held: what likelihood profiles are made of.

Row k of the lower-triangular factor of a covariance matrix has the standard deviation of variable k
as its length, and the cosine of its angle with the first row is a correlation. So a standard
deviation is held by fixing the length of a row, a correlation by fixing its first direction cosine
(its two variables first), and no constraint is left to the search.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mmlib.arrays import FloatArray, IntArray, Numbers, lower, slopes_off_the_real_line
from mmlib.design.residual import Residual
from mmlib.design.structures import US
from mmlib.design.terms import RandomTerm, theta_by_term
from mmlib.engine.blocks import Blocks
from mmlib.engine.factor import factor_at
from mmlib.engine.objective import Evaluation, Objective
from mmlib.engine.quasi_newton import PRECISE, Point, QuadraticModel, descend
from mmlib.errors import DataError
from mmlib.inference.parameters import Parameter
from mmlib.results.estimates import Fit

NUDGE = 0.02
"""A column of a factor that starts at zero would stay there: it starts at this share of σ̂."""


class ProfileObjective:
    """The ML objective as a function of the parameters held, with all others at their best.

    Parameters
    ----------
    fit : LMMResult
        Its estimates are where a search starts; by maximum likelihood.
    held : sequence of Parameter

    Attributes
    ----------
    start : ndarray
        The free numbers at the estimates.
    """

    def __init__(self, fit: Fit, held: Sequence[Parameter]) -> None:
        design = fit.design
        self._y, self._X, self._terms = design.y, design.X, design.terms
        self._unit = fit.sigma
        self._fixed = {p.place[0]: k for k, p in enumerate(held) if p.kind == "fixed"}
        self._sigma = next((k for k, p in enumerate(held) if p.kind == "sigma"), None)
        self._blocks = _without_columns(fit, list(self._fixed)) if self._fixed else fit.blocks
        own = theta_by_term(self._terms, fit.theta)
        self._factors = [
            (_HeldFactor if term.part.structure.is_free else _HeldStructure)(
                term, self._unit, _held_in(number, held)
            )
            for number, term in enumerate(self._terms)
        ]
        starts = [f.start(theta) for f, theta in zip(self._factors, own, strict=True)]
        self._residual = _HeldResidual(design.residual, design.phi(fit.theta), held)
        starts.append(self._residual.start)
        self._ends = np.cumsum([len(start) for start in starts], dtype=int)
        self.start = np.concatenate([*starts, np.zeros(int(self._sigma is None))])
        self._model: QuadraticModel | None = None

    def minimum(self, values: Sequence[float], start: FloatArray | None = None) -> Point:
        """The lowest point with the parameters held at `values`.

        Parameters
        ----------
        values : sequence of float
            One for each parameter, in its unit.
        start : ndarray, optional
            Free numbers to start from; by default those of the estimates.

        Returns
        -------
        Point
            Infinite where σ is held at zero.
        """
        impossible = self._sigma is not None and values[self._sigma] <= 0
        if impossible or not self._residual.allows(values):
            return Point(self.start, np.inf, np.zeros_like(self.start))
        at = partial(self._at, self._objective(values), values)
        point = at(self._nudged(self.start if start is None else start))
        if len(point.x):
            model = self._model or QuadraticModel.by_differences(at, point)
            point, self._model = descend(at, point, model, tolerance=PRECISE)
        if start is None or not self._in_false_valley(point.x):
            return point
        self._model = None
        return min(point, self.minimum(values), key=lambda found: found.value)

    def _objective(self, values: Sequence[float]) -> Objective:
        """The objective with the held fixed effects moved to the offset."""
        if not self._fixed:
            return Objective(self._blocks, reml=False)
        moved = sum(values[k] * self._X[:, column] for column, k in self._fixed.items())
        return Objective(self._blocks.with_response(self._y - moved), reml=False)

    def _at(self, objective: Objective, values: Sequence[float], x: FloatArray) -> Point:
        *frees, of_residual, rest = np.split(x, self._ends)
        sigma = float(np.exp(rest[0])) if self._sigma is None else values[self._sigma] / self._unit
        parts = list(zip(self._terms, self._factors, frees, strict=True))
        lambdas = {term: factor(free, values) / sigma for term, factor, free in parts}
        phi, jacobian = self._residual(of_residual, values)
        factor = factor_at(objective.blocks, lambdas, phi)
        at = Evaluation(objective, factor, phi, sigma * self._unit)
        slopes = at.slopes
        gradient = [f.pull_back(free, values, slopes[term]) / sigma for term, f, free in parts]
        gradient.append(at.in_phi @ jacobian)
        if self._sigma is None:
            through_lambda = sum(float(np.sum(slopes[t] * lam)) for t, lam in lambdas.items())
            gradient.append(np.array([at.in_log_sigma - through_lambda]))
        return Point(x, at.value, np.concatenate([np.zeros(0), *gradient]))

    def _nudged(self, x: FloatArray) -> FloatArray:
        *frees, of_residual, rest = np.split(x, self._ends)
        moved = [f.nudged(free) for f, free in zip(self._factors, frees, strict=True)]
        return np.concatenate([*moved, of_residual, rest])

    def _in_false_valley(self, x: FloatArray) -> bool:
        frees = np.split(x, self._ends)[:-2]
        return any(
            isinstance(f, _HeldFactor) and f.in_false_valley(free)
            for f, free in zip(self._factors, frees, strict=True)
        )


def _without_columns(fit: Fit, columns: list[int]) -> Blocks:
    """Cross-products of the design without some of its fixed effects."""
    design = fit.design
    names = tuple(name for k, name in enumerate(design.fixed_names) if k not in columns)
    X = np.delete(design.X, columns, axis=1)
    return Blocks(dataclasses.replace(design, X=X, fixed_names=names))


def _held_in(number: int, held: Sequence[Parameter]) -> dict[tuple[int, ...], int]:
    """Places in the covariance matrix of a term that are held, and the number of each's value."""
    of_terms = [(p.place, k) for k, p in enumerate(held) if p.kind in ("sd", "cor")]
    return {place[1:]: k for place, k in of_terms if place[0] == number}


class _HeldStructure:
    """The factor of a term with a structure, from what a search moves of it, less what is held."""

    def __init__(self, term: RandomTerm, unit: float, held: Mapping[tuple[int, ...], int]) -> None:
        self._structure, self._width = term.part.structure, term.width
        self._unit, self._held = unit, {place[0]: k for place, k in held.items()}
        size = self._structure.size(term.width)
        self._n_sds = self._structure.n_sds(term.width)
        self._free = np.array([k for k in range(size) if k not in self._held], dtype=np.intp)
        self._least = NUDGE / (float(np.sqrt(np.mean(term.model_matrix**2))) or 1.0)

    def _whole(self, free: FloatArray, values: Sequence[float]) -> FloatArray:
        theta = np.full(self._structure.size(self._width), 0.5)
        for place, k in self._held.items():
            theta[place] = values[k] / (self._unit if place < self._n_sds else 1.0)
        whole = self._structure.to_smooth(theta, self._width)
        whole[self._free] = free
        return whole

    def __call__(self, free: FloatArray, values: Sequence[float]) -> FloatArray:
        """The factor, in units of σ̂."""
        return self._structure.at(self._whole(free, values), self._width)[0]

    def pull_back(self, free: FloatArray, values: Sequence[float], slope: FloatArray) -> FloatArray:
        """Derivative in the free numbers, from that in the factor."""
        change = self._structure.at(self._whole(free, values), self._width)[1]
        return np.einsum("kst,st->k", change[self._free], slope)

    def start(self, theta: FloatArray) -> FloatArray:
        """Free numbers at a θ."""
        return self._structure.to_smooth(theta, self._width)[self._free]

    def nudged(self, free: FloatArray) -> FloatArray:
        """The same numbers with no standard deviation at zero."""
        small = (self._free < self._n_sds) & (np.abs(free) < self._least)
        return np.where(small, self._least, free)


class _HeldResidual:
    """φ from what a search moves of it, less what is held."""

    def __init__(
        self, residual: Residual | None, phi: FloatArray, held: Sequence[Parameter]
    ) -> None:
        self._residual = residual
        self._held = {p.place[0]: k for k, p in enumerate(held) if p.kind == "residual"}
        self._limits = [(k, p.limits) for k, p in enumerate(held) if p.kind == "residual"]
        self._order: IntArray | None = None
        self._at: dict[int, int] = {place: place for place in self._held}
        if residual is None:
            self._phi, self.start = phi, phi
            return
        first = sum(residual.n_ratios)
        pairs = [place for place in self._held if place >= first and residual.visits]
        if len(pairs) > 1:
            raise DataError("two correlations of residuals cannot be held together; choose one.")
        for place in pairs:  # its visits first
            i, j = (int(each[place - first]) for each in residual.pairs)
            others = [k for k in range(len(residual.visits)) if k not in (i, j)]
            self._order = np.array([j, i, *others], dtype=np.intp)
            self._at[place] = first
        self._phi = phi
        whole = residual.to_smooth(phi, self._order)
        taken = set(self._at.values())
        self._free = np.array([k for k in range(len(whole)) if k not in taken], dtype=np.intp)
        self.start = whole[self._free]

    def allows(self, values: Sequence[float]) -> bool:
        """Whether what is held is possible: off its limits."""
        return all(low < values[k] < high for k, (low, high) in self._limits)

    def __call__(self, free: FloatArray, values: Sequence[float]) -> tuple[FloatArray, FloatArray]:
        """φ, and its Jacobian in the free numbers."""
        residual = self._residual
        if residual is None:
            return np.zeros(0), np.zeros((0, 0))
        whole = np.zeros(residual.size)
        whole[self._free] = free
        for place, k in self._held.items():
            whole[self._at[place]] = self._held_number(place, values[k])
        phi, jacobian = residual.from_smooth(whole, self._order)
        return phi, jacobian[:, self._free]

    def _held_number(self, place: int, value: float) -> float:
        """What the search would move, where the parameter has a value."""
        residual = self._residual
        assert residual is not None
        if self._order is not None and place >= sum(residual.n_ratios):
            return value / float(np.sqrt(1 - value**2))
        phi = self._phi.copy()
        phi[place] = value
        return float(residual.to_smooth(phi)[place])


class _HeldFactor:
    """The factor of one term's covariance, row by row from free numbers.

    Variables are divided by their root mean squares, lengths by σ̂. The first variable is one that
    all held correlations share.
    """

    def __init__(self, term: RandomTerm, unit: float, held: Mapping[tuple[int, ...], int]) -> None:
        pairs = [place for place in held if len(place) == 2]
        shared = set(range(term.width)).intersection(*pairs)
        if not shared:
            raise DataError(
                f"two correlations of {term.part} that share no variable cannot be held together; "
                "choose two that share one."
            )
        first = min({k for k in shared if (k,) in held} or shared)
        cors = {k: held[pair] for pair in pairs for k in pair if k != first}
        others = [k for k in range(term.width) if k != first and k not in cors]
        self.order: IntArray = np.array([first, *cors, *others], dtype=np.intp)
        self.scales = np.sqrt(np.mean(term.model_matrix**2, axis=0))
        self.rows: list[_HeldRow] = []
        self.n_free = 0
        for k in self.order.tolist():
            size = len(self.rows) + 1 - (k in cors)
            if size == 1 and (k,) in held:
                size = 0
            span = slice(self.n_free, self.n_free + size)
            scale = float(self.scales[k]) / unit
            positive = bool(cors) and k == first
            self.rows.append(_HeldRow(span, scale, held.get((k,)), cors.get(k), positive))
            self.n_free += size

    def __call__(self, free: Numbers, values: Sequence[float]) -> Numbers:
        """The factor for the variables in the term's own order and units."""
        ordered = np.zeros((len(self.rows), len(self.rows)), dtype=free.dtype)
        for k, row in enumerate(self.rows):
            ordered[k, : k + 1] = row(free[row.span], values)
        factor = np.empty_like(ordered)
        factor[self.order] = ordered
        return factor / self.scales[:, None]

    def pull_back(self, free: FloatArray, values: Sequence[float], slope: FloatArray) -> FloatArray:
        """Derivative in the free numbers, from that in the factor, by steps off the real line."""
        changes = slopes_off_the_real_line(lambda x: self(x, values), free)
        return np.array([np.sum(change * slope) for change in changes])

    def start(self, theta: FloatArray) -> FloatArray:
        """Free numbers that give the factor of a θ, or one near it with what is held."""
        factor = US.template(theta, len(self.rows))
        ordered = lower((self.scales[:, None] * factor)[self.order])
        free = np.empty(self.n_free)
        for k, row in enumerate(self.rows):
            free[row.span] = row.start(ordered[k, : k + 1])
        return free

    def nudged(self, free: FloatArray) -> FloatArray:
        """The same numbers with no column at zero, where the search could not move it."""
        moved = free.copy()
        for row in self.rows:
            last = row.span.stop - 1
            least = np.sqrt(NUDGE) if row.has_free_length else NUDGE
            if row.span.start <= last and abs(free[last]) < least:
                moved[last] = least
        return moved

    def in_false_valley(self, free: FloatArray) -> bool:
        """Whether a length is about zero, where a held correlation makes a valley of its own."""
        roots = [np.linalg.norm(free[row.span]) for row in self.rows if row.has_free_length]
        return bool(min(roots, default=1.0) ** 2 < NUDGE)


@dataclass(frozen=True)
class _HeldRow:
    """A row of a factor from free numbers v: its length, |v|, times its direction, v/|v|.

    A standard deviation, the value number `sd`, replaces the length; with the correlation ρ, the
    value number `cor`, the direction is (ρ, √(1 − ρ²) v/|v|). Where correlations are held, the
    first row is `positive`, as turning it would turn their signs. A length that stands alone, its
    direction being held, is |v|²: so the objective is smooth where it is zero.
    """

    span: slice
    scale: float
    sd: int | None
    cor: int | None
    positive: bool

    @property
    def has_free_length(self) -> bool:
        """Whether the length is free, and not the direction."""
        return self.sd is None and (self.cor is not None or self.positive)

    def __call__(self, v: Numbers, values: Sequence[float]) -> Numbers:
        """The row."""
        length, direction = _polar(v)
        if self.sd is not None:
            length = values[self.sd] * self.scale
        elif self.has_free_length:
            length **= 2
        if self.positive:
            return np.array([length])
        if self.cor is not None:
            cosine = values[self.cor]
            direction = np.append(cosine, np.sqrt(1 - cosine**2) * direction)
        return length * direction

    def start(self, row: FloatArray) -> FloatArray:
        """Numbers v that give the row, or its length where the direction is held."""
        size = self.span.stop - self.span.start
        if self.has_free_length:
            return np.sqrt(np.linalg.norm(row)) * _polar(row[-size:])[1]
        return row[len(row) - size :]


def _polar(v: Numbers) -> tuple[Any, Numbers]:
    """Length and direction; that of no number, or of zero, is the last axis."""
    length = np.sqrt(v @ v)
    if abs(length) > 0:
        return length, v / length
    direction = np.zeros(max(len(v), 1))
    direction[-1] = 1.0
    return length, direction
