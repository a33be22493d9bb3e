"""Adjustments of families, against scipy, statsmodels, exact cases and simulation."""

from itertools import combinations

import numpy as np
import pytest
import scipy
from scipy.stats import dunnett, multivariate_t, studentized_range
from scipy.stats import t as student
from statsmodels.stats.multitest import multipletests

from mmlib.inference import adjust


def adjusted(method, t, df, R=None, *, level=0.95, n_means=0):
    t = np.asarray(t, dtype=float)
    R = np.eye(len(t)) if R is None else R
    df = np.broadcast_to(np.asarray(df, dtype=float), t.shape)
    return adjust.adjusted(method, t, df, R, level=level, n_means=n_means)


def pairs_of(k):
    """Correlations of all differences of k independent means."""
    rows = np.array([np.eye(k)[i] - np.eye(k)[j] for i, j in combinations(range(k), 2)])
    return rows @ rows.T / 2


@pytest.mark.parametrize("df", [1.0, 2.5, 9.0, 40.0, 1e4])
@pytest.mark.parametrize("k", [2, 3, 6, 20])
def test_range_is_scipys(k, df):
    q = np.array([0.4, 1.5, 3.0, 6.0])
    ours = adjust.studentised_range(k)(q / np.sqrt(2), np.full(4, df))
    np.testing.assert_allclose(ours, studentized_range.sf(q, k, df), atol=1e-8)


def test_range_with_infinite_degrees_of_freedom_is_the_normal_one():
    q = np.array([1.0, 3.0])
    ours = adjust.studentised_range(4)(q / np.sqrt(2), np.full(2, np.inf))
    np.testing.assert_allclose(ours, studentized_range.sf(q, 4, np.inf), atol=1e-9)


@pytest.mark.parametrize(
    ("method", "name"), [("holm", "holm"), ("bh", "fdr_bh"), ("bonferroni", "bonferroni")]
)
def test_steps_are_those_of_statsmodels(method, name):
    t = np.array([2.1, -3.4, 0.2, 2.9, 1.1, -2.1])
    ours = adjusted(method, t, 14.0)
    np.testing.assert_allclose(
        ours.pvalue, multipletests(2 * student.sf(np.abs(t), 14), method=name)[1], rtol=1e-12
    )
    np.testing.assert_allclose(ours.critical, student.ppf(1 - 0.025 / 6, 14), rtol=1e-10)


def test_rows_that_cannot_be_estimated_are_counted():
    ours = adjusted("bonferroni", [2.0, np.nan, 1.0], 10.0)
    assert ours.pvalue[0] == pytest.approx(min(1, 3 * 2 * student.sf(2.0, 10)))
    assert np.isnan(ours.pvalue[1])
    assert adjusted("holm", [2.5, np.nan], 10.0).pvalue[0] == pytest.approx(
        2 * 2 * student.sf(2.5, 10)
    )
    assert np.isnan(adjusted("mvt", [np.nan, np.nan], 10.0).pvalue).all()


def test_dunnett_is_scipys():
    rng = np.random.default_rng(4)
    groups = [rng.normal(size=n) for n in (12, 6, 9, 7)]
    word = "random_state" if scipy.__version__.startswith("1.14.") else "rng"
    scipys = dunnett(*groups[1:], control=groups[0], **{word: np.random.default_rng(0)})
    n = np.array([len(group) for group in groups])
    share = 1 / n[0]
    R = share / np.sqrt(np.outer(share + 1 / n[1:], share + 1 / n[1:]))
    np.fill_diagonal(R, 1.0)
    ours = adjusted("dunnett", scipys.statistic, n.sum() - 4, R)
    np.testing.assert_allclose(ours.pvalue, scipys.pvalue, atol=1e-3)
    assert adjust._common_factor(R) is not None


@pytest.mark.parametrize("k", [3, 4])
@pytest.mark.parametrize("df", [1.5, 7.2, np.inf])
def test_directions_give_tukeys_range(k, df):
    """Where the largest |t| of all pairs is Tukey's, the two ways to it agree."""
    c, nu = np.array([0.3, 1.0, 2.2, 3.5]), np.full(4, df)
    tail, error = adjust.largest_of(pairs_of(k))
    assert error == 0
    np.testing.assert_allclose(tail(c, nu), adjust.studentised_range(k)(c, nu), atol=5e-7)


@pytest.mark.parametrize("k", [5, 6, 8])
def test_random_directions_keep_what_they_promise(k):
    c, nu = np.linspace(0.4, 3.5, 6), np.full(6, 11.0)
    tail, error = adjust.largest_of(pairs_of(k))
    assert 0 < error < 3e-4
    assert np.abs(tail(c, nu) - adjust.studentised_range(k)(c, nu)).max() < error


def test_one_factor_and_directions_agree():
    loadings = np.array([0.8, -0.5, 0.3])
    R = np.outer(loadings, loadings)
    np.fill_diagonal(R, 1.0)
    c, nu = np.array([0.5, 1.5, 2.5]), np.array([3.0, 12.0, np.inf])
    exact = adjust._given_one_factor(np.abs(loadings))(c, nu)
    np.testing.assert_allclose(adjust.largest_of(R)[0](c, nu), exact, atol=1e-9)
    np.testing.assert_allclose(adjust._over_directions(R)[0](c, nu), exact, atol=5e-7)


def test_one_factor_is_recognised_only_where_there_is_one():
    assert adjust._common_factor(pairs_of(4)) is None
    assert adjust._common_factor(np.eye(4)) is not None
    chain = np.array([[1, -0.5, 0], [-0.5, 1, -0.5], [0, -0.5, 1]])
    assert adjust._common_factor(chain) is None
    negative = np.array([[1, -0.3, -0.3], [-0.3, 1, -0.3], [-0.3, -0.3, 1]])
    assert adjust._common_factor(negative) is None


def test_perfectly_correlated_rows_count_once():
    t = np.array([2.0, 2.0])
    ours = adjusted("mvt", t, 9.0, np.ones((2, 2)))
    np.testing.assert_allclose(ours.pvalue, 2 * student.sf(2.0, 9), rtol=1e-9)


def test_the_largest_t_of_an_arbitrary_family_by_simulation():
    rng = np.random.default_rng(8)
    A = rng.normal(size=(4, 4))
    S = A @ A.T
    R = S / np.sqrt(np.outer(np.diag(S), np.diag(S)))
    draws = multivariate_t(shape=R, df=6, seed=3).rvs(200_000)
    largest = np.abs(draws).max(axis=1)
    c = np.array([1.0, 2.0, 3.0])
    share = (largest[:, None] > c).mean(axis=0)
    tail, _ = adjust.largest_of(R)
    assert (np.abs(tail(c, np.full(3, 6.0)) - share) < 4 * np.sqrt(share / 200_000)).all()


@pytest.mark.parametrize("method", ["tukey", "mvt", "dunnett"])
def test_critical_values_have_their_tail(method):
    R = pairs_of(3)
    df = np.array([4.0, 11.5, np.inf])
    family = adjusted(method, [1.0, 2.0, 3.0], df, R, level=0.9, n_means=3)
    again = adjusted(method, family.critical, df, R, level=0.9, n_means=3)
    np.testing.assert_allclose(again.pvalue, 0.1, rtol=1e-7)
