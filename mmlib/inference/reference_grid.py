"""The reference grid: all combinations of the factors' levels, covariates at a value.

Searle, Speed & Milliken (1980), Population marginal means in the linear model, The American
Statistician 34, 216–221; Lenth, emmeans: Estimated Marginal Means (R package).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from mmlib.arrays import BoolArray, FloatArray, IntArray
from mmlib.design.checks import as_array, as_numbers, names_in, require_names
from mmlib.design.design import Design
from mmlib.design.formula import parse_with_formulaic
from mmlib.design.matrix import factors_of
from mmlib.errors import DataError

MAX_CELLS = 10**6


@dataclass(frozen=True, eq=False)
class ReferenceGrid:
    """All combinations of the values at which the variables of the fixed part are held.

    Attributes
    ----------
    design : Design
    points : dict of str to Index
        The levels of each factor, and the value or values of each covariate.
    factors : frozenset of str
        Which of them are factors.
    given : frozenset of str
        Which of them have values that were asked for.
    """

    design: Design
    points: dict[str, pd.Index]
    factors: frozenset[str]
    given: frozenset[str]

    @classmethod
    def of(cls, design: Design, at: Mapping[str, Any] | None = None) -> ReferenceGrid:
        """The grid of a design: factors at their levels, covariates at their mean, or as in `at`.

        Raises
        ------
        DataError
            If `at` names no variable of the fixed part, or a level that a factor does not have.
        """
        facts = design.facts
        cells = facts.cells
        factors = set(cells.columns)
        values = {
            name: _levels(cells[name]) if name in factors else pd.Index([facts.covariates[name][0]])
            for name in facts.names
        }
        if at is not None and not isinstance(at, Mapping):
            raise DataError(
                f"at must be a dict of values by column, such as {{'x': [1, 2]}}, not {at!r:.60}."
            )
        require_names("at", at or (), values, "variable of the fixed part")
        for name, wanted in (at or {}).items():
            alone = isinstance(wanted, str) or not isinstance(wanted, Iterable)
            items = [wanted] if alone else list(wanted)
            values[name] = _asked(name, items, values[name] if name in factors else None)
        n_cells = int(np.prod([len(each) for each in values.values()], dtype=float))
        if n_cells > MAX_CELLS:
            raise DataError(
                f"the reference grid would have {n_cells} cells; hold some factors by at={{...}}."
            )
        return cls(design, values, frozenset(factors), frozenset(at or {}))

    def labels(self, wanted: Sequence[str]) -> pd.DataFrame:
        """The combinations of values of some variables, the first one varying fastest."""
        sizes = [len(self.points[name]) for name in wanted]
        places = _combinations(sizes)
        return pd.DataFrame(
            {name: self.points[name][places[:, k]] for k, name in enumerate(wanted)},
            index=range(len(places)),
        )

    @cached_property
    def _places(self) -> IntArray:
        return _combinations([len(each) for each in self.points.values()])

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The cells as a data frame, the first variable varying fastest."""
        columns, kinds = {}, self.design.facts.cells.dtypes
        for k, (name, values) in enumerate(self.points.items()):
            column: Any = values[self._places[:, k]]
            if isinstance(kinds.get(name), pd.CategoricalDtype):
                column = column.astype(kinds[name])
            columns[name] = column
        return pd.DataFrame(columns, index=range(len(self._places)))

    def combination_of(self, names: Iterable[str]) -> IntArray:
        """For each cell the position of its values of `names` among their combinations."""
        place = np.zeros(len(self._places), dtype=np.intp)
        stride = 1
        order = list(self.points)
        for name in names:
            place += stride * self._places[:, order.index(name)]
            stride *= len(self.points[name])
        return place

    @cached_property
    def counts(self) -> FloatArray:
        """For each cell the rows of the data with its levels, whatever their covariates."""
        facts = self.design.facts
        names = list(facts.cells.columns)
        counts = dict(zip(_combined(facts.cells, names), facts.counts, strict=True))
        return np.array([counts.get(each, 0) for each in _combined(self.frame, names)], dtype=float)

    @cached_property
    def occurs(self) -> BoolArray:
        """Whether a cell can occur: a level of a nested factor only with the one it belongs to."""
        occurs = np.ones(len(self._places), dtype=bool)
        for pair in self.nested:
            seen = set(_combined(self.design.facts.cells, pair))
            occurs &= [each in seen for each in _combined(self.frame, pair)]
        return occurs

    @property
    def nested(self) -> list[tuple[str, str]]:
        """Pairs (inner, outer) of factors: inner has no term without outer, and no level in two."""
        terms = [_names_in_term(self.design, term.factors) for term in self.design.fixed_terms]
        pairs = []
        for inner, outer in product(sorted(self.factors), repeat=2):
            if inner == outer or not all(outer in each for each in terms if inner in each):
                continue
            seen = self.design.facts.cells[[inner, outer]].drop_duplicates()
            if not seen[inner].duplicated().any() and seen[outer].duplicated().any():
                pairs.append((inner, outer))
        return pairs

    def interacting(self, wanted: Sequence[str]) -> list[str]:
        """Factors that are averaged over and stand in a term with one of `wanted`."""
        terms = [
            _names_in_term(self.design, term.factors | term.covariates)
            for term in self.design.fixed_terms
        ]
        return [
            name
            for name in self.points
            if name not in wanted
            and len(self.points[name]) > 1
            and any(name in term and term & set(wanted) for term in terms)
        ]


def _names_in_term(design: Design, codes: Iterable[str]) -> set[str]:
    codes = set(codes)
    fixed = factors_of(parse_with_formulaic(design.formula.fixed))
    return set().union(*(code.columns for text, code in fixed if text in codes))


def _combined(frame: pd.DataFrame, names: Sequence[str]) -> list[tuple[Any, ...]]:
    """The values of some columns in each row."""
    return list(zip(*(frame[name] for name in names), strict=True)) or [()] * len(frame)


def _levels(column: pd.Series) -> pd.Index:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return pd.Index(column.cat.categories)
    return pd.Index(sorted(column.unique()), dtype=column.dtype)


def _asked(name: str, items: list[Any], levels: pd.Index | None) -> pd.Index:
    """The values that `at` asks for, checked against the levels of a factor."""
    if not items:
        raise DataError(f"at has no value for {name!r}.")
    if levels is not None:
        asked = names_in(f"at[{name!r}]", items)
        require_names("at", asked, levels, f"level of {name!r}")
        return pd.Index(items, dtype=levels.dtype)
    numbers = as_numbers(f"at[{name!r}]", as_array(f"at[{name!r}]", items))
    if numbers.ndim > 1:
        raise DataError(f"at[{name!r}] must be a number or a list of numbers, not {items!r:.60}.")
    if np.isnan(numbers).any():
        raise DataError(f"at[{name!r}] has missing values.")
    return pd.Index(numbers)


def _combinations(sizes: Sequence[int]) -> IntArray:
    """All combinations of positions, the first one varying fastest, shape (product, number)."""
    if not sizes:
        return np.zeros((1, 0), dtype=np.intp)
    places: IntArray = np.indices(tuple(sizes)[::-1]).reshape(len(sizes), -1)[::-1].T
    return places
