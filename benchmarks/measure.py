"""Time one package on one case, in a process of its own: ``benchmarks.measure PACKAGE TASK.json``.

A task with an ``action`` is inference; any other is a fit and a refit.

Prints one line of JSON after each stage, so that what was measured before a time limit is kept.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

MAX_REPEATS = 30


def main() -> None:
    package, task_file = sys.argv[1:]
    task = json.loads(Path(task_file).read_text(encoding="utf-8"))
    limit_memory(task["memory_limit"])
    warnings.simplefilter("ignore")
    peer = importlib.import_module(f"benchmarks.peers.{package}")
    report(version=importlib.metadata.version(peer.DISTRIBUTION))
    data = pd.read_csv(task["data"], dtype=dict.fromkeys(task["factors"], "category"))
    if "action" in task:
        measure_inference(peer, task, data)
    else:
        measure_fit(peer, task, data)


def measure_fit(peer: ModuleType, task: dict[str, Any], data: pd.DataFrame) -> None:
    new_response = data.pop(task["new_response"]).to_numpy()
    frame = peer.frame(data)
    before = peak_memory()

    result, fitted = timed(lambda: peer.fit(task, frame), task["budget"])
    report(
        fit=fitted,
        objective=float(peer.objective(result)),
        memory=peak_memory(),
        memory_before=before,
    )
    if hasattr(peer, "refit"):
        refit = peer.refit(task, frame, result)
        result, refitted = timed(lambda: refit(new_response), task["budget"])
        report(refit=refitted, refit_objective=float(peer.objective(result)))


def measure_inference(peer: ModuleType, task: dict[str, Any], data: pd.DataFrame) -> None:
    frame = peer.frame(data)
    before = peak_memory()
    prepare = getattr(peer, task["action"])
    answer, run = timed_anew(lambda: prepare(task, frame), task["budget"])
    numbers = {name: float(value) for name, value in answer.items()}
    report(run=run, answer=numbers, memory=peak_memory(), memory_before=before)


def timed(action: Callable[[], Any], budget: float) -> tuple[Any, dict[str, float]]:
    """Run once to warm up, then as often as `budget` seconds allow; medians of the repeats.

    A first run longer than the budget is itself the measurement.
    """
    return timed_anew(lambda: action, budget)


def timed_anew(
    prepare: Callable[[], Callable[[], Any]], budget: float
) -> tuple[Any, dict[str, float]]:
    """The same, where each run needs a preparation that is not timed.

    A fit that remembers what it was asked would be timed once and then recalled.
    """
    wall: list[float] = []
    cpu: list[float] = []
    result, repeats = None, 0
    while repeats < MAX_REPEATS and (repeats < 2 or sum(wall) < budget):
        action = prepare()
        started, cpu_started = time.perf_counter(), cpu_seconds()
        result = action()
        wall.append(time.perf_counter() - started)
        cpu.append(cpu_seconds() - cpu_started)
        repeats += 1
        if repeats == 1 and wall[0] > budget:
            break
    kept = slice(1 if repeats > 1 else 0, None)
    return result, {
        "seconds": statistics.median(wall[kept]),
        "best": min(wall[kept]),
        "cpu": statistics.median(cpu[kept]),
        "repeats": len(wall[kept]),
    }


def cpu_seconds() -> float:
    """CPU time of this process, its threads and its children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def peak_memory() -> float:
    """Largest resident size so far, in MiB.

    Linux hands ru_maxrss down from the parent; the high-water mark of /proc is the process's own.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text(encoding="utf-8").splitlines()
        marks = [line for line in lines if line.startswith("VmHWM")]
        if marks:
            return int(marks[0].split()[1]) / 1024
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def limit_memory(mebibytes: int) -> None:
    """Let a package that asks for more fail by itself, not take the machine with it."""
    resource.setrlimit(resource.RLIMIT_DATA, (mebibytes * 2**20,) * 2)


def report(**measured: Any) -> None:
    print(json.dumps(measured), flush=True)


if __name__ == "__main__":
    main()
