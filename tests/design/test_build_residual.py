"""What structures ask of the columns: named errors for all that cannot be."""

import numpy as np
import pandas as pd
import pytest

import mmlib as mm


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "id": np.repeat([f"s{k}" for k in range(8)], 4),
            "visit": np.tile([1, 2, 3, 4], 8),
            "when": rng.uniform(0, 10, 32).round(3),
            "day": pd.date_range("2024-01-01", periods=32),
            "word": np.tile(["one", "two", "three", "four"], 8),
            "arm": np.repeat(["a", "b"], 16),
            "one": "x",
            "x": rng.normal(size=32),
        }
    )
    return frame.assign(y=rng.normal(size=32) + frame["x"])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"residual": "toep(visit | id)"}, mm.FormulaError, "no structure 'toep'"),
        ({"residual": "ar(visit | id)"}, mm.FormulaError, "Did you mean 'ar1'"),
        ({"residual": "ar1(id)"}, mm.FormulaError, r"must look like 'ar1\(time \| id\)'"),
        ({"residual": "cs(visit | id)"}, mm.FormulaError, r"must look like 'cs\(id\)'"),
        ({"residual": "visit | id"}, mm.FormulaError, "cannot read residual"),
        ({"residual": 3}, mm.FormulaError, "residual must be text"),
        ({"residual": "ar1(visti | id)"}, mm.DataError, "Did you mean 'visit'"),
        ({"residual": "ar1(when | id)"}, mm.DataError, r"write car1\(when"),
        ({"residual": "ar1(word | id)"}, mm.DataError, "text, which does not say what time"),
        ({"residual": "ar1(day | id)"}, mm.DataError, "no time that can be counted"),
        ({"residual": "us(when | id)"}, mm.RankError, "no two subjects have when = "),
        ({"residual": "us(visit | one)"}, mm.DataError, "occurs more than once for one = x"),
        ({"residual": "ar1(visit | arm)"}, mm.DataError, "visit = 1 occurs more than once"),
        ({"residual": "cs(day)"}, mm.RankError, "every level of 'day' has one row"),
        ({"dispersion": "one"}, mm.DataError, "has one level"),
        ({"dispersion": "x"}, mm.RankError, "each different number is a level"),
        ({"dispersion": "sex"}, mm.DataError, "no column 'sex'"),
        ({"dispersion": 2}, mm.DataError, "dispersion must name a column"),
        (
            {"dispersion": "visit", "residual": "us(visit | id)"},
            mm.RankError,
            "cannot be told apart",
        ),
    ],
)
def test_a_residual_that_cannot_be_is_refused(data, options, error, message):
    with pytest.raises(error, match=message):
        mm.lmm("y ~ x", data, **options)


@pytest.mark.parametrize(
    ("term", "error", "message"),
    [
        ("ar1(0 + visit | id)", mm.DataError, r"write ar1\(0 \+ C\(visit\) \| id\)"),
        ("cs(1 | id)", mm.DataError, "one effect for each level"),
        ("homcs(1 + C(visit) | id)", mm.DataError, "not those"),
        ("homcs(0 + C(visit) | id)", mm.RankError, "cannot be told apart"),
        ("diag(0 + C(visit) | id)", mm.RankError, "cannot be told apart"),
        ("ar1(0 + C(visit) || id)", mm.FormulaError, "two structures at once"),
        ("ar1(0 + C(visit))", mm.FormulaError, "around a random term"),
    ],
)
def test_a_term_that_cannot_be_is_refused(data, term, error, message):
    with pytest.raises(error, match=message):
        mm.lmm(f"y ~ x + {term}", data)


def test_an_intercept_beside_compound_symmetry_cannot_be_told_apart(data):
    with pytest.raises(mm.RankError, match=r"\(1 \| id\) and residual='cs\(id\)'"):
        mm.lmm("y ~ x + (1 | id)", data, residual="cs(id)")


def test_more_parameters_than_data(data):
    few = data[data["id"].isin(["s0", "s1"])]
    with pytest.raises(mm.RankError, match="variances and correlations for 8 rows"):
        mm.lmm("y ~ 1", few, residual="us(visit | id)")
    with pytest.raises(mm.RankError, match=r"3 levels of 'id' cannot tell .* of 4 different"):
        mm.lmm("y ~ 1", data[data["id"].isin(["s0", "s1", "s2"])], residual="us(visit | id)")
    with pytest.raises(mm.RankError, match=r"no two subjects have visit = ., so that its"):
        mm.lmm("y ~ 1", data[data["id"] == "s0"], residual="us(visit | id)")


def test_rows_that_miss_a_time_are_left_out(data):
    data["visit"] = data["visit"].astype(float)
    data.loc[[3, 9], "visit"] = np.nan
    with pytest.warns(mm.DataWarning, match="2 row"):
        fit = mm.lmm("y ~ x", data, residual="ar1(visit | id)")
    assert fit.nobs == 30


def test_names_of_any_kind(data):
    odd = data.rename(columns={"visit": "visit no.", "id": "the id"})
    one = mm.lmm("y ~ x", odd, residual="ar1(`visit no.` | `the id`)")
    other = mm.lmm("y ~ x", data, residual="ar1(visit | id)")
    assert one.objective == pytest.approx(other.objective, rel=1e-12)


def test_levels_of_a_category_are_times_in_order(data):
    order = ["one", "two", "three", "four"]
    data["word"] = pd.Categorical(data["word"], order)
    one = mm.lmm("y ~ x", data, residual="ar1(word | id)")
    assert one.objective == pytest.approx(
        mm.lmm("y ~ x", data, residual="ar1(visit | id)").objective, rel=1e-12
    )
