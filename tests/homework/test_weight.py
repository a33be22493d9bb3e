"""What homework earns and what its tests demand: neither can be weakened without this file.

That each hidden test refuses some wrong answer, `test_trials.py` shows.
"""

import ast

import pytest

from tests.helpers.book import chapters

# Points for code, points for what is read, assertions that students see, and hidden ones.
WEIGHTS = {
    "01-pulp": (20, 15, 28, 9),
    "02-mixed-model": (14, 16, 23, 6),
    "03-estimation": (21, 17, 25, 6),
    "04-inference": (19, 13, 24, 5),
    "05-random-effects": (16, 17, 22, 4),
    "06-prediction": (15, 12, 21, 4),
    "07-penicillin": (19, 12, 25, 5),
    "08-computing": (15, 15, 16, 5),
    "09-calibration": (17, 15, 26, 7),
    "10-coming-from-r": (16, 13, 19, 4),
    "11-further-designs": (21, 17, 23, 6),
    "12-reporting": (13, 10, 18, 4),
    "13-growth": (14, 9, 17, 5),
    "14-many-groups": (13, 8, 18, 4),
    "15-subjects-and-items": (12, 9, 15, 4),
    "16-planning": (16, 7, 19, 5),
    "17-clinic": (24, 24, 33, 0),
    "18-other-roads": (8, 10, 8, 4),
}


def assertions(code):
    return [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Assert)]


def weight(chapter):
    exercises = chapter.exercises
    return (
        sum(exercise.points for exercise in exercises),
        sum(points for exercise in exercises for points, _ in exercise.rubric),
        sum(len(assertions(exercise.check)) for exercise in exercises),
        sum(len(assertions(exercise.hidden)) for exercise in exercises),
    )


@pytest.mark.parametrize("name", WEIGHTS)
def test_points_and_assertions_are_what_they_were(name):
    assert weight(chapters()[name]) == WEIGHTS[name]


def test_every_chapter_is_weighed():
    assert {name for name, chapter in chapters().items() if chapter.exercises} == set(WEIGHTS)
