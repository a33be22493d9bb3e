"""How long a chapter is: the words of its text, and the minutes that reading it takes.

    python -m tools.book.length

Exercises, figures, R in tabs and code are not text; neither are captions. Minutes count code and
formulas, too, at a learner's pace: 130 words, 15 lines of code or 2 displayed formulas a minute.
"""

from __future__ import annotations

import re

from nbformat import NotebookNode

from tools import ROOT
from tools.book.execute import CHAPTERS, read_chapter
from tools.book.prose import pieces

WORDS, LINES, FORMULAS = 130, 15, 2
_UNSEEN = {"remove-cell", "remove-input", "hide-input"}
_EXERCISES = re.compile(r"(?m)^## Exercises$")


def text_of(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the cells before the exercises."""
    cells: list[NotebookNode] = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (found := _EXERCISES.search(cell.source)):
            return [*cells, NotebookNode({**cell, "source": cell.source[: found.start()]})]
        cells.append(cell)
    return cells


def words(notebook: NotebookNode) -> int:
    r"""Count the words of a chapter's text.

    >>> from nbformat.v4 import new_markdown_cell, new_notebook
    >>> words(new_notebook(cells=[new_markdown_cell("# Title\n\nTwo words, $x^2$.")]))
    3
    """
    return sum(
        len(piece.text.split())
        for cell in text_of(notebook)
        if cell.cell_type == "markdown"
        for block in pieces(cell.source)
        for piece in block
        if piece.kind in ("prose", "code") and any(map(str.isalnum, piece.text))
    )


def minutes(notebook: NotebookNode) -> int:
    """Estimate the time to read a chapter without its exercises, to five minutes."""
    cells = text_of(notebook)
    lines = sum(
        cell.source.count("\n") + 1
        for cell in cells
        if cell.cell_type == "code" and not _UNSEEN & set(cell.metadata.get("tags", []))
    )
    formulas = sum(cell.source.count("\n$$") // 2 for cell in cells if cell.cell_type == "markdown")
    exact = words(notebook) / WORDS + lines / LINES + formulas / FORMULAS
    return max(5, 5 * round(exact / 5))


def main() -> None:
    """Print the length of every chapter."""
    for path in sorted(ROOT.glob(CHAPTERS)):
        notebook = read_chapter(path)
        print(f"{path.stem:24} {words(notebook):5} words  {minutes(notebook):3} minutes")


if __name__ == "__main__":
    main()
