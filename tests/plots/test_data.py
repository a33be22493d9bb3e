"""Figures of data, by what they draw."""

import numpy as np
import pandas as pd
import pytest

import mmlib as mm
from mmlib import plots
from tests.helpers.figures import legend_texts, lines, tick_labels


def test_group_means_draws_every_observation():
    data = mm.load_dataset("pulp").sample(frac=1, random_state=2)
    ax = plots.group_means(data, "bright", "operator", unit="units of the meter")
    for place, (_, rows) in enumerate(data.groupby("operator", observed=True)["bright"]):
        line = ax.get_lines()[place]
        np.testing.assert_array_equal(line.get_ydata(), rows)
        assert (np.abs(line.get_xdata() - place) < 0.4).all()
        points = set(zip(*line.get_data(), strict=True))
        assert len(points) == len(rows)  # equal values are seen side by side
    means = [bar[0] for bar in ax.collections[0].get_segments()]
    np.testing.assert_allclose([y for _, y in means], [60.24, 60.06, 60.62, 60.68])
    np.testing.assert_allclose(lines(ax)["mean of all"].get_ydata(), data["bright"].mean())
    assert tick_labels(ax.xaxis) == list("abcd")
    assert ax.get_ylabel() == "bright (units of the meter)"
    assert legend_texts(ax) == ["mean by operator", "mean of all"]


def test_group_means_of_many_groups_use_one_marker():
    ax = plots.group_means(mm.load_dataset("sleepstudy"), "Reaction", "Subject")
    drawn = [line for line in ax.get_lines() if line.get_linestyle() == "None"]
    assert len(drawn) == 18
    assert {line.get_marker() for line in drawn} == {"o"}


def test_group_lines_draws_cell_means_and_their_mean():
    data = mm.load_dataset("penicillin")
    twice = pd.concat([data, data.assign(**{"yield": data["yield"] + 2})])
    ax = plots.group_lines(twice, "yield", "blend", "treat")
    cells = data.pivot(index="blend", columns="treat", values="yield") + 1
    *each, mean = ax.get_lines()
    assert tick_labels(ax.xaxis) == list("ABCD")
    for (blend, cell), line in zip(cells.iterrows(), each, strict=True):
        np.testing.assert_allclose(line.get_ydata(), cell)
        [name] = [text for text in ax.texts if text.get_text() == blend]
        assert name.xy == (3, cell.iloc[-1])
    np.testing.assert_allclose(mean.get_ydata(), [85, 86, 90, 87])
    assert legend_texts(ax) == ["mean"]


def test_group_lines_of_many_groups_are_grey_and_numbers_to_scale():
    data = mm.load_dataset("orthodont")
    ax = plots.group_lines(data, "distance", "Subject", "age", mean=False)
    assert len(ax.get_lines()) == data["Subject"].nunique()
    assert {line.get_color() for line in ax.get_lines()} == {"0.6"}
    assert not ax.texts
    np.testing.assert_array_equal(ax.get_lines()[0].get_xdata(), [8, 10, 12, 14])


def test_group_lines_that_end_together_share_a_name():
    data = pd.DataFrame({"y": [1.0, 3, 2, 3, 0, 1], "g": list("aabbcc"), "x": [1, 2] * 3})
    texts = plots.group_lines(data, "y", "g", "x").texts
    assert {text.get_text(): text.xy for text in texts} == {"a, b": (2, 3), "c": (2, 1)}


def test_group_lines_leaves_empty_cells_open():
    data = mm.load_dataset("penicillin").iloc[1:]
    ax = plots.group_lines(data, "yield", "blend", "treat")
    assert np.isnan(ax.get_lines()[0].get_ydata()[0])


def pulp_with(**columns):
    return mm.load_dataset("pulp").assign(**columns)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.group_means([1], "a", "b"), "must be a pandas DataFrame"),
        (lambda: plots.group_means(pulp_with(), "brite", "operator"), "Did you mean 'bright'"),
        (lambda: plots.group_means(pulp_with(), "bright", "shift"), "no column 'shift'"),
        (lambda: plots.group_means(pulp_with(), "operator", "operator"), "must be real numbers"),
        (
            lambda: plots.group_means(pulp_with(bright=np.nan), "bright", "operator"),
            "'bright' has missing values",
        ),
        (
            lambda: plots.group_lines(pulp_with(operator=None), "bright", "operator", "operator"),
            "'operator' has missing values",
        ),
    ],
)
def test_bad_data(call, message):
    with pytest.raises(mm.DataError, match=message):
        call()
