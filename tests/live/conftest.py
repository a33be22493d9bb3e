"""The site with pages that run, and a server that counts."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.server import Server
from tests.site.conftest import _chromium, browser, downloads, site  # noqa: F401
from tools.live.build import add
from tools.live.files import CACHE, gather, read_lock, wanted


@pytest.fixture(scope="session")
def files() -> list[Path]:
    """Return Pyodide's files; skip where `make live` has not fetched them, except in CI."""
    in_ci = os.environ.get("CI") == "true"
    if not in_ci and any(not (CACHE / name).is_file() for name in wanted(read_lock())):
        pytest.skip("the files of Pyodide are not here: `make live` fetches them")
    return gather()


@pytest.fixture(scope="session")
def running(site, files, tmp_path_factory) -> Path:  # noqa: F811
    """Return the folder of a site whose pages run, below a path that is not the root."""
    folder = tmp_path_factory.mktemp("live") / "any" / "path"
    shutil.copytree(site, folder)
    add(folder, files)
    return folder


@pytest.fixture(scope="module")
def server(running) -> Iterator[Server]:
    """Serve what lies above the site, so that the site is not at the root."""
    server = Server(running.parent.parent)
    yield server
    server.stop()
