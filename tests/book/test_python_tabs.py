"""`tools/book/python_tabs.py`: the Python beside R is run, and its comments say what it gives."""

import pytest
from nbformat.v4 import new_markdown_cell, new_notebook

from tools.book.python_tabs import STORED, not_run, telling, without_comments
from tools.book.sentences import unheld

CODE = "x = [3, 0.25]\nx[1]  # 0.25\nsum(\n    x\n)\n# from 3.25, 1\nlen(x)  # 2\n"
ANSWERS = "#> 2\n0.25\n\n#> 3\n3.25\n\n#> 7\n2\n\n"


def chapter(code, answers=ANSWERS, stored=CODE):
    notebook = new_notebook(cells=[new_markdown_cell(f"Text.\n\n```python\n{code}```\n")])
    notebook.metadata[STORED] = [{"code": without_comments(stored), "answers": answers}]
    return notebook


def test_code_that_was_not_run_is_found():
    assert not_run(chapter(CODE)) == []
    assert not_run(chapter(CODE.replace("# 0.25", "# a quarter"))) == []
    (complaint,) = not_run(chapter(CODE.replace("[3,", "[4,")))
    assert complaint.endswith("it was not run as it stands: run `make execute`")
    assert len(not_run(chapter(CODE + "```\n\n```python\nx\n"))) == 1


def test_a_comment_says_what_its_statement_gives():
    (complaint,) = unheld(chapter(CODE))
    assert complaint.startswith("cell 1: 1 (tab) in “from 3.25, 1”")


@pytest.mark.parametrize(("true", "false"), [("# 0.25", "# 3.25"), ("# 2\n", "# 3\n")])
def test_a_value_of_another_statement_does_not_hold_it(true, false):
    assert len(unheld(chapter(CODE.replace(true, false)))) == 2


def test_blocks_print_what_their_expressions_give(capsys):
    exec(telling(CODE), {})
    assert capsys.readouterr().out == ANSWERS


def test_a_table_is_shown_with_all_its_digits(capsys):
    exec(telling("import pandas as pd\npd.Series([0.1494434123])"), {})
    assert "0.1494434123" in capsys.readouterr().out
