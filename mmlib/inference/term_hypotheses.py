"""The hypotheses that belong to the terms of the fixed part: types I, II and III, after SAS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from mmlib.arrays import FloatArray
from mmlib.design.design import Design, FixedTerm

ROUNDING = 1e-10
"""Entries of a hypothesis matrix below this share of the largest are rounding."""


def term_hypotheses(design: Design, *, type: Literal[1, 2, 3]) -> dict[str, FloatArray]:  # noqa: A002
    """The hypothesis matrix of each term of the fixed part, the intercept excepted.

    With a single term all types are one. The rows are those of lmerTest, up to their order.

    Returns
    -------
    dict of str to ndarray, shape (h, p)
    """
    terms = [term for term in design.fixed_terms if term.columns]
    tested = [term for term in terms if term.name != "1"]
    if type == 1 or len(tested) == 1:
        return {term.name: _sequential(design, term, terms) for term in tested}
    containing = {term: [other for other in terms if contains(other, term)] for term in tested}
    functions = design.functions_of_cells if type == 3 and any(containing.values()) else None
    matrices = {}
    for term, higher in containing.items():
        if not higher:
            matrices[term.name] = np.eye(design.p)[list(term.columns)]
        elif functions is None:
            lower = [each for each in terms if each not in (term, *higher)]
            matrices[term.name] = _sequential(design, term, [*lower, term, *higher])
        else:
            matrices[term.name] = _averaged(functions, term, higher)
    return matrices


def contains(other: FixedTerm, term: FixedTerm) -> bool:
    """Whether `other` has all factors of `term` and more, and the same covariates."""
    return other.factors > term.factors and other.covariates == term.covariates


def _sequential(design: Design, term: FixedTerm, order: Sequence[FixedTerm]) -> FloatArray:
    """The hypothesis that adding `term` after those before it in `order` explains nothing.

    With X = QR in that order, the term's rows of R, scaled to a diagonal of one.
    """
    columns = [column for each in order for column in each.columns]
    R = design.triangle(columns)
    L = np.zeros_like(R)
    L[:, columns] = R / np.diag(R)[:, None]
    return _without_rounding(L[[columns.index(column) for column in term.columns]])


def _averaged(
    functions: FloatArray, term: FixedTerm, containing: Sequence[FixedTerm]
) -> FloatArray:
    """The term's functions of the cells, made orthogonal to those of the terms that contain it."""
    p = len(functions)
    L = np.eye(p)[list(term.columns)]
    higher = [column for other in containing for column in other.columns]
    shares, *_ = np.linalg.lstsq(functions[higher].T, functions[list(term.columns)].T, rcond=None)
    L[:, higher] = -shares.T
    return _without_rounding(L)


def _without_rounding(L: FloatArray) -> FloatArray:
    return np.where(np.abs(L) > ROUNDING * np.abs(L).max(), L, 0.0)
