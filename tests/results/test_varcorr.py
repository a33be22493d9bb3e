"""Variances and correlations of the random effects."""

import dataclasses

import numpy as np
import pytest

import mmlib as mm
from mmlib.design.terms import templates
from mmlib.results.varcorr import covariances
from tests.helpers import oracle
from tests.helpers.structures import STRUCTURES, simulated, thetas


@pytest.mark.parametrize(
    "name", [name for name, structure in STRUCTURES.items() if "|" in structure.formula]
)
def test_covariances_are_sigma_squared_lambda_lambda_transposed(name):
    design, theta = STRUCTURES[name].design(), thetas(STRUCTURES[name])["negative"]
    found = covariances(design.terms, theta, 1.5)
    assert [term.group for term in found] == [term.group for term in design.terms]
    for term, lam in zip(found, templates(design.terms, theta), strict=True):
        np.testing.assert_allclose(term.covariance, 2.25 * lam @ lam.T)
        np.testing.assert_allclose(term.sd**2, np.diag(term.covariance))
        np.testing.assert_allclose(np.diag(term.correlation), 1)
        assert (np.abs(term.correlation) <= 1 + 1e-12).all()


def test_a_correlation_with_a_zero_variance_is_undefined():
    design = STRUCTURES["vector"].design()
    [term] = covariances(design.terms, np.array([0.5, 0.0, 0.0]), 1.0)
    np.testing.assert_array_equal(term.sd, [0.5, 0.0])
    np.testing.assert_array_equal(term.correlation, [[1, np.nan], [np.nan, np.nan]])


def test_long_table_has_a_row_for_each_variance_and_covariance():
    fit = mm.lmm("Reaction ~ Days + (Days | Subject)", mm.load_dataset("sleepstudy"))
    table = fit.varcorr().to_frame()
    assert table.columns.tolist() == ["grp", "var1", "var2", "vcov", "sdcor"]
    assert table[["grp", "var1", "var2"]].to_numpy().tolist() == [
        ["Subject", "Intercept", ""],
        ["Subject", "Days", ""],
        ["Subject", "Intercept", "Days"],
        ["Residual", "", ""],
    ]
    wanted = oracle.load_case("sleep_corr")["REML"]["VarCorr"]["Subject"]
    covariance = np.array(wanted["cov"])[[0, 1, 0], [0, 1, 1]]
    np.testing.assert_allclose(table["vcov"][:3], covariance, rtol=1e-5)
    np.testing.assert_allclose(table["sdcor"][:2], wanted["sd"], rtol=1e-5)
    np.testing.assert_allclose(table["sdcor"][2], wanted["corr"][0][1], rtol=1e-4)
    np.testing.assert_allclose(table["sdcor"][3] ** 2, table["vcov"][3])


def test_terms_on_one_factor_stay_apart():
    fit = mm.lmm("y ~ x + (1 + x || g) + (1 | h)", simulated())
    table = fit.varcorr().to_frame()
    assert table["grp"].tolist() == ["g", "g", "h", "Residual"]
    assert table["var1"].tolist() == ["Intercept", "x", "Intercept", ""]


def test_printed_table():
    """lme4 prints 612.10 and 24.741: the optimum of its default optimiser is looser."""
    fit = mm.lmm("Reaction ~ Days + (Days | Subject)", mm.load_dataset("sleepstudy"))
    assert str(fit.varcorr()).splitlines() == [
        "Random effects:",
        " Groups   Name      Variance Std.Dev. Corr",
        " Subject  Intercept   612.09   24.740",
        "          Days         35.07    5.922 0.07",
        " Residual             654.94   25.592",
    ]
    assert '<th scope="row">Residual</th>' in fit.varcorr()._repr_html_()


def test_a_model_without_random_terms_has_the_residual_alone():
    table = mm.lmm("y ~ x", simulated()).varcorr().to_frame()
    assert table["grp"].tolist() == ["Residual"]


def test_components_cannot_be_changed():
    components = mm.lmm("y ~ x + (1 | g)", simulated()).varcorr()
    with pytest.raises(dataclasses.FrozenInstanceError):
        components.sigma = 3.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        components.terms[0].group = "h"


def test_one_standard_deviation_by_name():
    fit = mm.lmm("Reaction ~ Days + (Days | Subject)", mm.load_dataset("sleepstudy"))
    table = fit.varcorr().to_frame().set_index(["grp", "var1", "var2"])["sdcor"]
    assert fit.varcorr().sd("Subject", "Days") == table["Subject", "Days", ""]
    assert fit.varcorr().sd("Residual") == fit.sigma


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("Subjct",), "no effect fits group='Subjct'.*'Days' of 'Subject'"),
        (("Subject",), "more than one effect fits group='Subject'"),
        (("Subject", "days"), "no effect fits group='Subject', column='days'"),
    ],
)
def test_a_standard_deviation_that_is_not_there(names, message):
    fit = mm.lmm("Reaction ~ Days + (Days | Subject)", mm.load_dataset("sleepstudy"))
    with pytest.raises(mm.DataError, match=message):
        fit.varcorr().sd(*names)
