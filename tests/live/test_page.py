"""Pages that run, in a browser that reaches nothing but this machine.

Chapters are run in one Python, which forgets their names in between.
"""

import json
import os
import shutil

import nbformat
import pytest
from nbformat import NotebookNode
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By

from tests.helpers.book import chapters
from tests.helpers.browser import (
    LOOKS,
    WITHOUT_REPETITION,
    axe,
    press,
    put_on,
    read,
    settle,
    wait,
)
from tests.helpers.drawings import NEAR, differences, read_drawing
from tests.helpers.server import Server
from tools import ROOT
from tools.book.execute import CHAPTERS
from tools.book.tolerance import same_text
from tools.homework.notebooks import Edition, write_answer

pytestmark = [pytest.mark.browser, pytest.mark.site]

LIGHT, DARK, PHONE = LOOKS
SOLVED = ("05-random-effects", "08-computing", "11-further-designs")
RUN = [path.stem for path in sorted(ROOT.glob(CHAPTERS))]
MINUTE = 60

# Another chapter in the Python that is there: a second one would take as long to start again.
SHOW = """
const [address] = arguments;
return (async () => {
  const html = new DOMParser().parseFromString(await (await fetch(address)).text(), "text/html");
  document.querySelector("#live-keys")?.remove();
  document.querySelector("article").replaceWith(html.querySelector("article"));
  const { python } = Live.page;
  if (python) await python.run("", { aside: false, fresh: true, onoutput: () => {} });
  Live.page = new Live.Page(document.querySelector("section.live"));
  Live.page.python = python;
  await Live.page.begin();
  return "shown";
})();
"""
FIELD = """
const answers = Live.page.exercises.flatMap(exercise => exercise.answers);
return answers.find(({ part }) => part.metadata.nbgrader.grade_id === arguments[0]).field;
"""
CODED = "return Live.page.exercises.find(e => e.answers.some(a => a.isCode)).label"
# Every cell of the chapter in order, those that the page does not show among them.
RUN_CELLS = """
const [steps] = arguments;
return (async () => {
  const { python, cells } = Live.page;
  const results = [];
  for (const [i, { source, aside, place }] of steps.entries()) {
    const cell = cells[place];
    const fresh = i === 0;
    let outputs = [];
    if (cell) {
      await cell.execute(python, { fresh });
      outputs = cell.outputs;
    } else await python.run(source, { aside, fresh, onoutput: output => outputs.push(output) });
    results.push({ source: cell ? cell.source : source, outputs });
  }
  return results;
})();
"""


def ask(browser: Chrome, script: str, *arguments: object, seconds: float = 10 * MINUTE) -> object:
    """Run a script that promises something, for longer than a driver waits; return what comes."""
    begin = f"""
    window.answer = undefined;
    (function () {{ {script} }}).apply(undefined, arguments)
      .catch(String).then(value => {{ window.answer = {{ value }}; }});
    """
    browser.execute_script(begin, *arguments)
    answered = "return window.answer !== undefined"
    wait(lambda: browser.execute_script(answered), seconds)
    return browser.execute_script("return window.answer.value")


def open_page(browser: Chrome, server: Server, chapter: str) -> None:
    put_on(browser, LIGHT)
    browser.get(f"{server.address}/any/path/book/{chapter}.html")
    settle(browser)


def status(browser: Chrome) -> str:
    return browser.find_element(By.CSS_SELECTOR, ".live-status").get_attribute("textContent")


def is_idle(browser: Chrome) -> bool:
    return browser.execute_script("return Live.page.isBusy === false")


def start(browser: Chrome) -> None:
    """Press the button, and wait for Python."""
    browser.find_element(By.CSS_SELECTOR, "section.live button").click()
    wait(lambda: is_idle(browser), seconds=5 * MINUTE)


@pytest.fixture(scope="module")
def python(browser, server) -> Chrome:
    """Return a browser with a page that runs; its Python is kept by those who use it."""
    browser.get_log("performance")
    open_page(browser, server, SOLVED[0])
    start(browser)
    assert status(browser) == "Python is ready: run a cell, or all of them."
    return browser


def show(browser: Chrome, chapter: str) -> None:
    """Show another chapter in the Python that is there."""
    assert ask(browser, SHOW, f"{chapter}.html") == "shown"


def hidden(cell: NotebookNode) -> bool:
    return bool({"remove-cell", "remove-input"} & set(cell.metadata.get("tags", [])))


def code_cells(chapter: str) -> list[NotebookNode]:
    notebook = nbformat.read(ROOT / "book" / f"{chapter}.ipynb", as_version=4)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def steps(chapter: str) -> list[tuple[NotebookNode, dict]]:
    """Say for each cell that runs in the page which of those shown it is, or its code."""
    shown, found = -1, []
    for cell in code_cells(chapter):
        tags = set(cell.metadata.get("tags", []))
        shown += not hidden(cell)
        place = None if hidden(cell) else shown
        if "at-home" not in tags:
            found.append(
                (cell, {"source": cell.source, "aside": "remove-cell" in tags, "place": place})
            )
    return found


def complaints(committed: list, outputs: list[dict], near: float) -> list[str]:
    """Compare what a cell gave in the page with what is committed."""
    joined: list[dict] = []
    for output in outputs:
        if joined and output["output_type"] == joined[-1]["output_type"] == "stream":
            joined[-1]["text"] += output["text"]
        else:
            joined.append(dict(output))
    if [o.output_type for o in committed] != [o["output_type"] for o in joined]:
        return [f"other outputs: {joined}"]
    found = []
    for expected, output in zip(committed, joined, strict=True):
        if "text" in output and not same_text(output["text"], expected.text):
            found.append(f"{output['text']!r} is not {expected.text!r}")
        for kind, content in output.get("data", {}).items():
            if kind == "image/svg+xml":
                drawings = read_drawing(content), read_drawing(expected.data[kind])
                found += differences(*drawings, near=near)
            elif not same_text(content, expected.data[kind]):
                found.append(f"{content!r} is not {expected.data[kind]!r}")
    return found


@pytest.mark.parametrize("chapter", RUN)
def test_a_chapter_gives_in_the_page_what_is_committed(python, chapter):
    """Run every cell, the book's checks of itself included, and compare every output."""
    show(python, chapter)
    planned = steps(chapter)
    results = ask(python, RUN_CELLS, [step for _, step in planned])
    assert isinstance(results, list), results
    found = {}
    for (cell, _), result in zip(planned, results, strict=True):
        assert result["source"].rstrip() == cell.source.rstrip()
        if "__version__" in cell.source:
            continue  # it says which versions the page has
        # Labels of contour lines cut them, where depends on the width of their digits.
        near = 0.06 if "likelihood_surface" in cell.source else NEAR
        if wrong := complaints(cell.outputs, result["outputs"], near):
            found[cell.source[:60]] = wrong
    assert found == {}
    assert sum(bool(result["outputs"]) for result in results) > 10


@pytest.mark.parametrize("chapter", SOLVED)
def test_exercises_are_checked_in_the_page(python, chapter):
    """Try each exercise unsolved, with every wrong answer that the homework lists, and solved."""
    show(python, chapter)
    exercises = chapters()[chapter].exercises
    for exercise in (exercise for exercise in exercises if exercise.code):
        assert is_closed(python, exercise.label)
        for said in try_out(python, exercise.label, None):
            assert said.startswith("✗ Exercise "), exercise.label
            assert "Not defined" in said, exercise.label
        assert is_closed(python, exercise.label), "looking is not trying"
        for wrong in exercise.wrong:
            marked = try_out(python, exercise.label, wrong.code)
            assert any(said.startswith("✗ ") and wrong.hint in said for said in marked), wrong.hint
            assert not is_closed(python, exercise.label)
        right = try_out(python, exercise.label, write_answer(exercise, Edition.SOLUTION))
        assert [said[:11] for said in right] == ["✓ Exercise "] * len(exercise.parts)
    assert sum(bool(exercise.code) for exercise in exercises) >= 3


def answers(browser: Chrome, label: str) -> object:
    return browser.find_element(By.CSS_SELECTOR, f"#{label} + .live-answers")


def is_closed(browser: Chrome, label: str) -> bool:
    closed = "return Live.page.exercises.find(e => e.label === arguments[0]).solution.hidden"
    return browser.execute_script(closed, label)


def write(browser: Chrome, field: object, text: str) -> None:
    """Put a text into a field as typing would."""
    browser.execute_script(
        "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))",
        field,
        text,
    )


def try_out(browser: Chrome, label: str, code: str | None) -> list[str]:
    """Write an answer, press Check, and return what each check says."""
    place = answers(browser, label)
    if code is not None:
        write(browser, place.find_element(By.CSS_SELECTOR, ".live-field"), code)
    (button,) = (b for b in place.find_elements(By.TAG_NAME, "button") if "Check" in b.text)
    browser.execute_script("arguments[0].click()", button)
    wait(lambda: is_idle(browser), 5 * MINUTE)
    marks = place.find_elements(By.CSS_SELECTOR, ".live-verdict p")
    return [mark.get_attribute("textContent") for mark in marks]


def tools(browser: Chrome, number: int) -> dict:
    """Return the buttons of a cell by what they say."""
    cell = f"return Live.page.cells[{number - 1}].tools"
    buttons = browser.execute_script(cell).find_elements(By.TAG_NAME, "button")
    return {b.get_attribute("textContent").split(" cell")[0]: b for b in buttons}


def press_button(browser: Chrome, button: object) -> None:
    browser.execute_script("arguments[0].click()", button)
    wait(lambda: is_idle(browser), 5 * MINUTE)


def shown(browser: Chrome, number: int) -> str:
    """Return what stands below a cell, without the caption of a figure."""
    below = f"""
    const cell = Live.page.cells[{number - 1}].element;
    const output = cell.querySelector(":scope > .cell_output")?.cloneNode(true);
    for (const caption of output?.querySelectorAll("figcaption") ?? []) caption.remove();
    return output?.textContent ?? "";
    """
    return browser.execute_script(below)


def with_shift(browser: Chrome, key: str) -> None:
    ActionChains(browser).key_down(Keys.SHIFT).send_keys(key).key_up(Keys.SHIFT).perform()


def test_a_cell_is_changed_run_and_put_back(python):
    """With the keys alone; what it needs from above runs first, and an error breaks nothing."""
    show(python, "05-random-effects")
    before = shown(python, 3)
    press_button(python, tools(python, 3)["Edit"])
    field = python.switch_to.active_element
    assert field.get_attribute("aria-label") == "Code of cell 3"
    field.send_keys(Keys.CONTROL, "a")
    press(python, "for i in range(2):", Keys.ENTER, "print(i + len(pulp))")
    assert field.get_attribute("value") == "for i in range(2):\n    print(i + len(pulp))"
    press(python, Keys.ENTER, Keys.TAB, "x")
    assert field.get_attribute("value").endswith("\n        x")
    with_shift(python, Keys.TAB)
    wait(lambda: field.get_attribute("value").endswith("\n    x"))
    with_shift(python, Keys.ENTER)
    wait(lambda: "has an error" in status(python), 5 * MINUTE)
    assert status(python) == "cell 3 has an error: NameError. What follows it was not run."
    assert "yours20\n" in shown(python, 3)
    assert "NameError: name 'x' is not defined" in shown(python, 3)
    # Escape, then Tab: the reader is out of the field.
    press(python, Keys.ESCAPE, Keys.TAB)
    assert python.switch_to.active_element != field
    press_button(python, tools(python, 3)["Put back"])
    assert shown(python, 3) == before
    press_button(python, tools(python, 3)["Run"])
    assert status(python) == "Done: cell 3."


# The last cell of chapter 1 runs at home only.
@pytest.mark.parametrize("chapter", ["01-pulp", "05-random-effects"])
def test_all_runs_from_the_top_and_figures_keep_their_words(python, chapter):
    show(python, chapter)
    words = "return [...document.querySelectorAll('article .cell_output img')].map(i => i.alt)"
    before = python.execute_script(words)
    (button,) = (
        b
        for b in python.find_elements(By.CSS_SELECTOR, "section.live button")
        if "Run all" in b.text
    )
    press_button(python, button)
    assert status(python) == "Done: cell {}.".format(
        python.execute_script(
            "return Live.page.cells.findLast(c => !c.isAside && !c.isForHome).number"
        )
    )
    assert python.execute_script(words) == before != []
    drawn = "return [...document.querySelectorAll('.live-output img')].map(i => i.naturalWidth)"
    assert min(python.execute_script(drawn)) > 100
    assert python.execute_script("return document.querySelectorAll('.live-failed').length") == 0
    for number, cell in enumerate((c for c in code_cells(chapter) if not hidden(c)), 1):
        if {"at-home", "solution", "check"} & set(cell.metadata.get("tags", [])):
            continue
        printed = [output.text for output in cell.outputs if output.output_type == "stream"]
        if len(printed) == len(cell.outputs) == 1 and "__version__" not in cell.source:
            said = shown(python, number).strip().removeprefix("yours").strip()
            assert same_text(said, printed[0].strip())


def test_a_page_that_runs_is_accessible_in_every_light(python):
    """Outputs, fields, verdicts and all; the rest of the page is as it was."""
    show(python, "05-random-effects")
    press_button(python, tools(python, 3)["Edit"])
    press_button(python, tools(python, 3)["Run"])
    label = python.execute_script(CODED)
    try_out(python, label, "1 / 0")
    python.execute_script(WITHOUT_REPETITION)
    found = []
    for look in LOOKS:
        put_on(python, look)
        found += [f"{look.name}: {each}" for each in axe(python)]
        wide = "return document.documentElement.scrollWidth - arguments[0]"
        assert python.execute_script(wide, look.width) <= 0, look.name
    put_on(python, LIGHT)
    assert found == []


def test_what_runs_is_stopped_and_python_begins_anew(python):
    show(python, "05-random-effects")
    label = python.execute_script(CODED)
    place = answers(python, label)
    write(python, place.find_element(By.CSS_SELECTOR, ".live-field"), "while True:\n    pass")
    (run,) = (b for b in place.find_elements(By.TAG_NAME, "button") if b.text.startswith("Run"))
    python.execute_script("arguments[0].click()", run)
    stop = "return Live.page.stopper"
    wait(lambda: not python.execute_script(stop).get_property("disabled"))
    press_button(python, python.execute_script(stop))
    assert status(python).startswith("Stopped. Python begins anew")
    write(python, place.find_element(By.CSS_SELECTOR, ".live-field"), "print(6 * 7)")
    press_button(python, run)
    assert "42" in place.find_element(By.CSS_SELECTOR, ".live-output").text


def test_answers_are_kept_and_handed_in(browser, server, running, downloads):
    """The notebook that is downloaded is the site's notebook with the answers in it."""
    chapter = "08-computing"
    original = nbformat.read(running / "downloads" / f"{chapter}.ipynb", as_version=4)
    cells = [c for c in original.cells if c.metadata.get("nbgrader", {}).get("solution")]
    texts = {c.metadata.nbgrader.grade_id: f"an answer\nto {i}\n" for i, c in enumerate(cells)}
    open_page(browser, server, chapter)
    begin(browser)
    for name, text in texts.items():
        write(browser, browser.execute_script(FIELD, name), text)
    open_page(browser, server, chapter)
    assert (
        "Your answers are kept here" in browser.find_element(By.CSS_SELECTOR, "section.live").text
    )
    begin(browser)
    (button,) = (
        b
        for b in browser.find_elements(By.CSS_SELECTOR, "section.live button")
        if "homework" in b.text
    )
    button.click()
    arrived = downloads / f"{chapter}.ipynb"
    wait(lambda: arrived.is_file() and arrived.stat().st_size)
    notebook = nbformat.read(arrived, as_version=4)
    nbformat.validate(notebook)
    for cell in original.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        cell.source = texts.get(name, cell.source)
    assert notebook == original
    assert len(texts) >= 3
    browser.execute_script("localStorage.clear()")


def begin(browser: Chrome) -> None:
    """Press the button and wait for the fields, not for Python."""
    browser.find_element(By.CSS_SELECTOR, "section.live button").click()
    wait(lambda: browser.find_elements(By.CSS_SELECTOR, ".live-answers"), MINUTE)


def title(browser: Chrome) -> str:
    return browser.find_element(By.TAG_NAME, "h1").get_attribute("textContent")


class TestWhatIsFetched:
    """Nothing before it is asked for; then from here alone, and once."""

    def test_nothing_before_the_reader_asks(self, browser, running):
        server = Server(running.parent.parent)  # an address at which nobody has asked yet
        open_page(browser, server, SOLVED[0])
        server.stop()
        asked = [path for path in server.requests if "/live/" in path]
        assert sorted(path.rpartition("/")[2] for path in asked) == ["run.css", "run.js"]
        assert not any(path.endswith((".ipynb", "sw.js")) for path in server.requests)

    def test_a_page_that_waits_is_accessible(self, browser, server):
        address = f"{server.address}/any/path/book/{SOLVED[0]}.html"
        assert read(browser, address).complaints == []

    def test_a_second_time_python_comes_from_the_browser(self, python, server, running):
        """Nor is a page stale, nor is one missing when the network is."""
        server.requests.clear()
        open_page(python, server, "08-computing")
        start(python)
        assert status(python).startswith("Python is ready")
        # The page itself was read before anything could be kept for it.
        asked = [path for path in server.requests if "/live/" in path]
        assert [path for path in asked if not path.endswith(("/run.js", "/run.css"))] == []
        page = running / "book" / "08-computing.html"
        text = page.read_text(encoding="utf-8")
        page.write_text(text.replace("</h1>", " Anew</h1>"), encoding="utf-8")
        # The server tells pages apart by the second in which they were written.
        later = page.stat().st_mtime + 2
        os.utime(page, (later, later))
        try:
            open_page(python, server, "08-computing")
            assert "Anew" in title(python)
        finally:
            page.write_text(text, encoding="utf-8")
        server.stop()
        open_page(python, server, "08-computing")
        assert "Anew" in title(python)
        begin(python)

    def test_a_corrupted_byte_is_refused(self, browser, running, tmp_path):
        site = tmp_path / "any" / "path"
        shutil.copytree(running, site)
        (wheel,) = site.glob("live/*/numpy-*.whl")
        content = bytearray(wheel.read_bytes())
        content[len(content) // 2] ^= 1
        wheel.write_bytes(content)
        server = Server(tmp_path)
        open_page(browser, server, SOLVED[0])
        start(browser)
        assert status(browser).startswith("Python did not start: ")
        assert "numpy" in status(browser)
        server.stop()

    def test_a_page_from_disk_says_what_to_do(self, browser, running):
        put_on(browser, LIGHT)
        browser.get((running / "book" / f"{SOLVED[0]}.html").as_uri())
        browser.find_element(By.CSS_SELECTOR, "section.live button").click()
        assert "make serve" in status(browser)
        assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []

    @pytest.mark.usefixtures("running")
    def test_all_that_was_fetched_came_from_this_machine(self, browser):
        urls = [
            message["params"]["request"]["url"]
            for entry in browser.get_log("performance")
            if (message := json.loads(entry["message"])["message"])["method"]
            == "Network.requestWillBeSent"
        ]
        local = ("http://127.0.0.1:", "file:", "blob:http://127.0.0.1:", "data:")
        assert [url for url in urls if not url.startswith(local)] == []
        assert urls
