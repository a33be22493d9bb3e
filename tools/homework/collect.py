"""Collect what students hand in, mend it, and lay each student's own data beside it.

    python -m tools.homework.collect HANDED_IN COURSE
    python -m tools.homework.collect HANDED_IN COURSE --students list.csv --salt WORDS

HANDED_IN has a folder or an archive (zip) for each student, named by the id, with notebooks inside
under whatever name a browser gave them: `01-pulp (1).ipynb` is one of `01-pulp`. They arrive where
nbgrader looks for them, in `COURSE/submitted/ID/CHAPTER/`. What was found is printed. It stands in
`COURSE/collected/` too, with a letter to each student who should know something.
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import nbformat

from tools import ROOT, run
from tools.homework.mend import Finding, mend
from tools.homework.students import OwnData, read_own_data, read_students
from tools.homework.text import HomeworkError

_LARGEST = 50 * 2**20  # bytes of one file in an archive


@dataclass
class HandIn:
    """What one student has handed in for one chapter."""

    student: str
    chapter: str
    findings: list[Finding] = field(default_factory=list)


def collect(
    handed_in: Path, course: Path, own_data: dict[str, list[OwnData]] | None = None, salt: str = ""
) -> list[HandIn]:
    """Put all that is handed in where nbgrader looks for it.

    Parameters
    ----------
    handed_in : Path
        A folder with a folder or an archive for each student.
    course : Path
        The course, with its `source/`.
    own_data : dict, optional
        For each student's id, the data sets that are the student's own.
    salt : str
        The words from which own data were made.

    Raises
    ------
    HomeworkError
        If there is nothing to collect, or the course has no notebooks.
    """
    chapters = {path.stem: path for path in sorted((course / "source").glob("*/*.ipynb"))}
    if not chapters:
        raise HomeworkError(
            f"{course}: no course; copy homework/course or homework/own/course there"
        )
    people = sorted(path for path in handed_in.glob("*") if path.is_dir() or path.suffix == ".zip")
    if not people:
        raise HomeworkError(f"{handed_in}: no folder and no archive of a student is in it")
    collected = []
    for place in people:
        student = place.stem if place.suffix == ".zip" else place.name
        known = None if own_data is None else own_data.get(student)
        for chapter, files in sorted(_by_chapter(place, chapters).items()):
            result = HandIn(student, chapter)
            collected.append(result)
            folder = course / "submitted" / student / chapter
            _take(result, files, chapters.get(chapter), folder)
            if own_data is not None and folder.is_dir():
                if known is None:
                    result.findings.append(Finding(f"{student} is not in the list of students"))
                for data in known or []:
                    data.write(student, salt, folder)
        if not any(result.student == student for result in collected):
            nothing = Finding("no notebook", tell="Your hand-in holds no notebook (.ipynb).")
            collected.append(HandIn(student, "-", [nothing]))
    return collected


def _by_chapter(place: Path, chapters: dict[str, Path]) -> dict[str, list[tuple[str, bytes]]]:
    found: dict[str, list[tuple[str, bytes]]] = defaultdict(list)
    for name, content in _notebooks(place):
        found[_chapter_of(name, content, chapters)].append((name, content))
    return found


def _notebooks(place: Path) -> Iterator[tuple[str, bytes]]:
    """Read all notebooks of one student, the oldest first."""
    if place.is_dir():
        paths = [path for path in place.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts]
        for path in sorted(paths, key=lambda path: (path.stat().st_mtime, path.name)):
            yield path.name, path.read_bytes()
        return
    try:
        archive = zipfile.ZipFile(place)
    except zipfile.BadZipFile:
        return
    for entry in sorted(archive.infolist(), key=lambda entry: (entry.date_time, entry.filename)):
        inside = PurePosixPath(entry.filename)
        hidden = {".ipynb_checkpoints", "__MACOSX"} & set(inside.parts)
        if inside.suffix == ".ipynb" and not hidden and entry.file_size <= _LARGEST:
            yield inside.name, archive.read(entry)


def _chapter_of(name: str, content: bytes, chapters: dict[str, Path]) -> str:
    """Tell by the name, or else by the exercises inside, which chapter a notebook is of."""
    for chapter in chapters:
        if re.search(rf"{re.escape(chapter)}(?![\w-])", name):
            return chapter
    number = re.search(rb"### Exercise (\d+)\.", content)
    matching = [c for c in chapters if number and int(c[:2]) == int(number[1])]
    return matching[0] if matching else name


def _take(result: HandIn, files: list[tuple[str, bytes]], model: Path | None, folder: Path) -> None:
    name, content = files[-1]
    if model is None:
        tell = f"{name} is none of the notebooks of this course."
        result.findings.append(Finding(f"{name}: of no chapter of the course", tell=tell))
        return
    if len(files) > 1:
        others = ", ".join(other for other, _ in files[:-1])
        result.findings.append(
            Finding(f"several notebooks: {others}, {name}", "the newest is taken")
        )
    elif name != f"{result.chapter}.ipynb":
        result.findings.append(Finding(f"called {name!r}", "renamed"))
    try:
        notebook = nbformat.read(io.StringIO(content.decode("utf-8-sig")), as_version=4)
    except (ValueError, KeyError, nbformat.validator.NotebookValidationError) as error:
        reason = str(error).splitlines()[0][:100]
        tell = (
            f"{name} cannot be read as a notebook: please save it again in Jupyter and hand it in."
        )
        result.findings.append(Finding(f"{name} is no notebook ({reason})", tell=tell))
        return
    result.findings += mend(notebook, nbformat.read(model, as_version=4))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    nbformat.write(notebook, folder / f"{result.chapter}.ipynb")


def report(collected: list[HandIn], folder: Path) -> str:
    """Write a letter for each student who should know something, and return what was found."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    letters: dict[str, list[str]] = defaultdict(list)
    lines = []
    for result in collected:
        for finding in result.findings:
            lines.append(f"{result.student}, {result.chapter}: {finding}")
            if finding.tell:
                letters[result.student].append(f"- {result.chapter}: {finding.tell}")
    for student, told in letters.items():
        text = "About the homework that you handed in:\n\n" + "\n".join(told) + "\n"
        (folder / f"{student}.txt").write_text(text, encoding="utf-8")
    lines.append(f"{len(collected)} hand-ins of {len({r.student for r in collected})} students")
    text = "\n".join(lines) + "\n"
    (folder / "report.txt").write_text(text, encoding="utf-8")
    return text


def main(arguments: list[str] | None = None) -> None:
    """Collect, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("handed_in", type=Path)
    parser.add_argument("course", type=Path)
    parser.add_argument("--students", type=Path, metavar="LIST.csv", help="who has own data")
    parser.add_argument("--column", default="", help="the column with the ids")
    parser.add_argument("--salt", default="", help="the words from which own data were made")
    chosen = parser.parse_args(arguments)
    own = None
    if chosen.students:
        data = read_own_data(ROOT / "homework" / "own-data.toml")
        own = dict.fromkeys(read_students(chosen.students, chosen.column), data)
    collected = collect(chosen.handed_in, chosen.course, own, chosen.salt)
    print(report(collected, chosen.course / "collected"), end="")


if __name__ == "__main__":
    run(main)
