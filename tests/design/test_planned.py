"""Designs without a response, and designs of another size."""

import numpy as np
import pandas as pd
import pytest

import mmlib as mm
from mmlib.design.planned import everything
from tests.helpers.structures import STRUCTURES, simulated


def arms(clusters="abcdefghij", size=4):
    n = len(clusters)
    return pd.DataFrame(
        {"cl": np.repeat(list(clusters), size), "arm": np.repeat([0, 1], n * size // 2)}
    )


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_plan_is_the_design_without_its_response(name):
    structure = STRUCTURES[name]
    planned = mm.plan(
        structure.formula,
        simulated().drop(columns="y"),
        weights=structure.weights,
        offset=structure.offset,
    )
    measured = structure.design()
    np.testing.assert_array_equal(planned.X, measured.X)
    assert planned.fixed_names == measured.fixed_names
    for one, two in zip(planned.terms, measured.terms, strict=True):
        np.testing.assert_array_equal(one.codes, two.codes)
    assert str(planned.formula) == structure.formula
    assert list(planned.frame.columns) == [c for c in measured.frame.columns if c != "y"]


def test_a_response_that_is_there_is_not_used():
    frame = simulated().assign(y=np.nan)
    assert mm.plan("log(y) ~ x + (1 | g)", frame).n == len(frame)


def test_a_missing_column_is_not_the_noise_that_stands_for_the_response():
    with pytest.raises(mm.DataError, match="no column 'response'"):
        mm.plan("y ~ arm + response + (1 | cl)", arms())
    for asked, options in (("armm", {}), ("arm", {"weights": "w"}), ("arm", {"offset": "w"})):
        with pytest.raises(mm.DataError, match=r"frame has no .* Its columns are cl, arm\.$"):
            mm.plan(f"y ~ {asked} + (1 | cl)", arms(), **options)


@pytest.mark.parametrize(("n", "treated"), [(6, 3), (8, 4), (10, 5), (20, 10), (14, 7)])
def test_levels_stay_balanced(n, treated):
    design = mm.plan("y ~ arm + (1 | cl)", arms())
    other = everything(design).with_levels(design, "cl", n).apply(design)
    assert (other.terms[0].n_levels, other.n) == (n, 4 * n)
    np.testing.assert_array_equal(np.bincount(other.terms[0].codes), 4)
    assert other.X[:, 1].sum() == 4 * treated


def test_what_is_nested_is_multiplied_and_what_is_crossed_is_not():
    design = mm.plan("y ~ x + (1 | g/m) + (1 | h)", simulated())
    other = everything(design).with_levels(design, "g", 12).apply(design)
    sizes = {term.group: term.n_levels for term in design.terms}
    doubled = {term.group: term.n_levels for term in other.terms}
    assert doubled == {"g:m": 2 * sizes["g:m"], "g": 12, "h": sizes["h"]}


def test_unique_labels_of_nested_groups_are_new_in_a_copy():
    data = simulated().assign(gm=lambda d: d["g"] + d["m"])
    design = mm.plan("y ~ x + (1 | g) + (1 | gm)", data)
    other = everything(design).with_levels(design, "g", 12).apply(design)
    before, after = ({t.group: t.n_levels for t in d.terms} for d in (design, other))
    assert after == {group: 2 * n for group, n in before.items()}


@pytest.mark.parametrize("n", [2, 4, 7])
def test_rows_per_level(n):
    design = mm.plan("y ~ arm + (1 | cl)", arms())
    selection = everything(design).with_levels(design, "cl", 12)
    other = selection.with_rows_per(design, "cl", n).apply(design)
    np.testing.assert_array_equal(np.bincount(other.terms[0].codes), [n] * 12)


def test_weights_and_offset_go_with_their_rows():
    structure = STRUCTURES["everything"]
    design = structure.design()
    other = everything(design).with_levels(design, "g", 12).apply(design)
    assert other.n == 2 * design.n
    np.testing.assert_allclose(np.sort(other.weights), np.sort(np.tile(design.weights, 2)))
    np.testing.assert_allclose(np.sort(other.offset), np.sort(np.tile(design.offset, 2)))


def test_too_small_a_design():
    design = mm.plan("y ~ arm + (1 | cl)", arms())
    with pytest.raises(mm.DataError, match="at least 2"):
        everything(design).with_levels(design, "cl", 1)
    with pytest.raises(mm.RankError, match="told from the residual"):
        everything(design).with_rows_per(design, "cl", 1).apply(design)
    slope = mm.plan("y ~ x + f + (1 | g)", simulated())
    with pytest.raises(mm.RankError, match="too few for the 4 fixed effects"):
        everything(slope).with_levels(slope, "g", 2).with_rows_per(slope, "g", 2).apply(slope)
