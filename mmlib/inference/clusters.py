"""Clusters of rows, which are independent of each other, and Var(y) within them."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mmlib.arrays import FloatArray, IntArray
from mmlib.design.design import Design
from mmlib.design.terms import RandomTerm, templates
from mmlib.results.estimates import Fit


def rows_by(codes: IntArray) -> list[IntArray]:
    """The rows of each code, in order."""
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)


def variance_among(fit: Fit, rows: IntArray) -> FloatArray:
    """Var(y)/σ² of some rows."""
    design = fit.design
    V = design.residual_covariance(fit.theta, rows)
    for term, T in zip(design.terms, templates(design.terms, fit.theta), strict=True):
        V = V + of_term_among(term, T @ T.T, rows)
    return V


def of_term_among(term: RandomTerm, covariances: FloatArray, rows: IntArray) -> FloatArray:
    """Z(I ⊗ E)Zᵀ of some rows, shape (…, m, m), for covariances E of shape (…, S, S)."""
    Z, codes = term.model_matrix[rows], term.codes[rows]
    return np.asarray((Z @ covariances @ Z.T) * (codes[:, None] == codes))


def independent(design: Design) -> IntArray:
    """A code for each row: rows of different codes share no random effect and no subject."""
    codes = [term.codes for term in design.terms]
    if design.residual is not None:
        codes.append(design.residual.subjects)
    links, n_nodes = [], design.n
    for each in codes:
        links.append(np.column_stack([np.arange(design.n), n_nodes + each]))
        n_nodes += int(each.max()) + 1
    ends = np.vstack(links)
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(n_nodes, n_nodes))
    return np.asarray(connected_components(graph, directed=False)[1][: design.n], dtype=np.intp)
