"""The dictionary of chapter 10: its rows, and its Python run on data of which rows are lost."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest import mock

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import mmlib as mm
from tests.helpers.oracle import HERE
from tools import ROOT
from tools.book.execute import read_chapter

CHAPTER = ROOT / "book" / "10-coming-from-r.md"
STRUCTURES = "What is not here"  # the section with the table of covariance structures
_HEADING = re.compile(r"(?m)^##+ ")
_TABLE = re.compile(r"(?m)^\|.*\|\n\|[-|]+\|\n(?P<rows>(?:^\|.*\|\n?)+)")


@dataclass(frozen=True)
class Row:
    """A piece of R code, the same in Python, and R's numbers where the chapter has them."""

    in_r: str
    here: str
    printed: Any = None


def rows(function: str = "translate") -> list[Row]:
    """Return the rows that the chapter passes to `translate` (with numbers) or `draw`."""
    calls = [
        node
        for source in _code()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == function
    ]
    return [Row(*ast.literal_eval(row)) for call in calls for row in call.args]


def tables() -> dict[str, list[Row]]:
    """Return the tables that are written out in the chapter, by the heading above."""
    text = "\n\n".join(c.source for c in read_chapter(CHAPTER).cells if c.cell_type == "markdown")
    found = {}
    for section in _HEADING.split(text)[1:]:
        heading, _, below = section.partition("\n")
        for table in _TABLE.finditer(below):
            assert heading not in found, f"two tables under {heading}"
            found[heading] = [Row(*_cells(line)) for line in table["rows"].splitlines()]
    return found


def _cells(line: str) -> list[str]:
    return [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def incomplete(data: pd.DataFrame) -> pd.DataFrame:
    """Lose the rows whose numbers, counted from 0, are squares: no design stays balanced."""
    return data[np.sqrt(np.arange(len(data))) % 1 != 0]


def session(kept: Callable[[pd.DataFrame], pd.DataFrame]) -> dict[str, Any]:
    """Run the chapter's own code on what is kept of the data; return each row's value.

    The Python of a row is taken as the chapter shows it. A drawing has the value True if it drew.
    """
    names: dict[str, Any] = {}

    def value(code: str) -> Any:
        exec(f"_value = {code}", names)
        return names["_value"]

    values: dict[str, Any] = {}
    load = mm.load_dataset

    def translate(*table: tuple[str, str, Any]) -> None:
        values.update({in_r: np.ravel(value(here)) for in_r, here, _ in table})

    def draw(*table: tuple[str, str]) -> None:
        for in_r, here in table:
            values[in_r] = value(f"mm.plots.{here}").has_data()
        plt.close("all")

    def load_some(name: str) -> pd.DataFrame:
        # From these the chapter takes rows away itself.
        return load(name) if name == "cultivation" else kept(load(name))

    with (
        plt.rc_context(),
        mock.patch("matplotlib_inline.backend_inline.set_matplotlib_formats"),
        mock.patch.object(mm, "load_dataset", load_some),
    ):
        for source in _code():
            exec(source, names)
            names.update(translate=translate, draw=draw)
    return values


def _code() -> list[str]:
    """Return the code that readers see, down to the last of the tables."""
    seen = [
        cell.source
        for cell in read_chapter(CHAPTER).cells
        if cell.cell_type == "code" and "remove-cell" not in cell.metadata.get("tags", [])
    ]
    last = max(i for i, source in enumerate(seen) if source.startswith(("translate(", "draw(")))
    return seen[: last + 1]


def load_numbers() -> dict[str, dict[str, Any]]:
    """Return R's numbers for each row: on the complete data, and on what `incomplete` keeps."""
    return json.loads((HERE / "dictionary.json").read_text(encoding="utf-8"))


def numbered() -> list[str]:
    """Return R's side of the rows that have numbers."""
    return [row.in_r for row in [*rows(), *tables()[STRUCTURES]]]
