"""Variances and correlations of the random effects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mmlib.arrays import FloatArray
from mmlib.design.terms import RandomTerm, templates
from mmlib.errors import DataError
from mmlib.frozen import Frozen
from mmlib.results.display import Shown, Summary, Table, decimals_for, fixed_point


@dataclass(frozen=True, eq=False)
class TermCovariance(Frozen):
    """How the effects of one random term vary and covary.

    Attributes
    ----------
    group : str
        Name of the grouping.
    columns : tuple of str
        Names of its S effects.
    covariance : ndarray, shape (S, S)
        In squared units of y.
    """

    group: str
    columns: tuple[str, ...]
    covariance: FloatArray

    @property
    def sd(self) -> FloatArray:
        """Standard deviations, shape (S,)."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def correlation(self) -> FloatArray:
        """Correlation matrix, shape (S, S); nan where a standard deviation is zero."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.covariance / np.outer(self.sd, self.sd)


@dataclass(frozen=True, eq=False, repr=False)
class VarCorr(Shown):
    """Variance components of a fit.

    Attributes
    ----------
    terms : tuple of TermCovariance
        One for each random term.
    sigma : float
        Residual standard deviation, in the units of y.
    """

    terms: tuple[TermCovariance, ...]
    sigma: float

    def sd(self, group: str, column: str | None = None) -> float:
        """Standard deviation of one effect, in the units of y (per unit of its variable).

        Parameters
        ----------
        group : str
            A grouping, or ``"Residual"``.
        column : str, optional
            Which effect, where the grouping has several.

        Returns
        -------
        float

        Raises
        ------
        DataError
            If there is no such effect, or more than one.

        Examples
        --------
        >>> import mmlib as mm
        >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
        >>> round(fit.varcorr().sd("operator"), 4)
        0.2609
        """
        if group == "Residual" and column is None:
            return self.sigma
        effects = {
            (term.group, name): float(sd)
            for term in self.terms
            for name, sd in zip(term.columns, term.sd, strict=True)
        }
        found = [key for key in effects if key[0] == group and column in (None, key[1])]
        if len(found) != 1:
            known = ", ".join(f"{name!r} of {grouping!r}" for grouping, name in effects)
            raise DataError(
                f"{'no' if not found else 'more than one'} effect fits group={group!r}, "
                f"column={column!r}; there are {known}, and 'Residual'."
            )
        return effects[found[0]]

    def to_frame(self) -> pd.DataFrame:
        """Long table, a row for each variance and covariance (R's ``as.data.frame(VarCorr(m))``).

        Columns: ``grp, var1, var2`` (empty for a variance), ``vcov`` and ``sdcor`` (the standard
        deviation, or the correlation), in squared units of y and in units of y.

        Returns
        -------
        DataFrame

        Examples
        --------
        >>> import mmlib as mm
        >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
        >>> fit.varcorr().to_frame().round(3)["vcov"].tolist()
        [0.068, 0.106]
        """
        rows: list[tuple[str, str, str, float, float]] = []
        for term in self.terms:
            for k, name in enumerate(term.columns):
                rows.append((term.group, name, "", term.covariance[k, k], term.sd[k]))
            for i, j in zip(*np.triu_indices(len(term.columns), 1), strict=True):
                names = (term.columns[i], term.columns[j])
                rows.append((term.group, *names, term.covariance[i, j], term.correlation[i, j]))
        rows.append(("Residual", "", "", self.sigma**2, self.sigma))
        return pd.DataFrame(rows, columns=["grp", "var1", "var2", "vcov", "sdcor"])

    def summary(self) -> Summary:
        """The variances, as in the summary of a fit; text when printed, HTML in a notebook.

        Returns
        -------
        Summary

        Examples
        --------
        >>> import mmlib as mm
        >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
        >>> fit.varcorr().summary()
        Random effects:
         Groups   Name      Variance Std.Dev.
         operator Intercept  0.06808   0.2609
         Residual            0.10625   0.3260
        """
        variances = [v for term in self.terms for v in np.diag(term.covariance)] + [self.sigma**2]
        sds = [sd for term in self.terms for sd in term.sd] + [self.sigma]
        cells = iter(
            zip(
                fixed_point(variances, decimals_for(variances)),
                fixed_point(sds, decimals_for(sds)),
                strict=True,
            )
        )
        n_correlations = max((len(term.columns) for term in self.terms), default=1) - 1
        rows = []
        for term in self.terms:
            for k, name in enumerate(term.columns):
                correlations = fixed_point(term.correlation[k, :k], 2)
                padding = [""] * (n_correlations - k)
                rows.append(
                    (term.group if k == 0 else "", name, *next(cells), *correlations, *padding)
                )
        rows.append(("Residual", "", *next(cells), *[""] * n_correlations))
        header = (
            "Groups",
            "Name",
            "Variance",
            "Std.Dev.",
            *["Corr", *[""] * n_correlations][:n_correlations],
        )
        return Summary((Table("Random effects", header, tuple(rows), n_labels=2),))


def covariances(
    terms: Sequence[RandomTerm], theta: FloatArray, sigma: float
) -> tuple[TermCovariance, ...]:
    """The covariance matrix σ²λλᵀ of each term."""
    return tuple(
        TermCovariance(term.group, term.columns, sigma**2 * lam @ lam.T)
        for term, lam in zip(terms, templates(terms, theta), strict=True)
    )
