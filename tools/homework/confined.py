"""A kernel that can do no harm: it runs what students hand in, and sees nothing else.

    python -m tools.homework.confined -f CONNECTION_FILE

It can read Python, its packages and mmlib, and read and write the folder that it is started in and
a temporary one. It cannot read other hand-ins, solutions, the grade book or the environment of
whoever grades, nor write anything else, nor send anything to any address, nor signal other
processes; its time and the size of its files are limited. Linux keeps these promises (Landlock,
from 5.13 on; ports from 6.7 and signals from 6.12 on), for the process and all that it starts, and
there is no way back. Landlock knows no network but TCP: a filter of system calls refuses whatever
else could speak to another first.
https://docs.kernel.org/userspace-api/landlock.html
https://docs.kernel.org/userspace-api/seccomp_filter.html
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import resource
import site
import struct
import sys
import sysconfig
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

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
# What a kernel may know of the environment in which it is started.
_KEPT = ("PATH", "LANG", "LC_ALL", "PYTHONPATH", "NBGRADER_EXECUTION", "LD_LIBRARY_PATH")
_CLEAN = "MIXED_MODELS_CLEAN"


class _Machine(NamedTuple):
    """Its mark, and the numbers of the system calls by which data could leave."""

    mark: int
    socket: int
    connect: int
    sendto: int
    sendmsg: int
    sendmmsg: int
    socketpair: int


_GENERIC = (198, 203, 206, 211, 269, 199)
_MACHINES = {
    "x86_64": _Machine(0xC000003E, 41, 42, 44, 46, 307, 53),
    "aarch64": _Machine(0xC00000B7, *_GENERIC),
    "riscv64": _Machine(0xC00000F3, *_GENERIC),
}
_IO_URING, _X32 = 425, 0x40000000
_INET, _INET6, _NETLINK, _STREAM, _TCP, _FAST_OPEN = 2, 10, 16, 1, 6, 0x20000000


def version() -> int:
    """Return the version of Landlock that this system has; 0 if it has none."""
    if not sys.platform.startswith("linux") or platform.machine() not in _MACHINES:
        return 0
    return max(_call(_CREATE_RULESET, None, 0, _VERSION_FLAG), 0)


def confine(read: Iterable[Path], write: Iterable[Path], ports: Iterable[int] = ()) -> None:
    """Confine this process, and all that it will start, for good.

    Parameters
    ----------
    read, write : iterable of Path
        What may be read and run, and what may be written too; folders with all that is in them.
    ports : iterable of int
        The TCP ports at which it may wait for others.

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
    _silence(_MACHINES[platform.machine()])


def _silence(machine: _Machine) -> None:
    """Refuse every system call by which this process could speak to another first."""
    code = _program(machine)
    steps = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in code))
    program = struct.pack("HxxxxxxP", len(code), ctypes.addressof(steps))
    set_seccomp, with_filter = 22, 2
    _checked(ctypes.CDLL(None, use_errno=True).prctl(set_seccomp, with_filter, program, 0, 0))


def _program(machine: _Machine) -> list[tuple[int, int, int, int]]:
    """Write the filter: left are TCP sockets that wait, pairs of sockets, and answers."""
    load, mask, equal, at_least, answer = 0x20, 0x54, 0x15, 0x35, 0x06
    number, mark, first, second, third, fourth = 0, 4, 16, 24, 32, 40  # where they lie
    blocks: dict[str, list[tuple[int, int, str, str]]] = {
        "start": [
            (load, mark, "", ""),
            (equal, machine.mark, "", "refuse"),
            (load, number, "", ""),
            (at_least, _X32, "refuse", ""),
            (equal, machine.connect, "refuse", ""),
            (equal, _IO_URING, "refuse", ""),
            (equal, machine.socket, "family", ""),
            (equal, machine.socketpair, "type", ""),
            (equal, machine.sendto, "flags 4", ""),
            (equal, machine.sendmmsg, "flags 4", ""),
            (equal, machine.sendmsg, "flags 3", "allow"),
        ],
        "family": [
            (load, first, "", ""),
            (equal, _INET, "protocol", ""),
            (equal, _INET6, "protocol", ""),
            (equal, _NETLINK, "", "refuse"),  # the kernel asks which addresses it has: route, 0
            (load, third, "", ""),
            (equal, 0, "allow", "refuse"),
        ],
        "protocol": [(load, third, "", ""), (equal, 0, "type", ""), (equal, _TCP, "", "refuse")],
        "type": [(load, second, "", ""), (mask, 0xF, "", ""), (equal, _STREAM, "allow", "refuse")],
        "flags 3": [
            (load, third, "", ""),
            (mask, _FAST_OPEN, "", ""),
            (equal, 0, "allow", "refuse"),
        ],
        "flags 4": [
            (load, fourth, "", ""),
            (mask, _FAST_OPEN, "", ""),
            (equal, 0, "allow", "refuse"),
        ],
        "allow": [(answer, 0x7FFF0000, "", "")],
        "refuse": [(answer, 0x00050000 | errno.EACCES, "", "")],
    }
    places: dict[str, int] = {}
    steps: list[tuple[int, int, str, str]] = []
    for name, block in blocks.items():
        places[name] = len(steps)
        steps += block

    def jump(name: str, position: int) -> int:
        return places[name] - position - 1 if name else 0

    return [
        (code, jump(yes, position), jump(no, position), value)
        for position, (code, value, yes, no) in enumerate(steps)
    ]


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
    if _CLEAN not in os.environ:  # begun anew, since /proc shows what a process began with
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        command = [sys.executable, "-m", "tools.homework.confined", *sys.argv[1:]]
        os.execve(sys.executable, command, {**kept, _CLEAN: "yes"})
    connection = Path(sys.argv[sys.argv.index("-f") + 1])
    ports = [port for name, port in json.loads(connection.read_text()).items() if "_port" in name]
    private = Path(tempfile.mkdtemp(prefix="hand-in-"))
    for name in ("HOME", "TMPDIR", "IPYTHONDIR", "MPLCONFIGDIR", "XDG_CACHE_HOME"):
        os.environ[name] = str(private)
    tempfile.tempdir = str(private)
    python = {sys.prefix, sys.base_prefix, *site.getsitepackages(), *sysconfig.get_paths().values()}
    system = (
        *("/usr", "/lib", "/lib64", "/bin", "/etc", "/opt", "/proc/self", "/sys/devices", "/dev"),
    )
    read = [*map(Path, (*python, *system)), ROOT / "mmlib", connection]
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_BYTES, _BYTES))
    confine(read, [Path.cwd(), private, Path("/dev/null")], ports)
    from ipykernel.kernelapp import launch_new_instance  # its threads are confined like this one

    launch_new_instance()


if __name__ == "__main__":
    main()
