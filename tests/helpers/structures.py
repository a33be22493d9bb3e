"""One small, unbalanced, unsorted data set, and a table of models with every kind of structure."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

import mmlib as mm
from mmlib.engine.blocks import Blocks


def simulated(n=48, seed=20):
    """Simulate rows with crossed groupings g (6 levels) and h (5), and halves m of each g."""
    rng = np.random.default_rng(seed)
    g, h = rng.permutation(np.arange(n) % 6), rng.integers(0, 5, n)
    x, z = rng.normal(size=(2, n))
    effects = rng.normal(size=(6, 2)) @ np.array([[1.0, 0.4], [0.0, 0.7]])
    y = 3 + x + effects[g, 0] + effects[g, 1] * x + rng.normal(size=5)[h] + rng.normal(size=n)
    return pd.DataFrame(
        {
            "y": y,
            "x": x,
            "z": z,
            "i": rng.integers(0, 5, n),
            "f": np.array(["low", "mid", "high"])[rng.integers(0, 3, n)],
            "g": np.array(list("abcdef"))[g],
            "h": np.array(["h1", "h2", "h3", "h4", "h5"])[h],
            "m": np.array(["first", "second"])[rng.integers(0, 2, n)],
            "w": rng.uniform(0.5, 3, n),
            "shift": rng.normal(size=n),
        }
    )


@dataclass(frozen=True)
class Structure:
    """A formula, with prior weights or an offset where the model has them."""

    formula: str
    weights: str | None = None
    offset: str | None = None

    @cache  # noqa: B019  (a handful of structures)
    def design(self):
        """Return the design of the simulated data; it is frozen, so tests share it."""
        return self.on(simulated())

    def on(self, data):
        """Return the design of other data."""
        return mm.build_design(self.formula, data, weights=self.weights, offset=self.offset)


STRUCTURES = {
    "no random term": Structure("y ~ x + f"),
    "scalar": Structure("y ~ x + (1 | g)"),
    "no fixed effect": Structure("y ~ 0 + (1 | g)"),
    "slope alone": Structure("y ~ x + (0 + x | g)"),
    "vector": Structure("y ~ x + (1 + x | g)"),
    "wide vector": Structure("y ~ x + (1 + x + z | g)"),
    "factor effects": Structure("y ~ f + (0 + f | g)"),
    "uncorrelated": Structure("y ~ x + (1 + x || g)"),
    "two terms on a factor": Structure("y ~ x + (1 + x | g) + (0 + z | g)"),
    "nested": Structure("y ~ x + (1 | g/m)"),
    "crossed": Structure("y ~ x + (1 | g) + (1 | h)"),
    "crossed vectors": Structure("y ~ x * f + (1 + x | g) + (1 + z | h)"),
    "three factors": Structure("y ~ x + (1 | g) + (1 + x | h) + (1 | f)"),
    "everything": Structure("y ~ x + (1 + x || g) + (1 + z | h) + (0 + z | g)", "w", "shift"),
    "weights": Structure("y ~ x + (1 + x | g)", weights="w"),
    "offset": Structure("y ~ x + (1 | g) + (1 | h)", offset="shift"),
    "weights without a random term": Structure("y ~ x", weights="w"),
}


def thetas(structure, seed=7):
    """Return θ of every kind, by name; at the identity every template is the unit matrix."""
    blocks = Blocks(structure.design())
    identity = blocks.gather([np.eye(grouping.width) for grouping in blocks.groupings])
    inside = identity + np.random.default_rng(seed).uniform(-0.4, 0.4, len(identity))
    return {
        "identity": identity,
        "inside": inside,
        "some zeros": inside * (np.arange(len(identity)) % 2),
        "negative": -inside,
        "zero": 0 * identity,
    }


POINTS = [
    (name, kind)
    for name, structure in STRUCTURES.items()
    for kind in (thetas(structure) if "|" in structure.formula else ["identity"])
]
