"""What a chapter refers to: figures, exercises, equations, pages, terms of the glossary, and works.

The site's build complains of a reference that leads nowhere, but late; the command that executes a
chapter names it at once.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from functools import cache

from markdown_it.token import Token
from nbformat import NotebookNode
from pybtex.database import parse_file

from tools import ROOT
from tools.homework.text import parser

BOOK = ROOT / "book"
BIBLIOGRAPHY = BOOK / "references.bib"
_LABELS = re.compile(
    r"(?m)^\s*(?::label:|:name:|name:|:figure-name:)\s+([\w:-]+)\s*$|^\(([\w:-]+)\)=\s*$"
    r"|^\$\$\s*\(([\w:-]+)\)\s*$|\\label\{([\w:-]+)\}"
)
_TITLED = re.compile(r"(?s).*<([^<>]+)>")


def unknown_references(notebook: NotebookNode) -> list[str]:
    """Find references to what the book does not have, and name the nearest that it has."""
    own = _labels("\n".join(cell.source for cell in notebook.cells)) | {
        str(cell.metadata.get("mystnb", {}).get("figure", {}).get("name", ""))
        for cell in notebook.cells
    }
    return [
        f"cell {position}: {{{role}}}`{target}` leads nowhere{_meant(target, known)}"
        for position, cell in enumerate(notebook.cells, start=1)
        if cell.cell_type == "markdown"
        for role, target in referred(cell.source)
        if (known := _targets(role)) and _plain(role, target) not in known | own
    ]


def referred(markdown: str) -> Iterator[tuple[str, str]]:
    """Yield the roles of a text that refer to something, and to what.

    Examples
    --------
    >>> list(referred("See {numref}`fig-a`, {doc}`the first <01-pulp>`, {cite}`a1999,b2000`."))
    [('numref', 'fig-a'), ('doc', '01-pulp'), ('cite', 'a1999'), ('cite', 'b2000')]
    """
    for token in _roles(parser().parse(markdown)):
        role, content = token.meta["name"], token.content
        if role.startswith("cite"):
            yield from ((role, key.strip()) for key in content.split(","))
        else:
            titled = _TITLED.fullmatch(content)
            yield role, titled[1] if titled else content


def _roles(tokens: list[Token]) -> Iterator[Token]:
    """Yield the roles of a text, those inside of directives included."""
    for token in tokens:
        if token.type == "myst_role":
            yield token
        if token.type == "fence" and token.info.startswith("{"):
            yield from _roles(parser().parse(token.content))
        yield from _roles(token.children or [])


def _plain(role: str, target: str) -> str:
    target = " ".join(target.split())
    return target.lower() if role == "term" else target.removeprefix("/")


@cache
def _targets(role: str) -> frozenset[str]:
    """Return what a role may name; nothing if it is a matter of other checks."""
    pages = {page: page.read_text(encoding="utf-8") for page in BOOK.rglob("*.md")}
    match role:
        case "doc":
            return frozenset(p.relative_to(BOOK).with_suffix("").as_posix() for p in pages)
        case "term":
            lines = pages[BOOK / "glossary.md"].split("{glossary}")[1].splitlines()
            return frozenset(line.strip().lower() for line in lines if re.match(r"[^\s:]", line))
        case "numref" | "ref" | "eq" | "prf:ref":
            return _labels("\n".join(pages.values()))
        case _ if role.startswith("cite"):
            return frozenset(parse_file(BIBLIOGRAPHY).entries)
    return frozenset()


def _labels(text: str) -> frozenset[str]:
    return frozenset(label for labels in _LABELS.findall(text) for label in labels if label)


def _meant(target: str, known: frozenset[str]) -> str:
    near = difflib.get_close_matches(target, sorted(known), n=1, cutoff=0.5)
    return f": did you mean {near[0]}?" if near else ""
