"""Read a mixed-model formula: ``y ~ fixed + (expr | group) + (expr || group)``.

Only the bars are ours; every expression between them is left to `formulaic`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from formulaic import Formula
from formulaic.errors import FormulaicError
from formulaic.transforms import TRANSFORMS

from mmlib.errors import FormulaError

_HINT = "write it as 'y ~ x + (1 | group)'"
_R_FUNCTIONS = {
    "factor": "write C(x)",
    "as.factor": "write C(x)",
    "offset": "pass offset='column' to the fit",
    "ns": "write cr(x, df=4) for ns(x, 3)",
    "relevel": "order the categories of the column",
}
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
    """

    expr: str
    factors: tuple[str, ...]

    @property
    def group(self) -> str:
        """Name of the grouping, such as ``"operator"`` or ``"batch:cask"``."""
        return ":".join(self.factors)

    def __str__(self) -> str:
        return f"({self.expr} | {self.group})"


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


def parse_formula(formula: str) -> MixedFormula:
    """Split a mixed-model formula in lme4's notation.

    ``(x || g)`` becomes ``(1 | g) + (0 + x | g)``; ``(1 | a/b)`` becomes ``(1 | a) + (1 | a:b)``.

    Parameters
    ----------
    formula : str
        For example ``"bright ~ 1 + (1 | operator)"``.

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
    if not isinstance(formula, str):
        raise FormulaError(f"The formula must be a string, not {type(formula).__name__}; {_HINT}.")
    sides = [side.strip() for _, side in _split(formula, "~")]
    if len(sides) != 2 or not all(sides):
        raise FormulaError(
            f"The formula {formula!r} needs a response on the left of one '~' and terms on the "
            f"right; {_HINT}."
        )
    response, right = sides
    if "|" in _outside_quotes(response):
        raise FormulaError(f"The response {response!r} of {formula!r} has a bar in it; {_HINT}.")
    if any(depth == 0 and response[place] in "+-*/^:%" for place, depth in _scan(response)):
        raise FormulaError(
            f"The response {response!r} of {formula!r} would be read as terms, not as arithmetic: "
            f"write I({response.replace('^', '**')})."
        )
    fixed: list[str] = []
    random: list[RandomPart] = []
    for sign, chunk in _summands(right, formula):
        if _is_random(chunk):
            if sign == "-":
                raise FormulaError(f"A random term cannot be subtracted: '- {chunk}'.")
            random.extend(_random_parts(chunk))
        elif "|" in _outside_quotes(chunk):
            raise FormulaError(
                f"A random term stands alone between '+' signs, in parentheses; found "
                f"{chunk!r} in {formula!r}; {_HINT}."
            )
        else:
            fixed.append(f"{sign} {chunk}")
    fixed_text = " ".join(fixed).removeprefix("+ ") or "1"
    parse_with_formulaic(response)
    parse_with_formulaic(fixed_text)
    return MixedFormula(" ".join(formula.split()), response, fixed_text, tuple(random))


def _summands(right: str, text: str) -> list[tuple[str, str]]:
    """The signed terms of the right side, as written."""
    *pieces, (sign, last) = _split(right, "+-")
    if not last.strip():
        raise FormulaError(f"The formula {text!r} ends with {sign!r}: a term is missing.")
    # Nothing stands before a leading sign, as in '- 1 + x', or between two.
    before = [(sign, chunk.strip()) for sign, chunk in pieces if chunk.strip()]
    return [*before, (sign, last.strip())]


@lru_cache(maxsize=256)
def parse_with_formulaic(expression: str) -> Any:
    """Parse one expression, turning formulaic's complaint into a `FormulaError`."""
    try:
        return Formula(expression)
    except SyntaxError:
        raise _unreadable(expression) from None
    except FormulaicError as error:
        if "`.` operator" in str(error):
            raise FormulaError(
                f"Cannot read {expression!r} in the formula: the dot of R, for all other columns, "
                "has no meaning here; name the columns."
            ) from None
        reason = _ANSI.sub("", str(error)).strip().splitlines()[0]
        raise FormulaError(f"Cannot read {expression!r} in the formula: {reason}") from None


def columns_used(expression: Any) -> set[str]:
    """Names that a parsed expression takes from the data."""
    return set().union(*(names for _, names in factors_of(expression)))


def factors_of(expression: Iterable[Any]) -> Iterator[tuple[str, set[str]]]:
    """The factors of a parsed expression: the code of each, and the names it takes from the data.

    (formulaic's ``required_variables`` forgets the columns inside ``poly()`` and its like, forgets
    those that are called like one of its functions, and cuts names at a dot.)
    """
    for factor in (factor for term in expression for factor in term.factors):
        if factor.eval_method.value == "lookup":
            yield factor.expr, {factor.expr}
        elif factor.eval_method.value == "python":
            yield factor.expr, _names(factor.expr)


def _names(code: str) -> set[str]:
    """Variables of a Python expression in which backticks quote unusual names."""
    quoted = set(re.findall("`([^`]*)`", code))
    tree = _python(re.sub("`[^`]*`", "0", code))
    if any(isinstance(node, ast.BitXor) for node in ast.walk(tree)):
        raise FormulaError(f"{code!r}: a power is written ** here; ^ is an operation on bits.")
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - set(TRANSFORMS)
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if isinstance(call.func, ast.Name) and call.func.id in names:
            raise _no_function(call.func.id, code)
    return quoted | names


def _python(code: str) -> ast.Expression:
    try:
        return ast.parse(code, mode="eval")
    except SyntaxError:
        raise _unreadable(code) from None


def _unreadable(code: str) -> FormulaError:
    """The error of code that is no Python, as R's names with dots are not."""
    for name in re.findall(r"([\w.]+)\(", code):
        if name in _R_FUNCTIONS:
            return _no_function(name, code)
    return FormulaError(f"Cannot read {code!r} in the formula.")


def _no_function(name: str, code: str) -> FormulaError:
    hint = _R_FUNCTIONS.get(name)
    if hint is None:
        ours = f"np.{name}" if hasattr(np, name) else "a function of numpy, as in np.sqrt(x)"
        hint = f"write {ours}, or compute the column first"
    return FormulaError(f"Formulas have no function {name!r} (in {code!r}): {hint}.")


def _random_parts(chunk: str) -> Iterator[RandomPart]:
    """The terms that ``(expr | group)`` or ``(expr || group)`` stands for."""
    pieces = [piece.strip() for _, piece in _split(chunk[1:-1], "|")]
    uncorrelated = len(pieces) == 3 and not pieces[1]
    if uncorrelated:
        del pieces[1]
    if len(pieces) != 2 or not all(pieces):
        raise FormulaError(f"The random term {chunk!r} must look like '(1 + x | group)'.")
    expr, group = pieces
    terms = parse_with_formulaic(expr)
    exprs = _one_by_one(terms) if uncorrelated else [expr]
    if not list(terms):
        raise FormulaError(
            f"The random term {chunk!r} has nothing that varies; try '(1 | {group})'."
        )
    for factors in _groupings(group, chunk):
        for part in exprs:
            yield RandomPart(part, factors)


def _one_by_one(terms: Any) -> list[str]:
    """The terms of an expression, each as an expression of its own, for ``||``."""
    products = [":".join(_quoted(factor) for factor in term.factors) for term in terms]
    return ["1" if product == "1" else f"0 + {product}" for product in products]


def _quoted(factor: Any) -> str:
    """A factor as it stood in the formula: formulaic drops the backticks of a column's name."""
    is_plain = factor.eval_method.value != "lookup" or factor.expr.isidentifier()
    return factor.expr if is_plain else f"`{factor.expr}`"


def _groupings(group: str, chunk: str) -> list[tuple[str, ...]]:
    """The groupings of ``a``, ``a:b`` or ``a/b``, outermost first."""
    groupings = []
    for term in parse_with_formulaic(group):
        factors = tuple(factor.expr for factor in term.factors)
        if factors == ("1",):
            continue
        if not all(factor.eval_method.value == "lookup" for factor in term.factors):
            raise FormulaError(
                f"The grouping {group!r} of {chunk!r} must be made of column names; "
                "compute the column first."
            )
        groupings.append(factors)
    if not groupings:
        raise FormulaError(f"The random term {chunk!r} names no grouping column after the bar.")
    return groupings


def _is_random(chunk: str) -> bool:
    if not (chunk.startswith("(") and chunk.endswith(")")):
        return False
    inside = chunk[1:-1]
    return _balanced(inside) and len(list(_split(inside, "|"))) > 1


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
