"""What marginal means need to know of the variables of the fixed part, and no more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from mmlib.arrays import FloatArray
from mmlib.design.formula import parse_with_formulaic
from mmlib.design.matrix import factors_of
from mmlib.frozen import Frozen, gives_copies


@gives_copies("cells")
@dataclass(frozen=True, eq=False)
class Facts(Frozen):
    """The combinations of factors that occur, and where the covariates lie.

    Attributes
    ----------
    names : tuple of str
        The variables, in the order of the formula.
    cells : DataFrame
        Each combination of the factors' levels that occurs, once.
    counts : ndarray
        How many rows have it.
    covariates : dict of str to (float, float, float)
        Mean, smallest and largest value.
    """

    names: tuple[str, ...]
    cells: pd.DataFrame = field(repr=False)
    counts: FloatArray
    covariates: Mapping[str, tuple[float, float, float]]

    @classmethod
    def of(cls, fixed: str, frame: pd.DataFrame) -> Facts:
        """Those of a fixed part, in some rows."""
        names: dict[str, None] = {}
        factors = []
        for _, code in factors_of(parse_with_formulaic(fixed)):
            for name in sorted(code.columns):
                dtype = frame[name].dtype
                is_factor = not is_numeric_dtype(dtype) or is_bool_dtype(dtype)
                if (name in code.labels or is_factor) and name not in factors:
                    factors.append(name)
                names[name] = None
        by_cell = frame.groupby(factors or np.zeros(len(frame)), observed=True, sort=False)
        cell = by_cell.ngroup()
        _, first, counts = np.unique(cell, return_index=True, return_counts=True)
        values = {name: frame[name].astype(float) for name in names if name not in factors}
        return cls(
            names=tuple(names),
            cells=frame[factors].iloc[first].reset_index(drop=True),
            counts=counts.astype(float),
            covariates={
                name: (float(column.mean()), float(column.min()), float(column.max()))
                for name, column in values.items()
            },
        )
