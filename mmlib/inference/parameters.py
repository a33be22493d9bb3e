"""The parameters of a fit by name: those that have profiles and intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mmlib.arrays import FloatArray
from mmlib.design.design import Design
from mmlib.design.residual import Residual
from mmlib.errors import DataError
from mmlib.results.estimates import Fit
from mmlib.results.varcorr import TermCovariance, covariances


@dataclass(frozen=True)
class Parameter:
    """One parameter of a fit.

    Attributes
    ----------
    name : str
        ``sd_<column>|<group>``, ``cor_<column>.<column>|<group>``, ``sigma``, or that of a fixed
        effect. Where covariances have structure also ``sd_<structure>|<group>``,
        ``cor_<structure>|<group>``, ``residual_ratio_<level>|<column>`` and
        ``residual_cor|<group>``, of visits ``residual_cor_<visit>.<visit>|<group>``.
    kind : {"sd", "cor", "sigma", "fixed", "residual"}
    estimate : float
        In the parameter's unit; NaN for the correlation with an effect that does not vary.
    place : tuple of int
        Term and position of a standard deviation, term and two positions of a correlation (of a
        structure: term and position in its part of θ), column of a fixed effect, position in φ;
        empty for σ.
    limits : tuple of float
        Between what it lies.
    """

    name: str
    kind: Literal["sd", "cor", "sigma", "fixed", "residual"]
    estimate: float
    place: tuple[int, ...] = ()
    limits: tuple[float, float] = (0.0, np.inf)


def parameters(fit: Fit) -> list[Parameter]:
    """Standard deviations and correlations, term after term, then σ and the fixed effects.

    Raises
    ------
    DataError
        If two have the same name, as σ and a column called ``sigma`` would.
    """
    found = variance_parameters(fit.design, fit.theta, fit.sigma)
    for column, (name, beta) in enumerate(zip(fit.design.fixed_names, fit.beta, strict=True)):
        found.append(Parameter(name, "fixed", float(beta), (column,), (-np.inf, np.inf)))
    counts = Counter(parameter.name for parameter in found)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise DataError(f"two parameters are called {twice[0]!r}: rename the column of the data.")
    return found


def variance_parameters(design: Design, theta: FloatArray, sigma: float) -> list[Parameter]:
    """The parameters of a design, fixed effects left out, at any θ and σ."""
    found: list[Parameter] = []
    for number, term in enumerate(covariances(design.terms, theta, sigma)):
        found += _of_term(number, term)
    found.append(Parameter("sigma", "sigma", sigma))
    if design.residual is not None:
        found += _of_residual(design.residual, design.phi(theta))
    return found


def _of_term(number: int, term: TermCovariance) -> Iterator[Parameter]:
    structure, sds = term.structure, term.sd.tolist()
    if structure.common:
        yield Parameter(f"sd_{structure.word}|{term.group}", "sd", sds[0], (number, 0))
    for i, name in enumerate(() if structure.common else term.columns):
        yield Parameter(f"sd_{name}|{term.group}", "sd", sds[i], (number, i))
        for j in range(i if structure.is_free else 0):
            label = f"cor_{name}.{term.columns[j]}|{term.group}"
            r = float(term.correlation[i, j])
            yield Parameter(label, "cor", r, (number, i, j), (-1.0, 1.0))
    if term.rho is not None:
        width = len(term.columns)
        place = (number, structure.n_sds(width))
        limits = (structure.lowest_correlation(width), 1.0)
        yield Parameter(f"cor_{structure.word}|{term.group}", "cor", term.rho, place, limits)


def _of_residual(residual: Residual, phi: FloatArray) -> Iterator[Parameter]:
    a, b = residual.n_ratios
    of_levels = [f"{level}|{residual.dispersion}" for level in residual.levels[1:]]
    of_visits = [f"{visit}|{residual.time}" for visit in residual.visits[1:]][:b]
    for k, label in enumerate([*of_levels, *of_visits]):
        yield Parameter(f"residual_ratio_{label}", "residual", float(phi[k]), (k,))
    pairs = [""]
    if residual.visits:
        i, j = residual.pairs
        visits = residual.visits
        pairs = [f"_{visits[x]}.{visits[y]}" for x, y in zip(i, j, strict=True)]
    limits = (residual.lowest_correlation if residual.kind else -1.0, 1.0)
    for k, value in enumerate(phi[a + b :].tolist(), start=a + b):
        label = f"residual_cor{pairs[k - a - b]}|{residual.group}"
        yield Parameter(label, "residual", value, (k,), limits)
