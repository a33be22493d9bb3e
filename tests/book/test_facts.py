"""What pages without cells say in figures is what the code and the data say."""

import ast
import re

import pytest

from tests.helpers.book import chapters
from tools import ROOT
from tools.book.execute import CHAPTERS
from tools.book.facts import (
    PAGES,
    complaints,
    contents,
    facts,
    founded_on_nothing,
    read_toc,
    unfounded,
)
from tools.book.prose import numbers
from tools.book.sentences import allowed_on
from tools.site.directives import rows

EXAMPLES = re.compile(r"(?m)^>>>(?:.+\n?)*|^    .*$|``?[^`]*``?")
LINKING = ("README.md", "CONTRIBUTING.md", "tests/oracle/README.md")


@pytest.fixture(scope="module")
def phrases():
    return facts()


def text(page):
    return (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_figures_are_those_of_the_code(page, phrases):
    assert complaints(page, text(page), phrases.get(page, [])) == []


@pytest.mark.parametrize(
    ("page", "said", "falsified"),
    [
        ("README.md", "one part in a million", "one part in ten"),
        ("CONTRIBUTING.md", "| 1e-8 |", "| 1e-2 |"),
        ("book/index.md", "Twenty sheets of paper from four", "Thirty sheets of paper from five"),
        ("book/how-checked.md", "in a million", "in a thousand"),
        ("book/colophon.md", "lme4 1.1-31", "lme4 1.1-13"),
    ],
)
def test_a_false_figure_is_found(page, said, falsified, phrases):
    assert said in text(page)
    assert complaints(page, text(page).replace(said, falsified), phrases[page]) != []


def test_a_figure_that_follows_from_nothing_is_found():
    (found,) = complaints("page.md", "It takes 37 seconds.", [])
    assert found == "page.md: 37 in “It takes 37 seconds.” follows from nothing"


def undocumented(module, code):
    """Tell which figures in the docstrings of a module are no constants of its code.

    Figures in examples, and between backticks, illustrate and state nothing.
    """
    tree = ast.parse(code)
    docstrings = [
        ast.get_docstring(node) or ""
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
    ]
    constants = {
        str(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float)
    }
    stated = [
        number
        for docstring in docstrings
        for number in numbers(EXAMPLES.sub("…", docstring))
        if number.form != "word" and number.text not in constants
    ]
    wrong, _ = unfounded(stated, [], allowed_on("tools"))
    return [f"{module}: {founded_on_nothing(number)}" for number in wrong]


@pytest.mark.parametrize("path", sorted((ROOT / "tools").rglob("*.py")), ids=lambda path: path.stem)
def test_figures_in_docstrings_are_constants_of_the_module(path):
    assert undocumented(path.name, path.read_text(encoding="utf-8")) == []


def test_a_figure_in_a_docstring_that_is_no_constant_is_found():
    code = '"""Stops after 200 draws, as in `f(7)`.\n\n>>> f(8)\n9\n"""\nDRAWS = {}\n'
    assert undocumented("a.py", code.format(200)) == []
    (complaint,) = undocumented("a.py", code.format(300))
    assert complaint.startswith("a.py: 200 in “Stops after 200 draws, as in")


def test_the_front_page_lists_the_chapters_of_the_contents():
    listed = re.findall(r"(?m)^Chapter (\d+): \{doc\}`([\w-]+)`", text("book/index.md"))
    chapters = enumerate(contents(read_toc()), start=1)
    assert listed == [(str(number), name) for number, name in chapters]


def test_the_exercises_that_the_page_for_teachers_names_exist():
    numbers = {exercise.number for chapter in chapters().values() for exercise in chapter.exercises}
    named = re.findall(r"\b\d+\.\d+\b", text("book/teaching.md"))
    assert len(named) > 10
    assert [number for number in named if number not in numbers] == []


# Which exercise stands in the page for teachers beside which words, and what is in its title.
SAID = {
    "1.4": ("fixed or random", "Fixed or random"),
    "1.5": ("simulated", "ignoring the operator"),
    "9.6": ("discuss", "claims"),
    "12.5": ("paragraph", "paragraph to mend"),
}


@pytest.mark.parametrize("number", SAID)
def test_the_exercises_that_the_page_for_teachers_describes_are_those(number):
    words, title = SAID[number]
    titles = {e.number: e.title for chapter in chapters().values() for e in chapter.exercises}
    lines = [line for line in text("book/teaching.md").split("\n") if number in line]
    assert any(words in line for line in lines)
    assert title in titles[number]


def test_every_chapter_has_its_place_in_a_course():
    page = text("book/teaching.md")
    names = [path.stem for path in sorted(ROOT.glob(CHAPTERS))]
    assert [name for name in names if f"{{doc}}`{name}`" not in page] == []


def test_hours_are_told_for_each_chapter_and_add_up():
    *lines, total = rows(list(chapters().values()))
    for column in (4, 5):
        assert sum(int(line[column]) for line in lines) == int(total[column]) > 20
        assert min(int(line[column]) for line in lines) >= 1


@pytest.mark.parametrize("page", LINKING)
def test_links_to_files_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text(page))
    folder = (ROOT / page).parent
    assert [link for link in links if not (folder / link).exists()] == []


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_files_that_are_named_exist(page):
    named = re.findall(r"`((?:\.?[\w-]+/)+[\w.-]*)`", text(page))
    made = (
        "_build",
        "homework/own",
        "mmlib/data/NAME",
        "book/NN",
        "homework/NN",
        "tests/oracle/tabs/NN",
        ".venv",
        "dist",
    )
    rooms = ("", "mmlib", "tools")
    missing = [
        name
        for name in named
        if not name.startswith(made) and not any((ROOT / room / name).exists() for room in rooms)
    ]
    assert missing == []
