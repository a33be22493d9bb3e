"""Fetch the scripts and fonts that the site carries with it, and the one that tests it.

    python -m tools.site.vendor

Needed only to change a version: the files are committed, and no build step fetches anything. npm
gets each package; its checksum is fixed here, and `SHA256SUMS` beside the files lists what was
taken from it.
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tools import ROOT, checksum, run
from tools.site.pages import SiteError

FOR_THE_SITE = ROOT / "book" / "_static" / "vendor"
FOR_TESTS = ROOT / "tests" / "site" / "vendor"


@dataclass(frozen=True)
class Asset:
    """One package: what is needed of it, by the beginning of its name below `root`."""

    name: str
    version: str
    sha256: str
    files: tuple[str, ...]
    root: str = "package/"
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
        files=("tex-chtml-full.js", "output/chtml/fonts/woff-v2/"),
        root="package/es5/",
    ),
    Asset(
        name="axe-core",
        version="4.14.1",
        sha256="e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745",
        files=("axe.min.js",),
        home=FOR_TESTS,
    ),
)


def fetch(asset: Asset, folder: Path) -> Path:
    """Download one package and return the archive.

    Raises
    ------
    SiteError
        If it is not the one that was checked.
    """
    package = f"{asset.name}@{asset.version}"
    subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True)
    (archive,) = folder.glob("*.tgz")
    if (found := checksum(archive)) != asset.sha256:
        raise SiteError(f"{package}: SHA-256 is {found}, not {asset.sha256}")
    return archive


def unpack(asset: Asset, archive: Path, target: Path) -> None:
    """Replace `target` with the licence, the wanted files and a list of their checksums."""
    shutil.rmtree(target, ignore_errors=True)
    with tarfile.open(archive) as package:
        for member in package:
            is_licence = member.name == "package/LICENSE"
            member.name = "LICENSE" if is_licence else member.name.removeprefix(asset.root)
            if is_licence or member.name.startswith(asset.files):
                package.extract(member, target, filter="data")
    (target / "SHA256SUMS").write_text(checksums(target), encoding="utf-8")


def checksums(folder: Path) -> str:
    """List the checksum of every file below a folder, in the format of `sha256sum`."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "SHA256SUMS")
    return "".join(f"{checksum(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)


def main() -> None:
    """Renew every vendored package."""
    for asset in ASSETS:
        with tempfile.TemporaryDirectory() as folder:
            unpack(asset, fetch(asset, Path(folder)), asset.folder)


if __name__ == "__main__":
    run(main)
