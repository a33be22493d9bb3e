"""The built site in a real browser: every page, in light, dark and on a phone."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from selenium.webdriver import Chrome

from tools.build_site import ROOT

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LOOKS = {"light": (1280, "light"), "dark": (1280, "dark"), "phone": (390, "light")}

# Waits for the maths and for every picture, then reports what is wrong with the page as it stands.
EXAMINE = """
const [width, done] = arguments;
const maths = window.MathJax?.startup?.promise ?? Promise.resolve();
const pictures = [...document.images].map(image => image.decode().catch(() => {}));
Promise.all([maths, document.fonts.ready, ...pictures]).then(() => {
  const names = selector => [...document.querySelectorAll(selector)].map(e => e.textContent.trim());
  const wide = document.documentElement.scrollWidth - width;
  done({
    formulas: document.querySelectorAll("mjx-container").length,
    "a formula is not rendered": [...document.querySelectorAll(".math")]
      .filter(e => !e.querySelector("mjx-container")).map(e => e.textContent.trim()),
    "a formula has an error": names("mjx-merror"),
    "a macro is unknown": names("mjx-mtext[style*='red']"),
    "a picture is broken": [...document.images].filter(i => !i.naturalWidth).map(i => i.src),
    "the page is wider than the screen": wide > 0 ? [`by ${wide} px`] : [],
  });
});
"""


@dataclass(frozen=True)
class Reading:
    """What the browser found on one page."""

    formulas: int
    complaints: list[str]


def read(browser: Chrome, address: str, look: str = "light") -> Reading:
    """Open a page in one of the looks and collect everything that is wrong with it."""
    width, theme = LOOKS[look]
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": look == "phone"}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": theme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(address)
    report = browser.execute_async_script(EXAMINE, width)
    formulas = report.pop("formulas")
    complaints = [f"{what}: {which}" for what, found in report.items() for which in found]
    complaints += [
        f"console: {entry['message']}"
        for entry in browser.get_log("browser")
        if entry["level"] == "SEVERE"
    ]
    return Reading(formulas, complaints + _bad_requests(browser, address))


def _bad_requests(browser: Chrome, address: str) -> list[str]:
    home = urlsplit(address)[:2]
    complaints = []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        details = message["params"]
        if message["method"] == "Network.requestWillBeSent":
            url = details["request"]["url"]
            if not url.startswith("data:") and urlsplit(url)[:2] != home:
                complaints.append(f"foreign request: {url}")
        elif message["method"] == "Network.loadingFailed":
            complaints.append(f"failed request: {details['errorText']}")
        elif details.get("response", {}).get("status", 0) >= 400:
            complaints.append(f"failed request: {details['response']['url']}")
    return complaints


def pages(site: Path) -> list[str]:
    return [
        page.relative_to(site).as_posix()
        for page in sorted(site.rglob("*.html"))
        if "_static" not in page.parts
    ]


@pytest.mark.parametrize("look", LOOKS)
def test_every_page_is_sound_below_any_path(site, browser, serve, look):
    below = site.parent.name + "/" + site.name
    root = serve(site.parent.parent)
    complaints = {
        page: reading.complaints
        for page in pages(site)
        if (reading := read(browser, f"{root}/{below}/{page}", look)).complaints
    }
    assert complaints == {}


def test_every_page_is_sound_from_disk(site, browser):
    complaints = {
        page: reading.complaints
        for page in pages(site)
        if (reading := read(browser, (site / page).as_uri())).complaints
    }
    assert complaints == {}


def test_maths_is_really_there(site, browser):
    assert read(browser, (site / "book" / "notation.html").as_uri()).formulas > 10


def test_figures_take_the_colours_of_the_dark_theme(site, browser):
    page = next(page for page in pages(site) if "/01-" in page)
    read(browser, (site / page).as_uri(), "dark")
    style = "const i = document.querySelector('figure img'); return getComputedStyle(i)"
    assert "invert(1)" in browser.execute_script(f"{style}.filter")
    assert browser.execute_script(f"{style}.mixBlendMode") == "screen"
    read(browser, (site / page).as_uri(), "light")
    assert browser.execute_script(f"{style}.filter") == "none"


def test_search_finds_a_page(site, browser):
    browser.get((site / "search.html").as_uri() + "?q=brightness")
    deadline = time.monotonic() + 20
    found = []
    while not found and time.monotonic() < deadline:
        found = browser.execute_script(
            "return [...document.querySelectorAll('#search-results a')].map(a => a.href)"
        )
    assert any("/01-pulp.html" in address for address in found)


MATHJAX = (ROOT / "book" / "_static" / "vendor" / "mathjax" / "tex-chtml-full.js").as_uri()
FORMULA = f"<script src='{MATHJAX}'></script><span class='math'>\\({{}}\\)</span>"
BROKEN = {
    "console: ": "<script>throw new Error('oh')</script>",
    "failed request: ": "<script src='missing.js'></script>",
    "foreign request: ": "<script src='http://localhost:9/a.js'></script>",
    "a picture is broken: ": "<img src='missing.svg' alt='nothing'>",
    "the page is wider than the screen: ": "<div style='width: 1300px'>wide</div>",
    "a formula is not rendered: ": "<span class='math'>x</span>",
    "a macro is unknown: ": FORMULA.format(r"\bm x"),
    "a formula has an error: ": FORMULA.format(r"\frac{1}"),
}
VIEWPORT = "<meta name='viewport' content='width=device-width, initial-scale=1'>"


def a_page(folder: Path, body: str) -> str:
    page = folder / "page.html"
    page.write_text(f"<!doctype html><title>Page</title>{VIEWPORT}<body>{body}</body>")
    return page.as_uri()


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("complaint", BROKEN)
def test_a_broken_page_is_found_out(browser, tmp_path, complaint, look):
    found = read(browser, a_page(tmp_path, BROKEN[complaint]), look).complaints
    assert any(each.startswith(complaint) for each in found)


@pytest.mark.parametrize("look", LOOKS)
def test_a_sound_page_has_no_complaints(browser, tmp_path, look):
    sound = a_page(tmp_path, FORMULA.format("x"))
    assert read(browser, sound, look) == Reading(formulas=1, complaints=[])
