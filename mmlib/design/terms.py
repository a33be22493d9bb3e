"""One random term: which rows belong to which level, and what varies between the levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from scipy import sparse

from mmlib.arrays import FloatArray, IntArray, random_matrix
from mmlib.design.columns import usable_columns
from mmlib.design.formula import RandomPart, columns_used, parse_with_formulaic
from mmlib.design.labels import levels_of, match_labels
from mmlib.design.matrix import evaluate, model_matrix
from mmlib.errors import DataError, FormulaError, RankError
from mmlib.frozen import Frozen, gives_copies

Entries = TypeVar("Entries", FloatArray, IntArray)


@gives_copies("levels")
@dataclass(frozen=True, eq=False)
class RandomTerm(Frozen):
    """A random term ``(expr | group)`` applied to data.

    Attributes
    ----------
    part : RandomPart
        The term as the formula has it.
    columns : tuple of str
        Names of its S columns, such as ``("Intercept", "Days")``.
    levels : Index, length ℓ
        The levels that occur, a MultiIndex for a combination of columns.
    codes : ndarray of int, shape (n,)
        Position of each row's level in `levels`.
    model_matrix : ndarray, shape (n, S)
        Values of these columns.
    """

    part: RandomPart
    columns: tuple[str, ...]
    levels: pd.Index
    codes: IntArray
    model_matrix: FloatArray
    spec: Any = field(repr=False)
    _positions: tuple[int, ...] = field(repr=False)

    @property
    def group(self) -> str:
        """Name of the grouping."""
        return self.part.group

    @cached_property
    def n_levels(self) -> int:
        """Number of levels ℓ."""
        return len(self.levels)

    @property
    def width(self) -> int:
        """Number of columns S."""
        return len(self.columns)

    @cached_property
    def Z(self) -> sparse.csr_array:
        """Model matrix of the random effects, shape (n, ℓ·S), the S effects of a level adjacent."""
        return random_matrix(self.codes, self.model_matrix, self.n_levels)

    @property
    def sources(self) -> set[str]:
        """The columns of the data that the model matrix is made of."""
        return columns_used(self.spec.formula)

    def with_rows(self, codes: IntArray, model_matrix: FloatArray) -> RandomTerm:
        """The term with other rows."""
        return replace(self, levels=self.levels, codes=codes, model_matrix=model_matrix)

    def matrix_for(self, data: pd.DataFrame) -> FloatArray:
        """The model matrix for new data, coded as the fit coded its own."""
        columns = evaluate(self.spec, usable_columns(data, sorted(self.sources)))[0]
        return columns[:, list(self._positions)]

    def locate(self, data: pd.DataFrame) -> IntArray:
        """Position of each row's level in `levels`; −1 for a level that the fit has not seen.

        Raises
        ------
        DataError
            If labels are text on one side and numbers on the other, and do not say the same.
        """
        names = self.part.factors
        if not isinstance(self.levels, pd.MultiIndex):
            return match_labels(self.levels, data[names[0]])
        positions = [
            match_labels(known, data[name])
            for known, name in zip(self.levels.levels, names, strict=True)
        ]
        sizes = [len(known) for known in self.levels.levels]
        known_cells = np.ravel_multi_index(tuple(self.levels.codes), sizes)
        cells = np.ravel_multi_index(tuple(positions), sizes, mode="clip")
        found = pd.Index(known_cells).get_indexer(pd.Index(cells))
        return np.where(np.min(positions, axis=0) < 0, -1, found)


def random_terms(
    part: RandomPart, frame: pd.DataFrame, codes: IntArray, levels: pd.Index
) -> list[RandomTerm]:
    """The term of one part of the formula; for ``||`` one term for each of its columns."""
    expression = parse_with_formulaic(part.whole or part.expr)
    values, names, spec = model_matrix(expression, frame, "random term", str(part))
    pieces = [tuple(range(len(names)))]
    if part.whole:
        terms = parse_with_formulaic(part.expr)
        pieces = [(column,) for term in terms for column in spec.term_indices[term]]
    return [
        RandomTerm(
            part if len(pieces) == 1 else RandomPart(f"0 + {names[columns[0]]}", part.factors),
            tuple(names[column] for column in columns),
            levels,
            codes,
            values[:, list(columns)],
            spec,
            columns,
        )
        for columns in pieces
    ]


def n_theta(term: RandomTerm) -> int:
    """Number of entries of θ that belong to a term: S(S+1)/2, or those of its structure."""
    return term.part.structure.size(term.width)


def n_entries(term: RandomTerm) -> int:
    """Number of variances and covariances of a term of S columns, S(S+1)/2."""
    return term.width * (term.width + 1) // 2


def theta_by_term(terms: Sequence[RandomTerm], theta: Entries) -> list[Entries]:
    """The entries of θ of each term; what θ has beyond them is left out."""
    ends = np.cumsum([n_theta(term) for term in terms], dtype=int)
    return np.split(theta, ends)[: len(terms)]


def templates(terms: Sequence[RandomTerm], theta: FloatArray) -> list[FloatArray]:
    """The template λ of each term, shape (S, S): θ fills the lower triangles, term after term.

    That of a term with a structure need not be triangular. What θ has beyond the terms is ignored.
    """
    return [
        term.part.structure.template(entries, term.width)
        for term, entries in zip(terms, theta_by_term(terms, theta), strict=True)
    ]


def template_slopes(term: RandomTerm, theta: FloatArray) -> FloatArray:
    """∂T in the entries of θ that belong to a term, shape (k, S, S)."""
    structure, width = term.part.structure, term.width
    smooth = structure.to_smooth(theta, width)
    inverse = 1 / structure.theta_slopes(smooth, width)
    return structure.at(smooth, width)[1] * inverse[:, None, None]


def group_codes(data: pd.DataFrame, factors: Sequence[str]) -> tuple[IntArray, pd.Index]:
    """Code the combinations of `factors` that occur, in the order of their levels.

    Raises
    ------
    DataError
        If fewer than two levels occur, or a column holds objects that cannot be levels.
    """
    parts = [levels_of(data[name]) for name in factors]
    cell = np.zeros(len(data), dtype=np.intp)
    for part in parts:
        cell = cell * len(part.categories) + part.codes
    occurring, codes = np.unique(cell, return_inverse=True)
    positions = np.unravel_index(occurring, [len(part.categories) for part in parts])
    labels = [
        part.categories.take(position) for part, position in zip(parts, positions, strict=True)
    ]
    if len(occurring) < 2:
        only = ":".join(str(label[0]) for label in labels)
        raise DataError(
            f"grouping {':'.join(factors)!r} has one level ({only!r}): a variance between levels "
            "needs at least two; leave the random term out or use another grouping."
        )
    if len(factors) == 1:
        return codes, labels[0].rename(factors[0])
    return codes, pd.MultiIndex.from_arrays(labels, names=list(factors))


def check_structure(term: RandomTerm) -> None:
    """Refuse a structure that the columns of a term cannot have.

    Raises
    ------
    DataError
        If it relates the effects of levels, and the columns are not those of a factor.
    """
    structure, matrix = term.part.structure, term.model_matrix
    if not structure.has_rho:
        return
    indicators = bool(((matrix == 0) | (matrix == 1)).all() and (matrix.sum(axis=1) == 1).all())
    if term.width >= 2 and (indicators or not structure.needs_levels):
        return
    word, name = structure.word, term.columns[-1]
    if term.columns == ("Intercept",):
        raise DataError(
            f"{term.part} has one effect for each level of {term.group}: {structure.title} relates "
            f"several; write {word}(0 + visit | {term.group}), visit being a factor."
        )
    raise DataError(
        f"{term.part}: {word} relates the effects of the levels of a factor, but "
        f"{', '.join(map(repr, term.columns))} {'are' if term.width > 1 else 'is'} not those; "
        f"write {word}(0 + C({name}) | {term.group}) if {name} is a number, without an intercept."
    )


def check_identifiable(term: RandomTerm, n: int) -> None:
    """Refuse a term whose effects cannot be told from the residual.

    Raises
    ------
    RankError
        If there are as many random effects as the `n` rows.
    """
    width = term.width
    if width == 0:
        raise FormulaError(f"the random term {term.part} has no column.")
    if term.n_levels * width >= n:
        what = "levels" if width == 1 else f"random effects ({term.n_levels} levels × {width})"
        raise RankError(
            f"{term.part} has {term.n_levels * width} {what} for {n} rows: its variance cannot be "
            "told from the residual variance; use a coarser grouping or fewer columns."
        )
