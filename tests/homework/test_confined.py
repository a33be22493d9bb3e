"""`tools/homework/confined.py`: what a confined process can do, and what it cannot."""

import os
import subprocess
import sys

import pytest

from tools import ROOT
from tools.homework.confined import version

pytestmark = pytest.mark.skipif(not version(), reason="this system cannot confine a process")

START = """
import os, socket, subprocess, sys
from pathlib import Path
from tools.homework.confined import confine
read = [Path(p) for p in ("/usr", "/lib", "/lib64", "/bin", "/etc", sys.prefix, sys.base_prefix)]
confine(read, [Path.cwd()], [5999])
"""


def run(code, folder):
    done = subprocess.run(
        [sys.executable, "-c", START + code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "code",
    [
        "open('mine.txt', 'w').write('x'); assert open('mine.txt').read() == 'x'",
        "import json, numpy",
        "s = socket.socket(); s.bind(('127.0.0.1', 5999))",
        "subprocess.run([sys.executable, '-c', 'print(1)'], check=True)",
        "a, b = socket.socketpair(); a.sendall(b'x'); assert b.recv(1) == b'x'",
        "import asyncio; asyncio.run(asyncio.sleep(0))",
    ],
)
def test_what_homework_needs_is_allowed(code, tmp_path):
    assert run(code, tmp_path) == (0, "")


@pytest.mark.parametrize(
    "code",
    [
        "open('../secret.txt').read()",
        "open('../secret.txt', 'w')",
        "open('../new.txt', 'w')",
        "os.listdir('..')",
        "os.remove('../secret.txt')",
        "subprocess.run(['cat', '../secret.txt'], check=True)",
        "socket.create_connection(('127.0.0.1', 9))",
        "s = socket.socket(); s.bind(('127.0.0.1', 5998))",
        "socket.socket().sendto(b'x', 0x20000000, ('127.0.0.1', 9))",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))",
        "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)",
        "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
        "socket.socket(socket.AF_UNIX).connect('/run/docker.sock')",
        "socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)",
        "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)",
    ],
)
def test_what_would_do_harm_is_refused(code, tmp_path):
    folder = tmp_path / "cwd"
    folder.mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    status, said = run(code, folder)
    assert status != 0
    assert "ermission" in said, said
    assert (tmp_path / "secret.txt").read_text() == "secret"
    assert not (tmp_path / "new.txt").exists()


def test_a_kernel_is_not_told_what_the_grader_knows(tmp_path):
    code = """
import os
from tools.homework import confined
os.environ["SECRET"] = "grader's"
os.environ["NBGRADER_EXECUTION"] = "autograde"
os.execve = lambda *given: print(sorted(given[2]))
try:
    confined.main()
except ValueError:
    pass
"""
    places = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=places, cwd=tmp_path, capture_output=True, text=True)
    known = done.stdout
    assert "SECRET" not in known
    assert "NBGRADER_EXECUTION" in known
