"""Fits in files: small, with a version, and safe to open.

A file is a NumPy archive (``.npz``) without pickled objects: whoever opens one from a stranger runs
no code of theirs. Its member ``header`` is a JSON text with the format's version, the formula, the
criterion and how the minimum was found; the others are arrays: θ, the response, weights and offset
where there are any, and the columns of the data that the model uses. From these the fit is made
again without a search, so that it predicts, tests and prints the same.
"""

from __future__ import annotations

import dataclasses
import json
import zipfile
from os import PathLike
from typing import IO, Any

import numpy as np
import pandas as pd

from mmlib.arrays import FloatArray
from mmlib.design.build import build_design
from mmlib.design.checks import require_fit
from mmlib.engine.blocks import Blocks
from mmlib.engine.factor import factorize
from mmlib.engine.optimize import Optimum
from mmlib.engine.threads import single_threaded
from mmlib.errors import DataError
from mmlib.model import LMMResult

FORMAT = "mmlib fit"
VERSION = 2

Path = str | PathLike[str] | IO[bytes]


def save(fit: LMMResult, path: Path) -> None:
    """Write a fit to a file.

    Parameters
    ----------
    fit : LMMResult
    path : str, Path or binary file
        Where to; by habit with the ending ``.npz``, which is not added.

    Raises
    ------
    DataError
        If a column holds objects that are neither numbers, dates nor text.

    Notes
    -----
    Labels of rows that are combinations (a MultiIndex) are replaced by numbers. The file holds the
    columns of the data that the model uses: do not pass it on where these are confidential.

    Examples
    --------
    >>> import io
    >>> import mmlib as mm
    >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    >>> file = io.BytesIO()
    >>> mm.save(fit, file)
    >>> file.tell() < 5000
    True
    >>> mm.load(file).sigma == fit.sigma
    True
    """
    require_fit(fit)
    design, optimum = fit.design, fit.optimum
    arrays: dict[str, Any] = {"theta": fit.theta, "start": optimum.start, "y": design.y}
    for name in ("weights", "offset"):
        if getattr(design, name) is not None:
            arrays[name] = getattr(design, name)
    columns = []
    for number, name in enumerate(design.frame.columns):
        columns.append(_write_column(design.frame[name], f"column{number}", arrays))
    labels = design.frame.index
    if labels.nlevels > 1:
        labels = pd.RangeIndex(len(labels))
    index = _write_column(labels.to_series(), "index", arrays)
    header = {
        "format": FORMAT,
        "version": VERSION,
        "formula": str(design.formula),
        "reml": bool(fit.reml),
        "sigma": design.sigma,
        "dispersion": design.residual and design.residual.dispersion,
        "residual": (design.residual and design.residual.word) or None,
        "offset_column": design.offset_column,
        "n_missing": design.n_missing,
        "columns": columns,
        "index": index,
        "optimum": {
            "evaluations": optimum.evaluations,
            "restarts": optimum.restarts,
            "objective": optimum.objective,
            "expected_decrease": optimum.expected_decrease,
            "smallest_curvature": optimum.smallest_curvature,
            "converged": bool(optimum.converged),
        },
    }
    arrays["header"] = np.array(json.dumps(header))
    if isinstance(path, str | PathLike):
        with open(path, "wb") as file:  # noqa: PTH123  a name is kept as it is
            np.savez_compressed(file, **arrays)
    else:
        np.savez_compressed(path, **arrays)


def load(path: Path) -> LMMResult:
    """Read a fit that `save` has written.

    Parameters
    ----------
    path : str, Path or binary file

    Returns
    -------
    LMMResult
        With the same estimates, predictions, tests and prints.

    Raises
    ------
    DataError
        If the file is none of `save`, or of a later version.

    Examples
    --------
    >>> import io
    >>> import mmlib as mm
    >>> file = io.BytesIO()
    >>> mm.save(mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp")), file)
    >>> round(mm.load(file).sigma ** 2, 5)
    0.10625
    """
    if not isinstance(path, str | PathLike):
        path.seek(0)
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = json.loads(str(arrays["header"]))
        known = header["format"] == FORMAT
    except (ValueError, KeyError, TypeError, zipfile.BadZipFile, EOFError, AttributeError):
        known = False
    if not known:
        raise DataError(f"{path!r} is not a fit that mmlib.save has written.")
    if header["version"] > VERSION:
        raise DataError(
            f"{path!r} was written by a later mmlib (format {header['version']}; this one reads up "
            f"to {VERSION}): upgrade mmlib."
        )
    return _restored(header, arrays)


def _restored(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> LMMResult:
    """The fit, at its minimum, which is not searched again."""
    frame = pd.DataFrame(
        {column["name"]: _read_column(column, arrays) for column in header["columns"]}
    )
    frame.index = pd.Index(_read_column(header["index"], arrays), name=header["index"]["name"])
    with single_threaded():
        design = build_design(
            header["formula"],
            frame,
            weights=arrays.get("weights"),
            offset=arrays.get("offset"),
            sigma=header["sigma"],
            dispersion=header.get("dispersion"),
            residual=header.get("residual"),
        )
        design = dataclasses.replace(
            design,
            y=arrays["y"],
            offset_column=header["offset_column"],
            n_missing=header["n_missing"],
        )
        theta: FloatArray = arrays["theta"]
        blocks = Blocks(design, theta if design.residual is not None else None)
        optimum = Optimum(
            start=arrays["start"],
            theta=theta,
            factor=factorize(blocks, theta),
            **header["optimum"],
        )
    return LMMResult(design=design, blocks=blocks, reml=header["reml"], optimum=optimum)


def _write_column(column: pd.Series, key: str, arrays: dict[str, Any]) -> dict[str, Any]:
    """Put a column among the arrays, and describe it."""
    about: dict[str, Any] = {"name": column.name, "key": key}
    if isinstance(column.dtype, pd.CategoricalDtype):
        about["ordered"] = bool(column.cat.ordered)
        arrays[key] = column.cat.codes.to_numpy()
        labels = pd.Series(column.cat.categories, name=column.name)
        about["categories"] = _write_column(labels, f"{key}_levels", arrays)
        return about
    values = column.to_numpy()
    if values.dtype == object or isinstance(column.dtype, pd.StringDtype):
        about["text"] = True
        if not all(isinstance(value, str) for value in values):
            kinds = sorted({type(value).__name__ for value in values})
            raise DataError(
                f"column {column.name!r} holds objects ({', '.join(kinds[:3])}); save takes "
                "numbers, dates and text: convert it and fit again."
            )
        values = values.astype(str)
    arrays[key] = values
    return about


def _read_column(about: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
    values = arrays[about["key"]]
    if "categories" in about:
        categories = pd.Index(_read_column(about["categories"], arrays))
        return pd.Categorical.from_codes(values, categories=categories, ordered=about["ordered"])
    return values.astype(object) if about.get("text") else values
