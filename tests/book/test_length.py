"""Chapters are as long as one sitting allows, and say how long that is."""

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tools import ROOT
from tools.book.execute import CHAPTERS, read_chapter
from tools.book.length import minutes, words

SHORT, *LECTURE = sorted(ROOT.glob(CHAPTERS))[:8]


def chapter(text: str):
    return new_notebook(cells=[new_markdown_cell(text)])


def test_code_formulas_and_exercises_are_no_text():
    text = "# A title\n\nFour words of `text`, $x = 1$.\n\n$$\nx = 1\n$$\n\n## Exercises\n\nMore."
    assert words(chapter(text)) == 6


def test_minutes_count_what_readers_see():
    text = chapter("word " * 1300)
    assert minutes(text) == 10
    code = new_code_cell("x = 1\n" * 150)
    hidden = new_code_cell("x = 1\n" * 150, metadata={"tags": ["remove-cell"]})
    assert minutes(new_notebook(cells=[*text.cells, code, hidden])) == 20


@pytest.mark.parametrize("path", LECTURE, ids=lambda path: path.stem)
def test_a_chapter_of_the_lecture_is_one_sitting(path):
    notebook = read_chapter(path)
    assert words(notebook) <= 2000
    assert minutes(notebook) <= 35


def test_the_whole_story_is_told_in_twenty_minutes():
    assert words(read_chapter(SHORT)) <= 1500
