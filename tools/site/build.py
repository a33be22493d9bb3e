"""Build the site from exactly the committed notebooks: nothing is executed, any warning fails.

    python -m tools.site.build                   into _build/html
    python -m tools.site.build --output FOLDER   into FOLDER/_build/html
    python -m tools.site.build --address URL     as it will be published at that address
    python -m tools.site.build --repo URL        with links to that repository
    python -m tools.site.build --solutions no    without worked solutions (tools/site/solutions.py)

The build starts from nothing each time, so that what it shows is never left over from another.
What Sphinx does not see, such as an image without alternative text, `tools/site/checks.py` finds.
Before anything is built, `verify` computes the numbers of the verification page again.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

from tools import ROOT, run
from tools.book.verify import check_page, verified_rows
from tools.site.checks import all_complaints
from tools.site.directives import ADDRESS, REPOSITORY
from tools.site.downloads import FOLDER as DOWNLOADS
from tools.site.downloads import offer_homework
from tools.site.pages import SiteError
from tools.site.quiz import offer_quiz
from tools.site.repair import finish
from tools.site.slides import offer_slides
from tools.site.solutions import copy_without, read_choice
from tools.site.wheel import build_wheel


def build(
    output: Path = ROOT,
    source: Path = ROOT,
    address: str = "",
    repository: str = "",
    solutions: str = "yes",
) -> Path:
    """Build the site and return its folder.

    Parameters
    ----------
    output : Path
        Where `_build` is made.
    source : Path
        The folder with `_config.yml` and `_toc.yml`.
    address : str
        Where the site will be published: for previews of links, and for notebooks that install
        mmlib from there.
    repository : str
        Where the sources are, for reports of errors and for installing.
    solutions : str
        Which worked solutions are shown, as `tools.site.solutions.read_choice` reads it.

    Raises
    ------
    SiteError
        If the build fails or warns, or if a check of the built site complains.
    """
    site = output / "_build" / "html"
    shutil.rmtree(output / "_build", ignore_errors=True)
    address, repository = address.rstrip("/"), repository.rstrip("/")
    sources = source
    if (shown := read_choice(solutions)) is not None:
        sources = copy_without(source, output / "_build" / "sources", shown)
    # Looking for garbage, of which there is little, took Sphinx two fifths of its time.
    command = [
        *(sys.executable, "-c"),
        "import gc; gc.disable(); from jupyter_book.cli.main import main; main()",
        *("build", str(sources), "--path-output", str(output)),
        *("-W", "-n", "--keep-going", "--all"),
    ]
    places = {ADDRESS: address, REPOSITORY: repository}
    done = subprocess.run(command, cwd=sources, env={**os.environ, **places}, check=False)
    if done.returncode != 0:
        shutil.rmtree(site, ignore_errors=True)
        raise SiteError("the site was not built: see the warnings above")
    additions = (
        offer_slides,
        partial(offer_quiz, quizzes=source / "book" / "quiz"),
        partial(
            offer_homework,
            notebooks=source / "homework" / "student",
            wheel=build_wheel(site / DOWNLOADS),
        ),
    )
    finish(site, address, repository, additions)
    if complaints := all_complaints(site):
        raise SiteError("\n".join(["the site is built, but not as it should be:", *complaints]))
    return site


def main(arguments: list[str] | None = None) -> None:
    """Build the site and say where it lies and how to open it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=ROOT, metavar="FOLDER")
    parser.add_argument(
        "--address", default="", metavar="URL", help="where the site will be published"
    )
    parser.add_argument("--repo", default="", metavar="URL", help="where the sources are")
    parser.add_argument(
        "--solutions",
        default="yes",
        metavar="WHICH",
        help="yes, no, no-derivations, or a CSV file with the columns chapter and opens",
    )
    chosen = parser.parse_args(arguments)
    check_page(verified_rows())
    site = build(
        chosen.output.resolve(),
        address=chosen.address,
        repository=chosen.repo,
        solutions=chosen.solutions,
    )
    print(f"The site is in {os.path.relpath(site)}")
    print(f"Open {os.path.relpath(site / 'index.html')} in a browser, or run `make serve`.")


if __name__ == "__main__":
    run(main)
