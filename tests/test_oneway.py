"""The one-way layout against closed forms, brute force, R, and its own symmetries."""

from dataclasses import FrozenInstanceError

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

import mmlib as mm
from tests.helpers import oracle

LECTURE = oracle.load_lecture()
BALANCED = {"pulp": "bright ~ operator", "dyestuff": "Yield ~ Batch", "rail": "travel ~ Rail"}
CASES = {"pulp": "pulp_ri", "dyestuff": "dyestuff", "rail": "rail"}


@pytest.fixture(scope="module")
def pulp():
    return mm.oneway("bright ~ operator", mm.load_dataset("pulp"))


def layout(counts, sd_group=1.0, seed=0, mean=10.0):
    """Simulate a one-way layout and return its data."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(len(counts)), counts)
    y = mean + sd_group * rng.normal(size=len(counts))[codes] + rng.normal(size=len(codes))
    return pd.DataFrame({"y": y, "g": [f"level {code}" for code in codes]})


def negative_two_loglik(data, ratio, reml):
    """Return -2 log-likelihood, dense, maximised over mu and sigma2_resid at a variance ratio."""
    y = data["y"].to_numpy()
    same = data["g"].to_numpy()[:, None] == data["g"].to_numpy()
    V, one = np.eye(len(y)) + ratio * same, np.ones(len(y))
    V_inverse = np.linalg.inv(V)
    information = one @ V_inverse @ one
    residual = y - one @ V_inverse @ y / information
    df = len(y) - reml
    sigma2 = residual @ V_inverse @ residual / df
    objective = df * (1 + np.log(2 * np.pi * sigma2)) + np.linalg.slogdet(V)[1]
    return objective + reml * np.log(information), sigma2


def brute_force(data, reml):
    """Maximise the dense likelihood over the variance ratio; return estimates and statistic."""

    def objective(log_ratio):
        return negative_two_loglik(data, np.exp(log_ratio), reml)[0]

    found = optimize.minimize_scalar(
        objective, bounds=(-12, 8), method="bounded", options={"xatol": 1e-10}
    )
    null, sigma2_null = negative_two_loglik(data, 0.0, reml)
    if found.fun >= null - 1e-9:
        return 0.0, sigma2_null, 0.0
    sigma2 = negative_two_loglik(data, np.exp(found.x), reml)[1]
    return np.exp(found.x) * sigma2, sigma2, null - found.fun


# --- R -------------------------------------------------------------------------------------


def test_anova_table_is_that_of_r(pulp):
    table, wanted = pulp.to_frame(), LECTURE["pulp_anova"]
    assert list(table.index) == ["operator", "Residuals"]
    assert list(table.columns) == ["Df", "Sum Sq", "Mean Sq", "F value", "Pr(>F)"]
    assert table["Df"].tolist() == wanted["df"]
    np.testing.assert_allclose(table["Sum Sq"], wanted["SS"], rtol=1e-12)
    np.testing.assert_allclose(table["Mean Sq"], wanted["MS"], rtol=1e-12)
    np.testing.assert_allclose(table.loc["operator", "F value"], wanted["F"], rtol=1e-12)
    np.testing.assert_allclose(table.loc["operator", "Pr(>F)"], wanted["p"], rtol=1e-10)
    assert table.loc["Residuals", ["F value", "Pr(>F)"]].isna().all()


def test_anova_estimator_is_that_of_the_lecture(pulp):
    wanted = LECTURE["pulp_anova_estimator"]
    found = pulp.variance_components()
    assert [pulp.ssa, pulp.sse, pulp.sst, found.sigma2_group, found.sigma2_resid] == pytest.approx(
        [wanted[key] for key in ("SSA", "SSE", "SST", "sigma2_alpha", "sigma2_eps")], rel=1e-12
    )
    assert (found.mu, found.method, found.at_boundary) == (pytest.approx(60.4), "anova", False)


def test_ml_estimate_is_that_of_the_lecture(pulp):
    wanted = LECTURE["pulp_mle_closed_form"]
    found = pulp.variance_components("ml")
    assert found.sigma2_group == pytest.approx(wanted["sigma2_alpha"], rel=1e-12)
    assert found.sigma2_resid == pytest.approx(wanted["sigma2_eps"], rel=1e-12)


def test_effects_are_those_of_model_tables(pulp):
    assert pulp.effects().to_dict() == pytest.approx(LECTURE["pulp_model_tables"], rel=1e-12)
    assert pulp.effects().sum() == pytest.approx(0, abs=1e-12)


def test_exact_tests_are_those_of_the_lecture(pulp):
    lrt, rlrt, zero = pulp.exact_lrt(), pulp.exact_rlrt(), LECTURE["pulp_prob_zero"]
    assert lrt.statistic == pytest.approx(LECTURE["pulp_LRT"]["stat"], rel=1e-10)
    assert rlrt.statistic == pytest.approx(LECTURE["pulp_exactRLRT"]["stat"], rel=1e-10)
    assert lrt.pvalue == rlrt.pvalue == pulp.pvalue
    assert lrt.pvalue == pytest.approx(LECTURE["pulp_exact_p_by_F"], rel=1e-10)
    assert lrt.mass_at_zero == pytest.approx(zero["LRT"], rel=1e-12)
    assert rlrt.mass_at_zero == pytest.approx(zero["RLRT"], rel=1e-12)


@pytest.mark.parametrize("name", BALANCED)
@pytest.mark.parametrize("method", ["ml", "reml"])
def test_closed_forms_agree_with_lme4(name, method):
    fit = oracle.load_case(CASES[name])[method.upper()]
    found = mm.oneway(BALANCED[name], mm.load_dataset(name)).variance_components(method)
    (block,) = fit["VarCorr"].values()
    # R's theta is tight to about 1e-9, so its variances agree to 1e-8
    assert found.sigma2_group == pytest.approx(block["cov"][0][0], rel=1e-8)
    assert found.sigma2_resid == pytest.approx(fit["sigma"] ** 2, rel=1e-8)
    assert found.mu == pytest.approx(fit["beta"]["(Intercept)"], rel=1e-12)


@pytest.mark.parametrize("name", ["dyestuff", "rail"])
def test_statistics_and_pvalues_agree_with_r(name):
    wanted = oracle.load_exact_lrt()[name]
    found = mm.oneway(BALANCED[name], mm.load_dataset(name))
    assert found.exact_lrt().statistic == pytest.approx(wanted["LRT_stat"], rel=1e-8)
    assert found.exact_rlrt().statistic == pytest.approx(wanted["RLRT_stat"], rel=1e-8)
    assert found.f == pytest.approx(wanted["exact_p_by_F"]["F"], rel=1e-10)
    assert found.pvalue == pytest.approx(wanted["exact_p_by_F"]["p"], rel=1e-9)
    # RLRsim's simulated probability of zero, from 3 million draws: standard error 3e-4
    assert found.exact_lrt().mass_at_zero == pytest.approx(
        wanted["LRT_null"]["frac_zero"], abs=1.5e-3
    )
    assert found.exact_rlrt().mass_at_zero == pytest.approx(
        wanted["RLRT_null"]["frac_zero"], abs=1.5e-3
    )


# --- brute force ---------------------------------------------------------------------------


@pytest.mark.parametrize("reml", [False, True])
@pytest.mark.parametrize(
    ("a", "n", "sd_group", "seed"),
    [(2, 2, 2.0, 1), (3, 4, 1.0, 2), (4, 5, 0.0, 3), (5, 3, 0.3, 4), (8, 2, 0.0, 8), (6, 6, 3, 6)],
)
def test_closed_forms_maximise_the_dense_likelihood(a, n, sd_group, seed, reml):
    data = layout([n] * a, sd_group, seed)
    group, resid, statistic = brute_force(data, reml)
    found = mm.oneway("y ~ g", data)
    components = found.variance_components("reml" if reml else "ml")
    test = found.exact_rlrt() if reml else found.exact_lrt()
    assert components.sigma2_group == pytest.approx(group, rel=1e-5, abs=1e-9)
    assert components.sigma2_resid == pytest.approx(resid, rel=1e-5)
    assert test.statistic == pytest.approx(statistic, rel=1e-8, abs=1e-8)
    assert components.at_boundary == (test.statistic == 0) == (group == 0)


def test_the_brute_force_cases_meet_both_boundary_and_interior():
    seen = {
        mm.oneway("y ~ g", layout([n] * a, sd, seed)).variance_components(method).at_boundary
        for a, n, sd, seed in [(4, 5, 0.0, 3), (3, 4, 1.0, 2)]
        for method in ("ml", "reml")
    }
    assert seen == {True, False}


def test_between_the_thresholds_reml_is_positive_and_ml_is_not():
    """1 < F <= a / (a - 1): the two estimators disagree about the boundary."""
    data = pd.DataFrame({"y": [0.0, 2.0, 1.6, 3.6], "g": list("aabb")})
    found = mm.oneway("y ~ g", data)
    assert 1 < found.f < 2
    assert found.variance_components("reml").sigma2_group > 0
    assert found.variance_components("ml").sigma2_group == 0
    assert found.variance_components("ml").sigma2_resid == pytest.approx(found.sst / 4)
    assert found.exact_lrt().pvalue == 1.0
    assert found.exact_rlrt().pvalue < 1.0


@pytest.mark.parametrize("counts", [[5, 5, 5], [1, 2, 9], [2, 3, 3, 5, 8]])
def test_n0_is_the_coefficient_in_the_expected_mean_square(counts):
    data = layout(counts)
    Z = pd.get_dummies(data["g"]).to_numpy(dtype=float)
    N = len(data)
    between = Z @ np.diag(1 / Z.sum(0)) @ Z.T - np.ones((N, N)) / N  # y' between y = SSA
    found = mm.oneway("y ~ g", data)
    y = data["y"].to_numpy()
    assert found.ssa == pytest.approx(y @ between @ y)
    assert found.n0 == pytest.approx(np.trace(between @ Z @ Z.T) / (len(counts) - 1))


def test_unbalanced_anova_estimator_is_hendersons():
    numbers = oracle.load_data("Mississippi")
    found = mm.oneway("y ~ influent", numbers)
    assert not found.balanced
    components = found.variance_components()
    expected_msa = found.n0 * components.sigma2_group + components.sigma2_resid
    assert expected_msa == pytest.approx(found.msa)
    assert components.sigma2_resid == found.mse


def test_unbalanced_table_agrees_with_scipy():
    data = oracle.load_data("Mississippi")
    found = mm.oneway("y ~ influent", data)
    samples = [rows["y"].to_numpy() for _, rows in data.groupby("influent", observed=True)]
    wanted = stats.f_oneway(*samples)
    assert (found.f, found.pvalue) == pytest.approx((wanted.statistic, wanted.pvalue), rel=1e-10)


def test_negative_estimate_is_kept_and_explained():
    found = mm.oneway("y ~ g", pd.DataFrame({"y": [0.0, 4, 1, 5], "g": list("aabb")}))
    components = found.variance_components()
    assert (found.msa, found.mse) == pytest.approx((1, 8))
    assert components.sigma2_group == pytest.approx(-3.5)
    assert not components.at_boundary
    assert "cannot be negative" in repr(components)
    assert "Boundary estimate: the variance of g is 0" in repr(found.variance_components("reml"))


# --- intervals -----------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
def test_limits_put_each_pivot_at_its_quantile(pulp, level):
    """Each limit, put into its pivot, gives a tail of (1 - level) / 2, by scipy's distributions."""
    limits = pulp.confint(level=level)
    tail = (1 - level) / 2
    t = (limits.loc["mu"] - pulp.grand_mean) / np.sqrt(pulp.msa / 20)
    np.testing.assert_allclose(stats.t(3).cdf(t), [tail, 1 - tail])
    chi2 = pulp.sse / limits.loc["sigma2_resid"]
    np.testing.assert_allclose(stats.chi2(16).sf(chi2), [tail, 1 - tail])
    f = pulp.f / (1 + 5 * limits.loc["ratio"])
    np.testing.assert_allclose(stats.f(3, 16).sf(f), [tail, 1 - tail])
    np.testing.assert_allclose(
        limits.loc["icc"], limits.loc["ratio"] / (1 + limits.loc["ratio"]), rtol=1e-12
    )


def test_williams_tukey_limits_meet_the_two_exact_intervals(pulp):
    """Each limit of sigma2_group lies where a limit of SSA's chi-squared meets one of the ratio."""
    limits = pulp.confint()
    for column, tail in [("lower", 0.025), ("upper", 0.975)]:
        ratio = limits.loc["ratio", column]
        mean_square = pulp.ssa / stats.chi2(3).isf(tail)  # limit of 5 sigma2_group + sigma2_resid
        assert limits.loc["sigma2_group", column] == pytest.approx(
            mean_square * ratio / (1 + 5 * ratio), rel=1e-10
        )


@pytest.mark.landing
def test_coverage_is_at_least_the_level():
    """2,000 simulated layouts; the exact intervals cover at 90 %, Williams-Tukey a little more."""
    rng = np.random.default_rng(20261123)
    truth = {"mu": 3.0, "sigma2_resid": 1.0, "ratio": 0.5, "icc": 1 / 3, "sigma2_group": 0.5}
    groups = pd.Categorical(np.repeat(list("abcde"), 4))
    covered = dict.fromkeys(truth, 0)
    draws = 2000
    for _ in range(draws):
        y = 3.0 + np.repeat(rng.normal(scale=np.sqrt(0.5), size=5), 4) + rng.normal(size=20)
        limits = mm.oneway("y ~ g", pd.DataFrame({"y": y, "g": groups})).confint(level=0.9)
        for key, value in truth.items():
            lower, upper = limits.loc[key]
            covered[key] += lower <= value <= upper
    share = {key: count / draws for key, count in covered.items()}
    error = 4 * np.sqrt(0.9 * 0.1 / draws)  # four standard errors
    for key in ("mu", "sigma2_resid", "ratio", "icc"):
        assert share[key] == pytest.approx(0.9, abs=error)
    assert 0.9 - error < share["sigma2_group"] < 0.95


def test_limits_below_zero_are_cut():
    found = mm.oneway("y ~ g", layout([5] * 4, 0.0, seed=3))
    limits = found.confint()
    assert (limits.loc[["ratio", "icc", "sigma2_group"], "lower"] == 0).all()
    assert (limits["lower"] <= limits["upper"]).all()


def test_equal_level_means_are_no_trouble():
    """SSA = 0: every statistic about the levels is zero, and none divides by it."""
    found = mm.oneway("y ~ g", pd.DataFrame({"y": [1.0, 5, 2, 4], "g": list("aabb")}))
    limits = found.confint()
    assert (limits.loc[["ratio", "icc", "sigma2_group"]] == 0).all(axis=None)
    assert (found.f, found.pvalue, found.exact_lrt().pvalue, found.exact_rlrt().statistic) == (
        0,
        1,
        1,
        0,
    )
    assert found.variance_components().sigma2_group == pytest.approx(-2.5)


# --- properties ----------------------------------------------------------------------------

layouts = st.builds(
    layout,
    st.lists(st.integers(2, 5), min_size=2, max_size=5),
    st.sampled_from([0.0, 0.5, 3.0]),
    st.integers(0, 2**32 - 1),
)
NUMBERS = ["ssa", "sse", "sst", "f", "pvalue", "n0", "grand_mean", "nobs", "df_a", "df_e"]


def numbers(found):
    return {name: getattr(found, name) for name in NUMBERS}


@given(layouts)
def test_sums_of_squares_add_up(data):
    found = mm.oneway("y ~ g", data)
    assert found.ssa + found.sse == pytest.approx(found.sst, rel=1e-10)
    assert found.df_a + found.df_e == found.nobs - 1
    assert found.grand_mean == pytest.approx(np.average(found.means, weights=found.counts))


@given(layouts, st.floats(-1e6, 1e6), st.sampled_from([-3.0, 0.01, 100.0]))
def test_shift_and_scale(data, shift, scale):
    before = mm.oneway("y ~ g", data)
    after = mm.oneway("y ~ g", data.assign(y=shift + scale * data["y"]))
    # a shift of 1e6 with a scale of 0.01 costs ten digits of the data themselves
    assert after.ssa == pytest.approx(scale**2 * before.ssa, rel=1e-4, abs=1e-6 * scale**2)
    assert after.sse == pytest.approx(scale**2 * before.sse, rel=1e-4)
    assert after.variance_components().sigma2_group == pytest.approx(
        scale**2 * before.variance_components().sigma2_group, rel=1e-3, abs=1e-4 * scale**2
    )


@given(layouts, st.randoms(use_true_random=False))
def test_row_order_and_labels_do_not_matter(data, random):
    rows = random.sample(range(len(data)), len(data))
    labels = random.sample(range(100), data["g"].nunique())
    renamed = data["g"].map(dict(zip(data["g"].unique(), labels, strict=True)))
    shuffled = data.assign(g=renamed).iloc[rows]
    assert numbers(mm.oneway("y ~ g", shuffled)) == pytest.approx(
        numbers(mm.oneway("y ~ g", data)), rel=1e-9
    )


@settings(max_examples=50)
@given(st.integers(2, 5), st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_reml_is_the_anova_estimator_cut_at_zero(a, n, seed):
    found = mm.oneway("y ~ g", layout([n] * a, 0.5, seed))
    anova, reml = (found.variance_components(method) for method in ("anova", "reml"))
    assert reml.sigma2_group == max(anova.sigma2_group, 0)
    assert reml.at_boundary == (anova.sigma2_group <= 0)
    assert found.variance_components("ml").sigma2_group <= reml.sigma2_group
    assert found.exact_lrt().statistic <= found.exact_rlrt().statistic


def test_a_large_mean_costs_no_digits():
    data = pd.DataFrame({"y": np.array([1.0, 2, 4, 8, 5, 7]) + 2.0**40, "g": list("aabbcc")})
    small = data.assign(y=data["y"] - 2.0**40)
    far, near = mm.oneway("y ~ g", data), mm.oneway("y ~ g", small)
    assert (far.ssa, far.sse) == pytest.approx((near.ssa, near.sse), rel=1e-12)


# --- what users pass in --------------------------------------------------------------------


def test_levels_keep_the_order_of_a_categorical_and_drop_the_unused():
    g = pd.Categorical(list("bbaacc"), categories=["c", "x", "b", "a"])
    found = mm.oneway("y ~ g", pd.DataFrame({"y": [1.0, 2, 3, 5, 8, 13], "g": g}))
    assert found.levels == ("c", "b", "a")
    assert found.means.to_dict() == {"c": 10.5, "b": 1.5, "a": 4.0}


@pytest.mark.parametrize("labels", [[1, 1, 2, 2], [True, True, False, False], list("xxyy")])
def test_labels_may_be_of_any_type(labels):
    found = mm.oneway("y ~ g", pd.DataFrame({"y": [1.0, 3, 2, 6], "g": labels}))
    assert (found.ssa, found.sse) == pytest.approx((4, 10))


def test_rows_with_missing_values_are_left_out_and_counted():
    data = pd.DataFrame({"y": [1.0, 3, np.nan, 2, 6, 9], "g": ["a", "a", "a", "b", "b", None]})
    found = mm.oneway("y ~ g", data)
    assert (found.nobs, found.n_missing) == (4, 2)
    assert found.ssa == pytest.approx(4)
    assert "2 rows with missing values left out" in repr(found)


def test_nullable_columns_and_backquoted_names_are_read():
    data = pd.DataFrame(
        {"my y": pd.array([1, 3, 2, 6, None], dtype="Int64"), "the g": list("aabbb")}
    )
    found = mm.oneway("`my y` ~ `the g`", data)
    assert (found.response, found.factor, found.n_missing) == ("my y", "the g", 1)
    assert found.sse == pytest.approx(10)


def test_the_callers_data_are_not_changed():
    data = layout([3, 3])
    before = data.copy()
    mm.oneway("y ~ g", data).confint()
    pd.testing.assert_frame_equal(data, before)


def test_results_are_frozen_and_print(pulp):
    with pytest.raises(FrozenInstanceError):
        pulp.ssa = 0.0
    with pytest.raises(FrozenInstanceError):
        pulp.exact_lrt().pvalue = 0.0
    assert "bright by operator, 4 levels, 20 observations (5 each)" in repr(pulp)
    assert "unbalanced" in repr(mm.oneway("y ~ g", layout([2, 3])))
    assert repr(pulp.variance_components("ml")).splitlines()[0] == (
        "Variance components (ML), mean 60.4:"
    )
    assert pulp.variance_components("reml").icc == pytest.approx(0.39053537)


def test_one_column_on_both_sides_is_refused():
    with pytest.raises(mm.FormulaError, match="'bright ~ bright' has one column on both sides"):
        mm.oneway("bright ~ bright", mm.load_dataset("pulp"))


@pytest.mark.parametrize(
    "formula",
    ["bright", "bright ~", "~ operator", "bright ~ operator + 1", "bright ~ (1 | operator)",
     "bright = operator", "log(bright) ~ operator", "a ~ b ~ c", "", None, 3],
)  # fmt: skip
def test_malformed_formulas_are_refused(formula):
    with pytest.raises(mm.FormulaError, match="response ~ factor"):
        mm.oneway(formula, mm.load_dataset("pulp"))


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("brihgt ~ operator", "no column 'brihgt'. Did you mean 'bright'"),
        ("bright ~ Operator", "no column 'Operator'. Did you mean 'operator'"),
        ("bright ~ zzz", "no column 'zzz'. Its columns are bright, operator"),
        ("operator ~ bright", "'operator' must be numeric"),
    ],
)
def test_wrong_columns_are_named(formula, message):
    with pytest.raises(mm.DataError, match=message):
        mm.oneway(formula, mm.load_dataset("pulp"))


@pytest.mark.parametrize(
    ("y", "g", "message"),
    [
        ([1.0, 2, np.inf, 4], list("aabb"), "'y' has 1 infinite or missing"),
        ([1.0, 2, 3, 4], list("aaaa"), "'g' has one level only"),
        ([1.0, 2, 3, 4], list("abcd"), "as many levels as there are rows"),
        ([5.0, 5, 5, 5], list("aabb"), "'y' is constant"),
        ([1.1, 1.1, 2.2, 2.2], list("aabb"), "constant within every level of 'g'"),
        ([True, True, False, False], list("abab"), "'y' must be numeric"),
        ([1j, 2j, 3j, 4j], list("aabb"), "'y' must be numeric"),
        (["1", "2", "3", "4"], list("aabb"), "pandas.to_numeric"),
        ([np.nan] * 4, list("aabb"), "'y' has no value left"),
    ],
)
def test_unusable_data_are_refused(y, g, message):
    with pytest.raises(mm.DataError, match=message):
        mm.oneway("y ~ g", pd.DataFrame({"y": y, "g": g}))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([1, 2], "must be a pandas DataFrame, not list"),
        (None, "must be a pandas DataFrame, not NoneType"),
        (pd.DataFrame({"y": [], "g": []}), "data has 0 rows"),
        (pd.DataFrame([[1.0, 2, 3]], columns=["y", "g", "g"]), "more than one column named g"),
    ],
)
def test_what_is_no_usable_frame_is_refused(data, message):
    with pytest.raises(mm.DataError, match=message):
        mm.oneway("y ~ g", data)


@pytest.mark.parametrize(
    "ask",
    [
        lambda found: found.variance_components("ml"),
        lambda found: found.variance_components("reml"),
        lambda found: found.confint(),
        lambda found: found.exact_lrt(),
        lambda found: found.exact_rlrt(),
    ],
)
def test_closed_forms_refuse_an_unbalanced_layout_and_name_lmm(ask):
    found = mm.oneway("y ~ g", layout([2, 5]))
    with pytest.raises(mm.DataError, match=r"2 to 5 observations.*mmlib.lmm\('y ~ 1 \+ \(1 \| g\)"):
        ask(found)


def test_unknown_methods_and_levels_are_refused(pulp):
    with pytest.raises(mm.DataError, match="method must be 'anova', 'ml' or 'reml', not 'ML'"):
        pulp.variance_components("ML")
    for level in (0, 1, 95, -0.5, np.nan):
        with pytest.raises(mm.DataError, match="between 0 and 1"):
            pulp.confint(level=level)
