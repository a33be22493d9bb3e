"""Offer downloads on the page of each chapter: the notebook to solve, its data, and mmlib.

Only what is in `homework/student/` reaches the site; solutions and tests of the course do not. The
first cell of a notebook here knows where the wheel of mmlib lies, and its checksum.
"""

from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup, Tag

from tools import ROOT
from tools.homework.notebooks import WHEEL
from tools.site.wheel import build_wheel, checksum

FOLDER = "downloads"
_LOADED = re.compile(r'load_dataset\(\s*"(\w+)"')
_DATA = ROOT / "mmlib" / "data"
_DAY = (
    2020,
    2,
    2,
    0,
    0,
    0,
)  # of every file in an archive, so that the same files give the same one


def offer_homework(site: Path, notebooks: Path, address: str = "") -> None:
    """Put the students' notebooks, data and mmlib into the site, and link them from the chapters.

    Parameters
    ----------
    site : Path
        The built site.
    notebooks : Path
        The folder with the students' notebooks; each has the name of its chapter.
    address : str
        Where the site will be published, if that is known: from there a notebook installs mmlib.
    """
    folder = site / FOLDER
    wheel = build_wheel(folder)
    place = f"{address}/{FOLDER}/{wheel.name}" if address else wheel.name
    for notebook in sorted(notebooks.glob("*.ipynb")):
        page = site / "book" / f"{notebook.stem}.html"
        if page.is_file():
            offered = folder / notebook.name
            text = notebook.read_text(encoding="utf-8")
            source = f"{place}#sha256={checksum(wheel)}"
            offered.write_text(text.replace(f'\\"{WHEEL}\\"', f'\\"{source}\\"'), encoding="utf-8")
            data = [file for name in _datasets(notebook) for file in _DATA.glob(f"{name}.csv*")]
            for file in data:
                shutil.copyfile(file, folder / file.name)
            together = pack(folder / f"{notebook.stem}.zip", [offered, *data, wheel])
            _link(page, [together.name, offered.name, *(file.name for file in data)])


def pack(archive: Path, files: list[Path]) -> Path:
    """Write an archive of files, in a folder that is called like it; return its path."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in files:
            member = zipfile.ZipInfo(f"{archive.stem}/{file.name}", _DAY)
            member.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(member, file.read_bytes())
    return archive


def _datasets(notebook: Path) -> list[str]:
    """Name the data sets that code loads, or that a task tells to load."""
    sources = (cell.source for cell in nbformat.read(notebook, as_version=4).cells)
    return list(dict.fromkeys(name for source in sources for name in _LOADED.findall(source)))


def _link(page: Path, names: list[str]) -> None:
    """Put the links below the title; on paper they would lead nowhere."""
    html = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    title = html.select_one("article h1")
    if not isinstance(title, Tag):
        return
    line = html.new_tag("p", attrs={"class": "d-print-none"})
    line.append("Downloads: ")
    shown = ["homework with all that it needs (zip)", "the notebook alone", *names[2:]]
    for position, (name, text) in enumerate(zip(names, shown, strict=True)):
        link = html.new_tag("a", href=f"../{FOLDER}/{name}", attrs={"download": name})
        link.string = text
        line.extend([", ", link] if position else [link])
    line.append(".")
    title.insert_after(line)
    page.write_text(str(html), encoding="utf-8")
