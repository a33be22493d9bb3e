"""What readers do with the site, by mouse and by keyboard, in a real browser."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import pytest
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By

import mmlib as mm
from tests.helpers.browser import (
    LOOKS,
    WITHOUT_REPETITION,
    axe,
    press,
    put_on,
    settle,
    severe,
    wait,
)

pytestmark = pytest.mark.browser

LIGHT, DARK, PHONE = LOOKS


def focused(browser: Chrome, script: str) -> object:
    return browser.execute_script(f"const e = document.activeElement; return {script}")


@pytest.fixture
def chapter(site, browser) -> Iterator[Chrome]:
    """Open a chapter from disk, in daylight; forget in the end what the page has remembered."""
    put_on(browser, LIGHT)
    browser.get((site / "book" / "01-pulp.html").as_uri())
    settle(browser)
    yield browser
    browser.execute_script("localStorage.clear(); sessionStorage.clear()")


def test_the_first_tab_leads_past_the_sidebar(chapter):
    press(chapter, Keys.TAB)
    assert focused(chapter, "e.textContent.trim()") == "Skip to main content"
    assert focused(chapter, "getComputedStyle(e).outlineStyle") != "none"
    press(chapter, Keys.ENTER)
    wait(lambda: chapter.current_url.endswith("#main-content"))


def test_whatever_has_the_focus_shows_it(chapter):
    seen = set()
    for _ in range(45):
        press(chapter, Keys.TAB)
        seen.add(focused(chapter, "e.className || e.tagName"))
        assert focused(chapter, "getComputedStyle(e).outlineStyle") == "solid"
        assert focused(chapter, "parseFloat(getComputedStyle(e).outlineWidth)") >= 2
    assert len(seen) > 5


def shown(browser: Chrome) -> list[str]:
    """Tell which tab each set of tabs shows."""
    return browser.execute_script(
        "return [...document.querySelectorAll('.sd-tab-set > input:checked')]"
        ".map(input => input.labels[0].textContent.trim())"
    )


def test_tabs_by_mouse_change_together_and_are_remembered(chapter):
    assert len(set(shown(chapter))) == 1
    (other,) = {"R", "Python"} - set(shown(chapter))
    labels = chapter.find_elements(By.CSS_SELECTOR, ".sd-tab-label")
    label = next(label for label in labels if label.text.strip() == other)
    chapter.execute_script("arguments[0].scrollIntoView({block: 'center'})", label)
    label.click()
    wait(lambda: set(shown(chapter)) == {other})
    chapter.refresh()
    wait(lambda: set(shown(chapter)) == {other})


def test_tabs_by_keyboard(chapter):
    first = shown(chapter)[0]
    chapter.execute_script("document.querySelector('.sd-tab-set > input:checked').focus()")
    press(chapter, Keys.ARROW_RIGHT)
    wait(lambda: shown(chapter)[0] != first)
    content = "document.querySelector('.sd-tab-set > input:checked + label + .sd-tab-content')"
    assert chapter.execute_script(f"return {content}.checkVisibility()")


@pytest.mark.parametrize("box", ["details.admonition", "details.hide"])
def test_dropdowns_by_mouse_and_by_keyboard(chapter, box):
    details = chapter.find_element(By.CSS_SELECTOR, box)
    summary = details.find_element(By.CSS_SELECTOR, "summary")
    chapter.execute_script("arguments[0].scrollIntoView({block: 'center'})", summary)
    summary.click()
    assert details.get_property("open")
    chapter.execute_script("arguments[0].focus()", summary)
    press(chapter, Keys.SPACE)
    wait(lambda: not details.get_property("open"))
    press(chapter, Keys.ENTER)
    wait(lambda: details.get_property("open"))


def test_a_link_to_a_solution_opens_it(chapter):
    solution = "document.querySelector('details.admonition')"
    inside = chapter.execute_script(
        f"const e = {solution}.querySelector(':scope > :not(summary)');"
        "e.id ||= 'inside'; location.hash = e.id; return e.id"
    )
    assert inside
    wait(lambda: chapter.execute_script(f"return {solution}.open"))


def test_the_colours_are_chosen_by_a_button_and_remembered(chapter):
    button = chapter.find_element(By.CSS_SELECTOR, ".theme-switch-button")
    seen = []
    for _ in range(3):
        button.click()
        seen.append(chapter.execute_script("return document.documentElement.dataset.mode"))
    assert sorted(seen) == ["auto", "dark", "light"]
    while chapter.execute_script("return document.documentElement.dataset.mode") != "dark":
        button.click()
    chapter.refresh()
    assert chapter.execute_script("return document.documentElement.dataset.theme") == "dark"


def test_figures_take_the_colours_of_the_dark_theme(chapter):
    style = "const i = document.querySelector('figure img'); return getComputedStyle(i)"
    assert chapter.execute_script(f"{style}.filter") == "none"
    put_on(chapter, DARK)
    assert "invert(1)" in chapter.execute_script(f"{style}.filter")
    assert chapter.execute_script(f"{style}.mixBlendMode") == "screen"


def test_code_is_copied_by_its_button(chapter):
    button = chapter.find_element(By.CSS_SELECTOR, "div.highlight button.copybtn")
    chapter.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    chapter.execute_script("arguments[0].click()", button)
    wait(lambda: "success" in button.get_attribute("class"))


def test_sidebars_open_on_a_phone_and_close_by_keyboard(chapter):
    put_on(chapter, PHONE)
    chapter.execute_script(WITHOUT_REPETITION)
    for side, toggle in (("primary", ".primary-toggle"), ("secondary", ".secondary-toggle")):
        dialog = f"document.getElementById('pst-{side}-sidebar-modal')"
        chapter.find_element(By.CSS_SELECTOR, toggle).click()
        wait(lambda dialog=dialog: chapter.execute_script(f"return {dialog}.open"))
        assert axe(chapter) == []
        press(chapter, Keys.ESCAPE)
        wait(lambda dialog=dialog: not chapter.execute_script(f"return {dialog}.open"))


def results(browser: Chrome) -> list[str]:
    """Return what was found, once the search has said how much, which moves the list."""
    return browser.execute_script(
        "return document.querySelector('#search-results .search-summary')?.textContent"
        " ? [...document.querySelectorAll('#search-results li > a')].map(a => a.href) : []"
    )


def search(browser: Chrome, address: str) -> None:
    """Search as a reader does: the key, the words, the first result."""
    put_on(browser, LIGHT)
    browser.get(address)
    settle(browser)
    ActionChains(browser).key_down(Keys.CONTROL).send_keys("k").key_up(Keys.CONTROL).perform()
    wait(lambda: browser.execute_script("return document.querySelector('dialog[open]') !== null"))
    assert axe(browser) == []
    press(browser, "brightness", Keys.ENTER)
    found = wait(lambda: results(browser))
    assert any("/01-pulp.html" in link for link in found)
    browser.find_element(By.CSS_SELECTOR, "#search-results li > a").click()
    marked = wait(lambda: browser.find_elements(By.CSS_SELECTOR, "article span.highlighted"))
    assert "brightness" in marked[0].get_attribute("textContent").lower()


def test_search_from_disk(site, browser):
    browser.get_log("browser")
    search(browser, (site / "book" / "index.html").as_uri())
    assert severe(browser) == []


def test_search_from_a_server_shows_excerpts(site, browser, serve):
    browser.get_log("browser")
    root = f"{serve(site.parent.parent)}/{site.parent.name}/{site.name}"
    search(browser, f"{root}/book/index.html")
    browser.get(f"{root}/search.html?q=brightness")
    wait(lambda: browser.find_elements(By.CSS_SELECTOR, "#search-results p.context"))
    assert axe(browser) == []
    assert severe(browser) == []


def test_the_root_leads_to_the_front_page(site, browser):
    browser.get((site / "index.html").as_uri())
    wait(lambda: urlsplit(browser.current_url).path.endswith("/book/index.html"))


def test_downloads_arrive_and_notebooks_are_valid(site, browser, serve, downloads: Path):
    """Try one chapter; that the files of all are there and right, `test_downloads.py` checks."""
    put_on(browser, LIGHT)
    browser.get(f"{serve(site)}/book/01-pulp.html")
    settle(browser)
    links = browser.find_elements(By.CSS_SELECTOR, "a[download]")
    names = [link.get_attribute("download") for link in links]
    assert names == [
        "01-pulp.zip",
        "01-pulp.ipynb",
        "pulp.csv",
        "inst_eval.csv.gz",
        "dyestuff.csv",
        "quiz-01-pulp.gift",
    ]
    for link, name in zip(links, names, strict=True):
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", link)
        link.click()
        wait(lambda name=name: (downloads / name).is_file() and (downloads / name).stat().st_size)
        offered = site / "downloads" / name
        assert (downloads / name).read_bytes() == offered.read_bytes()
    nbformat.validate(json.loads((downloads / names[1]).read_text(encoding="utf-8")))


def test_homework_arrives_from_disk_too(chapter, downloads: Path):
    link = chapter.find_element(By.CSS_SELECTOR, "a[download$='.zip']")
    for old in downloads.glob("01-pulp*.zip"):
        old.unlink()
    chapter.execute_script("arguments[0].scrollIntoView({block: 'center'})", link)
    link.click()
    wait(lambda: list(downloads.glob("01-pulp*.zip")))


def test_the_python_tab_is_the_open_one(chapter):
    assert set(shown(chapter)) == {"Python"}


def test_on_paper_both_tabs_are_shown_and_nothing_is_closed(chapter):
    visible = (
        "return [...document.querySelectorAll('.sd-tab-content')].map(e => e.checkVisibility())"
    )
    assert not all(chapter.execute_script(visible))
    chapter.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert all(chapter.execute_script(visible))
    chapter.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    closed = "return document.querySelectorAll('article details:not([open])').length"
    before = chapter.execute_script(closed)
    chapter.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert before > chapter.execute_script(closed) == 0
    chapter.execute_script("dispatchEvent(new Event('afterprint'))")
    assert chapter.execute_script(closed) == before


def test_a_quiz_says_whether_an_answer_is_right_and_counts(chapter):
    labels = chapter.find_elements(By.CSS_SELECTOR, "#quiz fieldset:first-of-type label")
    right = next(one for one in labels if one.get_attribute("data-right") == "yes")
    chapter.execute_script("arguments[0].scrollIntoView({block: 'center'})", right)
    right.click()
    comment = chapter.find_element(By.CSS_SELECTOR, "#quiz fieldset:first-of-type .comment").text
    assert comment.startswith("Right.")
    assert "1 right at the first try, of 1" in chapter.find_element(By.CLASS_NAME, "score").text


def test_slides_turn_by_the_keys_and_show_their_formulas(site, browser):
    put_on(browser, LIGHT)
    browser.get((site / "slides" / "03-estimation.html").as_uri())
    browser.execute_async_script("MathJax.startup.promise.then(arguments[0])")
    assert browser.execute_script("return document.querySelector('mjx-merror')") is None
    assert browser.execute_script("return [...document.images].every(i => i.naturalWidth > 0)")
    assert browser.find_elements(By.CSS_SELECTOR, ".slide:last-of-type li"), "its summary"
    press(browser, Keys.ARROW_RIGHT)
    wait(lambda: browser.execute_script("return scrollY > innerHeight / 2"))
    assert axe(browser) == []


def test_every_page_lets_report_an_error_with_page_and_version(site):
    for page in sorted((site / "book").rglob("*.html")):
        html = page.read_text(encoding="utf-8")
        name = page.relative_to(site).as_posix()
        assert f"Page%3A%20{name}%0AVersion%3A%20{mm.__version__}" in html
