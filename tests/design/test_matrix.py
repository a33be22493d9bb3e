"""Model matrices: where columns of numbers are only multiplied, formulaic is asked but once."""

import numpy as np
import pandas as pd
import pytest
from formulaic import model_matrix

import mmlib as mm
from mmlib.design import matrix as module
from mmlib.design.formula import parse_with_formulaic
from mmlib.design.matrix import evaluate

NUMBERS = ["1", "0 + a", "a", "a:b", "b*a + c", "0 + c + a:b:c", "(a + b + c)**2 - b", "0"]


@pytest.fixture
def frame():
    rng = np.random.default_rng(1)
    return pd.DataFrame({"a": rng.normal(size=9), "b": np.arange(9), "c": rng.normal(size=9)})


@pytest.mark.parametrize("text", NUMBERS)
def test_products_are_those_of_formulaic(frame, text):
    values, spec = evaluate(parse_with_formulaic(text), frame)
    expected = model_matrix(text, frame)
    np.testing.assert_array_equal(values, expected.to_numpy(float).reshape(9, -1))
    assert list(spec.column_names) == list(expected.columns)
    np.testing.assert_array_equal(evaluate(spec, frame)[0], values)


def test_formulaic_is_asked_once(frame, monkeypatch):
    fit = mm.lmm("a ~ b + c", frame)
    monkeypatch.setattr(module, "_materialized", None)
    again = mm.lmm("a ~ b + c", frame.assign(b=frame["b"] ** 2))
    assert again.beta[1] != fit.beta[1]


@pytest.mark.parametrize("spline", ["bs(Days, df=12)", "cr(Days, df=15)"])
def test_splines_with_more_columns_than_values_are_a_mean_for_each_value(spline):
    """Each column leaves more than the tolerance, but all together depend on each other."""
    data = mm.load_dataset("sleepstudy")
    means = mm.lmm("Reaction ~ C(Days) + (1 | Subject)", data, reml=False)
    with pytest.warns(mm.DataWarning, match="left out because they depend"):
        fit = mm.lmm(f"Reaction ~ {spline} + (1 | Subject)", data, reml=False)
    assert fit.design.p == 10
    assert fit.objective == pytest.approx(means.objective, rel=1e-7)
    with pytest.warns(mm.DataWarning):
        assert mm.lmm("Reaction ~ cc(Days, df=50) + (1 | Subject)", data).design.p == 9


def test_what_a_column_holds_decides_not_what_it_held_before(frame):
    as_number = mm.build_design("a ~ b", frame)
    as_factor = mm.build_design("a ~ b", frame.assign(b=list("xyzxyzxyz")))
    assert as_number.fixed_names == ("Intercept", "b")
    assert as_factor.fixed_names == ("Intercept", "b[T.y]", "b[T.z]")
    assert mm.build_design("a ~ b", frame).fixed_names == as_number.fixed_names
