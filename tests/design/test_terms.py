"""One random term: levels, codes, Z, and how θ fills its template."""

import numpy as np
import pandas as pd
import pytest

import mmlib as mm
from mmlib.arrays import lower_triangle
from mmlib.design.terms import group_codes, n_theta, templates
from tests.helpers.dense import random_columns
from tests.helpers.structures import STRUCTURES, simulated


def term_of(formula, data=None, number=0):
    return mm.build_design(formula, simulated() if data is None else data).terms[number]


@pytest.mark.parametrize("name", STRUCTURES)
def test_sparse_matrix_is_the_dense_one(name):
    for term in STRUCTURES[name].design().terms:
        assert term.Z.nnz == term.model_matrix.size
        np.testing.assert_array_equal(term.Z.toarray(), random_columns(term))


def test_levels_are_in_the_order_of_the_categories():
    data = simulated()
    assert term_of("y ~ (1 | g)").levels.tolist() == list("abcdef")
    turned = data.assign(g=pd.Categorical(data["g"], [*"fedcba"]))
    assert term_of("y ~ (1 | g)", turned).levels.tolist() == list("fedcba")
    numbered = data.assign(g=data["g"].map(dict(zip("abcdef", [10, 9, 2, 30, 4, 1], strict=True))))
    assert term_of("y ~ (1 | g)", numbered).levels.tolist() == [1, 2, 4, 9, 10, 30]


def test_combinations_that_do_not_occur_are_no_levels():
    data = simulated()
    data = data[(data["g"] != "a") | (data["m"] != "first")]
    term = term_of("y ~ (1 | g:m)", data)
    assert term.levels.names == ["g", "m"]
    assert ("a", "first") not in term.levels
    assert term.n_levels == data.groupby(["g", "m"]).ngroups == 11
    labels = [f"{g}-{m}" for g, m in zip(data["g"], data["m"], strict=True)]
    assert ["-".join(term.levels[code]) for code in term.codes] == labels


def test_many_factors_may_be_combined():
    """Codes of combinations must not overflow: 10⁴ levels in each of four factors."""
    rng = np.random.default_rng(0)
    data = pd.DataFrame(rng.integers(0, 10**4, (500, 4)), columns=list("abcd"))
    data = pd.concat([data, data])
    codes, levels = group_codes(data, list("abcd"))
    assert len(levels) == 500
    np.testing.assert_array_equal(codes[:500], codes[500:])


@pytest.mark.parametrize("size", [1, 2, 4])
def test_theta_fills_the_lower_triangle_column_by_column(size):
    row, column = lower_triangle(size)
    wanted = [(i, j) for j in range(size) for i in range(j, size)]
    assert list(zip(row.tolist(), column.tolist(), strict=True)) == wanted


def test_templates_take_theta_term_after_term():
    design = STRUCTURES["crossed vectors"].design()
    one, two = templates(design.terms, np.arange(1.0, 7.0))
    np.testing.assert_array_equal(one, [[1, 0], [2, 3]])
    np.testing.assert_array_equal(two, [[4, 0], [5, 6]])
    assert [n_theta(term) for term in design.terms] == [3, 3]
    assert templates([], np.zeros(0)) == []


@pytest.mark.parametrize("formula", ["y ~ (x | g)", "y ~ (f | g:m)", "y ~ (scale(x) | h)"])
def test_locate_finds_the_rows_it_was_made_of(formula):
    data = simulated()
    term = term_of(formula)
    np.testing.assert_array_equal(term.locate(data.iloc[::-1]), term.codes[::-1])


def test_locate_marks_what_it_does_not_know():
    data = simulated().iloc[:3]
    term = term_of("y ~ (1 | g:h)")
    assert term.locate(data.assign(h=["h1", "elsewhere", None])).tolist()[1:] == [-1, -1]


def test_names_of_a_term():
    term = term_of("y ~ (1 + f | g:m)")
    assert term.group == "g:m"
    assert term.columns == ("Intercept", "f[T.low]", "f[T.mid]")
    assert (term.n_levels, term.width) == (12, 3)
