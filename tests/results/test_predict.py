"""Predictions for known levels, for new ones, and for data that will not do."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import mmlib as mm
from tests.helpers import oracle
from tests.helpers.dense import Dense, random_columns
from tests.helpers.fixed_theta import result_at
from tests.helpers.structures import STRUCTURES, simulated


@pytest.fixture(scope="module")
def fit():
    return mm.lmm("y ~ x + f + (x | g) + (1 | h)", simulated())


@pytest.fixture
def rows():
    return simulated().iloc[:3]


# --- known levels --------------------------------------------------------------------------------


def test_the_operators_of_the_lecture(pulp_fit):
    found = pulp_fit.predict(pd.DataFrame({"operator": list("abcd")}))
    printed = {row["where"]: row["printed"] for row in oracle.load_printed_values()}
    assert [f"{value:.5f}" for value in found] == [printed[f"BLUP[{k}]"] for k in (1, 2, 3, 4)]
    fitted = oracle.load_lecture()["pulp_REML"]["polished"]["fitted"]
    np.testing.assert_allclose(found, fitted[::5], rtol=1e-10)
    assert found.name == "predicted"


def test_a_new_operator_is_predicted_by_the_population_mean(pulp_fit):
    new = pd.DataFrame({"operator": ["e", "a", "e"]}, index=[7, 7, 8])
    found = pulp_fit.predict(new, new_levels="population")
    np.testing.assert_allclose(found, [60.4, 60.2780597, 60.4], atol=1e-6)
    assert found.index.tolist() == [7, 7, 8]


@pytest.mark.parametrize("name", STRUCTURES)
def test_predictions_for_the_data_are_the_fitted_values(name):
    s = STRUCTURES[name]
    fit = mm.lmm(s.formula, simulated(), weights=s.weights, offset=s.offset)
    np.testing.assert_allclose(fit.predict(simulated()), fit.fitted, rtol=1e-12)
    np.testing.assert_allclose(fit.predict(), fit.fitted, rtol=1e-12)
    backwards = simulated().drop(columns="y").iloc[::-1]
    pd.testing.assert_series_equal(fit.predict(backwards), fit.fitted.iloc[::-1], check_names=False)


@pytest.mark.filterwarnings("ignore::mmlib.DataWarning")
@pytest.mark.parametrize(
    "formula",
    [
        "y ~ poly(x, 2) + (1 | g)",
        "y ~ bs(x, df=4) + (1 | g)",
        "y ~ scale(x) + (center(x) | g)",
        "y ~ C(f, contr.sum) * x + (0 + f | h)",
        "log(y + 100) ~ x + (1 | g)",
        "y ~ x + I(2 * x) + f + (1 | g)",
        "y ~ 1 + (1 | g) + (0 + x | g) + (1 | h)",
        "y ~ f + (f || g)",
        "y ~ i + (1 | i)",
    ],
)
def test_codings_are_those_of_the_fit(formula):
    fit = mm.lmm(formula, simulated())
    np.testing.assert_allclose(fit.predict(simulated().iloc[[5]]), fit.fitted.iloc[[5]], rtol=1e-10)


@pytest.mark.parametrize(
    "convert",
    [
        lambda g: g.astype("category"),
        lambda g: g.astype(pd.CategoricalDtype([*"qfedcba"])),
        lambda g: g.astype("string"),
        lambda g: g.astype(object),
    ],
)
def test_the_kind_of_the_grouping_column_may_change(fit, convert):
    data = simulated()
    np.testing.assert_allclose(fit.predict(data.assign(g=convert(data["g"]))), fit.fitted)


@pytest.mark.parametrize(
    "kind",
    [
        "category",
        pd.CategoricalDtype(["spare", "mid", "low", "high"]),
        pd.CategoricalDtype(["high", "low", "mid"], ordered=True),
        "string",
        object,
    ],
)
def test_the_kind_of_a_fixed_factor_may_change(fit, kind):
    data = simulated()
    np.testing.assert_allclose(fit.predict(data.astype({"f": kind})), fit.fitted)
    np.testing.assert_allclose(fit.predict(data.astype({"f": kind})[:1]), fit.fitted[:1])


def test_predicting_changes_nothing(fit, rows):
    before = rows.copy(deep=True)
    fit.predict(rows)
    pd.testing.assert_frame_equal(rows, before)


# --- new levels ----------------------------------------------------------------------------------


def test_each_term_contributes_where_its_level_is_known(fit, rows):
    population = fit.design.fixed_matrix(rows) @ fit.beta
    effects = fit.ranef()
    of_g = [
        effects["g"].loc[g, "Intercept"] + effects["g"].loc[g, "x"] * x
        for g, x in zip(rows["g"], rows["x"], strict=True)
    ]
    of_h = effects["h"].loc[rows["h"], "Intercept"].to_numpy()
    known_g = fit.predict(rows.assign(h="new"), new_levels="population")
    known_h = fit.predict(rows.assign(g=None), new_levels="population")
    nothing = fit.predict(rows.assign(g="new", h="new"), new_levels="population")
    np.testing.assert_allclose(known_g, population + of_g)
    np.testing.assert_allclose(known_h, population + of_h)
    np.testing.assert_allclose(nothing, population)


def test_a_new_combination_of_known_levels_is_new():
    data = simulated()
    data = data[(data["g"] != "a") | (data["m"] != "first")]
    fit = mm.lmm("y ~ x + (1 | g/m)", data)
    new = pd.DataFrame({"x": [0.0], "g": ["a"], "m": ["first"]})
    with pytest.raises(mm.DataError, match=r"grouping 'g:m' has .* not seen: a:first"):
        fit.predict(new)
    found = fit.predict(new, new_levels="population")
    wanted = fit.beta[0] + fit.ranef()["g"].loc["a", "Intercept"]
    np.testing.assert_allclose(found, wanted)


# --- which terms count, and how sure we are ------------------------------------------------------


def test_random_chooses_the_groupings_that_count(fit, rows):
    of_g, of_h = fit.predict(rows, random="g"), fit.predict(rows, random=["h"])
    nothing = fit.predict(rows, random=False)
    np.testing.assert_allclose(nothing, fit.design.fixed_matrix(rows) @ fit.beta)
    np.testing.assert_allclose(of_g + of_h - nothing, fit.predict(rows, random=["h", "g"]))
    for group, found in (("g", of_g), ("h", of_h)):
        without = rows.drop(columns={"g": "h", "h": "g"}[group])
        np.testing.assert_allclose(fit.predict(without, random=[group]), found)
    np.testing.assert_allclose(fit.predict(random=False)[:3], nothing)


@pytest.mark.parametrize(
    ("random", "message"),
    [
        (["G"], "random names 'G', which is no grouping of the fit. Did you mean 'g'"),
        (["x"], "random names 'x'"),
        ("G", "random names 'G', which is no grouping of the fit. Did you mean 'g'"),
        (True, "random must be a grouping, a list of groupings, False or None, not True"),
    ],
)
def test_bad_choice_of_groupings(fit, rows, random, message):
    with pytest.raises(mm.DataError, match=message):
        fit.predict(rows, random=random)


def variance_of_the_error(fit, X, Z):
    """Return Var(xᵀβ̂ + zᵀb̂ − xᵀβ − zᵀb): the first two are linear in y, with coefficients A."""
    dense = Dense.at(fit.design, fit.theta)
    H = np.linalg.solve(dense.information, dense.X.T @ dense.V_inverse)
    C = dense.G @ dense.Z.T
    A = X @ H + Z @ C @ dense.V_inverse @ (np.eye(fit.nobs) - dense.X @ H)
    mixed = A @ C.T @ Z.T
    variance = A @ dense.V @ A.T - mixed - mixed.T + Z @ dense.G @ Z.T
    return fit.sigma**2 * np.diag(variance), fit.sigma**2 * dense.G


@pytest.mark.parametrize("known", [True, False], ids=["known levels", "new levels"])
@pytest.mark.parametrize("name", [name for name in STRUCTURES if name != "no fixed effect"])
def test_standard_errors_are_those_of_brute_force(name, known):
    s = STRUCTURES[name]
    fit = mm.lmm(s.formula, simulated(), weights=s.weights, offset=s.offset)
    Z = np.hstack([np.zeros((48, 0)), *map(random_columns, fit.design.terms)])
    variance, of_b = variance_of_the_error(fit, fit.design.X, Z if known else 0 * Z)
    random = None if known else False
    confidence = fit.predict(interval="confidence", random=random)
    prediction = fit.predict(interval="prediction", random=random)
    w = 1.0 if s.weights is None else simulated()["w"]
    extra = fit.sigma**2 / w + (0 if known else np.diag(Z @ of_b @ Z.T))
    np.testing.assert_allclose(confidence["se"] ** 2, variance, rtol=1e-7)
    np.testing.assert_allclose(prediction["se"] ** 2, variance + extra, rtol=1e-7)
    np.testing.assert_allclose(confidence["predicted"], fit.predict(random=random))
    new = fit.predict(simulated(), interval="confidence", random=random)
    np.testing.assert_allclose(new["se"] ** 2, variance, rtol=1e-7)


def test_a_row_may_have_a_new_level_of_one_grouping_only(fit):
    new = simulated().assign(h="new")
    g, h = (random_columns(term) for term in fit.design.terms)
    variance, _ = variance_of_the_error(fit, fit.design.X, np.hstack([g, 0 * h]))
    of_h = fit.varcorr().to_frame().set_index("grp").loc["h", "vcov"]
    options = {"new_levels": "population"}
    confidence = fit.predict(new, interval="confidence", **options)
    prediction = fit.predict(new, interval="prediction", **options)
    np.testing.assert_allclose(confidence["se"] ** 2, variance, rtol=1e-7)
    np.testing.assert_allclose(prediction["se"] ** 2, variance + of_h + fit.sigma**2, rtol=1e-7)
    left_out = fit.predict(simulated(), interval="prediction", random=["g"])
    np.testing.assert_allclose(left_out["se"], prediction["se"], rtol=1e-10)
    np.testing.assert_allclose(left_out["predicted"], prediction["predicted"], rtol=1e-10)


@pytest.mark.landing
def test_a_prediction_interval_holds_new_observations_of_new_levels():
    """Draw responses and, from the same model, an observation of a new level, at a fixed θ."""
    data = simulated()
    design = mm.build_design("y ~ x + (1 + x | g)", data)
    theta = np.array([1.0, 0.3, 0.6])
    base = result_at(design, theta)
    rng, draws = np.random.default_rng(12), 400
    row = pd.DataFrame({"x": [1.5], "g": ["new"]})
    lam = np.array([[1.0, 0.0], [0.3, 0.6]])
    inside = 0
    for y in base.simulate(draws, rng=rng):
        fit = result_at(replace(design, y=y), theta)
        b = base.sigma * lam @ rng.normal(size=2)
        truth = base.beta @ [1.0, 1.5] + b @ [1.0, 1.5] + base.sigma * rng.normal()
        table = fit.predict(row, new_levels="population", interval="prediction", level=0.8)
        inside += table["lower"].item() <= truth <= table["upper"].item()
    # σ is estimated from 46 rows, which costs less than a hundredth of the coverage.
    assert abs(inside / draws - 0.8) < 4 * np.sqrt(0.16 / draws) + 0.01


def test_an_unseen_level_of_what_varies_is_refused():
    fit = mm.lmm("y ~ x + (0 + f | h)", simulated(n=200))
    with pytest.raises(mm.DataError, match="other"):
        fit.predict(simulated().iloc[:2].assign(f=["low", "other"]))


def test_intervals_of_pulp_by_hand(pulp_fit):
    """An operator's mean and a new operator's, from the closed forms of a balanced layout."""
    layout = mm.oneway("bright ~ operator", mm.load_dataset("pulp"))
    parts = layout.variance_components("reml")
    between, within = parts.sigma2_group, parts.sigma2_resid
    k = between / (between + within / 5)
    new = pd.DataFrame({"operator": ["a", "e"]})
    table = pulp_fit.predict(new, new_levels="population", interval="confidence", level=0.9)
    mean = (between + within / 5) / 4
    known = within / 5 * k + (1 - k) ** 2 * mean
    np.testing.assert_allclose(table["se"] ** 2, [known, mean], rtol=1e-7)
    np.testing.assert_allclose(table["upper"] - table["predicted"], 1.6448536 * table["se"])
    np.testing.assert_allclose(table["predicted"] - table["lower"], 1.6448536 * table["se"])
    wider = pulp_fit.predict(new, new_levels="population", interval="prediction")
    np.testing.assert_allclose(
        wider["se"] ** 2, [known + within, mean + between + within], rtol=1e-7
    )
    assert "residual" in wider.attrs["includes"]
    assert "residual" not in table.attrs["includes"]


@pytest.mark.parametrize("interval", ["both", True, 0.95])
def test_bad_kind_of_interval(fit, rows, interval):
    with pytest.raises(mm.DataError, match="interval must be 'confidence', 'prediction' or None"):
        fit.predict(rows, interval=interval)


@pytest.mark.parametrize("level", [0.0, 1.0, 95, -0.5, np.nan, "wide"])
def test_bad_level_of_an_interval(fit, rows, level):
    with pytest.raises(mm.DataError, match="level must be"):
        fit.predict(rows, interval="confidence", level=level)


# --- what will not do ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": None}, "new has no column 'x'"),
        ({"f": None}, "no column 'f'"),
        ({"g": None}, "no column 'g'"),
        ({"x": np.nan}, "column 'x' of the new data has 3 missing"),
        ({"f": [None, "low", "mid"]}, "column 'f' of the new data has 1 missing"),
        ({"x": np.inf}, "column 'x' of the new data has 3 missing or infinite"),
        ({"x": "text"}, "column 'x' of the new data"),
        ({"f": 3.0}, "column 'f' of the new data"),
        (
            {"f": ["low", "other", "mid"]},
            "column 'f' of the new data has level.* not seen: other; it has estimates for high",
        ),
        ({"g": ["a", "new", "newer"]}, "grouping 'g' has level.* not seen: new, newer; pass"),
        ({"g": [np.nan, "a", "b"]}, "grouping 'g' has level.* not seen: nan"),
        (
            {"h": 3},
            "'h' had text in the fit .'h1', .* numbers in the new data .3, .*'3' is no label",
        ),
    ],
)
def test_bad_column_is_named(fit, rows, change, message):
    [(name, values)] = change.items()
    new = rows.drop(columns=name) if values is None else rows.assign(**change)
    with pytest.raises(mm.DataError, match=message):
        fit.predict(new)


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ([1.0], "must be a pandas DataFrame, not list"),
        (simulated().iloc[:0], "0 rows"),
        (pd.concat([simulated(), simulated()[["x"]]], axis=1), "more than one column named x"),
    ],
)
def test_bad_frame(fit, new, message):
    with pytest.raises(mm.DataError, match=message):
        fit.predict(new)


@pytest.mark.parametrize("choice", ["ignore", None, True])
def test_bad_choice_for_new_levels(fit, rows, choice):
    with pytest.raises(mm.DataError, match="new_levels must be 'error' or 'population'"):
        fit.predict(rows, new_levels=choice)


# --- offsets -------------------------------------------------------------------------------------


def test_an_offset_column_is_added():
    data = simulated()
    fit = mm.lmm("y ~ x + (1 | g)", data, offset="shift")
    raised = fit.predict(data.assign(shift=data["shift"] + 5))
    np.testing.assert_allclose(raised, fit.fitted + 5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (None, "no column 'shift'"),
        ("text", "'shift' must be real numbers"),
        (np.inf, "'shift' has infinite"),
        (np.nan, "'shift'.* missing"),
    ],
)
def test_bad_offset_column_is_named(values, message):
    data = simulated()
    fit = mm.lmm("y ~ x + (1 | g)", data, offset="shift")
    new = data.drop(columns="shift") if values is None else data.assign(shift=values)
    with pytest.raises(mm.DataError, match=message):
        fit.predict(new)


def test_an_offset_given_as_an_array_does_not_predict():
    fit = mm.lmm("y ~ x + (1 | g)", simulated(), offset=np.ones(48))
    with pytest.raises(mm.DataError, match=r"array.* fit with offset='column'"):
        fit.predict(simulated())
    np.testing.assert_allclose(fit.predict(), fit.fitted, rtol=1e-12)


# --- rows without a number -------------------------------------------------------------------


@pytest.mark.parametrize("interval", [None, "confidence", "prediction"])
def test_a_row_with_a_missing_value_has_no_number_on_request(fit, interval):
    data = simulated()
    whole = pd.DataFrame(fit.predict(data, interval=interval))
    holed = data.copy()
    holed.loc[3, "x"] = np.nan
    holed.loc[5, "f"] = None
    holed.loc[7, "g"] = None
    with pytest.raises(mm.DataError, match="missing='nan'"):
        fit.predict(holed, interval=interval)
    found = pd.DataFrame(fit.predict(holed, interval=interval, missing="nan"))
    assert found.index[found["predicted"].isna()].tolist() == [3, 5, 7]
    pd.testing.assert_frame_equal(found.drop(index=[3, 5, 7]), whole.drop(index=[3, 5, 7]))
    population = fit.predict(holed, new_levels="population", missing="nan")
    assert population.index[population.isna()].tolist() == [3, 5]
    nothing = fit.predict(holed.assign(x=np.nan), interval=interval, missing="nan")
    assert pd.DataFrame(nothing).isna().all(axis=None)
    assert list(pd.DataFrame(nothing).columns) == list(found.columns)


def test_rows_without_a_number_keep_any_index(fit):
    data = simulated().iloc[:4].set_axis([7, 7, "a", None])
    data["x"] = [1.0, np.nan, 2.0, np.nan]
    found = fit.predict(data, missing="nan")
    assert found.isna().tolist() == [False, True, False, True]
    assert found.index.tolist() == [7, 7, "a", None]


def test_a_value_that_is_infinite_is_refused_all_the_same(fit, rows):
    with pytest.raises(mm.DataError, match="infinite"):
        fit.predict(rows.assign(x=np.inf), missing="nan")


@pytest.fixture(scope="module")
def holes():
    """A cell of variety and soil that was never observed, and a covariate in two units."""
    return oracle.load_report("empty_cell")[0]


@pytest.mark.filterwarnings("ignore::mmlib.DataWarning")
@pytest.mark.parametrize("coding", ["variety", "C(variety, contr.sum)"])
def test_a_cell_that_was_never_observed_has_no_mean(holes, coding):
    """R: emmeans says nonEst for c in wet soil, and so do we, whatever the coding."""
    fit = mm.lmm(f"y ~ {coding} * soil + (1 | farm)", holes)
    cells = pd.DataFrame({"variety": list("aabbcc"), "soil": ["dry", "wet"] * 3})
    with pytest.raises(mm.RankError, match=r"such as 5 \(soil = wet, variety = c\)"):
        fit.predict(cells, random=False)
    table = fit.predict(cells, random=False, interval="confidence", missing="nan")
    assert table["predicted"].isna().tolist() == [False] * 5 + [True]
    assert table["se"].isna().tolist() == [False] * 5 + [True]
    treatment = mm.lmm("y ~ variety * soil + (1 | farm)", holes)
    wanted = treatment.predict(cells.iloc[:5], random=False)
    np.testing.assert_allclose(table["predicted"][:5], wanted)


@pytest.mark.filterwarnings("ignore::mmlib.DataWarning")
def test_what_was_redundant_in_the_fit_must_be_so_in_new_data(holes):
    fit = mm.lmm("y ~ kg + lb + (1 | farm)", holes)
    rows = pd.DataFrame({"kg": [50.0, 50.0], "lb": [101.0, 300.0]})
    found = fit.predict(rows, random=False, missing="nan")
    assert found.isna().tolist() == [False, True]
    with pytest.raises(mm.RankError, match=r"kg = 50.0, lb = 300.0.*lb had to be left out"):
        fit.predict(rows, random=False)


@pytest.mark.filterwarnings("ignore::mmlib.DataWarning")
@pytest.mark.parametrize("scale", [1e-9, 1, 1e9])
def test_rows_of_the_fit_can_be_predicted_whatever_was_left_out(scale):
    data = simulated(120).assign(x=lambda d: d["x"] * scale, twin=lambda d: d["f"])
    data = data[(data["f"] != "mid") | (data["h"] != "h2")]
    fit = mm.lmm("y ~ f * h + x + I(2 * x) + twin + cr(z, df=4) + (1 | g)", data)
    assert len(fit.design.aliased) > 3
    np.testing.assert_allclose(fit.predict(data), fit.fitted, rtol=1e-9)


# --- splines, and columns that are not needed ------------------------------------------------


@pytest.mark.parametrize("term", ["bs(Days, df=4)", "bs(log(Days + 1), df=4)"])
@pytest.mark.parametrize("day", [11, -0.5])
def test_outside_its_range_a_spline_is_not_known(term, day):
    fit = mm.lmm(f"Reaction ~ {term} + (1 | Subject)", mm.load_dataset("sleepstudy"))
    new = pd.DataFrame({"Days": [9, day]})
    value = f"Days = {day}" if term.startswith("bs(Days") else r"log\(Days \+ 1\) = "
    with pytest.raises(mm.DataError, match=rf"{value}.* lies outside 0….*, the range of the fit"):
        fit.predict(new, random=False)
    assert np.isfinite(fit.predict(new.iloc[:1], random=False)).all()


def test_population_predictions_need_the_columns_of_the_fixed_part_only():
    data = simulated().assign(dose=lambda d: d["z"])
    fit = mm.lmm("y ~ x + (dose | g) + (1 | h)", data)
    bare = data[["x"]]
    for interval in (None, "confidence"):
        found = pd.DataFrame(fit.predict(bare, random=False, interval=interval))
        wanted = pd.DataFrame(fit.predict(data, random=False, interval=interval))
        pd.testing.assert_frame_equal(found, wanted)
    of_h = fit.predict(data[["x", "h"]], random="h")
    np.testing.assert_allclose(of_h, fit.predict(data, random="h"))
    with pytest.raises(mm.DataError, match="new has no column 'dose'"):
        fit.predict(bare, random=False, interval="prediction")  # whose variance it is


@pytest.mark.parametrize("missing", ["drop", None, True])
def test_bad_choice_for_missing(fit, rows, missing):
    with pytest.raises(mm.DataError, match="missing must be 'error' or 'nan'"):
        fit.predict(rows, missing=missing)
