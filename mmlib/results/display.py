"""One table builder for text, HTML and LaTeX, and the summary of a fit in lme4's familiar order."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mmlib.arrays import FloatArray

DIGITS = 4
"""Significant digits of the numbers in a summary."""

WIDTH = 80
"""A note that is longer is broken into lines of at most so many characters."""

_LATEX = str.maketrans(
    {character: "\\" + character for character in "_%&#${}"}
    | {
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "\\": r"\textbackslash{}",
        "|": r"\textbar{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "σ": r"$\sigma$",
        "ρ": r"$\rho$",
        "−": "$-$",
    }
)


def decimals_for(values: ArrayLike, digits: int = DIGITS) -> int:
    """Decimals that show every value to `digits` significant digits, as R counts them."""
    needed = 0
    for value in np.asarray(values, dtype=float):
        if np.isfinite(value) and value != 0:
            mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
            significant = len(mantissa.lstrip("-").replace(".", "").rstrip("0"))
            needed = max(needed, significant - 1 - int(exponent))
    return min(needed, 15)


def fixed_point(values: Iterable[float], decimals: int) -> list[str]:
    """Numbers as text with the same number of decimals; tiny ones in scientific notation."""
    form = f".{decimals}f" if decimals < 10 else ".4g"
    return [plain_zero(f"{value:{form}}") for value in values]


def plain_zero(number: str) -> str:
    """A number as text, without the sign of a zero that is only rounding."""
    return number.lstrip("-") if number.startswith("-") and not float(number) else number


@dataclass(frozen=True)
class Table:
    """A table of text cells, with one builder for each medium.

    Attributes
    ----------
    caption : str
    header : tuple of str
    rows : tuple of tuples of str
    n_labels : int
        How many leading columns are labels (set left); the others are numbers (set right).
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    n_labels: int = 1

    @classmethod
    def of(
        cls,
        caption: str,
        frame: pd.DataFrame,
        formats: Mapping[str, str] | None = None,
        *,
        default: str = ".4f",
        labels: Mapping[str, Sequence[str]] | None = None,
    ) -> Table:
        """A frame of numbers, each column in its format; a missing one is an empty cell.

        Its labels are the index, or those given, each with its header.
        """
        forms, labels = formats or {}, {"": [*map(str, frame.index)]} if labels is None else labels
        cells = [
            ["" if pd.isna(v) else f"{v:{forms.get(str(name), default)}}" for v in frame[name]]
            for name in frame.columns
        ]
        rows = tuple(zip(*labels.values(), *cells, strict=True))
        return cls(caption, (*labels, *map(str, frame.columns)), rows, n_labels=len(labels))

    @classmethod
    def of_correlations(cls, caption: str, names: Sequence[str], matrix: FloatArray) -> Table:
        """The lower triangle of a correlation matrix."""
        rows = tuple(
            (names[i], *fixed_point(matrix[i, :i], 3), *[""] * (len(names) - 1 - i))
            for i in range(1, len(names))
        )
        return cls(caption, ("", *names[:-1]), rows)

    def to_text(self) -> str:
        """Aligned columns under the caption."""
        lines = [self.header, *self.rows]
        widths = [max(len(line[k]) for line in lines) for k in range(len(self.header))]
        body = "\n".join(self._text_line(line, widths) for line in lines)
        return f"{self.caption}:\n{body}" if self.caption else body

    def _text_line(self, cells: Sequence[str], widths: Sequence[int]) -> str:
        padded = (
            cell.ljust(width) if k < self.n_labels else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return (" " + " ".join(padded)).rstrip()

    def to_html(self) -> str:
        """A table with a caption and scoped headers."""
        head = "".join(
            f'<th scope="col">{escape(cell)}</th>' if cell else "<td></td>" for cell in self.header
        )
        body = "".join(f"<tr>{self._html_cells(row)}</tr>" for row in self.rows)
        caption = f"<caption>{escape(self.caption)}</caption>" if self.caption else ""
        return (
            f'<table class="mmlib">{caption}<thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table>"
        )

    def _html_cells(self, row: Sequence[str]) -> str:
        return "".join(
            f'<th scope="row">{escape(cell)}</th>'
            if k < self.n_labels and cell
            else f"<td>{escape(cell)}</td>"
            for k, cell in enumerate(row)
        )

    def to_latex(self) -> str:
        """A booktabs tabular, with the caption as a heading line."""
        n = len(self.header)
        columns = "l" * self.n_labels + "r" * (n - self.n_labels)
        lines = [" & ".join(cell.translate(_LATEX) for cell in row) for row in self.rows]
        body = " \\\\\n".join(lines)
        head = " & ".join(cell.translate(_LATEX) for cell in self.header)
        title = f"\\multicolumn{{{n}}}{{l}}{{{self.caption.translate(_LATEX)}}} \\\\\n"
        top = title if self.caption else ""
        return (
            f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{top}{head} \\\\\n\\midrule\n"
            f"{body} \\\\\n\\bottomrule\n\\end{{tabular}}"
        )


@dataclass(frozen=True)
class Summary:
    """A sequence of lines and tables that prints as text, shows as HTML and exports as LaTeX."""

    parts: tuple[str | Table, ...]

    def __str__(self) -> str:
        return "\n\n".join(
            _wrapped(part) if isinstance(part, str) else part.to_text() for part in self.parts
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return "\n".join(
            f"<p>{escape(part).replace(chr(10), '<br>')}</p>"
            if isinstance(part, str)
            else part.to_html()
            for part in self.parts
        )

    def to_latex(self) -> str:
        """The lines as paragraphs, the tables as tabulars (needs the booktabs package).

        Returns
        -------
        str
        """
        return "\n\n".join(
            part.translate(_LATEX).replace("\n", " \\\\\n")
            if isinstance(part, str)
            else part.to_latex()
            for part in self.parts
        )


class Shown:
    """A result that prints, and shows in a notebook, as its summary."""

    def summary(self) -> Summary:
        """All of it in tables and notes; text when printed, HTML in a notebook."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return str(self.summary())

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()


def _wrapped(text: str) -> str:
    """A text that has no line breaks of its own, broken where it is too long."""
    if "\n" in text:
        return text
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)
