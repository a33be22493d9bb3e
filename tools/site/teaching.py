"""A directive for those who teach: what each chapter has to assign, counted.

```{assignments}
```
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive

from tools import ROOT
from tools.homework.chapter import Chapter, read_book
from tools.homework.students import read_own_data, uses
from tools.site.versions import table

_TITLES = ("chapter", "exercises", "points by machine", "points by a person", "own data")


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
    lines = [
        (f"{chapter.number}. {chapter.title}", *map(str, counts), "yes" if own else "no")
        for chapter, counts in zip(chapters, counted, strict=True)
        for own in [uses(chapter, own_data)]
    ]
    totals = (str(sum(column)) for column in zip(*counted, strict=True))
    return [*lines, ("all", *totals, "")]
