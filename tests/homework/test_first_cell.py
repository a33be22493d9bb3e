"""`tools/homework/first_cell.py`: what installs, and what marks an answer."""

import builtins
import importlib.metadata
import subprocess

import numpy as np
import pandas as pd
import pytest

import mmlib as mm
from tools.homework.first_cell import install, marking, source

WHEEL = f"mmlib-{mm.__version__}-py3-none-any.whl"


def marked(capsys, code, **names):
    """Run a check as a notebook does and return what it says."""
    exec(code, {"marking": marking, "np": np, **names})
    return capsys.readouterr().out.strip()


CHECK = 'with marking("1.2", needs="sigma", se="number"):\n    assert se > sigma, "too small"'


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"sigma": 1, "se": 2}, "✓ Exercise 1.2, se"),
        ({"sigma": 1, "se": np.float64(2)}, "✓ Exercise 1.2, se"),
        ({"sigma": 1, "se": 0.5}, "✗ Exercise 1.2, se: too small"),
        ({"se": 2}, "✗ Exercise 1.2, se: Run the cells above first. Not defined: sigma."),
        ({}, "✗ Exercise 1.2, se: Run the cells above first. Not defined: sigma."),
        ({"sigma": 1}, "✗ Exercise 1.2, se: Not defined yet: se."),
        ({"sigma": 1, "se": None}, "✗ Exercise 1.2, se: se is None. Does a function print"),
        ({"sigma": 1, "se": "2"}, "se should be a number, and is of type str."),
        ({"sigma": 1, "se": [1, 2]}, "se should be a number, and is of type list."),
    ],
)
def test_a_check_says_first_what_is_missing_then_what_is_unfit_then_what_is_wrong(
    capsys, names, said
):
    assert said in marked(capsys, CHECK, **names)


@pytest.mark.parametrize(
    ("kind", "right", "wrong", "said"),
    [
        ("function", len, 3, "should be a function"),
        ("array 2 x 2", [[1, 2], [3, 4]], [1, 2], "shape 2 x 2; it has 2"),
        ("array 2", pd.Series([1, 2]), 1.0, "should be an array 2"),
        ("array 2 x 1", pd.DataFrame({"a": [1, 2]}), "text", "should be an array 2 x 1"),
        ("table", pd.DataFrame(), 3, "should be a table"),
        ("dictionary", {1: 2}, [1, 2], "should be a dictionary"),
        ("tuple", (1, 2), 3, "should be a tuple"),
    ],
)
def test_kinds(capsys, kind, right, wrong, said):
    code = f'with marking("1.1", answer="{kind}"):\n    pass'
    assert marked(capsys, code, answer=right) == "✓ Exercise 1.1, answer"
    assert said in marked(capsys, code, answer=wrong)


def test_a_model_that_was_not_fitted_is_told_apart(capsys):
    import statsmodels.formula.api as smf

    model = smf.ols("bright ~ operator", mm.load_dataset("pulp"))
    code = 'with marking("1.3", treatment="fit"):\n    pass'
    assert "of type OLS. Did you forget .fit()?" in marked(capsys, code, treatment=model)
    assert "✓" in marked(capsys, code, treatment=model.fit())


def test_a_function_that_prints_is_told_apart(capsys):
    code = 'with marking("1.2", f="function"):\n    assert f() < 1'
    assert "print its result instead of returning it?" in marked(capsys, code, f=lambda: None)


def test_a_test_that_cannot_use_an_answer_shows_where(capsys, tmp_path):
    cell = tmp_path / "cell.py"
    cell.write_text('with marking("1.2", f="function"):\n    f()\n    answer = f([1][2])\n')
    names = {"marking": marking, "f": lambda *_: None}
    exec(compile(cell.read_text(), cell, "exec"), names)
    said = "the test could not use your answer in “answer = f([1][2])”. IndexError: list index"
    assert said in capsys.readouterr().out


def test_where_nbgrader_grades_a_check_fails(capsys, monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    with pytest.raises(AssertionError, match="too small"):
        marked(capsys, CHECK, sigma=1, se=0.5)
    with pytest.raises(AssertionError, match="Not defined yet"):
        marked(capsys, CHECK, sigma=1)
    assert "✓" in marked(capsys, CHECK, sigma=1, se=2)


def test_stopping_a_check_stops_it():
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        exec('with marking("1", f="function"):\n    f()', {"marking": marking, "f": stop})


# --- Installing ----------------------------------------------------------------------------------


@pytest.fixture
def pip(monkeypatch):
    """Let every package be missing, and keep what pip is asked for."""
    asked = []

    def run(command, **_):
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr(subprocess, "run", run)
    return asked


def test_where_all_is_there_nothing_happens(capsys):
    install(WHEEL, "scipy")
    assert capsys.readouterr().out == ""


def test_another_version_is_named_and_left_alone(capsys):
    install("mmlib-99.0-py3-none-any.whl")
    assert "was written for 99.0" in capsys.readouterr().out


def test_a_wheel_beside_the_notebook_is_taken_with_its_checksum(pip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / WHEEL).touch()
    install(f"https://host.example/downloads/{WHEEL}#sha256=abc", "statsmodels")
    assert pip[0][-2:] == [f"{(tmp_path / WHEEL).as_uri()}#sha256=abc", "statsmodels"]


def test_otherwise_it_comes_from_the_site(pip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    install(f"https://host.example/downloads/{WHEEL}#sha256=abc")
    assert pip[0][-1] == f"https://host.example/downloads/{WHEEL}#sha256=abc"


def test_without_either_it_says_what_to_do_and_asks_no_index(pip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModuleNotFoundError, match=f"Put {WHEEL}"):
        install(WHEEL)
    assert pip == []


@pytest.mark.usefixtures("pip")
def test_what_pip_says_is_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / WHEEL).touch()
    failed = subprocess.CompletedProcess([], 1, "", "no space left")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(RuntimeError, match="no space left"):
        install(WHEEL)


def test_the_source_runs_on_its_own():
    for thing in (install, marking):
        names = {"__builtins__": builtins}
        exec(source(thing), names)
        assert thing.__name__ in names
    assert importlib.metadata.version("mmlib") == mm.__version__
