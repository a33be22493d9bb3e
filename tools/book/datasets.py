"""Derive the CSV files of mmlib/data and their checksums from a folder of exported R data.

The folder holds one CSV file for each R data set (factors as their labels) and `levels.json`
with R's level orders; tests/oracle/README.md tells how it is made. What is kept of it is said
by the hand-written descriptions mmlib/data/*.toml: their columns, in their order. The numbers
are copied as text, so no digit can change. A description without `exported_as` is of a set that
this project makes itself, and is left alone.

    python -m tools.book.datasets EXPORTED_FOLDER
"""

from __future__ import annotations

import gzip
import json
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from tools import ROOT, checksum

DATA = ROOT / "mmlib" / "data"
COMPRESS_ABOVE = 100_000  # bytes
CHECKSUMS = "SHA256SUMS"


def read_table(folder: Path, exported: str) -> pd.DataFrame:
    """Return one exported CSV file, every value as text."""
    (path,) = folder.glob(f"{exported}.csv*")
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def restore_raven(table: pd.DataFrame) -> None:
    """Undo the centring of the Raven scores of `jspr`: integers, the best being the full 36."""
    centred = table["craven"].astype(float)
    table["raven"] = (centred - centred.max() + 36).round().astype(int).astype(str)


def expected_levels(rule: list[str] | str, labels: Iterable[str]) -> list[str]:
    """Return the level order that a description asks for."""
    if isinstance(rule, list):
        return rule
    return sorted(set(labels), key=float if rule == "numeric" else None)


def check_against_r(
    name: str, description: dict[str, Any], table: pd.DataFrame, levels: dict[str, Any]
) -> None:
    """Stop if a description disagrees with the exported rows or with R's level order."""
    if len(table) != description["nrows"]:
        raise SystemExit(f"{name}: {len(table)} rows exported, {description['nrows']} described")
    for column, about in description["columns"].items():
        rule = about.get("levels")
        ours = None if rule is None else expected_levels(rule, table[column])
        theirs = levels[column]["levels"] if column in levels else None
        if ours != theirs:
            raise SystemExit(f"{name}.{column}: levels {ours} described, {theirs} exported")


def write_if_changed(path: Path, content: bytes) -> None:
    """Write a CSV file, compressed if its name says so, unless it already holds this content."""
    if path.suffix != ".gz":
        path.write_bytes(content)
    elif not path.exists() or gzip.decompress(path.read_bytes()) != content:
        path.write_bytes(gzip.compress(content, compresslevel=9, mtime=0))


def write_checksums(folder: Path) -> None:
    """List the SHA-256 of every data file in the folder, by name."""
    files = sorted(folder.glob("*.csv*"), key=lambda file: file.name.split(".")[0])
    sums = [f"{checksum(file)}  {file.name}\n" for file in files]
    (folder / CHECKSUMS).write_text("".join(sums), encoding="utf-8")


def main(folder: Path) -> None:
    """Rebuild every CSV file that has a description, then the list of checksums."""
    exported_levels = json.loads((folder / "levels.json").read_text(encoding="utf-8"))
    for about in sorted(DATA.glob("*.toml")):
        description = tomllib.loads(about.read_text(encoding="utf-8"))
        exported = description.get("exported_as")
        if exported is None:
            continue
        table = read_table(folder, exported)
        if exported == "jspr":
            restore_raven(table)
        check_against_r(about.stem, description, table, exported_levels.get(exported, {}))
        columns = list(description["columns"])
        content = table.to_csv(columns=columns, index=False, lineterminator="\n").encode("utf-8")
        ending = ".csv.gz" if len(content) > COMPRESS_ABOVE else ".csv"
        target = DATA / (about.stem + ending)
        write_if_changed(target, content)
        print(f"{target.name:24} {len(table):6} rows")
    write_checksums(DATA)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
