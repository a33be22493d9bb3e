"""The course, as a teacher uses it: nbgrader releases it, and grades what students hand in."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbgrader.api import Gradebook

import mmlib as mm
from tools import ROOT
from tools.homework import build as homework
from tools.homework.students import read_own_data

pytestmark = pytest.mark.slow

CHAPTER = "01-pulp"
SOLVED = "ex-pulp-size"  # what the half-done submission has


@pytest.fixture
def chapter(chapters):
    return next(chapter for chapter in chapters if chapter.name == CHAPTER)


def nbgrader(course: Path, *arguments: str) -> None:
    """Run a command of nbgrader in the course; its tools must be on the path."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", *arguments],
        cwd=course,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def hand_in(course: Path, student: str, notebook: Path, solved: dict[str, str]) -> Path:
    """Fill answers into a student's notebook and put it where submissions are collected."""
    handed_in = nbformat.read(notebook, as_version=4)
    for cell in handed_in.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        cell.source = solved.get(name, cell.source)
    folder = course / "submitted" / student / CHAPTER
    folder.mkdir(parents=True)
    nbformat.write(handed_in, folder / f"{CHAPTER}.ipynb")
    return folder


def grades(course: Path) -> dict[str, dict[str, float]]:
    """Return each student's points for each graded cell."""
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        return {
            submission.student.id: {
                grade.name: grade.score
                for notebook in submission.notebooks
                for grade in notebook.grades
            }
            for submission in gradebook.assignment_submissions(CHAPTER)
        }


def test_empty_partial_and_full_submissions_get_their_points(chapter, tmp_path):
    course = tmp_path / "course"
    shutil.copytree(ROOT / "homework" / "course", course)
    nbgrader(course, "generate_assignment", CHAPTER)
    released = course / "release" / CHAPTER / f"{CHAPTER}.ipynb"
    student = ROOT / "homework" / "student" / f"{CHAPTER}.ipynb"
    sources = [
        [cell.source for cell in nbformat.read(path, as_version=4).cells]
        for path in (released, student)
    ]
    assert sources[0] == sources[1], "nbgrader releases what the site offers"

    solutions = {exercise.label: exercise.code for exercise in chapter.exercises if exercise.code}
    texts = {f"{exercise.label}-text": "An answer." for exercise in chapter.exercises}
    # A notebook from the site and a released one are handed in alike.
    hand_in(course, "empty", student, {})
    hand_in(course, "full", student, solutions | texts)
    # One is solved; the other passes what a student sees of its check, but not the hidden tests.
    guessed = "def se_of_mean(a, n, sigma2_operator, sigma2_resid):\n    return 0.15\n"
    guessed += "plan_sheets, plan_operators = 0.14034, 0.10567"
    partial = {SOLVED: solutions[SOLVED], "ex-pulp-allocation": guessed}
    hand_in(course, "partial", released, partial)
    nbgrader(course, "autograde", CHAPTER, "--create")

    points = {f"{exercise.label}-check": exercise.points for exercise in chapter.exercises}
    earned = {
        student: {name: score for name, score in scores.items() if score}
        for student, scores in grades(course).items()
    }
    assert earned == {
        "empty": {},
        "partial": {f"{SOLVED}-check": points[f"{SOLVED}-check"]},
        "full": {name: score for name, score in points.items() if score},
    }
    assert sum(earned["full"].values()) == sum(points.values()) == 13

    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        submissions = {s.student.id: s for s in gradebook.assignment_submissions(CHAPTER)}
        assert submissions["full"].needs_manual_grade, "written answers wait for a person"
        assert not submissions["empty"].needs_manual_grade
        for exercise in (exercise for exercise in chapter.exercises if exercise.rubric):
            grade = gradebook.find_grade(f"{exercise.label}-text", CHAPTER, CHAPTER, "full")
            assert grade.max_score == sum(points for points, _ in exercise.rubric)
            grade.manual_score = grade.max_score
        gradebook.db.commit()
        assert submissions["full"].score == submissions["full"].max_score == 22


def test_own_data_are_graded_by_one_course(chapter, tmp_path):
    own_data = read_own_data(ROOT / "homework" / "own-data.toml")
    homework.write_for_students([chapter], own_data, ["anna", "ben"], "salt", tmp_path)
    course = tmp_path / "course"
    nbgrader(course, "generate_assignment", CHAPTER)
    solutions = {exercise.label: exercise.code for exercise in chapter.exercises if exercise.code}
    own = tmp_path / "students" / "anna"
    folder = hand_in(course, "anna", own / f"{CHAPTER}.ipynb", solutions)
    shutil.copy(own / "pulp.csv", folder)
    # Ben copies Anna's numbers.
    copied = "def se_of_mean(a, n, s, e):\n    return (s / a + e / (a * n)) ** 0.5\n"
    anna = own_data[0].draw("anna", "salt")
    copied += f"plan_sheets, plan_operators = {plans(anna)}"
    own = tmp_path / "students" / "ben"
    folder = hand_in(course, "ben", own / f"{CHAPTER}.ipynb", {"ex-pulp-allocation": copied})
    shutil.copy(own / "pulp.csv", folder)
    nbgrader(course, "autograde", CHAPTER, "--create")
    totals = {student: sum(scores.values()) for student, scores in grades(course).items()}
    assert totals == {"anna": 13, "ben": 0}


def plans(pulp):
    """Return the two standard errors of the exercise for a student's data."""
    fit = mm.lmm("bright ~ 1 + (1 | operator)", pulp)
    operator, resid = (fit.theta[0] * fit.sigma) ** 2, fit.sigma**2
    return tuple((operator / a + resid / (a * n)) ** 0.5 for a, n in [(4, 10), (8, 5)])
