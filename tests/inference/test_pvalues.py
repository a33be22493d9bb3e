"""Tails and quantiles, where degrees of freedom are many or without end."""

import numpy as np
import pytest
from scipy import stats

from mmlib.inference.pvalues import f_tail, t_quantile, two_sided_t


@pytest.mark.parametrize("df", [1e10, 1e15, 1e20, 1e300, np.inf])
def test_many_degrees_of_freedom_are_as_good_as_infinitely_many(df):
    np.testing.assert_allclose(f_tail(3, df, 1.5), stats.chi2(3).sf(4.5), rtol=1e-7)
    np.testing.assert_allclose(two_sided_t(np.array([3.0]), df), 2 * stats.norm.sf(3), rtol=1e-7)
    np.testing.assert_allclose(t_quantile(0.975, df), stats.norm.ppf(0.975), rtol=1e-9)


@pytest.mark.parametrize("df", [0.7, 5.0, 1e4, 1e8])
def test_the_square_of_t_is_f(df):
    np.testing.assert_allclose(f_tail(1, df, 9.0), two_sided_t(np.array([3.0]), df), rtol=1e-6)
    np.testing.assert_allclose(two_sided_t(t_quantile(0.9, df), df), 0.2, rtol=1e-6)
