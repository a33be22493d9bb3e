"""Profile limits against closed forms, exact root finding in R, and plain searches."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq, minimize
from scipy.stats import chi2

import mmlib as mm
from mmlib.engine.objective import Objective
from mmlib.inference.profile import Profile, profile
from tests.helpers.oracle import load_case, load_profile

EXACT = load_profile()
NAMES = {
    "(Intercept)": "Intercept",
    "cask:batch": "batch:cask",
    "treatB": "treat[T.B]",
    "treatC": "treat[T.C]",
    "treatD": "treat[T.D]",
}


def ours(name: str) -> str:
    for r_name, our_name in NAMES.items():
        name = name.replace(r_name, our_name)
    return name


@pytest.fixture(scope="module")
def pulp() -> Profile:
    return profile(mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp")))


@pytest.mark.parametrize("case_id", EXACT)
def test_limits_agree_with_root_finding_in_r(case_id: str) -> None:
    case = load_case(case_id)
    limits = profile(mm.lmm(case.formula, case.data, reml=False)).confint()
    exact = EXACT[case_id]["exact"]
    assert sorted(limits.index) == sorted(map(ours, exact))
    for name, numbers in exact.items():
        width = numbers["upper"] - numbers["lower"]
        found = limits.loc[ours(name)]
        # R found its roots to about 1e-8 of the width.
        assert abs(found["lower"] - numbers["lower"]) < 1e-6 * width, name
        assert abs(found["upper"] - numbers["upper"]) < 1e-6 * width, name


@pytest.mark.parametrize("case_id", ["pulp_ri", "sleep_corr"])
def test_limits_agree_with_lme4_to_its_interpolation(case_id: str) -> None:
    case = load_case(case_id)
    limits = profile(mm.lmm(case.formula, case.data)).confint()
    lme4 = EXACT[case_id]["lme4_confint"]
    for name, lower, upper in zip(lme4["names"], lme4["lower"], lme4["upper"], strict=True):
        width = upper - lower
        assert limits.loc[ours(name), "lower"] == pytest.approx(lower, abs=1e-3 * width)
        assert limits.loc[ours(name), "upper"] == pytest.approx(upper, abs=1e-3 * width)


def test_a_reml_fit_is_profiled_by_its_likelihood(pulp: Profile) -> None:
    assert not pulp.fit.reml
    assert pulp.estimates["sigma"] ** 2 == pytest.approx(0.10625, rel=1e-8)


def test_zeta_squared_is_the_rise_of_the_objective(pulp: Profile) -> None:
    """In a balanced one-way layout the profile over σ has a closed form in the sums of squares."""
    layout = mm.oneway("bright ~ operator", mm.load_dataset("pulp"))
    a, n, total = len(layout.levels), 5, layout.nobs

    def objective(sigma2: float, ratio: float) -> float:
        v2 = sigma2 * (1 + n * ratio)
        return (
            total * np.log(2 * np.pi)
            + (total - a) * np.log(sigma2)
            + a * np.log(v2)
            + layout.sse / sigma2
            + layout.ssa / v2
        )

    for sigma in (0.25, 0.4):
        v2 = max(layout.ssa / a, sigma**2)  # maximises over the ratio, which is at least 0
        rise = objective(sigma**2, (v2 / sigma**2 - 1) / n) - pulp.fit.objective
        assert pulp.zeta("sigma", sigma) ** 2 == pytest.approx(rise, rel=1e-7)
        assert np.sign(pulp.zeta("sigma", sigma)) == np.sign(sigma - pulp.fit.sigma)
    assert pulp.zeta("sigma", pulp.fit.sigma) == 0


def test_the_mean_of_a_linear_model_has_a_closed_form() -> None:
    data = mm.load_dataset("pulp")
    found = profile(mm.lmm("bright ~ 1", data, reml=False)).confint(parameters=["Intercept"])
    y = data["bright"].to_numpy()
    n, s2 = len(y), y.var()
    half = np.sqrt(s2 * (np.exp(chi2.ppf(0.95, 1) / n) - 1))
    np.testing.assert_allclose(
        found.loc["Intercept"], [y.mean() - half, y.mean() + half], rtol=1e-8
    )


def test_a_correlation_is_profiled_by_a_plain_constrained_search() -> None:
    data = mm.load_dataset("sleepstudy")
    fit = mm.lmm("Reaction ~ Days + (Days | Subject)", data, reml=False)
    objective = Objective(fit.blocks, reml=False)
    rho = 0.5

    def at(x: np.ndarray) -> float:
        first, second = np.exp(x)
        return objective([first, rho * second, np.sqrt(1 - rho**2) * second])

    rise = minimize(at, [0, -1], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-9}).fun
    zeta = profile(fit).zeta("cor_Days.Intercept|Subject", rho)
    assert zeta**2 == pytest.approx(rise - fit.objective, abs=1e-6)


def test_limits_widen_with_the_level_and_hold_the_estimate(pulp: Profile) -> None:
    narrow, wide = pulp.confint(level=0.5), pulp.confint(level=0.99)
    assert (wide["lower"] <= narrow["lower"]).all()
    assert (wide["upper"] > narrow["upper"]).all()
    assert (narrow["lower"] < pulp.estimates).all()
    assert (narrow["upper"] > pulp.estimates).all()
    for name in pulp.parameters:  # an end is where ζ reaches the quantile, or the boundary
        upper = narrow.loc[name, "upper"]
        assert pulp.zeta(name, upper) == pytest.approx(0.6744897501960817, rel=1e-6)


def test_a_variance_estimated_at_zero_has_zero_as_its_lower_limit() -> None:
    data = pd.DataFrame({"y": [1, 2, 3.0] * 4, "g": list("aaabbbcccddd")})
    fit = mm.lmm("y ~ 1 + (1 | g)", data, reml=False)
    assert fit.is_singular
    limits = profile(fit).confint().loc["sd_Intercept|g"]
    assert limits["lower"] == 0
    objective = Objective(fit.blocks, reml=False)

    def rise(sd: float) -> float:
        at_sd = minimize(
            lambda x: objective([sd / np.exp(x[0])], np.exp(x[0])),
            [np.log(fit.sigma)],
            method="Nelder-Mead",
            options={"xatol": 1e-10, "fatol": 1e-12},
        )
        return at_sd.fun - fit.objective - chi2.ppf(0.95, 1)

    assert limits["upper"] == pytest.approx(brentq(rise, 0.1, 5), rel=1e-6)


def test_limits_follow_the_units_of_the_response(pulp: Profile) -> None:
    data = mm.load_dataset("pulp")
    data["bright"] = 7 - 3 * data["bright"]
    turned = profile(mm.lmm("bright ~ 1 + (1 | operator)", data)).confint()
    plain = pulp.confint()
    np.testing.assert_allclose(turned.loc["sigma"], 3 * plain.loc["sigma"], rtol=1e-6)
    np.testing.assert_allclose(
        turned.loc["Intercept"], 7 - 3 * plain.loc["Intercept", ["upper", "lower"]], rtol=1e-6
    )


def test_a_grid_spans_the_interval(pulp: Profile) -> None:
    grid = pulp.grid("Intercept", n=9, level=0.9)
    limits = pulp.confint(level=0.9).loc["Intercept"]
    assert grid["value"].iloc[[0, -1]].tolist() == pytest.approx(limits.tolist())
    assert len(grid) == 9
    assert (np.diff(grid["zeta"]) > 0).all()


def test_the_ends_of_a_grid_are_the_quantiles(pulp: Profile) -> None:
    ends = pulp.grid("sigma", n=3, level=0.95)["zeta"].iloc[[0, -1]]
    assert ends.tolist() == pytest.approx([-1.959963984540054, 1.959963984540054], rel=1e-6)


def test_intervals_do_not_depend_on_the_order_in_which_they_are_asked(pulp: Profile) -> None:
    data = mm.load_dataset("pulp")
    other = profile(mm.lmm("bright ~ 1 + (1 | operator)", data))
    names = other.parameters[::-1]
    np.testing.assert_allclose(
        other.confint(parameters=names).loc[names], pulp.confint().loc[names]
    )


def test_a_correlation_keeps_its_sign_after_a_visit_to_its_limits() -> None:
    """Searches start where the last one ended: none may end at minus the correlation held."""
    fit = mm.lmm("Reaction ~ Days + (Days | Subject)", mm.load_dataset("sleepstudy"))
    name = "cor_Days.Intercept|Subject"
    walked = profile(fit)
    walked.confint(level=0.999)
    exact = EXACT["sleep_corr"]["exact"]["cor_Days.(Intercept)|Subject"]
    np.testing.assert_allclose(
        walked.confint(parameters=[name]).to_numpy()[0], [exact["lower"], exact["upper"]], rtol=1e-6
    )
    for value in (-0.6, -0.3, 0.3, 0.6, 0.9):
        np.testing.assert_allclose(
            walked.zeta(name, value), profile(fit).zeta(name, value), rtol=1e-5
        )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: p.confint(level=1.5), "level must be between 0 and 1, not 1.5"),
        (lambda p: p.confint(level=0), "level must be between 0 and 1, not 0"),
        (lambda p: p.confint(parameters=["sigm"]), "no parameter of the fit. Did you mean 'sigma'"),
        (
            lambda p: p.zeta("sd_Intercept|operator", -0.1),
            "must lie between 0 and inf, not at -0.1",
        ),
        (lambda p: p.zeta("sigma", "wide"), "must lie between 0 and inf, not at 'wide'"),
        (lambda p: p.grid("nothing"), "parameter names 'nothing', which is no parameter"),
        (lambda p: p.grid("sigma", n=1), "n must be a whole number of at least 2, not 1"),
    ],
)
def test_bad_input_is_named(pulp: Profile, call, message: str) -> None:
    with pytest.raises(mm.DataError, match=message):
        call(pulp)


def test_a_profile_names_its_parameters(pulp: Profile) -> None:
    assert "sd_Intercept|operator, sigma, Intercept" in repr(pulp)
