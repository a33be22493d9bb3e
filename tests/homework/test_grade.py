"""A course from handing out to giving back, as the README says, odd hand-ins among good ones."""

import csv
import shutil

import nbformat
import pytest
from nbgrader.api import Gradebook

from tests.helpers import handed_in
from tools import ROOT
from tools.homework import build as homework
from tools.homework import grade as grading
from tools.homework.collect import collect
from tools.homework.confined import version
from tools.homework.grade import grade, write_table
from tools.homework.students import read_own_data
from tools.homework.text import HomeworkError

CHAPTER, LABEL = "01-pulp", "ex-pulp-allocation"
# What is done to a solved notebook, to the answer of which exercise, before it is handed in.
HAND_INS = {
    "odd": {
        "copied": LABEL,
        "edited_check": LABEL,
        "retyped": "ex-pulp-size",
        "other_kernel": "",
    },
    "stripped": {"stripped": ""},
    "wrong": {"wrong": LABEL, "deleted": "ex-pulp-dyestuff"},
    "spy": {"spies": LABEL},
    "breaker": {"ends_python": LABEL},
}
# What they lose of the points for code; whoever ends Python is not graded at all.
LOST = {"odd": 0, "stripped": 0, "wrong": 1 + 4, "spy": 0}
FAILED = "breaker"

confining = pytest.mark.skipif(not version(), reason="this system cannot confine a process")
pytestmark = pytest.mark.landing


@pytest.fixture(scope="module")
def graded(tmp_path_factory, chapters):
    """Hand out, hand in, collect and grade; return the course and what was said."""
    if not version():
        pytest.skip("this system cannot confine a process")
    folder = tmp_path_factory.mktemp("term")
    chapter = next(chapter for chapter in chapters if chapter.name == CHAPTER)
    own = read_own_data(ROOT / "homework" / "own-data.toml")
    students = [*HAND_INS, "site"]
    homework.write_for_students([chapter], own, students, "salt", folder / "own")
    course = folder / "course"
    shutil.copytree(folder / "own" / "course", course)
    source = nbformat.read(course / "source" / CHAPTER / f"{CHAPTER}.ipynb", as_version=4)
    for student, done in HAND_INS.items():
        notebook = handed_in.solved(source)
        for change, label in done.items():
            getattr(handed_in, change)(notebook, label)
        handed_in.put(notebook, folder / "inbox" / student, f"{CHAPTER} (1).ipynb")
    # One hands in the solved notebook of the site, with the data of the book.
    public = ROOT / "homework" / "course" / "source" / CHAPTER / f"{CHAPTER}.ipynb"
    copy = handed_in.solved(nbformat.read(public, as_version=4))
    handed_in.put(copy, folder / "inbox" / "site", f"{CHAPTER}.ipynb")
    collect(folder / "inbox", course, dict.fromkeys(students, own), "salt")
    return course, grade(course, CHAPTER)


def code_points(course):
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        return {
            submission.student.id: sum(
                one.score
                for notebook in submission.notebooks
                for one in notebook.grades
                if "-check-" in one.name
            )
            for submission in gradebook.assignment_submissions(CHAPTER)
        }


def test_everybody_gets_what_the_hand_in_deserves(graded):
    points = code_points(graded[0])
    assert {student: points[student] for student in LOST} == {
        student: 20 - lost for student, lost in LOST.items()
    }


def test_the_notebook_of_the_site_earns_nothing_on_own_data(graded):
    assert code_points(graded[0])["site"] == 0


def test_who_could_not_be_graded_is_said_in_a_line_and_nothing_else(graded):
    _, said = graded
    assert [line.split(":")[0] for line in said] == [FAILED]
    assert "ended Python" in said[0]


def test_model_answers_stand_below_written_ones_and_feedback_has_neither(graded):
    course, student = graded[0], "odd"
    path = course / "autograded" / student / CHAPTER / f"{CHAPTER}.ipynb"
    cells = nbformat.read(path, as_version=4).cells
    models = [cell for cell in cells if "model-answer" in cell.metadata.get("tags", [])]
    assert len(models) == sum(
        cell.cell_type == "markdown" and bool(handed_in.name(cell)) for cell in cells
    )
    grading.main([str(course), CHAPTER, "--feedback"])
    text = (course / "feedback" / student / CHAPTER / f"{CHAPTER}.html").read_text()
    assert "BEGIN HIDDEN" not in text
    assert "the data are not those of this student" not in text
    assert "The answer of the book" not in text


def test_the_table_has_a_line_for_each_student_and_exercise(graded):
    course, _ = graded
    with write_table(course).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    mine = {row["exercise"]: row for row in rows if row["student"] == "odd"}
    assert list(mine) == [f"1.{number}" for number in range(1, 8)]
    assert mine["1.2"]["points"] == mine["1.2"]["of"] == "4"
    assert mine["1.4"]["by_hand"] == "waits"
    assert len(rows) == 7 * (len(HAND_INS) + 1)


def test_what_cannot_be_graded_is_named(tmp_path, monkeypatch):
    course = tmp_path / "course"
    with pytest.raises(HomeworkError, match="has no chapter '01-pulp'; it has none"):
        grade(course, CHAPTER)
    (course / "source" / CHAPTER).mkdir(parents=True)
    with pytest.raises(HomeworkError, match="nobody has handed in 01-pulp"):
        grade(course, CHAPTER)
    (course / "submitted" / "anna" / CHAPTER).mkdir(parents=True)
    monkeypatch.setattr(grading, "version", lambda: 0)
    with pytest.raises(HomeworkError, match="no Landlock"):
        grade(course, CHAPTER)
