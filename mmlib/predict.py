"""Predictions for the rows of a new data frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from mmlib.checks import as_numbers, require_columns, require_frame
from mmlib.design import Design
from mmlib.errors import DataError
from mmlib.formula import columns_used, parse_with_formulaic
from mmlib.terms import FloatArray, RandomTerm

if TYPE_CHECKING:
    from mmlib.model import LMMResult


def predict(
    fit: LMMResult,
    new: pd.DataFrame,
    *,
    new_levels: Literal["error", "population"] = "error",
) -> pd.Series:
    """Predict the mean of y for each row of `new`: xᵀβ̂ + zᵀb̂.

    For a level that the fit knows, b̂ is its conditional mode (the BLUP). For a level it does not
    know, the best prediction of b is its mean, zero: the population mean.

    Parameters
    ----------
    fit : LMMResult
    new : DataFrame
        The columns that the formula uses, the response excepted. Transformations and codings are
        those of the fit.
    new_levels : {"error", "population"}
        What to do with a level of a grouping that the fit has not seen, or that is missing.

    Returns
    -------
    Series, indexed as `new`

    Raises
    ------
    DataError
        If a column is missing from `new`, a fixed-effect column has a missing value or a level the
        fit has not seen, or (with ``new_levels="error"``) a grouping has an unknown level.

    Examples
    --------
    >>> import mmlib as mm, pandas as pd
    >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    >>> fit.predict(pd.DataFrame({"operator": ["a", "e"]}), new_levels="population").round(
    ...     5
    ... ).tolist()
    [60.27806, 60.4]
    """
    if new_levels not in ("error", "population"):
        raise DataError(f"new_levels must be 'error' or 'population', not {new_levels!r}.")
    require_frame(new)
    design = fit.design
    texts = [design.formula.fixed, *(part.expr for part in design.formula.random)]
    coded = set().union(*(columns_used(parse_with_formulaic(text)) for text in texts))
    groupings = {name for part in design.formula.random for name in part.factors}
    offset = {design.offset_column} if design.offset_column else set()
    require_columns(new, sorted(coded | groupings | offset))
    design.check_types(new, sorted(coded))
    predicted = design.fixed_matrix(new) @ fit.beta + _offset(design, new)
    for term, modes in zip(design.terms, fit.term_modes(), strict=True):
        predicted += _effects(term, modes, new, new_levels)
    return pd.Series(predicted, index=new.index, name="predicted")


def _offset(design: Design, new: pd.DataFrame) -> FloatArray | float:
    if design.offset_column:
        return as_numbers(f"offset column {design.offset_column!r}", new[design.offset_column])
    if design.offset is not None:
        raise DataError(
            "the fit has an offset given as an array, which new data cannot carry; "
            "fit with offset='column' to predict for new data."
        )
    return 0.0


def _effects(term: RandomTerm, modes: FloatArray, new: pd.DataFrame, new_levels: str) -> FloatArray:
    """What one random term, with conditional modes of shape (ℓ, S), adds to each row of `new`."""
    codes, values = term.locate(new)
    unknown = codes < 0
    if unknown.any() and new_levels == "error":
        labels = new.loc[unknown, list(term.part.factors)].drop_duplicates()
        shown = ", ".join(":".join(map(str, row)) for row in labels.head(3).itertuples(index=False))
        raise DataError(
            f"grouping {term.group!r} has level(s) the fit has not seen: {shown}; pass "
            "new_levels='population' to predict the population mean for them."
        )
    return np.where(unknown, 0.0, (modes[codes] * values).sum(axis=1))
