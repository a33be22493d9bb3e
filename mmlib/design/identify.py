"""Whether the data can tell the variances apart: judged by what they do to Var(y), not by names.

Var(y) is linear in the entries of the covariance matrices: σ²W⁻¹ + Σ c_ij M_ij, where M_ij has the
products of columns i and j of a term, within its levels. If these matrices are linearly dependent,
variance can be moved from one term to another, or to the residual, without any change in the
likelihood. Their inner products are sums over cells of cross-products: nothing here is n×n. With
structure Var(y) is not linear, and its derivatives are seen through random vectors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmlib.arrays import FloatArray, lower_triangle, meet, weigh
from mmlib.design.design import Design
from mmlib.design.directions import Probes, directions, random_theta
from mmlib.design.terms import RandomTerm, check_identifiable, n_entries, n_theta
from mmlib.errors import RankError

DEPENDENT = 1e-11
"""An eigenvalue of the correlations between the matrices below this is zero."""

TAKES_PART = 1e-4
"""A matrix with a smaller share in a dependence takes no part in it."""

TRADABLE, TRADED = 1e-7, 1e-3
"""The same of singular values, as shares of the largest, where covariances have structure."""

MAX_PARAMETERS = 250
"""More parameters than this are not looked at."""


def refuse_unidentified(design: Design) -> None:
    """Refuse variances, and parameters of structures, that the data cannot tell apart.

    Raises
    ------
    RankError
        If there are any; the message says of which terms, and what to write.
    """
    if design.structured:
        _refuse_tradable(design)
        return
    if design.sigma is None:
        for term in design.terms:
            check_identifiable(term)
    _refuse_movable(design.terms, design.root_weights)


def _refuse_movable(terms: Sequence[RandomTerm], root_weights: FloatArray | None) -> None:
    """Refuse random terms between which variance could be moved."""
    sizes = [n_entries(term) for term in terms]
    one_variance = sizes == [1]  # which differs from the residual: there are more rows than levels
    if not terms or one_variance or sum(sizes) > MAX_PARAMETERS:
        return
    columns = [
        basis
        for term in terms
        if (basis := _orthonormal(weigh(root_weights, term.model_matrix))) is not None
    ]
    if len(columns) < len(terms):
        return  # a column that depends on others of its term, which the engine names
    gram = _gram(terms, columns, sizes)
    scale = np.sqrt(np.diag(gram))
    null = _first_dependence(gram / np.outer(scale, scale))
    if null is None:
        return
    *shares, residual = np.split(np.abs(null) > TAKES_PART, np.cumsum(sizes))
    involved = [term for term, share in zip(terms, shares, strict=True) if share.any()]
    raise RankError(_message(involved, with_residual=bool(residual.any())))


def _refuse_tradable(design: Design) -> None:
    """Refuse parameters of Var(y) that can be traded for others without any change in it."""
    terms, residual = design.terms, design.residual
    owners = [str(term.part) for term in terms for _ in range(n_theta(term))]
    if residual is not None:
        a = residual.n_ratios[0]
        owners += [f"dispersion={residual.dispersion!r}"] * a
        owners += [f"residual={residual.word!r}"] * (residual.size - a)
    owners.append("the residual variance")
    if len(owners) > MAX_PARAMETERS:
        return
    theta = random_theta(terms, residual, np.random.default_rng(1))
    rows = directions(terms, residual, theta, Probes(design.row_weights, len(owners)))
    if design.sigma is not None:
        rows = rows[:-1]
    lengths = np.linalg.norm(rows, axis=1)
    if (lengths == 0).any():
        lost = owners[int(np.argmin(lengths))]
        raise RankError(f"the data say nothing of a parameter of {lost}; leave it out.")
    left, sizes, _ = np.linalg.svd(rows / lengths[:, None], full_matrices=False)
    if sizes[-1] > TRADABLE * sizes[0]:
        return
    taking = np.abs(left[:, -1]) > TRADED
    names = list(dict.fromkeys(o for o, part in zip(owners, taking, strict=True) if part))
    raise RankError(
        f"{' and '.join(names)} cannot be told apart: their parameters can be traded for each "
        "other without any change in the variance of the data; use fewer of them, or a structure "
        "with fewer parameters."
    )


def _first_dependence(correlations: FloatArray) -> FloatArray | None:
    """Coefficients that sum the matrices to zero, of as few of the first ones as possible."""
    size = len(correlations)
    if np.linalg.eigvalsh(correlations)[0] > DEPENDENT:
        return None
    for k in range(2, size + 1):
        values, vectors = np.linalg.eigh(correlations[:k, :k])
        if values[0] <= DEPENDENT:
            return np.pad(vectors[:, 0], (0, size - k))
    return None


def _orthonormal(columns: FloatArray) -> FloatArray | None:
    """Another basis of a term's columns, which its matrices span as well; None if dependent."""
    basis, triangle = np.linalg.qr(columns)
    diagonal = np.abs(np.diag(triangle))
    norms = np.linalg.norm(triangle, axis=0)
    return None if (diagonal <= 1e-7 * norms).any() else basis


def _gram(
    terms: Sequence[RandomTerm], columns: Sequence[FloatArray], sizes: Sequence[int]
) -> FloatArray:
    """Inner products of the matrices of all terms, and last of the residual's, the identity."""
    ends = np.cumsum([0, *sizes])
    gram = np.zeros((ends[-1] + 1, ends[-1] + 1))
    gram[-1, -1] = len(columns[0])
    for a, (one, X) in enumerate(zip(terms, columns, strict=True)):
        span = slice(ends[a], ends[a + 1])
        row, column = lower_triangle(one.width)
        gram[span, -1] = gram[-1, span] = (X.T @ X)[row, column] * np.where(row == column, 1, 2)
        for b, (other, Z) in enumerate(zip(terms[a:], columns[a:], strict=True), start=a):
            inner = _inner(one, X, other, Z)
            gram[span, ends[b] : ends[b + 1]] = inner
            gram[ends[b] : ends[b + 1], span] = inner.T
    return gram


def _inner(one: RandomTerm, X: FloatArray, other: RandomTerm, Z: FloatArray) -> FloatArray:
    """⟨M_ij, M_kl⟩ = Σ over cells of (x_i·z_k)(x_j·z_l) + (x_i·z_l)(x_j·z_k), as entries count."""
    cells = meet((one.codes, one.n_levels), X, (other.codes, other.n_levels), Z).blocks
    s, t = X.shape[1], Z.shape[1]
    sums = cells.reshape(-1, s * t)
    both = (sums.T @ sums).reshape(s, t, s, t)  # [i, k, j, l]
    i, j = lower_triangle(s)
    k, m = lower_triangle(t)
    straight = both[i[:, None], k, j[:, None], m]
    crossed = both[i[:, None], m, j[:, None], k]
    # M_ij with i ≠ j is x_i x_jᵀ + x_j x_iᵀ; with i = j it is x_i x_iᵀ alone.
    weights = np.outer(np.where(i == j, 1, 2), np.where(k == m, 1, 2))
    return weights * (straight + crossed) / 2


def _message(terms: Sequence[RandomTerm], *, with_residual: bool) -> str:
    named = [str(term.part) for term in terms]
    if with_residual:
        return (
            f"{' and '.join(named)} cannot be told from the residual variance: variance can be "
            "moved from one to the other without any change in the fit, as with one row for each "
            "level; leave one of the terms out."
        )
    first, *others = terms
    if not others:
        return (
            f"the variances and covariances of {', '.join(first.columns)} in {first.part} cannot "
            "be told apart, as where a column has one value for each level: other ones have the "
            "same fit; leave a column out."
        )
    shared = {name for name in first.columns if any(name in term.columns for term in others)}
    if shared and all(term.n_levels == first.n_levels for term in others):
        same = ""
        names = ", ".join(sorted(shared))
        if len({term.group for term in terms}) > 1:
            same = f"{' and '.join(repr(t.group) for t in terms)} divide the rows in the same way: "
        return (
            f"{same}the variances of {names} in {' and '.join(named)} cannot be told apart; keep "
            f"{names} in one of them."
        )
    largest = max(terms, key=lambda term: term.width)
    rest = " and ".join(str(term.part) for term in terms if term is not largest)
    return (
        f"the variances of {' and '.join(named)} cannot be told apart: variance can be moved from "
        f"one to the other without any change in the fit; leave out {rest}, or {largest.part}."
    )
