"""Fit one design to many responses, by the fastest engine that takes it."""

from __future__ import annotations

import dataclasses

import numpy as np

from mmlib.arrays import FloatArray
from mmlib.design.checks import require_estimated_sigma
from mmlib.engine import batch, spectral
from mmlib.engine.batch import BatchModel, ManyFits
from mmlib.engine.blocks import Blocks
from mmlib.engine.factor import factorize
from mmlib.engine.objective import Objective
from mmlib.engine.optimize import minimize_objective
from mmlib.engine.spectral import SpectralModel
from mmlib.errors import DataError
from mmlib.results.estimates import Fit

ROUNDING = 1e-9
"""Differences of objectives below this share of their size may be due to the search alone."""

WORSE = 1e-6
"""A larger model whose objective is higher by more than this share has missed its minimum."""

NUMBERS_AT_ONCE = 2 * 10**6
"""Simulated numbers in a chunk, at most (if one response has not more)."""


class Refitter:
    """Refits of one design, by the fastest engine that takes it.

    One scalar term: the spectral engine, or, where its eigenproblem is too large, a search of the
    whole half-line for each response, as a fit does it. Other small designs: Newton's method for
    all responses together. Large designs, and responses on which it gets stuck: one by one.

    Parameters
    ----------
    fit : LMMResult
        Its design and criterion are refitted, starting from its θ.
    """

    def __init__(self, fit: Fit) -> None:
        require_estimated_sigma(fit.design, "a simulation")
        self.reml, self._start = fit.reml, np.array(fit.theta)
        self._blocks: Blocks = fit.blocks
        self._spectral = SpectralModel(fit.design) if spectral.suits(fit.design) else None
        self._batch = None
        if len(self._start) > 1 and batch.suits(fit.blocks):
            self._batch = BatchModel(fit.blocks, reml=fit.reml)

    @property
    def chunk(self) -> int:
        """Responses that are best taken together."""
        most = 1000 if self._spectral else 250 if self._batch else 25
        return int(np.clip(NUMBERS_AT_ONCE // self._blocks.n, 1, most))

    def __call__(self, responses: FloatArray) -> ManyFits:
        """Fit every response, shape (B, n)."""
        if self._spectral is not None:
            maxima = self._spectral.fit(responses, reml=self.reml)
            theta = np.sqrt(maxima.lam)[:, None][:, : self._blocks.n_entries]
            found = np.isfinite(maxima.objective)
            return ManyFits(theta, maxima.objective, np.where(found, 0.0, np.inf), found)
        fits = ManyFits.none_at(np.tile(self._start, (len(responses), 1)))
        if self._batch is not None:
            fits = self._batch.fit(responses, self._start)
        self.again(responses, fits, np.flatnonzero(~fits.converged))
        return fits

    def criterion(self, fits: ManyFits) -> FloatArray:
        """The objectives; by REML, as they are with an orthonormal basis of X."""
        return fits.objective - (2 * self._blocks.log_det_X if self.reml else 0.0)

    def again(self, responses: FloatArray, fits: ManyFits, rows: np.ndarray) -> None:
        """Fit the responses `rows` one by one, and keep what lowers the objective."""
        for row in rows:
            blocks = self._blocks.with_response(responses[row])
            try:
                found = minimize_objective(Objective(blocks, reml=self.reml))
            except (DataError, np.linalg.LinAlgError):
                found = None
            if found is not None and not found.objective > fits.objective[row]:
                fits.theta[row], fits.objective[row] = found.theta, found.objective
                fits.expected_decrease[row] = found.expected_decrease
                fits.converged[row] = found.converged
            elif not fits.converged[row]:
                fits.objective[row] = np.nan


def likelihood_ratios(
    small: Refitter, large: Refitter, responses: FloatArray, fits: ManyFits
) -> FloatArray:
    """The statistics of many responses, given the larger model's refits; NaN without a minimum."""
    low = small.criterion(small(responses))
    size = 1 + np.abs(low)
    large.again(responses, fits, np.flatnonzero(large.criterion(fits) > low + WORSE * size))
    statistics = low - large.criterion(fits)
    statistics[statistics < -WORSE * size] = np.nan
    statistics[statistics < ROUNDING * size] = 0.0
    return statistics


def refitted(fit: Fit, y: FloatArray, fits: ManyFits, row: int) -> Fit:
    """The fit to `y`, at a minimum that is known: it is not searched again."""
    blocks, theta = fit.blocks.with_response(y), fits.theta[row]
    optimum = dataclasses.replace(
        fit.optimum,
        start=fit.theta,
        theta=theta,
        objective=float(fits.objective[row]),
        factor=factorize(blocks, theta),
        expected_decrease=float(fits.expected_decrease[row]),
        converged=bool(fits.converged[row]),
    )
    return dataclasses.replace(fit, optimum=optimum)
