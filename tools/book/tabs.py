"""What R and other Python packages answer in the chapters: stored, and never typed.

    python -m tools.book.tabs          put what is stored into the chapters
    python -m tools.book.tabs --run    run the scripts first (all of R's, or: --run 01-pulp-1)

A script, `tests/oracle/tabs/NN-name-K.R`, is the K-th of these blocks in `book/NN-name.md`; its
fence says `r`. If the script's name ends in `.py`, it calls Python packages that the book does not
need, and the fence says `py`. The answer, `NN-name-K.txt` beside it, repeats the code with the
output below each expression; that text is what the chapter shows. R's scripts need lme4, lmerTest,
pbkrtest and RLRsim (on Debian and Ubuntu: `apt install r-cran-lme4 r-cran-lmertest r-cran-pbkrtest
r-cran-rlrsim`), those of chapter 18 also mgcv; those of Python get an environment of
their own from `requirements.txt` there. Which versions gave the answers stands in `versions.txt`
and `versions-python.txt`. A script that stops keeps its old answer and fails.
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
from tools.book.prose import blocks

TABS = ROOT / "tests" / "oracle" / "tabs"
R_RUNNER = ROOT / "tests" / "oracle" / "R" / "tabs.R"
PYTHON_RUNNER = ROOT / "tests" / "oracle" / "python_tabs.py"
PYTHON = TABS / ".venv" / "bin" / "python"
COMMAND = "python -m tools.book.tabs"
_BLOCK = re.compile(r"(?ms)^```(?P<language>r|py)\n(?P<code>.*?)^```$")


def answers(chapter: str, folder: Path = TABS) -> list[str]:
    """Return the stored answers for a chapter, in the order of its blocks."""
    paths = [script.with_suffix(".txt") for script in scripts(chapter, folder)]
    return [path.read_text(encoding="utf-8") if path.is_file() else "" for path in paths]


def scripts(chapter: str = "*", folder: Path = TABS) -> list[Path]:
    """Return the scripts of a chapter, or of all, in order."""
    return sorted(
        path for path in folder.glob(f"{chapter}-[0-9].*") if path.suffix in (".R", ".py")
    )


def filled(text: str, stored: list[str]) -> str:
    """Return the text of a chapter with the stored answers in its blocks."""
    remaining = iter(stored)
    return _BLOCK.sub(
        lambda found: f"```{found['language']}\n{next(remaining, '') or found['code']}```", text
    )


def typed_blocks(chapter: str, notebook: NotebookNode, folder: Path = TABS) -> list[str]:
    """Find blocks that are not the stored answer, and answers that were not renewed."""
    stored = answers(chapter, folder)
    shown = blocks(notebook, "r|py")
    if len(shown) != len(stored):
        return [
            f"{len(shown)} blocks of R (or py), but {len(stored)} scripts"
            f" tests/oracle/tabs/{chapter}-K.R (or .py)"
        ]
    complaints = []
    for block, answer, script in zip(shown, stored, scripts(chapter, folder), strict=True):
        name = script.stem
        if _code(answer) != script.read_text(encoding="utf-8").splitlines():
            complaints.append(f"tab {name}: its script has changed: run `{COMMAND} --run {name}`")
        elif block != answer:
            line = _first_difference(block, answer)
            complaints.append(
                f"tab {name}: {line!r} is not the stored answer: change the script in"
                f" tests/oracle/tabs, or run `{COMMAND}`"
            )
    return complaints


def run_scripts(names: list[str]) -> None:
    """Run scripts, R's if none is named; each writes its answer beside itself.

    Raises
    ------
    SystemExit
        If R or a Python of their own is not to be had, or if a script stops.
    """
    wanted = [script for script in scripts() if not names or script.stem in names]
    for_r = [script.stem for script in wanted if script.suffix == ".R"]
    for_python = [script.stem for script in wanted if script.suffix == ".py" and names]
    if for_r and shutil.which("Rscript") is None:
        sys.exit(f"tabs: there is no Rscript here; see {COMMAND} --help for what is needed")
    runs = [["Rscript", str(R_RUNNER), *for_r]] if for_r else []
    if for_python:
        runs += [*_environment(), [str(PYTHON), str(PYTHON_RUNNER), *for_python]]
    if sum(subprocess.run(command, check=False).returncode for command in runs):
        sys.exit("tabs: some of the scripts stopped; their answers are the old ones")


def _environment() -> list[list[str]]:
    """Return the commands that make the environment of the other packages, where there is none."""
    if PYTHON.exists():
        return []
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--requirement"]
    return [
        [sys.executable, "-m", "venv", str(TABS / ".venv")],
        [*pip, str(TABS / "requirements.txt")],
    ]


def main(arguments: list[str] | None = None) -> None:
    """Renew R's answers if asked to, and put them into the chapters."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", nargs="*", metavar="NN-name-K", help="run these, or all of R's")
    chosen = parser.parse_args(arguments)
    if chosen.run is not None:
        run_scripts(chosen.run)
    for path in sorted((ROOT / "book").glob("[0-9][0-9]-*.md")):
        text = path.read_text(encoding="utf-8")
        if (new := filled(text, answers(path.stem))) != text:
            path.write_text(new, encoding="utf-8")
            print(f"{path.relative_to(ROOT)}: new answers; execute it")


def _code(answer: str) -> list[str]:
    return [line for line in answer.splitlines() if not line.startswith("#>")]


def _first_difference(block: str, answer: str) -> str:
    lines, stored = block.splitlines(), answer.splitlines()
    differing = (line for line, other in zip(lines, stored, strict=False) if line != other)
    return next(differing, "".join(lines[-1:]))


if __name__ == "__main__":
    main()
