"""Write `lock.json`: the files of a release of Pyodide that the pages need, and their checksums.

    python -m tools.live.pin

Needed only to move to another release, or when `requirements.txt` has moved. npm gets the release's
own lock, from which the checksums come; pure packages that it lacks have the version that
`requirements.txt` pins, which pip fetches and checks.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from tools import ROOT, run
from tools.live.files import LOCK, PURE, entry_of, fetch, used
from tools.site.vendor import Asset
from tools.site.vendor import fetch as fetch_asset
from tools.site.wheel import build_wheel

PYODIDE = Asset(
    name="pyodide",
    version="0.27.7",
    sha256="89d5d952675eb08e11286e52c7238f1248ce71726e896db9703e73bef23dc343",
    files=("pyodide.js", "pyodide.asm.js", "pyodide.asm.wasm", "python_stdlib.zip"),
)
_LOCK = "pyodide-lock.json"


def pinned(release: dict[str, bytes], pure: dict[str, dict[str, Any]], roots: list[str]) -> Any:
    """Choose from a release what `roots` need, `pure` first.

    Parameters
    ----------
    release : dict
        The files of Pyodide by name, its lock among them.
    pure : dict
        Entries of packages that the release lacks, or that are taken newer, by name.
    roots : list of str
        The names of the packages that are asked for.
    """
    official = json.loads(release[_LOCK])
    packages: dict[str, dict[str, Any]] = {}
    waiting = sorted(roots)
    while waiting:
        name = waiting.pop()
        if name not in packages:
            entry = pure.get(name) or official["packages"][name]
            packages[name] = {**entry, "depends": used(entry["depends"])}
            waiting += packages[name]["depends"]
    core = {name: hashlib.sha256(release[name]).hexdigest() for name in PYODIDE.files}
    return {"info": official["info"], "core": core, "packages": dict(sorted(packages.items()))}


def _release(folder: Path) -> dict[str, bytes]:
    with tarfile.open(fetch_asset(PYODIDE, folder)) as archive:
        members = [archive.extractfile(f"package/{name}") for name in (*PYODIDE.files, _LOCK)]
        return {
            name: member.read()
            for name, member in zip((*PYODIDE.files, _LOCK), members, strict=True)
            if member
        }


def _pure(folder: Path) -> dict[str, dict[str, Any]]:
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for name in PURE for line in re.findall(rf"(?m)^{name}==.*$", text)]
    fetch([re.sub(r" ;[^-]*", " ", line) for line in lines], folder)
    entries = map(entry_of, folder.glob("*.whl"))
    return {entry["name"]: entry for entry in entries}


def main() -> None:
    """Write the lock anew."""
    with tempfile.TemporaryDirectory() as folder:
        release, wheels, own = (Path(folder, name) for name in ("release", "wheels", "own"))
        release.mkdir()
        wheels.mkdir()
        roots = ["ipython", *entry_of(build_wheel(own))["depends"]]
        lock = pinned(_release(release), _pure(wheels), roots)
    LOCK.write_text(json.dumps(lock, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(main)
