"""The site, built once for all its tests, and a browser to read it with."""

import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from tests.helpers.browser import wait
from tests.helpers.server import Server
from tools.site.build import build
from tools.site.chromium import MISSING, chromium, is_installed


def built(which: str) -> Path | None:
    """Return one of the sites that CI builds beside the tests, once it is there."""
    if not (place := os.environ.get("BUILT_SITES")):
        return None
    folder, failed = Path(place, which), Path(place, "failed")
    wait(lambda: folder.exists() or failed.exists(), seconds=20 * 60)
    assert folder.exists(), "the site could not be built"
    return folder


@pytest.fixture(scope="session")
def site(tmp_path_factory, worker_id) -> Path:
    """Build the site as `make book` does, once for all; return its folder."""
    if ready := built("plain"):
        return ready
    base = tmp_path_factory.getbasetemp()
    output = (base if worker_id == "master" else base.parent) / "shared-site"
    output.mkdir(exist_ok=True)
    with (output / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (output / "complete").exists():
            build(output)
            (output / "complete").touch()
    return output / "_build" / "html"


@pytest.fixture(scope="session")
def downloads(tmp_path_factory) -> Path:
    """Return the folder in which downloads arrive."""
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="session")
def _chromium():
    """Skip where there is no Chromium, except in CI."""
    if not is_installed():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(MISSING)


@pytest.fixture(scope="session")
def browser(_chromium, downloads) -> Iterator[Chrome]:
    """Start headless Chromium, which reaches this machine only."""
    with chromium(downloads=str(downloads), alone=True) as chrome:
        yield chrome


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[[Path], str]]:
    """Return a function that serves a folder on this machine and returns its address."""
    servers = []

    def start(folder: Path) -> str:
        servers.append(Server(folder))
        return servers[-1].address

    yield start
    for server in servers:
        server.stop()
