"""Predictions for the rows of a data frame, with intervals that say what they include."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from mmlib.arrays import FloatArray, IntArray
from mmlib.design.build import Design, evaluate, usable_columns
from mmlib.design.checks import (
    as_numbers,
    did_you_mean,
    names_in,
    normal_quantile,
    require_choice,
    require_columns,
    require_frame,
)
from mmlib.design.formula import columns_used, parse_with_formulaic
from mmlib.design.terms import RandomTerm, templates
from mmlib.engine.threads import single_threaded
from mmlib.errors import DataError
from mmlib.results.fit import Fit

NewLevels = Literal["error", "population"]
Interval = Literal["confidence", "prediction"]
Random = str | Sequence[str] | Literal[False] | None

INCLUDED = {
    "confidence": "the errors of the fixed effects and of the modes of known levels",
    "prediction": "the errors of the fixed effects and of the modes of known levels, the effects "
    "of new levels and of terms left out, and a new observation's residual",
}


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows to predict for: codes of −1 mark a level whose effects are not predicted, but drawn."""

    index: pd.Index
    X: FloatArray
    offset: FloatArray | float
    weights: FloatArray
    codes: list[IntArray]
    values: list[FloatArray]


def predict(
    fit: Fit,
    new: pd.DataFrame | None = None,
    *,
    new_levels: NewLevels = "error",
    interval: Interval | None = None,
    level: float = 0.95,
    random: Random = None,
) -> pd.Series | pd.DataFrame:
    """What `LMMResult.predict` gives."""
    require_choice("new_levels", new_levels, ("error", "population"))
    require_choice("interval", interval, (*INCLUDED, None))
    counted = _counted(fit.design, random)
    if new is None:
        rows = _rows_of_fit(fit.design, counted)
    else:
        rows = _new_rows(fit.design, new, counted, new_levels)
    predicted = rows.X @ fit.beta + rows.offset
    for modes, codes, values in zip(fit.term_modes(), rows.codes, rows.values, strict=True):
        predicted += np.where(codes < 0, 0.0, (modes[codes] * values).sum(axis=1))
    if interval is None:
        return pd.Series(predicted, index=rows.index, name="predicted")
    reach = normal_quantile(level)
    se = np.sqrt(_variance(fit, rows, new_observation=interval == "prediction"))
    table = pd.DataFrame(
        {
            "predicted": predicted,
            "lower": predicted - reach * se,
            "upper": predicted + reach * se,
            "se": se,
        },
        index=rows.index,
    )
    table.attrs["includes"] = INCLUDED[interval]
    return table


def _counted(design: Design, random: Random) -> set[str]:
    """The groupings whose modes count."""
    known = list(dict.fromkeys(term.group for term in design.terms))
    if random is None:
        return set(known)
    if random is False:
        return set()
    if not isinstance(random, Sequence):
        raise DataError(
            f"random must be a grouping, a list of groupings, False or None, not {random!r}."
        )
    names = names_in(random)
    for name in names:
        if name not in known:
            raise DataError(
                f"random names {name!r}, which is no grouping of the fit."
                f"{did_you_mean(str(name), known)} It has {', '.join(known) or 'none'}."
            )
    return set(names)


def _rows_of_fit(design: Design, counted: set[str]) -> _Rows:
    return _Rows(
        index=design.index,
        X=design.X,
        offset=0.0 if design.offset is None else design.offset,
        weights=design.row_weights,
        codes=[t.codes if t.group in counted else np.full(design.n, -1) for t in design.terms],
        values=[term.model_matrix for term in design.terms],
    )


def _new_rows(design: Design, new: pd.DataFrame, counted: set[str], new_levels: str) -> _Rows:
    new = require_frame(new, "new")
    texts = [design.formula.fixed, *(part.expr for part in design.formula.random)]
    coded = set().union(*(columns_used(parse_with_formulaic(text)) for text in texts))
    groupings = {
        name for part in design.formula.random for name in part.factors if part.group in counted
    }
    offset = {design.offset_column} if design.offset_column else set()
    require_columns(new, sorted(coded | groupings | offset), "new")
    design.check_types(new, sorted(coded))
    new = usable_columns(new, sorted(coded))
    values = [evaluate(term._spec, new)[0] for term in design.terms]
    codes = [
        _known_codes(term, new, new_levels) if term.group in counted else np.full(len(new), -1)
        for term in design.terms
    ]
    return _Rows(
        index=new.index,
        X=design.fixed_matrix(new),
        offset=_offset(design, new),
        weights=np.ones(len(new)),
        codes=codes,
        values=values,
    )


def _offset(design: Design, new: pd.DataFrame) -> FloatArray | float:
    if design.offset_column:
        what = f"offset column {design.offset_column!r}"
        offset = as_numbers(what, new[design.offset_column])
        if np.isnan(offset).any():
            raise DataError(f"{what} of the new data has missing values; fill or drop these rows.")
        return offset
    if design.offset is not None:
        raise DataError(
            "the fit has an offset given as an array, which new data cannot carry; "
            "fit with offset='column' to predict for new data."
        )
    return 0.0


def _known_codes(term: RandomTerm, new: pd.DataFrame, new_levels: str) -> IntArray:
    """Position of each row's level among those of the fit, −1 for one it has not seen."""
    codes = term.locate(new)
    unknown = codes < 0
    if unknown.any() and new_levels == "error":
        labels = new.loc[unknown, list(term.part.factors)].drop_duplicates()
        shown = ", ".join(":".join(map(str, row)) for row in labels.head(3).itertuples(index=False))
        raise DataError(
            f"grouping {term.group!r} has level(s) the fit has not seen: {shown}; pass "
            "new_levels='population' to predict the population mean for them."
        )
    return codes


def _variance(fit: Fit, rows: _Rows, *, new_observation: bool) -> FloatArray:
    """Variance of the prediction's error, in squared units of y."""
    by_term = dict(zip(fit.design.terms, zip(rows.codes, rows.values, strict=True), strict=True))
    effects = [
        (by_term[g.terms[0]][0], np.hstack([by_term[term][1] for term in g.terms]))
        for g in fit.blocks.groupings
    ]
    with single_threaded():
        covariance = fit.effects_covariance
        variance = covariance.variances(covariance.rows(rows.X, effects, np.ones(len(rows.X))))
    if new_observation:
        variance += 1 / rows.weights
        terms = fit.design.terms
        for term, lam in zip(terms, templates(terms, fit.theta), strict=True):
            codes, values = by_term[term]
            variance += np.where(codes < 0, ((values @ lam) ** 2).sum(axis=1), 0.0)
    return fit.sigma**2 * variance
