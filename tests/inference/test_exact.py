"""Exact tests of a variance against closed forms, the F distribution, brute force and RLRsim."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import mmlib as mm
from mmlib.engine.spectral import SpectralModel, Spectrum
from mmlib.inference import exact
from mmlib.inference.exact import NullDistribution, exact_lrt, exact_rlrt, probability_negative
from mmlib.inference.replicate import BootstrapWarning
from tests.helpers.oracle import load_data, load_exact_lrt, load_lecture, translate

ORACLE = load_exact_lrt()
SINGLE = [name for name, case in ORACLE.items() if "RLRT_stat" in case]
SEVERAL = [name for name, case in ORACLE.items() if "mA" in case]
NSIM = 100_000


@pytest.fixture(scope="module")
def pulp():
    return mm.load_dataset("pulp")


def fits(formula: str, data: pd.DataFrame) -> tuple[mm.LMMResult, mm.LMMResult, mm.LMMResult]:
    """The linear model by ML, and the mixed model by ML and by REML."""
    linear = formula[: formula.rindex("+ (")]
    return (
        mm.lmm(linear, data, reml=False),
        mm.lmm(formula, data, reml=False),
        mm.lmm(formula, data),
    )


def within(p: float, expected: list[float], nsim: int, expected_nsim: int) -> bool:
    """Whether two simulated p-values agree to 4 standard errors of their difference."""
    pooled = float(np.mean(expected))
    spread = max(pooled, 1 / nsim) * (1 / nsim + 1 / (len(expected) * expected_nsim))
    return abs(p - pooled) <= 4 * np.sqrt(spread) + 1.5 / nsim


# ---- closed forms ---------------------------------------------------------------------------


def test_pulp_has_the_numbers_of_the_lecture(pulp):
    null, ml, reml = fits("bright ~ 1 + (1 | operator)", pulp)
    lecture = load_lecture()
    lrt, rlrt = exact_lrt(null, ml), exact_rlrt(reml)
    assert lrt.statistic == pytest.approx(2.5683713647524975, abs=1e-9)
    assert rlrt.statistic == pytest.approx(3.470147751739443, abs=1e-9)
    for test in (lrt, rlrt):
        assert test.pvalue == pytest.approx(lecture["pulp_exact_p_by_F"], rel=1e-10)
        assert test.mcse is None
        assert test.sample.size == 0
    assert lrt.mass_at_zero == pytest.approx(lecture["pulp_prob_zero"]["LRT"], rel=1e-10)
    assert rlrt.mass_at_zero == pytest.approx(lecture["pulp_prob_zero"]["RLRT"], rel=1e-10)


@pytest.mark.parametrize("name", [name for name in SINGLE if "exact_p_by_F" in ORACLE[name]])
def test_balanced_designs_get_the_p_value_of_f(name):
    case = ORACLE[name]
    null, ml, reml = fits(translate(case["formula"], case["dataset"]), load_data(case["dataset"]))
    expected = case["exact_p_by_F"]["p"]
    assert exact_lrt(null, ml).pvalue == pytest.approx(expected, rel=1e-7)
    assert exact_rlrt(reml).pvalue == pytest.approx(expected, rel=1e-7)


def test_draws_have_the_distribution_of_f(pulp):
    null, ml, reml = fits("bright ~ 1 + (1 | operator)", pulp)
    for test in (exact_lrt(null, ml), exact_rlrt(reml)):
        sample = test.draw(NSIM, rng=1)
        zero = np.mean(sample == 0)
        assert abs(zero - test.mass_at_zero) < 4 * np.sqrt(0.25 / NSIM)
        for statistic in (0.01, 0.5, 2.0, 6.0):
            tail = test._null.tail(statistic)
            error = np.sqrt(tail * (1 - tail) / NSIM)
            assert abs(np.mean(sample >= statistic) - tail) < 4 * error


def test_a_statistic_of_zero_has_p_value_one(pulp):
    means = pulp.groupby("operator", observed=True)["bright"].transform("mean")
    level = pulp.assign(bright=pulp["bright"] - means)
    null, ml, reml = fits("bright ~ 1 + (1 | operator)", level)
    for test in (exact_lrt(null, ml), exact_rlrt(reml)):
        assert test.statistic == 0
        assert test.pvalue == 1
    unbalanced = level.drop(index=[0, 1, 7])
    null, ml, reml = fits("bright ~ 1 + (1 | operator)", unbalanced)
    for test in (exact_lrt(null, ml, nsim=200), exact_rlrt(reml, nsim=200)):
        assert test.statistic == 0
        assert test.pvalue == 1
        assert test.mcse == 0


def test_mass_at_zero_by_inversion_is_that_of_f():
    for df, rest, threshold in [(3, 16, 1.0), (1, 2, 0.3), (2, 40, 3.0), (30, 5, 0.8)]:
        weights = np.array([1 / df, -threshold / rest])
        found = probability_negative(weights, np.array([df, rest]))
        assert found == pytest.approx(stats.f.cdf(threshold, df, rest), abs=1e-11)


def test_mass_at_zero_agrees_with_simulation_of_the_quadratic_form():
    weights, counts = np.array([3.0, 1.0, -0.2, -1.0]), np.array([1, 2, 5, 3])
    rng = np.random.default_rng(1)
    form = sum(w * rng.chisquare(h, 400_000) for w, h in zip(weights, counts, strict=True))
    found = probability_negative(weights, counts)
    assert abs(found - np.mean(form <= 0)) < 4 * np.sqrt(0.25 / 400_000)


# ---- brute force where RLRsim is wrong ------------------------------------------------------


def test_the_scale_of_z_does_not_matter(pulp):
    """RLRsim 3.1-8 puts the mass at zero of pulp's LRT at 0.333 when Z is multiplied by 0.3."""
    scaled = pulp.assign(z=0.3)
    null = mm.lmm("bright ~ 1", scaled, reml=False)
    plain = exact_lrt(null, mm.lmm("bright ~ 1 + (1 | operator)", scaled, reml=False))
    test = exact_lrt(null, mm.lmm("bright ~ 1 + (0 + z | operator)", scaled, reml=False))
    assert test.statistic == pytest.approx(plain.statistic, abs=1e-9)
    assert test.pvalue == pytest.approx(plain.pvalue, rel=1e-9)
    assert test.mass_at_zero == pytest.approx(plain.mass_at_zero, rel=1e-9)
    # Who is right: layouts of pure noise, in which F ≤ a/(a − 1) makes the estimate zero.
    noise = np.random.default_rng(2).standard_normal((20_000, 4, 5))
    means = noise.mean(axis=2)
    msa = 5 * means.var(axis=1, ddof=1)
    mse = noise.var(axis=2, ddof=1).mean(axis=1)
    assert abs(np.mean(msa / mse <= 4 / 3) - test.mass_at_zero) < 4 * np.sqrt(0.21 / 20_000)
    assert abs(0.333 - test.mass_at_zero) > 0.3


def test_the_scale_of_a_slope_does_not_matter_in_an_unbalanced_design():
    sleep = mm.load_dataset("sleepstudy").drop(index=[3, 17, 18, 60, 61, 62, 120])
    sleep = sleep.assign(time=sleep["Days"] * 1e-3)
    tests = [
        exact_rlrt(mm.lmm(f"Reaction ~ 1 + (0 + {x} | Subject)", sleep), nsim=500, rng=1)
        for x in ("Days", "time")
    ]
    np.testing.assert_allclose(tests[0].sample, tests[1].sample, rtol=1e-8, atol=1e-10)
    assert tests[0].statistic == pytest.approx(tests[1].statistic, rel=1e-9)


def test_simulated_statistics_are_those_of_refits():
    """The spectral null distribution against REML refits of pure noise, two samples."""
    data = load_data("Mississippi")
    fit = mm.lmm("y ~ Type + (1 | influent)", data)
    noise = np.random.default_rng(3).standard_normal((20_000, fit.nobs))
    refits = SpectralModel(fit.design).fit(noise, reml=True).gain
    draws = exact_rlrt(fit, nsim=20_000, rng=4).sample
    assert stats.ks_2samp(refits, draws).pvalue > 1e-3
    for y, gain in zip(noise[:5], refits[:5], strict=True):
        null = mm.lmm("y ~ Type", data.assign(y=y))
        assert gain == pytest.approx(null.objective - fit.refit(y).objective, abs=1e-8)


def test_weights_are_those_of_transformed_rows():
    """Rows times √w have the residual variance of an unweighted model; RLRsim ignores weights."""
    data = load_data("Mississippi")
    data = data.assign(w=1 + np.arange(len(data)) % 3)
    root = np.sqrt(data["w"])
    transformed = data.assign(y=root * data["y"], root=root, x=root * (data["Type"] == "1"))
    weighted = exact_rlrt(
        mm.lmm("y ~ I(Type == '1') + (1 | influent)", data, weights="w"), nsim=500, rng=1
    )
    plain = exact_rlrt(
        mm.lmm("y ~ 0 + root + x + (0 + root | influent)", transformed), nsim=500, rng=1
    )
    assert weighted.statistic == pytest.approx(plain.statistic, rel=1e-9)
    np.testing.assert_allclose(weighted.sample, plain.sample, rtol=1e-8, atol=1e-10)


# ---- RLRsim ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SINGLE)
def test_single_variances_agree_with_rlrsim(name):
    case = ORACLE[name]
    null, ml, reml = fits(translate(case["formula"], case["dataset"]), load_data(case["dataset"]))
    rlrt = exact_rlrt(reml, nsim=NSIM, rng=1)
    assert rlrt.statistic == pytest.approx(case["RLRT_stat"], rel=1e-6, abs=1e-7)
    assert within(rlrt.pvalue, case["exactRLRT"]["p"], NSIM, case["nsim"])
    lrt = exact_lrt(null, ml, nsim=NSIM, rng=1)
    assert lrt.statistic == pytest.approx(case["LRT_stat"], rel=1e-6, abs=1e-7)
    if "p" in case["exactLRT"]:  # RLRsim refuses irrigation, which is identified
        assert within(lrt.pvalue, case["exactLRT"]["p"], NSIM, case["nsim"])
    for test, key in [(rlrt, "RLRT_null"), (lrt, "LRT_null")]:
        sample = test.draw(NSIM, rng=2)
        for quantile, expected in case[key]["quantiles"].items():
            level = float(quantile[1:]) / 100
            if expected > 1e-3:
                error = np.sqrt(level * (1 - level) * (1 / NSIM + 1 / 300_000))
                assert abs(np.mean(sample <= expected) - level) < 4 * error + 1e-4
        # The quadrature and the sample; RLRsim counts statistics below 1e-8, some of them positive.
        assert abs(np.mean(sample == 0) - test.mass_at_zero) < 4 * np.sqrt(0.25 / NSIM)


@pytest.mark.parametrize("name", SEVERAL)
def test_one_of_several_variances_agrees_with_rlrsim(name):
    case = ORACLE[name]
    data = load_data(case["dataset"])
    fit = mm.lmm(translate(case["mA"], case["dataset"]), data)
    tested = case["m"][case["m"].rindex("(") :]
    test = exact_rlrt(fit, tested, nsim=NSIM, rng=1)
    assert test.statistic == pytest.approx(case["stat"], rel=1e-5, abs=1e-6)
    assert within(test.pvalue, case["p"], NSIM, case["nsim"])
    assert "approximation" in test.notes[0]
    assert test.method == "Approximate restricted likelihood-ratio test"


def test_fixed_effects_can_be_tested_along():
    case = ORACLE["penicillin_treat_and_blend"]
    data = mm.load_dataset("penicillin")
    null = mm.lmm("yield ~ 1", data, reml=False)
    fit = mm.lmm("yield ~ treat + (1 | blend)", data, reml=False)
    test = exact_lrt(null, fit, nsim=NSIM, rng=1)
    assert test.statistic == pytest.approx(case["stat"], rel=1e-7)
    assert within(test.pvalue, case["p"], NSIM, 300_000)
    assert test.mass_at_zero == 0
    assert (test.sample > 0).all()
    assert "3 fixed effect(s)" in test.hypothesis


# ---- simulation -----------------------------------------------------------------------------


def test_a_seed_fixes_the_numbers():
    fit = mm.lmm("y ~ Type + (1 | influent)", load_data("Mississippi"))
    one, two = (exact_rlrt(fit, nsim=70_000, rng=5) for _ in range(2))
    np.testing.assert_array_equal(one.sample, two.sample)
    count = np.count_nonzero(one.sample >= one.statistic)
    assert one.pvalue == (1 + count) / 70_001
    assert one.mcse == pytest.approx(np.sqrt(one.pvalue * (1 - one.pvalue) / 70_000))


@pytest.mark.parametrize("restrictions", [0, 2])
def test_draws_depend_neither_on_how_many_there_are_nor_on_the_chunk(restrictions, monkeypatch):
    mu, counts = np.array([1.0, 3.0]), np.array([2, 3])
    null = NullDistribution(
        Spectrum(20, 2, mu, counts, mu, counts), reml=not restrictions, restrictions=restrictions
    )
    expected = null.draw(1000, np.random.default_rng(7))
    np.testing.assert_array_equal(null.draw(300, np.random.default_rng(7)), expected[:300])
    monkeypatch.setattr(exact, "DRAWN_AT_ONCE", 64)
    np.testing.assert_allclose(null.draw(1000, np.random.default_rng(7)), expected, rtol=1e-12)


def test_an_interrupt_keeps_what_was_drawn(pulp, monkeypatch):
    fit = mm.lmm("bright ~ 1 + (1 | operator)", pulp.iloc[1:])
    expected = exact_rlrt(fit, nsim=200, rng=8)
    plain, calls = NullDistribution._draw_some, []

    def interrupted(self, nsim, rng):
        calls.append(nsim)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return plain(self, nsim, rng)

    monkeypatch.setattr(exact, "DRAWN_AT_ONCE", 100)
    monkeypatch.setattr(NullDistribution, "_draw_some", interrupted)
    with pytest.warns(BootstrapWarning, match="200 of 1000 replicates"):
        part = exact_rlrt(fit, nsim=1000, rng=8)
    assert (part.pvalue, part.mcse) == (expected.pvalue, expected.mcse)
    assert "200 draws" in part.notes[-2]
    assert "Stopped early: 1000" in part.notes[-1]
    with pytest.raises(KeyboardInterrupt):
        exact_rlrt(fit, nsim=1000, rng=8)


def test_rounding_does_not_decide_whether_a_statistic_is_zero():
    """With another random term the statistic is the difference of two searches."""
    data = mm.load_dataset("sleepstudy")
    means = data.groupby("Subject", observed=True)["Reaction"].transform("mean")
    data = data.assign(Reaction=data["Reaction"] - means, half=data["Days"] < 5).iloc[1:]
    test = exact_rlrt(mm.lmm("Reaction ~ Days + (1 | Subject) + (1 | half)", data), "Subject")
    assert (test.statistic, test.pvalue) == (0.0, 1.0)


def test_the_full_maximum_is_drawn():
    """Climbing from zero and stopping at the first maximum, as RLRsim does, loses the others."""
    mu = 1.0 / np.arange(30, 0, -1) ** 4
    ones = np.ones(30, dtype=int)
    null = NullDistribution(Spectrum(40, 2, mu, ones, mu, ones), reml=True)
    sample = null.draw(4000, np.random.default_rng(6))
    rng = np.random.default_rng(6)
    energies = null.spectrum.draw_energies(4000, rng)
    lam = np.append(0.0, np.geomspace(1e-4, 1e9, 3000))
    x = 1 / (1 + lam[:, None] * mu)
    profile = 38 * np.log(energies.sum(axis=0) / (energies[0] + x @ energies[1:]))
    profile -= np.log1p(lam[:, None] * mu).sum(axis=1)[:, None]
    np.testing.assert_allclose(sample, profile.max(axis=0), atol=1e-3)
    # Where the slope at zero is negative the first maximum is at zero, yet some are above it.
    starts_down = profile[1] < 0
    assert np.count_nonzero(sample[starts_down] > 0.05) >= 3


def test_the_result_prints_itself(pulp):
    test = exact_rlrt(mm.lmm("bright ~ 1 + (1 | operator)", pulp))
    assert "σ(operator) = 0" in str(test)
    assert "3.4701" in str(test)
    assert "0.02261" in str(test)
    assert "<table" in test._repr_html_()


# ---- bad input ------------------------------------------------------------------------------


@pytest.mark.parametrize("nsim", [0, -5, 2.5, True, "many", None])
def test_nsim_must_be_a_positive_whole_number(pulp, nsim):
    null, ml, reml = fits("bright ~ 1 + (1 | operator)", pulp)
    with pytest.raises(mm.DataError, match="nsim must be a whole number"):
        exact_lrt(null, ml, nsim=nsim)
    with pytest.raises(mm.DataError, match="nsim must be a whole number"):
        exact_rlrt(reml, nsim=nsim)
    with pytest.raises(mm.DataError, match="nsim must be a whole number"):
        exact_rlrt(reml).draw(nsim)


def test_models_that_cannot_be_tested_are_refused(pulp):
    null, ml, reml = fits("bright ~ 1 + (1 | operator)", pulp)
    with pytest.raises(mm.DataError, match="has a random term"):
        exact_lrt(ml, null)
    with pytest.raises(mm.DataError, match="has a random term"):
        exact_lrt(ml, ml)
    with pytest.raises(mm.DataError, match="no random term"):
        exact_lrt(null, null)
    with pytest.raises(mm.DataError, match="reml=False"):
        exact_lrt(null, reml)
    with pytest.raises(mm.DataError, match="reml=True"):
        exact_rlrt(ml)
    with pytest.raises(mm.DataError, match="no random term"):
        exact_rlrt(null)
    with pytest.raises(mm.DataError, match="rows"):
        exact_lrt(null, mm.lmm("bright ~ 1 + (1 | operator)", pulp.iloc[1:], reml=False))


def test_a_term_must_be_named_and_scalar():
    pastes = mm.load_dataset("pastes")
    fit = mm.lmm("strength ~ 1 + (1 | batch) + (1 | sample)", pastes)
    with pytest.raises(mm.DataError, match=r"choose one: term='\(1 \| "):
        exact_rlrt(fit)
    with pytest.raises(mm.DataError, match="no random term of the fit"):
        exact_rlrt(fit, "cask")
    null = mm.lmm("strength ~ 1", pastes, reml=False)
    with pytest.raises(mm.DataError, match="2 random terms; exact_lrt takes one"):
        exact_lrt(null, fit.refit(reml=False))
    sleep = mm.load_dataset("sleepstudy")
    with pytest.raises(mm.DataError, match="2 effects for each level"):
        exact_rlrt(mm.lmm("Reaction ~ Days + (Days | Subject)", sleep))
    split = mm.lmm("Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)", sleep)
    with pytest.raises(mm.DataError, match="2 random terms of the fit"):
        exact_rlrt(split, "Subject")
    assert exact_rlrt(split, "(0+Days|Subject)").hypothesis == "σ(Subject: Days) = 0"
