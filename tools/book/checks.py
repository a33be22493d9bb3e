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

from tools.book.assertions import idle
from tools.book.citations import unknown_citations
from tools.book.python_tabs import not_run
from tools.book.references import unknown_references
from tools.book.sentences import allowed_on, unheld
from tools.book.tabs import typed_blocks

_MACHINE_PATH = re.compile(
    r"(?<![\w.:/])/(?:home|root|Users|tmp|private|var|usr|opt|work|mnt)/|\b[A-Z]:\\|site-packages"
)
_MEMORY_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]+")
_EMPTY_ALT = re.compile(r"!\[\s*\]\(|<img(?![^>]*\balt=\"[^\"]*\S[^\"]*\")[^>]*>")
_NBVAL_MARKER = re.compile(r"#\s*(?:NBVAL_|PYTEST_VALIDATE_)\w+")
_UNCHECKED_TAG = re.compile(r"nbval-\S+|raises-exception|skip-execution")
_HIDDEN = {"remove-cell", "remove-input"}
_UNDEFINED_MACRO = re.compile(r"\\bm\b")


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


def unexecuted_cells(notebook: NotebookNode) -> list[str]:
    """Find code cells that were not run, or not from top to bottom in a fresh kernel."""
    return [
        f"code cell {expected}: execution count is {cell.execution_count}, not {expected}"
        for expected, cell in enumerate(_code_cells(notebook), start=1)
        if cell.execution_count != expected
    ]


def exempted_cells(notebook: NotebookNode) -> list[str]:
    """Find marks that keep a cell from being executed or its output from being compared."""
    return [
        f"code cell {number}: {mark} exempts it from the checks"
        for number, cell in enumerate(_code_cells(notebook), start=1)
        for mark in (
            *_NBVAL_MARKER.findall(cell.source),
            *filter(_UNCHECKED_TAG.fullmatch, cell.metadata.get("tags", [])),
        )
    ]


def unwanted_outputs(notebook: NotebookNode) -> list[str]:
    """Find errors, anything on stderr, machine paths, memory addresses and bitmaps in outputs."""
    return [
        f"code cell {number}: {complaint}"
        for number, cell in enumerate(_code_cells(notebook), start=1)
        for output in cell.outputs
        for complaint in _output_complaints(output)
    ]


def undescribed_figures(notebook: NotebookNode) -> list[str]:
    """Find figures without alternative text or caption, in code cells and in Markdown."""
    complaints = []
    for number, cell in enumerate(_code_cells(notebook), start=1):
        mystnb = cell.metadata.get("mystnb", {})
        has_picture = any(_is_picture(output) for output in cell.outputs)
        if has_picture and not str(mystnb.get("image", {}).get("alt", "")).strip():
            complaints.append(
                f"code cell {number}: the figure has no alt text (mystnb: image: alt)"
            )
        if has_picture and not str(mystnb.get("figure", {}).get("caption", "")).strip():
            complaints.append(
                f"code cell {number}: the figure has no caption (mystnb: figure: caption)"
            )
        if mystnb.get("figure") and not has_picture:
            complaints.append(f"code cell {number}: a caption, but the cell shows no figure")
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type == "markdown" and _EMPTY_ALT.search(cell.source):
            complaints.append(f"cell {number}: an image without alt text")
    return complaints


def unportable_maths(notebook: NotebookNode) -> list[str]:
    r"""Find TeX macros that MathJax does not know (`\bm`; `\boldsymbol` works everywhere)."""
    return [
        rf"cell {number}: \bm is not defined in MathJax, write \boldsymbol"
        for number, cell in enumerate(notebook.cells, start=1)
        if cell.cell_type == "markdown" and _UNDEFINED_MACRO.search(cell.source)
    ]


def idle_assertions(notebook: NotebookNode) -> list[str]:
    """Find assertions that hold whatever the data are, such as a literal beside a literal."""
    return [
        f"code cell {number}: `{assertion}` holds whatever the data are: compare something computed"
        for number, cell in enumerate(_code_cells(notebook), start=1)
        for assertion in idle(cell.source)
    ]


def names_of_hidden_cells(notebook: NotebookNode) -> list[str]:
    """Find names that a shown cell takes from hidden ones only: a reader cannot run that cell."""
    complaints, hidden, shown = [], set[str](), set[str]()
    for number, cell in enumerate(_code_cells(notebook), start=1):
        code = _without_magics(cell.source)
        if _HIDDEN & set(cell.metadata.get("tags", [])):
            hidden |= _given(code)
            continue
        shown |= _given(code)
        complaints += [
            f"code cell {number}: {name} is defined only in a hidden cell, so readers lack it"
            for name in sorted((_taken(code) & hidden) - shown)
        ]
    return complaints


def _given(code: str) -> set[str]:
    """Name all that code gives a value: variables, parameters, imports, functions."""
    given = set()
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                given.add(name)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                given.add(name)
            case ast.alias(name=name, asname=other):
                given.add((other or name).split(".")[0])
    return given


def _taken(code: str) -> set[str]:
    return {
        node.id
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }


def _without_magics(code: str) -> str:
    return "\n".join(line for line in code.splitlines() if not line.lstrip().startswith(("%", "!")))


def all_complaints(
    source: NotebookNode, executed: NotebookNode, page: str = "", *, with_r: bool = True
) -> list[str]:
    """Run every check on one chapter; its name says which R scripts and exceptions are its own."""
    return [
        *drift(source, executed),
        *unexecuted_cells(executed),
        *exempted_cells(executed),
        *unwanted_outputs(executed),
        *undescribed_figures(executed),
        *unportable_maths(executed),
        *names_of_hidden_cells(executed),
        *unknown_citations(executed),
        *unknown_references(executed),
        *idle_assertions(executed),
        *typed_blocks(page, executed),
        *not_run(executed),
        *unheld(executed, allowed_on(page), with_r=with_r),
    ]


def _code_cells(notebook: NotebookNode) -> Iterator[NotebookNode]:
    return (cell for cell in notebook.cells if cell.cell_type == "code")


def _is_picture(output: NotebookNode) -> bool:
    return any(kind.startswith("image/") for kind in output.get("data", {}))


def _output_complaints(output: NotebookNode) -> Iterator[str]:
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
