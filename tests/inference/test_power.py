"""Power: exact values, R's simulations, and the same numbers however they are drawn."""

import dataclasses
import pickle
from concurrent.futures import ThreadPoolExecutor

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import mmlib as mm
from mmlib.inference.power_exact import noncentral_f_power
from tests.helpers.sizes import sizes
from tests.helpers.structures import simulated

CASES = sizes("power")
SLEEP = "Reaction ~ Days + (Days | Subject)"


def study(name):
    """Return the plan of a case, and its parameters."""
    given = CASES[name]["parameters"]
    if "rcbd" in name:
        frame = pd.DataFrame({"blk": np.repeat(list("abcde"), 4), "trt": list("ABCD") * 5})
        beta, sd = [0, *given["treatment_means"][1:]], {"blk": given["sd_block"]}
        return mm.plan("y ~ trt + (1 | blk)", frame), {"beta": beta, "sd": sd, "sigma": 1}
    if "slope" in name:
        c = np.tile(np.repeat([-0.5, 0.5], 8), 12)
        frame = pd.DataFrame({"subj": np.repeat(list("abcdefghijkl"), 16), "c": c})
        sd = {"subj": [given["sd_intercept"], given["sd_effect"]]}
        beta = [0, given["effect"]]
        return mm.plan("y ~ c + (c | subj)", frame), {"beta": beta, "sd": sd, "sigma": 1}
    arm = np.repeat([0, 1], 100)
    frame = pd.DataFrame({"cl": np.repeat(list("abcdefghij"), 20), "arm": arm})
    beta, sd = [0, given["effect"]], {"cl": given["sd_cluster"]}
    return mm.plan("y ~ arm + (1 | cl)", frame), {"beta": beta, "sd": sd, "sigma": 1}


@pytest.mark.parametrize("name", CASES)
def test_power_is_that_of_r_and_the_exact_one(name):
    case = CASES[name]
    design, truth = study(name)
    L = np.array(case["L"], dtype=float)
    row = mm.power(design, L, **truth, nsim=2000, rng=1).to_frame().iloc[0]
    spread = np.hypot(row["mcse"], case["monte_carlo_se"])
    assert abs(row["power"] - case["power"]) < 3 * spread
    error = np.sqrt(case["singular_fraction"] * (1 - case["singular_fraction"]) / 400)
    assert abs(row["boundary"] - case["singular_fraction"]) < 4 * error + 0.01
    # R's noncentral F is itself right to 1e-9 only; scipy's is our second witness.
    np.testing.assert_allclose(row["exact"], case["exact"]["power"], atol=2e-9)
    df = case["exact"]["df1"], case["exact"]["df2"]
    wanted = stats.ncf.sf(stats.f.isf(0.05, *df), *df, max(case["exact"]["ncp"], 1e-12))
    np.testing.assert_allclose(row["exact"], wanted, atol=1e-10)


@pytest.mark.parametrize("ncp", [0, 0.3, 8.4, 60, 900])
def test_noncentral_f(ncp):
    wanted = stats.ncf.sf(stats.f.isf(0.01, 3, 12.5), 3, 12.5, max(ncp, 1e-13))
    np.testing.assert_allclose(noncentral_f_power(3, 12.5, ncp, 0.01), wanted, atol=1e-10)


@pytest.mark.parametrize("ncp", [1e6, 1e10, 1e300])
def test_a_huge_noncentrality_needs_no_time_or_memory(ncp):
    """All weights from zero on were summed: a minute at 10⁸, and beyond that no memory."""
    assert noncentral_f_power(3, 12.5, ncp, 0.01) == 1


def test_a_tiny_power_keeps_its_digits():
    """One minus a sum near one was 5e-10."""
    wanted = stats.ncf.sf(stats.f.isf(1e-9, 1, 1), 1, 1, 1e6)
    np.testing.assert_allclose(noncentral_f_power(1, 1, 1e6, 1e-9), wanted, rtol=1e-6)


def test_exact_and_simulated_power_agree(sleep_fit):
    frame = mm.power(
        sleep_fit, "Days", effect=4, along={"n_subjects": [10, 18, 27]}, nsim=2000, rng=3
    ).to_frame()
    assert (np.abs(frame["power"] - frame["exact"]) < 4 * frame["mcse"] + 0.02).all()
    assert frame["exact"].is_monotonic_increasing


def test_slope_by_hand(sleep_fit):
    """Eighteen slopes, independent and normal: a t test with 17 degrees of freedom."""
    exact = mm.power(sleep_fit, "Days", effect=4, nsim=1, rng=1).to_frame()["exact"][0]
    ncp = (4 / np.sqrt(sleep_fit.vcov().loc["Days", "Days"])) ** 2
    wanted = stats.ncf.sf(stats.f.isf(0.05, 1, 17), 1, 17, ncp)
    np.testing.assert_allclose(exact, wanted, rtol=1e-8)


def test_unbalanced_designs_have_no_exact_power():
    fit = mm.lmm("y ~ x + (1 + x | g)", simulated())
    assert np.isnan(mm.power(fit, "x", nsim=5, rng=1).to_frame()["exact"][0])


def test_without_random_terms_the_classical_test_is_exact():
    fit = mm.lmm("y ~ x + f", simulated())
    row = mm.power(fit, "x", effect=0.3, nsim=2000, rng=1).to_frame().iloc[0]
    assert abs(row["power"] - row["exact"]) < 4 * row["mcse"]


@pytest.mark.parametrize("method", ["kenward-roger", "satterthwaite", "lrt", "bootstrap"])
def test_every_method_holds_its_level_or_nearly(method, penicillin_fit):
    nsim = 40 if method == "bootstrap" else 400
    null = {name: 0.0 for name in penicillin_fit.design.fixed_names if "treat" in name}
    result = mm.power(penicillin_fit, method, effect=null, nsim=nsim, rng=4)
    row = result.to_frame().iloc[0]
    assert row["power"] < 0.05 + 4 * np.sqrt(0.05 * 0.95 / nsim) + 0.06 * (method == "lrt")
    assert row["failed"] == 0


def test_named_methods_make_the_tests_of_the_library(sleep_fit):
    """A function of the fit is the slow way to the same p-values."""
    options = {"effect": {"Days": 5}, "nsim": 12, "rng": 8}
    for method, function in (
        ("kenward-roger", lambda fit: mm.kenward_roger(fit, "Days")),
        ("satterthwaite", lambda fit: mm.satterthwaite(fit, "Days").pvalue),
    ):
        named, own = (mm.power(sleep_fit, test, **options) for test in (method, function))
        np.testing.assert_allclose(named.pvalues[0], own.pvalues[0], rtol=1e-6)


def test_likelihood_ratios_are_those_of_lrt(sleep_fit):
    small = mm.lmm("Reaction ~ 1 + (Days | Subject)", mm.load_dataset("sleepstudy"), reml=False)
    options = {"effect": {"Days": 5}, "nsim": 8, "rng": 8}
    large = sleep_fit.refit(reml=False)
    result = mm.power(large, "lrt", hypothesis=small, **options)
    by_matrix = mm.power(large, "lrt", hypothesis="Days", **options)
    by_formula = mm.power(large, "lrt", hypothesis="Reaction ~ 1 + (Days | Subject)", **options)

    def by_hand(fit):
        return mm.lrt(small.refit(fit.design.y), large.refit(fit.design.y)).pvalue

    own = mm.power(large, by_hand, **options)
    for each in (result, by_matrix, by_formula):
        np.testing.assert_allclose(each.pvalues[0], own.pvalues[0], rtol=1e-5)


def test_the_smaller_model_may_lack_a_random_effect(sleep_fit):
    result = mm.power(
        sleep_fit,
        "lrt",
        hypothesis="Reaction ~ Days + (1 | Subject)",
        sd={"Subject": [24, 0]},
        nsim=300,
        rng=1,
    )
    assert result.to_frame()["power"][0] < 0.05  # χ² is conservative on the boundary


def test_exact_test_of_a_variance(pulp_fit):
    result = mm.power(pulp_fit, "exact", sd={"operator": 0.0}, nsim=2000, rng=1)
    row = result.to_frame().iloc[0]
    assert abs(row["power"] - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 2000)
    own = mm.power(
        pulp_fit, lambda fit: mm.exact_rlrt(fit).pvalue, sd={"operator": 0.2}, nsim=20, rng=2
    )
    named = mm.power(pulp_fit, "exact", sd={"operator": 0.2}, nsim=20, rng=2)
    np.testing.assert_allclose(named.pvalues[0], own.pvalues[0], atol=0.02)


def test_a_grid_of_effects_sizes_and_sigma(sleep_fit):
    along = {"n_subjects": [9, 18], "Days": [0, 6], "sigma": [20], "rows_per_Subject": [10]}
    frame = mm.power(sleep_fit, "Days", along=along, nsim=60, rng=1).to_frame()
    assert list(frame.columns[:4]) == list(along)
    assert len(frame) == 4
    exact = frame.set_index(["n_subjects", "Days"])["exact"]
    np.testing.assert_allclose(exact[:, 0], 0.05, atol=1e-9)
    assert exact[18, 6] > exact[9, 6] > 0.3


def test_numbers_depend_neither_on_executor_nor_on_nsim(sleep_fit):
    options = {"effect": {"Days": 4}, "along": {"n_subjects": [8, 12]}, "rng": 5}
    here = mm.power(sleep_fit, "kenward-roger", nsim=600, **options)
    with ThreadPoolExecutor(2) as executor:
        there = mm.power(sleep_fit, "kenward-roger", nsim=600, executor=executor, **options)
    for one, two in zip(here.pvalues, there.pvalues, strict=True):
        np.testing.assert_array_equal(one, two)
    first = mm.power(sleep_fit, "kenward-roger", nsim=250, **options)
    np.testing.assert_array_equal(first.pvalues[0], here.pvalues[0][:250])
    resumed = mm.power(sleep_fit, "kenward-roger", nsim=600, resume=first, **options)
    np.testing.assert_array_equal(resumed.pvalues[1], here.pvalues[1])
    assert pickle.loads(pickle.dumps(here)).to_frame().equals(here.to_frame())


def test_a_run_that_fails_can_be_resumed(sleep_fit):
    class Broken(ThreadPoolExecutor):
        def submit(self, *_, **__):
            raise RuntimeError("no workers")

    options = {"effect": 4, "nsim": 20, "rng": 5}
    with pytest.raises(mm.BootstrapError, match="no workers") as caught, Broken(1) as executor:
        mm.power(sleep_fit, "Days", executor=executor, **options)
    resumed = mm.power(sleep_fit, "Days", resume=caught.value.result, **options)
    np.testing.assert_array_equal(
        resumed.pvalues[0], mm.power(sleep_fit, "Days", **options).pvalues[0]
    )


def test_a_result_is_frozen(sleep_fit):
    result = mm.power(sleep_fit, "Days", nsim=5, rng=1)
    for each in (result, pickle.loads(pickle.dumps(result))):
        with pytest.raises(dataclasses.FrozenInstanceError):
            each.alpha = 0.1
        with pytest.raises(ValueError, match="read-only"):
            each.pvalues[0][0] = 0.0


def test_another_level_needs_no_new_draws(sleep_fit):
    result = mm.power(sleep_fit, "Days", effect=5, nsim=100, rng=1)
    stricter = result.to_frame(alpha=0.01)
    assert stricter["power"][0] < result.to_frame()["power"][0]
    assert stricter["exact"].isna().all()


def test_it_prints_and_draws(sleep_fit):
    with mpl.rc_context({"backend": "agg"}):
        result = mm.power(
            sleep_fit, "Days", effect=5, along={"n_subjects": [8, 12]}, nsim=50, rng=1
        )
        assert "Power of the Kenward–Roger F test of Days = 0" in str(result)
        assert "<table" in result._repr_html_()
        ax = result.plot()
        assert ax.get_xlabel() == "n_subjects"
        assert len(ax.get_legend().get_texts()) == 2
        with pytest.raises(mm.DataError, match="there is one point only"):
            mm.power(sleep_fit, "Days", nsim=5, rng=1).plot()


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("day",), {}, "no term or coefficient 'day'. Did you mean 'Days'"),
        (("Days",), {"effect": {"days": 1}}, "no fixed effect. Did you mean 'Days'"),
        (("Days",), {"alpha": 5}, "alpha must be between 0 and 1"),
        (("Days",), {"nsim": 0}, "nsim must be a whole number"),
        (("Days",), {"along": {"n_items": [3]}}, "along has no meaning for 'n_items'"),
        (("Days",), {"along": {"n_subjects": 3}}, "must be a list of values"),
        (("Days",), {"along": {"n_subjects": [1]}}, "at least 2"),
        (("Days",), {"along": []}, "along must be a dict"),
        (("Days",), {"hypothesis": "Days"}, "goes with the name of a method"),
        (("kenward-roger",), {}, "a named method needs hypothesis="),
        (("kenward-roger",), {"effect": 3}, "a named method needs hypothesis="),
        (("satterthwaite",), {"hypothesis": "Reaction ~ 1"}, "takes a term, an equation"),
        (("lrt",), {"hypothesis": SLEEP}, "the same model"),
        (("exact",), {}, "one scalar random term"),
        ((["Days", "Intercept"],), {"effect": 3}, "stands for one coefficient"),
        (("Days",), {"sd": {"Item": 1}}, "no grouping of the design"),
        (("Days",), {"resume": 1}, "resume must be an earlier result"),
        ((lambda fit: fit.nothing,), {}, "nothing"),
        ((lambda _: "low",), {}, "test must return a p-value or a test, not 'low'"),
        ((lambda _: None,), {}, "test must return a p-value or a test, not None"),
    ],
)
def test_bad_input(sleep_fit, arguments, options, message):
    with pytest.raises((mm.MMError, AttributeError), match=message):
        mm.power(sleep_fit, *arguments, **{"nsim": 5, "rng": 1, **options})


def test_more_bad_input(sleep_fit):
    with pytest.raises(mm.DataError, match="design must be a fit"):
        mm.power(SLEEP, "Days")
    with pytest.raises(mm.DataError, match="sigma= is missing"):
        mm.power(mm.plan("y ~ x + (1 | g)", simulated()), "x", beta=[0, 1], sd={"g": 1})
    with pytest.raises(mm.DataError, match="pass test='lrt', hypothesis=fit"):
        mm.power(sleep_fit, sleep_fit)
    earlier = mm.power(sleep_fit, "Days", effect=3, nsim=5, rng=1)
    with pytest.raises(mm.DataError, match="draws of another fit"):
        mm.power(sleep_fit, "Days", effect=4, nsim=9, rng=1, resume=earlier)
    earlier = mm.power(sleep_fit, "Days", nsim=5, rng=1, along={"n_subjects": [8]})
    with pytest.raises(mm.DataError, match="another grid"):
        mm.power(sleep_fit, "Days", nsim=5, rng=1, resume=earlier)


def test_a_fit_whose_residuals_have_structure_has_a_power():
    children = mm.load_dataset("orthodont")
    fit = mm.lmm("distance ~ age * Sex", children, residual="car1(age | Subject)")
    result = mm.power(fit, "age", nsim=3, rng=1)
    assert np.isfinite(result.pvalues[0]).all()
    assert np.isnan(result.exact[0])  # its degrees of freedom depend on the correlation


@pytest.mark.parametrize("structure", [{"residual": "ar1(age | Subject)"}, {"dispersion": "Sex"}])
def test_a_smaller_model_by_formula_has_the_residuals_of_the_larger_one(structure):
    """They were independent, and the test was of their structure too, with a degree more."""
    data = mm.load_dataset("orthodont")
    data["age"] = (data["age"] - 8) // 2
    large, small = (
        mm.lmm(f"distance ~ {fixed}", data, reml=False, **structure)
        for fixed in ("age + Sex", "Sex")
    )
    options = {"effect": {"age": 0.2}, "nsim": 6, "rng": 1}
    by_fit, by_formula = (
        mm.power(large, "lrt", hypothesis=each, **options) for each in (small, "distance ~ Sex")
    )
    np.testing.assert_allclose(by_formula.pvalues[0], by_fit.pvalues[0], rtol=1e-6)
