"""The wheel of mmlib, with its checksum beside it: what the site offers for download.

From the same files comes the same wheel, to the last byte, whenever and wherever it is built.
"""

from __future__ import annotations

from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

from tools import ROOT, checksum

SUMS = "SHA256SUMS"


def build_wheel(folder: Path, root: Path = ROOT) -> Path:
    """Build the wheel into a folder and return its path.

    Parameters
    ----------
    folder : Path
        Where the wheel and `SHA256SUMS` are written; made if it is not there.
    root : Path
        The folder with `pyproject.toml`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (built,) = WheelBuilder(str(root)).build(directory=str(folder), versions=["standard"])
    wheel = Path(built)
    line = f"{checksum(wheel)}  {wheel.name}\n"  # as `sha256sum --check` reads it
    (folder / SUMS).write_text(line, encoding="utf-8")
    return wheel
