"""`tools/live/pages.py` and `build.py`: what is added to a site, and that it can be taken away."""

import json
import shutil
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from tools import ROOT
from tools.book.execute import CHAPTERS
from tools.homework.chapter import Cell, Chapter, Exercise
from tools.live import build as live
from tools.live.files import LiveError, read_lock
from tools.live.pages import Runtime, prepare

RUNTIME = Runtime("../live/abc/", 56)
PAGE = """
<html><head></head><body><article><h1>Title</h1><p class="d-print-none">Downloads</p>
<div class="cell"><div class="cell_input"><pre>x = 1
</pre></div></div>
<div class="cell tag_remove-input"><div class="cell_output">a figure of the page alone</div></div>
<div class="cell"><div class="cell_input"><pre>print(y)
</pre></div></div>
<div class="exercise" id="ex-one"></div>
<details class="solution"><div class="cell"><div class="cell_input"><pre>answer = z
</pre></div></div></details>
</article></body></html>
"""
EXERCISE = Exercise("ex-one", "1.1", "One", "*Computation.*", (Cell("code", "answer = z"),))
CELLS = (Cell("text", "# Title"), Cell("code", "x = 1"), Cell("code", "print(y)"))
CHAPTER = Chapter("01-one", 1, "Title", (*CELLS, EXERCISE))


def parsed(text: str) -> BeautifulSoup:
    return BeautifulSoup(text, "html.parser")


@pytest.fixture
def page() -> BeautifulSoup:
    html = parsed(PAGE)
    prepare(html, CHAPTER, RUNTIME, "../downloads/01-one.ipynb")
    return html


def test_the_button_comes_below_the_downloads_and_needs_its_script(page):
    bar = page.select_one("section.live")
    assert bar.find_previous_sibling(True).name == "p"
    assert bar.has_attr("hidden")
    assert (bar["data-megabytes"], bar["data-chapter"]) == ("56", "01-one")
    assert page.select_one("script[src]")["src"] == "../live/abc/run.js"


def test_code_that_the_chapter_has_not_is_an_error():
    other = parsed(PAGE.replace("print(y)", "print(z)"))
    with pytest.raises(LiveError, match=r"01-one: the page has a cell .* 'print\(z\)'"):
        prepare(other, CHAPTER, RUNTIME, "")


def test_what_was_added_is_taken_away_again(page):
    assert live._without(page) == parsed(PAGE)


def same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


@pytest.mark.site
class TestTheSite:
    def test_only_chapters_and_the_front_page_change(self, running, site):
        changed = {
            path.relative_to(site).as_posix()
            for path in site.rglob("*")
            if path.is_file() and not same(path, running / path.relative_to(site))
        }
        chapters = {f"book/{path.stem}.html" for path in ROOT.glob(CHAPTERS)}
        assert changed == {*chapters, "book/index.html"}
        added = {path.relative_to(running).parts[0] for path in running.rglob("*")}
        assert added - {path.name for path in site.iterdir()} == {"live", "sw.js"}

    def test_a_page_without_exercises_runs_and_offers_no_homework(self, running):
        bars = {
            path.stem: parsed(path.read_text(encoding="utf-8")).select_one("section.live")
            for path in sorted((running / "book").glob("[0-9][0-9]-*.html"))
        }
        assert all(bars.values())
        without = [name for name, bar in bars.items() if not bar["data-notebook"]]
        assert without == ["00-twenty-minutes"]

    def test_the_guide_says_how_much_is_fetched(self, running):
        page = parsed((running / "book" / "01-pulp.html").read_text(encoding="utf-8"))
        guide = (ROOT / "README.md").read_text(encoding="utf-8")
        assert f"then {page.select_one('section.live')['data-megabytes']} MB, once" in guide

    def test_a_page_is_hardly_heavier(self, running, site):
        for notebook in site.glob("downloads/*.ipynb"):
            page = site / "book" / f"{notebook.stem}.html"
            grown = (running / "book" / page.name).stat().st_size - page.stat().st_size
            assert 0 < grown < 5_000, page.name
        (own,) = (path.parent for path in running.glob("live/*/run.js"))
        assert sum((own / name).stat().st_size for name in ("run.js", "run.css")) < 40_000

    def test_what_changes_has_another_address(self, running, tmp_path, monkeypatch):
        """The same content, the same address; another script, another address."""
        (first,) = (path.parent for path in running.glob("live/*/run.js"))
        pages = shutil.copytree(live.PAGE, tmp_path / "page")
        monkeypatch.setattr(live, "PAGE", pages)
        monkeypatch.setattr(live, "_copy", _touch)
        release = f"pyodide-{read_lock()['info']['version']}"
        again = live._write_own(tmp_path, read_lock(), release)
        (pages / "run.js").write_text("// other")
        other = live._write_own(tmp_path, read_lock(), release)
        assert first.name == again.name != other.name
        assert other.name in (tmp_path / "sw.js").read_text()
        wheel = json.loads((other / "lock.json").read_text())["packages"]["mmlib"]["file_name"]
        assert wheel.startswith(f"../{other.name}/mmlib-")


def _touch(files: list[Path], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        (folder / file.name).touch()
