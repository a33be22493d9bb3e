"""The homework of a student with own data, run: unsolved, with each wrong answer, and solved.

One chapter for each data set; in CI, every chapter.
"""

import os

import pytest

from tests.helpers.book import chapters
from tests.helpers.trials import complaints, run_trial
from tools import ROOT
from tools.homework.students import read_own_data, uses, with_own_data

pytestmark = pytest.mark.slow

OWN_DATA = read_own_data(ROOT / "homework" / "own-data.toml")
NAMES = ["01-pulp", "07-penicillin"]
if os.environ.get("CI") == "true":
    NAMES = [name for name, chapter in chapters().items() if uses(chapter, OWN_DATA)]


@pytest.mark.parametrize("name", NAMES)
def test_checks_work_on_own_data(name, client, tmp_path):
    chapter = chapters()[name]
    assert uses(chapter, OWN_DATA)
    for data in OWN_DATA:
        data.draw("anna", "salt").to_csv(tmp_path / f"{data.name}.csv", index=False)
    trial = run_trial(with_own_data(chapter, OWN_DATA), client, tmp_path)
    assert trial.solved
    hidden = {exercise.label for exercise in chapter.exercises if exercise.own_hidden}
    assert complaints(trial, only_stopped=hidden) == []
