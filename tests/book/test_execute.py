"""`tools/book/execute.py`: the same bytes each time, and never half a notebook."""

import shutil
from pathlib import Path

import nbformat
import pytest

import mmlib as mm
from tools.book.execute import ChapterError, execute, main, read_chapter, save

SAMPLE = Path(__file__).parent / "fixtures" / "01-sample.md"
HEADER = SAMPLE.read_text(encoding="utf-8").split("# A sample")[0]


def chapter(folder: Path, *cells: str) -> Path:
    path = folder / "02-other.md"
    path.write_text(HEADER + "\n".join(f"```{{code-cell}}\n{cell}\n```\n" for cell in cells))
    return path


def test_executing_twice_gives_the_same_bytes_figures_included(tmp_path):
    path = Path(shutil.copy(SAMPLE, tmp_path))
    written = []
    for _ in range(2):
        assert main([str(path)]) == 0
        written.append(path.with_suffix(".ipynb").read_bytes())
    assert written[0] == written[1]
    assert b"<svg" in written[0]
    assert b"image/png" not in written[0]


def test_the_notebook_carries_nothing_of_the_run(tmp_path):
    notebook = execute(chapter(tmp_path, "1", "2"))
    assert set(notebook.metadata) == {"kernelspec"}
    assert [cell.id for cell in notebook.cells] == ["cell-001", "cell-002"]
    assert not any("execution" in cell.metadata for cell in notebook.cells)
    nbformat.validate(notebook)


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("x = 1 / 0", "ZeroDivisionError: division by zero"),
        ("assert 1 == 2", "AssertionError: assert 1 == 2"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt:"),
    ],
)
def test_a_failing_cell_is_named_and_leaves_the_old_notebook(tmp_path, capsys, cell, reason):
    path = chapter(tmp_path, "1", cell)
    path.with_suffix(".ipynb").write_text("the old one")
    assert main([str(path)]) == 1
    assert f"02-other.md: code cell 2 ('{cell}'): {reason}" in capsys.readouterr().out
    assert path.with_suffix(".ipynb").read_text() == "the old one"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["02-other.ipynb", "02-other.md"]


def test_what_a_cell_prints_in_pieces_is_one_output(tmp_path):
    pieces = "import time\nfor i in range(3):\n    print(i, flush=True)\n    time.sleep(0.3)"
    (output,) = execute(chapter(tmp_path, pieces)).cells[0].outputs
    assert output.text == "0\n1\n2\n"


def test_one_bad_chapter_does_not_stop_the_others(tmp_path, capsys):
    good = chapter(tmp_path, "1")
    assert main([str(tmp_path / "03-missing.md"), str(good)]) == 1
    assert "03-missing.md: no such file" in capsys.readouterr().out
    assert good.with_suffix(".ipynb").exists()


def test_outputs_that_may_not_be_published_are_refused(tmp_path):
    complaints = {
        "import sys; print('careful', file=sys.stderr)": "wrote to stderr: careful",
        "import warnings; warnings.warn('old')": "wrote to stderr",
        "__import__('json').__file__": "shows a path of this machine",
        "object()": "shows a memory address",
    }
    with pytest.raises(ChapterError) as refused:
        execute(chapter(tmp_path, *complaints))
    for number, complaint in enumerate(complaints.values(), start=1):
        assert f"code cell {number}: {complaint}" in str(refused.value)


def test_a_kernel_that_dies_is_reported(tmp_path):
    with pytest.raises(ChapterError, match=r"code cell 1 .*: the kernel died"):
        execute(chapter(tmp_path, "__import__('os')._exit(1)"))


def test_chapters_run_in_their_own_folder(tmp_path):
    (tmp_path / "note.txt").write_text("found")
    notebook = execute(chapter(tmp_path, "open('note.txt').read()"))
    assert notebook.cells[0].outputs[0].data["text/plain"] == "'found'"


def test_an_interrupted_save_leaves_the_old_notebook(tmp_path, monkeypatch):
    def interrupt(_: object) -> str:
        raise KeyboardInterrupt

    target = tmp_path / "01-sample.ipynb"
    target.write_text("the old one")
    monkeypatch.setattr(nbformat, "writes", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(read_chapter(SAMPLE), target)
    assert [p.name for p in tmp_path.iterdir()] == ["01-sample.ipynb"]
    assert target.read_text() == "the old one"


def test_accepting_lists_what_is_no_longer_true(tmp_path, capsys):
    path = chapter(
        tmp_path,
        "x = 2.25\nprint(x)",
        "assert x == 2.25\nassert x == 1.75, 'why'\nfor y in (1, 2):\n    assert y == 1",
    )
    path.write_text(path.read_text() + "\nIt was 1.75, and is 2.25.\n")
    assert main(["--accept", str(path)]) == 1
    told = capsys.readouterr().out
    assert "no longer true: assert x == 1.75" in told
    assert "assert x == 2.25" not in told
    assert told.count("no longer true: assert y == 1") == 1
    assert "1.75 (prose) in “It was 1.75, and is 2.25.”" in told
    notebook = nbformat.read(path.with_suffix(".ipynb"), as_version=4)
    assert notebook.cells[0].outputs[0].text == "2.25\n"
    assert notebook.cells[1].outputs == []
    assert notebook.cells[1].source.startswith("assert x == 2.25\nassert x == 1.75, 'why'")


@pytest.mark.landing
def test_whoever_changes_a_datum_is_told_every_statement_that_is_false(tmp_path, capsys):
    """A teacher's day: the data change, the run refuses, and with ACCEPT it goes through."""
    pulp = mm.load_dataset("pulp")
    cells = (
        'import pandas as pd\npulp = pd.read_csv("pulp.csv")\nround(pulp["bright"].mean(), 2)',
        "assert f\"{pulp['bright'].mean():.1f}\" == '60.4'\nassert len(pulp) == 20",
        "top = pulp['bright'].iloc[0]\nassert top < 60, 'the text says so'\nprint(1 / (top > 1))",
    )
    first = chapter(tmp_path, *cells)
    first.write_text(first.read_text() + "\nThe mean is 60.4, of 20 sheets.\n")
    second = tmp_path / "03-second.md"
    second.write_text(first.read_text().replace("top > 1", "int(top < 70)"))
    third = tmp_path / "04-third.md"
    third.write_text(first.read_text())
    chapters = [str(path) for path in (first, second, third)]
    pulp.to_csv(tmp_path / "pulp.csv", index=False)
    assert main(chapters) == 0
    pulp.loc[0, "bright"] = 75.0
    pulp.to_csv(tmp_path / "pulp.csv", index=False)
    stored = first.with_suffix(".ipynb").read_bytes()
    capsys.readouterr()
    assert main(chapters) == 1
    refused = capsys.readouterr().out
    assert refused.count("AssertionError: assert f\"{pulp['bright'].mean():.1f}\" == '60.4'") == 3
    assert first.with_suffix(".ipynb").read_bytes() == stored
    assert main(["--accept", *chapters]) == 1
    told = capsys.readouterr().out
    assert told.count("3 statements do not hold") == 2
    assert f"{first}: cell 2: no longer true: assert f\"{{pulp['bright'].mean()" in told
    assert f"{first}: cell 3: no longer true: assert top < 60" in told
    said = "60.4 (prose) in “The mean is 60.4, of 20 sheets.”: no cell"
    assert f"{first}: cell 4: {said}" in told
    assert "the nearest is 61.16 in the output of cell 1" in told
    assert "20 (prose)" not in told
    assert "03-second.md: code cell 3" in told
    assert "ZeroDivisionError" in told
    (output,) = nbformat.read(third.with_suffix(".ipynb"), as_version=4).cells[0].outputs
    assert "61.16" in output.data["text/plain"]


def test_accepting_stops_at_another_error(tmp_path, capsys):
    path = chapter(tmp_path, "assert 1 == 2", "1 / 0")
    assert main(["--accept", str(path)]) == 1
    assert "02-other.md: code cell 2 ('1 / 0'): ZeroDivisionError" in capsys.readouterr().out
    assert not path.with_suffix(".ipynb").exists()


def test_a_number_that_no_cell_gives_is_refused(tmp_path):
    path = chapter(tmp_path, "print(2.25)")
    path.write_text(path.read_text() + "\nIt is 2.75.\n")
    with pytest.raises(ChapterError, match=r"2.75 .* no cell gives it; the nearest is 2.25"):
        execute(path)
