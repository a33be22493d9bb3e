"""Random effects and their two variances: closed forms, brute force, properties, bad input."""

import numpy as np
import pandas as pd
import pytest

import mmlib as mm
from tests.helpers.dense import Dense, positions, random_columns
from tests.helpers.fixed_theta import at_point, result_at
from tests.helpers.structures import POINTS, STRUCTURES, simulated

at_every_point = pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name, kind in POINTS if "|" in STRUCTURES[name].formula]
)


# --- closed forms: the balanced one-way layout ----------------------------------------------------


def one_way_parts(fit, n):
    """Return σ_α², σ², the shrinkage factor k and Var(μ̂)."""
    between, within = fit.varcorr().to_frame()["vcov"]
    return between, within, n * between / (n * between + within), fit.vcov().iloc[0, 0]


def test_shrinkage_of_pulp(pulp_fit):
    between, within, k, _ = one_way_parts(pulp_fit, n=5)
    means = pulp_fit.design.frame.groupby("operator", observed=True)["bright"].mean() - 60.4
    ratio = pulp_fit.unpooled()["operator"]["Intercept"] / pulp_fit.ranef()["operator"]["Intercept"]
    np.testing.assert_allclose(pulp_fit.unpooled()["operator"]["Intercept"], means, rtol=1e-12)
    np.testing.assert_allclose(ratio, 1 / k, rtol=1e-12)
    np.testing.assert_allclose(ratio, 1 + within / (5 * between), rtol=1e-12)
    np.testing.assert_allclose(ratio, 1.3121175, rtol=1e-6)  # the lecture prints 1.312117


def test_the_two_variances_of_pulp(pulp_fit):
    between, _, k, vcov = one_way_parts(pulp_fit, n=5)
    given_beta = between * (1 - k)
    np.testing.assert_allclose(pulp_fit.cond_var()["operator"], given_beta, rtol=1e-12)
    np.testing.assert_allclose(
        pulp_fit.prediction_error_var()["operator"], given_beta + k**2 * vcov, rtol=1e-12
    )
    np.testing.assert_allclose(pulp_fit.cond_sd()["operator"], 0.127260, rtol=1e-5)
    np.testing.assert_allclose(pulp_fit.prediction_error_sd()["operator"], 0.170784, rtol=1e-5)


# --- brute force ----------------------------------------------------------------------------------


@at_every_point
def test_modes_are_the_best_linear_unbiased_predictor(name, kind):
    fit = at_point(name, kind)
    wanted = Dense.at(fit.design, fit.theta).b()
    for group, places in positions(fit.design).items():
        np.testing.assert_allclose(fit.ranef()[group], wanted[places], rtol=1e-8, atol=1e-10)


@at_every_point
@pytest.mark.parametrize("beta_estimated", [False, True])
def test_variances_are_those_of_brute_force(name, kind, beta_estimated):
    fit = at_point(name, kind)
    wanted = Dense.at(fit.design, fit.theta).variance_of_b(beta_estimated=beta_estimated)
    wanted = fit.sigma**2 * wanted
    variances = fit.prediction_error_var() if beta_estimated else fit.cond_var()
    tables = fit.prediction_error_sd() if beta_estimated else fit.cond_sd()
    for group, places in positions(fit.design).items():
        for level, at in enumerate(places):
            np.testing.assert_allclose(
                variances[group][level], wanted[np.ix_(at, at)], rtol=1e-8, atol=1e-10
            )
        np.testing.assert_allclose(
            tables[group] ** 2, np.diag(wanted)[places], rtol=1e-8, atol=1e-10
        )
        assert tables[group].index.equals(fit.ranef()[group].index)
        assert tables[group].columns.equals(fit.ranef()[group].columns)


def errors_by_brute_force(design, theta):
    """Return the covariance of (b̂ − b, β̂ − β) over σ², effects in the order of the terms."""
    dense = Dense.at(design, theta)
    vcov = np.linalg.inv(dense.information)
    between = -dense.G @ dense.Z.T @ dense.V_inverse @ dense.X @ vcov
    return np.block([[dense.variance_of_b(beta_estimated=True), between], [between.T, vcov]])


@pytest.mark.parametrize(("name", "kind"), POINTS)
def test_joint_covariance_is_that_of_brute_force(name, kind):
    fit = at_point(name, kind)
    design, covariance = fit.design, fit.effects_covariance
    weights = np.random.default_rng(3).uniform(0.5, 2, (design.n, 1))
    effects = [(g.codes, weights * g.model_matrix) for g in fit.blocks.groupings]
    rows = covariance.rows(weights * design.X, effects)
    combinations = np.hstack(
        [np.zeros((design.n, 0)), *map(random_columns, design.terms), design.X]
    )
    combinations *= weights
    C = errors_by_brute_force(design, fit.theta)
    wanted = combinations @ C @ combinations.T
    np.testing.assert_allclose(covariance.matrix(rows), wanted, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(covariance.variances(rows), np.diag(wanted), rtol=1e-8, atol=1e-10)
    in_basis = combinations @ C[:, len(C) - design.p :] @ fit.blocks.R.T
    found = covariance.with_beta(covariance.root(rows)[1])
    np.testing.assert_allclose(found, in_basis, rtol=1e-8, atol=1e-10)


def test_variances_of_more_rows_than_fit_in_one_chunk(monkeypatch):
    fit = at_point("crossed vectors", "inside")
    whole = fit.leverage()
    monkeypatch.setattr("mmlib.engine.effects_covariance.CHUNK", 7)
    pd.testing.assert_series_equal(fit.leverage(), whole, rtol=1e-13)


# --- without pooling ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in STRUCTURES if "|" in STRUCTURES[name].formula])
def test_unpooled_effects_are_least_squares_level_by_level(name):
    fit = at_point(name, "inside")
    for grouping in fit.blocks.groupings:
        partial = fit.resid.to_numpy() + (
            grouping.model_matrix * fit.ranef()[grouping.name].to_numpy()[grouping.codes]
        ).sum(axis=1)
        weights = np.ones(fit.nobs) if fit.design.weights is None else fit.design.weights
        for level, effects in enumerate(fit.unpooled()[grouping.name].to_numpy()):
            rows = grouping.codes == level
            root = np.sqrt(weights[rows])
            Z = grouping.model_matrix[rows] * root[:, None]
            wanted, _, rank, _ = np.linalg.lstsq(Z, partial[rows] * root)
            if rank < grouping.width:
                wanted = np.full(grouping.width, np.nan)
            np.testing.assert_allclose(effects, wanted, rtol=1e-7, atol=1e-9)


def test_a_level_of_one_row_has_no_slope_of_its_own():
    data = simulated()
    data.loc[data.index[-1], "g"] = "alone"
    fit = mm.lmm("y ~ x + (1 + x | g)", data)
    table = fit.unpooled()["g"]
    assert table.loc["alone"].isna().all()
    assert table.drop(index="alone").notna().all(axis=None)
    assert fit.ranef()["g"].notna().all(axis=None)


def test_modes_are_unpooled_effects_when_the_variance_is_huge():
    fit = at_point("vector", "identity")
    free = result_at(fit.design, 1e5 * fit.theta)
    np.testing.assert_allclose(free.ranef()["g"], free.unpooled()["g"], rtol=1e-6, atol=1e-8)


# --- properties -----------------------------------------------------------------------------------


@at_every_point
def test_estimating_beta_never_makes_the_modes_more_certain(name, kind):
    fit = at_point(name, kind)
    for group, known in fit.cond_var().items():
        excess = fit.prediction_error_var()[group] - known
        smallest = np.linalg.eigvalsh(excess).min()
        assert smallest >= -1e-10 * np.abs(known).max()


def test_variances_do_not_depend_on_the_order_of_rows():
    data = simulated()
    one = mm.lmm("y ~ x + (1 + x | g) + (1 | h)", data)
    two = mm.lmm("y ~ x + (1 + x | g) + (1 | h)", data.sample(frac=1, random_state=1))
    for group, table in one.prediction_error_sd().items():
        pd.testing.assert_frame_equal(table, two.prediction_error_sd()[group], rtol=1e-6)


def test_without_random_terms_there_is_nothing_to_show():
    fit = mm.lmm("y ~ x", simulated())
    assert fit.ranef() == fit.cond_sd() == fit.prediction_error_sd() == fit.unpooled() == {}
