"""A design without its rows: what predictions and tests need is taken from them before.

The response, X, Z and the data are gone, and what needs them is refused by name, as for data in
parts. Kept are how columns are coded, the levels, R of X, and what marginal means average over.
"""

from __future__ import annotations

from collections.abc import Mapping

from mmlib.arrays import FloatArray
from mmlib.design.design import Design
from mmlib.design.parts import DesignOfParts, NoRows, Rowless, terms_without_rows
from mmlib.design.residual import Residual
from mmlib.design.terms import RandomTerm
from mmlib.design.whiten import Whitener

OF_RESIDUAL = (
    *("dispersion", "kind", "time", "group", "levels", "visits"),
    *("lowest_correlation", "n_subjects"),
)
"""What is kept of the structure of the residuals,"""

OF_DESIGN = ("n_missing", "offset_column", "sigma", "n", "sum_log_weights", "dependence")
"""of every design without rows,"""

OF_ROWS = ("mean_offset", "functions_of_cells", "R")
"""and of rows that there have been."""


class SlimResidual(Rowless, Residual):
    """The structure of residuals without their rows."""

    is_slim = True

    codes = NoRows("the levels of the rows")
    subjects = NoRows("the subjects of the rows")
    times = NoRows("the times of the rows")
    batches = NoRows("the residuals' covariance of the rows")


class SlimDesign(DesignOfParts):
    """A design without its rows, made from one that had them.

    Attributes
    ----------
    log_det_weights : float
        log|R| of the residuals' covariance σ²R.
    residual_quantiles : ndarray
        Quantiles of the scaled residuals, for the summary.
    """

    is_slim = True
    log_det_weights: float
    residual_quantiles: FloatArray

    def whitener(self, _: FloatArray | None = None) -> Whitener:
        """That of no rows, at the φ of the fit."""
        return Whitener(None, -self.log_det_weights)


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
    coding = ("formula", "fixed_names", "spec", "kept", "kinds", "facts")
    residual = design.residual
    if residual is not None:
        residual = SlimResidual.of(**{name: getattr(residual, name) for name in OF_RESIDUAL})
    return SlimDesign.of(
        **{name: getattr(design, name) for name in (*coding, *OF_DESIGN, *OF_ROWS)},
        terms=terms_without_rows(design.terms, [triangles[term] for term in design.terms]),
        residual=residual,
        log_det_weights=log_det_weights,
        residual_quantiles=quantiles,
    )
