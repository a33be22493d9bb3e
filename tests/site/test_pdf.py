"""The book as one PDF: all of it, in order, with maths, figures, outline and page numbers."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from unicodedata import normalize

import pytest
from bs4 import BeautifulSoup
from pypdf import PdfReader

from tools.site.one_page import one_page
from tools.site.pages import SiteError
from tools.site.pdf import make_pdf, page_numbers

PICTURE = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"></svg>'
CHAPTER = """
<h1>1. One</h1><p>See <a href="02-two.html#there">there</a>, <a href="../genindex.html">not</a>,
<a href="https://example.org">elsewhere</a>. <span class="math">\\(\\sqrt{2}\\)</span></p>
<figure><img src="../a.svg?v=1" alt="A square"></figure>
<details class="hide"><summary>Show the code</summary><pre>hidden = 1</pre></details>
<div class="sd-tab-set"><input type="radio"><label class="sd-tab-label">R</label><pre>lmer()</pre>
</div>
<section id="exercises"><h2>1.1. Exercises</h2><div class="exercise">Prove it.</div>
<details class="solution" id="sol"><summary>Solution to 1</summary><p>It is proved.</p></details>
</section>
"""
SECOND = (
    "<h1>2. Two</h1><section id='there'><h2>2.1. A rather long heading</h2><p>Here.</p></section>"
)


@pytest.fixture
def small_site(tmp_path) -> Path:
    """Lay out a site of a front page and two chapters."""
    site = tmp_path / "html"
    (site / "book").mkdir(parents=True)
    root = Path(__file__).parents[2] / "book" / "_static"
    (site / "_static").symlink_to(root)
    (site / "a.svg").write_text(PICTURE)
    contents = (
        "<nav class='bd-links'><a class='internal' href='#'>Front</a>"
        "<a class='internal' href='01-one.html'>1</a><a class='internal' href='02-two.html'>2</a>"
        "</nav>"
    )
    pages = {"index": "<h1>The Book</h1>", "01-one": CHAPTER, "02-two": SECOND}
    for name, body in pages.items():
        (site / "book" / f"{name}.html").write_text(
            f"<html><body>{contents}<article class='bd-article'>{body}</article></body></html>"
        )
    return site


def test_the_pages_become_one(small_site, tmp_path):
    html = BeautifulSoup(one_page(small_site, tmp_path), "html.parser")
    assert [in_one_line(h.get_text()) for h in html("h1")] == [
        "The Book",
        "Contents",
        "1. One",
        "2. Two",
        "Solutions",
    ]
    links = {link.get_text(): link["href"] for link in html.select(".chapter a")}
    assert links == {
        "there": "#02-two--there",
        "elsewhere": "https://example.org",
        "Solution: page ": "#01-one--sol",
    }
    assert html.select_one("#solutions #\\30 1-one--sol").get_text().startswith("Solution to 1")
    assert html.select_one("img")["src"] == "html/a.svg"
    assert html.select("details, input, .hide summary") == []
    assert html.select_one(".hide pre").get_text() == "hidden = 1"
    assert html.select_one("p.tab-name").get_text() == "R"
    lines = [line.get_text() for line in html.select(".contents a")]
    assert lines[:4] == ["1. One", "1.1. Exercises", "2. Two", "2.1. A rather long heading"]


def test_without_a_site_the_message_says_what_to_do(tmp_path):
    with pytest.raises(SiteError, match="there is no site to print: run `make site`"):
        make_pdf(tmp_path, tmp_path / "a.pdf")


@pytest.mark.browser
@pytest.mark.usefixtures("_chromium")
@pytest.mark.parametrize("body", ["<p class='math'>\\(\\frac{1}\\)</p>", "<img src='missing.svg'>"])
def test_what_cannot_be_printed_is_an_error(small_site, tmp_path, body):
    page = small_site / "book" / "02-two.html"
    page.write_text(page.read_text().replace("<p>Here.", f"{body}<p>Here."))
    with pytest.raises(SiteError, match="cannot be printed"):
        make_pdf(small_site, tmp_path / "a.pdf")


def squeeze(text: str) -> str:
    """Leave out spaces, which a PDF does not keep, and take ligatures of its font apart."""
    return re.sub(r"\s", "", normalize("NFKC", text))


def in_one_line(text: str) -> str:
    return " ".join(text.split())


def titles(outline: list) -> Iterator[str]:
    """List what the outline says, on every level."""
    for entry in outline:
        yield from titles(entry) if isinstance(entry, list) else [in_one_line(str(entry.title))]


def top_of_outline(reader: PdfReader) -> list[tuple[str, int]]:
    """List the chapters in the outline with their pages, counted from 1."""
    return [
        (in_one_line(str(entry.title)), reader.get_destination_page_number(entry) + 1)
        for entry in reader.outline
        if not isinstance(entry, list)
    ]


@pytest.mark.browser
@pytest.mark.usefixtures("_chromium")
def test_the_whole_book_is_printed(site, tmp_path, monkeypatch):
    pages = []
    monkeypatch.setattr(
        "tools.site.pdf.one_page", lambda *where: pages.append(one_page(*where)) or pages[0]
    )
    pdf = tmp_path / "book.pdf"
    count = make_pdf(site, pdf)
    reader = PdfReader(pdf)
    numbers = page_numbers(pdf)
    printed = BeautifulSoup(pages[0], "lxml")
    assert count == len(reader.pages) > 50
    assert reader.metadata.title == "Mixed Models in Python"
    assert [path.name for path in tmp_path.iterdir()] == ["book.pdf"]

    @cache
    def text(number: int) -> str:
        return squeeze(reader.pages[number - 1].extract_text())

    headings = [in_one_line(tag.get_text()) for tag in printed("h1")]
    chapters = top_of_outline(reader)
    assert [title for title, _ in chapters] == headings
    plain = [tag for tag in printed(["h2", "h3", "h4"]) if not tag.select(".math")]
    assert len(plain) > 100
    assert {in_one_line(tag.get_text()) for tag in plain} <= set(titles(reader.outline))
    assert [title for title, page in chapters if squeeze(title) not in text(page)] == []

    lines = printed.select(".contents a")
    assert len(lines) > 40
    sections = [entry for entry in reader.outline if isinstance(entry, list)]
    assert len(sections) > 10
    contents = "".join(text(page) for page in range(chapters[1][1], chapters[2][1]))
    expected = [squeeze(line.get_text()) + str(numbers[line["href"][1:]]) for line in lines]
    assert [line for line in expected if line not in contents] == []

    appendix = "".join(text(page) for page in range(numbers["solutions"], count + 1))
    solutions = printed.select("#solutions .solution")
    assert appendix.count("SolutiontoExercise") == len(solutions) > 5
    first_chapter = "".join(text(page) for page in range(chapters[3][1], chapters[4][1]))
    assert "SolutiontoExercise" not in first_chapter
    links = printed.select(".chapter")[2].select("a.solution-link")
    assert len(links) > 2
    pages = [f"Solution:page{numbers[link['href'][1:]]}" for link in links]
    assert [page for page in pages if page not in first_chapter] == []
    assert "\\(" not in first_chapter  # every formula is set
