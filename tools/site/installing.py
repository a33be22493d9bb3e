"""A directive that says how to install mmlib, with the addresses of the site at hand.

    ```{installing}
    ```

The addresses of the site and of the repository are those of `make book ADDRESS=... REPO=...`.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

from tools.site.wheel import build_wheel, checksum

ADDRESS, REPOSITORY = "MIXED_MODELS_ADDRESS", "MIXED_MODELS_REPOSITORY"

_FROM_FILE = """\
**From a file of this site.** Download
<a href="../downloads/{wheel}" download>{wheel}</a>, and in the folder into which it came, run

```bash
python -m pip install {wheel}
```

Its SHA-256 is `{checksum}`.
"""
_FROM_SITE = """\
**From this site, in one step.** pip checks that the file is the one that belongs to this page:

```bash
python -m pip install "{address}/downloads/{wheel}#sha256={checksum}"
```
"""
_FROM_REPOSITORY = """\
**From the repository**, the newest there is:

```bash
python -m pip install "git+{repository}"
```
"""
_FROM_CLONE = """\
**From a clone**, to change it or to work through the chapters as notebooks; needs make and git:

```bash
git clone {repository} mixed-models
cd mixed-models
make lab
```
"""


def setup(app: Any) -> dict[str, bool]:
    """Tell Sphinx about the directive."""
    app.add_directive("installing", Installing)
    return {"parallel_read_safe": True}


class Installing(Directive):
    """The ways to install, the shortest first."""

    def run(self) -> list[nodes.Node]:
        """Return a paragraph and a command for each way."""
        box = nodes.container()
        self.state.nested_parse(StringList(ways().splitlines()), self.content_offset, box)
        return box.children


def ways(address: str | None = None, repository: str | None = None) -> str:
    """Write the ways to install, in Markdown.

    Parameters
    ----------
    address, repository : str, optional
        Where the site and the repository are; by default what the environment says.
    """
    address = os.environ.get(ADDRESS, "") if address is None else address
    repository = os.environ.get(REPOSITORY, "") if repository is None else repository
    with tempfile.TemporaryDirectory() as folder:
        wheel = build_wheel(Path(folder))
        names = {"wheel": wheel.name, "checksum": checksum(wheel)}
    parts = [
        *([_FROM_SITE] if address else []),
        _FROM_FILE,
        *([_FROM_REPOSITORY, _FROM_CLONE] if repository else []),
    ]
    return "\n".join(parts).format(address=address, repository=repository, **names)
