"""Satterthwaite against lmerTest, closed forms, numerical derivatives, and its invariances."""

import sys

import numpy as np
import pytest
from hypothesis import given

import mmlib as mm
from mmlib import satterthwaite
from tests.helpers import oracle
from tests.helpers.cases import coefficients_and_r, fitted
from tests.helpers.designs import many_rows, outcome, random_design, seeds
from tests.helpers.inference import (
    DenseSatterthwaite,
    cases_with,
    named_tests,
    one_or_more,
    our_term,
)
from tests.helpers.structures import STRUCTURES

# lmerTest differentiates numerically, by Richardson's extrapolation: six to eight digits.
AGAINST_R = 1e-6
# The reference's Hessian is a difference of exact gradients.
BRUTE_FORCE = 1e-6


# --- lmerTest ----------------------------------------------------------------------------------


@pytest.mark.parametrize("case_id", cases_with("satterthwaite_coef"))
def test_coefficients_are_those_of_lmertest(case_id):
    fit, table, wanted = coefficients_and_r(case_id, "satterthwaite_coef", "satterthwaite")
    np.testing.assert_allclose(table["df"], wanted["df"], rtol=AGAINST_R)
    np.testing.assert_allclose(table["Pr(>|t|)"], wanted["p"], rtol=1e-4, atol=1e-12)
    plain = fit.coef_table()
    assert table[plain.columns].equals(plain)


@pytest.mark.parametrize(("case_id", "dropped"), named_tests("SAT"))
def test_terms_are_those_of_pbkrtest(case_id, dropped):
    recorded = oracle.load_case(case_id)["tests"][dropped]
    wanted, fit = recorded["SAT"], fitted(case_id, "REML")
    test = satterthwaite(fit, [our_term(fit, term) for term in one_or_more(recorded["dropped"])])
    np.testing.assert_allclose(
        [test.statistic, *test.df],
        [wanted["statistic"], wanted["ndf"], wanted["ddf"]],
        rtol=AGAINST_R,
    )


def test_weights():
    weighted = fitted("sleep_weights", "REML").coef_table(ddf="satterthwaite")
    transformed = fitted("sleep_weights_as_transformed", "REML").coef_table(ddf="satterthwaite")
    np.testing.assert_allclose(weighted, transformed, rtol=1e-6)


# --- closed forms ------------------------------------------------------------------------------


def test_penicillin():
    test = satterthwaite(fitted("penicillin_rcbd", "REML"), "treat")
    assert test.df == (3, pytest.approx(12, rel=1e-8))
    assert test.statistic == pytest.approx((70 / 3) / (226 / 12), rel=1e-8)
    assert test.notes == ()


def test_mean_of_a_balanced_one_way_layout():
    """Var(ȳ) is MSA/N, a multiple of χ² on a − 1 degrees of freedom."""
    assert satterthwaite(fitted("pulp_ri", "REML"), "Intercept").df[1] == pytest.approx(3, rel=1e-8)


def test_by_maximum_likelihood_the_levels_count_in_full():
    """By ML Var(ȳ) is SSA/(aN), and its own variance that of χ² with a degrees of freedom."""
    assert satterthwaite(fitted("pulp_ri", "ML"), "Intercept").df[1] == pytest.approx(4, rel=1e-8)


def test_without_random_term_it_is_the_f_test_of_regression():
    penicillin = mm.load_dataset("penicillin")
    layout = mm.oneway("yield ~ treat", penicillin)
    test = satterthwaite(mm.lmm("yield ~ treat", penicillin), "treat")
    assert (test.statistic, test.pvalue) == pytest.approx((layout.f, layout.pvalue), rel=1e-9)
    assert test.df == (3, pytest.approx(layout.df_e, rel=1e-9))


# --- brute force -------------------------------------------------------------------------------


def assert_is_brute_force(fit, rtol=BRUTE_FORCE):
    dense, p = DenseSatterthwaite(fit), fit.design.p
    for L in [np.eye(p)[[0]], np.eye(p)[[-1]], *([np.eye(p)[:2]] if p > 1 else [])]:
        test = satterthwaite(fit, L, rhs=0.25)
        F, df = dense.test(L, rhs=0.25)
        np.testing.assert_allclose([test.statistic, test.df[1]], [F, df], rtol=rtol)


# Where df falls to 2 in one direction the combination has its own rule, tested below.
@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
@pytest.mark.parametrize(
    "name",
    ["scalar", "slope alone", "vector", "two terms on a factor", "nested", "crossed", "everything"],
)
def test_brute_force(name, reml):
    structure = STRUCTURES[name]
    frame = structure.design().frame
    if structure.weights:
        frame = frame.assign(
            **{
                structure.weights: structure.design().weights,
                structure.offset: structure.design().offset,
            }
        )
    fit = mm.lmm(
        structure.formula, frame, reml=reml, weights=structure.weights, offset=structure.offset
    )
    assert_is_brute_force(fit)


def test_degrees_of_freedom_combine_as_in_lmertest():
    combined = sys.modules["mmlib.inference.satterthwaite"]._combined
    assert combined(np.array([5.0, 5.0])) == 5  # all the same: no bias from combining
    assert combined(np.array([5.0, 2.0])) == 2
    assert combined(np.array([5.0, 10.0])) == pytest.approx(2 * (35 / 12) / (35 / 12 - 2))


# --- on the boundary ---------------------------------------------------------------------------


def test_boundary(no_batches):
    """The test is that of the model without the variance: n − 1 degrees of freedom, as in R."""
    fit = mm.lmm("Yield ~ 1 + (1 | Batch)", no_batches)
    assert fit.is_singular
    test = satterthwaite(fit, "Intercept")
    reduced = satterthwaite(mm.lmm("Yield ~ 1", no_batches), "Intercept")
    assert test.df == (1, pytest.approx(29, rel=1e-9))
    assert outcome(test) == pytest.approx(outcome(reduced), rel=1e-8)
    assert "boundary" in test.notes[0]


def test_boundary_of_a_slope():
    """With the slopes' variance at zero, the degrees of freedom are those of random intercepts."""
    sleep = mm.load_dataset("sleepstudy")
    slopes = sleep.groupby("Subject", observed=True)[["Reaction", "Days"]].apply(
        lambda rows: np.polyfit(rows["Days"], rows["Reaction"], 1)[0]
    )
    flat = sleep.assign(
        Reaction=sleep["Reaction"] - sleep["Subject"].map(slopes).astype(float) * sleep["Days"]
    )
    one = mm.lmm("Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)", flat)
    two = mm.lmm("Reaction ~ Days + (1 | Subject)", flat)
    assert one.theta[1] == 0
    assert outcome(satterthwaite(one, "Intercept")) == pytest.approx(
        outcome(satterthwaite(two, "Intercept")), rel=1e-6
    )


def test_boundary_of_a_correlation():
    """A covariance of rank one: what is estimated is the model with one effect per level."""
    rng = np.random.default_rng(2)
    sleep = mm.load_dataset("sleepstudy")
    effect = dict(zip(sleep["Subject"].cat.categories, rng.normal(0, 30, 18), strict=True))
    b = sleep["Subject"].map(effect).astype(float)
    noise = rng.normal(0, 20, len(sleep))
    data = sleep.assign(Reaction=250 + 10 * sleep["Days"] + b * (1 + 0.4 * sleep["Days"]) + noise)
    fit = mm.lmm("Reaction ~ Days + (Days | Subject)", data)
    assert fit.theta[0] > 0
    assert fit.theta[2] == 0
    assert_is_brute_force(fit, rtol=1e-5)


# --- what must not change it -------------------------------------------------------------------


@pytest.mark.landing
@given(seeds)
def test_row_order_does_not_matter(seed):
    data = random_design(seed)
    one = mm.lmm("y ~ x + t + (1 | g)", data)
    two = mm.lmm("y ~ x + t + (1 | g)", data.sample(frac=1, random_state=seed % 1000))
    np.testing.assert_allclose(
        outcome(satterthwaite(one, "t")), outcome(satterthwaite(two, "t")), rtol=1e-4, atol=1e-12
    )


@pytest.mark.landing
@given(seeds)
def test_the_basis_of_x_does_not_matter(seed):
    """The same two combinations, in treatment and in sum contrasts."""
    data = random_design(seed)
    one = mm.lmm("y ~ x + t + (1 | g)", data)
    two = mm.lmm("y ~ I(3 * x) + C(t, contr.sum) + (1 | g)", data)
    L = np.array([[0, 1.0, 0, 0], [0, 0, 1, -1]])
    R = np.linalg.lstsq(one.design.X, two.design.X, rcond=None)[0]  # X₂ = X₁R, so that β₁ = Rβ₂
    np.testing.assert_allclose(
        outcome(satterthwaite(one, order(one, L))),
        outcome(satterthwaite(two, order(one, L) @ R)),
        rtol=1e-4,
        atol=1e-12,
    )


def order(fit, L):
    """Return L for Intercept, x, t[T.1], t[T.2] in the order of the fit's coefficients."""
    places = [fit.design.fixed_names.index(n) for n in ["Intercept", "x", "t[T.1]", "t[T.2]"]]
    return L[:, np.argsort(places)]


@pytest.mark.landing
@given(seeds)
def test_units_of_the_response_do_not_matter(seed):
    data = random_design(seed)
    one = mm.lmm("y ~ x + t + (1 | g)", data)
    two = mm.lmm("y ~ x + t + (1 | g)", data.assign(y=100 + 37 * data["y"]))
    np.testing.assert_allclose(
        outcome(satterthwaite(one, "x")), outcome(satterthwaite(two, "x")), rtol=1e-4, atol=1e-12
    )


def test_one_row_may_be_scaled():
    fit = fitted("sleep_corr", "REML")
    row = np.array([1.0, 5.0])
    assert outcome(satterthwaite(fit, row)) == pytest.approx(outcome(satterthwaite(fit, -7 * row)))


def test_many_rows():
    test = satterthwaite(many_rows(), "x")
    assert 400 < test.df[1] < 500  # 500 slopes are what the fixed slope is compared with


def test_computed_once(monkeypatch):
    fit = mm.lmm("yield ~ treat + (1 | blend)", mm.load_dataset("penicillin"))
    satterthwaite(fit, "treat")
    monkeypatch.setattr(sys.modules["mmlib.inference.satterthwaite"], "coordinates_of", None)
    assert satterthwaite(fit, "Intercept").df[0] == 1


def test_display():
    text = str(satterthwaite(fitted("penicillin_rcbd", "REML"), "treat"))
    for shown in ["Satterthwaite", "1.2389", "0.3387"]:
        assert shown in text


def test_a_bad_hypothesis_is_refused():
    with pytest.raises(mm.DataError, match="one column for each of the 4"):
        satterthwaite(fitted("penicillin_rcbd", "REML"), [1.0, 0.0])
