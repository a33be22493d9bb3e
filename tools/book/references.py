"""References of a chapter to figures, exercises, equations, pages and terms of the glossary.

The site's build complains of one that leads nowhere, but late; the command that executes a chapter
names it at once.
"""

from __future__ import annotations

import re
from functools import cache

from nbformat import NotebookNode

from tools import ROOT
from tools.book.citations import meant, roles
from tools.homework.text import parser

BOOK = ROOT / "book"
_LABELS = re.compile(
    r"(?m)^\s*(?::label:|:name:|name:|:figure-name:)\s+([\w:-]+)\s*$|^\(([\w:-]+)\)=\s*$"
    r"|^\$\$\s*\(([\w:-]+)\)\s*$|\\label\{([\w:-]+)\}"
)
_TITLED = re.compile(r"(?s).*<([^<>]+)>")


def unknown_references(notebook: NotebookNode) -> list[str]:
    """Find references to a label, a page or a term that the book does not have."""
    own = frozenset(_found("\n".join(cell.source for cell in notebook.cells))) | {
        str(cell.metadata.get("mystnb", {}).get("figure", {}).get("name", ""))
        for cell in notebook.cells
    }
    return [
        f"cell {position}: {{{role}}}`{target}` leads nowhere{meant(target, sorted(known))}"
        for position, cell in enumerate(notebook.cells, start=1)
        if cell.cell_type == "markdown"
        for role, target in referred(cell.source)
        if (known := _targets(role)) and _plain(role, target) not in known | own
    ]


def referred(markdown: str) -> list[tuple[str, str]]:
    """Return the roles of a text that refer to something, and to what.

    Examples
    --------
    >>> referred("See {numref}`fig-a` and {doc}`the first <01-pulp>`.")
    [('numref', 'fig-a'), ('doc', '01-pulp')]
    """
    found = []
    for token in roles(parser().parse(markdown)):
        titled = _TITLED.fullmatch(token.content)
        found.append((token.meta["name"], titled[1] if titled else token.content))
    return found


def _plain(role: str, target: str) -> str:
    target = " ".join(target.split())
    return target.lower() if role == "term" else target.removeprefix("/")


def _targets(role: str) -> frozenset[str]:
    """Return what a role may name; nothing if it is a matter of other checks."""
    match role:
        case "doc":
            return _pages()
        case "term":
            return _terms()
        case "numref" | "ref" | "eq" | "prf:ref":
            return _labels()
    return frozenset()


@cache
def _pages() -> frozenset[str]:
    return frozenset(
        page.relative_to(BOOK).with_suffix("").as_posix() for page in BOOK.rglob("*.md")
    )


@cache
def _labels() -> frozenset[str]:
    return frozenset(_found("\n".join(p.read_text(encoding="utf-8") for p in BOOK.rglob("*.md"))))


def _found(text: str) -> list[str]:
    return [label for labels in _LABELS.findall(text) for label in labels if label]


@cache
def _terms() -> frozenset[str]:
    lines = (BOOK / "glossary.md").read_text(encoding="utf-8").split("{glossary}")[1].splitlines()
    return frozenset(line.strip().lower() for line in lines if re.match(r"[^\s:]", line))
