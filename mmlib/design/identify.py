"""Whether the data can tell the variances apart: judged by what they do to Var(y), not by names.

Where the derivatives of Var(y) in its parameters are linearly dependent, variance can be moved from
one term to another, or to the residual, without any change in the likelihood. These derivatives are
n×n matrices, and are seen through random vectors: `mmlib.design.directions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmlib.arrays import FloatArray
from mmlib.design.design import Design
from mmlib.design.directions import Probes, directions, random_theta
from mmlib.design.matrix import independent_columns
from mmlib.design.terms import RandomTerm, check_identifiable, n_theta
from mmlib.errors import RankError

DEPENDENT = 3e-6
"""A parameter depends on others if less than this share of what it does is left after them."""

TAKES_PART = 1e-3
"""A parameter with a smaller share in a dependence takes no part in it."""

MAX_PARAMETERS = 250
"""More parameters than this are not looked at."""

RESIDUAL = "the residual variance"


def refuse_unidentified(design: Design) -> None:
    """Refuse variances, and parameters of structures, that the data cannot tell apart.

    Raises
    ------
    RankError
        If there are any; the message says of which terms, and what to write.
    """
    if not design.structured:
        if design.sigma is None:
            for term in design.terms:
                check_identifiable(term, design.n)
        dependent = [not independent_columns(t.model_matrix).all() for t in design.terms]
        if any(dependent) or design.n_theta < 2:
            return  # the engine names the column; there are more rows than levels
    if design.n_theta < MAX_PARAMETERS:
        refuse_tradable(design, _changes(design))


def refuse_tradable(design: Design, changes: FloatArray) -> None:
    """Refuse parameters of a design that can be traded for each other.

    `changes` tell in each row how Var(y) moves with a parameter, and in the last how with σ²: they
    are those matrices, or what has the same inner products.
    """
    owners = _owners(design)
    involved = _first_dependence(changes[: len(owners)], owners)
    if not involved:
        return
    if design.structured:
        raise RankError(
            f"{' and '.join(map(_named, involved))} cannot be told apart: their parameters can be "
            "traded for each other without any change in the variance of the data; use fewer of "
            "them, or a structure with fewer parameters."
        )
    terms = [owner for owner in involved if isinstance(owner, RandomTerm)]
    raise RankError(_message(terms, with_residual=RESIDUAL in involved))


def _owners(design: Design) -> list[RandomTerm | str]:
    """What each parameter belongs to: those of the terms, of the residuals, and σ if not known."""
    owners: list[RandomTerm | str] = [term for term in design.terms for _ in range(n_theta(term))]
    residual = design.residual
    if residual is not None:
        a = residual.n_ratios[0]
        owners += [f"dispersion={residual.dispersion!r}"] * a
        owners += [f"residual={residual.word!r}"] * (residual.size - a)
    return owners + [RESIDUAL] * (design.sigma is None)


def _first_dependence(changes: FloatArray, owners: Sequence[RandomTerm | str]) -> list[Any]:
    """Whose parameters can be traded for each other: the first that depends on those before it."""
    lengths = np.linalg.norm(changes, axis=1)
    if (lengths == 0).any():
        lost = _named(owners[int(np.argmin(lengths))])
        raise RankError(f"the data say nothing about a parameter of {lost}; leave it out.")
    # Narrow terms from wide ones: the other way round a column far from its origin costs digits.
    order = np.argsort([-getattr(owner, "width", 1) for owner in owners], kind="stable")
    changes = changes[order] / lengths[order, None]
    independent = independent_columns(changes.T, tolerance=DEPENDENT)
    if independent.all():
        return []
    *before, last = changes[: np.argmin(independent) + 1]
    shares = np.append(np.linalg.lstsq(np.transpose(before), last)[0], 1.0)
    taking = {owners[k] for k in order[: len(shares)][np.abs(shares) > TAKES_PART]}
    return [owner for owner in dict.fromkeys(owners) if owner in taking]


def _named(owner: RandomTerm | str) -> str:
    return str(owner.part) if isinstance(owner, RandomTerm) else owner


def _changes(design: Design) -> FloatArray:
    """How Var(y) moves with each parameter, and last with σ²; off every boundary."""
    probes = Probes(design.row_weights, design.n_theta + 1)
    if design.structured:
        theta = random_theta(design.terms, design.residual, np.random.default_rng(1))
        return directions(design.terms, design.residual, theta, probes)
    return np.vstack([*map(probes.of_entries, design.terms), probes.of_errors()])


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
