"""Figures, by the data of what they draw; none may touch settings or other figures."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from scipy.stats import chi2, norm

import mmlib as mm
from mmlib import plots
from mmlib.inference.joint_profile import joint_profile, joint_quantile
from mmlib.inference.profile import profile
from tests.helpers.fixed_theta import at_point
from tests.helpers.structures import simulated


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def pulp_profile(pulp_fit):
    return profile(pulp_fit)


def lines(ax):
    """Return the lines of an Axes by their labels."""
    return {line.get_label(): line for line in ax.get_lines()}


def tick_labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def legend_texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


# --- every figure --------------------------------------------------------------------------------

DRAWS = (np.arange(200) % 2) * np.linspace(0, 9, 200)
FIGURES = {
    "group_means": lambda _, ax: plots.group_means(
        mm.load_dataset("pulp"), "bright", "operator", ax=ax
    ),
    "interaction": lambda _, ax: plots.interaction(
        mm.load_dataset("penicillin"), "yield", "treat", "blend", ax=ax
    ),
    "shrinkage": lambda fit, ax: plots.shrinkage(fit, ax=ax),
    "caterpillar": lambda fit, ax: plots.caterpillar(fit, ax=ax),
    "residuals_vs_fitted": lambda fit, ax: plots.residuals_vs_fitted(fit, ax=ax),
    "qq_residuals": lambda fit, ax: plots.qq_residuals(fit, ax=ax),
    "qq_ranef": lambda fit, ax: plots.qq_ranef(fit, ax=ax),
    "profile_zeta": lambda fit, ax: plots.profile_zeta(profile(fit), "sigma", n=5, ax=ax),
    "profile_pair": lambda fit, ax: plots.profile_pair(
        profile(fit), "sigma", "Intercept", n=5, ax=ax
    ),
    "likelihood_surface": lambda fit, ax: plots.likelihood_surface(fit, n=9, ax=ax),
    "null_distribution": lambda _, ax: plots.null_distribution(DRAWS, 2.57, ax=ax),
}
every_figure = pytest.mark.parametrize("name", FIGURES)


def test_every_figure_is_listed():
    assert set(FIGURES) == set(plots.__all__)


@every_figure
def test_a_figure_is_drawn_where_it_is_told_and_touches_nothing_else(name, pulp_fit):
    _, (mine, other) = plt.subplots(1, 2)
    plt.sca(other)
    before = mpl.rcParams.copy()
    assert FIGURES[name](pulp_fit, mine) is mine
    assert mpl.rcParams == before
    assert plt.gca() is other
    assert not other.has_data()
    assert plt.get_fignums() == [mine.figure.number]
    assert mine.get_xlabel()
    assert mine.get_ylabel()
    mine.figure.canvas.draw()


@every_figure
def test_without_axes_a_figure_makes_its_own(name, pulp_fit):
    ax = FIGURES[name](pulp_fit, None)
    assert isinstance(ax, Axes)
    assert plt.get_fignums() == [ax.figure.number]


@every_figure
def test_what_is_no_axes_is_refused(name, pulp_fit):
    with pytest.raises(mm.DataError, match="ax must be a matplotlib Axes, not Figure"):
        FIGURES[name](pulp_fit, plt.figure())


@every_figure
def test_a_figure_reads_without_colour(name, pulp_fit):
    """No two labelled lines share both marker and line style."""
    ax = FIGURES[name](pulp_fit, None)
    styles = [
        (line.get_marker(), line.get_linestyle(), line.get_linewidth() > 1.5)
        for line in ax.get_lines()
        if not str(line.get_label()).startswith("_")
    ]
    assert len(set(styles)) == len(styles)


# --- data ----------------------------------------------------------------------------------------


def test_group_means_draws_every_observation():
    data = mm.load_dataset("pulp").sample(frac=1, random_state=2)
    ax = plots.group_means(data, "bright", "operator", unit="units of the meter")
    for place, (level, rows) in enumerate(data.groupby("operator", observed=True)["bright"]):
        line = lines(ax)[level]
        np.testing.assert_array_equal(line.get_ydata(), rows)
        assert (np.abs(line.get_xdata() - place) < 0.4).all()
        means = [bar for bar in ax.get_lines() if list(bar.get_ydata()) == [rows.mean()] * 2]
        assert any(np.mean(bar.get_xdata()) == pytest.approx(place) for bar in means)
    np.testing.assert_allclose(lines(ax)["mean of all"].get_ydata(), data["bright"].mean())
    assert tick_labels(ax.xaxis) == list("abcd")
    assert ax.get_ylabel() == "bright (units of the meter)"
    assert legend_texts(ax) == ["mean by operator", "mean of all"]


def test_group_means_of_many_groups_use_one_marker():
    ax = plots.group_means(mm.load_dataset("sleepstudy"), "Reaction", "Subject")
    drawn = [line for line in ax.get_lines() if line.get_linestyle() == "None"]
    assert len(drawn) == 18
    assert {line.get_marker() for line in drawn} == {"o"}


def test_interaction_draws_cell_means():
    data = mm.load_dataset("penicillin")
    twice = pd.concat([data, data.assign(**{"yield": data["yield"] + 2})])
    ax = plots.interaction(twice, "yield", "treat", "blend")
    cells = data.pivot(index="blend", columns="treat", values="yield") + 1
    assert tick_labels(ax.xaxis) == list("ABCD")
    for blend, line in zip(cells.index, ax.get_lines(), strict=True):
        np.testing.assert_allclose(line.get_ydata(), cells.loc[blend])
        assert line.get_label() == blend
    assert ax.get_legend().get_title().get_text() == "blend"


def test_interaction_leaves_empty_cells_open():
    data = mm.load_dataset("penicillin").iloc[1:]
    ax = plots.interaction(data, "yield", "treat", "blend")
    assert np.isnan(ax.get_lines()[0].get_ydata()[0])


# --- random effects ------------------------------------------------------------------------------


def test_shrinkage_of_one_column(pulp_fit):
    ax = plots.shrinkage(pulp_fit, unit="meter units")
    order = tick_labels(ax.yaxis)
    own = lines(ax)["least squares, level by level"].get_xdata()
    modes = lines(ax)["conditional mode (BLUP)"].get_xdata()
    np.testing.assert_array_equal(modes, pulp_fit.ranef()["operator"].loc[order, "Intercept"])
    np.testing.assert_array_equal(own, pulp_fit.unpooled()["operator"].loc[order, "Intercept"])
    assert (np.diff(modes) > 0).all()
    np.testing.assert_allclose(own / modes, 1.3121175, rtol=1e-6)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("effect of operator (meter units)", "operator")


def test_shrinkage_of_two_columns(sleep_fit):
    ax = plots.shrinkage(sleep_fit)
    own, modes = sleep_fit.unpooled()["Subject"], sleep_fit.ranef()["Subject"]
    np.testing.assert_array_equal(
        lines(ax)["conditional mode (BLUP)"].get_xydata(), modes.to_numpy()
    )
    np.testing.assert_array_equal(
        lines(ax)["least squares, level by level"].get_xydata(), own.to_numpy()
    )
    arrows = [(text.xyann, text.xy) for text in ax.texts]
    np.testing.assert_array_equal(arrows, np.stack([own, modes], axis=1))
    assert ax.get_ylabel() == "effect of Days | Subject"
    one = plots.shrinkage(sleep_fit, columns="Days")
    np.testing.assert_array_equal(
        lines(one)["conditional mode (BLUP)"].get_xdata(), modes["Days"].sort_values()
    )


@pytest.mark.parametrize(
    ("error", "sd", "words"),
    [
        ("prediction", 0.170784, "conditional mode ± 1.96 prediction-error SD (β estimated)"),
        ("conditional", 0.127260, "conditional mode ± 1.96 conditional SD (β known)"),
    ],
)
def test_caterpillar_names_its_standard_errors(pulp_fit, error, sd, words):
    ax = plots.caterpillar(pulp_fit, error=error)
    [bars] = ax.containers
    points, _, [segments] = bars.lines
    np.testing.assert_array_equal(
        points.get_xdata(), pulp_fit.ranef()["operator"]["Intercept"].sort_values()
    )
    assert tick_labels(ax.yaxis) == list("bacd")
    for (left, right), mode in zip(
        [segment[:, 0] for segment in segments.get_segments()], points.get_xdata(), strict=True
    ):
        np.testing.assert_allclose([mode - left, right - mode], norm.ppf(0.975) * sd, rtol=1e-5)
    assert legend_texts(ax) == [words]


def test_caterpillar_at_another_level(sleep_fit):
    ax = plots.caterpillar(sleep_fit, column="Days", level=0.5, unit="ms per day")
    [bars] = ax.containers
    _, _, [segments] = bars.lines
    widths = [np.ptp(segment[:, 0]) for segment in segments.get_segments()]
    np.testing.assert_allclose(
        sorted(widths),
        sorted(2 * norm.ppf(0.75) * sleep_fit.prediction_error_sd()["Subject"]["Days"]),
    )
    assert ax.get_xlabel() == "effect of Days | Subject (ms per day)"
    assert "0.674" in legend_texts(ax)[0]


def test_many_levels_are_not_named():
    fit = mm.lmm("y ~ 1 + (1 | k)", simulated(n=400).assign(k=np.arange(400) % 80))
    assert tick_labels(plots.caterpillar(fit).yaxis) == []
    assert len(plots.qq_ranef(fit).texts) == 0


# --- diagnostics ---------------------------------------------------------------------------------


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


def test_qq_of_residuals(sleep_fit):
    ax = plots.qq_residuals(sleep_fit, scaled="pearson")
    points = ax.get_lines()[-1]
    residuals = np.sort(sleep_fit.residuals(scaled="pearson"))
    np.testing.assert_array_equal(points.get_ydata(), residuals)
    # Blom's positions, which R's qqnorm uses up to ten points.
    np.testing.assert_allclose(
        points.get_xdata(), norm.ppf((np.arange(1, 181) - 0.375) / 180.25), rtol=1e-12
    )
    through = lines(ax)["normal, through the quartiles"]
    at_quartiles = np.interp(norm.ppf([0.25, 0.75]), through.get_xdata(), through.get_ydata())
    np.testing.assert_allclose(at_quartiles, np.quantile(residuals, [0.25, 0.75]))


def test_band_of_a_qq_plot_holds_its_share_of_normal_values():
    """Draw normal samples; each place leaves the band in 5 % of them."""
    rng = np.random.default_rng(5)
    n, draws = 40, 4000
    _, ax = plt.subplots()
    plots._normal_quantiles(ax, norm.ppf((np.arange(1, n + 1) - 0.5) / n))
    [band] = ax.collections
    vertices = band.get_paths()[0].vertices
    samples = np.sort(rng.normal(size=(draws, n)), axis=1)
    for place, values in zip(ax.get_lines()[-1].get_xdata(), samples.T, strict=True):
        column = vertices[np.isclose(vertices[:, 0], place), 1]
        inside = np.mean((values >= column.min()) & (values <= column.max()))
        assert abs(inside - 0.95) < 5 * np.sqrt(0.95 * 0.05 / draws) + 0.01


def test_qq_of_random_effects_names_the_outer_levels(sleep_fit):
    ax = plots.qq_ranef(sleep_fit, column="Days")
    modes = sleep_fit.ranef()["Subject"]["Days"].sort_values()
    np.testing.assert_array_equal(ax.get_lines()[-1].get_ydata(), modes)
    named = {text.get_text(): text.xy[1] for text in ax.texts}
    assert {str(modes.index[0]), str(modes.index[-1])} <= set(named)
    assert all(modes[modes.index.astype(str) == name].item() == y for name, y in named.items())
    assert ax.get_ylabel() == "conditional mode of Days | Subject"


def test_levels_of_a_nested_grouping_are_named():
    fit = mm.lmm("y ~ x + (1 | g/m)", simulated())
    labels = tick_labels(plots.caterpillar(fit, "g:m").yaxis)
    assert sorted(labels) == sorted(":".join(label) for label in fit.ranef()["g:m"].index)


# --- likelihood ----------------------------------------------------------------------------------


def test_profile_zeta(pulp_profile):
    ax = plots.profile_zeta(pulp_profile, "sigma", n=7, unit="meter units")
    curve, interval = ax.get_lines()[0], lines(ax)["95 % interval"]
    for value, zeta in curve.get_xydata():
        assert zeta == pytest.approx(pulp_profile.zeta("sigma", value))
    np.testing.assert_allclose(
        interval.get_xdata(), pulp_profile.confint(parameters=["sigma"]).to_numpy()[0]
    )
    np.testing.assert_allclose(interval.get_xdata(), [0.238913, 0.482185], atol=1e-6)
    assert lines(ax)["ML estimate"].get_xdata()[0] == pulp_profile.estimates["sigma"]
    assert ax.get_xlabel() == "sigma (meter units)"


def test_profile_zeta_at_a_boundary(pulp_profile):
    ax = plots.profile_zeta(pulp_profile, "sd_Intercept|operator", n=5)
    assert lines(ax)["95 % interval"].get_xdata()[0] == 0.0
    assert ax.get_lines()[0].get_ydata()[0] > -1.9
    assert ax.get_xlabel() == "σ of operator"


def contour_heights(ax):
    """Return the contour set of an Axes and its levels."""
    [contours] = [c for c in ax.collections if hasattr(c, "levels")]
    return contours, list(contours.levels)


def test_profile_pair(pulp_profile):
    pair = ("sd_Intercept|operator", "sigma")
    ax = plots.profile_pair(pulp_profile, *pair, n=41)
    contours, heights = contour_heights(ax)
    np.testing.assert_allclose(heights, chi2.ppf([0.5, 0.8, 0.95], 2))
    objective = mm.Objective(pulp_profile.fit.blocks, reml=False)
    for level, path in zip(heights, contours.get_paths(), strict=True):
        for between, within in path.vertices[::10]:
            rise = objective.at_sigma([between / within], within) - pulp_profile.fit.objective
            # Contours are interpolated on the grid.
            assert rise == pytest.approx(level, abs=0.1)
    np.testing.assert_allclose(
        lines(ax)["ML estimate"].get_xydata()[0], pulp_profile.estimates[list(pair)]
    )
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("σ of operator", "sigma")


def test_profile_pair_of_a_grid_computed_before(pulp_profile):
    joint = joint_profile(pulp_profile, "sigma", "Intercept", n=5)
    ax = plots.profile_pair(joint)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("sigma", "Intercept")


@pytest.mark.parametrize("reml", [True, False])
def test_likelihood_surface(pulp_fit, reml):
    fit = pulp_fit.refit(reml=reml)
    ax = plots.likelihood_surface(fit, n=41)
    contours, heights = contour_heights(ax)
    objective = mm.Objective(fit.blocks, reml=reml)
    for level, path in zip(heights, contours.get_paths(), strict=True):
        for between, within in path.vertices[::10]:
            rise = objective.at_sigma([between / within], within) - fit.objective
            assert rise == pytest.approx(level, abs=0.1)
    np.testing.assert_allclose(
        lines(ax)["REML estimate"].get_xydata(), [[0.260928, 0.325960]], rtol=1e-5
    )
    np.testing.assert_allclose(
        lines(ax)["ML estimate"].get_xydata(), [[0.213892, 0.325960]], rtol=1e-5
    )
    # The largest region lies inside the picture, but for the boundary at zero.
    outer = contours.get_paths()[-1].vertices
    assert outer[:, 0].max() < ax.get_xlim()[1]
    assert ax.get_ylim()[0] < outer[:, 1].min() < outer[:, 1].max() < ax.get_ylim()[1]
    assert heights[-1] == pytest.approx(joint_quantile(0.95))


# --- tests ---------------------------------------------------------------------------------------


def test_null_distribution_shows_p_values():
    rng = np.random.default_rng(8)
    draws = rng.chisquare(1, 500) * (rng.random(500) < 0.4)
    ax = plots.null_distribution(draws, 2.5684)
    simulated_tail = lines(ax)["500 simulated"]
    assert simulated_tail.get_drawstyle() == "steps-pre"
    x, y = simulated_tail.get_data()
    for t in (1e-9, 0.5, 2.5684, x[-1]):
        height = y[np.searchsorted(x, t)]  # steps-pre: the value up to the next corner
        assert height == pytest.approx(np.mean(draws >= t))
    for label, share in [
        (r"$\chi^2_{1}$", 1.0),
        (r"$\frac{1}{2}\chi^2_0 + \frac{1}{2}\chi^2_1$", 0.5),
    ]:
        t, tail = lines(ax)[label].get_data()
        np.testing.assert_allclose(tail, share * chi2.sf(t, 1), rtol=1e-10)
    assert set(lines(ax)["observed, 2.568"].get_xdata()) == {2.5684}
    assert ax.get_yscale() == "log"


def test_null_distribution_of_several_parameters_has_no_mixture():
    ax = plots.null_distribution(DRAWS, 2.0, df=3)
    assert len(ax.get_lines()) == 3
    t, tail = lines(ax)[r"$\chi^2_{3}$"].get_data()
    np.testing.assert_allclose(tail, chi2.sf(t, 3), rtol=1e-10)


def test_null_distribution_takes_results_of_tests(pulp_fit):
    null = mm.lmm("bright ~ 1", mm.load_dataset("pulp"), reml=False)
    result = mm.parametric_bootstrap(null, pulp_fit.refit(reml=False), nsim=50, rng=1)
    ax = plots.null_distribution(result)
    assert "50 simulated" in lines(ax)
    assert "observed, 2.568" in lines(ax)


def test_colours_can_be_told_apart():
    colours = [to_rgb(colour) for colour in plots.COLORS]
    assert len(set(colours)) == len(plots.MARKERS) == len(plots.LINES) == len(plots.COLORS)


# --- bad input -----------------------------------------------------------------------------------


def pulp_with(**columns):
    return mm.load_dataset("pulp").assign(**columns)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.group_means({"a": [1]}, "a", "b"), "must be a pandas DataFrame"),
        (lambda: plots.group_means(pulp_with(), "brite", "operator"), "Did you mean 'bright'"),
        (lambda: plots.group_means(pulp_with(), "bright", "shift"), "no column 'shift'"),
        (lambda: plots.group_means(pulp_with(), "operator", "operator"), "must be real numbers"),
        (
            lambda: plots.group_means(pulp_with(bright=np.nan), "bright", "operator"),
            "'bright' has missing values",
        ),
        (
            lambda: plots.interaction(pulp_with(operator=None), "bright", "operator", "operator"),
            "'operator' has missing values",
        ),
        (lambda: plots.null_distribution([], 1.0), "no simulated sample"),
        (lambda: plots.null_distribution([1.0, np.nan], 1.0), "no simulated sample"),
        (lambda: plots.null_distribution([1.0, 2.0]), "observed"),
        (lambda: plots.null_distribution([1.0, 2.0], 1.0, df=0), "df must be a whole number"),
    ],
)
def test_bad_data(call, message):
    with pytest.raises(mm.DataError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda fit, _: plots.shrinkage(fit, "shift"), "no grouping 'shift'"),
        (lambda fit, _: plots.shrinkage(fit, columns="Days"), "no random effect 'Days'; it has I"),
        (lambda fit, _: plots.shrinkage(fit, columns=["Intercept"] * 3), "one or two columns"),
        (lambda fit, _: plots.shrinkage(fit, columns=[]), "one or two columns, not 0"),
        (lambda fit, _: plots.caterpillar(fit, column="Days"), "no random effect 'Days'"),
        (lambda fit, _: plots.caterpillar(fit, error="standard"), "'prediction' or 'conditional'"),
        (lambda fit, _: plots.caterpillar(fit, level=95), "level must be between 0 and 1"),
        (lambda fit, _: plots.residuals_vs_fitted(fit, "raw"), "kind must be 'conditional' or"),
        (lambda fit, _: plots.qq_residuals(fit, scaled="raw"), "scaled must be 'pearson'"),
        (lambda fit, _: plots.qq_ranef(fit, "shift"), "no grouping 'shift'"),
        (lambda fit, _: plots.likelihood_surface(fit, n=1), "n must be a whole number of at least"),
        (lambda _, p: plots.profile_zeta(p, "sigm"), "Did you mean 'sigma'"),
        (lambda _, p: plots.profile_zeta(p, "sigma", n=-3), "n must be a whole number of at least"),
        (lambda _, p: plots.profile_pair(p), "name two of the parameters sd_Intercept"),
        (lambda _, p: plots.profile_pair(p, "sigma", "sigma"), "two different parameters"),
    ],
)
def test_bad_choice(pulp_fit, pulp_profile, call, message):
    with pytest.raises(mm.DataError, match=message):
        call(pulp_fit, pulp_profile)


def test_surface_needs_one_variance(sleep_fit):
    with pytest.raises(mm.DataError, match=r"has 3 covariance parameters\. Use profile_pair"):
        plots.likelihood_surface(sleep_fit)


def test_nothing_to_draw_leaves_no_figure_behind(pulp_fit):
    with pytest.raises(mm.DataError):
        plots.caterpillar(pulp_fit, column="Days")
    assert plt.get_fignums() == []


def test_a_null_distribution_takes_its_degrees_of_freedom_from_the_bootstrap():
    data = mm.load_dataset("penicillin")
    small, large = (
        mm.lmm(f"yield ~ {fixed} + (1 | blend)", data, reml=False) for fixed in ("1", "treat")
    )
    test = mm.parametric_bootstrap(small, large, nsim=5000, rng=1)
    ax = mm.plots.null_distribution(test)
    labels = [line.get_label() for line in ax.get_lines()]
    assert labels[:2] == ["5 000 simulated", r"$\chi^2_{3}$"]
    steps = ax.get_lines()[0].get_xydata()
    assert len(steps) <= 2002  # a long simulation is thinned, its tail kept
    at = steps[:, 0].searchsorted(test.statistic)
    assert steps[at, 1] == pytest.approx(test.pvalue, abs=2e-3)


def test_a_grouping_is_chosen_by_name(pulp_fit):
    for named in (None, "operator"):
        assert plots.grouping_of(pulp_fit, named).name == "operator"
    with pytest.raises(mm.DataError, match=r"no grouping 'oparator'\. Did you mean 'operator'"):
        plots.grouping_of(pulp_fit, "oparator")
    with pytest.raises(mm.DataError, match="choose a grouping with group=; the fit has g, h"):
        plots.grouping_of(at_point("crossed", "identity"), None)
    with pytest.raises(mm.DataError, match="the fit has none"):
        plots.grouping_of(mm.lmm("y ~ x", simulated()), None)
