"""From a formula and a data frame to arrays: every row and column accounted for, or named."""

import resource
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mmlib as mm
from tests.helpers.structures import simulated

N = 48
FORMULA = "y ~ x + f + (1 + x | g) + (1 | h)"


@pytest.fixture
def data():
    return simulated(N)


def same_model(one, two):
    """Check that two designs are the same model, whatever their levels are called."""
    np.testing.assert_array_equal(one.y, two.y)
    np.testing.assert_allclose(one.X, two.X)
    assert len(one.terms) == len(two.terms)
    for a, b in zip(one.terms, two.terms, strict=True):
        np.testing.assert_array_equal(a.codes[:, None] == a.codes, b.codes[:, None] == b.codes)
        np.testing.assert_allclose(a.model_matrix, b.model_matrix)


@contextmanager
def little_memory(room=2**30):
    """Allow one more GiB, so that a design that is too large fails instead of taking it all."""
    status = Path("/proc/self/statm")
    if not status.exists():  # only Linux tells
        yield
        return
    used = int(status.read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


# --- what a design holds -------------------------------------------------------------------------


def test_arrays_of_a_model(data):
    design = mm.build_design(FORMULA, data, weights="w", offset="shift")
    assert (design.n, design.p, design.n_missing, design.aliased) == (N, 4, 0, ())
    assert design.fixed_names == ("Intercept", "x", "f[T.low]", "f[T.mid]")
    dummies = [data["f"] == level for level in ["low", "mid"]]
    np.testing.assert_array_equal(design.X, np.column_stack([np.ones(N), data["x"], *dummies]))
    np.testing.assert_array_equal(design.y, data["y"])
    np.testing.assert_array_equal(design.weights, data["w"])
    np.testing.assert_array_equal(design.offset, data["shift"])
    assert [(t.group, t.columns, t.n_levels) for t in design.terms] == [
        ("g", ("Intercept", "x"), 6),
        ("h", ("Intercept",), 5),
    ]
    np.testing.assert_array_equal(design.terms[0].levels[design.terms[0].codes], data["g"])
    np.testing.assert_array_equal(design.index, data.index)


def test_a_parsed_formula_does_as_well(data):
    same_model(mm.build_design(mm.parse_formula(FORMULA), data), mm.build_design(FORMULA, data))


def test_terms_with_more_levels_come_first(data):
    design = mm.build_design("y ~ (1 | f) + (1 | h) + (1 | g) + (0 + x | g)", data)
    assert [str(term.part) for term in design.terms] == [
        "(1 | g)",
        "(0 + x | g)",
        "(1 | h)",
        "(1 | f)",
    ]


@pytest.mark.parametrize(
    ("right", "columns"),
    [
        ("0 + x", lambda d: [d.x]),
        ("x - 1", lambda d: [d.x]),
        ("x + I(x ** 2)", lambda d: [np.ones(N), d.x, d.x**2]),
        ("x + {x * z}", lambda d: [np.ones(N), d.x, d.x * d.z]),
        ("x * z", lambda d: [np.ones(N), d.x, d.z, d.x * d.z]),
        ("exp(x) + np.abs(z)", lambda d: [np.ones(N), np.exp(d.x), np.abs(d.z)]),
        ("center(x)", lambda d: [np.ones(N), d.x - d.x.mean()]),
        ("scale(x)", lambda d: [np.ones(N), (d.x - d.x.mean()) / d.x.std()]),
        ("0 + f", lambda d: [d.f == "high", d.f == "low", d.f == "mid"]),
        (
            "C(f, contr.sum)",
            lambda d: [
                np.ones(N),
                (d.f == "high") * 1 - (d.f == "mid"),
                (d.f == "low") * 1 - (d.f == "mid"),
            ],
        ),
        ("C(f, contr.treatment('mid'))", lambda d: [np.ones(N), d.f == "high", d.f == "low"]),
    ],
)
def test_fixed_part_is_what_formulaic_makes_of_it(data, right, columns):
    design = mm.build_design(f"y ~ {right} + (1 | g)", data)
    np.testing.assert_allclose(design.X, np.column_stack(columns(data)), atol=1e-12)


@pytest.mark.parametrize(
    ("right", "p"), [("poly(x, 3)", 4), ("bs(x, df=4)", 5), ("cr(x, df=4)", 4)]
)
def test_polynomials_and_splines(data, right, p):
    design = mm.build_design(f"y ~ {right} + (1 | g)", data)
    assert design.p == p
    hat = design.X @ np.linalg.pinv(design.X)
    np.testing.assert_allclose(hat @ np.ones(N), 1, err_msg="the constant is among the columns")
    rows = design.fixed_matrix(data.iloc[:5])
    np.testing.assert_allclose(rows, design.X[:5], atol=1e-12, err_msg="coded anew, not refitted")


def test_response_may_be_transformed(data):
    design = mm.build_design("log(y + 100) ~ x + (1 | g)", data)
    np.testing.assert_array_equal(design.y, np.log(data["y"] + 100))


def test_models_without_fixed_or_random_effects(data):
    assert mm.build_design("y ~ 0 + (1 | g)", data).X.shape == (N, 0)
    assert mm.build_design("y ~ x", data).terms == ()
    assert mm.build_design("y ~ 0", data).X.shape == (N, 0)


# --- the data stay as they are -------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::mmlib.DataWarning")
def test_the_callers_data_do_not_change(data):
    data = data.astype({"f": "category", "g": pd.CategoricalDtype([*"zfedcba"])})
    data.loc[[3, 5], "y"] = np.nan
    w = data["w"].to_numpy(copy=True)
    before, weights_before = data.copy(deep=True), w.copy()
    fit = mm.lmm(FORMULA, data, weights=w)
    fit.predict(data.dropna())
    fit.refit(reml=False)
    pd.testing.assert_frame_equal(data, before)
    assert data["g"].cat.categories.tolist() == [*"zfedcba"]
    np.testing.assert_array_equal(w, weights_before)


def test_the_design_does_not_follow_later_changes(data):
    design = mm.build_design("y ~ x + (1 | g)", data, weights="w")
    copies = [design.y.copy(), design.X.copy(), design.weights.copy()]
    data.loc[:, ["y", "x", "w"]] = 99.0
    for array, copy in zip([design.y, design.X, design.weights], copies, strict=True):
        np.testing.assert_array_equal(array, copy)


# --- rows ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["y", "x", "f", "g", "h", "w", "shift"])
def test_rows_with_missing_values_are_left_out_and_counted(data, column):
    holed = data.copy()
    holed.loc[[2, 30], column] = None
    design = mm.build_design(FORMULA, holed, weights="w", offset="shift")
    assert (design.n, design.n_missing) == (N - 2, 2)
    assert design.index.tolist() == [row for row in range(N) if row not in (2, 30)]
    kept = data.drop(index=[2, 30])
    same_model(design, mm.build_design(FORMULA, kept, weights="w", offset="shift"))
    np.testing.assert_array_equal(design.weights, kept["w"])
    np.testing.assert_array_equal(design.offset, kept["shift"])


def test_missing_weights_and_offsets_of_an_array_count_too(data):
    holes = np.where(data.index == 7, np.nan, 1.0)
    for argument in ("weights", "offset"):
        assert mm.build_design("y ~ (1 | g)", data, **{argument: holes}).n_missing == 1


def test_a_column_called_like_an_argument_loses_no_missing_value(data):
    holed = data.assign(weights=data["x"].where(data.index != 7))
    design = mm.build_design("y ~ weights + (1 | g)", holed, weights=np.ones(N))
    assert design.n_missing == 1


def test_missing_values_of_unused_columns_do_not_matter(data):
    assert mm.build_design("y ~ (1 | g)", data.assign(x=np.nan)).n_missing == 0


@pytest.mark.parametrize(
    ("column", "arguments"), [("x", {}), ("weights", {"weights": np.full(N, np.nan)})]
)
def test_nothing_left_is_named(data, column, arguments):
    holed = data.assign(x=np.nan if column == "x" else data["x"])
    with pytest.raises(mm.DataError, match=f"every row has a missing value; look at {column}"):
        mm.build_design("y ~ x + (1 | g)", holed, **arguments)


@pytest.mark.filterwarnings("ignore::mmlib.DataWarning")
@pytest.mark.parametrize(
    "index",
    [
        pd.Index(np.zeros(N, dtype=int)),
        pd.MultiIndex.from_arrays([np.arange(N) // 2, np.arange(N) % 2], names=["y", None]),
        pd.date_range("2020-01-01", periods=N, name="x"),
        pd.Index([f"row {i}" for i in range(N)][::-1], name="g"),
    ],
    ids=["duplicates", "MultiIndex", "dates named as a column", "reversed text"],
)
def test_any_index_is_carried_along(data, index):
    labelled = data.set_index(index)
    labelled.iloc[4, 0] = np.nan
    design = mm.build_design(FORMULA, labelled, weights=data["w"].to_numpy())
    same_model(design, mm.build_design(FORMULA, data.drop(index=4)))
    fit = mm.lmm(FORMULA, labelled, weights=labelled["w"])
    kept = np.arange(N) != 4
    for values in (fit.fitted, fit.resid):
        pd.testing.assert_index_equal(values.index, index[kept])
    np.testing.assert_array_equal(design.weights, data["w"][kept])


# --- kinds of columns ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "convert",
    [
        lambda g: g.astype("category"),
        lambda g: g.astype(pd.CategoricalDtype([*"qfedcbaz"])),
        lambda g: g.astype(pd.CategoricalDtype([*"bcdefa"], ordered=True)),
        lambda g: g.astype(object),
        lambda g: g.astype("string"),
        lambda g: g.map(ord),
        lambda g: g.map(ord).astype("int8"),
        lambda g: g.map(ord).astype("Int64"),
        lambda g: g.map(ord) / 7,
        lambda g: pd.to_datetime(g.map(ord), unit="D"),
        lambda g: pd.cut(g.map(ord), np.arange(96, 103)),
    ],
)
def test_any_kind_of_grouping(data, convert):
    same_model(
        mm.build_design("y ~ x + (x | g) + (1 | g:h)", data.assign(g=convert(data["g"]))),
        mm.build_design("y ~ x + (x | g) + (1 | g:h)", data),
    )


def test_a_grouping_of_booleans(data):
    design = mm.build_design("y ~ x + (1 | b)", data.assign(b=data["x"] > 0))
    assert design.terms[0].levels.tolist() == [False, True]


@pytest.mark.parametrize(
    "convert",
    [
        lambda f: f.astype(object),
        lambda f: f.astype("string"),
        lambda f: f.astype("category"),
        lambda f: f.astype(pd.CategoricalDtype(["unused", "high", "low", "mid", "spare"])),
    ],
)
def test_any_kind_of_factor_without_its_unused_levels(data, convert):
    converted = data.assign(f=convert(data["f"]))
    found = mm.build_design("y ~ f + (0 + f | g)", converted)
    wanted = mm.build_design("y ~ f + (0 + f | g)", data)
    same_model(found, wanted)
    assert found.fixed_names == wanted.fixed_names
    assert found.terms[0].columns == wanted.terms[0].columns


def test_levels_lost_with_missing_rows_are_unused(data):
    holed = data.astype({"f": "category", "g": "category"})
    holed.loc[(holed["f"] == "mid") | (holed["g"] == "c"), "y"] = np.nan
    design = mm.build_design("y ~ f + (1 | g)", holed)
    assert design.fixed_names == ("Intercept", "f[T.low]")
    assert design.terms[0].levels.tolist() == list("abdef")


@pytest.mark.parametrize("convert", [lambda i: i.astype("Int64"), lambda i: i.astype("Float32")])
def test_nullable_numbers(data, convert):
    holed = data.assign(i=convert(data["i"]))
    holed.loc[9, "i"] = pd.NA
    design = mm.build_design("y ~ i + (1 | g)", holed)
    assert design.n_missing == 1
    np.testing.assert_array_equal(design.X[:, 1], data["i"].drop(index=9))


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "a.b",
        "a b",
        "a|b",
        "x:z",
        "(x + z)",
        "é",
        "Treatment",
        "log",
        "C",
        "I",
        "np",
        "poly",
        "list",
    ],
)
@pytest.mark.parametrize("column", ["y", "x", "g"])
def test_unusual_names(data, column, name):
    quoted = name if name.isidentifier() or name == "a.b" else f"`{name}`"
    formula = "y ~ x + (0 + x | g)".replace(column, quoted)
    found = mm.build_design(formula, data.rename(columns={column: name}))
    same_model(found, mm.build_design("y ~ x + (0 + x | g)", data))


def test_a_quoted_name_inside_a_function(data):
    found = mm.build_design("y ~ exp(`a.b`) + (1 | g)", data.rename(columns={"x": "a.b"}))
    same_model(found, mm.build_design("y ~ exp(x) + (1 | g)", data))


def test_names_of_the_calling_scope_are_not_data(data):
    nearby = np.ones(N)
    with pytest.raises(mm.DataError, match="no column 'nearby'"):
        mm.build_design("y ~ nearby + (1 | g)", data)
    assert nearby.all()


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("y ~ xx + (1 | g)", r"no column 'xx'\. Did you mean 'x'\? Its columns are y, x, z"),
        ("y ~ x + (1 | G)", r"no column 'G'\. Did you mean 'g'\?"),
        ("Y ~ x + (1 | g)", r"no column 'Y'\. Did you mean 'y'\?"),
        ("y ~ x + (nothing | g)", "no column 'nothing'"),
        ("y ~ x + (1 | g:lost)", "no column 'lost'"),
        ("y ~ log(unknown) + (1 | g)", "no column 'unknown'"),
        ("y ~ poly(unknown, 2) + (1 | g)", "no column 'unknown'"),
    ],
)
def test_unknown_column_is_named(data, formula, message):
    with pytest.raises(mm.DataError, match=message):
        mm.build_design(formula, data)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("sqrt(w)", "no function 'sqrt'.*np.sqrt"),
        ("log1p(w)", "no function 'log1p'.*np.log1p"),
        ("factor(i)", r"no function 'factor'.*C\("),
        ("as.factor(i)", r"no function 'as.factor'.*C\("),
        ("offset(z)", "no function 'offset'.*offset="),
        ("ns(x, 3)", "no function 'ns'"),
        ("nosuch(x)", "no function 'nosuch'"),
    ],
)
def test_unknown_function_is_named(data, call, message):
    with pytest.raises(mm.FormulaError, match=message):
        mm.build_design(f"y ~ {call} + (1 | g)", data)


# --- columns that depend on others ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "aliased"),
    [
        ("x + I(2 * x)", ("I(2 * x)",)),
        ("x + z + I(x + z) + f", ("I(x + z)",)),
        ("I(x * 0) + x", ("I(x * 0)",)),
        ("f + C(f, contr.sum)", ("C(f, contr.sum)[S.high]", "C(f, contr.sum)[S.low]")),
        ("I(x + 1e9) + x", ("I(x + 1000000000.0)",)),  # as good as constant: R's tolerance is 1e-7
    ],
)
def test_dependent_columns_are_left_out_and_named(data, right, aliased):
    design = mm.build_design(f"y ~ {right} + (1 | g)", data)
    assert design.aliased == aliased
    assert np.linalg.matrix_rank(design.X) == design.p == design.X.shape[1]


def test_empty_cells_of_an_interaction_are_aliased(data):
    holed = data[(data["f"] != "mid") | (data["h"] != "h2")]
    design = mm.build_design("y ~ f * h + (1 | g)", holed)
    assert design.aliased == ("f[T.mid]:h[T.h2]",)


def test_a_scale_of_columns_does_not_make_them_dependent(data):
    design = mm.build_design("y ~ I(x * 1e-12) + I(z * 1e12) + (1 | g)", data)
    assert design.aliased == ()


# --- bad data ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ([1, 2], "must be a pandas DataFrame, not list"),
        (None, "must be a pandas DataFrame, not NoneType"),
        (np.ones((3, 2)), "must be a pandas DataFrame, not numpy.ndarray"),
        (pd.DataFrame(), "0 rows and 0 columns: nothing to work with"),
        (simulated().iloc[:0], "0 rows and 10 columns: nothing to work with"),
        (pd.concat([simulated(), simulated()[["x"]]], axis=1), "more than one column named x"),
    ],
)
def test_bad_frame(frame, message):
    with pytest.raises(mm.DataError, match=message):
        mm.build_design(FORMULA, frame)


COMPLEX = np.ones(N) + 1j
DATES = pd.date_range("2020-01-01", periods=N)
OBJECTS = pd.Series([1, "a", 2.5] * (N // 3), dtype=object)


@pytest.mark.parametrize(
    ("formula", "column", "values", "message"),
    [
        # the response
        ("y ~ x + (1 | g)", "y", "text", "response 'y' must be numeric"),
        ("y ~ x + (1 | g)", "y", ["a", "b", "c"] * 16, "response 'y' must be numeric"),
        ("y ~ x + (1 | g)", "y", pd.Categorical(["a", "b"] * 24), "response 'y' must be numeric"),
        ("y ~ x + (1 | g)", "y", [True, False] * 24, "response 'y' must be numeric"),
        ("y ~ x + (1 | g)", "y", COMPLEX, "'y'"),
        ("y ~ x + (1 | g)", "y", DATES, "'y'"),
        ("y ~ x + (1 | g)", "y", OBJECTS, "'y'"),
        ("y ~ x + (1 | g)", "y", 1.0, r"response 'y' is constant \(1 in every row\)"),
        ("y ~ x + (1 | g)", "y", [np.inf, *range(N - 1)], "response 'y' has 1 infinite"),
        ("log(y) ~ x + (1 | g)", "y", np.arange(-5.0, N - 5), r"log\(y\).*infinite, undefined"),
        ("f ~ x + (1 | g)", "x", 1.0, "response 'f' must be numeric"),
        ("C(i) ~ x + (1 | g)", "x", 1.0, r"response 'C\(i\)' must be one numeric column"),
        # the fixed part
        ("y ~ x + (1 | g)", "x", [np.inf, *range(N - 1)], r"x in the fixed part 'x' has infinite"),
        ("y ~ x + (1 | g)", "x", COMPLEX, "'x' is of type complex"),
        ("y ~ x + (1 | g)", "x", DATES, "'x' is of type datetime64"),
        ("y ~ x + (1 | g)", "x", DATES - DATES[0], "'x' is of type timedelta64"),
        ("y ~ x + (1 | g)", "x", OBJECTS, "'x' is of type object; convert it to numbers"),
        ("y ~ x + (1 | g)", "x", [[1], [2]] * 24, "'x' is of type object"),
        ("y ~ log(x) + (1 | g)", "x", 0.0, r"log\(x\) in the fixed part 'log\(x\)' has infinite"),
        ("y ~ log(x) + (1 | g)", "x", -1.0, r"log\(x\) in the fixed part 'log\(x\)' has infinite"),
        ("y ~ exp(x) + (1 | g)", "x", 1e6, r"exp\(x\) in the fixed part"),
        ("y ~ x + (1 | g)", "x", 1e150, r"x in the fixed part 'x' has infinite, .* too large"),
        ("y ~ x + (1 | g)", "x", 1e-150, r"x in the fixed part 'x' has too small values"),
        # a random term
        ("y ~ 1 + (x | g)", "x", np.arange(N) * 1e-300, "x in the random term .* has too small"),
        ("y ~ 1 + (x | g)", "x", [np.inf, *range(N - 1)], r"x in the random term '\(x \| g\)'"),
        ("y ~ 1 + (log(x) | g)", "x", -1.0, r"log\(x\) in the random term"),
        ("y ~ 1 + (x | g)", "x", OBJECTS, "'x' is of type object"),
        ("y ~ 1 + (1 | x)", "x", [[1], [2]] * 24, "'x'"),
        ("y ~ 1 + (1 | g)", "g", "only", r"grouping 'g' has one level \('only'\)"),
        ("y ~ 1 + (1 | g/h)", "g", "only", r"grouping 'g' has one level \('only'\)"),
    ],
)
def test_bad_column_is_named(data, formula, column, values, message):
    with pytest.raises(mm.DataError, match=message):
        mm.build_design(formula, data.assign(**{column: values}))


@pytest.mark.filterwarnings("ignore::mmlib.DataWarning")
@pytest.mark.parametrize(
    "formula",
    [
        "y ~ I(x**2) + (1 | g)",
        "y ~ x:i + (1 | g)",
        "y ~ x * i + (I(x**2) | g)",
        "y ~ C(i) + I(i**3) + (1 | g)",
        "I(x - 200) ~ i + (1 | g)",
    ],
)
@pytest.mark.parametrize("kind", ["int8", "uint8", "Int8"])
def test_whole_numbers_do_not_overflow(data, formula, kind):
    small = data.assign(x=np.arange(N) * 2, i=data["i"] * 30).astype({"x": kind, "i": kind})
    wide = small.astype({"x": "int64", "i": "int64"})
    one, two = mm.lmm(formula, small), mm.lmm(formula, wide)
    np.testing.assert_array_equal(one.design.X, two.design.X)
    np.testing.assert_array_equal(one.design.y, two.design.y)
    assert one.design.fixed_names == two.design.fixed_names
    np.testing.assert_allclose(one.predict(small), two.fitted, rtol=1e-9)


def test_high_powers_of_whole_numbers_do_not_overflow(data):
    year = data.assign(x=2000 + data["i"])
    design = mm.build_design("y ~ I(x**6) + (1 | g)", year)
    np.testing.assert_allclose(design.X[:, 1], year["x"].astype(float) ** 6)


def test_one_level_of_a_factor_that_is_combined_with_another_does_no_harm(data):
    found = mm.build_design("y ~ 1 + (1 | g:h)", data.assign(g="only"))
    same_model(found, mm.build_design("y ~ 1 + (1 | h)", data))


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("y ~ lag(x) + (1 | g)", r"lag\(x\).*order of the rows"),
        ("y ~ log(f) + (1 | g)", r"log\(f\)"),
        ("y ~ I(x ^ 2) + (1 | g)", r"a power is written \*\*"),
        ("y ~ x.nothing + (1 | g)", "x.nothing"),
        ("y ~ poly(x, 60) + (1 | g)", "from 1, and below 48, the number of .* not 60"),
        ("y ~ poly(x, degree=0) + (1 | g)", "whole number from 1, .* not 0"),
        ("y ~ x + (poly(x, 1.5) | g)", r"whole number from 1, .* not 1\.5"),
        ("y ~ poly(x, 0, raw=True) + (1 | g)", r"whole number from 1, not 0\.$"),
        ("y ~ C(f, contr.custom([1, -1])) + (1 | g)", "have a row for each level"),
        ("y ~ C(f, [[1, 0]]) + (1 | g)", "have a row for each level"),
        ("y ~ C(f, levels=['nothing']) + (1 | g)", "leaves levels of the data out"),
    ],
)
def test_expression_that_fails_is_named(data, formula, message):
    with pytest.raises(mm.MMError, match=message):
        mm.build_design(formula, data)


# --- weights and offset --------------------------------------------------------------------------


@pytest.mark.parametrize("argument", ["weights", "offset"])
def test_numbers_by_name_or_by_position(data, argument):
    wanted = data["w"].to_numpy()
    for values in ("w", wanted, wanted.tolist(), tuple(wanted), data["w"]):
        design = mm.build_design("y ~ (1 | g)", data, **{argument: values})
        np.testing.assert_array_equal(getattr(design, argument), wanted)
    shuffled = pd.Series(wanted, index=np.arange(N)[::-1])
    with pytest.raises(mm.DataError, match=f"{argument} is a Series whose index is not that of"):
        mm.build_design("y ~ (1 | g)", data, **{argument: shuffled})


@pytest.mark.parametrize("argument", ["weights", "offset"])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("ww", "no column 'ww'"),
        ("f", r"{0} column 'f' must be real numbers"),
        ([1.0, 2.0], r"{0} must have one number for each of the 48 rows of data; .*\(2,\)"),
        (1.0, r"{0} must have one number for each of the 48 rows"),
        (np.ones((N, 1)), r"{0} must have one number for each of the 48 rows of data; .*\(48, 1\)"),
        (["a"] * N, "{0} must be real numbers"),
        (COMPLEX, "{0} must be real numbers"),
        (DATES, "{0} must be real numbers"),
        (object(), "{0} must be"),
        (np.full(N, 1e200), "{0}.* too large"),
        (np.full(N, np.inf), "{0} has infinite values"),
        ([-np.inf] + [1.0] * (N - 1), "{0} has infinite values"),
    ],
)
def test_bad_weights_and_offsets(data, argument, values, message):
    with pytest.raises(mm.DataError, match=message.format(argument)):
        mm.build_design("y ~ x + (1 | g)", data, **{argument: values})


@pytest.mark.parametrize("bad", [0.0, -1.0])
def test_weights_must_be_positive(data, bad):
    weights = np.where(data.index < 3, bad, 1.0)
    with pytest.raises(mm.DataError, match="must be positive, but 3 are zero or negative"):
        mm.build_design("y ~ x + (1 | g)", data, weights=weights)


def test_weights_too_small_to_compute_with_are_refused(data):
    with pytest.raises(mm.DataError, match="weights has values below 1e-100, too small"):
        mm.build_design("y ~ x + (1 | g)", data, weights=np.full(N, 1e-320))


# --- too many parameters -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("y ~ x + (1 | row)", r"\(1 \| row\) has 48 levels for 48 rows"),
        (
            "y ~ x + (x | pair)",
            r"\(x \| pair\) has 48 random effects \(24 levels × 2\) for 48 rows",
        ),
        ("y ~ x + (1 | g:row)", r"\(1 \| g:row\) has 48 levels for 48 rows"),
        ("y ~ C(row)", "48 fixed effects for 48 rows leave nothing to estimate a variance from"),
        ("y ~ x + (x + I(2 * x) | g)", r"'I\(2 \* x\)' of \(x \+ I\(2 \* x\) \| g\)"),
        ("y ~ x + (0 + nil | g)", "column 'nil' of .* is zero or depends"),
    ],
)
def test_more_parameters_than_the_data_identify(data, formula, message):
    extended = data.assign(row=np.arange(N), pair=np.arange(N) // 2, nil=0.0)
    with pytest.raises(mm.RankError, match=message):
        mm.lmm(formula, extended)


@pytest.mark.parametrize(
    ("formula", "column"),
    [
        ("y ~ s + (1 | g)", "s"),
        ("y ~ C(id) + (1 | g)", "id"),
        ("y ~ x:s + (1 | g)", "s"),
        ("y ~ 1 + (s | g)", "s"),
        ("y ~ 1 + (0 + C(id) || g)", "id"),
        ("s ~ 1 + (1 | g)", "s"),
    ],
)
def test_a_factor_of_a_hundred_thousand_levels_is_refused_before_it_is_coded(formula, column):
    n = 100_000  # the dense matrix would take 75 GiB
    big = pd.DataFrame({"y": np.arange(n) % 7, "x": 1.0, "g": np.arange(n) % 50})
    big = big.assign(id=np.arange(n), s=[str(i) for i in range(n)])
    with little_memory(), pytest.raises(mm.DataError, match=f"'{column}'"):
        mm.build_design(formula, big)


def test_an_interaction_of_two_large_factors_is_refused_before_it_is_coded():
    n = 20_000  # 400 × 401 columns: 24 GiB
    big = pd.DataFrame({"y": np.arange(n) % 7, "g": np.arange(n) % 50})
    big = big.assign(a=[f"a{i % 400}" for i in range(n)], b=[f"b{i % 401}" for i in range(n)])
    with little_memory(), pytest.raises(mm.DataError, match=r"a:b|'a'|'b'"):
        mm.build_design("y ~ a:b + (1 | g)", big)


def test_a_grouping_of_ten_thousand_levels_is_welcome():
    n = 30_000
    big = pd.DataFrame({"y": np.arange(n) % 7, "g": [f"g{i // 3}" for i in range(n)]})
    assert mm.build_design("y ~ 1 + (1 | g)", big).terms[0].n_levels == 10_000


# --- groupings that are the same -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("random", "message"),
    [
        ("(1 | g) + (1 | g)", r"of Intercept in \(1 \| g\) and \(1 \| g\) cannot be told apart"),
        ("(1 + x | g) + (1 | g)", r"keep Intercept in one of them"),
        ("(x | g) + (x || g)", r"keep Intercept in one of them"),
        ("(0 + x + z | g) + (0 + z + x | g)", r"variances of x, z in"),
        ("(1 | g/m) + (1 | g)", r"\(1 \| g\) and \(1 \| g\)"),
        ("(1 | g:m) + (1 | h) + (1 | m:g)", r"'g:m' and 'm:g' divide the rows in the same way"),
    ],
)
def test_effects_that_stand_in_two_terms_are_refused(data, random, message):
    with pytest.raises(mm.RankError, match=message):
        mm.build_design(f"y ~ x + {random}", data)


def test_two_names_for_one_grouping_are_refused(data):
    twin = data.assign(twin=data["g"].map(lambda name: f"the {name}"))
    with pytest.raises(mm.RankError, match="'g' and 'twin' divide the rows in the same way"):
        mm.build_design("y ~ x + (1 | g) + (1 | twin)", twin)
    design = mm.build_design("y ~ x + (1 | g) + (0 + x | twin)", twin)  # another effect: allowed
    assert len(design.terms) == 2


@pytest.mark.parametrize("term", ["site", "0 + site", "I(x > -100)", "x:site"])
def test_a_factor_with_one_level_is_refused(term):
    """The coding would leave its column out, and the fit would be that without it."""
    data = pd.DataFrame({"g": [1, 1, 2, 2, 3, 3], "x": [1.0, 4, 2, 6, 5, 3], "site": "only"})
    data["y"] = [1.0, 2, 4, 3, 6, 5]
    with pytest.raises(mm.DataError, match="is a factor with one level"):
        mm.lmm(f"y ~ {term} + (1 | g)", data)
    if term != "I(x > -100)":
        with pytest.raises(mm.DataError, match="is a factor with one level"):
            mm.lmm(f"y ~ x + ({term} | g)", data)
