"""Every number that a page states comes from a cell of that page.

A number in a sentence, a caption, an alternative text, a table, an exercise or a solution is *held*
if it stands, word for word or as the rounding of a longer one,

* in the output of a cell, shown or hidden, the words in figures included;
* in an assertion that compares something computed with it: `assert f"{p:.3f}" == "0.016"`;
* in the code of a cell that readers see, as an input: `nsim = 2000`;
* in R's answer, which is stored (`tools/book/tabs.py`).

A number with fewer than three significant digits must come from the same section, as it is written;
a single digit, which outputs are full of, from an assertion beside its sentence; in a section
without cells, a short number from an assertion in any hidden cell.
What is nearer takes precedence: the hidden cells with assertions on either side of a text, then
those of the section, then all that the section gives, then the page. If one of these has no such
number, but one that differs in a single digit, the sentence is wrong or must be asserted there. So
a false number is found even if it is another number of the page. Conversely, what a hidden cell
asserts as text must be said in its section if another assertion of the section could be mistaken
for it.
Code within a sentence stands in a cell that readers see, in an output or in a tab.
A literal that no assertion compares holds nothing, nor does a tolerance. What is held by none of
these stands in `book/data/unheld.toml`, each with its reason.

Small numbers and numbers in words occur everywhere, so they are held together with the word that
they count. A hidden cell with the tag `counts` shows a dictionary, say `{"operators": [4, 8]}`: on
that page every "four operators" and "8 operators" is held, and no other number of operators above
one. A key such as `"n ="` is a symbol of formulas, `$n = 5$`. What counts must be computed, where
data decide; the factors of every data set that a page loads must be among the counted words if a
sentence counts them. What the text itself counts, "two kinds of residuals", no computation knows:
such phrases are listed in `book/data/spoken.toml`, so that none changes unseen.

In formulas 0, 1, 2 and the exponents 2 and −1 are part of the shape, as are indices up to 4; the
degrees of freedom below χ², t and F are counts, and everything else is held as in a sentence.

What a list offers must be needed, or it is a complaint too: so a phrase that is changed is found
even if the page has the false one as well.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from functools import cache
from pathlib import Path

from nbformat import NotebookNode

from tools import ROOT
from tools.book.prose import WORDS, Number, numbers
from tools.book.sources import COUNTS, HEADING, Held, Source, read_held, singular

UNHELD = ROOT / "book" / "data" / "unheld.toml"
SPOKEN = ROOT / "book" / "data" / "spoken.toml"
# Digits from which on a number is hardly ever the same as another by chance.
UNMISTAKABLE = 3
ROUNDED = 3
_SYMBOL = re.compile(r"(?:^|[^\w\\])(\w+)\s*=\s*(?:[^=,;]*=\s*)?$")
_DF = "degrees of freedom"
_STOPS = {
    *("of", "in", "on", "for", "and", "or", "to", "with", "by", "at", "from", "the"),
    *("than", "a", "as", "is", "are", "each", "were", "have"),
}
# "3 and 16 degrees of freedom": both numbers count the same.
_ALSO = re.compile(rf"^(?:,?\s+(?:and|or|to|against)\s+(?:\d+|{'|'.join(WORDS)})\b)+")
_TOLD = re.compile(rf"(?i)(?:[\s-]+(?:{'|'.join(_STOPS)})\b)*[\s-]+[^\s.,;:!?()|`\"”]+")


@dataclass(frozen=True)
class Allowed:
    """The phrases whose numbers need no cell: exceptions, everywhere or on a page, and counts."""

    page: str = ""
    unheld: tuple[str, ...] = ()
    everywhere: tuple[str, ...] = ()
    spoken: tuple[str, ...] = ()


@dataclass
class Judged:
    """What is wrong with a cell, which listed phrases it needs, and what holds its numbers."""

    complaints: list[str] = field(default_factory=list)
    needed: Counter[str] = field(default_factory=Counter)
    used: set[Source] = field(default_factory=set)


def unheld(
    notebook: NotebookNode, allowed: Allowed | None = None, *, with_r: bool = True
) -> list[str]:
    """Name each number that no cell of the page holds, and each listed phrase that is not needed.

    Parameters
    ----------
    notebook : NotebookNode
        An executed chapter.
    allowed : Allowed, optional
        Phrases whose numbers need no cell.
    with_r : bool, optional
        Whether R's stored answers hold a number; not if the data have changed.
    """
    allowed = allowed or Allowed()
    held = read_held(notebook, allowed.page, with_r=with_r)
    judged = [judge(cell, at, held, allowed) for at, cell in enumerate(notebook.cells, start=1)]
    return complaints(judged, held, allowed)


def complaints(judged: list[Judged], held: Held, allowed: Allowed) -> list[str]:
    """Put together what is wrong with the cells of a page, and what none of them needs."""
    needed = sum((cell.needed for cell in judged), Counter[str]())
    used = set[Source]().union(*(cell.used for cell in judged))
    wrong = [f"cell {at}: {line}" for at, cell in enumerate(judged, 1) for line in cell.complaints]
    return held.faults + wrong + unsaid(held, used) + unneeded(allowed, needed)


def unsaid(held: Held, used: set[Source]) -> list[str]:
    """Name asserted numbers that no sentence says, if another could be mistaken for them."""
    quoted = [source for source in held.sources if source.quoted and source not in used]
    return [
        f"{source.where}: no sentence beside it says {source.text}, which it asserts, and"
        f" {rival.text} in {rival.where} differs in one digit: take it out, or compare numbers"
        for source in quoted
        for rival in _rivals(source, held)[:1]
    ]


def _rivals(source: Source, held: Held) -> list[Source]:
    stated = Number(source.text, source.value, "", "", "figure")
    return [
        other
        for other in held.sources
        if other.asserted and other.section == source.section
        if _nearly_agrees(stated, other.value)
    ]


def _one_digit_apart(one: str, other: str) -> bool:
    differing = [(a, b) for a, b in zip(one, other, strict=False) if a != b]
    return len(one) == len(other) and len(differing) == 1 and "".join(differing[0]).isdigit()


def unneeded(allowed: Allowed, needed: Counter[str]) -> list[str]:
    """Name the phrases of the lists that no number of their page needs."""
    return [
        f"{file.relative_to(ROOT)}: [{allowed.page}] “{phrase}” is not needed:"
        " the page does not say it, or it is held: take it out"
        for file, phrases in ((UNHELD, allowed.unheld), (SPOKEN, allowed.spoken))
        for phrase in phrases
        if not needed[phrase]
    ]


def judge(cell: NotebookNode, position: int, held: Held, allowed: Allowed) -> Judged:
    """Judge the numbers in the cell at some position, counted from 1."""
    judged = Judged()
    for section, number in _stated(cell, position, held.sections[position - 1]):
        counted = _counted(number, held.counts)
        scopes = _scopes(number, held, section, position)
        if number.kind not in ("R", "tab", "code"):
            judged.used.update(_held_by(number, scopes)[0])
        complaint = (
            _miscounted(number, counted, held) if counted else _complaint(number, held, scopes)
        )
        if complaint and not listed(number, allowed, judged.needed, spoken=not counted):
            judged.complaints.append(complaint)
    return judged


def allowed_on(page: str) -> Allowed:
    """Return what `unheld.toml` and `spoken.toml` let stand on a page."""
    exceptions = allow_list(UNHELD)
    return Allowed(
        page,
        tuple(exceptions.get(page, {})),
        tuple(exceptions.get("everywhere", {})),
        tuple(allow_list(SPOKEN).get(page, ())),
    )


@cache
def allow_list(path: Path) -> dict[str, dict[str, str]]:
    """Read a list of phrases: page, phrase, and the reason for each exception."""
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _stated(cell: NotebookNode, position: int, section: int) -> Iterator[tuple[int, Number]]:
    """Yield every number that a cell states to its readers, and the section that it stands in."""
    if cell.cell_type == "markdown":
        for part, text in enumerate(HEADING.split(cell.source)):
            yield from ((section if part == 0 else position, number) for number in numbers(text))
        return
    caption, alt = captions(cell)
    stated = numbers(caption, "caption") + numbers(alt, "alt text")
    yield from ((section, number) for number in stated)


def captions(cell: NotebookNode) -> tuple[str, str]:
    """Return the caption and the alternative text of the figure that a cell draws."""
    mystnb = cell.metadata.get("mystnb", {})
    caption, alt = mystnb.get("figure", {}).get("caption"), mystnb.get("image", {}).get("alt")
    return str(caption or ""), str(alt or "")


def listed(number: Number, allowed: Allowed, needed: Counter[str], *, spoken: bool) -> bool:
    """Tell whether a listed phrase covers a number; the phrase is then needed."""
    phrases = [*allowed.unheld, *allowed.everywhere]
    phrases += allowed.spoken if spoken and is_small(number) else ()
    covering = [phrase for phrase in phrases if covers(phrase, number)]
    needed.update(covering)
    return bool(covering)


def is_small(number: Number) -> bool:
    """Tell whether a number may be a count of the text itself, with a word beside it."""
    small = number.form in ("word", "exponent") or _is_digit(number)
    told = number.kind == "formula" or re.search(r"[\s-]", phrase_of(number))
    return small and bool(told) and number.form not in ("percent", "version")


def covers(phrase: str, number: Number) -> bool:
    """Tell whether a phrase stands around a number in its sentence, whatever its capitals."""
    phrase, text = _plain(phrase), number.text.lstrip("-−").lower()
    before, after = _plain(number.before), _plain(number.after)
    return any(
        before.endswith(phrase[: found.start()]) and after.startswith(phrase[found.end() :])
        for found in re.finditer(re.escape(text), phrase)
    )


def _plain(text: str) -> str:
    return re.sub(r"\s+(?=%)", "", re.sub(r"\s+", " ", text)).lower()


def phrase_of(number: Number) -> str:
    """Return a phrase that says what a number counts: up to the first word that is no particle.

    If a sentence ends there, two words before the number belong to the phrase.
    """
    if number.kind == "formula":
        return (re.findall(r"\S*\s*$", number.before)[0] + number.text).lower()
    told = _TOLD.match(number.after)
    if told:
        return re.sub(r"\s+", " ", number.text + told[0]).lower()
    return " ".join([*number.before.split()[-2:], number.text]).lower()


def _miscounted(number: Number, counted: str, held: Held) -> str:
    """Say what is wrong with the number of something that a cell counts; empty if it is right."""
    if number.value in (*held.counts[counted], 0, 1):
        return ""
    values = ", ".join(map(str, held.counts[counted])) or "no"
    return (
        f"{_where(number)}: the page counts {values} {counted} (in its cell with the tag {COUNTS})"
    )


def _complaint(number: Number, held: Held, scopes: list[list[Source]]) -> str:
    """Say what is wrong with a number that no noun holds; empty if it is held."""
    if number.kind == "tab" and any(
        _agrees(number, given.value) for given in held.tabs.get(number.sentence, ())
    ):
        return ""
    if number.kind == "R" or (number.kind not in ("tab", "code") and is_free(number)):
        return ""  # R's answers are held as a whole by tools/book/tabs.py
    if held.runs(number.span):
        return ""
    if number.form == "version":
        given = any(number.text in text for text in held.texts)
        return "" if given else f"{_where(number)}: no cell shows this version"
    if _names_a_level(number):
        given = any(re.search(rf"\b{number.text}\b", text) for text in held.texts)
        return "" if given else f"{_where(number)}: no output shows this name"
    if number.form in ("word", "exponent"):
        return (
            f"{_where(number)}: nothing holds it. If data decide it, count it in the cell with the"
            f" tag {COUNTS}; if the text does, list “{phrase_of(number)}” in book/data/spoken.toml"
        )
    return _unfounded(number, scopes)


def _unfounded(number: Number, scopes: list[list[Source]]) -> str:
    """Say that nothing gives a number, or something else before what does; empty if it is held."""
    holding, rival = _held_by(number, scopes)
    if number.kind == "code" and len(number.span) > len(number.text):
        if holding and "." in number.text:
            return ""
        return (
            f"{_where(number)}: `{number.span}` stands in no cell, output or tab: write it as it"
            f" does there, or list “{number.span}” in book/data/unheld.toml with a reason"
        )
    if holding:
        return ""
    advice = f"; or list “{phrase_of(number)}” in book/data/spoken.toml" if is_small(number) else ""
    if rival and any(_agrees(number, source.value) for scope in scopes for source in scope):
        return (
            f"{_where(number)}: {rival.where} is nearer than what gives it, and has {rival.text}:"
            f" if the sentence is right, assert its number in a hidden cell beside it{advice}"
        )
    what = "assertion beside it" if _is_digit(number) else "cell"
    scope = "" if _is_digit(number) or _is_unmistakable(number) else " of this section"
    return f"{_where(number)}: no {what}{scope} gives it; {_nearest(number, scopes[-1])}{advice}"


def _names_a_level(number: Number) -> bool:
    """Tell whether a word fills the cell of a table alone, as the name of a design may."""
    return number.form == "word" and not (number.before + number.after).strip()


def _where(number: Number) -> str:
    short = number.sentence if len(number.sentence) <= 160 else number.sentence[:157] + "…"
    return f"{number.text} ({number.kind}) in “{short}”"


def _scopes(number: Number, held: Held, section: int, position: int) -> list[list[Source]]:
    """Return what may give a number, in the order of precedence.

    First what is asserted beside its cell, then in its section, then what the section gives
    otherwise; a long number may come from anywhere on the page, and a digit only from beside it.
    A section without cells, such as a summary, may repeat what hidden cells assert elsewhere.
    """
    own = [source for source in held.sources if source.section in (section, -1)]
    firm = [source for source in own if source.asserted]
    beside = [source for source in held.beside(position) if source.section in (section, -1)]
    anywhere = [source for source in held.sources if source.asserted]
    if _is_digit(number):
        return [[source for source in beside if source.asserted] if firm else anywhere]
    last = held.sources if _is_unmistakable(number) else [] if own else anywhere
    return [beside, firm, own, last] if last else [beside, firm, own]


def _held_by(number: Number, scopes: list[list[Source]]) -> tuple[list[Source], Source | None]:
    """Return what gives a number, or what differs from it in one digit and takes precedence."""
    for scope in scopes:
        holding = [source for source in scope if _agrees(number, source.value)]
        if holding:
            return holding, None
        firm = (source for source in scope if not source.shown)
        rival = next((source for source in firm if _nearly_agrees(number, source.value)), None)
        if rival and not _is_digit(number):
            return [], rival
    return [], None


def _nearly_agrees(number: Number, value: Decimal) -> bool:
    """Tell whether a value would give the number if one of its digits were another."""
    unit = Decimal((0, (1,), int(number.value.as_tuple().exponent)))
    for scaled in (value, value * 100) if number.form == "percent" else (value,):
        if scaled.adjusted() - unit.adjusted() > 20:
            continue
        meant = abs(scaled.quantize(unit))
        other = replace(number, value=meant.copy_sign(number.value))
        if _one_digit_apart(str(meant), str(abs(number.value))) and _agrees(other, value):
            return True
    return False


def _is_unmistakable(number: Number) -> bool:
    return _significant(number.value) >= UNMISTAKABLE


def _is_digit(number: Number) -> bool:
    whole = number.value == number.value.to_integral_value() and "." not in number.text
    return whole and abs(number.value) < 10


def _nearest(number: Number, near: list[Source]) -> str:
    """Name the value that comes nearest to a number, and the cell that gives it."""
    nearest = min(near, key=lambda source: abs(source.value - number.value), default=None)
    return f"the nearest is {nearest.text} in {nearest.where}" if nearest else "none gives a number"


def is_free(number: Number) -> bool:
    """Tell whether a number is a matter of language, or part of the shape of a formula."""
    match number.form:
        case "exponent":
            return number.value in (2, -1)
        case "index":
            return all(digit in "01234" for digit in number.text)
        case "df":
            return number.value <= 1
        case "percent" | "version":
            return False
    limit = 2 if number.kind == "formula" else 1
    return "." not in number.text and abs(number.value) <= limit


def _counted(number: Number, counts: dict[str, list[int]]) -> str:
    """Return the counted word that follows a number, with at most two words between; or nothing."""
    if "." in number.text or number.form == "percent" or number.kind in ("R", "tab", "code"):
        return ""
    if number.form == "df":
        return _DF if number.value in counts.get(_DF, ()) else ""
    if number.kind == "formula":
        symbol = _SYMBOL.search(number.before)
        return f"{symbol[1]} =" if symbol and f"{symbol[1]} =" in counts else ""
    after = _ALSO.sub("", number.after.lower())
    after = " ".join(re.split(r"[.,;:!?()\n$`]", after, maxsplit=1)[0].split())
    words = [word.strip("*_\"'“”") for word in re.split(r"[\s-]+", after) if word]
    found: list[tuple[int, str]] = []
    for noun in counts:
        parts = noun.split()
        for gap in range(3):
            here = words[gap : gap + len(parts)]
            passed = words[:gap]
            if any(word in _STOPS or word in WORDS for word in passed):
                break
            if here and singular(" ".join(here)) == singular(noun):
                found.append((gap, noun))
    return min(found)[1] if found else ""


def _agrees(number: Number, value: Decimal) -> bool:
    """Tell whether a number is a value, or the rounding of it; a percentage is a hundredth."""
    stated = number.value
    if number.form == "percent":
        return _rounds(stated, value, 2) or _rounds(stated / 100, value, 2)
    return _rounds(stated, value, ROUNDED)


def _rounds(stated: Decimal, value: Decimal, digits: int) -> bool:
    """Compare; a stated number with fewer significant digits than `digits` is compared exactly."""
    if stated >= 0:
        value = abs(value)
    if stated == value:
        return _decimals(stated) <= _decimals(value)
    if _significant(stated) < digits:
        return False
    unit = Decimal((0, (1,), int(stated.as_tuple().exponent)))
    if abs(stated - value) > unit or stated == stated.to_integral_value():
        return False
    return any(value.quantize(unit, mode) == stated for mode in (ROUND_HALF_EVEN, ROUND_HALF_UP))


def _decimals(value: Decimal) -> int:
    return max(-int(value.as_tuple().exponent), 0)


def _significant(value: Decimal) -> int:
    """Count the digits from the first that is not zero; zeros that end a whole number are none."""
    digits = "".join(map(str, value.as_tuple().digits)).lstrip("0")
    return len(digits.rstrip("0")) if value == value.to_integral_value() else len(digits)
