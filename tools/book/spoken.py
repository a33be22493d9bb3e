"""Show what a page counts that no data decide, as it must stand in `book/data/spoken.toml`.

    python -m tools.book.spoken book/06-prediction.md

Read each phrase before it goes into the list: that its number is right is all that holds it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tools import ROOT
from tools.book.execute import with_stored_outputs
from tools.book.facts import PAGES, facts, page_name, unfounded
from tools.book.prose import Number, numbers
from tools.book.sentences import Allowed, allowed_on, covers, is_small, open_numbers, phrase_of


def main(pages: list[str]) -> None:
    """Print the lists of some pages as TOML."""
    for path in pages:
        page = Path(path).resolve().relative_to(ROOT).as_posix()
        phrases = json.dumps(needed(page), ensure_ascii=False, indent=4)
        print(f'"{page_name(page)}" = {phrases}\n')


def needed(page: str) -> list[str]:
    """Return the phrases that a page needs, in its order."""
    found: list[str] = []
    for number in _open(page):
        if is_small(number) and not any(covers(phrase, number) for phrase in found):
            found.append(phrase_of(number))
    return found


def _open(page: str) -> list[Number]:
    """Return the numbers of a page that nothing but a phrase could hold."""
    allowed = allowed_on(page_name(page))
    without = Allowed(allowed.page, allowed.unheld, allowed.everywhere)
    if page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        return unfounded(numbers(text), facts().get(page, []), without)[0]
    return open_numbers(with_stored_outputs(ROOT / page), without)


if __name__ == "__main__":
    main(sys.argv[1:])
