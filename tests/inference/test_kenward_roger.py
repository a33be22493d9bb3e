"""Kenward–Roger against pbkrtest, closed forms, brute force, and what must not change it."""

import gc
import sys
import tracemalloc
import weakref
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import mmlib as mm
from mmlib import hypothesis_matrix, kenward_roger
from mmlib.engine.blocks import Blocks
from tests.helpers import oracle
from tests.helpers.cases import coefficients_and_r, fitted, in_our_order
from tests.helpers.designs import many_rows, outcome, random_design, seeds
from tests.helpers.inference import (
    DenseKenwardRoger,
    cases_with,
    named_tests,
    one_or_more,
    our_term,
)
from tests.helpers.structures import STRUCTURES, simulated

# Both sides are at optima whose θ differ by 1e-6 or so, and the quantities are smooth in θ.
AGAINST_R = 1e-6
# Traces of products of well-conditioned matrices, evaluated in two orders.
BRUTE_FORCE = 1e-7


# --- pbkrtest --------------------------------------------------------------------------------


@pytest.mark.parametrize("case_id", cases_with("KR_coef"))
def test_coefficients_are_those_of_pbkrtest(case_id):
    _, table, wanted = coefficients_and_r(case_id, "KR_coef", "kenward-roger")
    np.testing.assert_allclose(table["Std. Error"], wanted["se"], rtol=AGAINST_R)
    np.testing.assert_allclose(table["df"], wanted["ddf"], rtol=AGAINST_R)
    np.testing.assert_allclose(table["t value"], wanted["t"], rtol=AGAINST_R, atol=1e-6)
    # A p-value of 1e-30 carries the relative error of t many times over.
    np.testing.assert_allclose(table["Pr(>|t|)"], wanted["p"], rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize("case_id", cases_with("KR_coef"))
def test_adjusted_covariance_is_that_of_pbkrtest(case_id):
    case, fit = oracle.load_case(case_id), fitted(case_id, "REML")
    wanted = case["KR_vcovAdj"]
    order = in_our_order(fit, one_or_more(wanted["cols"]), case.data)
    matrix = np.atleast_2d(wanted["values"])[np.ix_(order, order)]
    found = mm.adjusted_vcov(fit)
    assert list(found.index) == list(found.columns) == list(fit.design.fixed_names)
    scale = np.sqrt(np.diag(matrix))
    np.testing.assert_allclose(
        found / np.outer(scale, scale), matrix / np.outer(scale, scale), atol=AGAINST_R
    )


@pytest.mark.parametrize(("case_id", "dropped"), named_tests("KR"))
def test_terms_are_those_of_pbkrtest(case_id, dropped):
    recorded = oracle.load_case(case_id)["tests"][dropped]
    wanted, fit = recorded["KR"], fitted(case_id, "REML")
    test = kenward_roger(fit, [our_term(fit, term) for term in one_or_more(recorded["dropped"])])
    assert test.df[0] == wanted["ndf"]
    np.testing.assert_allclose(
        [test.statistic, test.df[1], test.scaling, test.unscaled],
        [wanted["F"], wanted["ddf"], wanted["F_scaling"], wanted["FU"]],
        rtol=AGAINST_R,
    )
    np.testing.assert_allclose(test.pvalue, wanted["p"], rtol=1e-4, atol=1e-12)


def test_weights_count_where_pbkrtest_ignores_them():
    """Weighted rows are the rows of the model for √w·y: R gives the right numbers for that one."""
    weighted, transformed = (
        fitted("sleep_weights", "REML"),
        fitted("sleep_weights_as_transformed", "REML"),
    )
    found, wanted = (
        weighted.coef_table(ddf="kenward-roger"),
        transformed.coef_table(ddf="kenward-roger"),
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    right = oracle.load_case("sleep_weights_as_transformed")["KR_coef"]
    wrong = oracle.load_case("sleep_weights")["KR_wrong_ignores_weights"]["KR_coef"]
    np.testing.assert_allclose(found["df"], right["ddf"], rtol=AGAINST_R)
    assert not np.allclose(found["df"], wrong["ddf"], rtol=0.1)


# --- closed forms ----------------------------------------------------------------------------


def test_penicillin():
    test = kenward_roger(fitted("penicillin_rcbd", "REML"), "treat")
    assert test.df == (3, pytest.approx(12, rel=1e-9))
    assert test.scaling == pytest.approx(1, rel=1e-9)
    # MS(treat)/MS(residual) = (70/3)/(226/12) of the analysis of variance.
    assert test.statistic == pytest.approx((70 / 3) / (226 / 12), rel=1e-9)
    assert test.pvalue == pytest.approx(stats.f.sf(test.statistic, 3, 12), rel=1e-9)
    assert test.notes == ()


def test_mean_of_a_balanced_one_way_layout():
    """F = N ȳ²/MSA on 1 and a − 1 degrees of freedom."""
    pulp = mm.load_dataset("pulp")
    layout = mm.oneway("bright ~ operator", pulp)
    test = kenward_roger(fitted("pulp_ri", "REML"), "Intercept = 60")
    assert test.statistic == pytest.approx(
        layout.nobs * (layout.grand_mean - 60) ** 2 / layout.msa, rel=1e-8
    )
    assert test.df == (1, pytest.approx(layout.df_a, rel=1e-9))


def test_balanced_split_plot():
    """Whole plots are compared with whole plots, and subplots with subplots."""
    fit = fitted("oats_additive", "REML")
    oats = oracle.load_case("oats_additive").data
    y = oats["yield"]

    def between(*columns):
        means = oats.groupby(list(columns), observed=True)["yield"].transform("mean")
        return float(((means - y.mean()) ** 2).sum())

    block, variety, nitro = between("Block"), between("Variety"), between("nitroF")
    plots = between("Block", "Variety") - block - variety
    rest = float(((y - y.mean()) ** 2).sum()) - block - variety - plots - nitro
    whole, sub = kenward_roger(fit, "Variety"), kenward_roger(fit, "nitroF")
    assert whole.statistic == pytest.approx((variety / 2) / (plots / 10), rel=1e-6)
    assert whole.df == (2, pytest.approx(10, rel=1e-6))
    assert sub.statistic == pytest.approx((nitro / 3) / (rest / 51), rel=1e-6)
    assert sub.df == (3, pytest.approx(51, rel=1e-6))


def test_without_random_term_it_is_the_f_test_of_regression():
    penicillin = mm.load_dataset("penicillin")
    fit = mm.lmm("yield ~ treat", penicillin)
    layout = mm.oneway("yield ~ treat", penicillin)
    test = kenward_roger(fit, "treat")
    assert (test.statistic, test.pvalue) == pytest.approx((layout.f, layout.pvalue), rel=1e-9)
    assert test.df == (3, pytest.approx(layout.df_e, rel=1e-9))


# --- brute force -----------------------------------------------------------------------------


def of_rank_two(p):
    return np.vstack([np.linspace(1, 2, p), np.linspace(-1, 1, p) ** 2])


@pytest.mark.parametrize("name", [name for name in STRUCTURES if name != "no fixed effect"])
def test_brute_force(name):
    structure = STRUCTURES[name]
    fit = mm.lmm(
        structure.formula,
        structure.design().frame.assign(**extra_columns(structure)),
        weights=structure.weights,
        offset=structure.offset,
    )
    assert_is_brute_force(fit)


def extra_columns(structure):
    design = structure.design()
    return {
        name: values
        for name, values in [(structure.weights, design.weights), (structure.offset, design.offset)]
        if name
    }


def assert_is_brute_force(fit):
    dense, p = DenseKenwardRoger(fit), fit.design.p
    scale = np.sqrt(np.diag(dense.adjusted))
    np.testing.assert_allclose(
        mm.adjusted_vcov(fit) / np.outer(scale, scale),
        dense.adjusted / np.outer(scale, scale),
        atol=BRUTE_FORCE,
    )
    for L in [np.eye(p)[[0]], np.eye(p)[[-1]]] + ([of_rank_two(p)] if p > 1 else []):
        test = kenward_roger(fit, L, rhs=0.25)
        F, df, scaling = dense.test(L, rhs=0.25)
        np.testing.assert_allclose([test.df[1], test.scaling], [df, scaling], rtol=BRUTE_FORCE)
        np.testing.assert_allclose(test.statistic, F, rtol=BRUTE_FORCE)


def test_an_unbalanced_growth_curve():
    """Two thirds of sleepstudy's rows: neither Φ_A nor the scaling is trivial."""
    sleep = mm.load_dataset("sleepstudy")
    kept = sleep.drop(index=np.random.default_rng(3).choice(180, 60, replace=False))
    fit = mm.lmm("Reaction ~ Days + I(Days**2) + (Days | Subject)", kept)
    assert_is_brute_force(fit)
    test = kenward_roger(fit, ["Days", "I(Days**2)"])
    assert 0.9 < test.scaling < 0.999
    assert mm.adjusted_vcov(fit).loc["Days", "Days"] > fit.vcov().loc["Days", "Days"]


# --- on the boundary -------------------------------------------------------------------------


def test_boundary(no_batches):
    """A variance of zero still counts with its uncertainty: a − 1 degrees of freedom, as in R."""
    fit = mm.lmm("Yield ~ 1 + (1 | Batch)", no_batches)
    assert fit.is_singular
    test = kenward_roger(fit, "Intercept")
    assert test.df == (1, pytest.approx(5, rel=1e-9))
    assert "boundary" in test.notes[0]
    assert_is_brute_force(fit)


def test_boundary_of_the_second_grouping():
    crossed = oracle.load_case("penicillin_crossed").data
    plates = crossed.groupby("plate", observed=True)["diameter"].transform("mean")
    fit = mm.lmm(
        "diameter ~ 1 + (1 | plate) + (1 | sample)",
        crossed.assign(diameter=crossed["diameter"] - plates),
    )
    assert fit.is_singular
    assert_is_brute_force(fit)


def test_variances_that_data_cannot_tell_apart_are_named():
    """A factor's indicators add up to an intercept: what that adds to their variances is open.

    `lmm` refuses such a model, so it is put together here.
    """
    data = simulated(n=120)
    designs = [mm.build_design(f"y ~ f + ({term} | g)", data) for term in ("0 + f", "1")]
    both = replace(designs[0], terms=designs[0].terms + designs[1].terms)
    test = kenward_roger(mm.LMMResult.of(Blocks(both), reml=True), "f")
    assert any("cannot be told apart" in note for note in test.notes)
    plain = kenward_roger(mm.lmm("y ~ f + (0 + f | g)", data), "f")
    assert test.df[1] == pytest.approx(plain.df[1], rel=1e-6)
    assert test.statistic == pytest.approx(plain.statistic, rel=1e-6)


# --- what must not change it -----------------------------------------------------------------


@pytest.mark.landing
@given(seeds)
def test_row_order_does_not_matter(seed):
    data = random_design(seed)
    one = mm.lmm("y ~ x + t + (1 | g)", data)
    two = mm.lmm("y ~ x + t + (1 | g)", data.sample(frac=1, random_state=seed % 1000))
    np.testing.assert_allclose(
        outcome(kenward_roger(one, "t")), outcome(kenward_roger(two, "t")), rtol=1e-5
    )


@pytest.mark.landing
@given(seeds)
def test_the_basis_of_x_does_not_matter(seed):
    data = random_design(seed)
    one = mm.lmm("y ~ x + t + (1 | g)", data)
    two = mm.lmm("y ~ I(3 * x) + C(t, contr.sum) + (1 | g)", data)
    np.testing.assert_allclose(
        outcome(kenward_roger(one, "t")),
        outcome(kenward_roger(two, "C(t, contr.sum)")),
        rtol=1e-5,
    )


@pytest.mark.landing
@given(seeds, st.floats(-1e3, 1e3), st.floats(0.01, 100))
def test_units_of_the_response_do_not_matter(seed, shift, factor):
    data = random_design(seed)
    one = mm.lmm("y ~ x + t + (1 | g)", data)
    two = mm.lmm("y ~ x + t + (1 | g)", data.assign(y=shift + factor * data["y"]))
    np.testing.assert_allclose(
        outcome(kenward_roger(one, ["x", "t"])), outcome(kenward_roger(two, ["x", "t"])), rtol=1e-5
    )


@given(seeds)
def test_the_rows_of_l_may_be_recombined(seed):
    fit = mm.lmm("y ~ x + t + (1 | g)", random_design(seed))
    L = hypothesis_matrix(fit, "t").L
    mixed = np.array([[2.0, 1.0], [-1.0, 3.0]]) @ L
    np.testing.assert_allclose(
        outcome(kenward_roger(fit, L)), outcome(kenward_roger(fit, mixed)), rtol=1e-8
    )


@given(seeds)
def test_one_row_is_satterthwaite_with_expected_information(seed):
    """ν = 2f²/(gᵀWg) with f = LΦLᵀ, g its slopes, W the inverse of the expected information."""
    fit = mm.lmm("y ~ x + t + (1 | g)", random_design(seed))
    dense, L = DenseKenwardRoger(fit), hypothesis_matrix(fit, "x").L[0]
    f = L @ dense.Phi @ L
    g = np.array([-L @ dense.Phi @ P @ dense.Phi @ L for P in dense.P])
    test = kenward_roger(fit, "x")
    assert test.df[1] == pytest.approx(2 * f**2 / (g @ dense.W @ g), rel=1e-6)
    assert test.scaling == 1.0


def test_a_right_hand_side_moves_the_coefficient():
    fit = fitted("sleep_corr", "REML")
    beta = float(fit.fixef()["Days"])
    assert kenward_roger(fit, f"Days = {beta!r}").statistic == pytest.approx(0, abs=1e-12)
    assert kenward_roger(fit, f"Days = {beta!r}").pvalue == pytest.approx(1)
    moved = fit.refit(fit.design.y - 10 * fit.design.frame["Days"].to_numpy())
    np.testing.assert_allclose(
        outcome(kenward_roger(fit, "Days = 10")), outcome(kenward_roger(moved, "Days")), rtol=1e-6
    )


# --- the result, memory, and time ------------------------------------------------------------


def test_a_fit_by_maximum_likelihood_is_refitted_and_said_so():
    ml, reml = fitted("sleep_corr", "ML"), fitted("sleep_corr", "REML")
    test = kenward_roger(ml, "Days")
    assert outcome(test) == pytest.approx(outcome(kenward_roger(reml, "Days")), rel=1e-6)
    assert "refit by REML" in test.notes[0]
    with pytest.raises(mm.DataError, match=r"refit\(reml=True\)"):
        ml.coef_table(ddf="kenward-roger")


def test_display():
    text = str(kenward_roger(fitted("penicillin_rcbd", "REML"), "treat"))
    for shown in ["Kenward–Roger F test", "1.2389", "0.3387", "scaling", "treat[T.B] = 0"]:
        assert shown in text


def test_too_few_data_are_named():
    """Three groups and a three-row hypothesis between them: the moments fit no F."""
    data = pd.DataFrame(
        {
            "g": np.repeat(np.arange(4), 2),
            "t": pd.Categorical(np.repeat(list("aabc"), 2)),
            "y": [1.0, 2.0, 2.5, 4.0, 3.0, 3.5, 7.0, 6.0],
        }
    )
    test = kenward_roger(mm.lmm("y ~ t + (1 | g)", data), "t")
    assert test.notes
    assert test.df[1] < 2.1


def test_no_matrix_of_n_by_n():
    fit = many_rows()
    tracemalloc.start()
    kenward_roger(fit, "x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6  # one n×n matrix would be 3.2e9 bytes


def test_computed_once_and_forgotten_with_the_fit(monkeypatch):
    fit = mm.lmm("yield ~ treat + (1 | blend)", mm.load_dataset("penicillin"))
    kenward_roger(fit, "treat")
    monkeypatch.setattr(sys.modules["mmlib.inference.kenward_roger"], "expected", None)
    assert kenward_roger(fit, "Intercept").df[0] == 1
    seen = weakref.ref(fit)
    del fit
    gc.collect()
    assert seen() is None


def test_origin_and_unit_of_a_slope_do_not_matter():
    """Seconds since 1970: with the raw columns of the slopes no digit of the df would be right."""
    sleep = mm.load_dataset("sleepstudy").assign(t=lambda d: 1.6e9 + 86_400.0 * d["Days"])
    fit = mm.lmm("Reaction ~ t + (t | Subject)", sleep)
    reference = fitted("sleep_corr", "REML")
    for test in (kenward_roger, mm.satterthwaite):
        np.testing.assert_allclose(
            outcome(test(fit, "t")), outcome(test(reference, "Days")), rtol=1e-4
        )
