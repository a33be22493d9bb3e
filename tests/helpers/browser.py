"""Read a page in Chromium as three readers would, and collect everything that is wrong with it.

Formulas and code look alike on every page, and axe-core spends nearly all its time in them. So it
sees them on the pages named to it, and elsewhere what is around them. `AXE=all make test` shows it
everything on every page, which takes a few minutes.
"""

import gzip
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from selenium.webdriver import ActionChains, Chrome

from tools.site.vendor import FOR_TESTS

AXE = (FOR_TESTS / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
COMPRESSED = {".html", ".css", ".js", ".svg", ".json"}


@dataclass(frozen=True)
class Look:
    """One way to look at a page, and the rules of axe-core whose outcome may depend on it."""

    name: str
    width: int
    theme: str
    rules: str


EVERYTHING = "undefined"
WHAT_COLOURS_CHANGE = (
    "['color-contrast', 'link-in-text-block', 'image-alt', 'region', 'label-content-name-mismatch']"
)
WHAT_WIDTH_CHANGES = "['scrollable-region-focusable', 'button-name', 'link-name', 'region']"

LOOKS = (
    Look("light", 1280, "light", EVERYTHING),
    Look("dark", 1280, "dark", WHAT_COLOURS_CHANGE),
    Look("phone", 320, "light", WHAT_WIDTH_CHANGES),
)

# Shifts of the layout are counted from the first paint, before anything here touches the page.
SETTLE = """
const done = arguments[0];
const maths = window.MathJax?.startup?.promise ?? Promise.resolve();
const pictures = [...document.images].map(image => image.decode().catch(() => {}));
Promise.all([maths, document.fonts.ready, ...pictures]).then(() => {
  new PerformanceObserver(list => {
    const shifts = list.getEntries().map(entry => entry.hadRecentInput ? 0 : entry.value);
    done(shifts.reduce((sum, shift) => sum + shift, 0));
  }).observe({type: "layout-shift", buffered: true});
  setTimeout(() => done(0), 100);
});
"""
WITHOUT_REPETITION = """
for (const formula of document.querySelectorAll("mjx-container")) formula.replaceChildren();
for (const code of document.querySelectorAll("pre")) code.textContent = code.textContent;
"""
OPEN_DROPDOWNS = "for (const box of document.querySelectorAll('article details')) box.open = true;"
EXAMINE = """
const names = selector => [...document.querySelectorAll(selector)].map(e => e.textContent.trim());
const wide = document.documentElement.scrollWidth - arguments[0];
const scrolls = e => e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0
  && ["auto", "scroll"].includes(getComputedStyle(e).overflowX);
const left = e => e.getBoundingClientRect().left;
const boxes = e => e.parentElement ? [e.parentElement, ...boxes(e.parentElement)] : [];
const cuts = e => getComputedStyle(e).overflowX !== "visible";
const isReached = e => e.tabIndex >= 0 || e.querySelector("a[href], button, input, [tabindex='0']");
return {
  "a formula is not rendered": [...document.querySelectorAll(".math")]
    .filter(e => !e.querySelector("mjx-container")).map(e => e.textContent.trim()),
  "a formula has an error": names("mjx-merror"),
  "a macro is unknown": names("mjx-mtext[style*='red']"),
  "a picture is broken": [...document.images].filter(i => !i.naturalWidth).map(i => i.src),
  "a figure is cut at the left": [...document.querySelectorAll("article figure img")]
    .filter(i => boxes(i).some(box => cuts(box) && left(i) < left(box) - 1)).map(i => i.src),
  "what scrolls is out of reach of the keyboard":
    [...document.querySelectorAll("article *")].filter(e => scrolls(e) && !isReached(e))
    .map(e => `${e.localName}.${e.className}: ${e.textContent.trim().slice(0, 30)}`),
  "the page is wider than the screen": wide > 0 ? [`by ${wide} px`] : [],
};
"""
RUN_AXE = """
const done = arguments[0];
const broken = rule => rule.nodes.map(node => `${rule.id} at ${node.target.join(" ")}`);
axe.run(document, {runOnly: %s, preload: false, resultTypes: ["violations"]}).then(
  result => done(result.violations.flatMap(broken)), error => done([String(error)]));
"""


@dataclass
class Reading:
    """What the browser found on one page."""

    formulas: int = 0
    shift: float = 0.0
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


def read(
    browser: Chrome, address: str, looks: tuple[Look, ...] = LOOKS, *, all_of_it: bool = False
) -> Reading:
    """Open a page once, look at it in every way, and collect everything that is wrong with it."""
    browser.get_log("browser")
    browser.get_log("performance")
    put_on(browser, looks[0])
    browser.get(address)
    reading = Reading(shift=browser.execute_async_script(SETTLE))
    browser.execute_script(OPEN_DROPDOWNS)
    reading.formulas = browser.execute_script(
        "return document.querySelectorAll('mjx-container').length"
    )
    for look in (look for look in looks if look.theme == "light"):  # the dark moves nothing
        if look is not looks[0]:  # which it has
            put_on(browser, look)
        report = browser.execute_script(EXAMINE, look.width)
        reading.complaints += [f"{look.name}: {k}: {each}" for k in report for each in report[k]]
    if not (all_of_it or os.environ.get("AXE") == "all"):
        browser.execute_script(WITHOUT_REPETITION)
    for look in reversed(looks):
        if look is not looks[-1]:  # which it still has
            put_on(browser, look)
        reading.complaints += [f"{look.name}: {each}" for each in axe(browser, look.rules)]
    reading.complaints += [
        f"console: {entry['message']}"
        for entry in browser.get_log("browser")
        if entry["level"] in ("SEVERE", "WARNING")
    ]
    _read_traffic(browser, address, reading)
    return reading


def put_on(browser: Chrome, look: Look) -> None:
    """Give the window the width and the preferences of one look."""
    metrics = {
        "width": look.width,
        "height": 900,
        "deviceScaleFactor": 1,
        "mobile": look.name == "phone",
    }
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [
        {"name": "prefers-color-scheme", "value": look.theme},
        # Colours in the middle of a transition are nobody's.
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0], 50))")


def axe(browser: Chrome, rules: str = EVERYTHING) -> list[str]:
    """Run axe-core on the page as it stands, and name each element that breaks a rule."""
    if not browser.execute_script("return 'axe' in window"):
        browser.execute_script(AXE)
    return list(browser.execute_async_script(RUN_AXE % rules))


def weight(site: Path, below: str, reading: Reading) -> int:
    """Return the bytes that a page takes over the wire, text compressed as any server does."""
    paths = {unquote(urlsplit(url).path) for url in reading.requests}
    files = [site / path.removeprefix(f"/{below}/") for path in paths]
    return sum(_bytes_on_the_wire(path) for path in files)


@lru_cache(maxsize=512)
def _bytes_on_the_wire(path: Path) -> int:
    content = path.read_bytes()
    return len(gzip.compress(content, 6)) if path.suffix in COMPRESSED else len(content)


def _read_traffic(browser: Chrome, address: str, reading: Reading) -> None:
    home = urlsplit(address)[:2]
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        details = message["params"]
        if message["method"] == "Network.requestWillBeSent":
            url = details["request"]["url"]
            if url.startswith("data:"):
                continue
            if urlsplit(url)[:2] == home:
                reading.requests.append(url)
            else:
                reading.complaints.append(f"foreign request: {url}")
        elif message["method"] == "Network.loadingFailed":
            reading.complaints.append(f"failed request: {details['errorText']}")
        elif details.get("response", {}).get("status", 0) >= 400:
            reading.complaints.append(f"failed request: {details['response']['url']}")


def wait(condition: Callable, seconds: float = 20) -> object:
    """Wait for something that comes true, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)
    return found


def settle(browser: Chrome) -> None:
    """Wait until the maths is there, which moves things."""
    browser.execute_async_script(
        "(window.MathJax?.startup?.promise ?? Promise.resolve()).then(() => arguments[0]())"
    )


def press(browser: Chrome, *keys: str) -> None:
    ActionChains(browser).send_keys(*keys).perform()


def severe(browser: Chrome) -> list[dict]:
    return [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
