"""What the tests of inference share: fits of R's models, and the F tests by their definition."""

import re

import numpy as np
from scipy.linalg import lu_factor

import mmlib as mm
from mmlib.arrays import lower_triangle
from mmlib.design.terms import templates
from tests.helpers import oracle
from tests.helpers.dense import random_columns


def uncoded(name):
    """Return a term's name without its contrasts, its factors sorted: what R calls it."""
    return ":".join(sorted(re.sub(r"C\((\w+), [\w.]+\)", r"\1", name).split(":")))


def our_term(fit, r_name):
    """Return our name of the term that R calls `r_name`."""
    return {uncoded(term.name): term.name for term in fit.design.fixed_terms}[uncoded(r_name)]


def one_or_more(values):
    """Return a list: R writes a vector of length one as a number."""
    return values if isinstance(values, list) else [values]


def fit_packaged(dataset, formula, *, reml, weighted=False):
    """Return a fit to a packaged data set, where `weighted` with random weights and offset."""
    data = mm.load_dataset(dataset)
    rng = np.random.default_rng(1)
    extra = {}
    if weighted:
        extra = {"weights": rng.uniform(0.5, 2, len(data)), "offset": rng.normal(size=len(data))}
    return mm.lmm(formula, data, reml=reml, **extra)


def cases_with(key):
    """Return the cases of which R's file has an entry `key`."""
    return [name for name in oracle.cases() if oracle.load_case(name).numbers.get(key)]


def named_tests(kind):
    """Return each case and set of dropped terms for which R has a test of this kind."""
    return [
        (name, dropped)
        for name in oracle.cases()
        for dropped, test in dict(oracle.load_case(name)["tests"]).items()
        if "error" not in test.get(kind, {"error": None})
    ]


def patterns(design):
    """Return the n×n matrices G_r of V = Σ ρ_r G_r in the order of θ, and the residual's, last."""
    found = []
    for term in design.terms:
        Z = random_columns(term)
        for i, j in zip(*lower_triangle(term.width), strict=True):
            E = np.zeros((term.width, term.width))
            E[i, j] = E[j, i] = 1.0
            found.append(Z @ np.kron(np.eye(term.n_levels), E) @ Z.T)
    weights = np.ones(design.n) if design.weights is None else design.weights
    return [*found, np.diag(1 / weights)]


def relative_covariances(design, theta):
    """Return the ρ_r that belong to θ, and the residual's 1, last."""
    entries = [(lam @ lam.T)[lower_triangle(len(lam))] for lam in templates(design.terms, theta)]
    return np.append(np.concatenate([[], *entries]), 1.0)


class DenseKenwardRoger:
    """Kenward & Roger (1997), with n×n matrices and the variances themselves as parameters."""

    def __init__(self, fit):
        design = fit.design
        self.X, self.beta = design.X, fit.beta
        G = patterns(design)
        gamma = relative_covariances(design, fit.theta) * fit.sigma**2
        V_inverse = np.linalg.inv(sum(g * matrix for g, matrix in zip(gamma, G, strict=True)))
        self.Phi = np.linalg.inv(self.X.T @ V_inverse @ self.X)
        half = V_inverse @ self.X
        self.P = [-half.T @ matrix @ half for matrix in G]
        Q = [[half.T @ one @ V_inverse @ two @ half for two in G] for one in G]
        VG = [V_inverse @ matrix for matrix in G]
        k = len(G)
        information = np.empty((k, k))
        for r in range(k):
            for s in range(k):
                information[r, s] = (
                    np.sum(VG[r] * VG[s].T)
                    - 2 * np.trace(self.Phi @ Q[r][s])
                    + np.trace(self.Phi @ self.P[r] @ self.Phi @ self.P[s])
                ) / 2
        self.W = np.linalg.inv(information)
        total = sum(
            self.W[r, s] * (Q[r][s] - self.P[r] @ self.Phi @ self.P[s])
            for r in range(k)
            for s in range(k)
        )
        self.adjusted = self.Phi + 2 * self.Phi @ total @ self.Phi

    def test(self, L, rhs=0.0):
        """Return scaled F, denominator degrees of freedom and scaling for Lβ = rhs."""
        ell, Phi = len(L), self.Phi
        Theta = L.T @ np.linalg.solve(L @ Phi @ L.T, L)
        products = [Theta @ Phi @ P @ Phi for P in self.P]
        traces = np.array([np.trace(product) for product in products])
        A1 = traces @ self.W @ traces
        A2 = sum(
            self.W[r, s] * np.trace(products[r] @ products[s])
            for r in range(len(products))
            for s in range(len(products))
        )
        B = (A1 + 6 * A2) / (2 * ell)
        g = ((ell + 1) * A1 - (ell + 4) * A2) / ((ell + 2) * A2)
        c1 = g / (3 * ell + 2 * (1 - g))
        c2 = (ell - g) / (3 * ell + 2 * (1 - g))
        c3 = (ell + 2 - g) / (3 * ell + 2 * (1 - g))
        mean = 1 / (1 - A2 / ell)
        variance = (2 / ell) * (1 + c1 * B) / ((1 - c2 * B) ** 2 * (1 - c3 * B))
        rho = variance / (2 * mean**2)
        df = 4 + (ell + 2) / (ell * rho - 1)
        scaling = df / (mean * (df - 2))
        distance = L @ self.beta - rhs
        F = distance @ np.linalg.solve(L @ self.adjusted @ L.T, distance) / ell
        return scaling * F, df, scaling


class DenseSatterthwaite:
    """vcov(β̂) and the objective as functions of ψ = (θ, σ), differentiated numerically.

    First derivatives are complex steps, exact to rounding; the Hessian is a central difference of
    those with one step of Richardson's extrapolation.
    """

    def __init__(self, fit):
        self.fit, self.patterns = fit, patterns(fit.design)
        offset = 0 if fit.design.offset is None else fit.design.offset
        self.y, self.X = fit.design.y - offset, fit.design.X
        self.psi = np.append(fit.theta, fit.sigma)
        self.slopes = np.array([self.vcov(psi).imag / STEP for psi in self.nudged(self.psi)])
        values, vectors = np.linalg.eigh(self.hessian())
        kept = values > 1e-7 * values.max()
        self.covariance = 2 * (vectors[:, kept] / values[kept]) @ vectors[:, kept].T

    def nudged(self, psi):
        return [psi + 1j * STEP * unit for unit in np.eye(len(psi))]

    def V_inverse(self, psi):
        rho, start = [], 0
        for term in self.fit.design.terms:
            triangle = lower_triangle(term.width)
            lam = np.zeros((term.width, term.width), dtype=complex)
            lam[triangle] = psi[start : start + len(triangle[0])]
            rho.extend((lam @ lam.T)[triangle])
            start += len(triangle[0])
        V = sum(r * G for r, G in zip([*rho, 1.0], self.patterns, strict=True))
        return np.linalg.inv(psi[-1] ** 2 * V)

    def vcov(self, psi):
        return np.linalg.inv(self.X.T @ self.V_inverse(psi) @ self.X)

    def objective(self, psi):
        V_inverse = self.V_inverse(psi)
        information = self.X.T @ V_inverse @ self.X
        residual = self.y - self.X @ np.linalg.solve(information, self.X.T @ V_inverse @ self.y)
        value = residual @ V_inverse @ residual - log_det(V_inverse)
        return value + self.fit.reml * log_det(information)

    def gradient(self, psi):
        return np.array([self.objective(each).imag / STEP for each in self.nudged(psi)])

    def hessian(self, step=2e-3):
        def difference(unit, h):
            return (self.gradient(self.psi + h * unit) - self.gradient(self.psi - h * unit)) / 2 / h

        rows = [
            (4 * difference(unit, step / 2) - difference(unit, step)) / 3
            for unit in np.eye(len(self.psi))
        ]
        return (np.array(rows) + np.transpose(rows)) / 2

    def df(self, row):
        """Return 2f²/(gᵀAg) with f the variance of one combination and g its slopes."""
        f = row @ self.vcov(self.psi).real @ row
        g = self.slopes @ row @ row
        return 2 * f**2 / (g @ self.covariance @ g)

    def test(self, L, rhs=0.0):
        """Return F and its denominator degrees of freedom (Fai & Cornelius 1996)."""
        variances, rotation = np.linalg.eigh(L @ self.vcov(self.psi).real @ L.T)
        dfs = np.array([self.df(row) for row in rotation.T @ L])
        distance = rotation.T @ (L @ self.fit.beta - rhs)
        F = np.mean(distance**2 / variances)
        expectation = np.sum(dfs / (dfs - 2))
        combined = 2 * expectation / (expectation - len(L))
        return F, combined if len(L) > 1 else dfs[0]


STEP = 1e-20


def log_det(matrix):
    """Return the logarithm of a determinant, the imaginary part of a complex step included."""
    pivots = np.diag(lu_factor(matrix)[0])
    return np.log(pivots * np.sign(pivots.real)).sum()
