"""Repair in the built pages what the theme and the extensions leave wrong, heavy or dead.

`tools/site/build.py` calls `finish` once Sphinx is done. Each repair takes one parsed page, changes
it in place and has its reason beside it: the site was tried without each, and a test in a browser,
by axe-core where it names a rule, or `tools/site/checks.py` complained. When a new version of the
theme makes one useless, it can simply go.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from textwrap import shorten
from urllib.parse import quote

from bs4 import BeautifulSoup, Tag
from imagesize import get as size_of

import mmlib as mm
from tools import ROOT
from tools.book.execute import read_chapter
from tools.book.length import minutes
from tools.site.directives import commit
from tools.site.pages import Change, Page, SiteError, below_title, change_pages, link, parse

BOOK = "Mixed Models in Python"
PREVIEW = "_static/preview.png"
_STARS = re.compile(r"(★{1,3})")
_BOUND = re.compile(r"(?<=\d) (?=%)|(?<=[Cc]hapter) (?=\d)")

# What the theme and the extensions copy into the site and no page uses.
_UNUSED = (
    "_static/**/*.map",
    "_static/*macros.html",
    "_static/scripts/fontawesome.js*",
    "_static/vendor/fontawesome",
    "_static/images",
    "_static/locales",
    "_static/file.png",
    ".buildinfo",
)


def finish(
    site: Path, address: str = "", repository: str = "", additions: Iterable[Change] = ()
) -> None:
    """Repair every page of a site, write the page at its root, and remove what nothing uses.

    Parameters
    ----------
    site : Path
        The folder that Sphinx has written.
    address : str
        Where the site will be published, for link previews, which need whole addresses. Without
        it, previews are named by relative ones.
    repository : str
        Where errors are reported; without it, by mail to whom the reader chooses.
    additions : iterable of callable
        What else is put into the repaired pages.
    """
    change_pages(site, (*_REPAIRS, *additions), address, repository)
    _write_root(site, address)
    for path in [path for pattern in _UNUSED for path in site.glob(pattern)]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


# --- Names and roles -----------------------------------------------------------------------------


def name_controls(html: BeautifulSoup, _: Page) -> None:
    """Name controls by what they show (label-content-name-mismatch), and all (summary-name)."""
    for control in html.select(".search-button-field, details.hide > summary"):
        del control["aria-label"]
    for icon in html.select(".theme-switch"):
        del icon["title"]
    for summary in html.select("li.has-children > details > summary"):
        item = summary.find_parent("li")
        name = item.a.get_text(strip=True) if item and item.a else "this part"
        summary["aria-label"] = f"Pages of {name}"
    for name, dialog in {
        "Search": "#pst-search-dialog",
        "Contents of the book": "#pst-primary-sidebar-modal",
        "Contents of the page": "#pst-secondary-sidebar-modal",
    }.items():
        for tag in html.select(dialog):
            tag["aria-label"] = name


def mark_regions(html: BeautifulSoup, _: Page) -> None:
    """Put the sidebar, logo included, into a landmark (region)."""
    for sidebar in html.select("#pst-primary-sidebar"):
        sidebar["role"] = "region"
        sidebar["aria-label"] = "The book"


def make_citations_a_list(html: BeautifulSoup, _: Page) -> None:
    """Make a citation an item of the list around it; ARIA has dropped its role.

    The rules are aria-deprecated-role and aria-required-children.
    """
    for citation in html.select("[role=doc-biblioentry]"):
        citation["role"] = "listitem"
    # The labels are not shown: the list is in the order by which the text cites.
    for label in html.select("div.citation > span.label"):
        label.decompose()


def open_solutions_natively(html: BeautifulSoup, _: Page) -> None:
    """Make dropdowns `<details>`, which open by keyboard, by a link to them and without scripts."""
    for box in html.select("div.admonition.dropdown"):
        title = box.find(class_="admonition-title", recursive=False)
        if isinstance(title, Tag):
            box.name, title.name = "details", "summary"
            # A click on the title opens the box; a link in it would take the reader elsewhere.
            for link_within in title.select("a"):
                link_within.unwrap()


def show_python_first(html: BeautifulSoup, _: Page) -> None:
    """Open the tab of Python where there is one: it is a book on Python."""
    for tabs in html.select(".sd-tab-set"):
        labels = {label.get_text(strip=True): label for label in tabs.select(".sd-tab-label")}
        if "Python" in labels:
            for choice in tabs.select(":scope > input"):
                del choice["checked"]
                if choice.get("id") == labels["Python"].get("for"):
                    choice["checked"] = "checked"


def ask_for_reports(html: BeautifulSoup, page: Page) -> None:
    """Let readers report an error with the page and its version filled in."""
    article = html.select_one("article.bd-article")
    if article is None or html.title is None:
        return
    title = f"{html.title.get_text(strip=True).split(' — ')[0]}: "
    body = f"Page: {page.name}\nVersion: {mm.__version__}, {commit()}\n\nWhat is wrong:\n"
    if page.repository:
        place = f"{page.repository}/issues/new?title={quote(title)}&body={quote(body)}"
    else:
        place = f"mailto:?subject={quote(title)}&body={quote(body)}"
    line = html.new_tag("p", attrs={"class": "report d-print-none"})
    line.append(link(html, place, "Report an error on this page"))
    article.append(line)


def tell_reading_time(html: BeautifulSoup, page: Page) -> None:
    """Say below a chapter's title how long it takes to read."""
    chapter = ROOT / "book" / f"{page.path.stem}.md"
    numbered = chapter.match("book/[0-9][0-9]-*.md") and not chapter.name.startswith("00")
    if numbered and chapter.is_file():
        needed = minutes(read_chapter(chapter))
        told = f"About {needed} minutes to read, exercises apart."
        below_title(html, told, kind="reading-time")


def empty_corners(html: BeautifulSoup, _: Page) -> None:
    """Make the empty header cells of pandas' tables ordinary cells (empty-table-header)."""
    for header in html.select("table.dataframe th"):
        if not header.get_text(strip=True):
            header.name = "td"


def name_stars(html: BeautifulSoup, _: Page) -> None:
    """Say how many stars an exercise has; screen readers name each of them, or none."""
    for text in html.select("article.bd-article .exercise p"):
        for string in text.find_all(string=_STARS, recursive=False):
            before, stars, after = _STARS.split(str(string), maxsplit=1)
            mark = html.new_tag("span", attrs={"class": "stars", "role": "img"})
            mark["aria-label"] = f"{len(stars)} of 3 stars"
            mark.string = stars
            string.replace_with(before, mark, after)


# --- Weight and layout ---------------------------------------------------------------------------


def load_only_what_is_used(html: BeautifulSoup, page: Page) -> None:
    """Load MathJax where there is maths, the search index where there is a search, and no more."""
    unused = ["fontawesome.js"]
    if html.select_one(".math") is None:
        unused.append("tex-chtml")
    if page.path.name != "search.html":
        unused += ["searchtools.js", "language_data.js", "searchindex.js"]
    for tag in html.select("script[src], link[href]"):
        address = str(tag.get("src") or tag.get("href"))
        if any(part in address for part in unused):
            tag.decompose()


def size_images(html: BeautifulSoup, page: Page) -> None:
    """Tell the size of each image, so that nothing moves when it arrives."""
    for image in html.select("img[src$='.svg']"):
        width, height = size_of(page.beside(str(image["src"])))
        if width > 0:
            image["width"], image["height"] = str(round(width)), str(round(height))


def bind_numbers(html: BeautifulSoup, _: Page) -> None:
    """Keep a number and its per cent sign, a chapter and its number, on one line."""
    for article in html.select("article.bd-article"):
        for text in article.find_all(string=_BOUND):
            if text.find_parent(["pre", "code"]) is None:
                text.replace_with(_BOUND.sub("\N{NO-BREAK SPACE}", text))


# --- Previews ------------------------------------------------------------------------------------


def describe(html: BeautifulSoup, page: Page) -> None:
    """Tell search engines and messengers what the page is, with a picture of our own."""
    if html.head is None or html.title is None:
        raise SiteError(f"{page.path.name} has no title")
    html.title.string = html.title.get_text(strip=True).replace(f"{BOOK} — {BOOK}", BOOK)
    paragraph = html.select_one("article.bd-article section > p, article.bd-article p")
    text = re.sub(r"\\[()]", "", paragraph.get_text()) if paragraph else ""
    description = shorten(text, 200, placeholder="…")
    described = (
        ("property", "og:type", "website"),
        ("property", "og:site_name", BOOK),
        ("property", "og:title", html.title.get_text(strip=True).removesuffix(f" — {BOOK}")),
        ("property", "og:description", description),
        ("property", "og:image", f"{page.address}/{PREVIEW}" if page.address else page.up(PREVIEW)),
        ("property", "og:image:alt", f"{BOOK}: every number regenerated and checked"),
        ("property", "og:url", f"{page.address}/{page.name}" if page.address else ""),
        ("name", "description", description),
        ("name", "twitter:card", "summary_large_image"),
    )
    for kind, key, content in described:
        if content:
            html.head.append(html.new_tag("meta", attrs={kind: key, "content": content}))


# --- Icons ---------------------------------------------------------------------------------------


def draw_icons(html: BeautifulSoup, page: Page) -> None:
    """Draw icons in the page: ten small paths instead of a script of 1.5 MB that holds them all.

    The source is the theme's script of Font Awesome icons (CC BY 4.0).
    """
    source = page.site / "_static" / "scripts" / "fontawesome.js"
    for icon in html.select("[class*='fa-solid']"):
        classes = [str(name) for name in icon.get_attribute_list("class")]
        name = next(name[3:] for name in classes if re.match(r"fa-(?!solid|lg)", name))
        width, height, path = _shape(name, source)
        kept = [name for name in classes if name in ("theme-switch", "fa-lg")]
        size = {"viewBox": f"0 0 {width} {height}", "aria-hidden": "true"}
        drawing = html.new_tag("svg", attrs={"class": " ".join(["icon", *kept]), **size})
        if mode := icon.get("data-mode"):
            drawing["data-mode"] = mode
        drawing.append(html.new_tag("path", attrs={"d": path, "fill": "currentColor"}))
        icon.replace_with(drawing)


@lru_cache(maxsize=64)
def _shape(name: str, source: Path) -> tuple[str, str, str]:
    """Find width, height and path of an icon; the solid ones come last in the source."""
    icon = rf'[{{,]"?{re.escape(name)}"?:\[(\d+),(\d+),\[[^\]]*\],"\w+","([^"]+)"'
    found = re.findall(icon, source.read_text(encoding="utf-8"))
    if not found:
        raise SiteError(f"the theme has no icon '{name}'")
    width, height, path = found[-1]
    return width, height, path


_REPAIRS = (
    name_controls,
    mark_regions,
    make_citations_a_list,
    open_solutions_natively,
    show_python_first,
    ask_for_reports,
    empty_corners,
    name_stars,
    load_only_what_is_used,
    size_images,
    bind_numbers,
    describe,
    # Below the title, but not what the page is about.
    tell_reading_time,
    draw_icons,
)


# --- The rest of the site ------------------------------------------------------------------------


def _write_root(site: Path, address: str) -> None:
    """Write the page at the root: it leads to the front page, by itself or by its link."""
    front = parse(site / "book" / "index.html")
    previews = "\n".join(str(tag) for tag in front.select("meta[property^='og:']"))
    previews = previews if address else previews.replace("../", "")
    (site / "index.html").write_text(
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<title>Mixed Models in Python</title>\n"
        '<meta http-equiv="refresh" content="0; url=book/index.html">\n'
        f'<link rel="icon" href="_static/logo.svg">\n{previews}\n</head>\n'
        '<body><main><h1><a href="book/index.html">Mixed Models in Python</a></h1></main></body>\n'
        "</html>\n",
        encoding="utf-8",
    )
