"""Quizzes: one source for the page, for learning platforms, and for the test of every key.

`book/quiz/NN-name.toml` has a table `question` for each question of a chapter:

    text    the question, in plain words
    right   the right answer
    wrong   [[an answer that is wrong, why it tempts and what is wrong with it], ...]
    why     why the right answer is right
    shows   code that computes the key: a string that must be `right`, or a condition that must hold

`tests/site/test_quiz.py` runs that code, and says which fits it sees.
"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path

from bs4 import BeautifulSoup, Tag

from tools import ROOT

QUIZZES = ROOT / "book" / "quiz"
_SCRIPT, _FOLDER = "_static/quiz.js", "downloads"


class QuizError(Exception):
    """A quiz that cannot be used; the message names the question."""


@dataclass(frozen=True)
class Question:
    """A question with one right answer."""

    text: str
    right: str
    wrong: tuple[tuple[str, str], ...]
    why: str
    shows: str

    def answers(self) -> list[tuple[str, bool, str]]:
        """Return the answers in the order in which they are shown: text, right or not, comment."""
        given = [(self.right, True, self.why), *((text, False, why) for text, why in self.wrong)]
        return sorted(given, key=lambda answer: _order(answer[0]))


def _order(text: str) -> tuple[float, str]:
    """Order numbers by size and words at random, but always alike: the order says nothing."""
    try:
        return float(text.split()[0].replace(",", "").strip("%")), text
    except ValueError:
        return float("inf"), hashlib.sha256(text.encode()).hexdigest()


def read_quiz(path: Path) -> list[Question]:
    """Read the quiz of a chapter.

    Raises
    ------
    QuizError
        If a question lacks something, or has two answers alike.
    """
    questions = []
    for number, table in enumerate(tomllib.loads(path.read_text(encoding="utf-8"))["question"], 1):
        try:
            wrong = tuple((text, why) for text, why in table["wrong"])
            question = Question(table["text"], table["right"], wrong, table["why"], table["shows"])
        except (KeyError, ValueError) as error:
            raise QuizError(f"{path.stem}, question {number}: {error} is missing or odd") from error
        texts = [text for text, *_ in question.answers()]
        if len(set(texts)) < len(texts) or len(wrong) < 2:
            raise QuizError(f"{path.stem}, question {number}: three different answers are needed")
        questions.append(question)
    return questions


# --- On the page ---------------------------------------------------------------------------------


def offer_quizzes(site: Path, quizzes: Path = QUIZZES) -> None:
    """Put each chapter's quiz at the end of its page, and a file for learning platforms beside."""
    for path in sorted(quizzes.glob("*.toml")):
        page = site / "book" / f"{path.stem}.html"
        if page.is_file():
            questions = read_quiz(path)
            name = f"quiz-{path.stem}.gift"
            (site / _FOLDER).mkdir(exist_ok=True)
            (site / _FOLDER / name).write_text(gift(questions, path.stem), encoding="utf-8")
            _show(page, questions, name)


def _show(page: Path, questions: list[Question], name: str) -> None:
    html = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    place = html.select_one("article.bd-article > section")
    if not isinstance(place, Tag) or html.head is None:
        raise QuizError(f"{page.name} has no place for a quiz")
    place.append(BeautifulSoup(write_quiz(questions, name), "html.parser"))
    html.head.append(html.new_tag("script", src=f"../{_SCRIPT}", defer=""))
    page.write_text(str(html), encoding="utf-8")


def write_quiz(questions: list[Question], download: str) -> str:
    """Write a quiz in HTML: without scripts, its comments are there to be opened."""
    html = BeautifulSoup("", "html.parser")
    quiz = html.new_tag("section", attrs={"id": "quiz", "class": "quiz d-print-none"})
    quiz.append(html.new_tag("h2", string="Quiz"))
    line = html.new_tag("p", attrs={"class": "score", "role": "status"})
    line.string = f"{len(questions)} questions; choose an answer, and it says whether it is right."
    quiz.append(line)
    for number, question in enumerate(questions, start=1):
        box = html.new_tag("fieldset")
        box.append(html.new_tag("legend", string=f"{number}. {question.text}"))
        for position, (text, right, why) in enumerate(question.answers()):
            label = html.new_tag("label")
            label["data-right"] = "yes" if right else "no"
            label["data-why"] = why
            choice = html.new_tag("input", attrs={"type": "radio", "value": str(position)})
            choice["name"] = f"question-{number}"
            label.extend([choice, f" {text}"])
            box.append(label)
        comment = html.new_tag("p", attrs={"class": "comment", "role": "status"})
        box.append(comment)
        quiz.append(box)
    keys = html.new_tag("details")
    keys.append(html.new_tag("summary", string="All answers"))
    answers = html.new_tag("ol")
    for question in questions:
        answers.append(html.new_tag("li", string=f"{question.right}. {question.why}"))
    keys.append(answers)
    quiz.append(keys)
    line = html.new_tag("p")
    link = html.new_tag("a", href=f"../{_FOLDER}/{download}", attrs={"download": download})
    link.string = "The quiz for Moodle and other platforms (GIFT)"
    line.append(link)
    quiz.append(line)
    return str(quiz)


def gift(questions: list[Question], chapter: str) -> str:
    """Write a quiz in GIFT, which Moodle and others import and grade.

    The format: https://docs.moodle.org/en/GIFT_format
    """
    blocks = [f"$CATEGORY: Mixed Models in Python/{chapter}"]
    for number, question in enumerate(questions, start=1):
        lines = [f"::{chapter} {number}:: {_escape(question.text)} {{"]
        for text, right, why in question.answers():
            lines.append(f"  {'=' if right else '~'}{_escape(text)} # {_escape(why)}")
        blocks.append("\n".join([*lines, "}"]))
    return "\n\n".join(blocks) + "\n"


def _escape(text: str) -> str:
    return "".join(f"\\{letter}" if letter in "~=#{}:" else letter for letter in text)
