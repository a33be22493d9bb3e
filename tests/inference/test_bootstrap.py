"""The parametric bootstrap: its numbers, any statistic, and bad input."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import mmlib as mm
from mmlib.engine import batch
from mmlib.inference.bootstrap import bootstrap, draw_responses, parametric_bootstrap
from mmlib.inference.exact import exact_rlrt
from mmlib.inference.refits import Refitter
from mmlib.inference.replicate import BootstrapError
from tests.helpers.oracle import load_bootstrap_lrt, load_data, load_lecture, translate
from tests.helpers.structures import simulated

ORACLE = {name: case for name, case in load_bootstrap_lrt().items() if name != "versions"}


def sigma(fit):
    return fit.sigma


# ---- numbers --------------------------------------------------------------------------------


def test_pulp_has_its_exact_distribution(pulp_pair):
    test = parametric_bootstrap(*pulp_pair, nsim=20_000, rng=1)
    lecture = load_lecture()
    exact = lecture["pulp_exact_p_by_F"]
    assert test.statistic == pytest.approx(2.5683713647524975, abs=1e-9)
    assert abs(test.pvalue - exact) < 4 * np.sqrt(exact / 20_000)
    zero = lecture["pulp_prob_zero"]["LRT"]
    assert abs(np.mean(test.sample == 0) - zero) < 4 * np.sqrt(0.21 / 20_000)
    assert test.pvalue == (1 + np.count_nonzero(test.sample >= test.statistic)) / 20_001
    assert test.mcse == pytest.approx(np.sqrt(test.pvalue * (1 - test.pvalue) / 20_000))
    assert any("boundary" in note for note in test.notes)


def test_a_statistic_of_zero_has_p_value_one():
    data = mm.load_dataset("pulp")
    means = data.groupby("operator", observed=True)["bright"].transform("mean")
    data = data.assign(bright=data["bright"] - means)
    null = mm.lmm("bright ~ 1", data, reml=False)
    fit = mm.lmm("bright ~ 1 + (1 | operator)", data, reml=False)
    test = parametric_bootstrap(null, fit, nsim=200, rng=1)
    assert test.statistic == 0
    assert test.pvalue == 1


@pytest.mark.parametrize("name", ORACLE)
def test_p_values_agree_with_r(name):
    case = ORACLE[name]
    data = load_data(case["dataset"])
    small, large = (
        mm.lmm(translate(case[key], case["dataset"]), data, reml=False) for key in ("null", "full")
    )
    nsim = 2000
    test = parametric_bootstrap(small, large, nsim=nsim, rng=1)
    assert test.n_failed == 0
    assert test.statistic == pytest.approx(case["stat"], rel=1e-5)
    p = case["p_boot"]
    error = np.sqrt(max(p * (1 - p), 1 / nsim) * (1 / nsim + 1 / case["B"]))
    assert abs(test.pvalue - p) < 4 * error + 1 / nsim
    spread = test.sample.std() * np.sqrt(1 / nsim + 1 / case["B"])
    assert abs(test.sample.mean() - case["mean"]) < 4 * spread
    for key, expected in case["quantiles"].items():
        level = float(key[1:]) / 100
        if expected > 1e-3:
            error = np.sqrt(level * (1 - level) * (1 / nsim + 1 / case["B"]))
            assert abs(np.mean(test.sample <= expected) - level) < 4 * error


def test_variants_are_those_of_pbmodcomp(penicillin_pair):
    test = parametric_bootstrap(*penicillin_pair, nsim=20_000, rng=2)
    table = test.to_frame()
    r = load_lecture()["penicillin_PBmodcomp_20000"]
    expected = pd.DataFrame(r["test"], index=r["test_rows"])
    assert list(table.index) == list(expected.index)
    assert table.loc["LRT", "pvalue"] == pytest.approx(expected.loc["LRT", "p.value"], rel=1e-6)
    assert table.loc["LRT", "df"] == 3
    for row in ("PBtest", "Gamma", "Bartlett"):
        # Each is a smooth function of two samples of 20,000.
        assert abs(table.loc[row, "pvalue"] - expected.loc[row, "p.value"]) < 4 * 0.0048
    assert abs(table.loc["Bartlett", "statistic"] - expected.loc["Bartlett", "stat"]) < 0.12


def test_variants_match_the_moments_of_the_sample(penicillin_pair):
    test = parametric_bootstrap(*penicillin_pair, nsim=500, rng=3)
    table, T, mean = test.to_frame(), test.statistic, test.sample.mean()
    variance = test.sample.var(ddof=1)
    gamma = stats.gamma(mean**2 / variance, scale=variance / mean)
    assert (gamma.mean(), gamma.var()) == pytest.approx((mean, variance))
    assert table.loc["Gamma", "pvalue"] == pytest.approx(gamma.sf(T))
    assert table.loc["Bartlett", "pvalue"] == pytest.approx(stats.chi2.sf(3 * T / mean, 3))
    reference = stats.f(3, table.loc["F", "ddf"])
    assert reference.mean() == pytest.approx(mean / 3)
    assert table.loc["F", "pvalue"] == pytest.approx(reference.sf(T / 3))


def test_f_differs_from_pbkrtest_by_its_formula_alone():
    """pbkrtest has 2E/(E − 1) with E the mean of the statistic, not of statistic/df."""
    r = load_lecture()["penicillin_PBmodcomp_20000"]["test"]
    statistic, bartlett = r["stat"][0], r["stat"][3]
    mean = 3 * statistic / bartlett
    assert 2 * mean / (mean - 1) == pytest.approx(r["ddf"][4])
    assert stats.f.sf(statistic / 3, 3, r["ddf"][4]) == pytest.approx(r["p.value"][4])
    assert stats.f.mean(3, r["ddf"][4]) != pytest.approx(mean / 3, rel=0.5)


def test_a_variance_is_tested_by_reml_too():
    data = load_data("Mississippi")
    null, fit = mm.lmm("y ~ Type", data), mm.lmm("y ~ Type + (1 | influent)", data)
    test = parametric_bootstrap(null, fit, nsim=20_000, rng=4)
    assert test.statistic_name == "RLRT"
    exact = exact_rlrt(fit, nsim=200_000, rng=5)
    assert abs(test.pvalue - exact.pvalue) < 4 * np.sqrt(exact.pvalue * 1.1 / 20_000)


def test_reml_statistics_do_not_depend_on_the_coding_of_x():
    data = load_data("Mississippi")
    null = mm.lmm("y ~ 0 + Type", data)
    fits = [mm.lmm(f"y ~ {x} + (1 | influent)", data) for x in ("0 + Type", "Type")]
    samples = [parametric_bootstrap(null, fit, nsim=50, rng=6).sample for fit in fits]
    np.testing.assert_allclose(*samples, atol=1e-8)


def test_weights_and_offset_are_used():
    data = load_data("Mississippi").assign(w=lambda d: 1 + np.arange(len(d)) % 3, o=5.0)
    null = mm.lmm("y ~ 1 + (1 | influent)", data, reml=False, weights="w", offset="o")
    fit = mm.lmm("y ~ Type + (1 | influent)", data, reml=False, weights="w", offset="o")
    test = parametric_bootstrap(null, fit, nsim=30, rng=7)
    responses = draw_responses(null.design, null.truth, test.draws.seed, range(30))
    expected = [null.refit(y).objective - fit.refit(y).objective for y in responses[:6]]
    np.testing.assert_allclose(test.sample[:6], expected, atol=1e-8)


def test_a_missed_minimum_is_searched_again(sleep_fit, monkeypatch):
    null = mm.lmm("Reaction ~ Days + (1 | Subject)", mm.load_dataset("sleepstudy"))
    expected = parametric_bootstrap(null, sleep_fit, nsim=20, rng=9).sample
    plain = batch.BatchModel.fit

    def poor(self, responses, start):
        fits = plain(self, responses, start)
        fits.objective[:3] += 100.0
        return fits

    monkeypatch.setattr(batch.BatchModel, "fit", poor)
    found = parametric_bootstrap(null, sleep_fit, nsim=20, rng=9).sample
    np.testing.assert_allclose(found, expected, atol=1e-6)


# ---- any statistic --------------------------------------------------------------------------


def test_replicates_are_statistics_of_refits(sleep_fit):
    def compare(fit):
        again = fit.refit()
        return np.array([fit.objective - again.objective, *(fit.beta - again.beta), fit.sigma])

    result = bootstrap(sleep_fit, compare, nsim=10, rng=1)
    np.testing.assert_allclose(result.replicates[:, 0], 0, atol=1e-8)
    np.testing.assert_allclose(result.replicates[:, 1:3], 0, atol=1e-5)
    assert result.names == ("[0]", "[1]", "[2]", "[3]")


@pytest.mark.landing
def test_standard_errors_of_balanced_designs_are_the_known_ones(pulp_pair):
    fit = pulp_pair[1].refit(reml=True)
    result = bootstrap(fit, lambda refit: refit.fixef(), nsim=4000, rng=2)
    known = fit.coef_table()["Std. Error"]
    assert result.se["Intercept"] == pytest.approx(known["Intercept"], rel=4 / np.sqrt(8000))
    assert abs(result.bias["Intercept"]) < 4 * known["Intercept"] / np.sqrt(4000)


def test_intervals_are_as_defined(pulp_pair):
    result = bootstrap(
        pulp_pair[1], lambda refit: {"s": refit.sigma, "b": refit.beta[0]}, nsim=400, rng=3
    )
    low, high = np.quantile(result.replicates, [0.05, 0.95], axis=0)
    np.testing.assert_allclose(result.confint(level=0.9).to_numpy().T, [low, high])
    basic = result.confint("basic", level=0.9).to_numpy().T
    np.testing.assert_allclose(basic, [2 * result.observed - high, 2 * result.observed - low])
    normal = result.confint("normal", level=0.9)
    s = result.replicates[:, 0]
    centre = 2 * result.observed[0] - s.mean()
    half = stats.norm.ppf(0.95) * s.std(ddof=1)
    np.testing.assert_allclose(normal.loc["s"], [centre - half, centre + half])
    assert list(normal.columns) == ["lower", "upper"]
    assert list(result.to_frame().columns) == ["s", "b"]
    with pytest.raises(mm.DataError, match="level"):
        result.confint(level=95)
    with pytest.raises(mm.DataError, match="kind"):
        result.confint(kind="bca")


def test_statistics_come_in_many_forms(pulp_pair):
    fit = pulp_pair[1]
    forms = {
        "number": (lambda f: f.sigma, ("statistic",)),
        "whole number": (lambda f: int(f.beta[0]), ("statistic",)),
        "array": (lambda f: f.vcov().to_numpy(), ("[0, 0]",)),
        "Series": (lambda f: f.fixef(), ("Intercept",)),
        "dict": (lambda f: {"σ": f.sigma, "θ": f.theta[0]}, ("σ", "θ")),
    }
    for statistic, names in forms.values():
        result = bootstrap(fit, statistic, nsim=20, rng=4)
        assert result.names == names
        assert result.replicates.shape == (20, len(names))
    assert "σ" in str(result)
    assert "<table" in result._repr_html_()


def test_failed_replicates_are_counted_and_the_first_is_quoted(pulp_pair):
    boundary = pulp_pair[1]

    def raises(fit):
        if fit.theta[0] == 0:
            raise RuntimeError("no variance")
        return fit.theta[0]

    def undefined(fit):
        return np.nan if fit.theta[0] == 0 else fit.theta[0]

    for statistic, message in [(raises, "RuntimeError: no variance"), (undefined, "not finite")]:
        result = bootstrap(boundary, statistic, nsim=200, rng=5)
        assert 5 < result.n_failed < 150
        assert len(result.replicates) == 200 - result.n_failed
        assert (result.replicates > 0).all()
        assert message in result.first_error
        assert f"{result.n_failed} of 200 replicates failed" in str(result)


def test_failures_of_everything_are_errors(pulp_pair):
    fit = pulp_pair[1]
    observed = fit.sigma
    with pytest.raises(
        BootstrapError, match=r"all 20 replicates failed.*ZeroDivisionError"
    ) as info:
        bootstrap(fit, lambda f: 1.0 if f.sigma == observed else 1 / 0, nsim=20, rng=6)
    assert info.value.result is None
    with pytest.raises(mm.DataError, match="from the fit itself: ZeroDivisionError"):
        bootstrap(fit, lambda _: 1 / 0, nsim=20)
    with pytest.raises(mm.DataError, match="not finite: statistic"):
        bootstrap(fit, lambda _: np.nan, nsim=20)
    with pytest.raises(mm.DataError, match="must return numbers, not str"):
        bootstrap(fit, lambda _: "sigma", nsim=20)
    with pytest.raises(mm.DataError, match="returns no number"):
        bootstrap(fit, lambda _: [], nsim=20)
    with pytest.raises(mm.DataError, match="must be a function"):
        bootstrap(fit, "sigma", nsim=20)


def test_a_change_of_shape_is_a_failure(pulp_pair):
    fit = pulp_pair[1]
    observed = fit.sigma
    with pytest.raises(BootstrapError, match="other components"):
        bootstrap(fit, lambda f: [1.0] * (1 if f.sigma == observed else 2), nsim=20, rng=7)


def test_failed_refits_are_counted_and_reported(pulp_pair, monkeypatch):
    plain = Refitter.__call__

    def fails_sometimes(self, responses):
        fits = plain(self, responses)
        fits.objective[::4] = np.nan
        return fits

    monkeypatch.setattr(Refitter, "__call__", fails_sometimes)
    test = parametric_bootstrap(*pulp_pair, nsim=40, rng=8)
    assert (test.nsim, test.n_failed, len(test.sample)) == (40, 10, 30)
    assert any("10 of 40 replicates failed" in note for note in test.notes)
    assert test.pvalue == (1 + np.count_nonzero(test.sample >= test.statistic)) / 31
    result = bootstrap(pulp_pair[1], sigma, nsim=40, rng=8)
    assert result.n_failed == 10
    assert "no minimum" in result.first_error


# ---- bad input ------------------------------------------------------------------------------


@pytest.mark.parametrize("nsim", [0, -1, 10.0, True, "100", None])
def test_nsim_must_be_a_positive_whole_number(pulp_pair, nsim):
    with pytest.raises(mm.DataError, match="nsim must be a whole number"):
        parametric_bootstrap(*pulp_pair, nsim=nsim)
    with pytest.raises(mm.DataError, match="nsim must be a whole number"):
        bootstrap(pulp_pair[1], sigma, nsim=nsim)


def test_the_unit_of_a_predictor_does_not_matter_by_reml():
    """The REML criteria of models that span the same means may differ by a constant."""
    data = simulated(n=120)
    large = mm.lmm("y ~ I(100 * x) + (1 | g) + (1 | h)", data)
    one, two = (
        parametric_bootstrap(mm.lmm(f"y ~ {x} + (1 | g)", data), large, nsim=40, rng=1)
        for x in ("I(100 * x)", "x")
    )
    np.testing.assert_allclose(one.sample, two.sample, atol=1e-7)
    assert one.pvalue == two.pvalue


def test_models_that_cannot_be_compared_are_refused(pulp_pair, penicillin_pair):
    null, fit = pulp_pair
    with pytest.raises(mm.DataError, match="swap"):
        parametric_bootstrap(fit, null)
    with pytest.raises(mm.DataError, match="same model"):
        parametric_bootstrap(fit, fit)
    with pytest.raises(mm.DataError, match="REML"):
        parametric_bootstrap(null, fit.refit(reml=True))
    small, large = penicillin_pair
    with pytest.raises(mm.DataError, match="REML criteria of models with different fixed parts"):
        parametric_bootstrap(small.refit(reml=True), large.refit(reml=True))
    data = mm.load_dataset("penicillin")
    other = mm.lmm("yield ~ 1 + (1 | treat)", data, reml=False)
    with pytest.raises(mm.DataError, match="not nested"):
        parametric_bootstrap(small, other)


def test_one_replicate_has_no_standard_error(pulp_pair):
    result = bootstrap(pulp_pair[1], sigma, nsim=1, rng=1)
    assert np.isnan(result.se["statistic"])
    shown = str(result).splitlines()[2].split()  # neither has the table
    assert len(shown) == 1 + 4


def test_at_the_boundary_the_summary_leaves_out_what_does_not_hold(pulp_pair):
    test = parametric_bootstrap(*pulp_pair, nsim=50, rng=1)
    assert not test.valid
    assert "Bartlett" not in str(test)
    assert "PBtest" in str(test)
    assert "Bartlett" in test.to_frame().index
