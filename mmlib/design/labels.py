"""Labels of levels: read from a column, and found again in another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mmlib.arrays import IntArray
from mmlib.design.columns import as_category, is_dictionary, kind_of
from mmlib.errors import DataError

_WHAT = {"a factor": "text", "numbers": "numbers", "true or false": "True or False"}


def levels_of(column: pd.Series) -> pd.Categorical:
    """A grouping column as categories, in the order of its levels.

    Raises
    ------
    DataError
        If it holds objects that cannot be levels.
    """
    try:
        return pd.Categorical(_plain(column))
    except (TypeError, NotImplementedError):  # the second is Arrow's
        raise DataError(
            f"grouping column {column.name!r} holds objects that cannot be told apart as levels; "
            "use text, numbers or a category."
        ) from None


def match_labels(levels: pd.Index, column: pd.Series) -> IntArray:
    """Position of each value of a column among the levels of a fit, −1 where it is none.

    Where one side has text and the other numbers, as when ids come from two files, ``"308"`` is
    308. What only counts the same, as ``"007"`` and 7, is refused, and so is a column of which
    nothing is found, unless both sides are plain numbers.

    Raises
    ------
    DataError
        If the types differ and the labels do not say the same.
    """
    values = pd.Index(_plain(column))
    if isinstance(values, pd.CategoricalIndex):
        values = pd.Index(values.astype(values.categories.dtype))
    ours, theirs = _kind(levels), _kind(values)
    if ours == theirs or values.isna().all():
        return levels.get_indexer(values)
    known, labels = pd.Index(map(label_of, levels)), pd.Index(map(label_of, values))
    codes = known.get_indexer(labels) if known.is_unique else np.full(len(values), -1)
    unknown = [label for label, code in zip(labels, codes, strict=True) if code < 0 and label]
    counted = {_number(label) for label in known} - {None}
    doubtful = [label for label in unknown if _number(label) in counted]
    could_be_new = all(map(_is_plain_number, [*known, *unknown]))
    if doubtful or (unknown and (codes < 0).all() and not could_be_new):
        raise DataError(
            f"grouping column {column.name!r} had {ours} in the fit ({_some(levels)}) but has "
            f"{theirs} in the new data ({_some(values)}), and {(doubtful or unknown)[0]!r} is no "
            "label of the fit: convert the new column to the type that the fit had."
        )
    return codes


def label_of(value: Any) -> str:
    """What a label says, a whole number without its decimals; nothing for a missing value."""
    if pd.isna(value):
        return ""
    whole = isinstance(value, (float, np.floating)) and float(value).is_integer()
    return str(int(value)) if whole else str(value)


def _plain(column: pd.Series) -> pd.Series:
    """The column in a type that pandas can look up labels in."""
    dtype = column.dtype
    if is_dictionary(dtype):
        return as_category(column)
    if isinstance(dtype, pd.SparseDtype):
        return pd.Series(np.asarray(column), index=column.index, name=column.name)
    return column.astype(float) if dtype in (np.float16, np.longdouble) else column


def _kind(labels: pd.Index) -> str:
    kind = kind_of(pd.Series(labels))
    return _WHAT.get(str(kind), str(labels.dtype))


def _number(label: str) -> float | None:
    try:
        return float(label.strip())
    except ValueError:
        return {"true": 1.0, "false": 0.0}.get(label.strip().lower())


def _is_plain_number(label: str) -> bool:
    """Whether a label is how a number is written, as 7 is and 007 is not."""
    number = _number(label)
    return number is not None and label == label_of(number)


def _some(labels: pd.Index) -> str:
    return ", ".join(repr(getattr(label, "item", lambda v=label: v)()) for label in labels[:3])
