"""Grade what was collected: run each hand-in confined, put model answers in, write a table.

    python -m tools.homework.grade COURSE CHAPTER     run and grade the hand-ins of a chapter
    python -m tools.homework.grade COURSE             the table alone, with points by hand so far
    python -m tools.homework.grade COURSE CHAPTER --feedback    feedback for students, in HTML

nbgrader does the grading; `tools/homework/confined.py` runs the kernels. The table, `grades.csv`,
has a line for each student and exercise. Where the system cannot confine a kernel, nothing is run,
unless `--unconfined` says that this is a machine with nothing on it to read or to lose.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
from nbformat.v4 import new_markdown_cell

from tools import ROOT, run
from tools.homework.confined import version
from tools.homework.mend import graded_cells
from tools.homework.text import HomeworkError

TABLE = "grades.csv"
_COLUMNS = ["student", "chapter", "exercise", "points", "of", "by_hand"]
_MODEL, _KERNEL = "model-answer", "hand-in"


def grade(course: Path, chapter: str, *, confined: bool = True) -> list[str]:
    """Grade the hand-ins of a chapter and return a line for each that could not be.

    Parameters
    ----------
    course : Path
        The course, with `source/` and `submitted/`.
    chapter : str
        Such as "01-pulp".
    confined : bool
        Whether hand-ins are run in confinement.

    Raises
    ------
    HomeworkError
        If there is nothing to grade, or hand-ins cannot be confined.
    """
    if not (course / "source" / chapter).is_dir():
        names = ", ".join(sorted(path.name for path in (course / "source").glob("*"))) or "none"
        raise HomeworkError(f"{course} has no chapter {chapter!r}; it has {names}")
    if not list(course.glob(f"submitted/*/{chapter}")):
        raise HomeworkError(
            f"nobody has handed in {chapter}: collect first (tools/homework/collect.py)"
        )
    if confined and not version():
        raise HomeworkError(
            "this system has no Landlock (Linux from 5.13 on, on x86-64, ARM64 or RISC-V), which"
            " confines hand-ins. Grade on"
            " such a system or in a container with no network and nothing else in it, and there"
            " with --unconfined"
        )
    if not (course / "release" / chapter).is_dir():
        _nbgrader(course, "generate_assignment", chapter)
    with tempfile.TemporaryDirectory() as kernels:
        _write_kernel(Path(kernels))
        kernel = [f"--Execute.kernel_name={_KERNEL}"] if confined else []
        command = ["autograde", chapter, "--create", "--force", *kernel]
        said = _nbgrader(course, *command, kernels=kernels)
    submitted, graded = (
        {path.parent.name for path in course.glob(f"{step}/*/{chapter}")}
        for step in ("submitted", "autograded")
    )
    if not graded:
        raise HomeworkError(f"no hand-in could be run:\n{said}")
    _add_model_answers(course, chapter)
    return [
        f"{student}: not graded, because the hand-in ended Python. Grade it by hand, or have it"
        " handed in again"
        for student in sorted(submitted - graded)
    ]


def _nbgrader(course: Path, *arguments: str, kernels: str = "") -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    jupyter = os.pathsep.join(filter(None, [kernels, os.environ.get("JUPYTER_PATH", "")]))
    places = {"PATH": path, "PYTHONPATH": str(ROOT), "JUPYTER_PATH": jupyter}
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", *arguments],
        cwd=course,
        env={**os.environ, **places},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and arguments[0] != "autograde":
        raise HomeworkError(f"nbgrader {' '.join(arguments)} failed:\n{done.stderr}")
    return done.stderr


def _write_kernel(folder: Path) -> None:
    """Write the kernel that confines what it runs."""
    place = folder / "kernels" / _KERNEL
    place.mkdir(parents=True)
    command = [sys.executable, "-m", "tools.homework.confined", "-f", "{connection_file}"]
    spec = {"argv": command, "display_name": "Python 3", "language": "python"}
    (place / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")


def _add_model_answers(course: Path, chapter: str) -> None:
    """Put below each written answer the one of the book, for whoever grades it."""
    source = nbformat.read(course / "source" / chapter / f"{chapter}.ipynb", as_version=4)
    models = graded_cells(source)
    answers = {m.name: m.source for m in models if m.answers and m.kind == "markdown"}
    for path in course.glob(f"autograded/*/{chapter}/{chapter}.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        cells = []
        for cell in notebook.cells:
            cells.append(cell)
            name = cell.metadata.get("nbgrader", {}).get("grade_id")
            if name in answers and cell.cell_type == "markdown":
                model = f"**The answer of the book**\n\n{answers[name]}"
                quoted = "\n".join(f"> {line}".rstrip() for line in model.splitlines())
                cells.append(new_markdown_cell(quoted, metadata={"tags": [_MODEL]}))
        notebook.cells = cells
        nbformat.write(notebook, path)


def write_table(course: Path) -> Path:
    """Write the points of each student in each exercise, and return the path of the table.

    Columns are `student`, `chapter`, `exercise`, `points`, `of` and `by_hand`, which says whether
    a written answer still waits for a person.
    """
    from nbgrader.api import Gradebook

    exercises = {
        (model.name, path.stem): model.exercise.removeprefix("Exercise ")
        for path in (course / "source").glob("*/*.ipynb")
        for model in graded_cells(nbformat.read(path, as_version=4))
    }
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        rows = [
            (
                *(submission.student.id, assignment.name),
                exercises.get((one.name, assignment.name), "?"),
                *(one.score, one.max_score, bool(one.needs_manual_grade)),
            )
            for assignment in gradebook.assignments
            for submission in gradebook.assignment_submissions(assignment.name)
            for notebook in submission.notebooks
            for one in notebook.grades
        ]
    of_each = pd.DataFrame(rows, columns=_COLUMNS).groupby(_COLUMNS[:3], as_index=False).sum()
    of_each["by_hand"] = np.where(of_each["by_hand"], "waits", "")
    of_each.to_csv(course / TABLE, index=False, float_format="%g")
    return course / TABLE


def main(arguments: list[str] | None = None) -> None:
    """Grade, and say what is to be done next."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("course", type=Path)
    parser.add_argument("chapter", nargs="?", default="")
    parser.add_argument("--feedback", action="store_true", help="write what students get to see")
    parser.add_argument(
        "--unconfined", action="store_true", help="run hand-ins without confinement"
    )
    chosen = parser.parse_args(arguments)
    course = chosen.course.resolve()
    if chosen.chapter and chosen.feedback:
        _nbgrader(course, "generate_feedback", chosen.chapter, "--force")
        print(f"The feedback is in {course / 'feedback'}/ID/{chosen.chapter}/")
    elif chosen.chapter:
        for line in grade(course, chosen.chapter, confined=not chosen.unconfined):
            print(line)
    print(f"The points are in {write_table(course)}")


if __name__ == "__main__":
    run(main)
