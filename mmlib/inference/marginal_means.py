"""Estimated marginal means and slopes: averages over the reference grid.

A mean averages predictions, a slope their derivatives; both are `LinearFunctions`, whose rows are
averages of rows of X.

Searle, Speed & Milliken (1980), The American Statistician 34, 216–221; Lenth, emmeans (R package).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from mmlib.arrays import FloatArray
from mmlib.design.checks import as_numbers, check_level, did_you_mean, require_choice, require_fit
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

N_STEPS = 10
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
        ``"treat * sex"``, ``["treat", "sex"]``; ``"1"`` for the mean of all.
    by : str or sequence of str, optional
        Factors for each of whose levels there is a family of means of its own; contrasts compare
        within it.
    at : dict, optional
        Values at which to hold a covariate, or levels to which to restrict a factor.
    weights : {"equal", "proportional", "outer", "cells", "flat"}
        How to average over other factors: all levels alike; by how often their combinations occur;
        by the product of how often each level occurs; by how often they occur with this very level
        (which gives back raw means, and their confounding); alike, but empty cells not at all.
        Rows are counted, whatever their prior weights.
    ddf : {"kenward-roger", "satterthwaite"} or None, optional
        Degrees of freedom and, for the first, adjusted standard errors; None for normal quantiles.
        By default ``"kenward-roger"`` for a fit by REML, None for one by maximum likelihood. With
        ``"kenward-roger"`` such a fit is refitted by REML, and a note says so.
    level : float
        Coverage of the intervals.
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
    A mean that the data cannot tell, because a cell that it averages has no rows and the model does
    not say what it would be, is NaN; a note names it. Of a factor that is nested in another (its
    levels each occur with one level of the other, and it has no term without that one) only the
    combinations that occur count.

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
    asked = _Question.of(fit, specs, by, at, weights, ddf, level)
    design, grid = asked.fit.design, asked.grid
    L = _averaged(grid, design.every_column(grid.frame), asked.wanted, weights)
    shift = _offset(asked.fit, offset)
    scale = response_scale(design.formula.response) if back else None
    what = design.formula.response if scale is None else scale.response
    return asked.functions(
        L=L,
        kind="mean",
        shift=np.full(len(L), shift),
        scale=scale,
        caption=f"Estimated marginal means of {what}",
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
    wanted = by if by is not None else []
    asked = _Question.of(fit, wanted, None, at, weights, ddf, level, first="by")
    grid = asked.grid
    if variable not in grid.points or variable in grid.factors:
        covariates = [name for name in grid.points if name not in grid.factors]
        why = "is a factor" if variable in grid.points else "is no variable of the fixed part"
        raise DataError(
            f"variable must be a covariate of the fixed part, but {variable!r} {why}."
            f"{did_you_mean(str(variable), covariates)} Its covariates are "
            f"{', '.join(covariates) or 'none'}."
        )
    L = _averaged(grid, _slopes(grid, variable), asked.wanted, weights)
    response = asked.fit.design.formula.response
    return asked.functions(
        L=L,
        kind="slope",
        shift=np.zeros(len(L)),
        caption=f"Slopes of {response} in {variable}",
    )


@dataclass(frozen=True, eq=False)
class _Question:
    """What both verbs ask: of which fit, for which labels, and how."""

    fit: Fit
    grid: ReferenceGrid
    wanted: list[str]
    by: tuple[str, ...]
    weights: str
    ddf: Ddf | None
    level: float
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        fit: Fit,
        specs: str | Sequence[str],
        by: str | Sequence[str] | None,
        at: Mapping[str, Any] | None,
        weights: str,
        ddf: Ddf | Literal["default"] | None,
        level: float,
        first: str = "specs",
    ) -> _Question:
        require_fit(fit)
        require_choice("weights", weights, get_args(Weights))
        require_choice("ddf", ddf, (*CHOICES, "default"))
        check_level(level)
        if not fit.design.p:
            raise DataError("the fit has no fixed effects, so there are no means to estimate.")
        if ddf == "default":
            ddf = "kenward-roger" if fit.reml else None
        refit = ddf == "kenward-roger" and not fit.reml
        grid = ReferenceGrid.of(fit.design, at)
        names = _variables(first, specs, grid)
        families = _variables("by", by if by is not None else [], grid)
        if both := [name for name in families if name in names]:
            raise DataError(f"by names {both[0]!r}, which is in specs too; it can be in one only.")
        return cls(
            by_reml(fit) if refit else fit,
            grid,
            [*names, *families],
            tuple(families),
            weights,
            ddf,
            float(level),
            (REFITTED,) * refit,
        )

    def functions(self, **of_its_kind: Any) -> LinearFunctions:
        labels = self.grid.labels(self.wanted)
        return LinearFunctions(
            fit=self.fit,
            labels=labels,
            by=self.by,
            ddf=self.ddf,
            level=self.level,
            told=(*self._averaging(), *self.notes),
            **of_its_kind,
        )

    def _averaging(self) -> tuple[str, ...]:
        """What was averaged over and where covariates were held."""
        grid = self.grid
        others = [name for name in grid.points if name not in self.wanted]
        averaged = [name for name in others if len(grid.points[name]) > 1]
        held = [
            f"{name} at {text_of(grid.points[name][0])}"
            + (", its mean" if name not in grid.given else "")
            for name in others
            if len(grid.points[name]) == 1 and name not in grid.factors
        ]
        lines = []
        if averaged:
            lines.append(f"Averaged over {', '.join(averaged)} with {self.weights} weights.")
        if held:
            lines.append(f"{'; '.join(held)}.")
        if crossed := [name for name in grid.interacting(self.wanted) if name in averaged]:
            lines.append(
                f"What is shown here interacts with {', '.join(crossed)}: an average may hide that."
            )
        return tuple(lines)


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
    for name in wanted:
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
    number = as_numbers("offset", np.asarray(offset))
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
    sums = np.zeros((len(total), rows.shape[1]))
    np.add.at(sums, row_of, share[:, None] * rows)
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
    """The derivatives of the rows of X in a covariate, a row for each cell of the grid."""
    matrix, (_, low, high) = grid.design.every_column, grid.design.facts.covariates[variable]
    slopes = np.zeros_like(matrix(grid.frame))
    for value in grid.points[variable]:
        here = grid.frame[variable] == value
        cells = grid.frame[here]

        def moved(step: float, cells: pd.DataFrame = cells, value: float = value) -> FloatArray:
            return matrix(cells.assign(**{variable: value + step}))

        slopes[here.to_numpy()] = _derivative(moved, value, low, high)
    return slopes


def _derivative(f: Callable[[float], FloatArray], at: float, low: float, high: float) -> FloatArray:
    """The derivative at step 0 of what f(step) gives, by differences extrapolated to step 0.

    Steps are halved and the differences extrapolated (Richardson; Ridders 1982): a polynomial has
    no error but rounding, and a spline none once a step is shorter than the way to the next knot.
    The extrapolation that changes least is taken. Within the data no step leaves them; at their
    edges the differences are one-sided.
    """
    span = (high - low) or max(1.0, abs(at))
    room = min(at - low, high - at) if low <= at <= high else span
    start = f(0.0)
    if room > EDGE * span:
        first, power = min(room, span / 4), 4.0
    else:
        first, power = span / 4 * (1 if at - low < high - at else -1), 2.0
    sizes = np.abs([start, f(first)]).max(axis=(0, 1), initial=0.0)
    scale = np.where(sizes > 0, sizes, 1.0)
    best, least, previous = start, np.inf, [start]
    for k in range(N_STEPS):
        step = first / 2**k
        ends = (f(step) - f(-step)) / (2 * step) if power == 4 else (f(step) - start) / step
        row = [ends]
        for j in range(1, k + 1):
            row.append(row[-1] + (row[-1] - previous[j - 1]) / (power**j - 1))
            change = np.abs([row[j] - row[j - 1], row[j] - previous[j - 1]]).max(axis=(0, 1))
            if (error := float((change / scale).max(initial=0.0))) < least:
                best, least = row[j], error
        previous = row
    return best
