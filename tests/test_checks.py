"""Checks of input: what passes unchanged, and what each message says."""

import numpy as np
import pandas as pd
import pytest

import mmlib as mm
from mmlib import checks


def test_a_usable_frame_is_returned_as_it_is():
    frame = pd.DataFrame({"y": [1.0, 2.0]})
    assert checks.require_frame(frame) is frame
    checks.require_columns(frame, ["y"])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([1, 2], "must be a pandas DataFrame, not list"),
        (pd.Series([1.0]), "must be a pandas DataFrame, not Series"),
        (pd.DataFrame(), "0 rows and 0 columns"),
        (pd.DataFrame({"y": []}), "0 rows and 1 columns"),
        (pd.DataFrame([[1, 2]], columns=["y", "y"]), "more than one column named y"),
    ],
)
def test_other_data_are_refused(data, message):
    with pytest.raises(mm.DataError, match=message):
        checks.require_frame(data)


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
