"""θ-free cross-products of a design, and their blocked Cholesky factor at any θ.

The matrix that carries the whole model is (Bates et al. 2015, eq. 16, bordered by y)

    Ω(θ) = [ΛᵀZᵀZΛ + I  ΛᵀZᵀX  ΛᵀZᵀy ;  ·  XᵀX  Xᵀy ;  ·  ·  yᵀy].

The grouping with most random effects comes first: its block of ZᵀZ is block-diagonal, so it is
eliminated level by level. What is left, S, is one dense matrix, factored by LAPACK. Nothing here
is n×n, and Σ⁻¹ is never formed, so a variance of exactly zero is an ordinary point.

Three changes of basis keep the arithmetic exact without changing the model: X is replaced by an
orthonormal basis of its columns, y by its least-squares residual, and the columns of each random
term by scaled ones, orthogonal and of mean square 1. So neither the origin nor the unit of a
variable costs digits. θ, b and β at the doors (`factor.factorize`, `modes`, …) are the model's own.
And the rows are split into what the first grouping explains, level by level, and the rest, as in an
analysis of variance: so a level that differs by 10⁶ residual standard deviations costs none either.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.linalg import solve_triangular

from mmlib.arrays import FloatArray, IntArray, lower, random_matrix, weigh
from mmlib.design.build import Design
from mmlib.design.terms import n_entries
from mmlib.engine.crossblock import CrossBlock, level_products
from mmlib.engine.grouping import Grouping, diagonal_blocks, gather_groupings
from mmlib.engine.moments import MomentEquations
from mmlib.errors import DataError, RankError
from mmlib.frozen import close

EXACT_FIT = 1e-13
"""Residuals of the fixed effects below this share of the response are rounding."""

DETERMINED = 1e-12
"""Directions of a level's effects with less than this share of its cross-products have no data."""

SHIFTED = 1e-4
"""Directions of X with more than this share of their squares within levels are fitted there."""

ABSORBED = 1e-10
"""Random effects of which less than this share is left beside X are held by the fixed ones."""


class Blocks:
    """Cross-products of [Z X y], computed once for a design and used at every θ.

    Attributes
    ----------
    design : Design
        What they are computed from; a pickle holds nothing else but
    theta : ndarray or None
        where residuals have a structure, the θ whose φ the rows are whitened by.
    weigh : Whitener
        Applies the weights, and this structure, to rows.
    groupings : list of Grouping
        Largest first; the first is eliminated level by level.
    A11 : ndarray, shape (ℓ, S, S)
        Diagonal blocks of Z₁ᵀZ₁, Z in scaled columns here and below.
    A10 : ndarray, shape (ℓ, S, p+1)
        Z₁ᵀ[X y].
    cross : CrossBlock or None
        Z₁ᵀZ_rest, where there is a second grouping.
    A00 : ndarray, shape (m, m)
        Cross-products of [Z_rest X y], m = q_rest + p + 1.
    root, inverse_root : ndarray, shape (ℓ, S, S)
        R_j with A_j = R_jᵀR_j, and its pseudo-inverse.
    total_ss : float
        Residual sum of squares without random effects.
    within : ndarray, shape (m, m)
        A00 within the levels of the first grouping: what its least-squares fit leaves.
    basis : ndarray, shape (n, p)
        Orthonormal basis of the (weighted) columns of X.
    response : ndarray, shape (n,)
        The (weighted) response, less what X takes of it.
    Z1t, Z_rest_t : sparse array, shapes (q₁, n) and (q_rest, n)
        Transposes of the (weighted) columns of Z; the second where there are more groupings.
    """

    def __init__(self, design: Design, theta: FloatArray | None = None) -> None:
        self.design, self.theta = design, theta
        self.n, self.p = design.n, design.p
        self.weigh = design.whitener(theta)
        self.offset = design.offset
        self.theta_size = sum(n_entries(term) for term in design.terms)
        self.groupings = gather_groupings(design.terms, self.weigh)

        weighted_X = self.weigh(design.X)
        self.R = np.linalg.qr(weighted_X, mode="r")
        self.log_det_R = float(np.log(np.abs(np.diag(self.R))).sum())
        basis = solve_triangular(self.R, weighted_X.T, trans="T").T if self.p else weighted_X
        self.basis: FloatArray = np.ascontiguousarray(basis)
        self._multiply()
        self._refuse_absorbed()
        self._set_response(design.y)

    def __reduce__(self) -> tuple[type[Blocks], tuple[Design, FloatArray | None]]:
        return Blocks, (self.design, self.theta)

    def at(self, theta: FloatArray) -> Blocks:
        """The same at a θ: where residuals have a structure, the rows are whitened by its φ."""
        return self if self.design.residual is None else Blocks(self.design, theta)

    def _multiply(self) -> None:
        """Everything that does not depend on y."""
        weighted_Z = [
            self.weigh(grouping.model_matrix @ grouping.basis) for grouping in self.groupings
        ]
        Z = [
            random_matrix(grouping.codes, values, grouping.n_levels)
            for grouping, values in zip(self.groupings, weighted_Z, strict=True)
        ]
        q = self.q_rest = sum(grouping.n_effects for grouping in self.groupings[1:])
        m = q + self.p + 1
        self.A00 = np.zeros((m, m))
        self.A00[q:-1, q:-1] = self.basis.T @ self.basis
        self.cross = None
        if self.groupings:
            first = self.groupings[0]
            self.Z1t = Z[0].T
            self.A11 = level_products(first.codes, weighted_Z[0], weighted_Z[0], first.n_levels)
            self.A10 = np.zeros((first.n_levels, first.width, self.p + 1))
            self.A10[:, :, :-1] = (self.Z1t @ self.basis).reshape(*self.A10.shape[:2], -1)
            self.root, self.inverse_root = _roots(self.A11)
        if q:
            rest = sparse.hstack(Z[1:], format="csr")
            self.Z_rest_t = rest.T
            self.A00[:q, :q] = (rest.T @ rest).toarray()
            self.A00[:q, q:-1] = rest.T @ self.basis
            self.A00[q:-1, :q] = self.A00[:q, q:-1].T
            self.cross = CrossBlock(first, weighted_Z[0], rest)
        self._within_basis = self._within_levels(self.basis)
        self.within = self.A00.copy()
        products = self.within[q:-1, q:-1] = self._within_basis.T @ self._within_basis
        shares, axes = np.linalg.eigh(products)
        self._within_inverse = (
            axes * np.where(shares > SHIFTED, 1 / np.maximum(shares, SHIFTED), 0.0) @ axes.T
        )
        if self.cross is not None:
            squares = self.inverse_root @ self.inverse_root.transpose(0, 2, 1)
            self.within[:q, :q] -= self.cross.gram(squares)
            self.within[:q, q:-1] = self.Z_rest_t @ self._within_basis
            self.within[q:-1, :q] = self.within[:q, q:-1].T

    def _within_levels(self, columns: FloatArray) -> FloatArray:
        """What is left of the columns beside the first grouping."""
        if not self.groupings:
            return columns
        sums = (self.Z1t @ columns).reshape(*self.A11.shape[:2], columns.shape[1])
        fitted = self.inverse_root @ (self.inverse_root.transpose(0, 2, 1) @ sums)
        return columns - self.Z1t.T @ fitted.reshape(self.Z1t.shape[0], columns.shape[1])

    def _refuse_absorbed(self) -> None:
        """Refuse random effects that the fixed effects already hold, level by level."""
        products = zip(self.groupings, self.own_products(), self.dense_products(), strict=True)
        for grouping, own, dense in products:
            columns = [(term, name) for term in grouping.terms for name in term.columns]
            totals = np.einsum("lss->s", own)
            held = (dense[:, :, :-1] ** 2).sum(axis=(0, 2))
            for (term, name), total, rest in zip(columns, totals, totals - held, strict=True):
                if rest <= ABSORBED * total:
                    raise RankError(
                        f"the fixed effects already give each level of {term.group!r} its own "
                        f"{name}: the variance of {name} in {term.part} cannot be estimated; "
                        "leave it out of one of the two."
                    )

    def _set_response(self, y: FloatArray) -> None:
        """Everything that depends on y."""
        y = self.weigh(y if self.offset is None else y - self.offset)
        basis = self.basis
        # Two passes: the second takes away what rounding left of the projection.
        coefficients = basis.T @ y
        residual = y - basis @ coefficients
        correction = basis.T @ residual
        residual -= basis @ correction
        self.ols = coefficients + correction
        if residual @ residual <= (EXACT_FIT * np.linalg.norm(y)) ** 2:
            raise DataError(
                "the fixed effects fit the response exactly: there is no variance to take apart; "
                "use fewer fixed effects, or look for the response among the predictors."
            )
        self.total_ss = float(residual @ residual)
        # From here on y is what its regression on X within levels leaves: if levels differ by far,
        # the least-squares line through all is far from any estimate, and would cost digits.
        within = self._within_levels(residual[:, None])[:, 0]
        self._shift = self._within_inverse @ (self._within_basis.T @ within)
        self.ols = self.ols + self._shift
        residual -= basis @ self._shift
        within = self._within_levels(residual[:, None])[:, 0]
        self.response = residual
        q = self.q_rest
        self.A00[q:-1, -1] = self.A00[-1, q:-1] = basis.T @ residual
        self.A00[-1, -1] = residual @ residual
        self.within[q:-1, -1] = self.within[-1, q:-1] = self._within_basis.T @ within
        self.within[-1, -1] = within @ within
        if q:
            self.A00[:q, -1] = self.A00[-1, :q] = self.Z_rest_t @ residual
            self.within[:q, -1] = self.within[-1, :q] = self.Z_rest_t @ within
        if self.groupings:
            self.A10[:, :, -1] = (self.Z1t @ residual).reshape(self.A10.shape[:2])
        close(self)

    def own_products(self) -> list[FloatArray]:
        """The diagonal blocks of ZᵀZ of each grouping, shape (ℓ, S, S)."""
        later = [diagonal_blocks(self.A00[span, span], g) for g, span in self.spans]
        return [self.A11, *later] if self.groupings else []

    def dense_products(self) -> list[FloatArray]:
        """Zᵀ[X y] of each grouping, shape (ℓ, S, p+1)."""
        later = [
            self.A00[span, self.q_rest :].reshape(g.n_levels, g.width, -1) for g, span in self.spans
        ]
        return [self.A10, *later] if self.groupings else []

    def cross_products(self, g: int, h: int) -> sparse.csr_array:
        """Z_gᵀZ_h of two groupings, shape (ℓ_g·S_g, ℓ_h·S_h)."""
        if h == 0:
            return sparse.csr_array(self.cross_products(h, g).T)
        columns = self.spans[h - 1][1]
        if g == 0 and self.cross is not None:
            return sparse.csr_array(self.cross.matrix[:, columns])
        return sparse.csr_array(self.A00[self.spans[g - 1][1], columns])

    @cached_property
    def log_det_X(self) -> float:
        """Half of log|XᵀWX|, whatever structure residuals have: what two fits of one X share."""
        if self.design.residual is None:
            return self.log_det_R
        R = np.linalg.qr(weigh(self.design.root_weights, self.design.X), mode="r")
        return float(np.log(np.abs(np.diag(R))).sum())

    @cached_property
    def spans(self) -> list[tuple[Grouping, slice]]:
        """The groupings after the first, each with its rows in A00."""
        later = self.groupings[1:]
        ends = np.cumsum([0, *(grouping.n_effects for grouping in later)]).tolist()
        return [(g, slice(*ends[k : k + 2])) for k, g in enumerate(later)]

    @cached_property
    def _moment_equations(self) -> MomentEquations:
        fixed = [products[:, :, :-1] for products in self.dense_products()]
        return MomentEquations(self.own_products(), fixed, self.cross_products, self.n - self.p)

    def moment_templates(self) -> list[FloatArray]:
        """Moment estimates of the scaled templates; their equations serve every response."""
        scores = [
            products[:, :, -1] + products[:, :, :-1] @ self._shift
            for products in self.dense_products()
        ]
        return self._moment_equations.templates(scores, self.total_ss)

    def with_response(self, y: FloatArray) -> Blocks:
        """The same design with another response."""
        other = object.__new__(Blocks)
        vars(other).update(vars(self), design=self.design.with_response(y))
        other.A00, other.within = self.A00.copy(), self.within.copy()
        if self.groupings:
            other.A10 = self.A10.copy()
        other._set_response(other.design.y)
        return other

    def gram(self, weights: FloatArray) -> FloatArray:
        """Σ_j A_j0ᵀ W_j A_j0 for symmetric weights W_j, shape (ℓ, S, S): shape of A00."""
        q = self.q_rest
        weighted = weights @ self.A10
        gram = np.empty_like(self.A00)
        rows = self.A10.reshape(-1, self.p + 1)
        gram[q:, q:] = rows.T @ weighted.reshape(rows.shape)
        if self.cross is not None:
            gram[:q, :q] = self.cross.gram(weights)
            gram[:q, q:] = self.cross.project(weighted)
            gram[q:, :q] = gram[:q, q:].T
        return gram

    def gather(self, templates: Sequence[FloatArray]) -> FloatArray:
        """The entries of θ, shape (…, k), out of one (…, S, S) matrix for each grouping."""
        shape = templates[0].shape[:-2] if templates else ()
        theta = np.zeros((*shape, self.theta_size))
        for grouping, template in zip(self.groupings, templates, strict=True):
            theta[..., grouping.positions] = template[
                ..., grouping.theta_rows, grouping.theta_columns
            ]
        return theta

    def to_scaled(self, theta: FloatArray) -> FloatArray:
        """Entries of the templates for the scaled columns, from θ of the model's own; (…, k)."""
        return self.gather([_lower(g.to_scaled(g.template(theta))) for g in self.groupings])

    def to_theta(self, scaled: FloatArray) -> FloatArray:
        """Inverse of `to_scaled`: the same covariances, for the columns as the user has them."""
        return self.gather([_lower(g.basis @ g.template(scaled)) for g in self.groupings])

    @cached_property
    def theta_columns(self) -> list[IntArray]:
        """Positions in θ of each column of each template, the diagonal entry first."""
        return [
            grouping.positions[grouping.theta_columns == column]
            for grouping in self.groupings
            for column in range(grouping.width)
        ]

    def structure(self) -> str:
        """The blocks of the Cholesky factor, a line for each grouping in order of elimination.

        Returns
        -------
        str
            A table of the groupings, their numbers of effects, and the kinds of their blocks.

        Examples
        --------
        >>> import mmlib as mm
        >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
        >>> print(fit.blocks.structure())
        operator (4)  diagonal
        fixed, y (2)  dense         dense
        """
        names = [grouping.name for grouping in self.groupings] + ["fixed, y"]
        sizes = [grouping.n_effects for grouping in self.groupings] + [self.p + 1]
        rows = []
        for i, (name, size) in enumerate(zip(names, sizes, strict=True)):
            kinds = [
                "diagonal" if i == j == 0 and self.groupings else "dense" for j in range(i + 1)
            ]
            if self.cross is not None and 0 < i < len(self.groupings):
                kinds[0] = "sparse"
            if self.groupings and i == 0 and self.groupings[0].width > 1:
                kinds[0] = "block-diagonal"
            rows.append([f"{name} ({size})", *kinds])
        width = max(len(cell) for row in rows for cell in row)
        return "\n".join("  ".join(cell.ljust(width) for cell in row).rstrip() for row in rows)


def _lower(templates: FloatArray) -> FloatArray:
    """`lower` of each of the matrices, shape (…, S, S)."""
    if templates.shape[-1] == 1:
        return np.abs(templates)
    each = templates.reshape(-1, *templates.shape[-2:])
    return np.array([lower(template) for template in each]).reshape(templates.shape)


def _roots(A: FloatArray) -> tuple[FloatArray, FloatArray]:
    """R with A = RᵀR for each positive semi-definite A, and its pseudo-inverse, (ℓ, S, S)."""
    squares, vectors = np.linalg.eigh(A) if A.shape[1] > 1 else (A[:, 0], np.ones_like(A))
    known = squares > DETERMINED * squares[:, -1:]
    sizes = np.sqrt(np.where(known, squares, 0.0))
    inverse = np.divide(1.0, sizes, out=np.zeros_like(sizes), where=known)
    return sizes[:, :, None] * vectors.transpose(0, 2, 1), vectors * inverse[:, None, :]
