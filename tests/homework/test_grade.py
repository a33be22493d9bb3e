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
# What each kind of hand-in loses of the points for code.
LOST = {
    "good": 0,
    "wrong": 1,
    "copied": 0,
    "stripped": 0,
    "retyped": 0,
    "other_kernel": 0,
    "edited_check": 0,
    "deleted": 4,
    "spies": 0,
}
# Not graded at all.
FAILED = "ends_python"

confining = pytest.mark.skipif(not version(), reason="this system cannot confine a process")
pytestmark = pytest.mark.landing


@pytest.fixture(scope="module")
def graded(tmp_path_factory, chapters):
    """Hand out, hand in, collect and grade; return the course, and who handed in what."""
    if not version():
        pytest.skip("this system cannot confine a process")
    folder = tmp_path_factory.mktemp("term")
    chapter = next(chapter for chapter in chapters if chapter.name == CHAPTER)
    own = read_own_data(ROOT / "homework" / "own-data.toml")
    kinds = {f"s{number}": kind for number, kind in enumerate([*LOST, FAILED])}
    homework.write_for_students([chapter], own, [*kinds, "site"], "salt", folder / "own")
    course = folder / "course"
    shutil.copytree(folder / "own" / "course", course)
    source = nbformat.read(course / "source" / CHAPTER / f"{CHAPTER}.ipynb", as_version=4)
    for student, kind in kinds.items():
        notebook = handed_in.solved(source)
        if kind != "good":
            getattr(handed_in, kind)(notebook, LABEL)
        handed_in.put(notebook, folder / "inbox" / student, f"{CHAPTER} (1).ipynb")
    # One hands in the solved notebook of the site, with the data of the book.
    public = ROOT / "homework" / "course" / "source" / CHAPTER / f"{CHAPTER}.ipynb"
    copy = handed_in.solved(nbformat.read(public, as_version=4))
    handed_in.put(copy, folder / "inbox" / "site", f"{CHAPTER}.ipynb")
    collect(folder / "inbox", course, dict.fromkeys([*kinds, "site"], own), "salt")
    said = grade(course, CHAPTER)
    return course, kinds, said


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
    course, kinds, _ = graded
    points = code_points(course)
    best = max(points.values())
    assert best == 20
    run = {student: kind for student, kind in kinds.items() if kind != FAILED}
    lost = {student: best - points[student] for student in run}
    assert lost == {student: LOST[kind] for student, kind in run.items()}


def test_the_notebook_of_the_site_earns_nothing_on_own_data(graded):
    assert code_points(graded[0])["site"] == 0


def test_who_could_not_be_graded_is_said_in_a_line_and_nothing_else(graded):
    _, kinds, said = graded
    failed = [student for student, kind in kinds.items() if kind == FAILED]
    assert [line.split(":")[0] for line in said] == failed
    assert "ended Python" in said[0]


def test_model_answers_stand_below_written_ones_and_feedback_has_neither(graded):
    course, kinds, _ = graded
    student = next(iter(kinds))
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
    course, kinds, _ = graded
    with write_table(course).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    student = next(iter(kinds))
    mine = {row["exercise"]: row for row in rows if row["student"] == student}
    assert list(mine) == [f"1.{number}" for number in range(1, 8)]
    assert mine["1.2"]["points"] == mine["1.2"]["of"] == "4"
    assert mine["1.4"]["by_hand"] == "waits"
    assert len(rows) == 7 * (len(kinds) + 1)


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
