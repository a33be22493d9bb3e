"""What makes the book: one room for each thing that is made.

Run a module as ``python -m tools.site.build``, from the project's folder.
"""

import gc
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The project's folder."""


class ToolError(Exception):
    """What stops a tool; the message says why and what to do."""


def run(main: Callable[[], object]) -> None:
    """Run a tool as a command: what stops it is told in one line, with the exit status 1."""
    gc.set_threshold(100_000)  # pages are large trees with little garbage to look for
    try:
        main()
    except ToolError as error:
        sys.exit(f"error: {error}")


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
