"""The book without worked solutions: what a course shows before a homework is handed in.

What is left out is not hidden but absent: the sources are copied without it, and the site, its
search index, its PDF and its downloads are made from the copy.
"""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from tools import ROOT
from tools.homework.text import gates
from tools.site.pages import SiteError

# Tells of a chapter, and of the first word of an exercise, whether its solution is shown.
Shown = Callable[[str, str], bool]


def read_choice(choice: str, today: date | None = None) -> Shown | None:
    """Read which solutions are shown.

    Parameters
    ----------
    choice : str
        "yes" or nothing: all. "no": none. "no-derivations": all but those of derivations. The name
        of a CSV file with the columns `chapter` and `opens`: those of a chapter from its day on,
        and none of a chapter that the file does not name.
    today : date, optional
        The day of the build, if it is not the present one.

    Returns
    -------
    callable or None
        None if all are shown.

    Raises
    ------
    SiteError
        If the choice is none of these, or the file cannot be read.
    """
    match choice:
        case "" | "yes":
            return None
        case "no":
            return lambda _chapter, _kind: False
        case "no-derivations":
            return lambda _chapter, kind: kind != "Derivation"
    opens = _read_days(Path(choice))
    day = today or date.today()
    return lambda chapter, _kind: chapter in opens and opens[chapter] <= day


def _read_days(path: Path) -> dict[str, date]:
    known = "choose yes, no, no-derivations, or a CSV file with the columns chapter and opens"
    if not path.is_file():
        raise SiteError(f"SOLUTIONS={path}: {known}")
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    chapters = {chapter.stem for chapter in (ROOT / "book").glob("[0-9][0-9]-*.md")}
    opens = {}
    for line, row in enumerate(rows, start=2):
        if not {"chapter", "opens"} <= row.keys():
            raise SiteError(f"{path}: no columns chapter and opens; {known}")
        if row["chapter"] not in chapters:
            raise SiteError(f"{path}, line {line}: no chapter {row['chapter']!r}")
        try:
            opens[row["chapter"]] = date.fromisoformat(row["opens"])
        except ValueError as error:
            raise SiteError(f"{path}, line {line}: a day is like 2027-01-31") from error
    return opens


def copy_without(source: Path, copy: Path, shown: Shown) -> Path:
    """Copy what the site is built from, without the solutions that are not shown; return the copy.

    Parameters
    ----------
    source, copy : Path
        The folders with `_config.yml`, `_toc.yml` and `book/`.
    shown : callable
        From `read_choice`.
    """
    shutil.copytree(source / "book", copy / "book")
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(source / name, copy / name)
    for path in sorted((copy / "book").glob("[0-9][0-9]-*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        notebook.cells = list(_kept(notebook.cells, path.stem, shown))
        nbformat.write(notebook, path)
    return copy


def _kept(cells: list[NotebookNode], chapter: str, shown: Shown) -> Iterator[NotebookNode]:
    kinds: dict[str, str] = {}
    label, dropping = "", False
    for cell in cells:
        if cell.cell_type == "code":
            yield from [] if dropping else [cell]
        else:
            lines, kept = cell.source.splitlines(), []
            for text, gate in gates(cell.source):
                kinds.setdefault(label, _first_word(text))
                kept += [] if dropping else [text]
                if gate is None:
                    break
                if gate.name == "exercise-start":
                    label = gate.options["label"]
                hides = gate.name == "solution-start" and not shown(chapter, kinds[gate.argument])
                kept += [] if dropping or hides else lines[slice(*gate.lines)]
                dropping = hides or (dropping and gate.name != "solution-end")
            cell.source = "\n".join(kept)
            yield from [cell] if cell.source.strip() else []


def _first_word(text: str) -> str:
    found = re.search(r"\w+", text)
    return found[0] if found else ""
