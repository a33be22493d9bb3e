"""Fit a linear mixed model; the result, and all that can be asked of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, Unpack, overload

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
from mmlib.inference.robust import Robust
from mmlib.inference.robust import vcov as robust_vcov
from mmlib.results.coefficients import coefficients
from mmlib.results.diagnostics import Influence, influence, leverage, residuals
from mmlib.results.display import Shown, Summary
from mmlib.results.effect_sizes import icc, icc_by_group, r2
from mmlib.results.estimates import Fit
from mmlib.results.predict import Interval, Missing, NewLevels, Random, predict
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

    def coef_table(
        self,
        *,
        ddf: Ddf | None = None,
        level: float | None = None,
        robust: Robust | None = None,
        cluster: str | None = None,
    ) -> pd.DataFrame:
        """Estimate, standard error and t value of each fixed effect.

        Parameters
        ----------
        ddf : {"kenward-roger", "satterthwaite"}, optional
            Adds t tests with these degrees of freedom. With ``"kenward-roger"`` the standard errors
            are the adjusted ones.
        level : float, optional
            Adds the limits of a confidence interval with this coverage: by the t distribution where
            there are degrees of freedom, otherwise by the normal one.
        robust : {"CR0", "CR1", "CR1p", "CR2", "CR3"}, optional
            Standard errors that hold whatever the variance within clusters is, with degrees of
            freedom after Pustejovsky and Tipton. ``"CR2"`` is the one to use with few clusters.
        cluster : str, optional
            With `robust`, which rows belong together: as for `vcov`.

        Returns
        -------
        DataFrame
            Columns ``Estimate, Std. Error, t value``; with degrees of freedom ``Estimate, Std.
            Error, df, t value, Pr(>|t|)``; with `level` also ``lower, upper``.

        Raises
        ------
        DataError
            If `ddf` is another value, or goes with `robust`; if ``"kenward-roger"`` is asked of a
            fit by maximum likelihood; if `level` is not between 0 and 1; or as `vcov`.

        Examples
        --------
        >>> import mmlib as mm
        >>> fit = mm.lmm("yield ~ treat + (1 | blend)", mm.load_dataset("penicillin"))
        >>> fit.coef_table(ddf="kenward-roger").loc["treat[T.C]"].round(4).tolist()
        [5.0, 2.7447, 12.0, 1.8217, 0.0935]
        >>> fit.coef_table(ddf="kenward-roger", level=0.95)[["lower", "upper"]].round(2).iloc[
        ...     2
        ... ].tolist()
        [-0.98, 10.98]
        """
        return coef_table(self, ddf=ddf, level=level, robust=robust, cluster=cluster)

    def vcov(self, kind: Robust | None = None, *, cluster: str | None = None) -> pd.DataFrame:
        """Covariance matrix of the fixed effects: σ²(XᵀV⁻¹X)⁻¹, or a cluster-robust one.

        Parameters
        ----------
        kind : {"CR0", "CR1", "CR1p", "CR2", "CR3"}, optional
            By default the model's own covariance, given θ. The others hold even where the model's
            variances are wrong, as long as rows of different clusters are independent: without
            correction, times m/(m − 1) or m/(m − p) for m clusters, unbiased if the model is right
            (the one to use with few clusters), and close to the jackknife.
        cluster : str, optional
            A grouping, or a column that the model uses, such that every level of every grouping
            lies in one cluster. By default the grouping that holds all the others.

        Returns
        -------
        DataFrame, shape (p, p)
            A robust one has NaN for coefficients that the rows of one cluster alone determine.

        Raises
        ------
        DataError
            If `kind` is another value, or `cluster` is unknown or shares levels of a grouping with
            another cluster.

        References
        ----------
        Pustejovsky & Tipton (2018), Journal of Business & Economic Statistics 36, 672–683,
        doi:10.1080/07350015.2016.1247004.

        Examples
        --------
        >>> import mmlib as mm
        >>> fit = mm.lmm("Reaction ~ Days + (1 | Subject)", mm.load_dataset("sleepstudy"))
        >>> robust = fit.vcov("CR2").loc["Days", "Days"] ** 0.5
        >>> round(float(robust), 4), round(float(fit.vcov().loc["Days", "Days"] ** 0.5), 4)
        (1.5458, 0.8042)
        """
        if kind is None:
            if cluster is not None:
                raise DataError("cluster= belongs to a robust kind: vcov('CR2', cluster=...).")
            return super().vcov()
        return robust_vcov(self, kind, cluster)

    def coef(self, *, level: float = 0.95) -> dict[str, pd.DataFrame]:
        """Coefficients of each group: fixed effects plus the group's own.

        Parameters
        ----------
        level : float
            Nominal coverage, between 0 and 1.

        Returns
        -------
        dict
            For each grouping a table with a row for each level and coefficient, and columns
            ``estimate, se, lower, upper``. ``table["estimate"].unstack()`` has a row for each
            level. A coefficient that the fixed part lacks is the group's own alone; one that does
            not vary is the fixed effect.

        Notes
        -----
        The standard error counts the errors of β̂ and of the conditional modes together, from their
        joint covariance; adding the two variances would be wrong, as the errors are correlated. θ
        and σ are taken as known, and the quantiles are normal, as in `predict`.

        References
        ----------
        Henderson (1975), Biometrics 31, 423–447, doi:10.2307/2529430.

        Examples
        --------
        >>> import mmlib as mm
        >>> fit = mm.lmm("Reaction ~ Days + (Days | Subject)", mm.load_dataset("sleepstudy"))
        >>> fit.coef()["Subject"].round(2).head(2)
                             estimate     se   lower   upper
        Subject coefficient
        308     Intercept      253.66  12.25  229.64  277.68
                Days            19.67   2.34   15.09   24.25
        """
        return coefficients(self, level=level)

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
        statistic = icc_by_group if by_group else icc
        return with_interval(self, statistic, level, **boot)

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

    def glance(self) -> pd.DataFrame:
        """The fit in one row, with the columns of R's broom.mixed.

        Returns
        -------
        DataFrame
            Columns ``nobs, sigma, logLik, AIC, BIC``, then ``REMLcrit`` or ``deviance``, and
            ``df.residual``.

        Examples
        --------
        >>> import mmlib as mm
        >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
        >>> fit.glance().round(3).to_numpy().tolist()
        [[20.0, 0.326, -9.313, 24.626, 27.613, 18.626, 17.0]]
        """
        return glance(self)

    def confint(
        self,
        method: Literal["profile", "wald", "boot"] = "profile",
        *,
        level: float = 0.95,
        parameters: str | Sequence[str] | None = None,
        ddf: Ddf | None = None,
        **boot: Unpack[BootOptions],
    ) -> pd.DataFrame:
        """Confidence intervals of the parameters.

        Parameters
        ----------
        method : {"profile", "wald", "boot"}
            Profile likelihood, of the fit by maximum likelihood, whatever this one is. Or estimate
            ± quantile × standard error, for variances and correlations on a scale without bounds
            (see the notes). Or a parametric bootstrap of this fit, by its own criterion.
        level : float
            Nominal coverage, between 0 and 1.
        parameters : str or sequence of str, optional
            Names, by default all: ``sd_<column>|<group>``, ``cor_<column>.<column>|<group>``,
            ``sigma``, and fixed effects; with structure also ``sd_<structure>|<group>``,
            ``cor_<structure>|<group>``, ``residual_ratio_<level>|<column>`` and
            ``residual_cor|<group>``, of visits ``residual_cor_<visit>.<visit>|<group>``. With
            ``"wald"`` the fixed effects alone unless covariances have structure, as in lme4: the
            variances of any fit are there when named.
        ddf : {"kenward-roger", "satterthwaite"}, optional
            With ``"wald"``, take the quantile of t with these degrees of freedom (and, for the
            first, the adjusted standard error); by default the normal quantile, as lme4 does.
        **boot
            With ``"boot"``: ``nsim``, ``rng``, ``executor``, ``progress`` and ``resume`` as for
            `bootstrap`, and ``kind`` as for `BootstrapResult.confint`. An interrupted run gives the
            intervals of the replicates drawn until then, with a `BootstrapWarning`.

        Returns
        -------
        DataFrame
            Columns ``lower`` and ``upper``, a row for each parameter, in the parameter's unit.

        Raises
        ------
        DataError
            If the method, a parameter or the level is not valid, or an option belongs to another
            method.
        BootstrapError
            If the bootstrap cannot be finished; its ``result`` can be resumed.

        Notes
        -----
        Wald intervals take standard deviations and their ratios by the logarithm, a correlation ρ
        between l and h by log((ρ − l)/(h − ρ)), twice Fisher's z where these are ±1; standard
        errors are from the observed information of the fit's own criterion, as nlme's
        ``intervals``. What is estimated at its bound is NaN, and is held there for the others.
        Prefer the profile where a variance may be zero.

        References
        ----------
        Bates, Mächler, Bolker & Walker (2015), Journal of Statistical Software 67(1), section 5.1;
        Pinheiro & Bates (2000), Mixed-Effects Models in S and S-PLUS, section 2.4;
        Davison & Hinkley (1997), Bootstrap Methods and their Application, chapter 5.

        Examples
        --------
        >>> import mmlib as mm
        >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
        >>> fit.confint().round(3)
                               lower   upper
        sd_Intercept|operator  0.000   0.618
        sigma                  0.239   0.482
        Intercept             60.071  60.729
        >>> fit.confint("wald", ddf="satterthwaite").round(3).to_numpy().tolist()
        [[59.925, 60.875]]
        >>> fit.confint("wald", parameters="sigma").round(3).to_numpy().tolist()
        [[0.231, 0.46]]
        """
        return confint(self, method, level=level, parameters=parameters, ddf=ddf, **boot)

    def unpooled(self) -> dict[str, pd.DataFrame]:
        """Estimate the effects of each level by least squares from its own rows alone.

        This is what the conditional modes are shrunk from: level j of a grouping has modes ``W_j
        A_j`` times its unpooled effects, with β and the other groupings' effects as the fit has
        them. In the balanced one-way layout they are ȳ_i − ȳ.

        Returns
        -------
        dict
            For each grouping a table like that of `LMMResult.ranef`; NaN for a level whose own rows
            cannot tell its effects apart.

        Examples
        --------
        >>> import mmlib as mm
        >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
        >>> ratio = fit.unpooled()["operator"] / fit.ranef()["operator"]
        >>> round(float(ratio.loc["a", "Intercept"]), 4)
        1.3121
        """
        return unpooled(self)

    def residuals(
        self,
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
        return residuals(self, kind, scaled=scaled)

    def leverage(self) -> pd.Series:
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
        return leverage(self)

    def influence(self, *, group: str | Sequence[str] | None = None) -> Influence:
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
        return influence(self, group=group)

    @overload
    def predict(
        self,
        new: pd.DataFrame | None = None,
        *,
        new_levels: NewLevels = "error",
        interval: None = None,
        level: float = 0.95,
        random: Random = None,
        missing: Missing = "error",
    ) -> pd.Series: ...

    @overload
    def predict(
        self,
        new: pd.DataFrame | None = None,
        *,
        new_levels: NewLevels = "error",
        interval: Interval,
        level: float = 0.95,
        random: Random = None,
        missing: Missing = "error",
    ) -> pd.DataFrame: ...

    @by_our_words
    def predict(
        self,
        new: pd.DataFrame | None = None,
        *,
        new_levels: NewLevels = "error",
        interval: Interval | None = None,
        level: float = 0.95,
        random: Random = None,
        missing: Missing = "error",
    ) -> pd.Series | pd.DataFrame:
        """Predict the mean of y for each row of `new`: xᵀβ̂ + zᵀb̂.

        For a level that the fit knows, b̂ is its conditional mode (the BLUP). For a level it does
        not know, the best prediction of b is its mean, zero: the population mean.

        Parameters
        ----------
        new : DataFrame, optional
            The columns that the formula uses, the response excepted; by default the data of the
            fit. Transformations and codings are those of the fit.
        new_levels : {"error", "population"}
            What to do with a level of a grouping that the fit has not seen, or that is missing.
        interval : {"confidence", "prediction"}, optional
            A confidence interval is for the mean xᵀβ + zᵀb of known levels, for the population mean
            xᵀβ of new ones; it includes the errors of β̂ and, for known levels, of b̂. A prediction
            interval is for a new observation: it adds the variance of its residual (σ²/w for the
            rows of the fit, σ² for others) and of the effects of a new level. Both take θ and σ as
            known and use normal quantiles, which is too short where a variance rests on few levels.
        level : float
            Nominal coverage, between 0 and 1.
        random : str, sequence of str, or False, optional
            The groupings whose conditional modes count: by default all, with False none. One that
            does not count is treated as a new level in every row, and its columns need not be in
            `new` (but for a prediction interval, which counts their variance).
        missing : {"error", "nan"}
            What to do with a row that has a missing value, or whose mean cannot be estimated, such
            as that of a cell never observed: refuse all rows, or give this one NaN.

        Returns
        -------
        Series, or with an interval DataFrame, indexed as the rows
            Columns ``predicted, se, lower, upper``; ``.attrs["includes"]`` says which errors ``se``
            includes.

        Raises
        ------
        DataError
            If a column is missing from `new`, a fixed-effect column has a missing value, a level
            the fit has not seen or a value outside a spline's range, or (with
            ``new_levels="error"``) a grouping has an unknown level. Levels that are text on one
            side and numbers on the other are matched if written alike (``"7"`` and 7), and refused
            if they only have the same value (``"007"``).
        RankError
            If the mean of a row cannot be estimated because columns were left out of the fit.

        Examples
        --------
        >>> import mmlib as mm, pandas as pd
        >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
        >>> new = pd.DataFrame({"operator": ["a", "e"]})
        >>> fit.predict(new, new_levels="population", interval="prediction").round(4)
           predicted      se    lower    upper
        0    60.2781  0.3517  59.5887  60.9674
        1    60.4000  0.4435  59.5308  61.2692
        """
        return predict(
            self,
            new,
            new_levels=new_levels,
            interval=interval,
            level=level,
            random=random,
            missing=missing,
        )

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
