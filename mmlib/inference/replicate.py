"""Draw many replicates: in this process or on an executor, always the same numbers.

Replicates are drawn in chunks of a fixed size. Chunk k has a random stream of its own, spawned from
one seed, so its numbers depend neither on the number of workers nor on the order in which they end;
and a run that was cut short is resumed by drawing the chunks that it lacks.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from mmlib.design.checks import as_generator
from mmlib.engine.threads import single_threaded
from mmlib.errors import MMError

Progress = bool | Callable[[int, int], object] | None
Report = Callable[[int], object]
Outcomes = Generator[tuple[int, Any], None, None]

PATIENCE = 1.0
"""Seconds that a run may take before it shows its progress, or looks for cancelled futures."""


class BootstrapError(MMError):
    """A bootstrap could not be finished; `result` holds what was drawn, and can be resumed.

    Attributes
    ----------
    result : BootstrapTest, BootstrapResult or None
        What was drawn until then; None if nothing was.
    """

    def __init__(self, message: str, result: Any = None) -> None:
        super().__init__(message)
        self.result = result


class BootstrapWarning(UserWarning):
    """A bootstrap was interrupted; it returns what was drawn until then."""


class Task(Protocol):
    """Draws one chunk: `size` replicates, replicate after replicate from `rng`."""

    def __call__(self, rng: np.random.Generator, size: int) -> Any:
        """Return the replicates in any form that can be pickled."""


@dataclass(frozen=True, eq=False)
class Draws:
    """What a run has drawn, and what it takes to go on with it.

    Attributes
    ----------
    seed : SeedSequence
        The parent of the chunks' seeds.
    nsim, chunk : int
        Replicates asked for, and replicates in a chunk (the last may have fewer).
    chunks : dict
        Number of a chunk to what the task returned for it.
    error : Exception or None
        Why the run stopped early, if the executor or the task failed.
    """

    seed: np.random.SeedSequence
    nsim: int
    chunk: int
    chunks: dict[int, Any] = field(repr=False)
    error: Exception | None = None

    def size(self, number: int) -> int:
        """Replicates in a chunk."""
        return min(self.chunk, self.nsim - number * self.chunk)

    @property
    def drawn(self) -> int:
        """Replicates drawn so far."""
        return sum(self.size(number) for number in self.chunks)

    def in_order(self) -> list[Any]:
        """What the task returned, chunk after chunk."""
        return [self.chunks[number] for number in sorted(self.chunks)]


def draw(
    task: Task,
    nsim: int,
    *,
    chunk: int,
    rng: np.random.Generator | int | None,
    executor: Executor | None,
    progress: Progress,
    resume: Draws | None,
) -> Draws:
    """Draw `nsim` replicates of a task, `chunk` at a time.

    The task must be picklable for executors that use processes. The other arguments are those of
    `mmlib.parametric_bootstrap`; the chunks of an earlier run are kept.

    Returns
    -------
    Draws
        Incomplete, with a `BootstrapWarning`, if it was interrupted from the keyboard; incomplete,
        with its `error` set, if the executor or the task failed.
    """
    draws = _begin(nsim, chunk, rng, resume)
    waiting = [number for number in range(-(-nsim // chunk)) if number not in draws.chunks]
    done = _here(task, draws, waiting) if executor is None else _on(executor, task, draws, waiting)
    error = None
    with single_threaded(), _reporting(progress, nsim, draws.drawn) as report:
        try:
            for number, outcome in done:
                if isinstance(outcome, Exception):
                    error = error or outcome
                    continue
                draws.chunks[number] = outcome
                report(draws.size(number))
        except KeyboardInterrupt:
            if not draws.chunks:
                raise
            warnings.warn(
                f"interrupted: {draws.drawn} of {nsim} replicates were drawn; "
                "pass the result as resume= to draw the others.",
                BootstrapWarning,
                stacklevel=3,
            )
        finally:
            done.close()
    return Draws(draws.seed, nsim, chunk, draws.chunks, error)


def _begin(
    nsim: int, chunk: int, rng: np.random.Generator | int | None, resume: Draws | None
) -> Draws:
    if resume is None:
        # Drawing the seed, instead of spawning, also serves generators that cannot spawn.
        entropy = as_generator(rng).integers(2**32, size=4, dtype=np.uint32)
        return Draws(np.random.SeedSequence(entropy.tolist()), nsim, chunk, {})
    draws = Draws(resume.seed, nsim, chunk, {})
    for number, outcome in resume.chunks.items():
        if draws.size(number) == resume.size(number):
            draws.chunks[number] = outcome
    return draws


def _chunk_seed(seed: np.random.SeedSequence, number: int) -> np.random.SeedSequence:
    """The child number `number` of a seed, as `seed.spawn` makes it."""
    return np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, number))


def _draw_chunk(task: Task, seed: np.random.SeedSequence, size: int) -> Any:
    with single_threaded():
        return task(np.random.default_rng(seed), size)


def _here(task: Task, draws: Draws, waiting: list[int]) -> Outcomes:
    """Chunks one after the other, until one fails."""
    for number in waiting:
        rng = np.random.default_rng(_chunk_seed(draws.seed, number))
        try:
            outcome = task(rng, draws.size(number))
        except Exception as error:  # noqa: BLE001  what was drawn before must not be lost
            yield number, error
            return
        yield number, outcome


def _on(executor: Executor, task: Task, draws: Draws, waiting: list[int]) -> Outcomes:
    """Chunks as an executor ends them; an exception in place of those that it could not."""
    futures: dict[Future[Any], int] = {}
    try:
        for number in waiting:
            seed = _chunk_seed(draws.seed, number)
            try:
                future = executor.submit(_draw_chunk, task, seed, draws.size(number))
            except Exception as error:  # noqa: BLE001  an executor may fail in any way
                yield number, error
                break
            futures[future] = number
        for future in _as_they_end(set(futures)):
            try:
                outcome = future.result()
            except Exception as error:  # noqa: BLE001
                outcome = error
            yield futures[future], outcome
    finally:
        for future in futures:
            future.cancel()


def _as_they_end(pending: set[Future[Any]]) -> Iterator[Future[Any]]:
    """The futures as they end; `as_completed` would wait for ever for one that was cancelled."""
    while pending:
        ended, _ = wait(pending, timeout=PATIENCE, return_when=FIRST_COMPLETED)
        ended |= {future for future in pending if future.cancelled()}
        yield from ended
        pending -= ended


@contextmanager
def _reporting(progress: Progress, nsim: int, drawn: int) -> Iterator[Report]:
    """A function to call with the size of each chunk that is done."""
    if callable(progress):
        count = drawn

        def report(size: int) -> None:
            nonlocal count
            count += size
            progress(count, nsim)

        yield report
    elif progress or (progress is None and sys.stderr is not None and sys.stderr.isatty()):
        from tqdm import tqdm  # only where a bar is wanted: the import takes longer than a test

        delay = 0.0 if progress else PATIENCE
        with tqdm(total=nsim, initial=drawn, unit="replicate", delay=delay) as bar:
            yield bar.update
    else:
        yield lambda _: None
