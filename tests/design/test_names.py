"""Between backticks a name may be anything, works everywhere, and means only itself."""

import unicodedata
from functools import cache
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import mmlib as mm
from mmlib.design.names import alias, as_written, name_of, quoted, shown, with_aliases
from tests.helpers.structures import simulated

NAMES = [
    *("C", "I", "log", "np", "poly", "contr", "Treatment", "list", "lambda", "True", "None", "_"),
    *("1", "0", "Intercept", "Residual", "2nd", "1e5", "-1", "a.b", ".", "a b", " a ", "a  b"),
    *("y ~ x", "a|b", "a||b", "x:z", "x*z", "x/z", "x^2", "x+1", "(x + z)", "{x}", "[x]", "f[T.a]"),
    *("it's", 'say "x"', "a`b", "``", "#", "\\", "%", "$x", "a,b", "a=b", "x\ny", "\t", "x\r\n"),
    *("µg", "μg", "x²", "ﬁt", "été", unicodedata.normalize("NFD", "été"), "温度", "🙂", "a\u00a0b"),
    *("_mm78_", "_counted", "__FORMULAIC_STATE__", "\u200b", "C(x)", "log(x)", "a:b", "Ω", "x−z"),
]


def same(found, wanted):
    np.testing.assert_allclose(found.X, wanted.X)
    np.testing.assert_array_equal(found.y, wanted.y)
    for one, two in zip(found.terms, wanted.terms, strict=True):
        np.testing.assert_allclose(one.model_matrix, two.model_matrix)
        np.testing.assert_array_equal(one.codes, two.codes)


@cache
def plain_design(formula):
    return mm.build_design(formula, simulated())


FORMULAS = [
    ("x", "y ~ {} + f + (1 | g)"),
    ("x", "y ~ log({} + 9) + (1 | g)"),
    ("x", "y ~ I({} > 0) * z + (1 | g)"),
    ("x", "y ~ scale({}) + z:{} + (0 + {} || g)"),
    ("x", "y ~ poly({}, 2) + np.abs({}) + ({} | g)"),
    ("f", "y ~ {} + (1 | g)"),
    ("f", "y ~ C({}, contr.sum) * x + (1 | g)"),
    ("f", "y ~ x + ({} | g)"),
    ("g", "y ~ x + (1 | {}) + (1 | {}:h)"),
    ("g", "y ~ x + (1 | h/{})"),
    ("y", "{} ~ x + (1 | g)"),
    ("y", "log({} + 100) ~ x + (1 | g)"),
]


def each_somewhere():
    """Pairs of a name and a formula: a quarter of them as a rule, all when a change lands."""
    for (i, name), (j, (column, formula)) in product(enumerate(NAMES), enumerate(FORMULAS)):
        marks = [pytest.mark.landing] if (i + j) % 4 else []
        yield pytest.param(name, column, formula, marks=marks)


@pytest.mark.parametrize(("name", "column", "formula"), list(each_somewhere()))
def test_a_quoted_name_works_everywhere(name, column, formula):
    renamed = simulated().rename(columns={column: name})
    found = mm.build_design(formula.replace("{}", quoted(name)), renamed)
    same(found, plain_design(formula.replace("{}", column)))
    assert len(set(found.fixed_names)) == found.p


@settings(max_examples=60)
@given(name=st.text(min_size=1, max_size=12))
def test_any_text_is_a_name(name):
    assume(name not in simulated().columns)
    renamed = simulated().rename(columns={"x": name})
    formula = "y ~ {0} + exp({0} / 9) + (0 + {0} | g)"
    found = mm.build_design(formula.format(quoted(name)), renamed)
    same(found, plain_design(formula.format("x")))
    assert name_of(alias(name)) == name


@pytest.mark.parametrize("name", NAMES)
def test_predictions_tests_weights_and_one_way_layouts(name):
    data = simulated()
    renamed = data.rename(columns={"x": name, "w": f"{name}w", "shift": f"{name}s"})
    options = {"weights": f"{name}w", "offset": f"{name}s"}
    fit = mm.lmm(f"y ~ {quoted(name)} + z + (1 | g)", renamed, **options)
    wanted = mm.lmm("y ~ x + z + (1 | g)", data, weights="w", offset="shift")
    np.testing.assert_allclose(fit.predict(renamed), wanted.fitted)
    for ask in ("{}", "{} = 0.5", "2*{} - z = 1"):
        found = mm.satterthwaite(fit, ask.format(quoted(name)))
        np.testing.assert_allclose(
            found.statistic, mm.satterthwaite(wanted, ask.format("x")).statistic
        )
    layout = mm.oneway(f"y ~ {quoted(name)}", data.rename(columns={"g": name}))
    assert layout.f == mm.oneway("y ~ g", data).f


def test_a_name_hides_no_function():
    data = simulated().assign(C=lambda d: d["z"], log=lambda d: d["x"], np=1.0, I=2.0)
    for formula, plain in [
        ("y ~ C + C(f) + (1 | g)", "y ~ z + C(f) + (1 | g)"),
        ("y ~ log + np.exp(log) + (1 | g)", "y ~ x + np.exp(x) + (1 | g)"),
        ("y ~ I(C**2) + (1 | g)", "y ~ I(z**2) + (1 | g)"),
        ("y ~ log(log + 9) + (1 | g)", "y ~ log(x + 9) + (1 | g)"),
    ]:
        same(mm.build_design(formula, data), mm.build_design(plain, data))


@pytest.mark.parametrize("name", ["µg", unicodedata.normalize("NFD", "été"), "温度", "🙂", "ﬁt"])
def test_letters_beyond_ascii_need_no_backticks(name):
    renamed = simulated().rename(columns={"x": name, "z": "z"})
    found = mm.build_design(f"y ~ {name} + exp({name}) + (1 | g)", renamed)
    same(found, mm.build_design("y ~ x + exp(x) + (1 | g)", simulated()))


def test_names_that_look_alike_are_two():
    data = simulated().rename(columns={"x": "µg", "z": "μg"})  # micro sign, Greek mu
    found = mm.build_design("y ~ `µg` + log(`μg` + 9) + (1 | g)", data)
    same(found, mm.build_design("y ~ x + log(z + 9) + (1 | g)", simulated()))
    with pytest.raises(mm.DataError, match=r"looks alike, but is '\\xb5g', not '\\u03bcg'"):
        mm.build_design("y ~ `μg` + (1 | g)", data.drop(columns="μg"))


def test_a_column_and_a_product_of_the_same_name_are_two():
    data = simulated().assign(**{"x:z": lambda d: d["w"], "g:h": lambda d: d["m"]})
    fit = mm.lmm("y ~ `x:z` + x:z + (1 | g:h) + (1 | `g:h`)", data)
    assert fit.design.fixed_names == ("Intercept", "`x:z`", "x:z")
    assert set(fit.ranef()) == {"g:h", "`g:h`"}
    for name in ("`x:z` = 0", "x:z = 0"):
        place = fit.design.fixed_names.index(name.split(" ")[0])
        assert mm.hypothesis_matrix(fit, name).L[0].nonzero()[0] == [place]


def test_names_that_differ_by_spaces_are_two():
    data = simulated().rename(columns={"x": "a b", "z": "ab"})
    fit = mm.lmm("y ~ `a b` + ab + (1 | g)", data)
    for name, place in (("`a b`", 1), ("ab", 2), ("`a b` = 3", 1), ("ab = 3", 2)):
        assert mm.hypothesis_matrix(fit, name).L[0].nonzero()[0] == [place]


def test_a_function_is_no_column():
    with pytest.raises(mm.DataError, match=r"no column 'log'\. log is a function of formulas"):
        mm.build_design("y ~ log + (1 | g)", simulated())


def test_aliases_are_put_back():
    assert as_written(with_aliases("log(`a b`) + `C` + x")) == "log(`a b`) + `C` + x"
    assert as_written(with_aliases("C(f, levels=['`a`'])")) == "C(f, levels=['`a`'])"
    assert shown([alias("a b") + "[T.low]", alias("a b") + ":x"]) == ("a b[T.low]", "a b:x")
    assert shown(["1", alias("1")]) == ("1", "`1`")


def test_a_formula_prints_with_its_names():
    formula = "y ~ `a  b` +  log(`x\ny`) + (1 | g)"
    assert str(mm.parse_formula(formula)) == "y ~ `a  b` + log(`x\ny`) + (1 | g)"


def test_group_names_of_an_influence_and_of_modes():
    data = simulated().rename(columns={"g": "my g"})
    fit = mm.lmm("y ~ x + (1 | `my g`)", data)
    assert list(fit.ranef()) == ["my g"]
    assert len(fit.influence(group="my g").dfbeta) == 6
    assert isinstance(fit.predict(data, random="my g"), pd.Series)


def test_words_of_python_are_names_in_calls_too():
    """The yield of penicillin, which Python would take for a statement."""
    data = mm.load_dataset("penicillin")
    quoted = mm.lmm("log(`yield`) ~ treat + (1 | blend)", data)
    for formula in ("log(yield) ~ treat + (1 | blend)", "np.log(yield) ~ treat + (1 | blend)"):
        assert mm.lmm(formula, data).objective == quoted.objective
    renamed = data.assign(half=np.arange(20.0) ** 1.5 % 7)
    fit = mm.lmm("half ~ yield + I(yield**2) + treat + (1 | blend)", renamed)
    assert {"yield", "I(`yield` ** 2)"} <= set(fit.design.fixed_names)
    assert np.isfinite(fit.predict(renamed)).all()
    with pytest.raises(mm.FormulaError):
        mm.lmm("half ~ I((yield treat)) + (1 | blend)", renamed)
