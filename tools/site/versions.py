"""A directive for the colophon: the versions with which the site at hand was built.

    ```{versions} numpy scipy
    ```

writes a table of those packages and their versions; `python` and `commit` are understood too.
"""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive

from tools import ROOT


def setup(app: Any) -> dict[str, bool]:
    """Tell Sphinx about the directive."""
    app.add_directive("versions", Versions)
    return {"parallel_read_safe": True}


class Versions(Directive):
    """A table of names and versions."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Return the table; a package that is not installed is an error."""
        try:
            rows = [(name, version_of(name)) for name in self.arguments[0].split()]
        except PackageNotFoundError as error:
            raise self.error(f"versions: '{error.name}' is not installed") from error
        return [table(("what", "version"), rows)]


def version_of(name: str) -> str:
    """Return the version of a package, of Python, or of the book itself (`commit`)."""
    special: dict[str, Callable[[], str]] = {"python": platform.python_version, "commit": commit}
    return special[name]() if name in special else version(name)


@cache
def commit(folder: Path = ROOT) -> str:
    """Return the commit from which the book is built, and its day; empty-handed, say so."""
    command = ["git", "-C", str(folder), "log", "-1", "--format=%h of %cs"]
    try:
        found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "not built from a git checkout"
    return found


def table(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> nodes.table:
    """Return a table with one line of titles."""
    group = nodes.tgroup(cols=len(titles))
    group += [nodes.colspec(colwidth=1) for _ in titles]
    group += nodes.thead("", _row(titles))
    group += nodes.tbody("", *map(_row, rows))
    return nodes.table("", group, classes=["versions"])


def _row(texts: tuple[str, ...]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph(text=text)) for text in texts))
