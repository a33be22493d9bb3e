"""Intervals of the parameters: against R, against the methods that they are made of, bad input."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.stats import norm, t

import mmlib as mm
from mmlib.inference.bootstrap import bootstrap
from mmlib.inference.confint import confint
from tests.helpers.oracle import cases, load_case, load_profile

EXACT = load_profile()
WITH_WALD = [
    name for name in cases() if load_case(name)["ML"].get("wald_ci") and name != "insteval"
]


def test_profile_is_the_default_and_agrees_with_r(sleep_fit):
    limits = sleep_fit.confint()
    for r_name, numbers in EXACT["sleep_corr"]["exact"].items():
        found = limits.loc[r_name.replace("(Intercept)", "Intercept")]
        width = numbers["upper"] - numbers["lower"]
        assert found["lower"] == pytest.approx(numbers["lower"], abs=1e-6 * width)
        assert found["upper"] == pytest.approx(numbers["upper"], abs=1e-6 * width)


@pytest.mark.parametrize("name", WITH_WALD)
def test_wald_agrees_with_r(name):
    case = load_case(name)
    fit = mm.lmm(case.formula, case.data, reml=False, weights=case.weights, offset=case.offset)
    limits, expected = fit.confint("wald"), case["ML"]["wald_ci"]
    lower, upper = np.array(expected["lower"]), np.array(expected["upper"])
    # R's standard errors are those of its own optimum, and its columns may be in another order.
    order, theirs = np.argsort(limits["lower"]), np.argsort(lower)
    tolerance = 1e-4 * (upper - lower)[theirs]
    assert (np.abs(limits["lower"].to_numpy()[order] - lower[theirs]) <= tolerance).all()
    assert (np.abs(limits["upper"].to_numpy()[order] - upper[theirs]) <= tolerance).all()


@pytest.mark.parametrize("level", [0.5, 0.99])
def test_wald_reaches_a_normal_quantile(penicillin_fit, level):
    limits, table = penicillin_fit.confint("wald", level=level), penicillin_fit.coef_table()
    reach = norm.ppf((1 + level) / 2) * table["Std. Error"]
    assert np.allclose(limits["upper"], table["Estimate"] + reach, rtol=1e-12)
    assert np.allclose(limits["lower"], table["Estimate"] - reach, rtol=1e-12)


@pytest.mark.parametrize("ddf", ["kenward-roger", "satterthwaite"])
def test_wald_with_degrees_of_freedom_is_the_t_interval_of_the_balanced_design(penicillin_fit, ddf):
    """Differences of treatments have the t interval of the analysis of variance, 12 df."""
    found = penicillin_fit.confint("wald", ddf=ddf, parameters="treat[T.C]").loc["treat[T.C]"]
    mean_square = penicillin_fit.sigma**2
    reach = t.ppf(0.975, 12) * np.sqrt(2 * mean_square / 5)
    assert found["lower"] == pytest.approx(5 - reach, rel=1e-6)
    assert found["upper"] == pytest.approx(5 + reach, rel=1e-6)


def test_intervals_are_nested_in_their_level(sleep_fit):
    narrow, wide = sleep_fit.confint(level=0.8), sleep_fit.confint(level=0.95)
    assert (wide["lower"] < narrow["lower"]).all()
    assert (wide["upper"] > narrow["upper"]).all()


def test_parameters_are_chosen_and_kept_in_the_order_asked_for(sleep_fit):
    names = ["sigma", "Days", "sd_Days|Subject"]
    assert list(sleep_fit.confint(parameters=names).index) == names
    assert list(sleep_fit.confint("boot", parameters=names, nsim=20, rng=1).index) == names
    assert list(sleep_fit.confint("wald", parameters="Days").index) == ["Days"]


@pytest.mark.parametrize("kind", ["percentile", "basic", "normal"])
def test_boot_limits_are_those_of_the_bootstrap(pulp_fit, kind):
    found = pulp_fit.confint("boot", nsim=200, rng=3, kind=kind, level=0.9)
    drawn = bootstrap(
        pulp_fit,
        lambda fit: {
            "sd_Intercept|operator": fit.theta[0] * fit.sigma,
            "sigma": fit.sigma,
            "Intercept": fit.beta[0],
        },
        nsim=200,
        rng=3,
    )
    expected = drawn.confint(kind, level=0.9)
    assert list(found.index) == list(expected.index)
    assert np.allclose(found, expected, rtol=1e-12)


def test_boot_names_are_those_of_the_profile(sleep_fit):
    boot = sleep_fit.confint("boot", nsim=50, rng=1)
    assert list(boot.index) == list(sleep_fit.confint().index)
    assert (boot["lower"] < boot["upper"]).all()


def test_boot_draws_the_same_on_an_executor(sleep_fit):
    here = sleep_fit.confint("boot", nsim=300, rng=5)
    with ThreadPoolExecutor(2) as executor:
        there = sleep_fit.confint("boot", nsim=300, rng=5, executor=executor, progress=False)
    assert here.equals(there)


def test_a_correlation_that_is_not_always_defined_costs_the_others_no_replicate():
    """Slopes that hardly vary are estimated as zero in some replicates."""
    rng = np.random.default_rng(7)
    data = mm.load_dataset("sleepstudy")
    steady = rng.normal(0, 30, 18)[data["Subject"].cat.codes] + rng.normal(0, 25, len(data))
    fit = mm.lmm("y ~ Days + (Days | Subject)", data.assign(y=250 + 10 * data["Days"] + steady))
    limits = fit.confint("boot", nsim=200, rng=1)
    assert limits.drop(index=limits.index[1]).notna().all(axis=None)
    drawn = bootstrap(fit, lambda refit: {"sigma": refit.sigma}, nsim=200, rng=1)
    assert np.allclose(limits.loc["sigma"], drawn.confint().loc["sigma"], rtol=1e-12)


def test_limits_of_an_undefined_correlation_are_missing():
    data = mm.load_dataset("pulp").assign(
        y=[3, 1, 2, 4, 5, 2, 3, 1, 5, 4, 4, 5, 1, 3, 2, 5, 4, 3, 2, 1], x=[-2, -1, 0, 1, 2] * 4
    )
    fit = mm.lmm("y ~ x + (x | operator)", data)
    assert fit.is_singular
    limits = fit.confint("boot", nsim=20, rng=1, kind="basic")
    assert limits.loc["sigma"].notna().all()
    assert limits.loc["cor_x.Intercept|operator"].isna().all()


@pytest.mark.parametrize("method", ["profile", "wald", "boot"])
def test_no_parameters_have_no_intervals(pulp_fit, method):
    options = {"nsim": 2, "rng": 1} if method == "boot" else {}
    limits = confint(pulp_fit, method, parameters=[], **options)
    assert limits.shape == (0, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "bayes"}, "method must be 'profile', 'wald' or 'boot', not 'bayes'"),
        ({"level": 95}, "level must be between 0 and 1, not 95"),
        ({"method": "boot", "level": "0.95"}, "level must be between 0 and 1"),
        ({"ddf": "satterthwaite"}, "ddf= belongs to method='wald'"),
        ({"method": "wald", "ddf": "kenward"}, "ddf must be 'kenward-roger'"),
        ({"method": "wald", "nsim": 10, "rng": 1}, "nsim=, rng= belongs to method='boot'"),
        (
            {"method": "wald", "parameters": "sd"},
            "'sd', which is no parameter with an interval of this kind",
        ),
        ({"method": "boot", "parameters": ["sigm"]}, "Did you mean 'sigma'"),
        ({"method": "profile", "parameters": ["sigm"]}, "Did you mean 'sigma'"),
        ({"method": "boot", "kind": "bca"}, "kind must be 'percentile', 'basic' or 'normal'"),
        ({"method": "boot", "nsim": 0}, "nsim must be a whole number of at least 1"),
    ],
)
def test_bad_input_is_named(pulp_fit, arguments, message):
    with pytest.raises(mm.DataError, match=message):
        confint(pulp_fit, **arguments)
