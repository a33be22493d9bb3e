"""The book's figures: readable without colour, the same bytes each time."""

import io

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest


@pytest.fixture(autouse=True)
def style():
    with plt.style.context("mmlib.styles.book"):
        yield
    plt.close("all")


def drawing() -> bytes:
    fig, ax = plt.subplots()
    ax.plot([0, 1], [1, 2], marker="o", label=r"$\sigma_\alpha$")
    ax.legend()
    file = io.BytesIO()
    fig.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def test_each_colour_has_a_line_style_of_its_own():
    cycle = mpl.rcParams["axes.prop_cycle"].by_key()
    assert len(cycle["color"]) == 7
    assert len(set(cycle["color"])) == len(set(map(str, cycle["linestyle"]))) == 7


def test_the_same_figure_gives_the_same_bytes():
    assert drawing() == drawing()


def test_figures_are_white_for_notebooks_with_a_dark_theme():
    assert mpl.colors.to_hex(mpl.rcParams["savefig.facecolor"]) == "#ffffff"
