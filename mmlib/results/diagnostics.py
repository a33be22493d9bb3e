"""Residuals, leverage, and what a fit would be without a row or a group of rows.

Case deletion is by formula, with θ and σ held. Deleting the rows I of a penalised least-squares
problem moves its solution in closed form: with C the covariance of (b̂ − b, β̂ − β) over σ², A_I
the rows (z, x), e_I their residuals and H = A_I C A_Iᵀ,

    δ = C A_Iᵀ (I − H)⁻¹ e_I.

Its part for β is exactly β̂ − β̂₍I₎ of the generalised least-squares fit without these rows, at the
same θ. No model is refitted and no n×n matrix is formed.

Christensen, Pearson & Johnson (1992), Case-deletion diagnostics for mixed models, Technometrics
34:38–45; Demidenko & Stukel (2005), Influence analysis for linear mixed-effects models, Statistics
in Medicine 24:893–909.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.linalg import solve_triangular

from mmlib.arrays import FloatArray, IntArray, weigh
from mmlib.design.checks import names_in, require_choice, require_columns
from mmlib.design.names import split_at_colons
from mmlib.design.terms import group_codes, templates
from mmlib.engine.effects_covariance import CHUNK, EffectsCovariance
from mmlib.engine.threads import single_threaded
from mmlib.errors import DataError
from mmlib.frozen import Frozen, gives_copies
from mmlib.results.estimates import Fit

WORTH_CONDENSING = 1.5
"""With fewer rows than this for each column, a QR decomposition costs more than it saves."""

MAX_NUMBERS = 4 * 10**6
"""Numbers in the largest array of groups that are left out together,"""

SMALL = 60
"""with this many columns for what a group touches besides the dense part."""

DECISIVE = 1e-10
"""A leverage this close to 1: without these rows a fixed effect could not be estimated."""


@gives_copies("leverage", "cooks_distance", "cooks_conditional", "dfbeta", "dfbetas")
@dataclass(frozen=True, eq=False, repr=False)
class Influence(Frozen):
    """What each row, or each group of rows, does to a fit; θ and σ are held fixed.

    Attributes
    ----------
    group : str or None
        What was left out at a time: the levels of this grouping or, if None, single rows.
    leverage : Series
        Hat value ∂ŷ/∂y of a row, random effects included; for a group the sum over its rows.
    cooks_distance : Series
        (β̂ − β̂₍I₎)ᵀ vcov(β̂)⁻¹ (β̂ − β̂₍I₎) / p: what leaving out does to the fixed effects. NaN where
        β could not be estimated without these rows.
    cooks_conditional : Series
        The same for fixed and random effects together, as lme4's ``cooks.distance`` gives it.
    dfbeta : DataFrame, one column for each fixed effect
        β̂ − β̂₍I₎.
    dfbetas : DataFrame, one column for each fixed effect
        `dfbeta` in standard errors of the full fit.
    """

    group: str | None
    leverage: pd.Series
    cooks_distance: pd.Series
    cooks_conditional: pd.Series
    dfbeta: pd.DataFrame
    dfbetas: pd.DataFrame

    def to_frame(self) -> pd.DataFrame:
        """All measures side by side.

        Returns
        -------
        DataFrame
            A row for each case; leverage, both distances, and a column of DFBETAS for each fixed
            effect.
        """
        measures = [self.leverage, self.cooks_distance, self.cooks_conditional]
        return pd.concat([*measures, self.dfbetas.add_prefix("dfbetas_")], axis=1)

    def __repr__(self) -> str:
        return f"{self._title()}\n{self.to_frame()!r}"

    def _repr_html_(self) -> str:
        return f"<p>{escape(self._title())}</p>{self.to_frame().to_html()}"

    def _title(self) -> str:
        case = "one row" if self.group is None else f"one level of {self.group}"
        return f"Influence of leaving out {case} at a time, θ and σ held"


def residuals(
    fit: Fit,
    kind: Literal["conditional", "marginal"] = "conditional",
    *,
    scaled: Literal["pearson", "standardized", "normalized"] | None = None,
) -> pd.Series:
    """Residuals of a fit.

    Parameters
    ----------
    kind : {"conditional", "marginal"}
        y − Xβ̂ − Zb̂, which estimates ε; or y − Xβ̂, which estimates Zb + ε. An offset counts
        with Xβ̂.
    scaled : {"pearson", "standardized", "normalized"}, optional
        By default in the units of y. ``"pearson"`` divides by the standard deviation of what is
        estimated: σ/√w, or for marginal residuals √Var(y_i). ``"standardized"`` divides by the
        standard deviation of the residual itself, which is smaller because the fit follows the
        data: σ√(1 − h)/√w with leverage h, or √(Var(y_i) − Var(x_iᵀβ̂)). A residual that cannot
        vary is NaN. ``"normalized"`` multiplies conditional residuals by the inverse root of
        the whole covariance σ²R of the errors, so that those of one subject are uncorrelated,
        as in nlme.

    Returns
    -------
    Series, shape (n,)

    Raises
    ------
    DataError
        If `kind` or `scaled` is another value.

    Examples
    --------
    >>> import mmlib as mm
    >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    >>> round(float(fit.residuals(scaled="pearson").max()), 5)
    1.60124
    """
    require_choice("kind", kind, ("conditional", "marginal"))
    require_choice("scaled", scaled, ("pearson", "standardized", "normalized", None))
    design = fit.design
    if scaled == "normalized":
        if kind == "marginal":
            raise DataError("scaled='normalized' is of conditional residuals; leave kind out.")
        values = fit.blocks.whiten(fit.resid.to_numpy()) / fit.sigma
        return pd.Series(values, index=design.index, name="resid")
    values = design.y - fit.population_mean if kind == "marginal" else fit.resid.to_numpy()
    if scaled is not None:
        values = values / _residual_sd(fit, kind, estimated=scaled == "standardized")
    return pd.Series(values, index=design.index, name="resid")


def _residual_sd(fit: Fit, kind: str, *, estimated: bool) -> FloatArray:
    """Standard deviation of ε_i or (Zb + ε)_i; with `estimated`, of the residual in its place."""
    design = fit.design
    variance = design.residual_variances(fit.theta)
    if kind == "marginal":
        for term, lam in zip(design.terms, templates(design.terms, fit.theta), strict=True):
            variance = variance + ((term.model_matrix @ lam) ** 2).sum(axis=1)
    if estimated:
        if kind == "conditional":
            with single_threaded():
                followed = fit.effects_covariance.variances(_rows(fit, lambda columns: columns))
        else:
            followed = ((design.X @ fit.vcov().to_numpy()) * design.X).sum(axis=1) / fit.sigma**2
        left = variance - followed
        variance = np.where(left > DECISIVE * variance, left, np.nan)
    return fit.sigma * np.sqrt(variance)


def leverage(fit: Fit) -> pd.Series:
    """Hat values: how much each fitted value moves with its own observation, ∂ŷ_i/∂y_i.

    The fitted values include the conditional modes; the sum of the hat values is the effective
    number of parameters that they use (between p and p + q).

    Returns
    -------
    Series, shape (n,)

    Examples
    --------
    >>> import mmlib as mm
    >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    >>> round(float(fit.leverage().sum()), 4)
    3.2864
    """
    covariance = fit.effects_covariance
    with single_threaded():
        if fit.design.residual is None:
            hat = covariance.variances(covariance.own_rows())
        else:  # rows of A C AᵀR⁻¹, by the parallelogram's law
            one, other = _rows(fit, lambda columns: columns), _rows(fit, _through_precision(fit))
            hat = (covariance.variances(one + other) - covariance.variances(one - other)) / 4
    return pd.Series(hat, index=fit.design.index, name="leverage")


def influence(fit: Fit, *, group: str | Sequence[str] | None = None) -> Influence:
    """Measure what leaving out each row, or each group of rows, does to the fit.

    Parameters
    ----------
    group : str or sequence of str, optional
        A grouping of the fit, or any column it uses, or several, as ``"batch:cask"`` or
        ``["batch", "cask"]``: leave out one level at a time. By default one row at a time.

    Returns
    -------
    Influence

    Raises
    ------
    DataError
        If `group` is no column that the model uses, or the model has no fixed effect.

    Examples
    --------
    >>> import mmlib as mm
    >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    >>> fit.influence(group="operator").dfbeta.round(4)["Intercept"].tolist()
    [-0.0533, -0.1133, 0.0733, 0.0933]
    """
    if fit.design.p == 0:
        raise DataError(
            "the model has no fixed effect that leaving out rows could move; "
            "leverage() still gives the hat values."
        )
    with single_threaded():
        if group is None:
            index: pd.Index = fit.design.index
            parts = _single_rows(fit.effects_covariance, *_alone(fit))
            parts = leverage(fit).to_numpy(), *parts[1:]
        else:
            group, codes, index = levels_named(fit, "group", group)
            if fit.design.residual is not None:
                fit.design.residual.refuse_crossed(codes, f"influence(group={group!r})")
            resid = fit.blocks.whiten(fit.resid.to_numpy())
            covariance = fit.effects_covariance
            parts = _groups(covariance, covariance.own_rows(), resid, codes)
        return _report(fit, group, index, *parts)


def _rows(fit: Fit, through: Callable[[FloatArray], FloatArray]) -> sparse.csr_array:
    """The rows (z, x) of the fit after a change of rows within subjects."""
    effects = [(g.codes, through(g.model_matrix)) for g in fit.blocks.groupings]
    return fit.effects_covariance.rows(through(fit.design.X), effects)


def _through_precision(fit: Fit) -> Callable[[FloatArray], FloatArray]:
    """R⁻¹ times columns."""
    whiten = fit.blocks.whiten
    return lambda columns: whiten.transposed(whiten(columns))


def _alone(fit: Fit) -> tuple[sparse.csr_array, FloatArray]:
    """Rows and residuals for leaving out each row alone.

    To leave a row out is to give it a mean of its own. What that explains are the row's entries of
    R⁻¹A and R⁻¹e, each over the root of that of R⁻¹; for independent errors √w times A and e.
    """
    scale = 1 / np.sqrt(fit.blocks.whiten.precisions(fit.nobs))
    through = _through_precision(fit)
    own = _rows(fit, lambda columns: weigh(scale, through(columns)))
    return own, scale * through(fit.resid.to_numpy())


def levels_named(
    fit: Fit, argument: str, names: str | Sequence[str]
) -> tuple[str, IntArray, pd.Index]:
    """Name, code of each row, and labels of the combinations of columns that an argument names."""
    frame = fit.design.frame
    if not isinstance(names, str | Sequence) or not len(names):
        raise DataError(f"{argument} must name columns that the model uses, not {names!r}.")
    factors = [
        factor
        for name in names_in(argument, names)
        for factor in ([name] if name in frame else split_at_colons(str(name)))
    ]
    require_columns(frame, factors, "the model")
    return ":".join(factors), *group_codes(frame, factors)


Moves = tuple[FloatArray, FloatArray, FloatArray]
"""Leverage, squared length of the joint move (over σ²), and the move of β in X's basis."""


def _single_rows(covariance: EffectsCovariance, rows: sparse.csr_array, resid: FloatArray) -> Moves:
    n = len(resid)
    hat, moves = np.empty(n), np.empty((n, covariance.blocks.p))
    for start in range(0, n, CHUNK):
        part = slice(start, start + CHUNK)
        one, two = covariance.root(rows[part])
        hat[part] = one.multiply(one).sum(axis=1) + np.einsum("ij,ij->i", two, two)
        moves[part] = covariance.with_beta(two)
    left = 1 - hat
    deleted = np.divide(resid, left, out=np.full_like(resid, np.nan), where=left > DECISIVE)
    return hat, hat * deleted**2, moves * deleted[:, None]


def _groups(
    covariance: EffectsCovariance, rows: sparse.csr_array, resid: FloatArray, codes: IntArray
) -> Moves:
    """Groups of like size together, as many as fit the memory at a time."""
    counts = np.bincount(codes)
    by_size = np.argsort(counts, kind="stable")
    rank = np.empty_like(by_size)
    rank[by_size] = np.arange(len(counts))
    order = np.argsort(rank[codes], kind="stable")
    rows, resid, counts = rows[order], resid[order], counts[by_size]
    ends = np.concatenate([[0], np.cumsum(counts)])
    most = max(1, MAX_NUMBERS // (covariance.n_dense + SMALL))
    parts, start = [], 0
    while start < len(counts):
        size = max(1, most // counts[start])  # the largest are the last of them
        size = max(1, most // counts[min(start + size, len(counts)) - 1])
        own = slice(ends[start], ends[min(start + size, len(counts))])
        some = counts[start : start + size]
        label = np.repeat(np.arange(len(some)), some)
        parts.append(_like_groups(covariance, rows[own], resid[own], label))
        start += size
    hats, lengths, moves = (np.concatenate(each)[rank] for each in zip(*parts, strict=True))
    return hats, lengths, moves


def _like_groups(
    covariance: EffectsCovariance, rows: sparse.csr_array, resid: FloatArray, label: IntArray
) -> Moves:
    """What leaving out each of some groups does; the rows are sorted by their label."""
    dense, columns = _stacked(rows, label)
    n_groups, n, n_columns = dense.shape
    left = _padded(resid, label, n_groups, n)
    if n > WORTH_CONDENSING * (n_columns + 1):  # fewer rows with the same cross-products
        bordered = np.concatenate([dense, left[:, :, None]], axis=2)
        triangles = np.asarray(np.linalg.qr(bordered, mode="r"))
        dense, left = triangles[:, :, :-1], triangles[:, :, -1]
        n = dense.shape[1]
        where = np.broadcast_to(columns[:, None], dense.shape)
        pointers = np.arange(n_groups * n + 1) * n_columns
        shape = (n_groups * n, rows.shape[1])
        rows = sparse.csr_array((dense.ravel(), where.ravel(), pointers), shape=shape)
        rows.sum_duplicates()  # where a group touches fewer columns
        label = np.repeat(np.arange(n_groups), n)
    part, tail = covariance.root(rows)
    sparse_root, _ = _stacked(part, label)
    tail_root = _padded(tail, label, n_groups, n)
    H = sparse_root @ sparse_root.transpose(0, 2, 1) + tail_root @ tail_root.transpose(0, 2, 1)
    deleted = _solve_rest(H, left)
    # H (I − H)⁻¹ e is what the deletion adds to the residuals.
    lengths = np.einsum("gi,gi->g", deleted, deleted - left)
    moves = covariance.with_beta((deleted[:, None] @ tail_root)[:, 0])
    return np.einsum("gii->g", H), lengths, moves


def _padded(values: FloatArray, label: IntArray, n_groups: int, n: int) -> FloatArray:
    """The rows of each group stacked, with zeros where a group has fewer: shape (groups, n, …)."""
    starts = np.searchsorted(label, np.arange(n_groups))
    stacked = np.zeros((n_groups, n, *values.shape[1:]))
    stacked[label, np.arange(len(label)) - starts[label]] = values
    return stacked


def _stacked(rows: sparse.csr_array, label: IntArray) -> tuple[FloatArray, IntArray]:
    """Sparse rows, sorted by their group, dense in the columns that the group touches.

    Returns
    -------
    ndarray, shape (groups, n, c)
        Zeros where a group has fewer rows, or touches fewer columns.
    ndarray of int, shape (groups, c)
        These columns.
    """
    n_groups = int(label[-1]) + 1
    counts = np.bincount(label, minlength=n_groups)
    within = np.arange(len(label)) - np.repeat(np.cumsum(counts) - counts, counts)
    lengths = np.diff(rows.indptr)
    group = np.repeat(label, lengths)
    width = max(1, rows.shape[1])
    touched, entry = np.unique(group * width + rows.indices, return_inverse=True)
    owner, column = np.divmod(touched, width)
    local = np.arange(len(touched)) - np.searchsorted(owner, np.arange(n_groups))[owner]
    c = int(local.max(initial=-1)) + 1
    dense = np.zeros((n_groups, int(counts.max()), c))
    dense[group, np.repeat(within, lengths), local[entry]] = rows.data
    columns = np.zeros((n_groups, c), dtype=np.intp)
    columns[owner, local] = column
    return dense, columns


def _solve_rest(H: FloatArray, resid: FloatArray) -> FloatArray:
    """(I − H)⁻¹ e of each group; NaN where β could not be estimated without it."""
    rest = np.eye(H.shape[1]) - H
    try:
        pivots = np.diagonal(np.linalg.cholesky(rest), axis1=1, axis2=2).min(axis=1) ** 2
    except np.linalg.LinAlgError:
        if len(H) == 1:
            return np.full_like(resid, np.nan)
        half = len(H) // 2
        return np.concatenate(
            [_solve_rest(H[:half], resid[:half]), _solve_rest(H[half:], resid[half:])]
        )
    deleted = np.asarray(np.linalg.solve(rest, resid[:, :, None])[:, :, 0], dtype=np.float64)
    deleted[pivots <= DECISIVE] = np.nan
    return deleted


def _report(
    fit: Fit,
    group: str | None,
    index: pd.Index,
    hat: FloatArray,
    length: FloatArray,
    move: FloatArray,
) -> Influence:
    scale = fit.design.p * fit.sigma**2
    names = list(fit.design.fixed_names)
    dfbeta = pd.DataFrame(
        solve_triangular(fit.blocks.R, move.T, check_finite=False).T, index=index, columns=names
    )
    distance = ((move @ fit.effects_covariance.factor.fixed_factor()) ** 2).sum(axis=1) / scale
    return Influence(
        group=group,
        leverage=pd.Series(hat, index=index, name="leverage"),
        cooks_distance=pd.Series(distance, index=index, name="cooks_distance"),
        cooks_conditional=pd.Series(length / scale, index=index, name="cooks_conditional"),
        dfbeta=dfbeta,
        dfbetas=dfbeta / np.sqrt(np.diag(fit.vcov())),
    )
