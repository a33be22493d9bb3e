"""What F tests rest on where covariances have structure: their V is not linear in its parameters.

**Satterthwaite.** The observed information, and the slopes of vcov(β̂), in the numbers that a search
moves and log σ: by central differences of the analytic gradient, extrapolated.

**Kenward and Roger.** The expected information and the adjustment

    Φ_A = Φ + 2Φ{Σ W_rs(Q_rs − P_rΦP_s − ¼R_rs)}Φ,   R_rs = XᵀV⁻¹(∂²V/∂ψ_r∂ψ_s)V⁻¹X,

of which only R depends on the choice of parameters ψ. They are those in which V is linear, where
there are such (variances and covariances: of an unstructured residual, of compound symmetry with
one variance, of levels of a factor), and otherwise variances and correlations, as in SAS's MIXED.

Where residuals have a structure, the rows fall into clusters that share no random effect and no
subject, and P is a matrix for each cluster beside XΦXᵀ: the work is linear in the clusters.
(Kenward & Roger 1997, Biometrics 53, 983–997.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from scipy.linalg import solve_triangular
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mmlib.arrays import FloatArray, IntArray, lower_triangle
from mmlib.design.design import Design
from mmlib.design.directions import residual_slopes, term_slopes
from mmlib.design.residual import Residual
from mmlib.design.terms import RandomTerm, theta_by_term
from mmlib.engine.coordinates import StructuredCoordinates
from mmlib.engine.objective import Objective
from mmlib.errors import RankError
from mmlib.inference.information import Information
from mmlib.results.fit import Fit

STEP = 1e-3
"""First step of the differences, relative to a coordinate (and that at least 1)."""

CURVE_STEP = 1e-2
"""Step of second differences, in standard errors."""

LARGEST_CLUSTER = 1500
"""Rows of a cluster beyond which its matrices are too large."""


def observed(fit: Fit) -> tuple[FloatArray, FloatArray]:
    """Slopes of Φ in the orthonormal basis of X, (k, p, p), and the Hessian of the objective.

    Both in the numbers that a search moves and, where σ is estimated, log σ².
    """
    objective = Objective(fit.blocks, reml=fit.reml)
    variables = StructuredCoordinates(objective)
    x = variables.from_theta(fit.theta)
    base = solve_triangular(fit.blocks.R, np.eye(fit.design.p)).T if fit.design.p else np.eye(0)
    back = np.linalg.inv(base)

    def at(moved: FloatArray) -> FloatArray:
        gradient, in_log_sigma, factor = variables.unprofiled(moved, fit.sigma)
        half = (
            solve_triangular(factor.blocks.R, np.linalg.inv(factor.fixed_factor()).T)
            if fit.design.p
            else np.zeros((0, 0))
        )
        Phi = back.T @ (half @ half.T) @ back
        return np.concatenate([gradient, [in_log_sigma / 2], Phi.ravel()])

    rows = np.array([_slope(at, x, k) for k in range(len(x))]).reshape(len(x), -1)
    p = fit.design.p
    slopes = rows[:, len(x) + 1 :].reshape(-1, p, p)
    hessian = rows[:, : len(x)]
    hessian = (hessian + hessian.T) / 2
    if fit.design.sigma is not None:
        return slopes, hessian
    mixed = rows[:, len(x)]
    dof = float(fit.nobs - p * fit.reml)
    Phi = at(x)[len(x) + 1 :].reshape(1, p, p)
    whole = np.block([[hessian, mixed[:, None]], [mixed[None], np.array([[dof]])]])
    return np.concatenate([slopes, Phi]), whole


def _slope(at: Callable[[FloatArray], FloatArray], x: FloatArray, k: int) -> FloatArray:
    """Derivative in coordinate k: central differences at two steps, extrapolated."""
    step = STEP * max(1.0, abs(x[k]))

    def central(size: float) -> FloatArray:
        shift = np.zeros_like(x)
        shift[k] = size
        return (at(x + shift) - at(x - shift)) / (2 * size)

    return (4 * central(step / 2) - central(step)) / 3


class StructuredInformation:
    """Expected information and adjustment, in the numbers that a search moves and the scale.

    Attributes
    ----------
    Phi : ndarray, shape (p, p)
        (XᵀV⁻¹X)⁻¹ in the orthonormal basis of X, relative to σ².
    slopes : ndarray, shape (k, p, p)
        ∂Φ, the scale last unless σ is known.
    twice : ndarray, shape (k, k)
        Twice the expected information.
    """

    def __init__(self, fit: Fit) -> None:
        self._fit = fit
        parts: _Terms | _Clusters = _Terms(fit) if fit.design.residual is None else _Clusters(fit)
        self._parts, self.Phi = parts, parts.Phi
        self.slopes, self.twice = parts.slopes, parts.double
        if fit.design.sigma is None:
            dof = float(fit.nobs - fit.design.p)
            single = parts.single
            self.twice = np.block(
                [[parts.double, single[:, None]], [single[None], np.array([[dof]])]]
            )
            self.slopes = np.concatenate([self.slopes, self.Phi[None]])

    def increase(self, W: FloatArray) -> FloatArray:
        """Φ_A − Φ."""
        k = len(self._parts.slopes)
        first = self._parts.increase(W[:k, :k])
        return first + first.T - self._bend(W) / 2

    def _bend(self, W: FloatArray) -> FloatArray:
        """Φ(Σ W_rs R_rs)Φ, from second differences of V along straight lines in ψ."""
        map_ = _Psi(self._fit)
        if map_.linear or self._fit.is_singular:
            return np.zeros_like(self.Phi)
        W_psi = map_.jacobian @ W @ map_.jacobian.T
        sizes, axes = np.linalg.eigh(W_psi)
        kept = sizes > sizes[-1] * 1e-12
        total: list[FloatArray] | None = None
        for direction in (axes[:, kept] * np.sqrt(sizes[kept])).T:
            bent = map_.second_difference(direction)
            total = bent if total is None else [a + b for a, b in zip(total, bent, strict=True)]
        assert total is not None
        return self._parts.contract(total)


class _Psi:
    """Parameters ψ, in units of σ², as functions of what a search moves and log σ²."""

    def __init__(self, fit: Fit) -> None:
        self._design = design = fit.design
        self._theta = fit.theta
        residual = design.residual
        levels = bool(residual and residual.levels)
        kind = residual.kind if residual else ""
        linear_residual = kind in ("", "cs", "us", "symm") and not (levels and kind)
        self.linear = linear_residual and all(
            t.part.structure.is_free
            or t.part.structure.correlation == "none"
            or (t.part.structure.common and t.part.structure.correlation == "exchangeable")
            for t in design.terms
        )
        if not self.linear:
            self._psi = self._from_theta(self._theta, 1.0)
            self.jacobian = self._jacobian()

    def _jacobian(self) -> FloatArray:
        """∂ψ in the directions of `StructuredInformation`."""
        design = self._design
        columns = []
        smooth = _directions_of(design, self._theta)
        for k in range(len(smooth)):
            step = 1e-5 * max(1.0, abs(smooth[k]))
            up, down = smooth.copy(), smooth.copy()
            up[k] += step
            down[k] -= step
            change = self._from_smooth(up, 1.0) - self._from_smooth(down, 1.0)
            columns.append(change / (2 * step))
        if design.sigma is None:
            step = 1e-5
            change = self._from_theta(self._theta, 1 + step) - self._from_theta(
                self._theta, 1 - step
            )
            columns.append(change / (2 * step))
        return np.column_stack(columns)

    def _from_smooth(self, smooth: FloatArray, scale: float) -> FloatArray:
        return self._pack(*_covariances_of_directions(self._design, smooth), scale)

    def _from_theta(self, theta: FloatArray, scale: float) -> FloatArray:
        return self._from_smooth(_directions_of(self._design, theta), scale)

    def _pack(self, covariances: list[FloatArray], phi: FloatArray, scale: float) -> FloatArray:
        psi = []
        for term, S in zip(self._design.terms, covariances, strict=True):
            structure, S = term.part.structure, scale * S
            if structure.is_free:
                psi.append(S[lower_triangle(term.width)])
            elif structure.common:
                second = S[1, 0] if structure.correlation == "exchangeable" else S[1, 0] / S[0, 0]
                psi.append(np.array([S[0, 0], second]))
            elif structure.correlation == "none":
                psi.append(np.diag(S).copy())
            else:
                psi.append(np.append(np.diag(S), S[1, 0] / np.sqrt(S[0, 0] * S[1, 1])))
        residual = self._design.residual
        if residual is None:
            psi.append(np.array([scale]))
            return np.concatenate(psi)
        by_level, by_visit, correlations = residual.split(phi)
        if residual.levels:
            psi += [scale * by_level**2, by_visit[1:] ** 2, correlations]
        elif residual.kind == "us":
            covariance = residual.visit_correlations(phi) * np.outer(by_visit, by_visit)
            psi.append(scale * covariance[lower_triangle(len(by_visit))])
        elif residual.kind in ("cs", "symm"):
            psi.append(np.concatenate([[scale], scale * correlations]))
        else:
            psi.append(np.concatenate([[scale], correlations]))
        return np.concatenate(psi)

    def _unpack(self, psi: FloatArray) -> tuple[list[FloatArray], list[FloatArray]]:
        """Covariances of the terms, and of the patterns of residuals, at ψ."""
        found, start = [], 0
        for term in self._design.terms:
            structure, width = term.part.structure, term.width
            size = structure.size(width)
            own = psi[start : start + size]
            start += size
            if structure.is_free:
                S = np.zeros((width, width))
                rows, columns = lower_triangle(width)
                S[rows, columns] = S[columns, rows] = own
            elif structure.correlation == "none":
                S = np.diag(own)
            else:
                theta = np.append(np.sqrt(own[:-1]), own[-1])
                if structure.common and structure.correlation == "exchangeable":
                    theta[-1] = own[1] / own[0]
                T = structure.template(theta, width)
                S = T @ T.T
            found.append(S)
        residual, rest = self._design.residual, psi[start:]
        if residual is None:
            return found, [rest]
        if residual.levels:
            L = len(residual.levels)
            scale = rest[0]
            V = residual.n_ratios[1]
            ratios = np.sqrt(rest[1:L] / scale), np.sqrt(rest[L : L + V])
            phi = np.concatenate([*ratios, rest[L + V :]])
        elif residual.kind == "us":
            K = len(residual.visits)
            C = np.zeros((K, K))
            rows, columns = lower_triangle(K)
            C[rows, columns] = C[columns, rows] = rest
            sds = np.sqrt(np.diag(C))
            scale = C[0, 0]
            i, j = residual.pairs
            phi = np.concatenate([sds[1:] / sds[0], C[i, j] / (sds[i] * sds[j])])
        else:
            scale, phi = rest[0], rest[1:].copy()
            if residual.kind in ("cs", "symm"):
                phi /= scale
        return found, [scale * C for C in residual.covariances(phi)]

    def second_difference(self, direction: FloatArray) -> list[FloatArray]:
        """Second derivative of all covariances along a direction of ψ."""
        weights = {-2: -1, -1: 16, 0: -30, 1: 16, 2: -1}
        total: list[FloatArray] | None = None
        for k, weight in weights.items():
            terms, residual = self._unpack(self._psi + k * CURVE_STEP * direction)
            each = [weight * part / (12 * CURVE_STEP**2) for part in (*terms, *residual)]
            total = each if total is None else [a + b for a, b in zip(total, each, strict=True)]
        assert total is not None
        return total


def _directions_of(design: Design, theta: FloatArray) -> FloatArray:
    """The numbers in which `StructuredInformation` has its directions.

    Covariances of a term without a structure, what a search moves of one that has one, and φ.
    """
    found = []
    for term, own in zip(design.terms, theta_by_term(design.terms, theta), strict=True):
        structure = term.part.structure
        if structure.is_free:
            T = structure.template(own, term.width)
            found.append((T @ T.T)[lower_triangle(term.width)])
        else:
            found.append(structure.to_smooth(own, term.width))
    return np.concatenate([np.zeros(0), *found, design.phi(theta)])


def _covariances_of_directions(
    design: Design, smooth: FloatArray
) -> tuple[list[FloatArray], FloatArray]:
    found, start = [], 0
    for term in design.terms:
        structure, width = term.part.structure, term.width
        own = smooth[start : start + structure.size(width)]
        start += len(own)
        if structure.is_free:
            S = np.zeros((width, width))
            rows, columns = lower_triangle(width)
            S[rows, columns] = S[columns, rows] = own
        else:
            T = structure.at(own, width)[0]
            S = T @ T.T
        found.append(S)
    return found, smooth[start:]


def _direction_patterns(term: RandomTerm, theta: FloatArray) -> FloatArray:
    """∂Σ of a term in its directions, shape (k, S, S)."""
    if not term.part.structure.is_free:
        return term_slopes(term, theta)
    rows, columns = lower_triangle(term.width)
    E = np.zeros((len(rows), term.width, term.width))
    E[np.arange(len(rows)), rows, columns] = 1.0
    E[np.arange(len(rows)), columns, rows] = 1.0
    return E


class _Terms:
    """Directions of random terms, from those of all covariances that the engine gives."""

    def __init__(self, fit: Fit) -> None:
        self._known = known = Information(fit)
        self._fit = fit
        patterns = [
            _direction_patterns(term, own)
            for term, own in zip(
                fit.design.terms, theta_by_term(fit.design.terms, fit.theta), strict=True
            )
        ]
        self._M = self._entries(patterns)
        self.Phi = known.Phi
        self.slopes = np.tensordot(self._M, known.vcov_slopes, axes=1)
        single, double = known.traces(reml=True)
        self.single, self.double = self._M @ single, self._M @ double @ self._M.T

    def _entries(self, patterns: list[FloatArray]) -> FloatArray:
        """Own patterns (k, S, S) of each term as rows of entries of the scaled covariances."""
        k = sum(map(len, patterns))
        rows = np.zeros((k, self._known.vcov_slopes.shape[0]))
        by_term = dict(zip(self._fit.design.terms, patterns, strict=True))
        firsts = dict(
            zip(
                self._fit.design.terms,
                np.cumsum([0, *map(len, patterns)])[:-1].tolist(),
                strict=True,
            )
        )
        for grouping in self._known.groupings:
            for term in grouping.terms:
                for number, pattern in enumerate(by_term[term]):
                    whole = np.zeros((grouping.width, grouping.width))
                    whole[grouping.spans[term], grouping.spans[term]] = pattern
                    scaled = grouping.inverse_basis @ whole @ grouping.inverse_basis.T
                    rows[firsts[term] + number, grouping.positions] = scaled[
                        grouping.theta_rows, grouping.theta_columns
                    ]
        return rows

    def increase(self, W: FloatArray) -> FloatArray:
        return np.einsum("rs,rsij->ij", self._M.T @ W @ self._M, self._known.slope_products())

    def contract(self, bent: list[FloatArray]) -> FloatArray:
        """ΦXᵀV⁻¹(ΔV)V⁻¹XΦ, of changes of the covariances."""
        terms = [each[None] for each in bent[: len(self._fit.design.terms)]]
        return np.tensordot(self._entries(terms).sum(axis=0), self._known.vcov_slopes, axes=1)


class _Clusters:
    """Directions of random terms and residuals, cluster by cluster."""

    def __init__(self, fit: Fit) -> None:
        self._fit, design = fit, fit.design
        self._terms = theta_by_term(design.terms, fit.theta)
        self._patterns = [
            _direction_patterns(term, own)
            for term, own in zip(design.terms, self._terms, strict=True)
        ]
        self._phi = design.phi(fit.theta)
        self._whole = np.linalg.inv(fit.blocks.R) if design.p else np.zeros((0, 0))
        self.Phi = Information.vcov_of(fit)
        residual = design.residual
        assert residual is not None
        k = sum(map(len, self._patterns)) + residual.size
        p = design.p
        self._clusters = list(_clusters(fit))
        largest = max(map(len, self._clusters))
        if largest > LARGEST_CLUSTER:
            raise RankError(
                f"Kenward–Roger's test of {design.formula} needs a matrix of {largest} × "
                f"{largest}: random effects and subjects of the residuals tie so many rows "
                "together. Use ddf='satterthwaite', or the parametric bootstrap."
            )
        single, double, through = np.zeros(k), np.zeros((k, k)), np.zeros((k, k))
        M = np.zeros((k, p, p))
        root = np.linalg.cholesky(self.Phi) if p else self.Phi
        self._R_slopes = residual_slopes(residual, self._phi)
        self._lookup = _pattern_lookup(residual, design.n)
        for rows in self._clusters:
            D, inverse, Y = self._matrices(rows)
            A = inverse @ D
            single += np.einsum("kaa->k", A)
            double += A.reshape(k, -1) @ A.transpose(0, 2, 1).reshape(k, -1).T
            B = D @ Y
            M += Y.T @ B
            half = (np.linalg.cholesky(inverse).T @ B @ root).reshape(k, -1)
            through += half @ half.T
        self._M = M
        PhiM = self.Phi @ M
        self.slopes = PhiM @ self.Phi
        self.single = single - np.einsum("kaa->k", PhiM)
        both = PhiM.reshape(k, -1) @ PhiM.transpose(0, 2, 1).reshape(k, -1).T
        self.double = double - 2 * through + both

    def increase(self, W: FloatArray) -> FloatArray:
        total = np.zeros_like(self.Phi)
        for rows in self._clusters:
            D, inverse, Y = self._matrices(rows)
            B = D @ Y
            turned = np.tensordot(W, B, axes=1)
            total += np.einsum("kai,kaj->ij", B, inverse @ turned)
        turned = np.tensordot(W, self._M, axes=1)
        total -= np.einsum("kia,ab,kbj->ij", self._M, self.Phi, turned)
        return self.Phi @ total @ self.Phi

    def contract(self, bent: list[FloatArray]) -> FloatArray:
        n_terms = len(self._fit.design.terms)
        total = np.zeros_like(self.Phi)
        slopes = [each[None] for each in bent[n_terms:]]
        for rows in self._clusters:
            _, _, Y = self._matrices(rows)
            change = self._of_terms(rows, [each[None] for each in bent[:n_terms]]).sum(axis=0)
            change = change + self._of_residual(rows, slopes)[0]
            total += Y.T @ change @ Y
        return self.Phi @ total @ self.Phi

    def _matrices(self, rows: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Directions D (k, m, m), V⁻¹, and V⁻¹X of one cluster."""
        design = self._fit.design
        V = design.residual_covariance(self._fit.theta, rows)
        for term, own in zip(design.terms, self._terms, strict=True):
            half = term.model_matrix[rows] @ term.part.structure.template(own, term.width)
            V = V + half @ half.T * (term.codes[rows][:, None] == term.codes[rows])
        inverse = np.linalg.inv(V)
        inverse = (inverse + inverse.T) / 2
        D = np.concatenate(
            [
                self._of_terms(rows, self._patterns),
                self._of_residual(rows, self._R_slopes),
            ]
        )
        return D, inverse, inverse @ (design.X[rows] @ self._whole)

    def _of_terms(self, rows: IntArray, patterns: list[FloatArray]) -> FloatArray:
        m = len(rows)
        found = [np.zeros((0, m, m))]
        for term, E in zip(self._fit.design.terms, patterns, strict=True):
            Z = term.model_matrix[rows]
            found.append((Z @ E @ Z.T) * (term.codes[rows][:, None] == term.codes[rows]))
        return np.concatenate(found)

    def _of_residual(self, rows: IntArray, slopes: list[FloatArray]) -> FloatArray:
        """Block-diagonal changes of R, from those of the patterns."""
        m = len(rows)
        k = len(slopes[0]) if slopes else 0
        D = np.zeros((k, m, m))
        if not k:
            return D
        batch, pattern, place, subject = self._lookup
        for one in np.unique(subject[rows]):
            here = np.flatnonzero(subject[rows] == one)
            mine = rows[here]
            block = slopes[batch[mine[0]]][:, pattern[mine[0]]]
            at = place[mine]
            D[:, here[:, None], here] = block[:, at[:, None], at]
        root = 1 / np.sqrt(self._fit.design.row_weights[rows])
        return D * root[:, None] * root


def _pattern_lookup(residual: Residual, n: int) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Of each row its batch, its subject's pattern, its place in it, and its subject."""
    batch, pattern, place, subject = np.zeros((4, n), dtype=np.intp)
    start = 0
    for number, each in enumerate(residual.batches):
        batch[each.rows] = number
        pattern[each.rows] = each.pattern[:, None]
        place[each.rows] = np.arange(each.rows.shape[1])
        subject[each.rows] = start + np.arange(len(each.rows))[:, None]
        start += len(each.rows)
    return batch, pattern, place, subject


def _clusters(fit: Fit) -> Iterator[IntArray]:
    """Rows that share no random effect and no subject with others."""
    design = fit.design
    assert design.residual is not None
    codes = [design.residual.subjects, *(term.codes for term in design.terms)]
    links, first = [], design.n
    for each in codes:
        links.append(np.column_stack([np.arange(design.n), first + each]))
        first += int(each.max()) + 1
    ends = np.vstack(links)
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(first, first))
    labels = connected_components(graph, directed=False)[1][: design.n]
    order = np.argsort(labels, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
