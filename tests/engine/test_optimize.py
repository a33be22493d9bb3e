"""The search finds the minimum: from anywhere, at the boundary, and whatever the units."""

import dataclasses
from functools import cache

import numpy as np
import pandas as pd
import pytest

import mmlib as mm
from mmlib.engine import optimize, quasi_newton
from mmlib.engine.optimize import minimize_objective
from mmlib.engine.spectral import SpectralModel
from tests.helpers.structures import STRUCTURES, simulated

WITH_RANDOM_TERMS = [name for name, s in STRUCTURES.items() if "|" in s.formula]
both_criteria = pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
each_structure = pytest.mark.parametrize("name", WITH_RANDOM_TERMS)


@cache
def objective_of(name, reml):
    return mm.Objective(STRUCTURES[name].design(), reml=reml)


@cache
def usual_search(name, reml):
    """Return where the search ends from its own start."""
    return minimize_objective(objective_of(name, reml))


# --- a minimum, from wherever the search starts --------------------------------------------------


@both_criteria
@each_structure
def test_the_end_is_a_minimum(name, reml):
    objective, log = objective_of(name, reml), usual_search(name, reml)
    assert log.converged
    assert log.objective == objective(log.theta)
    assert all(log.theta[column[0]] >= 0 for column in objective.blocks.theta_columns)
    # The gradient is that of a flat valley's floor: the objective is known to about 1e-10.
    assert np.abs(objective.value_and_gradient(log.theta)[1]).max() < 1e-3
    rng = np.random.default_rng(5)
    for size in (1e-3, 1e-2, 0.1, 1.0):
        for step in rng.normal(scale=size, size=(5, len(log.theta))):
            assert objective(log.theta + step) >= log.objective - 1e-9


@both_criteria
@each_structure
def test_zero_is_a_saddle_that_the_search_leaves(name, reml):
    objective, usual = objective_of(name, reml), usual_search(name, reml)
    assert usual.theta.any()
    log = minimize_objective(objective, start=np.zeros_like(usual.theta))
    assert log.restarts >= 1
    assert log.converged
    np.testing.assert_array_equal(log.start, 0)
    np.testing.assert_allclose(log.objective, usual.objective, atol=1e-9)


@both_criteria
@each_structure
def test_signs_are_put_right(name, reml):
    objective, usual = objective_of(name, reml), usual_search(name, reml)
    log = minimize_objective(objective, start=-usual.start)
    assert all(log.theta[column[0]] >= 0 for column in objective.blocks.theta_columns)
    np.testing.assert_allclose(log.objective, usual.objective, atol=1e-9)


@each_structure
def test_other_starts_find_nothing_lower(name):
    objective, usual = objective_of(name, True), usual_search(name, True)
    rng = np.random.default_rng(11)
    for start in rng.normal(scale=2.0, size=(3, len(usual.theta))):
        other = minimize_objective(objective, start=start)
        np.testing.assert_allclose(other.objective, usual.objective, atol=1e-8)


def test_log_tells_how_it_went():
    log = usual_search("vector", True)
    assert log.evaluations > 3
    assert log.restarts == 0
    assert log.expected_decrease < 1e-8
    assert 0 < log.smallest_curvature <= 1
    assert not log.theta.flags.writeable
    with pytest.raises(dataclasses.FrozenInstanceError):
        log.theta = np.ones(3)


@pytest.mark.parametrize("start", [[1.0], [1.0, 0.0, 1.0, 1.0], ["a", "b", "c"]])
def test_bad_start_is_refused(start):
    with pytest.raises(mm.DataError, match="theta must"):
        minimize_objective(objective_of("vector", True), start=start)


# --- the boundary --------------------------------------------------------------------------------


def one_way(f, groups=6, replicates=5, seed=1):
    """Return a balanced one-way layout whose F statistic is exactly as asked."""
    rng = np.random.default_rng(seed)
    means, errors = rng.normal(size=groups), rng.normal(size=(groups, replicates))
    errors -= errors.mean(axis=1, keepdims=True)
    msa = replicates * means.var(ddof=1)
    mse = (errors**2).sum() / (groups * (replicates - 1))
    y = 20 + means[:, None] * np.sqrt(f * mse / msa) + errors
    return pd.DataFrame({"y": y.ravel(), "g": np.repeat(list("abcdefghij")[:groups], replicates)})


@pytest.mark.parametrize("f", [0.0, 0.3, 0.9, 0.999, 1.1, 1.19])
def test_maximum_likelihood_of_a_balanced_layout_at_the_boundary(f):
    """ML puts the variance at zero where F ≤ a/(a − 1) = 1.2."""
    fit = mm.lmm("y ~ 1 + (1 | g)", one_way(f), reml=False)
    assert fit.theta.tolist() == [0.0]
    assert fit.is_singular
    assert fit.converged


@pytest.mark.parametrize("f", [0.0, 0.3, 0.9, 0.999])
def test_reml_of_a_balanced_layout_at_the_boundary(f):
    fit = mm.lmm("y ~ 1 + (1 | g)", one_way(f))
    assert fit.theta.tolist() == [0.0]
    assert fit.is_singular
    assert mm.oneway("y ~ g", one_way(f)).variance_components("reml").at_boundary


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("f", "reml"), [(1.001, True), (1.05, True), (9.0, True), (1.21, False)])
def test_just_inside_the_boundary_the_closed_form_is_found(f, reml, seed):
    data = one_way(f, seed=seed)
    wanted = mm.oneway("y ~ g", data).variance_components("reml" if reml else "ml")
    fit = mm.lmm("y ~ 1 + (1 | g)", data, reml=reml)
    assert not fit.is_singular
    theta = np.sqrt(wanted.sigma2_group / wanted.sigma2_resid)
    # The objective, known to 1e-13 or so, curves in θ² only: near zero θ is less well known.
    np.testing.assert_allclose(fit.theta, theta, atol=1e-6 / theta)
    np.testing.assert_allclose(fit.sigma**2, wanted.sigma2_resid, rtol=1e-6)


@both_criteria
@pytest.mark.parametrize("sign", [1, -1])
def test_a_perfect_correlation_is_on_the_boundary(sign, reml):
    """Each group's line fits with slope and intercept exactly in proportion."""
    rng = np.random.default_rng(2)
    code, x, errors = np.repeat(np.arange(12), 8), rng.normal(size=96), rng.normal(size=96)
    for rows in np.split(np.arange(96), 12):
        line = np.column_stack([np.ones(8), x[rows]])
        errors[rows] -= line @ np.linalg.lstsq(line, errors[rows])[0]
    y = rng.normal(size=12)[code] * (2 + sign * x) + errors
    fit = mm.lmm("y ~ x + (x | g)", pd.DataFrame({"y": y, "x": x, "g": code}), reml=reml)
    assert fit.is_singular
    assert fit.converged
    assert fit.theta[2] == 0
    np.testing.assert_allclose(fit.varcorr().terms[0].correlation[0, 1], sign, rtol=1e-12)
    assert "perfectly correlated" in str(fit.summary())


def test_a_zero_variance_among_others_is_exactly_zero():
    data = simulated()
    centred = data["y"] - data.groupby("h")["y"].transform("mean")
    fit = mm.lmm("y ~ x + (1 | g) + (1 | h)", data.assign(y=centred))
    assert fit.theta[1] == 0
    assert fit.theta[0] > 0
    alone = mm.lmm("y ~ x + (1 | g)", data.assign(y=centred))
    np.testing.assert_allclose(fit.objective, alone.objective, rtol=1e-12)
    np.testing.assert_allclose(fit.beta, alone.beta, rtol=1e-8)
    assert (fit.ranef()["h"] == 0).all(axis=None)
    assert (fit.cond_var()["h"] == 0).all()


# --- units and origins ---------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1e-90, 1e-8, 1e-3, 1e3, 1e8, 1e90])
@pytest.mark.parametrize("formula", ["y ~ x + (x | g)", "y ~ x + (x || g)", "y ~ x + (0 + x | g)"])
def test_the_unit_of_a_slope_does_not_matter(formula, factor):
    data = simulated()
    usual = mm.lmm(formula, data, reml=False)
    other = mm.lmm(formula, data.assign(x=data["x"] * factor), reml=False)
    np.testing.assert_allclose(other.objective, usual.objective, atol=1e-9)
    np.testing.assert_allclose(other.beta * [1, factor], usual.beta, rtol=1e-6)
    np.testing.assert_allclose(other.fitted, usual.fitted, rtol=1e-6)


@pytest.mark.parametrize("origin", [-50.0, 2000.0, 1e4, 1e6])
@both_criteria
def test_the_origin_of_a_slope_does_not_matter(origin, reml):
    """As with years: a correlated intercept and slope are the same model from any origin."""
    data = simulated()
    usual = mm.lmm("y ~ x + (x | g)", data, reml=reml)
    other = mm.lmm("y ~ x + (x | g)", data.assign(x=data["x"] + origin), reml=reml)
    assert other.converged
    # x keeps 16 − log10(origin) of its digits.
    np.testing.assert_allclose(other.objective, usual.objective, atol=1e-12 * max(1e3, origin))
    np.testing.assert_allclose(other.fitted, usual.fitted, atol=1e-10 * max(1e4, origin))


@pytest.mark.parametrize("factor", [1e-60, 1e-6, 1e6, 1e60])
def test_the_unit_of_the_response_does_not_matter(factor):
    data = simulated()
    usual = mm.lmm("y ~ x + (x | g)", data)
    other = mm.lmm("y ~ x + (x | g)", data.assign(y=data["y"] * factor))
    np.testing.assert_allclose(other.theta, usual.theta, atol=1e-6)
    np.testing.assert_allclose(other.sigma / factor, usual.sigma, rtol=1e-7)


@pytest.mark.parametrize("factor", [1e-20, 1e-10, 1e-3, 1e3, 1e10, 1e20])
@pytest.mark.parametrize("formula", ["y ~ x + (x | g)", "y ~ x + (1 | g) + (1 | h)"])
def test_the_unit_of_the_weights_does_not_matter(formula, factor):
    """As with weights 1/se²: σ² takes their unit, and everything else stays."""
    data = simulated()
    usual = mm.lmm(formula, data, weights="w")
    other = mm.lmm(formula, data, weights=data["w"] * factor)
    np.testing.assert_allclose(other.objective, usual.objective, atol=1e-8)
    np.testing.assert_allclose(other.sigma**2 / factor, usual.sigma**2, rtol=1e-6)
    np.testing.assert_allclose(other.fixef(), usual.fixef(), rtol=1e-5)
    for found, wanted in zip(other.varcorr().terms, usual.varcorr().terms, strict=True):
        np.testing.assert_allclose(found.covariance, wanted.covariance, atol=1e-5)


# --- where there is no maximum -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "y"),
    [
        ("y ~ x", lambda d: 3 + 2 * d["x"]),
        ("y ~ x + (1 | g)", lambda d: 3 + 2 * d["x"]),
        ("y ~ 1 + (1 | g)", lambda d: d["g"].map(ord) * 1.5),
        ("y ~ x + (x | g)", lambda d: d["g"].map(ord) * d["x"]),
        ("z ~ z + (1 | g)", lambda d: d["y"]),
    ],
)
def test_a_response_without_residual_variance_is_refused(formula, y):
    data = simulated()
    with pytest.raises(mm.DataError, match="exactly"):
        mm.lmm(formula, data.assign(y=y(data)))


def test_a_fit_that_does_not_converge_says_so(monkeypatch):
    """Without a descent, a few Newton steps from far away are all there is."""
    monkeypatch.setattr(quasi_newton, "MAX_STEPS", 0)
    monkeypatch.setattr(optimize, "MAX_HESSIANS", 1)
    monkeypatch.setattr(optimize, "MAX_ROUNDS", 1)
    with pytest.warns(mm.ConvergenceWarning, match="has not converged") as caught:
        fit = mm.lmm("y ~ x + (1 + x + z | g)", simulated())
    assert caught[0].filename == __file__
    assert not fit.converged
    assert "Not converged" in str(fit.summary())
    with pytest.warns(mm.ConvergenceWarning) as caught:
        fit.refit(reml=False)
    assert caught[0].filename == __file__


HARD = [
    (12, 120, "three factors"),
    (15, 120, "crossed vectors"),
    (32, 30, "factor effects"),
    (33, 48, "crossed vectors"),
    (34, 48, "factor effects"),
    (42, 120, "wide vector"),
    (44, 48, "wide vector"),
    (47, 30, "factor effects"),
    (56, 30, "factor effects"),
    (56, 120, "crossed vectors"),
]


@both_criteria
@pytest.mark.parametrize(("seed", "n", "name"), HARD)
def test_curved_valleys_near_the_boundary_are_followed_to_the_end(seed, n, name, reml):
    """Of 4,680 random fits, those that an early version left unfinished."""
    data = simulated(n, seed)
    if seed % 3 == 0:
        data = data.assign(y=data["shift"])
    objective = mm.Objective(STRUCTURES[name].on(data), reml=reml)
    log = minimize_objective(objective)
    assert log.converged
    start = np.random.default_rng(seed).normal(size=len(log.theta))
    other = minimize_objective(objective, start=start)
    np.testing.assert_allclose(log.objective, other.objective, atol=1e-7)


@pytest.mark.landing
def test_the_lower_of_two_valleys_is_found_where_one_is_at_zero():
    """In an unbalanced layout the likelihood may be higher at zero than where the search ends."""
    sizes = [2, 2, 3, 4, 12, 17]
    group = np.repeat(np.arange(len(sizes)), sizes)
    data = pd.DataFrame({"y": np.arange(len(group)) % 7, "group": pd.Categorical(group)})
    fit = mm.lmm("y ~ 1 + (1 | group)", data)
    known = SpectralModel(fit.design)
    rng = np.random.default_rng(11)
    left = 0
    for _ in range(1500):
        y = rng.standard_normal(len(group)) + 0.5 * rng.standard_normal(len(sizes))[group]
        refit, best = fit.refit(y), known.fit(y[None], reml=True)
        assert refit.objective <= best.objective[0] + 1e-8 * abs(best.objective[0])
        left += refit.optimum.restarts > 0 and best.lam[0] == 0
    assert left > 0


def test_a_residual_variance_that_goes_to_zero_is_named():
    """At two visits the random lines fit every subject exactly; nlme creeps to σ = 1e-5 there."""
    rng = np.random.default_rng(194)
    data = pd.DataFrame(
        {"id": np.repeat(np.arange(8), 4), "t": np.tile(np.arange(4.0), 8), "v": list("abcd") * 8}
    )
    level, slope = (np.repeat(rng.normal(size=8), 4) for _ in range(2))
    data["y"] = level + 0.3 * data["t"] * slope + 0.5 * rng.normal(size=32)
    with pytest.raises(mm.DataError, match="a residual variance goes to zero beside the others"):
        mm.lmm("y ~ t + (t | id)", data, dispersion="v")
