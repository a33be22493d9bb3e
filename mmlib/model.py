"""Fit a linear mixed model; the result, and all that can be asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Unpack, overload

import pandas as pd
from numpy.typing import ArrayLike

from mmlib.design.build import build_design
from mmlib.design.formula import MixedFormula
from mmlib.engine.blocks import Blocks
from mmlib.engine.threads import single_threaded
from mmlib.inference.anova import Ddf, coef_table
from mmlib.inference.confint import BootOptions, confint
from mmlib.results.display import Summary
from mmlib.results.fit import Fit
from mmlib.results.influence import Influence, influence, leverage, residuals
from mmlib.results.predict import Interval, NewLevels, Random, predict
from mmlib.results.summary import summarize
from mmlib.results.unpooled import unpooled


def lmm(
    formula: str | MixedFormula,
    data: pd.DataFrame,
    *,
    reml: bool = True,
    weights: str | ArrayLike | None = None,
    offset: str | ArrayLike | None = None,
) -> LMMResult:
    """Fit a linear mixed model by REML or maximum likelihood.

    Parameters
    ----------
    formula : str
        ``"y ~ fixed + (expr | group)"`` in lme4's notation; without a random term the model is an
        ordinary linear one. An effect varies by a grouping in one term only: ``(1 | g) + (x | g)``
        is refused, as only the sum of the two variances of the intercept could be estimated.
    data : DataFrame
        One row for each observation. Rows with missing values are left out and counted.
    reml : bool, default True
        Restricted maximum likelihood; ``False`` for maximum likelihood.
    weights, offset : column name or array, shape (rows of `data`,), optional
        Residual variance σ²/w, and a known part of the mean.

    Returns
    -------
    LMMResult

    Raises
    ------
    FormulaError, DataError, RankError
        If the model cannot be fitted to these data; the message names the culprit.

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
    """
    design = build_design(formula, data, weights=weights, offset=offset)
    with single_threaded():
        return LMMResult.of(design, Blocks(design), reml=reml)


@dataclass(frozen=True, eq=False, repr=False)
class LMMResult(Fit):
    """A fitted linear mixed model, ``y = Xβ + Zb + ε`` with b = Λ_θ u, u and ε normal.

    Attributes
    ----------
    design : Design
        The arrays that the formula made of the data.
    blocks : Blocks
        Their cross-products.
    reml : bool
        Whether the fit is by REML.
    optimum : Optimum
        How the minimum was found.
    """

    def coef_table(self, *, ddf: Ddf | None = None) -> pd.DataFrame:
        """Estimate, standard error and t value of each fixed effect.

        Parameters
        ----------
        ddf : {"kenward-roger", "satterthwaite"}, optional
            Adds t tests with these degrees of freedom. With ``"kenward-roger"`` the standard errors
            are the adjusted ones.

        Returns
        -------
        DataFrame
            Columns ``Estimate, Std. Error, t value``; with `ddf` ``Estimate, Std. Error, df,
            t value, Pr(>|t|)``.

        Raises
        ------
        DataError
            If `ddf` is another value, or ``"kenward-roger"`` is asked of a fit by maximum
            likelihood.

        Examples
        --------
        >>> import mmlib as mm
        >>> fit = mm.lmm("yield ~ treat + (1 | blend)", mm.load_dataset("penicillin"))
        >>> fit.coef_table(ddf="kenward-roger").loc["treat[T.C]"].round(4).tolist()
        [5.0, 2.7447, 12.0, 1.8217, 0.0935]
        """
        return coef_table(self, ddf=ddf)

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
            Profile likelihood, of the fit by maximum likelihood, whatever `fit` is. Or estimate ±
            quantile × standard error, for fixed effects only: the estimate of a variance is far
            from normal. Or a parametric bootstrap of `fit`, by its own criterion.
        level : float
            Coverage aimed at, between 0 and 1.
        parameters : str or sequence of str, optional
            Names, by default all: ``sd_<column>|<group>``, ``cor_<column>.<column>|<group>``,
            ``sigma``, and fixed effects.
        ddf : {"kenward-roger", "satterthwaite"}, optional
            With ``"wald"``, take the quantile of t with these degrees of freedom (and, for the
            first, the adjusted standard error); by default the normal quantile, as lme4 does.
        **boot
            With ``"boot"``: `nsim`, `rng`, `executor`, `progress` and `resume` of
            `mmlib.bootstrap`, and the `kind` of `BootstrapResult.confint`. An interrupted run gives
            the intervals of the replicates drawn until then, with a `BootstrapWarning`.

        Returns
        -------
        DataFrame
            Columns ``lower`` and ``upper``, a row for each parameter, in the parameter's unit.

        Raises
        ------
        DataError
            If the method, a parameter or the level is not one of those, or an option belongs to
            another method.
        BootstrapError
            If the bootstrap cannot be finished; its ``result`` can be resumed.

        References
        ----------
        Bates, Mächler, Bolker & Walker (2015), Journal of Statistical Software 67(1), section 5.1;
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
            For each grouping a table like that of `LMMResult.ranef`; a level whose own rows cannot
            tell its effects apart has nan.

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
        scaled: Literal["pearson", "standardized"] | None = None,
    ) -> pd.Series:
        """Residuals of a fit.

        Parameters
        ----------
        kind : {"conditional", "marginal"}
            y − Xβ̂ − Zb̂, which estimates ε; or y − Xβ̂, which estimates Zb + ε. An offset counts
            with Xβ̂.
        scaled : {"pearson", "standardized"}, optional
            By default in the units of y. ``"pearson"`` divides by the standard deviation of what is
            estimated: σ/√w, or for marginal residuals √Var(y_i). ``"standardized"`` divides by the
            standard deviation of the residual itself, which is smaller, for the fit follows the
            data: σ√(1 − h)/√w with leverage h, or √(Var(y_i) − Var(x_iᵀβ̂)). A residual that cannot
            vary has nan.

        Returns
        -------
        Series, shape (n,)

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

        Examples
        --------
        >>> import mmlib as mm
        >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
        >>> round(float(fit.leverage().sum()), 4)
        3.2864
        """
        return leverage(self)

    def influence(self, by: str | None = None) -> Influence:
        """Measure what leaving out each row, or each group of rows, does to the fit.

        Parameters
        ----------
        by : str, optional
            A grouping of the fit, or any column it uses, or several such as ``"batch:cask"``: leave
            out one level at a time. By default one row at a time.

        Returns
        -------
        Influence

        Raises
        ------
        DataError
            If `by` is no column that the model uses, or the model has no fixed effect.

        Examples
        --------
        >>> import mmlib as mm
        >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
        >>> fit.influence(by="operator").dfbeta.round(4)["Intercept"].tolist()
        [-0.0533, -0.1133, 0.0733, 0.0933]
        """
        return influence(self, by)

    @overload
    def predict(
        self,
        new: pd.DataFrame | None = None,
        *,
        new_levels: NewLevels = "error",
        interval: None = None,
        level: float = 0.95,
        random: Random = None,
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
    ) -> pd.DataFrame: ...

    def predict(
        self,
        new: pd.DataFrame | None = None,
        *,
        new_levels: NewLevels = "error",
        interval: Interval | None = None,
        level: float = 0.95,
        random: Random = None,
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
            Coverage aimed at, between 0 and 1.
        random : str, sequence of str, or False, optional
            The groupings whose conditional modes count: by default all, with False none. One that
            does not count is treated as a new level in every row, and its column need not be in
            `new`.

        Returns
        -------
        Series, or with an interval DataFrame, indexed as the rows
            Columns ``predicted, lower, upper, se``; ``.attrs["includes"]`` says what `se` includes.

        Raises
        ------
        DataError
            If a column is missing from `new`, a fixed-effect column has a missing value or a level
            the fit has not seen, or (with ``new_levels="error"``) a grouping has an unknown level.

        Examples
        --------
        >>> import mmlib as mm, pandas as pd
        >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
        >>> new = pd.DataFrame({"operator": ["a", "e"]})
        >>> fit.predict(new, new_levels="population", interval="prediction").round(4)
           predicted    lower    upper      se
        0    60.2781  59.5887  60.9674  0.3517
        1    60.4000  59.5308  61.2692  0.4435
        """
        return predict(
            self, new, new_levels=new_levels, interval=interval, level=level, random=random
        )

    def summary(self) -> Summary:
        """What the fit says, in lme4's order; text when printed, HTML in a notebook."""
        return summarize(self, self.coef_table())

    def __repr__(self) -> str:
        return str(self.summary())

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()
