"""A data set for each student, simulated from the model fitted to the original data.

`homework/own-data.toml` has a table for each data set: the `formula` of the model, the `response`
and the `decimals` to which it is rounded, as in the original. The draw depends on nothing but the
salt of the course, the student's id and the name of the data set: it can be made again at any
time, and nobody who lacks the salt can guess it.
"""

from __future__ import annotations

import csv
import hashlib
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

import mmlib as mm
from tools.homework.chapter import Cell, Chapter, Exercise
from tools.homework.parts import DATASET
from tools.homework.text import HomeworkError

ID_COLUMN = "id"
_INTRODUCTION = """\
**Your own data.** The data beside this notebook ({files}) were simulated for you, from the model
that was fitted to the original ones. The code below is the chapter's and runs on your data. The
numbers in the text of the chapter are those of the original data: yours differ."""
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}(?<!\.)")
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
_ATTEMPTS = 1000
_SMALLEST_THETA = 0.4  # standard deviations relative to the residual's


@dataclass(frozen=True)
class OwnData:
    """How a data set is simulated."""

    name: str
    formula: str
    response: str
    decimals: int

    def draw(self, student: str, salt: str) -> pd.DataFrame:
        """Draw a student's data: the original with a simulated response.

        Responses whose fit lies at the boundary, or close to it, are drawn again, because the
        exercises would have nothing to find.
        """
        data = mm.load_dataset(self.name)
        fit = mm.lmm(self.formula, data)
        rng = np.random.default_rng(_seed(salt, student, self.name))
        for _ in range(_ATTEMPTS):
            response = fit.simulate(rng=rng)[0].round(self.decimals)
            if min(fit.refit(response).theta) >= _SMALLEST_THETA:
                return data.assign(**{self.response: response})
        raise HomeworkError(f"{self.name}: no usable data in {_ATTEMPTS} draws from {self.formula}")

    def write(self, student: str, salt: str, folder: Path) -> Path:
        """Write a student's data as a file that the student's notebooks read; return its path."""
        path = folder / f"{self.name}.csv"
        self.draw(student, salt).to_csv(path, index=False, lineterminator="\n")
        return path

    def reading_code(self) -> str:
        """Return the expression by which a notebook reads the file."""
        data = mm.load_dataset(self.name)
        factors = data.select_dtypes("category")
        types = ", ".join(
            f'"{name}": pd.CategoricalDtype({list(map(str, column.cat.categories))})'
            for name, column in factors.items()
        )
        return f'pd.read_csv("{self.name}.csv", dtype={{{types}}})'


def read_own_data(path: Path) -> list[OwnData]:
    """Read how each data set is simulated."""
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    return [OwnData(name, **table) for name, table in tables.items()]


def read_students(path: Path, column: str = "") -> list[str]:
    """Read the ids of the students from a CSV file, whatever separates its columns.

    Parameters
    ----------
    path : Path
        The file; commas, semicolons and tabs are understood.
    column : str
        The column with the ids, `id` if it is not named.

    Raises
    ------
    HomeworkError
        If there is no such file or column, or if ids are missing, repeated or no names of files.
    """
    column = column or ID_COLUMN
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            separator = max(",;\t", key=first.count)
            rows = csv.DictReader(file, delimiter=separator)
            columns = rows.fieldnames or []
            if column not in columns:
                found = ", ".join(columns) or "nothing"
                raise HomeworkError(
                    f"{path}: no column {column!r}; the first line has {found}."
                    " Name the column with the ids: COLUMN=... or --column"
                )
            ids = [(row[column] or "").strip() for row in rows]
    except OSError as error:
        raise HomeworkError(f"{path}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise HomeworkError(f"{path}: not a CSV file in UTF-8 ({error})") from error
    if not ids:
        raise HomeworkError(f"{path}: no students below the first line")
    for number, student in enumerate(ids, start=1):
        if not student:
            raise HomeworkError(f"{path}: student {number} has an empty id")
        if not _SAFE.fullmatch(student):
            raise HomeworkError(
                f"{path}: {student!r} cannot name a folder: use letters, digits, '-', '_' and '.',"
                " begin with a letter or digit, at most 64"
            )
        if _RESERVED.fullmatch(student):
            raise HomeworkError(f"{path}: {student!r} cannot name a folder on Windows")
    # Some file systems take Anna and anna for the same folder.
    counts = Counter(student.lower() for student in ids)
    if repeated := [student for student in ids if counts[student.lower()] > 1]:
        raise HomeworkError(f"{path}: not unique: {', '.join(dict.fromkeys(repeated))}")
    return ids


def fingerprint(salt: str) -> str:
    """Return what tells two salts apart and says nothing about either."""
    return hashlib.scrypt(salt.encode(), salt=b"mixed models", n=2**14, r=8, p=1, dklen=6).hex()


def with_own_data(chapter: Chapter, own_data: list[OwnData]) -> Chapter:
    """Return the chapter as it is for a student's own data.

    What remains is true of any data: headings, code, and the exercises that suit. Hidden tests hold
    a notebook to the file beside it, which `tools/homework/collect.py` makes anew.
    """
    used = {data.name: data.reading_code() for data in own_data if data.name in _datasets(chapter)}
    held = "\n".join(
        f"assert {name}[{data.response!r}].tolist() == {data.reading_code()}[{data.response!r}]"
        f'.tolist(), "the data are not those of this student"'
        for data in own_data
        for name in _frames(chapter, data.name)
    )
    files = " and ".join(f"`{name}.csv`" for name in used)
    introduction = f"# {chapter.title}\n\n{_INTRODUCTION.format(files=files)}"
    return replace(
        chapter,
        parts=(
            Cell("text", introduction),
            *(kept for part in chapter.parts for kept in _own_part(part, used, held)),
        ),
    )


def uses(chapter: Chapter, own_data: list[OwnData]) -> bool:
    """Tell whether a chapter works on data that students can have of their own."""
    return chapter.own and bool(_datasets(chapter) & {data.name for data in own_data})


def _own_part(
    part: Cell | Exercise, reading: dict[str, str], held: str
) -> Iterator[Cell | Exercise]:
    if isinstance(part, Exercise):
        if part.own:
            hidden = f"{part.hidden}\n{part.own_hidden}".strip()
            yield replace(part, check=part.own_check or part.check, hidden=hidden, held=held)
    elif part.kind == "code":
        code = DATASET.sub(lambda found: reading.get(found[1], found[0]), part.source)
        yield replace(part, source=code, caption="")
    elif headings := [line for line in part.source.splitlines() if line.startswith("##")]:
        yield Cell("text", "\n\n".join(headings))


def _codes(chapter: Chapter) -> list[str]:
    return [part.source for part in chapter.parts if isinstance(part, Cell) and part.kind == "code"]


def _datasets(chapter: Chapter) -> set[str]:
    return {name for code in _codes(chapter) for name in DATASET.findall(code)}


def _frames(chapter: Chapter, dataset: str) -> list[str]:
    """Name the frames that the chapter's own code makes of a data set, nothing else done to it."""
    assigned = rf'(?m)^(\w+) = mm\.load_dataset\("{dataset}"\)$'
    found = (name for code in _codes(chapter) for name in re.findall(assigned, code))
    return list(dict.fromkeys(found))


def _seed(*parts: str) -> np.random.SeedSequence:
    text = "\0".join(parts).encode()
    return np.random.SeedSequence(int.from_bytes(hashlib.sha256(text).digest(), "big"))
