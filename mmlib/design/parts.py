"""Data in parts: a design whose rows are never all in memory.

A first pass over the parts settles what depends on all rows: the levels of groupings and factors,
the kinds of columns, which columns of X depend on others, and the scale of the random columns. Then
every part can be turned into arrays by itself.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from itertools import compress
from operator import add
from typing import Any, Self, TypeVar

import numpy as np
import pandas as pd

from mmlib.arrays import FloatArray, IntArray, weigh
from mmlib.design.build import response_of
from mmlib.design.checks import (
    NoRowsError,
    complete_columns,
    numbers_of_response,
    refuse_saturated,
    require_frame,
    require_positive,
)
from mmlib.design.columns import Kind, kind_of, usable_columns
from mmlib.design.design import Design, dependence
from mmlib.design.formula import MixedFormula, coded_columns, parse_formula, parse_with_formulaic
from mmlib.design.language import as_typed
from mmlib.design.matrix import evaluate, factors_of, independent_columns, model_matrix
from mmlib.design.structures import US
from mmlib.design.terms import RandomTerm, check_identifiable, group_codes, random_terms
from mmlib.errors import DataError, FormulaError
from mmlib.frozen import read_only

Sums = TypeVar("Sums")


class Parts:
    """Frames that are read one after the other, as often as needed.

    Parameters
    ----------
    data : list or tuple of frames, iterator, callable, Dask or Arrow data set
        A callable is asked for an iterator anew in each pass. An iterator can be read once, so its
        frames are put into a temporary file. Partitions of Dask are summed where they are.
    """

    def __init__(self, data: Any) -> None:
        self._file: Any = None
        self._data = data.to_delayed() if hasattr(data, "to_delayed") else data
        if isinstance(data, Iterator):
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  closed on exit
            for part in data:
                with suppress(NoRowsError):
                    pickle.dump(require_frame(part), self._file)

    def __enter__(self) -> Parts:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    @staticmethod
    def can_be(data: object) -> bool:
        """Whether these are parts, not one frame."""
        whole = isinstance(data, dict | pd.DataFrame | str | bytes)
        several = isinstance(data, list | tuple | Iterator) or callable(data)
        # A table of Arrow, which is in memory, has batches too.
        stored = hasattr(data, "to_batches") and not hasattr(data, "to_pandas")
        return not whole and (several or stored or hasattr(data, "to_delayed"))

    def sum(
        self, function: Callable[[pd.DataFrame], Sums], add: Callable[[Sums, Sums], Sums]
    ) -> Sums:
        """The sum of what a function makes of each part that has a complete row.

        Raises
        ------
        DataError
            If there is no such part.
        """
        of_part, both = partial(_of_part, function), partial(_sum_of_two, add)
        parts = list(self._data) if isinstance(self._data, list | tuple) else []
        if parts and all(hasattr(part, "compute") for part in parts):
            total = self._sum_where_they_are(parts, of_part, both)
        else:
            total = reduce(both, map(of_part, self), None)
        if total is None:
            raise DataError("data has no part with rows: pass at least one frame.")
        return total

    @staticmethod
    def _sum_where_they_are(parts: list[Any], function: Any, add: Any) -> Any:
        """By Dask, in a tree: no more than two sums are in one place."""
        from dask.delayed import delayed

        sums = [delayed(function)(part) for part in parts]
        while len(sums) > 1:
            pairs = zip(sums[::2], sums[1::2], strict=False)
            sums = [*(delayed(add)(one, two) for one, two in pairs), *sums[len(sums) // 2 * 2 :]]
        return sums[0].compute()

    def __iter__(self) -> Iterator[Any]:
        if self._file is not None:
            self._file.seek(0)
            while True:
                try:
                    yield pickle.load(self._file)
                except EOFError:
                    return
        elif hasattr(self._data, "to_batches"):
            yield from (batch.to_pandas() for batch in self._data.to_batches())
        else:
            yield from self._data() if callable(self._data) else self._data


def _of_part(function: Callable[[pd.DataFrame], Any], part: Any) -> Any:
    """What a function makes of a part; None if the part has no complete row."""
    with suppress(NoRowsError):
        return function(require_frame(part))


def _sum_of_two(add: Callable[[Any, Any], Any], one: Any, two: Any) -> Any:
    """The sum of two, either of which may be None."""
    if one is None or two is None:
        return two if one is None else one
    return add(one, two)


def no_rows(what: str, *, slim: bool) -> DataError:
    """The error of asking a fit without rows for what needs them."""
    if slim:
        return DataError(
            f"the fit is slim: its rows are gone, and this needs {what}. Ask the whole fit; "
            "fit.predict(data) gives fitted values, data[response] less these the residuals."
        )
    return DataError(
        f"the fit was made from parts of the data, whose rows it does not keep, and this needs "
        f"{what}; ask for it part by part: fit.predict(part) gives fitted values, "
        "part[response] less these the residuals."
    )


class NoRows:
    """What a design without rows does not have."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        raise no_rows(self._what, slim=instance.is_slim)

    def __set__(self, instance: object, value: object) -> None:
        raise AttributeError(self._what)


class Rowless:
    """What has no rows: sums and means over them stand where one with rows caches them."""

    is_slim = False
    keeps_cached = True

    @classmethod
    def of(cls, **known: Any) -> Self:
        """One of which this is known."""
        instance = object.__new__(cls)
        vars(instance).update({name: read_only(value) for name, value in known.items()})
        return instance


class DesignOfParts(Rowless, Design):
    """A design without its rows; what needs them is refused by name."""

    y = NoRows("the response of each row")
    X = NoRows("the model matrix")
    frame = NoRows("the data")
    index = NoRows("the labels of the rows")
    row_weights = NoRows("the weights of the rows")
    weights = offset = None
    has_rows = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.description}, {self.n} rows that are not kept>"


@dataclass(frozen=True, eq=False)
class Rows:
    """The arrays of a part: those of `Design`, and for each random term codes and columns."""

    y: FloatArray
    X: FloatArray
    codes: list[IntArray]
    columns: list[FloatArray]
    root_weights: FloatArray | None


@dataclass(frozen=True, eq=False)
class Reader:
    """Turns parts into arrays, once the levels are settled."""

    formula: MixedFormula
    weights: str | None
    offset: str | None
    terms: tuple[RandomTerm, ...] = ()
    spec: Any = None
    kept: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))

    def columns(self) -> tuple[set[str], set[str]]:
        """The columns of expressions, and those of groupings."""
        grouping = {name for part in self.formula.random for name in part.factors}
        return coded_columns(self.formula), grouping

    def usable(
        self, part: pd.DataFrame
    ) -> tuple[pd.DataFrame, FloatArray | None, FloatArray | None]:
        """The columns of the model in complete rows, weights and offset."""
        coded, grouping = self.columns()
        frame, weights, offset = complete_columns(part, coded | grouping, self.weights, self.offset)
        return usable_columns(frame, coded), weights, offset

    def __call__(self, part: pd.DataFrame) -> Rows:
        """The arrays of a part."""
        frame, weights, offset = self.usable(part)
        response = parse_with_formulaic(f"0 + {self.formula.response}")
        y = numbers_of_response(response_of(response, frame, self.formula.response))
        return Rows(
            y=y if offset is None else y - offset,
            X=evaluate(self.spec, frame)[0][:, self.kept],
            codes=[term.locate(frame) for term in self.terms],
            columns=[term.matrix_for(frame) for term in self.terms],
            root_weights=None if weights is None else np.sqrt(weights),
        )

    def look(self, part: pd.DataFrame) -> _Seen:
        """What a part has."""
        try:
            frame, weights, _ = self.usable(part)
        except NoRowsError:
            return _Seen(0, len(part), 0.0, {}, {}, part.iloc[:100])
        coded, _ = self.columns()
        kinds = {name: kind for name in sorted(coded) if (kind := kind_of(frame[name]))}
        factors = {name for name, kind in kinds.items() if kind != "numbers"}
        texts = [self.formula.fixed, *(part.expr for part in self.formula.random)]
        for text in texts:
            for _, code in factors_of(parse_with_formulaic(text)):
                factors |= code.labels
        sets = {(name,) for name in factors} | {r.factors for r in self.formula.random}
        labels = {
            tuple(names): frame[list(names)].drop_duplicates(ignore_index=True) for names in sets
        }
        log_weights = 0.0 if weights is None else float(np.log(weights).sum())
        return _Seen(len(frame), len(part), log_weights, kinds, labels, frame.iloc[:100])

    def triangles(self, part: pd.DataFrame) -> list[FloatArray]:
        """R of [X] and of each term's (weighted) columns, in a part."""
        rows = self(part)
        return [_triangle(weigh(rows.root_weights, each)) for each in (rows.X, *rows.columns)]


@dataclass(frozen=True, eq=False)
class _Seen:
    """What one or several parts have: rows, kinds of columns, and combinations of labels."""

    n: int
    n_rows: int
    sum_log_weights: float
    kinds: dict[str, Kind]
    labels: dict[tuple[str, ...], pd.DataFrame]
    some: pd.DataFrame

    def __add__(self, other: _Seen) -> _Seen:
        if not self.n or not other.n:
            return replace(self if self.n else other, n_rows=self.n_rows + other.n_rows)
        for name, kind in self.kinds.items():
            if other.kinds[name] != kind:
                raise DataError(
                    f"column {name!r} is {kind} in one part and {other.kinds[name]} in another; "
                    "convert it."
                )
        labels = {
            names: pd.concat([table, other.labels[names]]).drop_duplicates(ignore_index=True)
            for names, table in self.labels.items()
        }
        return _Seen(
            self.n + other.n,
            self.n_rows + other.n_rows,
            self.sum_log_weights + other.sum_log_weights,
            self.kinds,
            labels,
            self.some,
        )


def _joined(one: list[FloatArray], two: list[FloatArray]) -> list[FloatArray]:
    """R of both parts."""
    return [_triangle(np.vstack(pair)) for pair in zip(one, two, strict=True)]


def _triangle(columns: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.qr(columns, mode="r"))


@dataclass(frozen=True, eq=False)
class Settled:
    """A design of parts, what turns a part into its arrays, and R of the (weighted) X."""

    design: DesignOfParts
    reader: Reader
    R: FloatArray


def design_of_parts(
    formula: str | MixedFormula,
    parts: Parts,
    *,
    weights: Any = None,
    offset: Any = None,
    sigma: float | None = None,
) -> Settled:
    """Settle a design in two passes over the parts: labels, then the scale of the columns.

    Returns
    -------
    Settled

    Raises
    ------
    FormulaError, DataError, RankError
        As `build_design`; and if a function of the formula remembers the data, such as ``scale``,
        or weights or offset are no column.
    """
    formula = parse_formula(formula)
    for name, given in (("weights", weights), ("offset", offset)):
        if given is not None and not isinstance(given, str):
            raise DataError(f"{name} must name a column where the data come in parts.")
    reader = Reader(formula, weights, offset)
    seen = parts.sum(reader.look, add)
    if not seen.n:
        reader.usable(seen.some)  # which names a column without values
    pattern = _pattern(seen)
    _, names, spec = model_matrix(
        parse_with_formulaic(formula.fixed), pattern, "fixed part", formula.fixed
    )
    nowhere = np.zeros(len(pattern), dtype=np.intp)
    terms: list[RandomTerm] = []
    for random in formula.random:
        _, levels = group_codes(seen.labels[tuple(random.factors)], random.factors)
        terms += random_terms(random, pattern, nowhere, levels)
    of_response = evaluate(parse_with_formulaic(f"0 + {formula.response}"), pattern)[1]
    for each in (of_response, spec, *(term.spec for term in terms)):
        for call in filter(each.transform_state.get, each.transform_state):
            raise FormulaError(
                f"{as_typed(call)} takes what it needs from all rows, which are never together "
                "here; compute this column before."
            )
    terms.sort(key=lambda term: -term.n_levels)
    reader = Reader(formula, weights, offset, tuple(terms), spec, np.ones(len(names), dtype=bool))
    R, *triangles = parts.sum(reader.triangles, _joined)
    kept = independent_columns(R)
    depend = dependence(R, kept)
    R = _triangle(R[:, kept])
    for term in terms if sigma is None else ():
        check_identifiable(term, seen.n)
    refuse_saturated(seen.n, int(kept.sum()))
    design = DesignOfParts.of(
        formula=formula,
        fixed_names=tuple(compress(names, kept)),
        terms=terms_without_rows(terms, [T / np.sqrt(seen.n) for T in triangles]),
        offset_column=offset,
        n_missing=seen.n_rows - seen.n,
        spec=spec,
        kept=kept,
        dependence=depend,
        kinds=seen.kinds,
        sigma=None if sigma is None else require_positive("sigma", sigma),
        n=seen.n,
        sum_log_weights=seen.sum_log_weights,
    )
    return Settled(design, Reader(formula, weights, offset, design.terms, spec, kept), R)


def refuse_structure(
    formula: str | MixedFormula, *, dispersion: str | None, residual: str | None
) -> None:
    """Refuse covariances with structure, which a fit of parts does not have.

    Raises
    ------
    DataError
        If there are any; the message names it.
    """
    formula = parse_formula(formula)
    found = [str(part) for part in formula.random if part.structure != US]
    found += [f"dispersion={dispersion!r}"] * (dispersion is not None)
    found += [f"residual={residual!r}"] * (residual is not None)
    if found:
        raise DataError(
            f"{found[0]} asks for a covariance with structure, which data in parts cannot have "
            "yet: pass all rows together."
        )


def _pattern(seen: _Seen) -> pd.DataFrame:
    """A few rows in which every level of every factor of the fixed part occurs."""
    single = {names[0]: table for names, table in seen.labels.items() if len(names) == 1}
    coded = {name: table for name, table in single.items() if name in seen.kinds}
    n = max([len(seen.some), 2, *(len(table) for table in coded.values())])
    frame = seen.some.iloc[np.resize(np.arange(len(seen.some)), n)].reset_index(drop=True)
    for name, table in coded.items():
        column = table[name].iloc[np.resize(np.arange(len(table)), n)]
        frame[name] = column.reset_index(drop=True)
    return frame


def terms_without_rows(
    terms: Sequence[RandomTerm], triangles: Sequence[FloatArray]
) -> tuple[RandomTerm, ...]:
    """The terms with a few rows, as many in each, whose mean squares are those of all rows.

    The triangles are R of the (weighted) columns of each, over the root of the number of rows.
    """
    n = max((term.width for term in terms), default=0)
    found = []
    for term, triangle in zip(terms, triangles, strict=True):
        rows = np.zeros((n, term.width))
        rows[: len(triangle)] = triangle * np.sqrt(n)
        found.append(term.with_rows(np.zeros(n, dtype=np.intp), rows))
    return tuple(found)
