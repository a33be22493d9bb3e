"""P-values of one test in many simulated studies: what the power of a test is made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mmlib.arrays import BoolArray, FloatArray
from mmlib.design.design import Design
from mmlib.design.terms import templates
from mmlib.engine.batch import ManyFits
from mmlib.engine.blocks import Blocks
from mmlib.engine.factor import factorize
from mmlib.engine.objective import Objective
from mmlib.engine.optimize import Optimum
from mmlib.engine.spectral import SpectralModel
from mmlib.engine.threads import single_threaded
from mmlib.errors import DataError, MMError
from mmlib.inference.bootstrap import draw_responses, parametric_bootstrap
from mmlib.inference.kenward_roger_many import ManyKenwardRoger
from mmlib.inference.pvalues import HypothesisTest, chi2_tail, simulated_pvalue
from mmlib.inference.refits import Refitter, likelihood_ratios, refitted
from mmlib.results.estimates import SINGULAR_TOLERANCE, Fit
from mmlib.results.simulate import Truth, n_spherical, responses_to

INNER = 199
"""Replicates of each bootstrap test whose power is simulated; (1 + INNER)·α is whole for 5 %."""

TIE = 1e-8
"""Simulated statistics this close below the observed one count as equal to it."""

NULL_DRAWS = 10_000
"""Draws from the null distribution of an exact test."""

Numbers = tuple[np.random.SeedSequence, range]
"""The seed of a run, and the numbers of its replicates."""

PValue = Callable[[Fit], HypothesisTest | float]


class PValues(Protocol):
    """Gives the p-value of each response, NaN where it fails, from the refits of the model."""

    def __call__(self, responses: FloatArray, fits: ManyFits, numbers: Numbers) -> Any:
        """The p-values, shape (B,)."""


@dataclass(frozen=True, eq=False)
class Replicates:
    """Draws responses from the truth, and the p-value of each with a flag for the boundary."""

    design: Design
    truth: Truth
    blocks: Blocks
    refitter: Refitter
    test: PValues

    @property
    def chunk(self) -> int:
        """Responses that are taken together."""
        return min(self.refitter.chunk, 10 if isinstance(self.test, Bootstrap) else 250)

    def __call__(self, seed: np.random.SeedSequence, part: range) -> FloatArray:
        """P-values and flags of the replicates with these numbers, shape (len(part), 2)."""
        responses = draw_responses(self.design, self.truth, seed, part)
        fits = self.refitter(responses)
        pvalues = np.asarray(self.test(responses, fits, (seed, part)), dtype=float)
        pvalues[~np.isfinite(fits.objective)] = np.nan
        return np.column_stack([pvalues, on_boundary(self.blocks, fits.theta)])


@dataclass(frozen=True, eq=False)
class OfFits:
    """A test that needs the whole fit."""

    model: Fit
    p_value: PValue

    def __call__(self, responses: FloatArray, fits: ManyFits, numbers: Numbers) -> FloatArray:
        """The p-values, shape (B,)."""
        del numbers
        return np.array([self._one(y, fits, row) for row, y in enumerate(responses)])

    def _one(self, y: FloatArray, fits: ManyFits, row: int) -> float:
        try:
            outcome = self.p_value(refitted(self.model, y, fits, row))
        except (MMError, np.linalg.LinAlgError):
            return float("nan")
        return _as_pvalue(outcome)

    def of(self, fit: Fit) -> float:
        """The p-value of one fit."""
        return _as_pvalue(self.p_value(fit))


def _as_pvalue(outcome: Any) -> float:
    if isinstance(outcome, HypothesisTest):
        return outcome.pvalue
    try:
        return float(outcome)
    except (TypeError, ValueError):
        raise DataError(
            f"test must return a p-value or a test, not {outcome!r:.60}; end the function with "
            "return …pvalue."
        ) from None


@dataclass(frozen=True, eq=False)
class ManyFTests:
    """Kenward and Roger's test of all responses together; one by one where a matrix is singular."""

    together: ManyKenwardRoger
    singly: OfFits

    def __call__(self, responses: FloatArray, fits: ManyFits, numbers: Numbers) -> FloatArray:
        """The p-values, shape (B,)."""
        found = np.isfinite(fits.objective) & np.isfinite(fits.theta).all(axis=1)
        pvalues = np.full(len(responses), np.nan)
        try:
            pvalues[found] = self.together(responses[found], fits.theta[found])
        except np.linalg.LinAlgError:
            pvalues = self.singly(responses, fits, numbers)
        return pvalues


@dataclass(frozen=True, eq=False)
class LikelihoodRatio:
    """The likelihood-ratio test against a smaller model."""

    small: Refitter
    large: Refitter
    df: int

    def __call__(self, responses: FloatArray, fits: ManyFits, numbers: Numbers) -> FloatArray:
        """The p-values, shape (B,)."""
        del numbers
        return chi2_tail(self.df, likelihood_ratios(self.small, self.large, responses, fits))


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """The parametric bootstrap against a smaller model."""

    small: Fit
    large: Fit

    def __call__(self, responses: FloatArray, fits: ManyFits, numbers: Numbers) -> FloatArray:
        """The p-values, shape (B,)."""
        seed, part = numbers
        low = Refitter(self.small)(responses)
        return np.array(
            [
                parametric_bootstrap(
                    refitted(self.small, y, low, row),
                    refitted(self.large, y, fits, row),
                    nsim=INNER,
                    rng=np.random.default_rng([*np.atleast_1d(seed.generate_state(4)), number]),
                    progress=False,
                ).pvalue
                for row, (number, y) in enumerate(zip(part, responses, strict=True))
            ]
        )


@dataclass(frozen=True, eq=False)
class Exact:
    """The exact restricted likelihood-ratio test of the one variance."""

    model: SpectralModel
    null: FloatArray

    def __call__(self, responses: FloatArray, fits: ManyFits, numbers: Numbers) -> FloatArray:
        """The p-values, shape (B,)."""
        del fits, numbers
        gains = self.model.fit(responses, reml=True).gain
        return simulated_pvalue(gains, self.null, tie=TIE * (1 + gains))[0]


def exact_test(design: Design, seed: int) -> Exact:
    """The test with its null distribution, drawn once."""
    model = SpectralModel(design)
    energies = model.spectrum.draw_energies(NULL_DRAWS, np.random.default_rng([seed, 1]))
    return Exact(model, model.spectrum.maximize(energies, reml=True).gain)


def on_boundary(blocks: Blocks, theta: FloatArray) -> BoolArray:
    """Whether each θ, shape (B, k), has a term whose covariance matrix lacks rank."""
    found = np.zeros(len(theta), dtype=bool)
    if blocks.design.structured:
        for row, one in enumerate(theta):
            for term, T in zip(
                blocks.design.terms, templates(blocks.design.terms, one), strict=True
            ):
                scaled = np.sqrt(np.mean(term.model_matrix**2, axis=0))[:, None] * T
                smallest = np.linalg.svd(scaled, compute_uv=False)[-1]
                found[row] |= bool(smallest <= SINGULAR_TOLERANCE)
        return found
    for grouping in blocks.groupings:
        scaled = grouping.to_scaled(grouping.template(theta))
        for span in grouping.spans.values():
            smallest = np.linalg.svd(scaled[:, span, span], compute_uv=False)[:, -1]
            found |= smallest <= SINGULAR_TOLERANCE
    return found


def draw_one(design: Design, truth: Truth) -> FloatArray:
    """One response, always the same."""
    spherical = np.random.default_rng(0).standard_normal((1, n_spherical(design)))
    return responses_to(design, truth, spherical)[0]


def fitted(design: Design, y: FloatArray, *, reml: bool) -> Fit:
    """The fit of a design to a response."""
    with single_threaded():
        design = dataclasses.replace(design, y=y)
        return Fit.of(Blocks(design), reml=reml)


def at_theta(design: Design, theta: FloatArray, *, reml: bool) -> Fit:
    """A fit of a design whose θ is known."""
    blocks = Blocks(design)
    factor = factorize(blocks, theta)
    optimum = Optimum(
        start=theta,
        theta=theta,
        objective=Objective(blocks, reml=reml).value(factor),
        factor=factor,
        evaluations=1,
        restarts=0,
        expected_decrease=0.0,
        smallest_curvature=1.0,
        converged=True,
    )
    return Fit(design=design, blocks=factor.blocks, reml=reml, optimum=optimum)
