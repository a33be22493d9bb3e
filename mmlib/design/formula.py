"""Read a mixed-model formula: ``y ~ fixed + (expr | group) + (expr || group)``.

Only the bars are ours; every expression between them is left to `formulaic`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from formulaic import Formula
from formulaic.errors import FormulaicError

from mmlib.design.language import unreadable
from mmlib.design.matrix import factors_of
from mmlib.design.names import as_written, closed_up, name_of, quoted, with_aliases
from mmlib.design.structures import STRUCTURES, US, Structure
from mmlib.design.words import FUNCTIONS, unknown_function
from mmlib.errors import FormulaError

_HINT = "write it as 'y ~ x + (1 | group)'"
_ANSI = re.compile(r"\x1b\[[0-9;]*m|[⧛⧚]")


@dataclass(frozen=True)
class RandomPart:
    """One random term of a formula: the columns of `expr` vary between the levels of `group`.

    Attributes
    ----------
    expr : str
        What varies, in formulaic's language; ``"1"`` is a random intercept.
    factors : tuple of str
        The columns whose combinations are the levels; more than one for ``a:b``.
    whole : str
        For a term of ``||``, all that varies there: it is coded as a whole, and each column of it
        varies on its own.
    structure : Structure
        How the effects of a level vary together; by default in any way.
    """

    expr: str
    factors: tuple[str, ...]
    whole: str = field(default="", repr=False)
    structure: Structure = field(default=US, repr=False)

    @property
    def group(self) -> str:
        """Name of the grouping, such as ``"operator"`` or ``"batch:cask"``."""
        return ":".join(quoted(name) if ":" in name else name for name in self.factors)

    def __str__(self) -> str:
        word = "" if self.structure == US else self.structure.word
        return f"{word}({self.expr} | {self.group})"


@dataclass(frozen=True)
class MixedFormula:
    """A formula split into its parts.

    Attributes
    ----------
    text : str
        The whole.
    response, fixed : str
        The left side, and the fixed part of the right side, in formulaic's language.
    random : tuple of RandomPart
        The random terms.
    """

    text: str
    response: str
    fixed: str
    random: tuple[RandomPart, ...]

    def __str__(self) -> str:
        return self.text


def parse_formula(formula: str | MixedFormula) -> MixedFormula:
    """Split a mixed-model formula in lme4's notation.

    A term may have a structure, as ``ar1(0 + visit | g)``: ``diag``, ``cs``, ``homcs``,
    ``ar1``, ``hetar1``, or ``us``, the default. ``(x || g)`` becomes ``(1 | g) + (0 + x | g)``;
    ``(1 | a/b)`` becomes ``(1 | a) + (1 | a:b)``.

    Parameters
    ----------
    formula : str or MixedFormula
        For example ``"bright ~ 1 + (1 | operator)"``; a parsed one is returned as it is.

    Returns
    -------
    MixedFormula

    Raises
    ------
    FormulaError
        If the text is not a formula, or a random term is malformed; the message quotes the part.

    Examples
    --------
    >>> import mmlib as mm
    >>> mm.parse_formula("strength ~ 1 + (1 | batch/cask)").random
    (RandomPart(expr='1', factors=('batch',)), RandomPart(expr='1', factors=('batch', 'cask')))
    """
    if isinstance(formula, MixedFormula):
        return formula
    if not isinstance(formula, str):
        raise FormulaError(f"the formula must be a string, not {type(formula).__name__}; {_HINT}.")
    return _parsed(formula)


@lru_cache(maxsize=256)
def _parsed(formula: str) -> MixedFormula:
    sides = [side.strip() for _, side in _split(formula, "~")]
    if len(sides) != 2 or not all(sides):
        raise FormulaError(
            f"the formula {formula!r} needs a response on the left of one '~' and terms on the "
            f"right; {_HINT}."
        )
    response, right = sides
    if "|" in _outside_quotes(response):
        raise FormulaError(f"the response {response!r} of {formula!r} has a bar in it; {_HINT}.")
    if any(depth == 0 and response[place] in "+-*/^:%" for place, depth in _scan(response)):
        raise FormulaError(
            f"the response {response!r} of {formula!r} would be read as terms, not as arithmetic: "
            f"write I({response.replace('^', '**')})."
        )
    fixed: list[str] = []
    random: list[RandomPart] = []
    for sign, chunk in _summands(right, formula):
        if _is_random(chunk):
            if sign == "-":
                raise FormulaError(f"a random term cannot be subtracted: '- {chunk}'.")
            random.extend(_random_parts(chunk))
        elif "|" in _outside_quotes(chunk) and not _is_call(chunk):
            raise FormulaError(
                f"a random term stands alone between '+' signs, in parentheses; found "
                f"{chunk!r} in {formula!r}; {_HINT}."
            )
        else:
            _refuse_idle(sign, chunk, fixed)
            fixed.append(f"{sign} {chunk}")
    fixed_text = " ".join(fixed).removeprefix("+ ") or "1"
    parse_with_formulaic(response)
    parse_with_formulaic(fixed_text)
    return MixedFormula(closed_up(formula), response, fixed_text, tuple(random))


def _refuse_idle(sign: str, chunk: str, before: list[str]) -> None:
    """Refuse what the algebra of terms ignores, where arithmetic is meant.

    ``x**2`` is x there, and ``x - z`` is x if no z stands before.
    """
    for position, depth in _scan(chunk):
        if depth or not (chunk[position] == "^" or chunk.startswith("**", position)):
            continue
        base = list(_split(chunk[:position], "*:/"))[-1][1].strip()
        if base and not base.startswith("("):
            exponent = chunk[position:].lstrip("*^ ")
            raise FormulaError(
                f"{chunk!r} would be read as a product of terms, which is {base} itself: for a "
                f"power write I({base} ** {exponent})."
            )
    if sign == "+" or chunk in ("0", "1"):
        return
    if not _sets_of_factors(chunk) <= _sets_of_factors(" ".join(before) or "1"):
        raise FormulaError(
            f"'- {chunk}' takes away a term that is not there; for a difference write I(a - b), "
            "and for one from a mean center(x)."
        )


def _sets_of_factors(expression: str) -> set[frozenset[str]]:
    terms = parse_with_formulaic(expression.removeprefix("+ "))
    return {frozenset(factor.expr for factor in term.factors) for term in terms} - {frozenset("1")}


def _summands(right: str, text: str) -> list[tuple[str, str]]:
    """The signed terms of the right side, as written."""
    *pieces, (sign, last) = _split(right, "+-")
    if not last.strip():
        raise FormulaError(f"the formula {text!r} ends with {sign!r}: a term is missing.")
    # Nothing stands before a leading sign, as in '- 1 + x', or between two.
    before = [(sign, chunk.strip()) for sign, chunk in pieces if chunk.strip()]
    return [*before, (sign, last.strip())]


@lru_cache(maxsize=256)
def parse_with_formulaic(expression: str) -> Any:
    """Parse one expression, turning formulaic's complaint into a `FormulaError`."""
    if "%in%" in _outside_quotes(expression):  # formulaic's b/a
        raise FormulaError(f"cannot read {expression!r}: for 'a %in% b' of R write a:b.")
    try:
        return Formula(with_aliases(expression))
    except SyntaxError:
        raise unreadable(expression) from None
    except FormulaicError as error:
        if "`.` operator" in str(error):
            raise FormulaError(
                f"cannot read {expression!r} in the formula: the dot of R, for all other columns, "
                "has no meaning here; name the columns."
            ) from None
        reason = as_written(_ANSI.sub("", str(error))).strip().splitlines()[0].rstrip(".")
        raise FormulaError(
            f"cannot read {expression!r} in the formula: {reason}. Arithmetic and comparisons "
            "stand in I(), as in I(2 * x) or I(x > 0)."
        ) from None


def coded_columns(formula: MixedFormula) -> set[str]:
    """Names that the expressions of a formula compute with, those of groupings left out."""
    texts = (f"0 + {formula.response}", formula.fixed, *(part.expr for part in formula.random))
    return set().union(*(columns_used(parse_with_formulaic(text)) for text in texts))


def columns_used(expression: Any) -> set[str]:
    """Names that a parsed expression takes from the data."""
    return set().union(*(code.columns for _, code in factors_of(expression)))


def only_column(expression: Any) -> str:
    """The column that an expression consists of, if it is nothing else."""
    codes = [code for _, code in factors_of(expression)]
    return codes[0].text if len(codes) == 1 and codes[0].columns == {codes[0].text} else ""


def _random_parts(chunk: str) -> Iterator[RandomPart]:
    """The terms that ``(expr | group)`` or ``(expr || group)`` stands for."""
    word, _, inside = chunk.partition("(")
    structure = STRUCTURES[word.strip() or US.word]
    pieces = [piece.strip() for _, piece in _split(inside[:-1], "|")]
    uncorrelated = len(pieces) == 3 and not pieces[1]
    if uncorrelated and word:
        raise FormulaError(
            f"{chunk!r} asks for two structures at once: write {word}(… | group), with one bar."
        )
    if uncorrelated:
        del pieces[1]
    if len(pieces) != 2 or not all(pieces):
        raise FormulaError(f"the random term {chunk!r} must look like '(1 + x | group)'.")
    expr, group = pieces
    before: list[str] = []
    for sign, part in _split(expr, "+-"):
        if part.strip():
            _refuse_idle(sign, part.strip(), before)
            before.append(f"{sign} {part}")
    terms = parse_with_formulaic(expr)
    exprs = _one_by_one(terms) if uncorrelated else [expr]
    whole = expr if uncorrelated else ""
    if not list(terms):
        raise FormulaError(
            f"the random term {chunk!r} has nothing that varies; try '(1 | {group})'."
        )
    for factors in _groupings(group, chunk):
        for part in exprs:
            yield RandomPart(part, factors, whole, structure)


def _one_by_one(terms: Any) -> list[str]:
    """The terms of an expression, each as an expression of its own, for ``||``."""
    products = [":".join(as_written(factor.expr) for factor in term.factors) for term in terms]
    return ["1" if product == "1" else f"0 + {product}" for product in products]


def _groupings(group: str, chunk: str) -> list[tuple[str, ...]]:
    """The groupings of ``a``, ``a:b`` or ``a/b``, outermost first."""
    groupings = []
    for term in parse_with_formulaic(group):
        if str(term) == "1":
            continue
        if not all(factor.eval_method.value == "lookup" for factor in term.factors):
            raise FormulaError(
                f"the grouping {group!r} of {chunk!r} must be made of column names; "
                "compute the column first."
            )
        groupings.append(tuple(name_of(factor.expr) for factor in term.factors))
    if not groupings:
        raise FormulaError(f"the random term {chunk!r} names no grouping column after the bar.")
    return groupings


def _is_random(chunk: str) -> bool:
    word, opening, inside = chunk.partition("(")
    known = not word or word.strip() in STRUCTURES
    if not (known and opening and inside.endswith(")")):
        return False
    inside = inside[:-1]
    return _balanced(inside) and len(list(_split(inside, "|"))) > 1


def _is_call(chunk: str) -> bool:
    """Whether a bar is one inside a function, as in ``I((x > 0) | (z > 0))``."""
    call = re.fullmatch(r"([\w.]+)\((.*)\)", chunk, re.DOTALL)
    if call and call[1] in FUNCTIONS:
        raise unknown_function(call[1], chunk, call[2])
    return bool(call and _balanced(call[2]))


def _balanced(text: str) -> bool:
    """Whether the brackets of `text` close what they open, in order."""
    depths = [depth for _, depth in _scan(text)]
    return not depths or (min(depths) >= 0 and depths[-1] == 0)


def _split(text: str, separators: str) -> Iterator[tuple[str, str]]:
    """Cut `text` at separators outside brackets and quotes: pairs of (separator before, piece)."""
    start, sign = 0, "+"
    for position, depth in _scan(text):
        if depth == 0 and text[position] in separators:
            yield sign, text[start:position]
            sign, start = text[position], position + 1
    yield sign, text[start:]


def _outside_quotes(text: str) -> str:
    return "".join(text[position] for position, _ in _scan(text))


def _scan(text: str) -> Iterator[tuple[int, int]]:
    """Positions outside quotes, each with the bracket depth after its character."""
    depth, quote = 0, ""
    for position, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
            continue
        if character in "'\"`":
            quote = character
        depth += (character in "([{") - (character in ")]}")
        yield position, depth
