"""What must hold for the built site and neither Sphinx nor axe-core checks.

Sphinx warns of what it cannot resolve, and axe-core looks at the finished pages in the tests. Each
check here takes the folder of the site and returns its complaints, one line each; an empty list
means that all is well. `tools/site/build.py` fails on any complaint.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup

# Elements that make a browser load something, and the attribute that names it.
_LOADS = {
    "audio": "src",
    "embed": "src",
    "iframe": "src",
    "img": "src",
    "link": "href",
    "object": "data",
    "script": "src",
    "source": "src",
    "video": "src",
}
_ADDRESS_IN_STYLE = re.compile(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^\"')]+")
_ADDRESS_IN_SCRIPT = re.compile(r"[\"'](?:https?:)?//[\w.-]+\.\w+[^\"']*[\"']")
_SOURCES = ("_sources/*", "*.md", "*.py", "*.ipynb_checkpoints")


def foreign_loads(site: Path) -> list[str]:
    """Find whatever a page or a style sheet would fetch from somewhere else."""
    complaints = [
        f"{_name(page, site)}: {tag.name} loads {tag[_LOADS[tag.name]]}"
        for page, html in _pages(site)
        for tag in html.find_all(list(_LOADS))
        if re.match(r"(?:https?:)?//", str(tag.get(_LOADS[tag.name], "")))
    ]
    complaints += [
        f"{_name(page, site)}: a script names {found.group()}"
        for page, html in _pages(site)
        for script in html.select("script:not([src])")
        for found in _ADDRESS_IN_SCRIPT.finditer(script.string or "")
    ]
    complaints += [
        f"{_name(sheet, site)}: {found.group()}"
        for sheet in sorted(site.rglob("*.css"))
        for found in _ADDRESS_IN_STYLE.finditer(sheet.read_text(encoding="utf-8"))
    ]
    return complaints


def images_without_alt(site: Path) -> list[str]:
    """Find images that say nothing to those who cannot see them.

    Where a source gives no text, docutils writes the name of the file: that says nothing either.
    """
    return [
        f"{_name(page, site)}: no alt text on {image['src']}"
        for page, html in _pages(site)
        for image in html.select("img[src]")
        if Path(str(image.get("alt", "")).strip()).name in ("", Path(str(image["src"])).name)
    ]


def dead_links(site: Path) -> list[str]:
    """Find links, and files to load, that lead nowhere within the site."""
    targets = {page.resolve(): _anchors(html) for page, html in _pages(site)}
    return [
        f"{_name(page, site)}: {address} leads nowhere"
        for page, html in _pages(site)
        for address in _addresses(html)
        if not _leads_somewhere(page, address, targets)
    ]


def published_sources(site: Path) -> list[str]:
    """Find sources that the build would hand out, solutions included."""
    return [
        f"{_name(path, site)}: a source is published"
        for pattern in _SOURCES
        for path in sorted(site.rglob(pattern))
    ]


def unsized_images(site: Path) -> list[str]:
    """Find images that would move the text when they arrive, and figures that are not drawings."""
    complaints = []
    for page, html in _pages(site):
        for image in html.select("img[src]"):
            if not (image.get("width") and image.get("height")):
                complaints.append(f"{_name(page, site)}: no width and height on {image['src']}")
            if Path(str(image["src"])).suffix not in (".svg", ".webp"):
                complaints.append(f"{_name(page, site)}: {image['src']} is neither SVG nor WebP")
    return complaints


def pages_without_one_title(site: Path) -> list[str]:
    """Find pages with no `<h1>`, or with several: chapters that a typing error has split."""
    return [
        f"{_name(page, site)}: it should have one <h1>"
        for page, html in _pages(site)
        if len(html.select("main h1:not(.onlyprint *)")) != 1
    ]


def tables_without_headers(site: Path) -> list[str]:
    """Find tables whose columns have no names."""
    return [
        f"{_name(page, site)}: a table lacks headers ('{' '.join(table.get_text().split())[:40]}')"
        for page, html in _pages(site)
        for table in html.select("main table:not(.indextable, :has(th))")
    ]


def all_complaints(site: Path) -> list[str]:
    """Run every check of this module."""
    checks = (
        foreign_loads,
        images_without_alt,
        dead_links,
        unsized_images,
        pages_without_one_title,
        tables_without_headers,
        published_sources,
    )
    return [complaint for check in checks for complaint in check(site)]


def _pages(site: Path) -> list[tuple[Path, BeautifulSoup]]:
    pages = [(page, _parse(page, page.stat().st_mtime_ns)) for page in sorted(site.rglob("*.html"))]
    # The templates of the theme are not pages to read.
    return [(page, html) for page, html in pages if html.body and "_static" not in page.parts]


@lru_cache(maxsize=256)
def _parse(page: Path, _modified: int) -> BeautifulSoup:
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


def _name(path: Path, site: Path) -> str:
    return path.relative_to(site).as_posix()


def _anchors(html: BeautifulSoup) -> set[str]:
    return {
        str(tag[key]) for tag in html.find_all(True) for key in ("id", "name") if key in tag.attrs
    }


def _addresses(html: BeautifulSoup) -> Iterator[str]:
    for tag in html.find_all(["a", *_LOADS]):
        address = str(tag.get(_LOADS.get(tag.name, "href"), ""))
        parts = urlsplit(address)
        if address and not parts.scheme and not parts.netloc:
            yield address
    for tag in html.select("meta[property='og:image']"):
        if not urlsplit(str(tag["content"])).scheme:
            yield str(tag["content"])


def _leads_somewhere(page: Path, address: str, targets: dict[Path, set[str]]) -> bool:
    parts = urlsplit(address)
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page.resolve()
    if target not in targets:
        return target.is_file()
    return not parts.fragment or unquote(parts.fragment) in targets[target]
