"""Coefficients of contrasts."""

import numpy as np
import pytest

from mmlib.errors import DataError
from mmlib.inference.contrasts import FAMILIES, coefficients


@pytest.mark.parametrize("how", FAMILIES)
@pytest.mark.parametrize("k", [2, 5, 9])
def test_every_family_sums_to_zero(how, k):
    names = list("abcdefghi")[:k]
    for row in coefficients(how, names).values():
        assert row.sum() == pytest.approx(0, abs=1e-12)


def test_polynomials_are_those_of_the_tables():
    """Pearson and Hartley's table of orthogonal polynomials."""
    five = coefficients("polynomial", list("abcde"))
    assert {name: row.astype(int).tolist() for name, row in five.items()} == {
        "linear": [-2, -1, 0, 1, 2],
        "quadratic": [2, -1, -2, -1, 2],
        "cubic": [-1, 2, 0, -2, 1],
        "quartic": [1, -4, 6, -4, 1],
    }
    eight = coefficients("polynomial", list("abcdefgh"))
    assert list(eight)[-1] == "degree 6"
    assert eight["degree 6"].tolist() == [1, -5, 9, -5, -5, 9, -5, 1]
    rows = np.array(list(eight.values()))
    np.testing.assert_allclose(rows @ rows.T, np.diag(np.diag(rows @ rows.T)))


def test_names_of_contrasts():
    assert list(coefficients("pairwise", list("abc"))) == ["a - b", "a - c", "b - c"]
    assert list(coefficients("consecutive", list("abc"))) == ["b - a", "c - b"]
    assert list(coefficients("deviation", list("ab"))) == ["a effect", "b effect"]
    assert list(coefficients("pairwise", ["a", "b-1"], sign="/")) == ["a / (b-1)"]


def test_one_mean_has_nothing_to_be_compared_with():
    with pytest.raises(DataError, match="only 'a'"):
        coefficients("pairwise", ["a"])
    assert coefficients({"itself": [2]}, ["a"])["itself"].tolist() == [2]


def test_two_means_of_one_name_are_refused():
    """Their contrasts would have one name, and one of them would be lost."""
    with pytest.raises(DataError, match="called 'a'"):
        coefficients("pairwise", ["a", "b", "a"])
