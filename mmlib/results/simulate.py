"""Draw responses of a design whose parameters are known or assumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mmlib.arrays import FloatArray, lower, lower_triangle
from mmlib.design.checks import (
    as_array,
    as_generator,
    as_numbers,
    require_count,
    require_names,
    require_positive,
)
from mmlib.design.design import Design
from mmlib.design.formula import MixedFormula
from mmlib.design.planned import plan
from mmlib.design.terms import RandomTerm, templates, theta_by_term
from mmlib.errors import DataError
from mmlib.results.varcorr import TermCovariance, covariances

Beta = Mapping[str, float] | ArrayLike
Sds = Mapping[str, float | Sequence[float] | Mapping[str, float]]
Correlations = Mapping[str, float | ArrayLike]

ROUNDING = 1e-10
"""A correlation matrix may lack this much of being non-negative definite."""


@dataclass(frozen=True, eq=False)
class Truth:
    """The parameters that responses are drawn from.

    Attributes
    ----------
    beta : ndarray, shape (p,)
    theta : ndarray
        Covariance parameters relative to σ, as those of a fit.
    sigma : float
    """

    beta: FloatArray
    theta: FloatArray
    sigma: float


def n_spherical(design: Design) -> int:
    """How many normal numbers make one response: those of u, and an error for each row."""
    return sum(term.n_levels * term.width for term in design.terms) + design.n


def responses_to(design: Design, truth: Truth, spherical: FloatArray) -> FloatArray:
    """The responses that standard normal numbers, shape (nsim, n_spherical), lead to.

    First the effects u (terms in the order of the design, levels in order), then the errors.
    """
    terms, nsim = design.terms, len(spherical)
    sizes = [term.n_levels * term.width for term in terms]
    *effects, errors = np.split(spherical, np.cumsum(sizes, dtype=int), axis=1)
    mean = design.X @ truth.beta + (0.0 if design.offset is None else design.offset)
    response = mean + errors_of(design, truth, errors)
    lambdas = templates(terms, truth.theta)
    for term, u, lam in zip(terms, effects, lambdas, strict=True):
        b = u.reshape(nsim, term.n_levels, -1) @ (truth.sigma * lam).T
        response += np.einsum("rns,ns->rn", b[:, term.codes], term.model_matrix)
    return response


def errors_of(design: Design, truth: Truth, spherical: FloatArray) -> FloatArray:
    """The errors that standard normal numbers, shape (nsim, n), lead to."""
    return truth.sigma * design.whitener(design.phi(truth.theta)).colour(spherical.T).T


def simulate(
    formula: str | MixedFormula,
    frame: pd.DataFrame,
    *,
    beta: Beta,
    theta: ArrayLike | None = None,
    sd: Sds | None = None,
    corr: Correlations | None = None,
    sigma: float,
    weights: str | ArrayLike | None = None,
    offset: str | ArrayLike | None = None,
    nsim: int = 1,
    rng: np.random.Generator | int | None = None,
) -> FloatArray:
    """Draw responses of a design that has not been measured.

    Parameters
    ----------
    formula : str or MixedFormula
        As for `lmm`; its left side names what will be measured, and `frame` need not have it.
    frame : DataFrame
        One row for each observation.
    beta : dict, or array of shape (p,)
        Fixed effects, by name or in order.
    theta : array, optional
        Covariance parameters relative to σ, as `LMMResult.theta`; or else:
    sd : dict, optional
        For each grouping the standard deviations of its effects: a number, a sequence in the order
        of the columns, or a dict by column, such as ``{"Subject": {"Intercept": 25, "Days": 6}}``.
    corr : dict, optional
        For groupings with correlated effects their correlation, or the correlation matrix; by
        default 0.
    sigma : float
        Residual standard deviation.
    weights, offset : column name or array, optional
        As for `lmm`.
    nsim : int
        Number of replicates.
    rng : Generator, int or None
        Passed to `numpy.random.default_rng`.

    Returns
    -------
    ndarray, shape (nsim, n)
        On the scale of the formula's left side.

    Raises
    ------
    FormulaError, DataError, RankError
        If the formula cannot be evaluated, or a parameter is missing, unknown or impossible.

    Examples
    --------
    >>> import mmlib as mm
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"arm": [0, 0, 1, 1] * 3, "site": list("abcdef") * 2})
    >>> truth = {"beta": {"Intercept": 10, "arm": 1}, "sd": {"site": 0.5}, "sigma": 1}
    >>> mm.simulate("score ~ arm + (1 | site)", frame, **truth, nsim=3, rng=1).shape
    (3, 12)
    """
    nsim = require_count("nsim", nsim)
    design = plan(formula, frame, weights=weights, offset=offset)
    truth = truth_of(design, None, beta=beta, theta=theta, sd=sd, corr=corr, sigma=sigma)
    spherical = as_generator(rng).standard_normal((nsim, n_spherical(design)))
    return responses_to(design, truth, spherical)


def truth_of(
    design: Design,
    estimates: Truth | None,
    *,
    beta: Beta | None = None,
    theta: ArrayLike | None = None,
    sd: Sds | None = None,
    corr: Correlations | None = None,
    sigma: float | None = None,
) -> Truth:
    """The parameters that the arguments stand for; what they leave open is as in `estimates`.

    Raises
    ------
    DataError
        If a parameter is unknown or impossible, or missing where there are no estimates.
    """
    new_sigma = _sigma(sigma, estimates)
    if theta is not None:
        if sd is not None or corr is not None:
            raise DataError("theta= says what sd= and corr= say; give one or the other.")
        new_theta = _possible_theta(design, _numbers("theta", theta, design.n_theta))
    elif not design.structured:
        new_theta = _theta(design, estimates, new_sigma, sd or {}, corr or {})
    else:
        if sd is not None or corr is not None or estimates is None:
            raise DataError(
                f"{design.formula} has covariances with structure: give theta=, the relative "
                "standard deviations and correlations in the order of fit.theta, not sd= and corr=."
            )
        new_theta = _same_sds(design, estimates.theta, estimates.sigma / new_sigma)
    return Truth(_beta(design, estimates, beta), new_theta, new_sigma)


def _same_sds(design: Design, theta: FloatArray, factor: float) -> FloatArray:
    """θ with the standard deviations of random effects times a factor."""
    scaled = np.array(theta)
    for term, own in zip(design.terms, theta_by_term(design.terms, scaled), strict=True):
        structure = term.part.structure
        own[: len(own) if structure.is_free else structure.n_sds(term.width)] *= factor
    return scaled


def _possible_theta(design: Design, theta: FloatArray) -> FloatArray:
    """θ, if the covariances that it stands for exist."""
    if design.residual is not None:
        try:
            design.whitener(design.phi(theta))
        except np.linalg.LinAlgError:
            raise DataError(f"theta is no covariance of the residuals: {theta}.") from None
    return theta


def _sigma(sigma: float | None, estimates: Truth | None) -> float:
    if sigma is None:
        if estimates is None:
            raise DataError("sigma= is missing: the residual standard deviation.")
        return estimates.sigma
    return require_positive("sigma", sigma)


def _beta(design: Design, estimates: Truth | None, beta: Beta | None) -> FloatArray:
    names = list(design.fixed_names)
    if beta is None:
        if estimates is None:
            raise DataError(f"beta= is missing: values of the fixed effects {', '.join(names)}.")
        return estimates.beta
    if isinstance(beta, pd.Series):
        beta = {str(name): value for name, value in beta.items()}
    if not isinstance(beta, Mapping):
        return _numbers("beta", beta, len(names))
    require_names("beta", beta, names, "fixed effect")
    missing = [name for name in names if name not in beta]
    if missing and estimates is None:
        raise DataError(f"beta lacks a value of {', '.join(missing)}.")
    known = dict(zip(names, estimates.beta, strict=True)) if estimates is not None else {}
    return _numbers("beta", [beta.get(name, known.get(name)) for name in names], len(names))


def _theta(
    design: Design,
    estimates: Truth | None,
    sigma: float,
    sd: Sds,
    corr: Correlations,
) -> FloatArray:
    """θ from standard deviations and correlations, which do not change with σ."""
    groups = list(dict.fromkeys(term.group for term in design.terms))
    for argument, given in (("sd", sd), ("corr", corr)):
        if not isinstance(given, Mapping):
            raise DataError(f"{argument} must be a dict by grouping, not {given!r}.")
        require_names(argument, given, groups, "grouping of the design")
    known: Sequence[TermCovariance | None] = [None] * len(design.terms)
    if estimates is not None:
        known = covariances(design.terms, estimates.theta, estimates.sigma)
    elif missing := [name for name in groups if name not in sd]:
        raise DataError(f"sd= lacks a standard deviation for {', '.join(missing)}.")
    entries = []
    for term, own in zip(design.terms, known, strict=True):
        sizes, directions = np.linalg.eigh(_covariance(design, term, own, sd, corr))
        root = lower(directions * np.sqrt(np.maximum(sizes, 0.0))) / sigma
        entries.append(root[lower_triangle(term.width)])
    return np.concatenate([np.zeros(0), *entries])


def _covariance(
    design: Design, term: RandomTerm, known: TermCovariance | None, sd: Sds, corr: Correlations
) -> FloatArray:
    """The covariance matrix of a term's effects."""
    group = term.group
    sds, correlation = np.zeros(term.width), np.eye(term.width)
    if known is not None:
        sds = known.sd
        correlation = np.where(np.eye(term.width) > 0, 1.0, np.nan_to_num(known.correlation))
    if group in sd:
        sds = _sds(design, term, sd[group])
    if group in corr:
        correlation = _correlation(term, corr[group])
    return correlation * np.outer(sds, sds)


def _sds(design: Design, term: RandomTerm, given: Any) -> FloatArray:
    """The standard deviations of a term, out of those of its grouping."""
    group = term.group
    columns = [name for each in design.terms if each.group == group for name in each.columns]
    if isinstance(given, Mapping):
        if set(given) != set(columns):
            named = ", ".join(map(str, given))
            raise DataError(f"sd[{group!r}] must name {', '.join(columns)}; it names {named}.")
        values = _numbers(f"sd[{group!r}]", [given[name] for name in columns], len(columns))
    else:
        values = _numbers(
            f"sd[{group!r}]", np.atleast_1d(as_array(f"sd[{group!r}]", given)), len(columns)
        )
    if (values < 0).any():
        raise DataError(f"sd[{group!r}] has a negative standard deviation.")
    by_column = dict(zip(columns, values, strict=True))
    return np.array([by_column[name] for name in term.columns])


def _correlation(term: RandomTerm, given: Any) -> FloatArray:
    """A correlation matrix from one number or from the matrix."""
    what = f"corr[{term.group!r}]"
    if term.width == 1:
        raise DataError(f"{what}: the effects of {term.part} are uncorrelated; leave it out.")
    values = as_numbers(what, as_array(what, given))
    matrix = values
    if values.ndim == 0:
        matrix = np.full((term.width, term.width), float(values))
        np.fill_diagonal(matrix, 1.0)
    if matrix.shape != (term.width, term.width):
        raise DataError(f"{what} must be a number or a matrix of {term.width} × {term.width}.")
    possible = np.allclose(matrix, matrix.T) and np.allclose(np.diag(matrix), 1)
    if not possible or np.linalg.eigvalsh(matrix).min() < -ROUNDING:
        raise DataError(f"{what} is not a possible correlation matrix.")
    return matrix


def _numbers(argument: str, values: Any, size: int) -> FloatArray:
    numbers = as_numbers(argument, as_array(argument, values))
    if numbers.shape != (size,) or np.isnan(numbers).any():
        raise DataError(f"{argument} must be {size} number(s), not {values!r}.")
    return numbers
