"""Put the pages of the built site together into one page, as a printer wants them.

The site is the only source: what is printed is what is shown. Dropdowns are opened, tabs stand one
below the other, solutions move to an appendix, and links lead to places within the one page.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup, Tag

from tools.site.pages import SiteError, parse

BOOK = "Mixed Models in Python"
MATHJAX = "_static/vendor/mathjax/tex-chtml-full.js"
STYLE = Path(__file__).resolve().parent / "print.css"
_USELESS = (
    ".headerlink, .toctree-wrapper, .sd-tab-set > input, .sd-stretched-link, "
    "details.hide > summary, .interactive, .d-print-none, script"
)


@dataclass(frozen=True)
class _Page:
    path: Path
    name: str  # the beginning of every anchor of this page: "01-pulp"

    def anchor(self, fragment: str = "") -> str:
        return f"{self.name}--{fragment}" if fragment else self.name


def one_page(site: Path, folder: Path) -> str:
    """Return the whole book as one page of HTML.

    In the table of contents, and beside the exercises, each link has an empty `<b>` for the number
    of the page that it leads to.

    Parameters
    ----------
    site : Path
        The built site.
    folder : Path
        Where the page will lie; images and scripts are named from there.

    Raises
    ------
    SiteError
        If the site has no table of contents.
    """
    pages = [_Page(path, _slug(path, site)) for path in _in_order(site)]
    articles = [_article(page, pages, folder) for page in pages]
    appendix = _take_solutions(articles)
    contents = _contents([*articles, *appendix])
    for article in (*articles, *appendix):
        _keep_spaces(article)
    front, *chapters = map(str, articles)
    parts = [front, contents, *chapters, *map(str, appendix)]
    return _PAGE.format(
        book=BOOK,
        style=STYLE.read_text(encoding="utf-8"),
        colours=_from(folder, site / "_static" / "pygments.css"),
        mathjax=_from(folder, site / MATHJAX),
        body="\n".join(parts),
    )


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{book}</title>
<link rel="stylesheet" href="{colours}">
<style>{style}</style>
<script>window.MathJax = {{
  chtml: {{matchFontHeight: false}},
  options: {{enableMenu: false, processHtmlClass: "math"}},
}};</script>
<script defer src="{mathjax}"></script>
</head>
<body>
{body}
</body>
</html>
"""


def _in_order(site: Path) -> list[Path]:
    """List the pages in the order of the contents that stand in the sidebar of the front page."""
    front = site / "book" / "index.html"
    if not front.is_file():
        raise SiteError("there is no site to print: run `make site`")
    sidebar = parse(front).select("nav.bd-links a.internal")
    links = [str(link["href"]).split("#")[0] for link in sidebar]
    paths = [front, *((front.parent / link).resolve() for link in links if link)]
    if len(paths) < 2:
        raise SiteError("the site has no table of contents: run `make site`")
    return list(dict.fromkeys(paths))


def _slug(path: Path, site: Path) -> str:
    return path.relative_to(site / "book").with_suffix("").as_posix().replace("/", "-")


def _from(folder: Path, target: Path) -> str:
    return Path(os.path.relpath(target, folder)).as_posix()


def _article(page: _Page, pages: list[_Page], folder: Path) -> Tag:
    """Return what one page says, ready to stand among the others."""
    article = parse(page.path).select_one("article.bd-article")
    if article is None:
        raise SiteError(f"{page.path.name} has no article")
    for tag in article.select(_USELESS):
        tag.decompose()
    for box in article.select("details.hide"):
        box.name = "div"
    for box in article.select("details"):
        box["open"] = ""
    for label in article.select(".sd-tab-label"):
        label.name, label.attrs = "p", {"class": "tab-name"}
    for image in article.select("img[src]"):
        image["src"] = _from(folder, (page.path.parent / str(image["src"]).split("?")[0]).resolve())
    _lead_links_within(article, page, pages)
    for tag in article.select("[id]"):
        tag["id"] = page.anchor(str(tag["id"]))
    article["id"] = page.name
    article["class"] = "chapter"
    return article


def _lead_links_within(article: Tag, page: _Page, pages: list[_Page]) -> None:
    """Point links between pages to the place in this one; what is not printed is no link."""
    targets = {other.path.resolve(): other for other in pages}
    for link in article.select("a[href]"):
        parts = urlsplit(str(link["href"]))
        if parts.scheme:
            continue
        path = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
        if path.resolve() in targets:
            link["href"] = "#" + targets[path.resolve()].anchor(unquote(parts.fragment))
        else:
            link.unwrap()


def _take_solutions(articles: list[Tag]) -> list[Tag]:
    """Move the worked solutions to an appendix, if there are any, and leave a link to each."""
    sections = ""
    for article in articles:
        moved = ""
        for solution in article.select("details.solution"):
            link = f'<a class="solution-link" href="#{solution["id"]}">Solution: page <b></b></a>'
            solution.replace_with(BeautifulSoup(link, "html.parser"))
            solution.name = "div"
            if solution.summary:
                solution.summary.name = "p"
            moved += str(solution)
        if moved:
            title = escape(article.h1.get_text()) if article.h1 else ""
            sections += f'<section id="solutions-{article["id"]}"><h2>{title}</h2>{moved}</section>'
    appendix = f'<article class="chapter" id="solutions"><h1>Solutions</h1>{sections}</article>'
    return list(BeautifulSoup(appendix, "html.parser").select("article")) if sections else []


def _contents(articles: list[Tag]) -> str:
    """Write the table of contents: chapters and their sections."""
    lines = ""
    for article in articles[1:]:
        for heading in article.select("h1, h2"):
            section = heading.find_parent(["section", "article"])
            anchor = (section and section.get("id")) or article["id"]
            text = f"<span>{escape(heading.get_text())}</span><b></b>"
            lines += f'<a class="{heading.name}" href="#{anchor}">{text}</a>'
    return f'<nav class="contents" id="contents"><h1>Contents</h1>{lines}</nav>'


def _keep_spaces(article: Tag) -> None:
    """Keep the spaces of headings where a line ends: the PDF's outline would join the words."""
    for heading in article.select("h1, h2, h3, h4, h5"):
        for text in heading.find_all(string=lambda text: " " in text):
            if not text.find_parent(class_="math"):
                kept = escape(text).replace(" ", "\N{NO-BREAK SPACE}<wbr>")
                text.replace_with(BeautifulSoup(kept, "html.parser"))
