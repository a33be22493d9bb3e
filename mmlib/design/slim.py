"""A design without its rows: what predictions and tests need is taken from them before.

The response, X, Z and the data are gone, and what needs them is refused by name, as for data in
parts. Kept are how columns are coded, the levels, R of X, and what marginal means average over.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from mmlib.arrays import FloatArray
from mmlib.design.design import Design
from mmlib.design.facts import Facts
from mmlib.design.parts import DesignOfParts, NoRows
from mmlib.design.residual import Residual
from mmlib.design.terms import RandomTerm
from mmlib.design.whiten import Whitener
from mmlib.frozen import read_only


class SlimResidual(Residual):
    """The structure of residuals without their rows."""

    is_slim = True

    codes = NoRows("the levels of the rows")
    subjects = NoRows("the subjects of the rows")
    times = NoRows("the times of the rows")
    batches = NoRows("the residuals' covariance of the rows")

    @property
    def n_subjects(self) -> int:
        """Number of subjects; of rows where there is no correlation."""
        return int(vars(self)["_n_subjects"])

    @property
    def lowest_correlation(self) -> float:
        """The lower bound of a correlation."""
        return float(vars(self)["_lowest"])


class SlimDesign(DesignOfParts):
    """A design without its rows, made from one that had them."""

    is_slim = True

    @property
    def facts(self) -> Facts:
        """What averages over the rows need to know of them."""
        return vars(self)["_facts"]

    @property
    def mean_offset(self) -> float | None:
        """The mean of the offset, where there is one."""
        return vars(self)["_mean_offset"]

    @property
    def dependence(self) -> FloatArray:
        """How the columns that were left out depend on those that were kept."""
        return vars(self)["_dependence"]

    @property
    def functions_of_cells(self) -> FloatArray:
        """The coefficients as functions of those of all indicator columns."""
        return vars(self)["_functions"]

    def triangle(self, columns: Sequence[int]) -> FloatArray:
        """R of some columns of the (weighted) X, in this order."""
        return np.asarray(np.linalg.qr(vars(self)["_R"][:, list(columns)], mode="r"))

    @property
    def residual_quantiles(self) -> FloatArray:
        """Quantiles of the scaled residuals, for the summary."""
        return vars(self)["_quantiles"]

    def whitener(self, _: FloatArray | None = None) -> Whitener:
        """That of no rows, at the θ of the fit."""
        return Whitener(None, -vars(self)["_log_det_weights"])


def slim_design(
    design: Design,
    triangles: Mapping[RandomTerm, FloatArray],
    log_det_weights: float,
    quantiles: FloatArray,
) -> SlimDesign:
    """The design without its rows.

    Parameters
    ----------
    design : Design
    triangles : dict
        R of the (weighted) columns of each random term, over the root of the number of rows.
    log_det_weights : float
        log|R| of the residuals' covariance σ²R.
    quantiles : ndarray
        Of the scaled residuals.
    """
    slim = object.__new__(SlimDesign)
    kept = ("formula", "fixed_names", "aliased", "offset_column", "n_missing", "_spec", "kinds")
    vars(slim).update(
        {name: vars(design)[name] for name in (*kept, "kept", "sigma")},
        terms=slim_terms(design.terms, [triangles[term] for term in design.terms]),
        weights=None,
        offset=None,
        residual=None if design.residual is None else _slim_residual(design.residual),
        _n=design.n,
        _sum_log_weights=design.sum_log_weights,
        _log_det_weights=log_det_weights,
        _facts=design.facts,
        _mean_offset=design.mean_offset,
        _dependence=design.dependence if design.aliased else np.zeros((design.p, 0)),
        _functions=design.functions_of_cells,
        _R=read_only(design.triangle(range(design.p))),
        _quantiles=read_only(quantiles),
    )
    return slim


def slim_terms(
    terms: Sequence[RandomTerm], triangles: Sequence[FloatArray]
) -> tuple[RandomTerm, ...]:
    """The terms with a few rows, as many in each, whose mean squares are those of all rows."""
    n = max((term.width for term in terms), default=0)
    slim = []
    for term, triangle in zip(terms, triangles, strict=True):
        rows = np.zeros((n, term.width))
        rows[: term.width] = triangle * np.sqrt(n)
        slim.append(term.with_rows(np.zeros(n, dtype=np.intp), rows))
    return tuple(slim)


def _slim_residual(residual: Residual) -> SlimResidual:
    slim = object.__new__(SlimResidual)
    fields = {field.name for field in dataclasses.fields(Residual)}
    rows = {"codes", "subjects", "times", "batches"}
    lowest = residual.lowest_correlation if residual.kind else -1.0
    vars(slim).update({name: vars(residual)[name] for name in fields - rows})
    vars(slim).update(_lowest=lowest, _n_subjects=residual.n_subjects)
    return slim
