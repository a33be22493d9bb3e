"""Falsify the book, one number at a time, and count how often the run goes red.

    python -m tools.book.falsify                   200 places, drawn at random
    python -m tools.book.falsify --places 1000 --seed 7 --green

Each place is a number in digits or in words, somewhere in a text that people read. It is changed
to another number, all that a failing test would advise is done, and the checks that are left judge
the page. Since no code is changed, its outputs are those that are stored: nothing is executed. The
places are found in the raw text, without the parser on which the checks rely.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from nbformat import NotebookNode

from tools import ROOT
from tools.book.execute import CHAPTERS, with_stored_outputs
from tools.book.facts import complaints, facts
from tools.book.held import allowed_phrases, read_held, unheld_in
from tools.book.prose import WORDS
from tools.book.tabs import typed_blocks

_FIGURE = re.compile(r"(?<![\w.:/\[-])\d+(?:,\d{3})*(?:\.\d+)?(?![\w/:]|\.\d|-[a-z])")
_WORD = re.compile(rf"(?<![\w-])(?:{'|'.join(list(WORDS)[2:])})(?![\w-])", re.IGNORECASE)
# What people do not read as text: targets, labels, citations, addresses, options.
_UNREAD = re.compile(
    r"\{(?:cite|doc|numref|ref|eq|func|meth|class|prf:ref)[\w:]*\}`[^`]*`|<[^<>\s]*>|\]\([^)]*\)"
    r"|(?m:^\s*:[\w-]+:.*$)|(?m:^\([\w-]+\)=$)|https?://\S+|(?m:^```+\{.*$)|\{numref\}`[^`]*`"
    r"|\\label\{[^}]*\}|\\tag\{[^}]*\}"
)


@dataclass(frozen=True)
class Place:
    """A number in a text that people read, and what judges the text with another one there."""

    page: str
    kind: str
    text: str
    start: int
    end: int
    judge: Callable[[str], list[str]]

    @property
    def number(self) -> str:
        """The number as it stands."""
        return self.text[self.start : self.end]

    def falsified(self, rng: random.Random) -> str:
        """Return the text with another number."""
        return self.text[: self.start] + another(self.number, rng) + self.text[self.end :]

    def around(self) -> str:
        """Return the number with some words on either side."""
        before, after = self.text[: self.start][-50:], self.text[self.end :][:40]
        return " ".join(f"{before}»{self.number}«{after}".split())


def another(number: str, rng: random.Random) -> str:
    """Return another number of the same form: its last digit, or the word, is changed."""
    if number[-1].isdigit():
        return number[:-1] + rng.choice([d for d in "0123456789" if d != number[-1]])
    near = [word for word, value in WORDS.items() if 2 <= value <= 12 or value == 20]
    chosen = rng.choice([word for word in near if word != number.lower()])
    return chosen.capitalize() if number[0].isupper() else chosen


def places_in(
    page: str, kind: str, text: str, judge: Callable[[str], list[str]]
) -> Iterator[Place]:
    """Find the numbers of a text."""
    unread = [found.span() for found in _UNREAD.finditer(text)]
    for pattern in (_FIGURE, _WORD):
        for found in pattern.finditer(text):
            if not any(first <= found.start() < last for first, last in unread):
                yield Place(page, kind, text, *found.span(), judge)


def chapter_places(path: Path) -> Iterator[Place]:
    """Find the numbers in the texts of a chapter, and how the chapter's checks judge each text."""
    notebook = with_stored_outputs(path)
    held, allowed = read_held(notebook), allowed_phrases(path.stem)
    kind = "prose"
    for position, cell in enumerate(notebook.cells, start=1):
        for field, text in _texts(cell):

            def judge(
                changed: str, cell: NotebookNode = cell, field: str = field, at: int = position
            ) -> list[str]:
                altered = _with_text(cell, field, changed)
                cells = [*notebook.cells[: at - 1], altered, *notebook.cells[at:]]
                tabs = typed_blocks(path.stem, NotebookNode(cells=cells))
                return [*unheld_in(altered, at, held, allowed), *tabs]

            if field != "source":
                yield from places_in(path.stem, field, text, judge)
                continue
            for start, end in _parts(text):
                kind = _kind(text[start:end], kind)
                for place in places_in(path.stem, kind, text, judge):
                    if start <= place.start < end:
                        yield replace(place, kind="formula") if _in_formula(place) else place


def _texts(cell: NotebookNode) -> Iterator[tuple[str, str]]:
    if cell.cell_type == "markdown":
        yield "source", cell.source
        return
    mystnb = cell.metadata.get("mystnb", {})
    yield "caption", str(mystnb.get("figure", {}).get("caption", ""))
    yield "alt text", str(mystnb.get("image", {}).get("alt", ""))


def _with_text(cell: NotebookNode, field: str, text: str) -> NotebookNode:
    changed = NotebookNode(cell_type=cell.cell_type, source=cell.source)
    if field == "source":
        return NotebookNode(changed, source=text)
    figure = {"figure": {"caption": text}} if field == "caption" else {"image": {"alt": text}}
    return NotebookNode(changed, metadata={"mystnb": figure})


def _parts(text: str) -> Iterator[tuple[int, int]]:
    """Cut a text where an exercise, a solution or a block of code begins or ends."""
    cuts = [0, *(found.start() for found in re.finditer(r"(?m)^```", text)), len(text)]
    return pairwise(cuts)


def _in_formula(place: Place) -> bool:
    """Tell whether a place is in a formula, not counting a value: `$p = 0.016$`."""
    formulas = re.finditer(r"(?s)\$\$.*?\$\$|\$[^$]+\$", place.text)
    inside = any(found.start() < place.start < found.end() for found in formulas)
    return inside and "." not in place.number and len(place.number) == 1


def _kind(part: str, before: str) -> str:
    for opening, kind in (
        ("```{exercise-start}", "exercise"),
        ("```{solution-start}", "solution"),
        ("```{solution-end}", "prose"),
        ("```{exercise-end}", "prose"),
        ("```r\n", "tab (R)"),
        ("```python\n", "tab (Python)"),
    ):
        if part.startswith(opening):
            return kind
    if part.startswith("```") and before.startswith("tab"):
        return "prose"
    return before


def page_places() -> Iterator[Place]:
    """Find the numbers of the pages without cells."""
    for page, phrases in facts().items():

        def judge(changed: str, page: str = page, phrases: list[str] = phrases) -> list[str]:
            return complaints(page, changed, phrases)

        text = (ROOT / page).read_text(encoding="utf-8")
        examples = [found.span() for found in re.finditer(r"(?ms)^```.*?^```$", text)]
        for place in places_in(page, "page", text, judge):
            if not any(first < place.start < last for first, last in examples):
                yield place


def all_places() -> list[Place]:
    """Find the numbers of the whole book."""
    return [place for path in sorted(ROOT.glob(CHAPTERS)) for place in chapter_places(path)]


def main(arguments: list[str] | None = None) -> int:
    """Falsify some places and print how many are found, and which are not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--places", type=int, default=200, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--green", action="store_true", help="list what is not found")
    chosen = parser.parse_args(arguments)
    rng = random.Random(chosen.seed)
    places = all_places()
    drawn = rng.sample(places, min(chosen.places, len(places)))
    judged = [(place, bool(place.judge(place.falsified(rng)))) for place in drawn]
    for (kind, form), (red, total) in sorted(_tally(judged).items()):
        print(f"{kind:14} {form:16} {red:4} of {total:4} found")
    print(f"{'all':31} {sum(red for _, red in judged):4} of {len(judged):4} found")
    if chosen.green:
        for place, red in judged:
            if not red:
                print(f"green: {place.page}, {place.kind}: {place.around()} ({why(place)})")
    return 0


def why(place: Place) -> str:
    """Give the reason why a falsified number was not found."""
    if place.kind == "formula":
        return "formulas are not held"
    if place.kind == "tab (Python)" and form(place.number) == "a digit":
        return "code of a tab is not run"
    if form(place.number) in ("a word", "a digit"):
        return "small, and what it counts is not counted by a cell"
    return "the false number is another number of the page, or in an allowed phrase"


def form(number: str) -> str:
    """Tell what kind of number it is."""
    if not number[-1].isdigit():
        return "a word"
    if "." in number:
        return "a decimal"
    return "a digit" if len(number) == 1 else "a whole number"


def _tally(judged: list[tuple[Place, bool]]) -> dict[tuple[str, str], tuple[int, int]]:
    total = Counter((place.kind, form(place.number)) for place, _ in judged)
    found = Counter((place.kind, form(place.number)) for place, red in judged if red)
    return {key: (found[key], count) for key, count in total.items()}


if __name__ == "__main__":
    sys.exit(main())
