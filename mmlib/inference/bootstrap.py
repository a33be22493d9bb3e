"""The parametric bootstrap: test two nested models, or study any statistic of a fit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import special

from mmlib.arrays import FloatArray
from mmlib.design.checks import check_level, require_choice, require_count, require_fit
from mmlib.design.design import Design
from mmlib.engine.progress import Progress
from mmlib.engine.threads import single_threaded
from mmlib.errors import DataError
from mmlib.frozen import Frozen
from mmlib.inference.lrt import LikelihoodRatioTest, lrt
from mmlib.inference.pvalues import HypothesisTest, chi2_tail, f_tail, simulated_pvalue
from mmlib.inference.refits import ROUNDING, Refitter, likelihood_ratios, refitted
from mmlib.inference.replicate import Draws, draw, earlier, finished, normals
from mmlib.results.display import Shown, Summary, Table
from mmlib.results.estimates import Fit
from mmlib.results.simulate import Truth, n_spherical, responses_to

Statistic = Callable[[Fit], Any]

MOST_STATISTICS = 100
"""Replicates that are drawn together where the statistic takes one fit at a time, at most."""


# ---- tests ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class BootstrapTest(HypothesisTest):
    """Outcome of a parametric bootstrap test.

    Attributes
    ----------
    n_restrictions : int
        How many parameters the null hypothesis takes away: the degrees of freedom of the χ² test.
    valid : bool
        Whether the χ² approximations of `to_frame` hold; not where the null hypothesis is on the
        boundary.
    sample : ndarray
        The simulated null distribution of the statistic; failed replicates are left out.
    nsim, n_failed : int
        Replicates drawn, and how many of them failed.
    draws
        What ``resume=`` needs.
    """

    n_restrictions: int
    valid: bool
    sample: FloatArray = field(repr=False)
    nsim: int
    n_failed: int
    draws: Draws = field(repr=False)

    def to_frame(self) -> pd.DataFrame:
        """The statistic against several reference distributions, as pbkrtest's ``PBmodcomp``.

        Returns
        -------
        DataFrame
            Columns ``statistic, df, ddf, pvalue``. Rows: ``LRT``, χ² without a simulation;
            ``PBtest``, the simulated sample itself; ``Gamma``, a gamma distribution with the mean
            and variance of the sample; ``Bartlett``, χ² after scaling the statistic so that the
            sample has the mean of χ²; ``F``, statistic/df against an F distribution with the
            sample's mean.

        Notes
        -----
        The denominator of F follows from its mean, ddf/(ddf − 2) = m, where m is the mean of
        statistic/df; a mean of 1 or less has none. pbkrtest uses the mean of the statistic itself
        for m, which agrees only for one degree of freedom. The χ² rows presume regular parameters;
        where a variance is tested, only ``PBtest`` holds.

        References
        ----------
        Halekoh, U. and Højsgaard, S. (2014). A Kenward–Roger approximation and parametric bootstrap
        methods for tests in linear mixed models. Journal of Statistical Software, 59(9).
        """
        stat, df = self.statistic, self.n_restrictions
        mean, variance = self.sample.mean(), self.sample.var(ddof=1) if len(self.sample) > 1 else 0
        with np.errstate(divide="ignore", invalid="ignore"):
            bartlett = df * stat / mean
            excess = mean / df - 1
            ddf = 2 * (mean / df) / excess if excess > 0 else np.nan
            gamma = special.gammaincc(mean**2 / variance, stat * mean / variance)
        rows = {
            "LRT": (stat, df, np.nan, float(chi2_tail(df, stat))),
            "PBtest": (stat, np.nan, np.nan, self.pvalue),
            "Gamma": (stat, np.nan, np.nan, gamma),
            "Bartlett": (bartlett, df, np.nan, float(chi2_tail(df, bartlett))),
            "F": (stat / df, df, ddf, float(f_tail(df, ddf, stat / df))),
        }
        columns = ["statistic", "df", "ddf", "pvalue"]
        return pd.DataFrame.from_dict(rows, orient="index", columns=columns, dtype=float)

    def summary(self) -> Summary:
        """The test, those reference distributions that hold, and the notes."""
        table = self.to_frame() if self.valid else self.to_frame().loc[["LRT", "PBtest"]]
        table = table.where(np.isfinite(table))
        table = table.rename(columns={"pvalue": "p-value"})
        variants = Table.of("Reference distributions", table, {"statistic": ".4f"}, default=".4g")
        test = super().summary().parts
        return Summary((*test[:2], variants, *test[2:]))


def parametric_bootstrap(
    small: Fit,
    large: Fit,
    *,
    nsim: int = 1000,
    rng: np.random.Generator | int | None = None,
    executor: Executor | None = None,
    progress: Progress = None,
    resume: BootstrapTest | None = None,
) -> BootstrapTest:
    """Test a smaller model against a larger one by simulating from the smaller.

    Responses are drawn from the fit `small`, both models are fitted to each, and the likelihood-
    ratio statistics make up the null distribution: for fixed effects, for variances, or for both.

    Parameters
    ----------
    small, large : LMMResult
        Nested fits to the same data by the same criterion; by ML if their fixed effects differ.
    nsim : int
        Number of replicates.
    rng : Generator, int or None
        Passed to `numpy.random.default_rng`. Each replicate has a random stream of its own, so the
        same `rng` gives the same replicates whatever draws and refits them, and the first k of n
        do not depend on n.
    executor : concurrent.futures.Executor, optional
        Threads, processes, or a cluster (Dask: ``client.get_executor()``).
    progress : bool, callable or None
        None shows a bar if stderr is a terminal and the run takes more than a few seconds, True
        always, False never; a callable receives (replicates drawn, nsim) now and then.
    resume : BootstrapTest, optional
        An earlier result for the same fits, to which replicates are added up to `nsim`; `rng` is
        then not used.

    Returns
    -------
    BootstrapTest
        p = (1 + #{T* ≥ T})/(nsim + 1). A keyboard interrupt leaves what was drawn by then, with a
        `BootstrapWarning`.

    Raises
    ------
    DataError
        If the models are not nested, are the same or swapped, or are not comparable; if `nsim` is
        not a positive whole number; or if `resume` is the result of other fits.
    BootstrapError
        If the executor or `progress` fails, or all replicates do; its ``result`` holds what was
        drawn, and can be resumed.

    References
    ----------
    Davison, A. C. and Hinkley, D. V. (1997). Bootstrap Methods and their Application. Cambridge
    University Press, chapter 4; Halekoh and Højsgaard (2014), see `BootstrapTest.to_frame`.

    Examples
    --------
    >>> import mmlib as mm
    >>> pulp = mm.load_dataset("pulp")
    >>> null = mm.lmm("bright ~ 1", pulp, reml=False)
    >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", pulp, reml=False)
    >>> test = mm.parametric_bootstrap(null, fit, nsim=2000, rng=1)
    >>> abs(test.pvalue - 0.0226) < 4 * test.mcse
    True
    """
    nsim = require_count("nsim", nsim)
    classical = lrt(small, large)
    with single_threaded():
        null, alternative = Refitter(small), Refitter(large)
    draws = draw(
        partial(_likelihood_ratios, small, null, alternative),
        nsim,
        chunk=min(null.chunk, alternative.chunk),
        rng=rng,
        executor=executor,
        progress=progress,
        resume=None if resume is None else earlier(resume, BootstrapTest).draws,
        origin=_origin(small, large),
    )
    tie = ROUNDING * (1 + abs(small.objective))
    return finished(_test(classical, draws, tie), draws)


def _likelihood_ratios(
    truth: Fit, small: Refitter, large: Refitter, seed: np.random.SeedSequence, part: range
) -> FloatArray:
    """Likelihood-ratio statistics of two models when the smaller one holds."""
    responses = draw_responses(truth.design, truth.truth, seed, part)
    return likelihood_ratios(small, large, responses, large(responses))


def _test(classical: LikelihoodRatioTest, draws: Draws, tie: float) -> BootstrapTest | None:
    everything = np.concatenate([np.zeros(0), *draws.in_order()])
    sample = everything[np.isfinite(everything)]
    if not len(sample):
        return None
    pvalue, mcse = simulated_pvalue(classical.statistic, sample, tie=tie)
    n_failed = len(everything) - len(sample)
    notes = [f"{len(sample)} replicates drawn from the smaller model."]
    if n_failed:
        notes.append(
            f"{n_failed} of {len(everything)} replicates failed, because a refit found no minimum; "
            "the p-value is that of the others."
        )
    if draws.drawn < draws.nsim:
        notes.append(f"Stopped early: {draws.nsim} replicates had been asked for.")
    if not classical.valid:
        notes.append(
            "The null hypothesis is on the boundary, where χ² is not valid: of the reference "
            "distributions only PBtest holds."
        )
    return BootstrapTest(
        method="Parametric bootstrap test",
        hypothesis=classical.hypothesis,
        valid=classical.valid,
        statistic_name=classical.statistic_name,
        statistic=classical.statistic,
        pvalue=float(pvalue),
        mcse=float(mcse),
        notes=tuple(notes),
        n_restrictions=int(classical.df[0]),
        sample=sample,
        nsim=len(everything),
        n_failed=n_failed,
        draws=draws,
    )


def draw_responses(
    design: Design, truth: Truth, seed: np.random.SeedSequence, part: range
) -> FloatArray:
    """The responses of some replicates, each from its own stream."""
    return responses_to(design, truth, normals(seed, part, n_spherical(design)))


def origin(what: str, designs: Iterable[Design], *arrays: FloatArray) -> str:
    """What tells the draws of these models from those of others: a digest of their arrays."""
    digest = hashlib.blake2b(what.encode(), digest_size=16)
    by_design = [
        [d.y, d.X, d.weights, d.offset, *(a for t in d.terms for a in (t.codes, t.model_matrix))]
        for d in designs
    ]
    for array in chain(*by_design, arrays):
        digest.update(b"none" if array is None else str(array.shape).encode() + array.tobytes())
    return digest.hexdigest()


def _origin(*fits: Fit) -> str:
    return origin(f"reml={[fit.reml for fit in fits]}", [fit.design for fit in fits])


# ---- any statistic --------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class BootstrapResult(Shown, Frozen):
    """Replicates of a statistic.

    Attributes
    ----------
    names : tuple of str
        Names of the k components of the statistic.
    observed : ndarray, shape (k,)
        The statistic of the fit itself.
    replicates : ndarray, shape (nsim − n_failed, k)
        The statistic of each refit; failed replicates are left out.
    nsim, n_failed : int
        Replicates drawn, and how many of them failed.
    first_error : str
        What the first failure said.
    draws
        What ``resume=`` needs.
    """

    names: tuple[str, ...]
    observed: FloatArray
    replicates: FloatArray
    nsim: int
    n_failed: int
    first_error: str
    draws: Draws

    @property
    def se(self) -> pd.Series:
        """Standard deviation of the replicates: the bootstrap's standard error."""
        if len(self.replicates) < 2:
            return self._series(np.full(len(self.names), np.nan), "se")
        return self._series(self.replicates.std(axis=0, ddof=1), "se")

    @property
    def bias(self) -> pd.Series:
        """Mean of the replicates less the observed value."""
        return self._series(self.replicates.mean(axis=0) - self.observed, "bias")

    def to_frame(self) -> pd.DataFrame:
        """The replicates.

        Returns
        -------
        DataFrame
            A row for each replicate, a column for each component.
        """
        return pd.DataFrame(self.replicates.copy(), columns=list(self.names))

    def confint(
        self,
        kind: Literal["percentile", "basic", "normal"] = "percentile",
        *,
        level: float = 0.95,
    ) -> pd.DataFrame:
        """Bootstrap confidence intervals.

        Parameters
        ----------
        kind : {"percentile", "basic", "normal"}
            Quantiles of the replicates; these mirrored at the observed value; or the observed value
            less the bias, ± a normal quantile times the standard error.
        level : float
            Nominal coverage, between 0 and 1.

        Returns
        -------
        DataFrame
            Columns ``lower`` and ``upper``, a row for each component.

        References
        ----------
        Davison and Hinkley (1997), Bootstrap Methods and their Application, chapter 5.
        """
        check_level(level)
        require_choice("kind", kind, ("percentile", "basic", "normal"))
        tails = np.array([1 - level, 1 + level]) / 2
        if kind == "normal":
            centre = self.observed - self.bias.to_numpy()
            limits = centre + np.outer(special.ndtri(tails), self.se.to_numpy())
        else:
            limits = np.quantile(self.replicates, tails, axis=0)
            if kind == "basic":
                limits = 2 * self.observed - limits[::-1]
        return pd.DataFrame(limits.T, index=list(self.names), columns=["lower", "upper"])

    def summary(self) -> Summary:
        """Observed value, bias, standard error and 95% percentile interval of each component."""
        lower, upper = self.confint().to_numpy().T
        columns = {"Observed": self.observed, "Bias": self.bias, "Std. Error": self.se}
        frame = pd.DataFrame({**columns, "2.5 %": lower, "97.5 %": upper}, index=list(self.names))
        table = Table.of("Parametric bootstrap", frame, default=".5g")
        return Summary((table, *self._notes()))

    def _notes(self) -> Iterator[str]:
        yield f"{len(self.replicates)} replicates; percentile intervals."
        if self.n_failed:
            yield (
                f"{self.n_failed} of {self.nsim} replicates failed and are left out; "
                f"the first said: {self.first_error}"
            )
        if self.draws.drawn < self.draws.nsim:
            yield f"Stopped early: {self.draws.nsim} replicates had been asked for."

    def _series(self, values: FloatArray, name: str) -> pd.Series:
        return pd.Series(values, index=list(self.names), name=name)


def bootstrap(
    fit: Fit,
    statistic: Statistic,
    *,
    nsim: int = 1000,
    rng: np.random.Generator | int | None = None,
    executor: Executor | None = None,
    progress: Progress = None,
    resume: BootstrapResult | None = None,
) -> BootstrapResult:
    """Parametric bootstrap of any statistic of a fit.

    Responses are drawn from the fit, random effects included; the model is fitted to each, and the
    statistic computed from each refit.

    Parameters
    ----------
    fit : LMMResult
    statistic : callable
        Takes a fit; returns a number, an array, a Series or a dict of numbers. With an executor
        that uses processes it must be a function of a module, not a lambda.
    nsim, rng, executor, progress
        As for `parametric_bootstrap`.
    resume : BootstrapResult, optional
        An earlier result for the same fit and statistic, to which replicates are added up to
        `nsim`.

    Returns
    -------
    BootstrapResult
        A replicate in which the statistic raises, or has a component that is not finite, counts as
        failed. A keyboard interrupt leaves what was drawn by then, with a `BootstrapWarning`.

    Raises
    ------
    DataError
        If the statistic cannot be computed from `fit` itself, `nsim` is not a positive whole
        number, or `resume` is the result of another fit or statistic.
    BootstrapError
        If the executor or `progress` fails, or all replicates do; its ``result`` holds what was
        drawn, and can be resumed.

    Examples
    --------
    >>> import mmlib as mm
    >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    >>> result = mm.bootstrap(fit, lambda refit: {"sigma": refit.sigma}, nsim=100, rng=1)
    >>> result.confint().shape
    (1, 2)
    """
    nsim = require_count("nsim", nsim)
    require_fit(fit)
    names, observed = _observed_statistic(fit, statistic)
    if resume is not None:
        before = earlier(resume, BootstrapResult)
        same = before.names == names
        if not (same and np.allclose(before.observed, observed, rtol=1e-6, atol=1e-12)):
            raise DataError(
                "resume= is the result of another fit or statistic: start anew without it."
            )
    with single_threaded():
        refitter = Refitter(fit)
    draws = draw(
        partial(_statistics, fit, refitter, statistic, names),
        nsim,
        chunk=min(refitter.chunk, MOST_STATISTICS),
        rng=rng,
        executor=executor,
        progress=progress,
        resume=None if resume is None else resume.draws,
        origin=_origin(fit),
    )
    values = [values for values, _ in draws.in_order()]
    messages = [message for _, message in draws.in_order() if message]
    first_error = messages[0] if messages else ""
    everything = np.concatenate([np.zeros((0, len(names))), *values])
    replicates = everything[np.isfinite(everything).all(axis=1)]
    result = None
    if len(replicates):
        n_failed = len(everything) - len(replicates)
        result = BootstrapResult(
            names, observed, replicates, len(everything), n_failed, first_error, draws
        )
    return finished(result, draws, first_error=first_error)


def _statistics(
    fit: Fit,
    refitter: Refitter,
    statistic: Statistic,
    names: tuple[str, ...],
    seed: np.random.SeedSequence,
    part: range,
) -> tuple[FloatArray, str]:
    """The statistics of some refits, NaN where one failed, and the first message."""
    responses = draw_responses(fit.design, fit.truth, seed, part)
    fits = refitter(responses)
    values = np.full((len(part), len(names)), np.nan)
    first_message = ""
    for row, y in enumerate(responses):
        try:
            if not np.isfinite(fits.objective[row]):
                raise DataError("the refit found no minimum.")
            values[row] = _values(statistic(refitted(fit, y, fits, row)), names)
        except Exception as error:  # noqa: BLE001  the statistic is the user's
            first_message = first_message or f"{type(error).__name__}: {error}"
    return values, first_message


def _values(value: Any, wanted: tuple[str, ...]) -> FloatArray:
    """What the statistic of a refit says of the components of that of the fit."""
    names, values = _named(value)
    if names != wanted:
        raise DataError(f"the statistic has other components than that of the fit: {names}.")
    if not np.isfinite(values).all():
        raise DataError("the statistic has a component that is not finite.")
    return values


def _observed_statistic(fit: Fit, statistic: Statistic) -> tuple[tuple[str, ...], FloatArray]:
    if not callable(statistic):
        raise DataError(f"statistic must be a function of a fit, not {statistic!r}.")
    try:
        value = statistic(fit)
    except Exception as error:
        raise DataError(
            f"the statistic cannot be computed from the fit itself: {type(error).__name__}: {error}"
        ) from error
    names, observed = _named(value)
    if not np.isfinite(observed).all():
        bad = [name for name, v in zip(names, observed, strict=True) if not np.isfinite(v)]
        raise DataError(f"the statistic of the fit itself is not finite: {', '.join(bad)}.")
    return names, observed


def _named(value: Any) -> tuple[tuple[str, ...], FloatArray]:
    """Names and values of what a statistic returns."""
    if isinstance(value, Mapping):
        value = pd.Series(dict(value))
    try:
        numbers = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise DataError(
            f"the statistic must return numbers, not {type(value).__name__}: a number, an array, "
            "a Series or a dict of numbers."
        ) from None
    if numbers.size == 0:
        raise DataError("the statistic returns no number.")
    if isinstance(value, pd.Series):
        return tuple(map(str, value.index)), numbers
    if numbers.ndim == 0:
        return ("statistic",), numbers.reshape(1)
    places = np.ndindex(numbers.shape)
    return tuple(f"[{', '.join(map(str, place))}]" for place in places), numbers.ravel()
