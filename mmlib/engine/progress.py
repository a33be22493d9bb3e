"""How far a search has come: shown for those that take more than a few seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mmlib.design.checks import require_progress

Progress = bool | Callable[[int, float], object] | None
Watch = Callable[[int, float], object]

PATIENCE = 3.0
"""Seconds that a fit may take before it shows its progress."""


@contextmanager
def watching(progress: Progress) -> Iterator[Watch]:
    """A function to call with the number of evaluations and the objective, after each of them."""
    require_progress(progress)
    if callable(progress):
        yield progress
    elif progress or (progress is None and sys.stderr is not None and sys.stderr.isatty()):
        from tqdm import tqdm  # only where it is wanted: the import takes longer than a fit

        with tqdm(unit="evaluation", delay=0.0 if progress else PATIENCE) as bar:

            def show(count: int, value: float) -> None:
                bar.set_postfix(objective=f"{value:.10g}", refresh=False)
                bar.update(count - bar.n)

            yield show
    else:
        yield lambda *_: None
