"""Types of arrays, and the small algebra that all rooms share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy import sparse
from scipy.linalg import blas

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
IntArray = np.ndarray[Any, np.dtype[np.intp]]
BoolArray = np.ndarray[Any, np.dtype[np.bool_]]

Numbers = np.ndarray[Any, Any]
"""Real or complex ones."""

TINY = 1e-30
"""A step off the real line: imaginary parts over it are derivatives, without rounding."""

ROUNDING = 1e-13
"""Entries of a template below this share of their row are zeros with rounding."""


def weigh(root_weights: FloatArray | None, columns: FloatArray) -> FloatArray:
    """Rows times √w."""
    if root_weights is None:
        return columns
    return columns * (root_weights if columns.ndim == 1 else root_weights[:, None])


def product(A: FloatArray, B: FloatArray) -> FloatArray:
    """A @ B of large matrices: scipy has a BLAS in the page, too, where numpy has none."""
    return np.asarray(blas.dgemm(1.0, B.T, A.T).T)


def left_by(basis: FloatArray, columns: FloatArray) -> FloatArray:
    """What an orthonormal basis leaves of columns; the second pass takes away rounding."""
    for _ in range(2):
        columns = columns - basis @ (basis.T @ columns)
    return columns


def slopes_off_the_real_line(
    function: Callable[[Numbers], Numbers], x: FloatArray
) -> list[FloatArray]:
    """Derivatives of a function, which takes complex numbers too, in each entry of x."""
    return [function(x + step).imag / TINY for step in TINY * 1j * np.eye(len(x))]


def random_matrix(codes: IntArray, values: FloatArray, n_levels: int) -> sparse.csr_array:
    """The sparse matrix Z of one grouping: row i has ``values[i]`` in the columns of its level."""
    n, width = values.shape
    indices = codes[:, None] * width + np.arange(width)
    pointers = np.arange(0, n * width + 1, width)
    shape = (n, n_levels * width)
    return sparse.csr_array((values.ravel(), indices.ravel(), pointers), shape=shape)


@cache
def lower_triangle(size: int) -> tuple[IntArray, IntArray]:
    """Rows and columns of a lower triangle, column by column: the order of θ within a term."""
    column, row = np.triu_indices(size)
    return row, column


def unit_patterns(rows: IntArray, columns: IntArray, size: int) -> FloatArray:
    """Symmetric matrices of zeros with a one in each of these places, shape (k, size, size)."""
    E = np.zeros((len(rows), size, size))
    E[np.arange(len(rows)), rows, columns] = 1.0
    E[np.arange(len(rows)), columns, rows] = 1.0
    return E


def triangle_units(size: int) -> FloatArray:
    """The unit patterns of a covariance matrix, in the order of its lower triangle."""
    return unit_patterns(*lower_triangle(size), size)


def lower(template: FloatArray) -> FloatArray:
    """The lower-triangular template with a non-negative diagonal that has the same covariance."""
    triangle = np.asarray(np.linalg.qr(template.T, mode="r"))
    result = triangle.T * np.where(np.diag(triangle) < 0, -1.0, 1.0)
    result[np.abs(result) <= ROUNDING * np.linalg.norm(result, axis=1, keepdims=True)] = 0.0
    return result


def nested(inner: IntArray, outer: IntArray) -> bool:
    """Whether all rows of each level of `inner` are in one level of `outer`."""
    pairs = np.unique(np.column_stack([inner, outer]), axis=0)
    return len(pairs) == len(np.unique(inner))


@dataclass(frozen=True, eq=False)
class Meeting:
    """Where levels of two groupings meet, and the cross-products of their columns there.

    Attributes
    ----------
    level, other : ndarray of int, shape (k,)
        Sorted by `level`.
    blocks : ndarray, shape (k, S, T)
    """

    level: IntArray
    other: IntArray
    blocks: FloatArray


Coded = tuple[IntArray, int]
"""The level of each row, and how many there are."""


def meet(one: Coded, left: FloatArray, other: Coded, right: FloatArray) -> Meeting:
    """Sum ``left[i]ᵀ right[i]`` over the rows in which two levels meet, for all that do."""
    shape = (one[1], other[1])
    width, breadth = left.shape[1], right.shape[1]
    for s, t in np.ndindex(width, breadth):
        rows = (left[:, s] * right[:, t], (one[0], other[0]))
        sums = sparse.coo_array(rows, shape=shape).tocsr()  # which keeps zeros: one pattern
        if s == t == 0:
            blocks = np.empty((sums.nnz, width, breadth))
            level = np.repeat(np.arange(shape[0]), np.diff(sums.indptr))
            columns = sums.indices.astype(np.intp)
        blocks[:, s, t] = sums.data
    return Meeting(level, columns, blocks)
