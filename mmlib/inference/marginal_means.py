"""Estimated marginal means and slopes: averages over the reference grid.

A mean averages predictions, a slope their derivatives; both are `LinearFunctions`, whose rows are
averages of rows of X.

Searle, Speed & Milliken (1980), The American Statistician 34, 216–221; Lenth, emmeans (R package).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np

from mmlib.arrays import FloatArray
from mmlib.design.checks import (
    as_array,
    as_numbers,
    check_level,
    did_you_mean,
    names_in,
    require_choice,
    require_fit,
)
from mmlib.design.names import split_names, unquoted
from mmlib.design.words import by_our_words
from mmlib.errors import DataError
from mmlib.inference.contrasts import text_of
from mmlib.inference.ddf import CHOICES, Ddf
from mmlib.inference.kenward_roger import by_reml
from mmlib.inference.linear_functions import RESULTS, LinearFunctions
from mmlib.inference.reference_grid import ReferenceGrid
from mmlib.inference.response_scale import response_scale
from mmlib.results.estimates import Fit

Weights = Literal["equal", "proportional", "outer", "cells", "flat"]

EDGE = 1e-3
"""Nearer to the edge of the data than this share of their range, a slope looks inwards only."""

STEPS = {False: np.array([-2, -1, 1, 2]), True: np.array([1, 2, 3, 4])}
"""Where a derivative looks, in halves of this share: on both sides, or on one."""

REFITTED = "The fit is by maximum likelihood; this is of its refit by REML."


@by_our_words
def emmeans(
    fit: Fit,
    specs: str | Sequence[str],
    *,
    by: str | Sequence[str] | None = None,
    at: Mapping[str, Any] | None = None,
    weights: Weights = "equal",
    ddf: Ddf | Literal["default"] | None = "default",
    level: float = 0.95,
    offset: float | None = None,
    back: bool = False,
) -> LinearFunctions:
    """Estimate marginal means: what the model predicts at each level, averaged over all else.

    A mean is the average of predictions (random effects zero) over the reference grid: every
    combination of the levels of the factors, covariates at their mean. It depends on the model, not
    on how many rows each cell happens to have.

    Parameters
    ----------
    fit : LMMResult
    specs : str or sequence of str
        The factors (or covariates with values in `at`) whose combinations have means: ``"treat"``,
        ``"treat * sex"``, ``["treat", "sex"]``; ``"1"`` for the overall mean.
    by : str or sequence of str, optional
        Factors each of whose levels has its own family of means; contrasts compare within a family.
    at : dict, optional
        Values at which to hold a covariate, or levels to which to restrict a factor.
    weights : {"equal", "proportional", "outer", "cells", "flat"}
        How to average over other factors: all levels alike; by how often their combinations occur;
        by the product of how often each level occurs; by how often they occur with this very level
        (which gives raw means, and their confounding); alike, but without empty cells. Rows are
        counted, whatever their prior weights.
    ddf : {"kenward-roger", "satterthwaite"} or None, optional
        Degrees of freedom and, for the first, adjusted standard errors; None for normal quantiles.
        By default ``"kenward-roger"`` for a fit by REML, None for one by maximum likelihood. With
        ``"kenward-roger"`` such a fit is refitted by REML, and a note says so.
    level : float
        Nominal coverage, between 0 and 1.
    offset : float, optional
        The offset of every prediction, by default the mean of the fit's.
    back : bool, default False
        Undo the transformation of the response (``log(y)``, ``np.sqrt(y)``, …): means and limits
        are transformed back, standard errors by the delta method, and differences of logarithms
        become ratios.

    Returns
    -------
    LinearFunctions

    Raises
    ------
    DataError
        If a name is no variable of the fixed part or stands both in `specs` and `by`, if `at` has
        an unknown column or level, or another option is unknown.

    Notes
    -----
    A mean that cannot be estimated, because a cell that it averages has no rows and the model does
    not predict it, is NaN; a note names it. If a factor is nested in another (its levels each occur
    with one level of the other, and it has no term without that one), only the combinations that
    occur count.

    References
    ----------
    Searle, Speed & Milliken (1980), Population marginal means in the linear model, The American
    Statistician 34, 216–221; Lenth, emmeans: Estimated Marginal Means (R package).

    Examples
    --------
    >>> import mmlib as mm
    >>> fit = mm.lmm("distance ~ age * Sex + (age | Subject)", mm.load_dataset("orthodont"))
    >>> mm.emmeans(fit, "Sex", by="age", at={"age": [8, 14]}).to_frame().round(2)
          Sex   age   mean    se    df  lower  upper
    0    Male   8.0  22.62  0.53  25.0  21.53  23.70
    1  Female   8.0  21.21  0.63  25.0  19.90  22.52
    2    Male  14.0  27.32  0.57  25.0  26.14  28.50
    3  Female  14.0  24.09  0.69  25.0  22.66  25.51
    """
    fit, ddf, notes = _settled(fit, weights, ddf, level)
    design, grid = fit.design, ReferenceGrid.of(fit.design, at)
    names = _variables("specs", specs, grid)
    families = _variables("by", [] if by is None else by, grid)
    if both := [name for name in families if name in names]:
        raise DataError(f"by names {both[0]!r}, which is in specs too; it can be in one only.")
    wanted = [*names, *families]
    L = _averaged(grid, design.every_column(grid.frame), wanted, weights)
    scale = response_scale(design.formula.response) if back else None
    what = design.formula.response if scale is None else scale.response
    return LinearFunctions(
        fit=fit,
        labels=grid.labels(wanted),
        L=L,
        kind="mean",
        by=tuple(families),
        ddf=ddf,
        level=float(level),
        caption=f"Estimated marginal means of {what}",
        told=(*_averaging(grid, wanted, weights), *notes),
        shift=np.full(len(L), _offset(fit, offset)),
        scale=scale,
    )


@by_our_words
def emtrends(
    fit: Fit,
    variable: str,
    *,
    by: str | Sequence[str] | None = None,
    at: Mapping[str, Any] | None = None,
    weights: Weights = "equal",
    ddf: Ddf | Literal["default"] | None = "default",
    level: float = 0.95,
) -> LinearFunctions:
    """Estimate the slope of a covariate, in each group, averaged over all else.

    The derivative of the prediction in the covariate, over the reference grid as for `emmeans`:
    exact for all that is polynomial in the covariate, through interactions and ``poly``, and to
    rounding for splines and other smooth functions.

    Parameters
    ----------
    fit : LMMResult
    variable : str
        The covariate.
    by : str or sequence of str, optional
        Factors (or covariates with values in `at`, also the covariate itself) for whose
        combinations there are slopes; contrasts compare them.
    at, weights, ddf, level
        As for `emmeans`. A slope that changes along the covariate is taken at its mean, or as in
        `at`.

    Returns
    -------
    LinearFunctions
        The slopes are in the column ``mean``, in units of the response (as fitted) over those of
        the covariate.

    Raises
    ------
    DataError
        As `emmeans`, and if `variable` is no covariate of the fixed part.

    Examples
    --------
    >>> import mmlib as mm
    >>> fit = mm.lmm("distance ~ age * Sex + (age | Subject)", mm.load_dataset("orthodont"))
    >>> slopes = mm.emtrends(fit, "age", by="Sex")
    >>> slopes.to_frame().round(3)
          Sex   mean     se    df  lower  upper
    0    Male  0.784  0.086  25.0  0.607  0.961
    1  Female  0.480  0.104  25.0  0.266  0.693
    >>> round(float(slopes.contrasts().to_frame()["pvalue"].iloc[0]), 4)
    0.0326
    """
    fit, ddf, notes = _settled(fit, weights, ddf, level)
    grid = ReferenceGrid.of(fit.design, at)
    wanted = _variables("by", [] if by is None else by, grid)
    covariates = [name for name in grid.points if name not in grid.factors]
    if variable not in covariates:
        why = "is a factor" if variable in list(grid.points) else "is no variable of the fixed part"
        raise DataError(
            f"variable must be a covariate of the fixed part, but {variable!r} {why}."
            f"{did_you_mean(str(variable), covariates)} Its covariates are "
            f"{', '.join(covariates) or 'none'}."
        )
    L = _averaged(grid, _slopes(grid, variable), wanted, weights)
    return LinearFunctions(
        fit=fit,
        labels=grid.labels(wanted),
        L=L,
        kind="slope",
        by=(),
        ddf=ddf,
        level=float(level),
        caption=f"Slopes of {fit.design.formula.response} in {variable}",
        told=(*_averaging(grid, wanted, weights), *notes),
        shift=np.zeros(len(L)),
    )


def _settled(
    fit: Fit, weights: Weights, ddf: Ddf | Literal["default"] | None, level: float
) -> tuple[Fit, Ddf | None, tuple[str, ...]]:
    """The fit that answers, its degrees of freedom, and what to know of them."""
    require_fit(fit)
    require_choice("weights", weights, get_args(Weights))
    require_choice("ddf", ddf, (*CHOICES, "default"))
    check_level(level)
    if not fit.design.p:
        raise DataError("the fit has no fixed effects, so there are no means to estimate.")
    if ddf == "default":
        ddf = "kenward-roger" if fit.reml else None
    if ddf == "kenward-roger" and not fit.reml:
        return by_reml(fit), ddf, (REFITTED,)
    return fit, ddf, ()


def _averaging(grid: ReferenceGrid, wanted: Sequence[str], weights: Weights) -> list[str]:
    """What was averaged over and where covariates were held."""
    others = [name for name in grid.points if name not in wanted]
    averaged = [name for name in others if len(grid.points[name]) > 1]
    held = [
        f"{name} at {text_of(grid.points[name][0])}"
        + (", its mean" if name not in grid.given else "")
        for name in others
        if len(grid.points[name]) == 1 and name not in grid.factors
    ]
    lines = []
    if averaged:
        lines.append(f"Averaged over {', '.join(averaged)} with {weights} weights.")
    if held:
        lines.append(f"{'; '.join(held)}.")
    if crossed := [name for name in grid.interacting(wanted) if name in averaged]:
        lines.append(
            f"What is shown here interacts with {', '.join(crossed)}: an average may hide that."
        )
    return lines


def _variables(argument: str, names: str | Sequence[str], grid: ReferenceGrid) -> list[str]:
    """The variables of the grid that an argument names."""
    if isinstance(names, str):
        parts = split_names(names)
        if names in grid.points:
            wanted = [names]
        elif "|" in parts:
            raise DataError(f"{argument} is {names!r}; write what stands after the bar as by=.")
        elif any("~" in part for part in parts if part[0] != "`"):
            raise DataError(
                f"{argument} is {names!r}; write names only: emmeans(fit, 'a').contrasts()."
            )
        else:
            wanted = [] if parts == ["1"] else [unquoted(part) for part in parts]
    elif isinstance(names, Sequence):
        wanted = list(names)
    else:
        raise DataError(f"{argument} must be a name or a list of names, not {names!r:.60}.")
    for name in names_in(argument, wanted):
        if name in RESULTS:
            raise DataError(
                f"the column {name!r} has the name of a result ({', '.join(RESULTS)}); rename it."
            )
        if name in grid.points:
            continue
        groupings = {factor for term in grid.design.terms for factor in term.part.factors}
        why = (
            "is a grouping of random effects (see fit.ranef())"
            if name in groupings
            else "is no variable of the fixed part"
        )
        raise DataError(
            f"{argument} names {name!r}, which {why}.{did_you_mean(str(name), grid.points)} "
            f"The fixed part has {', '.join(grid.points) or 'none'}."
        )
    if len(set(wanted)) < len(wanted):
        raise DataError(f"{argument} names a variable twice.")
    return wanted


def _offset(fit: Fit, offset: float | None) -> float:
    """The offset of a prediction: the mean of the fit's, or the one that is given."""
    mean = fit.design.mean_offset
    if mean is None:
        if offset is not None:
            raise DataError("offset is for fits with an offset, and this one has none.")
        return 0.0
    if offset is None:
        return mean
    number = as_numbers("offset", as_array("offset", offset))
    if number.shape != () or np.isnan(number):
        raise DataError(f"offset must be one number, not {offset!r:.60}.")
    return float(number)


# ---- averages ------------------------------------------------------------------------------------


def _averaged(
    grid: ReferenceGrid, rows: FloatArray, wanted: Sequence[str], weights: Weights
) -> FloatArray:
    """The mean of rows, one for each cell of the grid, for each combination of values of `wanted`.

    NaN where no cell counts.
    """
    row_of = grid.combination_of(wanted)
    share = np.where(grid.occurs, _cell_weights(grid, wanted, weights), 0.0)
    total = np.bincount(row_of, weights=share)
    sums = np.array([np.bincount(row_of, share * column) for column in rows.T]).T
    with np.errstate(invalid="ignore"):
        return sums / total[:, None]


def _cell_weights(grid: ReferenceGrid, wanted: Sequence[str], weights: Weights) -> FloatArray:
    counts = grid.counts
    if weights == "equal":
        return np.ones(len(counts))
    if weights == "flat":
        return np.asarray(counts > 0, dtype=float)
    if weights == "cells":
        return counts
    others = [name for name in grid.points if name not in wanted]
    if weights == "proportional":
        return _totals(grid, others)
    shares = [_totals(grid, [name]) for name in others if name in grid.factors]
    return np.prod(shares, axis=0) if shares else np.ones(len(counts))


def _totals(grid: ReferenceGrid, names: Sequence[str]) -> FloatArray:
    """For each cell the rows of the data that agree with it in `names`."""
    place = grid.combination_of(names)
    totals: FloatArray = np.bincount(place, weights=grid.counts).astype(float)
    return totals[place]


def _slopes(grid: ReferenceGrid, variable: str) -> FloatArray:
    """The derivatives of the rows of X in a covariate, a row for each cell of the grid.

    That of the polynomial through the rows at four places near by: exact for quartics, and to
    rounding for what is smooth there. At the edges of the data the places lie within them.
    """
    matrix, (_, low, high) = grid.design.every_column, grid.design.facts.covariates[variable]
    rows = matrix(grid.frame)
    slopes = np.zeros_like(rows)
    for value in grid.points[variable]:
        here = (grid.frame[variable] == value).to_numpy()
        near = EDGE * ((high - low) or max(1.0, abs(value)))
        below, above = value - low, high - value
        at_edge = 0 <= min(below, above) < near
        steps = STEPS[at_edge]
        weights = np.linalg.solve([steps**power for power in range(1, 5)], [1, 0, 0, 0])
        half = near / 2 * (-1 if at_edge and above < below else 1)
        for step, weight in zip(steps * half, weights / half, strict=True):
            moved = matrix(grid.frame[here].assign(**{variable: value + step}))
            slopes[here] += weight * (moved - rows[here])
    return slopes
