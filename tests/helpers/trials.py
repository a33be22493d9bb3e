"""Try a chapter's homework out: unsolved, wrong and solved, in one run of its notebook."""

import ast
from dataclasses import dataclass
from pathlib import Path

from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

from tools.book.execute import FALSE, reporting
from tools.homework.chapter import Chapter
from tools.homework.notebooks import Edition, write_answer, write_check, write_notebook


@dataclass(frozen=True)
class Outcome:
    """What came of one cell: its error's name and message, both empty if it ran."""

    error: str = ""
    message: str = ""


@dataclass
class Trial:
    """The outcomes of one chapter."""

    unsolved: list[tuple[bool, Outcome]]  # each code cell: whether it is a check, and its outcome
    wrong: list[tuple[str, str, Outcome]]  # label, expected hint, outcome of the check
    stopped: dict[str, set[str]]  # label: the hidden assertions that fail on some wrong answer
    solved: list[tuple[str, Outcome, Outcome]]  # label, outcomes of the solution and of the check


def run_trial(chapter: Chapter, client: NotebookClient, folder: Path) -> Trial:
    """Run the student's notebook, then each wrong answer and each solution with its check.

    The client's kernel may have run other notebooks: it forgets their names first.
    """
    notebook = write_notebook(chapter, Edition.STUDENT)
    notebook.cells.insert(0, new_code_cell(f"%reset -f\n%xmode Minimal\n%cd -q {folder}"))
    unsolved = [cell for cell in notebook.cells if cell.cell_type == "code"]
    wrong, solved, hidden = [], [], []
    added = []
    for exercise in chapter.exercises:
        check = write_check(exercise, Edition.COURSE)
        visible = write_check(exercise, Edition.STUDENT)
        for answer in exercise.wrong:
            cells = [new_code_cell(code) for code in (answer.code, visible, _told(exercise.hidden))]
            wrong.append((exercise.label, answer.hint, cells[1]))
            hidden.append((exercise.label, cells[2]))
            added += cells
        if exercise.code:
            cells = [
                new_code_cell(write_answer(exercise, Edition.SOLUTION)),
                new_code_cell(check),
            ]
            solved.append((exercise.label, *cells))
            added += cells
    notebook.cells += added
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    client.nb = notebook
    client.execute(cleanup_kc=False)
    return Trial(
        [(_is_check(cell), _outcome(cell)) for cell in unsolved],
        [(label, hint, _outcome(cell)) for label, hint, cell in wrong],
        {
            exercise.label: {
                line for label, cell in hidden if label == exercise.label for line in _lines(cell)
            }
            for exercise in chapter.exercises
        },
        [(label, _outcome(answer), _outcome(check)) for label, answer, check in solved],
    )


def complaints(trial: Trial) -> list[str]:
    """Tell where homework misbehaves.

    Unsolved, exactly the checks fail; a wrong answer fails with its hint; a solution passes. A
    check fails by an assertion, which explains itself, never by another error.
    """
    found = []
    for number, (is_check, outcome) in enumerate(trial.unsolved, start=1):
        if outcome.error != ("AssertionError" if is_check else ""):
            found.append(f"unsolved, code cell {number}: {outcome}")
    for label, hint, outcome in trial.wrong:
        if outcome.error != "AssertionError" or hint not in outcome.message:
            found.append(f"{label}, wrong answer that deserves {hint!r}: {outcome}")
    for label, answer, check in trial.solved:
        if answer.error or check.error:
            found.append(f"{label}, solved: {answer}, {check}")
    return found


def weak(chapter: Chapter, trial: Trial) -> list[str]:
    """Name the hidden assertions that no listed wrong answer fails: they might as well be true."""
    return [
        f"{exercise.label}: no wrong answer in homework/{chapter.name}.toml fails `{assertion}`"
        for exercise in chapter.exercises
        for assertion in hidden_assertions(exercise.hidden)
        if assertion not in trial.stopped[exercise.label]
    ]


def hidden_assertions(code: str) -> list[str]:
    """Return the assertions of a hidden test, without their messages, as a trial reports them."""
    found = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Assert)]
    return [ast.unparse(ast.Assert(test=node.test)) for node in found]


def _told(hidden: str) -> str:
    """Return a hidden test whose assertions tell when they fail; one that breaks fails, too."""
    asserted = hidden_assertions(hidden)
    telling = "\n".join(f"    print({line!r})" for line in asserted) or "    pass"
    body = "\n".join(f"    {line}" for line in reporting(hidden).splitlines()) or "    pass"
    return f"try:\n{body}\nexcept Exception:\n{telling}"


def _lines(cell):
    printed = "".join(output.get("text", "") for output in cell.outputs)
    return [line.removeprefix(FALSE) for line in printed.splitlines()]


def _is_check(cell):
    return cell.metadata.get("nbgrader", {}).get("grade", False)


def _outcome(cell):
    for output in cell.outputs:
        if output.output_type == "error":
            return Outcome(output.ename, output.evalue)
    return Outcome()
