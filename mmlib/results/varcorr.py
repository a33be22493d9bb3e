"""Variances and correlations of the random effects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mmlib.arrays import FloatArray
from mmlib.design.residual import KINDS, Residual
from mmlib.design.structures import US, Structure
from mmlib.design.terms import RandomTerm, templates, theta_by_term
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
    structure : Structure
        How the effects are related.
    rho : float or None
        The correlation that the structure has, if it is one number.
    """

    group: str
    columns: tuple[str, ...]
    covariance: FloatArray
    structure: Structure = US
    rho: float | None = None

    @property
    def sd(self) -> FloatArray:
        """Standard deviations, shape (S,)."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def correlation(self) -> FloatArray:
        """Correlation matrix, shape (S, S); NaN where a standard deviation is zero."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.covariance / np.outer(self.sd, self.sd)

    def rows_of_table(self) -> list[tuple[str, float, list[str]]]:
        """Name, standard deviation, and correlations with the rows before or of the structure."""
        names = self.columns
        correlations: list[list[str]] = [[] for _ in names]
        if self.structure.is_free:
            correlations = [fixed_point(row[:k], 2) for k, row in enumerate(self.correlation)]
        elif self.rho is not None:
            correlations[0] = [f"{self.rho:.2f} ({self.structure.word})"]
        if self.structure.common:
            names = (f"{names[0]} … {names[-1]}",)
        return list(zip(names, self.sd.tolist(), correlations, strict=False))


@dataclass(frozen=True, eq=False)
class ResidualCovariance(Frozen):
    """How residuals vary and covary.

    Attributes
    ----------
    structure : Residual
    phi : ndarray
        Ratios of standard deviations, then correlations.
    sigma : float
        Standard deviation of the residuals of the first level, or visit.
    """

    structure: Residual
    phi: FloatArray
    sigma: float

    @property
    def sds(self) -> dict[str, float]:
        """Standard deviations of the levels of the dispersion factor, or of the visits.

        Where there are both, the other's ratios are those of `relative`.
        """
        by_level, by_visit, _ = self.structure.split(self.phi)
        if self.structure.levels:
            return dict(zip(self.structure.levels, self.sigma * by_level, strict=True))
        if self.structure.kind == "us":
            return dict(zip(self.structure.visits, self.sigma * by_visit, strict=True))
        return {}

    @property
    def correlations(self) -> dict[tuple[str, str], float]:
        """Correlations of pairs of visits; or the one that the structure has."""
        values = self.structure.split(self.phi)[2].tolist()
        if self.structure.visits:
            visits = self.structure.visits
            pairs = [(visits[j], visits[i]) for i, j in zip(*self.structure.pairs, strict=True)]
            return dict(zip(pairs, values, strict=True))
        word = self.structure.word
        return {(word, word): values[0]} if values else {}

    def named(self) -> Iterator[tuple[str, float]]:
        """The parameters under broom's kind of names: ratios to the first, then correlations."""
        by_level, by_visit, _ = self.structure.split(self.phi)
        labels = [*self.structure.levels[1:], *self.structure.visits[1:]]
        ratios = [*by_level[1:].tolist(), *by_visit[1:].tolist()]
        yield from ((f"ratio__{k}", value) for k, value in zip(labels, ratios, strict=False))
        for pair, value in self.correlations.items():
            both = ".".join(pair) if self.structure.visits else self.structure.kind
            yield f"cor__{both}", value

    def parts(self) -> list[str | Table]:
        """What a summary says beyond σ: nlme's words."""
        structure = self.structure
        by_level, by_visit, _ = structure.split(self.phi)
        found: list[str | Table] = []
        for name, labels, ratios in (
            (structure.dispersion, structure.levels, by_level),
            (structure.time, structure.visits if structure.kind == "us" else (), by_visit),
        ):
            if labels:
                cells = tuple(fixed_point(ratios, 4))
                title = f"Residual standard deviations by {name}, relative to {labels[0]}"
                found.append(Table(title, labels, (cells,), n_labels=0))
        if structure.kind:
            over = f" over {structure.time}" if structure.time else ""
            kind = KINDS[structure.kind]
            title = f"Correlation of residuals within {structure.group}, {kind}{over}"
            if structure.visits:
                matrix = structure.visit_correlations(self.phi)
                found.append(Table.of_correlations(title, structure.visits, matrix))
            else:
                found.append(f"{title}: {self.phi[-1]:.4f}")
        return found


@dataclass(frozen=True, eq=False, repr=False)
class VarCorr(Shown):
    """Variance components of a fit.

    Attributes
    ----------
    terms : tuple of TermCovariance
        One for each random term.
    sigma : float
        Residual standard deviation, in the units of y; of the first level, if each has its own.
    residual : ResidualCovariance or None
        The structure of the residuals, where they have one.
    """

    terms: tuple[TermCovariance, ...]
    sigma: float
    residual: ResidualCovariance | None = None

    def sd(self, group: str, column: str | None = None) -> float:
        """Standard deviation of one effect, in the units of y (per unit of its variable).

        Parameters
        ----------
        group : str
            A grouping, or ``"Residual"``.
        column : str, optional
            Which effect, where the grouping has several; or which level of the dispersion.

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
        if self.residual is not None:
            effects |= {("Residual", name): float(sd) for name, sd in self.residual.sds.items()}
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

        Returns
        -------
        DataFrame
            Columns ``grp, var1, var2`` (empty for a variance), ``vcov`` and ``sdcor`` (the standard
            deviation, or the correlation), in squared units of y and in units of y. ``var1`` of the
            residual is empty, or the level that the variance belongs to.

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
        of_levels = self.residual.sds if self.residual else {}
        rows += [("Residual", name, "", sd**2, sd) for name, sd in of_levels.items()]
        if not of_levels:
            rows.append(("Residual", "", "", self.sigma**2, self.sigma))
        for pair, value in (self.residual.correlations if self.residual else {}).items():
            covariance = value * of_levels.get(pair[0], np.nan) * of_levels.get(pair[1], np.nan)
            rows.append(("Residual", *pair, covariance, value))
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
        errors = (self.residual.sds if self.residual else {}) or {"": self.sigma}
        parts = [(term.group, term.rows_of_table()) for term in self.terms]
        parts.append(("Residual", [(name, sd, []) for name, sd in errors.items()]))
        sds = [sd for _, rows in parts for _, sd, _ in rows]
        variances = [sd**2 for sd in sds]
        numbers = zip(
            fixed_point(variances, decimals_for(variances)),
            fixed_point(sds, decimals_for(sds)),
            strict=True,
        )
        n = max(len(correlations) for _, rows in parts for *_, correlations in rows)
        cells = [
            (group * (k == 0), name, *next(numbers), *correlations, *[""] * (n - len(correlations)))
            for group, rows in parts
            for k, (name, _, correlations) in enumerate(rows)
        ]
        header = ("Groups", "Name", "Variance", "Std.Dev.", *["Corr", *[""] * n][:n])
        table = Table("Random effects", header, tuple(cells), n_labels=2)
        return Summary((table, *(self.residual.parts() if self.residual else [])))


def covariances(
    terms: Sequence[RandomTerm], theta: FloatArray, sigma: float
) -> tuple[TermCovariance, ...]:
    """The covariance matrix σ²λλᵀ of each term."""
    return tuple(
        TermCovariance(
            term.group,
            term.columns,
            sigma**2 * lam @ lam.T,
            term.part.structure,
            float(own[-1]) if term.part.structure.has_rho else None,
        )
        for term, lam, own in zip(
            terms, templates(terms, theta), theta_by_term(terms, theta), strict=True
        )
    )
