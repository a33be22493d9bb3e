"""Many responses at once against one response at a time."""

import numpy as np
import pytest

import mmlib as mm
from mmlib.engine import batch
from mmlib.engine.batch import BatchModel
from tests.helpers.inference import fit_packaged

MODELS = {
    "correlated": ("sleepstudy", "Reaction ~ Days + (Days | Subject)"),
    "uncorrelated": ("sleepstudy", "Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)"),
    "no fixed effect": ("sleepstudy", "Reaction ~ 0 + (Days | Subject)"),
    "nested": ("pastes", "strength ~ 1 + (1 | sample) + (1 | batch)"),
    "crossed": ("abrasion", "wear ~ material + (1 | run) + (1 | position)"),
    "three": ("machines", "score ~ Machine + (0 + Machine | Worker)"),
    "vector and crossed": ("sleepstudy", "Reaction ~ Days + (Days | Subject) + (1 | Days)"),
    "later vector": ("oats", "yield ~ nitro + (nitro | Block) + (1 | Block:Variety)"),
    "uneven": ("oxboys", "height ~ age + (age | Subject)"),
}


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weights and offset"])
@pytest.mark.parametrize("model", MODELS)
def test_value_gradient_and_minimum_are_those_of_the_engine(model, weighted, reml):
    fit = fit_packaged(*MODELS[model], reml=reml, weighted=weighted)
    many = BatchModel(fit.blocks, reml=reml)
    rng = np.random.default_rng(2)
    responses = fit.simulate(3, rng=rng)
    y = many._cross_products(responses)
    theta = np.abs(fit.theta) + rng.uniform(0.05, 0.4, (3, len(fit.theta)))
    scaled = fit.blocks.to_scaled(theta)
    np.testing.assert_allclose(fit.blocks.to_theta(scaled), theta, rtol=1e-9, atol=1e-12)
    value, gradient = many.value_and_gradient(scaled, y)
    for b in range(3):
        blocks = fit.blocks.with_response(responses[b])
        expected = mm.Objective(blocks, reml=reml)(theta[b])
        assert value[b] == pytest.approx(expected, rel=1e-11)
    step = 1e-6
    for k in range(scaled.shape[1]):
        shift = step * np.eye(scaled.shape[1])[k]
        up, down = (many.value_and_gradient(scaled + s * shift, y)[0] for s in (1, -1))
        np.testing.assert_allclose(gradient[:, k], (up - down) / (2 * step), rtol=2e-4, atol=2e-4)

    fits = many.fit(responses, fit.theta)
    assert fits.converged.all()
    refits = [fit.refit(each) for each in responses]
    np.testing.assert_allclose(
        fits.objective, [refit.objective for refit in refits], rtol=1e-11, atol=1e-9
    )
    # θ is found to about the square root of the precision of the objective.
    size = np.abs([refit.theta for refit in refits]).max()
    np.testing.assert_allclose(
        fits.theta, [refit.theta for refit in refits], rtol=1e-4, atol=3e-5 * size
    )


def test_boundary_estimates_are_exact_zeros():
    fit = fit_packaged(*MODELS["crossed"], reml=True)
    responses = fit.simulate(200, rng=3)
    fits = BatchModel(fit.blocks, reml=True).fit(responses, fit.theta)
    assert fits.converged.all()
    small = (fits.theta > 0) & (fits.theta < 1e-4)
    assert not small.any()
    assert 2 < np.count_nonzero(fits.theta == 0) < 100


def test_the_start_does_not_matter():
    fit = fit_packaged(*MODELS["crossed"], reml=True)
    responses = fit.simulate(300, rng=4)
    many = BatchModel(fit.blocks, reml=True)
    one, two = many.fit(responses, fit.theta), many.fit(responses, np.array([0.0, 3.0]))
    np.testing.assert_allclose(one.objective, two.objective, atol=1e-8)


def test_the_better_of_two_searches_counts(monkeypatch):
    fit = fit_packaged(*MODELS["three"], reml=True)
    many = BatchModel(fit.blocks, reml=True)
    responses = fit.simulate(10, rng=7)
    expected = many.fit(responses, fit.theta)
    plain, searches = many._search, []

    def search(y, scaled):
        fits = plain(y, scaled)
        searches.append(scaled)
        # The first search ends too high on one response, the second on another.
        fits.objective[len(searches)] += 1.0
        return fits

    monkeypatch.setattr(many, "_search", search)
    found = many.fit(responses, fit.theta)
    assert len(searches) == 2
    np.testing.assert_allclose(found.objective, expected.objective, atol=1e-8)
    np.testing.assert_allclose(found.theta, expected.theta, atol=1e-3)


def test_the_unit_of_a_slope_does_not_matter():
    sleep = mm.load_dataset("sleepstudy")
    found = []
    for unit in (1.0, 1e-6):
        data = sleep.assign(time=1e3 * unit + unit * sleep["Days"])
        fit = mm.lmm("Reaction ~ time + (time | Subject)", data, reml=False)
        responses = mm.lmm("Reaction ~ Days + (Days | Subject)", sleep).simulate(20, rng=5)
        fits = BatchModel(fit.blocks, reml=False).fit(responses, fit.theta)
        assert fits.converged.all()
        found.append(fits.objective)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9)


def test_large_designs_are_left_to_the_general_engine(monkeypatch):
    fit = fit_packaged(*MODELS["crossed"], reml=True)
    assert batch.suits(fit.blocks)
    monkeypatch.setattr(batch, "MAX_COLUMNS", 3)
    assert not batch.suits(fit.blocks)
    null = mm.lmm("wear ~ material", mm.load_dataset("abrasion"))
    assert not batch.suits(null.blocks)


def test_a_breakdown_is_reported_not_raised(monkeypatch):
    fit = fit_packaged(*MODELS["crossed"], reml=True)
    many = BatchModel(fit.blocks, reml=True)

    def break_down(*_):
        raise np.linalg.LinAlgError

    monkeypatch.setattr(many, "value_and_gradient", break_down)
    fits = many.fit(fit.simulate(2, rng=6), fit.theta)
    assert not fits.converged.any()
    assert np.isinf(fits.objective).all()
