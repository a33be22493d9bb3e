"""Cluster-robust covariance: R's clubSandwich, dense matrices, and what must hold."""

import numpy as np
import pytest
from scipy import stats

import mmlib as mm
from mmlib.inference.robust import robust_covariance
from tests.helpers.dense import Dense
from tests.helpers.sizes import fit_case, sizes
from tests.helpers.structures import simulated

CASES = sizes("clubsandwich")
KINDS = ["CR0", "CR1", "CR1p", "CR2", "CR3"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CASES)
def test_errors_and_degrees_of_freedom_are_those_of_r(name, kind):
    fit, numbers = fit_case("clubsandwich", name), CASES[name]["types"][kind]
    table = fit.coef_table(robust=kind, cluster=CASES[name]["cluster"])
    np.testing.assert_allclose(fit.vcov(kind), np.array(numbers["vcov"]["values"]), rtol=1e-6)
    np.testing.assert_allclose(table["Std. Error"], numbers["se"], rtol=1e-6)
    np.testing.assert_allclose(table["df"], numbers["df_satterthwaite"], rtol=1e-5)
    np.testing.assert_allclose(table["Pr(>|t|)"], numbers["p_satterthwaite"], rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CASES)
def test_the_joint_test_is_that_of_r(name, kind):
    fit, numbers = fit_case("clubsandwich", name), CASES[name]["types"][kind]["wald_HTZ"]
    test = mm.wald_test(fit, np.array(numbers["L"]), robust=kind, cluster=CASES[name]["cluster"])
    np.testing.assert_allclose(test.statistic, numbers["Fstat"], rtol=1e-6)
    np.testing.assert_allclose(test.df, [numbers["df_num"], numbers["df_denom"]], rtol=1e-6)
    np.testing.assert_allclose(test.pvalue, numbers["p"], rtol=1e-4)


def test_moments_of_a_robust_covariance_by_definition():
    """Clusters of different sizes and weights: the covariances P_st of their parts, m×m each."""
    fit = fit_weighted()
    known = robust_covariance(fit, "CR2")
    rows = np.random.default_rng(0).standard_normal((3, fit.design.p))
    own = np.einsum("ai,kij,bj->abk", rows, known._own, rows)
    through = np.einsum("kpj,aj->akp", known._through, rows)
    P = np.einsum("abk,kl->abkl", own, np.eye(own.shape[2]))
    P -= np.einsum("akp,pq,blq->abkl", through, known._M, through)
    means, variances = known.moments(rows)
    np.testing.assert_allclose(means, np.einsum("stkk->st", P), rtol=1e-10)
    single = np.einsum("sskl,ttkl->st", P, P)
    np.testing.assert_allclose(variances, single + np.einsum("stkl,tskl->st", P, P), rtol=1e-8)


def test_a_joint_test_of_one_row_is_the_t_test():
    fit = fit_weighted()
    table = fit.coef_table(robust="CR2").loc["x"]
    test = mm.wald_test(fit, "x")
    assert test.statistic == pytest.approx(table["t value"] ** 2)
    assert test.df == (1, pytest.approx(table["df"]))
    assert test.pvalue == pytest.approx(table["Pr(>|t|)"])


def test_a_joint_test_does_not_depend_on_how_the_rows_are_written():
    fit = fit_weighted()
    rows = np.eye(fit.design.p)[1:]
    mixed = np.random.default_rng(1).standard_normal((len(rows), len(rows))) @ rows
    one, other = (mm.wald_test(fit, L, robust="CR0") for L in (rows, mixed))
    assert other.statistic == pytest.approx(one.statistic, rel=1e-8)
    assert other.df == pytest.approx(one.df, rel=1e-8)


def test_more_rows_than_the_clusters_allow_are_refused():
    data = mm.load_dataset("penicillin").query("blend in ['Blend1', 'Blend2', 'Blend3']")
    fit = mm.lmm("yield ~ treat + (1 | blend)", data)
    with pytest.raises(mm.DataError, match="3 clusters of 'blend' are too few to test 4 rows"):
        mm.wald_test(fit, np.eye(4))


def fit_weighted():
    data = simulated().assign(half=lambda d: d["g"].isin(["a", "b", "c"]))
    return mm.lmm("y ~ x + f + (1 + x | g)", data, weights="w", offset="shift")


def dense_pieces(fit):
    dense = Dense.at(fit.design, fit.theta)
    V = fit.sigma**2 * dense.V
    X = fit.design.X
    M = np.linalg.inv(X.T @ np.linalg.solve(V, X))
    codes = fit.design.terms[0].codes
    return V, X, M, codes, dense.y - X @ fit.beta


@pytest.mark.parametrize("kind", ["CR0", "CR1", "CR2"])
def test_what_one_cluster_alone_determines_has_no_robust_variance(kind):
    """The others keep theirs; of all, nothing at all is left if each cluster has its own line."""
    children = mm.load_dataset("orthodont")
    one_girl = children[children["Sex"].eq("Male") | children["Subject"].eq("F01")]
    fit = mm.lmm("distance ~ age * C(Sex, contr.treatment('Female')) + (1 | Subject)", one_girl)
    table = fit.coef_table(robust=kind, level=0.9)
    girl, boys = table.iloc[:2], table.iloc[2:]
    assert girl.drop(columns="Estimate").isna().all(axis=None)
    assert np.isfinite(boys).all(axis=None)
    assert fit.vcov(kind).notna().to_numpy().sum() == 4
    with pytest.raises(mm.DataError, match="rows of one alone determine a side of 'age = 0'"):
        mm.wald_test(fit, "age = 0", robust=kind)
    lines = mm.lmm("distance ~ age * Sex + (1 | Subject)", children)
    assert lines.vcov(kind, cluster="Sex").isna().all(axis=None)
    with pytest.raises(mm.DataError, match="leave nothing"):
        mm.wald_test(lines, np.eye(4), robust=kind, cluster="Sex")


def test_unbiased_where_the_model_is_right():
    """CR2: the expectation of the estimate under the fitted model is vcov itself."""
    fit = fit_weighted()
    V, X, M, codes, _ = dense_pieces(fit)
    # Var(residuals) = V − XMXᵀ; the estimate is quadratic in them.
    known = robust_covariance(fit, "CR2")
    spread = V - X @ M @ X.T
    expected = np.zeros((fit.design.p, fit.design.p))
    for k in range(known.n_clusters):
        rows = np.flatnonzero(codes == k)
        expected += known._own[k] - known._through[k].T @ M @ known._through[k]
        assert np.linalg.eigvalsh(spread[np.ix_(rows, rows)]).min() > -1e-10
    np.testing.assert_allclose(expected, fit.vcov(), rtol=1e-8)


def test_degrees_of_freedom_by_definition():
    fit = fit_weighted()
    V, X, M, codes, residual = dense_pieces(fit)
    hat = X @ M @ X.T @ np.linalg.inv(V)
    c = np.array([0.5, 1.0, 0.0, -1.0])
    g = np.zeros((codes.max() + 1, len(V)))
    for k in range(len(g)):
        rows = codes == k
        g[k, rows] = np.linalg.solve(V[np.ix_(rows, rows)], X[rows]) @ M @ c
    left = np.eye(len(V)) - hat
    P = g @ left @ V @ left.T @ g.T
    known = robust_covariance(fit, "CR0", "g")
    np.testing.assert_allclose(known.df(c), np.trace(P) ** 2 / np.trace(P @ P), rtol=1e-8)
    np.testing.assert_allclose(c @ known.vcov @ c, np.sum((g @ residual) ** 2), rtol=1e-8)


def test_the_cluster_is_the_grouping_that_holds_the_others():
    fit = mm.lmm("yield ~ Variety + nitro + (1 | Block/Variety)", mm.load_dataset("oats"))
    np.testing.assert_array_equal(fit.vcov("CR2"), fit.vcov("CR2", cluster="Block"))


def test_a_coarser_column_may_be_the_cluster():
    data = simulated().assign(half=lambda d: np.where(d["g"].isin(["a", "b", "c"]), 1, 2))
    fit = mm.lmm("y ~ half + x + (1 | g)", data)
    assert fit.vcov("CR0", cluster="half").shape == (3, 3)


def test_order_of_rows_does_not_matter():
    data = simulated()
    shuffled = data.sample(frac=1, random_state=3)
    one, two = (mm.lmm("y ~ x + (1 | g)", each) for each in (data, shuffled))
    np.testing.assert_allclose(one.vcov("CR2"), two.vcov("CR2"), rtol=1e-6)


def test_confidence_limits_take_the_robust_df(sleep_fit):
    row = sleep_fit.coef_table(robust="CR2", level=0.9).loc["Days"]
    reach = stats.t.ppf(0.95, row["df"]) * row["Std. Error"]
    np.testing.assert_allclose(row["upper"] - row["Estimate"], reach)


def test_bad_input(sleep_fit):
    with pytest.raises(mm.DataError, match="kind must be 'CR0'"):
        sleep_fit.vcov("HC3")
    with pytest.raises(mm.DataError, match=r"belongs to a robust kind"):
        sleep_fit.vcov(cluster="Subject")
    with pytest.raises(mm.DataError, match=r"belongs to robust="):
        sleep_fit.coef_table(cluster="Subject")
    with pytest.raises(mm.DataError, match="leave ddf= out"):
        sleep_fit.coef_table(robust="CR2", ddf="satterthwaite")
    with pytest.raises(mm.DataError, match="Did you mean 'Subject'"):
        sleep_fit.vcov("CR2", cluster="subject")
    with pytest.raises(mm.DataError, match="share levels of 'Subject'"):
        sleep_fit.vcov("CR2", cluster="Days")
    crossed = mm.lmm("y ~ x + (1 | g) + (1 | h)", simulated())
    with pytest.raises(mm.DataError, match="no grouping holds all the others"):
        crossed.vcov("CR2")
    with pytest.raises(mm.DataError, match="CR1p divides by m − p"):
        mm.lmm("y ~ x * f + (1 | g)", simulated()).vcov("CR1p")
    with pytest.raises(mm.DataError, match="the fit has none"):
        mm.lmm("y ~ x", simulated()).vcov("CR2")
