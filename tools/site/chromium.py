"""Headless Chromium, driven from Python: it draws the preview, prints the book, tests the site."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from tools.site.pages import SiteError

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
MISSING = (
    "there is no Chromium with chromedriver here "
    "(on Debian and Ubuntu: apt install chromium chromium-driver)"
)
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    # The browser's own traffic is not the site's.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
)
_ALONE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"


def is_installed() -> bool:
    """Tell whether a Chromium and its driver are on this machine."""
    return _browser() is not None and shutil.which("chromedriver") is not None


@contextmanager
def chromium(*, downloads: str = "", alone: bool = False) -> Iterator[Chrome]:
    """Start headless Chromium, keep its logs of the console and the network, and end it.

    Parameters
    ----------
    downloads : str
        The folder that receives what a page lets one download.
    alone : bool
        Whether this machine is all there is: no name of another is found.

    Raises
    ------
    SiteError
        If Chromium or its driver is not on this machine.
    """
    browser, driver = _browser(), shutil.which("chromedriver")
    if browser is None or driver is None:
        raise SiteError(MISSING)
    options = ChromeOptions()
    options.binary_location = browser
    for option in (*_OPTIONS, _ALONE) if alone else _OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = Chrome(options=options, service=ChromeService(driver))
    try:
        chrome.set_script_timeout(900)
        if downloads:
            allowed = {"behavior": "allow", "downloadPath": downloads}
            chrome.execute_cdp_cmd("Browser.setDownloadBehavior", allowed)
        yield chrome
    finally:
        chrome.quit()


def _browser() -> str | None:
    return next(filter(None, map(shutil.which, BROWSERS)), None)
