"""Execute the chapters: `book/NN-name.md` → `book/NN-name.ipynb`, the committed reference.

    python -m tools.book.execute                    every chapter
    python -m tools.book.execute book/01-pulp.md    the given ones
    python -m tools.book.execute --accept           whatever comes out, and list what is false now

The text notebook is the only source; the executed one is derived, never edited. Running twice
gives the same bytes: cells are named by their position, and neither times nor the version of
Python are recorded. A notebook is written only when all its cells ran and `notebook_checks` has
nothing to complain about; otherwise the old one stays as it was.

Whoever changes the data on purpose wants the new numbers, and to know which statements they make
false. `--accept` stores what comes out and lists every assertion that fails and every number of a
text that no cell gives any more. It makes nothing true: the tests stay red until the list is empty.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from tools import ROOT
from tools.book.checks import all_complaints
from tools.book.prose import blocks
from tools.book.python_tabs import STORED, telling, without_comments
from tools.book.tabs import COMMAND, answers

CHAPTERS = "book/[0-9][0-9]-*.md"
FALSE = "no longer true: "
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_ARROW = re.compile(r"(?m)^-+> *\d+ (.*)$")
TIMEOUT = 300  # seconds for one cell; a whole chapter should take less than 30


class ChapterError(Exception):
    """A chapter that cannot be executed; the message names chapter, cell and reason."""


def read_chapter(path: Path) -> NotebookNode:
    """Read a text notebook, with cell names and metadata that depend on nothing but its text.

    Parameters
    ----------
    path : Path
        A MyST text notebook.

    Raises
    ------
    ChapterError
        If there is no such file.
    """
    if not path.is_file():
        raise ChapterError(f"{_shown(path)}: no such file (a chapter is book/NN-name.md)")
    notebook = jupytext.read(path, fmt="md:myst")
    for position, cell in enumerate(notebook.cells, start=1):
        cell.id = f"cell-{position:03d}"
    notebook.metadata = NotebookNode(
        kernelspec=NotebookNode(display_name="Python 3", language="python", name="python3")
    )
    return notebook


def with_stored_outputs(path: Path) -> NotebookNode:
    """Read a text notebook, and give its code cells the outputs that are stored for them.

    What this returns is what executing the chapter would give, as long as no code has changed.
    """
    notebook = read_chapter(path)
    stored = nbformat.read(path.with_suffix(".ipynb"), as_version=4)
    outputs = [cell for cell in stored.cells if cell.cell_type == "code"]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    notebook.metadata[STORED] = stored.metadata.get(STORED, [])
    for cell, executed in zip(code, outputs, strict=False):
        if cell.source == executed.source:
            cell.outputs = executed.outputs
            cell.execution_count = executed.execution_count
    return notebook


def execute(path: Path) -> NotebookNode:
    """Run a chapter in a fresh kernel that works in the chapter's own folder.

    Raises
    ------
    ChapterError
        If a cell fails, takes too long, or leaves an output that may not be published.
    """
    notebook = read_chapter(path)
    source = nbformat.from_dict(notebook)
    _run(path, notebook)
    if complaints := all_complaints(source, notebook, path.stem):
        raise ChapterError("\n".join(f"{_shown(path)}: {line}" for line in complaints))
    return notebook


def accept(path: Path) -> tuple[NotebookNode, list[str]]:
    """Run a chapter whatever comes out; return it, and the statements that do not hold.

    Raises
    ------
    ChapterError
        If a cell fails for another reason than a false assertion.
    """
    source = read_chapter(path)
    notebook = nbformat.from_dict(source)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = reporting(cell.source)
    _run(path, notebook)
    false = []
    checked, judged = nbformat.from_dict(source), nbformat.from_dict(notebook)
    for at, cell in enumerate(notebook.cells):
        told = _take_reports(cell)
        false += [f"cell {at + 1}: {line}" for line in told]
        cell.source = source.cells[at].source
        # What is no longer true holds no number.
        kept = without(cell.source, told) if told else cell.source
        checked.cells[at].source = kept
        judged.cells[at] = NotebookNode({**cell, "source": kept})
    old_r = false and answers(path.stem)
    if old_r:
        false.append(
            f"its tabs of R are those of the data before: run `{COMMAND} --run` where R is"
        )
    false += all_complaints(checked, judged, path.stem, with_r=not old_r)
    return notebook, [f"{_shown(path)}: {line}" for line in false]


def without(code: str, false: list[str]) -> str:
    """Return code without the assertions that were reported as false."""
    return _with_asserts(code, lambda node: ast.Pass() if _report(node) in false else node)


def reporting(code: str) -> str:
    """Return code whose assertions report that they fail, and let the rest run.

    >>> print(reporting("assert x == 1"))
    try:
        assert x == 1
    except AssertionError:
        print('no longer true: assert x == 1')
    """
    return _with_asserts(code, _told) if "assert" in code else code


def _told(node: ast.Assert) -> ast.Try:
    report = ast.parse(f"print({_report(node)!r})").body
    handler = ast.ExceptHandler(type=ast.Name("AssertionError", ast.Load()), body=report)
    return ast.Try(body=[node], handlers=[handler], orelse=[], finalbody=[])


def _with_asserts(code: str, change: Callable[[ast.Assert], ast.AST]) -> str:
    class Change(ast.NodeTransformer):
        def visit_Assert(self, node: ast.Assert) -> ast.AST:
            return change(node)

    return ast.unparse(ast.fix_missing_locations(Change().visit(ast.parse(code))))


def _report(node: ast.Assert) -> str:
    """Return what is reported when an assertion fails."""
    return FALSE + ast.unparse(ast.Assert(test=node.test))


def _take_reports(cell: NotebookNode) -> list[str]:
    """Take the reports of false assertions out of a cell's outputs, and return them."""
    found = []
    for output in list(cell.get("outputs", [])):
        if output.output_type == "stream" and FALSE in output.text:
            lines = output.text.splitlines(keepends=True)
            found += [line.strip() for line in lines if line.startswith(FALSE)]
            output.text = "".join(line for line in lines if not line.startswith(FALSE))
            if not output.text:
                cell.outputs.remove(output)
    return found


def _run(path: Path, notebook: NotebookNode) -> None:
    """Run all cells of a chapter's notebook in a fresh kernel."""
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name="python3",
        record_timing=False,
        # One output for all that a cell prints, however the kernel happens to send it.
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
        extra_arguments=["--log-level=CRITICAL"],
    )
    shown, code_cells = _shown(path), 0
    with client.setup_kernel():
        for position, cell in enumerate(notebook.cells):
            code_cells += cell.cell_type == "code"
            first = cell.source.strip().partition("\n")[0]
            _run_cell(client, position, code_cells, f"{shown}: code cell {code_cells} ({first!r})")
        tabs = [
            _answer(client, code, f"{shown}: a tab of Python")
            for code in blocks(notebook, "python")
        ]
    if tabs:
        notebook.metadata[STORED] = tabs


def _answer(client: NotebookClient, code: str, place: str) -> NotebookNode:
    """Run a block of Python from a tab after the cells of its chapter."""
    cells = client.nb.cells
    cells.append(new_code_cell(telling(code)))
    _run_cell(client, len(cells) - 1, 0, f"{place} ({code[:40]!r}…)")
    printed = "".join(output.get("text", "") for output in cells.pop().outputs)
    return NotebookNode(code=without_comments(code), answers=printed)


def _run_cell(client: NotebookClient, position: int, number: int, place: str) -> None:
    try:
        client.execute_cell(client.nb.cells[position], position, execution_count=number)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        raise ChapterError(f"{place}: {_reason(error)}") from error


def save(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook in one step, so that an interruption leaves the old file or the new one."""
    text, unfinished = nbformat.writes(notebook) + "\n", path.with_suffix(".tmp")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def main(arguments: list[str] | None = None) -> int:
    """Execute the chapters named on the command line, or all; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", type=Path, metavar="book/NN-name.md")
    parser.add_argument(
        "--accept", action="store_true", help="store what comes out, list what fails"
    )
    chosen = parser.parse_args(arguments)
    chapters = chosen.chapters or sorted(ROOT.glob(CHAPTERS))
    failed = 0
    for position, path in enumerate(chapters, start=1):
        print(f"[{position}/{len(chapters)}] {_shown(path)} … ", end="", flush=True)
        start = time.perf_counter()
        try:
            notebook, false = _executed(path.resolve(), whatever=chosen.accept)
            save(notebook, path.with_suffix(".ipynb"))
        except ChapterError as error:
            print(f"failed\n{error}")
            failed += 1
        except KeyboardInterrupt:
            print("interrupted; its notebook is unchanged.")
            return 130
        else:
            print(f"{time.perf_counter() - start:.1f} s → {_shown(path.with_suffix('.ipynb'))}")
            if false:
                print("\n".join([f"{len(false)} statements do not hold:", *false]))
                failed += 1
    if failed and not chosen.accept:
        print(f"{failed} of {len(chapters)} chapters failed; their notebooks are unchanged.")
    return 1 if failed else 0


def _executed(path: Path, *, whatever: bool) -> tuple[NotebookNode, list[str]]:
    return accept(path) if whatever else (execute(path), [])


def _reason(error: Exception) -> str:
    """Tell in one line why a cell failed."""
    if isinstance(error, CellExecutionError):
        failed = _ARROW.search(_COLOUR.sub("", error.traceback))
        told = error.evalue or (failed[1] if failed else "")
        return " ".join(f"{error.ename}: {told}".split())
    if isinstance(error, CellTimeoutError):
        return f"took longer than {TIMEOUT} s"
    return "the kernel died"


def _shown(path: Path) -> str:
    """Return a path as the reader knows it: relative to the project where it lies inside."""
    path = path.resolve()
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)


if __name__ == "__main__":
    sys.exit(main())
