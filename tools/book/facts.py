"""What the pages without cells say in figures, made from the code and the data that decide it.

The README, the front page and the pages on how the book is made state tolerances, counts and
versions. Each phrase of `facts` must stand on its page, word for word. A number on any page without
cells that stands in no such phrase, nor in `book/data/unheld.toml` or `spoken.toml`, is a
complaint.
"""

from __future__ import annotations

import ast
import csv
import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

import mmlib as mm
from tools import ROOT
from tools.book import tolerance
from tools.book.prose import WORDS, Number, numbers
from tools.book.sentences import (
    Allowed,
    allowed_on,
    covers,
    is_free,
    is_small,
    listed,
    phrase_of,
    unneeded,
)
from tools.book.sources import R_VERSIONS
from tools.site.vendor import ASSETS

PAGES = (
    *("README.md", "CONTRIBUTING.md"),
    *(
        path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "book").rglob("*.md"))
        if not path.with_suffix(".ipynb").exists() and path.stem not in ("verification", "teaching")
    ),
)
"""The pages without cells; tools/book/verify.py writes one, and another is a list of exercises."""


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
            f"{_word(blends)} blends of raw material and {_word(processes)} ways",
            f"{_word(each).capitalize()} sheets from each of {_word(operators)} operators",
            f"of {_word(operators)} operators, the brightness of {_word(each)} sheets",
            f"{sheets} pulp from {_word(operators)} operators",
            f"{_word(processes).capitalize()} processes and {_word(blends)} blends",
            f"in {_word(mm.load_dataset('test_sizes')['design'].nunique())} designs",
            f"{_word(_designs_of_the_last_chapter())} classic studies",
            f"{mm.load_dataset('hsb82')['school'].nunique()} schools",
            *(f"Chapter {number}:" for number, _ in enumerate(contents(read_toc()), start=1)),
        ],
        "book/install.md": [f"{oldest} or newer"],
        "book/how-checked.md": [in_a_million, *_rates()],
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
    wrong, idle = unfounded(numbers(text), phrases, allowed_on(page_name(page)))
    return missing + [f"{page}: {founded_on_nothing(number)}" for number in wrong] + idle


def page_name(page: str) -> str:
    """Return what a page is called in the lists of exceptions."""
    return page.removeprefix("book/").removesuffix(".md")


def unfounded(
    stated: list[Number], phrases: list[str], allowed: Allowed
) -> tuple[list[Number], list[str]]:
    """Return the numbers that follow from nothing, and which exceptions no number needs."""
    needed = Counter[str]()
    wrong = [
        number
        for number in stated
        if number.kind not in ("tab", "R")
        if number.kind == "code" or not is_free(number)
        if not any(covers(phrase, number) for phrase in phrases)
        if not listed(number, allowed, needed, spoken=True)
    ]
    return wrong, unneeded(allowed, needed)


def founded_on_nothing(number: Number) -> str:
    """Say that nothing gives a number."""
    advice = f": list “{phrase_of(number)}” in book/data/spoken.toml" if is_small(number) else ""
    return f"{number.text} in “{_around(number)}” follows from nothing{advice}"


def contents(toc: dict[str, Any]) -> list[str]:
    """Return the names of the numbered chapters in the order of the table of contents."""
    files = [entry["file"] for part in toc["parts"] for entry in part["chapters"]]
    return [Path(file).stem for file in files if re.match(r"book/(?!00)\d\d-", file)]


def read_toc() -> dict[str, Any]:
    """Read the table of contents."""
    toc: dict[str, Any] = yaml.safe_load(_read("_toc.yml"))
    return toc


def _around(number: Number) -> str:
    return " ".join(f"{number.before[-30:]}{number.text}{number.after[:30]}".split())


def _rates() -> list[str]:
    """Return the rows of the table of falsified numbers, and the number of places."""
    with (ROOT / "book" / "data" / "falsified.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    places = sum(int(row["places"]) for row in rows)
    return [
        f"Of {places} numbers",
        *(f"| {row['group']} | {row['found']} of {row['places']} |" for row in rows),
        *(f"{row['found']} of {row['places']}" for row in rows),
    ]


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
