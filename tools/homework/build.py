"""Write the homework of every chapter: to solve, solved, and as a course for nbgrader.

    python -m tools.homework.build                                    homework/, which is committed
    python -m tools.homework.build --students list.csv --salt WORDS   homework/own/: data for each

The chapters are the only source, with `homework/*.toml` for what only grading needs. With a list of
students (a CSV file with a column `id`), each gets a folder with notebooks and data of their own,
and the course that comes with them grades any of these by the same tests.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

from nbformat import NotebookNode

from tools import ROOT, run
from tools.book.execute import save
from tools.homework.chapter import Chapter, read_book
from tools.homework.notebooks import Edition, write_notebook
from tools.homework.students import (
    OwnData,
    fingerprint,
    read_own_data,
    read_students,
    uses,
    with_own_data,
)
from tools.homework.text import HomeworkError
from tools.site.downloads import pack
from tools.site.wheel import build_wheel

HOMEWORK = ROOT / "homework"
COURSE = HOMEWORK / "course"


def write_all(chapters: list[Chapter], output: Path) -> None:
    """Write `student/`, `solution/` and `course/` anew, for the original data."""
    for folder in ("student", "solution", "course/source"):
        shutil.rmtree(output / folder, ignore_errors=True)
    for chapter in chapters:
        for edition in (Edition.STUDENT, Edition.SOLUTION):
            notebook = write_notebook(chapter, edition)
            _save(notebook, output / edition.value / f"{chapter.name}.ipynb")
    _write_course(chapters, output / "course")


def write_for_students(
    chapters: list[Chapter], own_data: list[OwnData], students: list[str], salt: str, output: Path
) -> None:
    """Write `students/ID/` and `ID.zip` with notebooks and own data, and the `course/` for all.

    What was made for students who are no longer in the list is removed.

    Raises
    ------
    HomeworkError
        If there is no salt, or the folder was made with another one.
    """
    if not salt:
        raise HomeworkError("no salt: choose some words that students do not know (SALT=...)")
    _hold_salt(salt, output / "fingerprint.txt")
    chapters = [with_own_data(chapter, own_data) for chapter in chapters if uses(chapter, own_data)]
    notebooks = {chapter.name: write_notebook(chapter, Edition.STUDENT) for chapter in chapters}
    shutil.rmtree(output / "students", ignore_errors=True)
    wheel = build_wheel(output / "mmlib")
    for number, student in enumerate(students, start=1):
        folder = output / "students" / student
        for name, notebook in notebooks.items():
            _save(notebook, folder / f"{name}.ipynb")
        for data in own_data:
            data.write(student, salt, folder)
        pack(folder.with_name(f"{student}.zip"), [*sorted(folder.iterdir()), wheel])
        print(f"[{number}/{len(students)}] {student}", flush=True)
    _write_course(chapters, output / "course")
    print(f"Chapters with own data: {', '.join(chapter.name for chapter in chapters)}")


def main(arguments: list[str] | None = None) -> None:
    """Write the homework and say where it lies."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--students", type=Path, metavar="LIST.csv", help="with a column 'id'")
    parser.add_argument("--column", default="", help="the column with the ids, if not 'id'")
    parser.add_argument("--salt", default="", help="words that only the teachers know")
    chosen = parser.parse_args(arguments)
    if chosen.students:
        output = HOMEWORK / "own"
        students = read_students(chosen.students, chosen.column)
        own_data = read_own_data(HOMEWORK / "own-data.toml")
        write_for_students(read_book(), own_data, students, chosen.salt, output)
    else:
        output = HOMEWORK
        write_all(read_book(), output)
    print(f"The homework is in {os.path.relpath(output)}")


def _hold_salt(salt: str, path: Path) -> None:
    """Refuse a salt by which everybody would silently get other data than before."""
    found = fingerprint(salt)
    if path.is_file() and path.read_text(encoding="utf-8").strip() != found:
        raise HomeworkError(
            f"{path.parent} was made with another salt: everybody's data would change."
            f" Use the same words, or remove {path.parent} to start anew"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{found}\n", encoding="utf-8")


def _write_course(chapters: list[Chapter], folder: Path) -> None:
    for chapter in chapters:
        notebook = write_notebook(chapter, Edition.COURSE)
        _save(notebook, folder / "source" / chapter.name / f"{chapter.name}.ipynb")
    for name in ("nbgrader_config.py", ".gitignore"):
        (folder / name).write_bytes((COURSE / name).read_bytes())


def _save(notebook: NotebookNode, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save(notebook, path)


if __name__ == "__main__":
    run(main)
