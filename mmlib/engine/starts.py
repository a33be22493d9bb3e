"""Where a search starts a second time: designs whose likelihood may have several valleys.

Two valleys need a few levels that tell much of a variance, against others that tell little: level
sizes, or weights, far apart. Of the random designs of `tools.book.search_study`, every one with two
valleys had a random effect for which the effective number of levels, (Σa)²/Σa² with a the sum of
squares of its column in a level, was below 4; in a balanced design it is the number of levels.
"""

from __future__ import annotations

import numpy as np

from mmlib.arrays import FloatArray
from mmlib.engine.blocks import Blocks

FEW = 6.0
"""Effective number of levels below which a variance may have two estimates,"""

UNEVEN = 0.8
"""if that is less than this share of the levels."""

LARGE, ALMOST_NONE = 30.0, 0.05
"""Relative standard deviations of a start, in scaled columns."""

ONE_VALLEY = 3
"""Entries of θ up to which balanced designs have one valley, as random ones have shown."""


def uneven(blocks: Blocks) -> bool:
    """Whether a random effect of the design rests on a few of its levels."""
    for own in blocks.own_products():
        sums = np.einsum("lss->sl", own)
        effective = sums.sum(axis=1) ** 2 / (sums**2).sum(axis=1)
        if (effective < min(FEW, UNEVEN * own.shape[0])).any():
            return True
    return False


def further_starts(blocks: Blocks) -> FloatArray:
    """Scaled entries of starts besides the usual one, shape (number, k).

    None for small θ in an even design; otherwise all effects as large as the errors; in uneven
    designs all of them large, and each of them alone.
    """
    diagonal = [column[0] for column in blocks.theta_columns]
    even, alone = np.zeros((2, blocks.theta_size)), np.zeros((len(diagonal), blocks.theta_size))
    even[:, diagonal] = np.array([[1.0], [LARGE]])
    alone[:, diagonal] = ALMOST_NONE
    alone[np.arange(len(diagonal)), diagonal] = LARGE
    if uneven(blocks):
        return np.vstack([even, alone] if len(diagonal) > 1 else [even])
    return even[: int(blocks.theta_size > ONE_VALLEY)]
