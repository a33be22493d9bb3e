"""What must hold for a chapter: a text notebook (`.md`) and its executed twin (`.ipynb`).

Each check takes notebooks and returns its complaints, one line each; an empty list means that
all is well. `tools/book/execute.py` refuses to save a notebook that has complaints, and the tests
of the book run the same checks on what is committed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from nbformat import NotebookNode

from tools.book.assertions import idle, parse
from tools.book.python_tabs import not_run
from tools.book.sentences import allowed_on, captions, unheld
from tools.book.tabs import typed_blocks
from tools.homework.parts import bound, names

_MACHINE_PATH = re.compile(
    r"(?<![\w.:/])/(?:home|root|Users|tmp|private|var|usr|opt|work|mnt)/|\b[A-Z]:\\|site-packages"
)
_MEMORY_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]+")
_NBVAL_MARKER = re.compile(r"#\s*(?:NBVAL_|PYTEST_VALIDATE_)\w+")
_UNCHECKED_TAG = re.compile(r"nbval-\S+|raises-exception|skip-execution")
_HIDDEN = {"remove-cell", "remove-input"}


def drift(source: NotebookNode, executed: NotebookNode) -> list[str]:
    """Tell where the executed notebook is not the source's: cells, texts, tags and metadata."""
    counts = len(source.cells), len(executed.cells)
    if counts[0] != counts[1]:
        return ["the .md has {} cells, the .ipynb has {}: run `make execute`".format(*counts)]
    return [
        f"cell {number}: the .ipynb differs from the .md in its {part}: run `make execute`"
        for number, (a, b) in enumerate(zip(source.cells, executed.cells, strict=True), start=1)
        for part in ("cell_type", "source", "metadata")
        if a[part] != b[part]
    ]


def faulty_cells(notebook: NotebookNode) -> list[str]:
    """Find what is wrong with single cells of code: the code of each, or its outputs."""
    return [
        f"code cell {number}: {complaint}"
        for number, cell in enumerate(_code_cells(notebook), start=1)
        for complaint in _faults_of_code(cell, number)
    ]


def _faults_of_code(cell: NotebookNode, number: int) -> Iterator[str]:
    # Run from top to bottom in a fresh kernel, and exempt from nothing.
    if cell.execution_count != number:
        yield f"execution count is {cell.execution_count}, not {number}"
    tags = filter(_UNCHECKED_TAG.fullmatch, cell.metadata.get("tags", []))
    for mark in (*_NBVAL_MARKER.findall(cell.source), *tags):
        yield f"{mark} exempts it from the checks"
    for assertion in idle(cell.source):
        yield f"`{assertion}` holds whatever the data are: compare something computed"
    for output in cell.outputs:
        yield from _faults_of_output(output)
    caption, alt = captions(cell)
    has_picture = any(kind.startswith("image/") for o in cell.outputs for kind in o.get("data", {}))
    if has_picture and not alt.strip():
        yield "the figure has no alt text (mystnb: image: alt)"
    if has_picture and not caption.strip():
        yield "the figure has no caption (mystnb: figure: caption)"
    if cell.metadata.get("mystnb", {}).get("figure") and not has_picture:
        yield "a caption, but the cell shows no figure"


def names_of_hidden_cells(notebook: NotebookNode) -> list[str]:
    """Find names that a shown cell takes from hidden ones only: a reader cannot run that cell."""
    complaints, hidden, shown = [], set[str](), set[str]()
    for number, cell in enumerate(_code_cells(notebook), start=1):
        code = parse(cell.source)
        if _HIDDEN & set(cell.metadata.get("tags", [])):
            hidden |= bound(code)
            continue
        shown |= bound(code)
        complaints += [
            f"code cell {number}: {name} is defined only in a hidden cell, so readers lack it"
            for name in sorted((names(code, ast.Load) & hidden) - shown)
        ]
    return complaints


def all_complaints(
    source: NotebookNode, executed: NotebookNode, page: str = "", *, with_r: bool = True
) -> list[str]:
    """Run every check on one chapter; its name says which R scripts and exceptions are its own."""
    return [
        *drift(source, executed),
        *faulty_cells(executed),
        *names_of_hidden_cells(executed),
        *typed_blocks(page, executed),
        *not_run(executed),
        *unheld(executed, allowed_on(page), with_r=with_r),
    ]


def _code_cells(notebook: NotebookNode) -> Iterator[NotebookNode]:
    return (cell for cell in notebook.cells if cell.cell_type == "code")


def _faults_of_output(output: NotebookNode) -> Iterator[str]:
    if output.output_type == "error":
        yield f"raised {output.ename}: {output.evalue}"
    if output.get("name") == "stderr":
        yield f"wrote to stderr: {output.text.strip().splitlines()[-1]}"
    data = output.get("data", {})
    if any(kind in data for kind in ("image/png", "image/jpeg")):
        # A bitmap is never compared when the notebook is re-executed.
        yield "shows a bitmap: figures are SVG (see the first cell of the other chapters)"
    for text in (output.get("text", ""), *data.values()):
        if isinstance(text, str):
            if found := _MACHINE_PATH.search(text):
                yield f"shows a path of this machine (…{found.group()}…)"
            if found := _MEMORY_ADDRESS.search(text):
                yield f"shows a memory address ({found.group()}): assign the value to `_`"
