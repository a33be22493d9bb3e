"""What the pages without cells say in figures, made from the code and the data that decide it.

The README, the front page and the pages on how the book is made state tolerances, counts and
versions. Each phrase of `facts` must stand on its page, word for word, and a number on these pages
that stands in no such phrase, and not in `book/data/unheld.toml` either, is a complaint.
"""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

import mmlib as mm
from tools import ROOT
from tools.book import tolerance
from tools.book.held import R_VERSIONS, allowed_phrases
from tools.book.prose import WORDS, Number, numbers
from tools.site.vendor import ASSETS

PAGES = ("README.md", "CONTRIBUTING.md", "book/index.md", "book/how-checked.md", "book/colophon.md")


def facts() -> dict[str, list[str]]:
    """Return the phrases that must stand on each page."""
    project = tomllib.loads(_read("pyproject.toml"))["project"]
    oldest = project["requires-python"].removeprefix(">=")
    newest = project["classifiers"][-3].rpartition(" ")[2]
    pulp, penicillin = mm.load_dataset("pulp"), mm.load_dataset("penicillin")
    operators, blends = pulp["operator"].nunique(), penicillin["blend"].nunique()
    each, processes = len(pulp) // operators, penicillin["treat"].nunique()
    sheets = f"{_word(len(pulp)).capitalize()} sheets of"
    in_a_million = f"one part in {_power(tolerance.RELATIVE)}"
    versions = dict(line.split(" ", 1) for line in _read(R_VERSIONS).splitlines())
    r_and_packages = ", ".join(f"{name} {versions[name]}" for name in ("pbkrtest", "lmerTest"))
    release = f"Version {project['version']}"
    return {
        "README.md": [
            f"Python {oldest} or newer",
            in_a_million,
            f"{_word(operators)} operators",
        ],
        "CONTRIBUTING.md": [
            f"Python {oldest} to {newest}",
            f"| {tolerance.RELATIVE:.0e} |".replace("e-0", "e-"),
            *_tolerances_of_tests(),
        ],
        "book/index.md": [
            f"{sheets} paper from {_word(operators)} operators",
            f"{_word(blends).capitalize()} blends of raw material, {_word(processes)} ways",
            f"{_word(each).capitalize()} sheets from each of {_word(operators)} operators",
            f"of {_word(operators)} operators, the brightness of {_word(each)} sheets",
            f"{sheets} pulp from {_word(operators)} operators",
            f"{_word(processes).capitalize()} processes, {_word(blends)} blends",
            f"in {_word(mm.load_dataset('test_sizes')['design'].nunique())} designs",
            f"{_word(_designs_of_the_last_chapter())} classic experiments",
            f"Python {oldest} or newer",
            *(f"Chapter {number}:" for number, _ in enumerate(contents(read_toc()), start=1)),
        ],
        "book/how-checked.md": [in_a_million],
        "book/colophon.md": [
            release,
            f"R {versions['R']} with lme4 {versions['lme4']}",
            f"{r_and_packages} and RLRsim {versions['RLRsim']}",
            *(f"MathJax {asset.version}" for asset in ASSETS if asset.name == "mathjax"),
        ],
    }


def complaints(page: str, text: str, phrases: list[str]) -> list[str]:
    """Tell which phrases a page lacks, and which of its numbers stand in none of them."""
    plain = " ".join(text.split())
    missing = [f"{page}: it should say “{phrase}”" for phrase in phrases if phrase not in plain]
    return missing + [
        f"{page}: {number.text} in “{_around(number)}” follows from nothing"
        for number in numbers(_without(text, phrases, page))
        if _is_stated(number)
    ]


def contents(toc: dict[str, Any]) -> list[str]:
    """Return the names of the numbered chapters in the order of the table of contents."""
    files = [entry["file"] for part in toc["parts"] for entry in part["chapters"]]
    return [Path(file).stem for file in files if re.match(r"book/(?!00)\d\d-", file)]


def listed_chapters(index: str) -> list[tuple[int, str]]:
    """Return the chapters that the front page lists, with the numbers that it gives them."""
    found = re.findall(r"(?m)^Chapter (\d+): \{doc\}`([\w-]+)`", index)
    return [(int(number), name) for number, name in found]


def read_toc() -> dict[str, Any]:
    """Read the table of contents."""
    toc: dict[str, Any] = yaml.safe_load(_read("_toc.yml"))
    return toc


def _without(text: str, phrases: list[str], page: str) -> str:
    """Take the phrases out of a text, however its lines are broken."""
    for phrase in (*phrases, *allowed_phrases(Path(page).stem)):
        words = r"\s+".join(map(re.escape, phrase.split()))
        text = re.sub(words, "…", text)
    return text


def _is_stated(number: Number) -> bool:
    return number.form != "word" and number.kind in ("prose", "caption", "alt text")


def _around(number: Number) -> str:
    return " ".join(f"{number.before[-30:]}{number.text}{number.after[:30]}".split())


def _tolerances_of_tests() -> list[str]:
    """Return the rows of the table of tolerances, each figure from the test that applies it."""
    oracle = _read("tests/test_oracle_cases.py")
    objective = _read("tests/engine/test_objective.py")
    profile = _read("tests/inference/test_profile.py")
    return [
        f"| brute force, same θ | {_found(r'wanted, rtol=(1e-8)', objective)} |",
        f"| R at its optimum | {_found(r'- (1e-[0-9]+) [*] abs', oracle)} |",
        f"| R | {_found(r'lower, abs=(1e-[0-9]+) [*] width', profile)} |",
    ]


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else f"nothing like {pattern}"


def _designs_of_the_last_chapter() -> int:
    """Count the rows of the table of designs in chapter 11."""
    table = _read("book/11-further-designs.md").split("## Three questions")[0]
    return len(re.findall(r"(?m)^\| \{term\}", table))


def _word(number: int) -> str:
    return next(word for word, value in WORDS.items() if value == number)


def _power(relative: float) -> str:
    return {1e-3: "a thousand", 1e-6: "a million"}[ast.literal_eval(f"{relative:g}")]


def _read(name: str | Path) -> str:
    return (ROOT / name).read_text(encoding="utf-8")
