"""Make ``.venv`` with every pinned requirement and mmlib itself: ``make setup``.

Needs the standard library only and starts on any Python 3.8, so that a Python that is too old is
told so. uv does the work where it is installed, venv and pip do it otherwise. A second run finds
its own stamp and stops at once; a run that was interrupted starts the environment afresh.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
STAMP = VENV / "complete.txt"
REQUIREMENTS = ROOT / "requirements.txt"
PYPROJECT = ROOT / "pyproject.toml"
OLDEST = (3, 11)
NEWER_PYTHONS = ("python3.13", "python3.12", "python3.11")
NETWORK_SIGNS = (
    "connection broken",
    "connection error",
    "failed to fetch",
    "failed to establish a new connection",
    "failed to lookup address",
    "name resolution",
    "network was disabled",
    "network is unreachable",
    "error sending request",
)


class SetupError(Exception):
    """Something is missing on this machine; the message is one line that says what to do."""


def main() -> int:
    """Bring ``.venv`` up to date and return the exit status."""
    try:
        set_up()
    except SetupError as problem:
        print(f"setup: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nsetup: stopped; run the same command to start again.", file=sys.stderr)
        return 130
    return 0


def set_up() -> None:
    """Make or update the environment unless its stamp says that it is complete."""
    wanted = fingerprint()
    if is_sound() and STAMP.read_text(encoding="utf-8") == wanted:
        return
    python, uv = find_python(), shutil.which("uv")
    started = time.monotonic()
    print(f"setup: {python} with {'uv' if uv else 'venv and pip'}; a first run takes some minutes.")
    if not is_sound():
        make_venv(python, uv)
    STAMP.unlink(missing_ok=True)
    installer = [uv, "pip", "install", "--python", str(VENV_PYTHON)] if uv else pip_install()
    run([*installer, "-r", str(REQUIREMENTS)])
    run([*installer, "--no-deps", "--no-build-isolation", "--editable", str(ROOT)])
    STAMP.write_text(wanted, encoding="utf-8")
    print(f"setup: .venv is ready ({time.monotonic() - started:.0f} s).")


def fingerprint() -> str:
    """Digest of what the environment depends on: the pins, the package's declaration, the place."""
    declaration, _, _ = PYPROJECT.read_text(encoding="utf-8").partition("\n[tool.")
    parts = (str(ROOT), declaration, REQUIREMENTS.read_text(encoding="utf-8"))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def is_sound() -> bool:
    """Tell whether some run finished and the environment's Python still starts."""
    return STAMP.exists() and version_of(str(VENV_PYTHON)) is not None


def find_python() -> str:
    """Path of a Python that is new enough: the one that runs this script, or one on the PATH."""
    if sys.version_info[:2] >= OLDEST:
        return sys.executable
    for name in NEWER_PYTHONS:
        path = shutil.which(name)
        if path and (version_of(path) or (0, 0)) >= OLDEST:
            return path
    raise SetupError(
        f"Python {dotted(OLDEST)} or newer is needed, and {sys.executable} is "
        f"{dotted(sys.version_info[:2])}: install one, or name it with "
        f"'make setup PYTHON=/path/to/python3'."
    )


def version_of(python: str) -> tuple[int, int] | None:
    """(major, minor) of an interpreter, or None if it does not start."""
    command = [python, "-c", "import sys; print(*sys.version_info[:2])"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        major, minor = answer.split()
        return int(major), int(minor)
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None


def dotted(version: tuple[int, int]) -> str:
    """Write (3, 11) as 3.11."""
    return ".".join(map(str, version))


def make_venv(python: str, uv: str | None) -> None:
    """Make an empty environment, in place of an unfinished or broken one."""
    if VENV.exists():
        print("setup: .venv is unfinished or broken; starting it afresh.")
        shutil.rmtree(VENV)
    if uv:
        run([uv, "venv", "--no-project", "--python", python, str(VENV)])
        return
    probe = subprocess.run([python, "-c", "import ensurepip, venv"], capture_output=True)
    if probe.returncode:
        version = dotted(version_of(python) or OLDEST)
        raise SetupError(
            f"{python} has no venv module: install it (Debian, Ubuntu: 'apt install "
            f"python{version}-venv') or install uv."
        )
    run([python, "-m", "venv", str(VENV)])


def pip_install() -> list[str]:
    """Start of the pip command line."""
    return [str(VENV_PYTHON), "-m", "pip", "install", "--retries", "2", "--progress-bar", "off"]


def run(command: list[str]) -> None:
    """Run a step, show its progress, and turn a failure into one line that says what is missing."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    progress, lines = Progress(), []
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                lines.append(line)
                progress.show(line)
        except KeyboardInterrupt:
            process.terminate()
            raise
    progress.end()
    if process.returncode:
        raise SetupError(reason(lines, command))


def reason(lines: list[str], command: list[str]) -> str:
    """One line on why a step failed, after the end of what it printed."""
    if any(sign in line.lower() for line in lines[-20:] for sign in NETWORK_SIGNS):
        return (
            "no network: the package index does not answer. Connect and run the same command again."
        )
    sys.stderr.writelines(lines[-20:])
    return f"'{' '.join(command[:4])} …' failed; its last lines are above."


class Progress:
    """Count the packages of a step: on one line in a terminal, every 25th elsewhere."""

    def __init__(self) -> None:
        self.total = len(REQUIREMENTS.read_text(encoding="utf-8").splitlines())
        self.done = 0
        self.terminal = sys.stdout.isatty()

    def show(self, line: str) -> None:
        """Take one line of pip or uv."""
        for start in ("Collecting ", "Requirement already satisfied: "):
            if line.startswith(start):
                self.done += 1
                if self.terminal or self.done % 25 == 0:
                    self.write(f"{self.done} of {self.total}: {line[len(start) :].split()[0]}")
        if line.startswith(("Installing collected packages", "Resolved ", "Downloading ")):
            self.write(line.strip()[:60])

    def write(self, text: str) -> None:
        """Show a line, over the one before it in a terminal."""
        start, end = ("\r\033[K", "") if self.terminal else ("", "\n")
        print(f"{start}  {text}", end=end, flush=True)

    def end(self) -> None:
        """Leave the line."""
        if self.terminal:
            print("\r\033[K", end="", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
