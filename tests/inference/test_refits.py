"""Refits by the fastest engine: those of a fit, whichever engine makes them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mmlib as mm
from mmlib.engine import batch, spectral
from mmlib.inference import refits
from mmlib.inference.bootstrap import parametric_bootstrap
from mmlib.inference.refits import Refitter, refitted

VALLEYS = Path(__file__).parents[1] / "oracle" / "valleys"


@pytest.mark.parametrize("engine", ["batch", "one by one"])
def test_refits_agree_with_refit(sleep_fit, engine, monkeypatch):
    if engine == "one by one":
        monkeypatch.setattr(batch, "MAX_COLUMNS", 0)
    responses = sleep_fit.simulate(5, rng=8)
    fits = Refitter(sleep_fit)(responses)
    refits = [sleep_fit.refit(y) for y in responses]
    assert fits.converged.all()
    np.testing.assert_allclose(fits.objective, [refit.objective for refit in refits], atol=1e-8)
    np.testing.assert_allclose(fits.theta, [refit.theta for refit in refits], atol=1e-4)


def test_a_refit_whose_minimum_is_known_is_that_of_a_search(sleep_fit):
    responses = sleep_fit.simulate(2, rng=9)
    fits = Refitter(sleep_fit)(responses)
    for row, y in enumerate(responses):
        known, searched = refitted(sleep_fit, y, fits, row), sleep_fit.refit(y)
        assert known.converged
        assert known.objective == pytest.approx(searched.objective, abs=1e-8)
        np.testing.assert_array_equal(known.design.y, y)
        np.testing.assert_allclose(known.fitted, searched.fitted, rtol=1e-5)
        np.testing.assert_allclose(known.vcov(), searched.vcov(), rtol=1e-3)


ENGINES = {
    "spectral": lambda _: None,
    "batch": lambda patch: patch.setattr(spectral, "suits", lambda _: False),
    "one by one": lambda patch: [
        patch.setattr(engine, "suits", lambda _: False) for engine in (spectral, batch)
    ],
}


@pytest.mark.parametrize("chunk", [7, 1000])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_seed_gives_the_same_test_whatever_engine_and_chunk(engine, chunk, monkeypatch):
    data = mm.load_dataset("dyestuff").iloc[3:]  # unbalanced
    pair = [mm.lmm(f"Yield ~ 1{term}", data, reml=False) for term in ("", " + (1 | Batch)")]
    expected = parametric_bootstrap(*pair, nsim=60, rng=11)
    ENGINES[engine](monkeypatch)
    monkeypatch.setattr(refits, "NUMBERS_AT_ONCE", chunk * len(data))
    found = parametric_bootstrap(*pair, nsim=60, rng=11)
    np.testing.assert_allclose(found.sample, expected.sample, atol=1e-6)
    assert np.array_equal(found.sample == 0, expected.sample == 0)
    assert found.pvalue == expected.pvalue


def test_one_variance_is_searched_over_the_whole_half_line_by_every_engine(monkeypatch):
    """Where the eigenproblem is too large too: the bootstrap and the fit have one statistic."""
    data = pd.read_csv(VALLEYS / "one_variance_1118.csv")
    fit = mm.lmm("y ~ x + (1 | g)", data, weights="w")
    responses = np.vstack([fit.design.y, fit.simulate(20, rng=1)])
    spectral = Refitter(fit)(responses).objective
    monkeypatch.setattr("mmlib.engine.spectral.MAX_RANK", 0)
    single = Refitter(fit)(responses).objective
    np.testing.assert_allclose(single, spectral, rtol=1e-9)
    assert single[0] == pytest.approx(fit.objective, rel=1e-10)
