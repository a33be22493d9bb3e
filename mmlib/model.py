"""Fit a linear mixed model, and hold what the fit says."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Unpack, overload

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.linalg import solve_triangular

from mmlib.blocks import Blocks
from mmlib.checks import as_generator, as_response, require_count, require_own_rows
from mmlib.design import Design, build_design
from mmlib.display import Summary
from mmlib.errors import DataError
from mmlib.factor import Modes
from mmlib.formula import MixedFormula
from mmlib.influence import Influence, influence, leverage, residuals
from mmlib.objective import Objective
from mmlib.optimize import OptimizerLog, minimize_objective
from mmlib.predict import Interval, NewLevels, Random, predict
from mmlib.ranef import EffectsCovariance, as_tables, standard_deviations, unpooled
from mmlib.summary import summarize
from mmlib.terms import FloatArray, RandomTerm, lower, templates
from mmlib.threads import single_threaded
from mmlib.varcorr import VarCorr, covariances

if TYPE_CHECKING:
    from mmlib.confint import BootOptions

SINGULAR_TOLERANCE = 1e-5
"""A relative standard deviation at or below this is on the boundary."""


class ConvergenceWarning(UserWarning):
    """The optimiser stopped before it reached a minimum."""


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
    _check_criterion(reml)
    design = build_design(formula, data, weights=weights, offset=offset)
    with single_threaded():
        return _fit(design, Blocks(design), reml=reml)


def _check_criterion(reml: object) -> None:
    if not isinstance(reml, (bool, np.bool_)):
        raise DataError(f"reml must be True or False (maximum likelihood), not {reml!r}.")


def _fit(design: Design, blocks: Blocks, *, reml: bool) -> LMMResult:
    log = minimize_objective(Objective(blocks, reml=reml))
    if not log.converged:
        warnings.warn(
            f"the fit of {design.formula} has not converged: {log.shortfall}; centre and rescale "
            "the predictors, or simplify the random part.",
            ConvergenceWarning,
            stacklevel=3,
        )
    return LMMResult(design=design, blocks=blocks, reml=reml, log=log)


@dataclass(frozen=True, eq=False, repr=False)
class LMMResult:
    """A fitted linear mixed model, ``y = Xβ + Zb + ε`` with b = Λ_θ u, u and ε normal.

    Attributes
    ----------
    design : Design
        The arrays that the formula made of the data.
    blocks : Blocks
        Their cross-products.
    reml : bool
        Whether the fit is by REML.
    log : OptimizerLog
        How the minimum was found.
    """

    design: Design
    blocks: Blocks
    reml: bool
    log: OptimizerLog

    @cached_property
    def _modes(self) -> Modes:
        return self.log.factor.modes()

    # ---- estimates -------------------------------------------------------------------------

    @property
    def theta(self) -> FloatArray:
        """Covariance parameters relative to σ: lower triangles of the templates, by column."""
        return self.log.theta

    @cached_property
    def beta(self) -> FloatArray:
        """Fixed effects, shape (p,)."""
        with single_threaded():
            beta = solve_triangular(self.blocks.R, self.blocks.ols + self._modes.beta)
        beta.setflags(write=False)
        return beta

    @cached_property
    def sigma(self) -> float:
        """Residual standard deviation, in the units of y."""
        return float(np.sqrt(self.log.factor.rss / self._dof))

    @property
    def _dof(self) -> int:
        return self.nobs - (self.design.p if self.reml else 0)

    def fixef(self) -> pd.Series:
        """Fixed effects by name."""
        return pd.Series(self.beta, index=list(self.design.fixed_names), name="Estimate")

    def vcov(self) -> pd.DataFrame:
        """Covariance matrix of the fixed effects given θ: σ²(XᵀV⁻¹X)⁻¹."""
        names = list(self.design.fixed_names)
        return pd.DataFrame(self._vcov, index=names, columns=names)

    @cached_property
    def _vcov(self) -> FloatArray:
        with single_threaded():
            root = np.linalg.inv(self.log.factor.fixed_factor())
            half = solve_triangular(self.blocks.R, root.T) * self.sigma
        return half @ half.T

    def coef_table(
        self, *, ddf: Literal["kenward-roger", "satterthwaite"] | None = None
    ) -> pd.DataFrame:
        """Estimate, standard error and t value of each fixed effect.

        With `ddf` also degrees of freedom and p-value; see `mmlib.anova.coef_tests`.
        """
        if ddf is not None:
            from mmlib.anova import coef_tests  # inference imports results, not the reverse

            return coef_tests(self, ddf=ddf)
        se = np.sqrt(np.diag(self._vcov))
        return pd.DataFrame(
            {"Estimate": self.beta, "Std. Error": se, "t value": self.beta / se},
            index=list(self.design.fixed_names),
        )

    def varcorr(self) -> VarCorr:
        """Variances, standard deviations and correlations of the random effects."""
        return VarCorr(covariances(self.design.terms, self.theta, self.sigma), self.sigma)

    # ---- criteria --------------------------------------------------------------------------

    @property
    def objective(self) -> float:
        """−2 log-likelihood at the estimates; for a REML fit, the REML criterion."""
        return self.log.objective

    @property
    def loglik(self) -> float:
        """Log-likelihood; for a REML fit the restricted one, which is not comparable with it."""
        return -self.objective / 2

    @property
    def n_parameters(self) -> int:
        """Fixed effects, entries of θ, and σ."""
        return self.design.p + len(self.theta) + 1

    @property
    def aic(self) -> float:
        """Akaike's criterion: objective + 2 · parameters."""
        return self.objective + 2 * self.n_parameters

    @property
    def bic(self) -> float:
        """Schwarz's criterion: objective + log(n) · parameters."""
        return self.objective + float(np.log(self.nobs)) * self.n_parameters

    @property
    def nobs(self) -> int:
        """Rows used."""
        return self.design.n

    @property
    def df_resid(self) -> int:
        """Rows less parameters."""
        return self.nobs - self.n_parameters

    @property
    def converged(self) -> bool:
        """Whether the optimiser ended at a minimum."""
        return self.log.converged

    @property
    def is_singular(self) -> bool:
        """Whether the estimate is on the boundary: a variance of 0, or a correlation of ±1."""
        return any(rank < term.width for term, rank in self.effect_ranks().items())

    def effect_ranks(self) -> dict[RandomTerm, int]:
        """Rank of each term's covariance matrix, judged in scaled columns: S off the boundary."""
        ranks = {}
        for grouping, scaled in zip(self.blocks.groupings, self.log.factor.templates, strict=True):
            for term, template in grouping.by_term(scaled).items():
                ranks[term] = int((np.diag(lower(template)) > SINGULAR_TOLERANCE).sum())
        return ranks

    # ---- random effects, fitted values -------------------------------------------------------

    def ranef(self) -> dict[str, pd.DataFrame]:
        """Conditional modes of the random effects (BLUPs): for each grouping, levels × columns."""
        return as_tables(self.blocks.groupings, self._modes.b)

    def unpooled(self) -> dict[str, pd.DataFrame]:
        """Effects of each level from its own rows alone; see `mmlib.ranef.unpooled`."""
        return unpooled(self)

    def term_modes(self) -> list[FloatArray]:
        """Conditional modes of each term of `design.terms`, shape (ℓ, S)."""
        modes: dict[RandomTerm, FloatArray] = {}
        for grouping, b in zip(self.blocks.groupings, self._modes.b, strict=True):
            modes |= {term: b[:, span] for term, span in grouping.spans.items()}
        return [modes[term] for term in self.design.terms]

    def cond_var(self) -> dict[str, FloatArray]:
        """Conditional variance Var(b | y): β, θ and σ are taken as known.

        What lme4 calls ``condVar``. See `prediction_error_var` for the variance that counts the
        error of β̂ too.

        Returns
        -------
        dict
            For each grouping an array of shape (ℓ, S, S), levels in the order of `ranef`, in
            squared units of y.
        """
        return self._variances(beta_estimated=False)

    def prediction_error_var(self) -> dict[str, FloatArray]:
        """Prediction-error variance Var(b̂ − b): β is estimated, θ and σ are taken as known.

        Never smaller than `cond_var`, and what an interval for b should be made of (Henderson
        1975). Arrays as there.
        """
        return self._variances(beta_estimated=True)

    def cond_sd(self) -> dict[str, pd.DataFrame]:
        """Conditional standard deviations (β known), in tables like those of `ranef`."""
        return self._standard_deviations(self.cond_var())

    def prediction_error_sd(self) -> dict[str, pd.DataFrame]:
        """Prediction-error standard deviations (β estimated), in tables like those of `ranef`."""
        return self._standard_deviations(self.prediction_error_var())

    def _variances(self, *, beta_estimated: bool) -> dict[str, FloatArray]:
        with single_threaded():
            variances = self.log.factor.conditional_variances(beta_estimated=beta_estimated)
        return {
            grouping.name: self.sigma**2 * variance
            for grouping, variance in zip(self.blocks.groupings, variances, strict=True)
        }

    def _standard_deviations(self, variances: dict[str, FloatArray]) -> dict[str, pd.DataFrame]:
        return as_tables(
            self.blocks.groupings, [standard_deviations(v) for v in variances.values()]
        )

    @cached_property
    def effects_covariance(self) -> EffectsCovariance:
        """Joint covariance of (b̂ − b, β̂ − β) over σ², as an operator."""
        return EffectsCovariance(self.log.factor)

    @cached_property
    def _fitted(self) -> FloatArray:
        fitted = self.design.X @ self.beta
        if self.design.offset is not None:
            fitted = fitted + self.design.offset
        for grouping, modes in zip(self.blocks.groupings, self._modes.b, strict=True):
            fitted += (grouping.model_matrix * modes[grouping.codes]).sum(axis=1)
        return fitted

    @property
    def fitted(self) -> pd.Series:
        """Fitted values that include the conditional modes: Xβ̂ + Zb̂, plus any offset."""
        return pd.Series(self._fitted, index=self.design.index, name="fitted")

    @property
    def resid(self) -> pd.Series:
        """Conditional residuals, y less `fitted`."""
        return pd.Series(self.design.y - self._fitted, index=self.design.index, name="resid")

    def residuals(
        self,
        kind: Literal["conditional", "marginal"] = "conditional",
        *,
        scaled: Literal["pearson", "standardized"] | None = None,
    ) -> pd.Series:
        """Residuals of either kind, raw or scaled; see `mmlib.influence.residuals`."""
        return residuals(self, kind, scaled=scaled)

    def leverage(self) -> pd.Series:
        """Hat values ∂ŷ_i/∂y_i of the conditional fit; see `mmlib.influence.leverage`."""
        return leverage(self)

    def influence(self, by: str | None = None) -> Influence:
        """What leaving out rows or groups does, at fixed θ; see `mmlib.influence.influence`."""
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
        """Predict for the rows of `new`, or of the data; see `mmlib.predict.predict`."""
        return predict(
            self, new, new_levels=new_levels, interval=interval, level=level, random=random
        )

    def confint(
        self,
        method: Literal["profile", "wald", "boot"] = "profile",
        *,
        level: float = 0.95,
        parameters: str | Sequence[str] | None = None,
        ddf: Literal["kenward-roger", "satterthwaite"] | None = None,
        **boot: Unpack[BootOptions],
    ) -> pd.DataFrame:
        """Confidence intervals of the parameters; see `mmlib.confint.confint`."""
        from mmlib.confint import confint  # inference imports results, not the reverse

        return confint(self, method, level=level, parameters=parameters, ddf=ddf, **boot)

    # ---- other data, other criterion ---------------------------------------------------------

    def refit(self, y: ArrayLike | None = None, *, reml: bool | None = None) -> LMMResult:
        """Fit the same design to another response, or by the other criterion.

        Parameters
        ----------
        y : array, shape (nobs,), optional
            The new response on the scale of the formula's left side; by default the old one.
        reml : bool, optional
            By default as this fit.
        """
        reml = self.reml if reml is None else reml
        _check_criterion(reml)
        with single_threaded():
            if y is None:
                return _fit(self.design, self.blocks, reml=reml)
            values = np.asarray(y)
            if values.shape != (self.nobs,):
                raise DataError(
                    f"y must have one value for each of the {self.nobs} rows of the fit; "
                    f"it has shape {values.shape}."
                )
            require_own_rows("y", y, self.design.index)
            response = as_response(pd.Series(values, name="y"))
            design = dataclasses.replace(self.design, y=response)
            return _fit(design, self.blocks.with_response(response), reml=reml)

    def simulate(
        self,
        nsim: int = 1,
        *,
        rng: np.random.Generator | int | None = None,
        conditional: bool = False,
    ) -> FloatArray:
        """Draw new responses from the fitted model.

        Each replicate draws the spherical effects u (terms in the order of `design.terms`, levels
        in order), then the errors; so the first k of n replicates do not depend on n.

        Parameters
        ----------
        nsim : int
            Number of replicates.
        rng : Generator, int or None
            Passed to `numpy.random.default_rng`.
        conditional : bool, default False
            Keep the levels of the data at their conditional modes and draw the errors only: more
            observations of the same groups, instead of new groups.

        Returns
        -------
        ndarray, shape (nsim, nobs)
        """
        nsim = require_count("nsim", nsim)
        rng = as_generator(rng)
        terms = () if conditional else self.design.terms
        sizes = [term.n_levels * term.width for term in terms]
        draws = self.sigma * rng.standard_normal((nsim, sum(sizes) + self.nobs))
        *effects, errors = np.split(draws, np.cumsum(sizes, dtype=int), axis=1)
        if self.design.weights is not None:
            errors = errors / np.sqrt(self.design.weights)
        mean = self._fitted if conditional else self.predict(random=False).to_numpy()
        simulated = mean + errors
        lambdas = templates(self.design.terms, self.theta)[: len(terms)]
        for term, spherical, lam in zip(terms, effects, lambdas, strict=True):
            b = spherical.reshape(nsim, term.n_levels, -1) @ lam.T
            simulated += np.einsum("rns,ns->rn", b[:, term.codes], term.model_matrix)
        return simulated

    # ---- display -----------------------------------------------------------------------------

    def summary(self) -> Summary:
        """What the fit says, in lme4's order; text when printed, HTML in a notebook."""
        return summarize(self)

    def __repr__(self) -> str:
        return str(self.summary())

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()
