"""Falsify the book, one number at a time, and count how often the run goes red.

    python -m tools.book.falsify                   200 places, drawn at random
    python -m tools.book.falsify --places 1000 --seed 7 --green
    python -m tools.book.falsify --places 800 --seed 2026 --store      for how-checked

Each place is a number in digits or in words, somewhere in a text that people read. It is changed
to another number, all that a failing test would advise is done, and the checks that are left judge
the page. Since no cell is changed, its outputs are those that are stored; the Python of a tab is
run again. The places are found in the raw text, without the parser on which the checks rely.
"""

from __future__ import annotations

import argparse
import io
import random
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import chdir, redirect_stdout, suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from nbformat import NotebookNode

import mmlib as mm
from tools import ROOT
from tools.book.execute import CHAPTERS, with_stored_outputs
from tools.book.facts import PAGES, facts
from tools.book.facts import complaints as page_complaints
from tools.book.prose import WORDS, blocks
from tools.book.python_tabs import STORED, answered, telling, without_comments
from tools.book.sentences import allowed_on, captions, complaints, judge
from tools.book.sources import read_held
from tools.book.tabs import typed_blocks

STORED_RATES = ROOT / "book" / "data" / "falsified.csv"
_FIGURE = re.compile(r"(?<![\w.:/\[-])\d+(?:,\d{3})*(?:\.\d+)?(?![\w/:]|\.\d|-[a-z])")
_WORD = re.compile(rf"(?<![\w-])(?:{'|'.join(list(WORDS)[2:])})(?![\w-])", re.IGNORECASE)
# What people do not read as text: targets, labels, citations, addresses, options.
_UNREAD = re.compile(
    r"\{(?:cite|doc|numref|ref|eq|func|meth|class|prf:ref)[\w:]*\}`[^`]*`|<[^<>\s]*>|\]\([^)]*\)"
    r"|(?m:^\s*:[\w-]+:.*$)|(?m:^\([\w-]+\)=$)|https?://\S+|(?m:^```+\{.*$)|\{numref\}`[^`]*`"
    r"|\\label\{[^}]*\}|\\tag\{[^}]*\}"
)
# What has digits and says no number: a coefficient or an index of a formula, "2." before an item.
STRUCTURE = {"shape of a formula", "index", "number of an item"}


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
    held, allowed = read_held(notebook, path.stem), allowed_on(path.stem)
    judged = [judge(cell, at, held, allowed) for at, cell in enumerate(notebook.cells, start=1)]
    for position, cell in enumerate(notebook.cells, start=1):
        for field, text in _texts(cell):

            def judge_text(
                changed: str, cell: NotebookNode = cell, field: str = field, at: int = position
            ) -> list[str]:
                altered = _with_text(cell, field, changed)
                cells = [*notebook.cells[: at - 1], altered, *notebook.cells[at:]]
                now = [*judged[: at - 1], judge(altered, at, held, allowed), *judged[at:]]
                page = NotebookNode(cells=cells, metadata=notebook.metadata)
                if "```python" in changed:
                    try:
                        tabs = answered(_with_tabs_run(page))
                    except Exception as error:  # noqa: BLE001  # whatever a false tab raises
                        return [f"a tab of Python fails: {error}"]
                    now[at - 1] = judge(altered, at, replace(held, tabs=tabs), allowed)
                return [*complaints(now, held, allowed), *typed_blocks(path.stem, page)]

            for place in places_in(path.stem, field, text, judge_text):
                yield replace(place, kind=_closer(place)) if field == "source" else place


def _with_tabs_run(page: NotebookNode) -> NotebookNode:
    """Run the tabs of Python that have changed, as `make execute` would.

    A tab that uses more names of its chapter than the usual ones keeps its answers.
    """
    tabs = []
    for block, tab in zip(blocks(page, "python"), page.metadata[STORED], strict=True):
        code, answers = without_comments(block), tab["answers"]
        if code != tab["code"]:
            with suppress(NameError):
                answers = _answers(block)
        tabs.append({"code": code, "answers": answers})
    return NotebookNode(cells=page.cells, metadata={STORED: tabs})


def _answers(block: str) -> str:
    usual = {"mm": mm, "np": np, "pd": pd, "rng": np.random.default_rng(1)}
    data = {name: mm.load_dataset(name) for name in ("pulp", "penicillin")}
    printed = io.StringIO()
    with chdir(ROOT / "book"), redirect_stdout(printed), warnings.catch_warnings():
        exec(compile(telling(block), "a tab", "exec"), usual | data)
    return printed.getvalue()


def _texts(cell: NotebookNode) -> Iterator[tuple[str, str]]:
    if cell.cell_type == "markdown":
        yield "source", cell.source
    else:
        yield from zip(("caption", "alt text"), captions(cell), strict=True)


def _with_text(cell: NotebookNode, field: str, text: str) -> NotebookNode:
    changed = deepcopy(cell)
    if field == "source":
        changed.source = text
    elif field == "caption":
        changed.metadata.mystnb.figure.caption = text
    else:
        changed.metadata.mystnb.image.alt = text
    return changed


def _closer(place: Place) -> str:
    """Tell where in its text a place is: in a tab, in a formula, in code, in a table."""
    text, start = place.text, place.start
    fence = re.findall(r"(?m)^```(.*)$", text[:start])[-1:]
    if fence in (["r"], ["python"]):
        return f"tab ({fence[0].capitalize()})"
    formulas = re.finditer(r"(?s)\$\$.*?\$\$|\$[^$]+\$", text)
    inside = any(found.start() < start < found.end() for found in formulas)
    if inside and "." not in place.number and len(place.number) == 1:
        return _in_formula(text[:start], text[place.end :])
    if any(found.start() < start < found.end() for found in re.finditer(r"`[^`\n]+`", text)):
        return "inline code"
    line = text[text.rfind("\n", 0, start) + 1 : start]
    if re.match(r"\d+\. ", text[start:]) and not line.strip():
        return "number of an item"
    return "table" if line.startswith("|") else place.kind


def _in_formula(before: str, after: str) -> str:
    """Tell an exponent, an index and the shape of a formula from what it says."""
    if re.search(r"\^\{?-?$", before):
        return "exponent"
    if re.search(r"_\{?[\w,\\ ]*$", before):
        return "index"
    value = re.search(r"(?:=|\\approx|\\l[et]|\\g[et]|[<>])\s*$", before) and re.match(
        r"\s*(?:\$|[,.;]?\s|\\)", after
    )
    return "value in a formula" if value else "shape of a formula"


def page_places() -> Iterator[Place]:
    """Find the numbers of the pages without cells."""
    known = facts()
    for page in PAGES:

        def judge_page(changed: str, page: str = page) -> list[str]:
            return page_complaints(page, changed, known.get(page, []))

        text = (ROOT / page).read_text(encoding="utf-8")
        examples = [found.span() for found in re.finditer(r"(?ms)^```.*?^```$", text)]
        for place in places_in(page, f"page: {Path(page).stem}", text, judge_page):
            if not any(first < place.start < last for first, last in examples):
                yield replace(place, kind=_closer(place))


def all_places() -> list[Place]:
    """Find the numbers of the whole book, chapters and pages."""
    chapters = [place for path in sorted(ROOT.glob(CHAPTERS)) for place in chapter_places(path)]
    return [*chapters, *page_places()]


def main(arguments: list[str] | None = None) -> None:
    """Falsify some places and print how many are found, and which are not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--places", type=int, default=200, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--green", action="store_true", help="list what is not found")
    parser.add_argument("--store", action="store_true", help=f"write {STORED_RATES.name}")
    chosen = parser.parse_args(arguments)
    rng = random.Random(chosen.seed)
    places = all_places()
    drawn = rng.sample(places, min(chosen.places, len(places)))
    judged = [(place, bool(place.judge(place.falsified(rng)))) for place in drawn]
    for name, found, total in tally(judged):
        print(f"{name:60} {found:4} of {total:4} found")
    stating = [red for place, red in judged if place.kind not in STRUCTURE]
    print(f"{'all that state something':60} {sum(stating):4} of {len(stating):4} found")
    if chosen.store:
        store_rates(judged)
    if chosen.green:
        for place, red in judged:
            if not red:
                print(f"green: {place.page}, {place.kind}: {place.around()}")


def group(place: Place) -> str:
    """Tell in which row of the table on `how-checked` a place is counted."""
    if place.kind in STRUCTURE:
        return "the shape of a formula, the number of an item"
    if place.kind.startswith("tab ("):
        return f"numbers in tabs of {place.kind[5:-1]}"
    if place.kind == "inline code":
        return "numbers in code within a sentence"
    if place.kind in ("exponent", "index", "value in a formula"):
        return "exponents, and single digits as values in formulas"
    return {
        "a decimal": "decimals",
        "a whole number": "whole numbers of two digits or more",
        "a digit": "single digits",
        "a word": "numbers in words",
    }[form(place.number)]


def tally(judged: list[tuple[Place, bool]]) -> list[tuple[str, int, int]]:
    """Count in each group how many falsified numbers were found, and how many there were."""
    total = Counter(group(place) for place, _ in judged)
    found = Counter(group(place) for place, red in judged if red)
    return [(name, found[name], count) for name, count in sorted(total.items())]


def store_rates(judged: list[tuple[Place, bool]]) -> None:
    """Write how many falsified numbers of each group were found; `how-checked` shows it."""
    rows = [f'"{name}",{found},{count}\n' for name, found, count in tally(judged)]
    STORED_RATES.write_text("group,found,places\n" + "".join(rows), encoding="utf-8")


def form(number: str) -> str:
    """Tell what kind of number it is."""
    if not number[-1].isdigit():
        return "a word"
    if "." in number:
        return "a decimal"
    return "a digit" if len(number) == 1 else "a whole number"


if __name__ == "__main__":
    main()
