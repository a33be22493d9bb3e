"""Predictions for the rows of a data frame, with intervals that say what they include."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from mmlib.arrays import FloatArray, IntArray
from mmlib.design.checks import (
    as_numbers,
    names_in,
    normal_quantile,
    require_choice,
    require_columns,
    require_frame,
    require_names,
)
from mmlib.design.design import Design
from mmlib.design.formula import columns_used, parse_with_formulaic
from mmlib.design.terms import RandomTerm, templates
from mmlib.engine.threads import single_threaded
from mmlib.errors import DataError, RankError
from mmlib.results.estimates import Fit

NewLevels = Literal["error", "population"]
Interval = Literal["confidence", "prediction"]
Random = str | Sequence[str] | Literal[False] | None
Missing = Literal["error", "nan"]

_COLUMNS = ["predicted", "lower", "upper", "se"]
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
    residual: FloatArray
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
    missing: Missing = "error",
) -> pd.Series | pd.DataFrame:
    """What `LMMResult.predict` gives."""
    require_choice("new_levels", new_levels, ("error", "population"))
    require_choice("interval", interval, (*INCLUDED, None))
    require_choice("missing", missing, ("error", "nan"))
    counted = _counted(fit.design, random)
    if new is None:
        return _predict(fit, _rows_of_fit(fit, counted), interval, level)
    ask = _Question.of(fit.design, counted, of_observation=interval == "prediction")
    new = require_frame(new, "new")
    require_columns(new, ask.columns, "new")
    possible = np.ones(len(new), dtype=bool)
    if missing == "nan":
        possible = ask.complete(new, groupings=new_levels == "error")
    fit.design.check_types(new[possible], ask.coded)
    possible[possible] = _estimable(fit.design, new[possible], ask.fixed, missing)
    if not possible.any():
        names = _COLUMNS if interval else _COLUMNS[:1]
        nothing = pd.DataFrame(np.nan, index=new.index, columns=names)
        return nothing if interval else nothing["predicted"]
    found = _predict(fit, _new_rows(ask, new[possible], new_levels, fit.theta), interval, level)
    if possible.all():
        return found
    placed = found.set_axis(np.flatnonzero(possible)).reindex(range(len(new)))
    placed.attrs = found.attrs
    return placed.set_axis(new.index)


def _predict(
    fit: Fit, rows: _Rows, interval: Interval | None, level: float
) -> pd.Series | pd.DataFrame:
    predicted = rows.X @ fit.beta + rows.offset
    for modes, codes, values in zip(fit.term_modes(), rows.codes, rows.values, strict=True):
        predicted += np.where(codes < 0, 0.0, (modes[codes] * values).sum(axis=1))
    if interval is None:
        return pd.Series(predicted, index=rows.index, name="predicted")
    reach = normal_quantile(level)
    se = np.sqrt(_variance(fit, rows, new_observation=interval == "prediction"))
    columns = (predicted, predicted - reach * se, predicted + reach * se, se)
    table = pd.DataFrame(dict(zip(_COLUMNS, columns, strict=True)), index=rows.index)
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
    require_names("random", names, known, "grouping of the fit")
    return set(names)


def _rows_of_fit(fit: Fit, counted: set[str]) -> _Rows:
    design = fit.design
    return _Rows(
        index=design.index,
        X=design.X,
        offset=0.0 if design.offset is None else design.offset,
        residual=design.residual_variances(fit.theta),
        codes=[t.codes if t.group in counted else np.full(design.n, -1) for t in design.terms],
        values=[term.model_matrix for term in design.terms],
    )


@dataclass(frozen=True, eq=False)
class _Question:
    """What a prediction needs of new data.

    Attributes
    ----------
    fixed, coded, offset, groupings, residual : list of str
        Columns: of the fixed part, of all expressions, what they are called, and what the residual
        variance of an observation depends on.
    counted, used : list of RandomTerm
        The terms whose modes count, and those whose columns are needed.
    """

    design: Design
    fixed: list[str]
    coded: list[str]
    offset: list[str]
    groupings: list[str]
    residual: list[str]
    counted: list[RandomTerm]
    used: list[RandomTerm]

    @classmethod
    def of(cls, design: Design, counted: set[str], *, of_observation: bool) -> _Question:
        """What the groupings that count need; the variance of the others needs their columns."""
        terms = [term for term in design.terms if term.group in counted]
        used = list(design.terms) if of_observation else terms
        fixed = columns_used(parse_with_formulaic(design.formula.fixed))
        return cls(
            design=design,
            fixed=sorted(fixed),
            coded=sorted(fixed.union(*(term.sources for term in used))),
            offset=[design.offset_column] if design.offset_column else [],
            groupings=sorted({name for term in terms for name in term.part.factors}),
            residual=design.residual.sd_columns if design.residual and of_observation else [],
            counted=terms,
            used=used,
        )

    @property
    def columns(self) -> list[str]:
        """All of them, once."""
        return list(dict.fromkeys([*self.coded, *self.groupings, *self.offset, *self.residual]))

    def complete(self, new: pd.DataFrame, *, groupings: bool) -> np.ndarray:
        """Mark the rows that miss nothing."""
        names = [*self.coded, *self.offset, *self.residual, *(self.groupings if groupings else [])]
        return np.array(new[names].notna().all(axis=1))


def _estimable(design: Design, new: pd.DataFrame, fixed: list[str], missing: Missing) -> np.ndarray:
    """Mark the rows whose mean can be estimated; by default refuse the others."""
    if not len(new):
        return np.ones(0, dtype=bool)
    unknown = design.not_estimable(new)
    if unknown.any() and missing == "error":
        row = int(np.flatnonzero(unknown)[0])
        cell = ", ".join(f"{name} = {new[name].iloc[row]}" for name in fixed)
        raise RankError(
            f"{int(unknown.sum())} row(s) of new cannot be predicted, such as {new.index[row]!r} "
            f"({cell}): nothing in the fit says what their mean is, for "
            f"{', '.join(design.aliased)} had to be left out of it; pass missing='nan' for no "
            "number there."
        )
    return ~unknown


def _new_rows(ask: _Question, new: pd.DataFrame, new_levels: str, theta: FloatArray) -> _Rows:
    terms, nowhere = ask.design.terms, np.full(len(new), -1)
    return _Rows(
        index=new.index,
        X=ask.design.fixed_matrix(new),
        offset=_offset(ask.design, new),
        residual=(
            ask.design.residual.sds_for(new, ask.design.phi(theta)) ** 2
            if ask.design.residual and ask.residual
            else np.ones(len(new))
        ),
        codes=[_known_codes(t, new, new_levels) if t in ask.counted else nowhere for t in terms],
        values=[
            t.matrix_for(new) if t in ask.used else np.zeros((len(new), t.width)) for t in terms
        ],
    )


def _offset(design: Design, new: pd.DataFrame) -> FloatArray | float:
    if design.offset_column:
        what = f"offset column {design.offset_column!r}"
        offset = as_numbers(what, new[design.offset_column])
        if np.isnan(offset).any():
            raise DataError(f"{what} of the new data has missing values; fill or drop these rows.")
        return offset
    if design.mean_offset is not None:
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
        variance = covariance.variances(covariance.rows(rows.X, effects))
    if new_observation:
        variance += rows.residual
        terms = fit.design.terms
        for term, lam in zip(terms, templates(terms, fit.theta), strict=True):
            codes, values = by_term[term]
            variance += np.where(codes < 0, ((values @ lam) ** 2).sum(axis=1), 0.0)
    return fit.sigma**2 * variance
