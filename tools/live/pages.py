"""Prepare the pages of the chapters: what a reader can press, and what runs unseen.

The cells stay where they are; the page's script reads their code from the page. What a reader does
not see and a later cell needs is put between them, as the homework has it, without the book's
checks of itself.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from bs4 import BeautifulSoup, Tag

from tools.homework.chapter import Chapter, Exercise
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
    _hide_what_is_needed(html, chapter)
    _offer(html, chapter, runtime, notebook)


def _hide_what_is_needed(html: BeautifulSoup, chapter: Chapter) -> None:
    """Put cells that the page does not show before the next thing that it does show."""
    cells = html.select("div.cell:has(.cell_input)")
    shown = deque(cell for cell in cells if cell.find_parent(class_="solution") is None)
    waiting: list[str] = []
    for part in chapter.parts:
        if isinstance(part, Exercise):
            place = html.find(id=part.label)
        elif part.kind == "code" and shown and source_of(shown[0]) == part.source.rstrip():
            place = shown.popleft()
        else:
            place = None
            waiting += [part.source] if part.kind == "code" else []
        if isinstance(place, Tag):
            for source in waiting:
                place.insert_before(_hidden(html, source))
            waiting = []
    if shown:
        line = source_of(shown[0]).split("\n")[0]
        raise LiveError(f"{chapter.name}: the page has a cell that the chapter has not: {line!r}")


def source_of(cell: Tag) -> str:
    """Return the code that a cell shows."""
    code = cell.select_one(".cell_input pre")
    return code.get_text().rstrip() if code else ""


def _hidden(html: BeautifulSoup, source: str) -> Tag:
    if "</script" in source:
        raise LiveError(f"hidden code may not hold </script: {source!r}")
    tag = html.new_tag("script", attrs={"type": "text/x-python", "class": "live-hidden"})
    tag.string = source
    return tag


def _offer(html: BeautifulSoup, chapter: Chapter, runtime: Runtime, notebook: str) -> None:
    """Put the button below the title and the downloads; the script shows it."""
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
