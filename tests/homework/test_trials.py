"""Every chapter's homework, run: unsolved, with each wrong answer, and solved."""

import pytest

from tests.helpers.book import NAMES, chapters, first_and_landing
from tests.helpers.trials import complaints, run_trial, toothless


@pytest.mark.parametrize("name", first_and_landing(NAMES))
def test_checks_fail_unsolved_and_wrong_and_pass_solved(name, client, tmp_path):
    chapter = chapters()[name]
    trial = run_trial(chapter, client, tmp_path)
    assert [*complaints(trial), *toothless(chapter, trial)] == []
