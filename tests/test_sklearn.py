"""The regressor: scikit-learn's own checks, and agreement with the fit that it wraps."""

import doctest

import numpy as np
import pytest

import mmlib as mm

sklearn = pytest.importorskip("sklearn")

from sklearn.base import clone  # noqa: E402
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

import mmlib.sklearn  # noqa: E402
from mmlib.sklearn import LMMRegressor  # noqa: E402

SLEEP = "Reaction ~ Days + (Days | Subject)"
EXACT = "the data of this check are fitted exactly, which leaves no variance to estimate"
EXPECTED = dict.fromkeys(
    [
        "check_sample_weights_shape",
        "check_sample_weights_not_overwritten",
        "check_sample_weight_equivalence_on_dense_data",
        "check_regressors_no_decision_function",
    ],
    EXACT,
)


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks([LMMRegressor()], expected_failed_checks=lambda _: EXPECTED)
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def sleep():
    data = mm.load_dataset("sleepstudy")
    return data[["Days", "Subject"]], data["Reaction"]


def test_it_is_the_fit_that_it_wraps(sleep, sleep_fit):
    model = LMMRegressor(SLEEP).fit(*sleep)
    np.testing.assert_array_equal(model.result_.theta, sleep_fit.theta)
    np.testing.assert_allclose(model.predict(sleep[0]), sleep_fit.fitted)
    assert clone(model).get_params() == {"formula": SLEEP, "reml": True, "new_levels": "population"}


def test_new_groups_get_the_population_mean(sleep, sleep_fit):
    new = sleep[0].head(3).assign(Subject="someone")
    predicted = LMMRegressor(SLEEP).fit(*sleep).predict(new)
    np.testing.assert_allclose(predicted, sleep_fit.population_mean[:3])
    with pytest.raises(mm.DataError, match="has not seen"):
        LMMRegressor(SLEEP, new_levels="error").fit(*sleep).predict(new)


def test_grouped_cross_validation_and_a_grid(sleep):
    X, y = sleep
    folds = GroupKFold(6)
    scores = cross_val_score(LMMRegressor(SLEEP), X, y, groups=X["Subject"], cv=folds)
    assert np.isfinite(scores).all()
    formulas = [SLEEP, "Reaction ~ 1 + (1 | Subject)"]
    search = GridSearchCV(LMMRegressor(), {"formula": formulas}, cv=folds)
    assert search.fit(X, y, groups=X["Subject"]).best_params_ == {"formula": SLEEP}


def test_weights_are_prior_weights(sleep):
    X, y = sleep
    w = 1.0 + X["Days"] % 3
    fit = mm.lmm(SLEEP, X.assign(Reaction=y), weights=w)
    model = LMMRegressor(SLEEP).fit(X, y, sample_weight=w)
    np.testing.assert_array_equal(model.result_.theta, fit.theta)


def test_bad_input(sleep):
    X, y = sleep
    with pytest.raises(mm.DataError, match="X has 180 rows and y has 179 values"):
        LMMRegressor(SLEEP).fit(X, y[:-1])
    with pytest.raises(mm.DataError, match="X must be a pandas DataFrame"):
        LMMRegressor(SLEEP).fit(X.to_numpy(), y)
    with pytest.raises(mm.FormulaError, match=r"must be one name, not 'np.log\(Reaction\)'"):
        LMMRegressor("np.log(Reaction) ~ Days").fit(X, y)


def test_the_response_may_have_any_name(sleep, sleep_fit):
    model = LMMRegressor(SLEEP.replace("Reaction", "`time (ms)`")).fit(*sleep)
    np.testing.assert_array_equal(model.result_.theta, sleep_fit.theta)


def test_the_example_runs():
    assert doctest.testmod(mmlib.sklearn).failed == 0
