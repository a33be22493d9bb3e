"""Frames of other libraries at the door: polars, Arrow and whatever else narwhals knows; dicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import narwhals.stable.v1 as nw
import numpy as np
import pandas as pd

from mmlib.errors import DataError


def converted_frame(data: object, what: str) -> pd.DataFrame:
    """A pandas DataFrame of the same columns.

    Numbers stay numbers (whole ones with missing values become floats), text stays text, an Enum
    becomes a category with its levels in their order.

    Raises
    ------
    DataError
        If `data` is no frame; `what` is the argument's name.
    """
    if isinstance(data, Mapping):
        try:
            return pd.DataFrame(dict(data))
        except (ValueError, TypeError) as error:
            raise DataError(f"{what} is a dict that makes no table: {error}.") from None
    frame: Any = nw.from_native(data, pass_through=True)
    if not isinstance(frame, nw.DataFrame):
        way_out = f"{what}.to_pandas()" if hasattr(data, "to_pandas") else "pandas.DataFrame(...)"
        if hasattr(data, "collect"):  # a lazy frame of polars
            way_out = f"{what}.collect()"
        kind = f"{type(data).__module__.split('.')[0]}.{type(data).__name__}"
        raise DataError(
            f"{what} must be a pandas DataFrame, not {kind.removeprefix('builtins.')}; pass "
            f"{way_out}."
        )
    return pd.DataFrame({name: _column(frame[name]) for name in frame.columns})


def _column(column: nw.Series[Any]) -> Any:
    """The values of a column, without a detour by a library that may not be there."""
    if isinstance(column.dtype, nw.Enum):
        return pd.Categorical(column.to_list(), categories=column.cat.get_categories().to_list())
    if column.dtype in (nw.String, nw.Categorical):
        return np.array(column.to_list(), dtype=object)
    if column.dtype.is_decimal() or (column.dtype.is_numeric() and column.null_count()):
        return column.cast(nw.Float64).to_numpy()
    return column.to_numpy()
