"""Hypotheses from matrices, formulas and terms."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest

import mmlib as mm
from mmlib.inference.hypothesis import Hypothesis, hypothesis_matrix


@pytest.fixture(scope="module")
def fit():
    data = pd.DataFrame(
        {
            "y": np.random.default_rng(5).normal(size=72),
            "A": pd.Categorical(np.tile(["a1", "a2", "a3"], 24)),
            "B": pd.Categorical(np.repeat(["b1", "b2"], 36)),
            "x": np.random.default_rng(6).normal(size=72),
            "x2": np.random.default_rng(7).normal(size=72),
            "g": np.tile(np.repeat(np.arange(6), 3), 4),
        }
    )
    return mm.lmm("y ~ A * B + A * x + x2 + (1 | g)", data, reml=True)


def row(fit, **weights):
    """Return one row of L with weights for coefficients whose names had signs replaced by _."""
    simple = [
        name.replace("[T.", "_").replace("]", "").replace(":", "_")
        for name in fit.design.fixed_names
    ]
    L = np.zeros((1, len(simple)))
    for name, weight in weights.items():
        L[0, simple.index(name)] = weight
    return L


def test_a_term_takes_its_coefficients(fit):
    L, rhs, description = hypothesis_matrix(fit, "A:B")
    np.testing.assert_array_equal(L, np.vstack([row(fit, A_a2_B_b2=1), row(fit, A_a3_B_b2=1)]))
    np.testing.assert_array_equal(rhs, [0, 0])
    assert description == "A[T.a2]:B[T.b2] = 0, A[T.a3]:B[T.b2] = 0"


@pytest.mark.parametrize("name", ["A", "B", "x", "x2", "A:B", "x:A"])
def test_a_term_is_tested_as_anova_tests_it(fit, name):
    """A main effect beside its interaction is averaged, not that of the reference level."""
    table = mm.anova(fit).to_frame()
    wanted = table.loc[name if name in table.index else "A:x"]
    for test, ddf in ((mm.kenward_roger, "kenward-roger"), (mm.satterthwaite, "satterthwaite")):
        wanted = mm.anova(fit, ddf=ddf).to_frame().loc[wanted.name]
        found = test(fit, name)
        np.testing.assert_allclose(found.statistic, wanted["F value"])
        np.testing.assert_allclose(found.df, wanted[["NumDF", "DenDF"]].astype(float))


def test_together_with_its_interactions_a_term_takes_its_coefficients(fit):
    L = hypothesis_matrix(fit, ["B", "A:B"]).L
    wanted = [row(fit, B_b2=1), row(fit, A_a2_B_b2=1), row(fit, A_a3_B_b2=1)]
    np.testing.assert_array_equal(L, np.vstack(wanted))


def test_the_varieties_of_oats_beside_their_interaction():
    """R: anova(lmer(yield ~ Variety * nitroF + (1 | Block/Variety), Oats), ddf = "K")."""
    oats = mm.load_dataset("oats")
    fit = mm.lmm("yield ~ Variety * C(nitro) + (1 | Block/Variety)", oats)
    for test in (mm.kenward_roger(fit, "Variety"), mm.satterthwaite(fit, "Variety")):
        np.testing.assert_allclose(test.statistic, 1.485340, rtol=1e-5)
        np.testing.assert_allclose(test.df, [2, 10], rtol=1e-5)


def test_the_order_in_a_product_is_open(fit):
    one, two = hypothesis_matrix(fit, "A:B"), hypothesis_matrix(fit, "B:A")
    assert one.description == two.description
    np.testing.assert_array_equal(one.L, np.vstack([row(fit, A_a2_B_b2=1), row(fit, A_a3_B_b2=1)]))


def test_spaces_do_not_matter():
    """Formulaic writes I(Days ** 2) whatever the user wrote."""
    fit = mm.lmm("Reaction ~ Days + I(Days**2) + (1 | Subject)", mm.load_dataset("sleepstudy"))
    for text in ["I(Days**2)", "I(Days ** 2)", "I( Days**2 ) = 0", "Days - Days + I(Days**2)"]:
        np.testing.assert_array_equal(hypothesis_matrix(fit, text).L, [[0, 0, 1]])


def test_the_intercept_is_a_coefficient(fit):
    L, rhs, description = hypothesis_matrix(fit, "Intercept = 80")
    assert (L.tolist(), rhs.tolist()) == (row(fit, Intercept=1).tolist(), [80])
    assert description == "Intercept = 80"


@pytest.mark.parametrize(
    ("text", "weights", "value"),
    [
        ("A[T.a2] = A[T.a3]", {"A_a2": 1, "A_a3": -1}, 0),
        ("A[T.a2] - A[T.a3] = 0", {"A_a2": 1, "A_a3": -1}, 0),
        ("`A[T.a2]` - `A[T.a3]`", {"A_a2": 1, "A_a3": -1}, 0),
        ("2*x - 3 = x2", {"x": 2, "x2": -1}, 3),
        ("A[T.a2]:x = 1", {"A_a2_x": 1}, 1),
        ("A[T.a2]:x + x - x2 = 1", {"A_a2_x": 1, "x": 1, "x2": -1}, 1),
        ("x = 0", {"x": 1}, 0),
        ("x2", {"x2": 1}, 0),
        ("(A[T.a2] + A[T.a3])/2 = x", {"A_a2": 0.5, "A_a3": 0.5, "x": -1}, 0),
    ],
)
def test_equations_name_coefficients(fit, text, weights, value):
    L, rhs, _ = hypothesis_matrix(fit, text)
    np.testing.assert_allclose(L, row(fit, **weights))
    np.testing.assert_allclose(rhs, [value])


def test_several_equations_and_terms_stack(fit):
    together = hypothesis_matrix(fit, "x = 1, x2 = 2")
    listed = hypothesis_matrix(fit, ["x = 1", "x2 = 2"])
    mixed = hypothesis_matrix(fit, ["A", "x2 = 2"])
    np.testing.assert_array_equal(together.L, listed.L)
    np.testing.assert_array_equal(listed.rhs, [1, 2])
    assert mixed.L.shape == (3, fit.design.p)
    np.testing.assert_array_equal(mixed.rhs, [0, 0, 2])


def test_a_hypothesis_cannot_be_written_to(fit):
    made = mm.hypothesis_matrix(fit, np.eye(len(fit.beta))[:1], rhs=2.0)
    for each in (made, copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert isinstance(each, Hypothesis)
        L, rhs, _ = each
        for array in (L, rhs):
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0


def test_a_description_reads_back(fit):
    written = hypothesis_matrix(fit, row(fit, A_a2=1, A_a3=-2, x=0.5), rhs=3)
    assert written.description == "A[T.a2] - 2*A[T.a3] + 0.5*x = 3"
    read = hypothesis_matrix(fit, written.description)
    np.testing.assert_array_equal(read.L, written.L)
    np.testing.assert_array_equal(read.rhs, written.rhs)


def test_a_vector_is_one_row(fit):
    vector = row(fit, x=1)[0]
    L, rhs, _ = hypothesis_matrix(fit, vector.tolist(), rhs=[2.0])
    assert L.shape == (1, fit.design.p)
    assert rhs.tolist() == [2.0]


def test_the_callers_matrix_is_not_changed(fit):
    given = row(fit, x=1)
    L, _, _ = hypothesis_matrix(fit, given)
    given[:] = 0  # it has not become read-only
    assert L.sum() == 1


@pytest.mark.parametrize(
    ("L", "rhs", "error", "message"),
    [
        ([1.0, 2.0], None, mm.DataError, "one column for each of the 10 fixed effects"),
        (np.zeros((0, 10)), None, mm.DataError, "at least one row"),
        (np.zeros((2, 2, 10)), None, mm.DataError, "its shape is"),
        (3.0, None, mm.DataError, "its shape is"),
        (np.full(10, np.nan), None, mm.DataError, "L has missing or infinite values"),
        (np.full(10, np.inf), None, mm.DataError, "L has missing or infinite values"),
        (None, None, mm.DataError, "L must be numbers, the name of a term or an equation"),
        ([[1], [1, 2]], None, mm.DataError, "L must be numbers"),
        ([], None, mm.DataError, "at least one row"),
        (np.zeros(10), None, mm.RankError, r"row 1 of L \(0 = 0\) is empty"),
        (np.ones((2, 10)), None, mm.RankError, "row 2 of L .* follows from or contradicts"),
        (np.ones((11, 10)), None, mm.RankError, "follows from"),
        (
            ["x = 0", "x = 3"],
            None,
            mm.RankError,
            r"row 2 of L \(x = 3\) follows from or contradicts",
        ),
        (np.eye(10), [1, 2], mm.DataError, "rhs must have one value for each of the 10 row"),
        (np.eye(10), np.nan, mm.DataError, "rhs has missing"),
        ("x", 3, mm.DataError, "write it into the equation"),
        ("treat", None, mm.FormulaError, "no term or coefficient 'treat'"),
        ("A[T.a4] = 0", None, mm.FormulaError, r"Did you mean 'A\[T.a"),
        ("X3", None, mm.FormulaError, "Did you mean 'x"),
        ("x = ", None, mm.FormulaError, "cannot read 'x = ' as a linear hypothesis"),
        ("x * x2 = 1", None, mm.FormulaError, "cannot read"),
        ("", None, mm.FormulaError, "cannot read ''"),
        ("x = 'a'", None, mm.FormulaError, "cannot read"),
    ],
)
def test_a_bad_hypothesis_is_refused(fit, L, rhs, error, message):
    with pytest.raises(error, match=message):
        hypothesis_matrix(fit, L, rhs=rhs)


def test_what_the_fit_left_out_cannot_be_tested():
    data = mm.load_dataset("penicillin").assign(twin=lambda d: d["treat"])
    with pytest.warns(mm.DataWarning, match=r"left out because .*twin\[T.B\], twin"):
        fit = mm.lmm("yield ~ treat + twin + (1 | blend)", data)
    assert fit.design.aliased
    with pytest.raises(mm.RankError, match="columns of 'twin' were left out"):
        hypothesis_matrix(fit, "twin")
    with pytest.raises(mm.RankError, match=r"'twin\[T.B\]' was left out"):
        hypothesis_matrix(fit, "twin[T.B] = 0")


def test_a_fit_without_fixed_effects_has_nothing_to_test():
    fit = mm.lmm("bright ~ 0 + (1 | operator)", mm.load_dataset("pulp"))
    with pytest.raises(mm.DataError, match="no fixed effects"):
        hypothesis_matrix(fit, "Intercept")


def test_a_factor_is_found_by_its_name_whatever_its_coding():
    fit = mm.lmm("yield ~ C(treat, contr.sum) + (1 | blend)", mm.load_dataset("penicillin"))
    by_name, by_term = (hypothesis_matrix(fit, name) for name in ("treat", "C(treat, contr.sum)"))
    np.testing.assert_array_equal(by_name.L, by_term.L)


def test_the_intercept_beside_factors_is_no_term_to_average():
    """It ended in a KeyError."""
    fit = mm.lmm("yield ~ treat + (1 | blend)", mm.load_dataset("penicillin"))
    with pytest.raises(mm.FormulaError, match="'Intercept = 0'"):
        hypothesis_matrix(fit, "1")
