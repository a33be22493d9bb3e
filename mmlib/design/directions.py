"""How Var(y) moves with each of its parameters, seen through random vectors.

Var(y) = σ²(ZTTᵀZᵀ + R). The derivative G in a parameter is an n×n matrix; what it does between a
few random vectors, LᵀGM, tells linear relations between such matrices as well as they do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mmlib.arrays import FloatArray, random_matrix, triangle_units
from mmlib.design.residual import Residual
from mmlib.design.terms import RandomTerm, n_theta, theta_by_term


class Probes:
    """Random vectors between which matrices of n rows, weighted, are compared."""

    def __init__(self, row_weights: FloatArray, n_matrices: int) -> None:
        size = 4 + math.isqrt(2 * n_matrices)  # twice as many products as matrices, and more
        shape = (2, len(row_weights), size)
        self.left, self.right = np.random.default_rng(0).standard_normal(shape)
        self._root = 1 / np.sqrt(row_weights)[:, None]

    def of_term(self, term: RandomTerm, covariances: FloatArray) -> FloatArray:
        """LᵀZ(I ⊗ E)ZᵀM of each symmetric E, shapes (k, S, S) and (k, size²)."""
        Zt = random_matrix(term.codes, term.model_matrix, term.n_levels).T
        shape = (term.n_levels, term.width, -1)
        pairs = np.tensordot(
            (Zt @ self.left).reshape(shape), (Zt @ self.right).reshape(shape), axes=(0, 0)
        )
        return np.einsum("kst,sltm->klm", covariances, pairs).reshape(len(covariances), -1)

    def of_entries(self, term: RandomTerm) -> FloatArray:
        """The same of each entry of a term's covariance; orthonormal columns cost no digits."""
        orthonormal = term.with_rows(term.codes, np.linalg.qr(term.model_matrix)[0])
        return self.of_term(orthonormal, triangle_units(term.width))

    def of_residual(self, residual: Residual, blocks: list[FloatArray]) -> FloatArray:
        """LᵀW^(−½)BW^(−½)M of block-diagonal matrices B, each batch with shape (k, U, m, m)."""
        left, right = self.left * self._root, self.right * self._root
        total = np.zeros((len(blocks[0]), left.shape[1], right.shape[1]))
        for batch, slopes in zip(residual.batches, blocks, strict=True):
            L, M = left[batch.rows], right[batch.rows]
            n_patterns = slopes.shape[1]
            for one in range(n_patterns):
                own = batch.pattern == one
                pairs = np.tensordot(L[own], M[own], axes=(0, 0)).transpose(0, 2, 1, 3)
                total += np.tensordot(slopes[:, one], pairs, axes=((1, 2), (0, 1)))
        return total.reshape(len(total), -1)

    def of_errors(
        self, residual: Residual | None = None, phi: FloatArray | None = None
    ) -> FloatArray:
        """LᵀRM of the errors, LᵀW⁻¹M if they are independent, shape (1, size²)."""
        if residual is None or phi is None:
            return (self.left.T @ (self.right * self._root**2)).reshape(1, -1)
        return self.of_residual(residual, [C[None] for C in residual.covariances(phi)])


def directions(
    terms: Sequence[RandomTerm], residual: Residual | None, theta: FloatArray, probes: Probes
) -> FloatArray:
    """∂(Var(y)/σ²) in the numbers that a search moves, and last R itself: shape (k + 1, size²)."""
    found = [
        probes.of_term(term, term_slopes(term, own))
        for term, own in zip(terms, theta_by_term(terms, theta), strict=True)
    ]
    phi = theta[sum(map(n_theta, terms)) :]
    if residual is not None:
        found.append(probes.of_residual(residual, residual_slopes(residual, phi)))
    return np.vstack([*found, probes.of_errors(residual, phi)])


def term_slopes(term: RandomTerm, theta: FloatArray) -> FloatArray:
    """∂(TTᵀ) in the numbers that a search moves, shape (k, S, S)."""
    structure, width = term.part.structure, term.width
    T, slopes = structure.at(structure.to_smooth(theta, width), width)
    half = slopes @ T.T
    return half + half.transpose(0, 2, 1)


def residual_slopes(residual: Residual, phi: FloatArray) -> list[FloatArray]:
    """∂(DCD) in the entries of φ, shape (k, U, m, m) for each batch."""
    found = []
    by_level, by_visit, correlations = residual.split(phi)
    for batch, sds, C in residual.by_batch(phi):
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


def random_theta(
    terms: Sequence[RandomTerm], residual: Residual | None, rng: np.random.Generator
) -> FloatArray:
    """A θ off every boundary, of the size that the columns of the terms suggest."""
    found = []
    for term in terms:
        scale = np.sqrt(np.mean(term.model_matrix**2)) or 1.0
        entries = rng.uniform(0.5, 1.5, n_theta(term)) / scale
        if term.part.structure.has_rho:
            entries[-1] = rng.uniform(0.3, 0.6)
        found.append(entries)
    if residual is not None:
        ratios = rng.uniform(0.6, 1.4, sum(residual.n_ratios))
        found.append(np.append(ratios, rng.uniform(0.3, 0.4, residual.n_correlations)))
    return np.concatenate([np.zeros(0), *found])
