"""Make R's numbers anew, where R and the packages that README.md names are installed.

    python -m tests.oracle.make                          everything (some hours)
    python -m tests.oracle.make cases                    one file
    python -m tests.oracle.make cases pulp_ri dyestuff   some of its entries

R gets the data of mmlib, so nothing else is needed. What R finds replaces what the file has under
the same name; the tests then tell whether anything moved.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.helpers.dictionary import numbered
from tests.helpers.oracle import HERE, POLYNOMIAL_FACTORS, cases, load_case, load_data

SCRIPTS = {
    "cases": {"wide.R": "cases/*.json"},
    "lecture": {"seed.R": "seed_reference.json"},
    "exact_lrt": {"rlr.R": "rlrt_reference.json"},
    "bootstrap_lrt": {"pboot.R": "pboot_reference.json", "pboot1.R": "pboot1_reference.json"},
    "dictionary": {"dictionary.R": "dictionary.json"},
    "profile": {"prof_exact.R": "profile_exact.json"},
}
"""For each file the scripts that make it, and what these write."""


def main(arguments: list[str] | None = None) -> None:
    """Run R, and put what it found into the files of this folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", choices=SCRIPTS)
    parser.add_argument("entries", nargs="*", help="only these; for cases")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        shutil.copytree(HERE / "R", work, dirs_exist_ok=True)
        write_data(work)
        for name in [chosen.file] if chosen.file else SCRIPTS:
            for script in SCRIPTS[name]:
                subprocess.run(["Rscript", script, *chosen.entries], cwd=work, check=True)
            update(name, work, chosen.entries)


def write_data(work: Path) -> None:
    """Give R the data, and the order of each factor's levels."""
    (work / "data").mkdir()
    levels: dict[str, dict[str, Any]] = {}
    for name in sorted({load_case(case).dataset for case in cases()}):
        data = load_data(name)
        data.to_csv(work / "data" / f"{name}.csv", index=False)
        levels[name] = {
            column: {
                "levels": list(map(str, values.cat.categories)),
                "ordered": column in POLYNOMIAL_FACTORS.get(name, []),
            }
            for column, values in data.select_dtypes("category").items()
        }
    (work / "data" / "levels.json").write_text(json.dumps(levels), encoding="utf-8")
    subprocess.run(["Rscript", "read_data.R"], cwd=work, check=True)
    (work / "dictionary_rows.json").write_text(json.dumps(numbered()), encoding="utf-8")


def update(name: str, work: Path, entries: list[str], home: Path = HERE) -> None:
    """Replace entries of one file by what R wrote; those that the file does not have stay out."""
    path = next(home.glob(f"{name}.json*"))
    content = json.loads(read(path))
    known = content["cases"] if name == "cases" else content
    found = found_by_r(name, work)
    if missing := [key for key in entries if key not in known.keys() & found.keys()]:
        raise SystemExit(f"{', '.join(missing)}: not in {path.name}, or R did not give it")
    known.update({key: value for key, value in found.items() if key in known})
    text = json.dumps(content, indent=1, ensure_ascii=False).encode()
    path.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text + b"\n")
    if name == "lecture":
        shutil.copyfile(work / "seed_check.csv", home / "lecture_printed_values.csv")


def found_by_r(name: str, work: Path) -> dict[str, Any]:
    """What the scripts wrote, by the name of each entry."""
    files = [path for pattern in SCRIPTS[name].values() for path in sorted(work.glob(pattern))]
    if name == "cases":
        return {path.stem: json.loads(read(path)) for path in files}
    return {key: value for path in files for key, value in json.loads(read(path)).items()}


def read(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


if __name__ == "__main__":
    main()
