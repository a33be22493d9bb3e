"""The notebooks of one chapter: to solve, solved, and for nbgrader.

All three have the same cells. An exercise is its text, a place for a written answer (graded by a
person, after the rubric), a place for code, and a check, which is also nbgrader's test. The
editions differ only in what stands in the two places, and in tests that students do not see. The
names by which nbgrader knows the cells are in every edition, so a student's copy can be handed in.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tools.homework.chapter import Cell, Chapter, Exercise

# What nbgrader puts in place of a solution; its configuration is written from these.
CODE_STUB = "# Your code"
TEXT_STUB = "*Your answer. Double-click to write; formulas go between dollar signs.*"

_INTRODUCTION = """\
*Homework to chapter {number} of “Mixed Models in Python”, {points} points. It needs Python with
the project and its extra `book` installed (`pip install ".[book]"` in the project's folder).*

*{instructions}*"""
_TO_SOLVE = """\
Run the cells from top to bottom. Write where it says “Your code” or “Your answer”, and run the
check below your code: it tells what is not right yet."""
_SOLVED = "This is the solved notebook, for those who teach."


class Edition(Enum):
    """For whom a notebook is."""

    STUDENT = "student"
    SOLUTION = "solution"
    COURSE = "course"


def write_notebook(chapter: Chapter, edition: Edition) -> NotebookNode:
    """Make the notebook of one chapter."""
    points = sum(map(total_points, chapter.exercises))
    instructions = _SOLVED if edition is Edition.SOLUTION else _TO_SOLVE
    introduction = _INTRODUCTION.format(
        number=chapter.number, points=points, instructions=instructions
    )
    cells = [_text(introduction)]
    for part in chapter.parts:
        cells += _exercise(part, edition) if isinstance(part, Exercise) else _cells(part)
    for position, cell in enumerate(cells, start=1):
        cell.id = f"cell-{position:03d}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


def total_points(exercise: Exercise) -> int:
    """Return what an exercise earns, code and written answer together."""
    return exercise.points + sum(points for points, _ in exercise.rubric)


# --- Cells ---------------------------------------------------------------------------------------


def _text(source: str, **grading: object) -> NotebookNode:
    return new_markdown_cell(source, metadata={"nbgrader": grading} if grading else {})


def _code(source: str, **grading: object) -> NotebookNode:
    return new_code_cell(source, metadata={"nbgrader": grading} if grading else {})


def _grading(name: str, *, solution: bool, points: int | None = None) -> dict[str, object]:
    """Tell nbgrader what a cell is: an answer, a test, or both if a person gives the points."""
    grading: dict[str, object] = {
        "grade_id": name,
        "grade": points is not None,
        "solution": solution,
        "locked": not solution,
        "task": False,
        "schema_version": 3,
    }
    return grading if points is None else {**grading, "points": points}


def _cells(cell: Cell) -> Iterator[NotebookNode]:
    """Write a cell of the chapter's body."""
    if cell.kind == "text":
        yield _text(cell.source)
        return
    code = _code(cell.source)
    if "hide-input" in cell.tags:
        code.metadata["jupyter"] = {"source_hidden": True}
    yield code
    if cell.caption:
        yield _text(cell.caption)


def _exercise(exercise: Exercise, edition: Edition) -> Iterator[NotebookNode]:
    yield _text(_question(exercise))
    solved = edition is not Edition.STUDENT
    if exercise.rubric:
        points = sum(points for points, _ in exercise.rubric)
        answer = exercise.explanation if solved else TEXT_STUB
        name = f"{exercise.label}-text"
        yield _text(answer, **_grading(name, solution=True, points=points))
    elif solved and exercise.explanation and edition is Edition.SOLUTION:
        yield _text(exercise.explanation)
    if exercise.code:
        yield _code(write_answer(exercise, edition), **_grading(exercise.label, solution=True))
        name = f"{exercise.label}-check"
        grading = _grading(name, solution=False, points=exercise.points)
        yield _code(write_check(exercise, edition), **grading)


def _question(exercise: Exercise) -> str:
    points = total_points(exercise)
    heading = f"### Exercise {exercise.number}: {exercise.title} ({points} points)"
    lines = [f"- {text} ({points})" for points, text in exercise.rubric]
    rubric = ["What counts in the written answer, with its points:", "\n".join(lines)]
    return "\n\n".join([heading, exercise.text, *(rubric if lines else [])])


def write_answer(exercise: Exercise, edition: Edition) -> str:
    """Write what stands in the place for code."""
    asked = f"# Define here: {', '.join(exercise.answers)}"
    match edition:
        case Edition.STUDENT:
            return f"{asked}\n{CODE_STUB}"
        case Edition.SOLUTION:
            return exercise.code
        case Edition.COURSE:
            return f"{asked}\n### BEGIN SOLUTION\n{exercise.code}\n### END SOLUTION"


def write_check(exercise: Exercise, edition: Edition) -> str:
    """Write the check: first whether there is an answer, then the chapter's, then hidden tests."""
    names = ", ".join(f'"{name}"' for name in exercise.answers)
    check = (
        f"missing = [name for name in [{names}] if name not in globals()]\n"
        "assert not missing, f\"Not defined yet: {', '.join(missing)}.\"\n"
        f"{exercise.check}\n"
        f'print("The checks of exercise {exercise.number} pass.")'
    )
    if exercise.hidden and edition is Edition.COURSE:
        check += f"\n### BEGIN HIDDEN TESTS\n{exercise.hidden}\n### END HIDDEN TESTS"
    return check
