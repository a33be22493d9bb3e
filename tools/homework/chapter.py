"""One chapter as homework: its cells, and its exercises with what grading needs.

The chapter (`book/NN-name.md`) holds text, solution (tag `solution`) and check (tag `check`) of an
exercise. What only grading needs stands beside it in `homework/NN-name.toml`, one table for each
exercise:

    points      for the code: a number that the check earns as a whole, or a table with a number for
                each name that the student defines ("a, b" for two that belong together)
    kinds       what each name should be: a function, number, array, array 3 x 4, table, fit,
                test, tuple, dictionary or name (which may be any value)
    rubric      [[points, "what counts"], ...] for what is read by a person
    hidden      code of tests that students do not see
    right       [{old, new} or {code}, ...]: replace `old` by `new` in the solution, or all of it by
                `code`, and all tests must pass
    wrong       [{old, new, hint}, ...]: replace `old` by `new` in the solution, and the check must
                fail with a message that contains `hint`
    unseen      the same for answers that the check accepts and a hidden test must refuse
    ask, solution, check
                a numerical check of a derivation that the chapter leaves to paper
    own         false: leave the exercise out when each student has own data
    own_check, own_hidden
                the check and the hidden tests for own data, where the chapter's know the original
                numbers; what the result should be is no part of `own_check`

`own = false` before the first table leaves the whole chapter out when each student has own data.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from nbformat import NotebookNode
from pybtex.database import parse_file

from tools import ROOT
from tools.book.execute import CHAPTERS, read_chapter
from tools.homework.parts import defined, names, split
from tools.homework.text import Block, HomeworkError, References, directives, gates, parser, plain

_KINDS = ("Derivation", "Computation", "Interpretation")
# The book's checks of itself, and its interactive figures: no cell that readers see needs them.
_HIDDEN = {"remove-cell", "remove-input"}
_FIELDS = {
    *("points", "kinds", "rubric", "hidden", "wrong", "unseen", "right", "ask", "solution"),
    *("check", "own", "own_check", "own_hidden"),
}


@dataclass(frozen=True)
class Cell:
    """A cell of a chapter: plain Markdown or code."""

    kind: str
    source: str
    tags: frozenset[str] = frozenset()
    figure: str = ""
    caption: str = ""


@dataclass(frozen=True)
class Wrong:
    """A wrong but plausible answer, as a change of the solution, and the hint that it deserves."""

    code: str
    hint: str


@dataclass(frozen=True)
class Part:
    """Answers that are marked together: their names, what they earn, how they are tested."""

    names: tuple[str, ...]
    points: int
    check: str
    hidden: str


@dataclass(frozen=True)
class Exercise:
    """An exercise: what is asked, how it is solved, how it is checked, what it earns."""

    label: str
    number: str
    title: str
    text: str
    solution: tuple[Cell, ...]
    check: str = ""
    shares: tuple[tuple[tuple[str, ...], int], ...] = ()
    kinds: dict[str, str] = field(default_factory=dict)
    rubric: tuple[tuple[int, str], ...] = ()
    hidden: str = ""
    wrong: tuple[Wrong, ...] = ()
    unseen: tuple[Wrong, ...] = ()
    right: tuple[str, ...] = ()
    own: bool = True
    own_check: str = ""
    own_hidden: str = ""
    held: str = ""  # code of a hidden test of what every answer rests on

    @property
    def kind(self) -> str:
        """Derivation, Computation or Interpretation: the first word of the text."""
        found = re.match(r"\*(\w+)", self.text)
        if found is None or found[1] not in _KINDS:
            raise HomeworkError(f"{self.label}: the text should begin with one of {_KINDS}")
        return found[1]

    @property
    def code(self) -> str:
        """The code of the solution."""
        return "\n\n".join(cell.source for cell in self.solution if cell.kind == "code")

    @property
    def explanation(self) -> str:
        """The text of the solution."""
        return "\n\n".join(cell.source for cell in self.solution if cell.kind == "text")

    @property
    def points(self) -> int:
        """What the code earns."""
        return sum(points for _, points in self.shares)

    @property
    def answers(self) -> list[str]:
        """The names that the student defines and the check looks at."""
        return [name for names, _ in self.shares for name in names]

    @cached_property
    def parts(self) -> list[Part]:
        """The check and the hidden tests, divided among the answers that they are about."""
        groups = [names for names, _ in self.shares]
        try:
            checks, hidden = split(self.check, groups), split(self.hidden, groups)
        except HomeworkError as error:
            raise HomeworkError(f"{self.label}: {error}") from error
        return [
            Part(names, points, check, f"{self.held}\n{secret}".strip())
            for (names, points), check, secret in zip(self.shares, checks, hidden, strict=True)
        ]


@dataclass(frozen=True)
class Chapter:
    """A chapter: text, code and exercises in order."""

    name: str
    number: int
    title: str
    parts: tuple[Cell | Exercise, ...]
    own: bool = True

    @property
    def exercises(self) -> list[Exercise]:
        """The exercises in order."""
        return [part for part in self.parts if isinstance(part, Exercise)]


def read_book(
    book: Path = ROOT / "book", homework: Path = ROOT / "homework", *, overture: bool = False
) -> list[Chapter]:
    """Read all chapters, their references written out, and what `homework` adds to them.

    The overture, chapter 00, has no exercises: it is read only on demand.

    Raises
    ------
    HomeworkError
        If a chapter or its table cannot be read; the message names the place.
    """
    paths = sorted(book.glob(Path(CHAPTERS).name))
    paths = [path for path in paths if overture or path.stem[:2] != "00"]
    notebooks = {path: read_chapter(path) for path in paths}
    references = _references(book, notebooks)
    chapters = []
    for path, notebook in notebooks.items():
        try:
            chapters.append(_chapter(path, notebook, references, homework / f"{path.stem}.toml"))
        except HomeworkError as error:
            raise HomeworkError(f"{path.stem}: {error}") from error
    return chapters


# --- From the notebook to parts ------------------------------------------------------------------


@dataclass
class _Draft:
    """An exercise while it is being read."""

    opening: Block
    number: str
    text: list[Cell] = field(default_factory=list)
    solution: list[Cell] = field(default_factory=list)


def _chapter(path: Path, notebook: NotebookNode, references: References, table: Path) -> Chapter:
    extras = _read_table(table)
    own = extras.pop("own", True)
    parts = [
        _exercise(part, extras.pop(part.opening.options["label"], {}))
        if isinstance(part, _Draft)
        else part
        for part in _parts(notebook, references)
    ]
    if extras:
        raise HomeworkError(f"{table.name} describes {', '.join(extras)}: no such exercise")
    before: set[str] = set()
    for part in parts:
        if isinstance(part, Exercise) and (taken := before & set(part.answers)):
            raise HomeworkError(f"{part.label}: {', '.join(taken)}: the chapter uses that name")
        if isinstance(part, Cell) and part.kind == "code":
            before |= set(defined(part.source))
    title = references.titles[path.stem]
    shown = [part for part in parts if not (isinstance(part, Cell) and part.tags & _HIDDEN)]
    return Chapter(path.stem, int(path.stem[:2]), title, tuple(shown), own)


def _parts(notebook: NotebookNode, references: References) -> list[Cell | _Draft]:
    """Sort cells into exercises, their solutions, and the rest."""
    parts: list[Any] = []
    drafts: dict[str, _Draft] = {}
    place = parts
    for piece in _pieces(notebook):
        if isinstance(piece, Cell):
            source = plain(piece.source, references) if piece.kind == "text" else piece.source
            caption = f"**{references.labels[piece.figure]}.** " if piece.figure else ""
            caption += plain(piece.caption, references)
            if source:
                place.append(replace(piece, source=source, caption=caption))
        elif piece.name == "exercise-start":
            label = piece.options["label"]
            drafts[label] = _Draft(piece, references.labels[label].removeprefix("Exercise "))
            parts.append(drafts[label])
            place = drafts[label].text
        elif piece.name == "solution-start":
            if piece.argument not in drafts:
                reason = "no exercise before it has that label (a title may not hold backticks)"
                raise HomeworkError(f"the solution of {piece.argument!r}: {reason}")
            place = drafts[piece.argument].solution
        else:
            place = parts
    return parts


def _pieces(notebook: NotebookNode) -> Iterator[Cell | Block]:
    """Cut the text at the gates of exercises and solutions."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            mystnb = cell.metadata.get("mystnb", {})
            figure = mystnb.get("figure", {})
            tags = frozenset(cell.metadata.get("tags", []))
            yield Cell("code", cell.source, tags, figure.get("name", ""), figure.get("caption", ""))
            continue
        for text, gate in gates(cell.source):
            yield Cell("text", text)
            if gate:
                yield gate


def _exercise(draft: _Draft, extra: dict[str, Any]) -> Exercise:
    label = draft.opening.options["label"]
    if unknown := set(extra) - _FIELDS:
        raise HomeworkError(f"{label}: unknown {', '.join(sorted(unknown))}")
    text = "\n\n".join(cell.source for cell in draft.text)
    solution = [cell for cell in draft.solution if "check" not in cell.tags]
    checks = [cell.source for cell in draft.solution if "check" in cell.tags]
    if "check" in extra:
        text += "\n\n" + extra["ask"].strip()
        solution.append(Cell("code", extra["solution"].strip()))
        checks.append(extra["check"].strip())
    code = "\n\n".join(cell.source for cell in solution if cell.kind == "code")
    if len(checks) != (1 if code else 0):
        raise HomeworkError(f"{label}: {len(checks)} check cells; code needs one, text none")
    hidden = extra.get("hidden", "").strip() + "\n" + extra.get("own_hidden", "")
    shares = _shares(label, extra.get("points", 2 if code else 0), code, "".join(checks))
    asked = {name for group, _ in shares for name in group}
    used = names(hidden, ast.Load) - names(hidden, ast.Store)
    if unasked := sorted(used & set(defined(code)) - asked - {"np", "stats"}):
        raise HomeworkError(f"{label}: hidden tests use {', '.join(unasked)}: give it points")
    exercise = Exercise(
        label,
        draft.number,
        draft.opening.argument,
        text,
        tuple(solution),
        "".join(checks),
        shares,
        _kinds(code) | extra.get("kinds", {}),
        tuple((points, text) for points, text in extra.get("rubric", [])),
        extra.get("hidden", "").strip(),
        _wrong(label, code, extra.get("wrong", [])),
        _wrong(label, code, extra.get("unseen", [])),
        tuple(_changed(label, code, change) for change in extra.get("right", [])),
        extra.get("own", True),
        extra.get("own_check", "").strip(),
        extra.get("own_hidden", "").strip(),
    )
    _ = exercise.parts  # what cannot be divided among the names is told here
    return exercise


def _wrong(label: str, code: str, changes: list[dict[str, str]]) -> tuple[Wrong, ...]:
    return tuple(Wrong(_changed(label, code, change), change["hint"]) for change in changes)


def _changed(label: str, code: str, change: dict[str, str]) -> str:
    if "code" in change:
        return change["code"].strip()
    if change["old"] not in code:
        raise HomeworkError(f"{label}: the solution does not contain {change['old']!r}")
    return code.replace(change["old"], change["new"])


def _shares(
    label: str, points: int | dict[str, int], code: str, check: str
) -> tuple[tuple[tuple[str, ...], int], ...]:
    """Divide the points among the names that are marked, in the order in which they are asked."""
    made = list(defined(code))
    if isinstance(points, int):
        looked_at = names(check, ast.Load) - names(check, ast.Store)
        marked = tuple(name for name in made if name in looked_at)
        return ((marked, points),) if code else ()
    shares = tuple((tuple(key.split(", ")), earned) for key, earned in points.items())
    for name in (name for group, _ in shares for name in group):
        if name not in made:
            raise HomeworkError(f"{label}: points for {name}, which the solution does not define")
    return shares


def _kinds(code: str) -> dict[str, str]:
    statements = ast.parse(code).body
    return {one.name: "function" for one in statements if isinstance(one, ast.FunctionDef)}


def _read_table(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except tomllib.TOMLDecodeError as error:
        raise HomeworkError(f"{path.name}: {error}") from error


# --- References ----------------------------------------------------------------------------------


def _references(book: Path, notebooks: dict[Path, NotebookNode]) -> References:
    """Number figures, exercises and equations as the site does: afresh in every chapter."""
    labels: dict[str, str] = {}
    for path, notebook in notebooks.items():
        counts = {"Figure": 0, "Exercise": 0, "": 0}
        for kind, label in _labels(notebook):
            counts[kind] += 1
            number = f"{int(path.stem[:2])}.{counts[kind]}"
            labels[label] = f"{kind} {number}" if kind else f"({number})"
    pages = sorted(book.rglob("*.md"))
    titles = {page.relative_to(book).as_posix()[:-3]: _title(page) for page in pages}
    return References(
        titles, labels, _citations(book / "references.bib"), _terms(book / "glossary.md")
    )


def _terms(glossary: Path) -> frozenset[str]:
    """What the glossary explains: the lines of its list that are not indented."""
    if not glossary.is_file():
        return frozenset()
    lines = glossary.read_text(encoding="utf-8").split("{glossary}")[1].splitlines()
    return frozenset(line.strip().lower() for line in lines if re.match(r"[^\s:]", line))


def _labels(notebook: NotebookNode) -> Iterator[tuple[str, str]]:
    for piece in _pieces(notebook):
        if isinstance(piece, Block):
            if piece.name == "exercise-start":
                yield "Exercise", piece.options["label"]
        elif piece.kind == "code" and piece.figure:
            yield "Figure", piece.figure
        elif piece.kind == "text":
            yield from (("", label) for label in _equations(piece.source))


def _equations(text: str) -> list[str]:
    blocks = {block.lines[0]: block.options.get("label") for block in directives(text)}
    tokens = parser().parse(text)
    found = {
        token.map[0]: token.info
        for token in tokens
        if token.type == "math_block_label" and token.map
    }
    return [label for _, label in sorted({**blocks, **found}.items()) if label]


def _title(page: Path) -> str:
    found = re.search(r"(?m)^# (.*)$", page.read_text(encoding="utf-8"))
    return found[1] if found else page.stem


def _citations(bibliography: Path) -> dict[str, tuple[str, str]]:
    """Shorten each entry to authors and year."""
    return {
        key: (
            _shorten([_surname(person) for person in entry.persons.get("author", [])]),
            entry.fields.get("year", ""),
        )
        for key, entry in parse_file(bibliography).entries.items()
    }


def _surname(person: Any) -> str:
    return " ".join([*person.prelast_names, *person.last_names]).strip("{}")


def _shorten(names: Iterable[str]) -> str:
    names = list(names)
    return names[0] + " et al." if len(names) > 2 else " and ".join(names)
