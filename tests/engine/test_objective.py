"""The objective and its gradient against n×n matrices, and what must hold at every θ."""

import numpy as np
import pytest

import mmlib as mm
from tests.helpers.dense import Dense
from tests.helpers.structures import POINTS, STRUCTURES, thetas

at_every_point = pytest.mark.parametrize(("name", "kind"), POINTS)
both_criteria = pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])


def prepare(name, kind, reml):
    design = STRUCTURES[name].design()
    return design, mm.Objective(design, reml=reml), thetas(STRUCTURES[name])[kind]


def central_differences(function, theta, step=1e-5):
    moves = step * np.eye(len(theta))
    return np.array([(function(theta + h) - function(theta - h)) / (2 * step) for h in moves])


@both_criteria
@at_every_point
def test_objective_is_that_of_brute_force(name, kind, reml):
    design, objective, theta = prepare(name, kind, reml)
    np.testing.assert_allclose(
        objective(theta), Dense.at(design, theta).objective(reml=reml), rtol=1e-11
    )


@both_criteria
@at_every_point
def test_objective_at_a_sigma_is_that_of_brute_force(name, kind, reml):
    design, objective, theta = prepare(name, kind, reml)
    dense = Dense.at(design, theta)
    for sigma in (0.3, 1.0, 40.0):
        np.testing.assert_allclose(
            objective(theta, sigma), dense.objective(reml=reml, sigma=sigma), rtol=1e-11
        )
    best = np.sqrt(dense.variance(reml=reml))
    np.testing.assert_allclose(objective(theta, best), objective(theta), rtol=1e-12)


@both_criteria
@at_every_point
def test_gradient_is_that_of_brute_force(name, kind, reml):
    design, objective, theta = prepare(name, kind, reml)
    value, gradient = objective.value_and_gradient(theta)
    assert value == objective(theta)
    wanted = central_differences(lambda t: Dense.at(design, t).objective(reml=reml), theta)
    # Central differences of step 1e-5 are good to about 1e-8 of the objective's size.
    np.testing.assert_allclose(gradient, wanted.reshape(theta.shape), rtol=1e-6, atol=2e-6)


@both_criteria
@pytest.mark.parametrize("name", [name for name, kind in POINTS if kind == "inside"])
def test_the_sign_of_a_column_does_not_matter(name, reml):
    _, objective, theta = prepare(name, "inside", reml)
    for column in objective.blocks.theta_columns:
        flipped = theta.copy()
        flipped[column] *= -1
        np.testing.assert_allclose(objective(flipped), objective(theta), rtol=1e-13)


@both_criteria
@pytest.mark.parametrize("name", [name for name, kind in POINTS if kind == "inside"])
def test_gradient_vanishes_where_a_column_is_zero(name, reml):
    _, objective, theta = prepare(name, "inside", reml)
    for column in objective.blocks.theta_columns:
        emptied = theta.copy()
        emptied[column] = 0
        np.testing.assert_allclose(
            objective.value_and_gradient(emptied)[1][column], 0, rtol=0, atol=1e-12
        )


def test_theta_runs_down_the_columns_of_each_template():
    assert thetas(STRUCTURES["crossed vectors"])["identity"].tolist() == [1, 0, 1, 1, 0, 1]
    blocks = mm.Objective(STRUCTURES["crossed vectors"].design()).blocks
    assert [column.tolist() for column in blocks.theta_columns] == [[0, 1], [2], [3, 4], [5]]


def test_degrees_of_freedom_of_sigma():
    design = STRUCTURES["crossed vectors"].design()
    assert mm.Objective(design, reml=False).dof == design.n
    assert mm.Objective(design).dof == design.n - design.p


def test_pulp_at_the_optimum_of_the_lecture():
    design = mm.build_design("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    for reml, theta, wanted in [(False, 0.6561922, 16.511674800717), (True, 0.80049, 18.626201)]:
        objective = mm.Objective(design, reml=reml)
        np.testing.assert_allclose(objective([theta]), wanted, rtol=1e-8)
        assert abs(objective.value_and_gradient([theta])[1][0]) < 1e-4


@pytest.mark.parametrize("theta", [[], [1.0, 2.0], [[1.0]], 1.0])
def test_theta_of_the_wrong_shape_is_refused(theta):
    objective = mm.Objective(STRUCTURES["scalar"].design())
    for use in (objective, objective.value_and_gradient):
        with pytest.raises(mm.DataError, match="theta must have 1 entries; it has shape"):
            use(theta)


@pytest.mark.parametrize("entry", ["large", None, np.nan, np.inf, 1e300])
def test_theta_that_is_no_sensible_number_is_refused(entry):
    with pytest.raises(mm.DataError, match="theta must be"):
        mm.Objective(STRUCTURES["scalar"].design())([entry])


def test_what_is_no_design_is_refused():
    with pytest.raises(mm.DataError, match="design must be what build_design returns, not 'y ~ x'"):
        mm.Objective("y ~ x")


@pytest.mark.parametrize("sigma", [0.0, -1.0, np.nan, np.inf])
def test_sigma_must_be_positive(sigma):
    with pytest.raises(mm.DataError, match="sigma must be a positive number"):
        mm.Objective(STRUCTURES["scalar"].design())([1.0], sigma)
