"""Figures of means and contrasts."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

import mmlib as mm


@pytest.fixture(scope="module")
def fit():
    return mm.lmm("yield ~ Variety * C(nitro) + (1 | Block/Variety)", mm.load_dataset("oats"))


def test_a_row_for_each_mean_the_first_on_top(fit):
    means = mm.emmeans(fit, "Variety")
    ax = means.plot(unit="cwt")
    assert [tick.get_text() for tick in ax.get_yticklabels()] == [
        *("Golden Rain", "Marvellous", "Victory")
    ]
    assert ax.yaxis_inverted()
    np.testing.assert_allclose(ax.lines[0].get_xdata(), means.to_frame()["mean"])
    assert ax.get_xlabel() == "mean of yield (cwt), with 95% intervals"


def test_families_stand_apart(fit):
    ax = mm.emmeans(fit, "Variety", by="nitro").plot()
    assert np.diff(ax.get_yticks()).tolist() == [1, 1, 2, 1, 1, 2, 1, 1, 2, 1, 1]
    assert ax.get_yticklabels()[3].get_text() == "Golden Rain, nitro 0.2"


def test_contrasts_stand_beside_zero_and_ratios_beside_one(fit):
    ax = mm.emmeans(fit, "Variety").contrasts().plot()
    assert ax.lines[-1].get_xdata() == [0, 0]
    logs = mm.lmm("log(height) ~ Occasion + (1 | Subject)", mm.load_dataset("oxboys"))
    ax = mm.emmeans(logs, "Occasion", back=True).contrasts("consecutive").plot(unit="cm")
    assert ax.lines[-1].get_xdata() == [1, 1]
    assert ax.get_xlabel().startswith("ratio of height,")


def test_the_figure_is_drawn_into_the_axes_it_is_given(fit):
    _, ax = plt.subplots()
    assert mm.emmeans(fit, "Variety").plot(ax=ax) is ax
    with pytest.raises(mm.DataError, match="ax must be a matplotlib Axes, not Figure"):
        mm.emmeans(fit, "Variety").plot(ax=ax.figure)


@pytest.mark.filterwarnings("ignore::mmlib.DataWarning")
def test_what_cannot_be_estimated_has_no_point():
    data = mm.load_dataset("cultivation")
    empty = (data["Inoc"] == "liv") & (data["Cult"] == "b")
    fit = mm.lmm("drywt ~ Inoc * Cult + (1 | Block)", data[~empty])
    ax = mm.emmeans(fit, "Inoc * Cult").plot()
    assert np.isnan(ax.lines[0].get_xdata()).sum() == 1
