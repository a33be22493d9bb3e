"""The R code in the tabs of the chapters, and what R answers: stored, and never typed.

    python -m tools.book.tabs          put what is stored into the chapters
    python -m tools.book.tabs --run    run the scripts in R first (all, or: --run 01-pulp-1)

A script, `tests/oracle/tabs/NN-name-K.R`, is the K-th block of R in `book/NN-name.md`. R's answer
to it, `NN-name-K.txt` beside it, repeats the code with the output below each expression; that text
is what the chapter shows. The scripts need R with lme4, lmerTest, pbkrtest and RLRsim (on Debian
and Ubuntu: `apt install r-cran-lme4 r-cran-lmertest r-cran-pbkrtest r-cran-rlrsim`); which versions
gave the answers stands in `versions.txt`. A script that R refuses keeps its old answer and fails.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

from nbformat import NotebookNode

from tools import ROOT

TABS = ROOT / "tests" / "oracle" / "tabs"
RUNNER = ROOT / "tests" / "oracle" / "R" / "tabs.R"
COMMAND = "python -m tools.book.tabs"
_BLOCK = re.compile(r"(?ms)^```r\n(?P<code>.*?)^```$")


def answers(chapter: str, folder: Path = TABS) -> list[str]:
    """Return R's stored answers for a chapter, in the order of its tabs."""
    count = len(list(folder.glob(f"{chapter}-[0-9].R")))
    paths = [folder / f"{chapter}-{number}.txt" for number in range(1, count + 1)]
    return [path.read_text(encoding="utf-8") if path.is_file() else "" for path in paths]


def filled(text: str, stored: list[str]) -> str:
    """Return the text of a chapter with R's stored answers in its blocks of R."""
    remaining = iter(stored)
    return _BLOCK.sub(lambda found: f"```r\n{next(remaining, '') or found['code']}```", text)


def typed_blocks(chapter: str, notebook: NotebookNode, folder: Path = TABS) -> list[str]:
    """Find blocks of R that are not R's stored answer, and answers that were not renewed."""
    stored = answers(chapter, folder)
    texts = [cell.source + "\n" for cell in notebook.cells if cell.cell_type == "markdown"]
    blocks = [found["code"] for text in texts for found in _BLOCK.finditer(text)]
    if len(blocks) != len(stored):
        return [
            f"{len(blocks)} blocks of R, but {len(stored)} scripts tests/oracle/tabs/{chapter}-K.R"
        ]
    complaints = []
    for number, (block, answer) in enumerate(zip(blocks, stored, strict=True), start=1):
        name = f"{chapter}-{number}"
        if _code(answer) != (folder / f"{name}.R").read_text(encoding="utf-8").splitlines():
            complaints.append(f"tab {name}: its script has changed: run `{COMMAND} --run {name}`")
        elif block != answer:
            line = _first_difference(block, answer)
            complaints.append(
                f"tab {name}: {line!r} is not R's stored answer: change the script in"
                f" tests/oracle/tabs, or run `{COMMAND}`"
            )
    return complaints


def run_scripts(names: list[str]) -> None:
    """Run the scripts in R, which writes its answers beside them.

    Raises
    ------
    SystemExit
        If there is no R, or if it stops at a script.
    """
    if shutil.which("Rscript") is None:
        sys.exit(f"tabs: there is no Rscript here; see {COMMAND} --help for what is needed")
    if subprocess.run(["Rscript", str(RUNNER), *names], check=False).returncode:
        sys.exit("tabs: R stopped at some of the scripts; their answers are the old ones")


def main(arguments: list[str] | None = None) -> int:
    """Renew R's answers if asked to, and put them into the chapters; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", nargs="*", metavar="NN-name-K", help="run these scripts, or all")
    chosen = parser.parse_args(arguments)
    if chosen.run is not None:
        run_scripts(chosen.run)
    for path in sorted((ROOT / "book").glob("[0-9][0-9]-*.md")):
        text = path.read_text(encoding="utf-8")
        if (new := filled(text, answers(path.stem))) != text:
            path.write_text(new, encoding="utf-8")
            print(f"{path.relative_to(ROOT)}: new answers of R; execute it")
    return 0


def _code(answer: str) -> list[str]:
    return [line for line in answer.splitlines() if not line.startswith("#>")]


def _first_difference(block: str, answer: str) -> str:
    lines, stored = block.splitlines(), answer.splitlines()
    differing = (line for line, other in zip(lines, stored, strict=False) if line != other)
    return next(differing, "".join(lines[-1:]))


if __name__ == "__main__":
    sys.exit(main())
