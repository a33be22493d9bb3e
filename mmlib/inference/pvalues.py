"""P-values of every test, quantiles of t, and the one form in which tests report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc, fdtrc, ndtr, ndtri, stdtr, stdtrit

from mmlib.arrays import FloatArray
from mmlib.frozen import Frozen
from mmlib.results.display import Shown, Summary, Table

WITHOUT_END = 1e9
"""Denominator's degrees of freedom from which on F is χ², to 1e-8; some fdtrc are wrong beyond."""


@dataclass(frozen=True, kw_only=True, repr=False)
class HypothesisTest(Shown, Frozen):
    """Outcome of a test.

    Attributes
    ----------
    method : str
        The test, such as ``"Kenward–Roger F test"``.
    hypothesis : str
        What is tested, in words or as a formula.
    statistic_name : str
        ``"F"``, ``"LRT"``, ``"RLRT"``, …
    statistic : float
    df : tuple of float
        Degrees of freedom of the reference distribution: two for an F, one for a χ², none for a
        simulated one.
    pvalue : float
    mcse : float or None
        Monte Carlo standard error of the p-value, where it comes from a simulation.
    notes : tuple of str
        What a reader must know before trusting the p-value.
    """

    method: str
    hypothesis: str
    statistic_name: str
    statistic: float
    df: tuple[float, ...] = ()
    pvalue: float
    mcse: float | None = None
    notes: tuple[str, ...] = ()

    def summary(self) -> Summary:
        """The test as a table with its notes; text when printed, HTML in a notebook."""
        columns = self._columns()
        table = Table(self.method, tuple(columns), (tuple(columns.values()),), n_labels=0)
        return Summary((table, f"Null hypothesis: {self.hypothesis}", *self.notes))

    def _columns(self) -> dict[str, str]:
        """What the one row of the table shows, by header."""
        names = ["df"] if len(self.df) == 1 else [f"df{k}" for k in range(1, len(self.df) + 1)]
        columns = {
            self.statistic_name: f"{self.statistic:.4f}",
            **{name: f"{df:.4g}" for name, df in zip(names, self.df, strict=True)},
            "p-value": f"{self.pvalue:.4g}",
        }
        if self.mcse is not None:
            columns["MC s.e."] = f"{self.mcse:.2g}"
        return columns


def simulated_pvalue(
    statistic: FloatArray | float, sample: FloatArray, *, tie: FloatArray | float
) -> tuple[FloatArray, FloatArray]:
    """(1 + #{T* ≥ T})/(nsim + 1) and its Monte Carlo standard error, of one statistic or many.

    Simulated statistics less than `tie` below the observed one count as equal to it: where both
    are zero, rounding must not decide.
    """
    nsim = len(sample)
    as_large = nsim - np.searchsorted(np.sort(sample), np.asarray(statistic) - tie)
    pvalue = np.asarray((1 + as_large) / (nsim + 1))
    return pvalue, np.sqrt(pvalue * (1 - pvalue) / nsim)


def f_tail(df1: int, df2: FloatArray | float, F: FloatArray | float) -> FloatArray:
    """P(F or more) for an F distribution; with infinite `df2`, for χ²/df1."""
    infinite = np.asarray(df2) > WITHOUT_END
    return np.where(
        infinite, chdtrc(df1, df1 * np.asarray(F)), fdtrc(df1, np.where(infinite, 1.0, df2), F)
    )


def chi2_tail(df: int, statistic: FloatArray | float) -> FloatArray:
    """P(χ²(df) ≥ statistic), where χ²(0) is always 0."""
    return np.asarray(chdtrc(df, statistic) if df else np.less_equal(statistic, 0.0), dtype=float)


def two_sided_t(t: FloatArray, df: FloatArray) -> FloatArray:
    """P(|t| or more) for a t distribution; with infinite `df`, for a normal one."""
    infinite = np.isinf(df)
    return 2 * np.where(infinite, ndtr(-t), stdtr(np.where(infinite, 1.0, df), -t))


def t_quantile(p: float, df: FloatArray | float) -> FloatArray:
    """The p-quantiles of t distributions; with infinite `df`, of a normal one."""
    infinite = np.isinf(df)
    return np.where(infinite, ndtri(p), stdtrit(np.where(infinite, 1.0, df), p))


def wald_f(L: FloatArray, distance: FloatArray, vcov: FloatArray) -> float:
    """Wald's F of the distances Lβ̂ − β_H, given the covariance of β̂."""
    return float(distance @ np.linalg.solve(L @ vcov @ L.T, distance)) / len(L)
