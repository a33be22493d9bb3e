"""Responses of designs whose parameters are supposed."""

import numpy as np
import pandas as pd
import pytest

import mmlib as mm
from tests.helpers.dense import Dense
from tests.helpers.structures import STRUCTURES, simulated

TRUTH = {"beta": {"Intercept": 3, "x": 1}, "sd": {"g": [1.5, 0.5]}, "sigma": 2.0}


def test_moments_are_those_of_the_model():
    """Mean Xβ, and variance ZΣZᵀ + σ²I: in every direction, by 4 Monte Carlo errors."""
    frame = simulated()
    nsim = 4000
    drawn = mm.simulate("y ~ x + (1 + x | g)", frame, **TRUTH, corr={"g": -0.4}, nsim=nsim, rng=5)
    design = mm.plan("y ~ x + (1 + x | g)", frame)
    covariance = np.array([[2.25, -0.3], [-0.3, 0.25]])
    root = np.linalg.cholesky(covariance) / 2.0
    V = 4.0 * Dense.at(design, root[np.tril_indices(2)][[0, 1, 2]]).V
    mean = design.X @ [3, 1]
    directions = np.random.default_rng(1).standard_normal((20, design.n))
    projected = (drawn - mean) @ directions.T
    variances = np.einsum("ij,jk,ik->i", directions, V, directions)
    assert (np.abs(projected.mean(axis=0)) < 4 * np.sqrt(variances / nsim)).all()
    spread = np.mean(projected**2, axis=0) / variances - 1
    assert (np.abs(spread) < 4 * np.sqrt(2 / nsim)).all()


def test_the_estimates_of_a_fit_as_parameters_draw_what_the_fit_draws(sleep_fit):
    frame = mm.load_dataset("sleepstudy").drop(columns="Reaction")
    wanted = sleep_fit.simulate(3, rng=2)
    by_theta = mm.simulate(
        "Reaction ~ Days + (Days | Subject)",
        frame,
        beta=sleep_fit.fixef(),
        theta=sleep_fit.theta,
        sigma=sleep_fit.sigma,
        nsim=3,
        rng=2,
    )
    np.testing.assert_allclose(by_theta, wanted, rtol=1e-12)
    term = sleep_fit.varcorr().terms[0]
    by_sd = mm.simulate(
        "Reaction ~ Days + (Days | Subject)",
        frame,
        beta=sleep_fit.beta,
        sd={"Subject": dict(zip(term.columns, term.sd, strict=True))},
        corr={"Subject": term.correlation},
        sigma=sleep_fit.sigma,
        nsim=3,
        rng=2,
    )
    np.testing.assert_allclose(by_sd, wanted, rtol=1e-9)


def test_overrides_of_a_fit(sleep_fit):
    plain = sleep_fit.simulate(4, rng=1)
    np.testing.assert_array_equal(plain[:2], sleep_fit.simulate(2, rng=1))
    shifted = sleep_fit.simulate(4, rng=1, beta={"Days": sleep_fit.beta[1] + 7})
    days = sleep_fit.design.frame["Days"].to_numpy()
    np.testing.assert_allclose(shifted - plain, np.tile(7.0 * days, (4, 1)), atol=1e-9)
    quiet = sleep_fit.simulate(4, rng=1, sigma=1e-9)
    by_subject = pd.DataFrame(quiet.T - plain.mean()).groupby(sleep_fit.design.terms[0].codes)
    assert by_subject.std().min().min() > 1  # the random slopes are as large as before
    still = sleep_fit.simulate(1, rng=1, sd={"Subject": [0, 0]}, sigma=1e-9)
    np.testing.assert_allclose(still[0], sleep_fit.population_mean, atol=1e-6)


def test_conditional_draws_may_change_sigma_only(pulp_fit):
    assert pulp_fit.simulate(2, rng=1, conditional=True, sigma=1.0).shape == (2, 20)
    with pytest.raises(mm.DataError, match="conditional=True keeps"):
        pulp_fit.simulate(2, rng=1, conditional=True, sd={"operator": 1})


@pytest.mark.parametrize("name", [n for n, s in STRUCTURES.items() if "|" in s.formula])
def test_every_structure_can_be_drawn(name):
    structure = STRUCTURES[name]
    design = structure.design()
    groups = dict.fromkeys(term.group for term in design.terms)
    sd = {
        group: np.ones(sum(t.width for t in design.terms if t.group == group)) for group in groups
    }
    drawn = mm.simulate(
        structure.formula,
        simulated().drop(columns="y"),
        beta=np.zeros(design.p),
        sd=sd,
        sigma=1,
        weights=structure.weights,
        offset=structure.offset,
        rng=1,
    )
    assert np.isfinite(drawn).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta": {"Intercept": 3}}, "beta lacks a value of x"),
        ({"beta": {"Intercept": 3, "X": 1}}, "no fixed effect. Did you mean 'x'"),
        ({"beta": [1.0]}, r"beta must be 2 number\(s\)"),
        ({"sigma": 0}, "sigma must be a positive number"),
        ({"sigma": "1"}, "sigma must be a positive number"),
        ({"sd": {}}, "lacks a standard deviation for g"),
        ({"sd": {"G": 1}}, "no grouping of the design. Did you mean 'g'"),
        ({"sd": {"g": 1}}, r"sd\['g'\] must be 2 number\(s\)"),
        ({"sd": {"g": [1, -1]}}, "negative standard deviation"),
        ({"sd": {"g": {"Intercept": 1}}}, "must name Intercept, x"),
        ({"sd": 1}, "sd must be a dict by grouping"),
        ({"corr": {"g": 2}}, "not a possible correlation matrix"),
        ({"corr": {"g": np.eye(3)}}, "a number or a matrix of 2 × 2"),
        ({"theta": [1, 0, 1]}, "give one or the other"),
        ({"nsim": 0}, "nsim must be a whole number"),
        ({"rng": -1}, "rng must be"),
    ],
)
def test_bad_input(change, message):
    with pytest.raises(mm.DataError, match=message):
        mm.simulate("y ~ x + (1 + x | g)", simulated(), **{**TRUTH, **change})


def test_more_bad_input():
    with pytest.raises(mm.DataError, match="are uncorrelated; leave it out"):
        mm.simulate(
            "y ~ x + (1 | g)",
            simulated(),
            beta=[0, 0],
            sd={"g": 1},
            corr={"g": 0.3},
            sigma=1,
        )
    with pytest.raises(mm.DataError, match="frame must be a pandas DataFrame"):
        mm.simulate("y ~ x", [1, 2], beta=[0, 0], sigma=1)
