"""Make the chapters of the built site run and solve in the page (`make live`).

    python -m tools.live.build                   adds to _build/html
    python -m tools.live.build --files FOLDER    Pyodide's files from a folder, not by pip

Everything lies in `live/` in the site: in one folder what never changes, the release of Pyodide
with its packages; in another, named after what is in it, our own scripts and mmlib. So whatever a
browser has kept under an address is still right, and a new mmlib has a new address. Without this
step the site is what it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup

from tools import ROOT, run
from tools.homework.chapter import read_book
from tools.live.files import CACHE, LiveError, entry_of, gather, read_lock
from tools.live.pages import Runtime, prepare
from tools.site.checks import all_complaints
from tools.site.downloads import FOLDER as DOWNLOADS
from tools.site.pages import parse
from tools.site.wheel import build_wheel

PAGE = Path(__file__).with_name("page")
FOLDER = "live"
_WORKER = "sw.js"
_FRONT = (
    "Every chapter runs in the page: press <em>Run this page</em> below its title, change the "
    "code, and solve the exercises where they stand. Nothing is installed, and nothing leaves "
    "your browser."
)


def add(site: Path, files: list[Path]) -> Path:
    """Make the chapters of a site run; return the folder of what they load.

    Parameters
    ----------
    site : Path
        The built site.
    files : list of Path
        The files of Pyodide, as `gather` returns them.

    Raises
    ------
    LiveError
        If a page cannot be prepared, or the site is not as it should be afterwards.
    """
    shutil.rmtree(site / FOLDER, ignore_errors=True)
    lock = read_lock()
    release = f"pyodide-{lock['info']['version']}"
    _copy(files, site / FOLDER / release)
    own = _write_own(site, lock, release)
    size = sum(path.stat().st_size for path in [*files, *own.iterdir()])
    runtime = Runtime(f"../{FOLDER}/{own.name}/", round(size / 1e6))
    for chapter in read_book(overture=True):
        page = site / "book" / f"{chapter.name}.html"
        html = _without(parse(page))
        notebook = f"../{DOWNLOADS}/{chapter.name}.ipynb" if chapter.exercises else ""
        prepare(html, chapter, runtime, notebook)
        page.write_text(str(html), encoding="utf-8")
    _tell_on_the_front_page(site / "book" / "index.html")
    if complaints := all_complaints(site):
        raise LiveError("; ".join(complaints))
    return own


def _copy(files: list[Path], folder: Path) -> None:
    folder.mkdir(parents=True)
    for file in files:
        shutil.copyfile(file, folder / file.name)


def _write_own(site: Path, lock: dict[str, Any], release: str) -> Path:
    """Write the page's scripts, mmlib and the lock into a folder named after what is in it."""
    with tempfile.TemporaryDirectory() as folder:
        wheel = build_wheel(Path(folder))
        scripts = sorted(path for path in PAGE.iterdir() if path.name != _WORKER)
        parts = [path.read_bytes() for path in (*scripts, wheel)]
        version = hashlib.sha256(b"\0".join([json.dumps(lock).encode(), *parts])).hexdigest()[:12]
        own = site / FOLDER / version
        _copy([*scripts, wheel], own)
        # The site hands out no file that looks like a source of its own.
        (own / "shell.py").rename(own / "shell.txt")
        entry = entry_of(wheel)
    entry["file_name"] = f"../{version}/{wheel.name}"
    loaded = {"info": lock["info"], "packages": {**lock["packages"], "mmlib": entry}}
    (own / "lock.json").write_text(json.dumps(loaded), encoding="utf-8")
    worker = (PAGE / _WORKER).read_text(encoding="utf-8")
    worker = worker.replace("@RELEASE@", release).replace("@VERSION@", version)
    (site / _WORKER).write_text(worker, encoding="utf-8")
    return own


def _tell_on_the_front_page(page: Path) -> None:
    html = _without(parse(page))
    first = html.select_one("article section > p")
    if first is None:
        raise LiveError("the front page has no text")
    told = BeautifulSoup(f'<p class="live">{_FRONT}</p>', "html.parser")
    first.insert_after(told)
    page.write_text(str(html), encoding="utf-8")


def _without(html: BeautifulSoup) -> BeautifulSoup:
    """Take away what an earlier run has added."""
    added = f".live, [src*='/{FOLDER}/'], [href*='/{FOLDER}/']"
    for tag in html.select(added):
        tag.decompose()
    return html


def main(arguments: list[str] | None = None) -> None:
    """Make the built site run, and say how to see it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=Path, metavar="FOLDER", help="Pyodide's release, unpacked")
    chosen = parser.parse_args(arguments)
    add(ROOT / "_build" / "html", gather(CACHE, chosen.files))
    print("Every chapter has a button now: Run this page. `make serve` shows it.")


if __name__ == "__main__":
    run(main)
