"""Figures of random effects, by what they draw."""

import numpy as np
import pytest
from scipy.stats import norm

import mmlib as mm
from mmlib import plots
from mmlib.plots.effects import grouping_name
from tests.helpers.figures import legend_texts, lines, tick_labels
from tests.helpers.fixed_theta import at_point
from tests.helpers.structures import simulated


def test_shrinkage_joins_both_estimates(pulp_fit):
    ax = plots.shrinkage(pulp_fit, unit="meter units")
    order = tick_labels(ax.yaxis)
    own, modes = (line.get_xdata() for line in ax.get_lines()[1:])
    np.testing.assert_array_equal(modes, pulp_fit.ranef()["operator"].loc[order, "Intercept"])
    np.testing.assert_array_equal(own, pulp_fit.unpooled()["operator"].loc[order, "Intercept"])
    assert (np.diff(modes) > 0).all()
    np.testing.assert_allclose(own / modes, 1.3121175, rtol=1e-6)
    ends = [segment[:, 0] for segment in ax.collections[0].get_segments()]
    np.testing.assert_array_equal(ends, np.stack([own, modes], axis=1))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("effect of operator (meter units)", "operator")


def test_shrinkage_of_a_slope(sleep_fit):
    ax = plots.shrinkage(sleep_fit, column="Days")
    modes = sleep_fit.ranef()["Subject"]["Days"].sort_values()
    np.testing.assert_array_equal(lines(ax)["predicted (BLUP)"].get_xdata(), modes)
    assert ax.get_xlabel() == "effect of Days | Subject"


def test_caterpillar_names_its_standard_errors(pulp_fit):
    ax = plots.caterpillar(pulp_fit)
    modes = ax.get_lines()[-1].get_xdata()
    np.testing.assert_array_equal(modes, pulp_fit.ranef()["operator"]["Intercept"].sort_values())
    assert tick_labels(ax.yaxis) == list("bacd")
    for bars, sd in zip(ax.collections, [0.127260, 0.170784], strict=True):
        ends = np.array([segment[:, 0] for segment in bars.get_segments()])
        np.testing.assert_allclose(ends[:, 1] - modes, norm.ppf(0.975) * sd, rtol=1e-5)
        np.testing.assert_allclose(modes - ends[:, 0], norm.ppf(0.975) * sd, rtol=1e-5)
    assert legend_texts(ax) == [
        "± 1.96 conditional SD (β known)",
        "± 1.96 prediction-error SD (β estimated)",
    ]


def test_caterpillar_at_another_level(sleep_fit):
    ax = plots.caterpillar(sleep_fit, column="Days", level=0.5, unit="ms per day")
    thin = ax.collections[1].get_segments()
    np.testing.assert_allclose(
        sorted(np.ptp(segment[:, 0]) for segment in thin),
        sorted(2 * norm.ppf(0.75) * sleep_fit.prediction_error_sd()["Subject"]["Days"]),
    )
    assert ax.get_xlabel() == "effect of Days | Subject (ms per day)"
    assert "0.674" in legend_texts(ax)[0]


def test_many_levels_are_not_named():
    fit = mm.lmm("y ~ 1 + (1 | k)", simulated(n=400).assign(k=np.arange(400) % 80))
    assert tick_labels(plots.caterpillar(fit).yaxis) == []


def test_levels_of_a_nested_grouping_are_named():
    fit = mm.lmm("y ~ x + (1 | g/m)", simulated())
    names = tick_labels(plots.caterpillar(fit, "g:m").yaxis)
    assert sorted(names) == sorted(":".join(label) for label in fit.ranef()["g:m"].index)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda fit: plots.shrinkage(fit, "shift"), "group names 'shift'"),
        (lambda fit: plots.shrinkage(fit, column="Days"), "no random effect 'Days'; it has I"),
        (lambda fit: plots.caterpillar(fit, column="Days"), "no random effect 'Days'"),
        (lambda fit: plots.caterpillar(fit, level=95), "level must be between 0 and 1"),
        (lambda _: plots.caterpillar("fit"), "a fit is needed"),
    ],
)
def test_bad_choice(pulp_fit, call, message):
    with pytest.raises(mm.DataError, match=message):
        call(pulp_fit)


def test_a_grouping_is_chosen_by_name(pulp_fit):
    for named in (None, "operator"):
        assert grouping_name(pulp_fit, named) == "operator"
    with pytest.raises(mm.DataError, match=r"names 'oparator', .* Did you mean 'operator'"):
        grouping_name(pulp_fit, "oparator")
    with pytest.raises(mm.DataError, match="choose a grouping with group=; the fit has g, h"):
        grouping_name(at_point("crossed", "identity"), None)
    with pytest.raises(mm.DataError, match="the fit has none"):
        grouping_name(mm.lmm("y ~ x", simulated()), None)
