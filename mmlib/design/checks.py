"""Checks of what users pass in: each error names the culprit and says what to do."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any
from unicodedata import normalize

import numpy as np
import pandas as pd
from formulaic.transforms import TRANSFORMS
from scipy.special import ndtri

from mmlib.arrays import FloatArray
from mmlib.design.columns import as_floats, kind_of
from mmlib.design.frames import converted_frame
from mmlib.errors import DataError, RankError

MOST_NAMED = 12
"""More names than this are not listed in an error."""

MAX_VALUE = 1e100
"""Numbers beyond this overflow when they are squared and summed."""


class NoRowsError(DataError):
    """Nothing to work with: no rows, or none without a missing value."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence that offers the known names nearest to `name`, or an empty string."""
    by_folded = {str(candidate).casefold(): str(candidate) for candidate in known}
    nearest = get_close_matches(str(name).casefold(), by_folded, n=3, cutoff=0.5)
    if not nearest:
        return ""
    return f" Did you mean {' or '.join(repr(by_folded[folded]) for folded in nearest)}?"


def names_in(argument: str, names: str | Iterable[str]) -> list[str]:
    """The names that an argument stands for, which takes one or several.

    Raises
    ------
    DataError
        If it is neither.
    """
    if isinstance(names, str):
        return [names]
    if not isinstance(names, Iterable) or any(map(_unhashable, found := list(names))):
        raise DataError(f"{argument} must be a name or a list of names, not {names!r:.60}.")
    return found


def _unhashable(name: object) -> bool:
    return not isinstance(name, Hashable)


def require_frame(data: object, what: str = "data") -> pd.DataFrame:
    """Return `data` as a pandas DataFrame with at least one row and with unique column names.

    A DataFrame is returned as it is; frames that narwhals knows (polars, Arrow, …) and mappings of
    names to columns are converted.

    Raises
    ------
    DataError
        If it is anything else; `what` is the argument's name.
    """
    if not isinstance(data, pd.DataFrame):
        data = converted_frame(data, what)
    if data.empty:
        raise NoRowsError(
            f"{what} has {len(data)} rows and {data.shape[1]} columns: nothing to work with."
        )
    if not data.columns.is_unique:
        twice = sorted({str(name) for name in data.columns[data.columns.duplicated()]})
        raise DataError(f"{what} has more than one column named {', '.join(twice)}; rename them.")
    return data


def require_columns(data: pd.DataFrame, names: Iterable[str], what: str = "data") -> None:
    """Check that every name is a column of `data`.

    Raises
    ------
    DataError
        For the first name that is not; the message offers similar columns.
    """
    known = [str(column) for column in data.columns]
    for name in names:
        if _unhashable(name):
            raise DataError(f"a column of {what} is named by a text, not by {name!r:.60}.")
        if name not in data.columns:
            hint = _twin(name, known) or did_you_mean(name, known)
            if name in data.index.names:
                hint = f" It is in the index: pass {what}.reset_index()."
            elif name in known:
                hint = " A column's name must be text: rename the columns."
            raise DataError(
                f"{what} has no column {name!r}.{hint} Its columns are {', '.join(known)}."
            )


def require_names(argument: str, given: Iterable[Any], known: Iterable[Any], what: str) -> None:
    """Check that every name that an argument gives is a known one.

    Raises
    ------
    DataError
        For the first that is not; `what` says what it should be.
    """
    known = list(known)
    texts = list(map(str, known[:MOST_NAMED])) + ["…"] * (len(known) > MOST_NAMED)
    for name in given:
        if name not in known:
            raise DataError(
                f"{argument} names {name!r}, which is no {what}.{did_you_mean(name, known)} "
                f"There {'is' if len(known) == 1 else 'are'} {', '.join(texts) or 'none'}."
            )


def _twin(name: str, known: Iterable[str]) -> str:
    """A hint if a function has the name, or another name looks the same."""
    if name in TRANSFORMS:
        return f" {name} is a function of formulas."
    same = [k for k in known if normalize("NFKC", k) == normalize("NFKC", str(name))]
    return f" {same[0]!r} looks alike, but is {same[0]!a}, not {name!a}." if same else ""


def as_numbers(what: str, values: object) -> np.ndarray:
    """Return `values` as floats; a missing value becomes NaN.

    Raises
    ------
    DataError
        If they are not real numbers, or some are infinite; `what` names them in the message.
    """
    if isinstance(values, pd.DataFrame):
        raise DataError(f"{what} must be one column, not a DataFrame; pass frame['column'].")
    if isinstance(values, np.ndarray) and values.ndim != 1:
        return as_numbers(what, values.ravel()).reshape(values.shape)
    column = values if isinstance(values, pd.Series) else pd.Series(values)
    if kind_of(column) not in ("numbers", "true or false") and column.notna().any():
        raise DataError(f"{what} must be real numbers, not of type {column.dtype}.")
    numbers = as_floats(column)
    if np.isinf(numbers).any():
        raise DataError(f"{what} has infinite values; correct them or drop these rows.")
    return numbers


def as_array(what: str, values: object) -> np.ndarray:
    """Return `values` as an array of any shape; `as_numbers` says whether they are numbers.

    Raises
    ------
    DataError
        If they are rows of unequal length.
    """
    try:
        return np.asarray(values)
    except ValueError:
        shown = f"{what} must be a number, or rows of numbers that are equally long"
        raise DataError(f"{shown}, not {values!r:.60}.") from None


def require_number(what: str, value: object) -> float:
    """Return `value` as one number.

    Raises
    ------
    DataError
        If it is none, or missing.
    """
    number = as_numbers(what, as_array(what, value))
    if number.ndim or np.isnan(number):
        raise DataError(f"{what} must be one number, not {value!r:.60}.")
    return float(number)


def _numbers_of(argument: str, values: Any, data: pd.DataFrame) -> np.ndarray:
    """The `weights` or `offset` argument as floats, one for each row of `data`."""
    if isinstance(values, str):
        require_columns(data, [values])
        argument, values = f"{argument} column {values!r}", data[values]
    numbers = as_numbers(argument, values)
    if numbers.shape != (len(data),):
        raise DataError(
            f"{argument} must have one number for each of the {len(data)} rows of data; "
            f"it has shape {numbers.shape}."
        )
    require_own_rows(argument, values, data.index)
    if np.nanmax(np.abs(numbers), initial=0.0) > MAX_VALUE:
        raise DataError(f"{argument} has values beyond {MAX_VALUE:g}, too large; change the unit.")
    return numbers


def _refuse_unusable(weights: np.ndarray) -> None:
    """Refuse weights that are not positive, or too small."""
    if (weights <= 0).any():
        raise DataError(
            f"weights must be positive, but {np.count_nonzero(weights <= 0)} are zero or negative; "
            "drop the rows that should not count."
        )
    if (weights < 1 / MAX_VALUE).any():
        raise DataError(f"weights has values below {1 / MAX_VALUE:g}, too small; change the unit.")


def complete_columns(
    data: pd.DataFrame, names: set[str], weights: Any, offset: Any
) -> tuple[pd.DataFrame, FloatArray | None, FloatArray | None]:
    """The columns in the rows that miss nothing, with weights and offset there."""
    require_columns(data, sorted(names))
    frame = data[[name for name in data.columns if name in names]]
    asked = {"weights": weights, "offset": offset}
    given = {name: _numbers_of(name, v, data) for name, v in asked.items() if v is not None}
    if "weights" in given:
        _refuse_unusable(given["weights"])
    missing = np.column_stack([frame.isna(), *(np.isnan(values) for values in given.values())])
    complete = np.flatnonzero(~missing.any(axis=1))
    if not len(complete):
        incomplete = np.array([*map(str, frame.columns), *given])[missing.any(axis=0)]
        raise NoRowsError(f"every row has a missing value; look at {', '.join(incomplete)}.")
    if len(complete) < len(data):
        frame = frame.iloc[complete]
        given = {name: values[complete] for name, values in given.items()}
    return frame, given.get("weights"), given.get("offset")


def numbers_of_response(values: pd.Series) -> np.ndarray:
    """Return a response as floats, of all rows or of some.

    Raises
    ------
    DataError
        If it is not numeric, or has missing or infinite values.
    """
    if kind_of(values) != "numbers":
        raise DataError(
            f"the response {values.name!r} must be numeric, but its type is {values.dtype}; "
            "convert it with pandas.to_numeric or astype(float)."
        )
    response = as_floats(values)
    unusable = int(np.count_nonzero(~np.isfinite(response)))
    if unusable:
        raise DataError(
            f"the response {values.name!r} has {unusable} infinite or missing value(s); "
            "correct them, or drop these rows."
        )
    return response


def as_response(values: pd.Series) -> np.ndarray:
    """Return a response as floats, once rows with missing values are gone.

    Parameters
    ----------
    values : Series, shape (n,)
        A numeric column without missing values; its name is used in messages.

    Returns
    -------
    ndarray of float, shape (n,)

    Raises
    ------
    DataError
        If the column is not numeric, holds missing or infinite values, or is constant.
    """
    name, response = values.name, numbers_of_response(values)
    if response.size == 0:
        raise DataError(f"the response {name!r} has no value left to fit.")
    largest = float(np.abs(response).max())
    if not 1 / MAX_VALUE < largest < MAX_VALUE and largest > 0:
        raise DataError(
            f"the response {name!r} has values of size {largest:g}, whose squares computers cannot "
            "add up; change its unit."
        )
    if np.all(response == response[0]):
        raise DataError(
            f"the response {name!r} is constant ({response[0]:g} in every row): "
            "there is no variance to take apart."
        )
    return response


def refuse_saturated(n: int, p: int) -> None:
    """Refuse as many fixed effects as rows, which they fit exactly.

    Raises
    ------
    RankError
        Whether σ is known or not.
    """
    if n <= p:
        raise RankError(
            f"{p} fixed effects for {n} rows leave nothing to estimate a variance from; use fewer "
            "terms or more data."
        )


def require_count(name: str, value: object, *, least: int = 1) -> int:
    """Return `value` if it is a whole number of at least `least`.

    Raises
    ------
    DataError
        If it is anything else; `name` is the argument it was given for.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise DataError(f"{name} must be a whole number of at least {least}, not {value!r}.")
    return int(value)


def require_positive(name: str, value: object) -> float:
    """Return `value` if it is a positive number.

    Raises
    ------
    DataError
        If it is anything else; `name` is the argument it was given for.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < MAX_VALUE:
        raise DataError(f"{name} must be a positive number, not {value!r}.")
    return float(value)


def require_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Check that `value` is one of `choices`, for the argument `name`.

    Raises
    ------
    DataError
        If it is not.
    """
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        *most, last = map(repr, choices)
        raise DataError(f"{name} must be {', '.join(most)} or {last}, not {value!r}.")


def check_level(level: object, name: str = "level", *, usual: float = 0.95) -> None:
    """Check that `level` can be the coverage of an interval, or the level of a test.

    Raises
    ------
    DataError
        If it is not a number between 0 and 1; `name` is the argument it was given for.
    """
    if not isinstance(level, Real) or not 0 < float(level) < 1:
        raise DataError(f"{name} must be between 0 and 1, not {level!r}; {usual} is usual.")


def normal_quantile(level: float) -> float:
    """The z with P(|Z| ≤ z) = `level`, which must be a possible coverage."""
    check_level(level)
    return float(ndtri((1 + level) / 2))


def as_generator(rng: np.random.Generator | int | None) -> np.random.Generator:
    """Return the generator that an argument `rng` stands for.

    Raises
    ------
    DataError
        If `numpy.random.default_rng` does not take it.
    """
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError):
        raise DataError(
            f"rng must be a numpy Generator, a whole number not below 0, or None, not {rng!r}."
        ) from None


def require_executor(executor: object) -> None:
    """Check that `executor` takes work as those of `concurrent.futures` do.

    Raises
    ------
    DataError
        If it does not.
    """
    if executor is not None and not callable(getattr(executor, "submit", None)):
        raise DataError(
            f"executor must have submit, as those of concurrent.futures do, not {executor!r:.60}."
        )


def require_progress(progress: object) -> None:
    """Check that `progress` is a switch, or a function to call.

    Raises
    ------
    DataError
        If it is neither.
    """
    if not (progress is None or isinstance(progress, (bool, np.bool_)) or callable(progress)):
        raise DataError(f"progress must be True, False, None or a function, not {progress!r:.60}.")


def require_fit(*fits: object) -> None:
    """Check that arguments are fits.

    Raises
    ------
    DataError
        If one is anything else.
    """
    for fit in fits:
        if not hasattr(fit, "design"):
            raise DataError(f"a fit is needed, as mmlib.lmm(...) returns it, not {fit!r:.60}.")


def require_estimated_sigma(design: Any, what: str) -> None:
    """Check that σ is a parameter of the model.

    Raises
    ------
    DataError
        If it is known.
    """
    if design.sigma is not None:
        raise DataError(
            f"{what} needs a fit that estimates σ, and in {design.formula} it is known "
            f"(sigma={design.sigma:g})."
        )


def require_own_rows(what: str, values: object, index: pd.Index) -> None:
    """Check that a Series has the index of the rows that it is meant for.

    Raises
    ------
    DataError
        If it has another; `what` names it in the message.
    """
    if isinstance(values, pd.Series) and not values.index.equals(index):
        raise DataError(
            f"{what} is a Series whose index is not that of the data, so its rows may be others; "
            "pass .to_numpy() if their order is right."
        )
