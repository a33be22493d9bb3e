"""Kinds of columns: numbers, flags (true or false) and factors, whatever the type they come in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import pandas as pd
from pandas.api.types import (
    infer_dtype,
    is_bool_dtype,
    is_complex_dtype,
    is_numeric_dtype,
    is_object_dtype,
    is_string_dtype,
)

from mmlib.errors import DataError

Kind = Literal["numbers", "true or false", "a factor"]

_OF_OBJECTS: dict[str, Kind] = {
    "string": "a factor",
    "boolean": "true or false",
    "integer": "numbers",
    "floating": "numbers",
    "mixed-integer-float": "numbers",
    "decimal": "numbers",
}


def kind_of(column: pd.Series) -> Kind | None:
    """What a column holds, or None if a formula cannot use it."""
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype) or is_dictionary(dtype):
        return "a factor"
    if is_object_dtype(dtype):
        return _OF_OBJECTS.get(infer_dtype(column, skipna=True))
    if is_bool_dtype(dtype):
        return "true or false"
    if is_numeric_dtype(dtype):
        return None if is_complex_dtype(dtype) else "numbers"
    return "a factor" if is_string_dtype(dtype) else None


def is_dictionary(dtype: Any) -> bool:
    """Whether this is Arrow's type of a factor."""
    return str(dtype).startswith("dictionary<")


def usable_columns(frame: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """The columns as numpy's numbers and flags, text or categories without unused levels.

    Parameters
    ----------
    frame : DataFrame
        Without missing values in these columns.

    Raises
    ------
    DataError
        For complex numbers, dates, or objects that are not all of one kind.
    """
    changed = {}
    for name in names:
        column, kind = frame[name], kind_of(frame[name])
        if kind is None:
            raise DataError(
                f"column {name!r} is of type {column.dtype}; convert it to numbers (dates to days "
                "since a start, for instance) or to a category with astype('category')."
            )
        usable = _usable(column, kind)
        if usable is not column:
            changed[name] = usable
    return frame.assign(**changed) if changed else frame


def _usable(column: pd.Series, kind: Kind) -> pd.Series:
    dtype = column.dtype
    if kind == "true or false":
        plain = isinstance(dtype, np.dtype) and dtype.kind == "b"
        return column if plain else column.astype(object).astype(bool)
    if kind == "numbers":
        if isinstance(dtype, np.dtype) and not is_object_dtype(dtype):
            return column
        types = {"i": "int64", "u": "uint64"}
        values = column.to_numpy(dtype=types.get(dtype.kind, "float64"))
        return pd.Series(values, index=column.index, name=column.name)
    if is_dictionary(dtype):
        column = as_category(column)
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return column if is_object_dtype(dtype) else column.astype(object)
    all_used = len(np.unique(column.array.codes)) == len(column.array.categories)
    return column if all_used else column.cat.remove_unused_categories()


def as_category(column: pd.Series) -> pd.Series:
    """A factor of Arrow's as one of pandas, with its levels in their order."""
    arrow = column.array.__arrow_array__().combine_chunks()
    return pd.Series(arrow.to_pandas().array, index=column.index, name=column.name)


def as_floats(column: pd.Series) -> np.ndarray:
    """The values of numbers or flags as floats of 64 bits; a missing value becomes NaN."""
    if is_object_dtype(column.dtype):
        column = column.where(column.notna(), np.nan)
    if isinstance(column.dtype, np.dtype):
        return column.to_numpy(dtype=float)
    return column.to_numpy(dtype=float, na_value=np.nan)


def for_computing(column: pd.Series) -> pd.Series:
    """A usable column as an expression computes with it: numbers are floats of 64 bits."""
    numeric = column.dtype.kind in "iuf"
    return column.astype(float) if numeric and column.dtype != float else column


def counted(values: Any) -> Any:
    """An operand of arithmetic: flags and whole numbers are floats of 64 bits, all else is left."""
    kind = getattr(getattr(values, "dtype", None), "kind", "O")
    if kind in "biu":
        return values.astype(float)
    return float(values) if isinstance(values, bool) else values


def as_factor(values: Any) -> Any:
    """What an expression has computed, flags and text as factors."""
    kind = getattr(getattr(values, "dtype", None), "kind", "")
    if kind == "b":
        return pd.Series(pd.Categorical(values), index=getattr(values, "index", None))
    return pd.Series(values, dtype=object) if kind == "U" else values
