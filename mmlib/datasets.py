"""Classic data sets, packaged with their provenance and checked at every first use.

Each set is a CSV file in `mmlib/data` with a hand-written description (`NAME.toml`: what was
measured, units, level orders, source) and a line in `SHA256SUMS`.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import textwrap
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

import pandas as pd

from mmlib.design.checks import did_you_mean
from mmlib.errors import DatasetError
from mmlib.frozen import Frozen
from mmlib.results.display import Summary, Table

__all__ = ["DatasetColumn", "DatasetInfo", "dataset_info", "list_datasets", "load_dataset"]

_DATA = files("mmlib") / "data"
# pandas 3 reads numbers so by itself, and no longer wants to be told.
_TO_THE_LAST_BIT: dict[str, Any] = (
    {"float_precision": "round_trip"} if pd.__version__.startswith("2.") else {}
)
_SORT_KEYS: dict[str, Any] = {"numeric": float, "alphabetical": None}


@dataclass(frozen=True)
class DatasetColumn:
    """What one column of a data set holds.

    Attributes
    ----------
    meaning : str
        What was measured, counted or recorded.
    unit : str or None
        The unit of a number; "not recorded" where the source does not tell. None for a factor.
    levels : tuple of str, "numeric", "alphabetical" or None
        The level order of a factor, or how its many levels are sorted. None for a number.
    ordered : bool
        Whether the order of the levels carries meaning.
    """

    meaning: str
    unit: str | None = None
    levels: tuple[str, ...] | str | None = None
    ordered: bool = False

    @property
    def kind(self) -> str:
        """One phrase: the unit of a number, or the levels of a factor."""
        if self.levels is None:
            return f"number, {self.unit}"
        kind = "ordered factor" if self.ordered else "factor"
        if isinstance(self.levels, str):
            return f"{kind}, {self.levels} order"
        if len(self.levels) > 12:
            return f"{kind}, {len(self.levels)} levels"
        return f"{kind}, levels {', '.join(self.levels)}"


@dataclass(frozen=True)
class DatasetInfo(Frozen):
    """Where a packaged data set comes from and what its columns mean.

    Attributes
    ----------
    name, title, description, source : str
        The name to load it by, one line, one paragraph, and the full reference.
    nrows : int
    columns : mapping from column name to DatasetColumn
    sha256 : str
        Checksum of the packaged file, verified when it is read.
    """

    name: str
    title: str
    description: str
    source: str
    nrows: int
    columns: Mapping[str, DatasetColumn]
    sha256: str

    def __repr__(self) -> str:
        """Return the description as text."""
        width = max(map(len, self.columns))
        columns = [
            textwrap.fill(
                f"{name:{width}}  {column.meaning} ({column.kind})",
                width=79,
                subsequent_indent=" " * (width + 2),
            )
            for name, column in self.columns.items()
        ]
        paragraphs = [
            f"{self.name}: {self.title}\n{self.nrows} rows, {len(self.columns)} columns",
            textwrap.fill(self.description, width=79),
            "\n".join(columns),
            textwrap.fill(f"Source: {self.source}", width=79),
            f"SHA-256: {self.sha256}",
        ]
        return "\n\n".join(paragraphs)

    def _repr_html_(self) -> str:
        """Return the description as HTML, for notebooks."""
        rows = tuple((name, about.meaning, about.kind) for name, about in self.columns.items())
        columns = Table("", ("Column", "Meaning", "Kind and unit"), rows)
        heading = f"{self.name}: {self.title}. {self.nrows} rows."
        parts = (heading, self.description, columns, f"Source: {self.source}")
        return Summary(parts)._repr_html_()


def list_datasets() -> list[str]:
    """Return the names of the packaged data sets.

    Returns
    -------
    list of str
        In alphabetical order.

    Examples
    --------
    >>> import mmlib as mm
    >>> "pulp" in mm.list_datasets()
    True
    """
    return list(_files())


def dataset_info(name: str) -> DatasetInfo:
    """Return the provenance of a packaged data set and the meaning of its columns.

    Parameters
    ----------
    name : str
        One of `list_datasets()`.

    Returns
    -------
    DatasetInfo
        Text when printed, HTML in a notebook.

    Raises
    ------
    DatasetError
        If there is no data set of that name.

    Examples
    --------
    >>> import mmlib as mm
    >>> mm.dataset_info("pulp").columns["operator"].levels
    ('a', 'b', 'c', 'd')
    """
    return _info(_known(name))


def load_dataset(name: str) -> pd.DataFrame:
    """Return a packaged data set; each call gives a fresh copy.

    Factors are categoricals in the documented level order. They are ordered only where the order
    itself means something, as for a temperature; the labels of subjects or batches are not.

    Parameters
    ----------
    name : str
        One of `list_datasets()`.

    Returns
    -------
    DataFrame

    Raises
    ------
    DatasetError
        If there is no data set of that name, or if its file is not the one that was released.

    Examples
    --------
    >>> import mmlib as mm
    >>> pulp = mm.load_dataset("pulp")
    >>> pulp.shape
    (20, 2)
    >>> list(pulp["operator"].cat.categories)
    ['a', 'b', 'c', 'd']
    """
    return _frame(_known(name)).copy()


@cache
def _files() -> Mapping[str, tuple[str, str]]:
    """Return name -> (file name, checksum), as listed in SHA256SUMS."""
    lines = (_DATA / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    pairs = (line.split() for line in lines)
    return MappingProxyType({file.split(".")[0]: (file, digest) for digest, file in pairs})


def _known(name: str) -> str:
    """Return the name if there is such a data set."""
    if isinstance(name, str) and name in _files():
        return name
    raise DatasetError(
        f"there is no data set named {name!r}.{did_you_mean(name, _files())} "
        "mmlib.list_datasets() gives all names."
    )


@cache
def _info(name: str) -> DatasetInfo:
    """Read the description of a data set."""
    about = tomllib.loads((_DATA / f"{name}.toml").read_text(encoding="utf-8"))
    return DatasetInfo(
        name=name,
        title=about["title"],
        description=" ".join(about["description"].split()),
        source=" ".join(about["source"].split()),
        nrows=about["nrows"],
        columns={key: _column(c) for key, c in about["columns"].items()},
        sha256=_files()[name][1],
    )


def _column(about: Mapping[str, Any]) -> DatasetColumn:
    levels = about.get("levels")
    return DatasetColumn(
        **{**about, "levels": tuple(levels) if isinstance(levels, list) else levels}
    )


@cache
def _frame(name: str) -> pd.DataFrame:
    """Read, verify and type a data set."""
    columns = _info(name).columns
    frame = pd.read_csv(
        io.BytesIO(_verified_content(name)),
        dtype={key: _dtype(column) for key, column in columns.items() if column.levels},
        keep_default_na=False,  # "None" is a label of alfalfa, not a missing value
        **_TO_THE_LAST_BIT,
        na_values={key: [""] for key, column in columns.items() if not column.levels},
    )
    for key, column in columns.items():
        if isinstance(column.levels, str):
            levels = sorted(frame[key].unique(), key=_SORT_KEYS[column.levels])
            frame[key] = pd.Categorical(frame[key], categories=levels)
    return frame


def _dtype(column: DatasetColumn) -> Any:
    if isinstance(column.levels, tuple):
        return pd.CategoricalDtype(list(column.levels), ordered=column.ordered)
    return str


def _verified_content(name: str) -> bytes:
    """Return the bytes of a data file, once they match the recorded checksum."""
    file, expected = _files()[name]
    stored = (_DATA / file).read_bytes()
    if hashlib.sha256(stored).hexdigest() != expected:
        raise DatasetError(
            f"the file of data set {name!r} ({file}) has been altered: its SHA-256 is not the "
            "recorded one. Reinstall mmlib, or restore mmlib/data from the repository."
        )
    return gzip.decompress(stored) if file.endswith(".gz") else stored
