"""Frames of other libraries: the same fit as from pandas."""

import numpy as np
import pandas as pd
import pytest

import mmlib as mm
from mmlib.design.frames import converted_frame

SLEEP = "Reaction ~ Days + (Days | Subject)"


def columns():
    data = mm.load_dataset("sleepstudy")
    return {
        "Reaction": data["Reaction"].to_numpy(),
        "Days": data["Days"].to_numpy(),
        "Subject": data["Subject"].astype(str).to_numpy(dtype=object),
    }


def in_polars():
    return pytest.importorskip("polars").DataFrame(columns())


def in_arrow():
    return pytest.importorskip("pyarrow").table(columns())


@pytest.mark.parametrize("make", [columns, in_polars, in_arrow])
def test_the_fit_and_its_predictions_are_the_same(make, sleep_fit):
    data = make()
    fit = mm.lmm(SLEEP, data)
    np.testing.assert_array_equal(fit.theta, sleep_fit.theta)
    np.testing.assert_array_equal(fit.predict(data), sleep_fit.fitted)
    plan = mm.plan(SLEEP, data)
    np.testing.assert_array_equal(plan.X, fit.design.X)
    layout = mm.oneway("Reaction ~ Subject", data)
    assert layout.f == mm.oneway("Reaction ~ Subject", mm.load_dataset("sleepstudy")).f


def test_missing_values_stay_missing():
    polars = pytest.importorskip("polars")
    frame = in_polars().with_columns(
        Days=polars.when(polars.col("Days") == 3).then(None).otherwise(polars.col("Days"))
    )
    assert mm.build_design(SLEEP, frame).n_missing == 18


def test_an_enum_keeps_the_order_of_its_levels():
    polars = pytest.importorskip("polars")
    levels = ["high", "low", "mid"]
    frame = polars.DataFrame({"f": polars.Series(["low", "high"], dtype=polars.Enum(levels))})
    assert converted_frame(frame, "data")["f"].cat.categories.tolist() == levels


def test_what_is_no_table():
    with pytest.raises(mm.DataError, match="data is a dict that makes no table"):
        mm.lmm("y ~ x", {"y": [1.0], "x": [1.0, 2.0]})
    with pytest.raises(mm.DataError, match=r"must be a pandas DataFrame, not int; pass pandas"):
        mm.lmm("y ~ x", [1, 2])
    with pytest.raises(mm.DataError, match="not NoneType"):
        mm.lmm("y ~ x", None)
    lazy = pytest.importorskip("polars").LazyFrame(columns())
    with pytest.raises(mm.DataError, match=r"pass data\.collect\(\)"):
        mm.lmm(SLEEP, lazy)


def test_a_pandas_frame_is_not_copied():
    frame = pd.DataFrame({"a": [1.0]})
    assert mm.design.checks.require_frame(frame) is frame
