"""The book without worked solutions: what may be asked for, and that nothing is left."""

from datetime import date

import nbformat
import pytest

from tests.helpers import book
from tools import ROOT
from tools.site.pages import SiteError
from tools.site.solutions import copy_without, read_choice

CHAPTERS = [path.stem for path in sorted((ROOT / "book").glob("[0-9][0-9]-*.md"))]


@pytest.fixture(scope="module")
def chapters():
    return book.chapters()


def text(folder, name):
    notebook = nbformat.read(folder / "book" / f"{name}.ipynb", as_version=4)
    return "\n".join(cell.source for cell in notebook.cells)


def secrets(exercise):
    """Return what would give a solution away: its code in the chapter, and its sentences."""
    cells = [cell.source for cell in exercise.solution]
    return [secret for secret in cells if len(secret) > 40]


def test_without_solutions_none_is_left(chapters, tmp_path):
    copy = copy_without(ROOT, tmp_path / "copy", read_choice("no"))
    for name, chapter in chapters.items():
        left = text(copy, name)
        assert "solution-start" not in left
        assert left.count("{exercise-start}") == len(chapter.exercises)
        for exercise in chapter.exercises:
            for secret in secrets(exercise):
                assert secret not in left, exercise.label
        assert "## Summary" in left


def test_without_those_of_derivations_the_others_stay(chapters, tmp_path):
    copy = copy_without(ROOT, tmp_path / "copy", read_choice("no-derivations"))
    for name, chapter in chapters.items():
        kept = text(copy, name).count("{solution-start}")
        assert kept == sum(exercise.kind != "Derivation" for exercise in chapter.exercises)


def test_solutions_open_on_their_day(tmp_path):
    days = tmp_path / "opens.csv"
    days.write_text("chapter,opens\n01-pulp,2027-03-01\n")
    before, after = date(2027, 2, 28), date(2027, 3, 1)
    assert not read_choice(str(days), before)("01-pulp", "Computation")
    assert read_choice(str(days), after)("01-pulp", "Computation")
    assert not read_choice(str(days), after)("02-mixed-model", "Computation")


def test_all_solutions_need_no_copy():
    assert read_choice("yes") is read_choice("") is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "choose yes, no, no-derivations, or a CSV file"),
        ("chapter,day\n01-pulp,2027-03-01\n", "no columns chapter and opens"),
        ("chapter,opens\n01-pulpe,2027-03-01\n", "line 2: no chapter '01-pulpe'"),
        ("chapter,opens\n01-pulp,March\n", "line 2: a day is like 2027-01-31"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, content, message):
    path = tmp_path / "opens.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SiteError, match=message):
        read_choice(str(path))
