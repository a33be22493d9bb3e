"""Every chapter's homework, run: unsolved, with each wrong answer, and solved."""

import pytest

from homework_chapter import read_book
from tests.homework_trials import complaints, run_trial

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("chapter", read_book(), ids=lambda chapter: chapter.name)
def test_checks_fail_unsolved_and_wrong_and_pass_solved(chapter, tmp_path):
    assert complaints(run_trial(chapter, tmp_path)) == []
