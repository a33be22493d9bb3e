"""Cross-products of a design, which do not depend on θ.

The matrix that carries the whole model is (Bates et al. 2015, eq. 16, bordered by y)

    Ω(θ) = [ΛᵀZᵀZΛ + I  ΛᵀZᵀX  ΛᵀZᵀy ;  ·  XᵀX  Xᵀy ;  ·  ·  yᵀy].

The grouping with most random effects comes first: its block of ZᵀZ is block-diagonal, so it is
eliminated level by level. Levels of the others follow in rounds (`mmlib.engine.elimination`); what
is left is one dense matrix. Σ⁻¹ is never formed, so a variance of zero is an ordinary point.

Three changes of basis keep the arithmetic exact without changing the model: X is replaced by an
orthonormal basis of its columns, y by its least-squares residual, and the columns of each random
term by scaled ones, orthogonal and of mean square 1. So neither the origin nor the unit of a
variable costs digits; θ, b and β that others see (`factor.factorize`, `modes`, …) are the model's.
And the rows are split into what the first grouping explains, level by level, and the rest, as in an
analysis of variance: so a level that differs by 10⁶ residual standard deviations costs none either.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import combinations

import numpy as np
from scipy import sparse
from scipy.linalg import solve_triangular

from mmlib.arrays import FloatArray, IntArray, left_by, lower, meet, random_matrix
from mmlib.design.design import Design
from mmlib.design.terms import n_entries
from mmlib.engine.crossblock import CrossBlock
from mmlib.engine.elimination import Plan
from mmlib.engine.grouping import gather_groupings
from mmlib.engine.moments import MomentEquations
from mmlib.engine.reflections import MAX_NUMBERS, Columns
from mmlib.errors import DataError, RankError
from mmlib.frozen import Closing

EXACT_FIT = 1e-13
"""Residuals of the fixed effects below this share of the response are rounding."""

DETERMINED = 1e-12
"""Directions of a level's effects with less than this share of its cross-products have no data."""

SHIFTED = 1e-4
"""Directions of X with more than this share of their squares within levels are fitted there."""

ABSORBED = 1e-10
"""Random effects of which less than this share is left beside X are held by the fixed ones."""


class Blocks(Closing):
    """Cross-products of [Z X y], computed once for a design and used at every θ.

    Attributes
    ----------
    design : Design
        What they are computed from. A pickle holds only this and `phi`.
    phi : ndarray or None
        Parameters of the residuals' structure, if they have one.
    whiten : Whitener
        Applies the weights, and this structure, to rows.
    groupings : tuple of Grouping
        Largest first; the first is eliminated level by level.
    own : tuple of ndarray, shape (ℓ, S, S)
        Diagonal blocks of ZᵀZ of each grouping, Z in scaled columns here and below.
    dense : tuple of ndarray, shape (ℓ, S, p+1)
        Zᵀ[X y] of each grouping.
    meetings : mapping of (int, int) to Meeting
        ZᵀZ of every two groupings, where their levels meet.
    plan : Plan
        In which order the groupings after the first are eliminated.
    cross : CrossBlock or None
        Z₁ᵀZ_rest, where there is a second grouping.
    root, inverse_root : ndarray, shape (ℓ, S, S)
        R_j with R_jᵀR_j the diagonal blocks of the first grouping, and its pseudo-inverse.
    total_ss : float
        Residual sum of squares without random effects.
    within : ndarray
        Cross-products of [Z_rest X y] within the levels of the first grouping, what its
        least-squares fit leaves: a flat vector, with the places that its plan gives.
    basis : ndarray, shape (n, p)
        Orthonormal basis of the (weighted) columns of X.
    response : ndarray, shape (n,)
        The (weighted) response, less what X takes of it.
    Zt : tuple of sparse array, shape (ℓ·S, n)
        Transposes of the (weighted) columns of Z.
    """

    def __init__(self, design: Design, phi: FloatArray | None = None) -> None:
        self._describe(design, phi)
        weighted_X = self.whiten(design.X)
        self._set_triangle(np.asarray(np.linalg.qr(weighted_X, mode="r")))
        basis = solve_triangular(self.R, weighted_X.T, trans="T").T if self.p else weighted_X
        self.basis: FloatArray = np.ascontiguousarray(basis)
        self._multiply()
        self._refuse_absorbed()
        self._set_response(design.y)

    def _describe(self, design: Design, phi: FloatArray | None = None) -> None:
        self.design, self.phi = design, phi
        self.n, self.p = design.n, design.p
        self.whiten = design.whitener(phi)
        self.offset = design.offset
        self.n_entries = sum(n_entries(term) for term in design.terms)
        self.groupings = gather_groupings(design.terms, self.whiten)

    def _set_triangle(self, R: FloatArray) -> None:
        self.R = R
        self.log_det_R = float(np.log(np.abs(np.diag(R))).sum())

    def __reduce__(self) -> tuple[type[Blocks], tuple[Design, FloatArray | None]]:
        return Blocks, (self.design, self.phi)

    def at(self, phi: FloatArray) -> Blocks:
        """The same at a φ: where residuals have a structure, the rows are whitened by it."""
        return self if self.design.residual is None else Blocks(self.design, phi)

    def _multiply(self) -> None:
        """Everything that does not depend on y."""
        groupings = self.groupings
        Z = [self.whiten(grouping.model_matrix @ grouping.basis) for grouping in groupings]
        self.Zt = [
            random_matrix(grouping.codes, values, grouping.n_levels).T
            for grouping, values in zip(groupings, Z, strict=True)
        ]
        self.own = [
            (Zt @ values).reshape(grouping.n_levels, grouping.width, grouping.width)
            for grouping, Zt, values in zip(groupings, self.Zt, Z, strict=True)
        ]
        self.dense = [np.zeros((g.n_levels, g.width, self.p + 1)) for g in groupings]
        for dense, Zt in zip(self.dense, self.Zt, strict=True):
            dense[:, :, :-1] = (Zt @ self.basis).reshape(dense[:, :, :-1].shape)
        coded = [(grouping.codes, grouping.n_levels) for grouping in groupings]
        self.meetings = {
            (g, h): meet(coded[g], Z[g], coded[h], Z[h])
            for g, h in combinations(range(len(groupings)), 2)
        }
        self._arrange()
        self._within_basis = self._within_levels(self.basis)
        products = self._within_basis.T @ self._within_basis
        self._set_within_inverse(products)
        self.within = np.zeros(self.plan.size)
        self.plan.corner(self.within)[:-1, :-1] = products
        self._fill_rest([Zt @ self._within_basis for Zt in self.Zt[1:]])

    def _arrange(self) -> None:
        """The order of elimination, and what does not depend on it."""
        groupings = self.groupings
        with_first = [self.meetings[0, h] for h in range(1, len(groupings))]
        self.plan = Plan(groupings, with_first, self.p + 1)
        self.cross = CrossBlock(groupings[0], with_first, self.plan) if with_first else None
        if groupings:
            self.root, self.inverse_root = _roots(self.own[0])

    def _set_within_inverse(self, products: FloatArray) -> None:
        """Which directions of X are fitted within levels, from their cross-products there."""
        shares, axes = np.linalg.eigh(products)
        self._within_inverse = (
            axes * np.where(shares > SHIFTED, 1 / np.maximum(shares, SHIFTED), 0.0) @ axes.T
        )

    def _fill_rest(self, borders: Sequence[FloatArray]) -> None:
        """What the levels of the first grouping leave of Z_restᵀ[Z_rest X y].

        `borders` have Z_restᵀ[X y] within levels, of each later grouping; or without y.
        """
        plan, later = self.plan, enumerate(self.groupings[1:], start=1)
        for (g, grouping), places in zip(later, plan.columns, strict=True):
            row, column = np.triu_indices(grouping.width)
            self._place(places[:, row], places[:, column], self.own[g][:, row, column])
            border = borders[g - 1].reshape(places.size, -1)
            where = plan.border_positions(places.ravel())
            self.within[where[:, : border.shape[1]]] = border
        for (g, h), meeting in self.meetings.items():
            if g:
                one = plan.columns[g - 1][meeting.level][:, :, None]
                two = plan.columns[h - 1][meeting.other][:, None, :]
                self._place(np.minimum(one, two), np.maximum(one, two), meeting.blocks)
        if self.cross is not None:
            squares = self.inverse_root @ self.inverse_root.transpose(0, 2, 1)
            self.cross.add_gram(self.within, squares, -1.0)

    def _place(self, one: IntArray, two: IntArray, values: FloatArray) -> None:
        self.within[self.plan.positions(one.ravel(), two.ravel())] = values.ravel()

    def _within_levels(self, columns: FloatArray) -> FloatArray:
        """What is left of the columns beside the first grouping."""
        if not self.groupings:
            return columns
        Zt = self.Zt[0]
        sums = (Zt @ columns).reshape(*self.own[0].shape[:2], columns[0].size)
        fitted = self.inverse_root @ (self.inverse_root.transpose(0, 2, 1) @ sums)
        return columns - Zt.T @ fitted.reshape(Zt.shape[0], *columns.shape[1:])

    def _refuse_absorbed(self) -> None:
        """Refuse random effects that the fixed effects already hold, level by level."""
        products = zip(self.groupings, self.own, self.dense, strict=True)
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
        y = self.whiten(y if self.offset is None else y - self.offset)
        basis = self.basis
        residual = left_by(basis, y)
        self.ols = basis.T @ (y - residual)
        self.total_ss = float(residual @ residual)
        refuse_exact_fit(self.total_ss, float(y @ y))
        # From here on y is what its regression on X within levels leaves: if levels differ by far,
        # the least-squares line through all is far from any estimate, and would cost digits.
        within = self._within_levels(residual)
        self._shift = self._within_inverse @ (self._within_basis.T @ within)
        self.ols = self.ols + self._shift
        residual -= basis @ self._shift
        within = self._within_levels(residual)
        self.response = residual
        corner = self.plan.corner(self.within)
        corner[:-1, -1] = corner[-1, :-1] = self._within_basis.T @ within
        corner[-1, -1] = within @ within
        for dense, Zt in zip(self.dense, self.Zt, strict=True):
            dense[:, :, -1] = (Zt @ residual).reshape(dense.shape[:2])
        for places, Zt in zip(self.plan.columns, self.Zt[1:], strict=True):
            self.within[self.plan.border[places.ravel()] + self.p] = Zt @ within
        self._close()

    def cross_products(self, g: int, h: int) -> sparse.csr_array:
        """Z_gᵀZ_h of two groupings, shape (ℓ_g·S_g, ℓ_h·S_h)."""
        if h < g:
            return sparse.csr_array(self.cross_products(h, g).T)
        meeting, one, other = self.meetings[g, h], self.groupings[g], self.groupings[h]
        counts = np.bincount(meeting.level, minlength=one.n_levels)
        pointers = np.concatenate([[0], np.cumsum(counts)])
        return sparse.bsr_array(
            (meeting.blocks, meeting.other, pointers), shape=(one.n_effects, other.n_effects)
        ).tocsr()

    @cached_property
    def log_det_X(self) -> float:
        """Half of log|XᵀWX|, whatever structure residuals have: what two fits of one X share."""
        if self.design.residual is None:
            return self.log_det_R
        return float(np.log(np.abs(np.diag(self.design.R))).sum())

    @cached_property
    def _moment_equations(self) -> MomentEquations:
        fixed = [products[:, :, :-1] for products in self.dense]
        return MomentEquations(self.own, fixed, self.cross_products, self.n - self.p)

    @cached_property
    def level_condition(self) -> float:
        """Largest condition of the cross-products of a level of the first grouping."""
        sizes = np.linalg.norm(self.root, axis=2)
        smallest = np.where(sizes > 0, sizes, np.inf).min(axis=1)
        return float((sizes.max(axis=1) / smallest).max() ** 2)

    @cached_property
    def columns(self) -> Columns | None:
        """[Z_rest X y] themselves, where they are few: their cross-products may be too rough."""
        few = self.n * self.plan.m_tail <= MAX_NUMBERS
        if not self.groupings or self.plan.rounds or not few:
            return None
        rest = [Zt.toarray().T for Zt in self.Zt[1:]]
        columns = np.column_stack([*rest, self.basis, self.response])
        levels = (self.Zt[0] @ columns).reshape(*self.own[0].shape[:2], -1)
        return Columns(self.root, self.inverse_root, self._within_levels(columns), levels)

    def moment_templates(self) -> list[FloatArray]:
        """Moment estimates of the scaled templates; their equations serve every response."""
        scores = [products[:, :, -1] + products[:, :, :-1] @ self._shift for products in self.dense]
        return self._moment_equations.templates(scores, self.total_ss)

    def with_response(self, y: FloatArray) -> Blocks:
        """The same design with another response."""
        other = object.__new__(Blocks)
        vars(other).update(vars(self), design=self.design.with_response(y))
        for name in ("columns", "_closed"):
            vars(other).pop(name, None)
        other.within = self.within.copy()
        other.dense = [products.copy() for products in self.dense]
        other._set_response(other.design.y)
        return other

    def add_gram(self, flat: FloatArray, weights: FloatArray) -> None:
        """Add Σ_j A_j0ᵀ W_j A_j0 for weights W_j ≥ 0 of the first grouping, shape (ℓ, S, S)."""
        dense = self.dense[0]
        weighted = weights @ dense
        rows = dense.reshape(-1, self.p + 1)
        self.plan.corner(flat)[...] += rows.T @ weighted.reshape(rows.shape)
        if self.cross is not None:
            self.cross.add_gram(flat, weights)
            every = self.plan.border[:, None] + np.arange(self.p + 1)
            flat[every] += self.cross.project(weighted)

    def gather(self, templates: Sequence[FloatArray]) -> FloatArray:
        """The entries of θ, shape (…, k), out of one (…, S, S) matrix for each grouping."""
        shape = templates[0].shape[:-2] if templates else ()
        theta = np.zeros((*shape, self.n_entries))
        for grouping, template in zip(self.groupings, templates, strict=True):
            theta[..., grouping.positions] = template[..., *grouping.triangle]
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
            grouping.positions[grouping.triangle[1] == column]
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
        rows = [
            [f"{name} ({size})", *(self._kind(i, j) for j in range(i + 1))]
            for i, (name, size) in enumerate(zip(names, sizes, strict=True))
        ]
        width = max(len(cell) for row in rows for cell in row)
        return "\n".join("  ".join(cell.ljust(width) for cell in row).rstrip() for row in rows)

    def _kind(self, i: int, j: int) -> str:
        """The kind of the block of groupings i ≥ j in the factor."""
        in_tail = {len(self.groupings), *(g for g, _, _ in self.plan.tail_spans)}
        if i == len(self.groupings) or {i, j} <= in_tail:
            return "dense"
        if i != j or i in in_tail or sum(each.grouping == i for each in self.plan.rounds) > 1:
            return "sparse"
        return "diagonal" if self.groupings[i].width == 1 else "block-diagonal"


def refuse_exact_fit(left: float, total: float) -> None:
    """Refuse a response that the fixed effects fit exactly."""
    if left <= EXACT_FIT**2 * total:
        raise DataError(
            "the fixed effects fit the response exactly: there is no variance to take apart; "
            "use fewer fixed effects, or look for the response among the predictors."
        )


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
