"""Show what a page counts that no data decide, as it must stand in `book/data/spoken.toml`.

    python -m tools.book.spoken book/06-prediction.md README.md

Read each phrase before it goes into the list: that its number is right is all that holds it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tools import ROOT
from tools.book.execute import CHAPTERS, with_stored_outputs
from tools.book.facts import PAGES, facts, page_name, unfounded
from tools.book.prose import Number, numbers
from tools.book.sentences import Allowed, allowed_on, covers, is_small, open_numbers, phrase_of


def main(arguments: list[str] | None = None) -> int:
    """Print the lists of some pages, or of all; a comment marks what is new, and what is gone."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="*", type=Path, metavar="book/NN-name.md")
    for path in parser.parse_args(arguments).pages or _all_pages():
        page = page_name(path.resolve().relative_to(ROOT).as_posix())
        listed, found = list(allowed_on(page).spoken), needed(path)
        if listed or found:
            print(shown(page, found, listed), end="\n\n")
    return 0


def _all_pages() -> list[Path]:
    return [*sorted(ROOT.glob(CHAPTERS)), *(ROOT / page for page in PAGES)]


def needed(path: Path) -> list[str]:
    """Return the phrases that a page needs, in its order."""
    found: list[str] = []
    for number in _open(path.resolve()):
        if is_small(number) and not any(covers(phrase, number) for phrase in found):
            found.append(phrase_of(number))
    return found


def _open(path: Path) -> list[Number]:
    """Return the numbers of a page that nothing but a phrase could hold."""
    page = path.relative_to(ROOT).as_posix()
    allowed = allowed_on(page_name(page))
    without = Allowed(allowed.page, allowed.unheld, allowed.everywhere)
    if page in PAGES:
        text = path.read_text(encoding="utf-8")
        return unfounded(numbers(text), facts().get(page, []), without)[0]
    return open_numbers(with_stored_outputs(path), without)


def shown(page: str, needed: list[str], listed: list[str]) -> str:
    """Write the list of a page as TOML."""
    lines = [
        f"    {json.dumps(phrase, ensure_ascii=False)},{'' if phrase in listed else '  # new'}"
        for phrase in needed
    ]
    gone = [f"    # gone: {phrase}" for phrase in listed if phrase not in needed]
    key = json.dumps(page) if "/" in page else page
    return "\n".join([f"{key} = [", *lines, *gone, "]"])


if __name__ == "__main__":
    sys.exit(main())
