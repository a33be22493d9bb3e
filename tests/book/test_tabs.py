"""`tools/book/tabs.py`: code of R and of other packages is stored with its answer, not typed."""

import pytest
from nbformat.v4 import new_markdown_cell, new_notebook

from tools.book import tabs

SCRIPT = "x <- 60.4\nx + 0\n"
ANSWER = "x <- 60.4\nx + 0\n#> [1] 60.4\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "01-a-1.R").write_text(SCRIPT)
    (tmp_path / "01-a-1.txt").write_text(ANSWER)
    return tmp_path


def page(block):
    return new_notebook(cells=[new_markdown_cell(f"text\n\n```r\n{block}```")])


def test_a_block_is_the_stored_answer(folder):
    assert tabs.typed_blocks("01-a", page(ANSWER), folder) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("#> [1] 60.4", "#> [1] 60.9"), "'#> [1] 60.9' is not the stored answer"),
        (("x + 0", "x + 1"), "'x + 1' is not the stored answer"),
        (("#> [1] 60.4\n", ""), "'x + 0' is not the stored answer"),
    ],
)
def test_a_typed_block_is_found(folder, change, complaint):
    (found,) = tabs.typed_blocks("01-a", page(ANSWER.replace(*change)), folder)
    assert complaint in found


def test_a_script_whose_answer_is_old_is_found(folder):
    (folder / "01-a-1.R").write_text(SCRIPT.replace("x + 0", "x + 1"))
    (found,) = tabs.typed_blocks("01-a", page(ANSWER), folder)
    assert "its script has changed: run `python -m tools.book.tabs --run 01-a-1`" in found


def test_a_block_without_a_script_is_found(folder):
    (found,) = tabs.typed_blocks("02-b", page(ANSWER), folder)
    assert found == "1 blocks of R (or py), but 0 scripts tests/oracle/tabs/02-b-K.R (or .py)"


def test_blocks_are_filled_in_order():
    text = "```r\nold\n```\n\n```py\nolder\n```\n"
    assert tabs.filled(text, ["1\n", "2\n"]) == "```r\n1\n```\n\n```py\n2\n```\n"
    assert tabs.filled(text, ["1\n", ""]) == "```r\n1\n```\n\n```py\nolder\n```\n"
