"""The notebooks of one chapter: to solve, solved, and for nbgrader.

All three have the same cells. The first ones install what is missing and say how answers are
marked. An exercise is its text, a place for a written answer (graded by a person, after the
rubric), a place for code, and a check for each answer, which is also nbgrader's test. The editions
differ only in what stands in the two places, and in tests that students do not see. The names by
which nbgrader knows the cells are in every edition, so a student's copy can be handed in.
"""

from __future__ import annotations

import ast
import builtins
import re
import sys
import textwrap
from collections.abc import Iterator
from enum import Enum

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import mmlib as mm
from tools.homework.chapter import Cell, Chapter, Exercise, Part
from tools.homework.first_cell import install, marking, source
from tools.homework.parts import names

# What nbgrader puts in place of a solution, as homework/course/nbgrader_config.py tells it.
CODE_STUB = "# Your code"
TEXT_STUB = "*Your answer. Double-click to write; formulas go between dollar signs.*"

WHEEL = f"mmlib-{mm.__version__}-py3-none-any.whl"
# What the wheel of mmlib brings with it.
_BROUGHT = {"mmlib", "numpy", "scipy", "pandas", "matplotlib", "matplotlib_inline", "formulaic"}

_BUILTINS = frozenset(dir(builtins))

_INTRODUCTION = """\
*Homework to chapter {number} of “Mixed Models in Python”, {points} points. {instructions}*

*The next cell installs {installed} where this Python lacks it: on a laptop, on Colab or on Binder,
from the file `{wheel}` beside this notebook or from the book's site. Where all is there, it does
nothing.*"""
_TO_SOLVE = """\
Run the cells from top to bottom. Write where it says “Your code” or “Your answer”, and run the
checks below your code: they tell what is not right yet. What is unsolved stops nothing, so the
exercises can be done in any order."""
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
    packages = _packages(chapter)
    introduction = _INTRODUCTION.format(
        number=chapter.number,
        points=points,
        instructions=instructions,
        installed=" and ".join(["`mmlib`", *(f"`{name}`" for name in packages)]),
        wheel=WHEEL,
    )
    call = ", ".join(f'"{name}"' for name in (WHEEL, *packages))
    cells = [
        _text(introduction),
        _code(f"{source(install)}\n\n\ninstall({call})", **_grading("install", solution=False)),
        _hidden(_code(source(marking), **_grading("marking", solution=False))),
    ]
    for part in chapter.parts:
        cells += _exercise(part, edition) if isinstance(part, Exercise) else _cells(part)
    for position, cell in enumerate(cells, start=1):
        cell.id = f"cell-{position:03d}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


def _packages(chapter: Chapter) -> list[str]:
    """Name the packages that a chapter imports and that do not come with mmlib."""
    codes = [
        part.source if isinstance(part, Cell) else f"{part.code}\n{part.check}\n{part.hidden}"
        for part in chapter.parts
        if isinstance(part, Exercise) or part.kind == "code"
    ]
    imported = set(re.findall(r"(?m)^ *(?:import|from) (\w+)", "\n".join(codes)))
    return sorted(imported - _BROUGHT - set(sys.stdlib_module_names))


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
    yield _hidden(code) if "hide-input" in cell.tags else code
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
        for name, points, check in write_checks(exercise, edition):
            yield _code(check, **_grading(name, solution=False, points=points))


def _question(exercise: Exercise) -> str:
    points = total_points(exercise)
    heading = f"### Exercise {exercise.number}: {exercise.title} ({points} points)"
    lines = [f"- {text} ({points})" for points, text in exercise.rubric]
    rubric = ["What counts in the written answer, with its points:", "\n".join(lines)]
    return "\n\n".join([heading, exercise.text, *(rubric if lines else [])])


def write_answer(exercise: Exercise, edition: Edition) -> str:
    """Write what stands in the place for code."""
    asked = "\n".join(
        ["# Define here:", *(f"#   {_described(exercise, name)}" for name in exercise.answers)]
    )
    match edition:
        case Edition.STUDENT:
            return f"{asked}\n{CODE_STUB}"
        case Edition.SOLUTION:
            return exercise.code
        case Edition.COURSE:
            return f"{asked}\n### BEGIN SOLUTION\n{exercise.code}\n### END SOLUTION"


def _described(exercise: Exercise, name: str) -> str:
    kind = exercise.kinds.get(name, "")
    return f"{name} ({kind})" if kind else name


def write_checks(exercise: Exercise, edition: Edition) -> list[tuple[str, int, str]]:
    """Write the check of each answer; return nbgrader's name for it, its points, and the code."""
    return [
        (f"{exercise.label}-check-{number}", part.points, _check(exercise, part, edition))
        for number, part in enumerate(exercise.parts, start=1)
    ]


def _check(exercise: Exercise, part: Part, edition: Edition) -> str:
    kinds = [f'{name}="{exercise.kinds.get(name, "")}"' for name in part.names]
    needs = sorted(names(part.check, ast.Load) - names(part.check, ast.Store) - _BUILTINS)
    needs = [name for name in needs if name not in part.names]
    arguments = [f'"{exercise.number}"', *([f'needs="{" ".join(needs)}"'] if needs else []), *kinds]
    tests = textwrap.indent(part.check or "pass", "    ")
    check = f"with marking({', '.join(arguments)}):\n{tests}"
    if part.hidden and edition is Edition.COURSE:
        check += f"\n### BEGIN HIDDEN TESTS\n{part.hidden}\n### END HIDDEN TESTS"
    return check


def _hidden(cell: NotebookNode) -> NotebookNode:
    """Let JupyterLab show a cell closed."""
    cell.metadata["jupyter"] = {"source_hidden": True}
    return cell
