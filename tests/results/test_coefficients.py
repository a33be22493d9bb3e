"""Coefficients of each group and their errors: R, brute force, and agreement with predictions."""

import numpy as np
import pytest

import mmlib as mm
from mmlib.results.coefficients import COEFFICIENT
from tests.helpers.sizes import fit_case, sizes
from tests.helpers.structures import simulated

CASES = sizes("coef_errors")


def ours(name):
    return {"(Intercept)": "Intercept", "SexFemale": "Sex[T.Female]"}.get(
        name, name.replace("SexFemale", "Sex[T.Female]")
    )


@pytest.mark.parametrize("name", CASES)
def test_coefficients_and_errors_are_those_of_r(name):
    coef = fit_case("coef_errors", name).coef()
    for group, numbers in CASES[name]["groups"].items():
        in_our_order = ":".join(reversed(group.split(":")))
        table = coef[in_our_order]
        columns = [ours(column) for column in numbers["columns"]]
        levels = [":".join(reversed(level.split(":"))) for level in numbers["levels"]]
        for column, wanted in (("estimate", "estimate"), ("se", "se")):
            wide = table[column].unstack(COEFFICIENT)
            wide.index = [":".join(map(str, np.atleast_1d(level))) for level in wide.index]
            np.testing.assert_allclose(
                wide.loc[levels, columns], np.array(numbers[wanted]), rtol=1e-6, err_msg=column
            )


def test_they_are_predictions_for_rows_with_one_at_a_coefficient(sleep_fit):
    table = sleep_fit.coef(level=0.9)["Subject"]
    new = sleep_fit.design.frame.assign(Days=0).drop_duplicates("Subject")
    predicted = sleep_fit.predict(new, interval="confidence", level=0.9)
    intercepts = table.xs("Intercept", level=COEFFICIENT)
    np.testing.assert_allclose(
        intercepts[["estimate", "se", "lower", "upper"]], predicted, rtol=1e-9
    )


def test_a_coefficient_that_does_not_vary_is_the_fixed_effect():
    fit = mm.lmm("y ~ x + (1 | g) + (0 + z | h)", simulated())
    slopes = fit.coef()["g"].xs("x", level=COEFFICIENT)
    np.testing.assert_allclose(slopes["estimate"], fit.fixef()["x"])
    np.testing.assert_allclose(slopes["se"] ** 2, fit.vcov().loc["x", "x"])
    own = fit.coef()["h"].xs("z", level=COEFFICIENT)
    np.testing.assert_allclose(own["estimate"], fit.ranef()["h"]["z"])
    np.testing.assert_allclose(own["se"], fit.prediction_error_sd()["h"]["z"])


def test_several_labels_make_up_a_level():
    fit = mm.lmm("strength ~ 1 + (1 | batch/cask)", mm.load_dataset("pastes"))
    assert fit.coef()["batch:cask"].index.names == ["batch", "cask", COEFFICIENT]


def test_without_groups_there_are_none():
    assert mm.lmm("y ~ x", simulated()).coef() == {}


def test_a_level_that_is_none(sleep_fit):
    with pytest.raises(mm.DataError, match="level must be between 0 and 1"):
        sleep_fit.coef(level=2)
