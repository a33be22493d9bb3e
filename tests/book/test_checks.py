"""Each check of `tools/book/checks.py` finds what it is for, and only that."""

from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools.book import checks
from tools.book.execute import read_chapter

SAMPLE = Path(__file__).parent / "fixtures" / "01-sample.md"
FIGURE = {"mystnb": {"image": {"alt": "Lines."}, "figure": {"caption": "Lines."}}}


def shown(data: dict[str, str]) -> NotebookNode:
    return new_output("execute_result", data, execution_count=1)


def notebook(*outputs: NotebookNode, metadata: dict | None = None) -> NotebookNode:
    cell = new_code_cell("f()", execution_count=1, outputs=list(outputs), metadata=metadata or {})
    return new_notebook(cells=[cell])


def drawn(**mystnb: dict) -> NotebookNode:
    return notebook(shown({"image/svg+xml": "<svg/>"}), metadata={"mystnb": mystnb})


def test_a_notebook_without_faults_has_no_complaints():
    picture = shown({"image/svg+xml": "<svg/>", "text/plain": "<Figure size 640x380 with 1 Axes>"})
    book = notebook(picture, metadata=FIGURE)
    assert checks.all_complaints(book, book) == []


@pytest.mark.parametrize(
    ("part", "value"),
    [("source", "g()"), ("metadata", {"tags": ["remove-cell"]}), ("cell_type", "markdown")],
)
def test_drift_names_the_cell_and_the_part(part, value):
    source, executed = read_chapter(SAMPLE), read_chapter(SAMPLE)
    assert checks.drift(source, executed) == []
    executed.cells[1][part] = value
    (complaint,) = checks.drift(source, executed)
    assert complaint.startswith(f"cell 2: the .ipynb differs from the .md in its {part}")


def test_a_cell_too_many_is_drift():
    source, executed = read_chapter(SAMPLE), read_chapter(SAMPLE)
    executed.cells.append(new_markdown_cell("more"))
    assert checks.drift(source, executed) == [
        "the .md has 6 cells, the .ipynb has 7: run `make execute`"
    ]


@pytest.mark.parametrize("counts", [(None, 1), (1, None), (2, 1), (1, 3), (3, 4)])
def test_cells_not_run_from_top_to_bottom(counts):
    cells = [new_code_cell("1", execution_count=count) for count in counts]
    assert checks.faulty_cells(new_notebook(cells=cells)) != []


@pytest.mark.parametrize(
    ("code", "tags"),
    [
        ("# NBVAL_IGNORE_OUTPUT\n1", []),
        ("1  #PYTEST_VALIDATE_IGNORE_OUTPUT", []),
        ("1", ["hide-input", "nbval-ignore-output"]),
        ("1", ["raises-exception"]),
        ("1", ["skip-execution"]),
    ],
)
def test_no_cell_is_exempt(code, tags):
    cell = new_code_cell(code, execution_count=1, metadata={"tags": tags})
    (complaint,) = checks.faulty_cells(new_notebook(cells=[cell]))
    assert complaint.startswith("code cell 1: ")
    assert complaint.endswith("exempts it from the checks")


def test_tags_for_the_page_exempt_nothing():
    cell = new_code_cell("1", execution_count=1, metadata={"tags": ["hide-input", "remove-cell"]})
    assert checks.faulty_cells(new_notebook(cells=[cell])) == []


@pytest.mark.parametrize(
    ("output", "complaint"),
    [
        (new_output("error", ename="KeyError", evalue="'a'"), "raised KeyError: 'a'"),
        (new_output("stream", name="stderr", text="x\nbeware\n"), "wrote to stderr: beware"),
        (shown({"image/png": "iVBO"}), "shows a bitmap"),
        (shown({"text/plain": "'/home/ada/data.csv'"}), "shows a path of this machine"),
        (new_output("stream", text="C:\\Users\\ada"), "shows a path of this machine"),
        (shown({"text/html": "<p>/tmp/x1</p>"}), "shows a path of this machine"),
        (shown({"text/plain": "[<Line2D at 0x7f00aa>]"}), "shows a memory address"),
    ],
)
def test_unwanted_outputs(output, complaint):
    drawn = "image/png" in output.get("data", {})
    (found,) = checks.faulty_cells(notebook(output, metadata=FIGURE if drawn else None))
    assert found.startswith(f"code cell 1: {complaint}")


@pytest.mark.parametrize("text", ["a/b", "1 / 20", "(1 | a/tmp)", "https://host/home/x", "0x1f"])
def test_ordinary_text_is_no_machine_path(text):
    assert checks.faulty_cells(notebook(shown({"text/plain": text}))) == []


@pytest.mark.parametrize(
    ("book", "complaint"),
    [
        (drawn(figure={"caption": "Lines."}), "no alt text"),
        (drawn(figure={"caption": "Lines."}, image={"alt": "  "}), "no alt text"),
        (drawn(image={"alt": "Lines."}), "no caption"),
        (notebook(metadata=FIGURE), "shows no figure"),
    ],
)
def test_undescribed_figures(book, complaint):
    (found,) = checks.faulty_cells(book)
    assert complaint in found


def test_a_shown_cell_may_not_use_what_only_a_hidden_one_defines():
    hidden = new_code_cell("import math\nroot = math.sqrt(2)", metadata={"tags": ["remove-cell"]})
    shown = new_code_cell("def f(x):\n    return x + root\n\n\nf(1)")
    book = new_notebook(cells=[hidden, shown])
    assert checks.names_of_hidden_cells(book) == [
        "code cell 2: root is defined only in a hidden cell, so readers lack it"
    ]
    earlier = new_code_cell("root = 1.4")
    assert checks.names_of_hidden_cells(new_notebook(cells=[hidden, earlier, shown])) == []
    solved = new_code_cell("assert root", metadata={"tags": ["remove-cell"]})
    assert checks.names_of_hidden_cells(new_notebook(cells=[hidden, solved])) == []
