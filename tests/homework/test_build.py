"""`tools/homework/build.py`: what is committed, what students get, which lists are refused."""

import ast
import re

import nbformat
import numpy as np
import pytest

import mmlib as mm
from tools import ROOT
from tools.homework import build as homework
from tools.homework.chapter import Cell, read_book
from tools.homework.notebooks import CODE_STUB, TEXT_STUB, Edition, write_answer, write_checks
from tools.homework.students import read_own_data, read_students
from tools.homework.text import HomeworkError

HOMEWORK = ROOT / "homework"


def committed(folder):
    kept = ("student/*.ipynb", "solution/*.ipynb", "course/*", "course/source/*/*")
    found = [path for pattern in kept for path in folder.glob(pattern) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_what_is_committed_is_what_the_chapters_give(chapters, tmp_path):
    homework.write_all(chapters, tmp_path)
    fresh, kept = committed(tmp_path), committed(HOMEWORK)
    assert fresh.keys() == kept.keys(), "run `make homework`"
    drifted = [name for name in fresh if fresh[name] != kept[name]]
    assert not drifted, "run `make homework`"


def test_nbgrader_leaves_the_places_that_students_know():
    settings = (homework.COURSE / "nbgrader_config.py").read_text(encoding="utf-8")
    assert CODE_STUB in settings
    assert TEXT_STUB in settings


def test_every_exercise_can_be_graded(chapters):
    complaints = []
    for exercise in (exercise for chapter in chapters for exercise in chapter.exercises):
        if exercise.code and not (exercise.points and exercise.wrong and exercise.answers):
            complaints.append(f"{exercise.label}: code needs points, wrong answers and names")
        if exercise.kind != "Computation" and not exercise.rubric:
            complaints.append(f"{exercise.label}: what a person reads needs a rubric")
        if exercise.kind == "Derivation" and not exercise.check:
            complaints.append(f"{exercise.label}: a derivation needs a numerical check")
    assert complaints == []
    assert sum(len(chapter.exercises) for chapter in chapters) >= 30


def test_students_see_neither_solutions_nor_results(chapters):
    for chapter in chapters:
        path = HOMEWORK / "student" / f"{chapter.name}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        text = "\n".join(cell.source for cell in notebook.cells)
        assert not any(cell.get("outputs") for cell in notebook.cells)
        assert "HIDDEN TESTS" not in text
        assert "SOLUTION" not in text
        for exercise in chapter.exercises:
            for hidden in [cell.source for cell in exercise.solution] + [exercise.hidden]:
                assert not hidden or hidden not in text, exercise.label


SMALL_CHAPTER = """\
---
jupytext: {text_representation: {extension: .md, format_name: myst}}
---
# A title

```{code-cell}
:tags: [remove-cell]
base = 2
assert base == 2
```

```{code-cell}
:tags: [remove-cell]
unused = 1
needed = base + 1
```

```{code-cell}
:tags: [remove-input]
"a figure that only the website has"
```

```{code-cell}
print(needed)
```

```{exercise-start} Doubling
:label: ex-double
```

*Computation.* Store twice 21 as `answer`.

```{exercise-end}
```

```{solution-start} ex-double
:label: sol-double
```

```{code-cell}
:tags: [solution]
half = 21
answer = 2 * half
```

```{code-cell}
:tags: [check]
assert answer == 42, "Twice 21 is 42."
```

```{solution-end}
```
"""
TABLE = """\
[ex-double]
points = 3
kinds = { answer = "number" }
hidden = "assert isinstance(answer, int)"
wrong = [{ old = "2 * half", new = "half", hint = "Twice" }]
"""


@pytest.fixture
def small(tmp_path):
    """Return a function that reads a book of one chapter, with a table beside it."""
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "references.bib").write_text("")

    def read(text=SMALL_CHAPTER, table=TABLE):
        (tmp_path / "book" / "01-one.md").write_text(text)
        (tmp_path / "01-one.toml").write_text(table)
        (chapter,) = read_book(tmp_path / "book", tmp_path)
        return chapter

    return read


def test_hidden_cells_go(small):
    code = [part.source for part in small().parts if isinstance(part, Cell) and part.kind == "code"]
    assert code == ["print(needed)"]


def test_the_editions_differ_in_answer_and_hidden_tests_alone(small):
    (exercise,) = small().exercises
    assert exercise.answers == ["answer"]
    answers = [write_answer(exercise, edition) for edition in Edition]
    assert answers[0] == "# Define here:\n#   answer (number)\n# Your code"
    assert answers[1] == "half = 21\nanswer = 2 * half"
    assert answers[2] == (
        "# Define here:\n#   answer (number)\n"
        "### BEGIN SOLUTION\nhalf = 21\nanswer = 2 * half\n### END SOLUTION"
    )
    student, solution, course = (write_checks(exercise, edition) for edition in Edition)
    assert student == solution
    ((name, points, code),) = student
    assert (name, points) == ("ex-double-check-1", 3)
    assert code == (
        'with marking("1.1", answer="number"):\n    assert answer == 42, "Twice 21 is 42."'
    )
    hidden = "### BEGIN HIDDEN TESTS\nassert isinstance(answer, int)\n### END HIDDEN TESTS"
    assert course == [(name, points, f"{code}\n{hidden}")]


def test_each_name_with_points_has_a_check_of_its_own(small):
    table = TABLE.replace("points = 3", "points = { half = 1, answer = 2 }")
    chapter = SMALL_CHAPTER.replace(
        "assert answer == 42", 'assert half == 21, "Half is 21."\nassert answer == 42'
    )
    (exercise,) = small(chapter, table).exercises
    checks = write_checks(exercise, Edition.STUDENT)
    assert [(name, points) for name, points, _ in checks] == [
        ("ex-double-check-1", 1),
        ("ex-double-check-2", 2),
    ]
    assert "Half is 21." in checks[0][2]
    assert "Half is 21." not in checks[1][2]


def results(code):
    """Yield what a solution computes: what is stored or returned, and is more than a name."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Assign | ast.Return) and node.value is not None:
            inner = list(ast.walk(node.value))
            if any(isinstance(one, ast.Call | ast.BinOp) for one in inner):
                yield ast.unparse(node.value)


def leaks(code, check):
    shown = {ast.unparse(n) for n in ast.walk(ast.parse(check)) if isinstance(n, ast.expr)}
    return [result for result in results(code) if result in shown]


# What the check compares is the student's own function, with the chapter's.
COMPARED = ["reml_criterion(theta) - reml_objective(theta, helmert)"]


def test_no_check_that_students_see_holds_the_solution(chapters):
    found = {
        exercise.label: leaked
        for chapter in chapters
        for exercise in chapter.exercises
        for check in (exercise.check, exercise.own_check)
        if (leaked := [one for one in leaks(exercise.code, check) if one not in COMPARED])
    }
    assert found == {}
    assert leaks("a = b + 1", "assert a == b + 1") == ["b + 1"]


def test_every_answer_says_what_it_should_be(chapters):
    for exercise in (exercise for chapter in chapters for exercise in chapter.exercises):
        assert all(exercise.kinds.get(name) for name in exercise.answers), exercise.label


@pytest.mark.parametrize(
    ("text", "table", "message"),
    [
        ((), "[ex-other]\n", "01-one.toml describes ex-other: no such exercise"),
        ((), "[ex-double]\npoint = 1\n", "ex-double: unknown point"),
        ((), "[ex-double\n", "01-one.toml: "),
        ((), TABLE.replace("2 * half", "3 * half"), "does not contain '3 * half'"),
        (("{exercise-start} Doubling", "{exercise-start} `2 x`"), "", "no exercise before it"),
        ((":tags: [check]", ":tags: [solution]"), TABLE, "ex-double: 0 check cells"),
        ((), TABLE.replace("isinstance(answer", "isinstance(half"), "hidden tests use half"),
        ((), TABLE.replace("points = 3", "points = { other = 3 }"), "points for other"),
        (
            ("half = 21", "needed = 21"),
            TABLE.replace("points = 3", "points = { needed = 1, answer = 2 }"),
            "needed: the chapter uses that name",
        ),
        ((), TABLE.replace("isinstance(answer, int)", "base == 2"), "a test of nothing"),
        (
            ("# A title", "# A title\n\nSee {doc}`02-two`."),
            TABLE,
            "{doc}`02-two` refers to nothing",
        ),
    ],
)
def test_mistakes_in_a_chapter_or_its_table_are_named(small, text, table, message):
    with pytest.raises(HomeworkError, match=re.escape(message)) as caught:
        small(SMALL_CHAPTER.replace(*text) if text else SMALL_CHAPTER, table)
    assert str(caught.value).startswith("01-one: ")


# --- Lists of students ---------------------------------------------------------------------------


def students(tmp_path, text):
    path = tmp_path / "list.csv"
    path.write_text(text, encoding="utf-8")
    return read_students(path)


def test_a_list_may_have_other_columns(tmp_path):
    assert students(tmp_path, "name,id\nAnna B.,anna\nBen,b-2.x\n") == ["anna", "b-2.x"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'id'; the first line has nothing"),
        ("name\nanna\n", "no column 'id'; the first line has name"),
        ("id\n", "no students below the first line"),
        ("id,name\nanna,A\n,B\n", "student 2 has an empty id"),
        ("id\nanna\nben\nanna\n", "not unique: anna"),
        ("id\nanna\nAnna\n", "not unique: anna, Anna"),
        ("id\n../anna\n", "'../anna' cannot name a folder"),
        ("id\nanna/ben\n", "'anna/ben' cannot name a folder"),
        ("id\n.hidden\n", "'.hidden' cannot name a folder"),
        ("id\nanna.\n", "'anna.' cannot name a folder"),
        ("id\nanna b\n", "'anna b' cannot name a folder"),
        (f"id\n{'a' * 65}\n", "cannot name a folder"),
        ("id\nCON\n", "cannot name a folder on Windows"),
        ("id\nlpt1.x\n", "cannot name a folder on Windows"),
    ],
)
def test_bad_lists_are_refused(tmp_path, text, message):
    with pytest.raises(HomeworkError, match=re.escape(message)):
        students(tmp_path, text)


def test_the_command_tells_what_is_wrong_and_writes_nothing(tmp_path, monkeypatch):
    missing, own = tmp_path / "none.csv", read_own_data(HOMEWORK / "own-data.toml")
    monkeypatch.setattr(homework, "HOMEWORK", tmp_path)
    monkeypatch.setattr(homework, "read_own_data", lambda _: own)
    command = ["--students", str(missing)]
    with pytest.raises(HomeworkError, match=r"none\.csv: cannot be read \(No such file"):
        homework.main(command)
    missing.write_text("id\nanna\n")
    with pytest.raises(HomeworkError, match="no salt"):
        homework.main(command)
    assert list(tmp_path.iterdir()) == [missing]


def test_other_separators_and_columns_are_understood(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("Name;Matrikel\nAnna;a1\nBen;b2\n", encoding="utf-8")
    assert read_students(path, "Matrikel") == ["a1", "b2"]
    with pytest.raises(HomeworkError, match="no column 'id'; the first line has Name, Matrikel"):
        read_students(path)


def test_another_salt_is_refused_and_stale_folders_go(chapters, tmp_path):
    few = [chapter for chapter in chapters if chapter.name == "01-pulp"]
    own = list(OWN_DATA.values())
    homework.write_for_students(few, own, ["anna", "ben"], "salt", tmp_path)
    with pytest.raises(HomeworkError, match="made with another salt"):
        homework.write_for_students(few, own, ["anna", "ben"], "slat", tmp_path)
    homework.write_for_students(few, own, ["anna"], "salt", tmp_path)
    assert {path.name for path in (tmp_path / "students").iterdir()} == {"anna", "anna.zip"}


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "list.csv"
    path.write_bytes(b"id\n\xff\xfe\n")
    with pytest.raises(HomeworkError, match="not a CSV file in UTF-8"):
        read_students(path)


# --- Own data ------------------------------------------------------------------------------------

OWN_DATA = {data.name: data for data in read_own_data(HOMEWORK / "own-data.toml")}


@pytest.mark.parametrize("name", OWN_DATA)
def test_own_data_depend_on_id_and_salt_alone(name):
    own = OWN_DATA[name]
    original = mm.load_dataset(name)
    drawn = own.draw("anna", "salt")
    assert drawn.equals(own.draw("anna", "salt"))
    assert not drawn.equals(own.draw("ben", "salt"))
    assert not drawn.equals(own.draw("anna", "pepper"))
    assert drawn.drop(columns=own.response).equals(original.drop(columns=own.response))
    assert np.allclose(drawn[own.response], drawn[own.response].round(own.decimals))


def test_own_data_come_from_the_fitted_model():
    own = OWN_DATA["pulp"]
    fit = mm.lmm(own.formula, mm.load_dataset("pulp"))
    layouts = [
        mm.oneway("bright ~ operator", own.draw(f"s{number}", "salt")) for number in range(60)
    ]
    mse = np.array([layout.mse for layout in layouts])
    assert abs(mse.mean() - fit.sigma**2) < 4 * mse.std() / np.sqrt(60)
    assert min(layout.f for layout in layouts) > 1.5, "data with nothing to find are drawn again"


def test_a_model_that_cannot_give_usable_data_is_an_error(monkeypatch):
    monkeypatch.setattr("tools.homework.students._SMALLEST_THETA", 1e6)
    monkeypatch.setattr("tools.homework.students._ATTEMPTS", 5)
    with pytest.raises(HomeworkError, match="pulp: no usable data in 5 draws from bright ~ 1"):
        OWN_DATA["pulp"].draw("anna", "salt")


def test_each_student_gets_notebooks_and_data(chapters, tmp_path):
    few = [chapter for chapter in chapters if chapter.name in ("01-pulp", "10-coming-from-r")]
    homework.write_for_students(few, list(OWN_DATA.values()), ["anna", "ben"], "salt", tmp_path)
    for student in ("anna", "ben"):
        names = {path.name for path in (tmp_path / "students" / student).iterdir()}
        assert names == {"01-pulp.ipynb", "penicillin.csv", "pulp.csv"}
    notebook = (tmp_path / "students" / "anna" / "01-pulp.ipynb").read_text(encoding="utf-8")
    assert 'pd.read_csv(\\"pulp.csv\\"' in notebook
    assert 'load_dataset(\\"pulp' not in notebook
    assert (tmp_path / "course" / "source" / "01-pulp" / "01-pulp.ipynb").is_file()
