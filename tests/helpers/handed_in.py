"""Hand-ins as students make them, good and odd, from a course's notebook."""

import copy
import re
import zipfile
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell

_SOLUTION = re.compile(r"### (BEGIN|END) SOLUTION\n?")
_HIDDEN = re.compile(r"\n### BEGIN HIDDEN TESTS.*?### END HIDDEN TESTS", re.DOTALL)


def name(cell):
    return cell.metadata.get("nbgrader", {}).get("grade_id", "")


def answer(notebook, label):
    return next(cell for cell in notebook.cells if name(cell) == label)


def solved(course):
    """Return what a student hands in who has solved everything."""
    notebook = copy.deepcopy(course)
    for cell in notebook.cells:
        cell.source = _HIDDEN.sub("", _SOLUTION.sub("", cell.source))
    return notebook


def wrong(notebook, label):
    answer(notebook, label).source += "\nplan_sheets = 1.0"


def copied(notebook, label):
    cell = copy.deepcopy(answer(notebook, label))
    cell["id"] = "copied-cell"
    notebook.cells.insert(notebook.cells.index(answer(notebook, label)) + 1, cell)


def stripped(notebook, _):
    for cell in notebook.cells:
        cell.metadata.pop("nbgrader", None)


def retyped(notebook, label):
    cell = answer(notebook, label)
    cell["cell_type"] = "markdown"
    cell.pop("outputs", None)
    cell.pop("execution_count", None)


def other_kernel(notebook, _):
    notebook.metadata["kernelspec"] = {"display_name": "x", "language": "python", "name": "x"}


def deleted(notebook, label):
    notebook.cells = [cell for cell in notebook.cells if name(cell) != label]


def edited_check(notebook, label):
    answer(notebook, f"{label}-check-1").source = 'print("fine")'


def ends_python(notebook, label):
    answer(notebook, label).source = "exit()"


def spies(notebook, label):
    """Look for other hand-ins and the grade book, write where nothing may be written, call home."""
    answer(notebook, label).source = (
        "import pathlib, socket\n"
        "found = []\n"
        "for place in ('../..', '../../../source', '../../../gradebook.db'):\n"
        "    try:\n"
        "        path = pathlib.Path(place)\n"
        "        found.append(path.read_bytes() if path.is_file() else list(path.iterdir()))\n"
        "    except OSError:\n"
        "        pass\n"
        "try:\n"
        "    pathlib.Path('../../../gradebook.db').write_bytes(b'')\n"
        "    found.append('written')\n"
        "except OSError:\n"
        "    pass\n"
        "try:\n"
        "    socket.create_connection(('127.0.0.1', 9), timeout=1)\n"
        "except PermissionError:\n"
        "    pass\n"
        "except OSError:\n"
        "    found.append('network')\n"
        "try:\n"
        "    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))\n"
        "    found.append('network')\n"
        "except PermissionError:\n"
        "    pass\n"
        "assert not found, found\n" + answer(notebook, label).source
    )


def extra_cells(notebook, label):
    place = notebook.cells.index(answer(notebook, label))
    notebook.cells.insert(place, new_code_cell("a_note_of_mine = 1"))


def put(notebook, folder: Path, filename: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, folder / filename)


def put_zip(notebook, archive: Path, filename: str) -> None:
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr(f"homework/{filename}", nbformat.writes(notebook))
