"""The blocked Cholesky factor and its back-solves against n×n matrices."""

import numpy as np
import pytest

from mmlib.engine import crossblock
from mmlib.engine.blocks import Blocks
from mmlib.engine.factor import factorize
from mmlib.engine.objective import Objective
from tests.helpers.dense import Dense, positions
from tests.helpers.elimination import take_all_in_rounds
from tests.helpers.structures import POINTS, STRUCTURES, simulated, thetas

WITH_CROSSING = [name for name, s in STRUCTURES.items() if Blocks(s.design()).cross is not None]
TIGHT = {"rtol": 1e-9, "atol": 1e-11}

STRATEGIES = ("stored", "dense", "rounds")
# Where nothing is crossed, there is nothing to store.
at_every_point = pytest.mark.parametrize(
    ("name", "kind", "strategy"),
    [
        (*point, way)
        for point in POINTS
        for way in STRATEGIES
        if way == "stored" or point[0] in WITH_CROSSING
    ],
    indirect=["strategy"],
)
either_way = pytest.mark.parametrize("strategy", STRATEGIES, indirect=True)


@pytest.fixture
def strategy(request, monkeypatch):
    """Eliminate the first grouping by stored products, or by dense ones, or all in rounds."""
    if request.param == "dense":
        monkeypatch.setattr(crossblock, "MAX_PAIRS", 0)
    if request.param == "rounds":
        take_all_in_rounds(monkeypatch)
    return request.param


def prepare(name, kind):
    design = STRUCTURES[name].design()
    theta = thetas(STRUCTURES[name])[kind]
    return design, Blocks(design), theta, Dense.at(design, theta)


def squares(blocks, theta):
    """Return the penalized residual sum of squares."""
    return factorize(blocks, theta).rss


@pytest.mark.usefixtures("strategy")
@at_every_point
def test_determinants_and_squares_are_those_of_brute_force(name, kind):
    _, blocks, theta, dense = prepare(name, kind)
    factor = factorize(blocks, theta)
    log_det_V = factor.log_det_Z + blocks.whiten.log_det
    np.testing.assert_allclose(log_det_V, np.linalg.slogdet(dense.V)[1], **TIGHT)
    log_det_X = factor.log_det_X + 2 * blocks.log_det_R
    np.testing.assert_allclose(log_det_X, np.linalg.slogdet(dense.information)[1], **TIGHT)
    np.testing.assert_allclose(factor.rss, dense.dof(reml=False) * dense.variance(reml=False))


@pytest.mark.usefixtures("strategy")
@at_every_point
def test_modes_are_gls_and_blup(name, kind):
    design, blocks, theta, dense = prepare(name, kind)
    modes = factorize(blocks, theta).modes()
    beta = np.linalg.solve(blocks.R, blocks.ols + modes.beta)
    np.testing.assert_allclose(beta, dense.beta, **TIGHT)
    place = positions(design)
    assert {grouping.name for grouping in blocks.groupings} == set(place)
    for grouping, b in zip(blocks.groupings, modes.b, strict=True):
        np.testing.assert_allclose(b, dense.b()[place[grouping.name]], **TIGHT)


@pytest.mark.usefixtures("strategy")
@pytest.mark.parametrize("beta_estimated", [False, True])
@at_every_point
def test_variances_of_the_random_effects_are_those_of_brute_force(name, kind, beta_estimated):
    design, blocks, theta, dense = prepare(name, kind)
    found = factorize(blocks, theta).conditional_variances(beta_estimated=beta_estimated)
    wanted = dense.variance_of_b(beta_estimated=beta_estimated)
    place = positions(design)
    assert len(found) == len(place)
    for grouping, variance in zip(blocks.groupings, found, strict=True):
        where = place[grouping.name]
        np.testing.assert_allclose(variance, wanted[where[:, :, None], where[:, None, :]], **TIGHT)


@pytest.mark.usefixtures("strategy")
@either_way
@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("name", WITH_CROSSING)
def test_every_strategy_gives_the_same_gradient(name, reml, strategy, monkeypatch):
    design, blocks, theta, _ = prepare(name, "inside")
    assert (blocks.cross._products is None) == (strategy == "dense")
    assert bool(blocks.plan.rounds) == (strategy == "rounds")
    assert bool(blocks.plan.q_tail) == (strategy != "rounds")
    monkeypatch.undo()
    usual = Objective(design, reml=reml).value_and_gradient(theta)[1]
    found = Objective(blocks, reml=reml).value_and_gradient(theta)[1]
    np.testing.assert_allclose(found, usual, **TIGHT)


@pytest.mark.usefixtures("strategy")
@pytest.mark.parametrize("strategy", ["stored", "dense"], indirect=True)
@pytest.mark.parametrize("name", WITH_CROSSING)
def test_elimination_adds_up_over_the_levels(name):
    cross = Blocks(STRUCTURES[name].design()).cross
    A = cross.matrix.toarray().reshape(cross.n_levels, cross.width, cross.q)
    rng = np.random.default_rng(3)
    W = rng.normal(size=(cross.n_levels, cross.width, cross.width))
    W = W + W.transpose(0, 2, 1)
    K = rng.normal(size=(cross.q, cross.q))
    K = K + K.T
    columns = rng.normal(size=(cross.q, 2))
    flat = np.zeros(cross.plan.size)
    cross.add_gram(flat, W)
    gram = np.triu(cross.plan.tail(flat)[: cross.q, : cross.q])
    wanted = sum(a.T @ w @ a for a, w in zip(A, W, strict=True))
    np.testing.assert_allclose(gram, np.triu(wanted), atol=1e-12)
    cross.plan.tail(flat)[: cross.q, : cross.q] = K
    np.testing.assert_allclose(cross.gram_adjoint(flat), [a @ K @ a.T for a in A])
    np.testing.assert_allclose(cross.lift(columns), A @ columns)
    np.testing.assert_allclose(
        cross.project(W), sum(a.T @ w for a, w in zip(A, W, strict=True)), atol=1e-12
    )


@pytest.mark.parametrize("name", STRUCTURES)
def test_another_response_is_another_design(name):
    data = simulated()
    other = data.assign(y=data["z"] * 3 + data["y"] ** 2)
    structure = STRUCTURES[name]
    blocks, wanted = Blocks(structure.on(data)), Blocks(structure.on(other))
    before = blocks.within.copy()
    found = blocks.with_response(structure.on(other).y)
    theta = thetas(structure)["identity"]
    np.testing.assert_allclose(squares(found, theta), squares(wanted, theta), rtol=1e-12)
    np.testing.assert_array_equal(found.within, wanted.within)
    np.testing.assert_array_equal(blocks.within, before)


def test_terms_on_one_factor_share_a_block_and_the_largest_comes_first():
    blocks = Blocks(STRUCTURES["everything"].design())
    assert [(g.name, g.n_levels, g.width) for g in blocks.groupings] == [("g", 6, 3), ("h", 5, 2)]
    template = blocks.groupings[0].template(np.arange(1.0, 7.0))
    np.testing.assert_array_equal(template, np.diag([1.0, 2.0, 3.0]))
    template = blocks.groupings[1].template(np.arange(1.0, 7.0))
    np.testing.assert_array_equal(template, [[4.0, 0.0], [5.0, 6.0]])


def test_structure_is_a_table_of_blocks():
    assert Blocks(STRUCTURES["nested"].design()).structure().splitlines() == [
        "g:m (12)      diagonal",
        "g (6)         sparse        dense",
        "fixed, y (3)  dense         dense         dense",
    ]
    assert "block-diagonal" in Blocks(STRUCTURES["vector"].design()).structure()
    assert Blocks(STRUCTURES["no random term"].design()).structure() == "fixed, y (5)  dense"


def test_nothing_grows_with_the_square_of_the_rows():
    blocks = Blocks(STRUCTURES["crossed"].on(simulated(n=480)))
    arrays = [value for value in vars(blocks).values() if isinstance(value, np.ndarray)]
    assert max(array.size for array in arrays) <= 480 * blocks.p


def test_a_large_mean_costs_no_precision():
    """Centring y on its least-squares fit keeps the digits that a raw yᵀy would lose."""
    data = simulated()
    structure = STRUCTURES["vector"]
    theta = thetas(structure)["inside"]
    near = squares(Blocks(structure.on(data)), theta)
    far = squares(Blocks(structure.on(data.assign(y=data["y"] + 1e6))), theta)
    np.testing.assert_allclose(far, near, rtol=1e-9)
