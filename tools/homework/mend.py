"""Mend what editors and browsers do to a notebook, so that nbgrader knows its cells again.

nbgrader finds a cell by the name in its metadata. Copying a cell doubles the name, some editors
drop it, and a change of type hides the answer. What is mended here runs as it ran for the student:
the same code in the same order. What cannot be mended without guessing is told, and left as it is.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from nbformat import NotebookNode

_ENDS_KERNEL = re.compile(r"(?m)^\s*(exit|quit)\s*\(|os\._exit\s*\(|os\.kill\s*\(")
_HEADING = re.compile(r"### (Exercise [\d.]+)")
_HIDDEN = re.compile(r"\n### BEGIN HIDDEN TESTS.*?### END HIDDEN TESTS", re.DOTALL)


@dataclass(frozen=True)
class Finding:
    """Something in a hand-in: what it is, what was done, what the student should know."""

    what: str
    done: str = ""
    tell: str = ""

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.what}; {self.done}" if self.done else f"{self.what}: NOT MENDED"


@dataclass(frozen=True)
class Model:
    """A graded cell of the course: what it should be."""

    name: str
    exercise: str
    kind: str  # "code" or "markdown"
    answers: bool
    source: str
    grading: dict[str, object]  # the metadata by which nbgrader knows it


def mend(handed_in: NotebookNode, course: NotebookNode) -> list[Finding]:
    """Mend a notebook in place and return what was found.

    Parameters
    ----------
    handed_in : NotebookNode
        What a student has handed in.
    course : NotebookNode
        The notebook of the course, as in its folder `source`.
    """
    models = list(graded_cells(course))
    return [
        *_mend_copies(handed_in, models),
        *_mend_types(handed_in, models),
        *_mend_lost(handed_in, models),
        *_compare_checks(handed_in, models),
        *_warn(handed_in, models),
    ]


def graded_cells(course: NotebookNode) -> Iterator[Model]:
    """Yield the graded cells of a notebook of the course, without the tests that are hidden."""
    exercise = ""
    for cell in course.cells:
        if found := _HEADING.match(cell.source):
            exercise = found[1]
        if grading := cell.metadata.get("nbgrader"):
            shown = _HIDDEN.sub("", cell.source)
            answers, kind = grading["solution"], cell.cell_type
            place = exercise or "the first cells"
            yield Model(grading["grade_id"], place, kind, answers, shown, dict(grading))


def _mend_copies(notebook: NotebookNode, models: list[Model]) -> Iterator[Finding]:
    """Leave its name to the last of several copies, as nbgrader would, with all that is written."""
    for model in models:
        same = [cell for cell in notebook.cells if _name(cell) == model.name]
        if len(same) < 2:
            continue
        *copies, last = same
        for cell in copies:
            del cell.metadata["nbgrader"]
        if model.kind == "markdown":
            last.source = "\n\n".join(dict.fromkeys(cell.source for cell in same))
        yield Finding(
            f"{model.exercise}: {len(same)} cells are copies of one",
            "all run in their order, the last is taken for the answer",
            f"In {model.exercise} you copied a cell that is graded. Add new cells instead.",
        )


def _mend_types(notebook: NotebookNode, models: list[Model]) -> Iterator[Finding]:
    kinds = {model.name: model for model in models}
    for cell in notebook.cells:
        model = kinds.get(_name(cell))
        if model is not None and cell.cell_type != model.kind:
            what = f"{model.exercise}: a cell of {model.kind} was turned into {cell.cell_type}"
            _turn(cell, model.kind)
            word = "code" if model.kind == "code" else "text"
            yield Finding(
                what,
                "turned back",
                f"In {model.exercise} you changed the type of a cell; it is {word} again.",
            )


def _turn(cell: NotebookNode, kind: str) -> None:
    cell["cell_type"] = kind
    if kind == "code":
        cell["outputs"], cell["execution_count"] = [], None
    else:
        cell.pop("outputs", None)
        cell.pop("execution_count", None)
    cell.pop("attachments", None)


def _mend_lost(notebook: NotebookNode, models: list[Model]) -> Iterator[Finding]:
    """Name again the cells that have lost their names; what is deleted stays deleted."""
    present = {_name(cell) for cell in notebook.cells}
    lost = [model for model in models if model.name not in present]
    found, gone = [], []
    for model in lost:
        cell = _find(notebook, model)
        if cell is None:
            gone.append(model)
            continue
        if cell.cell_type != model.kind:
            _turn(cell, model.kind)
        cell.metadata["nbgrader"] = dict(model.grading)
        found.append(model)
    if found:
        yield Finding(
            f"{len(found)} graded cells had lost their metadata",
            "found again by their text and place",
            "Your editor dropped the metadata by which your answers are found. They were found"
            " again; next time hand in the notebook that you were given, edited in Jupyter.",
        )
    answers = sorted({model.exercise for model in gone if model.answers})
    if answers:
        yield Finding(
            f"no answer cell in {', '.join(answers)}",
            tell=f"The place for the answer is missing in {', '.join(answers)}: did you delete it?"
            " Please put your answer into the notebook that you were given, and hand in again.",
        )


def _find(notebook: NotebookNode, model: Model) -> NotebookNode | None:
    """Find the cell that was a graded one: a check by its text, an answer by its place."""
    if not model.answers:
        same = (
            c for c in notebook.cells if not _name(c) and _bare(c.source) == _bare(model.source)
        )
        return next(same, None)
    free = [cell for cell in _section(notebook, model.exercise) if not _name(cell)]
    if model.kind == "code":
        stub = model.source.split("### BEGIN SOLUTION")[0].strip()
        marked = [cell for cell in free if stub and _bare(stub) in _bare(cell.source)]
        code = [
            c for c in free if c.cell_type == "code" and not c.source.startswith("with marking(")
        ]
        return next(iter(reversed(marked or code)), None)
    texts = [cell for cell in free if cell.cell_type == "markdown"]
    if len(texts) > 1:  # one answer in several cells
        texts[0].source = "\n\n".join(cell.source for cell in texts)
        for cell in texts[1:]:
            cell.source = ""
    return texts[0] if texts else None


def _section(notebook: NotebookNode, exercise: str) -> list[NotebookNode]:
    """List the cells between the question of an exercise and the next heading."""
    inside, cells = False, []
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and re.match(r"#{1,3} ", cell.source):
            found = _HEADING.match(cell.source)
            inside = found is not None and found[1] == exercise
        elif inside:
            cells.append(cell)
    return cells


def _compare_checks(notebook: NotebookNode, models: list[Model]) -> Iterator[Finding]:
    """Tell which checks are no longer what was handed out; nbgrader puts its own in their place."""
    present = {_name(cell): cell.source for cell in notebook.cells}
    changed = [
        model
        for model in models
        if model.grading["grade"]
        and not model.answers
        and _bare(present.get(model.name, model.source)) != _bare(model.source)
    ]
    if changed:
        places = ", ".join(sorted({model.exercise for model in changed}))
        yield Finding(
            f"{len(changed)} checks are not those of this course ({places})",
            "graded by the course's own",
            f"In {places} the checks are not those that you were given. Your answers are graded by"
            " the original ones.",
        )


def _warn(notebook: NotebookNode, models: list[Model]) -> Iterator[Finding]:
    answers = {model.name: model.exercise for model in models if model.answers}
    for cell in notebook.cells:
        place = answers.get(_name(cell), "a cell of the student's own")
        if cell.cell_type != "code":
            continue
        if _ENDS_KERNEL.search(cell.source):
            yield Finding(
                f"{place} ends Python: nothing after it is graded",
                tell=f"{place} ends Python, so that nothing after it can be graded: take that out.",
            )
        if _name(cell) not in {m.name for m in models if not m.answers} and _rebinds(cell.source):
            yield Finding(f"{place} changes how answers are marked: look at it")


def _rebinds(code: str) -> bool:
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return "marking" in code
    return any(
        getattr(node, "id", getattr(node, "name", getattr(node, "attr", ""))) == "marking"
        for node in ast.walk(tree)
    )


def _name(cell: NotebookNode) -> str:
    return str(cell.metadata.get("nbgrader", {}).get("grade_id", ""))


def _bare(text: str) -> str:
    return "".join(text.split())
