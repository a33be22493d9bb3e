"""Every chapter of the book: its text, its executed notebook and its place in the contents."""

import re
from pathlib import Path

import nbformat
import pytest
import yaml

from tools import ROOT
from tools.book.checks import all_complaints
from tools.book.execute import CHAPTERS, read_chapter
from tools.book.facts import contents

SOURCES = sorted(ROOT.glob(CHAPTERS))
COLUMN = 85  # characters of code that a page shows without scrolling
FOLDED = {"remove-cell", "remove-input", "hide-input", "solution", "check"}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_chapter(source: Path):
    executed = source.with_suffix(".ipynb")
    assert executed.is_file(), f"{executed.name} is missing: run `make execute`"
    notebook = nbformat.read(executed, as_version=4)
    assert all_complaints(read_chapter(source), notebook, source.stem) == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_code_fits_the_column(source: Path):
    shown = [
        cell.source
        for cell in read_chapter(source).cells
        if cell.cell_type == "code" and not FOLDED & set(cell.metadata.get("tags", []))
    ]
    lines = [line for code in shown for line in code.splitlines()]
    assert [line for line in lines if len(line) > COLUMN] == []


def test_every_notebook_has_a_source():
    notebooks = sorted((ROOT / "book").rglob("*.ipynb"))
    assert [path for path in notebooks if path.with_suffix(".md") not in SOURCES] == []


@pytest.fixture(scope="module")
def toc():
    return yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))


def test_the_contents_list_every_page_once(toc):
    listed = [toc["root"], *_files(toc.get("parts", toc.get("chapters", [])))]
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "book").rglob("*.md")}
    chapters = {path.relative_to(ROOT).as_posix() for path in SOURCES}
    expected = {name.removesuffix(".md") for name in pages - chapters}
    expected |= {name.removesuffix(".md") + ".ipynb" for name in chapters}
    assert sorted(listed) == sorted(expected)


def test_chapters_are_called_by_their_numbers(toc):
    chapters = contents(toc)
    assert [int(name[:2]) for name in chapters] == list(range(1, len(chapters) + 1))
    calls = [
        (path.name, int(number), name)
        for path in (ROOT / "book").rglob("*.md")
        for number, name in re.findall(
            r"[Cc]hapter\s+(\d+)(?:: \{doc\}`|\s+<)([\w-]+)", path.read_text(encoding="utf-8")
        )
    ]
    assert len(calls) > 2 * len(chapters)
    assert [call for call in calls if chapters[call[1] - 1] != call[2]] == []


def _files(entries: list[dict]) -> list[str]:
    """List the pages below some entries of the table of contents, in order."""
    return [
        name
        for entry in entries
        for name in (
            *([entry["file"]] if "file" in entry else []),
            *_files(entry.get("chapters", []) + entry.get("sections", [])),
        )
    ]
