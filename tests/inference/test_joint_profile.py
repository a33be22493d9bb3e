"""Joint profiles against the objective itself, closed forms, and profiles of one parameter."""

from itertools import combinations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

import mmlib as mm
from mmlib.inference.joint_profile import joint_profile, joint_quantile
from mmlib.inference.parameters import parameters
from mmlib.inference.profile import profile
from mmlib.inference.profile_objective import ProfileObjective
from tests.helpers.structures import simulated

SD, SIGMA = "sd_Intercept|operator", "sigma"


@pytest.fixture(scope="module")
def pulp():
    return profile(mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp")))


@pytest.fixture(scope="module")
def sleep():
    return profile(mm.lmm("Reaction ~ Days + (Days | Subject)", mm.load_dataset("sleepstudy")))


def test_two_standard_deviations_leave_nothing_free(pulp):
    joint = joint_profile(pulp, SD, SIGMA, n=7)
    objective = mm.Objective(pulp.fit.blocks, reml=False)
    wanted = [[objective([a / s], s) for a in joint.x] for s in joint.y]
    np.testing.assert_allclose(joint.rise, np.array(wanted) - pulp.fit.objective, atol=1e-8)
    assert joint.x[0] == 0.0
    assert joint.parameters == (SD, SIGMA)
    np.testing.assert_allclose(joint.estimate, [pulp.fit.sigma * pulp.fit.theta[0], pulp.fit.sigma])


def test_a_linear_model_has_a_closed_form():
    fit = mm.lmm("y ~ x + z", simulated(), reml=False)
    joint = joint_profile(fit, "x", "z", n=5)
    inverse = np.linalg.inv(fit.vcov().to_numpy()[1:, 1:]) / fit.nobs
    for i, z in enumerate(joint.y):
        for j, x in enumerate(joint.x):
            move = np.array([x, z]) - fit.beta[1:]
            wanted = fit.nobs * np.log1p(move @ inverse @ move)
            np.testing.assert_allclose(joint.rise[i, j], wanted, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("pair", list(combinations(range(6), 2)))
def test_its_lowest_point_along_a_line_is_the_profile(sleep, pair):
    """At a held first parameter, the best second one gives the profile of the first."""
    first, second = (sleep.parameters[k] for k in pair)
    held = ProfileObjective(sleep.fit, [parameters(sleep.fit)[k] for k in pair])
    estimate = sleep.estimates[second]
    ends = sleep.confint(level=0.999, parameters=[second]).to_numpy()[0]
    for value in sleep.confint(level=0.9, parameters=[first]).to_numpy()[0]:
        best = minimize_scalar(
            lambda other, value=value: held.minimum([value, other]).value,
            bounds=ends,
            method="bounded",
            options={"xatol": 1e-5 * max(abs(estimate), 1.0)},
        )
        rise = best.fun - sleep.fit.objective
        # Both searches stop where another step would gain less than about 1e-6.
        np.testing.assert_allclose(rise, sleep.zeta(first, value) ** 2, atol=1e-4)


def test_the_order_of_the_parameters_does_not_matter(sleep):
    sds = ["sd_Intercept|Subject", "sd_Days|Subject"]
    one, two = joint_profile(sleep, *sds, n=5), joint_profile(sleep, *reversed(sds), n=5)
    np.testing.assert_allclose(one.rise, two.rise.T, atol=1e-4)


def test_two_correlations_with_a_shared_variable():
    fit = mm.lmm("y ~ x + z + (x + z | g)", simulated(n=300))
    one, two = (f"cor_{column}.Intercept|g" for column in ("x", "z"))
    joint = joint_profile(fit, one, two, n=3)
    profiled = profile(fit)
    for k, value in enumerate(joint.x):
        assert joint.rise[:, k].min() >= profiled.zeta(one, value) ** 2 - 1e-4


def test_nothing_lower_is_found_from_other_starts():
    fit = mm.lmm("y ~ x + (1 + x + z | g)", simulated(n=300), reml=False)
    joint = joint_profile(fit, "sd_z|g", "x", n=5)
    held = ProfileObjective(fit, [p for p in parameters(fit) if p.name in joint.parameters])
    rng = np.random.default_rng(4)
    for i, j in np.ndindex(joint.rise.shape):
        for _ in range(3):
            start = held.start + rng.normal(scale=0.3, size=held.start.shape)
            other = held.minimum([joint.x[j], joint.y[i]], start)
            assert joint.rise[i, j] <= other.value - fit.objective + 1e-5


def test_the_grid_reaches_as_far_as_the_region(sleep):
    joint = joint_profile(sleep, "Intercept", "sigma", level=0.9, n=41)
    # Its ends touch the region, which has no inside there.
    inside = joint.rise < joint_quantile(0.9) - 1e-6
    assert inside[1:-1, 1:-1].any()
    assert not inside[0].any()
    assert not inside[:, 0].any()
    # The region's shadow ends at the ends of the grid: only the corners and edges lie outside.
    assert inside.any(axis=0)[3:-3].all()
    assert inside.any(axis=1)[3:-3].all()


@pytest.mark.parametrize(
    ("first", "second", "options", "message"),
    [
        ("sigma", "sigma", {}, "two different parameters are needed, not 'sigma' twice"),
        ("sigma", "intercept", {}, r"names 'intercept', .* Did you mean 'Intercept'"),
        ("sigma", SD, {"n": 2}, "n must be a whole number of at least 3, not 2"),
        ("sigma", SD, {"n": 4.0}, "n must be a whole number"),
        ("sigma", SD, {"level": 1.0}, "level must be between 0 and 1, not 1.0"),
    ],
)
def test_bad_input(pulp, first, second, options, message):
    with pytest.raises(mm.DataError, match=message):
        joint_profile(pulp, first, second, **options)


def test_correlations_that_share_no_variable_are_refused():
    data = simulated(n=300)
    fit = mm.lmm("y ~ x + z + i + (x + z + i | g)", data)
    with pytest.raises(mm.DataError, match="share no variable"):
        joint_profile(fit, "cor_x.Intercept|g", "cor_i.z|g")
