"""The site with pages that run, and a server that counts."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.server import Server
from tests.site.conftest import _chromium, browser, built, downloads, site  # noqa: F401
from tools.live.build import add
from tools.live.files import CACHE, gather, read_lock, wanted


@pytest.fixture(scope="session")
def running(site, tmp_path_factory) -> Path:  # noqa: F811
    """Return the folder of a site whose pages run, below a path that is not the root.

    Where `make live` has not fetched Pyodide's files it is skipped, except in CI.
    """
    folder = tmp_path_factory.mktemp("live") / "any" / "path"
    if ready := built("running"):
        return shutil.copytree(ready, folder)
    in_ci = os.environ.get("CI") == "true"
    if not in_ci and any(not (CACHE / name).is_file() for name in wanted(read_lock())):
        pytest.skip("the files of Pyodide are not here: `make live` fetches them")
    shutil.copytree(site, folder)
    add(folder, gather())
    return folder


@pytest.fixture(scope="module")
def server(running) -> Iterator[Server]:
    """Serve what lies above the site, so that the site is not at the root."""
    server = Server(running.parent.parent)
    yield server
    server.stop()
