"""Variances that the data cannot tell apart are refused, whatever the terms are called."""

import numpy as np
import pandas as pd
import pytest
from scipy.linalg import block_diag

import mmlib as mm
from tests.helpers import oracle
from tests.helpers.dense import random_columns
from tests.helpers.structures import simulated


@pytest.fixture(scope="module")
def condition():
    data, _ = oracle.load_report("condition")
    data["one"] = 1.0
    data["who"] = "s" + data["subject"].astype(str)
    data["B"] = 1.0 * (data["cond"] == "B")
    data["notB"] = 1.0 - data["B"]
    data["row"] = np.arange(len(data))
    data["half"] = data["row"] % 2
    return data


@pytest.mark.parametrize(
    "random",
    [
        "(1 | subject) + (0 + cond | subject)",
        "(cond | subject) + (1 | subject:cond)",
        "(0 + cond | subject) + (1 | subject:cond)",
        "(cond | subject) + (1 | who)",
        "(1 | subject) + (1 | who)",
        "(1 | subject) + (0 + one | who)",
        "(1 + B | subject) + (0 + notB | subject)",
        "(0 + B | subject) + (0 + notB | subject) + (1 + B | subject)",
        "(0 + cond || subject) + (1 | subject:cond)",
        "(cond | subject) + (0 + B || subject)",
        "(1 | subject/cond) + (1 | who:cond)",
        "(cond * half | subject) + (cond | subject:half)",
    ],
)
@pytest.mark.parametrize("weights", [None, "w"])
def test_variance_that_could_be_moved_is_refused(condition, random, weights):
    data = condition.assign(w=1 + condition["row"] % 3)
    with pytest.raises(mm.RankError, match=r"cannot be told apart.*(leave out|keep)"):
        mm.lmm(f"rt ~ cond + {random}", data, weights=weights)


@pytest.mark.parametrize(
    "random",
    [
        "(0 + cond | subject)",
        "(cond | subject)",
        "(cond || subject)",
        "(0 + cond || subject)",
        "(1 | subject) + (1 | subject:cond)",
        "(1 | subject) + (0 + B | subject)",
        "(0 + B | subject) + (0 + notB | subject)",
        "(1 | subject/cond) + (1 | half:subject)",
    ],
)
def test_variances_that_can_be_told_apart_are_fitted(condition, random):
    assert mm.build_design(f"rt ~ cond + {random}", condition).terms


@pytest.mark.parametrize("random", ["(arm | subject)", "(site | subject)"])
def test_a_slope_of_what_is_the_same_in_every_row_of_a_level_is_refused(condition, random):
    """Var(b₀ + b₁x) of two groups says nothing of Var(b₀), Var(b₁) and Cov(b₀, b₁)."""
    data = condition.assign(arm=condition["subject"] % 2 * 1.0)
    data["site"] = data["arm"].map({0.0: "north", 1.0: "south"})
    with pytest.raises(mm.RankError, match=r"variances and covariances of Intercept, .*told apart"):
        mm.lmm(f"rt ~ cond + {random}", data)
    assert mm.build_design("rt ~ cond + (0 + site || subject)", data).terms


def test_one_row_for_each_cell_leaves_nothing_for_the_residual(condition):
    means = condition.groupby(["subject", "cond"], as_index=False)["rt"].mean()
    with pytest.raises(mm.RankError, match="cannot be told from the residual variance"):
        mm.build_design("rt ~ cond + (0 + cond || subject)", means)
    with pytest.raises(mm.RankError, match="cannot be told from the residual variance"):
        mm.build_design("rt ~ cond + (1 | subject:cond)", means)
    assert mm.build_design("rt ~ cond + (1 | subject)", means).terms


def test_two_bars_with_a_factor_as_users_of_afex_and_lme4_2_expect(condition):
    """R: (1 | subject) + (0 + B | subject) + (0 + C | subject), B and C columns of ~ cond."""
    _, r = oracle.load_report("condition")
    fit = mm.lmm("rt ~ cond + (cond || subject)", condition)
    np.testing.assert_allclose(fit.objective, r["reml"], rtol=1e-9)
    found = fit.varcorr().to_frame()
    np.testing.assert_allclose(found["sdcor"], r["sd"], rtol=1e-4)
    assert [str(term.part) for term in fit.design.terms] == [
        "(1 | subject)",
        "(0 + cond[T.B] | subject)",
        "(0 + cond[T.C] | subject)",
    ]
    np.testing.assert_allclose(fit.predict(condition.iloc[::7]), fit.fitted.iloc[::7])


def test_a_product_in_two_bars_is_coded_as_a_whole():
    design = mm.build_design("y ~ x * f + (x * f || g)", simulated(200))
    assert [term.columns[0] for term in design.terms] == list(design.fixed_names)
    np.testing.assert_array_equal(np.hstack([term.model_matrix for term in design.terms]), design.X)


@pytest.mark.parametrize("origin", [0, 1e3, 1e5])
@pytest.mark.parametrize("unit", [1e-6, 1, 1e6])
def test_origin_and_unit_make_nothing_unidentified(origin, unit):
    data = simulated(200)
    data["t"] = (data["x"] + origin) * unit
    assert mm.build_design("y ~ x + (t | g) + (1 | h)", data).terms
    with pytest.raises(mm.RankError, match="cannot be told apart"):
        mm.build_design("y ~ x + (t | g) + (1 | g)", data)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_refused_has_a_flat_likelihood_and_what_is_not_has_none(seed):
    """Move along the dependence that the refusal is about: V stays the same."""
    rng = np.random.default_rng(seed)
    data = pd.DataFrame({"g": np.repeat(range(8), 6), "f": np.tile(list("abc"), 16)})
    data["y"] = rng.normal(size=48)
    one = mm.build_design("y ~ 1 + (1 | g)", data).terms[0]
    cells = mm.build_design("y ~ 1 + (0 + f | g)", data).terms[0]
    Z1, Z3 = random_columns(one), random_columns(cells)
    C = np.cov(rng.normal(size=(3, 9)))
    moved = 0.3 * Z1 @ Z1.T + Z3 @ block_diag(*[C] * 8) @ Z3.T
    there = Z3 @ block_diag(*[C + 0.3] * 8) @ Z3.T
    np.testing.assert_allclose(moved, there, atol=1e-12)
    with pytest.raises(mm.RankError):
        mm.build_design("y ~ 1 + (1 | g) + (0 + f | g)", data)
