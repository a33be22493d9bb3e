"""Fit a linear mixed model; the result, and all that can be asked of it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn, Unpack, overload

import pandas as pd
from numpy.typing import ArrayLike

from mmlib.design.build import build_design
from mmlib.design.formula import MixedFormula
from mmlib.design.parts import Parts, design_of_parts, refuse_structure
from mmlib.design.words import by_our_words, no_attribute
from mmlib.engine.blocks import Blocks
from mmlib.engine.factor import Factor
from mmlib.engine.parts import BlocksOfParts, slim_blocks
from mmlib.engine.progress import Progress
from mmlib.engine.threads import single_threaded
from mmlib.errors import DataError, DataWarning, warn
from mmlib.inference.coef_table import coef_table
from mmlib.inference.confint import BootOptions, confint, with_interval
from mmlib.inference.ddf import Ddf
from mmlib.inference.robust import vcov
from mmlib.results.coefficients import coefficients
from mmlib.results.diagnostics import influence, leverage, residuals
from mmlib.results.display import Shown, Summary
from mmlib.results.effect_sizes import icc, r2
from mmlib.results.estimates import Fit
from mmlib.results.predict import predict
from mmlib.results.summary import residual_quantiles, summarize
from mmlib.results.tidy import glance, tidy
from mmlib.results.unpooled import unpooled


@by_our_words
def lmm(
    formula: str | MixedFormula,
    data: pd.DataFrame,
    *,
    reml: bool = True,
    weights: str | ArrayLike | None = None,
    offset: str | ArrayLike | None = None,
    sigma: float | None = None,
    dispersion: str | None = None,
    residual: str | None = None,
    progress: Progress = None,
) -> LMMResult:
    """Fit a linear mixed model by REML or maximum likelihood.

    Parameters
    ----------
    formula : str or MixedFormula
        ``"y ~ fixed + (expr | group)"`` in lme4's notation; without a random term the model is an
        ordinary linear one. Terms between which variance could be moved without any change in the
        fit, such as ``(1 | g) + (x | g)``, are refused. Write a name that is not a plain identifier
        in backticks, ``y ~ `dose (mg)```. A random term may have a structure, as ``ar1(0 + visit |
        g)``. The notes list the structures and what may be computed.
    data : DataFrame
        One row for each observation. Text, categories and flags (true or false) are factors, the
        levels of text in the order of code points. Rows with missing values are left out, and
        columns of the fixed part that depend on those before them; both with a `DataWarning`.
        Frames of polars and Arrow, and dicts of columns, are converted. Data larger than memory can
        come in parts: a list of frames, an iterator, a function that makes an iterator, an Arrow
        data set, or partitions of Dask, which are summed where they are. The fit is the same, but
        keeps no rows and refuses by name what needs them.
    reml : bool, default True
        Restricted maximum likelihood; ``False`` for maximum likelihood.
    weights, offset : column name or array, shape (rows of `data`,), optional
        Residual variance σ²/w, and a known part of the mean.
    sigma : float, optional
        The residual standard deviation, if it is known. With ``sigma=1`` and weights 1/se² the
        model is that of a meta-analysis: ``y`` has known standard errors.
    dispersion : column name, optional
        A residual variance for each level of this column: σ² is that of the first level, and the
        others' standard deviations are reported relative to it.
    residual : str, optional
        Correlation of the residuals of each subject: ``"ar1(time | id)"`` for whole times, gaps
        included, ``"car1(time | id)"`` for any, ``"cs(id)"``, ``"symm(visit | id)"`` (any
        correlations) or ``"us(visit | id)"`` (any variances and correlations, an MMRM). A random
        term is not needed beside it; its levels must hold each subject as a whole.
    progress : bool, callable or None
        None shows a counter if stderr is a terminal and the search takes more than a few seconds,
        True always, False never; a callable receives the number of evaluations so far and the last
        objective.

    Returns
    -------
    LMMResult

    Raises
    ------
    FormulaError, DataError, RankError
        If the model cannot be fitted to these data; the message names the culprit.

    Warns
    -----
    DataWarning, ConvergenceWarning
        If rows or columns were left out, or the optimiser stopped early.

    Notes
    -----
    A formula can compute only this: arithmetic, comparisons, ``&``, ``|`` and ``~``; every
    elementwise function of numpy (``np.sqrt(x)``, ``np.where(x > 3, x, 3)``, ``np.isin``,
    ``np.clip``, ``np.round``); ``x.abs()``, ``x.round(1)``, ``x.clip(0, 5)``, ``x.between(1, 3)``
    and ``x.isin([1, 2])``; ``log``, ``exp``, ``I``; ``C`` with contrasts; and ``center``,
    ``scale``, ``standardize``, ``poly``, ``bs``, ``cr`` and ``cc``, which remember for new data
    what they found in the rows of the fit (R: in all rows where the column is not missing, also if
    they are left out). What depends on other rows, such as ``x - x.mean()``, is refused: for new
    rows it would differ. Arithmetic is in 64-bit floats; a flag counts as 0 or 1.

    Structures of a random term are those of lme4 and glmmTMB: ``us``, the default, ``diag`` (no
    correlations), ``cs`` (one correlation), ``homcs`` (and one variance), ``ar1`` (the correlation
    ρ of neighbouring levels, ρ² of the next but one; one variance) and ``hetar1`` (a variance for
    each level). For such a term ``theta`` holds the relative standard deviations, then ρ; the
    parameters of the residuals come last, ratios before correlations.

    References
    ----------
    Bates, Mächler, Bolker & Walker (2015), Journal of Statistical Software 67(1),
    doi:10.18637/jss.v067.i01.

    Examples
    --------
    >>> import mmlib as mm
    >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    >>> round(fit.sigma**2, 5)
    0.10625
    >>> children = mm.load_dataset("orthodont")
    >>> by_sex = mm.lmm("distance ~ age * Sex + (1 | Subject)", children, dispersion="Sex")
    >>> round(by_sex.varcorr().sd("Residual", "Female") / by_sex.sigma, 4)
    0.4679
    """
    options: dict[str, Any] = {"weights": weights, "offset": offset, "sigma": sigma}
    structure: dict[str, Any] = {"dispersion": dispersion, "residual": residual}
    blocks: Blocks | None = None
    if Parts.can_be(data):
        refuse_structure(formula, **structure)
        with Parts(data) as parts, single_threaded():
            blocks = BlocksOfParts(design_of_parts(formula, parts, **options), parts)
    design = blocks.design if blocks else build_design(formula, data, **options, **structure)
    for loss in design.losses:
        warn(loss, DataWarning)
    with single_threaded():
        return LMMResult.of(blocks or Blocks(design), reml=reml, progress=progress)


@dataclass(frozen=True, eq=False, repr=False)
class LMMResult(Shown, Fit):
    """A fitted linear mixed model, ``y = Xβ + Zb + ε`` with b = Λ_θ u, u and ε normal.

    Attributes
    ----------
    reml : bool
        Whether the fit is by REML.
    optimum : Optimum
        How the minimum was found.
    """

    # What these take, and say, stands beside what they compute.
    coef_table = coef_table
    coef = coefficients
    vcov = vcov
    confint = confint
    predict = predict
    residuals = residuals
    leverage = leverage
    influence = influence
    unpooled = unpooled
    glance = glance

    @overload
    def r2(self, *, level: None = None) -> pd.Series: ...

    @overload
    def r2(self, *, level: float, **boot: Unpack[BootOptions]) -> pd.DataFrame: ...

    def r2(
        self, *, level: float | None = None, **boot: Unpack[BootOptions]
    ) -> pd.Series | pd.DataFrame:
        """Share of the variance that is explained: by the fixed effects, and by all effects.

        Parameters
        ----------
        level : float, optional
            Adds a parametric bootstrap interval with this coverage.
        **boot
            With `level`: ``nsim``, ``rng``, ``executor``, ``progress`` as for `bootstrap`, and
            ``kind`` as for `BootstrapResult.confint`.

        Returns
        -------
        Series ``marginal, conditional``, or with `level` DataFrame ``estimate, lower, upper``

        Notes
        -----
        The variance of the random effects is averaged over the rows, random slopes included. With
        prior weights so is that of the residual, σ²/w: the unit of the weights does not matter.
        (R's performance takes σ², and leaves out the slopes of ``(x || g)``.)

        References
        ----------
        Nakagawa & Schielzeth (2013), Methods in Ecology and Evolution 4, 133–142,
        doi:10.1111/j.2041-210x.2012.00261.x; Johnson (2014), ibid. 5, 944–946,
        doi:10.1111/2041-210X.12225.

        Examples
        --------
        >>> import mmlib as mm
        >>> fit = mm.lmm("Reaction ~ Days + (Days | Subject)", mm.load_dataset("sleepstudy"))
        >>> fit.r2().round(4).to_dict()
        {'marginal': 0.2786, 'conditional': 0.7992}
        """
        return with_interval(self, r2, level, **boot)

    @overload
    def icc(self, *, by_group: bool = False, level: None = None) -> pd.Series: ...

    @overload
    def icc(
        self, *, by_group: bool = False, level: float, **boot: Unpack[BootOptions]
    ) -> pd.DataFrame: ...

    def icc(
        self,
        *,
        by_group: bool = False,
        level: float | None = None,
        **boot: Unpack[BootOptions],
    ) -> pd.Series | pd.DataFrame:
        """Intraclass correlation: the groups' share of the variance beside the fixed effects.

        Parameters
        ----------
        by_group : bool, default False
            One (adjusted) correlation for each grouping; they add up to the overall one.
        level, **boot
            As for `r2`.

        Returns
        -------
        Series ``adjusted, unadjusted``, or with `level` DataFrame ``estimate, lower, upper``
            The unadjusted one counts the variance of the fixed effects in the total. With
            `by_group`, an entry or row for each grouping instead.

        Raises
        ------
        DataError
            If the fit has no random term.

        Notes
        -----
        A grouping's variance is that of all its effects, averaged over the rows as in `r2`. (R's
        performance takes that of the intercept alone, at zero of the covariates, which may exceed
        the whole.)

        References
        ----------
        As for `r2`.

        Examples
        --------
        >>> import mmlib as mm
        >>> fit = mm.lmm("strength ~ 1 + (1 | batch/cask)", mm.load_dataset("pastes"))
        >>> fit.icc(by_group=True).round(4).to_dict()
        {'batch:cask': 0.7831, 'batch': 0.1539}
        """
        return with_interval(self, partial(icc, by_group=by_group), level, **boot)

    def tidy(self, *, ddf: Ddf | None = None, level: float | None = None) -> pd.DataFrame:
        """All parameters in one plain table, with the columns of R's broom.mixed.

        Parameters
        ----------
        ddf, level
            As for `coef_table`; the limits are those of the fixed effects.

        Returns
        -------
        DataFrame
            Columns ``effect`` (``"fixed"`` or ``"ran_pars"``), ``group, term, estimate, std.error,
            statistic``, with `ddf` also ``df, p.value``, with `level` ``conf.low, conf.high``.
            Residuals with structure have a row for each ratio of standard deviations to that of the
            first level or visit, ``ratio__<level>``, and for each correlation.

        Examples
        --------
        >>> import mmlib as mm
        >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
        >>> fit.tidy()[["effect", "group", "term", "estimate"]].round(3)
             effect     group             term  estimate
        0     fixed       NaN        Intercept    60.400
        1  ran_pars  operator    sd__Intercept     0.261
        2  ran_pars  Residual  sd__Observation     0.326
        """
        return tidy(self, self.coef_table(ddf=ddf, level=level))

    def summary(self, *, ddf: Ddf | None = None, level: float | None = None) -> Summary:
        """What the fit says, in lme4's order; text when printed, HTML in a notebook.

        Parameters
        ----------
        ddf, level
            As for `coef_table`: degrees of freedom with p-values, and limits of the coefficients.

        Returns
        -------
        Summary

        Examples
        --------
        >>> import mmlib as mm
        >>> fit = mm.lmm("yield ~ treat + (1 | blend)", mm.load_dataset("penicillin"))
        >>> print(fit.summary(ddf="kenward-roger").parts[-2].to_text())
        Fixed effects (degrees of freedom by Kenward and Roger):
                    Estimate Std. Error    df t value  Pr(>|t|)
         Intercept    84.000      2.475 11.07  33.941 1.511e-12
         treat[T.B]    1.000      2.745 12.00   0.364    0.7219
         treat[T.C]    5.000      2.745 12.00   1.822   0.09351
         treat[T.D]    2.000      2.745 12.00   0.729    0.4802
        """
        return summarize(self, self.coef_table(ddf=ddf, level=level), ddf)

    def slim(self) -> LMMResult:
        """The fit without its data: it predicts, tests and prints, and needs kilobytes.

        Returns
        -------
        LMMResult
            With the same estimates and summary, predictions for new data, tests, marginal means and
            contrasts. What needs the rows, such as residuals, influence, profiles, simulation,
            comparison with other fits, or tests where residuals have a structure, is refused by
            name.

        Raises
        ------
        DataError
            If variances are so far apart that the fit rests on the rows themselves.

        Notes
        -----
        It keeps sums over the rows, the labels of the levels and the combinations of factors that
        occur; where a level has one row, these can reveal its values: think before passing it on.
        `mmlib.save` writes it to a file.

        Examples
        --------
        >>> import mmlib as mm, pickle
        >>> fit = mm.lmm("Reaction ~ Days + (Days | Subject)", mm.load_dataset("sleepstudy"))
        >>> slim = fit.slim()
        >>> mm.kenward_roger(slim, "Days").pvalue == mm.kenward_roger(fit, "Days").pvalue
        True
        >>> slim.resid
        Traceback (most recent call last):
        ...
        mmlib.errors.DataError: the fit is slim: its rows are gone, and this needs the ...
        """
        if not self.design.has_rows:
            return self
        optimum, factor = self.optimum, self.optimum.factor
        if factor.reduced is not None:
            raise DataError(
                "the variances of the fit are so far apart that its numbers rest on the rows "
                "themselves; it cannot be without them. Use mmlib.save."
            )
        with single_threaded():
            blocks = slim_blocks(factor.blocks, residual_quantiles(self))
            lighter = dataclasses.replace(optimum, factor=Factor(blocks, factor.templates))
        return LMMResult(reml=self.reml, optimum=lighter)

    def __getattr__(self, name: str) -> NoReturn:
        """Answer what other packages call an attribute with its name here."""
        raise no_attribute(name, (own for own in dir(type(self)) if own[0] != "_"))
