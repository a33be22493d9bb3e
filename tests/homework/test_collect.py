"""`tools/homework/collect.py`, `mend.py`: what comes in, what is mended, what is said to whom."""

import nbformat
import pytest

from tests.helpers import handed_in
from tools import ROOT
from tools.homework import collect as collecting
from tools.homework.collect import collect, report
from tools.homework.mend import mend
from tools.homework.students import read_own_data
from tools.homework.text import HomeworkError

CHAPTER, LABEL = "01-pulp", "ex-pulp-allocation"
SOURCE = ROOT / "homework" / "course" / "source" / CHAPTER / f"{CHAPTER}.ipynb"


@pytest.fixture
def source():
    return nbformat.read(SOURCE, as_version=4)


@pytest.fixture
def course(tmp_path):
    place = tmp_path / "course" / "source" / CHAPTER
    place.mkdir(parents=True)
    (place / SOURCE.name).write_bytes(SOURCE.read_bytes())
    return tmp_path / "course"


def cells(notebook):
    """Return what nbgrader and the kernel see: names, types, and what code runs in which order."""
    named = {handed_in.name(cell): cell.cell_type for cell in notebook.cells}
    named.pop("", None)
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return named, code


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("copied", "Exercise 1.2: 2 cells are copies of one"),
        ("stripped", "graded cells had lost their metadata; found again"),
        ("retyped", "Exercise 1.2: a cell of code was turned into markdown; turned back"),
    ],
)
def test_what_is_safe_is_mended(source, change, said):
    good, odd = handed_in.solved(source), handed_in.solved(source)
    getattr(handed_in, change)(odd, LABEL)
    found = mend(odd, source)
    assert any(said in str(finding) for finding in found), found
    names, code = cells(odd)
    expected, expected_code = cells(good)
    assert names == expected
    if change == "copied":
        expected_code.insert(
            expected_code.index(handed_in.answer(good, LABEL).source),
            handed_in.answer(good, LABEL).source,
        )
    assert code == expected_code
    assert mend(odd, source) == [], "what is mended needs no mending"
    nbformat.validate(odd)


@pytest.mark.parametrize("change", ["wrong", "extra_cells"])
def test_an_honest_hand_in_is_left_alone(source, change):
    notebook = handed_in.solved(source)
    getattr(handed_in, change)(notebook, LABEL)
    before = nbformat.writes(notebook)
    assert mend(notebook, source) == []
    assert nbformat.writes(notebook) == before


def test_an_answer_in_several_pieces_keeps_its_order_without_metadata(source):
    notebook = handed_in.solved(source)
    handed_in.extra_cells(notebook, LABEL)
    code = cells(notebook)[1]
    handed_in.stripped(notebook, LABEL)
    mend(notebook, source)
    assert cells(notebook)[1] == code
    assert handed_in.answer(notebook, LABEL).source.startswith("# Define here")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("deleted", "The place for the answer is missing in Exercise 1.2"),
        ("ends_python", "Exercise 1.2 ends Python"),
    ],
)
def test_what_cannot_be_mended_is_told_to_the_student(source, change, said):
    notebook = handed_in.solved(source)
    getattr(handed_in, change)(notebook, LABEL)
    found = [finding for finding in mend(notebook, source) if not finding.done]
    assert [finding.tell for finding in found if said in finding.tell], found


def test_a_changed_check_is_named_and_a_deleted_one_is_not(source):
    notebook = handed_in.solved(source)
    notebook.cells.remove(handed_in.answer(notebook, "ex-pulp-size-check-1"))
    assert mend(notebook, source) == []
    handed_in.edited_check(notebook, LABEL)
    (found,) = mend(notebook, source)
    assert str(found) == (
        "1 checks are not those of this course (Exercise 1.2); graded by the course's own"
    )
    assert "graded by the original ones" in found.tell


def test_whoever_changes_the_marking_is_noticed(source):
    notebook = handed_in.solved(source)
    handed_in.answer(notebook, LABEL).source += "\nclass marking: pass"
    assert any(
        "changes how answers are marked" in finding.what for finding in mend(notebook, source)
    )


def test_hand_ins_arrive_under_the_right_names_with_their_data(source, course, tmp_path):
    inbox = tmp_path / "inbox"
    good = handed_in.solved(source)
    handed_in.put(good, inbox / "anna", "01-pulp (1).ipynb")
    handed_in.put(good, inbox / "anna", "01-pulp.ipynb.txt")
    handed_in.put_zip(good, inbox / "ben.zip", "Homework of Ben.ipynb")
    (inbox / "cleo").mkdir()
    (inbox / "cleo" / "01-pulp.ipynb").write_text("no notebook")
    (inbox / "dora").mkdir()
    own = read_own_data(ROOT / "homework" / "own-data.toml")
    known = dict.fromkeys(["anna", "ben", "cleo", "dora"], own)
    collected = collect(inbox, course, known, "salt")
    for student in ("anna", "ben"):
        folder = course / "submitted" / student / CHAPTER
        assert (folder / f"{CHAPTER}.ipynb").is_file()
        assert (folder / "pulp.csv").read_text() == own[0].draw(student, "salt").to_csv(index=False)
    said = report(collected, course / "collected")
    assert "anna, 01-pulp: called '01-pulp (1).ipynb'; renamed" in said
    assert "cleo, 01-pulp: 01-pulp.ipynb is no notebook" in said
    assert "dora, -: no notebook: NOT MENDED" in said
    letters = {path.name for path in (course / "collected").glob("*.txt")} - {"report.txt"}
    assert letters == {"cleo.txt", "dora.txt"}


def test_the_newest_of_several_is_taken(source, course, tmp_path):
    inbox = tmp_path / "inbox"
    notebook = handed_in.solved(source)
    handed_in.put(notebook, inbox / "anna", "01-pulp.ipynb")
    handed_in.answer(notebook, LABEL).source = "newer = 1"
    handed_in.put(notebook, inbox / "anna", "01-pulp (2).ipynb")
    collect(inbox, course)
    taken = nbformat.read(
        course / "submitted" / "anna" / CHAPTER / f"{CHAPTER}.ipynb", as_version=4
    )
    assert handed_in.answer(taken, LABEL).source == "newer = 1"


def test_the_command_names_what_is_missing(course, tmp_path):
    with pytest.raises(HomeworkError, match="no folder and no archive of a student"):
        collecting.main([str(tmp_path / "inbox"), str(course)])
    with pytest.raises(HomeworkError, match="no course"):
        collect(tmp_path / "inbox", tmp_path / "nothing")
