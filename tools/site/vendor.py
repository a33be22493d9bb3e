"""Fetch the scripts and fonts that the site carries with it, and the one that tests it.

    python -m tools.site.vendor

Needed only to change a version: the files are committed, and no build step fetches anything. The
package comes through `npm pack`; its checksum is fixed here, and `SHA256SUMS` beside the files
lists what was taken from it.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tools import ROOT

FOR_THE_SITE = ROOT / "book" / "_static" / "vendor"
FOR_TESTS = ROOT / "tests" / "site" / "vendor"


@dataclass(frozen=True)
class Asset:
    """One package, and what is needed of it: archive path (or its start) → path here."""

    name: str
    version: str
    sha256: str
    files: dict[str, str]
    home: Path = FOR_THE_SITE

    @property
    def folder(self) -> Path:
        """Where the files lie."""
        return self.home / self.name


ASSETS = (
    Asset(
        name="mathjax",
        version="3.2.2",
        sha256="1b9c0a1c44df864e915690558e72adb9cc5203360daefd385084ced3b6c64c09",
        files={
            "package/LICENSE": "LICENSE",
            "package/es5/tex-chtml-full.js": "tex-chtml-full.js",
            "package/es5/output/chtml/fonts/woff-v2/": "output/chtml/fonts/woff-v2/",
        },
    ),
    Asset(
        name="axe-core",
        version="4.14.1",
        sha256="e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745",
        files={"package/LICENSE": "LICENSE", "package/axe.min.js": "axe.min.js"},
        home=FOR_TESTS,
    ),
)


def fetch(asset: Asset, folder: Path) -> Path:
    """Download one package and return the archive, once its checksum is right.

    Raises
    ------
    RuntimeError
        If npm is missing or fails, or if the archive is not the one that was checked.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeError("npm is not installed; it is needed only to renew vendored files")
    subprocess.run(
        [npm, "pack", "--silent", f"{asset.name}@{asset.version}"],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (archive,) = folder.glob("*.tgz")
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != asset.sha256:
        raise RuntimeError(f"{asset.name} {asset.version}: SHA-256 is {found}, not {asset.sha256}")
    return archive


def unpack(asset: Asset, archive: Path, target: Path) -> None:
    """Replace `target` with the wanted files of the archive and a list of their checksums."""
    shutil.rmtree(target, ignore_errors=True)
    with tarfile.open(archive) as package:
        for member in package.getmembers():
            content = package.extractfile(member)
            wanted = _wanted(member.name, asset)
            if content is None or wanted is None:
                continue
            copy = target / wanted
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content.read())
    (target / "SHA256SUMS").write_text(checksums(target), encoding="utf-8")


def _wanted(name: str, asset: Asset) -> str | None:
    """Return where a file of the archive goes, or None; a path that ends in `/` is a folder."""
    for start, here in asset.files.items():
        if name == start or (start.endswith("/") and name.startswith(start)):
            return here + name.removeprefix(start)
    return None


def checksums(folder: Path) -> str:
    """List the checksum of every file below a folder, in the format of `sha256sum`."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "SHA256SUMS")
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"
        for path in files
    )


def main() -> int:
    """Renew every vendored package; return the exit status."""
    for asset in ASSETS:
        print(f"{asset.name} {asset.version} … ", end="", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            try:
                unpack(asset, fetch(asset, Path(folder)), asset.folder)
            except (RuntimeError, subprocess.CalledProcessError) as error:
                print(f"failed\n{error}")
                return 1
        print(f"→ {asset.folder.relative_to(ROOT).as_posix()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
