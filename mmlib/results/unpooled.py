"""The effects of each level from its own rows alone: what the conditional modes are shrunk from."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmlib.arrays import FloatArray
from mmlib.design.whiten import Whitener
from mmlib.engine.grouping import Grouping, level_products
from mmlib.results.estimates import Fit, as_tables

NOT_ESTIMABLE = 1e-10
"""Relative eigenvalue below which a level's own rows leave a combination of effects open."""


def unpooled(fit: Fit) -> dict[str, pd.DataFrame]:
    """Estimate the effects of each level by least squares from its own rows alone.

    This is what the conditional modes are shrunk from: level j of a grouping has modes ``W_j
    A_j`` times its unpooled effects, with β and the other groupings' effects as the fit has
    them. In the balanced one-way layout they are ȳ_i − ȳ.

    Returns
    -------
    dict
        For each grouping a table like that of `LMMResult.ranef`; NaN for a level whose own rows
        cannot tell its effects apart.

    Examples
    --------
    >>> import mmlib as mm
    >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    >>> ratio = fit.unpooled()["operator"] / fit.ranef()["operator"]
    >>> round(float(ratio.loc["a", "Intercept"]), 4)
    1.3121
    """
    groupings, resid = fit.blocks.groupings, fit.resid.to_numpy()
    modes, whiten = fit.ranef(), fit.blocks.whiten
    return as_tables(
        groupings, [_least_squares(g, modes[g.name].to_numpy(), resid, whiten) for g in groupings]
    )


def _least_squares(
    grouping: Grouping, modes: FloatArray, resid: FloatArray, whiten: Whitener
) -> FloatArray:
    partial = resid + (grouping.model_matrix * modes[grouping.codes]).sum(axis=1)
    partial, Z = whiten(partial), whiten(grouping.model_matrix @ grouping.basis)
    gram = level_products(grouping.codes, Z, Z, grouping.n_levels)
    score = level_products(grouping.codes, Z, partial[:, None], grouping.n_levels)
    eigenvalues = np.linalg.eigvalsh(gram)
    open_ = eigenvalues[:, 0] <= NOT_ESTIMABLE * eigenvalues[:, -1]
    gram[open_] = np.eye(grouping.width)
    effects = np.linalg.solve(gram, score)[:, :, 0] @ grouping.basis.T
    effects[open_] = np.nan
    return effects
