"""Hold every number that the lecture prints against ours and R's, and write the page that says so.

    python -m tools.book.verify    write book/verification.md

`book/data/lecture_values.csv` lists the numbers, one a line:

    section, what   where the number stands in the lecture, and what it is
    printed         as printed there; several separated by spaces; empty if our copy lacks it
    quantity        our value, by its name in `lecture_numbers`; `name[2]` is the second of several
    listed          R's value, by its name in `tests/oracle/lecture_printed_values.csv`, or
    r               by its place in `tests/oracle/lecture.json`, which goes first
    rule, reason    why the printed number cannot agree, and how that is checked (see `_RULES`)
    draws, r_draws  how many draws are behind a simulated printed number, and behind R's

Any row that does not hold stops the tool, and with it the build of the site.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any

from tools import ROOT, ToolError, run
from tools.book.lecture import DRAWS, quantities, standard_error
from tools.book.tolerance import RELATIVE, same_text

LISTED = ROOT / "book" / "data" / "lecture_values.csv"
ORACLE = ROOT / "tests" / "oracle"
PAGE = ROOT / "book" / "verification.md"
TEMPLATE = Path(__file__).with_name("verification.md")
# A simulated number may be this many standard errors away: one in 370 is, by chance.
STANDARD_ERRORS = 3
_WRITTEN = "<!-- Written by tools/book/verify.py: do not edit, run `make verify`. -->\n\n"
_DIFFERENCE = re.compile(r"\|[^|\n]*\|$", re.MULTILINE)  # the last column

Values = Mapping[str, Sequence[float]]


class VerificationError(ToolError):
    """A number does not hold, or the list of numbers or the page is not in order."""


@dataclass(frozen=True)
class Entry:
    """One line of the list: its columns, as the head of this file describes them."""

    section: str
    what: str
    printed: str
    quantity: str
    listed: str
    r: str
    rule: str
    reason: str
    draws: int
    r_draws: int

    @property
    def name(self) -> str:
        """The entry as a message names it."""
        return f"{self.section}, {self.what} ({self.quantity})"


@dataclass(frozen=True)
class Row:
    """An entry with our value and R's; R's is empty where R prints a plain count or the data."""

    entry: Entry
    ours: Sequence[float]
    r: Sequence[float]

    @property
    def our_draws(self) -> int:
        """How many draws are behind our value; zero if it is not simulated."""
        return DRAWS.get(self.entry.quantity, 0)

    @property
    def difference(self) -> float:
        """Ours minus R's."""
        return self.ours[0] - self.r[0]

    def complaint(self) -> str:
        """Say what does not hold; empty if all does."""
        if self.r and not self._agrees_with_r():
            return f"{self.entry.name}: ours is {self.ours[0]!r}, R's is {self.r[0]!r}"
        if self.entry.printed and not self._accounts_for_printed():
            ours = " ".join(map(repr, self.ours))
            rule = self.entry.rule or "agreement in all printed digits"
            return f"{self.entry.name}: ours is {ours}, printed is {self.entry.printed} ({rule})"
        return ""

    def _agrees_with_r(self) -> bool:
        p = self.ours[0]
        error = math.hypot(*(_error(p, draws) for draws in (self.our_draws, self.entry.r_draws)))
        return math.isclose(p, self.r[0], rel_tol=RELATIVE, abs_tol=STANDARD_ERRORS * error)

    def _accounts_for_printed(self) -> bool:
        printed = self.entry.printed.split()
        holds = _RULES[self.entry.rule]
        return len(printed) == len(self.ours) and all(
            holds(text, value, self) for text, value in zip(printed, self.ours, strict=True)
        )


def same_digits(printed: str, value: float, _: Row | None = None) -> bool:
    """Tell whether a value gives what is printed when rounded; `<2e-16` bounds it."""
    if printed.startswith("<"):
        return value < float(printed[1:])
    return abs(value - float(printed)) <= _half_unit(printed) * (1 + RELATIVE)


def halfway(printed: str, value: float, _: Row) -> bool:
    """Tell whether a value lies in the middle between the printed number and a neighbour."""
    return math.isclose(abs(value - float(printed)), _half_unit(printed), rel_tol=RELATIVE)


def rounded_twice(printed: str, value: float, _: Row) -> bool:
    """Tell whether rounding to one more digit first, and then again, gives what is printed."""
    unit = Decimal(1).scaleb(_exponent(printed))
    once = Decimal(repr(value)).quantize(unit.scaleb(-1))
    return not same_digits(printed, value) and once.quantize(unit) == Decimal(printed)


def off_the_optimum(printed: str, value: float, row: Row) -> bool:
    """Tell whether R's value rounds as printed and ours, next to it, does not."""
    return same_digits(printed, row.r[0]) and not same_digits(printed, value)


def simulated(printed: str, value: float, row: Row) -> bool:
    """Tell whether a simulated proportion lies as near the exact value as so many draws can."""
    error = standard_error(value, row.entry.draws)
    return abs(value - float(printed)) <= STANDARD_ERRORS * error


# What the verdict says, and how it is checked.
_RULES: dict[str, Callable[[str, float, Row], bool]] = {
    "": same_digits,
    "halfway": halfway,
    "rounded twice": rounded_twice,
    "off the optimum": off_the_optimum,
    "simulated": simulated,
}


def read_entries(path: Path = LISTED) -> list[Entry]:
    """Read the list of the lecture's numbers.

    Raises
    ------
    VerificationError
        If a line names an unknown rule, or explains nothing by a reason.
    """
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    entries = [_entry(**line) for line in lines]
    for entry in entries:
        if entry.rule not in _RULES:
            raise VerificationError(f"{entry.name}: unknown rule {entry.rule!r}")
        if bool(entry.rule) != bool(entry.reason):
            raise VerificationError(f"{entry.name}: a rule needs a reason, and a reason a rule")
    return entries


def r_values() -> dict[str, list[float]]:
    """Return R's values by name and by place; several under one name are numbered from 1."""
    lecture = json.loads((ORACLE / "lecture.json").read_text(encoding="utf-8"))
    with (ORACLE / "lecture_printed_values.csv").open(encoding="utf-8", newline="") as file:
        listed = {line["where"]: [float(line["value"])] for line in csv.DictReader(file)}
    return listed | {place: [value] for place, value in _numbers_in(lecture)}


def compare(entries: Sequence[Entry], ours: Values, r: Values) -> list[Row]:
    """Put our value and R's beside each entry.

    Raises
    ------
    VerificationError
        If an entry names a value that is not there.
    """
    return [
        Row(
            entry,
            _find(entry.quantity, ours, entry),
            _find(entry.r or entry.listed, r, entry) if entry.r or entry.listed else (),
        )
        for entry in entries
    ]


def verified_rows() -> list[Row]:
    """Compute and compare everything.

    Raises
    ------
    VerificationError
        If a row does not hold; the message has a line for each.
    """
    rows = compare(read_entries(), _our_values(), r_values())
    if complaints := [complaint for row in rows if (complaint := row.complaint())]:
        raise VerificationError("\n".join(complaints))
    return rows


def write_page(rows: Sequence[Row], versions: Mapping[str, Any]) -> str:
    """Return the page, in Markdown."""
    printed = [row for row in rows if row.entry.printed]
    explained = [row for row in printed if row.entry.rule]
    sections = [
        "\n".join(_section(title, list(of_title)))
        for title, of_title in groupby(rows, key=lambda row: row.entry.section)
    ]
    return _WRITTEN + TEMPLATE.read_text(encoding="utf-8").format(
        rows=len(rows),
        printed=len(printed),
        agree=len(printed) - len(explained),
        explained=len(explained),
        unprinted=len(rows) - len(printed),
        with_r=len([row for row in rows if row.r]),
        sections="\n\n".join(sections),
        versions="\n".join(_versions_of_r(versions)),
    )


def check_page(rows: Sequence[Row], page: Path = PAGE) -> None:
    """See that the committed page says what the rows say, rounding noise apart.

    Raises
    ------
    VerificationError
        If it does not.
    """
    committed = page.read_text(encoding="utf-8") if page.is_file() else ""
    if not same_page(_page(rows), committed):
        raise VerificationError(f"book/{page.name} is not up to date: run `make verify`")


def same_page(one: str, other: str) -> bool:
    """Tell whether two pages are the same; differences to R are mostly noise and left out."""
    return same_text(*(_DIFFERENCE.sub("|", page) for page in (one, other)))


def main() -> None:
    """Write the page."""
    rows = verified_rows()
    PAGE.write_text(_page(rows), encoding="utf-8")
    print(f"All {len(rows)} numbers hold; the page is book/{PAGE.name}")


def _page(rows: Sequence[Row]) -> str:
    lecture = json.loads((ORACLE / "lecture.json").read_text(encoding="utf-8"))
    return write_page(rows, lecture["versions"])


def _entry(*, draws: str, r_draws: str, **texts: str) -> Entry:
    return Entry(draws=int(draws or 0), r_draws=int(r_draws or 0), **texts)


def _section(title: str, rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of a section: its table, and the reasons below it."""
    yield f"## {title}\n"
    yield "```{container} numbers"
    yield "| what | printed | verdict | ours | R | difference |"
    yield "|---|--:|---|--:|--:|--:|"
    for row in rows:
        yield "| " + " | ".join(_cells(row)) + " |"
    yield "```"
    reasons = dict.fromkeys((row.entry.rule, row.entry.reason) for row in rows if row.entry.rule)
    for rule, reason in reasons:
        yield f"\n**{rule.capitalize()}:** {reason}"


def _cells(row: Row) -> Iterator[str]:
    entry, p = row.entry, row.ours[0]
    yield entry.what
    yield _shown(entry.printed.split(), p, entry.draws) if entry.printed else "–"
    if entry.rule:
        yield f"explained: {entry.rule}"
    else:
        yield "agrees" if entry.printed else "agrees with R"
    yield _shown([f"{value:.15g}" for value in row.ours], p, row.our_draws)
    yield _shown([f"{value:.15g}" for value in row.r], p, entry.r_draws) if row.r else "–"
    yield f"{row.difference:.0e}".replace("0e+00", "0") if row.r else "–"


def _shown(numbers: Sequence[str], p: float, draws: int) -> str:
    """Show one number with its simulation error, if it has one, or the ends of several."""
    if len(numbers) > 1:
        return f"{numbers[0]}, {numbers[1]}, …, {numbers[-1]}"
    return f"{numbers[0]} ± {_error(p, draws):.2g}" if draws else numbers[0]


def _versions_of_r(versions: Mapping[str, Any]) -> Iterator[str]:
    yield "| what | version |"
    yield "|---|---|"
    yield f"| R | {versions['R'].removeprefix('R version ').split()[0]} |"
    for package in ("lme4", "pbkrtest", "RLRsim", "lmerTest"):
        yield f"| {package} | {versions['packages'][package]} |"


def _our_values() -> dict[str, list[float]]:
    """Return our values by name, and by `name[2]` the second of several."""
    whole = {name: values.tolist() for name, values in quantities().items()}
    parts = {
        f"{name}[{position}]": [value]
        for name, values in whole.items()
        for position, value in enumerate(values, start=1)
    }
    return whole | parts


def _find(name: str, values: Values, entry: Entry) -> Sequence[float]:
    if name not in values:
        raise VerificationError(f"{entry.name}: there is no value called {name!r}")
    return values[name]


def _numbers_in(tree: Any, place: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers of a tree by their places: names after dots, positions in brackets."""
    if isinstance(tree, dict):
        for name, branch in tree.items():
            yield from _numbers_in(branch, f"{place}.{name}" if place else name)
    elif isinstance(tree, list):
        for position, branch in enumerate(tree, start=1):
            yield from _numbers_in(branch, f"{place}[{position}]")
    elif isinstance(tree, int | float):
        yield place, float(tree)


def _error(p: float, draws: int) -> float:
    return standard_error(p, draws) if draws else 0.0


def _exponent(printed: str) -> int:
    """Return the power of ten of the last printed digit."""
    return int(Decimal(printed).as_tuple().exponent)


def _half_unit(printed: str) -> float:
    """Return half a unit of the last printed digit."""
    return float(Decimal(5).scaleb(_exponent(printed) - 1))


if __name__ == "__main__":
    run(main)
