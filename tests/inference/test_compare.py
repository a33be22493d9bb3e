"""Several models in one table: R's anova, and honesty about what can be compared."""

import numpy as np
import pytest

import mmlib as mm
from tests.helpers import oracle
from tests.helpers.sizes import sizes
from tests.helpers.structures import simulated

CASES = sizes("model_sequences")
COLUMNS = {"AIC": "AIC", "BIC": "BIC", "logLik": "logLik", "LRT": "Chisq", "pvalue": "p"}


def fits_of(case, **options):
    data = oracle.load_data(case["dataset"])
    formulas = [each.replace("temperature", "C(temperature)") for each in case["formulas"]]
    return [mm.lmm(formula, data, reml=False, **options) for formula in formulas]


@pytest.mark.parametrize("name", CASES)
def test_tables_are_those_of_r(name):
    case = CASES[name]
    table = mm.anova(*fits_of(case)).to_frame()
    assert list(table.index) == case["order_in_table"]
    assert list(table["parameters"]) == case["npar"]
    for ours, theirs in COLUMNS.items():
        wanted = np.array(case[theirs], dtype=float)
        if ours in ("LRT", "pvalue"):  # where models are not nested, we give none
            wanted[np.array(case["Df"], dtype=float) == 0] = np.nan
        np.testing.assert_allclose(table[ours], wanted, rtol=1e-6, err_msg=ours)
    order = np.argsort([int(m[1:]) for m in table.index])
    np.testing.assert_allclose(table["AICc"].iloc[order], case["AICc_given_order"], rtol=1e-6)


def test_compare_says_what_lrt_says(pulp_pair):
    test, comparison = mm.lrt(*pulp_pair), mm.compare(*pulp_pair)
    row = comparison.to_frame().loc["m1"]
    assert (row["LRT"], row["pvalue"]) == (test.statistic, test.pvalue)
    assert row["pvalue_mixture"] == test.pvalue_mixture
    assert comparison.notes == tuple(f"m0 and m1: {note}" for note in test.notes)


def test_reml_fits_with_equal_fixed_parts_stay_as_they_are():
    sleep = mm.load_dataset("sleepstudy")
    fits = [mm.lmm(f"Reaction ~ Days + ({effects} | Subject)", sleep) for effects in ("1", "Days")]
    comparison = mm.compare(*fits)
    assert comparison.fits == tuple(fits)
    np.testing.assert_array_equal(comparison.to_frame()["AIC"], [fit.aic for fit in fits])


def test_reml_fits_with_other_fixed_parts_are_refitted():
    sleep = mm.load_dataset("sleepstudy")
    fits = [mm.lmm(f"Reaction ~ {fixed} + (1 | Subject)", sleep) for fixed in ("1", "Days")]
    comparison = mm.compare(*fits)
    assert not any(fit.reml for fit in comparison.fits)
    assert "Refitted by maximum likelihood" in str(comparison)
    by_ml = [fit.refit(reml=False) for fit in fits]
    np.testing.assert_allclose(comparison.to_frame()["AIC"], [fit.aic for fit in by_ml])
    np.testing.assert_allclose(comparison.to_frame()["LRT"].iloc[1], mm.lrt(*by_ml).statistic)


def test_fits_by_two_criteria_are_refitted(pulp_pair):
    comparison = mm.compare(pulp_pair[0], pulp_pair[1].refit(reml=True))
    assert not any(fit.reml for fit in comparison.fits)
    np.testing.assert_allclose(
        comparison.to_frame()["LRT"], mm.compare(*pulp_pair).to_frame()["LRT"], rtol=1e-6
    )


def test_r2_is_that_of_the_fits(pulp_pair):
    table = mm.compare(*pulp_pair).to_frame()
    np.testing.assert_array_equal(
        table.loc["m1", ["R2_marginal", "R2_conditional"]].astype(float), pulp_pair[1].r2()
    )


def test_what_is_not_nested_has_no_test():
    data = simulated()
    fits = [mm.lmm(f"y ~ {fixed} + (1 | g)", data, reml=False) for fixed in ("x", "f")]
    comparison = mm.compare(*fits)
    assert comparison.to_frame()["LRT"].isna().all()
    assert "not nested" in comparison.notes[0]


def test_it_prints_as_text_html_and_latex(pulp_pair):
    comparison = mm.compare(*pulp_pair)
    assert "m1: bright ~ 1 + (1 | operator)" in str(comparison)
    assert "<table" in comparison._repr_html_()
    assert r"\begin{tabular}" in comparison.summary().to_latex()


def test_bad_input(pulp_pair, penicillin_fit):
    with pytest.raises(mm.DataError, match="two fits or more"):
        mm.compare(pulp_pair[0])
    with pytest.raises(mm.DataError, match="different responses"):
        mm.compare(pulp_pair[0], penicillin_fit)
    with pytest.raises(mm.DataError, match="rows"):
        mm.compare(pulp_pair[0], mm.lmm("y ~ x", simulated()))
    with pytest.raises(mm.DataError, match="a fit is needed"):
        mm.compare(pulp_pair[0], "bright ~ 1")
    with pytest.raises(mm.DataError, match="are for the terms of one fit"):
        mm.anova(*pulp_pair, type=2)
