"""Models with at most one scalar random term: the exact maxima for many responses at once.

For y = Xβ + Zb + ε, b ~ N(0, λσ²I), the residual sum of squares profiled over β is, at every λ,

    r²(λ) = s₀ + Σ_k s_k / (1 + λμ_k),

where μ_k are the distinct positive eigenvalues of ZᵀP₀Z, P₀ = I − X(XᵀX)⁻¹Xᵀ, the energy s_k is
the squared length of P₀y in the eigenspace of μ_k, and s₀ that of what is orthogonal to X and Z.
With ξ the eigenvalues of ZᵀZ, and ν = n (ML) or n − p (REML), the objective is

    ML    d(λ) = ν [1 + log(2π r²(λ)/ν)] + Σ log(1 + λξ)
    REML  d(λ) = ν [1 + log(2π r²(λ)/ν)] + Σ log(1 + λμ) + log|XᵀX|.

So a response enters by a few energies alone; an evaluation does not depend on n, and works on all
responses at once. A balanced design has a single μ, and its maximum a closed form. The idea is
that of EMMA (Kang et al. 2008, Genetics 178, 1709–1723), the use of equal eigenvalues ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.linalg import eigh

from mmlib.arrays import FloatArray, IntArray, left_by, random_matrix, weigh
from mmlib.design.design import Design
from mmlib.errors import RankError

EQUAL = 1e-10
"""Eigenvalues closer than this share of the largest are taken as equal; below it, as zero."""

MAX_RANK = 4000
"""Largest eigenproblem that is solved; only unequal eigenvalues of ZᵀZ make a large one."""

GRID_RATIO = 1.2
"""Ratio of neighbouring grid points: the profile in log λ has no feature narrower than about 1."""

LARGEST = 1e18
"""λμ at which the search for a maximum is given up: σ² would be zero."""

EXACT_FIT = 1e-20
"""An s₀ below this share of all energies is rounding: X and Z fit the response exactly."""

BLOCK = 4096
"""Responses taken together, so that the working arrays stay in the cache."""


@dataclass(frozen=True, eq=False)
class Maxima:
    """The largest likelihood of each response.

    Attributes
    ----------
    lam : ndarray, shape (B,)
        λ̂ = σ_b²/σ², exactly zero at the boundary.
    gain : ndarray, shape (B,)
        d(0) − d(λ̂) ≥ 0: the (restricted) likelihood-ratio statistic of λ = 0.
    objective : ndarray, shape (B,)
        d(λ̂).

    All three are NaN where X and Z fit the response exactly: σ² has no positive estimate.
    """

    lam: FloatArray
    gain: FloatArray
    objective: FloatArray


@dataclass(frozen=True, eq=False)
class Spectrum:
    """All that the likelihood knows of a design with at most one scalar random term.

    Attributes
    ----------
    n, p : int
        Rows and fixed effects.
    mu, mu_counts : ndarray, shape (G,)
        Distinct positive eigenvalues of ZᵀP₀Z and how often each occurs.
    xi, xi_counts : ndarray
        The same for ZᵀZ.
    log_det_X, sum_log_weights : float
        Constants of the objective: log|XᵀWX| and the sum of the log prior weights.
    """

    n: int
    p: int
    mu: FloatArray
    mu_counts: IntArray
    xi: FloatArray
    xi_counts: IntArray
    log_det_X: float = 0.0
    sum_log_weights: float = 0.0

    @property
    def rest(self) -> int:
        """Degrees of freedom of s₀: the rows less the rank of [X Z]."""
        return self.n - self.p - int(self.mu_counts.sum())

    @property
    def single(self) -> bool:
        """Whether there is one μ: the statistic is then a function of F = (s₁/h)/(s₀/rest)."""
        return len(self.mu) == 1

    def draw_energies(self, nsim: int, rng: np.random.Generator, *more: int) -> FloatArray:
        """Energies of `nsim` responses with λ = 0 and σ = 1: independent χ², shape (G+1, nsim).

        Response after response, so that the first do not depend on `nsim`; each followed by χ²
        with `more` degrees of freedom, in rows of their own.
        """
        counts = [self.rest, *self.mu_counts, *more]
        return np.ascontiguousarray(rng.chisquare(counts, (nsim, len(counts))).T)

    def maximize(self, energies: FloatArray, *, reml: bool) -> Maxima:
        """Find the largest of all local maxima of the likelihood over λ ≥ 0.

        Parameters
        ----------
        energies : ndarray, shape (G+1, B)
            s₀, s₁, …, s_G of each response.
        reml : bool

        Returns
        -------
        Maxima
        """
        lam = np.zeros(energies.shape[1])
        gain = np.zeros(energies.shape[1])
        curve = _Curve.of(self, reml=reml)
        total = energies.sum(axis=0)
        dof = curve.dof
        with np.errstate(divide="ignore", invalid="ignore"):
            for start in range(0, len(lam), BLOCK):
                part = slice(start, start + BLOCK)
                lam[part], gain[part] = curve.maximize(energies[:, part])
            exact = ~(energies[0] > EXACT_FIT * total)
            lam[exact] = gain[exact] = np.nan
            null = dof * (1 + np.log(2 * np.pi * total / dof))
        constant = (self.log_det_X if reml else 0.0) - self.sum_log_weights
        return Maxima(lam, gain, null + constant - gain)


@dataclass(frozen=True, eq=False)
class _Curve:
    """d(λ) of one criterion: dof · log r²(λ) + Σ counts · log(1 + λ kappa), up to a constant."""

    dof: int
    mu: FloatArray
    kappa: FloatArray
    counts: IntArray

    @classmethod
    def of(cls, spectrum: Spectrum, *, reml: bool) -> _Curve:
        if reml:
            return cls(spectrum.n - spectrum.p, spectrum.mu, spectrum.mu, spectrum.mu_counts)
        return cls(spectrum.n, spectrum.mu, spectrum.xi, spectrum.xi_counts)

    def maximize(self, energies: FloatArray) -> tuple[FloatArray, FloatArray]:
        """λ̂ and d(0) − d(λ̂) of each response."""
        if len(self.mu) == 0:
            return np.zeros(energies.shape[1]), np.zeros(energies.shape[1])
        if len(self.mu) == 1 and np.allclose(self.kappa, self.mu, rtol=EQUAL, atol=0):
            lam = self._closed_form(energies)
            return lam, self._gain(lam, energies)
        return self._best_root(energies)

    def _closed_form(self, energies: FloatArray) -> FloatArray:
        """λ̂ where all eigenvalues are equal, as in a balanced design: the slope is linear."""
        effects = int(self.counts.sum())
        ratio = (self.dof - effects) * energies[1] / (effects * energies[0])
        return np.maximum((ratio - 1) / self.mu[0], 0.0)

    def _best_root(self, energies: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The best minimum of d: zero, or a λ where its slope turns from negative to positive."""
        grid, slopes = self._scan(energies)
        falling = slopes < 0
        cells, columns = np.nonzero(falling[:-1] & ~falling[1:])
        low, high = grid[cells], grid[cells + 1]
        slope_low, slope_high = slopes[cells, columns], slopes[cells + 1, columns]
        start = low - (high - low) * slope_low / (slope_high - slope_low)
        candidates = energies[:, columns]
        roots = self._refine(low, start, high, candidates)
        gains = self._gain(roots, candidates)
        order = np.argsort(gains, kind="stable")
        order = order[gains[order] > 0]
        # Of several local minima of one response the best is written last.
        lam, gain = np.zeros(energies.shape[1]), np.zeros(energies.shape[1])
        lam[columns[order]], gain[columns[order]] = roots[order], gains[order]
        unbounded = falling[-1]
        lam[unbounded] = gain[unbounded] = np.nan
        return lam, gain

    def _scan(self, energies: FloatArray) -> tuple[FloatArray, FloatArray]:
        """A grid of λ from 0 to where every slope is positive, and r² d′ there, shape (L, B)."""
        largest = max(self.mu.max(), self.kappa.max())
        grid = np.append(0.0, 1e-3 * GRID_RATIO ** np.arange(75)) / largest
        slopes = self._slope_weights(grid) @ energies
        while (slopes[-1] < 0).any() and grid[-1] * largest < LARGEST:
            further = grid[-1] * GRID_RATIO ** np.arange(1, 26)
            grid = np.append(grid, further)
            slopes = np.vstack([slopes, self._slope_weights(further) @ energies])
        return grid, slopes

    def _slope_weights(self, lam: FloatArray) -> FloatArray:
        """r²(λ) d′(λ) is linear in the energies: its coefficients, shape (L, G+1)."""
        x = 1 / (1 + lam[:, None] * self.mu)
        rate = ((self.counts * self.kappa) / (1 + lam[:, None] * self.kappa)).sum(axis=1)
        weights = rate[:, None] * x - self.dof * self.mu * x**2
        return np.column_stack([rate, weights])

    def _refine(
        self, low: FloatArray, lam: FloatArray, high: FloatArray, energies: FloatArray
    ) -> FloatArray:
        """Newton steps on d′ kept inside a shrinking bracket; bisection where they leave it."""
        mu, kappa, counts = self.mu[:, None], self.kappa[:, None], self.counts[:, None]
        for _ in range(60):
            x = 1 / (1 + lam * mu)
            scaled = energies[1:] * x
            rss = energies[0] + scaled.sum(axis=0)
            scaled *= mu * x
            loss = scaled.sum(axis=0) / rss
            bend = 2 * (scaled * mu * x).sum(axis=0) / rss - loss**2
            pull = kappa / (1 + lam * kappa)
            slope = (counts * pull).sum(axis=0) - self.dof * loss
            curvature = self.dof * bend - (counts * pull**2).sum(axis=0)
            low, high = np.where(slope < 0, lam, low), np.where(slope < 0, high, lam)
            step = lam - slope / curvature
            inside = (low <= step) & (step <= high)
            new = np.where(inside, step, (low + high) / 2)
            # Newton's error is squared by each step, so this one was the last that was needed.
            done = (np.abs(new - lam) <= 1e-7 * new).all()
            lam = new
            if done:
                break
        return lam

    def _gain(self, lam: FloatArray, energies: FloatArray) -> FloatArray:
        """d(0) − d(λ), without cancellation where it is small."""
        product = lam * self.mu[:, None]
        drop = (energies[1:] * (product / (1 + product))).sum(axis=0)
        fit = -self.dof * np.log1p(-drop / energies.sum(axis=0))
        cost = (self.counts[:, None] * np.log1p(lam * self.kappa[:, None])).sum(axis=0)
        return np.where(lam > 0, np.maximum(fit - cost, 0.0), 0.0)


class SpectralModel:
    """A design with at most one scalar random term, ready for many responses.

    Parameters
    ----------
    design : Design

    Attributes
    ----------
    spectrum : Spectrum

    Raises
    ------
    RankError
        If the design does not suit the engine, or leaves no row for σ².

    Examples
    --------
    >>> import mmlib as mm
    >>> design = mm.build_design("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    >>> model = SpectralModel(design)
    >>> maxima = model.fit(design.y[None], reml=False)
    >>> maxima.objective.round(6), maxima.gain.round(4)
    (array([16.511675]), array([2.5684]))
    """

    def __init__(self, design: Design) -> None:
        if design.residual is not None:
            raise RankError(
                f"{design.description} has residuals with a structure: the spectral engine, and "
                "the exact test of a variance, take independent ones. Use lrt or "
                "parametric_bootstrap."
            )
        if not suits(design):
            raise RankError(
                f"the spectral engine takes one scalar random term, such as (1 | group), of at "
                f"most {MAX_RANK} unequal levels; {design.formula} has more than that."
            )
        self._root_weights = design.root_weights
        self._offset = design.offset
        X = weigh(self._root_weights, design.X)
        self._basis, R = np.linalg.qr(X)
        self._add_levels(design)
        self.spectrum = Spectrum(
            n=design.n,
            p=design.p,
            mu=self._mu,
            mu_counts=self._mu_counts,
            xi=self._xi,
            xi_counts=self._xi_counts,
            log_det_X=2 * float(np.log(np.abs(np.diag(R))).sum()),
            sum_log_weights=design.sum_log_weights,
        )
        if self.spectrum.rest < 1:
            raise RankError(
                f"the fixed and random effects of {design.formula} fit any response exactly: "
                "nothing is left to estimate σ from; use fewer terms."
            )

    def _add_levels(self, design: Design) -> None:
        """Eigenvalues and eigenvectors of ZᵀP₀Z.

        ZᵀZ is diagonal. Among the levels with an equal entry ξ, all directions orthogonal to the
        columns of X are eigenvectors with μ = ξ; only the few others need an eigenproblem.
        """
        Z, squares = _used_levels(design)
        order = np.argsort(squares, kind="stable")
        self._Z, squares = Z[:, order], squares[order]
        starts, self._xi_counts = _runs(squares)
        self._xi = squares[starts]
        self._starts = starts
        M = (self._Z.T @ self._basis).T
        shared, values = [], []
        for start, count in zip(starts, self._xi_counts, strict=True):
            block = np.zeros((len(squares), min(count, design.p)))
            rows = slice(start, start + count)
            U, sizes, _ = np.linalg.svd(M[:, rows].T, full_matrices=False)
            block[rows] = U
            kept = sizes > EQUAL * np.sqrt(squares.max())
            shared.append(block[:, kept])
            values.append(np.full(int(kept.sum()), squares[start]))
        self._shared = np.hstack(shared) if shared else np.zeros((0, 0))
        coupling = M @ self._shared
        reduced = np.diag(np.concatenate([*values, []])) - coupling.T @ coupling
        eigenvalues, vectors = eigh(reduced) if len(reduced) else (np.zeros(0), reduced)
        positive = eigenvalues > EQUAL * squares.max(initial=0.0)
        mu = eigenvalues[positive]
        self._directions = self._shared @ vectors[:, positive] / np.sqrt(mu)
        self._free_counts = self._xi_counts - [len(value) for value in values]
        self._free = self._free_counts > 0
        self._group(np.append(self._xi[self._free], mu))
        rank_within = design.p - int((~positive).sum())
        self._within = self._within_basis(rank_within)

    def _group(self, mu: FloatArray) -> None:
        """Gather equal eigenvalues; `_gather` adds their energies up."""
        counts = np.append(
            self._free_counts[self._free], np.ones(len(mu) - int(self._free.sum()), dtype=int)
        )
        order = np.argsort(mu, kind="stable")
        starts, lengths = _runs(mu[order])
        labels = np.empty(len(mu), dtype=int)
        labels[order] = np.repeat(np.arange(len(starts)), lengths)
        self._gather = (labels == np.arange(len(starts))[:, None]).astype(float)
        self._mu = mu[order][starts]
        self._mu_counts = np.rint(self._gather @ counts).astype(int)

    def _within_basis(self, rank: int) -> FloatArray:
        """Orthonormal basis of what X has within the levels."""
        within = self._basis - self._level_means(self._basis)
        U, _, _ = np.linalg.svd(within, full_matrices=False)
        return U[:, :rank]

    def _level_means(self, columns: FloatArray) -> FloatArray:
        """Projection on Z: for an intercept, the mean of each level."""
        squares = np.repeat(self._xi, self._xi_counts)
        return self._Z @ ((self._Z.T @ columns) / squares[:, None])

    def energies(self, responses: FloatArray) -> FloatArray:
        """Energies s₀, s₁, …, s_G of each response.

        Parameters
        ----------
        responses : ndarray, shape (B, n)
            On the scale of the formula's left side; weights and offset are applied here.

        Returns
        -------
        ndarray, shape (G+1, B)
        """
        if self._offset is not None:
            responses = responses - self._offset
        weighted = weigh(self._root_weights, np.ascontiguousarray(responses.T))
        residual = left_by(self._basis, weighted)
        if not len(self._mu):
            return np.einsum("ib,ib->b", residual, residual)[None]
        sums = self._Z.T @ residual
        rest = residual - self._level_means(residual)
        rest -= self._within @ (self._within.T @ rest)
        parts = (self._directions.T @ sums) ** 2
        if self._free.any():
            free = sums - self._shared @ (self._shared.T @ sums)
            sizes = np.add.reduceat(free**2, self._starts, axis=0)[self._free]
            parts = np.vstack([sizes / self._xi[self._free, None], parts])
        return np.vstack([np.einsum("ib,ib->b", rest, rest), self._gather @ parts])

    def fit(self, responses: FloatArray, *, reml: bool) -> Maxima:
        """Fit every response, shape (B, n), by ML or REML."""
        return self.spectrum.maximize(self.energies(responses), reml=reml)


def suits(design: Design) -> bool:
    """Whether a design has at most one scalar random term, and an eigenproblem of modest size."""
    if sum(term.width for term in design.terms) > 1 or design.residual is not None:
        return False
    _, counts = _runs(np.sort(_used_levels(design)[1]))
    return int(np.minimum(counts, design.p).sum()) <= MAX_RANK


def _used_levels(design: Design) -> tuple[sparse.csc_array, FloatArray]:
    """Weighted Z without its zero columns, and the diagonal of ZᵀZ."""
    if not design.terms:
        return sparse.csc_array((design.n, 0)), np.zeros(0)
    term = design.terms[0]
    values = weigh(design.root_weights, term.model_matrix)
    squares = np.bincount(term.codes, values[:, 0] ** 2, minlength=term.n_levels)
    Z = random_matrix(term.codes, values, term.n_levels).tocsc()
    used = squares > 0
    return Z[:, used], np.asarray(squares[used], dtype=float)


def _runs(values: FloatArray) -> tuple[IntArray, IntArray]:
    """Starts and lengths of the runs of equal entries in a sorted array."""
    if not len(values):
        return np.zeros(0, dtype=int), np.zeros(0, dtype=int)
    new = np.append(True, np.diff(values) > EQUAL * values[-1])
    starts = np.flatnonzero(new)
    return starts, np.diff(np.append(starts, len(values)))
