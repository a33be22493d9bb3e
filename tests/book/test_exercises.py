"""Exercises are graded; in each chapter one is hard, and one leaves the model to the reader."""

import pytest

from tests.helpers.book import NAMES, chapters
from tools.homework.chapter import Exercise
from tools.homework.text import HomeworkError


def exercise(text: str) -> Exercise:
    return Exercise("ex-one", "1", "One", text, ())


def test_stars_and_choice_are_read():
    plain, open_ended = (
        exercise("*Derivation.* ★ Show it."),
        exercise("*Computation.* ★★★ *Your model.* The data."),
    )
    assert (plain.stars, plain.chooses) == (1, False)
    assert (open_ended.stars, open_ended.chooses) == (3, True)


@pytest.mark.parametrize("text", ["*Derivation.* Show it.", "*Derivation.* ★★★★ Show it."])
def test_an_exercise_without_grade_is_refused(text):
    with pytest.raises(HomeworkError, match="one to three ★"):
        _ = exercise(text).stars


@pytest.mark.parametrize("name", NAMES)
def test_every_chapter_has_hard_exercises_and_open_ones(name):
    exercises = chapters()[name].exercises
    assert max(exercise.stars for exercise in exercises) == 3
    assert min(exercise.stars for exercise in exercises) < 3
    assert any(exercise.chooses for exercise in exercises)
