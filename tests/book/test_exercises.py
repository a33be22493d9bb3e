"""Exercises are graded; in each chapter one is hard, and one leaves the model to the reader."""

import re

import pytest

from tests.helpers.book import NAMES, chapters

GRADED = re.compile(r"\*\w+\.\* (?P<stars>★{1,3}) (?P<model>\*Your model\.\* )?")


@pytest.mark.parametrize("name", NAMES)
def test_every_chapter_has_hard_exercises_and_open_ones(name):
    graded = {
        exercise.label: GRADED.match(exercise.text) for exercise in chapters()[name].exercises
    }
    assert [label for label, found in graded.items() if found is None] == []
    stars = {len(found["stars"]) for found in graded.values()}
    assert min(stars) < max(stars) == 3
    assert any(found["model"] for found in graded.values())


@pytest.mark.parametrize("text", ["*Derivation.* Show it.", "*Derivation.* ★★★★ Show it."])
def test_an_exercise_without_grade_is_found(text):
    assert GRADED.match(text) is None
