"""P-values of one test in many simulated studies: what the power of a test is made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

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


PValues = Callable[[FloatArray, ManyFits, Numbers], FloatArray]
"""Gives the p-value of each response, NaN where it fails, from the refits of the model."""


def replicates(
    design: Design,
    truth: Truth,
    blocks: Blocks,
    refitter: Refitter,
    test: PValues,
    seed: np.random.SeedSequence,
    part: range,
) -> FloatArray:
    """P-values of responses drawn from the truth, and flags for the boundary: (len(part), 2)."""
    responses = draw_responses(design, truth, seed, part)
    fits = refitter(responses)
    pvalues = test(responses, fits, (seed, part))
    pvalues[~np.isfinite(fits.objective)] = np.nan
    return np.column_stack([pvalues, on_boundary(blocks, fits.theta)])


def of_fits(
    model: Fit, p_value: PValue, responses: FloatArray, fits: ManyFits, _: Numbers
) -> FloatArray:
    """A test that needs the whole fit."""
    pvalues = np.full(len(responses), np.nan)
    for row, y in enumerate(responses):
        try:
            outcome = p_value(refitted(model, y, fits, row))
        except (MMError, np.linalg.LinAlgError):
            continue
        pvalues[row] = as_pvalue(outcome)
    return pvalues


def as_pvalue(outcome: Any) -> float:
    """What a test by a function says."""
    if isinstance(outcome, HypothesisTest):
        return outcome.pvalue
    try:
        return float(outcome)
    except (TypeError, ValueError):
        raise DataError(
            f"test must return a p-value or a test, not {outcome!r:.60}; end the function with "
            "return …pvalue."
        ) from None


def many_f_tests(
    together: ManyKenwardRoger,
    singly: PValues,
    responses: FloatArray,
    fits: ManyFits,
    numbers: Numbers,
) -> FloatArray:
    """Kenward and Roger's test of all responses together; one by one where a matrix is singular."""
    found = np.isfinite(fits.objective) & np.isfinite(fits.theta).all(axis=1)
    pvalues = np.full(len(responses), np.nan)
    try:
        pvalues[found] = together(responses[found], fits.theta[found])
    except np.linalg.LinAlgError:
        pvalues = singly(responses, fits, numbers)
    return pvalues


def likelihood_ratio(
    small: Refitter, large: Refitter, df: int, responses: FloatArray, fits: ManyFits, _: Numbers
) -> FloatArray:
    """The likelihood-ratio test against a smaller model."""
    return chi2_tail(df, likelihood_ratios(small, large, responses, fits))


def bootstrap(
    small: Fit, large: Fit, responses: FloatArray, fits: ManyFits, numbers: Numbers
) -> FloatArray:
    """The parametric bootstrap against a smaller model."""
    seed, part = numbers
    low = Refitter(small)(responses)
    return np.array(
        [
            parametric_bootstrap(
                refitted(small, y, low, row),
                refitted(large, y, fits, row),
                nsim=INNER,
                rng=np.random.default_rng([*np.atleast_1d(seed.generate_state(4)), number]),
                progress=False,
            ).pvalue
            for row, (number, y) in enumerate(zip(part, responses, strict=True))
        ]
    )


def exact(
    model: SpectralModel, null: FloatArray, responses: FloatArray, _: ManyFits, __: Numbers
) -> FloatArray:
    """The exact restricted likelihood-ratio test of the one variance."""
    gains = model.fit(responses, reml=True).gain
    return simulated_pvalue(gains, null, tie=TIE * (1 + gains))[0]


def exact_test(design: Design, seed: int) -> PValues:
    """The test with its null distribution, drawn once."""
    model = SpectralModel(design)
    energies = model.spectrum.draw_energies(NULL_DRAWS, np.random.default_rng([seed, 1]))
    return partial(exact, model, model.spectrum.maximize(energies, reml=True).gain)


def on_boundary(blocks: Blocks, theta: FloatArray) -> BoolArray:
    """Whether each θ, shape (B, k), has a term whose covariance matrix lacks rank."""
    found, terms = np.zeros(len(theta), dtype=bool), blocks.design.terms
    for grouping in blocks.groupings:
        if blocks.design.structured:
            by_term = [dict(zip(terms, templates(terms, one), strict=True)) for one in theta]
            lam = np.array([grouping.assemble(each) for each in by_term])
        else:
            lam = grouping.template(theta)
        scaled = grouping.to_scaled(lam)
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
    )
    return Fit(reml=reml, optimum=optimum)
