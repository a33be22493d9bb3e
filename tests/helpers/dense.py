"""The linear mixed model by its definition: n×n matrices and nothing clever."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import block_diag

from mmlib.design.terms import templates


@dataclass(frozen=True, eq=False)
class Dense:
    """``y − offset = Xβ + Zb + ε`` with Var(b) = σ²G and Var(ε) = σ²·diag(1/w), at a given θ.

    Where residuals have a structure, C takes the place of the identity between the weights.
    """

    y: np.ndarray
    X: np.ndarray
    Z: np.ndarray
    G: np.ndarray
    w: np.ndarray
    C: np.ndarray | None = None

    @classmethod
    def at(cls, design, theta):
        n = len(design.y)
        G = [
            np.kron(np.eye(term.n_levels), lam @ lam.T)
            for term, lam in zip(
                design.terms, templates(design.terms, np.asarray(theta)), strict=True
            )
        ]
        return cls(
            y=design.y - (0 if design.offset is None else design.offset),
            X=design.X,
            Z=np.hstack([np.zeros((n, 0)), *map(random_columns, design.terms)]),
            G=block_diag(np.zeros((0, 0)), *G),
            w=np.ones(n) if design.weights is None else design.weights,
            C=correlations(design, np.asarray(theta)),
        )

    @cached_property
    def V(self):
        """Return Var(y)/σ²."""
        R = np.diag(1 / self.w)
        if self.C is not None:
            R = self.C / np.sqrt(np.outer(self.w, self.w))
        return self.Z @ self.G @ self.Z.T + R

    @cached_property
    def V_inverse(self):
        return np.linalg.inv(self.V)

    @cached_property
    def information(self):
        """Return XᵀV⁻¹X."""
        return self.X.T @ self.V_inverse @ self.X

    @cached_property
    def beta(self):
        return np.linalg.solve(self.information, self.X.T @ self.V_inverse @ self.y)

    @cached_property
    def residual(self):
        return self.y - self.X @ self.beta

    def dof(self, *, reml):
        n, p = self.X.shape
        return n - p if reml else n

    def variance(self, *, reml):
        """Return the estimate of σ² at this θ."""
        return self.residual @ self.V_inverse @ self.residual / self.dof(reml=reml)

    def objective(self, *, reml, sigma=None):
        """Return −2 log-likelihood or the REML criterion, at the best σ or at a given one."""
        variance = self.variance(reml=reml) if sigma is None else sigma**2
        squares = self.residual @ self.V_inverse @ self.residual
        objective = self.dof(reml=reml) * np.log(2 * np.pi * variance) + squares / variance
        objective += np.linalg.slogdet(self.V)[1]
        return objective + reml * np.linalg.slogdet(self.information)[1]

    def b(self):
        """Return the best linear unbiased predictor of b."""
        return self.G @ self.Z.T @ self.V_inverse @ self.residual

    def variance_of_b(self, *, beta_estimated):
        """Return Var(b | y)/σ² with β known, or Var(b̂ − b)/σ² with β estimated."""
        P = self.V_inverse
        if beta_estimated:
            P = P - P @ self.X @ np.linalg.solve(self.information, self.X.T @ P)
        return self.G - self.G @ self.Z.T @ P @ self.Z @ self.G


def random_columns(term):
    """Return Z of one term: its model matrix in the columns of the row's level, zero elsewhere."""
    indicator = np.eye(term.n_levels)[term.codes]
    products = indicator[:, :, None] * term.model_matrix[:, None, :]
    return products.reshape(len(term.codes), -1)


def positions(design):
    """Return where each grouping's effects (levels × columns of all its terms) lie in b."""
    found, start = {}, 0
    for term in design.terms:
        size = term.n_levels * term.width
        place = start + np.arange(size).reshape(term.n_levels, term.width)
        found.setdefault(term.group, []).append(place)
        start += size
    return {group: np.hstack(places) for group, places in found.items()}


def correlations(design, theta):
    """Return D C D of all rows from the words of the residuals' structure, pair by pair."""
    residual = design.residual
    if residual is None:
        return None
    frame, phi = design.frame, list(theta[len(theta) - residual.size :])
    sds = np.ones(len(frame))
    for level in residual.levels[1:]:
        sds[(frame[residual.dispersion].astype(str) == level).to_numpy()] *= phi.pop(0)
    for visit in residual.visits[1:] if residual.kind == "us" else ():
        sds[(frame[residual.time].astype(int).astype(str) == visit).to_numpy()] *= phi.pop(0)
    C = np.diag(sds**2)
    if residual.kind:
        subjects = frame[residual.group].to_numpy()
        times = frame[residual.time].to_numpy() if residual.time else np.zeros(len(frame))
        for i, j in zip(*np.nonzero(subjects[:, None] == subjects), strict=True):
            if i != j:
                C[i, j] = sds[i] * sds[j] * one_correlation(residual, phi, times[i], times[j])
    return C


def one_correlation(residual, phi, one, other):
    """Return the correlation of two rows of a subject from their times."""
    if residual.kind == "cs":
        return phi[0]
    if residual.kind in ("ar1", "car1"):
        return phi[0] ** abs(float(one) - float(other))
    names = list(residual.visits)
    pairs = [(j, i) for i in range(len(names)) for j in range(i + 1, len(names))]
    low, high = sorted(names.index(str(int(time))) for time in (one, other))
    return phi[pairs.index((high, low))]
