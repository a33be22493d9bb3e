"""Offer downloads on the page of each chapter: the notebook to solve, its data, and mmlib.

Only what is in `homework/student/` reaches the site; solutions and tests of the course do not. The
first cell of a notebook here knows where the wheel of mmlib lies, and its checksum.
"""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup, Tag

from tools import ROOT, checksum
from tools.homework.notebooks import WHEEL
from tools.homework.parts import DATASET
from tools.site.pages import Page, below_title, link

FOLDER = "downloads"
_DATA = ROOT / "mmlib" / "data"
# Of every file in an archive, so that the same files give the same one.
_DAY = (2020, 2, 2, 0, 0, 0)


def offer_homework(html: BeautifulSoup, page: Page, *, notebooks: Path, wheel: Path) -> None:
    """Put a chapter's notebook, its data and mmlib into the site, and link them from its page.

    Parameters
    ----------
    html : BeautifulSoup
        The page; changed in place.
    page : Page
        Where it is; if it is known where the site will be, from there a notebook installs mmlib.
    notebooks : Path
        The folder with the students' notebooks; each has the name of its chapter.
    wheel : Path
        The wheel of mmlib, which lies in the site.
    """
    notebook = notebooks / f"{page.path.stem}.ipynb"
    if page.path.parent != page.site / "book" or not notebook.is_file():
        return
    folder = page.site / FOLDER
    place = f"{page.address}/{FOLDER}/{wheel.name}" if page.address else wheel.name
    text, offered = notebook.read_text(encoding="utf-8"), folder / notebook.name
    source = f"{place}#sha256={checksum(wheel)}"
    offered.write_text(text.replace(f'\\"{WHEEL}\\"', f'\\"{source}\\"'), encoding="utf-8")
    # The data sets that code loads, or that a task tells to load.
    sources = "\n".join(cell.source for cell in nbformat.reads(text, as_version=4).cells)
    names = dict.fromkeys(DATASET.findall(sources))
    kept = (file for name in names for file in _DATA.glob(f"{name}.csv*"))
    data = [Path(shutil.copy(file, folder)) for file in kept]
    together = pack(folder / f"{notebook.stem}.zip", [offered, *data, wheel])
    links: list[str | Tag] = []
    for path, shown in (
        (together, "homework with all that it needs (zip)"),
        (offered, "the notebook alone"),
        *((path, path.name) for path in data),
    ):
        links += [", ", link(html, f"../{FOLDER}/{path.name}", shown, download=path.name)]
    below_title(html, "Downloads: ", *links[1:], ".")


def pack(archive: Path, files: list[Path]) -> Path:
    """Write an archive of files, in a folder that is called like it; return its path."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in files:
            member = zipfile.ZipInfo(f"{archive.stem}/{file.name}", _DAY)
            member.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(member, file.read_bytes())
    return archive
