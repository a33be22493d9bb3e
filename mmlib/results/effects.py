"""What a fit knows about its random effects, and how well.

Two variances must not be mixed up. Given y, and with β taken as known, the random effects vary
around their conditional modes with Var(b | y). But β was estimated from the same data, and its
error moves the modes too: Var(b̂ − b), the prediction-error variance, is never smaller. (Henderson
1975, Best linear unbiased estimation and prediction under a selection model, Biometrics
31:423–447, doi:10.2307/2529430.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mmlib.arrays import FloatArray
from mmlib.engine.grouping import Grouping


def as_tables(
    groupings: Sequence[Grouping], values: Sequence[FloatArray]
) -> dict[str, pd.DataFrame]:
    """Arrays of shape (ℓ, S), one for each grouping, as tables of levels × columns."""
    return {
        grouping.name: pd.DataFrame(
            table.copy(),
            index=grouping.terms[0].levels,
            columns=[name for term in grouping.terms for name in term.columns],
        )
        for grouping, table in zip(groupings, values, strict=True)
    }


def standard_deviations(variances: FloatArray) -> FloatArray:
    """Square roots of the diagonals of variance matrices of shape (ℓ, S, S): shape (ℓ, S)."""
    # A variance that is exactly zero may come out as minus a rounding error.
    return np.sqrt(np.maximum(np.diagonal(variances, axis1=1, axis2=2), 0.0))
