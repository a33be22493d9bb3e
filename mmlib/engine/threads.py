"""Keep BLAS to one thread while mmlib computes.

The blocks are small: a second thread costs more than it brings (a fit was seven times slower), so
the library limits BLAS itself and users need no environment variable. The limit belongs to the
whole process: the first thread that computes sets it, and the last one gives back what was there.
One large matrix, such as the tail of a crossed design, is given all threads, unless the machine is
busy: threads that wait for a processor cost more than they bring at any size.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

LARGE = 1000
"""Order of a matrix from which several threads help."""

_lock = threading.Lock()
_computing = 0
_limit: Any = None


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


@contextmanager
def single_threaded() -> Iterator[None]:
    """Context in which BLAS uses one thread, in whatever threads it is entered."""
    global _computing, _limit
    with _lock:
        if not _computing:
            _let_any_thread_set_limits()
            _limit = _controller().limit(limits=1, user_api="blas")
        _computing += 1
    try:
        yield
    finally:
        with _lock:
            _computing -= 1
            if not _computing:
                _let_any_thread_set_limits()
                _limit.restore_original_limits()
                _let_any_thread_set_limits()


@contextmanager
def threads_for(order: int) -> Iterator[None]:
    """Context in which BLAS uses all threads it had, for a large matrix on an idle machine."""
    global _limit
    if order < LARGE or not _idle():
        yield
        return
    with _lock:
        alone = _computing == 1
        if alone:
            _let_any_thread_set_limits()
            _limit.restore_original_limits()
    try:
        yield
    finally:
        if alone:
            with _lock:
                _let_any_thread_set_limits()
                _limit = _controller().limit(limits=1, user_api="blas")


def _idle() -> bool:
    """Whether another processor has had nothing to do in the last minute."""
    try:
        return os.getloadavg()[0] <= (os.cpu_count() or 1) - 0.5
    except (AttributeError, OSError):  # where the system does not say
        return True


def _let_any_thread_set_limits() -> None:
    """Newer threadpoolctl heeds one thread alone; here the first and the last may be two."""
    for library in _controller().lib_controllers:
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread(force=True)
