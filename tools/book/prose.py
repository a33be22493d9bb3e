"""What a page says: its sentences, and the numbers that stand in them.

MyST's own parser decides what is a sentence, a formula, code or a role; directives are read into,
so that a tab, an admonition or the caption of a figure is prose like any other. A number is a run
of digits or, below a thousand, a word: `0.1494`, `10,000`, `2e-16`, `twenty`. Not numbers, since
they name things: labels, targets and citations. Indices and exponents are told apart from what
stands on the line.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

from markdown_it.token import Token
from nbformat import NotebookNode

from tools.homework.text import block_of, is_directive, parser

_UNITS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
    "nineteen",
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
WORDS = {
    **{word: number for number, word in enumerate(_UNITS)},
    **{word: 10 * number for number, word in enumerate(_TENS, start=2)},
    **{
        f"{ten}-{unit}": 10 * tens + ones
        for tens, ten in enumerate(_TENS, start=2)
        for ones, unit in enumerate(_UNITS[1:10], start=1)
    },
    "hundred": 100,
    "thousand": 1000,
}
WORDS |= {f"hundred and {word}": 100 + number for word, number in WORDS.items() if 0 < number < 100}
_WORD = "|".join(sorted(WORDS, key=len, reverse=True))
_VERSION = r"\d+\.\d+(?:\.\d+|-\d+)(?:\.\d+)*"
_FIGURE = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?"
_TOKEN = re.compile(
    rf"(?<![\w.])(?:(?P<version>{_VERSION})|(?P<figure>{_FIGURE}))(?![\d]|[A-Za-z_](?!\b))"
    rf"|\b(?P<word>{_WORD})\b",
    re.IGNORECASE,
)
_MINUS = re.compile(r"(?:^|[^\w)\]}])\s*[-−]$")
_PERCENT = re.compile(r"\s?(?:\\,|~|\\ )?\\?(?:%|percent)")
_SENTENCE_END = re.compile(r"(?<=[.!?:;])\s+(?=[^a-z])")
_ROLE_TEXT = re.compile(r"(?s)(.*?)\s*<[^<>]+>")
# Roles whose content is read by people; the others name pages, labels and works.
_READ_ROLES = {"term"}

_TEX = (
    (re.compile(r"\\,(?=\d{3})"), ","),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\[dt]?frac\s*(\d)\s*(\d)"), r"\\frac{\1}{\2}"),
    (re.compile(r"(\d)\s*\\(?:cdot|times)\s*10\^\{?(-?\d+)\}?"), r"\1e\2"),
    (re.compile(r"(?<![\d.])10\^\{?(-?\d+)\}?"), r"1e\1"),
    (re.compile(r"\\sqrt\[\d\]"), r"\\sqrt"),
    (re.compile(r"(\\[A-Za-z]+)(?=\d)"), r"\1 "),
    (re.compile(r"\\(?:label|tag|begin|end|hspace|vspace)\{[^{}]*\}"), " "),
)
# Indices and exponents, unless they hold a decimal.
_SET_OFF = re.compile(r"[_^](?:\d|\{[^{}.]*\})")
# Those that are a number alone; what stands below χ², t and F are degrees of freedom.
_EXPONENT = re.compile(r"\^\{?(?P<exponent>-?\d+)(?![\d,.])\}?")
_INDEX = re.compile(
    r"(?P<of>\\chi\^2|(?<![A-Za-z\\])[tF]|)_\{?(?P<index>\d+)(?:,(?:\\,)?\s*(?P<second>\d+))?(?![\d.\w])"
)


@dataclass(frozen=True)
class Number:
    """A number that a page states.

    Attributes
    ----------
    text : str
        As it is written, with its sign.
    value : Decimal
        What it is worth; of a percentage, the number before the sign.
    sentence : str
        The sentence that it stands in.
    kind : str
        Where: `prose`, `formula`, `code`, `caption`, `alt text`, `R`, `tab`.
    form : str
        `figure`, `word`, `percent` or `version`; in formulas also `exponent`, `index` or `df`,
        degrees of freedom below χ², t or F.
    after, before : str
        What stands on either side of it in the paragraph.
    span : str
        Of a number in code within a sentence, the whole code.
    """

    text: str
    value: Decimal
    sentence: str
    kind: str
    form: str
    after: str = ""
    before: str = ""
    span: str = ""


@dataclass(frozen=True)
class Piece:
    """A stretch of a page of one kind, such as `formula`."""

    text: str
    kind: str


def pieces(markdown: str, kind: str = "prose") -> Iterator[list[Piece]]:
    """Yield the paragraphs, headings, cells of tables and blocks of code of a text."""
    for token in parser().parse(markdown):
        if is_directive(token) or (token.type == "colon_fence" and token.info.startswith("{")):
            yield from _of_directive(token, kind)
        elif token.type == "fence":
            answered = token.info.strip() in ("r", "py") and "#>" in token.content
            yield [Piece(token.content, "R" if answered else "tab")]
        elif token.type in ("math_block", "math_block_label", "amsmath"):
            yield [Piece(token.content, "formula")]
        elif token.type == "inline":
            yield list(_inline(token.children or [], kind))


def blocks(notebook: NotebookNode, language: str) -> list[str]:
    """Return the blocks of code in the texts of a chapter whose fence says a language."""
    fenced = re.compile(rf"(?ms)^```(?:{language})\n(.*?)^```$")
    texts = [cell.source + "\n" for cell in notebook.cells if cell.cell_type == "markdown"]
    return [code for text in texts for code in fenced.findall(text)]


def numbers(markdown: str, kind: str = "prose") -> list[Number]:
    """Return the numbers of a text, in order."""
    return [number for block in pieces(markdown, kind) for number in _numbers(block)]


def plain_numbers(text: str) -> list[Number]:
    """Return the numbers of a text that is no Markdown, such as an output or a literal."""
    return [
        number
        for line in text.splitlines()
        for number in _in_piece(line, "output", line)
        if number.form != "word"
    ]


def _of_directive(token: Token, kind: str) -> Iterator[list[Piece]]:
    block = block_of(token)
    if block.name == "math":
        yield [Piece(block.body, "formula")]
    elif block.name in ("figure", "image"):
        yield [Piece(block.options.get("alt", ""), "alt text")]
        yield from pieces(block.body, "caption")
    elif block.name == "glossary":
        for entry in re.split(r"\n\s*\n", block.body):
            term, _, meaning = entry.partition("\n ")
            yield from pieces(term, kind)
            yield from pieces(textwrap.dedent(" " + meaning), kind)
    elif block.name in ("literalinclude", "code-block", "code"):
        yield [Piece(block.body, "tab")]
    elif not block.name.startswith(("solution-", "toctree", "bibliography", "tableofcontents")):
        title = block.argument if block.name in ("admonition", "exercise-start") else ""
        yield from pieces(title, kind)
        yield from pieces(block.body, kind)


def _inline(tokens: list[Token], kind: str) -> Iterator[Piece]:
    for token in tokens:
        match token.type:
            case "text":
                yield Piece(token.content, kind)
            case "softbreak" | "hardbreak":
                yield Piece(" ", kind)
            case "code_inline":
                yield Piece(token.content, "code")
            case "math_inline" | "math_inline_double":
                yield Piece(token.content, "formula")
            case "myst_role" if token.meta["name"] in _READ_ROLES:
                titled = _ROLE_TEXT.fullmatch(token.content)
                yield Piece(titled[1] if titled else "", kind)
            case "image":
                yield Piece(token.content, "alt text")
            case _ if token.children:
                yield from _inline(token.children, kind)


def _numbers(block: list[Piece]) -> Iterator[Number]:
    """Yield the numbers of a paragraph, with the sentence and what stands on either side."""
    whole = "".join(piece.text for piece in block)
    start = 0
    for piece in block:
        end = start + len(piece.text)
        sentence = _sentence(whole, start) if piece.kind == "formula" else ""
        for number in _in_piece(_readable(piece), piece.kind, piece.text):
            if piece.kind in ("R", "tab"):
                yield number
                continue
            follows = number.after + whole[end:]
            if number.form == "figure" and _PERCENT.match(follows):
                number = replace(number, form="percent")
            at = whole.find(number.text.lstrip("-−"), start)
            yield replace(
                number,
                sentence=sentence or _sentence(whole, max(at, start)),
                after=follows[:120],
                before=(whole[:start] + number.before)[-120:],
                span=piece.text if piece.kind == "code" else "",
            )
        if piece.kind == "formula":
            yield from _set_off(piece.text, sentence, whole[end:])
        start = end


def _set_off(formula: str, sentence: str, rest: str) -> Iterator[Number]:
    """Yield the exponents and indices of a formula that are numbers."""
    text = _without_layout(formula)
    for pattern in (_EXPONENT, _INDEX):
        for found in pattern.finditer(text):
            form = "exponent" if pattern is _EXPONENT else "df" if found["of"] else "index"
            for name in ("exponent",) if pattern is _EXPONENT else ("index", "second"):
                if found[name]:
                    before, after = text[: found.start(name)], text[found.end(name) :] + rest
                    value = Decimal(found[name])
                    yield Number(
                        found[name], value, sentence, "formula", form, after[:120], before[-120:]
                    )


def _in_piece(text: str, kind: str, original: str) -> Iterator[Number]:
    for found in _TOKEN.finditer(text):
        before, after = text[: found.start()], text[found.end() :]
        if version := found["version"]:
            yield Number(version, Decimal(0), original, kind, "version", after, before)
        elif word := found["word"]:
            if kind in ("formula", "code", "R", "tab"):
                continue
            value = Decimal(WORDS[word.lower()])
            yield Number(word, value, original, kind, "word", after, before)
        else:
            figure = found["figure"]
            signed = f"-{figure}" if _MINUS.search(before) else figure
            value = Decimal(signed.replace(",", ""))
            form = "percent" if _PERCENT.match(after) else "figure"
            line = _line(text, found.start()) if kind in ("R", "tab") else original
            yield Number(signed, value, line, kind, form, after, before)


def _readable(piece: Piece) -> str:
    """Return a formula without what is no number in it; of a block of Python, the comments."""
    if piece.kind == "formula":
        return _SET_OFF.sub(" ", _without_layout(piece.text))
    if piece.kind == "tab":
        return "\n".join(line.partition("#")[2] for line in piece.text.splitlines())
    return piece.text


def _without_layout(formula: str) -> str:
    for pattern, replacement in _TEX:
        formula = pattern.sub(replacement, formula)
    return formula


def _sentence(text: str, position: int) -> str:
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    start = max((end for end in ends if end <= position), default=0)
    end = min((end for end in ends if end > position), default=len(text))
    return " ".join(text[start:end].split())


def _line(text: str, position: int) -> str:
    return text[text.rfind("\n", 0, position) + 1 :].partition("\n")[0].strip()
