"""Plain tables with broom.mixed's columns."""

from itertools import combinations

import numpy as np
import pytest

import mmlib as mm
from tests.helpers.structures import simulated

FIXED = ["effect", "group", "term", "estimate", "std.error", "statistic"]


def test_tidy_has_the_columns_of_broom(sleep_fit):
    assert list(sleep_fit.tidy().columns) == FIXED
    with_df = sleep_fit.tidy(ddf="satterthwaite", level=0.9)
    assert list(with_df.columns) == [*FIXED, "df", "p.value", "conf.low", "conf.high"]


def test_tidy_holds_what_the_other_tables_hold(sleep_fit):
    table = sleep_fit.tidy(ddf="kenward-roger")
    fixed, random = (table[table["effect"] == kind] for kind in ("fixed", "ran_pars"))
    coefficients = sleep_fit.coef_table(ddf="kenward-roger")
    np.testing.assert_array_equal(fixed["estimate"], coefficients["Estimate"])
    np.testing.assert_array_equal(fixed["p.value"], coefficients["Pr(>|t|)"])
    assert list(random["term"]) == [
        "sd__Intercept",
        "cor__Intercept.Days",
        "sd__Days",
        "sd__Observation",
    ]
    varcorr = sleep_fit.varcorr()
    sd = varcorr.terms[0].sd
    np.testing.assert_array_equal(
        random["estimate"], [sd[0], varcorr.terms[0].correlation[1, 0], sd[1], varcorr.sigma]
    )
    assert list(random["group"]) == ["Subject"] * 3 + ["Residual"]


@pytest.mark.parametrize(("reml", "criterion"), [(True, "REMLcrit"), (False, "deviance")])
def test_glance(reml, criterion):
    fit = mm.lmm("y ~ x + (1 | g)", simulated(), reml=reml)
    table = fit.glance()
    assert list(table.columns) == [
        "nobs",
        "sigma",
        "logLik",
        "AIC",
        "BIC",
        criterion,
        "df.residual",
    ]
    assert table.loc[0, criterion] == fit.objective


def test_tidy_names_what_residuals_with_structure_have():
    data = mm.load_dataset("orthodont")
    by_sex = mm.lmm("distance ~ age", data, dispersion="Sex", residual="ar1(age | Subject)")
    rows = by_sex.tidy().set_index("term")["estimate"]
    assert list(rows.index[2:]) == ["sd__Observation", "ratio__Female", "cor__ar1"]
    np.testing.assert_allclose(rows.iloc[2:], [by_sex.sigma, *by_sex.theta])
    visits = mm.lmm("distance ~ age", data, residual="us(age | Subject)")
    rows = visits.tidy().set_index("term")["estimate"]
    assert list(rows.index[3:6]) == ["ratio__10", "ratio__12", "ratio__14"]
    assert rows["ratio__14"] == visits.theta[2]
    assert rows["cor__8.14"] == visits.varcorr().residual.correlations["8", "14"]
    assert list(rows.index[6:]) == [f"cor__{i}.{j}" for i, j in combinations((8, 10, 12, 14), 2)]
