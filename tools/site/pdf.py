"""Print the whole book into one PDF, with headless Chromium.

    python -m tools.site.pdf    _build/html → _build/pdf/mixed-models-in-python.pdf

The book is printed twice. A plain first print tells on which page everything lies; these numbers
are written into the table of contents for the second, which has tags and an outline.
"""

from __future__ import annotations

import base64
import os
import shutil
from pathlib import Path

from pypdf import PdfReader
from selenium.webdriver import Chrome

from tools import ROOT, run
from tools.site.chromium import chromium
from tools.site.downloads import FOLDER
from tools.site.one_page import one_page
from tools.site.pages import SiteError, below_title, link, parse

SITE = ROOT / "_build" / "html"
OUTPUT = ROOT / "_build" / "pdf" / "mixed-models-in-python.pdf"
_READY = """
const done = arguments[0];
const pictures = [...document.images].map(image => image.decode());
Promise.all([MathJax.startup.promise, document.fonts.ready, ...pictures]).then(
  () => done([...document.querySelectorAll(".math")]
    .filter(e => !e.querySelector("mjx-container") || e.querySelector("mjx-merror"))
    .map(e => e.textContent).join("; ")),
  error => done(String(error)));
"""
_NUMBER = """
for (const link of document.querySelectorAll(".contents a, .solution-link"))
  link.querySelector("b").textContent = arguments[0][link.getAttribute("href").slice(1)];
"""
_LAYOUT = {"printBackground": True, "preferCSSPageSize": True}
_WHOLE = {**_LAYOUT, "generateTaggedPDF": True, "generateDocumentOutline": True}


def make_pdf(site: Path, output: Path) -> int:
    """Print a built site and return the number of pages.

    Raises
    ------
    SiteError
        If there is no site or no Chromium, if a formula or picture fails, or if page numbers do
        not settle.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    page = output.with_suffix(".html")
    page.write_text(one_page(site, output.parent), encoding="utf-8")
    numbers: dict[str, int] = {}
    with chromium() as browser:
        _open(browser, page)
        for options in (_LAYOUT, _WHOLE, _WHOLE):
            printed = browser.execute_cdp_cmd("Page.printToPDF", options)
            output.write_bytes(base64.b64decode(printed["data"]))
            before, numbers = numbers, page_numbers(output)
            if options is _WHOLE and numbers == before:
                page.unlink()
                return len(PdfReader(output).pages)
            browser.execute_script(_NUMBER, numbers)
    raise SiteError("the page numbers of the contents do not settle")


def offer_pdf(site: Path, pdf: Path, count: int) -> None:
    """Copy the PDF into the site, and link it below the title of the front page."""
    (site / FOLDER).mkdir(exist_ok=True)
    shutil.copyfile(pdf, site / FOLDER / pdf.name)
    front = site / "book" / "index.html"
    html = parse(front)
    for line in html.select("p.pdf"):
        line.decompose()
    size = pdf.stat().st_size / 1e6
    told = f"The whole book on paper: PDF, {count} pages, {size:.0f} MB"
    offered = link(html, f"../{FOLDER}/{pdf.name}", told, download=pdf.name)
    below_title(html, offered, kind="pdf d-print-none")
    front.write_text(str(html), encoding="utf-8")


def page_numbers(pdf: Path) -> dict[str, int]:
    """Return the page, counted from 1, of every anchor that something in a PDF links to."""
    reader = PdfReader(pdf)
    return {
        name.removeprefix("/"): number + 1
        for name, destination in reader.named_destinations.items()
        if (number := reader.get_destination_page_number(destination)) is not None
    }


def _open(browser: Chrome, page: Path) -> None:
    browser.get(page.as_uri())
    if problem := browser.execute_async_script(_READY):
        raise SiteError(f"a formula or a picture of the book cannot be printed: {problem}")


def main() -> None:
    """Print the book and say where it lies."""
    count = make_pdf(SITE, OUTPUT)
    offer_pdf(SITE, OUTPUT, count)
    print(f"The book is in {os.path.relpath(OUTPUT)}: {count} pages")


if __name__ == "__main__":
    run(main)
