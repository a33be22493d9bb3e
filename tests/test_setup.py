"""`make setup` says what is missing, does nothing twice, and starts again where that is needed.

Each test runs the Makefile in a folder of its own, with programs that note how they are called.
"""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tools import ROOT

PYTHON = f'case "$*" in *version_info*) exec {sys.executable} "$@";; esac'
TOO_OLD = "exit 1"
NOTE = '\necho "$(basename $0) $*" >> calls.txt\n'
MAKE_IT = f"for last; do :; done\nmkdir -p $last/bin\nln -sf {sys.executable} $last/bin/python\n"
UV = f'{NOTE}[ "$1" = venv ] || exit 0\n{MAKE_IT}'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a Python that is new enough and a uv that does nothing."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("pyproject.toml", "requirements.txt"):
        (tmp_path / name).touch()
    put_program(tmp_path, "python3", PYTHON + NOTE)
    put_program(tmp_path, "uv", UV)
    return tmp_path


def put_program(project: Path, name: str, script: str) -> None:
    """Put a shell script on the PATH of the project."""
    path = project / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def set_up(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `make setup` with the project's own programs before, or instead of, the machine's."""
    system = Path(shutil.which("make") or "").parent
    path = os.pathsep.join(map(str, (project / "bin", system, "/bin")))
    command = ["make", "setup", *arguments]
    return subprocess.run(
        command, cwd=project, env={"PATH": path}, capture_output=True, text=True, timeout=60
    )


def calls(project: Path) -> list[str]:
    """First two words of each call that was noted, which are then forgotten."""
    notes = project / "calls.txt"
    found = notes.read_text().splitlines() if notes.exists() else []
    notes.unlink(missing_ok=True)
    return [" ".join(line.split()[:2]) for line in found]


NEW = ["uv venv", "uv pip", "uv pip"]


def test_a_second_run_does_nothing_and_new_pins_are_installed_over_the_old(project: Path) -> None:
    assert set_up(project).returncode == 0
    assert calls(project) == NEW
    second = set_up(project)
    assert (second.returncode, second.stdout + second.stderr, calls(project)) == (0, "", [])
    stamp = project / ".venv" / "complete"
    os.utime(stamp, (0, 0))
    assert set_up(project).returncode == 0
    assert calls(project) == NEW[1:]


@pytest.mark.parametrize("damage", ["complete", "bin/python"])
def test_what_is_unfinished_or_has_lost_its_python_is_made_afresh(
    project: Path, damage: str
) -> None:
    set_up(project)
    (project / ".venv" / damage).unlink()
    (project / ".venv" / "half-a-package").touch()
    calls(project)
    assert set_up(project).returncode == 0
    assert calls(project) == NEW
    assert not (project / ".venv" / "half-a-package").exists()


def test_a_folder_that_moved_is_set_up_afresh(project: Path) -> None:
    set_up(project)
    moved = project.rename(project.with_name("moved"))
    calls(moved)
    assert set_up(moved).returncode == 0
    assert calls(moved) == NEW


def test_a_failed_step_is_not_complete(project: Path) -> None:
    put_program(project, "uv", f"{UV}\nexit 2")
    assert set_up(project).returncode != 0
    assert not (project / ".venv" / "complete").exists()


def test_without_uv_a_missing_venv_module_is_named(project: Path) -> None:
    put_program(project, "python3", f"{PYTHON}{NOTE}{MAKE_IT}exit 3")
    run = set_up(project, "UV=")
    assert calls(project) == ["python3 -m"]
    assert "apt install python3-venv" in run.stderr


def test_the_first_python_that_is_new_enough_is_taken(project: Path) -> None:
    put_program(project, "python3", TOO_OLD)
    put_program(project, "python3.13", PYTHON)
    run = set_up(project, "PYTHON=python3 nothing python3.13 python3.12")
    assert "setup: python3.13 with " in run.stdout
    assert run.returncode == 0


def test_an_old_or_missing_python_is_named_with_what_to_do(project: Path) -> None:
    put_program(project, "python3", TOO_OLD)
    run = set_up(project, "PYTHON=python3 nothing")
    assert run.returncode != 0
    assert "Python 3.11 or newer is needed; it is not among: python3 nothing." in run.stderr
    assert "PYTHON=/path/to/python3" in run.stderr


def targets() -> list[str]:
    """Those that `make help` lists."""
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    return [line.split(":")[0] for line in lines if " ## " in line]


@pytest.mark.parametrize("target", targets())
def test_what_a_target_runs_is_a_shell_script(project: Path, target: str) -> None:
    """A comma in an argument of make's `call` once cut a version in two.

    And the modules that it runs are there.
    """
    said = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", target],
        cwd=project,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout
    subprocess.run(["sh", "-n"], input=said.stdout, text=True, check=True)
    modules = re.findall(r"-m ((?:tools|benchmarks)[\w.]*)", said.stdout)
    assert [module for module in modules if find_spec(module) is None] == []
