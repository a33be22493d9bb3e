"""The setup script says in one line what is missing, and starts again where that is needed.

Each test runs a copy of the script in a project of its own: nothing touches this checkout's
environment, and nothing needs a network.
"""

import ast
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import setup_env
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "tools" / "setup_env.py"
# A port where nothing listens stands for a machine without a network.
UNREACHABLE = "https://127.0.0.1:9/simple"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with the script and one requirement that only an index could give."""
    (tmp_path / "tools").mkdir()
    shutil.copy(SCRIPT, tmp_path / "tools")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "thin"\nversion = "1"\n')
    (tmp_path / "requirements.txt").write_text("a-package-that-no-machine-has==1\n")
    (tmp_path / "bin").mkdir()
    return tmp_path


def set_up(project: Path, before: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the copy with only the project's own ``bin`` on the PATH, after the code ``before``."""
    script = project / "tools" / "setup_env.py"
    code = f"{before}\nimport runpy\nrunpy.run_path({str(script)!r}, run_name='__main__')"
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "UV_"))}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, "PATH": str(project / "bin"), "PIP_CONFIG_FILE": os.devnull, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def put_program(project: Path, name: str, script: str) -> None:
    """Put a shell script on the PATH of the project."""
    path = project / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def only_line(run: subprocess.CompletedProcess[str]) -> str:
    """The one line that a failed run leaves on stderr."""
    assert run.returncode == 1
    (line,) = run.stderr.splitlines()
    return line


OLD_PYTHON = "import sys; sys.version_info = (3, 8, 18)"


def test_old_python_is_named_with_what_to_do(project: Path) -> None:
    line = only_line(set_up(project, before=OLD_PYTHON))
    assert line.startswith("setup: Python 3.11 or newer is needed")
    assert "is 3.8" in line
    assert "PYTHON=" in line


def test_a_newer_python_on_the_path_is_taken_instead(project: Path) -> None:
    put_program(project, "python3.13", "exit 1")  # a shim without an interpreter behind it
    put_program(project, "python3.12", 'case "$*" in *version_info*) echo 3 12;; *) exit 1;; esac')
    run = set_up(project, before=OLD_PYTHON)
    assert f"setup: {project}/bin/python3.12 with venv and pip" in run.stdout
    assert "bin/python3.12 has no venv module" in only_line(run)


def test_missing_venv_module_is_named_with_what_to_install(project: Path) -> None:
    (project / "broken").mkdir()
    (project / "broken" / "ensurepip.py").write_text("raise ImportError")
    line = only_line(set_up(project, PYTHONPATH=str(project / "broken")))
    major, minor = sys.version_info[:2]
    assert f"apt install python{major}.{minor}-venv" in line


def test_no_network_is_said_in_one_line_by_pip(project: Path) -> None:
    line = only_line(set_up(project, PIP_INDEX_URL=UNREACHABLE, PIP_RETRIES="1"))
    assert line.startswith("setup: no network")
    assert not (project / ".venv" / "complete.txt").exists()


@pytest.mark.parametrize(
    "complaint",
    [
        "Caused by: client error (Connect)\n  dns error: failed to lookup address information",
        "error: Failed to fetch: `https://index.invalid/simple/numpy/`",
    ],
)
def test_no_network_is_said_in_one_line_with_uv(project: Path, complaint: str) -> None:
    put_program(
        project, "uv", f'[ "$1" = venv ] || {{ echo "{complaint}"; exit 2; }}'.replace("`", "")
    )
    run = set_up(project)
    assert "with uv" in run.stdout
    assert only_line(run).startswith("setup: no network")


def test_another_failure_shows_the_last_lines(project: Path) -> None:
    put_program(project, "uv", "echo 'No space left on device'; exit 2")
    run = set_up(project)
    assert run.returncode == 1
    said, conclusion = run.stderr.splitlines()
    assert said == "No space left on device"
    assert conclusion.startswith("setup: '")
    assert "failed" in conclusion


# A shell's background jobs ignore the interrupt; the script must not inherit that here.
ON_INTERRUPT = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_path({script!r}, run_name="__main__")
"""
UV_THAT_WORKS = f"""echo "$@" >> calls.txt
if [ "$1" = venv ]; then
  for last; do :; done
  {shutil.which("mkdir")} -p "$last/bin"
  {shutil.which("ln")} -sf {sys.executable} "$last/bin/python"
fi"""


def uv_calls(project: Path) -> list[str]:
    return (project / "calls.txt").read_text().splitlines()


def test_second_run_does_nothing_and_new_pins_do_not_start_afresh(project: Path) -> None:
    put_program(project, "uv", UV_THAT_WORKS)
    assert set_up(project).returncode == 0
    assert [call.split()[0] for call in uv_calls(project)] == ["venv", "pip", "pip"]

    second = set_up(project)
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert len(uv_calls(project)) == 3

    (project / "requirements.txt").write_text("another-package==2\n")
    assert set_up(project).returncode == 0
    assert [call.split()[0] for call in uv_calls(project)[3:]] == ["pip", "pip"]


def test_an_interrupted_run_is_started_afresh(project: Path) -> None:
    put_program(project, "uv", UV_THAT_WORKS)
    assert set_up(project).returncode == 0
    (project / ".venv" / "complete.txt").unlink()
    (project / ".venv" / "half-a-package").write_text("")
    run = set_up(project)
    assert run.returncode == 0
    assert "starting it afresh" in run.stdout
    assert not (project / ".venv" / "half-a-package").exists()


def test_stopping_says_how_to_go_on_and_leaves_nothing_running(project: Path) -> None:
    sleep = shutil.which("sleep")
    put_program(project, "uv", f"echo Resolved $$; exec {sleep} 60")
    run = subprocess.Popen(
        [sys.executable, "-c", ON_INTERRUPT.format(script=str(project / "tools" / "setup_env.py"))],
        env={**os.environ, "PATH": str(project / "bin")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stdout is not None
    installer = next(line.split()[1] for line in run.stdout if "Resolved" in line)
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=30)
    assert run.returncode == 130
    assert said.strip() == "setup: stopped; run the same command to start again."
    with pytest.raises(ProcessLookupError):
        os.kill(int(installer), 0)


def test_an_environment_whose_python_is_gone_is_made_again(project: Path) -> None:
    put_program(project, "uv", UV_THAT_WORKS)
    assert set_up(project).returncode == 0
    (project / ".venv" / "bin" / "python").unlink()
    assert set_up(project).returncode == 0
    assert (project / ".venv" / "bin" / "python").exists()


def test_progress_counts_the_packages(project: Path) -> None:
    lines = "\n".join(f"echo 'Collecting package{i}==1 (from x)'" for i in range(30))
    put_program(project, "uv", f"{UV_THAT_WORKS}\n[ $1 = venv ] || {{ {lines}\n}}")
    (project / "requirements.txt").write_text("\n".join(f"package{i}==1" for i in range(30)))
    assert "25 of 30: package24==1" in set_up(project).stdout


def test_script_can_be_read_by_an_old_python() -> None:
    ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 8))


def test_oldest_python_is_the_one_of_the_package() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert SpecifierSet(declared) == SpecifierSet(f">={setup_env.dotted(setup_env.OLDEST)}")
