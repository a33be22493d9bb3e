"""Offer downloads on the page of each chapter: the notebook to solve, and the data.

Only what is in `homework/student/` reaches the site; solutions and tests of the course do not.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup, Tag

from tools import ROOT
from tools.homework.students import loads

FOLDER = "downloads"
_DATA = ROOT / "mmlib" / "data"


def offer_homework(site: Path, notebooks: Path) -> None:
    """Copy the students' notebooks and their data into the site, and link them from the chapters.

    Parameters
    ----------
    site : Path
        The built site.
    notebooks : Path
        The folder with the students' notebooks; each has the name of its chapter.
    """
    for notebook in sorted(notebooks.glob("*.ipynb")):
        page = site / "book" / f"{notebook.stem}.html"
        if page.is_file():
            data = (file for name in _datasets(notebook) for file in _DATA.glob(f"{name}.csv*"))
            files = [notebook, *data]
            (site / FOLDER).mkdir(exist_ok=True)
            for file in files:
                shutil.copyfile(file, site / FOLDER / file.name)
            _link(page, [file.name for file in files])


def _datasets(notebook: Path) -> list[str]:
    cells = nbformat.read(notebook, as_version=4).cells
    found = [name for cell in cells if cell.cell_type == "code" for name, _ in loads(cell.source)]
    return list(dict.fromkeys(found))


def _link(page: Path, names: list[str]) -> None:
    """Put the links below the title; on paper they would lead nowhere."""
    html = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    title = html.select_one("article h1")
    if not isinstance(title, Tag):
        return
    line = html.new_tag("p", attrs={"class": "d-print-none"})
    line.append("Downloads: ")
    for position, name in enumerate(names):
        link = html.new_tag("a", href=f"../{FOLDER}/{name}", attrs={"download": name})
        link.string = name if position else "notebook with exercises to solve"
        line.extend([", ", link] if position else [link])
    line.append(".")
    title.insert_after(line)
    page.write_text(str(html), encoding="utf-8")
