"""How Var(y) moves with each of its parameters, seen through random vectors.

Var(y) = σ²(ZTTᵀZᵀ + R). The derivative G in a parameter is an n×n matrix; what it does between a
few random vectors, LᵀGM, tells linear relations between such matrices as well as they do.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mmlib.arrays import FloatArray, random_matrix
from mmlib.design.residual import Residual
from mmlib.design.terms import RandomTerm, n_theta
from mmlib.errors import RankError

if TYPE_CHECKING:
    from mmlib.design.build import Design

DEPENDENT = 1e-7
"""Singular values below this share of the largest are zero."""

TAKES_PART = 1e-3
"""A parameter with a smaller share in a dependence takes no part in it."""

MAX_PARAMETERS = 250


class Probes:
    """Random vectors between which matrices of n rows are compared."""

    def __init__(self, n: int, n_matrices: int) -> None:
        size = 4 + math.isqrt(2 * n_matrices)  # twice as many products as matrices, and more
        self.left, self.right = np.random.default_rng(0).standard_normal((2, n, size))

    def of_term(self, term: RandomTerm, covariances: FloatArray) -> FloatArray:
        """LᵀZ(I ⊗ E)ZᵀM of each symmetric E, shapes (k, S, S) and (k, size²)."""
        Zt = random_matrix(term.codes, term.model_matrix, term.n_levels).T
        shape = (term.n_levels, term.width, -1)
        pairs = np.tensordot(
            (Zt @ self.left).reshape(shape), (Zt @ self.right).reshape(shape), axes=(0, 0)
        )
        return np.einsum("kst,sltm->klm", covariances, pairs).reshape(len(covariances), -1)

    def of_residual(self, design: Design, blocks: list[FloatArray]) -> FloatArray:
        """LᵀW^(−½)BW^(−½)M of block-diagonal matrices B, each batch with shape (k, U, m, m)."""
        residual = design.residual
        assert residual is not None
        root = 1 / np.sqrt(design.row_weights)[:, None]
        left, right = self.left * root, self.right * root
        total = np.zeros((len(blocks[0]), left.shape[1], right.shape[1]))
        for batch, slopes in zip(residual.batches, blocks, strict=True):
            L, M = left[batch.rows], right[batch.rows]
            n_patterns, m = slopes.shape[1], slopes.shape[2]
            pairs = np.zeros((n_patterns, m, m, L.shape[2], M.shape[2]))
            np.add.at(pairs, batch.pattern, L[:, :, None, :, None] * M[:, None, :, None, :])
            total += np.tensordot(slopes, pairs, axes=((1, 2, 3), (0, 1, 2)))
        return total.reshape(len(total), -1)

    def of_independent(self, design: Design) -> FloatArray:
        """LᵀW⁻¹M, shape (1, size²)."""
        return (self.left.T @ (self.right / design.row_weights[:, None])).reshape(1, -1)


def directions(design: Design, theta: FloatArray, probes: Probes) -> FloatArray:
    """∂(Var(y)/σ²) in the numbers that a search moves, and last R itself: shape (k + 1, size²)."""
    found, start = [], 0
    for term in design.terms:
        entries = theta[start : start + n_theta(term)]
        start += len(entries)
        found.append(probes.of_term(term, term_slopes(term, entries)))
    if design.residual is None:
        return np.vstack([*found, probes.of_independent(design)])
    phi = theta[start:]
    slopes = residual_slopes(design.residual, phi)
    whole = [C[None] for C in design.residual.covariances(phi)]
    if design.residual.size:
        found.append(probes.of_residual(design, slopes))
    return np.vstack([*found, probes.of_residual(design, whole)])


def term_slopes(term: RandomTerm, theta: FloatArray) -> FloatArray:
    """∂(TTᵀ) in the numbers that a search moves, shape (k, S, S)."""
    structure, width = term.part.structure, term.width
    if structure.is_free:
        T = structure.template(theta, width)
        slopes = np.array([structure.template(e, width) for e in np.eye(len(theta))])
    else:
        T, slopes = structure.at(structure.to_smooth(theta, width), width)
    half = slopes @ T.T
    return half + half.transpose(0, 2, 1)


def residual_slopes(residual: Residual, phi: FloatArray) -> list[FloatArray]:
    """∂(DCD) in the entries of φ, shape (k, U, m, m) for each batch."""
    found = []
    by_level, by_visit, correlations = residual.split(phi)
    for batch, sds, C in residual.parts(phi):
        whole = sds[:, :, None] * sds[:, None]
        slopes = []
        for codes, values in ((batch.strata, by_level), (batch.times, by_visit)):
            for k in range(1, len(values)):
                share = (codes == k) / values[k]
                slopes.append((share[:, :, None] + share[:, None]) * whole * C)
        if residual.visits:
            i, j = residual.pairs
            for a, b in zip(i, j, strict=True):
                one, other = batch.times == a, batch.times == b
                met = one[:, :, None] & other[:, None] | other[:, :, None] & one[:, None]
                slopes.append(whole * met)
        elif residual.kind:
            slopes.append(whole * residual.correlation_slope(batch, correlations[0]))
        found.append(np.array(slopes).reshape(residual.size, *C.shape))
    return found


def refuse_unidentified_structure(design: Design) -> None:
    """Refuse parameters of Var(y) that can be traded for others without any change in it.

    Raises
    ------
    RankError
        If there are any; the message says of which terms.
    """
    rng = np.random.default_rng(1)
    theta, owners = [], []
    for term in design.terms:
        structure = term.part.structure
        entries = rng.uniform(0.5, 1.5, n_theta(term))
        if structure.correlation in ("ar1", "exchangeable"):
            entries[-1] = rng.uniform(0.3, 0.6)
        scale = np.sqrt(np.mean(term.model_matrix**2))
        entries[: len(entries) - (not structure.is_free and structure.correlation != "none")] /= (
            scale or 1.0
        )
        theta.append(entries)
        owners += [str(term.part)] * len(entries)
    if design.residual is not None:
        phi = rng.uniform(0.6, 1.4, design.residual.size)
        phi[sum(design.residual.n_ratios) :] = rng.uniform(0.3, 0.4, design.residual.n_correlations)
        theta.append(phi)
        a, _ = design.residual.n_ratios
        owners += [f"dispersion={design.residual.dispersion!r}"] * a
        owners += [f"residual={design.residual.word!r}"] * (len(phi) - a)
    owners.append("the residual variance")
    if len(owners) > MAX_PARAMETERS:
        return
    rows = directions(design, np.concatenate([np.zeros(0), *theta]), Probes(design.n, len(owners)))
    if design.sigma is not None:
        rows = rows[:-1]
    lengths = np.linalg.norm(rows, axis=1)
    if (lengths == 0).any():
        lost = owners[int(np.argmin(lengths))]
        raise RankError(f"the data say nothing of a parameter of {lost}; leave it out.")
    left, sizes, _ = np.linalg.svd(rows / lengths[:, None], full_matrices=False)
    if sizes[-1] > DEPENDENT * sizes[0]:
        return
    taking = np.abs(left[:, -1]) > TAKES_PART
    names = list(dict.fromkeys(o for o, part in zip(owners, taking, strict=True) if part))
    raise RankError(
        f"{' and '.join(names)} cannot be told apart: their parameters can be traded for each "
        "other without any change in the variance of the data; use fewer of them, or a structure "
        "with fewer parameters."
    )

