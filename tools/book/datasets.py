"""Derive the CSV files of mmlib/data and their checksums from a folder of exported R data.

The folder holds one CSV file for each R data set (factors as their labels) and `levels.json`
with R's level orders; tests/oracle/README.md tells how it is made. What is kept of it is said
by the hand-written descriptions mmlib/data/*.toml: their columns, in their order. The numbers
are copied as text, so no digit can change. A description without `exported_as` is of a set that
this project makes itself, and is left alone.

    python -m tools.book.datasets EXPORTED_FOLDER
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

from tools import ROOT

DATA = ROOT / "mmlib" / "data"
COMPRESS_ABOVE = 100_000  # bytes
CHECKSUMS = "SHA256SUMS"

Rows = list[dict[str, str]]


def read_rows(folder: Path, exported: str) -> Rows:
    """Return the rows of one exported CSV file, every value as text."""
    plain, packed = folder / f"{exported}.csv", folder / f"{exported}.csv.gz"
    content = plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes())
    return list(csv.DictReader(io.StringIO(content.decode("utf-8"))))


def restore_raven(rows: Rows) -> None:
    """Undo the centring of the Raven scores of `jspr`: integers, the best being the full 36."""
    centred = [float(row["craven"]) for row in rows]
    for row, value in zip(rows, centred, strict=True):
        row["raven"] = str(round(value - max(centred) + 36))


def expected_levels(rule: list[str] | str, labels: set[str]) -> list[str]:
    """Return the level order that a description asks for."""
    if isinstance(rule, list):
        return rule
    return sorted(labels, key=float if rule == "numeric" else None)


def check_against_r(
    name: str, description: dict[str, Any], rows: Rows, levels: dict[str, Any]
) -> None:
    """Stop if a description disagrees with the exported rows or with R's level order."""
    if len(rows) != description["nrows"]:
        raise SystemExit(f"{name}: {len(rows)} rows exported, {description['nrows']} described")
    for column, about in description["columns"].items():
        ours = (
            expected_levels(about["levels"], {r[column] for r in rows})
            if "levels" in about
            else None
        )
        theirs = levels[column]["levels"] if column in levels else None
        if ours != theirs:
            raise SystemExit(f"{name}.{column}: levels {ours} described, {theirs} exported")


def as_csv(rows: Rows, columns: list[str]) -> bytes:
    """Return the chosen columns as the bytes of a CSV file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([row[column] for column in columns] for row in rows)
    return text.getvalue().encode("utf-8")


def write_if_changed(path: Path, content: bytes) -> None:
    """Write a CSV file, compressed if its name says so, unless it already holds this content."""
    if path.suffix != ".gz":
        path.write_bytes(content)
    elif not path.exists() or gzip.decompress(path.read_bytes()) != content:
        path.write_bytes(gzip.compress(content, compresslevel=9, mtime=0))


def write_checksums(folder: Path) -> None:
    """List the SHA-256 of every data file in the folder, by name."""
    files = sorted(folder.glob("*.csv*"), key=lambda file: file.name.split(".")[0])
    sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
    (folder / CHECKSUMS).write_text("".join(sums), encoding="utf-8")


def main(folder: Path) -> None:
    """Rebuild every CSV file that has a description, then the list of checksums."""
    exported_levels = json.loads((folder / "levels.json").read_text(encoding="utf-8"))
    for about in sorted(DATA.glob("*.toml")):
        description = tomllib.loads(about.read_text(encoding="utf-8"))
        exported = description.get("exported_as")
        if exported is None:
            continue
        rows = read_rows(folder, exported)
        if exported == "jspr":
            restore_raven(rows)
        check_against_r(about.stem, description, rows, exported_levels.get(exported, {}))
        content = as_csv(rows, list(description["columns"]))
        ending = ".csv.gz" if len(content) > COMPRESS_ABOVE else ".csv"
        target = DATA / (about.stem + ending)
        write_if_changed(target, content)
        print(f"{target.name:24} {len(rows):6} rows")
    write_checksums(DATA)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
