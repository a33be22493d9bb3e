"""What makes the book: one room for each thing that is made.

Run a module as ``python -m tools.site.build``, from the project's folder.
"""

import hashlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The project's folder."""


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
