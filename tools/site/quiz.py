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
from html import escape
from pathlib import Path

from bs4 import BeautifulSoup

from tools import ROOT
from tools.site.pages import Page, SiteError

QUIZZES = ROOT / "book" / "quiz"
_FOLDER = "downloads"


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
    SiteError
        If a question lacks something, or has two answers alike.
    """
    questions = []
    for number, table in enumerate(tomllib.loads(path.read_text(encoding="utf-8"))["question"], 1):
        try:
            wrong = tuple((text, why) for text, why in table["wrong"])
            question = Question(table["text"], table["right"], wrong, table["why"], table["shows"])
        except (KeyError, ValueError) as error:
            raise SiteError(f"{path.stem}, question {number}: {error} is missing or odd") from error
        texts = [text for text, *_ in question.answers()]
        if len(set(texts)) < len(texts) or len(wrong) < 2:
            raise SiteError(f"{path.stem}, question {number}: three different answers are needed")
        questions.append(question)
    return questions


# --- On the page ---------------------------------------------------------------------------------


def offer_quiz(html: BeautifulSoup, page: Page, *, quizzes: Path = QUIZZES) -> None:
    """Put a chapter's quiz at the end of its page, and a file for learning platforms beside."""
    path = quizzes / f"{page.path.stem}.toml"
    if page.path.parent != page.site / "book" or not path.is_file():
        return
    place = html.select_one("article.bd-article > section")
    if place is None or html.head is None:
        raise SiteError(f"{page.path.name} has no place for a quiz")
    questions, file = read_quiz(path), page.site / _FOLDER / f"quiz-{path.stem}.gift"
    file.parent.mkdir(exist_ok=True)
    file.write_text(gift(questions, path.stem), encoding="utf-8")
    place.append(BeautifulSoup(write_quiz(questions, file.name), "html.parser"))
    html.head.append(html.new_tag("script", src=page.up("_static/quiz.js"), defer=""))


def write_quiz(questions: list[Question], download: str) -> str:
    """Write a quiz in HTML: without scripts, its comments are there to be opened."""
    boxes = "\n".join(_box(number, question) for number, question in enumerate(questions, start=1))
    keys = "".join(f"<li>{escape(f'{one.right}. {one.why}')}</li>" for one in questions)
    return f"""\
<section id="quiz" class="quiz d-print-none">
<h2>Quiz</h2>
<p class="score" role="status">{len(questions)} questions; choose an answer, and it says whether \
it is right.</p>
{boxes}
<details><summary>All answers</summary><ol>{keys}</ol></details>
<p><a href="../{_FOLDER}/{download}" download="{download}">The quiz for Moodle and other platforms \
(GIFT)</a></p>
</section>"""


def _box(number: int, question: Question) -> str:
    answers = "".join(
        f'<label data-right="{"yes" if right else "no"}" data-why="{escape(why)}">'
        f'<input type="radio" value="{position}" name="question-{number}"> {escape(text)}</label>'
        for position, (text, right, why) in enumerate(question.answers())
    )
    return (
        f"<fieldset><legend>{number}. {escape(question.text)}</legend>{answers}"
        '<p class="comment" role="status"></p></fieldset>'
    )


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
