"""Whether the covariances of one model are among those of another, where they have structure.

Variances and covariances of models without structure make linear spaces, which are compared by
their bases. With structure they do not. So a covariance of the smaller model is drawn, off every
boundary, and the parameters of the larger one that give the same are searched, by least squares of
what both do between random vectors. That the search ends at zero says that they are nested, and
where it ends whether on a boundary of the larger model.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import least_squares

from mmlib.arrays import FloatArray
from mmlib.design.design import Design
from mmlib.design.directions import Probes, random_theta
from mmlib.design.terms import n_theta, theta_by_term

SAME = 1e-6
"""Covariances that differ by less than this share are the same."""

AT_ZERO = 1e-2
"""A standard deviation below this share of the largest is zero, a correlation this near its bound
is there: the search comes near them only slowly."""

ATTEMPTS = 6


def extra_covariances(inner: Design, outer: Design) -> tuple[int, int] | None:
    """Parameters that `outer` has more, and how many of them `inner` has on a boundary.

    None if the covariances of `inner` are not among those of `outer`.
    """
    rng = np.random.default_rng(1)
    probes = Probes(outer.row_weights, inner.n_theta + outer.n_theta + 2)
    target = _variance(
        inner, _smooth(inner, random_theta(inner.terms, inner.residual, rng)), probes
    )
    size = float(np.linalg.norm(target))
    for _ in range(ATTEMPTS):
        start = _smooth(outer, random_theta(outer.terms, outer.residual, rng))

        def off(x: FloatArray) -> FloatArray:
            scaled = np.exp(x[0]) * _variance(outer, x[1:], probes)
            return (scaled - target) / size

        found = least_squares(off, np.append(0.0, start), xtol=1e-14, ftol=1e-14, gtol=1e-14)
        if np.linalg.norm(found.fun) <= SAME:
            return outer.n_theta - inner.n_theta, _at_boundary(outer, found.x[1:])
    return None


def _smooth(design: Design, theta: FloatArray) -> FloatArray:
    """Numbers without bounds: entries of triangles, those of structures, those of residuals."""
    found = [
        own if term.part.structure.is_free else term.part.structure.to_smooth(own, term.width)
        for term, own in zip(design.terms, theta_by_term(design.terms, theta), strict=True)
    ]
    if design.residual is not None:
        found.append(design.residual.to_smooth(design.phi(theta)))
    return np.concatenate([np.zeros(0), *found])


def _variance(design: Design, smooth: FloatArray, probes: Probes) -> FloatArray:
    """Var(y)/σ² between the probes."""
    total, start = np.zeros(0), 0
    for term in design.terms:
        own = smooth[start : start + n_theta(term)]
        start += len(own)
        structure = term.part.structure
        T = (
            structure.template(own, term.width)
            if structure.is_free
            else structure.at(own, term.width)[0]
        )
        part = probes.of_term(term, (T @ T.T)[None])[0]
        total = part if not len(total) else total + part
    residual = design.residual
    if residual is None:
        of_residual = probes.of_independent()[0]
    else:
        phi = residual.from_smooth(smooth[start:])[0]
        of_residual = probes.of_residual(residual, [C[None] for C in residual.covariances(phi)])[0]
    return of_residual if not len(total) else total + of_residual


def _at_boundary(design: Design, smooth: FloatArray) -> int:
    """In how many directions a point lies on a boundary."""
    found, start = 0, 0
    for term in design.terms:
        own = smooth[start : start + n_theta(term)]
        start += len(own)
        structure, width = term.part.structure, term.width
        if structure.is_free:
            scale = np.sqrt(np.mean(term.model_matrix**2, axis=0))
            T = scale[:, None] * structure.template(own, width)
            found += int((np.linalg.svd(T, compute_uv=False) < AT_ZERO).sum())
            continue
        theta = structure.to_theta(own, width)
        n = structure.n_sds(width)
        found += int((theta[:n] * np.sqrt(np.mean(term.model_matrix**2)) < AT_ZERO).sum())
        if n < len(theta):
            low = structure.lowest_correlation(width)
            found += int(min(theta[-1] - low, 1 - theta[-1]) < AT_ZERO)
    residual = design.residual
    if residual is not None and residual.kind == "car1":
        found += int(residual.from_smooth(smooth[start:])[0][-1] < AT_ZERO)
    return found
