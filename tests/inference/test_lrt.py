"""Likelihood-ratio tests against R, what counts as nested, and what the boundary does."""

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import mmlib as mm
from mmlib import lrt
from tests.helpers import oracle
from tests.helpers.cases import fitted
from tests.helpers.designs import random_design, seeds
from tests.helpers.inference import cases_with, named_tests

# The objective is known to 1e-10 of its size at both optima, and the statistic is a difference.
AGAINST_R = 1e-6

TESTS = list(named_tests("LRT"))


# --- R -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("case_id", "dropped"), TESTS)
def test_fixed_effects_are_tested_as_in_r(case_id, dropped):
    case = oracle.load_case(case_id)
    recorded = case["tests"][dropped]
    formula = oracle.translate(recorded["reduced_formula"], case.dataset, case["contrasts"])
    small = mm.lmm(formula, case.data, reml=False, weights=case.weights, offset=case.offset)
    test = lrt(small, fitted(case_id, "ML"))
    wanted = recorded["LRT"]
    assert test.df == (wanted["df"],)
    assert test.valid
    assert test.pvalue_mixture is None
    scale = abs(wanted["logLik_full"])
    np.testing.assert_allclose(test.statistic, wanted["stat"], rtol=AGAINST_R, atol=1e-9 * scale)
    np.testing.assert_allclose(test.pvalue, wanted["p"], rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize("case_id", cases_with("ranova_REML"))
def test_random_terms_are_tested_as_in_r(case_id):
    """R refits with its default, looser, optimiser, and has no mixture."""
    case, large = oracle.load_case(case_id), fitted(case_id, "REML")
    wanted = case["ranova_REML"]
    (term,) = wanted["term"][1:]
    formula = case.formula.replace(f"+ {term}", "")
    test = lrt(mm.lmm(formula, case.data, weights=case.weights, offset=case.offset), large)
    assert test.statistic_name == "RLRT"
    assert test.df == (wanted["df"][1],)
    assert not test.valid
    np.testing.assert_allclose(test.statistic, wanted["LRT"][1], rtol=1e-5)
    np.testing.assert_allclose(test.pvalue, wanted["p"][1], rtol=1e-4, atol=1e-12)
    if test.df == (1,):
        assert test.pvalue_mixture == pytest.approx(test.pvalue / 2)
    else:  # an intercept and slopes at once
        assert test.pvalue_mixture is None
        assert "no simple mixture" in test.notes[0]


@pytest.mark.parametrize("criterion", ["ML", "REML"])
def test_pulp(criterion):
    recorded = oracle.load_exact_lrt()["pulp"]
    name = {"ML": "LRT", "REML": "RLRT"}[criterion]
    pulp = oracle.load_case("pulp_ri").data
    test = lrt(mm.lmm("bright ~ 1", pulp, reml=criterion == "REML"), fitted("pulp_ri", criterion))
    assert test.statistic == pytest.approx(recorded[f"{name}_stat"], rel=1e-8)
    assert test.pvalue_mixture == pytest.approx(recorded[f"{name}_p_mix"], rel=1e-8)
    layout = mm.oneway("bright ~ operator", pulp)
    exact = layout.exact_lrt() if criterion == "ML" else layout.exact_rlrt()
    assert test.statistic == pytest.approx(exact.statistic, rel=1e-8)
    assert test.pvalue > test.pvalue_mixture > exact.pvalue


# --- nesting and the boundary ------------------------------------------------------------------


@cache
def sleep():
    days = mm.load_dataset("sleepstudy")["Days"]
    return mm.load_dataset("sleepstudy").assign(
        half=pd.Categorical(np.where(days > 4, "late", "early")),
        third=pd.Categorical(np.array(["a", "b", "c"])[days // 4]),
        year=2000 + days,
    )


@cache
def sleep_fit(right, reml=False):
    return mm.lmm(f"Reaction ~ {right}", sleep(), reml=reml)


@pytest.mark.parametrize(
    ("small", "large", "df", "components"),
    [
        ("Days", "Days + (1 | Subject)", 1, (0, 1)),
        ("1", "Days + (1 | Subject)", 2, (1, 2)),
        ("Days + (1 | Subject)", "Days + (Days | Subject)", 2, (1, 2)),
        ("Days + (1 | Subject)", "Days + (Days || Subject)", 1, (0, 1)),
        ("Days + (1 | Subject)", "Days + (year | Subject)", 2, (1, 2)),
        ("Days + (1 | Subject)", "Days + (1 | Subject) + (1 | Subject:half)", 1, (0, 1)),
        # Equal effects in both halves: a covariance of rank one, on the edge of those of rank two.
        ("Days + (1 | Subject)", "Days + (0 + half | Subject)", 2, (1, 2)),
        # Inside: only correlations, or unequal variances, are added.
        ("Days + (Days || Subject)", "Days + (Days | Subject)", 1, (1,)),
        ("year + (Days || Subject)", "Days + (year | Subject)", 1, (1,)),
        ("Days + (1 | Subject/half)", "Days + (0 + half | Subject)", 1, (1,)),
        ("Days + (1 | Subject/third)", "Days + (0 + third | Subject)", 4, (4,)),
        ("1 + (1 | Subject)", "Days + (1 | Subject)", 1, (1,)),
        ("half + (1 | Subject)", "0 + half + Days + (1 | Subject)", 1, (1,)),
        # Several variances at once.
        ("Days", "Days + (Days | Subject)", 3, None),
        ("Days", "Days + (Days || Subject)", 2, None),
        ("Days + (1 | Subject)", "Days + (0 + third | Subject)", 5, None),
        ("Days + (1 | Subject)", "Days + (half + Days | Subject)", 5, None),
    ],
)
def test_distribution_under_the_null_hypothesis(small, large, df, components):
    test = lrt(sleep_fit(small), sleep_fit(large))
    assert test.df == (df,)
    assert test.pvalue == pytest.approx(stats.chi2.sf(test.statistic, df), rel=1e-9)
    if components is None:
        assert (test.valid, test.pvalue_mixture) == (False, None)
        assert "no simple mixture" in test.notes[0]
    elif len(components) == 1:
        assert (test.valid, test.pvalue_mixture) == (True, None)
        assert not any("χ² is not valid" in note for note in test.notes)
    else:
        tails = [stats.chi2.sf(test.statistic, k) if k else 0.0 for k in components]
        assert test.pvalue_mixture == pytest.approx(np.mean(tails), rel=1e-9)
        assert not test.valid
        assert f"½χ²({df - 1}) + ½χ²({df})" in test.notes[0]


def test_two_bars_before_a_factor_add_one_variance():
    """A column for each level but the first: one more variance, so the mixture is known."""
    small, large = sleep_fit("Days + (1 | Subject)"), sleep_fit("Days + (half || Subject)")
    test = lrt(small, large)
    assert test.df == (1,)
    assert test.pvalue_mixture == pytest.approx(test.pvalue / 2)


@pytest.mark.parametrize(
    ("small", "large", "message"),
    [
        ("Days + (1 | Subject)", "Days + (1 | Subject)", "the same model"),
        ("Days + (1 | Subject)", "year + (1 | Subject)", "the same model"),
        ("Days + (Days | Subject)", "Days + (year | Subject)", "the same model"),
        ("Days + (Days | Subject)", "Days + (1 | Subject)", r"swap them, lrt\(small, large\)"),
        ("Days + (1 | Subject)", "1 + (1 | Subject)", "swap them"),
        ("Days + (1 | Subject)", "half + (1 | Subject)", "not nested: the fixed part"),
        ("Days + (Days | Subject)", "1 + (1 | Subject) + (1 | Subject:half)", "the fixed part"),
        ("Days + (1 | Subject)", "Days + (0 + Days | Subject)", "not nested: the random part"),
        # Uncorrelated effects mean something else with another origin.
        ("Days + (Days || Subject)", "Days + (year || Subject)", "not nested: the random part"),
        ("Days + (1 | Subject:half)", "Days + (1 | Subject)", "not nested: the random part"),
    ],
)
def test_models_that_are_not_nested_are_refused(small, large, message):
    with pytest.raises(mm.DataError, match=message):
        lrt(sleep_fit(small), sleep_fit(large))


@pytest.mark.parametrize("reml", [True, False])
def test_a_correlation_that_one_model_bounds_at_zero(reml):
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"y": rng.normal(size=60), "g": np.repeat(np.arange(10), 6)})
    frame["h"] = np.tile(np.arange(6), 10)
    for share, message in ((0.1, "such as a negative correlation"), (5.0, "the same model")):
        means = frame.groupby("g")["y"].transform("mean")
        data = frame.assign(y=frame["y"] + (share - 1) * means)
        one = mm.lmm("y ~ 1 + (1 | g)", data, reml=reml)
        other = mm.lmm("y ~ 1", data, residual="cs(g)", reml=reml)
        for pair in ((one, other), (other, one)):
            with pytest.raises(mm.DataError, match=message):
                lrt(*pair)
    data = frame.assign(y=frame["y"] - 0.9 * means)
    other = mm.lmm("y ~ 1", data, residual="cs(g)", reml=reml)
    more = mm.lmm("y ~ 1 + (1 | g) + (1 | h)", data, reml=reml)
    with pytest.raises(mm.DataError, match=r"not nested: the random part .* allows covariances"):
        lrt(other, more)


def test_reml_needs_the_same_means():
    with pytest.raises(mm.DataError, match=r"refit with reml=False"):
        lrt(sleep_fit("1 + (1 | Subject)", reml=True), sleep_fit("Days + (1 | Subject)", reml=True))
    with pytest.raises(mm.DataError, match="one model is fitted by REML and the other"):
        lrt(sleep_fit("Days", reml=True), sleep_fit("Days + (1 | Subject)"))


def test_reml_takes_another_basis_of_the_same_means():
    """The REML criterion depends on the basis of X; the test does not."""
    large = sleep_fit("year + (Days | Subject)", reml=True)
    one = lrt(sleep_fit("Days + (1 | Subject)", reml=True), large)
    two = lrt(sleep_fit("year + (1 | Subject)", reml=True), large)
    three = lrt(sleep_fit("I(Days / 7) + (1 | Subject)", reml=True), large)
    assert one.statistic == pytest.approx(two.statistic, rel=1e-7)
    assert one.statistic == pytest.approx(three.statistic, rel=1e-7)


def test_an_offset_is_part_of_the_means():
    """10·Days as an offset, or a free multiple of Days: nested, with one parameter more."""
    known = mm.lmm("Reaction ~ 1 + (1 | Subject)", sleep(), reml=False, offset=10 * sleep()["Days"])
    test = lrt(known, sleep_fit("Days + (1 | Subject)"))
    assert test.df == (1,)
    with pytest.raises(mm.DataError, match="not nested"):
        lrt(known, sleep_fit("half + (1 | Subject)"))


def test_weights_enter_the_residual_pattern():
    small = mm.lmm("Reaction ~ Days", sleep(), reml=False, weights=1 + sleep()["Days"] % 3)
    large = mm.lmm(
        "Reaction ~ Days + (1 | Subject)", sleep(), reml=False, weights=1 + sleep()["Days"] % 3
    )
    assert lrt(small, large).df == (1,)
    with pytest.raises(mm.DataError, match="different prior weights"):
        lrt(sleep_fit("Days"), large)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.iloc[:-1], "fitted to 179 and 180 rows"),
        (lambda data: data.assign(Reaction=np.log(data["Reaction"])), "different responses"),
        (lambda data: data.iloc[::-1], "rows in another order"),
        (
            lambda data: data.assign(Days=data["Days"].where(data["Days"] < 9)),
            "162 and 180 rows.* Drop the rows with missing values first",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::mmlib.errors.DataWarning")
def test_different_data_are_refused(change, message):
    small = mm.lmm("Reaction ~ Days", change(sleep()), reml=False)
    with pytest.raises(mm.DataError, match=message):
        lrt(small, sleep_fit("Days + (1 | Subject)"))


# --- the statistic -----------------------------------------------------------------------------


@pytest.mark.landing
@given(seeds, st.sampled_from(["1", "x", "t", "x + t"]))
def test_a_larger_model_never_fits_worse(seed, fixed):
    data = random_design(seed)
    small = mm.lmm(f"y ~ {fixed}", data, reml=False)
    test = lrt(small, mm.lmm("y ~ x + t + (1 | g)", data, reml=False))
    assert test.statistic >= 0
    assert 0 <= test.pvalue_mixture <= test.pvalue <= 1


def test_a_variance_of_zero_gives_one():
    pulp = mm.load_dataset("pulp")
    means = pulp.groupby("operator", observed=True)["bright"].transform("mean")
    data = pulp.assign(bright=pulp["bright"] - means + 60)
    test = lrt(
        mm.lmm("bright ~ 1", data, reml=False),
        mm.lmm("bright ~ 1 + (1 | operator)", data, reml=False),
    )
    assert (test.statistic, test.pvalue, test.pvalue_mixture) == (0, 1, 1)


def test_a_smaller_model_on_its_boundary_is_named():
    pulp = mm.load_dataset("pulp").assign(shift=pd.Categorical(np.arange(20) % 2))
    means = pulp.groupby("operator", observed=True)["bright"].transform("mean")
    data = pulp.assign(bright=pulp["bright"] - means + 60)
    test = lrt(
        mm.lmm("bright ~ 1 + (1 | operator)", data, reml=False),
        mm.lmm("bright ~ shift + (1 | operator)", data, reml=False),
    )
    assert test.valid
    assert "smaller model's own estimate is on the boundary" in test.notes[0]


def test_a_larger_model_that_fits_worse_is_not_converged(monkeypatch):
    small, large = sleep_fit("Days"), mm.lmm("Reaction ~ Days + (1 | Subject)", sleep(), reml=False)
    monkeypatch.setattr(mm.LMMResult, "objective", property(lambda fit: float(fit is large)))
    with pytest.raises(mm.DataError, match=r"larger model is not converged.*higher .* by 1"):
        lrt(small, large)


def test_a_fit_that_is_not_converged_is_named():
    large = sleep_fit("Days + (1 | Subject)")
    stopped = replace(large, optimum=replace(large.optimum, converged=False))
    assert "not converged" in lrt(sleep_fit("Days"), stopped).notes[0]


def test_display():
    test = lrt(sleep_fit("Days + (1 | Subject)"), sleep_fit("Days + (Days | Subject)"))
    text = str(test)
    for shown in ["Likelihood-ratio test", "p (χ²)", "p (mixture)", "42.139", "χ² is not valid"]:
        assert shown in text
    plain = str(lrt(sleep_fit("1 + (1 | Subject)"), sleep_fit("Days + (1 | Subject)")))
    assert "mixture" not in plain
    assert "p-value" in plain


def test_the_result_is_frozen():
    test = lrt(sleep_fit("Days"), sleep_fit("Days + (1 | Subject)"))
    with pytest.raises(AttributeError):
        test.valid = True
