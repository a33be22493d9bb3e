"""Figures of residuals and of Q–Q plots, by what they draw."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

import mmlib as mm
from mmlib import plots
from tests.helpers.figures import legend_texts, lines


@pytest.mark.parametrize("kind", ["conditional", "marginal"])
@pytest.mark.parametrize(
    ("scaled", "label"),
    [
        (None, "{} residual (ms)"),
        ("pearson", "Pearson {} residual"),
        ("standardized", "standardized {} residual"),
    ],
)
def test_residuals_against_fitted_values(sleep_fit, kind, scaled, label):
    ax = plots.residuals_vs_fitted(sleep_fit, kind, scaled=scaled, unit="ms")
    points = ax.get_lines()[-1]
    fitted = sleep_fit.fitted if kind == "conditional" else sleep_fit.predict(random=False)
    np.testing.assert_array_equal(points.get_xdata(), fitted)
    np.testing.assert_array_equal(points.get_ydata(), sleep_fit.residuals(kind, scaled=scaled))
    assert ax.get_xlabel() == f"{kind} fitted value (ms)"
    assert ax.get_ylabel() == label.format(kind)


def test_residuals_by_level_have_their_mean(pulp_fit):
    ax = plots.residuals_vs_fitted(pulp_fit, scaled=None, group="operator")
    resid = pulp_fit.resid.groupby(mm.load_dataset("pulp")["operator"], observed=True)
    for (level, values), bars in zip(resid, ax.collections, strict=True):
        drawn = lines(ax)[level]
        np.testing.assert_array_equal(drawn.get_ydata(), values)
        # Equal ones, and only they, are moved.
        moved = drawn.get_xdata() - pulp_fit.fitted[values.index] > 1e-12
        np.testing.assert_array_equal(moved, values.duplicated())
        np.testing.assert_allclose(bars.get_segments()[0][:, 1], values.mean())
    assert legend_texts(ax) == list("abcd")


def test_residuals_by_many_levels_use_one_marker(sleep_fit):
    ax = plots.residuals_vs_fitted(sleep_fit, group="Subject")
    assert len(ax.collections) == 18
    assert {line.get_marker() for line in ax.get_lines()[1:]} == {"o"}
    assert ax.get_legend() is None


def test_qq_plot(sleep_fit):
    resid = sleep_fit.residuals(scaled="pearson")
    ax = plots.qq(resid)
    points = ax.get_lines()[-1]
    np.testing.assert_array_equal(points.get_ydata(), np.sort(resid))
    # The places of R's qqnorm.
    np.testing.assert_allclose(points.get_xdata(), norm.ppf((np.arange(180) + 0.5) / 180))
    through = lines(ax)["normal, through the quartiles"]
    at_quartiles = np.interp(norm.ppf([0.25, 0.75]), through.get_xdata(), through.get_ydata())
    np.testing.assert_allclose(at_quartiles, np.quantile(resid, [0.25, 0.75]))
    assert not ax.texts


def limits_of(band):
    """The lower and the upper end of a band, by place."""
    vertices = band.get_paths()[0].vertices
    column = pd.DataFrame(vertices, columns=["place", "y"]).groupby("place")["y"]
    return column.min().to_numpy(), column.max().to_numpy()


def test_band_of_a_qq_plot_holds_its_share_of_normal_values():
    """Draw normal samples; each place leaves the band in 5 % of them."""
    rng = np.random.default_rng(5)
    n, draws = 40, 4000
    ax = plots.qq(norm.ppf((np.arange(1, n + 1) - 0.5) / n))
    low, high = limits_of(ax.collections[0])
    samples = np.sort(rng.normal(size=(draws, n)), axis=1)
    inside = np.mean((samples >= low) & (samples <= high), axis=0)
    assert (np.abs(inside - 0.95) < 5 * np.sqrt(0.95 * 0.05 / draws) + 0.01).all()


def test_band_of_a_qq_plot_of_given_samples():
    samples = np.random.default_rng(6).exponential(size=(300, 12))
    ax = plots.qq(np.arange(12.0), samples=samples)
    expected = np.quantile(np.sort(samples, axis=1), [0.025, 0.975], axis=0)
    np.testing.assert_allclose(limits_of(ax.collections[0]), expected)


def test_qq_plot_of_random_effects_names_the_outer_levels(sleep_fit):
    modes = sleep_fit.ranef()["Subject"]["Days"].rename(index=lambda name: f"no. {name}")
    ax = plots.qq(modes, unit="ms per day")
    named = {text.get_text(): text.xy[1] for text in ax.texts}
    assert {modes.idxmin(), modes.idxmax()} <= set(named)
    assert len(named) < 18
    assert all(modes[name] == y for name, y in named.items())
    assert ax.get_ylabel() == "Days (ms per day)"


def test_missing_values_are_left_out():
    ax = plots.qq([1.0, np.nan, 3.0, 2.0])
    np.testing.assert_array_equal(ax.get_lines()[-1].get_ydata(), [1, 2, 3])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda fit: plots.residuals_vs_fitted(fit, "raw"), "kind must be 'conditional' or"),
        (lambda fit: plots.residuals_vs_fitted(fit, scaled="raw"), "scaled must be 'pearson'"),
        (lambda fit: plots.residuals_vs_fitted(fit, group="shift"), "group names 'shift'"),
        (lambda _: plots.qq([1.0]), "at least two values; there are 1"),
        (lambda _: plots.qq(["a", "b"]), "values must be real numbers"),
        (lambda _: plots.qq([1.0, 2.0], samples=np.zeros((3, 5))), r"a row of 2 values.*\(3, 5\)"),
    ],
)
def test_bad_choice(pulp_fit, call, message):
    with pytest.raises(mm.DataError, match=message):
        call(pulp_fit)
    assert plt.get_fignums() == []
