"""The likelihood-ratio test of two nested fits, honest about the boundary.

Self & Liang (1987), Journal of the American Statistical Association 82, 605–610; Stram & Lee
(1994), Biometrics 50, 1171–1177.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmlib.arrays import FloatArray, lower_triangle, unit_patterns
from mmlib.design.checks import require_fit
from mmlib.design.design import Design
from mmlib.design.directions import Probes
from mmlib.design.terms import n_entries
from mmlib.design.words import by_our_words
from mmlib.errors import DataError
from mmlib.inference.nested import extra_covariances
from mmlib.inference.pvalues import HypothesisTest, chi2_tail
from mmlib.results.estimates import Fit

OUTSIDE = 1e-7
"""A column or a covariance lies outside a span when more than this share of it is left over."""

WORSE = 1e-6
"""A larger model whose objective is higher by more than this was not fitted to the end."""

SEVERAL = 2
ZERO = 1e-5
"""Eigenvalues below this are zero, where others are about 1."""


@dataclass(frozen=True, kw_only=True, repr=False)
class LikelihoodRatioTest(HypothesisTest):
    """Outcome of a likelihood-ratio test; `pvalue` is that of χ².

    Attributes
    ----------
    pvalue_mixture : float or None
        The p-value of ½χ²(df − 1) + ½χ²(df), where the null hypothesis puts one variance on its
        boundary; None where that is not the right distribution.
    valid : bool
        Whether χ² is the asymptotic distribution: False if the null hypothesis lies on the
        boundary of the larger model.
    """

    pvalue_mixture: float | None
    valid: bool

    def _columns(self) -> dict[str, str]:
        columns = super()._columns()
        if self.pvalue_mixture is not None:
            columns["p (χ²)"] = columns.pop("p-value")
            columns["p (mixture)"] = f"{self.pvalue_mixture:.4g}"
        return columns


@by_our_words
def lrt(small: Fit, large: Fit) -> LikelihoodRatioTest:
    """Compare two nested fits by twice the difference of their log-likelihoods.

    Whether they are nested is decided by the mean and covariance matrices that they allow, not by
    their formulas. Where they differ by variances, the null hypothesis lies on the boundary of the
    larger model, and χ² is not valid: the p-value of the mixture is given beside it where it is
    known.

    Parameters
    ----------
    small, large : LMMResult
        Fits to the same rows and response. Two REML fits must have the same fixed part.

    Returns
    -------
    LikelihoodRatioTest

    Raises
    ------
    DataError
        If the fits differ in their data or their criterion, are REML fits with different fixed
        parts, are not nested, are the same model or the wrong way round, or if the larger one was
        not fitted to the end.

    References
    ----------
    Self & Liang (1987), Journal of the American Statistical Association 82, 605–610; Stram & Lee
    (1994), Biometrics 50, 1171–1177.

    Examples
    --------
    >>> import mmlib as mm
    >>> pulp = mm.load_dataset("pulp")
    >>> null = mm.lmm("bright ~ 1", pulp, reml=False)
    >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", pulp, reml=False)
    >>> test = mm.lrt(null, fit)
    >>> round(test.statistic, 4), round(test.pvalue, 3), round(test.pvalue_mixture, 4)
    (2.5684, 0.109, 0.0545)
    """
    require_fit(small, large)
    require_same_data(small, large)
    _require_same_criterion(small, large)
    inner, outer = _in_common_coordinates(small.design, large.design)
    extra_means, covariances = _extra_means(inner, outer), _relation(small, large, inner, outer)
    if extra_means is None or covariances is None:
        other_way = _extra_means(outer, inner), _relation(large, small, outer, inner)
        swapped = None not in other_way
        raise DataError(_not_nested(small, large, swapped=swapped, means=extra_means is None))
    extra_covariances, constraints = covariances
    if extra_means + extra_covariances == 0:
        raise DataError(
            "the two fits are the same model (their fixed and random parts allow the same "
            "means and covariances): there is nothing to test."
        )
    if small.reml and extra_means:
        raise DataError(
            "REML criteria of models with different fixed parts cannot be compared: refit with "
            "reml=False, fit.refit(reml=False)."
        )

    df = extra_means + extra_covariances
    statistic = _statistic(small, large)
    fewer, pvalue = (float(chi2_tail(k, statistic)) for k in (df - 1, df))
    return LikelihoodRatioTest(
        method="Likelihood-ratio test" + (" (REML)" if small.reml else ""),
        hypothesis=f"{small.design.description} against {large.design.description}",
        statistic_name="RLRT" if small.reml else "LRT",
        statistic=statistic,
        df=(df,),
        pvalue=pvalue,
        pvalue_mixture=(fewer + pvalue) / 2 if constraints == 1 else None,
        valid=constraints == 0,
        notes=_notes(small, large, df=df, constraints=constraints),
    )


def require_same_data(small: Fit, large: Fit) -> None:
    """Check that two fits are to the same rows, response and weights.

    Raises
    ------
    DataError
        If they are not.
    """
    one, two = small.design, large.design
    if one.n != two.n:
        raise DataError(
            f"the models are fitted to {one.n} and {two.n} rows: they cannot be compared. Drop the "
            "rows with missing values first, so that both use the same."
        )
    if not np.array_equal(one.y, two.y):
        raise DataError(
            "the models are fitted to different responses, or to rows in another order: they "
            "cannot be compared. Fit both to the same data."
        )
    if not np.array_equal(one.row_weights, two.row_weights):
        raise DataError("the models have different prior weights: fit both with the same.")
    if one.sigma != two.sigma:
        raise DataError(
            "the models take different σ as known, or only one of them does: fit both alike."
        )


def _require_same_criterion(small: Fit, large: Fit) -> None:
    if small.reml != large.reml:
        raise DataError(
            "one model is fitted by REML and the other by maximum likelihood: refit with "
            "reml=False, fit.refit(reml=False)."
        )


def _not_nested(small: Fit, large: Fit, *, swapped: bool, means: bool) -> str:
    if swapped:
        return "the first model contains the second: swap them, lrt(small, large)."
    one, other = small.design.description, large.design.description
    what = (
        "the fixed part of {} is not a"
        if means
        else "the random part of {}, with its residuals, is not a"
    )
    return (
        f"the models are not nested: {what.format(repr(one))} special case of that of {other!r}. "
        "Compare them by AIC, or test each against a model that contains both."
    )


@dataclass(frozen=True, eq=False)
class _Parts:
    """The columns that span a model's means and covariances, in coordinates that two models share.

    `shift` is the difference of the two offsets; `widths` are those of the random terms, whose
    covariance patterns follow the residual's.
    """

    X: FloatArray
    shift: FloatArray
    patterns: FloatArray
    widths: tuple[int, ...]


def _in_common_coordinates(small: Design, large: Design) -> tuple[_Parts, _Parts]:
    """One QR decomposition for the means and one for the covariances: only R matters for spans."""
    X_s, X_l, shift = _coordinates([small.X, large.X, _offset(small) - _offset(large)])
    n_patterns = 2 + sum(n_entries(term) for design in (small, large) for term in design.terms)
    probes = Probes(small.row_weights, n_patterns)
    patterns_s, patterns_l = _coordinates([_patterns(each, probes) for each in (small, large)])
    return (
        _Parts(X_s, shift, patterns_s, tuple(term.width for term in small.terms)),
        _Parts(X_l, shift, patterns_l, tuple(term.width for term in large.terms)),
    )


def _coordinates(matrices: Sequence[FloatArray]) -> list[FloatArray]:
    """The matrices in an orthonormal basis of all their columns."""
    triangle = np.linalg.qr(np.hstack(matrices), mode="r")
    return np.split(triangle, np.cumsum([matrix.shape[1] for matrix in matrices])[:-1], axis=1)


def _extra_means(inner: _Parts, outer: _Parts) -> int | None:
    """How many more dimensions the means of `outer` have; None if it lacks some of `inner`."""
    if _outside(np.hstack([inner.X, inner.shift]), np.linalg.qr(outer.X)[0]):
        return None
    return outer.X.shape[1] - inner.X.shape[1]


def _extra_covariances(inner: _Parts, outer: _Parts) -> int | None:
    """How many more dimensions the covariances of `outer` have; None if it lacks some."""
    basis = _basis(outer.patterns)
    if _outside(inner.patterns, basis):
        return None
    return basis.shape[1] - _basis(inner.patterns).shape[1]


def _relation(small: Fit, large: Fit, inner: _Parts, outer: _Parts) -> tuple[int, int] | None:
    """How many more covariances `large` has, and in how many directions `small` is at their edge.

    None if those of `small` are not among them.
    """
    if small.design.structured or large.design.structured:
        return extra_covariances(small.design, large.design)
    more = _extra_covariances(inner, outer)
    if more is None:
        return None
    return more, _boundary_constraints(inner, outer) if more else 0


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
    found = [probes.of_independent()]
    for term in design.terms:
        orthonormal = term.with_rows(term.codes, np.linalg.qr(term.model_matrix)[0])
        found.append(probes.of_term(orthonormal, _units(term.width)))
    # One scale for all of a term, so that a rank stays a rank.
    return np.hstack([each.T / np.linalg.norm(each) for each in found])


def _units(width: int) -> FloatArray:
    return unit_patterns(*lower_triangle(width), width)


def _basis(columns: FloatArray) -> FloatArray:
    """Orthonormal basis of the span of some columns."""
    left, singular, _ = np.linalg.svd(
        columns / np.linalg.norm(columns, axis=0), full_matrices=False
    )
    return left[:, singular > OUTSIDE * singular[0]]


def _boundary_constraints(inner: _Parts, outer: _Parts) -> int:
    """In how many directions the small model lies on the boundary of the large one's variances.

    Take a covariance of the small model with no variance at zero, write it with the patterns
    of the large one, and count the rank that the covariance matrices of its terms lack.
    """
    rng = np.random.default_rng(1)
    amounts = [1.0]
    for width in inner.widths:
        root = np.tril(rng.uniform(0.5, 1.5, (width, width)))
        amounts.extend((root @ root.T)[lower_triangle(width)])
    target = inner.patterns @ amounts
    entries, _, rank, _ = np.linalg.lstsq(outer.patterns, target, rcond=OUTSIDE)
    if rank < outer.patterns.shape[1]:
        return SEVERAL  # the terms of the large model overlap: there is no one way to write it
    lacking, start = 0, 1
    for width in outer.widths:
        E = _units(width)
        covariance = np.tensordot(entries[start : start + len(E)], E, axes=1)
        start += len(E)
        lacking += width - int(np.linalg.matrix_rank(covariance, tol=ZERO))
    return lacking


def _statistic(small: Fit, large: Fit) -> float:
    statistic = _criterion(small) - _criterion(large)
    if statistic < -WORSE * max(1.0, abs(large.objective)):
        raise DataError(
            "the larger model is not converged: its objective is higher than the smaller one's by "
            f"{-statistic:.3g}. Rescale its predictors or simplify it, and fit again."
        )
    return max(statistic, 0.0)


def _criterion(fit: Fit) -> float:
    """The objective; of a REML fit, as it is with an orthonormal basis of X."""
    return fit.objective - (2 * fit.blocks.log_det_X if fit.reml else 0.0)


def _notes(small: Fit, large: Fit, *, df: int, constraints: int) -> tuple[str, ...]:
    notes = []
    if not (small.converged and large.converged):
        notes.append("A fit is not converged: the statistic may be wrong.")
    if constraints == 1:
        notes.append(
            "χ² is not valid: under the null hypothesis a variance is zero, the edge of what it "
            f"can be. With many levels the distribution is ½χ²({df - 1}) + ½χ²({df}), the mixture; "
            "for the distribution with few, use exact_lrt or parametric_bootstrap."
        )
    elif constraints > 1:
        notes.append(
            "χ² is not valid: under the null hypothesis several variances are zero, the edge of "
            "what they can be, and no simple mixture of χ² is known. Use parametric_bootstrap, or "
            "test one variance at a time by exact_lrt."
        )
    if small.is_singular:
        notes.append(
            "The smaller model's own estimate is on the boundary, where no asymptotic distribution "
            "is reliable: use parametric_bootstrap."
        )
    return tuple(notes)
