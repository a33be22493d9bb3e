"""Every type of column is computed with as what it means, or refused by name."""

from decimal import Decimal
from functools import cache

import numpy as np
import pandas as pd
import pytest

import mmlib as mm
from tests.helpers import oracle
from tests.helpers.structures import simulated

N = 48
FLAG_TYPES = ["bool", "boolean", "object", "category", "bool[pyarrow]"]


def as_type(column, kind):
    if "pyarrow" in kind:
        pytest.importorskip("pyarrow")
    return column.astype(kind)


def flagged(kind="bool"):
    data = simulated()
    return data.assign(flag=as_type(data["x"] > 0, kind), smokes=as_type(data["z"] > 0.3, kind))


# --- flags ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FLAG_TYPES)
@pytest.mark.parametrize(
    "formula",
    [
        "y ~ flag + (1 | g)",
        "y ~ 0 + flag + (1 | g)",
        "y ~ flag * f + (1 | g)",
        "y ~ x:flag + (1 | g)",
        "y ~ f + (flag | g)",
        "y ~ f + (0 + flag | g)",
        "y ~ f + (flag || g)",
        "y ~ x + (1 | flag:g)",
        "y ~ C(flag) + (1 | g)",
    ],
)
def test_a_flag_is_a_factor_of_two_levels(formula, kind):
    data = flagged(kind)
    found = mm.build_design(formula, data)
    text = data.assign(flag=np.where(data["x"] > 0, "b", "a"))
    wanted = mm.build_design(formula, text)
    np.testing.assert_array_equal(found.X, wanted.X)
    for one, two in zip(found.terms, wanted.terms, strict=True):
        np.testing.assert_array_equal(one.model_matrix, two.model_matrix)
        np.testing.assert_array_equal(one.codes, two.codes)
    spelled = [n.replace("T.True", "T.b").replace("[False]", "[a]") for n in found.fixed_names]
    assert [n.replace("[True]", "[b]") for n in spelled] == list(wanted.fixed_names)


@pytest.mark.parametrize("kind", [kind for kind in FLAG_TYPES if kind != "category"])
@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("I(flag + smokes)", lambda a, b: a + b),
        ("I(flag + smokes + flag)", lambda a, b: 2 * a + b),
        ("I(-flag)", lambda a, _: -a),
        ("I(flag * smokes)", lambda a, b: a * b),
        ("I(flag - smokes)", lambda a, b: a - b),
        ("I((x > 0) + (z > 0.3))", lambda a, b: a + b),
        ("np.sqrt(flag + 1)", lambda a, _: np.sqrt(a + 1)),
        ("exp(flag)", lambda a, _: np.exp(a)),
        ("scale(flag)", lambda a, _: (a - a.mean()) / a.std(ddof=1)),
        ("np.where(flag & smokes, 2, 1)", lambda a, b: 1 + a * b),
        ("I(2 ** flag)", lambda a, _: 2**a),
        ("flag.clip(0, 0.5)", lambda a, _: a / 2),
    ],
)
def test_in_arithmetic_flags_count_0_and_1(expression, value, kind):
    data = flagged(kind)
    found = mm.build_design(f"y ~ {expression} + (1 | g)", data).X[:, 1]
    wanted = value((data["x"] > 0).to_numpy(float), (data["z"] > 0.3).to_numpy(float))
    np.testing.assert_allclose(found, wanted, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("kind", ["bool", "boolean", "object"])
@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("I(x > 0)", lambda d: d["x"] > 0),
        ("{x > 0}", lambda d: d["x"] > 0),
        ("I(flag)", lambda d: d["flag"]),
        ("I(~flag)", lambda d: ~d["flag"]),
        ("I(flag & smokes)", lambda d: d["flag"] & d["smokes"]),
        ("I(flag | (z > 0.3))", lambda d: d["flag"] | d["smokes"]),
        ("I(f == 'low')", lambda d: d["f"] == "low"),
        ("f.isin(['low', 'mid'])", lambda d: d["f"] != "high"),
        ("np.isin(f, ['low', 'mid'])", lambda d: d["f"] != "high"),
        ("np.logical_xor(flag, smokes)", lambda d: d["flag"] ^ d["smokes"]),
        ("x.between(-1, 1)", lambda d: d["x"].between(-1, 1)),
    ],
)
def test_a_logical_expression_is_a_factor(expression, value, kind):
    data = flagged(kind)
    wanted = value(flagged()).to_numpy()
    design = mm.build_design(f"y ~ {expression} + (0 + {expression} | g)", data)
    assert design.fixed_names[1].endswith("[T.True]")
    np.testing.assert_array_equal(design.X[:, 1], wanted)
    np.testing.assert_array_equal(design.terms[0].model_matrix, np.column_stack([~wanted, wanted]))


def test_flags_of_a_trial_as_in_r():
    data, r = oracle.load_report("flags")
    assert data["smoker"].dtype == bool
    fit = mm.lmm("y ~ smoker * arm + (1 | site)", data)
    for kind, numbers in ((3, r["type3"]), (2, r["type2"])):
        table = mm.anova(fit, type=kind, ddf="satterthwaite").to_frame()
        np.testing.assert_allclose(table, numbers, rtol=1e-4)
    formulas = [
        "y ~ arm + (0 + smoker | site)",
        "y ~ arm + (smoker | site)",
        "y ~ 0 + smoker + arm + (1 | site)",
    ]
    found = [mm.lmm(formula, data).objective for formula in formulas]
    np.testing.assert_allclose(found, r["reml"], rtol=1e-7)


@pytest.mark.parametrize("kind", [kind for kind in FLAG_TYPES if kind != "category"])
def test_a_count_of_flags_as_in_r(kind):
    data, r = oracle.load_report("three_flags")
    flags = ["diabetes", "smoker", "obese"]
    data[flags] = data[flags].apply(as_type, kind=kind)
    count = mm.lmm("y ~ I(diabetes + smoker + obese) + (1 | clinic)", data)
    np.testing.assert_allclose(count.beta, r["sum"], rtol=1e-5)
    minus = mm.lmm("y ~ I(-smoker) + (1 | clinic)", data)
    np.testing.assert_allclose(minus.beta, r["minus"], rtol=1e-5)


def test_new_data_may_have_one_of_the_two_values():
    data = flagged()
    fit = mm.lmm("y ~ flag + I(z > 0) + (1 | g)", data)
    for row in range(4):
        np.testing.assert_allclose(fit.predict(data.iloc[[row]]), fit.fitted.iloc[[row]])
    np.testing.assert_allclose(fit.predict(data.astype({"flag": object})), fit.fitted)
    with pytest.raises(mm.DataError, match=r"'flag' .* was true or false in the fit"):
        fit.predict(data.astype({"flag": int}))


# --- numbers -------------------------------------------------------------------------------------

NUMBER_TYPES = [
    *("float16", "float32", "float64", "longdouble"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("Int8", "Int64", "UInt8", "UInt64", "Float32", "Float64"),
    *("int8[pyarrow]", "uint16[pyarrow]", "float[pyarrow]", "double[pyarrow]", "object"),
    "Sparse[int]",
    "decimal",
]


def numbers_of(kind, values):
    column = pd.Series(values)
    if kind == "decimal":
        return column.map(lambda v: Decimal(int(v)))
    return as_type(column, kind)


def with_whole_numbers():
    rng = np.random.default_rng(5)
    return simulated().assign(k=rng.integers(1, 100, N), m=rng.integers(1, 100, N))


@cache
def design_in_float64(term):
    data = with_whole_numbers().astype({"k": float, "m": float})
    return mm.build_design(f"y ~ {term} + (1 | g)", data)


@pytest.mark.parametrize("kind", NUMBER_TYPES)
@pytest.mark.parametrize(
    "term",
    ["k", "k:x", "I(k**3)", "k * m", "I(k - m)", "I(-k)", "poly(k, 2)", "log(k)", "np.exp(k / 7)"],
)
def test_arithmetic_is_in_float64_whatever_the_type(kind, term):
    data = with_whole_numbers()
    wanted = design_in_float64(term)
    typed = data.assign(k=numbers_of(kind, data["k"]), m=numbers_of(kind, data["m"]))
    found = mm.build_design(f"y ~ {term} + (1 | g)", typed)
    np.testing.assert_array_equal(found.X, wanted.X)
    assert found.X.dtype == np.float64
    assert found.fixed_names == wanted.fixed_names


def test_half_precision_loses_no_predictor():
    data = simulated().assign(k=np.arange(N, dtype="float16"))
    design = mm.build_design("y ~ k + I(k**2) + I(k**3) + I(k**4) + (1 | g)", data)
    assert design.aliased == ()


@pytest.mark.parametrize("kind", [k for k in NUMBER_TYPES if k != "float16"])
def test_responses_weights_and_offsets_of_any_type(kind):
    data = simulated().assign(k=np.arange(1, N + 1), m=np.arange(N) % 7 + 1)
    typed = data.assign(k=numbers_of(kind, data["k"]), m=numbers_of(kind, data["m"]))
    design = mm.build_design("k ~ x + (1 | g)", typed, weights="m", offset="m")
    np.testing.assert_array_equal(design.y, data["k"])
    np.testing.assert_array_equal(design.weights, data["m"])
    np.testing.assert_array_equal(design.offset, data["m"])


@pytest.mark.parametrize("kind", NUMBER_TYPES)
def test_groupings_of_any_type(kind):
    data = simulated().assign(k=np.arange(N) % 5 + 1)
    fit = mm.lmm("y ~ x + (1 | k) + (1 | k:g)", data.assign(k=numbers_of(kind, data["k"])))
    wanted = mm.lmm("y ~ x + (1 | k) + (1 | k:g)", data)
    np.testing.assert_allclose(fit.fitted, wanted.fitted)
    np.testing.assert_allclose(fit.predict(data), wanted.fitted)


def test_labels_are_those_of_the_column():
    data = simulated().assign(k=(np.arange(N) % 3).astype("int8"), r=np.arange(N) % 2 / 4)
    names = mm.build_design("y ~ C(k) + C(r) + (1 | g)", data).fixed_names
    assert names == ("Intercept", "C(k)[T.1]", "C(k)[T.2]", "C(r)[T.0.25]")


# --- factors of Arrow, and what cannot be used -----------------------------------------------


@pytest.mark.parametrize("formula", ["y ~ f + (1 | g)", "y ~ x * f + (f | g)", "y ~ x + (1 | f)"])
def test_dictionaries_of_arrow_are_factors(formula):
    pa = pytest.importorskip("pyarrow")
    data = simulated()
    typed = data.copy()
    for name in ("f", "g"):
        encoded = pa.array(data[name].astype(str).tolist()).dictionary_encode()
        typed[name] = pd.Series(encoded, dtype=pd.ArrowDtype(encoded.type))
    levels = {name: pd.CategoricalDtype(data[name].unique()) for name in ("f", "g")}
    found = mm.lmm(formula, typed)
    wanted = mm.lmm(formula, data.astype(levels))
    assert found.design.fixed_names == wanted.design.fixed_names
    np.testing.assert_allclose(found.fitted, wanted.fitted)
    np.testing.assert_allclose(found.predict(typed.iloc[:5]), wanted.fitted[:5])


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.ones(N) + 1j, "complex128"),
        (pd.date_range("2020-01-01", periods=N), "datetime64"),
        (pd.date_range("2020-01-01", periods=N, tz="UTC"), "datetime64"),
        (pd.timedelta_range("1h", periods=N), "timedelta64"),
        (pd.period_range("2020-01", periods=N, freq="M"), "period"),
        (pd.interval_range(0, N), "interval"),
        ([b"a", b"b"] * 24, "object"),
        ([1, "a"] * 24, "object"),
        ([True, "a"] * 24, "object"),
        ([{1}, {2}] * 24, "object"),
    ],
)
@pytest.mark.parametrize(
    "formula", ["y ~ k + (1 | g)", "y ~ x:k + (1 | g)", "y ~ I(k) + (1 | g)", "y ~ x + (k | g)"]
)
def test_what_cannot_be_computed_with_is_refused_by_name(formula, values, kind):
    data = simulated().assign(k=pd.Series(values))
    with pytest.raises(mm.DataError, match=f"column 'k' is of type {kind}.*convert it"):
        mm.build_design(formula, data)
    with pytest.raises(mm.DataError, match="response 'k' must be numeric"):
        mm.build_design("k ~ x + (1 | g)", data)
    for argument in ("weights", "offset"):
        with pytest.raises(mm.DataError, match=f"{argument} column 'k' must be real numbers"):
            mm.build_design("y ~ x + (1 | g)", data, **{argument: "k"})
