"""Every number that a page states comes from a cell of that page.

A number in a sentence, a caption, an alternative text, a table, an exercise or a solution is *held*
if it stands, word for word or as the rounding of a longer one,

* in the output of a cell, shown or hidden, the words in figures included;
* in an assertion that compares something computed with it: `assert f"{p:.3f}" == "0.016"`;
* in the code of a cell that readers see, as an input: `nsim = 2000`;
* in R's answer in a tab, which is stored (`tools/book/tabs.py`).

Small numbers and numbers in words occur everywhere, so they are held together with the word that
they count. A hidden cell with the tag `counts` shows a dictionary, say `{"operators": [4, 8]}`: on
that page every "four operators" and "8 operators" is held, and no other number of operators above
one. A key such as `"n ="` is a symbol of formulas, `$n = 5$`. What counts must be computed, where
data decide; the factors of every data set that a page loads must be among the counted words if a
sentence counts them.

A number with fewer than three significant digits must come from the same section, as it is written.
A literal that no assertion compares holds nothing, nor does a tolerance. What is held by none of
these stands in `book/data/unheld.toml`, each with its reason.
"""

from __future__ import annotations

import ast
import builtins
import html
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from functools import cache
from itertools import count

from nbformat import NotebookNode

from mmlib.datasets import dataset_info
from tools import ROOT
from tools.book.prose import WORDS, Number, numbers, pieces, plain_numbers

UNHELD = ROOT / "book" / "data" / "unheld.toml"
R_VERSIONS = ROOT / "tests" / "oracle" / "tabs" / "versions.txt"
COUNTS = "counts"
# Digits from which on a number is hardly ever the same as another by chance.
UNMISTAKABLE = 3
ROUNDED = 3
_MODULES = {"np", "pd", "math", "stats", "mm", *dir(builtins)}
_TOLERANCES = {"atol", "rtol", "rel_tol", "abs_tol", "decimal", "digits"}
_DRAWING = {"ax", "axes", "fig", "plt", "axis", "panel", "left", "right"}
_DECORATION = {
    *(
        "figsize",
        "linewidth",
        "linewidths",
        "lw",
        "alpha",
        "color",
        "edgecolor",
        "xytext",
        "zorder",
    ),
    *("fontsize", "markersize", "ms", "s", "width_ratios", "height_ratios", "hspace", "wspace"),
}
_HEADING = re.compile(r"(?m)^(?=## )")
_SVG_WORDS = re.compile(r"<!--(.*?)-->", re.DOTALL)
_TICKS = re.compile(r'(?s)<g id="[xy]tick_\d+">.*?<!--.*?-->')
_SYMBOL = re.compile(r"(?:^|[^\w\\])(\w+)\s*=\s*(?:[^=,;]*=\s*)?$")
_TAG = re.compile(r"<(?:style|script).*?</(?:style|script)>|<[^>]*>", re.DOTALL)


@dataclass(frozen=True)
class Source:
    """A number that a cell gives: what, where, and in which section of the page."""

    value: Decimal
    text: str
    where: str
    section: int


@dataclass
class Held:
    """What the cells of a page give."""

    sources: list[Source] = field(default_factory=list)
    counts: dict[str, list[int]] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    code: str = ""
    sections: list[int] = field(default_factory=list)

    def holds(self, number: Number, section: int) -> bool:
        """Tell whether some cell gives this number; a short one, a cell of the same section."""
        return any(_agrees(number, source.value) for source in self._near(number, section))

    def nearest(self, number: Number, section: int) -> str:
        """Name the value that comes nearest to a number, and the cell that gives it."""
        near = min(
            self._near(number, section),
            key=lambda source: abs(source.value - number.value),
            default=None,
        )
        return f"the nearest is {near.text} in {near.where}" if near else "no cell gives a number"

    def _near(self, number: Number, section: int) -> list[Source]:
        if _significant(number.value) >= UNMISTAKABLE:
            return self.sources
        return [source for source in self.sources if source.section == section] or self.sources


def unheld(notebook: NotebookNode, allowed: list[str] | None = None) -> list[str]:
    """Name each number that no cell of the page holds: its sentence, and the nearest value.

    Parameters
    ----------
    notebook : NotebookNode
        An executed chapter.
    allowed : list of str, optional
        Phrases of this page whose numbers need no cell.
    """
    held = read_held(notebook)
    return [
        f"cell {position}: {complaint}"
        for position, cell in enumerate(notebook.cells, start=1)
        for complaint in unheld_in(cell, position, held, allowed or [])
    ]


def unheld_in(cell: NotebookNode, position: int, held: Held, allowed: list[str]) -> list[str]:
    """Name the numbers that are not held in the cell at some position, counted from 1."""
    return [
        complaint
        for section, number in _stated(cell, position, held.sections[position - 1])
        if not any(_covers(phrase, number) for phrase in allowed)
        and (complaint := _complaint(number, held, section))
    ]


def allowed_phrases(page: str) -> list[str]:
    """Return what `unheld.toml` lets stand on a page."""
    return [*allow_list().get("everywhere", {}), *allow_list().get(page, {})]


@cache
def allow_list() -> dict[str, dict[str, str]]:
    """Read the exceptions: page, phrase, reason."""
    return tomllib.loads(UNHELD.read_text(encoding="utf-8")) if UNHELD.is_file() else {}


def _stated(cell: NotebookNode, position: int, section: int) -> Iterator[tuple[int, Number]]:
    """Yield every number that a cell states to its readers, and the section that it stands in."""
    if cell.cell_type == "markdown":
        for text, part in zip(_HEADING.split(cell.source), count(), strict=False):
            yield from ((section if part == 0 else position, number) for number in numbers(text))
        return
    mystnb = cell.metadata.get("mystnb", {})
    caption = str(mystnb.get("figure", {}).get("caption", ""))
    alt = str(mystnb.get("image", {}).get("alt", ""))
    stated = numbers(caption, "caption") + numbers(alt, "alt text")
    yield from ((section, number) for number in stated)


def _complaint(number: Number, held: Held, section: int) -> str:
    """Say what is wrong with a number; empty if it is held."""
    if number.kind == "R":
        return ""  # held as a whole by tools/book/tabs.py
    where = f"{number.text} ({number.kind}) in “{_short(number)}”"
    if counted := _counted(number, held.counts):
        if number.value in (*held.counts[counted], 0, 1):
            return ""
        values = ", ".join(map(str, held.counts[counted])) or "no"
        return f"{where}: the page counts {values} {counted} (in its cell with the tag {COUNTS})"
    if number.form == "version":
        given = any(number.text in text for text in held.texts)
        return "" if given else f"{where}: no cell shows this version"
    if _is_free(number):
        return ""
    if number.kind == "code" and number.text.lstrip("-") in held.code:
        return ""
    if held.holds(number, section):
        return ""
    scope = "" if _significant(number.value) >= UNMISTAKABLE else " of this section"
    return f"{where}: no cell{scope} gives it; {held.nearest(number, section)}"


def _is_free(number: Number) -> bool:
    """Tell whether a number is a matter of language, or so small that it would match anything."""
    if number.form == "word":
        return True
    whole = number.value == number.value.to_integral_value() and "." not in number.text
    return whole and number.form != "percent" and abs(number.value) < 10


def _counted(number: Number, counts: dict[str, list[int]]) -> str:
    """Return the counted word that follows a number, with at most two words between; or nothing."""
    if "." in number.text or number.kind in ("R", "tab", "code"):
        return ""
    if number.kind == "formula":
        symbol = _SYMBOL.search(number.before)
        return f"{symbol[1]} =" if symbol and f"{symbol[1]} =" in counts else ""
    after = " ".join(re.split(r"[.,;:!?()\n$`]", number.after.lower(), maxsplit=1)[0].split())
    words = [word.strip("*_\"'“”") for word in re.split(r"[\s-]+", after) if word]
    found: list[tuple[int, str]] = []
    for noun in counts:
        parts = noun.split()
        for gap in range(3):
            here = words[gap : gap + len(parts)]
            passed = words[:gap]
            if any(word in _STOPS or word in WORDS for word in passed):
                break
            if here and _singular(" ".join(here)) == _singular(noun):
                found.append((gap, noun))
    return min(found)[1] if found else ""


_STOPS = {
    *("of", "in", "on", "for", "and", "or", "to", "with", "by", "at", "from", "the"),
    *("than", "a", "as", "is", "are", "each", "were", "have"),
}


def _singular(words: str) -> str:
    if words in _IRREGULAR:
        return _IRREGULAR[words]
    return words[:-3] + "y" if words.endswith("ies") else words.removesuffix("s")


_IRREGULAR = {"children": "child", "people": "person", "mice": "mouse"}


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


def _covers(phrase: str, number: Number) -> bool:
    """Tell whether an allowed phrase stands around the number in its sentence."""
    place = " ".join(f"{number.before}{number.text.lstrip('-−')}{number.after}".split())
    phrase, place = phrase.replace(" %", "%"), place.replace(" %", "%")
    return phrase in place and number.text.lstrip("-−") in phrase


def _short(number: Number) -> str:
    return number.sentence if len(number.sentence) <= 160 else number.sentence[:157] + "…"


# --- What cells give ----------------------------------------------------------------------------


def read_held(notebook: NotebookNode) -> Held:
    """Collect what the cells of an executed notebook give."""
    held = Held(texts=[R_VERSIONS.read_text(encoding="utf-8")])
    section = 0
    for position, cell in enumerate(notebook.cells, start=1):
        held.sections.append(section)
        if cell.cell_type == "markdown":
            section = position if _HEADING.search(cell.source) else section
            _read_answers(held, cell, position, section)
        elif COUNTS in cell.metadata.get("tags", []):
            held.counts |= _counts(cell)
        else:
            _read_code(held, cell, position, section)
    return held


def _read_answers(held: Held, cell: NotebookNode, position: int, section: int) -> None:
    """Take in R's answers in the tabs of a text."""
    for number in numbers(cell.source):
        if number.kind == "R":
            _add(held, number, f"R's answer in cell {position}", section)
    held.texts += [p.text for block in pieces(cell.source) for p in block if p.kind == "R"]


def _read_code(held: Held, cell: NotebookNode, position: int, section: int) -> None:
    """Take in the outputs of a cell, and the literals of its code that hold a number."""
    for text in map(_readable, cell.outputs):
        held.texts.append(text)
        for number in plain_numbers(text):
            _add(held, number, f"the output of cell {position}", section)
    visible = "remove-cell" not in cell.metadata.get("tags", [])
    held.code += cell.source + "\n" if visible else ""
    for factor in loaded_factors(cell.source):
        if not any(_singular(noun) == _singular(factor.lower()) for noun in held.counts):
            held.counts[f"{factor.lower()}s".replace("ys", "ies")] = []
    for text in _literals(cell.source, inputs=visible, drawing=_draws(cell)):
        for number in plain_numbers(text):
            _add(held, number, f"cell {position}", section)


def _add(held: Held, number: Number, where: str, section: int) -> None:
    if number.form != "version":
        held.sources.append(Source(number.value, number.text, where, section))


def _counts(cell: NotebookNode) -> dict[str, list[int]]:
    shown = ast.literal_eval("".join(map(_readable, cell.outputs)) or "{}")
    return {
        noun: [values] if isinstance(values, int) else list(values)
        for noun, values in shown.items()
    }


def _draws(cell: NotebookNode) -> bool:
    return any("image/svg+xml" in output.get("data", {}) for output in cell.outputs)


def _readable(output: NotebookNode) -> str:
    """Return what a reader sees of an output: text, a table, the words in a figure."""
    data = output.get("data", {})
    if figure := data.get("image/svg+xml"):
        return "\n".join(html.unescape(w) for w in _SVG_WORDS.findall(_TICKS.sub("", figure)))
    if "text/markdown" in data:
        return str(data["text/markdown"])
    if "text/html" in data:
        return html.unescape(_TAG.sub(" ", data["text/html"]))
    return str(output.get("text", "") or data.get("text/plain", ""))


def _literals(code: str, *, inputs: bool, drawing: bool) -> Iterator[str]:
    """Yield the literals of a cell that hold a number: compared by an assertion, or inputs."""
    tree = ast.parse(_without_magics(code))
    assigned = _plain_assignments(tree)
    for node in ast.walk(tree):
        for compared in _compared(node, assigned):
            yield from _constants(compared, texts=True)
    if inputs:
        yield from _inputs(tree, drawing=drawing)


def _without_magics(code: str) -> str:
    return "\n".join("" if line.startswith(("%", "!")) else line for line in code.splitlines())


def _compared(node: ast.AST, assigned: dict[str, ast.expr]) -> Iterator[ast.AST]:
    """Yield what an assertion compares with something computed."""
    match node:
        case ast.Assert(test=ast.BoolOp(values=tests)):
            checks: list[ast.AST] = list(tests)
        case ast.Assert(test=test):
            checks = [test]
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr=name)) as call) if name.startswith(
            "assert_"
        ):
            checks = [call]
        case ast.For(iter=iterated, body=body) if any(
            isinstance(inner, ast.Assert) for statement in body for inner in ast.walk(statement)
        ):
            yield iterated
            return
        case _:
            return
    for check in checks:
        names = {name.id for name in ast.walk(check) if isinstance(name, ast.Name)}
        if any(map(computes, ast.walk(check))):
            yield check
            yield from (assigned[name] for name in names & assigned.keys())


def computes(node: ast.AST) -> bool:
    """Tell whether a part of an assertion is more than a literal beside another."""
    match node:
        case ast.Name(id=name):
            return name not in _MODULES
        case ast.BinOp():
            return True
        case ast.Call(func=ast.Attribute(attr=name)):
            return name not in {"isclose", "allclose", "array", "approx"}
    return False


def _plain_assignments(tree: ast.Module) -> dict[str, ast.expr]:
    """Return what names are given as literals, such as the list `expected = [0.1, 0.2]`."""
    return {
        node.targets[0].id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.List | ast.Dict | ast.Tuple)
    }


def _constants(node: ast.AST, *, texts: bool) -> Iterator[str]:
    """Yield the constants below a node, with their signs; tolerances and formats are left out."""
    match node:
        case ast.keyword(arg=name) if name in _TOLERANCES | _DECORATION:
            return
        case ast.FormattedValue(value=value):
            yield from _constants(value, texts=texts)
            return
        case ast.Subscript(value=value):
            yield from _constants(value, texts=texts)
            return
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            yield _decimal(-value)
            return
        case ast.Constant(value=bool()):
            return
        case ast.Constant(value=int() | float() as value):
            yield _decimal(value)
        case ast.Constant(value=str(text)) if texts:
            yield text
    for child in ast.iter_child_nodes(node):
        yield from _constants(child, texts=texts)


def _decimal(value: float) -> str:
    return f"{Decimal(repr(value)):f}" if abs(value) < 1e15 else repr(value)


def _inputs(tree: ast.Module, *, drawing: bool) -> Iterator[str]:
    """Yield the numbers that shown code starts from; how a figure is drawn is none."""
    for statement in ast.walk(tree):
        if not isinstance(statement, ast.Assign | ast.Expr | ast.Return | ast.For | ast.With):
            continue
        calls = [node for node in ast.walk(statement) if isinstance(node, ast.Call)]
        if drawing and any(_root(call) in _DRAWING for call in calls):
            continue
        if isinstance(statement, ast.For | ast.With):
            continue
        yield from _constants(statement, texts=False)


def _root(call: ast.Call) -> str:
    node: ast.AST = call.func
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def loaded_factors(code: str) -> set[str]:
    """Return the names of the factors of the data sets that code loads."""
    names = re.findall(r'load_dataset\("(\w+)"\)', code)
    return {
        column
        for name in names
        for column, described in dataset_info(name).columns.items()
        if described.levels
    }
