"""The structure of the residuals that the arguments ``dispersion=`` and ``residual=`` ask for."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from mmlib.arrays import FloatArray, IntArray
from mmlib.design.checks import as_numbers, did_you_mean
from mmlib.design.columns import kind_of
from mmlib.design.labels import label_of, levels_of
from mmlib.design.residual import KINDS, Residual
from mmlib.errors import DataError, FormulaError, RankError

HINT = "write residual='ar1(time | id)', 'car1(time | id)', 'cs(id)' or 'us(visit | id)'"

MOST_VISITS = 60
"""Different visits of an unstructured residual beyond this are a number, not a factor."""


def build_residual(
    frame: pd.DataFrame, dispersion: str | None, residual: str | None
) -> Residual | None:
    """The structure that the arguments of `lmm` stand for, on complete rows.

    Raises
    ------
    FormulaError, DataError, RankError
        If the words are none of ours, or a column cannot be used so.
    """
    if dispersion is None and residual is None:
        return None
    kind, time, group = parse_residual(residual) if residual is not None else ("", "", "")
    codes: IntArray = np.zeros(len(frame), dtype=np.intp)
    levels: tuple[str, ...] = ()
    visits: tuple[str, ...] = ()
    subjects, times = np.arange(len(frame)), np.zeros(len(frame))
    if dispersion is not None:
        codes, levels = _strata(frame[dispersion])
    if kind:
        subjects, _ = _occurring(frame[group])
    if time:
        times, visits = _times(frame[time], kind)
    structure = Residual(
        dispersion, kind, time, group, levels, visits, codes=codes, subjects=subjects, times=times
    )
    if time:
        _refuse_repeats(structure, frame)
    if kind and np.bincount(subjects).max() < 2:
        raise RankError(
            f"every level of {group!r} has one row: residual={residual!r} is about several "
            "rows of each; use another column, or leave it out."
        )
    if visits:
        _refuse_unseen_pairs(structure)
    return structure


def residual_columns(dispersion: str | None, residual: str | None) -> set[str]:
    """The columns that they take from the data."""
    names = set() if residual is None else set(parse_residual(residual)[1:]) - {""}
    if dispersion is not None:
        if not isinstance(dispersion, str):
            raise DataError(f"dispersion must name a column, not {dispersion!r:.60}.")
        names.add(dispersion)
    return names


def parse_residual(text: object) -> tuple[str, str, str]:
    """Word, column of times (or none) and column of subjects of a residual's structure."""
    if not isinstance(text, str):
        raise FormulaError(f"residual must be text, not {text!r:.60}; {HINT}.")
    call = re.fullmatch(r"\s*(\w+)\s*\((.*)\)\s*", text, re.DOTALL)
    if not call:
        raise FormulaError(f"cannot read residual={text!r}; {HINT}.")
    kind, (*times, group) = call[1], [part.strip().strip("`") for part in call[2].split("|")]
    if kind not in KINDS:
        raise FormulaError(
            f"there is no structure {kind!r} of residuals (in {text!r})."
            f"{did_you_mean(kind, KINDS)} There are {', '.join(KINDS)}; {HINT}."
        )
    if len(times) != (kind != "cs") or not all([group, *times]):
        form = (
            "cs(id)"
            if kind == "cs"
            else f"{kind}({'visit' if kind in ('us', 'symm') else 'time'} | id)"
        )
        raise FormulaError(
            f"residual={text!r} must look like '{form}': "
            + ("it has no times." if kind == "cs" else "when, and whose, the rows are.")
        )
    return kind, times[0] if times else "", group


def _strata(column: pd.Series) -> tuple[IntArray, tuple[str, ...]]:
    """Codes and labels of the levels that have a variance each."""
    codes, labels = _occurring(column)
    counts = np.bincount(codes)
    if len(labels) < 2:
        raise DataError(
            f"dispersion={column.name!r} has one level ({labels[0]!r}): there is nothing to "
            "compare; leave it out."
        )
    if counts.min() < 2:
        rare = labels[int(np.argmin(counts))]
        numbers = kind_of(column) == "numbers"
        raise RankError(
            f"dispersion={column.name!r} has a level with one row ({rare!r}), whose variance "
            "cannot be estimated; join levels"
            + (", or use a factor: each different number is a level here." if numbers else ".")
        )
    return codes, labels


def _occurring(column: pd.Series) -> tuple[IntArray, tuple[str, ...]]:
    levels = levels_of(column)
    seen, codes = np.unique(levels.codes, return_inverse=True)
    return codes.astype(np.intp), tuple(label_of(levels.categories[k]) for k in seen)


def _times(column: pd.Series, kind: str) -> tuple[FloatArray, tuple[str, ...]]:
    """When a row is, as numbers; and the visits, where each pair has a correlation."""
    name = column.name
    if kind in ("us", "symm"):
        codes, labels = _occurring(column)
        if len(labels) > MOST_VISITS:
            raise DataError(
                f"{kind}({name} | …) would have {len(labels)} different visits, each pair of which "
                "has a correlation of its own; use a column with the number of the visit, or "
                f"car1({name} | …)."
            )
        return codes.astype(float), labels
    if kind_of(column) == "a factor":
        if not isinstance(column.dtype, pd.CategoricalDtype):
            raise DataError(
                f"column {name!r} holds text, which does not say what time it is; use numbers, or "
                "a category whose levels are in order."
            )
        if kind == "car1":
            raise DataError(f"car1({name} | …) needs numbers: column {name!r} is a category.")
        return column.cat.codes.to_numpy().astype(float), ()
    if kind_of(column) is None:
        raise DataError(
            f"column {name!r} is of type {column.dtype}, no time that can be counted; convert it "
            "to numbers, such as days since the start."
        )
    times = as_numbers(f"column {name!r}", column)
    if kind == "ar1" and (times != np.round(times)).any():
        raise DataError(
            f"ar1({name} | …) counts steps between whole numbers, but {name!r} has others; write "
            f"car1({name} | …), which takes any."
        )
    return times, ()


def _refuse_repeats(structure: Residual, frame: pd.DataFrame) -> None:
    repeated = pd.DataFrame({"subject": structure.subjects, "time": structure.times}).duplicated()
    if repeated.any():
        time, group = structure.time, structure.group
        row = int(np.argmax(repeated))
        raise DataError(
            f"{time} = {frame[time].iloc[row]} occurs more than once for {group} = "
            f"{frame[group].iloc[row]}: two rows at one time have no correlation of their own; "
            "average them, or name a column that tells them apart."
        )


def _refuse_unseen_pairs(structure: Residual) -> None:
    visits, time, group = structure.visits, structure.time, structure.group
    word = f"{structure.kind}({time} | {group})"
    seen = np.zeros((structure.n_subjects, len(visits)))
    seen[structure.subjects, structure.times.astype(int)] = 1
    rare = np.argwhere(seen.T @ seen < 2)
    if len(rare):
        a, b = rare[0]
        also = f" and {time} = {visits[b]}" if a != b else ""
        raise RankError(
            f"{word}: no two subjects have {'both ' * bool(also)}{time} = {visits[a]}{also}, so "
            f"that {'their' if also else 'its'} correlation cannot be estimated; use ar1 or cs, "
            "or join visits."
        )
    needed = len(visits) * (len(visits) + 1) // 2
    if needed >= len(structure.times):
        raise RankError(
            f"{word} has {needed} variances and correlations for {len(structure.times)} rows; use "
            "ar1 or cs."
        )
    if len(seen) < len(visits):
        raise RankError(
            f"{word}: {len(seen)} levels of {group!r} cannot tell the correlations of "
            f"{len(visits)} different values of {time!r}, of which there must be no more; use ar1 "
            "or cs, or join visits."
        )
