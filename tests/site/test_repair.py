"""Each repair of `tools/site/repair.py` does what it says, on the smallest page that needs it."""

import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from tools.site.pages import SiteError
from tools.site.repair import finish

ICONS = (
    'a={"sun":[1,2,[],"f1","OUTLINE"]};'
    'b={bars:[448,512,["x"],"f0c9","M0"],"sun":[512,512,[],"f185","M1"]}'
)
HEAD = "<head><title>Page — Mixed Models in Python</title></head>"


@pytest.fixture
def site(tmp_path) -> Path:
    """Lay out a site of two empty pages with the theme's icons."""
    for folder in ("_static/scripts", "_static/locales", "book"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "_static" / "scripts" / "fontawesome.js").write_text(ICONS)
    for name in ("book/index.html", "search.html"):
        (tmp_path / name).write_text(f"<html>{HEAD}<body></body></html>")
    return tmp_path


def finished(site: Path, body: str, name: str = "book/index.html", **options: str):
    (site / name).write_text(f"<html>{HEAD}<body>{body}</body></html>")
    finish(site, **options)
    return BeautifulSoup((site / name).read_text(), "html.parser")


def test_controls_are_named_by_what_they_show(site):
    html = finished(
        site,
        "<button class='search-button-field' aria-label='Find'>Search</button>"
        "<details class='hide'><summary aria-label='Toggle'>Show the code</summary></details>"
        "<ul><li class='has-children'><a>The library</a><details><summary></summary></details></ul>"
        "<dialog id='pst-search-dialog'></dialog>",
    )
    assert html.select("button[aria-label], details.hide [aria-label]") == []
    assert html.select_one("li summary")["aria-label"] == "Pages of The library"
    assert html.dialog["aria-label"] == "Search"


def test_the_sidebar_is_a_landmark(site):
    html = finished(site, "<div id='pst-primary-sidebar'></div>")
    assert html.div["role"] == "region"


def test_citations_are_items_without_labels(site):
    html = finished(
        site,
        "<div class='citation' role='doc-biblioentry'><span class='label'>A1</span>Bates</div>",
    )
    assert (html.div["role"], html.div.text) == ("listitem", "Bates")


def test_solutions_are_native_dropdowns(site):
    html = finished(
        site,
        "<div class='solution dropdown admonition' id='s'><p class='admonition-title'>"
        "<a href='#e'>Solution</a></p><section>It is 1.</section></div>",
    )
    assert html.select_one("details#s > summary").decode_contents() == "Solution"


@pytest.mark.parametrize(
    ("body", "name", "kept"),
    [
        ("", "book/index.html", []),
        ("<p class='math'>x</p>", "book/index.html", ["tex-chtml-full.js"]),
        ("", "search.html", ["searchindex.js"]),
    ],
)
def test_a_page_loads_only_what_it_uses(site, body, name, kept):
    scripts = "".join(
        f"<script src='{src}'></script>"
        for src in ("tex-chtml-full.js", "searchindex.js", "fontawesome.js")
    )
    html = finished(site, f"{scripts}{body}", name)
    assert [script["src"] for script in html.select("script")] == kept


def test_images_get_their_size(site):
    (site / "a.svg").write_text('<svg width="72pt" height="36.4pt"/>')
    image = finished(site, "<img src='../a.svg?v=1'><img src='../a.svg'>").select("img")[1]
    assert (image["width"], image["height"]) == ("96", "49")


def test_a_drawing_that_tells_no_size_is_left_to_the_checks(site):
    (site / "a.svg").write_text('<svg viewBox="0 0 64 32"/>')
    assert finished(site, "<img src='../a.svg'>").img.get("width") is None


def test_numbers_stay_with_their_sign(site):
    html = finished(
        site,
        "<article class='bd-article'><p>At 5 % of <a>chapter 4</a>, 7 %2</p>"
        "<pre>5 % of chapter 4</pre></article><p>5 %</p>",
    )
    inside, outside = html.select("p:not(.report)")
    assert inside.text == "At 5\xa0% of chapter\xa04, 7\xa0%2"
    assert (html.pre.text, outside.text) == ("5 % of chapter 4", "5 %")


def test_a_chapter_says_how_long_it_takes_to_read(site):
    article = "<article class='bd-article'><h1>Title</h1><p>What it is about.</p></article>"
    others = [site / "book" / name for name in ("index.html", "00-twenty-minutes.html")]
    for other in others:
        other.write_text(f"<html>{HEAD}<body>{article}</body></html>")
    chapter = finished(site, article, "book/01-pulp.html")
    note = chapter.select_one("h1 + p.reading-time").text
    assert re.fullmatch(r"About \d+ minutes to read, exercises apart\.", note)
    described = chapter.select_one("meta[name=description]")["content"]
    assert described == "What it is about."
    assert not any("reading-time" in other.read_text() for other in others)


def test_empty_corners_of_data_frames_are_no_headers(site):
    table = "<table class='dataframe'><tr><th></th><th>mean</th></tr></table>"
    html = finished(site, table)
    assert [cell.name for cell in html.select("tr > *")] == ["td", "th"]


def test_stars_of_an_exercise_are_counted_aloud(site):
    text = "<div class='exercise'><p><em>Derivation.</em> ★★ Show it.</p></div><p>A ★.</p>"
    html = finished(site, f"<article class='bd-article'>{text}</article>")
    (mark,) = html.select("[role=img]")
    assert (mark["aria-label"], mark.string) == ("2 of 3 stars", "★★")
    assert html.select_one(".exercise p").get_text() == "Derivation. ★★ Show it."


def test_icons_are_drawn_and_their_script_is_gone(site):
    html = finished(site, "<i class='theme-switch fa-solid fa-sun fa-lg' data-mode='light'></i>")
    assert html.select_one("svg.icon.theme-switch.fa-lg[data-mode=light] > path")["d"] == "M1"
    assert html.select("i") == []
    assert not (site / "_static" / "scripts" / "fontawesome.js").exists()
    assert not (site / "_static" / "locales").exists()


def test_an_unknown_icon_is_named(site):
    with pytest.raises(SiteError, match="no icon 'moon'"):
        finished(site, "<i class='fa-solid fa-moon'></i>")


@pytest.mark.parametrize(
    ("address", "picture"),
    [
        ("", "../_static/preview.png"),
        ("https://example.org/book", "https://example.org/book/_static/preview.png"),
    ],
)
def test_pages_describe_themselves(site, address, picture):
    article = "<article class='bd-article'><p>Twenty sheets\nof \\(n\\) papers.</p></article>"
    html = finished(site, article, address=address)
    described = {
        tag.get("property", tag.get("name")): tag["content"] for tag in html.select("meta")
    }
    assert described["og:title"] == "Page"
    assert described["og:image"] == picture
    assert described["description"] == "Twenty sheets of n papers."
    assert ("og:url" in described) == bool(address)
    root = (site / "index.html").read_text()
    assert 'content="0; url=book/index.html"' in root
    assert picture.removeprefix("../") in root


def test_a_page_without_title_is_refused(site):
    (site / "search.html").write_text("<html><head></head></html>")
    with pytest.raises(SiteError, match=r"search\.html has no title"):
        finish(site)
