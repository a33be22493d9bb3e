"""Figures of the likelihood and of null distributions, by what they draw."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy.stats import chi2

import mmlib as mm
from mmlib import plots
from tests.helpers.figures import legend_texts, lines


def test_profile_zeta(pulp_profile):
    ax = plots.profile_zeta(pulp_profile, "sigma", n=7, unit="meter units")
    curve, interval = ax.get_lines()[0], lines(ax)["95% interval"]
    for value, zeta in curve.get_xydata():
        assert zeta == pytest.approx(pulp_profile.zeta("sigma", value))
    np.testing.assert_allclose(
        interval.get_xdata(), pulp_profile.confint(parameters="sigma").to_numpy()[0]
    )
    np.testing.assert_allclose(interval.get_xdata(), [0.238913, 0.482185], atol=1e-6)
    assert lines(ax)["ML estimate"].get_xdata()[0] == pulp_profile.estimates["sigma"]
    assert ax.get_xlabel() == "sigma (meter units)"


def test_profile_zeta_at_a_boundary(pulp_profile):
    ax = plots.profile_zeta(pulp_profile, "sd_Intercept|operator", n=5)
    assert lines(ax)["95% interval"].get_xdata()[0] == 0.0
    assert ax.get_lines()[0].get_ydata()[0] > -1.9
    assert ax.get_xlabel() == "σ of operator"


def test_a_correlation_is_named_in_words(sleep_fit):
    ax = plots.profile_zeta(mm.profile(sleep_fit), "cor_Days.Intercept|Subject", n=3)
    assert ax.get_xlabel() == "correlation of Days and Intercept | Subject"


def contour_heights(ax):
    """Return the contour set of an Axes and its levels."""
    [contours] = [c for c in ax.collections if hasattr(c, "levels")]
    return contours, list(contours.levels)


def test_joint_regions(pulp_profile):
    pair = ("sd_Intercept|operator", "sigma")
    ax = plots.joint_regions(mm.joint_profile(pulp_profile, *pair, level=0.97, n=41))
    contours, heights = contour_heights(ax)
    np.testing.assert_allclose(heights, chi2.ppf([0.5, 0.8, 0.95], 2))
    objective = mm.Objective(pulp_profile.fit.design, reml=False)
    for level, path in zip(heights, contours.get_paths(), strict=True):
        for between, within in path.vertices[::10]:
            rise = objective([between / within], within) - pulp_profile.fit.objective
            # Contours are interpolated on the grid.
            assert rise == pytest.approx(level, abs=0.1)
    np.testing.assert_allclose(
        lines(ax)["ML estimate"].get_xydata()[0], pulp_profile.estimates[list(pair)]
    )
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("σ of operator", "sigma")


@pytest.mark.parametrize("reml", [True, False])
def test_likelihood_surface(pulp_fit, reml):
    fit = pulp_fit.refit(reml=reml)
    ax = plots.likelihood_surface(fit, np.linspace(0, 0.9, 41), np.linspace(0.2, 0.55, 41))
    contours, drops = contour_heights(ax)
    assert drops == [0.5, 1, 2, 3, 5]
    objective = mm.Objective(fit.design, reml=reml)
    for level, path in zip(drops, contours.get_paths(), strict=True):
        for between, within in path.vertices[::10]:
            drop = (objective([between / within], within) - fit.objective) / 2
            assert drop == pytest.approx(level, abs=0.1)
    np.testing.assert_allclose(
        lines(ax)["REML estimate"].get_xydata(), [[0.260928, 0.325960]], rtol=1e-5
    )
    np.testing.assert_allclose(
        lines(ax)["ML estimate"].get_xydata(), [[0.213892, 0.325960]], rtol=1e-5
    )


def test_surface_needs_one_variance(sleep_fit):
    with pytest.raises(mm.DataError, match=r"has 3 covariance parameters\. Use joint_profile"):
        plots.likelihood_surface(sleep_fit, [0, 1], [1, 2])


# --- tests ---------------------------------------------------------------------------------------

MIXTURE = r"$\frac{1}{2}\chi^2_0 + \frac{1}{2}\chi^2_1$"


def test_null_distribution_shows_p_values():
    rng = np.random.default_rng(8)
    draws = rng.chisquare(1, 500) * (rng.random(500) < 0.4)
    ax = plots.null_distribution(draws, 2.5684)
    names = legend_texts(ax)
    for name, expected, p in zip(
        names,
        [
            lambda t: np.mean(draws[:, None] >= t, axis=0),
            lambda t: chi2.sf(t, 1),
            lambda t: chi2.sf(t, 1) / 2,
        ],
        [(np.sum(draws >= 2.5684) + 1) / 501, 0.10902, 0.05451],
        strict=False,
    ):
        curve, mark = ax.get_lines()[2 * names.index(name) :][:2]
        t, tail = curve.get_data()
        np.testing.assert_allclose(tail, expected(t), rtol=1e-10)
        np.testing.assert_allclose(mark.get_xydata(), [[2.5684, p]], rtol=1e-4)
        assert name.endswith(f", p = {p:.3f}")
    assert [name.partition(", ")[0] for name in names] == [
        "simulated",
        r"$\chi^2_{1}$",
        MIXTURE,
        "observed",
    ]
    assert set(lines(ax)["observed, 2.568"].get_xdata()) == {2.5684}
    assert ax.get_yscale() == "log"


def test_null_distribution_of_several_parameters_has_no_mixture():
    ax = plots.null_distribution([0.0, 3.0, 9.0], 2.0, df=3)
    assert len(ax.get_lines()) == 5
    t, tail = ax.get_lines()[2].get_data()
    np.testing.assert_allclose(tail, chi2.sf(t, 3), rtol=1e-10)


def test_a_null_distribution_takes_what_it_needs_from_a_bootstrap(penicillin_pair):
    test = mm.parametric_bootstrap(*penicillin_pair, nsim=500, rng=1)
    ax = plots.null_distribution(test)
    assert legend_texts(ax) == [
        f"simulated, p = {test.pvalue:.3f}",
        rf"$\chi^2_{{3}}$, p = {chi2.sf(test.statistic, 3):.3f}",
        f"observed, {test.statistic:.4g}",
    ]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda _: plots.null_distribution([], 1.0), "no simulated sample"),
        (lambda _: plots.null_distribution([1.0, np.nan], 1.0), "no simulated sample"),
        (lambda _: plots.null_distribution([1.0, 2.0]), "observed"),
        (lambda _: plots.null_distribution([1.0, 2.0], 1.0, df=0), "df must be a whole number"),
        (lambda p: plots.profile_zeta(p, "sigm"), "Did you mean 'sigma'"),
        (lambda p: plots.profile_zeta(p, "sigma", n=-3), "n must be a whole number of at least"),
        (lambda _: plots.likelihood_surface(1, [0], [1]), "a fit is needed"),
    ],
)
def test_bad_choice(pulp_profile, call, message):
    with pytest.raises(mm.DataError, match=message):
        call(pulp_profile)
    assert plt.get_fignums() == []
