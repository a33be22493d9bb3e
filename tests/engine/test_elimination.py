"""What is eliminated in rounds, and that all that rests on it is what n×n matrices say."""

import numpy as np
import pandas as pd
import pytest

import mmlib as mm
from mmlib.arrays import meet
from mmlib.engine import elimination
from mmlib.engine.blocks import Blocks
from mmlib.engine.elimination import Plan, pairs_within
from mmlib.engine.factor import factorize
from mmlib.errors import DataError
from mmlib.inference.information import Information
from tests.helpers.dense import Dense, positions
from tests.helpers.elimination import take_all_in_rounds
from tests.helpers.fixed_theta import result_at

TIGHT = {"rtol": 1e-8, "atol": 1e-9}

FORMULAS = {
    "chain of three": "y ~ x + (1 | c) + (1 | b) + (1 | a)",
    "chain of three, slopes": "y ~ x + (1 + x | c) + (1 + x | b) + (1 + x | a)",
    "chain of four": "y ~ x + (1 | d) + (1 | c) + (1 + z | b) + (1 | a)",
    "chain with a gap": "y ~ x + (1 | d) + (0 + x | b)",
    "partly crossed": "y ~ x + (1 | m) + (1 + x | b) + (1 | a)",
    "crossed beside a chain": "y ~ x + (1 | d) + (1 | b) + (1 | e)",
}
each_formula = pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)


def chains(seed=5, n=70):
    """Rows of d in c in b in a, unequal and with cells left out; m is b but for a few movers."""
    rng = np.random.default_rng(seed)
    d = np.sort(np.append(np.arange(24), rng.integers(0, 24, n - 24)))
    c, b, a = d // 2, d // 4, d // 12
    m = np.where(rng.uniform(size=n) < 0.1, rng.integers(0, 12, n), c)
    x, z, w = rng.normal(size=n), rng.normal(size=n), rng.uniform(0.5, 2, n)
    y = x + rng.normal(size=24)[d] + rng.normal(size=12)[c] + rng.normal(size=n)
    columns = {"d": d, "c": c, "b": b, "a": a, "m": m, "e": rng.integers(0, 3, n)}
    data = pd.DataFrame({**columns, "x": x, "z": z, "w": w, "y": y})
    return data.sample(frac=1, random_state=1, ignore_index=True)


@pytest.fixture(params=["rounds and tail", "rounds only"])
def plan_of_large_designs(request, monkeypatch):
    take_all_in_rounds(monkeypatch)
    if request.param == "rounds and tail":
        monkeypatch.setattr(elimination, "FEW", 5)


def prepared(formula):
    design = mm.build_design(formula, chains(), weights="w")
    blocks = Blocks(design)
    assert blocks.plan.rounds
    size = blocks.n_entries
    theta = np.random.default_rng(3).uniform(0.3, 1.2, size)
    return design, blocks, theta


@pytest.mark.usefixtures("plan_of_large_designs")
@each_formula
@pytest.mark.parametrize("reml", [True, False])
def test_objective_and_gradient_are_those_of_brute_force(formula, reml):
    design, blocks, theta = prepared(formula)
    objective = mm.Objective(blocks, reml=reml)
    value, gradient = objective.value_and_gradient(theta)
    np.testing.assert_allclose(value, Dense.at(design, theta).objective(reml=reml), rtol=1e-11)
    steps = 1e-5 * np.eye(len(theta))
    wanted = [(objective(theta + h) - objective(theta - h)) / 2e-5 for h in steps]
    np.testing.assert_allclose(gradient, wanted, rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("size", [1e2, 1e3])
def test_large_singular_covariances_cost_few_digits(size, monkeypatch):
    data = chains()
    data["x"] += 5
    design = mm.build_design(FORMULAS["chain of three, slopes"], data)
    theta = size * np.array([1, -0.3, 0, 1, 0.5, 0, 1, 0.2, 0])
    dense = mm.Objective(design).value_and_gradient(theta)
    take_all_in_rounds(monkeypatch)
    blocks = Blocks(design)
    assert blocks.plan.rounds
    rounds = mm.Objective(blocks).value_and_gradient(theta)
    np.testing.assert_allclose(rounds[0], dense[0], rtol=1e-9)
    np.testing.assert_allclose(rounds[1], dense[1], rtol=1e-4, atol=1e-4 / size)


@pytest.mark.usefixtures("plan_of_large_designs")
@each_formula
def test_effects_and_their_variances_are_those_of_brute_force(formula):
    design, blocks, theta = prepared(formula)
    dense, factor, place = Dense.at(design, theta), factorize(blocks, theta), positions(design)
    modes = factor.modes()
    np.testing.assert_allclose(
        np.linalg.solve(blocks.R, blocks.ols + modes.beta), dense.beta, **TIGHT
    )
    for beta_estimated in (True, False):
        found = factor.conditional_variances(beta_estimated=beta_estimated)
        wanted = dense.variance_of_b(beta_estimated=beta_estimated)
        for grouping, b, variance in zip(blocks.groupings, modes.b, found, strict=True):
            at = place[grouping.name]
            np.testing.assert_allclose(b, dense.b()[at], **TIGHT)
            np.testing.assert_allclose(variance, wanted[at[:, :, None], at[:, None, :]], **TIGHT)


@each_formula
def test_inference_predictions_and_influence_do_not_notice(formula, monkeypatch):
    data = chains()
    usual = mm.lmm(formula, data, weights="w")
    assert not usual.blocks.plan.rounds
    take_all_in_rounds(monkeypatch)
    fit = result_at(usual.design, usual.theta)
    assert fit.blocks.plan.rounds
    one, two = Information(fit), Information(usual)
    for left, right in zip(
        (*one.traces, one.slope_products), (*two.traces, two.slope_products), strict=True
    ):
        np.testing.assert_allclose(left, right, rtol=1e-7, atol=1e-9 * np.abs(right).max())
    np.testing.assert_allclose(fit.leverage(), usual.leverage(), rtol=1e-8)
    for group in (None, "b", "e"):
        if group is None or group in usual.design.frame:
            one, two = fit.influence(group=group), usual.influence(group=group)
            np.testing.assert_allclose(one.to_frame(), two.to_frame(), rtol=1e-6, atol=1e-9)
    new = data.assign(**{name: np.roll(data[name], 1) for name in "dcbame"})  # unseen together
    one, two = (each.predict(new, interval="prediction") for each in (fit, usual))
    np.testing.assert_allclose(one, two, rtol=1e-8)


def test_a_chain_has_one_round_for_each_grouping_and_no_tail(monkeypatch):
    """Nothing fills in: the numbers kept are those of the design's own meetings."""
    monkeypatch.setattr(elimination, "FEW", 0)
    n = 4000
    d = np.arange(n) // 2
    data = pd.DataFrame({"d": d, "c": d // 4, "b": d // 16, "a": d // 112})
    data["y"] = np.random.default_rng(1).normal(size=n)
    blocks = Blocks(mm.build_design("y ~ 1 + (1 | d) + (1 | c) + (1 | b) + (1 | a)", data))
    plan, sizes = blocks.plan, [g.n_levels for g in blocks.groupings]
    assert [each.n for each in plan.rounds] == sizes[1:]
    assert [len(each.level) for each in plan.rounds] == [2 * sizes[1], sizes[2], 0]
    assert plan.m_tail == 2
    assert plan.size < 6 * sum(sizes[1:])
    assert "dense" not in blocks.structure().splitlines()[2]


def test_movers_fill_in_little_and_the_crossed_rest_is_dense():
    rng = np.random.default_rng(2)
    student = np.repeat(np.arange(6000), 2)
    school = student // 15
    moved = rng.uniform(size=len(school)) < 0.01
    school[moved] = rng.integers(0, 400, moved.sum())
    data = pd.DataFrame({"y": rng.normal(size=len(school)), "student": student, "school": school})
    plan = Blocks(mm.build_design("y ~ 1 + (1 | student) + (1 | school)", data)).plan
    assert plan.rounds
    assert plan.size < 0.25 * 400**2
    data["student"], data["school"] = student // 6, rng.integers(0, 400, len(school))
    plan = Blocks(mm.build_design("y ~ 1 + (1 | student) + (1 | school)", data)).plan
    assert not plan.rounds
    assert plan.size == (400 + 2) ** 2


def test_a_tail_that_does_not_fit_is_refused_with_its_size(monkeypatch):
    monkeypatch.setattr(elimination, "free_memory", lambda: 1e5)
    rng = np.random.default_rng(1)
    g, h = rng.integers(0, 60, (2, 900))
    data = pd.DataFrame({"y": rng.normal(size=900), "g": g, "h": h % 55})
    with pytest.raises(DataError, match=r"'h' meet .*55 effects.*0\.0 GB of memory"):
        mm.lmm("y ~ 1 + (1 | g) + (1 | h)", data)


def test_free_memory_is_a_number():
    assert elimination.free_memory() > 2**20


def test_meetings_are_sums_of_products_over_shared_rows():
    design = mm.build_design("y ~ 1 + (1 + x | m) + (1 + z | e)", chains())
    one, other = Blocks(design).groupings
    left, right = one.model_matrix, other.model_matrix
    met = meet((one.codes, one.n_levels), left, (other.codes, other.n_levels), right)
    for level, second, block in zip(met.level, met.other, met.blocks, strict=True):
        rows = (one.codes == level) & (other.codes == second)
        np.testing.assert_allclose(block, left[rows].T @ right[rows], atol=1e-12)
    assert len(met.level) == len({*zip(one.codes.tolist(), other.codes.tolist(), strict=True)})


def test_pairs_within_are_all_pairs_of_a_group():
    one, two = pairs_within(np.array([2, 0, 1]))
    assert list(zip(one.tolist(), two.tolist(), strict=True)) == [(0, 0), (0, 1), (1, 1), (2, 2)]


def test_no_grouping_has_a_plan_of_x_and_y_alone():
    plan = Plan([], [], 3)
    assert (plan.q, plan.m_tail, plan.size, plan.rounds) == (0, 3, 9, ())
