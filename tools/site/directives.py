"""Directives of the book: how to install mmlib, with which versions it was made, what to assign.

    ```{installing}
    ```

tells how to install, with the addresses of `make book ADDRESS=... REPO=...`.

    ```{versions} numpy scipy
    ```

writes a table of packages and their versions; `python` and `commit` are understood too.

    ```{assignments}
    ```

counts for those who teach what each chapter has to assign.
"""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

from tools import ROOT, checksum
from tools.book.execute import read_chapter
from tools.book.length import minutes
from tools.homework.chapter import Chapter, read_book
from tools.homework.students import read_own_data, uses
from tools.site.wheel import build_wheel

ADDRESS, REPOSITORY = "MIXED_MODELS_ADDRESS", "MIXED_MODELS_REPOSITORY"

_FROM_FILE = """\
**From a file of this site.** Download
<a href="../downloads/{wheel}" download>{wheel}</a>, and in the folder into which it came, run

```bash
python -m pip install {wheel}
```

Its SHA-256 is `{checksum}`.
"""
_FROM_SITE = """\
**From this site, in one step.** pip checks that the file is the one that belongs to this page:

```bash
python -m pip install "{address}/downloads/{wheel}#sha256={checksum}"
```
"""
_FROM_REPOSITORY = """\
**From the repository**, the newest there is:

```bash
python -m pip install "git+{repository}"
```
"""
_FROM_CLONE = """\
**From a clone**, to change it or to work through the chapters as notebooks; needs make and git:

```bash
git clone {repository} mixed-models
cd mixed-models
make lab
```
"""
_TITLES = (
    *("chapter", "exercises", "points by machine", "points by a person"),
    *("hours to read", "hours of homework", "own data"),
)
# How much longer it takes to study a text than to read it, and what a point of homework takes.
_STUDIED, _POINT = 4, 10


def setup(app: Any) -> dict[str, bool]:
    """Tell Sphinx about the directives."""
    app.add_directive("installing", Installing)
    app.add_directive("versions", Versions)
    app.add_directive("assignments", Assignments)
    return {"parallel_read_safe": True}


class Installing(Directive):
    """The ways to install, the shortest first."""

    def run(self) -> list[nodes.Node]:
        """Return a paragraph and a command for each way."""
        box = nodes.container()
        self.state.nested_parse(StringList(ways().splitlines()), self.content_offset, box)
        return box.children


def ways() -> str:
    """Write the ways to install, in Markdown, with the addresses that the environment has."""
    address, repository = (os.environ.get(name, "") for name in (ADDRESS, REPOSITORY))
    with tempfile.TemporaryDirectory() as folder:
        wheel = build_wheel(Path(folder))
        names = {"wheel": wheel.name, "checksum": checksum(wheel)}
    parts = [
        *([_FROM_SITE] if address else []),
        _FROM_FILE,
        *([_FROM_REPOSITORY, _FROM_CLONE] if repository else []),
    ]
    return "\n".join(parts).format(address=address, repository=repository, **names)


class Versions(Directive):
    """A table of names and versions."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Return the table; a package that is not installed is an error."""
        try:
            rows = [(name, version_of(name)) for name in self.arguments[0].split()]
        except PackageNotFoundError as error:
            raise self.error(f"versions: '{error.name}' is not installed") from error
        return [table(("what", "version"), rows)]


def version_of(name: str) -> str:
    """Return the version of a package, of Python, or of the book itself (`commit`)."""
    special: dict[str, Callable[[], str]] = {"python": platform.python_version, "commit": commit}
    return special[name]() if name in special else version(name)


@cache
def commit(folder: Path = ROOT) -> str:
    """Return the commit from which the book is built, and its day; empty-handed, say so."""
    command = ["git", "-C", str(folder), "log", "-1", "--format=%h of %cs"]
    try:
        found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "not built from a git checkout"
    return found


class Assignments(Directive):
    """A table with a line for each chapter."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        return [table(_TITLES, rows(read_book()))]


def rows(chapters: list[Chapter]) -> list[tuple[str, ...]]:
    """Count exercises and points of each chapter, and of all."""
    own_data = read_own_data(ROOT / "homework" / "own-data.toml")
    counted = []
    for chapter in chapters:
        by_machine = sum(exercise.points for exercise in chapter.exercises)
        by_hand = sum(points for exercise in chapter.exercises for points, _ in exercise.rubric)
        taken = hours(chapter, by_machine + by_hand)
        counted.append((len(chapter.exercises), by_machine, by_hand, *taken))
    lines = [
        (f"{c.number}. {c.title}", *map(str, counts), "yes" if uses(c, own_data) else "no")
        for c, counts in zip(chapters, counted, strict=True)
    ]
    totals = (str(sum(column)) for column in zip(*counted, strict=True))
    return [*lines, ("all", *totals, "")]


def hours(chapter: Chapter, points: int) -> tuple[int, int]:
    """Estimate the hours that a chapter takes to study, and those that its homework takes."""
    reading = minutes(read_chapter(ROOT / "book" / f"{chapter.name}.md"))
    return max(1, round(_STUDIED * reading / 60)), max(1, round(_POINT * points / 60))


def table(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> nodes.table:
    """Return a table with one line of titles."""
    group = nodes.tgroup(cols=len(titles))
    group += [nodes.colspec(colwidth=1) for _ in titles]
    group += nodes.thead("", _row(titles))
    group += nodes.tbody("", *map(_row, rows))
    return nodes.table("", group, classes=["versions"])


def _row(texts: tuple[str, ...]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph(text=text)) for text in texts))
