"""Every page of the built site in a real browser: in light, in dark and on a phone."""

from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from tests.helpers.browser import LOOKS, read, weight
from tools import ROOT
from tools.site.pages import read_pages

pytestmark = pytest.mark.browser

LIGHT, DARK, PHONE = LOOKS
HEAVIEST = 1_000_000
# Between them, these have every kind of formula, code, figure, table, tab and dropdown.
SEEN_WHOLE = ("book/01-pulp.html", "book/notation.html", "book/reference/oneway.html")
# Below this, readers do not notice that anything moved.
LARGEST_SHIFT = 0.1


def pages(site: Path) -> list[str]:
    return [page.relative_to(site).as_posix() for page in read_pages(site)]


@pytest.fixture(scope="module")
def readings(site, browser, serve) -> dict:
    """Read every page once, from a server, below a path that is not the root."""
    below = f"{site.parent.name}/{site.name}"
    root = serve(site.parent.parent)
    return {
        page: read(browser, f"{root}/{below}/{page}", all_of_it=page in SEEN_WHOLE)
        for page in pages(site)
    }


def test_every_page_is_sound_and_accessible_below_any_path(readings):
    assert {p: r.complaints for p, r in readings.items() if r.complaints} == {}


def test_every_page_is_light(readings, site):
    below = f"{site.parent.name}/{site.name}"
    weights = {page: weight(site, below, reading) for page, reading in readings.items()}
    assert {page: size for page, size in weights.items() if size > HEAVIEST} == {}
    assert weights["book/index.html"] > 50_000  # it has been weighed


def test_nothing_jumps_while_a_page_loads(readings):
    assert {p: r.shift for p, r in readings.items() if r.shift > LARGEST_SHIFT} == {}


def test_maths_is_rendered_and_loaded_only_where_there_is_some(readings):
    assert readings["book/notation.html"].formulas > 10
    for page, reading in readings.items():
        loaded = any("tex-chtml" in request for request in reading.requests)
        assert loaded == (reading.formulas > 0), page


@pytest.mark.parametrize(
    "page", ["index.html", "book/index.html", "book/01-pulp.html", "search.html"]
)
def test_the_site_works_from_disk(site, browser, page):
    assert read(browser, (site / page).as_uri(), (LIGHT,)).complaints == []


def test_the_front_page_is_there_within_a_second(site, browser):
    times = []
    for _ in range(3):
        browser.get((site / "book" / "index.html").as_uri())
        times.append(
            browser.execute_script(
                "return performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
            )
        )
    assert 0 < min(times) < 1000


MATHJAX = (ROOT / "book" / "_static" / "vendor" / "mathjax" / "tex-chtml-full.js").as_uri()
FORMULA = f"<script src='{MATHJAX}'></script><p class='math'>\\({{}}\\)</p>"
WIDE = "<div style='width: {}px'>wide</div>"
BROKEN = {
    "console: ": "<script>throw new Error('oh')</script>",
    "failed request: ": "<script src='missing.js'></script>",
    "foreign request: ": "<script src='http://localhost:9/a.js'></script>",
    "light: a picture is broken: ": "<img src='missing.svg' alt='nothing'>",
    "light: the page is wider than the screen: ": WIDE.format(1400),
    "phone: the page is wider than the screen: ": WIDE.format(600),
    "light: a formula is not rendered: ": "<span class='math'>x</span>",
    "light: a macro is unknown: ": FORMULA.format(r"\bm x"),
    "light: a formula has an error: ": FORMULA.format(r"\frac{1}"),
    "light: image-alt at ": "<img src='data:,' >",
    "light: heading-order at ": "<h4>three levels down</h4>",
    "light: color-contrast at ": "<p style='color: #ccc; background: #fff'>pale</p>",
    "dark: color-contrast at ": (
        "<style>@media (prefers-color-scheme: dark) { p { color: #333; background: #222 } }</style>"
        "<p>dark on dark</p>"
    ),
    "phone: what scrolls is out of reach of the keyboard: ": (
        f"<article style='overflow-x: auto'>"
        f"<div style='overflow-x: auto; white-space: nowrap'>{'out of reach ' * 9}</div></article>"
    ),
    "phone: scrollable-region-focusable at ": (
        f"<div style='overflow-x: auto; white-space: nowrap'>{'out of reach ' * 9}</div>"
    ),
}
VIEWPORT = "<meta name='viewport' content='width=device-width, initial-scale=1'>"


def a_page(folder: Path, body: str) -> str:
    page = folder / "page.html"
    page.write_text(
        f"<!doctype html><html lang='en'><title>Page</title>{VIEWPORT}"
        f"<link rel='icon' href='data:,'><body><main><h1>Page</h1>{body}</main>"
    )
    return page.as_uri()


@pytest.mark.parametrize("complaint", BROKEN)
def test_a_broken_page_is_found_out(browser, tmp_path, complaint):
    found = read(browser, a_page(tmp_path, BROKEN[complaint]), all_of_it=True).complaints
    assert any(each.startswith(complaint) for each in found)


def test_a_sound_page_has_no_complaints(browser, tmp_path):
    reading = read(browser, a_page(tmp_path, FORMULA.format("x")))
    assert (reading.formulas, reading.complaints) == (1, [])


def test_a_jump_is_measured(browser: Chrome, tmp_path):
    late = (
        "<script>setTimeout(() => { late.style.height = '400px' }, 100);"
        "window.MathJax = {startup: {promise: new Promise(done => setTimeout(done, 400))}}</script>"
        "<div id='late'></div><p style='height: 400px'>It is pushed down.</p>"
    )
    assert read(browser, a_page(tmp_path, late)).shift > LARGEST_SHIFT


def test_a_heavy_page_is_found_out(browser: Chrome, serve, tmp_path):
    (tmp_path / "noise.webp").write_bytes(bytes(HEAVIEST))
    a_page(tmp_path, "<img src='noise.webp' alt='Noise'>")
    reading = read(browser, f"{serve(tmp_path.parent)}/{tmp_path.name}/page.html", (LIGHT,))
    assert weight(tmp_path, tmp_path.name, reading) > HEAVIEST
