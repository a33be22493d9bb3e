"""A kernel that can do no harm: it runs what students hand in, and sees nothing else.

    python -m tools.homework.confined -f CONNECTION_FILE

It can read Python, its packages and mmlib, and read and write the folder that it is started in and
a temporary one. It cannot read other hand-ins, solutions or the grade book, nor write anything
else, nor open a connection or a port, nor signal other processes; its time and the size of its
files are limited. Linux keeps these promises (Landlock, from 5.13 on; ports from 6.7 and signals
from 6.12 on), for the process and all that it starts, and there is no way back.
https://docs.kernel.org/userspace-api/landlock.html
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import site
import struct
import sys
import sysconfig
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tools import ROOT

# Numbers of the system calls, the same on every architecture, and of what they take.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG, _PATH_BENEATH, _NET_PORT = 1, 1, 2
_NO_NEW_PRIVILEGES = 38
_BIND_TCP, _SCOPES = 1, 3  # scopes: abstract sockets and signals
_EXECUTE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 2, 1 << 3
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_WRITE_FILE, _TRUNCATE = 1 << 1, 1 << 14
_ON_FILES = _EXECUTE | _READ_FILE | _WRITE_FILE | _TRUNCATE
# The rights to files that each version of Landlock knows.
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_ALL_RIGHTS = (1 << 16) - 1  # from version 5 on
_SECONDS, _BYTES = 1200, 200 * 2**20


def version() -> int:
    """Return the version of Landlock that this system has; 0 if it has none."""
    if not sys.platform.startswith("linux"):
        return 0
    return max(_call(_CREATE_RULESET, None, 0, _VERSION_FLAG), 0)


def confine(read: Iterable[Path], write: Iterable[Path], ports: Iterable[int] = ()) -> None:
    """Confine this process, and all that it will start, for good.

    Parameters
    ----------
    read, write : iterable of Path
        What may be read and run, and what may be written too; folders with all that is in them.
    ports : iterable of int
        The TCP ports that may be opened.

    Raises
    ------
    OSError
        If the system cannot do it.
    """
    known = version()
    if not known:
        raise OSError("this system has no Landlock, which confines hand-ins")
    rights = _RIGHTS.get(known, _ALL_RIGHTS)
    attributes = struct.pack("QQQ", rights, 3 if known >= 4 else 0, _SCOPES if known >= 6 else 0)
    size = 24 if known >= 6 else 16 if known >= 4 else 8
    rules = _checked(_call(_CREATE_RULESET, attributes, size, 0))
    for paths, granted in ((read, _READ), (write, rights)):
        for path in paths:
            if path.exists():
                _allow(rules, path, granted & rights)
    _allow(rules, ROOT, _READ_DIR)  # importing looks into it; what is in it stays closed
    for port in ports if known >= 4 else ():
        rule = struct.pack("QQ", _BIND_TCP, port)
        _checked(_call(_ADD_RULE, rules, _NET_PORT, rule, 0))
    _checked(ctypes.CDLL(None, use_errno=True).prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    _checked(_call(_RESTRICT_SELF, rules, 0))
    os.close(rules)


def _allow(rules: int, path: Path, rights: int) -> None:
    if not path.is_dir():
        rights &= _ON_FILES
    opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        _checked(_call(_ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", rights, opened), 0))
    finally:
        os.close(opened)


def _call(number: int, *arguments: object) -> int:
    return int(ctypes.CDLL(None, use_errno=True).syscall(number, *arguments))


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"Landlock: {os.strerror(code)}")
    return result


def main() -> None:
    """Confine this process and run a kernel in it."""
    connection = Path(sys.argv[sys.argv.index("-f") + 1])
    ports = [port for name, port in json.loads(connection.read_text()).items() if "_port" in name]
    private = Path(tempfile.mkdtemp(prefix="hand-in-"))
    for name in ("HOME", "TMPDIR", "IPYTHONDIR", "MPLCONFIGDIR", "XDG_CACHE_HOME"):
        os.environ[name] = str(private)
    tempfile.tempdir = str(private)
    python = {sys.prefix, sys.base_prefix, *site.getsitepackages(), *sysconfig.get_paths().values()}
    system = (
        "/usr",
        "/lib",
        "/lib64",
        "/bin",
        "/etc",
        "/opt",
        "/proc/self",
        "/sys/devices",
        "/dev",
    )
    read = [*map(Path, (*python, *system)), ROOT / "mmlib", connection]
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_BYTES, _BYTES))
    confine(read, [Path.cwd(), private, Path("/dev/null")], ports)
    from ipykernel.kernelapp import launch_new_instance  # its threads are confined like this one

    launch_new_instance()


if __name__ == "__main__":
    main()
