"""The site, built once for all its tests, and a browser to read it with."""

import fcntl
import os
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from selenium.webdriver import Chrome

from tools.site.build import build
from tools.site.chromium import MISSING, chromium, is_installed
from tools.site.pages import SiteError


@pytest.fixture(scope="session")
def built(tmp_path_factory, worker_id) -> Path | SiteError:
    """Build the site as `make book` does, once for all; return its folder or the failure.

    Whoever has just built it says where, in `BUILT_SITE`.
    """
    if ready := os.environ.get("BUILT_SITE"):
        return Path(ready)
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    output, failure = shared / "shared-site", shared / "shared-site.failed"
    with (shared / "shared-site.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (output / "complete").exists() and not failure.exists():
            try:
                build(output)
                (output / "complete").touch()
            except SiteError as error:
                failure.write_text(str(error), encoding="utf-8")
    if failure.exists():
        return SiteError(failure.read_text(encoding="utf-8"))
    return output / "_build" / "html"


@pytest.fixture(scope="session")
def site(built) -> Path:
    """Return the folder of the built site; skip where it was not built, which one test reports."""
    if isinstance(built, SiteError):
        pytest.skip("the site was not built: see test_the_site_builds")
    return built


@pytest.fixture(scope="session")
def downloads(tmp_path_factory) -> Path:
    """Return the folder in which downloads arrive."""
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="session")
def browser(downloads) -> Iterator[Chrome]:
    """Start headless Chromium; skip where there is none, except in CI."""
    if not is_installed():
        if os.environ.get("CI") == "true":
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    with chromium(downloads=str(downloads)) as chrome:
        yield chrome


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="session")
def serve() -> Iterator:
    """Return a function that serves a folder on this machine and returns its address."""
    servers = []

    def start(folder: Path) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=str(folder)))
        Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
