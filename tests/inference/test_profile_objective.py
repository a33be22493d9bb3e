"""Searches with parameters held: what is held is held, and nothing lower is missed."""

from itertools import combinations

import numpy as np
import pytest

import mmlib as mm
from mmlib.inference.parameters import parameters
from mmlib.inference.profile import profile
from mmlib.inference.profile_objective import ProfileObjective
from tests.helpers.structures import simulated

WIDE = "y ~ x + (1 + x + z | g) + (1 | h)"


@pytest.fixture(scope="module")
def fit():
    return mm.lmm(WIDE, simulated(n=300), reml=False)


def held_sets():
    names = [parameter.name for parameter in parameters(mm.lmm(WIDE, simulated(), reml=False))]
    return [(name,) for name in names] + list(combinations(names, 2))


def hold(fit, names):
    known = {parameter.name: parameter for parameter in parameters(fit)}
    chosen = [known[name] for name in names]
    values = [0.9 * parameter.estimate for parameter in chosen]
    return ProfileObjective(fit, chosen), chosen, values


def test_parameters_are_those_of_the_tables(fit):
    found = {parameter.name: parameter.estimate for parameter in parameters(fit)}
    varcorr = fit.varcorr()
    assert found["sd_x|g"] == varcorr.sd("g", "x")
    assert found["cor_z.x|g"] == varcorr.terms[0].correlation[2, 1]
    assert found["sigma"] == fit.sigma
    assert found["x"] == fit.fixef()["x"]


@pytest.mark.parametrize("names", held_sets(), ids=" and ".join)
def test_what_is_held_is_held_and_the_gradient_is_right(fit, names):
    held, chosen, values = hold(fit, names)
    x = held.start + np.random.default_rng(3).uniform(0.1, 0.3, held.start.shape)
    point = held._at(held._objective(values), values, x)
    differences = [
        held._at(held._objective(values), values, x + h).value
        - held._at(held._objective(values), values, x - h).value
        for h in 1e-5 * np.eye(len(x))
    ]
    np.testing.assert_allclose(point.gradient, np.array(differences) / 2e-5, atol=2e-5)
    *frees, _ = np.split(x, held._ends)
    for parameter, value in zip(chosen, values, strict=True):
        if parameter.kind not in ("sd", "cor"):
            continue
        number, *place = parameter.place
        factor = held._factors[number](frees[number], values)
        covariance = factor @ factor.T * fit.sigma**2
        sd = np.sqrt(np.diag(covariance))
        found = sd[place[0]]
        if parameter.kind == "cor":
            found = covariance[tuple(place)] / (sd[place[0]] * sd[place[1]])
        np.testing.assert_allclose(found, value, rtol=1e-12)


@pytest.mark.parametrize("names", held_sets(), ids=" and ".join)
def test_holding_parameters_at_their_estimates_changes_nothing(fit, names):
    held, chosen, _ = hold(fit, names)
    point = held.minimum([parameter.estimate for parameter in chosen])
    np.testing.assert_allclose(point.value, fit.objective, rtol=1e-10)


@pytest.mark.parametrize("seed", [9, 20])
def test_a_walk_along_a_profile_misses_nothing_that_a_fresh_start_finds(seed):
    """Where effects are perfectly correlated, a standard deviation of zero makes false valleys."""
    fit = mm.lmm("y ~ f + (0 + f | g)", simulated(200, seed), reml=False)
    assert fit.is_singular
    walked = profile(fit)
    for parameter in parameters(fit)[:6]:
        low, high = walked.confint(parameters=[parameter.name]).to_numpy()[0]
        for value in np.linspace(low, high, 5):
            fresh = ProfileObjective(fit, [parameter]).minimum([value])
            rise = walked.zeta(parameter.name, float(value)) ** 2
            assert rise <= fresh.value - fit.objective + 1e-6


def test_two_parameters_of_one_name_are_refused():
    data = simulated().rename(columns={"x": "sigma"})
    with pytest.raises(mm.DataError, match="two parameters are called 'sigma'"):
        parameters(mm.lmm("y ~ sigma + (1 | g)", data))


def test_sigma_cannot_be_zero(fit):
    held, _, _ = hold(fit, ["sigma"])
    assert held.minimum([0.0]).value == np.inf
