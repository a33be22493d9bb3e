"""How often a search ends in a valley that is not the lowest: random designs, counted by kind.

    python -m benchmarks.search_study                  # 6000 designs, about twenty minutes
    python -m benchmarks.search_study 300 --first 5000 # another 300

Designs are small, their level sizes and weights far apart, their variances anything from none to
many times the errors'. With one variance the fit is held against a fine scan of the half-line, with
several against searches from a dozen random places.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Iterator

import numpy as np
import pandas as pd

import mmlib as mm
from mmlib.engine.halfline import scan
from mmlib.engine.objective import Objective
from mmlib.engine.optimize import minimize_objective, search_from
from mmlib.engine.spectral import SpectralModel
from mmlib.engine.starts import uneven
from mmlib.engine.threads import single_threaded

FORMULAS = {
    "one variance": ("y ~ x + (1 | g)", "y ~ 1 + (1 | g)", "y ~ x + (0 + x | g)"),
    "two": ("y ~ x + (1 + x || g)", "y ~ x + (1 | g) + (1 | h)", "y ~ x + (1 | g/m)"),
    "correlated": ("y ~ x + (x | g)", "y ~ c + (0 + c | g)", "y ~ x + (x | g) + (1 | h)"),
    "wide": ("y ~ f + (0 + f | g)", "y ~ x + (1 + x + z | g)"),
}
LOG_SD_OF_WEIGHTS = (0.0, 1.5, 3.0, 5.0)
RANDOM_STARTS = 12
MISSED = 1e-5
"""Share of the objective by which another minimum must be lower to count as missed."""


def random_data(rng: np.random.Generator, log_sd: float) -> pd.DataFrame:
    """A small table with groupings of very unequal sizes."""
    n, levels, columns = (
        int(rng.integers(20, 120)),
        int(rng.integers(4, 13)),
        int(rng.integers(3, 9)),
    )
    g = rng.choice(levels, n, p=rng.dirichlet(np.full(levels, rng.choice([0.4, 1.0, 20.0]))))
    h = rng.choice(columns, n, p=rng.dirichlet(np.full(columns, rng.choice([0.5, 20.0]))))
    data = pd.DataFrame({"g": g, "h": h, "m": rng.integers(0, 2, n)})
    data["c"], data["f"] = rng.choice(list("ab"), n), rng.choice(list("abc"), n)
    data["x"] = rng.standard_normal(n) + rng.choice([0, 1]) * g
    data["z"] = rng.standard_normal(n)
    data["w"] = np.exp(log_sd * rng.standard_normal(n))
    sizes = rng.choice([0, 0.5, 2, 10]), rng.choice([0, 0.3, 1]), rng.choice([0, 0.5, 3])
    noise = rng.standard_normal(n) * rng.choice([1, 1, 3], n)
    data["y"] = noise / np.sqrt(data["w"] if rng.integers(2) else 1.0)
    data["y"] += sizes[0] * rng.standard_normal(levels)[g]
    data["y"] += sizes[1] * rng.standard_normal(levels)[g] * data["x"]
    data["y"] += sizes[2] * rng.standard_normal(columns)[h]
    return data


def lowest_known(objective: Objective, rng: np.random.Generator) -> float:
    """The lowest value of the objective that a thorough search finds."""
    blocks, design = objective.blocks, objective.blocks.design
    if blocks.n_entries == 1:
        by_eigenvalues = SpectralModel(design).fit(design.y[None], reml=objective.reml).objective
        return float(min(by_eigenvalues[0], scan(objective, ratio=1.02)[1].min()))
    identity = blocks.gather([np.eye(grouping.width) for grouping in blocks.groupings])
    sizes = np.exp(rng.uniform(np.log(0.02), np.log(1000), (RANDOM_STARTS, len(identity))))
    return min(search_from(objective, start) for start in identity * sizes)


def kind_of(number: int) -> tuple[str, float]:
    """The kind of model of a design, and the spread of its weights."""
    place, kind = divmod(number, len(FORMULAS))
    return list(FORMULAS)[kind], LOG_SD_OF_WEIGHTS[place % len(LOG_SD_OF_WEIGHTS)]


def problem(number: int) -> tuple[Objective, np.random.Generator]:
    """One design, and the generator that made it, for the random starts."""
    rng = np.random.default_rng([2026, number])
    kind, log_sd = kind_of(number)
    data = random_data(rng, log_sd)
    design = mm.build_design(str(rng.choice(FORMULAS[kind])), data, weights="w")
    return mm.Objective(design, reml=bool(rng.integers(2))), rng


def study(number: int) -> dict[str, object] | None:
    """One design: whether the fit was the lowest; None if the model does not suit the data."""
    kind, log_sd = kind_of(number)
    try:
        objective, rng = problem(number)
        started = time.process_time()
        found = minimize_objective(objective)
        seconds = time.process_time() - started
    except mm.MMError:
        return None
    lowest = lowest_known(objective, rng)
    tolerance = MISSED * (1 + abs(lowest))
    return {
        "variances": kind,
        "log sd of weights": log_sd,
        "designs": 1,
        "uneven": uneven(objective.blocks),
        "two valleys": found.valleys > 1,
        "missed": found.objective > lowest + tolerance,
        "only here": found.objective < lowest - tolerance,
        "not converged": not found.converged,
        "ms": 1e3 * seconds,
    }


def studies(first: int, number: int) -> Iterator[dict[str, object]]:
    """All designs that suit their models."""
    with single_threaded(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for k in range(first, first + number):
            found = study(k)
            if found is not None:
                if found["missed"]:
                    print(f"missed: number {k}", flush=True)
                yield found


def table(rows: list[dict[str, object]]) -> pd.DataFrame:
    """Counts by kind of model and spread of the weights, and the median time of a search."""
    grouped = pd.DataFrame(rows).groupby(["variances", "log sd of weights"], sort=False)
    counts = grouped.sum(numeric_only=False).drop(columns="ms").astype(int)
    counts.loc[("all", ""), :] = counts.sum()
    counts["median ms"] = grouped["ms"].median().round(1)
    return counts.astype(dict.fromkeys(counts.columns[:-1], int))


def main(arguments: list[str] | None = None) -> int:
    """Run the study, and print its table."""
    parser = argparse.ArgumentParser(
        prog="search_study",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("designs", type=int, nargs="?", default=6000)
    parser.add_argument("--first", type=int, default=0, help="number of the first design")
    options = parser.parse_args(arguments)
    rows = list(studies(options.first, options.designs))
    print(table(rows).to_string())
    return int(any(row["missed"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
