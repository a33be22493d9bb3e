"""How cost grows with the data: ``python -m benchmarks.scale NAME``, one fit in its own process.

Prints one line of JSON: rows, seconds, CPU seconds, the largest size of the process in GB, the
objective. R's lme4 fits the same data with ``--lme4`` where Rscript has it; ``--save`` adds the
line to scale.csv. The larger cases take minutes and gigabytes.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import mmlib as mm
from benchmarks.cases import CROSSED, NESTED, crossed, nested
from benchmarks.measure import cpu_seconds, peak_memory

HERE = Path(__file__).parent
TABLE = HERE / "scale.csv"
COLUMNS = ("case", "package", "rows", "seconds", "cpu", "memory", "evaluations", "objective")
PART = 10**6
"""Rows of one part."""

LME4 = """
suppressMessages(library(lme4)); d <- read.csv("{file}")
for (n in c({factors})) d[[n]] <- factor(d[[n]])
t <- system.time(f <- lmer({formula}, d, control = lmerControl(calc.derivs = FALSE)))
cat(t[["elapsed"]], t[["user.self"]] + t[["sys.self"]], sprintf("%.8f", REMLcrit(f)))
"""


def parts(schools: int) -> Iterator[pd.DataFrame]:
    """Pupils in classes in schools, never together."""
    for first in range(0, schools, PART // 100):
        yield nested(min(PART // 100, schools - first), first=first)


def more_pupils(rows: int) -> Iterator[pd.DataFrame]:
    """More and more pupils in the classes of the same thousand schools."""
    frame = nested(1000)
    for number in range(rows // len(frame)):
        noise = np.random.default_rng([2, number]).normal(size=len(frame))
        yield frame.assign(y=frame["y"] + noise)


CASES: dict[str, tuple[str, Any]] = {
    **{
        f"nested {n * 100}": (NESTED, lambda n=n: nested(n))
        for n in (1000, 2000, 4000, 8000, 100_000)
    },
    "nested slopes 800000": (
        "y ~ x + (1 + x | school) + (1 + x | class)",
        lambda: nested(8000, slopes=True),
    ),
    **{
        f"parts {n * 100}": (NESTED, lambda n=n: lambda: parts(n))
        for n in (30_000, 100_000, 1_000_000)
    },
    **{f"same schools {n}": (NESTED, lambda n=n: lambda: more_pupils(n)) for n in (10**6, 10**8)},
    "crossed 6000 x 3000": (CROSSED, lambda: crossed(6000, 3000, 10**6)),
    "crossed 20000 x 10000": (CROSSED, lambda: crossed(20_000, 10_000, 10**6)),
    "InstEval": (
        "y ~ 1 + service + (1 | s) + (1 | d) + (1 | dept)",
        lambda: mm.load_dataset("inst_eval"),
    ),
}


def ours(name: str) -> dict[str, Any]:
    """Fit a case by mmlib."""
    formula, load = CASES[name]
    data = load()
    started, cpu = time.perf_counter(), cpu_seconds()
    fit = mm.lmm(formula, data)
    return {
        "case": name,
        "package": "mmlib",
        "rows": fit.nobs,
        "seconds": round(time.perf_counter() - started, 2),
        "cpu": round(cpu_seconds() - cpu, 2),
        "memory": round(peak_memory() / 1024, 2),
        "evaluations": fit.optimum.evaluations,
        "objective": round(fit.objective, 6),
    }


def lme4(name: str) -> dict[str, Any]:
    """Fit it by R's lme4."""
    formula, load = CASES[name]
    data = load()
    factors = ", ".join(f'"{n}"' for n in data.columns if n not in {"y", "x", "service"})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "data.csv"
        data.to_csv(file, index=False)
        script = LME4.format(file=file, factors=factors, formula=formula)
        run = subprocess.run(["Rscript", "-e", script], capture_output=True, text=True, check=True)
    seconds, cpu, objective = map(float, run.stdout.split())
    return {
        "case": name,
        "package": "lme4",
        "rows": len(data),
        "seconds": round(seconds, 2),
        "cpu": round(cpu, 2),
        "objective": round(objective, 6),
    }


def main() -> None:
    """Measure one case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--lme4", action="store_true")
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    line = lme4(options.case) if options.lme4 else ours(options.case)
    print(json.dumps(line))
    if options.save:
        new = not TABLE.exists()
        with TABLE.open("a", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            if new:
                table.writeheader()
            table.writerow(line)


if __name__ == "__main__":
    main()
