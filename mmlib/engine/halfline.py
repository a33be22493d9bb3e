"""The objective of one scalar random term over the whole half-line λ ≥ 0 at once.

There may be several minima where the levels differ in size or in weight: some ask for a variance of
zero, others for a large one. An ordinary search ends in one of them.
"""

from __future__ import annotations

import numpy as np

from mmlib.arrays import FloatArray
from mmlib.engine.objective import Objective

RATIO = 1.5
"""Ratio of neighbouring λ: the objective as a function of log λ has no feature narrower than 1."""

FAR = 1e3
"""Beyond λ times (or below 1/λ through) a level's sum of squares by this, it tells nothing new."""

LARGEST = 1e18


def scan(objective: Objective, *, ratio: float = RATIO) -> tuple[FloatArray, FloatArray]:
    """A grid of λ from 0 to where the objective only rises, and the objective there.

    All λ are taken together: T(λ) = within + Σ_j u_j(λ) A_j0ᵀA_j0, with u_j = 1/(a_j (1 + λa_j)),
    is one matrix product (see `mmlib.engine.factor`).
    """
    blocks = objective.blocks
    a, counts, products = _by_size(blocks.own[0][:, 0, 0], blocks.dense[0][:, 0])
    m = products.shape[1]
    within = blocks.plan.corner(blocks.within)

    def values_at(lam: FloatArray) -> FloatArray:
        growth = 1 + lam[:, None] * a
        T = within + ((1 / (a * growth)) @ products.reshape(len(a), -1)).reshape(-1, m, m)
        diagonals = np.diagonal(np.linalg.cholesky(T), axis1=1, axis2=2)
        log_det_X = 2 * np.log(diagonals[:, :-1]).sum(axis=1)
        return objective.compose(np.log(growth) @ counts, log_det_X, diagonals[:, -1] ** 2)

    low, high = 1 / (FAR * a.max()), FAR / a.min()
    lam = np.append(0.0, low * ratio ** np.arange(np.log(high / low) / np.log(ratio) + 1))
    values = values_at(lam)
    while values[-1] < values[-2] and lam[-1] * a.max() < LARGEST:
        further = lam[-1] * ratio ** np.arange(1, 20)
        lam, values = np.append(lam, further), np.append(values, values_at(further))
    return lam, values


def _by_size(a: FloatArray, A10: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The distinct levels' sums of squares, how many have each, and their products A_j0ᵀA_j0."""
    order = np.argsort(a, kind="stable")[np.count_nonzero(a <= 0) :]
    a, A10 = a[order], A10[order]
    sizes, starts, counts = np.unique(a, return_index=True, return_counts=True)
    return sizes, counts.astype(float), np.add.reduceat(A10[:, :, None] * A10[:, None], starts)
