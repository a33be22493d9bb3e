"""The book's figures: readable without colour, the same bytes each time."""

import io
import re

import matplotlib as mpl
import matplotlib.pyplot as plt
import nbformat
import pytest

from tools import ROOT
from tools.book.execute import CHAPTERS

# What a phone of 375 px leaves for a figure, and the smallest letters there, in pixels.
PHONE, SMALLEST = 343, 7


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


def letters_on_a_phone(svg: str) -> float:
    """Return the height of a figure's smallest letters on a phone, in pixels.

    matplotlib draws letters as outlines a hundred times their size, and scales them.
    """
    width = float(re.search(r'<svg[^>]*?width="([\d.]+)pt"', svg, re.DOTALL)[1])
    sizes = [100 * float(scale) for scale in re.findall(r"scale\(([\d.]+) -", svg)]
    return min(sizes) * PHONE / width


def test_letters_are_measured_on_a_phone():
    plt.rcParams["savefig.bbox"] = None
    fig, ax = plt.subplots(figsize=(PHONE / 72, 3))
    ax.set_title("title", fontsize=8)
    file = io.StringIO()
    fig.savefig(file, format="svg")
    assert letters_on_a_phone(file.getvalue()) == pytest.approx(8, abs=0.01)


@pytest.mark.parametrize("path", sorted(ROOT.glob(CHAPTERS)), ids=lambda path: path.stem)
def test_figures_are_legible_on_a_phone(path):
    notebook = nbformat.read(path.with_suffix(".ipynb"), as_version=4)
    figures = {
        cell.metadata["mystnb"]["figure"]["name"]: output["data"]["image/svg+xml"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/svg+xml" in output.get("data", {})
    }
    small = {name: letters_on_a_phone(svg) for name, svg in figures.items()}
    assert {name: height for name, height in small.items() if height < SMALLEST} == {}
