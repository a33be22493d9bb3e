"""Keep BLAS to one thread while mmlib computes.

The blocks are small: a second thread costs more than it brings (a fit was seven times slower), so
the library limits BLAS itself and users need no environment variable.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import lru_cache

from threadpoolctl import ThreadpoolController


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def single_threaded() -> AbstractContextManager[object]:
    """Context in which BLAS uses one thread."""
    return _controller().limit(limits=1, user_api="blas")
