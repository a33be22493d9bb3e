"""The site with pages that run, a server that counts, and a browser that reaches nothing else."""

import os
import shutil
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from selenium.webdriver import Chrome

from tests.site.conftest import built, site  # noqa: F401
from tools.live.build import add
from tools.live.files import CACHE, gather, read_lock, wanted
from tools.site.chromium import MISSING, chromium, is_installed

IN_CI = os.environ.get("CI") == "true"


@pytest.fixture(scope="session")
def files() -> list[Path]:
    """Return Pyodide's files; skip where `make live` has not fetched them, except in CI."""
    if not IN_CI and any(not (CACHE / name).is_file() for name in wanted(read_lock())):
        pytest.skip("the files of Pyodide are not here: `make live` fetches them")
    return gather()


@pytest.fixture(scope="session")
def running(site, files, tmp_path_factory) -> Path:  # noqa: F811
    """Return the folder of a site whose pages run, below a path that is not the root."""
    folder = tmp_path_factory.mktemp("live") / "any" / "path"
    shutil.copytree(site, folder)
    add(folder, files)
    return folder


class Server:
    """Serves a folder on this machine, and keeps what was asked for."""

    def __init__(self, folder: Path, port: int = 0):
        self.requests: list[str] = []
        asked = self.requests

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                asked.append(self.path)

        handler = partial(Handler, directory=str(folder))
        self.server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def server(running) -> Iterator[Server]:
    """Serve what lies above the site, so that the site is not at the root."""
    server = Server(running.parent.parent)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def handed_in(tmp_path_factory) -> Path:
    """Return the folder in which downloads arrive."""
    return tmp_path_factory.mktemp("handed-in")


@pytest.fixture(scope="session")
def browser(handed_in) -> Iterator[Chrome]:
    """Start a Chromium that reaches this machine only; skip where there is none, except in CI."""
    if not is_installed():
        if IN_CI:
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    with chromium(downloads=str(handed_in), alone=True) as chrome:
        chrome.set_script_timeout(900)
        yield chrome
