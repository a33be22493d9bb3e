"""Every chapter's homework, run: unsolved, with each wrong answer, and solved."""

import pytest

from tests.helpers.trials import complaints, run_trial, toothless
from tools.homework.chapter import read_book

pytestmark = pytest.mark.slow

NAMES = [chapter.name for chapter in read_book()]


@pytest.mark.parametrize("name", NAMES)
def test_checks_fail_unsolved_and_wrong_and_pass_solved(name, chapters, client, tmp_path):
    chapter = next(chapter for chapter in chapters if chapter.name == name)
    trial = run_trial(chapter, client, tmp_path)
    assert [*complaints(trial), *toothless(chapter, trial)] == []
