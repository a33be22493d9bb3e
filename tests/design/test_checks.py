"""Checks of input: what passes unchanged, and what each message says."""

import numpy as np
import pandas as pd
import pytest

import mmlib as mm
from mmlib.design import checks


def test_a_usable_frame_is_returned_as_it_is():
    frame = pd.DataFrame({"y": [1.0, 2.0]})
    assert checks.require_frame(frame) is frame
    checks.require_columns(frame, ["y"])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([1, 2], "must be a pandas DataFrame, not list"),
        (pd.Series([1.0]), "must be a pandas DataFrame, not pandas.Series"),
        (pd.DataFrame(), "0 rows and 0 columns"),
        (pd.DataFrame({"y": []}), "0 rows and 1 columns"),
        (pd.DataFrame([[1, 2]], columns=["y", "y"]), "more than one column named y"),
    ],
)
def test_other_data_are_refused(data, message):
    with pytest.raises(mm.DataError, match=message):
        checks.require_frame(data)


def test_a_frame_of_another_library_is_named_with_the_way_out():
    class DataFrame:
        def to_pandas(self):
            """Polars and Arrow have it."""

    with pytest.raises(mm.DataError, match=r"not tests\.DataFrame; pass data\.to_pandas\(\)"):
        checks.require_frame(DataFrame())


def test_a_column_that_is_there_under_another_guise_is_found():
    frame = pd.DataFrame({"y": [1.0], 5: [2.0]}, index=pd.Index(["a"], name="g"))
    with pytest.raises(mm.DataError, match=r"'g'. It is in the index: pass new.reset_index\(\)"):
        checks.require_columns(frame, ["g"], "new")
    with pytest.raises(mm.DataError, match=r"'5'\. A column's name must be text"):
        checks.require_columns(frame, ["5"])


@pytest.mark.parametrize("value", ["Wald", True, 1.0, None, ["wald"], np.ones(2)])
def test_what_is_no_choice_is_refused(value):
    checks.require_choice("method", "wald", ("wald", 1))
    with pytest.raises(mm.DataError, match="method must be 'wald', 'boot' or 1, not"):
        checks.require_choice("method", value, ("wald", "boot", 1))


@pytest.mark.parametrize("rng", ["a", -1, 1.5, [-1]])
def test_what_is_no_generator_is_refused(rng):
    with pytest.raises(mm.DataError, match="rng must be a numpy Generator"):
        checks.as_generator(rng)


def test_a_seed_a_generator_and_nothing_are_generators():
    rng = np.random.default_rng(3)
    assert checks.as_generator(rng) is rng
    assert checks.as_generator(3).random() == rng.random()
    assert isinstance(checks.as_generator(None), np.random.Generator)


def test_a_series_must_have_the_index_of_its_rows():
    index = pd.Index(["a", "b"])
    checks.require_own_rows("y", pd.Series([1, 2], index=index), index)
    checks.require_own_rows("y", [1, 2], index)
    for other in (pd.Series([1, 2]), pd.Series([1, 2], index=index[::-1])):
        with pytest.raises(mm.DataError, match=r"y is a Series whose .*pass \.to_numpy\(\)"):
            checks.require_own_rows("y", other, index)


@pytest.mark.parametrize(
    "use",
    [
        lambda other, fit: mm.lrt(other, fit),
        lambda other, fit: mm.lrt(fit, other),
        lambda other, fit: mm.parametric_bootstrap(fit, other),
        lambda other, _: mm.bootstrap(other, len),
        lambda other, fit: mm.exact_lrt(fit, other),
        lambda other, _: mm.exact_rlrt(other),
        lambda other, _: mm.kenward_roger(other, "x"),
        lambda other, _: mm.satterthwaite(other, "x"),
        lambda other, _: mm.profile(other),
        lambda other, _: mm.plots.caterpillar(other),
    ],
)
def test_what_is_no_fit_is_refused(pulp_fit, use):
    with pytest.raises(mm.DataError, match=r"a fit is needed, .* not 'bright ~ 1'"):
        use("bright ~ 1", pulp_fit)


def test_the_first_unknown_column_is_named_with_its_neighbours():
    frame = pd.DataFrame({"Reaction": [1.0], "Days": [2], 3: [4]})
    with pytest.raises(mm.DataError, match=r"'reaktion'. Did you mean 'Reaction'\?.*Days, 3"):
        checks.require_columns(frame, ["Days", "reaktion", "other"])


@pytest.mark.parametrize(
    ("name", "known", "sentence"),
    [
        ("operatr", ["bright", "operator"], " Did you mean 'operator'?"),
        ("PULP", ["pulp", "rail"], " Did you mean 'pulp'?"),
        ("oats", ["oat", "oast"], " Did you mean 'oat' or 'oast'?"),
        ("zzz", ["pulp"], ""),
        ("pulp", [], ""),
    ],
)
def test_similar_names_are_offered(name, known, sentence):
    assert checks.did_you_mean(name, known) == sentence


@pytest.mark.parametrize(
    "values", [[1, 2], [1.5, 2.0], pd.array([1, 2], dtype="Int64"), np.array([1, 2], dtype="u1")]
)
def test_numbers_of_any_type_become_floats(values):
    response = checks.as_response(pd.Series(values, name="y"))
    assert response.dtype == float
    assert response.tolist() == [float(value) for value in values]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["1", "2"], "'y' must be numeric"),
        ([True, False], "'y' must be numeric, but its type is bool"),
        ([1j, 2j], "'y' must be numeric, but its type is complex"),
        (pd.Categorical([1, 2]), "'y' must be numeric, but its type is category"),
        (pd.to_datetime(["2020-01-01", "2020-01-02"]), "'y' must be numeric"),
        ([1.0, -np.inf], "1 infinite or missing"),
        ([1.0, np.nan], "1 infinite or missing"),
        (pd.array([1, None], dtype="Int64"), "1 infinite or missing"),
        ([7, 7, 7], r"'y' is constant \(7 in every row\)"),
        (np.array([]), "'y' has no value left"),
    ],
)
def test_what_is_no_response_is_refused(values, message):
    with pytest.raises(mm.DataError, match=message):
        checks.as_response(pd.Series(values, name="y"))
