"""What must hold for the built site and neither Sphinx nor axe-core checks.

Sphinx warns of what it cannot resolve, and axe-core looks at the finished pages in the tests.
`tools/site/build.py` fails on any complaint.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup

from tools.site.pages import parse

# Elements that make a browser load something, and the attribute that names it.
_LOADS = {
    **dict.fromkeys(("audio", "embed", "iframe", "img", "script", "source", "video"), "src"),
    "link": "href",
    "object": "data",
}
_ADDRESS_IN_STYLE = re.compile(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^\"')]+")
_ADDRESS_IN_SCRIPT = re.compile(r"[\"'](?:https?:)?//[\w.-]+\.\w+[^\"']*[\"']")
_SOURCES = ("_sources/*", "*.md", "*.py", "*.ipynb_checkpoints")


def all_complaints(site: Path) -> list[str]:
    """Return what is wrong with a site, one line each; an empty list means that all is well."""
    parsed = {page: parse(page) for page in sorted(site.rglob("*.html"))}
    # The templates of the theme are not pages to read.
    pages = {p: html for p, html in parsed.items() if html.body and "_static" not in p.parts}
    anchors = {page.resolve(): _anchors(html) for page, html in pages.items()}
    found = [
        (page, complaint)
        for page, html in pages.items()
        for complaint in (
            *_foreign_loads(html),
            *_poor_images(html),
            *_unnamed_parts(html),
            *_dead_links(page, html, anchors),
        )
    ]
    found += [
        (sheet, address)
        for sheet in sorted(site.rglob("*.css"))
        for address in _ADDRESS_IN_STYLE.findall(sheet.read_text(encoding="utf-8"))
    ]
    # Sources that the build would hand out, solutions included.
    found += [
        (path, "a source is published")
        for pattern in _SOURCES
        for path in sorted(site.rglob(pattern))
    ]
    return [f"{path.relative_to(site).as_posix()}: {complaint}" for path, complaint in found]


def _foreign_loads(html: BeautifulSoup) -> Iterator[str]:
    """Find whatever a page would fetch from somewhere else."""
    for tag in html.find_all(list(_LOADS)):
        address = str(tag.get(_LOADS[tag.name], ""))
        if re.match(r"(?:https?:)?//", address):
            yield f"{tag.name} loads {address}"
    for script in html.select("script:not([src])"):
        for address in _ADDRESS_IN_SCRIPT.findall(script.string or ""):
            yield f"a script names {address}"


def _poor_images(html: BeautifulSoup) -> Iterator[str]:
    """Find images that say nothing, that would move the text when they arrive, or are bitmaps.

    Where a source gives no text, docutils writes the name of the file: that says nothing either.
    """
    for image in html.select("img[src]"):
        file = Path(str(image["src"]))
        if Path(str(image.get("alt", "")).strip()).name in ("", file.name):
            yield f"no alt text on {file}"
        if not (image.get("width") and image.get("height")):
            yield f"no width and height on {file}"
        if file.suffix not in (".svg", ".webp"):
            yield f"{file} is neither SVG nor WebP"


def _unnamed_parts(html: BeautifulSoup) -> Iterator[str]:
    """Find no `<h1>`, or several, as in a chapter that an error has split, and nameless columns."""
    if len(html.select("main h1:not(.onlyprint *)")) != 1:
        yield "it should have one <h1>"
    for table in html.select("main table:not(.indextable, :has(th))"):
        yield f"a table lacks headers ('{' '.join(table.get_text().split())[:40]}')"


def _dead_links(page: Path, html: BeautifulSoup, anchors: dict[Path, set[str]]) -> Iterator[str]:
    """Find links, and files to load, that lead nowhere within the site."""
    addresses = [str(t.get(_LOADS.get(t.name, "href"), "")) for t in html.find_all(["a", *_LOADS])]
    addresses += [str(tag["content"]) for tag in html.select("meta[property='og:image']")]
    for address in addresses:
        parts = urlsplit(address)
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page.resolve()
        known = anchors.get(target)
        fragment = unquote(parts.fragment)
        leads = target.is_file() if known is None else not fragment or fragment in known
        if address and not (parts.scheme or parts.netloc or leads):
            yield f"{address} leads nowhere"


def _anchors(html: BeautifulSoup) -> set[str]:
    return {str(tag[key]) for tag in html.find_all(True) for key in ("id", "name") if tag.get(key)}
