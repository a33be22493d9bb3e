"""Predictions for the rows of a new data frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from mmlib.checks import require_columns, require_frame
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
    formula = design.formula
    expressions = [parse_with_formulaic(text) for text in (formula.fixed, *_varying(fit))]
    used = set().union(*(columns_used(expression, new.columns) for expression in expressions))
    groupings = {name for term in design.terms for name in term.part.factors}
    offset = {design.offset_column} if design.offset_column else set()
    require_columns(new, sorted(used | groupings | offset))
    _refuse_missing(new, sorted(used | offset))
    predicted = design.fixed_matrix(new) @ fit.beta + _offset(fit, new)
    modes = fit.ranef()
    for term in design.terms:
        predicted += _effects(term, modes[term.group], new, new_levels)
    return pd.Series(predicted, index=new.index, name="predicted")


def _varying(fit: LMMResult) -> list[str]:
    return [term.part.expr for term in fit.design.terms]


def _refuse_missing(new: pd.DataFrame, names: list[str]) -> None:
    for name in names:
        missing = int(new[name].isna().sum())
        if missing:
            raise DataError(
                f"column {name!r} of the new data has {missing} missing value(s); "
                "fill or drop these rows."
            )


def _offset(fit: LMMResult, new: pd.DataFrame) -> FloatArray | float:
    if fit.design.offset_column:
        return new[fit.design.offset_column].to_numpy(dtype=float)
    if fit.design.offset is not None:
        raise DataError(
            "the fit has an offset given as an array, which new data cannot carry; "
            "fit with offset='column' to predict for new data."
        )
    return 0.0


def _effects(
    term: RandomTerm, modes: pd.DataFrame, new: pd.DataFrame, new_levels: str
) -> FloatArray:
    """What one random term adds to each row of `new`."""
    codes, values = term.locate(new)
    unknown = codes < 0
    if unknown.any() and new_levels == "error":
        labels = new.loc[unknown, list(term.part.factors)].drop_duplicates().astype(str)
        shown = ", ".join(":".join(row) for row in labels.head(3).itertuples(index=False))
        raise DataError(
            f"grouping {term.group!r} has level(s) the fit has not seen: {shown}; pass "
            "new_levels='population' to predict the population mean for them."
        )
    b = modes[list(term.columns)].to_numpy()[codes]
    return np.where(unknown, 0.0, (b * values).sum(axis=1))
