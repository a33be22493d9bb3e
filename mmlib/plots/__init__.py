"""Pictures of data, of a fit and of its inference, in matplotlib.

Every function draws into the `ax` it is given, or into a new figure, and returns the `Axes`. None
changes a setting of matplotlib. What colours tell apart, markers or line styles tell apart too.
Units are shown where they are passed: ``unit="ms"`` for the response.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import ArrayLike
from scipy.special import chdtrc, ndtri
from scipy.stats import beta as beta_distribution

from mmlib.arrays import FloatArray
from mmlib.design.checks import (
    as_numbers,
    did_you_mean,
    normal_quantile,
    require_choice,
    require_columns,
    require_count,
    require_fit,
    require_frame,
)
from mmlib.engine.grouping import Grouping
from mmlib.engine.objective import Objective
from mmlib.engine.threads import single_threaded
from mmlib.errors import DataError
from mmlib.inference.joint_profile import JointProfile, joint_profile, joint_quantile
from mmlib.inference.profile import Profile
from mmlib.inference.report import HypothesisTest

if TYPE_CHECKING:
    from mmlib.model import LMMResult

__all__ = [
    "caterpillar",
    "group_means",
    "interaction",
    "likelihood_surface",
    "null_distribution",
    "profile_pair",
    "profile_zeta",
    "qq_ranef",
    "qq_residuals",
    "residuals_vs_fitted",
    "shrinkage",
]

# Okabe and Ito's colours: readers with any common colour vision can tell them apart.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
COLORS = (BLUE, ORANGE, GREEN, PURPLE, "#E69F00", "#56B4E9", "black")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
GREY = "0.45"

JOINT_LEVELS = (0.5, 0.8, 0.95)
GRID_LEVEL = 0.97
MAX_STEPS = 60
ABOVE: dict[str, Any] = {
    "loc": "lower left",
    "bbox_to_anchor": (0.0, 1.0),
    "frameon": False,
    "borderaxespad": 0.3,
}
"""A legend above the axes, where it hides no point."""

Scaled: TypeAlias = Literal["pearson", "standardized"] | None


# ---- the data ------------------------------------------------------------------------------------


def group_means(
    data: pd.DataFrame,
    response: str,
    group: str,
    *,
    unit: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw every observation by group, with the mean of each group and of all.

    Parameters
    ----------
    data : DataFrame
    response, group : str
        Columns of `data`.
    unit : str, optional
        Unit of the response, for its axis.
    ax : Axes, optional
        Where to draw; by default a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    DataError
        If a column is missing or is not what its role needs.

    Examples
    --------
    >>> import mmlib as mm
    >>> from mmlib.plots import group_means
    >>> ax = group_means(mm.load_dataset("pulp"), "bright", "operator")
    >>> ax.get_xlabel()
    'operator'
    """
    values, (codes, levels) = _response(data, response), _levels(data, group)
    ax = _axes(ax)
    for place in range(len(levels)):
        rows = values[codes == place]
        beside = np.linspace(-0.2, 0.2, len(rows)) if len(rows) > 1 else np.zeros(1)
        style = _points(place if len(levels) <= len(MARKERS) else 0)
        ax.plot(place + beside, rows, **style, label=str(levels[place]))
        ax.plot(
            [place - 0.35, place + 0.35],
            [rows.mean()] * 2,
            color="black",
            linestyle="-",
            linewidth=2,
            label=f"mean by {group}" if place == 0 else None,
        )
    ax.axhline(values.mean(), color=GREY, linestyle="--", linewidth=1, label="mean of all")
    handles = [line for line in ax.get_lines() if str(line.get_label()).startswith("mean ")]
    ax.legend(handles=handles, ncols=2, **ABOVE)
    _name_levels(ax, levels)
    ax.set(xlabel=group, ylabel=_with_unit(response, unit))
    return ax


def interaction(
    data: pd.DataFrame,
    response: str,
    treatment: str,
    block: str,
    *,
    unit: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a line for each block across the treatments: parallel where nothing interacts.

    Parameters
    ----------
    data : DataFrame
    response, treatment, block : str
        Columns of `data`; several rows of one cell are averaged.
    unit, ax
        As for `group_means`.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import mmlib as mm
    >>> from mmlib.plots import interaction
    >>> ax = interaction(mm.load_dataset("penicillin"), "yield", "treat", "blend")
    >>> len(ax.get_lines())
    5
    """
    values = _response(data, response)
    (columns, treatments), (rows, blocks) = _levels(data, treatment), _levels(data, block)
    cells = pd.Series(values).groupby([rows, columns]).mean().unstack()
    cells = cells.reindex(index=range(len(blocks)), columns=range(len(treatments)))
    ax = _axes(ax)
    for place, name in enumerate(blocks):
        style = _points(place) | {"linestyle": LINES[place % len(LINES)]}
        ax.plot(range(len(treatments)), cells.loc[place], label=str(name), **style)
    _name_levels(ax, treatments)
    ax.legend(title=block, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    ax.set(xlabel=treatment, ylabel=_with_unit(f"mean {response}", unit))
    return ax


# ---- random effects ------------------------------------------------------------------------------


def shrinkage(
    fit: LMMResult,
    group: str | None = None,
    columns: str | Sequence[str] | None = None,
    *,
    unit: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw how each level's own estimate is shrunk to its conditional mode.

    One column is drawn level by level; two columns as arrows in their plane, as for an intercept
    and a slope.

    Parameters
    ----------
    fit : LMMResult
    group : str, optional
        A grouping; it may be left out where there is only one.
    columns : str or two str, optional
        Columns of the random effects; by default the first two, or the only one.
    unit : str, optional
        Unit of the response (for one column).
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    DataError
        If there is no such grouping or column.

    Examples
    --------
    >>> import mmlib as mm
    >>> from mmlib.plots import shrinkage
    >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    >>> shrinkage(fit).get_ylabel()
    'operator'
    """
    name = grouping_of(fit, group).name
    modes, own = fit.ranef()[name], fit.unpooled()[name]
    if columns is None:
        columns = list(modes.columns[:2])
    chosen = [columns] if isinstance(columns, str) else list(columns)
    for column in chosen:
        _require_effect(modes, column, name)
    if len(chosen) not in (1, 2):
        raise DataError(f"shrinkage draws one or two columns, not {len(chosen)}; choose columns=.")
    ax = _axes(ax)
    if len(chosen) == 1:
        _shrink_on_a_line(ax, own[chosen[0]], modes[chosen[0]])
        ax.set(xlabel=_with_unit(f"effect of {_effect(chosen[0], name)}", unit), ylabel=name)
    else:
        _shrink_in_the_plane(ax, own[chosen].to_numpy(), modes[chosen].to_numpy())
        x_name, y_name = (f"effect of {_effect(column, name)}" for column in chosen)
        ax.set(xlabel=x_name, ylabel=y_name)
    ax.legend(ncols=2, **ABOVE)
    return ax


OWN: dict[str, Any] = {
    "linestyle": "none",
    "marker": "o",
    "color": ORANGE,
    "markerfacecolor": "white",
}
MODE: dict[str, Any] = {"linestyle": "none", "marker": "s", "color": BLUE}
OWN_LABEL, MODE_LABEL = "least squares, level by level", "conditional mode (BLUP)"


def _shrink_on_a_line(ax: Axes, own: pd.Series, modes: pd.Series) -> None:
    order = np.argsort(modes.to_numpy(), kind="stable")
    places = np.arange(len(order))
    before, after = own.to_numpy()[order], modes.to_numpy()[order]
    ax.axvline(0.0, color=GREY, linestyle="--", linewidth=1)
    ax.hlines(places, before, after, color=GREY, linewidth=1, zorder=1)
    ax.plot(before, places, **OWN, label=OWN_LABEL)
    ax.plot(after, places, **MODE, label=MODE_LABEL)
    _name_places(ax, _labels(modes.index[order]))


def _shrink_in_the_plane(ax: Axes, own: FloatArray, modes: FloatArray) -> None:
    ax.axvline(0.0, color=GREY, linestyle="--", linewidth=1)
    ax.axhline(0.0, color=GREY, linestyle="--", linewidth=1)
    for before, after in zip(own, modes, strict=True):
        if np.isfinite(before).all():
            arrow = {"arrowstyle": "->", "color": GREY, "shrinkA": 4, "shrinkB": 3}
            ax.annotate("", after, xytext=before, arrowprops=arrow)
    ax.plot(*own.T, **OWN, label=OWN_LABEL)
    ax.plot(*modes.T, **MODE, label=MODE_LABEL)


def caterpillar(
    fit: LMMResult,
    group: str | None = None,
    column: str | None = None,
    *,
    error: Literal["prediction", "conditional"] = "prediction",
    level: float = 0.95,
    unit: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the conditional modes in order, each with an interval that says what it is made of.

    Parameters
    ----------
    fit : LMMResult
    group, column : str, optional
        A grouping and one of its columns; either may be left out where there is only one, the
        column also where the first is meant.
    error : {"prediction", "conditional"}
        Which standard deviation: that of b̂ − b with β estimated, or that of b given y with β known
        (lme4's).
    level : float
        Coverage aimed at, between 0 and 1.
    unit : str, optional
        Unit of the effect.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    DataError
        If there is no such grouping, column or kind of error.

    Examples
    --------
    >>> import mmlib as mm
    >>> from mmlib.plots import caterpillar
    >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    >>> caterpillar(fit).get_legend().get_texts()[0].get_text()
    'conditional mode ± 1.96 prediction-error SD (β estimated)'
    """
    modes, column, name = _effects(fit, group, column)
    kinds = {
        "prediction": ("prediction-error SD (β estimated)", fit.prediction_error_sd),
        "conditional": ("conditional SD (β known)", fit.cond_sd),
    }
    require_choice("error", error, tuple(kinds))
    what, standard_deviations = kinds[error]
    reach = normal_quantile(level)
    order = np.argsort(modes.to_numpy(), kind="stable")
    places = np.arange(len(order))
    sd = standard_deviations()[name][column].to_numpy()[order]
    ax = _axes(ax, tall=len(order))
    ax.axvline(0.0, color=GREY, linestyle="--", linewidth=1)
    ax.errorbar(
        modes.to_numpy()[order],
        places,
        xerr=reach * sd,
        fmt="o",
        color=BLUE,
        elinewidth=1.2,
        capsize=3 if len(order) <= MANY else 0,
        label=f"conditional mode ± {reach:.3g} {what}",
    )
    _name_places(ax, _labels(modes.index[order]))
    ax.legend(**ABOVE)
    ax.set(xlabel=_with_unit(f"effect of {_effect(column, name)}", unit), ylabel=name)
    return ax


# ---- diagnostics ---------------------------------------------------------------------------------


def residuals_vs_fitted(
    fit: LMMResult,
    kind: Literal["conditional", "marginal"] = "conditional",
    *,
    scaled: Scaled = "standardized",
    unit: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw residuals against fitted values of the same kind.

    Parameters
    ----------
    fit : LMMResult
    kind, scaled
        As for `LMMResult.residuals`.
    unit : str, optional
        Unit of the response.
    ax : Axes, optional

    Returns
    -------
    Axes

    Examples
    --------
    >>> import mmlib as mm
    >>> from mmlib.plots import residuals_vs_fitted
    >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    >>> residuals_vs_fitted(fit).get_ylabel()
    'standardized conditional residual'
    """
    residuals = fit.residuals(kind, scaled=scaled)
    fitted = fit.fitted if kind == "conditional" else fit.predict(random=False)
    ax = _axes(ax)
    ax.axhline(0.0, color=GREY, linestyle="--", linewidth=1)
    ax.plot(fitted, residuals, **_dots(len(residuals)))
    ax.set(
        xlabel=_with_unit(f"{kind} fitted value", unit),
        ylabel=_residual_label(kind, scaled, unit),
    )
    return ax


def qq_residuals(
    fit: LMMResult,
    kind: Literal["conditional", "marginal"] = "conditional",
    *,
    scaled: Scaled = "standardized",
    unit: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the quantiles of the residuals against those of a normal distribution.

    The line passes through both quartiles. The grey band would hold 95 % of the points of
    independent normal values, place by place.

    Parameters
    ----------
    fit : LMMResult
    kind, scaled
        As for `LMMResult.residuals`.
    unit : str, optional
        Unit of the response.
    ax : Axes, optional

    Returns
    -------
    Axes

    Examples
    --------
    >>> import mmlib as mm
    >>> from mmlib.plots import qq_residuals
    >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    >>> qq_residuals(fit).get_xlabel()
    'normal quantile'
    """
    residuals = fit.residuals(kind, scaled=scaled).dropna().to_numpy()
    ax = _axes(ax)
    _normal_quantiles(ax, np.sort(residuals))
    ax.set_ylabel(_residual_label(kind, scaled, unit))
    return ax


def qq_ranef(
    fit: LMMResult,
    group: str | None = None,
    column: str | None = None,
    *,
    unit: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the quantiles of the conditional modes against those of a normal distribution.

    Modes are shrunk and, in small groups, close to normal whatever the effects are: a straight line
    is weak evidence, an outlier is strong. Line and band are as for `qq_residuals`.

    Parameters
    ----------
    fit : LMMResult
    group, column, unit, ax
        As for `caterpillar`.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import mmlib as mm
    >>> from mmlib.plots import qq_ranef
    >>> fit = mm.lmm("Reaction ~ Days + (Days | Subject)", mm.load_dataset("sleepstudy"))
    >>> qq_ranef(fit, column="Days").get_ylabel()
    'conditional mode of Days | Subject'
    """
    modes, column, name = _effects(fit, group, column)
    modes = modes.sort_values(kind="stable")
    ax = _axes(ax)
    places = _normal_quantiles(ax, modes.to_numpy())
    if len(modes) <= MANY:
        for x, y, label in zip(places, modes, _labels(modes.index), strict=True):
            if len(modes) > 10 and abs(x) < CROWDED:
                continue
            ax.annotate(
                label,
                (x, y),
                xytext=(5, -3),
                textcoords="offset points",
                fontsize="x-small",
                va="top",
            )
    ax.set_ylabel(_with_unit(f"conditional mode of {_effect(column, name)}", unit))
    return ax


def _normal_quantiles(ax: Axes, ordered: FloatArray) -> FloatArray:
    """Points, quartile line and band of a normal Q–Q plot; returns the normal quantiles."""
    n = len(ordered)
    if n < 2:
        raise DataError(f"a Q–Q plot needs at least two values; there are {n}.")
    ranks = np.arange(1, n + 1)
    places = ndtri((ranks - 0.375) / (n + 0.25))
    low, high = np.quantile(ordered, [0.25, 0.75])
    slope = (high - low) / (2 * ndtri(0.75))
    middle = (low + high) / 2
    band = ndtri(beta_distribution.ppf([[0.025], [0.975]], ranks, n + 1 - ranks))
    ax.fill_between(
        places,
        *(middle + slope * band),
        color="0.9",
        linewidth=0,
        label="95 % band, place by place",
    )
    ax.plot(
        places,
        middle + slope * places,
        color="black",
        linestyle="--",
        linewidth=1,
        label="normal, through the quartiles",
    )
    ax.plot(places, ordered, **_dots(n))
    ax.legend(ncols=2, **ABOVE)
    ax.set_xlabel("normal quantile")
    return places


# ---- likelihood ----------------------------------------------------------------------------------


def profile_zeta(
    profile: Profile,
    parameter: str,
    *,
    level: float = 0.95,
    n: int = 25,
    unit: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the profile ζ of one parameter, with its interval.

    ζ is a straight line where the likelihood is that of a normal mean; a bend says that a symmetric
    interval would be wrong. A curve that ends before it reaches the interval's height has met a
    boundary.

    Parameters
    ----------
    profile : Profile
        From `mmlib.profile.profile`.
    parameter : str
        One of ``profile.parameters``.
    level : float
        Coverage of the interval that is marked.
    n : int
        Points of the curve.
    unit : str, optional
        Unit of the parameter.
    ax : Axes, optional

    Returns
    -------
    Axes

    Examples
    --------
    >>> import mmlib as mm
    >>> from mmlib.plots import profile_zeta
    >>> from mmlib import profile
    >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    >>> profile_zeta(profile(fit), "sigma").get_xlabel()
    'sigma'
    """
    reach = normal_quantile(level)
    curve = profile.grid(parameter, n=n, level=max(0.99, (1 + level) / 2))
    ends = profile.confint(level=level, parameters=[parameter]).to_numpy()[0]
    ax = _axes(ax)
    ax.plot(curve["value"], curve["zeta"], color=BLUE, linestyle="-", linewidth=1.6)
    ax.axhline(0.0, color=GREY, linewidth=0.8)
    for sign in (-1, 1):
        ax.axhline(sign * reach, color=GREY, linestyle=":", linewidth=1)
    heights = [profile.zeta(parameter, float(end)) for end in ends]
    ax.vlines(ends, 0.0, heights, color=ORANGE, linestyle="--", linewidth=1.4)
    ax.plot(
        ends,
        [0.0, 0.0],
        color=ORANGE,
        linestyle="-",
        marker="|",
        markersize=10,
        linewidth=2.5,
        label=f"{100 * level:g} % interval",
    )
    ax.plot(profile.estimates[parameter], 0.0, "o", color="black", label="ML estimate")
    ax.legend(ncols=2, **ABOVE)
    ax.set(xlabel=_with_unit(_parameter(parameter), unit), ylabel="ζ")
    return ax


def profile_pair(
    profile: Profile | JointProfile,
    first: str | None = None,
    second: str | None = None,
    *,
    n: int = 21,
    ax: Axes | None = None,
) -> Axes:
    """Draw the joint likelihood regions of two parameters, the others adapting.

    Parameters
    ----------
    profile : Profile or JointProfile
        From `mmlib.profile.profile`, or from `mmlib.joint_profile.joint_profile` where the grid has
        been computed already.
    first, second : str
        Two of ``profile.parameters`` (with a `Profile`).
    n : int
        Points of the grid in each direction.
    ax : Axes, optional

    Returns
    -------
    Axes

    Examples
    --------
    >>> import mmlib as mm
    >>> from mmlib.plots import profile_pair
    >>> from mmlib import profile
    >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    >>> profile_pair(profile(fit), "sigma", "Intercept", n=9).get_ylabel()
    'Intercept'
    """
    if isinstance(profile, Profile):
        if first is None or second is None:
            raise DataError(f"name two of the parameters {', '.join(profile.parameters)}.")
        joint = joint_profile(profile, first, second, level=GRID_LEVEL, n=n)
    else:
        joint = profile
    ax = _axes(ax)
    _joint_regions(ax, joint.x, joint.y, joint.rise)
    ax.plot(*joint.estimate, "o", color="black", label="ML estimate")
    ax.legend(**ABOVE)
    ax.set(xlabel=_parameter(joint.parameters[0]), ylabel=_parameter(joint.parameters[1]))
    return ax


def likelihood_surface(
    fit: LMMResult, *, n: int = 81, unit: str | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the objective over both standard deviations, with the ML and the REML optimum.

    The contours are of the fit's own criterion: joint regions of 50, 80 and 95 %.

    Parameters
    ----------
    fit : LMMResult
        With one random term of one column.
    n : int
        Points of the grid in each direction.
    unit : str, optional
        Unit of the response.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    DataError
        If the fit has another random part.

    Examples
    --------
    >>> import mmlib as mm
    >>> from mmlib.plots import likelihood_surface
    >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    >>> likelihood_surface(fit, n=9).get_xlabel()
    'σ of operator'
    """
    if len(fit.theta) != 1:
        raise DataError(
            "likelihood_surface draws a fit with one random term of one column; "
            f"this one has {len(fit.theta)} covariance parameters. Use profile_pair."
        )
    n = require_count("n", n, least=3)
    fits = {"ML": fit.refit(reml=False), "REML": fit.refit(reml=True)}
    objective = Objective(fit.blocks, reml=fit.reml)

    def rise(x: FloatArray, y: FloatArray) -> FloatArray:
        with single_threaded():
            return (
                np.array([[objective.at_sigma([a / s], s) for a in x] for s in y]) - fit.objective
            )

    x, y = _surface_range(rise, list(fits.values()), n)
    ax = _axes(ax)
    _joint_regions(ax, x, y, rise(x, y))
    for (name, optimum), marker in zip(fits.items(), ("o", "s"), strict=True):
        between = float(optimum.varcorr().terms[0].sd[0])
        color = "black" if marker == "o" else ORANGE
        ax.plot(
            between,
            optimum.sigma,
            linestyle="none",
            marker=marker,
            color=color,
            label=f"{name} estimate",
        )
    ax.legend(ncols=2, title=f"contours: {'REML' if fit.reml else 'ML'}", **ABOVE)
    term = fit.design.terms[0]
    ax.set(
        xlabel=_with_unit(f"σ of {_effect(term.columns[0], term.group)}", unit),
        ylabel=_with_unit("residual σ", unit),
    )
    return ax


def _surface_range(
    rise: Callable[[FloatArray, FloatArray], FloatArray], fits: list[LMMResult], n: int
) -> tuple[FloatArray, FloatArray]:
    """Grids around both optima, wide enough for the largest region."""
    top = joint_quantile(GRID_LEVEL)
    right = max(0.3 * fits[0].sigma, *(2 * float(fit.varcorr().terms[0].sd[0]) for fit in fits))
    low, high = 0.9 * min(fit.sigma for fit in fits), 1.1 * max(fit.sigma for fit in fits)
    for _ in range(MAX_STEPS):
        edges = rise(np.linspace(0.0, right, 15), np.linspace(low, high, 15))
        if min(edges[0].min(), edges[-1].min(), edges[:, -1].min()) > top:
            break
        right *= 1.15 if edges[:, -1].min() <= top else 1.0
        low *= 0.95 if edges[0].min() <= top else 1.0
        high *= 1.05 if edges[-1].min() <= top else 1.0
    return np.linspace(0.0, right, n), np.linspace(low, high, n)


def _joint_regions(ax: Axes, x: FloatArray, y: FloatArray, rise: FloatArray) -> None:
    heights = [joint_quantile(level) for level in JOINT_LEVELS]
    lines = ax.contour(
        x,
        y,
        np.minimum(rise, 50.0),
        levels=heights,
        colors=BLUE,
        linestyles=list(LINES[:3]),
        linewidths=1.4,
    )
    ax.clabel(lines, fmt={h: f"{100 * p:g} %" for h, p in zip(heights, JOINT_LEVELS, strict=True)})


# ---- tests ---------------------------------------------------------------------------------------


def null_distribution(
    sample: HypothesisTest | ArrayLike,
    observed: float | None = None,
    *,
    df: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the simulated distribution of a likelihood-ratio statistic beside its approximations.

    What is drawn is P(T ≥ t), so that the height of each curve at the observed statistic is a
    p-value: of the simulation, of χ² and, for one variance, of ½χ²₀ + ½χ²₁.

    Parameters
    ----------
    sample : result of `parametric_bootstrap`, `exact_lrt` or `exact_rlrt`, or array, shape (nsim,)
        The simulated statistics.
    observed : float, optional
        The observed statistic; needed with an array.
    df : int, optional
        Parameters that the null hypothesis fixes; by default what the result of a bootstrap says,
        and otherwise 1.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    DataError
        If there is no sample or no observed statistic.

    Examples
    --------
    >>> import mmlib as mm, numpy as np
    >>> from mmlib.plots import null_distribution
    >>> draws = np.random.default_rng(1).chisquare(1, 200) * (np.arange(200) % 2)
    >>> null_distribution(draws, 2.57).get_ylabel()
    'P(T ≥ t)'
    """
    df = getattr(sample, "n_restrictions", 1) if df is None else df
    draws, observed = _sample(sample, observed)
    df = require_count("df", df)
    ax = _axes(ax)
    widest = max(float(draws.max()), observed) * 1.02
    grid = np.linspace(0.0, widest, 400)
    share = np.arange(len(draws), 0, -1) / len(draws)
    seen = _few(len(draws))  # a figure has fewer pixels than a long simulation has draws
    draws_shown, share = draws[seen], share[seen]
    ax.step(
        np.append(0.0, draws_shown),
        np.append(1.0, share),
        where="pre",
        color="black",
        linewidth=1.8,
        label=f"{len(draws):,} simulated".replace(",", " "),
    )
    ax.plot(grid, chdtrc(df, grid), color=BLUE, linestyle="--", label=f"$\\chi^2_{{{df}}}$")
    if df == 1:
        mixture = np.where(grid > 0, 0.5 * chdtrc(1, grid), 1.0)
        label = r"$\frac{1}{2}\chi^2_0 + \frac{1}{2}\chi^2_1$"
        ax.plot(grid[1:], mixture[1:], color=ORANGE, linestyle="-.", label=label)
    ax.axvline(observed, color=GREY, linestyle=":", label=f"observed, {observed:.4g}")
    ax.set(
        yscale="log",
        ylim=(max(0.5 / len(draws), 1e-4), 1.3),
        xlim=(-0.02 * widest, widest),
        xlabel="likelihood-ratio statistic t",
        ylabel="P(T ≥ t)",
    )
    ax.legend(frameon=False)
    return ax


def _few(n: int, most: int = 2000) -> np.ndarray:
    """Positions of at most `most` of n sorted values, the upper tail whole."""
    tail = np.arange(max(n - most // 2, 0), n)
    body = np.linspace(0, max(n - most // 2, 0), most // 2, endpoint=False).astype(int)
    return np.unique(np.concatenate([body, tail])) if n > most else np.arange(n)


def _sample(sample: HypothesisTest | ArrayLike, observed: float | None) -> tuple[FloatArray, float]:
    if isinstance(sample, HypothesisTest):
        observed = sample.statistic if observed is None else observed
        sample = getattr(sample, "sample", np.zeros(0))
    draws = np.sort(as_numbers("sample", np.asarray(sample)).ravel())
    if not len(draws) or np.isnan(draws).any():
        raise DataError(
            "there is no simulated sample to draw (or it has missing values); an exact test keeps "
            "none where a closed form gives its p-value: pass draw(nsim) and the statistic."
        )
    if observed is None:
        raise DataError("pass the observed statistic as well: observed=…")
    return draws, float(observed)


# ---- shared --------------------------------------------------------------------------------------

MANY = 30
"""More levels than this are not named one by one."""

CROWDED = 0.8
"""Points of a Q–Q plot nearer to the middle than this lie too close to be named."""


def _axes(ax: Axes | None, *, tall: int = 0) -> Axes:
    if ax is None:
        height = 3.8 if tall <= 12 else min(3.8 + 0.16 * (tall - 12), 7.5)
        return plt.subplots(figsize=(6.4, height), layout="constrained")[1]
    if not isinstance(ax, Axes):
        raise DataError(f"ax must be a matplotlib Axes, not {type(ax).__name__}.")
    return ax


def _points(place: int) -> dict[str, Any]:
    return {
        "linestyle": "none",
        "marker": MARKERS[place % len(MARKERS)],
        "color": COLORS[place % len(COLORS)],
        "markersize": 6,
    }


def _dots(n: int) -> dict[str, Any]:
    """Open circles, smaller where there are many."""
    size = float(np.clip(30 / np.sqrt(n), 2.0, 6.0))
    return {
        "linestyle": "none",
        "marker": "o",
        "color": BLUE,
        "markerfacecolor": "none",
        "markersize": size,
    }


def _response(data: pd.DataFrame, response: str) -> FloatArray:
    data = require_frame(data)
    require_columns(data, [response])
    values = as_numbers(f"column {response!r}", data[response])
    if np.isnan(values).any():
        raise DataError(f"column {response!r} has missing values; drop these rows first.")
    return values


def _levels(data: pd.DataFrame, name: str) -> tuple[np.ndarray, pd.Index]:
    """Code of each row and the levels that occur."""
    require_columns(data, [name])
    if data[name].isna().any():
        raise DataError(f"column {name!r} has missing values; drop these rows first.")
    column = pd.Categorical(data[name]).remove_unused_categories()
    return np.asarray(column.codes), column.categories


def _effects(fit: LMMResult, group: str | None, column: str | None) -> tuple[pd.Series, str, str]:
    """The conditional modes of one column, its name and that of its grouping."""
    name = grouping_of(fit, group).name
    modes = fit.ranef()[name]
    column = str(modes.columns[0]) if column is None else column
    _require_effect(modes, column, name)
    return modes[column], column, name


def _require_effect(modes: pd.DataFrame, column: str, group: str) -> None:
    if column not in modes.columns:
        raise DataError(
            f"grouping {group!r} has no random effect {column!r}; it has "
            f"{', '.join(modes.columns)}."
        )


def _effect(column: str, group: str) -> str:
    """A random effect as the formula writes it; an intercept goes by its grouping."""
    return group if column == "Intercept" else f"{column} | {group}"


def _parameter(name: str) -> str:
    """A parameter of a profile in words."""
    kind, _, rest = name.partition("_")
    if kind not in ("sd", "cor") or "|" not in rest:
        return name
    columns, _, group = rest.rpartition("|")
    if kind == "sd":
        return f"σ of {_effect(columns, group)}"
    return f"correlation of {columns.replace('.', ' and ')} | {group}"


def _residual_label(kind: str, scaled: Scaled, unit: str | None) -> str:
    if scaled is None:
        return _with_unit(f"{kind} residual", unit)
    return f"{scaled.replace('pearson', 'Pearson')} {kind} residual"


def _with_unit(label: str, unit: str | None) -> str:
    return label if unit is None else f"{label} ({unit})"


def _labels(index: pd.Index) -> list[str]:
    if isinstance(index, pd.MultiIndex):
        return [":".join(map(str, label)) for label in index]
    return [str(label) for label in index]


def _name_levels(ax: Axes, levels: pd.Index) -> None:
    labels = _labels(levels)
    crowded = sum(len(label) + 1 for label in labels) > 60
    ax.set_xticks(range(len(labels)), labels, rotation=90 if crowded else 0)


def _name_places(ax: Axes, labels: list[str]) -> None:
    if len(labels) <= 2 * MANY:
        ax.set_yticks(range(len(labels)), labels, fontsize="small" if len(labels) > 15 else None)
    else:
        ax.set_yticks([])
    ax.set_ylim(-0.7, len(labels) - 0.3)


def grouping_of(fit: LMMResult, group: str | None) -> Grouping:
    """The grouping of that name; without a name, the only one.

    Raises
    ------
    DataError
        If there is none, or more than one to choose from.
    """
    require_fit(fit)
    known: dict[str, Grouping] = {g.name: g for g in fit.blocks.groupings}
    names = ", ".join(known) or "none"
    if group is None:
        if len(known) != 1:
            raise DataError(f"choose a grouping with group=; the fit has {names}.")
        return next(iter(known.values()))
    if group not in known:
        raise DataError(
            f"the fit has no grouping {group!r}.{did_you_mean(str(group), known)} It has {names}."
        )
    return known[group]
