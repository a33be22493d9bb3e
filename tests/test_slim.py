"""A slim fit says what the whole one says, or refuses by name: pickled, and out of a file."""

import io
import pickle

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal, assert_series_equal

import mmlib as mm

MODELS = {
    "slopes": ("sleepstudy", "Reaction ~ Days + (Days | Subject)", {}),
    "nested": ("oats", "yield ~ Variety * C(nitro) + (1 | Block/Variety)", {}),
    "crossed": ("penicillin_assay", "diameter ~ 1 + (1 | plate) + (1 | sample)", {"reml": False}),
    "a structure": ("machines", "score ~ Machine + cs(0 + Machine | Worker)", {}),
    "columns that vary alone": (
        "machines",
        "score ~ C(Machine, contr.sum) + (Machine || Worker)",
        {},
    ),
    "a polynomial": ("sleepstudy", "Reaction ~ poly(Days, 2) + (scale(Days) | Subject)", {}),
    "a spline": ("orthodont", "distance ~ bs(age, df=3) * Sex + (age || Subject)", {}),
    "a logarithm, offset": (
        "avg_daily_gain",
        "np.log(adg + 9) ~ Treatment * InitWt + (1 | Block)",
        {"offset": "InitWt", "weights": "w"},
    ),
}
RESIDUALS = {
    "dispersion": ("orthodont", "distance ~ age * Sex + (1 | Subject)", {"dispersion": "Sex"}),
    "us": ("orthodont", "distance ~ age * Sex", {"residual": "us(age | Subject)"}),
    "cs": ("orthodont", "distance ~ age * Sex", {"residual": "cs(Subject)"}),
}


def both(name):
    dataset, formula, options = (MODELS | RESIDUALS)[name]
    data = mm.load_dataset(dataset)
    fit = mm.lmm(formula, data.assign(w=np.linspace(1, 2, len(data))), **options)
    return data, fit, slimmed(fit)


def slimmed(fit):
    """The slim fit after a journey: pickled, and through a file."""
    file = io.BytesIO()
    mm.save(pickle.loads(pickle.dumps(fit.slim())), file)
    return mm.load(file)


@pytest.mark.parametrize("name", [*MODELS, *RESIDUALS])
def test_prints_predictions_and_estimates_are_the_same(name):
    data, fit, slim = both(name)
    assert str(slim) == str(fit)
    assert slim.design.has_rows is False
    assert_frame_equal(slim.tidy(), fit.tidy())
    assert_frame_equal(slim.glance(), fit.glance())
    for interval in ("confidence", "prediction"):
        assert_frame_equal(
            slim.predict(data, interval=interval), fit.predict(data, interval=interval)
        )
    for group, table in fit.coef().items():
        assert_frame_equal(slim.coef()[group], table)
        assert_frame_equal(slim.prediction_error_sd()[group], fit.prediction_error_sd()[group])
    assert slim.slim() is slim


@pytest.mark.parametrize("name", MODELS)
def test_tests_are_the_same(name):
    _, fit, slim = both(name)
    methods = ["kenward-roger", "satterthwaite"] if fit.reml else ["satterthwaite"]
    for ddf in methods:
        assert_frame_equal(slim.coef_table(ddf=ddf), fit.coef_table(ddf=ddf))
        for kind in (1, 2, 3) if fit.design.p > 1 else ():
            one, two = (mm.anova(each, type=kind, ddf=ddf).to_frame() for each in (slim, fit))
            assert_frame_equal(one, two, rtol=1e-9)
    names = [name for name in mm.profile(fit).parameters if "|" in name]
    assert_frame_equal(
        slim.confint("wald", parameters=names), fit.confint("wald", parameters=names), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("name", "by", "covariate"),
    [
        ("nested", "Variety", None),
        ("a spline", "Sex", "age"),
        ("a logarithm, offset", "Treatment", "InitWt"),
    ],
)
@pytest.mark.parametrize("weights", ["equal", "proportional"])
def test_means_and_slopes_are_the_same(name, by, covariate, weights):
    _, fit, slim = both(name)
    one, two = (mm.emmeans(each, by, weights=weights) for each in (slim, fit))
    assert_frame_equal(one.to_frame(), two.to_frame())
    assert_frame_equal(one.contrasts().to_frame(), two.contrasts().to_frame())
    assert one.joint_test().pvalue == two.joint_test().pvalue
    if covariate:
        slopes = (mm.emtrends(each, covariate, by=by).to_frame() for each in (slim, fit))
        assert_frame_equal(*slopes)


def test_a_cell_without_rows_is_not_estimated():
    data = mm.load_dataset("oats")
    data = data[~((data["Variety"] == "Victory") & (data["nitro"] == 0.2))]
    with pytest.warns(mm.DataWarning):
        fit = mm.lmm("yield ~ Variety * C(nitro) + (1 | Block)", data)
    slim = slimmed(fit)
    one, two = (mm.emmeans(each, ["Variety", "nitro"]).to_frame() for each in (slim, fit))
    assert_frame_equal(one, two)
    assert one["mean"].isna().sum() == 1
    new = mm.load_dataset("oats")
    assert_series_equal(slim.predict(new, missing="nan"), fit.predict(new, missing="nan"))


def test_an_offset_that_is_an_array_is_not_forgotten():
    data = mm.load_dataset("sleepstudy")
    slim = mm.lmm("Reaction ~ Days + (1 | Subject)", data, offset=np.arange(180.0)).slim()
    with pytest.raises(mm.DataError, match="offset given as an array"):
        slim.predict(data)


def test_kilobytes():
    """Thousands of rows, 160 schools; and the whole fit is not ten times its data."""
    data = mm.load_dataset("hsb82")
    fit = mm.lmm("mAch ~ meanses * cses + sector * cses + (cses | school)", data)
    sizes = [len(pickle.dumps(each)) for each in (data, fit, fit.slim())]
    assert sizes[1] < 4 * sizes[0]
    assert sizes[2] < 50_000 < sizes[0] / 4
    file = io.BytesIO()
    mm.save(fit.slim(), file)
    assert file.tell() < 25_000


def test_a_description_needs_no_rows(sleep_fit):
    assert "180 rows that are not kept" in repr(sleep_fit.slim().design)


@pytest.mark.parametrize(
    "ask",
    [
        lambda fit: fit.resid,
        lambda fit: fit.predict(),
        lambda fit: fit.influence(),
        lambda fit: fit.simulate(rng=1),
        lambda fit: fit.confint(),
        lambda fit: fit.confint("boot", nsim=2, rng=1),
        lambda fit: fit.r2(),
        lambda fit: fit.vcov("CR2"),
        lambda fit: fit.unpooled(),
        lambda fit: fit.refit(np.zeros(180)),
        lambda fit: mm.compare(fit, fit),
        lambda fit: mm.power(fit, "Days", nsim=2),
    ],
)
def test_what_needs_the_rows_is_refused_by_name(sleep_fit, ask):
    with pytest.raises(mm.DataError, match="the fit is slim: its rows are gone"):
        ask(sleep_fit.slim())


@pytest.mark.parametrize("ddf", ["kenward-roger", "satterthwaite"])
def test_tests_that_need_the_residuals_covariance_are_refused(ddf):
    _, fit, slim = both("us")
    with pytest.raises(mm.DataError, match="the fit is slim"):
        slim.coef_table(ddf=ddf)
    assert_frame_equal(slim.coef_table(level=0.9), fit.coef_table(level=0.9))
    means = [mm.emmeans(each, "Sex", ddf=None).to_frame() for each in (slim, fit)]
    assert_frame_equal(*means)


def test_the_other_criterion_needs_no_rows(sleep_fit):
    slim = sleep_fit.slim()
    assert slim.refit(reml=False).objective == pytest.approx(
        sleep_fit.refit(reml=False).objective, rel=1e-10
    )


def test_a_fit_that_rests_on_its_rows_stays_whole():
    """Levels so far apart that cross-products are too rough."""
    rng = np.random.default_rng(0)
    group, x = np.repeat(np.arange(6), 3), 1e3 + rng.normal(size=18)
    levels, slopes = 1e7 * rng.normal(size=(2, 6))
    y = levels[group] + slopes[group] * x + rng.normal(size=18)
    with pytest.warns(mm.ConvergenceWarning):
        fit = mm.lmm("y ~ x + (1 + x | g)", pd.DataFrame({"y": y, "x": x, "g": group}))
    assert fit.optimum.factor.reduced is not None
    with pytest.raises(mm.DataError, match="rest on the rows"):
        fit.slim()
