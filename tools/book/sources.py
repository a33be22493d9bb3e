"""What the cells of a page give: the numbers in their outputs, assertions and inputs, and counts.

R's answers that a page shows in a tab, and those that it mentions without showing them
(`tests/oracle/tabs/NN-name-said.txt`), are sources too.
"""

from __future__ import annotations

import ast
import html
import re
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property

from nbformat import NotebookNode

from mmlib.datasets import dataset_info
from tools import ROOT
from tools.book.assertions import literals
from tools.book.prose import Number, pieces, plain_numbers
from tools.book.python_tabs import answered
from tools.homework.parts import DATASET

TABS = ROOT / "tests" / "oracle" / "tabs"
R_VERSIONS = TABS / "versions.txt"
COUNTS = "counts"
HEADING = re.compile(r"(?m)^(?=## )")
_SVG_WORDS = re.compile(r"<!--(.*?)-->", re.DOTALL)
_TICKS = re.compile(r'(?s)<g id="[xy]tick_\d+">.*?<!--.*?-->')
_TAG = re.compile(r"<(?:style|script).*?</(?:style|script)>|<[^>]*>", re.DOTALL)
_NUMPY = re.compile(r"np\.\w+\(([^()]*)\)")
_IRREGULAR = {"children": "child", "people": "person", "mice": "mouse"}


@dataclass(frozen=True)
class Source:
    """A number that a cell gives: what, where, in which section, and how firmly.

    Attributes
    ----------
    value : Decimal
        What it is worth.
    text : str
        As it is written.
    where : str
        The cell, in words.
    section : int
        The section; −1 belongs to all.
    cell : int
        The position of the cell.
    asserted : bool
        Whether a hidden cell asserts it.
    quoted : bool
        Whether it asserts it as text, which is for a sentence.
    shown : bool
        Whether it is a literal of code that readers see.
    """

    value: Decimal
    text: str
    where: str
    section: int
    cell: int = 0
    asserted: bool = False
    quoted: bool = False
    shown: bool = False


@dataclass
class Held:
    """What the cells of a page give."""

    sources: list[Source] = field(default_factory=list)
    counts: dict[str, list[int]] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    tabs: dict[str, list[Number]] = field(default_factory=dict)
    code: list[str] = field(default_factory=list)
    sections: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def add(self, text: str, where: str, section: int, cell: int = 0, **how: bool) -> None:
        """Take in the numbers of a text that a cell gives; a version is no quantity."""
        self.sources += [
            Source(number.value, number.text, where, section, cell, **how)
            for number in plain_numbers(text)
            if number.form != "version"
        ]

    def beside(self, position: int) -> list[Source]:
        """Return what is asserted on either side of a cell, and the shown code next to it."""
        before = max((cell for cell in self.asserting if cell < position), default=0)
        after = min((cell for cell in self.asserting if cell > position), default=0)
        return [
            source
            for source in self.sources
            if (source.asserted and source.cell in (0, before, after))
            or (source.shown and abs(source.cell - position) <= 1)
        ]

    def runs(self, code: str) -> bool:
        """Tell whether code stands in a cell that readers see, in an output or in a tab.

        Dots in the middle leave something out.
        """
        wanted = re.escape(_squeezed(code)).replace("…", ".{0,200}")
        bounded = rf"(?<![\d.]){wanted}" if wanted[:1].isdigit() else wanted
        return bool(re.search("[A-Za-z]", code)) and bool(
            re.search(rf"{bounded}(?![\d.])", self.squeezed)
        )

    @cached_property
    def squeezed(self) -> str:
        """All code and outputs, without spaces."""
        return "\n".join(map(_squeezed, [*self.code, *self.texts]))

    @cached_property
    def asserting(self) -> set[int]:
        """The positions of the hidden cells that assert a number."""
        return {source.cell for source in self.sources if source.asserted and source.cell}


def _squeezed(code: str) -> str:
    return re.sub(r"\s+", "", code).replace("'", '"')


def read_held(notebook: NotebookNode, page: str = "", *, with_r: bool = True) -> Held:
    """Collect what the cells of an executed notebook give, and what R answered for its page.

    Parameters
    ----------
    notebook : NotebookNode
        An executed chapter.
    page : str, optional
        Its name, which is that of R's answers.
    with_r : bool, optional
        Whether R's answers are those to the data that the chapter has.
    """
    held = Held(texts=[R_VERSIONS.read_text(encoding="utf-8")], tabs=answered(notebook))
    section = 0
    for position, cell in enumerate(notebook.cells, start=1):
        held.sections.append(section)
        if cell.cell_type == "markdown":
            section = position if HEADING.search(cell.source) else section
            _read_answers(held, cell, position, section)
        elif COUNTS in cell.metadata.get("tags", []):
            _counts(held, cell, position)
        else:
            _read_code(held, cell, position, section)
    if not with_r:
        held.sources = [source for source in held.sources if "R's answer" not in source.where]
    said = TABS / f"{page}-said.txt"
    if page and with_r and said.is_file():
        held.texts.append(said.read_text(encoding="utf-8"))
        for line in held.texts[-1].splitlines():
            if line.startswith("#>"):
                held.add(line.removeprefix("#>"), f"R's answer in {said.name}", -1, asserted=True)
    return held


def _read_answers(held: Held, cell: NotebookNode, position: int, section: int) -> None:
    """Take in the tabs of a text: their code, and R's answers."""
    tabs = [p for block in pieces(cell.source) for p in block if p.kind in ("R", "tab")]
    held.code += [tab.text for tab in tabs if tab.kind == "tab"]
    for answer in (tab.text for tab in tabs if tab.kind == "R"):
        held.add(answer, f"R's answer in cell {position}", section)
        held.texts.append(answer)


def _read_code(held: Held, cell: NotebookNode, position: int, section: int) -> None:
    """Take in the outputs of a cell, and the literals of its code that hold a number."""
    for text in map(readable, cell.outputs):
        held.texts.append(text)
        held.add(text, f"the output of cell {position}", section, position)
    visible = "remove-cell" not in cell.metadata.get("tags", [])
    held.code += [cell.source] if visible else []
    for factor in loaded_factors(cell.source):
        if not any(singular(noun) == singular(factor.lower()) for noun in held.counts):
            held.counts[f"{factor.lower()}s".replace("ys", "ies")] = []
    for text, quoted in literals(cell.source, inputs=visible, drawing=_draws(cell)):
        how = {"asserted": not visible, "quoted": quoted and not visible, "shown": visible}
        held.add(text, f"cell {position}", section, position, **how)


def _counts(held: Held, cell: NotebookNode, position: int) -> None:
    """Take in what a cell counts; a numpy integer is as good as another."""
    shown = _NUMPY.sub(r"\1", "".join(map(readable, cell.outputs)).strip())
    try:
        counts = {
            str(noun): [int(value) for value in (values if isinstance(values, list) else [values])]
            for noun, values in ast.literal_eval(shown or "{}").items()
        }
    except (ValueError, SyntaxError, TypeError, AttributeError):
        held.faults.append(
            f"cell {position}: the cell with the tag {COUNTS} shows {shown[:80]!r}: it should show"
            ' a dictionary of whole numbers, as {"operators": [4, 8], "sheets": 5}'
        )
    else:
        held.counts |= counts


def _draws(cell: NotebookNode) -> bool:
    return any("image/svg+xml" in output.get("data", {}) for output in cell.outputs)


def readable(output: NotebookNode) -> str:
    """Return what a reader sees of an output: text, a table, the words in a figure."""
    data = output.get("data", {})
    if figure := data.get("image/svg+xml"):
        return "\n".join(html.unescape(w) for w in _SVG_WORDS.findall(_TICKS.sub("", figure)))
    if "text/markdown" in data:
        return str(data["text/markdown"])
    if "text/html" in data:
        return html.unescape(_TAG.sub(" ", data["text/html"]))
    return str(output.get("text", "") or data.get("text/plain", ""))


def loaded_factors(code: str) -> set[str]:
    """Return the names of the factors of the data sets that code loads."""
    return {
        column
        for name in DATASET.findall(code)
        for column, described in dataset_info(name).columns.items()
        if described.levels
    }


def singular(words: str) -> str:
    """Return a noun, or the last of several words, in the singular."""
    if words in _IRREGULAR:
        return _IRREGULAR[words]
    return words[:-3] + "y" if words.endswith("ies") else words.removesuffix("s")
