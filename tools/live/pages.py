"""Prepare the pages of the chapters: what a reader can press.

The cells stay where they are; the page's script reads their code from the page.
"""

from __future__ import annotations

from dataclasses import dataclass

from bs4 import BeautifulSoup, Tag

from tools.homework.chapter import Cell, Chapter
from tools.live.files import LiveError


@dataclass(frozen=True)
class Runtime:
    """What pages load once a reader asks: where it lies, seen from a chapter, and how big it is."""

    folder: str
    megabytes: int


def prepare(html: BeautifulSoup, chapter: Chapter, runtime: Runtime, notebook: str) -> None:
    """Make the page of a chapter one that can run.

    Parameters
    ----------
    html : BeautifulSoup
        The page; changed in place.
    chapter : Chapter
        Its cells and exercises.
    runtime : Runtime
        What it loads.
    notebook : str
        Where the students' notebook lies, seen from the page; nothing where there is no homework.

    Raises
    ------
    LiveError
        If the page shows other code than the chapter has.
    """
    known = {part.source.rstrip() for part in chapter.parts if isinstance(part, Cell)}
    for cell in html.select("div.cell:has(.cell_input)"):
        code = cell.select_one(".cell_input pre")
        source = code.get_text().rstrip() if code else ""
        if cell.find_parent(class_="solution") is None and source not in known:
            line = source.split("\n")[0]
            raise LiveError(
                f"{chapter.name}: the page has a cell that the chapter has not: {line!r}"
            )
    # The button comes below the title and the downloads; the script shows it.
    bar = html.new_tag(
        "section",
        attrs={
            "class": "live d-print-none",
            "aria-label": "Run this page",
            "data-runtime": runtime.folder,
            "data-megabytes": str(runtime.megabytes),
            "data-chapter": chapter.name,
            "data-notebook": notebook,
            "hidden": "",
        },
    )
    title = html.select_one("article h1")
    if not isinstance(title, Tag) or html.head is None:
        raise LiveError(f"{chapter.name}: the page has no title")
    downloads = title.find_next_sibling("p", class_="d-print-none")
    (downloads or title).insert_after(bar)
    style = html.new_tag("link", attrs={"rel": "stylesheet", "href": f"{runtime.folder}run.css"})
    script = html.new_tag("script", attrs={"defer": "", "src": f"{runtime.folder}run.js"})
    html.head.extend([style, script])
