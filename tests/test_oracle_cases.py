"""Every model that R was given, by REML and ML, against what lme4 says about it.

lme4's numbers come from an optimum polished until its gradient vanished. The tolerances are what
two such optima can differ by: at the minimum the objective is flat, so θ and what follows from it
are known to about the square root of the objective's precision.
"""

import re

import numpy as np
import pandas as pd
import pytest

import mmlib as mm
from tests.helpers import oracle
from tests.helpers.cases import (
    fitted,
    in_our_order,
    r_column,
    sorted_parts,
)

TOLERANCE = {
    # lme4 stores 1e-13 of it; a lower objective would be a better optimum, not an error.
    "objective": {"rtol": 1e-10},
    # Its gradient was polished to 1e-6 or less, on a curvature of order 1.
    "theta": {"rtol": 1e-5, "atol": 1e-5},
    # β and σ are smooth in θ; differences are relative to the size of the vector (see `close`).
    "beta": {"rtol": 1e-6},
    "sigma": {"rtol": 1e-6},
    # Variances double the relative error of θ.
    "variances": {"rtol": 2e-5},
    "random effects": {"rtol": 1e-5},
    # Quantiles and sums of squares of what the above make.
    "fitted": {"rtol": 1e-6},
}

each_fit = pytest.mark.parametrize("criterion", ["REML", "ML"])
each_case = pytest.mark.parametrize("case_id", oracle.cases())
# R's file holds no predictions of one case, and no covariance matrix of it and of the largest.
each_predicted_case = pytest.mark.parametrize(
    "case_id", [name for name in oracle.cases() if name != "hsb82"]
)
each_case_with_covariance = pytest.mark.parametrize(
    "case_id", [name for name in oracle.cases() if name not in {"hsb82", "insteval"}]
)


def close(found, wanted, quantity):
    """Compare arrays; an absolute error counts relative to the largest entry."""
    tolerance = TOLERANCE[quantity]
    wanted = np.asarray(wanted, dtype=float)
    atol = tolerance.get("atol", tolerance["rtol"] * np.abs(wanted).max())
    np.testing.assert_allclose(
        np.asarray(found, dtype=float), wanted, rtol=tolerance["rtol"], atol=atol
    )


# --- what R calls things -------------------------------------------------------------------------


def r_group(name):
    """Return R's name of a grouping, its factors sorted, and without the number of a repeat."""
    return sorted_parts(re.sub(r"\.\d+$", "", name))


def by_name(values):
    return {sorted_parts(name): value for name, value in values.items()}


def entry_names(term):
    """Return lme4's names of a term's part of θ: column by column of the lower triangle."""
    columns = [r_column(name, pd.DataFrame()) for name in term.columns]
    for j, column in enumerate(columns):
        yield r_group(term.group), column
        for below in columns[j + 1 :]:
            yield r_group(term.group), f"{below}.{column}"


# --- the fit -------------------------------------------------------------------------------------


@each_case
@each_fit
def test_criteria(case_id, criterion):
    fit, wanted = fitted(case_id, criterion), oracle.load_case(case_id)[criterion]
    slack = TOLERANCE["objective"]["rtol"] * abs(wanted["crit"])
    assert fit.objective <= wanted["crit"] + slack, "R found a better optimum"
    assert fit.objective >= wanted["crit"] - 1e-6 * abs(wanted["crit"]), "too good to be true"
    close(fit.loglik, wanted["logLik"], "objective")
    close(fit.aic, wanted["AIC"], "objective")
    close(fit.bic, wanted["BIC"], "objective")
    assert (fit.df_resid, fit.n_parameters) == (wanted["df_resid"], wanted["npar"])
    assert fit.converged
    assert fit.is_singular == wanted["singular"]


@each_case
@each_fit
def test_covariance_parameters(case_id, criterion):
    fit, wanted = fitted(case_id, criterion), oracle.load_case(case_id)[criterion]
    names = [name for term in fit.design.terms for name in entry_names(term)]
    theta = {}
    for name, value in wanted["theta"].items():
        group, _, entry = name.partition(".")
        theta[r_group(group), entry] = value
    assert set(names) == set(theta)
    close(fit.theta, [theta[name] for name in names], "theta")
    close(fit.sigma, wanted["sigma"], "sigma")


@each_case
@each_fit
def test_variance_components(case_id, criterion):
    case, fit = oracle.load_case(case_id), fitted(case_id, criterion)
    found = {
        (r_group(term.group), tuple(r_column(name, case.data) for name in term.columns)): term
        for term in fit.varcorr().terms
    }
    wanted = case[criterion]["VarCorr"]
    assert len(found) == len(wanted)
    for group, term in wanted.items():
        ours = found[r_group(group), tuple(term["names"])]
        close(ours.covariance, term["cov"], "variances")
        close(ours.sd, term["sd"], "variances")
        close(ours.correlation, term["corr"], "variances")


@each_case
@each_fit
def test_fixed_effects(case_id, criterion):
    case, fit = oracle.load_case(case_id), fitted(case_id, criterion)
    wanted = case[criterion]
    assert len(fit.design.aliased) == len(case["X_dropped"])
    names = [r_column(name, case.data) for name in fit.design.fixed_names]
    for found, key in [(fit.beta, "beta"), (fit.coef_table()["Std. Error"], "se")]:
        values = by_name(wanted[key])
        assert set(values) == set(names)
        close(found, [values[name] for name in names], "beta")
    values = by_name(wanted["t"])
    close(fit.coef_table()["t value"], [values[name] for name in names], "beta")
    place = in_our_order(fit, wanted["vcov"]["rows"], case.data)
    close(fit.vcov(), np.array(wanted["vcov"]["values"])[np.ix_(place, place)], "variances")


@each_case
@each_fit
def test_random_effects(case_id, criterion):
    case, fit = oracle.load_case(case_id), fitted(case_id, criterion)
    variances = fit.cond_var()
    found = {r_group(group): (group, table) for group, table in fit.ranef().items()}
    wanted = case[criterion]["ranef"]
    assert set(found) == {r_group(group) for group in wanted}
    for r_name, effects in wanted.items():
        group, table = found[r_group(r_name)]
        columns = [r_column(name, case.data) for name in table.columns]
        order = [columns.index(name) for name in effects["columns"]]
        rows = table.index.get_indexer(levels_of(table.index, r_name, effects["levels"]))
        assert (rows >= 0).all()
        assert len(table) == effects["n_levels"]
        values = table.to_numpy()[:, order]
        sd = np.sqrt(variances[group][:, order, order])
        close(values[rows], effects["values"], "random effects")
        close(sd[rows], effects["condsd"], "random effects")
        close((values**2).sum(axis=0), effects["colsumsq"], "variances")
        close(sd.sum(axis=0), effects["condsd_colsum"], "random effects")
        if effects["condcov_first"] is not None:
            first = variances[group][rows[0]][np.ix_(order, order)]
            close(first, effects["condcov_first"], "variances")


def levels_of(index, r_name, labels):
    """Return R's labels, such as ``"a:A"`` of ``cask:batch``, as labels of our index."""
    if not isinstance(index, pd.MultiIndex):
        return pd.Index(labels)
    parts = [dict(zip(r_name.split(":"), label.split(":"), strict=True)) for label in labels]
    return pd.MultiIndex.from_tuples([tuple(part[name] for name in index.names) for part in parts])


@each_case
@each_fit
def test_fitted_values_and_residuals(case_id, criterion):
    fit, wanted = fitted(case_id, criterion), oracle.load_case(case_id)[criterion]
    found, resid = fit.fitted.to_numpy(), fit.resid.to_numpy()
    scaled = resid / fit.sigma
    if fit.design.weights is not None:
        scaled = scaled * np.sqrt(fit.design.weights)
    close(found[:10], wanted["fitted_first10"], "fitted")
    close(resid[:10], wanted["resid_first10"], "random effects")
    close((found**2).sum(), wanted["fitted_sumsq"], "fitted")
    close((resid**2).sum(), wanted["rss"], "random effects")
    close(np.quantile(resid, np.linspace(0, 1, 5)), wanted["resid_quantiles"], "random effects")
    close(
        np.quantile(scaled, np.linspace(0, 1, 5)),
        wanted["scaled_resid_quantiles"],
        "random effects",
    )


@each_case_with_covariance
@each_fit
def test_marginal_covariance(case_id, criterion):
    """Var(y) of the first rows, put together from `varcorr` and the design."""
    fit, wanted = fitted(case_id, criterion), oracle.load_case(case_id)[criterion]["marginal_V"]
    rows = slice(0, 10)
    weights = np.ones(fit.nobs) if fit.design.weights is None else fit.design.weights
    V = np.diag(fit.sigma**2 / weights[rows])
    for term, covariance in zip(fit.design.terms, fit.varcorr().terms, strict=True):
        values, codes = term.model_matrix[rows], term.codes[rows]
        V += (values @ covariance.covariance @ values.T) * (codes[:, None] == codes)
    close(np.diag(V), wanted["diag_first10"], "variances")
    close(V[0], wanted["row1_first10"], "variances")


@each_case
@each_fit
def test_wald_limits(case_id, criterion):
    case, fit = oracle.load_case(case_id), fitted(case_id, criterion)
    wanted = case[criterion]["wald_ci"]
    place = in_our_order(fit, wanted["names"], case.data)
    table = fit.coef_table()
    half = 1.959963984540054 * table["Std. Error"].to_numpy()
    close(fit.beta - half, np.array(wanted["lower"])[place], "beta")
    close(fit.beta + half, np.array(wanted["upper"])[place], "beta")


@each_predicted_case
def test_predictions(case_id):
    """Predict for known and new levels; lme4 leaves an offset out of predictions for new data."""
    case, fit = oracle.load_case(case_id), fitted(case_id, "REML")
    wanted = case["predict_REML"]
    rows = case.data.iloc[np.array(wanted["rows_1based"]) - 1]
    offset = rows[case.offset].to_numpy() if case.offset else 0.0
    close(fit.predict(rows) - offset, wanted["known"], "fitted")
    close(fit.design.fixed_matrix(rows) @ fit.beta, wanted["population"], "fitted")
    for key in wanted:
        if key.startswith("new_level_"):
            unseen = rows.assign(**{key.removeprefix("new_level_"): "unseen"})
            found = fit.predict(unseen, new_levels="population") - offset
            close(found, wanted[key], "fitted")
            with pytest.raises(mm.DataError, match="unseen"):
                fit.predict(unseen)
