"""Draw many replicates: in this process or on an executor, always the same numbers.

Each replicate has a random stream of its own, found by its number. So its numbers depend neither on
how many are drawn together, nor on the workers and the order in which they end; and a run that was
cut short, or was too short, is resumed by drawing the replicates that it lacks.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from scipy.special import ndtri

from mmlib.arrays import FloatArray
from mmlib.design.checks import as_generator, require_executor
from mmlib.engine.progress import Progress, watching
from mmlib.engine.threads import single_threaded
from mmlib.errors import DataError, MMError, warn
from mmlib.frozen import Frozen

Task = Callable[[np.random.SeedSequence, range], Any]
"""Draws the replicates with these numbers; what it returns can be pickled."""

Result = TypeVar("Result")
Outcomes = Generator[tuple[range, Any], None, None]

PATIENCE = 1.0
"""Seconds between looks for cancelled futures."""

SMALLEST = 2.0**-54
"""Stands for a uniform number of zero, whose normal quantile is infinite."""


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
    """A simulation was interrupted; it returns what was drawn until then."""


@dataclass(frozen=True, eq=False)
class Draws(Frozen):
    """What a run has drawn, and what it takes to go on with it.

    Attributes
    ----------
    seed : SeedSequence
        Where the streams of all replicates come from.
    nsim : int
        Replicates asked for.
    parts : mapping
        Numbers of replicates that were drawn together, to what the task returned for them.
    origin : str
        What is drawn: the draws of another are not resumed.
    error : Exception or None
        Why the run stopped early, if the executor, the task or a progress function failed.
    """

    seed: np.random.SeedSequence
    nsim: int
    parts: Mapping[range, Any] = field(repr=False)
    origin: str = ""
    error: Exception | None = None

    @property
    def drawn(self) -> int:
        """Replicates drawn so far."""
        return _count(self.parts)

    def in_order(self) -> list[Any]:
        """What the task returned, part after part."""
        return [self.parts[part] for part in _sorted(self.parts)]


def normals(seed: np.random.SeedSequence, part: range, size: int) -> FloatArray:
    """Standard normal numbers, `size` for each replicate of a part: shape (len(part), size).

    The replicates share one sequence of numbers, of which each has its own stretch. A normal number
    is the quantile of one uniform number, so it is known where the stretch of a replicate begins,
    and a part is drawn at once: a generator for each replicate would take longer than a refit.
    """
    bits = np.random.PCG64DXSM(seed)
    bits.advance(part.start * size)
    uniform = np.random.Generator(bits).random((len(part), size))
    return ndtri(np.maximum(uniform, SMALLEST, out=uniform), out=uniform)


def draw(
    task: Task,
    nsim: int,
    *,
    chunk: int,
    rng: np.random.Generator | int | None,
    executor: Executor | None = None,
    progress: Progress = None,
    resume: Draws | None = None,
    origin: str = "",
) -> Draws:
    """Draw `nsim` replicates of a task, at most `chunk` at a time.

    The task must be picklable for executors that use processes. `origin` says what it draws; the
    other arguments are those of `mmlib.bootstrap`. What an earlier run has drawn is kept.

    Returns
    -------
    Draws
        Incomplete, with a `BootstrapWarning`, if it was interrupted from the keyboard; incomplete,
        with its `error` set, if the executor, the task or `progress` failed.

    Raises
    ------
    DataError
        If `resume` is of another origin, or `executor` or `progress` cannot be one.
    """
    require_executor(executor)
    seed, parts = _begin(nsim, rng, resume, origin)
    missing = list(_missing(parts, nsim, chunk))
    done = _here(task, seed, missing) if executor is None else _on(executor, task, seed, missing)
    error = None
    with (
        single_threaded(),
        watching(progress, "replicate", total=nsim, initial=_count(parts)) as report,
    ):
        try:
            for part, outcome in done:
                if isinstance(outcome, Exception):
                    error = error or outcome
                    continue
                parts[part] = outcome
                report(_count(parts), nsim)
        except KeyboardInterrupt:
            if not parts:
                raise
            warn_interrupted(_count(parts), nsim)
        except Exception as problem:  # noqa: BLE001  the progress function is the user's
            error = problem
        finally:
            done.close()
    return Draws(seed, nsim, parts, origin, _explained(error, task))


def earlier(resume: object, kind: type[Result]) -> Result:
    """Check that what is to be resumed is an earlier result.

    Raises
    ------
    DataError
        If it is anything else.
    """
    if not isinstance(resume, kind):
        raise DataError(
            f"resume must be an earlier result of the same call, not {type(resume).__name__}; "
            "that of a BootstrapError is its .result."
        )
    return resume


def finished(
    result: Result | None, draws: Draws, *, where: str = "", first_error: str = ""
) -> Result:
    """The result of a run.

    Raises
    ------
    BootstrapError
        If the run failed, or no replicate succeeded.
    """
    if draws.error is not None:
        raise BootstrapError(
            f"the run failed after {draws.drawn} of {draws.nsim} replicates{where} "
            f"({type(draws.error).__name__}: {draws.error}). What was drawn is in the .result of "
            "this error: once the cause is fixed, pass it as resume= to draw the others.",
            result,
        ) from draws.error
    if result is None:
        reason = f" The first message was: {first_error}" if first_error else ""
        raise BootstrapError(f"all {draws.drawn} replicates failed.{reason}")
    return result


def warn_interrupted(drawn: int, nsim: int) -> None:
    """Warn that an interrupted simulation still has a result."""
    warn(
        f"interrupted: {drawn} of {nsim} replicates were drawn, and the result is that of these. "
        "Where there is a resume=, pass it there to draw the others.",
        BootstrapWarning,
    )


def _begin(
    nsim: int, rng: np.random.Generator | int | None, resume: Draws | None, origin: str
) -> tuple[np.random.SeedSequence, dict[range, Any]]:
    """The seed of all streams, and what is drawn already."""
    if resume is None:
        # Drawing the seed, instead of spawning, also serves generators that cannot spawn.
        entropy = as_generator(rng).integers(2**32, size=4, dtype=np.uint32)
        return np.random.SeedSequence(entropy.tolist()), {}
    if resume.origin != origin:
        raise DataError(
            "resume= holds the draws of another fit or statistic, or of other data, weights or "
            "criterion: start anew without it."
        )
    return resume.seed, {part: each for part, each in resume.parts.items() if part.stop <= nsim}


def _count(parts: Iterable[range]) -> int:
    return sum(map(len, parts))


def _sorted(parts: Iterable[range]) -> list[range]:
    return sorted(parts, key=lambda part: part.start)


def _missing(parts: Iterable[range], nsim: int, chunk: int) -> Iterator[range]:
    """What is still to be drawn, in chunks."""
    done = 0
    for part in [*_sorted(parts), range(nsim, nsim)]:
        for start in range(done, part.start, chunk):
            yield range(start, min(start + chunk, part.start))
        done = part.stop


def _draw_part(task: Task, seed: np.random.SeedSequence, part: range) -> Any:
    with single_threaded():
        return task(seed, part)


def _here(task: Task, seed: np.random.SeedSequence, missing: list[range]) -> Outcomes:
    """Parts one after the other, until one fails."""
    for part in missing:
        try:
            outcome = task(seed, part)
        except Exception as error:  # noqa: BLE001  what was drawn before must not be lost
            yield part, error
            return
        yield part, outcome


def _on(
    executor: Executor, task: Task, seed: np.random.SeedSequence, missing: list[range]
) -> Outcomes:
    """Parts as an executor ends them; an exception in place of those that it could not."""
    futures: dict[Future[Any], range] = {}
    try:
        for part in missing:
            try:
                future = executor.submit(_draw_part, task, seed, part)
            except Exception as error:  # noqa: BLE001  an executor may fail in any way
                yield part, error
                break
            futures[future] = part
        for future in _as_they_end(set(futures)):
            try:
                outcome = future.result()
            except Exception as error:  # noqa: BLE001
                outcome = error
            yield futures[future], outcome
    finally:
        for future in futures:
            future.cancel()


def _explained(error: Exception | None, task: Task) -> Exception | None:
    """The error; if the task could not be pickled, one that says so in every version of Python."""
    if error is None:
        return None
    try:
        pickle.dumps(task)
    except Exception as problem:  # noqa: BLE001  a class may refuse in any way
        if (type(problem), str(problem)) == (type(error), str(error)):
            explained = pickle.PicklingError(
                f"{error}. What goes to another process must be picklable: the statistic must be a "
                "function of a module, not a lambda or a function within another"
            )
            explained.__cause__ = error
            return explained
    return error


def _as_they_end(pending: set[Future[Any]]) -> Iterator[Future[Any]]:
    """The futures as they end; `as_completed` would wait for ever for one that was cancelled."""
    while pending:
        ended, _ = wait(pending, timeout=PATIENCE, return_when=FIRST_COMPLETED)
        ended |= {future for future in pending if future.cancelled()}
        yield from ended
        pending -= ended
