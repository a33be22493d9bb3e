"""The homework of a student with own data, run: unsolved, with each wrong answer, and solved."""

import pytest

from tests.helpers.book import chapters, first_and_landing
from tests.helpers.trials import complaints, run_trial
from tools import ROOT
from tools.homework.students import read_own_data, uses, with_own_data

OWN_DATA = read_own_data(ROOT / "homework" / "own-data.toml")
NAMES = [
    *("01-pulp", "02-mixed-model", "03-estimation", "04-inference"),
    *("05-random-effects", "06-prediction", "07-penicillin"),
]


def test_no_chapter_with_own_data_is_left_out():
    assert [name for name, chapter in chapters().items() if uses(chapter, OWN_DATA)] == NAMES


@pytest.mark.parametrize("name", first_and_landing(NAMES))
def test_checks_work_on_own_data(name, client, tmp_path):
    chapter = chapters()[name]
    for data in OWN_DATA:
        data.draw("anna", "salt").to_csv(tmp_path / f"{data.name}.csv", index=False)
    trial = run_trial(with_own_data(chapter, OWN_DATA), client, tmp_path)
    assert trial.solved
    hidden = {exercise.label for exercise in chapter.exercises if exercise.own_hidden}
    assert complaints(trial, only_stopped=hidden) == []
