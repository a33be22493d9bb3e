"""Whether the means and covariances of one model are among those of another.

Means, and covariances of models without structure, make linear spaces, which are compared by their
bases: of a QR decomposition of both only R matters. With structure covariances do not. So one of
the smaller model is drawn, off every boundary, and the parameters of the larger one that give the
same are searched, by least squares of what both do between random vectors. That the search ends at
zero says that they are nested, and where it ends whether on a boundary of the larger model. A
larger model may have only those whose correlations have one sign, so some of either are drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import least_squares

from mmlib.arrays import FloatArray, lower_triangle, triangle_units
from mmlib.design.design import Design
from mmlib.design.directions import Probes, random_theta
from mmlib.design.terms import n_entries, templates, theta_by_term
from mmlib.engine.coordinates import coordinates_of
from mmlib.engine.objective import Objective
from mmlib.results.estimates import Fit

OUTSIDE = 1e-7
"""A column or a covariance lies outside a span when more than this share of it is left over."""

ZERO = 1e-5
"""Eigenvalues below this are zero, where others are about 1."""

SAME = 1e-6
"""Covariances that differ by less than this share are the same."""

AT_ZERO = 1e-2
"""A standard deviation below this share of the largest is zero, a correlation this near its bound
is there: the search comes near them only slowly."""

ATTEMPTS = 6

STALLED = 1e-4
"""A step that takes away a smaller share of a sum of squares will not bring it to zero."""

SIDES = (1.0, -1.0)
"""Signs of the correlations that are drawn."""


def extra_means(small: Fit, large: Fit) -> int | None:
    """How many more dimensions the means of `large` have; None if it lacks some of `small`."""
    inner, outer = small.design, large.design
    X_in, X_out, shift = _coordinates([inner.X, outer.X, _offset(inner) - _offset(outer)])
    if _outside(np.hstack([X_in, shift]), np.linalg.qr(X_out)[0]):
        return None
    return outer.p - inner.p


def extra_covariances(small: Fit, large: Fit) -> tuple[int, int] | None:
    """How many more covariances `large` has, and in how many directions `small` is at their edge.

    None if those of `small` are not among them.
    """
    inner, outer = small.design, large.design
    if inner.structured or outer.structured:
        return _searched(inner, large)
    n_patterns = 2 + sum(n_entries(term) for term in (*inner.terms, *outer.terms))
    probes = Probes(inner.row_weights, n_patterns)
    within, beyond = _coordinates([_patterns(each, probes) for each in (inner, outer)])
    basis = _basis(beyond)
    if _outside(within, basis):
        return None
    more = basis.shape[1] - _basis(within).shape[1]
    if not more:
        return 0, 0
    one, other = (_boundary_constraints(inner, within, outer, beyond, side) for side in SIDES)
    return None if one is None or other is None else (more, one)


# ---- linear spaces -------------------------------------------------------------------------------


def _coordinates(matrices: Sequence[FloatArray]) -> list[FloatArray]:
    """The matrices in an orthonormal basis of all their columns."""
    triangle = np.linalg.qr(np.hstack(matrices), mode="r")
    return np.split(triangle, np.cumsum([matrix.shape[1] for matrix in matrices])[:-1], axis=1)


def _outside(columns: FloatArray, basis: FloatArray) -> bool:
    """Whether some of the columns are not in the span of an orthonormal basis."""
    left = columns - basis @ (basis.T @ columns)
    return bool((np.linalg.norm(left, axis=0) > OUTSIDE * np.linalg.norm(columns, axis=0)).any())


def _offset(design: Design) -> FloatArray:
    return np.zeros((design.n, 1)) if design.offset is None else design.offset[:, None]


def _patterns(design: Design, probes: Probes) -> FloatArray:
    """Each pattern that Var(y) is made of, between random vectors: one column for each.

    First the residual's, then Z(I ⊗ E_r)Zᵀ for each entry of each term's covariance matrix, in
    orthonormal columns of the term. Their linear relations are those of the patterns.
    """
    found = [probes.of_errors(), *map(probes.of_entries, design.terms)]
    # One scale for all of a term, so that a rank stays a rank.
    return np.hstack([each.T / np.linalg.norm(each) for each in found])


def _basis(columns: FloatArray) -> FloatArray:
    """Orthonormal basis of the span of some columns."""
    left, singular, _ = np.linalg.svd(
        columns / np.linalg.norm(columns, axis=0), full_matrices=False
    )
    return left[:, singular > OUTSIDE * singular[0]]


def _boundary_constraints(
    inner: Design, within: FloatArray, outer: Design, beyond: FloatArray, side: float
) -> int | None:
    """In how many directions the inner model lies on the boundary of the outer one's variances.

    Take a covariance of the inner model with no variance at zero, write it with the patterns
    of the outer one, and count the rank that the covariance matrices of its terms lack. None if
    one of these is no covariance matrix.
    """
    rng = np.random.default_rng(1)
    amounts = [1.0]
    for term in inner.terms:
        root = np.tril(rng.uniform(0.5, 1.5, (term.width, term.width)))
        root *= np.where(np.eye(term.width), 1.0, side)
        amounts.extend((root @ root.T)[lower_triangle(term.width)])
    entries, _, rank, _ = np.linalg.lstsq(beyond, within @ amounts, rcond=OUTSIDE)
    if rank < beyond.shape[1]:
        return 2  # or more: where the terms of the outer model overlap, nobody can say
    lacking, start = 0, 1
    for term in outer.terms:
        E = triangle_units(term.width)
        covariance = np.tensordot(entries[start : start + len(E)], E, axes=1)
        start += len(E)
        if np.linalg.eigvalsh(covariance)[0] < -ZERO:
            return None
        lacking += term.width - int(np.linalg.matrix_rank(covariance, tol=ZERO))
    return lacking


# ---- a search ------------------------------------------------------------------------------------


def _searched(inner: Design, large: Fit) -> tuple[int, int] | None:
    """What `extra_covariances` says, where covariances have structure."""
    one, other = (_boundary_searched(inner, large, side) for side in SIDES)
    if one is None or other is None:
        return None
    return large.design.n_theta - inner.n_theta, one


def _boundary_searched(inner: Design, large: Fit, side: float) -> int | None:
    """In how many directions a covariance of the inner model lies on the larger one's boundary.

    None if it is not among those of the larger one.
    """
    outer, rng = large.design, np.random.default_rng(1)
    probes = Probes(outer.row_weights, inner.n_theta + outer.n_theta + 2)
    target = _variance(inner, _drawn(inner, rng, side), probes)
    size = float(np.linalg.norm(target))
    variables = coordinates_of(Objective(large.blocks))

    def off(x: FloatArray) -> FloatArray:
        found = np.exp(x[0]) * _variance(outer, variables.to_theta(x[1:]), probes)
        return (found - target) / size

    for attempt in range(ATTEMPTS):
        start = variables.from_theta(_drawn(outer, rng, side * SIDES[attempt % 2]))
        found = least_squares(off, np.append(0.0, start), xtol=1e-14, ftol=STALLED, gtol=1e-14)
        if np.linalg.norm(found.fun) <= SAME:
            return _at_boundary(outer, variables.to_theta(found.x[1:]))
    return None


def _drawn(design: Design, rng: np.random.Generator, side: float) -> FloatArray:
    """A random θ off every boundary, whose correlations have one sign where they may."""
    theta = random_theta(design.terms, design.residual, rng)
    if side > 0:
        return theta
    for term, own in zip(design.terms, theta_by_term(design.terms, theta), strict=True):
        structure, width = term.part.structure, term.width
        if structure.is_free:
            row, column = lower_triangle(width)
            own[row > column] *= -1
        elif structure.has_rho:
            own[-1] *= structure.lowest_correlation(width)
    residual = design.residual
    if residual is not None and residual.n_correlations:
        low = -1 / (len(residual.visits) - 1) if residual.visits else residual.lowest_correlation
        theta[len(theta) - residual.n_correlations :] *= low or 1.0
    return theta


def _variance(design: Design, theta: FloatArray, probes: Probes) -> FloatArray:
    """Var(y)/σ² between the probes."""
    parts = [
        probes.of_term(term, (T @ T.T)[None])
        for term, T in zip(design.terms, templates(design.terms, theta), strict=True)
    ]
    return np.sum([*parts, probes.of_errors(design.residual, design.phi(theta))], axis=0)[0]


def _at_boundary(design: Design, theta: FloatArray) -> int:
    """In how many directions a θ lies on a boundary."""
    found = 0
    for term, own in zip(design.terms, theta_by_term(design.terms, theta), strict=True):
        structure, width = term.part.structure, term.width
        if structure.is_free:
            scale = np.sqrt(np.mean(term.model_matrix**2, axis=0))
            T = scale[:, None] * structure.template(own, width)
            found += int((np.linalg.svd(T, compute_uv=False) < AT_ZERO).sum())
            continue
        n = structure.n_sds(width)
        found += int((own[:n] * np.sqrt(np.mean(term.model_matrix**2)) < AT_ZERO).sum())
        if n < len(own):
            low = structure.lowest_correlation(width)
            found += int(min(own[-1] - low, 1 - own[-1]) < AT_ZERO)
    if design.residual is not None and design.residual.kind == "car1":
        found += int(theta[-1] < AT_ZERO)
    return found
