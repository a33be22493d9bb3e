"""Designs drawn at random, and what must not change when they are written differently."""

import numpy as np
import pandas as pd
from hypothesis import strategies as st

import mmlib as mm

seeds = st.integers(0, 10**6)


def random_design(seed, n_groups=7):
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(n_groups), rng.integers(2, 7, n_groups))
    n = len(g)
    data = pd.DataFrame(
        {"g": g, "x": rng.normal(size=n), "t": pd.Categorical(rng.permutation(np.arange(n) % 3))}
    )
    data["y"] = data["x"] + 2 * rng.normal(size=n_groups)[g] + rng.normal(size=n)
    return data


def outcome(test):
    return [test.statistic, *test.df, test.pvalue]


def many_rows(n=20_000):
    rng = np.random.default_rng(2)
    g, x = rng.integers(0, 500, n), rng.normal(size=n)
    y = x + rng.normal(size=500)[g] + rng.normal(size=500)[g] * x + rng.normal(size=n)
    return mm.lmm("y ~ x + (x | g)", pd.DataFrame({"g": g, "x": x, "y": y}))
