"""Residuals, leverage and case deletion, against n×n matrices and refits without the rows."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import mmlib as mm
from tests.helpers.dense import Dense
from tests.helpers.fixed_theta import at_point, result_at
from tests.helpers.structures import POINTS, simulated

at_every_point = pytest.mark.parametrize(("name", "kind"), POINTS)
WITH_FIXED = [(name, kind) for name, kind in POINTS if name != "no fixed effect"]
at_every_point_with_fixed_effects = pytest.mark.parametrize(("name", "kind"), WITH_FIXED)
GROUPED = [
    ("scalar", "g"),
    ("vector", "g"),
    ("nested", "g"),
    ("nested", "g:m"),
    ("crossed", "h"),
    ("crossed vectors", "g"),
    ("crossed vectors", "h"),
    ("three factors", "f"),
    ("everything", "h"),
    ("weights", "g"),
    ("offset", "h"),
]


# --- residuals -----------------------------------------------------------------------------------


def residual_covariances(fit):
    """Return the covariance of the conditional and the marginal residuals over σ²."""
    dense = Dense.at(fit.design, fit.theta)
    hat = dense.X @ np.linalg.solve(dense.information, dense.X.T)
    P = dense.V_inverse @ (np.eye(fit.nobs) - hat @ dense.V_inverse)
    R = np.diag(1 / dense.w)
    return {"conditional": R @ P @ R, "marginal": dense.V - hat}, {
        "conditional": R,
        "marginal": dense.V,
    }


@at_every_point
@pytest.mark.parametrize("kind_of_residual", ["conditional", "marginal"])
def test_residuals_and_their_scales(name, kind, kind_of_residual):
    fit = at_point(name, kind)
    estimated, true = residual_covariances(fit)
    raw = fit.residuals(kind_of_residual)
    offset = 0 if fit.design.offset is None else fit.design.offset
    mean = fit.design.X @ fit.beta + offset
    if kind_of_residual == "conditional":
        pd.testing.assert_series_equal(raw, fit.resid)
    else:
        np.testing.assert_allclose(raw, fit.design.y - mean, rtol=1e-10, atol=1e-12)
    for scaled, covariance in [("pearson", true), ("standardized", estimated)]:
        sd = fit.sigma * np.sqrt(np.diag(covariance[kind_of_residual]))
        np.testing.assert_allclose(
            fit.residuals(kind_of_residual, scaled=scaled), raw / sd, rtol=1e-8, atol=1e-10
        )


def test_pearson_residuals_are_the_scaled_residuals_of_the_summary(pulp_fit):
    quantiles = pulp_fit.residuals(scaled="pearson").quantile([0, 0.25, 0.5, 0.75, 1])
    wanted = [-1.46662, -0.75952, -0.12435, 0.62810, 1.60124]
    np.testing.assert_allclose(quantiles, wanted, atol=5e-6)


def test_a_residual_that_cannot_vary_has_no_scale():
    data = simulated()
    data["only"] = (np.arange(48) == 5) * 1.0
    fit = mm.lmm("y ~ x + only + (1 | g)", data)
    scaled = fit.residuals(scaled="standardized")
    assert np.flatnonzero(scaled.isna()).tolist() == [5]


# --- leverage ------------------------------------------------------------------------------------


@at_every_point
def test_leverage_is_the_slope_of_the_fitted_value(name, kind):
    fit = at_point(name, kind)
    estimated, true = residual_covariances(fit)
    slope = 1 - np.diag(estimated["conditional"]) / np.diag(true["conditional"])
    np.testing.assert_allclose(fit.leverage(), slope, rtol=1e-8, atol=1e-10)


def test_leverage_by_moving_one_observation():
    fit = at_point("everything", "inside")
    y = fit.design.y.copy()
    y[3] += 1
    moved = result_at(replaced(fit.design, y=y), fit.theta)
    np.testing.assert_allclose(moved.fitted.iloc[3] - fit.fitted.iloc[3], fit.leverage().iloc[3])


def replaced(design, **changes):
    return dataclasses.replace(design, **changes)


@at_every_point
def test_leverages_add_up_to_a_number_of_parameters(name, kind):
    fit = at_point(name, kind)
    q = sum(grouping.n_effects for grouping in fit.blocks.groupings)
    total = fit.leverage().sum()
    assert fit.design.p - 1e-9 <= total <= fit.design.p + q + 1e-9
    if kind == "zero" or q == 0:
        np.testing.assert_allclose(total, fit.design.p)


def test_leverage_of_the_balanced_one_way_layout(pulp_fit):
    between, within = pulp_fit.varcorr().to_frame()["vcov"]
    k = 5 * between / (5 * between + within)
    np.testing.assert_allclose(pulp_fit.leverage(), k / 5 + (1 - k) / 20, rtol=1e-12)


# --- case deletion -------------------------------------------------------------------------------


def beta_without(dense, rows):
    """Return the generalised least-squares estimate from the other rows, at the same θ."""
    X, y, V = dense.X[~rows], dense.y[~rows], dense.V[np.ix_(~rows, ~rows)]
    return np.linalg.solve(X.T @ np.linalg.solve(V, X), X.T @ np.linalg.solve(V, y))


def check_deletion(fit, influence, cases):
    """Compare what `influence` says of each case, a boolean array of rows, with a refit."""
    information = np.linalg.inv(fit.vcov().to_numpy())
    se = fit.coef_table()["Std. Error"].to_numpy()
    dense = Dense.at(fit.design, fit.theta)
    moves = np.array([fit.beta - beta_without(dense, rows) for rows in cases])
    np.testing.assert_allclose(influence.dfbeta, moves, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(influence.dfbetas, moves / se, rtol=1e-7, atol=1e-9)
    distances = np.sum(moves @ information * moves, axis=1) / fit.design.p
    np.testing.assert_allclose(influence.cooks_distance, distances, rtol=1e-7)
    np.testing.assert_allclose(influence.leverage, np.array(cases) @ fit.leverage().to_numpy())


@at_every_point_with_fixed_effects
def test_deleting_a_row_is_refitting_without_it(name, kind):
    fit = at_point(name, kind)
    influence = fit.influence()
    assert influence.group is None
    assert influence.leverage.index.equals(fit.design.index)
    check_deletion(fit, influence, np.eye(fit.nobs, dtype=bool))


@pytest.mark.parametrize(("name", "by"), GROUPED)
@pytest.mark.parametrize("kind", ["inside", "some zeros"])
def test_deleting_a_group_is_refitting_without_it(name, by, kind):
    fit = at_point(name, kind)
    influence = fit.influence(group=by)
    labels = fit.design.frame[by.split(":")].agg(":".join, axis=1)
    assert influence.group == by
    pd.testing.assert_frame_equal(
        influence.to_frame(), fit.influence(group=by.split(":")).to_frame()
    )
    levels = influence.leverage.index
    if isinstance(levels, pd.MultiIndex):
        levels = levels.map(":".join)
    assert set(levels) == set(labels)
    check_deletion(fit, influence, [(labels == level).to_numpy() for level in levels])


def test_deleting_a_group_of_many_rows(monkeypatch):
    """Rows are condensed to their cross-products; the answer must not notice."""
    fit = result_at(mm.build_design("y ~ x + (x | m)", simulated(), weights="w"), np.ones(3))
    condensed = fit.influence(group="m")
    levels = fit.design.frame["m"]
    check_deletion(fit, condensed, [(levels == m).to_numpy() for m in condensed.leverage.index])
    monkeypatch.setattr("mmlib.results.diagnostics.WORTH_CONDENSING", np.inf)
    pd.testing.assert_frame_equal(condensed.to_frame(), fit.influence(group="m").to_frame())


@pytest.mark.parametrize(("name", "by"), [("scalar", "g"), ("crossed vectors", "h")])
def test_the_joint_distance_is_that_of_all_effects(name, by):
    """Refit the penalized least squares of fixed and random effects without the rows."""
    fit = at_point(name, "inside")
    dense = Dense.at(fit.design, fit.theta)
    A = np.hstack([dense.Z, dense.X])
    penalty = np.zeros((A.shape[1], A.shape[1]))
    penalty[: len(dense.G), : len(dense.G)] = np.linalg.inv(dense.G)
    M = A.T @ A + penalty
    full = np.linalg.solve(M, A.T @ dense.y)
    influence = fit.influence(group=by)
    for level, found in influence.cooks_conditional.items():
        rest = (fit.design.frame[by] != level).to_numpy()
        without = np.linalg.solve(A[rest].T @ A[rest] + penalty, A[rest].T @ dense.y[rest])
        move = full - without
        wanted = move @ M @ move / (fit.design.p * fit.sigma**2)
        np.testing.assert_allclose(found, wanted, rtol=1e-8)


def test_the_joint_distance_of_a_row_is_that_of_lme4():
    fit = at_point("weights", "inside")
    h = fit.leverage()
    pearson = fit.residuals(scaled="pearson")
    wanted = (pearson / (1 - h)) ** 2 * h / fit.design.p
    np.testing.assert_allclose(fit.influence().cooks_conditional, wanted, rtol=1e-12)


def test_leaving_out_an_operator_of_pulp(pulp_fit):
    """In the balanced one-way layout β̂ is the mean of the other operators' means."""
    means = pulp_fit.design.frame.groupby("operator", observed=True)["bright"].mean()
    others = (means.sum() - means) / 3
    influence = pulp_fit.influence(group="operator")
    np.testing.assert_allclose(influence.dfbeta["Intercept"], 60.4 - others, rtol=1e-10)
    table = influence.to_frame()
    assert table.index.tolist() == list("abcd")
    assert table.columns.tolist() == [
        "leverage",
        "cooks_distance",
        "cooks_conditional",
        "dfbetas_Intercept",
    ]


def test_influence_shows_its_table(pulp_fit):
    influence = pulp_fit.influence(group="operator")
    title, header, *_ = repr(influence).splitlines()
    assert title == "Influence of leaving out one level of operator at a time, θ and σ held"
    assert header.split() == influence.to_frame().columns.tolist()
    assert "one row at a time" in pulp_fit.influence()._repr_html_()
    assert "<table" in influence._repr_html_()


def test_what_cannot_be_estimated_without_a_case_is_nan():
    data = simulated()
    data["only"] = ((data["g"] == "b") & (np.arange(48) % 2 == 0)) * 1.0
    fit = mm.lmm("y ~ x + only + (1 | g)", data)
    by_group = fit.influence(group="g").to_frame()
    measures = by_group.columns.drop("leverage")
    assert by_group.loc["b", measures].isna().all()
    assert by_group.drop(index="b").notna().all(axis=None)
    assert by_group["leverage"].notna().all()


def test_groups_do_not_depend_on_the_order_of_rows():
    fit = mm.lmm("y ~ x + (x | g) + (1 | h)", simulated())
    shuffled = mm.lmm("y ~ x + (x | g) + (1 | h)", simulated().sample(frac=1, random_state=4))
    for by in ("g", "h"):
        pd.testing.assert_frame_equal(
            fit.influence(group=by).to_frame(), shuffled.influence(group=by).to_frame(), rtol=1e-5
        )
    pd.testing.assert_frame_equal(
        fit.influence().to_frame(), shuffled.influence().to_frame().loc[fit.design.index], rtol=1e-5
    )


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("oparator", r"no column 'oparator'\. Did you mean 'operator'"),
        ("operator:shift", "no column 'shift'"),
        (3, "group must name columns that the model uses, not 3"),
        (["operator", "shift"], "no column 'shift'"),
    ],
)
def test_bad_case_to_leave_out(pulp_fit, by, message):
    with pytest.raises(mm.DataError, match=message):
        pulp_fit.influence(group=by)


def test_influence_needs_a_fixed_effect():
    fit = mm.lmm("y ~ 0 + (1 | g)", simulated())
    with pytest.raises(mm.DataError, match="no fixed effect"):
        fit.influence()
    assert fit.leverage().between(0, 1).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "deviance"}, "kind must be 'conditional' or 'marginal', not 'deviance'"),
        ({"scaled": "standardised"}, "scaled must be 'pearson', 'standardized'"),
        ({"scaled": True}, "scaled must be"),
    ],
)
def test_bad_choice_of_residuals(pulp_fit, arguments, message):
    with pytest.raises(mm.DataError, match=message):
        pulp_fit.residuals(**arguments)
