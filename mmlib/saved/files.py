"""The doors: `save` and `load`.

A file is a NumPy archive (``.npz``) without pickled objects: whoever opens one from a stranger runs
no code of theirs. Its member ``header`` is a JSON text with the format's version, the formula, the
criterion and how the minimum was found; the others are arrays: θ, the response, weights and offset
where there are any, and the columns of the data that the model uses. From these the fit is made
again without a search, so that it predicts, tests and prints the same. Of a fit without rows (a
slim one, or one of data in parts) the header has, under ``rowless``, what `mmlib.saved.rowless`
lists: how columns are coded, the labels of levels, and sums over the rows.
"""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from os import PathLike
from typing import IO, Any

import numpy as np
import pandas as pd

from mmlib.arrays import FloatArray
from mmlib.design.build import build_design
from mmlib.design.checks import require_fit
from mmlib.design.design import Design
from mmlib.engine.blocks import Blocks
from mmlib.engine.factor import factorize
from mmlib.engine.optimize import Optimum
from mmlib.engine.threads import single_threaded
from mmlib.errors import DataError
from mmlib.model import LMMResult
from mmlib.saved.archive import Arrays, read, read_column, write, write_column
from mmlib.saved.rowless import restored, rowless

FORMAT = "mmlib fit"
OF_OPTIMUM = (
    *("evaluations", "restarts", "objective", "expected_decrease", "smallest_curvature"),
    *("converged", "valleys", "vanishing"),
)
VERSION = 3

Path = str | PathLike[str] | IO[bytes]


def save(fit: LMMResult, path: Path) -> None:
    """Write a fit to a file.

    Parameters
    ----------
    fit : LMMResult
    path : str, Path or binary file
        Where to write. The usual ending, ``.npz``, is not added.

    Raises
    ------
    DataError
        If a column holds objects that are neither numbers, dates nor text, or `path` is no file.

    Notes
    -----
    Labels of rows that are combinations (a MultiIndex) are replaced by numbers. The file holds the
    columns of the data that the model uses: do not pass it on where these are confidential. That of
    a slim fit holds no rows, but what `LMMResult.slim` keeps of them.

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
    >>> mm.save(fit.slim(), file)
    >>> mm.load(file).fixef().equals(fit.fixef())
    True
    """
    require_fit(fit)
    _require_file(path, "write")
    optimum = fit.optimum
    arrays: dict[str, Any] = {"theta": fit.theta, "start": optimum.start}
    header: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "formula": str(fit.design.formula),
        "reml": bool(fit.reml),
        "optimum": {name: write(getattr(optimum, name), name, arrays) for name in OF_OPTIMUM},
    }
    if fit.design.has_rows:
        header |= _rows(fit.design, arrays)
    else:
        header["rowless"] = write(rowless(fit), "rowless", arrays)
    arrays["header"] = np.array(json.dumps(header))
    if isinstance(path, str | PathLike):
        with open(path, "wb") as file:  # noqa: PTH123  a name is kept as it is
            np.savez_compressed(file, **arrays)
    else:
        np.savez_compressed(path, **arrays)


def _require_file(path: object, method: str) -> None:
    is_binary = hasattr(path, method) and not isinstance(path, io.TextIOBase)
    if not (isinstance(path, str | PathLike) or is_binary):
        raise DataError(
            f"path must be a file's name, a Path or an open binary file, not {path!r:.60}."
        )


def _rows(design: Design, arrays: Arrays) -> dict[str, Any]:
    """The data of a fit, and what it was asked with."""
    arrays["y"] = design.y
    for name in ("weights", "offset"):
        if getattr(design, name) is not None:
            arrays[name] = getattr(design, name)
    frame = design.frame
    labels = frame.index if frame.index.nlevels == 1 else pd.RangeIndex(len(frame))
    return {
        "sigma": design.sigma,
        "dispersion": design.residual and design.residual.dispersion,
        "residual": (design.residual and design.residual.word) or None,
        "offset_column": design.offset_column,
        "n_missing": design.n_missing,
        "columns": [
            write_column(frame[name], f"column{number}", arrays)
            for number, name in enumerate(frame.columns)
        ],
        "index": write_column(labels.to_series(), "index", arrays),
    }


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
        If `save` did not write the file, or a later version did; or `path` is no file.

    Examples
    --------
    >>> import io
    >>> import mmlib as mm
    >>> file = io.BytesIO()
    >>> mm.save(mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp")), file)
    >>> round(mm.load(file).sigma ** 2, 5)
    0.10625
    """
    _require_file(path, "seek")
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


def _restored(header: dict[str, Any], arrays: Arrays) -> LMMResult:
    """The fit, at its minimum, which is not searched again."""
    theta: FloatArray = arrays["theta"]
    with single_threaded():
        blocks: Blocks
        if "rowless" in header:
            blocks = restored(header["formula"], read(header["rowless"], arrays), theta)
        else:
            design = _with_rows(header, arrays)
            blocks = Blocks(design, design.phi(theta))
        optimum = Optimum(
            start=arrays["start"],
            theta=theta,
            factor=factorize(blocks, theta),
            **header["optimum"],
        )
    return LMMResult(reml=header["reml"], optimum=optimum)


def _with_rows(header: dict[str, Any], arrays: Arrays) -> Design:
    """The design of the rows that a file holds."""
    frame = pd.DataFrame(
        {column["name"]: read_column(column, arrays) for column in header["columns"]}
    )
    frame.index = pd.Index(read_column(header["index"], arrays), name=header["index"]["name"])
    design = build_design(
        header["formula"],
        frame,
        weights=arrays.get("weights"),
        offset=arrays.get("offset"),
        sigma=header["sigma"],
        dispersion=header["dispersion"],
        residual=header["residual"],
    )
    return dataclasses.replace(
        design,
        y=arrays["y"],
        offset_column=header["offset_column"],
        n_missing=header["n_missing"],
    )
