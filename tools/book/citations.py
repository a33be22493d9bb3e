"""Citations and the works that they name: `book/references.bib`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from functools import cache

from markdown_it.token import Token
from nbformat import NotebookNode
from pybtex.database import BibliographyData, Entry, parse_file

from tools import ROOT
from tools.homework.text import parser

BIBLIOGRAPHY = ROOT / "book" / "references.bib"
# What an entry needs to be found in a library; an editor stands for an author.
_NEEDED = {
    "article": ("title", "journal", "year", "volume", "pages"),
    "book": ("title", "publisher", "year"),
    "inproceedings": ("title", "booktitle", "year"),
}
_FORMS = {
    "doi": re.compile(r"10\.\d{4,9}/[-.;()/:\w]+"),
    "year": re.compile(r"(?:19|20)\d\d"),
    "pages": re.compile(r"[A-Z]?\d+(?:--[A-Z]?\d+)?"),
    "volume": re.compile(r"\d+"),
}


# Papers without a DOI, and why; a book needs none.
WITHOUT_DOI = {
    "bozivich1956": "none could be confirmed",
    "holm1979": "the journal gave none that year",
    "sheldon1960": "none could be confirmed",
    "stein1956": "the proceedings have none",
}


@cache
def bibliography() -> BibliographyData:
    """Read the works."""
    return parse_file(BIBLIOGRAPHY)


def unknown_citations(notebook: NotebookNode) -> list[str]:
    """Find citations of works that are not in the bibliography, and name the nearest key."""
    known = list(bibliography().entries)
    return [
        f"cell {position}: {{cite}}`{key}` is not in references.bib{meant(key, known)}"
        for position, cell in enumerate(notebook.cells, start=1)
        if cell.cell_type == "markdown"
        for key in cited(cell.source)
        if key not in known
    ]


def cited(markdown: str) -> list[str]:
    """Return the keys that a text cites."""
    return [
        key.strip()
        for token in roles(parser().parse(markdown))
        if token.meta["name"].startswith("cite")
        for key in token.content.split(",")
    ]


def faulty_entries(works: BibliographyData) -> list[str]:
    """Find entries that lack what their type needs, or whose DOI, year or pages are misshapen."""
    return [
        f"{key}: {complaint}"
        for key, entry in works.entries.items()
        for complaint in _faults(key, entry)
    ]


def _faults(key: str, entry: Entry) -> Iterator[str]:
    if entry.type not in _NEEDED:
        yield f"the type {entry.type} is not among {', '.join(_NEEDED)}"
    if not entry.persons.get("author") and not entry.persons.get("editor"):
        yield "no author or editor"
    for field in _NEEDED.get(entry.type, ()):
        if not entry.fields.get(field):
            yield f"no {field}"
    if entry.type != "book" and ("doi" in entry.fields) == (key in WITHOUT_DOI):
        yield "no doi" if key not in WITHOUT_DOI else "a doi, although WITHOUT_DOI names it"
    for field, form in _FORMS.items():
        if field in entry.fields and not form.fullmatch(entry.fields[field]):
            yield f"{field} = {entry.fields[field]!r} is not well formed"
    if not key.endswith(entry.fields.get("year", "")):
        yield f"the key does not end with the year {entry.fields['year']}"
    pages = re.fullmatch(r"(\d+)--(\d+)", entry.fields.get("pages", ""))
    if pages and int(pages[1]) > int(pages[2]):
        yield f"pages {entry.fields['pages']} run backwards"


def roles(tokens: list[Token]) -> Iterator[Token]:
    """Yield the roles of a text, those inside of directives included."""
    for token in tokens:
        if token.type == "myst_role":
            yield token
        if token.type == "fence" and token.info.startswith("{"):
            yield from roles(parser().parse(token.content))
        yield from roles(token.children or [])


def meant(key: str, known: list[str]) -> str:
    """Ask whether the nearest of the known words was meant; empty if none is near."""
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f": did you mean {near[0]}?" if near else ""
