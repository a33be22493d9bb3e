"""The residual standard deviation known: meta-analyses by metafor, dense matrices, refusals."""

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import approx_fprime

import mmlib as mm
from tests.helpers.dense import Dense
from tests.helpers.inference import patterns, relative_covariances
from tests.helpers.sizes import meta_data, sizes
from tests.helpers.structures import STRUCTURES, simulated

CASES = sizes("metafor")


def meta_fit(name, method="REML", random=" + (1 | study)"):
    case = CASES[name]
    data = meta_data(case["dataset"]).assign(weight=lambda d: 1 / d["vi"])
    data["study"] = np.arange(len(data)).astype(str)
    formula = f"yi {case['moderators']}{random}"
    return mm.lmm(formula, data, weights="weight", sigma=1.0, reml=method == "REML")


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("name", CASES)
def test_random_effects_meta_analyses_are_those_of_metafor(name, method):
    fit, wanted = meta_fit(name, method), CASES[name]["methods"][method]
    np.testing.assert_allclose(fit.theta**2, wanted["tau2"], rtol=1e-6)
    np.testing.assert_allclose(fit.beta, wanted["beta"]["values"], rtol=1e-7)
    table = fit.coef_table(level=0.95)
    np.testing.assert_allclose(table["Std. Error"], wanted["se"], rtol=1e-7)
    np.testing.assert_allclose(table["lower"], wanted["lower"], rtol=1e-6)
    np.testing.assert_allclose(fit.loglik, wanted["logLik_lme4_convention"], rtol=1e-9)
    if "blup" in wanted:
        predicted = fit.predict(interval="confidence")
        np.testing.assert_allclose(predicted["predicted"], wanted["blup"]["pred"], rtol=1e-6)
        np.testing.assert_allclose(predicted["se"], wanted["blup"]["se"], rtol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_a_common_effect_needs_no_random_term(name):
    fit, wanted = meta_fit(name, "ML", random=""), CASES[name]["methods"]["FE"]
    np.testing.assert_allclose(fit.beta, wanted["beta"]["values"], rtol=1e-7)
    np.testing.assert_allclose(fit.coef_table()["Std. Error"], wanted["se"], rtol=1e-7)
    np.testing.assert_allclose(fit.loglik, wanted["logLik_metafor"], rtol=1e-9)
    test = mm.kenward_roger(meta_fit(name, random=""), [1.0] + [0.0] * (fit.design.p - 1))
    assert np.isinf(test.df[1])
    np.testing.assert_allclose(test.pvalue, wanted["p"][0], rtol=1e-6)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("name", ["scalar", "vector", "everything", "no random term"])
def test_the_objective_and_its_slopes(name, reml):
    structure = STRUCTURES[name]
    design = mm.build_design(
        structure.formula,
        simulated(),
        weights=structure.weights,
        offset=structure.offset,
        sigma=1.3,
    )
    objective = mm.Objective(design, reml=reml)
    theta = np.random.default_rng(1).uniform(0.3, 0.9, objective.blocks.n_entries)
    dense = Dense.at(design, theta)
    V = 1.3**2 * dense.V
    information = design.X.T @ np.linalg.solve(V, design.X)
    beta = np.linalg.solve(information, design.X.T @ np.linalg.solve(V, dense.y))
    mean = design.X @ beta
    wanted = -2 * stats.multivariate_normal(mean, V).logpdf(dense.y)
    if reml:
        wanted += np.linalg.slogdet(information)[1] - design.p * np.log(2 * np.pi)
    np.testing.assert_allclose(objective(theta), wanted, rtol=1e-9)
    if len(theta):
        slopes = objective.value_and_gradient(theta)[1]
        np.testing.assert_allclose(
            slopes, approx_fprime(theta, objective, 1e-7), rtol=1e-3, atol=1e-3
        )


def test_at_the_estimate_of_sigma_it_is_the_usual_fit(sleep_fit):
    data = mm.load_dataset("sleepstudy")
    fit = mm.lmm("Reaction ~ Days + (Days | Subject)", data, sigma=sleep_fit.sigma)
    np.testing.assert_allclose(fit.theta, sleep_fit.theta, rtol=1e-5)
    np.testing.assert_allclose(fit.objective, sleep_fit.objective, rtol=1e-10)
    assert fit.n_parameters == sleep_fit.n_parameters - 1
    assert "σ is known, not estimated: 25.59" in str(fit)
    refitted = fit.refit(reml=False)
    assert refitted.sigma == fit.sigma
    assert not refitted.reml


def test_degrees_of_freedom_by_definition():
    """Kenward and Roger's df of one row, with dense matrices and σ² no parameter."""
    fit = mm.lmm("y ~ x + (1 + x | g)", simulated(), sigma=1.1, weights="w")
    G = patterns(fit.design)
    gamma = relative_covariances(fit.design, fit.theta) * fit.sigma**2
    V_inverse = np.linalg.inv(sum(g * matrix for g, matrix in zip(gamma, G, strict=True)))
    X = fit.design.X
    Phi = np.linalg.inv(X.T @ V_inverse @ X)
    P = V_inverse - V_inverse @ X @ Phi @ X.T @ V_inverse
    free = G[:-1]
    information = np.array([[np.trace(P @ a @ P @ b) / 2 for b in free] for a in free])
    row = np.array([0.0, 1.0])
    slopes = [row @ Phi @ X.T @ V_inverse @ a @ V_inverse @ X @ Phi @ row for a in free]
    f = row @ Phi @ row
    wanted = 2 * f**2 / (slopes @ np.linalg.solve(information, slopes))
    np.testing.assert_allclose(mm.kenward_roger(fit, "x").df[1], wanted, rtol=1e-6)
    assert mm.satterthwaite(fit, "x").df[1] > 1


def test_differences_within_blends_of_a_known_variance_are_normal():
    """Their variance is σ² alone: Satterthwaite's test of several is χ², its limits normal."""
    fit = mm.lmm("yield ~ treat + (1 | blend)", mm.load_dataset("penicillin"), sigma=4.0)
    test = mm.satterthwaite(fit, "treat")
    np.testing.assert_allclose(test.pvalue, stats.chi2(3).sf(3 * test.statistic), rtol=1e-9)
    row = fit.coef_table(ddf="satterthwaite", level=0.95).loc["treat[T.B]"]
    reach = stats.norm.ppf(0.975) * row["Std. Error"]
    np.testing.assert_allclose(row["upper"] - row["Estimate"], reach, rtol=1e-9)


def test_likelihood_ratios_of_fits_that_know_the_same_sigma():
    large, small = meta_fit("meta_bcg", "ML"), meta_fit("meta_bcg", "ML", random="")
    test = mm.lrt(small, large)
    assert test.df == (1,)
    data = large.design.frame.assign(w=large.design.weights)
    other = mm.lmm("yi ~ 1", data, weights="w", reml=False)
    with pytest.raises(mm.DataError, match="different σ as known"):
        mm.lrt(other, large)


def test_what_does_not_know_it_yet_says_so():
    data = mm.load_dataset("sleepstudy")
    fit = mm.lmm("Reaction ~ Days + (1 | Subject)", data, sigma=30)
    for ask in (
        lambda: fit.confint(),
        lambda: fit.confint("boot", nsim=2),
        lambda: mm.exact_rlrt(fit),
        lambda: mm.power(fit, "Days", nsim=2),
    ):
        with pytest.raises(mm.DataError, match=r"needs a fit that estimates σ.*sigma=30"):
            ask()


@pytest.mark.parametrize("sigma", [0, -1, np.inf, "1", True])
def test_a_sigma_that_is_none(sigma):
    with pytest.raises(mm.DataError, match="sigma must be a positive number"):
        mm.lmm("y ~ x + (1 | g)", simulated(), sigma=sigma)
