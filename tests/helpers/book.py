"""The chapters of the book, as homework reads them: once for all tests."""

from functools import cache

import pytest

from tools import ROOT
from tools.book.execute import CHAPTERS
from tools.homework.chapter import Chapter, read_book

# The overture has no homework. Reading the chapters takes seconds, and collecting needs names only.
NAMES = [path.stem for path in sorted(ROOT.glob(CHAPTERS)) if not path.stem.startswith("00")]


@cache
def chapters() -> dict[str, Chapter]:
    """Return every chapter by its name."""
    return {chapter.name: chapter for chapter in read_book()}


def first_and_landing(names):
    """Return names as parameters, of which all but the first wait until a change lands."""
    first, *rest = names
    return [first, *(pytest.param(name, marks=pytest.mark.landing) for name in rest)]
