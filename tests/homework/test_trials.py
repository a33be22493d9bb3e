"""Every chapter's homework, run: unsolved, with each wrong answer, and solved."""

import pytest

from tests.helpers.trials import complaints, run_trial
from tools import ROOT
from tools.book.execute import CHAPTERS

pytestmark = pytest.mark.slow

NAMES = [path.stem for path in sorted(ROOT.glob(CHAPTERS))]


@pytest.mark.parametrize("name", NAMES)
def test_checks_fail_unsolved_and_wrong_and_pass_solved(name, chapters, client, tmp_path):
    chapter = next(chapter for chapter in chapters if chapter.name == name)
    trial = run_trial(chapter, client, tmp_path)
    assert complaints(trial) == []
