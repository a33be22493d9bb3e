"""Try a chapter's homework out: unsolved, wrong and solved, in one run of its notebook."""

import ast
import textwrap
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from tools.book.execute import FALSE, reporting
from tools.homework.chapter import Chapter, Exercise
from tools.homework.notebooks import Edition, write_checks, write_notebook

GRADING = 'import os\nos.environ["NBGRADER_EXECUTION"] = "autograde"'
_READING = 'import os\nos.environ.pop("NBGRADER_EXECUTION", None)'


@dataclass(frozen=True)
class Outcome:
    """What came of one cell: its error's name and message, both empty if it ran."""

    error: str = ""
    message: str = ""


@dataclass
class Trial:
    """The outcomes of one chapter."""

    unsolved: list[tuple[bool, Outcome, str]]  # each code cell: is it a check, what came, its text
    wrong: list[tuple[str, str, list[Outcome]]]  # label, expected hint, outcomes of the checks
    solved: list[tuple[str, list[Outcome]]]  # label, outcomes of an answer and its checks
    refused: dict[str, set[str]]  # label, hidden assertions that some wrong answer makes false
    unseen: list[tuple[str, list[Outcome]]]  # as solved, of wrong answers that the check accepts


def run_trial(chapter: Chapter, client: NotebookClient, folder: Path) -> Trial:
    """Run the student's notebook, then each wrong and each right answer with its checks, graded.

    The client's kernel may have run other notebooks: it forgets their names first.
    """
    notebook = write_notebook(chapter, Edition.STUDENT)
    start = f"%reset -f\n%xmode Minimal\n%cd -q {folder}\n{_READING}"
    notebook.cells.insert(0, new_code_cell(start))
    unsolved = [cell for cell in notebook.cells if cell.cell_type == "code"]
    notebook.cells.append(new_code_cell(GRADING))
    wrong, solved, hidden, unseen = [], [], [], []
    for exercise in chapter.exercises:
        # Own data are held by hidden tests: their checks may not tell what is right.
        seen = Edition.COURSE if exercise.held else Edition.STUDENT
        for answer in (*exercise.wrong, *exercise.unseen):
            edition = seen if answer in exercise.wrong else Edition.COURSE
            cells = [new_code_cell(answer.code), *_checks(exercise, edition)]
            wrong.append((exercise.label, answer.hint, cells))
            hidden.append((exercise.label, new_code_cell(_hidden_alone(exercise))))
        for answer in exercise.unseen:
            cells = [new_code_cell(answer.code), *_checks(exercise, Edition.STUDENT)]
            unseen.append((exercise.label, cells))
        for code in [*exercise.right, exercise.code] if exercise.code else []:
            cells = [new_code_cell(code), *_checks(exercise, Edition.COURSE)]
            solved.append((exercise.label, cells))
    for (*_, cells), (_, alone) in zip(wrong, hidden, strict=True):
        notebook.cells += [*cells, alone]
    notebook.cells += [cell for _, cells in unseen + solved for cell in cells]
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    client.nb = notebook
    client.execute(cleanup_kc=False)
    return Trial(
        [(_is_check(cell), _outcome(cell), _printed(cell)) for cell in unsolved],
        [(label, hint, [_outcome(cell) for cell in cells]) for label, hint, cells in wrong],
        [(label, [_outcome(cell) for cell in cells]) for label, cells in solved],
        {
            exercise.label: {
                line
                for label, cell in hidden
                if label == exercise.label
                for line in _printed(cell).splitlines()
            }
            for exercise in chapter.exercises
        },
        [(label, [_outcome(cell) for cell in cells]) for label, cells in unseen],
    )


def complaints(trial: Trial, *, only_stopped: Collection[str] = ()) -> list[str]:
    """Tell where homework misbehaves.

    Unsolved, nothing fails, and exactly the checks say that something is not defined yet. A wrong
    answer fails with its hint; a right one passes. A check fails by an assertion that explains
    itself, never by another error. In `only_stopped` a wrong answer must fail, with whatever
    message: on own data the check cannot say what it should be.
    """
    found = []
    for number, (is_check, outcome, printed) in enumerate(trial.unsolved, start=1):
        if outcome.error or is_check != ("Not defined yet" in printed or "Not defined:" in printed):
            found.append(f"unsolved, code cell {number}: {outcome} {printed}")
    for label, hint, (answer, *checks) in trial.wrong:
        failed = [outcome for outcome in checks if outcome.error]
        told = "" if label in only_stopped else hint
        if answer.error or not any(told in outcome.message for outcome in failed):
            found.append(f"{label}, wrong answer that deserves {hint!r}: {answer}, {failed}")
        if any(
            outcome.error != "AssertionError" or "could not use" in outcome.message
            for outcome in failed
        ):
            found.append(f"{label}, wrong answer that crashes: {failed}")
    for label, outcomes in trial.solved:
        if any(outcome.error for outcome in outcomes):
            found.append(f"{label}, solved: {outcomes}")
    return found


def toothless(chapter: Chapter, trial: Trial) -> list[str]:
    """Name the hidden assertions that hold for every wrong answer of their exercise.

    Answers listed as unseen must pass the check, so that it is the hidden test that refuses them.
    """
    seen = [
        f"{label}: the check refuses what is listed as unseen: {outcomes}"
        for label, outcomes in trial.unseen
        if any(outcome.error for outcome in outcomes)
    ]
    return seen + [
        f"{exercise.label}: no wrong answer makes this hidden test fail: {ast.unparse(node.test)}"
        for exercise in chapter.exercises
        for node in ast.walk(ast.parse(exercise.hidden))
        if isinstance(node, ast.Assert)
        and FALSE + ast.unparse(ast.Assert(node.test)) not in trial.refused[exercise.label]
    ]


def _hidden_alone(exercise: Exercise) -> str:
    """Return the hidden tests, each reporting that it fails; an answer may also break them."""
    tests = textwrap.indent(reporting(exercise.hidden) or "pass", "    ")
    return f"try:\n{tests}\nexcept Exception:\n    pass"


def _checks(exercise, edition):
    return [new_code_cell(code) for _, _, code in write_checks(exercise, edition)]


def _is_check(cell: NotebookNode) -> bool:
    return cell.metadata.get("nbgrader", {}).get("grade", False)


def _printed(cell: NotebookNode) -> str:
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def _outcome(cell: NotebookNode) -> Outcome:
    for output in cell.outputs:
        if output.output_type == "error":
            return Outcome(output.ename, output.evalue)
    return Outcome()
