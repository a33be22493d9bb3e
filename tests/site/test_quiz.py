"""The quizzes: every key is computed here, and pages and platforms get what was written."""

import re

import numpy as np
import pytest
from bs4 import BeautifulSoup
from scipy import stats
from scipy.special import expit, gammaln

import mmlib as mm
from tools import ROOT
from tools.book.execute import CHAPTERS
from tools.site.pages import SiteError
from tools.site.quiz import QUIZZES, Question, gift, read_quiz, write_quiz

NAMES = [path.stem for path in sorted(QUIZZES.glob("*.toml"))]
WITHOUT = {"00-twenty-minutes"}  # an overture, without exercises


@pytest.fixture(scope="module")
def fits():
    """Return what the code of keys sees."""
    pulp, penicillin = mm.load_dataset("pulp"), mm.load_dataset("penicillin")
    sleep, oats = mm.load_dataset("sleepstudy"), mm.load_dataset("oats")
    children = mm.load_dataset("orthodont")
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    children["visit"] = children["age"].astype(int).map("at {:02d}".format)
    return {
        "np": np,
        "stats": stats,
        "expit": expit,
        "gammaln": gammaln,
        "nodes": nodes,
        "weights": weights / weights.sum(),
        "mm": mm,
        "pulp": pulp,
        "penicillin": penicillin,
        "sleep": sleep,
        "oats": oats,
        "children": children,
        "layout": mm.oneway("bright ~ operator", pulp),
        "reml": mm.lmm("bright ~ 1 + (1 | operator)", pulp),
        "ml": mm.lmm("bright ~ 1 + (1 | operator)", pulp, reml=False),
        "lines": mm.lmm("Reaction ~ Days + (Days | Subject)", sleep),
        "blends": mm.lmm("yield ~ treat + (1 | blend)", penicillin),
        "blends_ml": mm.lmm("yield ~ treat + (1 | blend)", penicillin, reml=False),
        "no_treat_ml": mm.lmm("yield ~ 1 + (1 | blend)", penicillin, reml=False),
        "field": mm.lmm("yield ~ Variety + C(nitro) + (1 | Block/Variety)", oats),
    }


def problem(question, fits):
    """Compute a key; return what is wrong with it, or nothing."""
    names = dict(fits)
    exec(f"found = ({question.shows})", names)
    found = names["found"]
    if isinstance(found, str):
        return "" if found == question.right else f"{question.right!r} is {found!r}"
    return "" if found else "what should show it does not hold"


@pytest.mark.parametrize("name", NAMES)
def test_every_chapter_has_a_quiz_and_every_key_is_right(name, fits):
    questions = read_quiz(QUIZZES / f"{name}.toml")
    assert 10 <= len(questions) <= 12
    found = {question.text: problem(question, fits) for question in questions}
    assert {text: said for text, said in found.items() if said} == {}


def test_no_chapter_lacks_its_quiz():
    assert {path.stem for path in ROOT.glob(CHAPTERS)} - set(NAMES) == WITHOUT


def test_a_wrong_key_is_found(fits):
    (first, *_) = read_quiz(QUIZZES / "01-pulp.toml")
    for shows in ('f"{layout.f:.0f}"', "layout.f < 0"):
        changed = type(first)(first.text, "no", first.wrong, first.why, shows)
        assert problem(changed, fits)


def test_the_place_of_the_right_answer_says_nothing():
    places = [
        [right for _, right, _ in question.answers()].index(True)
        for name in NAMES
        for question in read_quiz(QUIZZES / f"{name}.toml")
    ]
    shares = np.bincount(places, minlength=3) / len(places)
    assert shares.max() < 0.5


def test_a_page_shows_questions_answers_and_comments():
    questions = read_quiz(QUIZZES / "01-pulp.toml")
    html = BeautifulSoup(write_quiz(questions, "quiz.gift"), "html.parser")
    boxes = html.select("fieldset")
    assert len(boxes) == len(questions)
    for box, question in zip(boxes, questions, strict=True):
        right = box.select("label[data-right=yes]")
        assert [label.get_text(strip=True) for label in right] == [question.right]
        assert all(label["data-why"] for label in box.select("label"))


def test_gift_marks_one_answer_and_escapes_what_is_special():
    for name in NAMES:
        for block in gift(read_quiz(QUIZZES / f"{name}.toml"), name).strip().split("\n\n")[1:]:
            assert len(re.findall(r"(?m)^  =", block)) == 1
            assert len(re.findall(r"(?m)^  ~", block)) >= 2
    odd = Question("y ~ 1 {x}: a = b?", "#1", (("c", "d"), ("e", "f")), "g", "True")
    assert r"y \~ 1 \{x\}\: a \= b?" in gift([odd], "odd")
    assert r"  =\#1 # g" in gift([odd], "odd")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[question]]\ntext = "a"\n', "question 1: 'wrong' is missing"),
        (
            '[[question]]\ntext = "a"\nright = "b"\nwrong = [["b", "c"]]\nwhy = "d"\nshows = "e"\n',
            "three different answers",
        ),
    ],
)
def test_what_is_missing_is_named(tmp_path, text, message):
    (tmp_path / "quiz.toml").write_text(text)
    with pytest.raises(SiteError, match=re.escape(message)):
        read_quiz(tmp_path / "quiz.toml")
