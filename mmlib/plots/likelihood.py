"""Pictures of the likelihood, and of what a test statistic does by chance."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from mmlib.arrays import FloatArray
from mmlib.design.checks import (
    as_array,
    as_numbers,
    normal_quantile,
    require_count,
    require_fit,
    require_number,
)
from mmlib.engine.objective import Objective
from mmlib.engine.threads import single_threaded
from mmlib.errors import DataError
from mmlib.inference.joint_profile import JointProfile, joint_quantile
from mmlib.inference.profile import Profile
from mmlib.inference.pvalues import HypothesisTest, chi2_tail, simulated_pvalue
from mmlib.model import LMMResult
from mmlib.plots.style import (
    BLUE,
    GREY,
    LINES,
    ORANGE,
    axes_for,
    effect_name,
    legend_above,
    with_unit,
)

DROPS = (0.5, 1, 2, 3, 5)
JOINT_LEVELS = (0.5, 0.8, 0.95)


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

    ζ is a straight line where the likelihood is that of a normal mean; a bend means that a
    symmetric interval would be wrong. A curve that ends before it reaches the interval's height has
    met a boundary.

    Parameters
    ----------
    profile : Profile
    parameter : str
        One of ``profile.parameters``.
    level : float
        Coverage of the interval that is marked.
    n : int
        Points of the curve.
    unit, ax
        As in every figure.

    Examples
    --------
    >>> import mmlib as mm
    >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    >>> mm.plots.profile_zeta(mm.profile(fit), "sigma").get_xlabel()
    'sigma'
    """
    if not isinstance(profile, Profile):
        raise DataError(f"profile must be what mmlib.profile returns, not {profile!r:.60}.")
    reach = normal_quantile(level)
    curve = profile.grid(parameter, n=n, level=max(0.99, (1 + level) / 2))
    ends = profile.confint(level=level, parameters=parameter).to_numpy()[0]
    heights = [profile.zeta(parameter, float(end)) for end in ends]
    given, ax = ax, axes_for(ax)
    ax.plot(curve["value"], curve["zeta"], color=BLUE, linestyle="-", linewidth=1.6)
    ax.axhline(0.0, color=GREY, linewidth=0.8)
    for height in (-reach, reach):
        ax.axhline(height, color=GREY, linestyle=":", linewidth=1)
    ax.vlines(ends, 0.0, heights, color=ORANGE, linestyle="--", linewidth=1.4)
    bar: dict[str, Any] = {"linestyle": "-", "marker": "|", "markersize": 10, "linewidth": 2.5}
    ax.plot(ends, [0.0, 0.0], color=ORANGE, label=f"{100 * level:g}% interval", **bar)
    ax.plot(profile.estimates[parameter], 0.0, "o", color="black", label="ML estimate")
    legend_above(ax, given, ncols=2)
    ax.set(xlabel=with_unit(_in_words(parameter), unit), ylabel="ζ")
    return ax


def joint_regions(joint: JointProfile, *, ax: Axes | None = None) -> Axes:
    """Draw the joint likelihood regions of two parameters, of 50, 80 and 95%.

    Parameters
    ----------
    joint : JointProfile
        With ``level=0.97`` or more it reaches beyond the largest region.
    ax
        As in every figure.

    Examples
    --------
    >>> import mmlib as mm
    >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    >>> joint = mm.joint_profile(fit, "sigma", "Intercept", level=0.97, n=9)
    >>> mm.plots.joint_regions(joint).get_ylabel()
    'Intercept'
    """
    if not isinstance(joint, JointProfile):
        raise DataError(f"joint must be what mmlib.joint_profile returns, not {joint!r:.60}.")
    names = {joint_quantile(level): f"{100 * level:g}%" for level in JOINT_LEVELS}
    given, ax = ax, axes_for(ax)
    style: dict[str, Any] = {"colors": BLUE, "linestyles": list(LINES[:3]), "linewidths": 1.4}
    ax.clabel(ax.contour(joint.x, joint.y, joint.rise, levels=list(names), **style), fmt=names)
    ax.plot(*joint.estimate, "o", color="black", label="ML estimate")
    legend_above(ax, given)
    x, y = map(_in_words, joint.parameters)
    ax.set(xlabel=x, ylabel=y)
    return ax


def likelihood_surface(
    fit: LMMResult,
    sds: ArrayLike,
    sigmas: ArrayLike,
    *,
    unit: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the log-likelihood over both standard deviations, with the ML and the REML estimate.

    Contours are drops of 0.5, 1, 2, 3 and 5 below the maximum of the fit's own criterion, maximised
    over the fixed effects.

    Parameters
    ----------
    fit : LMMResult
        With one random term of one column.
    sds, sigmas : array, shape (k,) and (m,)
        Standard deviations of the random effect and of the residuals, from smallest to largest.
    unit, ax
        As in every figure.

    Examples
    --------
    >>> import mmlib as mm, numpy as np
    >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    >>> ax = mm.plots.likelihood_surface(fit, np.linspace(0, 0.9, 10), np.linspace(0.2, 0.5, 10))
    >>> ax.get_xlabel()
    'σ of operator'
    """
    require_fit(fit)
    if len(fit.theta) != 1:
        raise DataError(
            "likelihood_surface draws a fit with one random term of one column; "
            f"this one has {len(fit.theta)} covariance parameters. Use joint_profile."
        )
    x, y = (as_numbers(name, as_array(name, v)) for name, v in (("sds", sds), ("sigmas", sigmas)))
    for name, values in (("sds", x), ("sigmas", y)):
        if values.ndim != 1 or len(values) < 2:
            raise DataError(f"{name} must be a list of two numbers or more, not {values!r:.60}.")
    objective = Objective(fit.blocks, reml=fit.reml)
    with single_threaded():
        heights = np.array([[objective([a / s], s) for a in x] for s in y])
    given, ax = ax, axes_for(ax)
    drop = (heights - fit.objective) / 2
    style: dict[str, Any] = {"colors": "0.35", "linestyles": "-", "linewidths": 1}
    ax.clabel(ax.contour(x, y, drop, levels=DROPS, **style), fmt="%g", fontsize=8)
    for name, reml, marker, color in (("ML", False, "o", "black"), ("REML", True, "s", ORANGE)):
        other = fit if fit.reml == reml else fit.refit(reml=reml)
        point = float(other.theta[0]) * other.sigma, other.sigma
        ax.plot(*point, marker, color=color, label=f"{name} estimate")
    legend_above(ax, given, ncols=2)
    term = fit.design.terms[0]
    random = f"σ of {effect_name(term.columns[0], term.group)}"
    ax.set(xlabel=with_unit(random, unit), ylabel=with_unit("residual σ", unit))
    return ax


def null_distribution(
    sample: HypothesisTest | ArrayLike,
    observed: float | None = None,
    *,
    df: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the simulated distribution of a likelihood-ratio statistic beside its approximations.

    What is drawn is P(T ≥ t), so that the height of each curve at the observed statistic, which is
    marked and stands in the legend, is a p-value: of the simulation, of χ² and, for one parameter,
    of ½χ²₀ + ½χ²₁, which is meant for a variance.

    Parameters
    ----------
    sample : result of `parametric_bootstrap`, `exact_lrt` or `exact_rlrt`, or array, shape (nsim,)
        The simulated statistics.
    observed : float, optional
        The observed statistic; needed with an array.
    df : int, optional
        Parameters that the null hypothesis fixes; by default what the result of a bootstrap says,
        and otherwise 1.
    ax
        As in every figure.

    Examples
    --------
    >>> import mmlib as mm, numpy as np
    >>> draws = np.random.default_rng(1).chisquare(1, 200) * (np.arange(200) % 2)
    >>> mm.plots.null_distribution(draws, 2.57).get_ylabel()
    'P(T ≥ t)'
    """
    df = getattr(sample, "n_restrictions", 1) if df is None else df
    draws, observed = _sample(sample, observed)
    df, n = require_count("df", df), len(draws)
    ax = axes_for(ax)
    widest = max(float(draws[-1]), observed) * 1.02
    grid = np.linspace(0.0, widest, 1000)[1:]
    as_far = 1 - np.searchsorted(draws, grid) / n
    curves = [("simulated", as_far, simulated_pvalue(observed, draws, tie=0.0)[0])]
    tail, p = chi2_tail(df, grid), chi2_tail(df, observed)
    curves.append((f"$\\chi^2_{{{df}}}$", tail, p))
    if df == 1:
        curves.append((r"$\frac{1}{2}\chi^2_0 + \frac{1}{2}\chi^2_1$", tail / 2, p / 2))
    looks = zip(("black", BLUE, ORANGE), LINES, "^os", strict=False)
    for (name, heights, p), (color, stroke, marker) in zip(curves, looks, strict=False):
        ax.plot(grid, heights, color=color, linestyle=stroke, label=f"{name}, p = {p:.3f}")
        ax.plot(observed, p, marker, color=color)
    ax.axvline(observed, color=GREY, linestyle=":", label=f"observed, {observed:.4g}")
    ax.set(
        yscale="log",
        ylim=(max(0.5 / n, 1e-4), 1.3),
        xlim=(0.0, widest),
        xlabel="likelihood-ratio statistic t",
        ylabel="P(T ≥ t)",
    )
    ax.legend(frameon=False)
    return ax


def _sample(sample: HypothesisTest | ArrayLike, observed: float | None) -> tuple[FloatArray, float]:
    """The simulated statistics in order, and the observed one."""
    if isinstance(sample, HypothesisTest):
        observed = sample.statistic if observed is None else observed
        sample = getattr(sample, "sample", np.zeros(0))
    draws = np.sort(as_numbers("sample", as_array("sample", sample)).ravel())
    if not len(draws) or np.isnan(draws).any():
        raise DataError(
            "there is no simulated sample to draw (or it has missing values); an exact test keeps "
            "none where a closed form gives its p-value: pass draw(nsim) and the statistic."
        )
    if observed is None:
        raise DataError("pass the observed statistic as well: observed=…")
    return draws, require_number("observed", observed)


def _in_words(name: str) -> str:
    """A parameter of a profile in words."""
    kind, _, rest = name.partition("_")
    if kind not in ("sd", "cor") or "|" not in rest:
        return name
    columns, _, group = rest.rpartition("|")
    if kind == "sd":
        return f"σ of {effect_name(columns, group)}"
    return f"correlation of {columns.replace('.', ' and ')} | {group}"
