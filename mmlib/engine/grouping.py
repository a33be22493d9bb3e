"""A grouping factor with all its random terms, and the scaled columns that the engine works in.

The columns of a term, weighted, are made orthogonal and of mean square 1, so that neither the
origin nor the unit of a variable costs digits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.linalg import solve_triangular

from mmlib.arrays import ROUNDING, FloatArray, IntArray, lower_triangle, random_matrix
from mmlib.design.matrix import ALIAS_TOLERANCE
from mmlib.design.terms import RandomTerm, n_entries
from mmlib.errors import RankError
from mmlib.frozen import Closing


class Grouping(Closing):
    """All random terms of one grouping factor: they share its levels, so they share a block.

    The relative covariance factor of a level is one S×S lower-triangular template λ, block-diagonal
    over the terms. Entries of θ fill the lower triangles column by column, term after term.

    Attributes
    ----------
    basis, inverse_basis : ndarray, shape (S, S)
        Upper triangular; the first changes to the scaled columns, term by term.
    spans : mapping
        Which of the S columns are those of each term.
    triangle, positions : (ndarray, ndarray), ndarray of int
        Rows and columns of the entries of a template, and where these are in θ.
    """

    def __init__(
        self,
        terms: Sequence[RandomTerm],
        first_theta: Sequence[int],
        whiten: Callable[[FloatArray], FloatArray],
    ) -> None:
        self.terms = tuple(terms)
        self.name = terms[0].group
        self.codes: IntArray = terms[0].codes
        self.n_levels = terms[0].n_levels
        self.model_matrix: FloatArray = np.hstack([term.model_matrix for term in terms])
        self.width = self.model_matrix.shape[1]
        self.spans: dict[RandomTerm, slice] = {}
        self.inverse_basis = np.zeros((self.width, self.width))
        rows, columns, positions = [], [], []
        corner = 0
        for term, start in zip(terms, first_theta, strict=True):
            row, column = lower_triangle(term.width)
            rows.append(corner + row)
            columns.append(corner + column)
            positions.append(start + np.arange(len(row)))
            span = slice(corner, corner + term.width)
            self.spans[term] = span
            self.inverse_basis[span, span] = _scaling(term, whiten)
            corner += term.width
        self.triangle = np.concatenate(rows), np.concatenate(columns)
        self.positions = np.concatenate(positions)
        self.basis = solve_triangular(self.inverse_basis, np.eye(self.width))
        self._close()

    @property
    def n_effects(self) -> int:
        """Number of random effects, ℓ·S."""
        return self.n_levels * self.width

    def template(self, theta: FloatArray) -> FloatArray:
        """The template, shape (…, S, S), whose lower triangle is filled from `theta`, (…, k)."""
        lam = np.zeros((*theta.shape[:-1], self.width, self.width))
        lam[..., *self.triangle] = theta[..., self.positions]
        return lam

    def assemble(self, by_term: Mapping[RandomTerm, FloatArray]) -> FloatArray:
        """The template, shape (S, S), from those of the terms."""
        template = np.zeros((self.width, self.width))
        for term, span in self.spans.items():
            template[span, span] = by_term[term]
        return template

    def by_term(self, matrix: FloatArray) -> dict[RandomTerm, FloatArray]:
        """The diagonal blocks of an (S, S) matrix, each with its term: `assemble` backwards."""
        return {term: matrix[span, span] for term, span in self.spans.items()}

    def to_scaled(self, lam: FloatArray) -> FloatArray:
        """The template for the scaled columns, from that for the term's own."""
        return self.inverse_basis @ lam


def gather_groupings(
    terms: Sequence[RandomTerm], whiten: Callable[[FloatArray], FloatArray]
) -> list[Grouping]:
    """Terms on the same factor together, the grouping with most effects first."""
    starts = np.cumsum([0, *(n_entries(term) for term in terms)])
    by_name: dict[str, list[int]] = {}
    for number, term in enumerate(terms):
        by_name.setdefault(term.group, []).append(number)
    groupings = [
        Grouping([terms[k] for k in members], [int(starts[k]) for k in members], whiten)
        for members in by_name.values()
    ]
    return sorted(groupings, key=lambda grouping: -grouping.n_effects)


def term_triangles(groupings: Sequence[Grouping]) -> dict[RandomTerm, FloatArray]:
    """R of the (weighted) columns of each term, over the root of the number of rows."""
    triangles: dict[RandomTerm, FloatArray] = {}
    for grouping in groupings:
        triangles |= grouping.by_term(grouping.inverse_basis)
    return triangles


def _scaling(term: RandomTerm, whiten: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """The (weighted) columns of a term in orthogonal ones of mean square 1: the change of basis.

    Raises
    ------
    RankError
        If the columns are linearly dependent.
    """
    columns = whiten(term.model_matrix)
    triangle = np.asarray(np.linalg.qr(columns, mode="r")) / np.sqrt(len(columns))
    norms = np.linalg.norm(triangle, axis=0)
    dependent = np.abs(np.diag(triangle)) <= ALIAS_TOLERANCE * norms
    if dependent.any():
        name = term.columns[int(np.flatnonzero(dependent)[0])]
        raise RankError(
            f"column {name!r} of {term.part} is zero or depends on the columns before it: "
            "its variance cannot be identified; leave it out."
        )
    # What is orthogonal is so exactly: a variance of zero stays one in the term's own columns.
    return np.where(np.abs(triangle) > ROUNDING * norms, triangle, 0.0)


def level_products(codes: IntArray, Z: FloatArray, columns: FloatArray, n: int) -> FloatArray:
    """Sum of ``Z[i]ᵀ columns[i]`` over the rows of each of n levels, shape (n, S, c)."""
    sums = random_matrix(codes, Z, n).T @ columns
    return np.asarray(sums).reshape(n, Z.shape[1], columns.shape[1])
