"""Slides of each chapter, from the chapter's own page: nothing is written twice.

A slide for the title, for what one can do afterwards, for each section with what it begins with,
for each formula and each figure, and for the summary. A page of slides is a file like the
others: it needs no network, turns by the arrow keys or by scrolling, and prints one slide a page.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator

from bs4 import BeautifulSoup, Tag

from tools.site.pages import Page, below_title, link

FOLDER = "slides"
_MATHS = """<script>
window.MathJax = {options: {enableMenu: false, processHtmlClass: "math"}};
</script>
<script defer src="../_static/vendor/mathjax/tex-chtml-full.js"></script>
"""
_NO_SLIDE = (
    ".headerlink, .section-number, .d-print-none, .reading-time, script, .interactive, "
    "details.solution, #exercises, #quiz"
)
_SENTENCE = re.compile(r"(?<=[.?!:])\s+(?=[A-ZΑ-Ω\\(“*])")
_SHORT = 3  # sentences with which a section begins

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: slides — Mixed Models in Python</title>
<link rel="icon" href="../_static/logo.svg">
<link rel="stylesheet" href="../_static/slides.css">
{maths}<script defer src="../_static/slides.js"></script>
</head>
<body>
<main>
{slides}
</main>
</body>
</html>
"""


def offer_slides(html: BeautifulSoup, page: Page) -> None:
    """Write the slides of a chapter, and link them below its title."""
    article = html.select_one("article.bd-article")
    if not page.path.match("book/[0-9][0-9]-*.html") or article is None or not article.h2:
        return
    slides = page.site / FOLDER / page.path.name
    slides.parent.mkdir(exist_ok=True)
    slides.write_text(write_slides(article, f"../{page.name}"), encoding="utf-8")
    below_title(html, link(html, f"../{FOLDER}/{slides.name}", "Slides of this chapter"))


def write_slides(article: Tag, page: str) -> str:
    """Write the slides of a chapter as a page.

    Parameters
    ----------
    article : Tag
        The chapter, as the site shows it.
    page : str
        The address of its page, to which the first slide leads.
    """
    article = copy.copy(article)
    for tag in article.select(_NO_SLIDE):
        tag.decompose()
    for within in article.select("p a"):
        within.unwrap()
    heading = article.select_one("h1")
    title = heading.get_text(strip=True) if heading else ""
    slides = [_slide("h1", title, [f'<p><a href="{page}">the chapter</a></p>'], "title")]
    for section in article.select("section"):
        name = section.find(["h1", "h2", "h3"], recursive=False)
        if not isinstance(name, Tag):
            continue
        if name.get_text(strip=True) == "Summary":
            points = map(str, section.find_all("ul", recursive=False))
            slides.append(_slide("h2", "Summary", list(points)))
        else:
            slides += _section(section, name.get_text(strip=True))
    written = "\n".join(slides)
    maths = _MATHS if BeautifulSoup(written, "html.parser").select_one(".math") else ""
    return _PAGE.format(title=title, maths=maths, slides=written)


def _section(section: Tag, title: str) -> Iterator[str]:
    """Yield the slides of one section: what it begins with, its lists, formulas and figures."""
    opening = section.find("p", recursive=False)
    if isinstance(opening, Tag):
        yield _slide("h2", title, [f"<p>{_beginning(opening)}</p>"])
    said = ""
    for part in section.find_all(recursive=False):
        if part.name == "p":
            said = _ending(part)
            after = part.find_next_sibling()
            leads = said.rstrip().endswith((":", "can</strong>"))
            if leads and isinstance(after, Tag) and after.name == "ul":
                yield _slide("h2", title, [f"<p>{said}</p>", str(after)])
        elif part.name == "div" and "math" in part.get_attribute_list("class"):
            yield _slide("h2", title, [f"<p>{said}</p>", str(part)])
        inside = [] if part.name == "section" else part.select("figure")
        for figure in [part] if part.name == "figure" else inside:
            yield _slide("h2", title, [str(figure)], "picture")


def _beginning(paragraph: Tag) -> str:
    return " ".join(_SENTENCE.split(paragraph.decode_contents())[:_SHORT])


def _ending(paragraph: Tag) -> str:
    return str(_SENTENCE.split(paragraph.decode_contents())[-1])


def _slide(heading: str, title: str, parts: list[str], kind: str = "") -> str:
    """Write a slide."""
    html = BeautifulSoup("\n".join(parts), "html.parser")
    for tag in html.select("[id]"):
        del tag["id"]
    opening = f'<section class="{f"slide {kind}".strip()}">'
    return f"{opening}<{heading}>{title}</{heading}>{html}</section>"
