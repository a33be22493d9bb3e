"""How far a search or a simulation has come: shown where it takes more than a few seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mmlib.design.checks import require_progress

Watch = Callable[[int, Any], object]
Progress = bool | Watch | None

PATIENCE = 3.0
"""Seconds that something may take before it shows its progress."""


@contextmanager
def watching(progress: Progress, unit: str, **bar_options: Any) -> Iterator[Watch]:
    """A function to call with a count and a number beside it.

    The number is the objective after so many evaluations, or how many replicates there will be.
    """
    require_progress(progress)
    if callable(progress):
        yield progress
    elif progress or (progress is None and sys.stderr is not None and sys.stderr.isatty()):
        from tqdm import tqdm  # only where it is wanted: the import takes longer than a fit

        with tqdm(unit=unit, delay=0.0 if progress else PATIENCE, **bar_options) as bar:

            def show(count: int, value: float) -> None:
                if bar.total is None:
                    bar.set_postfix(objective=f"{value:.10g}", refresh=False)
                bar.update(count - bar.n)

            yield show
    else:
        yield lambda *_: None
