"""Predictions for the rows of a data frame, with intervals that say what they include."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, overload

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
from mmlib.design.words import by_our_words
from mmlib.engine.threads import single_threaded
from mmlib.errors import DataError, RankError
from mmlib.results.estimates import Fit

NewLevels = Literal["error", "population"]
Interval = Literal["confidence", "prediction"]
Random = str | Sequence[str] | Literal[False] | None
Missing = Literal["error", "nan"]

_COLUMNS = ["predicted", "se", "lower", "upper"]
INCLUDED = {
    "confidence": "the errors of the fixed effects and of the modes of known levels",
    "prediction": "the errors of the fixed effects and of the modes of known levels, the effects "
    "of new levels and of terms left out, and a new observation's residual",
}


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows to predict for.

    Each grouping has codes and columns; a code of −1 marks a level whose effects are not predicted,
    but drawn.
    """

    index: pd.Index
    X: FloatArray
    offset: FloatArray | float
    residual: FloatArray
    effects: list[tuple[IntArray, FloatArray]]


@overload
def predict(
    fit: Fit,
    new: pd.DataFrame | None = None,
    *,
    new_levels: NewLevels = "error",
    interval: None = None,
    level: float = 0.95,
    random: Random = None,
    missing: Missing = "error",
) -> pd.Series: ...
@overload
def predict(
    fit: Fit,
    new: pd.DataFrame | None = None,
    *,
    new_levels: NewLevels = "error",
    interval: Interval,
    level: float = 0.95,
    random: Random = None,
    missing: Missing = "error",
) -> pd.DataFrame: ...
@by_our_words
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
    """Predict the mean of y for each row of `new`: xᵀβ̂ + zᵀb̂.

    For a level that the fit knows, b̂ is its conditional mode (the BLUP). For a level it does
    not know, the best prediction of b is its mean, zero: the population mean.

    Parameters
    ----------
    new : DataFrame, optional
        The columns that the formula uses, the response excepted; by default the data of the
        fit. Transformations and codings are those of the fit.
    new_levels : {"error", "population"}
        What to do with a level of a grouping that the fit has not seen, or that is missing.
    interval : {"confidence", "prediction"}, optional
        A confidence interval is for the mean xᵀβ + zᵀb of known levels, for the population mean
        xᵀβ of new ones; it includes the errors of β̂ and, for known levels, of b̂. A prediction
        interval is for a new observation: it adds the variance of its residual (σ²/w for the
        rows of the fit, σ² for others) and of the effects of a new level. Both take θ and σ as
        known and use normal quantiles, which is too short where a variance rests on few levels.
    level : float
        Nominal coverage, between 0 and 1.
    random : str, sequence of str, or False, optional
        The groupings whose conditional modes count: by default all, with False none. One that
        does not count is treated as a new level in every row, and its columns need not be in
        `new` (but for a prediction interval, which counts their variance).
    missing : {"error", "nan"}
        What to do with a row that has a missing value, or whose mean cannot be estimated, such
        as that of a cell never observed: refuse all rows, or give this one NaN.

    Returns
    -------
    Series, or with an interval DataFrame, indexed as the rows
        Columns ``predicted, se, lower, upper``; ``.attrs["includes"]`` says which errors ``se``
        includes.

    Raises
    ------
    DataError
        If a column is missing from `new`, a fixed-effect column has a missing value, a level
        the fit has not seen or a value outside a spline's range, or (with
        ``new_levels="error"``) a grouping has an unknown level. Levels that are text on one
        side and numbers on the other are matched if written alike (``"7"`` and 7), and refused
        if they only have the same value (``"007"``).
    RankError
        If the mean of a row cannot be estimated because columns were left out of the fit.

    Examples
    --------
    >>> import mmlib as mm, pandas as pd
    >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    >>> new = pd.DataFrame({"operator": ["a", "e"]})
    >>> fit.predict(new, new_levels="population", interval="prediction").round(4)
       predicted      se    lower    upper
    0    60.2781  0.3517  59.5887  60.9674
    1    60.4000  0.4435  59.5308  61.2692
    """
    require_choice("new_levels", new_levels, ("error", "population"))
    require_choice("interval", interval, (*INCLUDED, None))
    require_choice("missing", missing, ("error", "nan"))
    design, counted = fit.design, _counted(fit.design, random)
    if new is None:
        return _predict(fit, _rows_of_fit(fit, counted), interval, level)
    new = require_frame(new, "new")
    drawn = interval == "prediction"
    coded, groupings, others = _columns_needed(design, counted, drawn=drawn)
    require_columns(new, dict.fromkeys([*coded, *groupings, *others]), "new")
    possible = np.ones(len(new), dtype=bool)
    if missing == "nan":
        names = [*coded, *others, *(groupings if new_levels == "error" else [])]
        possible = np.array(new[names].notna().all(axis=1))
    design.check_types(new[possible], coded)
    possible[possible] = _estimable(design, new[possible], missing)
    if not possible.any():
        names = _COLUMNS if interval else _COLUMNS[:1]
        nothing = pd.DataFrame(np.nan, index=new.index, columns=names)
        return nothing if interval else nothing["predicted"]
    rows = _new_rows(fit, new[possible], counted, new_levels, drawn=drawn)
    found = _predict(fit, rows, interval, level)
    if possible.all():
        return found
    placed = found.set_axis(np.flatnonzero(possible)).reindex(range(len(new)))
    placed.attrs = found.attrs
    return placed.set_axis(new.index)


def _predict(
    fit: Fit, rows: _Rows, interval: Interval | None, level: float
) -> pd.Series | pd.DataFrame:
    predicted = rows.X @ fit.beta + rows.offset
    modes_of = [table.to_numpy() for table in fit.ranef().values()]
    for modes, (codes, values) in zip(modes_of, rows.effects, strict=True):
        predicted += np.where(codes < 0, 0.0, (modes[codes] * values).sum(axis=1))
    if interval is None:
        return pd.Series(predicted, index=rows.index, name="predicted")
    reach = normal_quantile(level)
    se = np.sqrt(_variance(fit, rows, new_observation=interval == "prediction"))
    columns = (predicted, se, predicted - reach * se, predicted + reach * se)
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
    names = names_in("random", random)
    require_names("random", names, known, "grouping of the fit")
    return set(names)


def _rows_of_fit(fit: Fit, counted: set[str]) -> _Rows:
    design, nowhere = fit.design, np.full(fit.nobs, -1)
    return _Rows(
        index=design.index,
        X=design.X,
        offset=0.0 if design.offset is None else design.offset,
        residual=design.residual_variances(fit.theta),
        effects=[
            (g.codes if g.name in counted else nowhere, g.model_matrix)
            for g in fit.blocks.groupings
        ],
    )


def _columns_needed(
    design: Design, counted: set[str], *, drawn: bool
) -> tuple[list[str], list[str], list[str]]:
    """Columns of expressions, of groupings whose modes count, and others.

    Of effects and residuals that are drawn, the variance depends on their columns.
    """
    coded = columns_used(parse_with_formulaic(design.formula.fixed))
    coded |= {n for t in design.terms if drawn or t.group in counted for n in t.sources}
    groupings = {f for term in design.terms if term.group in counted for f in term.part.factors}
    others = [design.offset_column] if design.offset_column else []
    if design.residual and drawn:
        others += design.residual.sd_columns
    return sorted(coded), sorted(groupings), others


def _estimable(design: Design, new: pd.DataFrame, missing: Missing) -> np.ndarray:
    """Mark the rows whose mean can be estimated; by default refuse the others."""
    if not len(new):
        return np.ones(0, dtype=bool)
    unknown = design.not_estimable(new)
    if unknown.any() and missing == "error":
        row = int(np.flatnonzero(unknown)[0])
        fixed = sorted(columns_used(parse_with_formulaic(design.formula.fixed)))
        cell = ", ".join(f"{name} = {new[name].iloc[row]}" for name in fixed)
        raise RankError(
            f"{int(unknown.sum())} row(s) of new cannot be predicted, such as {new.index[row]!r} "
            f"({cell}): their mean cannot be estimated, as {', '.join(design.aliased)} had to be "
            "left out of the fit; pass missing='nan' to give them NaN."
        )
    return ~unknown


def _new_rows(
    fit: Fit, new: pd.DataFrame, counted: set[str], new_levels: str, *, drawn: bool
) -> _Rows:
    design, nowhere = fit.design, np.full(len(new), -1)
    residual = np.ones(len(new))
    if design.residual and drawn:
        residual = design.residual.sds_for(new, design.phi(fit.theta)) ** 2
    effects = []
    for g in fit.blocks.groupings:
        codes = _known_codes(g.terms[0], new, new_levels) if g.name in counted else nowhere
        values = np.zeros((len(new), g.width))
        if drawn or g.name in counted:
            values = np.hstack([term.matrix_for(new) for term in g.terms])
        effects.append((codes, values))
    return _Rows(new.index, design.fixed_matrix(new), _offset(design, new), residual, effects)


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
    with single_threaded():
        covariance = fit.effects_covariance
        variance = covariance.variances(covariance.rows(rows.X, rows.effects))
    if new_observation:
        variance += rows.residual
        terms = fit.design.terms
        by_term = dict(zip(terms, templates(terms, fit.theta), strict=True))
        for grouping, (codes, values) in zip(fit.blocks.groupings, rows.effects, strict=True):
            drawn = ((values @ grouping.assemble(by_term)) ** 2).sum(axis=1)
            variance += np.where(codes < 0, drawn, 0.0)
    return fit.sigma**2 * variance
