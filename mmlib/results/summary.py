"""The summary of a fit, in the order that users of lme4 know."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmlib.arrays import FloatArray
from mmlib.design.slim import SlimDesign
from mmlib.results.display import DIGITS, Summary, Table, decimals_for, fixed_point
from mmlib.results.estimates import Fit

MAX_SHOWN_CORRELATIONS = 12
"""Fixed effects up to which their correlations are shown."""


DDF = {
    "kenward-roger": "degrees of freedom by Kenward and Roger",
    "satterthwaite": "degrees of freedom by Satterthwaite",
}
"""Where degrees of freedom come from, in words."""


def summarize(fit: Fit, coefficients: pd.DataFrame, ddf: str | None) -> Summary:
    """Header, criterion, scaled residuals, random effects, fixed effects, counts and notes."""
    parts: list[str | Table] = [_header(fit), _criterion(fit)]
    if fit.design.has_rows or isinstance(fit.design, SlimDesign):
        parts.append(_scaled_residuals(residual_quantiles(fit)))
    parts.extend(fit.varcorr().summary().parts)
    parts.append(_counts(fit))
    if fit.design.p:
        parts.append(_fixed_effects(coefficients, ddf))
        if ddf is None:
            parts.append(_how_to_get_pvalues(fit))
    if 1 < fit.design.p <= MAX_SHOWN_CORRELATIONS:
        parts.append(_correlations(fit))
    parts.extend(_notes(fit))
    return Summary(tuple(parts))


def _header(fit: Fit) -> str:
    kind = "Linear mixed model" if fit.design.terms else "Linear model (no random term)"
    method = "REML" if fit.reml else "maximum likelihood"
    return f"{kind} fit by {method}\nFormula: {fit.design.description}"


def _criterion(fit: Fit) -> str | Table:
    if fit.reml:
        return f"REML criterion at convergence: {fit.objective:.1f}"
    values = [fit.aic, fit.bic, fit.loglik, fit.objective]
    cells = (*(f"{value:.1f}" for value in values), str(fit.df_resid))
    return Table("", ("AIC", "BIC", "logLik", "-2*log(L)", "df.resid"), (cells,), n_labels=0)


def residual_quantiles(fit: Fit) -> FloatArray:
    """Quantiles of the scaled residuals."""
    if isinstance(fit.design, SlimDesign):
        return fit.design.residual_quantiles
    scaled = fit.resid.to_numpy() / fit.sigma
    if fit.design.weights is not None or fit.design.residual is not None:
        scaled = scaled / np.sqrt(fit.design.residual_variances(fit.theta))
    return np.quantile(scaled, [0, 0.25, 0.5, 0.75, 1])


def _scaled_residuals(quantiles: FloatArray) -> Table:
    most = int(DIGITS + 1.5 - np.log10(np.abs(quantiles).max()))  # R's zapsmall
    cells = tuple(fixed_point(quantiles, min(decimals_for(quantiles), most)))
    return Table("Scaled residuals", ("Min", "1Q", "Median", "3Q", "Max"), (cells,), n_labels=0)


def _counts(fit: Fit) -> str:
    counts = [f"Number of obs: {fit.nobs}"]
    levels = {term.group: term.n_levels for term in fit.design.terms}
    residual = fit.design.residual
    if residual is not None and residual.kind:
        levels.setdefault(residual.group, residual.n_subjects)
    if levels:
        groups = "; ".join(f"{group}, {count}" for group, count in levels.items())
        counts.append(f"groups: {groups}")
    return ", ".join(counts)


def _fixed_effects(table: pd.DataFrame, ddf: str | None) -> Table:
    in_units = [name for name in ("Estimate", "Std. Error", "lower", "upper") if name in table]
    shared = decimals_for(table[["Estimate", "Std. Error"]].to_numpy().ravel())
    t_values = table["t value"].round(3)
    columns = {name: fixed_point(table[name], shared) for name in in_units}
    columns["t value"] = fixed_point(t_values, min(decimals_for(t_values), 3))
    if ddf is not None:
        dfs = table["df"].round(2)
        columns["df"] = fixed_point(dfs, min(decimals_for(dfs), 2))
        columns["Pr(>|t|)"] = [f"{value:.4g}" for value in table["Pr(>|t|)"]]
    for row in np.flatnonzero(table["Estimate"].isna()):
        for name, column in columns.items():
            column[row] = "dropped" if name == "Estimate" else ""
    cells = [columns[str(name)] for name in table.columns]
    rows = tuple(zip(map(str, table.index), *cells, strict=True))
    title = "Fixed effects" + (f" ({DDF[ddf]})" if ddf else "")
    return Table(title, ("", *table.columns), rows)


def _how_to_get_pvalues(fit: Fit) -> str:
    ddf = "kenward-roger" if fit.reml else "satterthwaite"
    return f"For degrees of freedom and p-values: summary(ddf={ddf!r})."


def _correlations(fit: Fit) -> Table:
    covariance = fit.vcov().to_numpy()
    sd = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(sd, sd)
    names = fit.design.fixed_names
    return Table.of_correlations("Correlation of fixed effects", names, correlation)


def _notes(fit: Fit) -> list[str]:
    """What a reader must know before trusting the numbers."""
    notes = list(fit.design.losses)
    if fit.design.sigma is not None:
        notes.append(f"σ is known, not estimated: {fit.design.sigma:g}.")
    if fit.is_singular:
        notes.append(f"Boundary estimate: {_boundary(fit)}.")
    if not fit.converged:
        notes.append(f"Not converged: {fit.optimum.shortfall}.")
    return notes


def _boundary(fit: Fit) -> str:
    """Which variances are zero, or which covariance matrices have lost rank."""
    found = []
    ranks = fit.effect_ranks()
    for term, estimate in zip(fit.design.terms, fit.varcorr().terms, strict=True):
        zeros = [name for name, sd in zip(term.columns, estimate.sd, strict=True) if sd == 0]
        for name in zeros:
            label = term.group if term.columns == ("Intercept",) else f"{term.group}: {name}"
            found.append(f"σ({label}) = 0")
        size = term.width - len(zeros)
        if ranks[term] < size:
            found.append(
                f"the effects of {term.group} are perfectly correlated "
                f"(covariance of rank {ranks[term]}, not {size})"
            )
    return "; ".join(found)
