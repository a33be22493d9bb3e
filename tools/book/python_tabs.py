"""The Python code in the tabs of the chapters, beside R's: run, and never only printed.

`make execute` runs each block of Python of a chapter's text in the chapter's kernel, after its last
cell, and stores what its statements give in the metadata of the notebook. A number in a comment
must then be a value of the statement that it stands beside or below, or be held as in a sentence.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from itertools import pairwise

from nbformat import NotebookNode

from tools.book.prose import Number, blocks, plain_numbers

STORED = "tabs"
# A table shows its values to so many digits.
_SHOW = """
def _show(line, value):
    import pandas as pd
    frame = getattr(value, "to_frame", None)
    shown = [value, frame() if frame and not isinstance(value, pd.Index) else ""]
    with pd.option_context("display.precision", 12, "display.width", 1000):
        print(f"#> {line}", *shown, sep="\\n")
"""


def telling(code: str) -> str:
    r"""Return code that prints what its expressions give, each behind the number of its line.

    Examples
    --------
    >>> print(telling("x = 2\nx + 1  # 3").splitlines()[-1])
    _show(2, x + 1)
    """
    tree = ast.parse(code)
    for statement in tree.body:
        if isinstance(statement, ast.Expr):
            told = [ast.Constant(statement.lineno), statement.value]
            statement.value = ast.Call(ast.Name("_show"), told, [])
    return _SHOW + ast.unparse(ast.fix_missing_locations(tree))


def without_comments(code: str) -> str:
    """Return what of a block is run."""
    return ast.unparse(ast.parse(code))


def not_run(notebook: NotebookNode) -> list[str]:
    """Find blocks of Python whose stored answers are missing or belong to other code."""
    stored = [tab["code"] for tab in notebook.metadata.get(STORED, [])]
    return [
        f"tab {number} of Python: it was not run as it stands: run `make execute`"
        for number, code in enumerate(blocks(notebook, "python"), start=1)
        if len(stored) < number or without_comments(code) != stored[number - 1]
    ]


def answered(notebook: NotebookNode) -> dict[str, list[Number]]:
    """Return, for each comment, the numbers that its statement gives."""
    found: dict[str, list[Number]] = {}
    tabs = notebook.metadata.get(STORED, [])
    for code, tab in zip(blocks(notebook, "python"), tabs, strict=False):
        answers = _answers(tab["answers"])
        for line, comment in _comments(code):
            found.setdefault(comment, []).extend(answers.get(line, []))
    return found


def _answers(printed: str) -> dict[int, list[Number]]:
    parts = re.split(r"(?m)^#> (\d+)$", printed)
    return {
        int(line): plain_numbers(text) for line, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def _comments(code: str) -> Iterator[tuple[int, str]]:
    """Yield the comments of a block, each with the line where its statement begins."""
    starts = [statement.lineno for statement in ast.parse(code).body]
    bounds = list(pairwise([*starts, len(code.splitlines()) + 2]))
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.COMMENT:
            at = token.start[0]
            line = next((first for first, after in bounds if first <= at < after), 0)
            yield line, token.string[1:].strip()
