"""Where a search starts a second time: designs whose likelihood may have several valleys.

Two valleys need a few levels that tell much of a variance, against others that tell little: level
sizes, or weights, far apart. Of the random designs of `benchmarks.search_study`, every one with two
valleys had a random effect for which the effective number of levels, (Σa)²/Σa² with a the sum of
squares of its column in a level, was below 4; in a balanced design it is the number of levels.
"""

from __future__ import annotations

import numpy as np

from mmlib.arrays import FloatArray
from mmlib.design.terms import RandomTerm
from mmlib.engine.blocks import Blocks

FEW = 6.0
"""Effective number of levels below which a variance may have two estimates,"""

UNEVEN = 0.8
"""if that is less than this share of the levels."""

LARGE, ALMOST_NONE = 30.0, 0.05
"""Relative standard deviations of a start, in scaled columns."""

ALMOST_ONE = 0.9
"""Correlation of a start."""

ONE_VALLEY = 3
"""Entries of θ up to which balanced designs have one valley, as random ones have shown."""


def uneven(blocks: Blocks) -> bool:
    """Whether a random effect of the design rests on a few of its levels."""
    for own in blocks.own:
        sums = np.einsum("lss->sl", own)
        effective = sums.sum(axis=1) ** 2 / (sums**2).sum(axis=1)
        if (effective < min(FEW, UNEVEN * own.shape[0])).any():
            return True
    return False


def further_starts(blocks: Blocks) -> FloatArray:
    """Scaled entries of starts besides the usual one, shape (number, k).

    None for small θ in an even design; otherwise all effects as large as the errors; in uneven
    designs all of them large, each of them alone, all but one, all of them large even for the
    level that tells least, which in units of the others is far out, and large ones that are almost
    one, but for their signs.
    """
    diagonal = [column[0] for column in blocks.theta_columns]
    size = len(diagonal)
    sizes = [np.ones((1, size))] if uneven(blocks) or blocks.n_entries > ONE_VALLEY else []
    if uneven(blocks):
        alone = np.where(np.eye(size), LARGE, ALMOST_NONE)
        but_one = np.where(np.eye(size), ALMOST_NONE, LARGE)
        sizes += [
            np.full((1, size), LARGE),
            alone[: size * (size > 1)],
            but_one[: size * (size > 2)],
        ]
    starts = np.zeros((sum(map(len, sizes)), blocks.n_entries))
    starts[:, diagonal] = np.vstack([np.zeros((0, size)), *sizes])
    if not uneven(blocks):
        return starts
    return np.vstack([starts, _large_for_all(blocks), *_almost_one(blocks)])


def _large_for_all(blocks: Blocks) -> FloatArray:
    """The start at which effects are large for the level that tells least, not only on average."""
    templates = []
    for own in blocks.own:
        sums = np.einsum("lss->ls", own)
        least = np.where(sums > 0, sums, np.inf).min(axis=0) / sums.mean(axis=0)
        templates.append(np.diag(LARGE / np.sqrt(np.maximum(least, LARGE**-4))))
    return blocks.gather(templates)


def _almost_one(blocks: Blocks) -> list[FloatArray]:
    """Starts at which the large effects of a term are correlated: all alike, or one against them.

    The sign of a correlation is a valley that starts without correlations may not reach.
    """
    widest = max(term.width for grouping in blocks.groupings for term in grouping.terms)
    if widest == 1:
        return []
    starts = []
    for against in range(-1, widest if widest > 2 else 1):  # of two, either is against the other
        templates = []
        for grouping in blocks.groupings:
            by_term: dict[RandomTerm, FloatArray] = {}
            for term in grouping.terms:
                signs = np.where(np.arange(term.width) == against, -1.0, 1.0)
                R = ALMOST_ONE * np.outer(signs, signs) + (1 - ALMOST_ONE) * np.eye(term.width)
                by_term[term] = np.asarray(LARGE * np.linalg.cholesky(R))
            templates.append(grouping.assemble(by_term))
        starts.append(blocks.gather(templates))
    return starts
