"""A directive for those who teach: what each chapter has to assign, counted.

```{assignments}
```
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive

from tools import ROOT
from tools.book.execute import read_chapter
from tools.book.length import minutes
from tools.homework.chapter import Chapter, read_book
from tools.homework.students import read_own_data, uses
from tools.site.versions import table

_TITLES = (
    *("chapter", "exercises", "points by machine", "points by a person"),
    *("hours to read", "hours of homework", "own data"),
)
# How much longer it takes to study a text than to read it, and what a point of homework takes.
_STUDIED, _POINT = 4, 10


def setup(app: Any) -> dict[str, bool]:
    """Tell Sphinx about the directive."""
    app.add_directive("assignments", Assignments)
    return {"parallel_read_safe": True}


class Assignments(Directive):
    """A table with a line for each chapter."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        return [table(_TITLES, rows(read_book()))]


def rows(chapters: list[Chapter]) -> list[tuple[str, ...]]:
    """Count exercises and points of each chapter, and of all."""
    own_data = read_own_data(ROOT / "homework" / "own-data.toml")
    counted = [
        (
            len(chapter.exercises),
            sum(exercise.points for exercise in chapter.exercises),
            sum(points for exercise in chapter.exercises for points, _ in exercise.rubric),
        )
        for chapter in chapters
    ]
    taken = [
        hours(chapter, by_machine + by_hand)
        for chapter, (_, by_machine, by_hand) in zip(chapters, counted, strict=True)
    ]
    lines = [
        (f"{chapter.number}. {chapter.title}", *map(str, (*counts, *both)), own)
        for chapter, counts, both in zip(chapters, counted, taken, strict=True)
        for own in ["yes" if uses(chapter, own_data) else "no"]
    ]
    totals = (
        str(sum(column)) for column in (*zip(*counted, strict=True), *zip(*taken, strict=True))
    )
    return [*lines, ("all", *totals, "")]


def hours(chapter: Chapter, points: int) -> tuple[int, int]:
    """Estimate the hours that a chapter takes to study, and those that its homework takes."""
    reading = minutes(read_chapter(ROOT / "book" / f"{chapter.name}.md"))
    return max(1, round(_STUDIED * reading / 60)), max(1, round(_POINT * points / 60))
