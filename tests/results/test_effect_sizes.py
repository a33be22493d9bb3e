"""R² and intraclass correlations: R's numbers, closed forms, and what must not matter."""

import numpy as np
import pandas as pd
import pytest

import mmlib as mm
from mmlib.results.effect_sizes import ExplainedVariance
from tests.helpers.sizes import fit_case, sizes
from tests.helpers.structures import STRUCTURES, simulated

CASES = sizes("effect_sizes")


@pytest.mark.parametrize("name", CASES)
def test_r2_and_icc_are_those_of_r(name):
    fit, by_hand = fit_case("effect_sizes", name), CASES[name]["by_hand"]
    if fit.design.weights is not None:
        return  # see below
    np.testing.assert_allclose(
        fit.r2(), [by_hand["R2_marginal"], by_hand["R2_conditional"]], rtol=1e-8, atol=1e-15
    )
    np.testing.assert_allclose(
        fit.icc(), [by_hand["ICC_adjusted"], by_hand["ICC_unadjusted"]], rtol=1e-8
    )


def test_with_weights_the_residual_variance_is_the_mean_over_the_rows():
    fit, case = fit_case("effect_sizes", "es_sleep_weights"), CASES["es_sleep_weights"]
    by_hand = case["by_hand"]
    parts = ExplainedVariance.of(fit)
    np.testing.assert_allclose(parts.fixed, by_hand["var_fixed"], rtol=1e-8)
    np.testing.assert_allclose(parts.all_random, by_hand["var_random"], rtol=1e-8)
    np.testing.assert_allclose(parts.residual, by_hand["mean_residual_variance"], rtol=1e-8)


def test_the_unit_of_the_weights_does_not_matter():
    data = mm.load_dataset("sleepstudy").assign(w=lambda d: 1 + d["Days"] % 3)
    once, again = (
        mm.lmm("Reaction ~ Days + (Days | Subject)", data, weights=factor * data["w"])
        for factor in (1, 7)
    )
    np.testing.assert_allclose(once.r2(), again.r2(), rtol=1e-6)
    np.testing.assert_allclose(once.icc(), again.icc(), rtol=1e-6)


def test_neither_the_coding_nor_the_origin_matters():
    sleep = mm.load_dataset("sleepstudy").assign(late=lambda d: d["Days"] - 9)
    one = mm.lmm("Reaction ~ Days + (Days | Subject)", sleep)
    two = mm.lmm("Reaction ~ late + (late | Subject)", sleep)
    np.testing.assert_allclose(one.r2(), two.r2(), rtol=1e-6)
    np.testing.assert_allclose(one.icc(by_group=True), two.icc(by_group=True), rtol=1e-6)


@pytest.mark.parametrize("name", [name for name, s in STRUCTURES.items() if "|" in s.formula])
def test_shares_are_shares(name):
    structure = STRUCTURES[name]
    fit = mm.lmm(structure.formula, simulated(), weights=structure.weights, offset=structure.offset)
    marginal, conditional = fit.r2()
    adjusted, unadjusted = fit.icc()
    assert 0 <= marginal <= conditional < 1
    assert 0 <= unadjusted <= adjusted < 1
    np.testing.assert_allclose(conditional - marginal, unadjusted, rtol=1e-10)
    np.testing.assert_allclose(fit.icc(by_group=True).sum(), adjusted, rtol=1e-12)


def test_by_group_takes_slopes_in():
    by_term = CASES["es_orthodont"]["by_hand"]["var_random_by_term"]["values"][0]
    residual = CASES["es_orthodont"]["by_hand"]["var_residual"]
    [share] = fit_case("effect_sizes", "es_orthodont").icc(by_group=True)
    np.testing.assert_allclose(share, by_term / (by_term + residual), rtol=1e-8)


def test_without_random_terms():
    fit = mm.lmm("y ~ x + f", simulated())
    marginal, conditional = fit.r2()
    assert marginal == conditional
    with pytest.raises(mm.DataError, match="no random term"):
        fit.icc()


def test_bootstrap_intervals(pulp_fit):
    table = pulp_fit.icc(level=0.9, nsim=200, rng=1)
    assert list(table.columns) == ["estimate", "lower", "upper"]
    assert (table["lower"] <= table["estimate"]).all()
    assert (table["estimate"] <= table["upper"]).all()
    pd.testing.assert_frame_equal(table, pulp_fit.icc(level=0.9, nsim=200, rng=1))
    # One way, balanced, one fixed effect: R² is the ICC.
    np.testing.assert_allclose(
        pulp_fit.r2(level=0.9, nsim=200, rng=1).loc["conditional"],
        table.loc["adjusted"],
        atol=1e-12,
    )
    assert pulp_fit.icc(by_group=True, level=0.9, nsim=20, rng=1).shape == (1, 3)


def test_bad_input(pulp_fit):
    with pytest.raises(mm.DataError, match=r"nsim= belongs to an interval"):
        pulp_fit.r2(nsim=10)
    with pytest.raises(mm.DataError, match="level must be between 0 and 1"):
        pulp_fit.r2(level=95)
