"""Power of a test: by simulation, along a grid of designs and effects; exactly, where it is.

Responses are drawn from the supposed truth, the model is fitted to each, and the test is made; the
power is the share of p-values that are at most α. The refits of a design are made together (see
`mmlib.engine.batch`), so that a thousand take about a second.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mmlib.arrays import BoolArray, FloatArray
from mmlib.design.checks import as_generator, check_level, require_count
from mmlib.design.design import Design
from mmlib.engine.progress import Progress
from mmlib.engine.threads import single_threaded
from mmlib.errors import DataError
from mmlib.frozen import Frozen
from mmlib.inference.power_study import Effect, Hypothesized, Study, at_point, grid_of
from mmlib.inference.power_tests import PValue
from mmlib.inference.replicate import Draws, draw, earlier, finished
from mmlib.results.display import Shown, Summary, Table
from mmlib.results.estimates import Fit
from mmlib.results.simulate import Beta, Correlations, Sds, truth_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False, repr=False)
class PowerResult(Shown, Frozen):
    """Power at each point of a grid.

    Attributes
    ----------
    title : str
        The test and its hypothesis.
    names : tuple of str
        What varies; nothing without a grid.
    points : tuple of tuple of float
        The values of these at each point of the grid.
    alpha : float
        The level of the test.
    nsim : int
        Replicates asked for at each point.
    pvalues : tuple of ndarray, shape (drawn,)
        The p-value of each replicate; NaN where it failed.
    boundary : tuple of ndarray of bool
        Whether the refit of each replicate was on the boundary.
    exact : tuple of float
        Power of the exact F test where there is one, otherwise NaN.
    draws, seeds
        What ``resume=`` needs.
    """

    title: str
    names: tuple[str, ...]
    points: tuple[tuple[float, ...], ...]
    alpha: float
    nsim: int
    pvalues: tuple[FloatArray, ...] = field(repr=False)
    boundary: tuple[BoolArray, ...] = field(repr=False)
    exact: tuple[float, ...]
    draws: tuple[Draws, ...] = field(repr=False)
    seeds: tuple[int, ...] = field(repr=False)

    def to_frame(self, *, alpha: float | None = None) -> pd.DataFrame:
        """The power, one row for each point of the grid.

        Parameters
        ----------
        alpha : float, optional
            Another level than `PowerResult.alpha`; nothing is drawn again.

        Returns
        -------
        DataFrame
            What varies, then ``power``; ``mcse``, its Monte Carlo standard error; ``boundary``, the
            share of refits on the boundary; ``failed``, the number of replicates without a p-value,
            which are left out; and ``exact``, the power of the exact F test, NaN where there is
            none.
        """
        alpha = self.alpha if alpha is None else alpha
        check_level(alpha, "alpha", usual=0.05)
        rows = []
        for point, pvalues, boundary, exact in zip(
            self.points, self.pvalues, self.boundary, self.exact, strict=True
        ):
            valid = pvalues[np.isfinite(pvalues)]
            power = float(np.mean(valid <= alpha)) if len(valid) else np.nan
            rows.append(
                {
                    **dict(zip(self.names, point, strict=True)),
                    "power": power,
                    "mcse": np.sqrt(power * (1 - power) / max(len(valid), 1)),
                    "boundary": float(np.mean(boundary)) if len(boundary) else np.nan,
                    "failed": len(pvalues) - len(valid),
                    "exact": exact if alpha == self.alpha else np.nan,
                }
            )
        return pd.DataFrame(rows)

    def summary(self) -> Summary:
        """The table with its notes; text when printed, HTML in a notebook."""
        frame = self.to_frame()
        if frame["exact"].isna().all():
            frame = frame.drop(columns="exact")
        formats = {"failed": "d", "power": ".3f", "mcse": ".3f", "boundary": ".3f", "exact": ".4f"}
        table = Table.of(self.title, frame, formats, default="g", labels={})
        return Summary((table, *self._notes()))

    def _notes(self) -> list[str]:
        notes = [f"{self.nsim} replicates at each point; level {self.alpha:g}."]
        if any(len(pvalues) < self.nsim for pvalues in self.pvalues):
            notes.append("Stopped early: pass the result as resume= to draw the others.")
        if np.isfinite(self.exact).any():
            notes.append(
                "exact is the power of the classical F test. The simulated test is that one unless "
                "a variance is estimated as zero, and then it pools."
            )
        return notes

    def plot(self, *, ax: Axes | None = None) -> Axes:
        """Draw the power along the grid, with bars of ± 2 Monte Carlo errors.

        Parameters
        ----------
        ax : Axes, optional
            Where to draw; by default a new figure.

        Returns
        -------
        Axes

        Raises
        ------
        DataError
            If nothing varies.
        """
        # Figures stand above inference, and matplotlib is loaded when the first one is asked for.
        drawn: Axes = import_module("mmlib.plots.power").power(self, ax=ax)
        return drawn


def power(
    design: Design | Fit,
    test: Hypothesized | PValue,
    *,
    hypothesis: Hypothesized | None = None,
    effect: Effect | None = None,
    along: Mapping[str, Sequence[float]] | None = None,
    alpha: float = 0.05,
    beta: Beta | None = None,
    theta: ArrayLike | None = None,
    sd: Sds | None = None,
    corr: Correlations | None = None,
    sigma: float | None = None,
    nsim: int = 1000,
    rng: np.random.Generator | int | None = None,
    executor: Executor | None = None,
    progress: Progress = None,
    resume: PowerResult | None = None,
) -> PowerResult:
    """Power of a test, for a design that is planned or for more data like those of a fit.

    Parameters
    ----------
    design : Design or LMMResult
        A fit, whose estimates are the truth unless other values are given; or a design as `plan`
        makes it, for which `beta`, `sigma` and `sd` (or `theta`) are needed.
    test : str, array or callable
        What is tested by Kenward and Roger's F: a term, equations or a matrix, as for
        `kenward_roger`. Or the name of a method, which tests `hypothesis`: ``"kenward-roger"``,
        ``"satterthwaite"``; ``"lrt"``, ``"bootstrap"`` (of 199 replicates); ``"exact"`` for the one
        variance of a model with one scalar random term (`exact_rlrt`). Or any function of a fit
        that returns a p-value or a test.
    hypothesis : optional
        For a named method: a term, equations or a matrix; for ``"lrt"`` and ``"bootstrap"`` also
        the smaller model, as a fit or a formula. By default that the coefficients named in `effect`
        are zero.
    effect : dict, or float, optional
        Fixed effects by name that take the place of those of the truth; a number stands for the one
        coefficient that is tested.
    along : dict, optional
        A grid: each key with its values. A key is a fixed effect's name; ``"sigma"``;
        ``"n_<grouping>"`` (as in ``{"n_subjects": [8, 12, 16]}`` for the grouping ``Subject``), the
        number of its levels; or ``"rows_per_<grouping>"``. New levels are copies of those there
        are, with new random effects; fewer are spread evenly over them.
    alpha : float
        Level of the test.
    beta, theta, sd, corr, sigma : optional
        The truth, as for `simulate`; for a fit what is given takes the place of its estimate.
    nsim : int
        Number of replicates at each point of the grid.
    rng, executor, progress
        As for `parametric_bootstrap`.
    resume : PowerResult, optional
        An earlier result of the same call, to which replicates are added up to `nsim`.

    Returns
    -------
    PowerResult

    Raises
    ------
    DataError, FormulaError, RankError
        If the test does not apply to the design, an effect or a grouping is unknown, or a design of
        the grid is too small for the model.
    BootstrapError
        If the executor fails; its ``result`` holds what was drawn.

    References
    ----------
    Green & MacLeod (2016), SIMR, Methods in Ecology and Evolution 7, 493–498,
    doi:10.1111/2041-210X.12504; Scheffé (1959), The Analysis of Variance, section 2.8.

    Examples
    --------
    >>> import mmlib as mm
    >>> fit = mm.lmm("Reaction ~ Days + (Days | Subject)", mm.load_dataset("sleepstudy"))
    >>> result = mm.power(fit, "Days", effect=5, along={"n_subjects": [8, 16]}, nsim=200, rng=1)
    >>> result.to_frame()[["n_subjects", "exact"]].round(3).to_numpy().tolist()
    [[8.0, 0.46], [16.0, 0.813]]
    """
    check_level(alpha, "alpha", usual=0.05)
    nsim = require_count("nsim", nsim)
    study = Study.of(design, test, hypothesis, effect)
    given = {"beta": beta, "theta": theta, "sd": sd, "corr": corr, "sigma": sigma}
    truth = truth_of(study.design, study.truth, **given)  # type: ignore[arg-type]
    truth = dataclasses.replace(truth, beta=study.with_effect(truth.beta, effect))
    grid = grid_of(study.design, along)
    seeds, before = _seeds(grid, rng, resume)
    pvalues, boundary, exact, draws = [], [], [], []
    for number, point in enumerate(grid):
        here, at = at_point(study, truth, point)
        with single_threaded():
            task, chunk = here.task(at, seeds[number])
            exact.append(here.exact_power(at, alpha))
        drawn = draw(
            task,
            nsim,
            chunk=chunk,
            rng=np.random.default_rng(seeds[number]),
            executor=executor,
            progress=progress,
            resume=before.get(number),
            origin=here.origin(at),
        )
        outcomes = np.concatenate([np.zeros((0, 2)), *drawn.in_order()])
        draws.append(drawn)
        pvalues.append(outcomes[:, 0])
        boundary.append(outcomes[:, 1] > 0)
        if drawn.drawn < nsim:
            break
    result = PowerResult(
        title=study.title,
        names=tuple(grid[0]),
        points=tuple(tuple(point.values()) for point in grid[: len(draws)]),
        alpha=float(alpha),
        nsim=nsim,
        pvalues=tuple(pvalues),
        boundary=tuple(boundary),
        exact=tuple(exact),
        draws=tuple(draws),
        seeds=tuple(seeds),
    )
    return finished(result, draws[-1], where=f" of point {len(draws)}")


def _seeds(
    grid: Sequence[dict[str, float]],
    rng: np.random.Generator | int | None,
    resume: PowerResult | None,
) -> tuple[list[int], dict[int, Draws]]:
    """A seed for each point of the grid, and what was drawn there before."""
    if resume is None:
        return as_generator(rng).integers(2**63, size=len(grid)).tolist(), {}
    earlier(resume, PowerResult)
    points = [tuple(point.values()) for point in grid]
    same = (resume.names, list(resume.points)) == (tuple(grid[0]), points[: len(resume.points)])
    if not same or len(resume.seeds) != len(grid):
        raise DataError("resume= is the result of another grid; start anew without it.")
    return list(resume.seeds), dict(enumerate(resume.draws))
