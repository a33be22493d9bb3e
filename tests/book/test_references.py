"""`tools/book/references.py`: a reference that leads nowhere is named, with what was meant."""

import pytest
from nbformat.v4 import new_markdown_cell, new_notebook

from tools import ROOT
from tools.book.execute import CHAPTERS, read_chapter
from tools.book.references import unknown_references


def of(text):
    return unknown_references(new_notebook(cells=[new_markdown_cell(text)]))


@pytest.mark.parametrize(
    ("role", "right", "mistyped"),
    [
        ("doc", "01-pulp", "01-pulb"),
        ("numref", "ex-pulp-allocation", "ex-pulp-alocation"),
        ("term", "shrinkage factor", "shrinkige factor"),
        ("eq", "eq-inference-lrt", "eq-inference-lrd"),
        ("cite", "sheldon1960", "sheldan1960"),
    ],
)
def test_a_mistyped_reference_is_named_with_the_nearest(role, right, mistyped):
    assert of(f"See {{{role}}}`{right}`.") == []
    told = f"cell 1: {{{role}}}`{mistyped}` leads nowhere: did you mean {right}?"
    assert of(f"See {{{role}}}`{mistyped}`.") == [told]
    assert of(f"```{{admonition}} A\n{{{role}}}`{mistyped}`\n```") == [told]


@pytest.mark.parametrize("role", ["doc", "numref", "term", "eq"])
def test_what_stands_before_a_target_is_its_title(role):
    right, told = {"doc": "01-pulp", "term": "REML"}.get(role, "eq-inference-lrt"), "leads nowhere"
    assert of(f"{{{role}}}`so <{right}>`") == []
    assert told in of(f"{{{role}}}`so <x{right}x>`")[0]


def test_each_of_several_works_is_looked_up():
    (found,) = of("After {cite:t}`bates2015, sheldan1960`.")
    assert found == "cell 1: {cite:t}`sheldan1960` leads nowhere: did you mean sheldon1960?"


def test_a_term_may_be_written_in_capitals():
    assert of("{term}`Shrinkage factor`") == []


def test_all_chapters_refer_to_what_there_is():
    found = {path.stem: unknown_references(read_chapter(path)) for path in ROOT.glob(CHAPTERS)}
    assert {page: lines for page, lines in found.items() if lines} == {}
