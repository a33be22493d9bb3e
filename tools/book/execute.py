"""Execute the chapters: `book/NN-name.md` → `book/NN-name.ipynb`, the committed reference.

    python -m tools.book.execute                    every chapter
    python -m tools.book.execute book/01-pulp.md    the given ones

The text notebook is the only source; the executed one is derived, never edited. Running twice
gives the same bytes: cells are named by their position, and neither times nor the version of
Python are recorded. A notebook is written only when all its cells ran and `notebook_checks` has
nothing to complain about; otherwise the old one stays as it was.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from tools import ROOT
from tools.book.checks import all_complaints

CHAPTERS = "book/[0-9][0-9]-*.md"
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


def execute(path: Path) -> NotebookNode:
    """Run a chapter in a fresh kernel that works in the chapter's own folder.

    Raises
    ------
    ChapterError
        If a cell fails, takes too long, or leaves an output that may not be published.
    """
    notebook = read_chapter(path)
    source = nbformat.from_dict(notebook)
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
    code_cells = 0
    with client.setup_kernel():
        for position, cell in enumerate(notebook.cells):
            code_cells += cell.cell_type == "code"
            try:
                client.execute_cell(cell, position, execution_count=code_cells)
            except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
                place = f"{_shown(path)}: code cell {code_cells}"
                raise ChapterError(f"{place} ({_first_line(cell)!r}): {_reason(error)}") from error
    if complaints := all_complaints(source, notebook):
        raise ChapterError("\n".join(f"{_shown(path)}: {line}" for line in complaints))
    return notebook


def save(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook in one step, so that an interruption leaves the old file or the new one."""
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, suffix=".tmp", delete=False
    ) as file:
        temporary = Path(file.name)
        try:
            file.write(nbformat.writes(notebook) + "\n")
            file.close()
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def main(arguments: list[str] | None = None) -> int:
    """Execute the chapters named on the command line, or all; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", type=Path, metavar="book/NN-name.md")
    chapters = parser.parse_args(arguments).chapters or sorted(ROOT.glob(CHAPTERS))
    failed = 0
    for position, path in enumerate(chapters, start=1):
        print(f"[{position}/{len(chapters)}] {_shown(path)} … ", end="", flush=True)
        start = time.perf_counter()
        try:
            save(execute(path.resolve()), path.with_suffix(".ipynb"))
        except ChapterError as error:
            print(f"failed\n{error}")
            failed += 1
        except KeyboardInterrupt:
            print("interrupted; its notebook is unchanged.")
            return 130
        else:
            print(f"{time.perf_counter() - start:.1f} s → {_shown(path.with_suffix('.ipynb'))}")
    if failed:
        print(f"{failed} of {len(chapters)} chapters failed; their notebooks are unchanged.")
    return 1 if failed else 0


def _first_line(cell: NotebookNode) -> str:
    return str(cell.source).strip().splitlines()[0]


def _reason(error: Exception) -> str:
    """Tell in one line why a cell failed."""
    if isinstance(error, CellExecutionError):
        return " ".join(f"{error.ename}: {error.evalue}".split())
    if isinstance(error, CellTimeoutError):
        return f"took longer than {TIMEOUT} s"
    return "the kernel died"


def _shown(path: Path) -> str:
    """Return a path as the reader knows it: relative to the project where it lies inside."""
    path = path.resolve()
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)


if __name__ == "__main__":
    sys.exit(main())
