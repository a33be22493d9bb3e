"""θ-free cross-products of a design, and their blocked Cholesky factor at any θ.

The matrix that carries the whole model is (Bates et al. 2015, eq. 16, bordered by y)

    Ω(θ) = [ΛᵀZᵀZΛ + I  ΛᵀZᵀX  ΛᵀZᵀy ;  ·  XᵀX  Xᵀy ;  ·  ·  yᵀy].

The grouping with most random effects comes first: its block of ZᵀZ is block-diagonal, so it is
eliminated level by level. What is left, S, is one dense matrix, factored by LAPACK. Nothing here
is n×n, and Σ⁻¹ is never formed, so a variance of exactly zero is an ordinary point.

Three changes of basis keep the arithmetic exact without changing the model: X is replaced by an
orthonormal basis of its columns, y by its least-squares residual, and the columns of each random
term by scaled ones, orthogonal and of mean square 1. So neither the origin nor the unit of a
variable costs digits. θ, b and β at the doors (`factorize`, `modes`, …) are the model's own.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement

import numpy as np
from scipy import sparse
from scipy.linalg import block_diag, lapack, solve_triangular

from mmlib.design import ALIAS_TOLERANCE, Design
from mmlib.errors import DataError, RankError
from mmlib.moments import MomentEquations
from mmlib.terms import (
    FloatArray,
    IntArray,
    RandomTerm,
    lower_triangle,
    n_theta,
    random_matrix,
)

EXACT_FIT = 1e-13
"""Residuals of the fixed effects below this share of the response are rounding."""

NOTHING_LEFT = 1e-7
"""Residuals below this share of those of the fixed effects alone mean an exact fit."""

ABSORBED = 1e-10
"""Random effects of which less than this share is left beside X are held by the fixed ones."""

MAX_PAIRS = 3 * 10**7
"""Above this many stored products, the Schur complement is left to dense BLAS."""


class Grouping:
    """All random terms of one grouping factor: they share its levels, so they share a block.

    The relative covariance factor of a level is one S×S lower-triangular template λ, block-diagonal
    over the terms. Entries of θ fill the lower triangles column by column, term after term.

    Attributes
    ----------
    basis : ndarray, shape (S, S)
        Upper triangular; changes to the scaled columns, term by term.
    """

    def __init__(
        self,
        terms: Sequence[RandomTerm],
        first_theta: Sequence[int],
        root_weights: FloatArray | None,
    ) -> None:
        self.terms = tuple(terms)
        self.name = terms[0].group
        self.codes: IntArray = terms[0].codes
        self.n_levels = terms[0].n_levels
        self.model_matrix: FloatArray = np.hstack([term.model_matrix for term in terms])
        self.width = self.model_matrix.shape[1]
        rows, columns, positions = [], [], []
        corner = 0
        for term, start in zip(terms, first_theta, strict=True):
            row, column = lower_triangle(term.width)
            rows.append(corner + row)
            columns.append(corner + column)
            positions.append(start + np.arange(len(row)))
            corner += term.width
        self.theta_rows, self.theta_columns = np.concatenate(rows), np.concatenate(columns)
        self.positions = np.concatenate(positions)
        self.basis = block_diag(*(_scaling(term, root_weights) for term in terms))

    @property
    def n_effects(self) -> int:
        """Number of random effects, ℓ·S."""
        return self.n_levels * self.width

    def template(self, theta: FloatArray) -> FloatArray:
        """The template, shape (S, S), whose lower triangle is filled from `theta`."""
        lam = np.zeros((self.width, self.width))
        lam[self.theta_rows, self.theta_columns] = theta[self.positions]
        return lam

    def assemble(self, by_term: Mapping[RandomTerm, FloatArray]) -> FloatArray:
        """The template, shape (S, S), from those of the terms."""
        return block_diag(*(by_term[term] for term in self.terms))

    def by_term(self, matrix: FloatArray) -> dict[RandomTerm, FloatArray]:
        """The diagonal blocks of an (S, S) matrix, each with its term: `assemble` backwards."""
        ends = np.cumsum([term.width for term in self.terms])
        return {
            term: matrix[end - term.width : end, end - term.width : end]
            for term, end in zip(self.terms, ends, strict=True)
        }

    def to_scaled(self, lam: FloatArray) -> FloatArray:
        """The template for the scaled columns, from that for the term's own."""
        return solve_triangular(self.basis, lam)

    def slope_from_scaled(self, slope: FloatArray) -> FloatArray:
        """A derivative in the term's own template, from that in the scaled one."""
        return solve_triangular(self.basis, slope, trans="T")


def _gather_groupings(
    terms: Sequence[RandomTerm], root_weights: FloatArray | None
) -> list[Grouping]:
    """Terms on the same factor together, the grouping with most effects first."""
    starts = np.cumsum([0, *(n_theta(term) for term in terms)])
    by_name: dict[str, list[int]] = {}
    for number, term in enumerate(terms):
        by_name.setdefault(term.group, []).append(number)
    groupings = [
        Grouping([terms[k] for k in members], [int(starts[k]) for k in members], root_weights)
        for members in by_name.values()
    ]
    return sorted(groupings, key=lambda grouping: -grouping.n_effects)


def _scaling(term: RandomTerm, root_weights: FloatArray | None) -> FloatArray:
    """The matrix that makes the (weighted) columns of a term orthogonal, with mean square 1.

    Raises
    ------
    RankError
        If the columns are linearly dependent.
    """
    columns = _weigh(root_weights, term.model_matrix)
    triangle = np.asarray(np.linalg.qr(columns, mode="r")) / np.sqrt(len(columns))
    norms = np.linalg.norm(triangle, axis=0)
    dependent = np.abs(np.diag(triangle)) <= ALIAS_TOLERANCE * norms
    if dependent.any():
        name = term.columns[int(np.flatnonzero(dependent)[0])]
        raise RankError(
            f"column {name!r} of {term.part} is zero or depends on the columns before it: "
            "its variance cannot be identified; leave it out."
        )
    return solve_triangular(triangle, np.eye(term.width))


def _weigh(root_weights: FloatArray | None, columns: FloatArray) -> FloatArray:
    """Rows times √w."""
    if root_weights is None:
        return columns
    return columns * (root_weights if columns.ndim == 1 else root_weights[:, None])


class Blocks:
    """Cross-products of [Z X y], computed once for a design and used at every θ.

    Attributes
    ----------
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
    """

    def __init__(self, design: Design) -> None:
        self.n, self.p = design.n, design.p
        self.root_weights = None if design.weights is None else np.sqrt(design.weights)
        self.sum_log_weights = (
            0.0 if design.weights is None else float(np.log(design.weights).sum())
        )
        self.offset = design.offset
        self.theta_size = sum(n_theta(term) for term in design.terms)
        self.groupings = _gather_groupings(design.terms, self.root_weights)

        weighted_X = _weigh(self.root_weights, design.X)
        self.R = np.linalg.qr(weighted_X, mode="r")
        self.log_det_R = float(np.log(np.abs(np.diag(self.R))).sum())
        basis = solve_triangular(self.R, weighted_X.T, trans="T").T if self.p else weighted_X
        self._basis: FloatArray = np.ascontiguousarray(basis)

        weighted_Z = [
            _weigh(self.root_weights, grouping.model_matrix @ grouping.basis)
            for grouping in self.groupings
        ]
        Z = [
            random_matrix(grouping.codes, values, grouping.n_levels)
            for grouping, values in zip(self.groupings, weighted_Z, strict=True)
        ]
        rest = sparse.hstack(Z[1:], format="csr") if len(Z) > 1 else None
        self._Z1t = Z[0].T if Z else None
        self._Z_rest_t = None if rest is None else rest.T
        self.q_rest = 0 if rest is None else rest.shape[1]
        q, m = self.q_rest, self.q_rest + self.p + 1
        self.A00 = np.zeros((m, m))
        self.A00[q:-1, q:-1] = basis.T @ basis
        self.cross = None
        if self._Z1t is not None:
            first = self.groupings[0]
            self.A11 = _level_products(first.codes, weighted_Z[0], weighted_Z[0], first.n_levels)
            self.A10 = np.zeros((first.n_levels, first.width, self.p + 1))
            self.A10[:, :, :-1] = (self._Z1t @ basis).reshape(*self.A10.shape[:2], -1)
        if rest is not None:
            self.A00[:q, :q] = (rest.T @ rest).toarray()
            self.A00[:q, q:-1] = rest.T @ basis
            self.A00[q:-1, :q] = self.A00[:q, q:-1].T
            self.cross = CrossBlock(self.groupings[0], weighted_Z[0], rest)
        self._refuse_absorbed()
        self._set_response(design.y)

    def _refuse_absorbed(self) -> None:
        """Refuse random effects that the fixed effects already hold, level by level."""
        q = self.q_rest
        sizes = [np.diag(self.A00)[:q]]
        held = [(self.A00[:q, q:-1] ** 2).sum(axis=1)]
        if self.groupings:
            sizes.insert(0, np.einsum("lss->ls", self.A11).ravel())
            held.insert(0, (self.A10[:, :, :-1] ** 2).sum(axis=2).ravel())
        size, left = np.concatenate(sizes), np.concatenate(sizes) - np.concatenate(held)
        start = 0
        for grouping in self.groupings:
            span = slice(start, start + grouping.n_effects)
            start += grouping.n_effects
            columns = [(term, name) for term in grouping.terms for name in term.columns]
            totals = size[span].reshape(-1, grouping.width).sum(axis=0)
            rests = left[span].reshape(-1, grouping.width).sum(axis=0)
            for (term, name), total, rest in zip(columns, totals, rests, strict=True):
                if rest <= ABSORBED * total:
                    raise RankError(
                        f"the fixed effects already give each level of {term.group!r} its own "
                        f"{name}: the variance of {name} in {term.part} cannot be estimated; "
                        "leave it out of one of the two."
                    )

    def _set_response(self, y: FloatArray) -> None:
        """Everything that depends on y."""
        y = _weigh(self.root_weights, y if self.offset is None else y - self.offset)
        basis = self._basis
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
        q = self.q_rest
        self.A00[q:-1, -1] = self.A00[-1, q:-1] = basis.T @ residual
        self.A00[-1, -1] = residual @ residual
        if self._Z_rest_t is not None:
            self.A00[:q, -1] = self.A00[-1, :q] = self._Z_rest_t @ residual
        if self._Z1t is not None:
            self.A10[:, :, -1] = (self._Z1t @ residual).reshape(self.A10.shape[:2])

    def own_products(self) -> list[FloatArray]:
        """The diagonal blocks of ZᵀZ of each grouping, shape (ℓ, S, S)."""
        later = [_diagonal_blocks(self.A00[span, span], g) for g, span in self.spans]
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
    def spans(self) -> list[tuple[Grouping, slice]]:
        """The groupings after the first, each with its rows in A00."""
        later = self.groupings[1:]
        ends = np.cumsum([0, *(grouping.n_effects for grouping in later)]).tolist()
        return [(g, slice(*ends[k : k + 2])) for k, g in enumerate(later)]

    @cached_property
    def _moment_equations(self) -> MomentEquations:
        return MomentEquations(self)

    def moment_templates(self) -> list[FloatArray]:
        """Moment estimates of the scaled templates; their equations serve every response."""
        scores = [products[:, :, -1] for products in self.dense_products()]
        return self._moment_equations.templates(scores, self.total_ss)

    @property
    def total_ss(self) -> float:
        """Residual sum of squares without random effects."""
        return float(self.A00[-1, -1])

    def with_response(self, y: FloatArray) -> Blocks:
        """The same design with another response."""
        other = copy.copy(self)
        other.A00 = self.A00.copy()
        if self._Z1t is not None:
            other.A10 = self.A10.copy()
        other._set_response(y)
        return other

    def factorize(self, theta: FloatArray) -> Factor:
        """Blocked Cholesky factor of Ω(θ)."""
        return Factor(self, [g.to_scaled(g.template(theta)) for g in self.groupings])

    def gather(self, templates: Sequence[FloatArray]) -> FloatArray:
        """The entries of θ out of one (S, S) matrix for each grouping."""
        theta = np.zeros(self.theta_size)
        for grouping, template in zip(self.groupings, templates, strict=True):
            theta[grouping.positions] = template[grouping.theta_rows, grouping.theta_columns]
        return theta

    def structure(self) -> str:
        """The blocks of the Cholesky factor, as a small text table."""
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


def _diagonal_blocks(matrix: FloatArray, grouping: Grouping) -> FloatArray:
    """The diagonal blocks, shape (ℓ, S, S), of a matrix with a row for each effect."""
    return np.einsum("isit->ist", matrix.reshape((grouping.n_levels, grouping.width) * 2))


def _level_products(
    codes: IntArray, left: FloatArray, right: FloatArray, n_levels: int
) -> FloatArray:
    """Sum of ``left[i]ᵀ right[i]`` over the rows of each level, shape (ℓ, S, T)."""
    products = np.empty((n_levels, left.shape[1], right.shape[1]))
    for s in range(left.shape[1]):
        for t in range(right.shape[1]):
            products[:, s, t] = np.bincount(codes, left[:, s] * right[:, t], n_levels)
    return products


class CrossBlock:
    """Z₁ᵀZ_rest, stored where a level of the first grouping meets a column of the others.

    Eliminating the first grouping subtracts ``G(W) = Σ_j A_jᵀ W_j A_j`` from the rest. G is linear
    in the small matrices W_j, and which products it adds up never changes: they are multiplied
    once and kept as one sparse matrix, so that each new θ costs a sparse matrix times a vector.
    """

    def __init__(self, first: Grouping, values: FloatArray, rest: sparse.csr_array) -> None:
        self.n_levels, self.width, self.q = first.n_levels, first.width, rest.shape[1]
        entries = rest.tocoo()
        cells, inverse = np.unique(
            first.codes[entries.row] * self.q + entries.col, return_inverse=True
        )
        self.level, self.column = np.divmod(cells, self.q)
        left, ones = values[entries.row] * entries.data[:, None], np.ones((len(inverse), 1))
        self.cells = _level_products(inverse, left, ones, len(cells))[:, :, 0]
        rows = self.level[:, None] * self.width + np.arange(self.width)
        self.matrix = sparse.coo_array(
            (self.cells.ravel(), (rows.ravel(), np.repeat(self.column, self.width))),
            shape=(self.n_levels * self.width, self.q),
        ).tocsr()
        self.pairs = list(combinations_with_replacement(range(self.width), 2))
        counts = np.bincount(self.level, minlength=self.n_levels)
        n_products = int((counts * (counts + 1) // 2).sum()) * len(self.pairs)
        self._products = self._pair_products(counts) if n_products <= MAX_PAIRS else None

    def _pair_products(self, counts: IntArray) -> sparse.csr_array:
        """Matrix from the W_j (upper triangles, pair after pair) to the upper triangle of G."""
        last = np.cumsum(counts)[self.level]
        partners = last - np.arange(len(self.level))
        one = np.repeat(np.arange(len(self.level)), partners)
        starts = np.cumsum(partners) - partners
        two = one + np.arange(len(one)) - np.repeat(starts, partners)
        cell = self.column[one] * self.q + self.column[two]
        occurs = np.zeros(self.q * self.q, dtype=bool)
        occurs[cell] = True
        place = np.flatnonzero(occurs)
        position = (np.cumsum(occurs, dtype=np.int32) - 1)[cell]  # np.unique would sort
        self._upper = place
        self._lower = (place % self.q) * self.q + place // self.q
        blocks = []
        for s, t in self.pairs:
            products = self.cells[one, s] * self.cells[two, t]
            if s != t:
                products += self.cells[one, t] * self.cells[two, s]
            shape = (len(place), self.n_levels)
            blocks.append(sparse.csr_array((products, (position, self.level[one])), shape=shape))
        return blocks[0] if len(blocks) == 1 else sparse.csr_array(sparse.hstack(blocks))

    def gram(self, W: FloatArray) -> FloatArray:
        """G(W) = Σ_j A_jᵀ W_j A_j, shape (q_rest, q_rest)."""
        if self._products is None:
            dense = self.matrix.toarray()
            weighted = (W @ dense.reshape(self.n_levels, self.width, self.q)).reshape(dense.shape)
            return dense.T @ weighted
        total = self._products @ np.concatenate([W[:, s, t] for s, t in self.pairs])
        gram = np.zeros(self.q * self.q)
        gram[self._upper] = total
        gram[self._lower] = total
        return gram.reshape(self.q, self.q)

    def gram_adjoint(self, K: FloatArray) -> FloatArray:
        """The A_j K A_jᵀ, shape (ℓ, S, S): the derivative of ⟨K, G(W)⟩ for a symmetric K."""
        if self._products is None:
            dense = self.matrix.toarray()
            shape = (self.n_levels, self.width, self.q)
            return (dense @ K).reshape(shape) @ dense.reshape(shape).transpose(0, 2, 1)
        weights = K.ravel()[self._upper]
        weights[self._upper != self._lower] *= 2
        packed = (self._products.T @ weights).reshape(len(self.pairs), self.n_levels)
        adjoint = np.empty((self.n_levels, self.width, self.width))
        for (s, t), values in zip(self.pairs, packed, strict=True):
            adjoint[:, s, t] = adjoint[:, t, s] = values if s == t else values / 2
        return adjoint

    def project(self, columns: FloatArray) -> FloatArray:
        """Z_restᵀZ₁ times `columns` of shape (ℓ, S, c): shape (q_rest, c)."""
        return self.matrix.T @ columns.reshape(self.n_levels * self.width, -1)

    def lift(self, columns: FloatArray) -> FloatArray:
        """Z₁ᵀZ_rest times `columns` of shape (q_rest, c): shape (ℓ, S, c)."""
        return (self.matrix @ columns).reshape(self.n_levels, self.width, -1)


@dataclass(frozen=True)
class Modes:
    """What the back-solves give: β̃ in the orthonormal basis, and b of each grouping, (ℓ, S)."""

    beta: FloatArray
    b: list[FloatArray]


class Factor:
    """Blocked Cholesky factor of Ω(θ): log-determinants, residual sum of squares, back-solves.

    With λ, A_j the template and cross-products of level j of the first grouping,

        F_j = λᵀA_jλ + I,   W_j = λ F_j⁻¹ λᵀ,   T = A00 − Σ_j A_j0ᵀ W_j A_j0,   S = BᵀTB + I,

    where B applies the templates of the other groupings and leaves X and y as they are. All of it,
    the templates included, is for the scaled columns of Z.
    """

    def __init__(self, blocks: Blocks, templates: list[FloatArray]) -> None:
        self.blocks = blocks
        self.templates = templates
        q, p = blocks.q_rest, blocks.p
        T = blocks.A00.copy()
        self.log_det_Z = 0.0
        if blocks.groupings:
            lam = self.templates[0]
            F = lam.T @ blocks.A11 @ lam + np.eye(len(lam))
            self.log_det_Z = _log_det(F)
            self.N = lam @ np.linalg.inv(F)
            self.W = self.N @ lam.T
            WD = self.W @ blocks.A10
            T[q:, q:] -= np.tensordot(blocks.A10, WD, axes=((0, 1), (0, 1)))
            if blocks.cross is not None:
                T[:q, :q] -= blocks.cross.gram(self.W)
                T[:q, q:] -= blocks.cross.project(WD)
                T[q:, :q] = T[:q, q:].T
        self.TB = self._columns_times(T)
        S = self._times_rows(self.TB)
        S.flat[: q * len(S) : len(S) + 1] += 1.0
        self.L, info = lapack.dpotrf(S.T, lower=1, overwrite_a=1)  # S is symmetric: no copy
        diagonal = np.diag(self.L)
        if info > 0 or diagonal[-1] <= NOTHING_LEFT * np.sqrt(blocks.total_ss):
            raise DataError(
                "the random effects can fit the response exactly (or θ is far too large), so the "
                "likelihood has no maximum; use a coarser grouping or fewer random effects."
            )
        self.log_det_Z += 2 * float(np.log(diagonal[:q]).sum())
        self.log_det_X = 2 * float(np.log(diagonal[q : q + p]).sum())
        self.rss = float(diagonal[-1] ** 2)

    def _columns_times(self, matrix: FloatArray, *, transposed: bool = False) -> FloatArray:
        """`matrix` times B (or Bᵀ): each column block of a later grouping times its template."""
        product = matrix.copy()
        for grouping, lam, span in self.later():
            if grouping.width == 1:
                product[:, span] *= lam[0, 0]
            else:
                blocks = matrix[:, span].reshape(len(matrix), grouping.n_levels, grouping.width)
                product[:, span] = (blocks @ (lam.T if transposed else lam)).reshape(
                    len(matrix), -1
                )
        return product

    def _times_rows(self, matrix: FloatArray, *, transposed: bool = False) -> FloatArray:
        """Bᵀ (or B) times `matrix`: the same for its row blocks."""
        product = matrix.copy()
        for grouping, lam, span in self.later():
            if grouping.width == 1:
                product[span] *= lam[0, 0]
            else:
                blocks = matrix[span].reshape(grouping.n_levels, grouping.width, -1)
                product[span] = ((lam if transposed else lam.T) @ blocks).reshape(
                    grouping.n_effects, -1
                )
        return product

    def later(self) -> list[tuple[Grouping, FloatArray, slice]]:
        """The groupings after the first, each with its template and its columns in S."""
        return [
            (grouping, lam, span)
            for (grouping, span), lam in zip(self.blocks.spans, self.templates[1:], strict=True)
        ]

    def fixed_factor(self) -> FloatArray:
        """L_X in the orthonormal basis of X, lower triangular, shape (p, p)."""
        q, p = self.blocks.q_rest, self.blocks.p
        return self.L[q : q + p, q : q + p]

    def coefficients(self) -> FloatArray:
        """Solution (u_rest, β̃) of the penalized least-squares problem, from the last row of L."""
        return _solve_lower_transposed(self.L[:-1, :-1], self.L[-1, :-1])

    def modes(self) -> Modes:
        """Fixed effects (in the orthonormal basis) and conditional modes of the random effects."""
        blocks = self.blocks
        solution = self.coefficients()
        beta = solution[blocks.q_rest :]
        b = [
            solution[span].reshape(grouping.n_levels, grouping.width) @ lam.T
            for grouping, lam, span in self.later()
        ]
        if blocks.groupings:
            score = blocks.A10 @ np.append(-beta, 1.0)
            if blocks.cross is not None:
                b_rest = np.concatenate([modes.ravel() for modes in b])
                score -= blocks.cross.lift(b_rest[:, None])[:, :, 0]
            b.insert(0, np.einsum("lst,lt->ls", self.W, score))
        bases = [grouping.basis for grouping in blocks.groupings]
        return Modes(beta, [scaled @ basis.T for scaled, basis in zip(b, bases, strict=True)])

    def conditional_variances(self, *, beta_estimated: bool) -> list[FloatArray]:
        """Diagonal blocks, shape (ℓ, S, S), of the variance of each grouping's effects, over σ².

        With `beta_estimated` the uncertainty of β̂ is added: the prediction-error variance
        (Henderson 1975) instead of the variance given y and β.
        """
        blocks = self.blocks
        size = blocks.q_rest + (blocks.p if beta_estimated else 0)
        K = self.congruence(self.inverse(size))
        variances = []
        for grouping, _, span in self.later():
            variances.append(_diagonal_blocks(K[span, span], grouping))
        if blocks.groupings:
            spread = self.level_adjoint(K) if size else np.zeros_like(self.W)
            variances.insert(0, self.W + self.W @ spread @ self.W)
        bases = [grouping.basis for grouping in blocks.groupings]
        return [basis @ V @ basis.T for V, basis in zip(variances, bases, strict=True)]

    def congruence(self, matrix: FloatArray) -> FloatArray:
        """B times a symmetric `matrix` times Bᵀ."""
        return self._times_rows(self._columns_times(matrix, transposed=True), transposed=True)

    def level_adjoint(self, K: FloatArray) -> FloatArray:
        """A_j0 K A_j0ᵀ for each level j of the first grouping; K covers the leading rows of A00."""
        blocks = self.blocks
        q = blocks.q_rest
        dense = blocks.A10[:, :, : len(K) - q]
        adjoint = dense @ K[q:, q:] @ dense.transpose(0, 2, 1)
        if blocks.cross is not None:
            adjoint += blocks.cross.gram_adjoint(K[:q, :q])
            mixed = blocks.cross.lift(K[:q, q:]) @ dense.transpose(0, 2, 1)
            adjoint += mixed + mixed.transpose(0, 2, 1)
        return adjoint

    def inverse(self, size: int) -> FloatArray:
        """Inverse of the leading `size` rows and columns of S."""
        if size == 0:
            return np.zeros((0, 0))
        leading = np.array(self.L[:size, :size], order="F")
        inverse, _ = lapack.dpotri(leading, lower=1, overwrite_c=1)
        return _mirror_lower(inverse)

    def template_slopes(self, *, reml: bool, rss_weight: float) -> list[FloatArray]:
        """Derivative of ``log|Ω_Z| [+ log|Ω_X·Z|] + rss_weight·rss`` in each template, (S, S).

        Each log-determinant is differentiated through S: with S̄ the derivative in S,
        the derivative in T is K = B S̄ Bᵀ, in W_j it is −A_j0 K A_j0ᵀ, and the rest is the
        product rule.
        """
        blocks = self.blocks
        m, q = len(self.L), blocks.q_rest
        residual = np.append(-self.coefficients(), 1.0)
        S_bar = np.outer(residual, residual) * rss_weight
        size = q + (blocks.p if reml else 0)
        S_bar[:size, :size] += self.inverse(size)

        slopes = []
        if blocks.groupings:
            W_bar = -self.level_adjoint(self.congruence(S_bar))
            direct = blocks.A11 @ self.N + W_bar @ self.N
            through_F = blocks.A11 @ (self.W @ (W_bar @ self.N))
            slopes.append(2 * (direct - through_F).sum(axis=0))
        for grouping, _, span in self.later():
            shape = (grouping.n_levels, grouping.width, m)
            left, right = self.TB[span].reshape(shape), S_bar[span].reshape(shape)
            slopes.append(2 * np.einsum("lsm,ltm->st", left, right))
        return slopes


def _log_det(matrices: FloatArray) -> float:
    """Sum of the log-determinants of positive definite matrices, shape (ℓ, S, S)."""
    diagonals = np.diagonal(np.linalg.cholesky(matrices), axis1=1, axis2=2)
    return 2 * float(np.log(diagonals).sum())


def _mirror_lower(matrix: FloatArray, width: int = 128) -> FloatArray:
    """Copy the lower triangle to the upper one, in place, a panel that fits the cache at a time."""
    for start in range(0, len(matrix), width):
        panel = slice(start, start + width)
        matrix[:start, panel] = matrix[panel, :start].T
        corner = np.tril(matrix[panel, panel])
        matrix[panel, panel] = corner + np.tril(corner, -1).T
    return matrix


def _solve_lower_transposed(L: FloatArray, right: FloatArray) -> FloatArray:
    """Solve Lᵀx = right."""
    if not len(right):
        return right
    solution, _ = lapack.dtrtrs(L, right, lower=1, trans=1)
    return solution
