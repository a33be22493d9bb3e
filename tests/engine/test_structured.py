"""Covariances with structure: nlme's and glmmTMB's numbers, dense matrices, identities."""

import warnings

import numpy as np
import pandas as pd
import pytest

import mmlib as mm
from mmlib.design.directions import random_theta
from mmlib.engine.coordinates import StructuredCoordinates
from mmlib.results.simulate import Truth, n_spherical, responses_to
from tests.helpers.covariances import GLMMTMB, NLME, data_of, fit_case, numbers
from tests.helpers.dense import Dense

CASES = [
    (package, case_id, reml)
    for package, ids in (("nlme_structures", NLME), ("glmmtmb", GLMMTMB))
    for case_id in ids
    for reml in (True, False)
    if "logLik" in numbers(package, case_id).get("REML" if reml else "ML", {})
]
IDS = [f"{case_id}-{'REML' if reml else 'ML'}" for _, case_id, reml in CASES]


@pytest.mark.parametrize(("package", "case_id", "reml"), CASES, ids=IDS)
def test_the_optimum_is_that_of_r(package, case_id, reml):
    theirs = numbers(package, case_id)["REML" if reml else "ML"]
    fit = fit_case(package, case_id, reml=reml)
    assert fit.converged
    assert fit.loglik == pytest.approx(theirs["logLik"], abs=1e-6)
    assert fit.n_parameters == theirs["npar"]
    beta = np.asarray(theirs["fixef"]["values"])
    np.testing.assert_allclose(np.sort(fit.beta), np.sort(beta), rtol=1e-5, atol=1e-7)
    if theirs["sigma"] is not None and "nodisp" not in case_id:
        assert fit.sigma == pytest.approx(theirs["sigma"], rel=1e-4)
    np.testing.assert_allclose(
        np.sort(np.diag(fit.vcov())), np.sort(np.diag(theirs["vcov"]["values"])), rtol=1e-4
    )


@pytest.mark.parametrize(("package", "case_id", "reml"), CASES, ids=IDS)
def test_the_parameters_are_those_of_r(package, case_id, reml):
    """Flat directions of the likelihood are as good as R's tight optimum to four digits."""
    theirs = numbers(package, case_id)["REML" if reml else "ML"]
    fit = fit_case(package, case_id, reml=reml)
    residual = fit.design.residual
    if residual is not None and "correlation" in theirs:
        values = np.asarray(theirs["correlation"]["values"], dtype=float)
        if case_id.endswith("corexp"):
            values = np.exp(-1 / values)
        if len(values) > 1:  # nlme's columns are those of the lower triangle, as ours
            np.testing.assert_allclose(
                residual.split(fit.design.phi(fit.theta))[2], values, rtol=2e-4
            )
        else:
            np.testing.assert_allclose(fit.theta[-1], values[0], rtol=1e-4)
    if residual is not None and "variance_function" in theirs:
        known = dict(
            zip(
                theirs["variance_function"]["names"],
                theirs["variance_function"]["values"],
                strict=True,
            )
        )
        phi = fit.design.phi(fit.theta)
        by_level, by_visit, _ = residual.split(phi)
        labels, sds = (
            (residual.levels, by_level) if residual.levels else (residual.visits, by_visit)
        )
        np.testing.assert_allclose(sds, [known[label] for label in labels], rtol=1e-4)
    if theirs.get("random"):
        random = theirs["random"]
        theirs_cov = random["cov"] if "cov" in random else next(iter(random.values()))["cov"]
        if "nodisp" not in case_id:
            ours = fit.varcorr().terms[0].covariance
            np.testing.assert_allclose(ours, theirs_cov, rtol=1e-3, atol=1e-4 * np.max(ours))


# ---- against dense matrices --------------------------------------------------------------------


def small_data():
    """Subjects with unequally many visits, at real times and in two arms; items cross them."""
    rng = np.random.default_rng(3)
    rows = [
        (f"s{k}", visit, visit + 0.2 * rng.uniform(), "ab"[k % 2], f"site{k % 4}", f"i{visit % 3}")
        for k in range(16)
        for visit in range(4)
        if rng.uniform() < 0.85 or visit == 0
    ]
    data = pd.DataFrame(rows, columns=["id", "visit", "when", "arm", "site", "item"])
    effect = dict(zip(data["id"].unique(), rng.normal(size=16), strict=True))
    data["x"] = rng.normal(size=len(data))
    data["w"] = rng.uniform(0.5, 2, len(data))
    noise = rng.normal(size=len(data)) * np.where(data["arm"] == "a", 1.0, 1.8)
    data["y"] = data["x"] + data["id"].map(effect) + noise + 0.4 * data["visit"]
    return data


MODELS = {
    "dispersion": ("y ~ x + visit + (1 | id)", {"dispersion": "arm"}),
    "dispersion, slopes": ("y ~ x + (1 + visit | site)", {"dispersion": "arm"}),
    "dispersion, crossed": ("y ~ x + (1 | id) + (1 | item)", {"dispersion": "arm"}),
    "ar1": ("y ~ x + visit", {"residual": "ar1(visit | id)"}),
    "ar1, weights": ("y ~ x", {"residual": "ar1(visit | id)", "weights": "w"}),
    "car1 beside a term": ("y ~ x + (1 | site)", {"residual": "car1(when | id)"}),
    "cs by arms": ("y ~ x", {"residual": "cs(id)", "dispersion": "arm", "weights": "w"}),
    "us": ("y ~ x + arm", {"residual": "us(visit | id)"}),
    "us by arms": ("y ~ x + arm", {"residual": "us(visit | id)", "dispersion": "arm"}),
    "symm": ("y ~ x + arm + (1 | site)", {"residual": "symm(visit | id)"}),
    "diag term": ("y ~ x + diag(1 + x | id)", {}),
    "cs term": ("y ~ x + cs(0 + C(visit) | site)", {}),
    "homcs term, crossed": ("y ~ x + homcs(0 + C(visit) | site) + (1 | item)", {}),
    "ar1 term": ("y ~ x + ar1(0 + C(visit) | id)", {}),
    "hetar1 term": ("y ~ x + hetar1(0 + C(visit) | site) + (1 | id)", {"weights": "w"}),
    "both": ("y ~ x + ar1(0 + item | site) + (1 | id)", {"dispersion": "arm"}),
}
at_every_model = pytest.mark.parametrize("name", MODELS)
either = pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])


def design_of(name):
    formula, options = MODELS[name]
    return mm.build_design(formula, small_data(), **options)


def some_theta(design, seed=0):
    rng = np.random.default_rng(seed)
    return random_theta(design.terms, design.residual, rng)


@either
@at_every_model
def test_the_objective_is_that_of_dense_matrices(name, reml):
    design = design_of(name)
    for seed in range(3):
        theta = some_theta(design, seed)
        expected = Dense.at(design, theta).objective(reml=reml)
        assert mm.Objective(design, reml=reml)(theta) == pytest.approx(expected, rel=1e-9)


@either
@at_every_model
def test_the_gradient_is_that_of_differences(name, reml):
    design = design_of(name)
    objective, theta = mm.Objective(design, reml=reml), some_theta(design, 5)
    _, gradient = objective.value_and_gradient(theta)
    for k in range(len(theta)):
        step = 1e-5 * np.eye(len(theta))[k]
        slope = (objective(theta + step) - objective(theta - step)) / 2e-5
        assert gradient[k] == pytest.approx(slope, rel=2e-5, abs=2e-5)


@at_every_model
def test_what_a_search_moves_has_the_right_gradient(name):
    objective = mm.Objective(design_of(name))
    variables = StructuredCoordinates(objective)
    theta = some_theta(objective.blocks.design, 7)
    x = variables.from_theta(theta)
    np.testing.assert_allclose(variables.to_theta(x), theta, rtol=1e-8)
    np.testing.assert_allclose(variables.from_theta(variables.to_theta(x)), x, rtol=1e-8, atol=1e-8)
    _, gradient = variables.at(x)
    for k in range(len(x)):
        step = 1e-5 * np.eye(len(x))[k]
        slope = (variables.at(x + step)[0].value - variables.at(x - step)[0].value) / 2e-5
        assert gradient[k] == pytest.approx(slope, rel=2e-5, abs=2e-5)


@at_every_model
def test_estimates_are_those_of_dense_matrices_at_a_minimum(name):
    formula, options = MODELS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mm.ConvergenceWarning)
        fit = mm.lmm(formula, small_data(), **options)
    dense = Dense.at(fit.design, fit.theta)
    assert fit.sigma**2 == pytest.approx(dense.variance(reml=True), rel=1e-8)
    np.testing.assert_allclose(fit.beta, dense.beta, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(
        fit.vcov(), fit.sigma**2 * np.linalg.inv(dense.information), rtol=1e-7, atol=1e-10
    )
    modes = [fit.ranef()[term.group][list(term.columns)] for term in fit.design.terms]
    modes = np.concatenate([np.zeros(0), *(table.to_numpy().ravel() for table in modes)])
    np.testing.assert_allclose(modes, dense.b(), rtol=1e-6, atol=1e-8)
    fitted = dense.X @ dense.beta + dense.Z @ dense.b()
    np.testing.assert_allclose(fit.fitted, fitted, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize(
    ("formula", "options"),
    [
        ("distance ~ age + ar1(0 + C(age) | Subject)", {}),
        ("distance ~ age", {"residual": "car1(age | Subject)"}),
    ],
)
def test_where_sigma_is_known_to_be_its_estimate_nothing_changes(formula, options):
    usual = mm.lmm(formula, data_of("Orthodont"), reml=False, **options)
    known = mm.lmm(formula, data_of("Orthodont"), reml=False, sigma=usual.sigma, **options)
    np.testing.assert_allclose(known.theta, usual.theta, rtol=1e-4)
    assert known.objective == pytest.approx(usual.objective, rel=1e-10)


# ---- identities --------------------------------------------------------------------------------


@either
def test_compound_symmetry_is_a_random_intercept(reml):
    data = data_of("Orthodont")
    term = mm.lmm("distance ~ age * Sex + (1 | Subject)", data, reml=reml)
    of_residuals = mm.lmm("distance ~ age * Sex", data, reml=reml, residual="cs(Subject)")
    assert of_residuals.objective == pytest.approx(term.objective, rel=1e-10)
    total = term.sigma**2 + term.varcorr().sd("Subject") ** 2
    assert of_residuals.sigma**2 == pytest.approx(total, rel=1e-6)
    for ddf in ("kenward-roger", "satterthwaite")[not reml :]:
        np.testing.assert_allclose(
            of_residuals.coef_table(ddf=ddf), term.coef_table(ddf=ddf), rtol=1e-5
        )


def test_terms_with_one_variance_are_crossed_intercepts_where_the_correlation_is_positive():
    data = data_of("Machines")
    one = mm.lmm("score ~ Machine + homcs(0 + Machine | Worker)", data)
    two = mm.lmm("score ~ Machine + (1 | Worker) + (1 | Worker:Machine)", data)
    assert one.objective == pytest.approx(two.objective, rel=1e-10)
    np.testing.assert_allclose(one.vcov(), two.vcov(), rtol=1e-5)


def test_free_and_diagonal_terms_are_those_without_a_word():
    data = data_of("sleepstudy")
    for with_word, without in (
        ("us(Days | Subject)", "(Days | Subject)"),
        ("diag(Days | Subject)", "(Days || Subject)"),
    ):
        one = mm.lmm(f"Reaction ~ Days + {with_word}", data)
        other = mm.lmm(f"Reaction ~ Days + {without}", data)
        assert one.objective == pytest.approx(other.objective, rel=1e-10)
        np.testing.assert_allclose(
            one.coef_table(ddf="kenward-roger"), other.coef_table(ddf="kenward-roger"), rtol=1e-4
        )


def test_continuous_time_is_whole_time_where_it_is_whole():
    data = data_of("sleepstudy")
    steps = mm.lmm("Reaction ~ Days", data, residual="ar1(Days | Subject)")
    real = mm.lmm("Reaction ~ Days", data, residual="car1(Days | Subject)")
    assert steps.objective == pytest.approx(real.objective, rel=1e-10)
    half = mm.lmm("Reaction ~ Days", data.assign(t=data["Days"] / 2), residual="car1(t | Subject)")
    assert half.theta[0] == pytest.approx(real.theta[0] ** 2, rel=1e-5)


def test_the_order_of_rows_does_not_matter():
    data = small_data()
    for formula, options in (MODELS["us by arms"], MODELS["ar1 term"]):
        one = mm.lmm(formula, data, **options)
        other = mm.lmm(formula, data.sample(frac=1, random_state=1), **options)
        assert one.objective == pytest.approx(other.objective, rel=1e-9)
        np.testing.assert_allclose(one.resid.sort_index(), other.resid.sort_index(), atol=1e-4)


# ---- boundaries --------------------------------------------------------------------------------


def balanced(rng, between, within, n=12, k=4):
    """Subjects × visits with a given sum of squares between and within subjects."""
    subject = rng.normal(size=n)
    subject -= subject.mean()
    rest = rng.normal(size=(n, k))
    rest -= rest.mean(axis=1, keepdims=True)
    rest -= rest.mean(axis=0)
    values = between * subject[:, None] + within * rest
    return pd.DataFrame(
        {
            "y": values.ravel(),
            "id": np.repeat([f"s{i}" for i in range(n)], k),
            "visit": np.tile(np.arange(k), n),
        }
    )


def test_a_correlation_below_zero_is_found_where_a_variance_would_be_zero():
    data = balanced(np.random.default_rng(1), between=0.05, within=1.0)
    fit = mm.lmm("y ~ C(visit)", data, residual="cs(id)")
    assert -1 / 3 < fit.theta[0] < 0
    intercept = mm.lmm("y ~ C(visit) + (1 | id)", data)
    assert intercept.is_singular
    assert fit.objective < intercept.objective - 1


def test_a_term_on_its_boundary_is_the_model_without_it():
    data = balanced(np.random.default_rng(1), between=0.05, within=1.0)
    data["f"] = data["visit"] % 2
    twice = pd.concat([data, data.assign(y=data["y"][::-1].to_numpy())], ignore_index=True)
    plain = mm.lmm("y ~ C(visit)", twice)
    fit = mm.lmm("y ~ C(visit) + ar1(0 + C(visit) | id)", twice)
    assert fit.converged
    assert fit.objective <= plain.objective + 1e-8


def test_a_correlation_of_one_is_the_boundary():
    """Effects of levels that are all the same: a random intercept."""
    data = balanced(np.random.default_rng(4), between=2.0, within=0.1)
    twice = pd.concat([data.assign(y=data["y"] + e) for e in (-1, 1)], ignore_index=True)
    one = mm.lmm("y ~ 1 + homcs(0 + C(visit) | id)", twice)
    intercept = mm.lmm("y ~ 1 + (1 | id)", twice)
    assert one.theta[-1] == 1.0
    assert one.is_singular
    assert one.objective == pytest.approx(intercept.objective, abs=1e-8)


# ---- recovery ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "theta"),
    [
        ("us", [1.4, 0.7, 1.2, 0.5, 0.3, 0.2, 0.6, 0.4, 0.5]),
        ("car1 beside a term", [0.8, 0.6]),
        ("cs by arms", [1.7, 0.5]),
    ],
)
def test_parameters_are_recovered(name, theta):
    formula, options = MODELS[name]
    few = small_data()
    many = pd.concat(
        [few.assign(id=few["id"] + f"-{k}", site=few["site"] + f"-{k}") for k in range(25)],
        ignore_index=True,
    )
    fit = mm.lmm(formula, many, **options)
    y = fit.simulate(1, rng=11, theta=theta, sigma=2.0)[0]
    again = fit.refit(y)
    assert again.sigma == pytest.approx(2.0, rel=0.12)
    np.testing.assert_allclose(again.theta, theta, atol=0.15)


@at_every_model
def test_simulated_responses_have_the_covariance_of_the_model(name):
    design = design_of(name)
    theta = some_theta(design)
    n = n_spherical(design)
    truth = Truth(np.zeros(design.p), theta, 1.0)
    linear = responses_to(design, truth, np.eye(n))
    np.testing.assert_allclose(linear.T @ linear, Dense.at(design, theta).V, atol=1e-10)


# ---- residual variances that go to zero ----------------------------------------------------------


@pytest.mark.parametrize(("word", "seed"), [("ar1", 0), ("ar1", 1), ("hetar1", 1), ("hetar1", 5)])
def test_an_effect_for_each_row_that_takes_the_residuals_place_is_named(word, seed, tmp_path):
    """What the warning says to write has the same maximum, and converges."""
    steps = np.random.default_rng(seed).standard_normal((8, 4))
    data = pd.DataFrame({"g": np.repeat(np.arange(8), 4), "t": np.tile(np.arange(4), 8)})
    data["y"] = steps.cumsum(axis=1).ravel()
    options = {"residual": "ar1(t | g)"} | ({"dispersion": "t"} if word == "hetar1" else {})
    written = ", ".join(f'{name}="{value}"' for name, value in options.items())
    with pytest.warns(mm.ConvergenceWarning, match="the residual variance goes to zero") as caught:
        fit = mm.lmm(f"y ~ 1 + {word}(0 + C(t) | g)", data)
    assert str(caught[0].message).endswith(f"instead of {word}(0 + C(t) | g) write {written}.")
    assert not fit.converged
    instead = mm.lmm("y ~ 1", data, **options)
    assert instead.converged
    assert fit.objective == pytest.approx(instead.objective, abs=1e-5)
    mm.save(fit, tmp_path / "fit.npz")
    assert str(mm.load(tmp_path / "fit.npz").summary()) == str(fit.summary())


@pytest.mark.parametrize("swapped", [False, True])
def test_a_residual_variance_of_one_level_on_its_way_to_zero_is_no_minimum(swapped):
    """The search stops where the objective is flat, at a ratio of a thousand or more."""
    rng = np.random.default_rng(43)
    data = pd.DataFrame({"g": np.repeat(np.arange(8), 3), "x": rng.standard_normal(24)})
    data["c"] = rng.choice(["p", "q"], 24, p=[0.4, 0.6])
    data["y"] = rng.standard_normal(8)[data.g] + rng.standard_normal(8)[data.g] * data.x
    data["y"] += rng.standard_normal(24) * np.where(data.c == "p", 0.2, 1)
    if swapped:  # the level that others are measured in is another
        data["c"] = data["c"].map({"p": "q", "q": "p"})
    with pytest.raises(mm.DataError, match="a residual variance goes to zero beside the others"):
        mm.lmm("y ~ x + (x | g)", data, dispersion="c")


def test_a_small_residual_variance_is_a_minimum_where_rows_repeat():
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"g": np.repeat(np.arange(12), 8), "t": np.tile(np.arange(4), 24)})
    effects = rng.standard_normal((12, 4)).cumsum(axis=1)
    data["y"] = 1e3 * effects[data["g"], data["t"]] + rng.standard_normal(96)
    fit = mm.lmm("y ~ 1 + ar1(0 + C(t) | g)", data)
    assert fit.converged
    assert fit.sigma == pytest.approx(1, abs=0.3)
