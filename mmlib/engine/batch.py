"""Fit one design to many responses at once: the refits of a bootstrap.

Only y differs between the refits, but each has its own θ. So every step of the blocked Cholesky
factorisation (see `mmlib.engine.blocks`) is done for all responses together, as arrays whose first
axis runs over the responses. Two facts make a step cheap. Levels of the first grouping with the
same cross-products A_j share W_j = λ(λᵀA_jλ + I)⁻¹λᵀ, so a balanced design has only one. And the
matrix left after the elimination, T = A00 − Σ_g ⟨W_g, C_g⟩, is linear in the W_g, with products C_g
that are added up once. As in `mmlib.engine.optimize`, the search works in scaled columns of Z.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmlib.arrays import FloatArray, left_by
from mmlib.engine.blocks import Blocks
from mmlib.engine.elimination import summing
from mmlib.engine.factor import shrunk, template_slope
from mmlib.engine.objective import Objective
from mmlib.engine.optimize import NEGLIGIBLE, SMALL_COLUMN, column_signs, small_parts, without
from mmlib.engine.quasi_newton import DIFFERENCE_STEP, DOWNWARD, PRECISE
from mmlib.engine.starts import further_starts

MAX_COLUMNS = 60
"""Columns of [Z_rest X] up to which the responses are taken together."""

MAX_PRODUCTS = 4 * 10**6
"""Numbers stored in the products C_g up to which they are."""

LEAST_CURVATURE = 1e-6
"""Smallest curvature, relative to the largest, that a step believes in."""

MAX_STEPS = 40
SMALLEST_START = 0.1
"""At a diagonal entry of zero the slope is zero, so a search must start away from it."""

SUFFICIENT = 1e-3
"""Share of the fall that the slope promises which a step must bring (Armijo)."""


@dataclass(frozen=True, eq=False)
class ManyFits:
    """Minimum of the objective for each response.

    Attributes
    ----------
    theta : ndarray, shape (B, k)
    objective : ndarray, shape (B,)
    expected_decrease : ndarray, shape (B,)
        What is still to gain, by the quadratic model at `theta`.
    converged : ndarray of bool, shape (B,)
    """

    theta: FloatArray
    objective: FloatArray
    expected_decrease: FloatArray
    converged: np.ndarray

    @classmethod
    def none_at(cls, theta: FloatArray) -> ManyFits:
        """No minimum yet, for each response."""
        nothing = np.full(len(theta), np.inf)
        return cls(theta, nothing, nothing.copy(), nothing < 0)


def suits(blocks: Blocks) -> bool:
    """Whether the design is small enough to take its responses together."""
    if not blocks.groupings or blocks.design.structured:
        return False
    first, columns = blocks.groupings[0], blocks.plan.q + blocks.p
    pairs = first.width * (first.width + 1) // 2
    return columns <= MAX_COLUMNS and first.n_levels * pairs * columns**2 <= MAX_PRODUCTS


class BatchModel:
    """A design with random terms, ready to be fitted to many responses.

    Parameters
    ----------
    blocks : Blocks
    reml : bool
    """

    def __init__(self, blocks: Blocks, *, reml: bool) -> None:
        self.reml, self._blocks = reml, blocks
        self._objective = Objective(blocks, reml=reml)
        self._first, *self._later = blocks.groupings
        self._size = blocks.n_entries
        self._columns = blocks.theta_columns
        self._add_products()

    def _add_products(self) -> None:
        """Everything that depends neither on θ nor on y."""
        first, S, A11 = self._first, self._first.width, self._blocks.own[0]
        self._q = self._blocks.plan.q
        rest = [Zt.toarray().T for Zt in self._blocks.Zt[1:]]
        self._dense = np.hstack([*rest, self._blocks.basis])
        self._T0 = self._dense.T @ self._dense
        self._A10 = (self._blocks.Zt[0] @ self._dense).reshape(first.n_levels, S, len(self._T0))
        scale = np.abs(A11).max()
        _, chosen, kind = np.unique(
            np.round(A11 / scale, 10).reshape(first.n_levels, -1),
            axis=0,
            return_index=True,
            return_inverse=True,
        )
        self._A11 = A11[chosen]
        self._type_counts = np.bincount(kind)
        self._by_type = summing(kind, len(chosen))
        products = [self._over_levels(self._A10, s, t) for s, t in np.ndindex(S, S)]
        self._C = np.stack(products, axis=1).reshape(len(chosen) * S * S, self._T0.size)

    def _over_levels(self, columns: FloatArray, s: int, t: int) -> FloatArray:
        """Products of column s of [Z_rest X] and t of others, summed over each type of level."""
        products = self._A10[:, s, :, None] * columns[:, t, None]
        return np.asarray(self._by_type @ products.reshape(len(products), products[0].size))

    def fit(self, responses: FloatArray, start: FloatArray) -> ManyFits:
        """Fit every response, shape (B, n), starting from θ = `start`, shape (k,).

        Where the likelihood may have several valleys, further searches start where those of a
        single fit do, and the best counts.
        """
        y = self._cross_products(responses)
        fits = self._search(y, self._blocks.to_scaled(start))
        for further in further_starts(self._blocks):
            other = self._search(y, further)
            gained = other.objective < fits.objective - NEGLIGIBLE * (1 + np.abs(other.objective))
            better = other.converged & (gained | ~fits.converged)
            for name in ("theta", "objective", "expected_decrease", "converged"):
                getattr(fits, name)[better] = getattr(other, name)[better]
        return fits

    def _search(self, y: _Responses, scaled: FloatArray) -> ManyFits:
        with np.errstate(all="ignore"):
            try:
                search = _Newton(self, y, scaled)
                search.run()
            except np.linalg.LinAlgError:  # one singular matrix stops them all
                return ManyFits.none_at(np.zeros((len(y.total), self._size)))
        theta = self._blocks.to_theta(search.scaled)
        return ManyFits(theta, search.value, search.decrease, search.converged)

    def _cross_products(self, responses: FloatArray) -> _Responses:
        if self._blocks.offset is not None:
            responses = responses - self._blocks.offset
        weighted = self._blocks.whiten(np.ascontiguousarray(responses.T))
        residual = left_by(self._blocks.basis, weighted)
        S, B, m = self._first.width, len(responses), len(self._T0)
        z = (self._blocks.Zt[0] @ residual).reshape(-1, S, B)
        pairs = list(np.ndindex(S, S))
        mixed = np.stack([self._over_levels(z, s, t) for s, t in pairs], axis=1)
        square = np.stack([self._by_type @ (z[:, s] * z[:, t]) for s, t in pairs], axis=1)
        return _Responses(
            dense=(self._dense.T @ residual).T,
            total=np.einsum("ib,ib->b", residual, residual),
            mixed=np.ascontiguousarray(mixed.reshape(len(self._C), m, B).transpose(2, 0, 1)),
            square=np.ascontiguousarray(square.reshape(-1, B).T),
        )

    def value_and_gradient(
        self, scaled: FloatArray, y: _Responses
    ) -> tuple[FloatArray, FloatArray]:
        """Objective, shape (B,), and gradient, shape (B, k); NaN where it breaks down."""
        lam = self._first.template(scaled)
        log_det, N, W, shrink = shrunk(self._A11, lam[:, None])
        w = W.reshape(len(scaled), -1)
        m = len(self._T0)
        T = self._T0 - (w @ self._C).reshape(len(scaled), m, m)
        t = y.dense - np.einsum("bg,bgm->bm", w, y.mixed)
        total = y.total - np.einsum("bg,bg->b", w, y.square)
        later = self._later_templates(scaled)
        TB, S, s = self._scale(T, t, later)
        value, S_bar, s_bar, total_bar = self._solve(S, s, total)

        gradient = np.zeros((len(scaled), self._size))
        T_bar, t_bar = S_bar, s_bar
        if self._q:
            slope = 2 * (TB @ S_bar + t[:, :, None] * s_bar[:, None, :])
            self._later_gradient(slope, gradient)
            T_bar = later @ S_bar @ np.swapaxes(later, 1, 2)
            t_bar = np.einsum("bij,bj->bi", later, s_bar)
        w_bar = -(T_bar.reshape(len(scaled), m * m) @ self._C.T)
        w_bar -= 2 * np.einsum("bgm,bm->bg", y.mixed, t_bar) + y.square * total_bar[:, None]
        own = self._type_counts[:, None, None] * self._A11
        w_bar = w_bar.reshape(W.shape)
        slope = template_slope(own, N, shrink, (w_bar + np.swapaxes(w_bar, 2, 3)) / 2)
        gradient[:, self._first.positions] = slope[:, *self._first.triangle]
        return value + log_det @ self._type_counts, gradient

    def _scale(
        self, T: FloatArray, t: FloatArray, later: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """TB, S = BᵀTB + I and s = Bᵀt, where B applies the templates of the later groupings."""
        if not self._q:
            return T, T, t
        TB = T @ later
        S = np.swapaxes(later, 1, 2) @ TB
        effects = np.arange(self._q)
        S[:, effects, effects] += 1
        return TB, S, (t[:, None] @ later)[:, 0]

    def _solve(
        self, S: FloatArray, s: FloatArray, total: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """The objective without Σ log|F|, and its derivatives in S, s and `total`."""
        q = self._q
        inverse = np.linalg.inv(S)
        coefficients = np.einsum("bij,bj->bi", inverse, s)
        rss = total - np.einsum("bi,bi->b", s, coefficients)
        counted = len(S[0]) if self.reml else q
        log_det = np.linalg.slogdet(S[:, :counted, :counted])[1]
        value = self._objective.compose(log_det, 0.0, np.where(rss > 0, rss, np.nan))
        S_bar = np.zeros_like(S)
        S_bar[:, :counted, :counted] = inverse if self.reml else np.linalg.inv(S[:, :q, :q])
        total_bar = self._objective.dof / rss
        s_bar = -coefficients * total_bar[:, None]
        S_bar -= coefficients[:, :, None] * s_bar[:, None, :]
        return value, S_bar, s_bar, total_bar

    def _later_templates(self, scaled: FloatArray) -> FloatArray:
        """The matrix that applies the templates of the later groupings, shape (B, m, m)."""
        scaling = np.zeros((len(scaled), len(self._T0), len(self._T0)))
        start = 0
        for grouping in self._later:
            lam, width = grouping.template(scaled), grouping.width
            corners = start + np.arange(grouping.n_levels) * width
            for s in range(width):
                for t in range(s + 1):
                    scaling[:, corners + s, corners + t] = lam[:, s, t, None]
            start += grouping.n_effects
        fixed = np.arange(self._q, len(self._T0))
        scaling[:, fixed, fixed] = 1.0
        return scaling

    def _later_gradient(self, slope: FloatArray, gradient: FloatArray) -> None:
        """Add up the slope in the entries of each later template."""
        start = 0
        for grouping in self._later:
            corners = start + np.arange(grouping.n_levels) * grouping.width
            for position, s, t in zip(grouping.positions, *grouping.triangle, strict=True):
                gradient[:, position] = slope[:, corners + s, corners + t].sum(axis=1)
            start += grouping.n_effects


@dataclass(frozen=True, eq=False)
class _Responses:
    """Cross-products of B responses with the design; the first axis runs over the responses."""

    dense: FloatArray
    total: FloatArray
    mixed: FloatArray
    square: FloatArray

    def __getitem__(self, rows: np.ndarray) -> _Responses:
        return _Responses(self.dense[rows], self.total[rows], self.mixed[rows], self.square[rows])


class _Newton:
    """Newton's method for all responses together, each with its own step and its own end.

    The Hessian comes from differences of the gradient; negative curvatures are turned round, so
    that a step leads away from saddles, and a step that does not descend is halved.
    """

    def __init__(self, model: BatchModel, y: _Responses, start: FloatArray) -> None:
        self._model, self._y = model, y
        start = start.copy()
        diagonal = [column[0] for column in model._columns]
        start[diagonal] = np.maximum(start[diagonal], SMALLEST_START)
        self.scaled = np.tile(start, (len(y.total), 1))
        self.value, self.gradient = model.value_and_gradient(self.scaled, y)
        self.decrease = np.full(len(self.scaled), np.inf)
        self.converged = np.zeros(len(self.scaled), dtype=bool)

    def run(self) -> None:
        """Search until every response is at a minimum, or cannot move."""
        active = np.flatnonzero(np.isfinite(self.value))
        for _ in range(MAX_STEPS):
            active = self._step(active)
            if not len(active):
                break
        self.scaled *= column_signs(self.scaled, self._model._columns)
        self._snap()

    def _step(self, rows: np.ndarray) -> np.ndarray:
        """One Newton step of the responses `rows`; those that are not yet at a minimum."""
        y, scaled, gradient = self._y[rows], self.scaled[rows], self.gradient[rows]
        hessian = self._hessian(y, scaled, gradient)
        usable = np.flatnonzero(np.isfinite(hessian).all(axis=(1, 2)))
        rows, gradient = rows[usable], gradient[usable]
        curvature, directions = np.linalg.eigh(hessian[usable])
        largest = np.abs(curvature).max(axis=1, keepdims=True)
        slopes = np.einsum("bij,bi->bj", directions, gradient)
        steep = np.maximum(np.abs(curvature), LEAST_CURVATURE * largest)
        step = -np.einsum("bij,bj->bi", directions, slopes / steep)
        decrease = np.sum(slopes**2 / steep, axis=1) / 2
        saddle = curvature[:, 0] < -DOWNWARD * largest[:, 0]
        flat = decrease <= PRECISE * (1 + np.abs(self.value[rows]))
        self.decrease[rows] = decrease
        self.converged[rows] = flat & ~saddle
        step[flat & saddle] = 0.1 * directions[flat & saddle, :, 0]
        going = ~self.converged[rows]
        moved = self._search(rows[going], step[going])
        return rows[going][moved]

    def _hessian(self, y: _Responses, scaled: FloatArray, gradient: FloatArray) -> FloatArray:
        hessian = np.empty((*scaled.shape, scaled.shape[1]))
        for k in range(scaled.shape[1]):
            shifted = scaled.copy()
            shifted[:, k] += DIFFERENCE_STEP
            slope = self._model.value_and_gradient(shifted, y)[1]
            hessian[:, k] = (slope - gradient) / DIFFERENCE_STEP
        return (hessian + hessian.transpose(0, 2, 1)) / 2

    def _search(self, rows: np.ndarray, step: FloatArray) -> np.ndarray:
        """Take each step, halved until the objective falls enough; False where it never does."""
        scaled = self.scaled[rows]
        longest = (1 + np.linalg.norm(scaled, axis=1)) / np.linalg.norm(step, axis=1)
        step = step * np.minimum(1, longest)[:, None]
        slope = np.einsum("bi,bi->b", self.gradient[rows], step)
        moved = np.zeros(len(rows), dtype=bool)
        for _ in range(12):
            waiting = np.flatnonzero(~moved)
            if not len(waiting):
                break
            trial, old = scaled[waiting] + step[waiting], self.value[rows[waiting]]
            value, gradient = self._model.value_and_gradient(trial, self._y[rows[waiting]])
            # Without a demand on the fall, a point could jump to and fro across a valley.
            better = value <= old + SUFFICIENT * slope[waiting] + 1e-12 * np.abs(old)
            chosen = rows[waiting[better]]
            self.scaled[chosen] = trial[better]
            self.value[chosen], self.gradient[chosen] = value[better], gradient[better]
            moved[waiting[better]] = True
            step[waiting] /= 2
            slope[waiting] /= 2
        return moved

    def _snap(self) -> None:
        """Set small columns, and small diagonal entries, to zero unless the objective rises."""
        for small in small_parts(self._model._columns):
            size = np.abs(self.scaled[:, small]).max(axis=1)
            rows = np.flatnonzero((size > 0) & (size < SMALL_COLUMN))
            if not len(rows):
                continue
            trial = without(self.scaled[rows], small)
            value, _ = self._model.value_and_gradient(trial, self._y[rows])
            kept = value <= self.value[rows] + NEGLIGIBLE * (1 + np.abs(value))
            self.scaled[rows[kept]], self.value[rows[kept]] = trial[kept], value[kept]
