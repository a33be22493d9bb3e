"""The effects of each level from its own rows alone: what the conditional modes are shrunk from."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmlib.arrays import FloatArray
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
    blocks, resid, effects = fit.blocks, fit.resid.to_numpy(), []
    groupings = zip(blocks.groupings, fit.ranef().values(), blocks.own, blocks.Zt, strict=True)
    for grouping, modes, gram, Zt in groupings:
        partial = resid + (grouping.model_matrix * modes.to_numpy()[grouping.codes]).sum(axis=1)
        score = (Zt @ blocks.whiten(partial)).reshape(*gram.shape[:2], 1)
        effects.append(_solved(gram, score) @ grouping.basis.T)
    return as_tables(blocks.groupings, effects)


def _solved(gram: FloatArray, score: FloatArray) -> FloatArray:
    """The effects of each level, shape (ℓ, S); NaN where its rows cannot tell them apart."""
    eigenvalues = np.linalg.eigvalsh(gram)
    unknown = eigenvalues[:, 0] <= NOT_ESTIMABLE * eigenvalues[:, -1]
    known = np.where(unknown[:, None, None], np.eye(gram.shape[1]), gram)
    return np.where(unknown[:, None], np.nan, np.linalg.solve(known, score)[:, :, 0])
