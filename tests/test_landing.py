"""The root's `conftest.py`: what a plain `make test` leaves out, and that it says so."""

import os
import subprocess
import sys

import pytest

from tools import ROOT

FILE = "tests/engine/test_optimize.py"
LONG = "test_the_lower_of_two_valleys_is_found_where_one_is_at_zero"


def collected(*arguments: str, ci: str = "") -> str:
    """Return what pytest says when it collects a file of which one test takes long."""
    command = [sys.executable, "-m", "pytest", FILE, "--collect-only", "--numprocesses=0"]
    return subprocess.run(
        [*command, "-q", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT,
        env={**os.environ, "CI": ci, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_what_takes_long_is_left_out_and_named():
    said = collected()
    assert LONG not in said
    assert "`make test ARGS=--all` runs it" in said


@pytest.mark.parametrize(("arguments", "ci"), [(["--all"], ""), ([], "true")])
def test_all_is_run_when_it_is_asked_for_and_in_ci(arguments, ci):
    said = collected(*arguments, ci=ci)
    assert LONG in said
    assert "left out" not in said
