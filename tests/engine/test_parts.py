"""A fit of data in parts is that of one frame, and keeps no rows."""

import io
import pickle

import numpy as np
import pandas as pd
import pytest

import mmlib as mm
from mmlib.arrays import lower_triangle
from mmlib.errors import DataError, FormulaError, RankError

SAME = {"rtol": 1e-10, "atol": 1e-12}

MODELS = {
    "slopes, weights, a factor": ("y ~ x * f + (1 + x | b) + (1 | d)", "w"),
    "nested": ("y ~ x + (1 | b/d)", None),
    "a function, apart, combined": (
        "y ~ np.log(w) + poly(x, 2, raw=True) + (x || e:f) + (1 | b)",
        None,
    ),
    "terms of one grouping": ("y ~ x + (1 + x | d) + (0 + w | d)", None),
    "no random term": ("log(w) ~ x + f", None),
}
each_model = pytest.mark.parametrize(("formula", "weights"), MODELS.values(), ids=MODELS)


def whole(n=240):
    rng = np.random.default_rng(8)
    d, x = rng.integers(0, 24, n), rng.normal(size=n)
    frame = pd.DataFrame(
        {
            "d": d,
            "b": pd.Categorical.from_codes(d // 6, ["late", "early", "third", "last"]),
            "e": rng.integers(0, 5, n),
            "f": np.array(["low", "mid", "high"])[rng.integers(0, 3, n)],
            "x": x,
            "w": rng.uniform(0.5, 2, n),
            "y": 1e3 + x + rng.normal(size=24)[d] + rng.normal(size=n),
        }
    )
    return frame.sort_values(["d", "f"], ignore_index=True)  # a part does not have all levels


def parts_of(frame, ends=(31, 32, 150)):
    return [frame.iloc[a:b] for a, b in zip([0, *ends], [*ends, len(frame)], strict=True)]


@each_model
@pytest.mark.parametrize("reml", [True, False])
def test_the_fit_is_that_of_one_frame(formula, weights, reml):
    data = whole()
    one = mm.lmm(formula, data, weights=weights, reml=reml)
    two = mm.lmm(formula, parts_of(data), weights=weights, reml=reml)
    assert two.nobs == len(data)
    np.testing.assert_allclose(two.objective, one.objective, **SAME)
    np.testing.assert_allclose(two.theta, one.theta, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(two.beta, one.beta, rtol=1e-8)
    pd.testing.assert_frame_equal(two.coef_table(), one.coef_table(), rtol=1e-7)
    for name, table in one.ranef().items():
        pd.testing.assert_frame_equal(two.ranef()[name], table, rtol=1e-6)
    L = np.eye(one.design.p)[-1]
    for test in (mm.kenward_roger, mm.satterthwaite):
        assert test(two, L).df[1] == pytest.approx(test(one, L).df[1], rel=1e-6)
    np.testing.assert_allclose(two.predict(data), one.predict(data), rtol=1e-8)
    assert "Scaled residuals" not in str(two.summary())
    assert str(one.varcorr()) == str(two.varcorr())


def test_every_kind_of_parts():
    data = whole()
    parts = parts_of(data)

    class DataSet:  # what Arrow's has
        def to_batches(self):
            return (Batch(part) for part in parts)

    class Batch:
        def __init__(self, part):
            self.to_pandas = lambda: part

    wanted = mm.lmm("y ~ x + (1 | d)", parts)
    for given in (tuple(parts), iter(parts), lambda: iter(parts), DataSet()):
        assert mm.lmm("y ~ x + (1 | d)", given).objective == wanted.objective


def test_partitions_of_dask_are_summed_on_a_cluster():
    distributed = pytest.importorskip("distributed")
    from dask.delayed import delayed

    data = whole()
    wanted = mm.lmm("y ~ x + (1 + x | d) + (1 | b)", data)

    class Frame:  # a Dask DataFrame, as far as we look at it
        def to_delayed(self):
            return [delayed(part) for part in parts_of(data)]

    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
    ):
        fit = mm.lmm("y ~ x + (1 + x | d) + (1 | b)", Frame())
    np.testing.assert_allclose(fit.objective, wanted.objective, **SAME)
    np.testing.assert_allclose(fit.theta, wanted.theta, rtol=1e-8)


def test_missing_rows_and_left_out_columns_are_counted():
    data = whole().assign(twice=lambda d: 2 * d["x"])
    data.loc[[3, 200], "x"] = np.nan
    with pytest.warns(mm.DataWarning):
        fit = mm.lmm("y ~ x + twice + (1 | d)", parts_of(data))
    assert fit.nobs == len(data) - 2
    assert fit.design.n_missing == 2
    assert fit.design.aliased == ("twice",)


def test_rows_whose_mean_cannot_be_estimated_are_known_without_the_rows():
    data = whole().assign(h=lambda d: np.where(d["f"].eq("low"), "one", d["e"].gt(2)))
    new = data.head(2).assign(f=["low", "high"], h=["one", "one"])
    with pytest.warns(mm.DataWarning):
        one, two = (mm.lmm("y ~ f * h + (1 | d)", each) for each in (data, parts_of(data)))
    mm.save(two, file := io.BytesIO())
    wanted = one.predict(new, missing="nan", random=False)
    assert wanted.isna().tolist() == [False, True]
    for fit in (two, mm.load(file)):
        found = fit.predict(new, missing="nan", random=False)
        np.testing.assert_allclose(found, wanted, rtol=1e-8)
    with pytest.raises(RankError, match="cannot be estimated"):
        two.predict(new, random=False)


@pytest.mark.parametrize("column", ["x", "f", "d", "w"])
def test_a_part_without_a_complete_row_counts_its_rows_alone(column):
    data = whole()
    data[column] = data[column].where(data.index >= 31)
    first, second, third, last = parts_of(data)
    parts = [data.iloc[:0], first.assign(**{column: None}), second, third.iloc[:0], third, last]
    with pytest.warns(mm.DataWarning, match="31 row"):
        one = mm.lmm("y ~ x * f + (1 | d)", data, weights="w")
    for several in (parts, iter(parts)):
        with pytest.warns(mm.DataWarning, match="31 row"):
            fit = mm.lmm("y ~ x * f + (1 | d)", several, weights="w")
        np.testing.assert_allclose(fit.objective, one.objective, **SAME)
    with pytest.raises(DataError, match=f"every row has a missing value; look at .*{column}"):
        mm.lmm("y ~ x * f + (1 | d)", [first, first], weights="w")


def test_what_needs_rows_is_refused_by_name():
    fit = mm.lmm("y ~ x + (1 | d)", parts_of(whole()))
    asks = {
        "fitted": lambda: fit.fitted,
        "resid": lambda: fit.resid,
        "leverage": fit.leverage,
        "influence": fit.influence,
        "by group": lambda: fit.influence(group="d"),
        "simulate": lambda: fit.simulate(2, rng=1),
        "predict": fit.predict,
        "response": lambda: fit.refit(np.zeros(240)),
    }
    for ask in asks.values():
        with pytest.raises(DataError, match="made from parts"):
            ask()


def test_a_pickle_holds_the_sums():
    fit = mm.lmm("y ~ x + (1 | d) + (1 | b)", parts_of(whole()))
    again = pickle.loads(pickle.dumps(fit))
    assert again.objective == fit.objective
    np.testing.assert_array_equal(again.ranef()["d"], fit.ranef()["d"])
    ml = mm.lmm("y ~ x + (1 | d) + (1 | b)", whole(), reml=False)
    assert again.refit(reml=False).objective == pytest.approx(ml.objective, rel=1e-10)


@pytest.mark.parametrize(
    ("formula", "change", "options", "error", "message"),
    [
        ("y ~ scale(x) + (1 | d)", {}, {}, FormulaError, r"^scale\(x\) takes .* from all rows"),
        ("y ~ x + (1 | d)", {}, {"weights": np.ones(240)}, DataError, "name a column"),
        ("y ~ f + (1 | d)", {"f": 1}, {}, DataError, "'f' is a factor in one part"),
        ("y ~ x + (1 | row)", {}, {}, RankError, "told from the residual variance"),
        ("f ~ x + (1 | d)", {}, {}, DataError, "must be numeric"),
        ("scale(y) ~ x + (1 | d)", {}, {}, FormulaError, r"^scale\(y\) takes .* from all rows"),
        (
            "poly(y, 2, raw=True) ~ x + (1 | d)",
            {},
            {},
            DataError,
            "one numeric column, but gives 2",
        ),
    ],
)
def test_bad_input(formula, change, options, error, message):
    first, *others = parts_of(whole().assign(row=np.arange(240)))
    parts = [first, *(part.assign(**change) for part in others)]
    with pytest.raises(error, match=message):
        mm.lmm(formula, parts, **options)


@each_model
def test_how_the_variance_moves_has_the_inner_products_of_dense_matrices(formula, weights):
    data = whole()
    matrices = []
    one = mm.lmm(formula, data, weights=weights).blocks
    place = {t: (g, span) for g in one.groupings for t, span in g.spans.items()}
    for term in one.design.terms:
        grouping, span = place[term]
        columns = one.whiten(grouping.model_matrix @ grouping.basis)[:, span]
        same = grouping.codes[:, None] == grouping.codes
        for i, j in zip(*lower_triangle(term.width), strict=True):
            M = np.outer(columns[:, i], columns[:, j]) * same
            matrices.append(M if i == j else M + M.T)
    flat = np.array([*matrices, np.eye(len(data))]).reshape(len(matrices) + 1, -1)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    changes = mm.lmm(formula, parts_of(data), weights=weights).blocks._changes()
    np.testing.assert_allclose(changes @ changes.T, flat @ flat.T, atol=1e-10)


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ x + (1 | d) + (1 | twin)",
        "y ~ x + (x | d) + (0 + x | d)",
        "y ~ x + (x | d) + (x | twin) + (1 | b)",
        "y ~ x + (1 + odd | d)",
        "y ~ x + (0 + time | d) + (time | d)",
    ],
)
@pytest.mark.parametrize("sigma", [None, 1.0])
def test_what_cannot_be_told_apart_is_refused_as_in_one_frame(formula, sigma):
    data = whole()
    data = data.assign(twin="t" + data["d"].astype(str), odd=data["d"] % 2, time=data["e"] + 2e4)
    told = refusal(formula, data, sigma)
    assert told or sigma
    assert refusal(formula, parts_of(data), sigma) == told


@pytest.mark.parametrize("sigma", [None, 1.0])
def test_as_many_fixed_effects_as_rows_are_refused_as_in_one_frame(sigma):
    few = pd.DataFrame({"y": [1.0, 2.0, 4.0], "x": [0.0, 1.0, 3.0], "z": [0, 1, 0], "d": [1, 1, 2]})
    told = refusal("y ~ x + z + (1 | d)", few, sigma)
    assert told.startswith("3 fixed effects for 3 rows")
    assert refusal("y ~ x + z + (1 | d)", [few.iloc[:2], few.iloc[2:]], sigma) == told


def refusal(formula, data, sigma):
    try:
        mm.lmm(formula, data, sigma=sigma)
    except RankError as error:
        return str(error)
    return ""


def test_no_parts():
    for nothing in ([], iter([])):
        with pytest.raises(DataError, match="no part"):
            mm.lmm("y ~ x + (1 | d)", nothing)
