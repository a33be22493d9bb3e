"""nbval, as the project sets it up, turns red when an output is wrong, and stays green on noise."""

import hashlib
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output

import mmlib
from tools import ROOT
from tools.book.execute import execute, save

SAMPLE = Path(__file__).parent / "fixtures" / "01-sample.md"


def printed(text: str) -> list[NotebookNode]:
    return [new_output("stream", text=text + "\n")]


def shown(kind: str, content: str) -> list[NotebookNode]:
    return [new_output("display_data", {kind: content})]


def show(kind: str, content: str) -> str:
    return f"from IPython.display import display\ndisplay({{{kind!r}: {content!r}}}, raw=True)"


# Code of a cell, and the outputs that are committed for it.
GREEN = {
    "same": ("print(1 / 3)", printed("0.3333333333333333")),
    "noise": ("print(1 / 3)", printed("0.3333333334")),
    "noise about zero": ("print('a', 1e-17)", printed("a -2.2e-16")),
    "noise in HTML": (show("text/html", "<b>0.5</b>"), shown("text/html", "<b>0.50000001</b>")),
    "noise in a figure": (
        show("image/svg+xml", '<path d="M 57.6 0.000001"/>'),
        shown("image/svg+xml", '<path d="M 57.600001 0"/>'),
    ),
    "silenced": ("1 / 3;", []),
}
RED = {
    "wrong number": ("print(1 / 3)", printed("0.3334")),
    "wrong integer": ("print(2000000)", printed("2000001")),
    "wrong word": ("print('fixed')", printed("random")),
    "wrong number in HTML": (show("text/html", "<b>0.5</b>"), shown("text/html", "<b>0.501</b>")),
    "wrong number in LaTeX": (show("text/latex", "$0.5$"), shown("text/latex", "$0.501$")),
    "wrong figure": (
        show("image/svg+xml", '<path d="M 57.6 0"/>'),
        shown("image/svg+xml", '<path d="M 57.7 0"/>'),
    ),
    "output missing in the reference": ("print(1)", []),
    "output no longer there": ("one = 1", printed("1")),
    "stderr": ("import sys; print('beware', file=sys.stderr)", []),
    "warning": ("import warnings; warnings.warn('old')", []),
    "error": ("1 / 0", []),
}


def nbval(notebook: NotebookNode, folder: Path) -> list[bool]:
    """Run nbval as `make test` does; tell for each code cell whether it passed."""
    path, report = folder / "chapter.ipynb", folder / "report.xml"
    save(notebook, path)
    subprocess.run(
        [
            *(sys.executable, "-m", "pytest", str(path), "-c", "pyproject.toml", "-p", "conftest"),
            *("-q", "-p", "no:cacheprovider", "--numprocesses=0", f"--junitxml={report}"),
        ],
        cwd=ROOT,
        check=False,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTEST_ADDOPTS": ""},
    )
    return [len(cell) == 0 for cell in ET.parse(report).iter("testcase")]


@pytest.fixture(scope="module")
def passed(tmp_path_factory) -> dict[str, bool]:
    """Tell for each case whether nbval accepts it; all are cells of one notebook."""
    cells = [
        new_code_cell(code, outputs=outputs, execution_count=number)
        for number, (code, outputs) in enumerate([*GREEN.values(), *RED.values()], start=1)
    ]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    notebook = new_notebook(cells=cells, metadata=metadata)
    verdicts = nbval(notebook, tmp_path_factory.mktemp("cases"))
    return dict(zip([*GREEN, *RED], verdicts, strict=True))


@pytest.mark.parametrize("case", GREEN)
def test_green(passed, case):
    assert passed[case]


@pytest.mark.parametrize("case", RED)
def test_red(passed, case):
    assert not passed[case]


@pytest.mark.landing
def test_a_chapter_is_green_until_a_datum_of_the_library_changes(tmp_path):
    notebook = execute(SAMPLE)
    assert nbval(notebook, tmp_path) == [True] * 5
    _lay_other_library(tmp_path / "mmlib")
    assert nbval(notebook, tmp_path) == [True, False, True, False, False]  # nothing is counted anew


def _lay_other_library(folder: Path) -> None:
    """Copy mmlib beside the notebook, where Python looks first, with one other brightness."""
    shutil.copytree(Path(mmlib.__file__).parent, folder)
    csv, sums = folder / "data" / "pulp.csv", folder / "data" / "SHA256SUMS"
    old = csv.read_bytes()
    new = old.replace(b"59.8,a", b"59.9,a", 1)
    csv.write_bytes(new)
    before, after = (hashlib.sha256(content).hexdigest() for content in (old, new))
    assert before in sums.read_text()
    sums.write_text(sums.read_text().replace(before, after))
