"""Keep BLAS to one thread while mmlib computes.

The blocks are small: a second thread costs more than it brings (a fit was seven times slower), so
the library limits BLAS itself and users need no environment variable. The limit belongs to the
whole process: the first thread that computes sets it, and the last one gives back what was there.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

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


def _let_any_thread_set_limits() -> None:
    """Newer threadpoolctl heeds one thread alone; here the first and the last may be two."""
    for library in _controller().lib_controllers:
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread(force=True)
