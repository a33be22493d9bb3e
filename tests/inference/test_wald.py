"""Wald intervals of variances and correlations: by brute force, against nlme, at the boundary."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.stats import norm

import mmlib as mm
from mmlib.inference.parameters import variance_parameters
from tests.engine.test_structured import MODELS, small_data
from tests.helpers.covariances import data_of
from tests.helpers.dense import Dense
from tests.helpers.oracle import read_json
from tests.inference.test_structured import bigger

NLME = read_json("practice_intervals.json.gz")["cases"]
CHILDREN = "distance ~ age * Sex"
CALLS = {
    "cs": (CHILDREN, {"residual": "cs(Subject)"}),
    "ar1": (CHILDREN, {"residual": "ar1(visit | Subject)"}),
    "ar1_sex": (CHILDREN, {"residual": "ar1(visit | Subject)", "dispersion": "Sex"}),
    "us": (CHILDREN, {"residual": "us(visit | Subject)"}),
    "us_ml": (CHILDREN, {"residual": "us(visit | Subject)", "reml": False}),
    "sex": (f"{CHILDREN} + (1 | Subject)", {"dispersion": "Sex"}),
    "sleep": ("Reaction ~ Days + (Days | Subject)", {}),
    "sleep_diag": ("Reaction ~ Days + diag(Days | Subject)", {}),
    "sleep_ar1": ("Reaction ~ Days + (1 | Subject)", {"residual": "ar1(Days | Subject)"}),
    "machines_homcs": ("score ~ Machine + homcs(0 + Machine | Worker)", {}),
    "machines_cs": ("score ~ Machine + cs(0 + Machine | Worker)", {}),
    "bodyweight_car1": (
        "weight ~ Time * Diet + (Time | Rat)",
        {"residual": "car1(Time | Rat)"},
    ),
}
DATA = {"sleep": "sleepstudy", "machines": "Machines", "bodyweight": "BodyWeight"}


def wald(fit, **options):
    names = [name for name in mm.profile(fit).parameters if name not in fit.design.fixed_names]
    return fit.confint("wald", parameters=names, **options)


@pytest.mark.parametrize("name", NLME)
def test_limits_are_those_of_nlme(name):
    formula, options = CALLS[name]
    fit = mm.lmm(formula, data_of(DATA.get(name.split("_")[0], "Orthodont")), **options)
    theirs = NLME[name]
    assert fit.loglik == pytest.approx(theirs["logLik"], abs=1e-5)
    parts = [theirs[key] for key in ("random", "ratios", "correlation") if theirs.get(key)]
    rows = [(theirs["sigma"][1], theirs["sigma"][0], theirs["sigma"][2])]
    for part in parts:
        rows += zip(part["est"], part["lower"], part["upper"], strict=True)
    found, expected = wald(fit), np.array(sorted(rows))
    parameters = variance_parameters(fit.design, fit.theta, fit.sigma)
    order = np.argsort([parameter.estimate for parameter in parameters])
    width = expected[:, 2] - expected[:, 1]
    assert len(found) == len(expected)
    # nlme's second differences are poor for a correlation near 0: brute force, below, is with us.
    near = 0.1 if name == "sleep" else 0.006
    assert (np.abs(found.to_numpy()[order] - expected[:, 1:]) < near * width[:, None]).all()


@pytest.fixture(scope="module")
def data():
    return bigger()


@pytest.mark.parametrize(
    ("name", "reml"),
    [
        ("dispersion", True),
        ("dispersion", False),
        ("ar1, weights", True),
        ("car1 beside a term", True),
        ("cs by arms", False),
        ("us", True),
        ("machines_homcs", True),
        ("machines_cs", True),
        ("sleep", True),
    ],
)
def test_limits_are_those_of_brute_force(data, name, reml):
    """Differences of the criterion from n×n matrices in (θ, log σ), carried over by hand."""
    formula, options = (CALLS | MODELS)[name]
    frame = data if name in MODELS else data_of(DATA[name.split("_")[0]])
    fit = mm.lmm(formula, frame, reml=reml, **options)
    assert not fit.is_singular
    design = fit.design
    centre = np.append(fit.theta, np.log(fit.sigma))

    def objective(x):
        dense = Dense.at(design, x[:-1])
        return dense.objective(reml=reml, sigma=np.exp(x[-1]))

    covariance = 2 * np.linalg.inv(second_differences(objective, centre))
    found = wald(fit, level=0.9)
    parameters = variance_parameters(design, fit.theta, fit.sigma)
    for k, parameter in enumerate(parameters):
        low, high = parameter.limits

        def scale(value, low=low, high=high):
            return np.log(value - low) - (np.log(high - value) if np.isfinite(high) else 0)

        def at(x, k=k, scale=scale):
            return scale(variance_parameters(design, x[:-1], np.exp(x[-1]))[k].estimate)

        slope = approx_fprime(centre, at, 1e-7)
        error = np.sqrt(slope @ covariance @ slope)
        ends = scale(found.iloc[k].to_numpy())
        expected = scale(parameter.estimate) + norm.ppf(0.95) * error * np.array([-1, 1])
        np.testing.assert_allclose(ends, expected, atol=2e-3 * error)


def second_differences(function, x, step=1e-3):
    k = len(x)
    shifts = step * np.eye(k) * np.maximum(np.abs(x), 0.1)
    hessian = np.empty((k, k))
    for i in range(k):
        for j in range(i, k):
            a, b = shifts[i], shifts[j]
            corners = function(x + a + b) - function(x + a - b)
            corners += function(x - a - b) - function(x - a + b)
            hessian[i, j] = hessian[j, i] = corners / (4 * a[i] * b[j])
    return hessian


def test_what_is_at_its_bound_has_no_limits_and_the_others_keep_theirs():
    fit = mm.lmm("y ~ x + diag(1 + x | id)", small_data())
    data = small_data().assign(y=fit.resid.to_numpy())
    flat = mm.lmm("y ~ x + diag(1 + x | id)", data)
    assert flat.is_singular
    limits = flat.confint("wald")
    zero = [name for name in limits.index if name.startswith("sd_")]
    assert limits.loc[zero].isna().all(axis=1).any()
    assert limits.drop(index=zero).notna().all(axis=None)


def test_a_known_sigma_has_no_limits_but_variances_have():
    data = small_data()
    fit = mm.lmm("y ~ x + (1 | id)", data, sigma=1.0)
    limits = fit.confint("wald", parameters=["sd_Intercept|id", "sigma"])
    assert limits.loc["sigma"].isna().all()
    assert limits.loc["sd_Intercept|id", "lower"] < fit.varcorr().sd("id")


def test_which_are_given_when_none_is_asked_for(sleep_fit):
    assert list(sleep_fit.confint("wald").index) == ["Intercept", "Days"]
    fit = mm.lmm("y ~ x + visit + (1 | id)", small_data(), dispersion="arm")
    assert list(fit.confint("wald").index) == mm.profile(fit).parameters


def test_wald_and_profile_agree_where_the_likelihood_is_nearly_a_parabola():
    """The logarithm of σ, from 162 degrees of freedom."""
    fit = mm.lmm("Reaction ~ Days + (1 | Subject)", mm.load_dataset("sleepstudy"), reml=False)
    found, by_profile = wald(fit).loc["sigma"], fit.confint(parameters="sigma").loc["sigma"]
    width = by_profile["upper"] - by_profile["lower"]
    assert np.abs(found - by_profile).max() < 0.03 * width
