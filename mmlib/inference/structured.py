"""What F tests rest on where covariances have structure: their V is not linear in its parameters.

The expected information and the adjustment are

    Φ_A = Φ + 2Φ{Σ W_rs(Q_rs − P_rΦP_s − ¼R_rs)}Φ,   R_rs = XᵀV⁻¹(∂²V/∂ψ_r∂ψ_s)V⁻¹X,

of which only R depends on the choice of parameters ψ. They are those in which V is linear, where
there are such (variances and covariances: of an unstructured residual, of compound symmetry with
one variance, of levels of a factor), and otherwise variances and correlations, as in SAS's MIXED.

Where residuals have a structure, the rows fall into clusters that share no random effect and no
subject, and P is a matrix for each cluster beside XΦXᵀ: the work is linear in the clusters.
(Kenward & Roger 1997, Biometrics 53, 983–997.)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mmlib.arrays import FloatArray, IntArray
from mmlib.design.directions import residual_slopes
from mmlib.design.residual import Residual
from mmlib.design.terms import RandomTerm, theta_by_term
from mmlib.errors import RankError
from mmlib.inference.clusters import independent, of_term_among, rows_by, variance_among
from mmlib.inference.information import Information, term_directions, vcov_over_variance
from mmlib.results.estimates import Fit

CURVE_STEP = 1e-2
"""Step of second differences, in standard errors."""

SECOND_DIFFERENCE = {-2: -1 / 12, -1: 16 / 12, 0: -30 / 12, 1: 16 / 12, 2: -1 / 12}
"""Weights of the values at so many steps."""

LARGEST_CLUSTER = 1500
"""Rows of a cluster beyond which its matrices are too large."""


def expected(fit: Fit) -> Information | ClusterInformation:
    """Expected information of a fit, whatever its covariances are."""
    return Information(fit) if fit.design.residual is None else ClusterInformation(fit)


def increase(fit: Fit, known: Information | ClusterInformation, W: FloatArray) -> FloatArray:
    """Φ_A − Φ, given the covariance of the directions and, unless σ is known, the scale."""
    k = len(known.vcov_slopes)
    found = known.increase(W[:k, :k])
    bent = [] if fit.is_singular or not fit.design.structured else _bent(fit, W)
    if any(change.any() for change in bent):
        found -= known.contract(bent) / 2
    return found


class ClusterInformation:
    """What `Information` is where residuals have a structure, cluster by cluster.

    Directions are the covariances of a term without a structure, what a search moves of one that
    has one, and φ.

    Attributes
    ----------
    Phi : ndarray, shape (p, p)
        (XᵀV⁻¹X)⁻¹ in the orthonormal basis of X, relative to σ².
    vcov_slopes : ndarray, shape (k, p, p)
        ∂Φ in the directions.
    traces : ndarray, shapes (k,) and (k, k)
        Of PG_r, and of PG_rPG_s.
    """

    def __init__(self, fit: Fit) -> None:
        self._fit, design, residual = fit, fit.design, fit.design.residual
        assert residual is not None
        thetas = theta_by_term(design.terms, fit.theta)
        self._patterns = [
            term_directions(term, theta, np.eye(term.width))
            for term, theta in zip(design.terms, thetas, strict=True)
        ]
        self._clusters = rows_by(independent(design))
        largest = max(map(len, self._clusters))
        if largest > LARGEST_CLUSTER:
            raise RankError(
                f"Kenward–Roger's test of {design.formula} needs a matrix of {largest} × "
                f"{largest}: random effects and subjects of the residuals tie so many rows "
                "together. Use ddf='satterthwaite', or the parametric bootstrap."
            )
        self._residual_slopes = residual_slopes(residual, design.phi(fit.theta))
        self._subjects = {
            int(residual.subjects[rows[0]]): (rows, number, pattern)
            for number, batch in enumerate(residual.batches)
            for rows, pattern in zip(batch.rows, batch.pattern, strict=True)
        }
        self._X = design.X @ np.linalg.inv(fit.blocks.R)
        self.Phi = Phi = vcov_over_variance(fit)
        root = np.linalg.cholesky(Phi)
        k, p = sum(map(len, self._patterns)) + residual.size, design.p
        single, double, through = np.zeros(k), np.zeros((k, k)), np.zeros((k, k))
        self._M = np.zeros((k, p, p))
        for rows in self._clusters:
            D, inverse, Y = self._matrices(rows)
            A, B = inverse @ D, D @ Y
            single += np.einsum("kaa->k", A)
            double += A.reshape(k, -1) @ A.transpose(0, 2, 1).reshape(k, -1).T
            self._M += Y.T @ B
            half = (np.linalg.cholesky(inverse).T @ B @ root).reshape(k, -1)
            through += half @ half.T
        PhiM = Phi @ self._M
        self.vcov_slopes = PhiM @ Phi
        both = PhiM.reshape(k, -1) @ PhiM.transpose(0, 2, 1).reshape(k, -1).T
        self.traces = single - np.einsum("kaa->k", PhiM), double - 2 * through + both

    def increase(self, W: FloatArray) -> FloatArray:
        """2Φ{Σ W_rs(Q_rs − P_rΦP_s)}Φ."""
        total = np.zeros_like(self.Phi)
        for rows in self._clusters:
            D, inverse, Y = self._matrices(rows)
            B = D @ Y
            turned = np.tensordot(W, B, axes=1)
            total += np.einsum("kai,kaj->ij", B, inverse @ turned)
        turned = np.tensordot(W, self._M, axes=1)
        total -= np.einsum("kia,ab,kbj->ij", self._M, self.Phi, turned)
        return self.Phi @ (total + total.T) @ self.Phi

    def contract(self, changes: list[FloatArray]) -> FloatArray:
        """ΦXᵀV⁻¹(ΔV)V⁻¹XΦ, of changes of each term's covariance, then of the residuals'."""
        total, n_terms = np.zeros_like(self.Phi), len(self._patterns)
        each = [change[None] for change in changes]
        for rows in self._clusters:
            Y = self._matrices(rows)[2]
            total += Y.T @ self._changes(rows, each[:n_terms], each[n_terms:]).sum(axis=0) @ Y
        return self.Phi @ total @ self.Phi

    def _matrices(self, rows: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Directions D (k, m, m), V⁻¹, and V⁻¹X of one cluster."""
        inverse = np.linalg.inv(variance_among(self._fit, rows))
        inverse = (inverse + inverse.T) / 2
        D = self._changes(rows, self._patterns, self._residual_slopes)
        return D, inverse, inverse @ self._X[rows]

    def _changes(
        self, rows: IntArray, terms: list[FloatArray], residual: list[FloatArray]
    ) -> FloatArray:
        """Changes of V of a cluster, from those of each term and of the residuals' patterns."""
        design, m = self._fit.design, len(rows)
        assert design.residual is not None
        of_residual = np.zeros((len(residual[0]), m, m))
        for subject in np.unique(design.residual.subjects[rows]):
            own, batch, pattern = self._subjects[int(subject)]
            at = np.searchsorted(rows, own)
            of_residual[:, at[:, None], at] = residual[batch][:, pattern]
        root = 1 / np.sqrt(design.row_weights[rows])
        of_terms = [of_term_among(*each, rows) for each in zip(design.terms, terms, strict=True)]
        return np.concatenate([*of_terms, of_residual * root[:, None] * root])


# ---- second derivatives --------------------------------------------------------------------------


def _bent(fit: Fit, W: FloatArray) -> list[FloatArray]:
    """Σ W_rs ∂²Σ/∂ψ_r∂ψ_s of each term's covariance Σ, then of those of the residuals' patterns.

    In ψ, variances and correlations, each Σ depends on its own part of ψ alone. W is that of the
    directions and the scale. What is linear in its variances and covariances does not bend.
    """
    design, n_directions = fit.design, fit.design.n_theta
    scale = [*range(n_directions, len(W))]
    bent, start = [], 0
    for term, theta in zip(design.terms, theta_by_term(design.terms, fit.theta), strict=True):
        own = [*range(start, start + len(theta)), *scale]
        start += len(theta)
        bent.append(_bent_term(term, theta, W[np.ix_(own, own)]))
    if design.residual is not None:
        own = [*range(start, n_directions), *scale]
        bent += _bent_residual(design.residual, design.phi(fit.theta), W[np.ix_(own, own)])
    return bent


def _bent_term(term: RandomTerm, theta: FloatArray, W: FloatArray) -> FloatArray:
    """Of ψ = (variances, ρ), in units of σ²."""
    structure, width, n = term.part.structure, term.width, term.part.structure.n_sds(term.width)
    exchangeable = structure.common and structure.correlation == "exchangeable"
    if exchangeable or structure.correlation in ("free", "none"):
        return np.zeros((width, width))
    slopes = structure.theta_slopes(structure.to_smooth(theta, width), width)
    variances, rest = theta[:n] ** 2, theta[n:]
    slopes[:n] *= 2 * theta[:n]
    jacobian = np.column_stack([np.diag(slopes), np.append(variances, np.zeros_like(rest))])

    def covariance(psi: FloatArray) -> list[FloatArray]:
        T = structure.template(np.append(np.sqrt(psi[:n]), psi[n:]), width)
        return [T @ T.T]

    return _second_differences(covariance, np.append(variances, rest), jacobian, W)[0]


def _bent_residual(residual: Residual, phi: FloatArray, W: FloatArray) -> list[FloatArray]:
    """Of ψ = (variances of levels, squared ratios of visits, correlations)."""
    if not residual.kind or (residual.kind in ("cs", "us", "symm") and not residual.levels):
        return [np.zeros_like(C) for C in residual.covariances(phi)]
    by_level, by_visit, correlations = residual.split(phi)
    L, visits = len(by_level), by_visit[1:]
    slopes = np.concatenate([2 * by_level[1:], 2 * visits, np.ones_like(correlations)])
    in_scale = np.append(by_level**2, np.zeros(len(phi) + 1 - L))
    jacobian = np.column_stack([np.vstack([np.zeros(len(phi)), np.diag(slopes)]), in_scale])

    def covariances(psi: FloatArray) -> list[FloatArray]:
        levels, ratios, rest = np.split(psi, [L, L + len(visits)])
        moved = np.concatenate([np.sqrt(levels[1:] / levels[0]), np.sqrt(ratios), rest])
        return [levels[0] * C for C in residual.covariances(moved)]

    psi = np.concatenate([by_level**2, visits**2, correlations])
    return _second_differences(covariances, psi, jacobian, W)


def _second_differences(
    at: Callable[[FloatArray], list[FloatArray]],
    psi: FloatArray,
    jacobian: FloatArray,
    W: FloatArray,
) -> list[FloatArray]:
    """Σ W_rs ∂²/∂ψ_r∂ψ_s, along lines in ψ; W is that of what ψ depends on, the scale last."""
    jacobian = jacobian[:, : len(W)]
    sizes, axes = np.linalg.eigh(jacobian @ W @ jacobian.T)
    kept = sizes > sizes[-1] * 1e-12
    total = [np.zeros_like(each) for each in at(psi)]
    for line in (axes[:, kept] * np.sqrt(sizes[kept])).T:
        for steps, weight in SECOND_DIFFERENCE.items():
            moved = at(psi + steps * CURVE_STEP * line)
            for into, each in zip(total, moved, strict=True):
                into += weight / CURVE_STEP**2 * each
    return total
