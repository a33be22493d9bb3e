"""Tables of F tests: types I, II and III against lmerTest, and what defines each type."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import mmlib as mm
from mmlib.inference.term_hypotheses import term_hypotheses
from tests.helpers import oracle
from tests.helpers.cases import fitted
from tests.helpers.inference import cases_with, uncoded

# Both sides are at optima whose θ differ by 1e-6 or so; lmerTest differentiates numerically.
AGAINST_R = 1e-6

RECORDED = [
    (case_id, ddf, number)
    for prefix, ddf in [("satterthwaite", "satterthwaite"), ("KR", "kenward-roger")]
    for number in (1, 2, 3)
    for case_id in cases_with(f"{prefix}_type{number}")
]


@pytest.mark.parametrize(("case_id", "ddf", "number"), RECORDED)
def test_tables_are_those_of_lmertest(case_id, ddf, number):
    prefix = {"satterthwaite": "satterthwaite", "kenward-roger": "KR"}[ddf]
    wanted = oracle.load_case(case_id)[f"{prefix}_type{number}"]
    table = mm.anova(fitted(case_id, "REML"), ddf=ddf, type=number).to_frame()
    table.index = [uncoded(name) for name in table.index]
    table = table.loc[[uncoded(name) for name in wanted["term"]]]
    for column, key in [("NumDF", "ndf"), ("DenDF", "ddf"), ("F value", "F")]:
        np.testing.assert_allclose(table[column], wanted[key], rtol=AGAINST_R)
    np.testing.assert_allclose(table["Pr(>F)"], wanted["p"], rtol=1e-4, atol=1e-12)
    if "SS" in wanted:
        np.testing.assert_allclose(table["Sum Sq"], wanted["SS"], rtol=AGAINST_R)
        np.testing.assert_allclose(table["Mean Sq"], wanted["MS"], rtol=AGAINST_R)


def test_every_type_and_method_was_recorded():
    assert {(ddf, number) for _, ddf, number in RECORDED} == {
        *(("satterthwaite", number) for number in (1, 2, 3)),
        *(("kenward-roger", number) for number in (1, 3)),
    }


def test_penicillin_is_the_classical_table():
    table = mm.anova(fitted("penicillin_rcbd", "REML")).to_frame()
    assert list(table.columns) == ["Sum Sq", "Mean Sq", "NumDF", "DenDF", "F value", "Pr(>F)"]
    F = (70 / 3) / (226 / 12)
    np.testing.assert_allclose(
        table.loc["treat"].astype(float), [70, 70 / 3, 3, 12, F, stats.f.sf(F, 3, 12)], rtol=1e-6
    )


# --- what defines the types --------------------------------------------------------------------


@pytest.fixture(scope="module")
def unbalanced():
    rng = np.random.default_rng(4)
    data = pd.DataFrame(
        {
            "A": pd.Categorical(rng.choice(list("abc"), 60)),
            "B": pd.Categorical(rng.choice(list("uv"), 60)),
            "x": rng.normal(size=60),
            "w": rng.uniform(1, 3, 60),
            "g": rng.integers(0, 10, 60),
        }
    )
    return data.assign(y=rng.normal(size=60) + rng.normal(size=10)[data["g"]])


def residual_squares(formula, data, weights=None):
    fit = mm.lmm(formula, data, reml=False, weights=weights)
    return fit.sigma**2 * fit.nobs


@pytest.mark.parametrize("weights", [None, "w"])
def test_type_one_without_random_terms_is_sequential(unbalanced, weights):
    fit = mm.lmm("y ~ x + A * B", unbalanced, weights=weights)
    table = mm.anova(fit, type=1, ddf=None)
    steps = ["y ~ 1", "y ~ x", "y ~ x + A", "y ~ x + A + B", "y ~ x + A * B"]
    squares = [residual_squares(step, unbalanced, weights) for step in steps]
    np.testing.assert_allclose(table["Sum Sq"], -np.diff(squares), rtol=1e-7)


def test_type_two_without_random_terms_respects_marginality(unbalanced):
    table = mm.anova(mm.lmm("y ~ x + A * B", unbalanced), type=2, ddf=None)
    for term, without, with_it in [
        ("A", "y ~ x + B", "y ~ x + A + B"),
        ("B", "y ~ x + A", "y ~ x + A + B"),
        ("x", "y ~ A * B", "y ~ x + A * B"),
        ("A:B", "y ~ x + A + B", "y ~ x + A * B"),
    ]:
        difference = residual_squares(without, unbalanced) - residual_squares(with_it, unbalanced)
        np.testing.assert_allclose(table["Sum Sq"][term], difference, rtol=1e-7)


def test_type_three_averages_cells_with_equal_weight(unbalanced):
    """The coefficient of A[b] in L averages what A = b adds over the levels of B."""
    fit = mm.lmm("y ~ A * B + (1 | g)", unbalanced)
    L = pd.DataFrame(term_hypotheses(fit.design, type=3)["A"], columns=fit.design.fixed_names)
    expected = pd.DataFrame(0.0, index=[0, 1], columns=fit.design.fixed_names)
    expected.loc[0, ["A[T.b]", "A[T.b]:B[T.v]"]] = 1, 0.5
    expected.loc[1, ["A[T.c]", "A[T.c]:B[T.v]"]] = 1, 0.5
    np.testing.assert_allclose(L, expected, atol=1e-12)


def test_type_three_does_not_depend_on_the_contrasts(unbalanced):
    one = mm.anova(mm.lmm("y ~ x + A * B + (1 | g)", unbalanced)).to_frame()
    formula = "y ~ x + C(A, contr.sum) * C(B, contr.helmert) + (1 | g)"
    two = mm.anova(mm.lmm(formula, unbalanced)).to_frame()
    two.index = [
        name.replace(", contr.sum", "").replace(", contr.helmert", "") for name in two.index
    ]
    two.index = [name.replace("C(", "").replace(")", "") for name in two.index]
    np.testing.assert_allclose(one, two.loc[one.index], rtol=1e-6)


def test_with_sum_contrasts_type_three_is_the_coefficients_own(unbalanced):
    fit = mm.lmm("y ~ C(A, contr.sum) * C(B, contr.sum) + (1 | g)", unbalanced)
    table = mm.anova(fit)["F value"]
    for term in table.index:
        assert table[term] == pytest.approx(mm.kenward_roger(fit, term).statistic, rel=1e-9)


def test_a_covariate_is_averaged_over_slopes_and_does_not_contain_a_factor(unbalanced):
    """As in SAS: x is contained in A:x, A is not."""
    fit = mm.lmm("y ~ A * x + (1 | g)", unbalanced)
    L = term_hypotheses(fit.design, type=3)
    slopes = pd.DataFrame(L["x"], columns=fit.design.fixed_names)
    np.testing.assert_allclose(slopes[["x", "A[T.b]:x", "A[T.c]:x"]], [[1, 1 / 3, 1 / 3]])
    np.testing.assert_array_equal(L["A"], mm.hypothesis_matrix(fit, "A").L)


@pytest.mark.filterwarnings("ignore::mmlib.DataWarning")
def test_an_empty_cell_leaves_type_three_estimable(unbalanced):
    data = unbalanced[(unbalanced["A"] != "c") | (unbalanced["B"] != "v")]
    fit = mm.lmm("y ~ A * B + (1 | g)", data)
    assert fit.design.aliased == ("A[T.c]:B[T.v]",)
    table = mm.anova(fit).to_frame()
    assert table["NumDF"].to_dict() == {"A": 2, "B": 1, "A:B": 1}
    recoded = mm.anova(mm.lmm("y ~ B * A + (1 | g)", data)).to_frame()
    np.testing.assert_allclose(table.loc["A"], recoded.loc["A"], rtol=1e-6)


def test_the_types_agree_without_interactions_in_a_balanced_design():
    fit = fitted("oats_additive", "REML")
    one, two, three = (mm.anova(fit, type=number).to_frame() for number in (1, 2, 3))
    np.testing.assert_allclose(one, two, rtol=1e-7)
    np.testing.assert_allclose(two, three, rtol=1e-7)


# --- the table ---------------------------------------------------------------------------------


def test_without_degrees_of_freedom():
    fit = fitted("penicillin_rcbd", "REML")
    table = mm.anova(fit, ddf=None)
    assert list(table.to_frame().columns) == ["Sum Sq", "Mean Sq", "NumDF", "F value"]
    assert table["F value"]["treat"] == pytest.approx(mm.anova(fit)["F value"]["treat"], rel=1e-8)


def test_by_maximum_likelihood():
    """Satterthwaite takes the fit as it is, Kenward–Roger its refit by REML, with a note."""
    ml, reml = fitted("penicillin_rcbd", "ML"), fitted("penicillin_rcbd", "REML")
    own, refitted = mm.anova(ml, ddf="satterthwaite"), mm.anova(ml)
    assert own.notes == ()
    assert own["Mean Sq"]["treat"] == pytest.approx(own["F value"]["treat"] * ml.sigma**2)
    assert "refit by REML" in refitted.notes[0]
    np.testing.assert_allclose(refitted.to_frame(), mm.anova(reml).to_frame(), rtol=1e-6)


def test_display():
    table = mm.anova(fitted("cake_factorial", "REML"), ddf="satterthwaite", type=2)
    text = str(table)
    for shown in ["type II", "Satterthwaite", "Sum Sq", "DenDF", "recipe:C(temperature"]:
        assert shown in text
    assert "<table" in table._repr_html_()
    assert str(mm.anova(fitted("penicillin_rcbd", "ML"))).endswith("its refit by REML.")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ddf": "kenward"}, "ddf must be 'kenward-roger', .* not 'kenward'"),
        ({"ddf": 3}, "ddf must be 'kenward-roger', 'satterthwaite' or None, not 3"),
        ({"type": 4}, "type must be 1, 2 or 3, not 4"),
        ({"type": "III"}, "type must be 1, 2 or 3"),
        ({"type": True}, "type must be 1, 2 or 3"),
        ({"type": [1]}, "type must be 1, 2 or 3"),
    ],
)
def test_a_bad_option_is_refused(options, message):
    with pytest.raises(mm.DataError, match=message):
        mm.anova(fitted("penicillin_rcbd", "REML"), **options)


def test_nothing_but_an_intercept_is_refused():
    with pytest.raises(mm.DataError, match="no term besides the intercept"):
        mm.anova(fitted("pulp_ri", "REML"))


def test_a_coefficient_table_needs_a_known_method():
    with pytest.raises(mm.DataError, match="'kenward-roger', 'satterthwaite' or None, not"):
        fitted("penicillin_rcbd", "REML").coef_table(ddf="satterthwait")
