"""Words of R, lme4 and statsmodels: the answer says what to write, and that is right."""

import copy
import pickle
import re

import numpy as np
import pandas as pd
import pytest

import mmlib as mm
from mmlib.design.words import ATTRIBUTES, NAMES
from tests.helpers import oracle

ROWS = [0, 60, 100, 130, 150, 170]


@pytest.fixture(scope="module")
def doses():
    return oracle.load_report("doses")


def agrees(formula, data, numbers):
    fit = mm.lmm(f"y ~ {formula} + (1 | plate)", data, reml=False)
    np.testing.assert_allclose(fit.objective, numbers["deviance"], rtol=1e-7)
    np.testing.assert_allclose(fit.predict(random=False).iloc[ROWS], numbers["fitted"], rtol=1e-5)
    return fit


@pytest.mark.parametrize("df", [2, 3])
@pytest.mark.parametrize("call", ["ns(dose, {})", "ns(dose, df={})"])
def test_a_natural_spline_has_the_knots_of_r(doses, df, call):
    """Quantiles of all values, not of the different ones: case 09 of the reports."""
    data, r = doses
    with pytest.raises(mm.FormulaError, match="no function 'ns'") as caught:
        mm.lmm(f"y ~ {call.format(df)} + (1 | plate)", data)
    ours = re.search(r"write (cr\(.*?\)), which", str(caught.value))[1]
    fit = agrees(ours, data, r[f"ns{df}"])
    assert fit.design.aliased == ()
    beyond = fit.predict(data.iloc[:4].assign(dose=[16, 18, 20, 24]), random=False).to_numpy()
    slopes = np.diff(beyond) / [2, 2, 4]
    np.testing.assert_allclose(slopes, slopes[0], err_msg="a natural spline ends in lines")


def test_the_knots_of_r_count_rows_that_the_fit_leaves_out():
    """R 4.2.2 finds knots before it drops rows: quantiles of 12 values of x, also without a y."""
    data = pd.DataFrame({"x": [*range(1, 10), 50, 60, 70], "g": [1, 2, 3, 4] * 3})
    data["y"] = [*np.arange(9.0) ** 2, None, None, None]
    with pytest.raises(mm.FormulaError, match=r"knots=\[4\.66666\d*, 8\.33333\d*\]"):
        mm.lmm("y ~ ns(x, 3) + (1 | g)", data)


@pytest.mark.parametrize("call", ["ns(dose, 12)", "ns(log(dose + 1), 3)", "ns(dose)"])
def test_where_there_are_no_such_knots_the_way_is_named(doses, call):
    with pytest.raises(mm.FormulaError, match=r"write cr\(.*, knots=\[\.\.\.\], constraints"):
        mm.lmm(f"y ~ {call} + (1 | plate)", doses[0])


@pytest.mark.parametrize(
    ("ours", "key"),
    [
        ("bs(dose, df=5)", "bs5"),
        ("poly(dose, 2)", "poly2"),
        ("poly(dose, 2, raw=True)", "raw2"),
        ("scale(dose)", "scale"),
        ("C(dose)", "factor"),
        ("C(dose, contr.diff)", "sdif"),
        ("C(dose, contr.sum)", "sum"),
        ("C(dose, contr.helmert)", "helmert"),
        ("C(dose, contr.treatment(2))", "relevel"),
        ("np.where(dose > 1, 1, 0)", "ifelse"),
        ("np.minimum(dose, 4)", "pmin"),
        ("I(log(dose + 1) / np.log(2))", "log2"),
    ],
)
def test_translations_hold_on_unbalanced_data_with_ties(doses, ours, key):
    data, r = doses
    fit = agrees(ours, data, r[key])
    if key != "poly2":  # whose columns may have another sign
        np.testing.assert_allclose(fit.beta, r[key]["fixef"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("y ~ factor(dose)", r"write C\(dose\); its levels are in the order of code points"),
        ("y ~ as.factor(dose)", r"write C\(dose\)"),
        ("y ~ offset(dose)", "offset='column'"),
        ("y ~ relevel(dose, ref='2')", r"contr\.treatment\('level'\)"),
        ("y ~ Q('dose')", "backticks, `dose`"),
        ("y ~ ifelse(dose > 1, 1, 0)", r"np\.where"),
        ("y ~ pmin(dose, 4)", r"np\.minimum"),
        ("y ~ lag(dose)", "order of the rows"),
        ("y ~ bs(dose, Boundary.knots=c(0, 16))", "lower_bound= and upper_bound="),
        ("y ~ ar1(dose)", "around a random term"),
        ("y ~ toep(0 + dose | plate)", "there are us, diag, cs, homcs, ar1 and hetar1"),
        ("y ~ ou(0 + dose | plate)", "residual='car1"),
        ("y ~ 2 + dose", "cannot read"),
        ("y ~ .", "the dot of R"),
        ("y ~ x %in% g", "write a:b"),
        ("y ~ x + (x %in% f | g)", "write a:b"),
    ],
)
def test_functions_of_r_are_translated(doses, formula, message):
    with pytest.raises(mm.FormulaError, match=message):
        mm.lmm(formula, doses[0])


def test_text_is_in_the_order_of_code_points():
    """R's order depends on the locale: case 25 of the reports."""
    data, _ = oracle.load_report("mixed_case")
    names = mm.lmm("y ~ arm + (1 | g)", data).design.fixed_names
    assert names == ("Intercept", "arm[T.Placebo]", "arm[T.control]")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("REML", "write reml=True or reml=False"),
        ("groups", r"y ~ x \+ \(1 | group\)"),
        ("re_formula", "write the random part into the formula"),
        ("vc_formula", "write the random part into the formula"),
        ("family", "normal errors only"),
        ("control", "nothing to tune"),
        ("na_action", "left out, with a warning"),
        ("subset", r"data\[condition\]"),
        ("nonsense", "it has formula, data, reml, weights, offset"),
    ],
)
def test_arguments_of_other_packages(doses, word, message):
    with pytest.raises(mm.DataError, match=rf"lmm has no argument '{word}': .*{message}"):
        mm.lmm("y ~ dose + (1 | plate)", doses[0], **{word: None})


def test_arguments_of_other_functions(pulp_fit, pulp_pair):
    small, large = pulp_pair
    for call, message in [
        (lambda: mm.anova(large, typ=2), "write type=1, 2 or 3"),
        (lambda: mm.lrt(small, large, large), "it compares two fits"),
        (lambda: pulp_fit.predict(re_form=None), "write random=False for NA"),
        (lambda: pulp_fit.predict(allow_new_levels=True), "new_levels='population'"),
        (lambda: pulp_fit.predict(newdata=None), r"fit\.predict\(new\)"),
        (lambda: mm.lmm("y ~ x", None, "g"), "the grouping stands in the formula"),
    ]:
        with pytest.raises(mm.DataError, match=message):
            call()


def test_weights_are_one_column():
    data = mm.load_dataset("sleepstudy")
    with pytest.raises(mm.DataError, match=r"weights must be one column, .* frame\['column'\]"):
        mm.lmm("Reaction ~ Days + (1 | Subject)", data, weights=data[["Reaction"]])


def test_what_is_answered_is_still_a_plain_function():
    assert mm.lmm.__name__ == "lmm"
    assert mm.lmm.__doc__.startswith("Fit a linear mixed model")


# --- attributes of fits, and names of the library, in other packages -----------------------------


@pytest.fixture(scope="module")
def small():
    rng = np.random.default_rng(2)
    data = pd.DataFrame({"x": rng.standard_normal(40), "f": rng.choice(list("abc"), 40)})
    data["g"] = rng.integers(0, 8, 40)
    data["y"] = data["x"] + rng.standard_normal(8)[data["g"]] + rng.standard_normal(40)
    return mm.lmm("y ~ x + f + (1 | g)", data)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_an_attribute_of_another_package_has_its_translation(small, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(mm.UnknownAttributeError, match=re.escape(ATTRIBUTES[name])) as caught:
        getattr(small, name)
    assert isinstance(caught.value, AttributeError)
    assert not hasattr(small, name)
    code = re.split(r", or | or ", ATTRIBUTES[name])[0]
    eval(code, {"mm": mm, "fit": small})  # noqa: S307


@pytest.mark.parametrize("name", NAMES)
def test_a_function_of_another_package_has_its_translation(small, name):
    with pytest.raises(mm.UnknownAttributeError, match=f"mmlib has no '{name}'") as caught:
        getattr(mm, name)
    code = re.search(r"write (.*?)(: (?!refit)|$|\.$| or )", str(caught.value))[1]
    if "fit" in code:
        eval(f"mm.{code}" if code[:4] != "fit." else code, {"mm": mm, "fit": small})  # noqa: S307
    else:
        assert hasattr(mm, code.split("(")[0])


def test_what_statsmodels_calls_by_another_name_is_the_same_number(small):
    code = ATTRIBUTES["bse"]
    wanted = np.sqrt(np.diag(small.vcov()))
    np.testing.assert_allclose(eval(code, {"fit": small}), wanted)  # noqa: S307


def test_other_attributes_are_missing_in_the_ordinary_way(small):
    with pytest.raises(AttributeError, match=r"has no attribute 'thet'. Did you mean 'theta'"):
        small.thet  # noqa: B018
    assert getattr(small, "parms", 1) == 1
    assert copy.copy(small).sigma == small.sigma
    assert copy.deepcopy(small).sigma == small.sigma
    assert pickle.loads(pickle.dumps(small)).sigma == pytest.approx(small.sigma)
    with pytest.raises(AttributeError, match="Did you mean 'bootstrap'"):
        mm.boostrap  # noqa: B018
