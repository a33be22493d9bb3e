"""Fits in files: the same numbers and prints, and no code in them."""

import io
import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mmlib as mm
from mmlib.saved.files import VERSION
from tests.helpers.structures import STRUCTURES, simulated

STORED = Path(__file__).parent / "oracle" / "saved"


def round_trip(fit):
    file = io.BytesIO()
    mm.save(fit, file)
    return mm.load(file)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("name", STRUCTURES)
def test_everything_is_the_same(name, reml):
    structure, data = STRUCTURES[name], simulated()
    fit = mm.lmm(
        structure.formula,
        data,
        reml=reml,
        weights=structure.weights,
        offset=structure.offset,
    )
    again = round_trip(fit)
    np.testing.assert_array_equal(again.theta, fit.theta)
    np.testing.assert_array_equal(again.beta, fit.beta)
    assert (again.sigma, again.objective) == (fit.sigma, fit.objective)
    assert str(again) == str(fit)
    assert type(again) is type(fit)
    new = data.head(5)
    pd.testing.assert_frame_equal(
        again.predict(new, interval="prediction"), fit.predict(new, interval="prediction")
    )
    pd.testing.assert_series_equal(again.resid, fit.resid, check_index_type=False)
    if "y ~ x" in structure.formula:
        assert str(mm.satterthwaite(again, "x")) == str(mm.satterthwaite(fit, "x"))


def test_a_file_and_its_size(tmp_path, sleep_fit):
    path = tmp_path / "sleep.fit"
    mm.save(sleep_fit, path)
    assert path.stat().st_size < 8000
    again = mm.load(str(path))
    pd.testing.assert_frame_equal(again.coef()["Subject"], sleep_fit.coef()["Subject"])
    assert str(mm.kenward_roger(again, "Days")) == str(mm.kenward_roger(sleep_fit, "Days"))
    np.testing.assert_array_equal(again.simulate(2, rng=1), sleep_fit.simulate(2, rng=1))


def test_stateful_transformations_and_codings_are_kept():
    fit = mm.lmm("y ~ poly(x, 2) + C(f, contr.sum) + (1 | g)", simulated())
    new = simulated().head(3)
    np.testing.assert_array_equal(round_trip(fit).predict(new), fit.predict(new))


def test_a_refit_to_another_response_and_what_is_left_out():
    data = simulated()
    data.loc[3, "x"] = np.nan
    with pytest.warns(mm.DataWarning, match="left out"):
        fit = mm.lmm("log(y + 20) ~ x + (1 | g)", data).refit(np.arange(47.0))
    again = round_trip(fit)
    np.testing.assert_array_equal(again.design.y, np.arange(47.0))
    assert again.design.n_missing == 1
    assert list(again.resid.index) == list(fit.resid.index)


def test_dates_numbers_and_ordered_categories_as_groups():
    data = simulated()
    days = pd.Timestamp("2020-01-01") + pd.to_timedelta(data["i"], unit="D")
    data = data.assign(day=days, o=pd.Categorical(data["f"], ["mid", "low", "high"], ordered=True))
    fit = mm.lmm("y ~ x + (1 | day) + (1 | o)", data)
    again = round_trip(fit)
    for group, table in fit.ranef().items():
        assert list(again.ranef()[group].index) == list(table.index)
        np.testing.assert_array_equal(again.ranef()[group], table)


def test_a_known_sigma_is_kept():
    fit = mm.lmm("y ~ x + (1 | g)", simulated(), sigma=1.5)
    assert round_trip(fit).sigma == 1.5


def test_a_multiindex_becomes_numbers():
    data = simulated().set_index(["i", "m"], append=True, drop=False)
    fit = mm.lmm("y ~ x + (1 | g)", data)
    np.testing.assert_array_equal(round_trip(fit).fitted, fit.fitted)


def test_groups_of_dates_and_combinations_without_rows():
    data = simulated()
    days = pd.Timestamp("2020-01-01") + pd.to_timedelta(data["i"] % 9, unit="D")
    data = data.assign(day=days, o=pd.Categorical(data["f"], ["mid", "low", "high"], ordered=True))
    slim = mm.lmm("y ~ x + (1 | day) + (1 | g:o)", data).slim()
    again = round_trip(slim)
    for group, table in slim.ranef().items():
        pd.testing.assert_frame_equal(
            again.ranef()[group], table, check_index_type=False, check_column_type=False
        )
    np.testing.assert_array_equal(again.predict(data), slim.predict(data))


@pytest.mark.filterwarnings("ignore::mmlib.errors.DataWarning")  # of columns left out
@pytest.mark.parametrize(
    "formula",
    [
        "y ~ `my x.1` * b + (1 + b | g)",
        "y ~ C(k, Treatment(2)) + cr(x, df=4) + (bs(x, df=3) || g)",
        "y ~ C(k, levels=[3, 2, 1, 0]) * o + (1 | g) + (0 + x | h)",
        "np.exp(y / 10) ~ hashed(st, levels=5) + np.isin(k, [1, 2]) + x.clip(2, 4) + (f || g)",
        "y ~ 0 + f + f:x + poly(x, 3) + (0 + f | g:h)",
        "y ~ 0 + (1 | g)",
    ],
)
def test_whatever_a_formula_codes_comes_back_without_rows(formula):
    rng, n = np.random.default_rng(3), 300
    data = pd.DataFrame(
        {
            "x": rng.uniform(1, 5, n),
            "my x.1": rng.normal(size=n),
            "f": rng.choice(list("abc"), n),
            "b": rng.random(n) > 0.5,
            "k": rng.integers(0, 4, n),
            "g": rng.integers(0, 12, n),
            "h": rng.choice(["h1", "h2", "h3", "h4"], n),
            "o": pd.Categorical(rng.choice(["lo", "hi"], n), ["lo", "hi"], ordered=True),
            "st": pd.array(rng.choice(list("uvw"), n), dtype="string"),
        }
    ).assign(y=lambda d: 0.3 * d["g"] + rng.normal(size=n))
    fit = mm.lmm(formula, data, weights=rng.uniform(1, 2, n))
    again = round_trip(fit.slim())
    assert str(again) == str(fit)
    new = data.sample(9, random_state=1)
    pd.testing.assert_frame_equal(
        again.predict(new, interval="prediction"), fit.predict(new, interval="prediction")
    )
    if fit.design.p:
        one, two = (mm.anova(each, ddf="satterthwaite").to_frame() for each in (again, fit))
        pd.testing.assert_frame_equal(one, two, rtol=1e-6)
    if "o" in fit.design.kinds:
        one, two = (mm.emmeans(each, "o").to_frame() for each in (again, fit))
        pd.testing.assert_frame_equal(one, two)


def test_a_fit_of_parts():
    data = simulated()
    fit = mm.lmm("y ~ x * f + (1 + x | g)", [data.iloc[:20], data.iloc[20:]])
    again = round_trip(fit)
    assert str(again) == str(fit)
    np.testing.assert_array_equal(again.predict(data), fit.predict(data))
    with pytest.raises(mm.DataError, match="made from parts"):
        print(again.resid)


def test_a_slim_file_holds_no_row():
    """Neither a response, nor what a row has of the covariate."""
    data = simulated()
    file = io.BytesIO()
    mm.save(mm.lmm("y ~ x + (1 | g)", data).slim(), file)
    file.seek(0)
    with np.load(file) as archive:
        numbers = [archive[name] for name in archive.files if archive[name].dtype.kind == "f"]
    assert not np.isin(np.concatenate([each.ravel() for each in numbers]), data["y"]).any()
    assert all(len(data) not in each.shape for each in numbers)


@pytest.mark.parametrize("name", ["whole", "slim"])
def test_files_of_this_version_can_be_read_by_later_ones(name):
    """Written once: who changes the format gives it another version, and reads this one too."""
    with (STORED / f"{name}-3.fit").open("rb") as file:
        again = mm.load(file)
    data = mm.load_dataset("oats")
    fit = mm.lmm("yield ~ Variety * poly(nitro, 2) + (1 | Block/Variety)", data)
    assert str(again) == str(fit)
    np.testing.assert_allclose(again.predict(data), fit.predict(data), rtol=1e-9)
    tests = (str(mm.anova(each, ddf="kenward-roger")) for each in (again, fit))
    assert next(tests) == next(tests)


def test_a_damaged_file():
    file = io.BytesIO()
    mm.save(mm.lmm("y ~ x + (1 | g)", simulated()).slim(), file)
    file.seek(0)
    with np.load(file) as archive:
        arrays = {name: archive[name] for name in archive.files}
    header = json.loads(str(arrays["header"]))
    header["rowless"]["named"]["fixed"]["named"]["coding"]["named"]["terms"].pop()
    arrays["header"] = np.array(json.dumps(header))
    other = io.BytesIO()
    np.savez(other, **arrays)
    with pytest.raises(mm.DataError, match="does not say how 'x' is coded"):
        mm.load(other)


def test_files_of_others():
    with pytest.raises(mm.DataError, match="not a fit"):
        mm.load(io.BytesIO(b"nothing"))
    with pytest.raises(mm.DataError, match="not a fit"):
        mm.load(io.BytesIO(pickle.dumps({"header": 1})))
    other = io.BytesIO()
    np.savez(other, theta=np.zeros(1))
    with pytest.raises(mm.DataError, match="not a fit"):
        mm.load(other)
    harmful = io.BytesIO()
    np.savez(harmful, header=np.array([object()], dtype=object), allow_pickle=True)
    with pytest.raises(mm.DataError, match="not a fit"):
        mm.load(harmful)
    later = io.BytesIO()
    np.savez(later, header=np.array(json.dumps({"format": "mmlib fit", "version": VERSION + 1})))
    with pytest.raises(mm.DataError, match="later mmlib"):
        mm.load(later)


def test_what_cannot_be_written():
    data = simulated().assign(g=lambda d: pd.Series([(x,) for x in d["g"]], dtype=object))
    fit = mm.lmm("y ~ x + (1 | g)", data)
    with pytest.raises(mm.DataError, match=r"column 'g' holds objects \(tuple\)"):
        mm.save(fit, io.BytesIO())
    with pytest.raises(mm.DataError, match="a fit is needed"):
        mm.save("fit", io.BytesIO())
    with pytest.raises(FileNotFoundError):
        mm.load("there is no such file")


@pytest.mark.parametrize("path", [None, 3, io.StringIO()])
def test_what_is_no_file(path, sleep_fit):
    for use in (lambda: mm.save(sleep_fit, path), lambda: mm.load(path)):
        with pytest.raises(mm.DataError, match="a Path or an open binary file, not"):
            use()
