"""What holds for every figure: none may touch settings or other figures."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

import mmlib as mm
from mmlib import plots
from mmlib.plots import style
from tests.helpers.figures import legend_texts

PULP = mm.load_dataset("pulp")
DRAWS = (np.arange(200) % 2) * np.linspace(0, 9, 200)
SDS, SIGMAS = np.linspace(0, 0.9, 9), np.linspace(0.2, 0.55, 9)
FIGURES = {
    "group_means": lambda _, ax: plots.group_means(PULP, "bright", "operator", ax=ax),
    "group_lines": lambda _, ax: plots.group_lines(
        mm.load_dataset("penicillin"), "yield", "blend", "treat", ax=ax
    ),
    "shrinkage": lambda fit, ax: plots.shrinkage(fit, ax=ax),
    "caterpillar": lambda fit, ax: plots.caterpillar(fit, ax=ax),
    "residuals_vs_fitted": lambda fit, ax: plots.residuals_vs_fitted(fit, group="operator", ax=ax),
    "qq": lambda fit, ax: plots.qq(fit.resid, ax=ax),
    "profile_zeta": lambda fit, ax: plots.profile_zeta(mm.profile(fit), "sigma", n=5, ax=ax),
    "joint_regions": lambda fit, ax: plots.joint_regions(
        mm.joint_profile(fit, "sigma", "Intercept", n=5), ax=ax
    ),
    "likelihood_surface": lambda fit, ax: plots.likelihood_surface(fit, SDS, SIGMAS, ax=ax),
    "null_distribution": lambda _, ax: plots.null_distribution(DRAWS, 2.57, ax=ax),
}
every_figure = pytest.mark.parametrize("name", FIGURES)


def test_every_figure_is_listed():
    assert sorted(FIGURES) == plots.__all__ == dir(plots)


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
def test_without_axes_a_figure_makes_its_own_with_a_legend(name, pulp_fit):
    ax = FIGURES[name](pulp_fit, None)
    assert isinstance(ax, Axes)
    assert plt.get_fignums() == [ax.figure.number]
    assert legend_texts(ax)


@pytest.mark.parametrize("name", sorted(set(FIGURES) - {"null_distribution"}))
def test_in_the_axes_of_others_the_legend_is_theirs(name, pulp_fit):
    _, mine = plt.subplots()
    FIGURES[name](pulp_fit, mine)
    assert mine.get_legend() is None
    assert mine.get_legend_handles_labels()[1]


@every_figure
def test_what_is_no_axes_is_refused(name, pulp_fit):
    with pytest.raises(mm.DataError, match="ax must be a matplotlib Axes, not Figure"):
        FIGURES[name](pulp_fit, plt.figure())


@every_figure
def test_a_figure_reads_without_colour(name, pulp_fit):
    """No two lines that a legend or a name tells apart share marker, line style and width."""
    ax = FIGURES[name](pulp_fit, None)
    looks = [
        (line.get_marker(), line.get_linestyle(), line.get_linewidth() > 1.5)
        for line in ax.get_lines()
        if not str(line.get_label()).startswith("_")
    ]
    assert len(set(looks)) == len(looks)


def test_a_figure_whose_levels_share_a_look_is_found(monkeypatch):
    _, ax = plt.subplots()
    ax.plot([0, 1], [0, 1], "-o", label="a")
    ax.plot([0, 1], [1, 0], "-o", label="b")
    monkeypatch.setitem(FIGURES, "alike", lambda *_: ax)
    with pytest.raises(AssertionError):
        test_a_figure_reads_without_colour("alike", None)


def test_colours_can_be_told_apart():
    colours = [to_rgb(colour) for colour in style.COLORS]
    assert len(set(colours)) == len(style.MARKERS) == len(style.LINES) == len(style.COLORS)


def test_nothing_to_draw_leaves_no_figure_behind(pulp_fit):
    with pytest.raises(mm.DataError):
        plots.caterpillar(pulp_fit, column="Days")
    assert plt.get_fignums() == []
