"""The choice of denominator degrees of freedom: Kenward and Roger's, Satterthwaite's, or none."""

from __future__ import annotations

from typing import Literal

import numpy as np

from mmlib.arrays import FloatArray
from mmlib.engine.threads import single_threaded
from mmlib.inference import kenward_roger, satterthwaite
from mmlib.inference.hypothesis import hypothesis_matrix
from mmlib.inference.information import in_basis
from mmlib.inference.pvalues import HypothesisTest, f_tail, wald_f
from mmlib.results.estimates import Fit

Ddf = Literal["kenward-roger", "satterthwaite"]
CHOICES = ("kenward-roger", "satterthwaite", None)


def f_test(
    fit: Fit, L: FloatArray, *, rhs: FloatArray | None = None, ddf: Ddf | None
) -> HypothesisTest:
    """Test Lβ = β_H with these degrees of freedom; with none by Wald's F as if χ²/h."""
    if ddf == "kenward-roger":
        return kenward_roger.kenward_roger(fit, L, rhs=rhs)
    if ddf == "satterthwaite":
        return satterthwaite.satterthwaite(fit, L, rhs=rhs)
    L, rhs, description = hypothesis_matrix(fit, L, rhs=rhs)
    F = wald_f(L, L @ fit.beta - rhs, fit.vcov().to_numpy())
    return HypothesisTest(
        method="Wald F test",
        hypothesis=description,
        statistic_name="F",
        statistic=F,
        df=(len(L), np.inf),
        pvalue=float(f_tail(len(L), np.inf, F)),
    )


def errors_of(
    fit: Fit, rows: FloatArray, ddf: Ddf | None
) -> tuple[FloatArray, FloatArray, tuple[str, ...]]:
    """Covariance of Lβ̂, the degrees of freedom of each row of L, and what to know of them."""
    vcov = fit.vcov() if ddf != "kenward-roger" else kenward_roger.adjusted_vcov(fit)
    df, notes = np.full(len(rows), np.inf), ()
    if ddf is not None:
        method = kenward_roger if ddf == "kenward-roger" else satterthwaite
        known = method.spread(fit)
        with single_threaded():
            df, notes = known.df(in_basis(fit, rows)), known.notes
    return rows @ vcov.to_numpy() @ rows.T, df, notes
