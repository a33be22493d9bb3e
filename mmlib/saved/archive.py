"""Values as a tree that JSON can write, and arrays beside it under the path that each has there.

Nothing but numbers, texts, lists, dicts, arrays and pandas' columns goes in, so nothing else comes
out: whoever opens a file from a stranger runs no code of theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from mmlib.errors import DataError

Arrays = dict[str, np.ndarray]


def write(value: Any, path: str, arrays: Arrays) -> Any:
    """What JSON is to write for a value; its arrays go to the others.

    Raises
    ------
    DataError
        If it is, or holds, what a file cannot have.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        arrays[path] = value
        return {"array": path}
    if isinstance(value, list | tuple):
        return [write(each, f"{path}.{k}", arrays) for k, each in enumerate(value)]
    if isinstance(value, Mapping):
        # Keys that are no names, such as expressions or numbers, are no good as names of files.
        named = all(isinstance(key, str) and key.isidentifier() for key in value)
        places = value if named else range(len(value))
        written = [
            write(each, f"{path}.{place}", arrays)
            for place, each in zip(places, value.values(), strict=True)
        ]
        if named:
            return {"named": dict(zip(value, written, strict=True))}
        return {"keys": write(list(value), path, arrays), "values": written}
    if isinstance(value, pd.DataFrame):
        columns = [write_column(value[name], f"{path}.{k}", arrays) for k, name in enumerate(value)]
        return {"rows": len(value), "columns": columns}
    if isinstance(value, pd.Index):
        return write(value.to_frame(index=False), path, arrays)
    raise DataError(f"{path} holds a {type(value).__name__}, which a file cannot hold.")


def read(written: Any, arrays: Arrays) -> Any:
    """The value again: lists come as tuples, an index as a frame."""
    if isinstance(written, list):
        return tuple(read(each, arrays) for each in written)
    if not isinstance(written, dict):
        return written
    if "array" in written:
        return arrays[written["array"]]
    if "columns" in written:
        columns = {each["name"]: read_column(each, arrays) for each in written["columns"]}
        return pd.DataFrame(columns, index=pd.RangeIndex(written["rows"]))
    if "named" in written:
        return {name: read(each, arrays) for name, each in written["named"].items()}
    return dict(zip(read(written["keys"], arrays), read(written["values"], arrays), strict=True))


def write_column(column: pd.Series, key: str, arrays: Arrays) -> dict[str, Any]:
    """Put a column among the arrays, and describe it."""
    about: dict[str, Any] = {"name": column.name, "key": key}
    if isinstance(column.dtype, pd.CategoricalDtype):
        about["ordered"] = bool(column.cat.ordered)
        arrays[key] = column.cat.codes.to_numpy()
        labels = pd.Series(column.cat.categories, name=column.name)
        about["categories"] = write_column(labels, f"{key}_levels", arrays)
        return about
    values = column.to_numpy()
    if values.dtype == object or isinstance(column.dtype, pd.StringDtype):
        about["text"] = str(column.dtype)
        if not all(isinstance(value, str) for value in values):
            kinds = sorted({type(value).__name__ for value in values})
            raise DataError(
                f"column {column.name!r} holds objects ({', '.join(kinds[:3])}); save takes "
                "numbers, dates and text: convert it and fit again."
            )
        values = values.astype(str)
    arrays[key] = values
    return about


def read_column(about: dict[str, Any], arrays: Arrays) -> Any:
    """The values of a column."""
    values = arrays[about["key"]]
    if "categories" in about:
        categories = pd.Index(read_column(about["categories"], arrays))
        return pd.Categorical.from_codes(values, categories=categories, ordered=about["ordered"])
    if "text" not in about:
        return values
    try:
        return pd.Series(values.astype(object), dtype=about["text"])
    except TypeError:  # a file of another pandas
        return pd.Series(values.astype(object), dtype=object)
