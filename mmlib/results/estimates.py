"""What a fit says: its estimates, its random effects, and the same design fitted or drawn again.

Two variances of random effects must not be mixed up. Given y, and with β taken as known, they vary
around their conditional modes with Var(b | y). But β was estimated from the same data, and its
error moves the modes too: Var(b̂ − b), the prediction-error variance, is never smaller. (Henderson
1975, Best linear unbiased estimation and prediction under a selection model, Biometrics
31:423–447, doi:10.2307/2529430.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.linalg import solve_triangular

from mmlib.arrays import FloatArray, lower
from mmlib.design.checks import as_array, as_generator, as_response, require_count, require_own_rows
from mmlib.design.design import Design
from mmlib.design.terms import RandomTerm
from mmlib.engine.blocks import Blocks
from mmlib.engine.effects_covariance import EffectsCovariance
from mmlib.engine.factor import Modes
from mmlib.engine.fit import fit_model
from mmlib.engine.grouping import Grouping
from mmlib.engine.optimize import Optimum
from mmlib.engine.progress import Progress
from mmlib.engine.threads import single_threaded
from mmlib.errors import DataError
from mmlib.frozen import Frozen, read_only
from mmlib.results.simulate import (
    Beta,
    Correlations,
    Sds,
    Truth,
    errors_of,
    n_spherical,
    responses_to,
    truth_of,
)
from mmlib.results.varcorr import ResidualCovariance, VarCorr, covariances

SINGULAR_TOLERANCE = 1e-5
"""A relative standard deviation at or below this is on the boundary."""


@dataclass(frozen=True, eq=False, repr=False)
class Fit(Frozen):
    """A fitted linear mixed model, ``y = Xβ + Zb + ε`` with b = Λ_θ u, u and ε normal.

    Attributes
    ----------
    reml : bool
        Whether the fit is by REML.
    optimum : Optimum
        How the minimum was found.
    """

    reml: bool
    optimum: Optimum

    @classmethod
    def of(cls, blocks: Blocks, *, reml: bool, progress: Progress = False) -> Self:
        """Fit the design of these cross-products by REML or maximum likelihood."""
        return cls(reml, fit_model(blocks, reml=reml, progress=progress))

    @property
    def blocks(self) -> Blocks:
        """The cross-products of the design."""
        return self.optimum.factor.blocks

    @property
    def design(self) -> Design:
        """The arrays that the formula made of the data."""
        return self.blocks.design

    @cached_property
    def _modes(self) -> Modes:
        modes = self.optimum.factor.modes()
        return Modes(read_only(modes.beta), [read_only(b) for b in modes.b])

    # ---- estimates -------------------------------------------------------------------------

    @property
    def theta(self) -> FloatArray:
        """Covariance parameters relative to σ: lower triangles of the templates, by column."""
        return self.optimum.theta

    @cached_property
    def beta(self) -> FloatArray:
        """Fixed effects, shape (p,)."""
        with single_threaded():
            beta = solve_triangular(self.blocks.R, self.blocks.ols + self._modes.beta)
        return read_only(beta)

    @cached_property
    def sigma(self) -> float:
        """Residual standard deviation, in the units of y."""
        if self.design.sigma is not None:
            return self.design.sigma
        dof = self.nobs - self.design.p * self.reml
        return float(np.sqrt(self.optimum.factor.rss / dof))

    def fixef(self) -> pd.Series:
        """Estimates of the fixed effects β, by name.

        Returns
        -------
        Series, length p
            In units of y per unit of each column of X.

        Examples
        --------
        >>> import mmlib as mm
        >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
        >>> round(float(fit.fixef()["Intercept"]), 4)
        60.4
        """
        return pd.Series(self.beta.copy(), index=list(self.design.fixed_names), name="Estimate")

    def vcov(self) -> pd.DataFrame:
        """Covariance matrix of the estimated fixed effects given θ: σ²(XᵀV⁻¹X)⁻¹.

        Returns
        -------
        DataFrame, shape (p, p)

        Examples
        --------
        >>> import mmlib as mm
        >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
        >>> round(float(fit.vcov().loc["Intercept", "Intercept"]), 5)
        0.02233
        """
        names = list(self.design.fixed_names)
        return pd.DataFrame(self._vcov.copy(), index=names, columns=names)

    @cached_property
    def _vcov(self) -> FloatArray:
        with single_threaded():
            root = np.linalg.inv(self.optimum.factor.fixed_factor())
            half = solve_triangular(self.blocks.R, root.T) * self.sigma
        return half @ half.T

    def varcorr(self) -> VarCorr:
        """Variances, standard deviations and correlations of the random effects.

        Returns
        -------
        VarCorr

        Examples
        --------
        >>> import mmlib as mm
        >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
        >>> round(fit.varcorr().sd("operator"), 4)
        0.2609
        """
        design = self.design
        residual = None
        if design.residual is not None:
            phi = design.phi(self.theta)
            residual = ResidualCovariance(design.residual, phi, self.sigma)
        return VarCorr(covariances(design.terms, self.theta, self.sigma), self.sigma, residual)

    # ---- criteria --------------------------------------------------------------------------

    @property
    def objective(self) -> float:
        """−2 log-likelihood at the estimates; for a REML fit, the REML criterion."""
        return self.optimum.objective

    @property
    def loglik(self) -> float:
        """Log-likelihood; for a REML fit the restricted one, which is not comparable with it."""
        return -self.objective / 2

    @property
    def n_parameters(self) -> int:
        """Fixed effects, entries of θ, and σ unless it is known."""
        return self.design.p + len(self.theta) + (self.design.sigma is None)

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
        return self.optimum.converged

    @property
    def is_singular(self) -> bool:
        """Whether the estimate is on the boundary: a variance of 0, or a correlation of ±1."""
        return any(rank < term.width for term, rank in self.effect_ranks().items())

    def effect_ranks(self) -> dict[RandomTerm, int]:
        """Rank of each term's covariance matrix, judged in scaled columns: S off the boundary."""
        ranks = {}
        for grouping, scaled in zip(
            self.blocks.groupings, self.optimum.factor.templates, strict=True
        ):
            for term, template in grouping.by_term(scaled).items():
                ranks[term] = int((np.diag(lower(template)) > SINGULAR_TOLERANCE).sum())
        return ranks

    # ---- random effects, fitted values -------------------------------------------------------

    def ranef(self) -> dict[str, pd.DataFrame]:
        """Conditional modes of the random effects, their best linear unbiased predictions (BLUPs).

        Returns
        -------
        dict
            For each grouping a DataFrame, a row for each level and a column for each effect.

        Examples
        --------
        >>> import mmlib as mm
        >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
        >>> fit.ranef()["operator"]["Intercept"].round(3).tolist()
        [-0.122, -0.259, 0.168, 0.213]
        """
        return as_tables(self.blocks.groupings, self._modes.b)

    def cond_var(self) -> dict[str, FloatArray]:
        """Conditional variance Var(b | y): β, θ and σ are taken as known.

        What lme4 calls ``condVar``. See `prediction_error_var` for the variance that counts the
        error of β̂ too.

        Returns
        -------
        dict
            For each grouping an array of shape (m, S, S), levels in the order of `ranef`, in
            squared units of y.

        Examples
        --------
        >>> import mmlib as mm
        >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
        >>> round(float(fit.cond_var()["operator"][0, 0, 0]), 5)
        0.0162
        """
        return self._variances(beta_estimated=False)

    def prediction_error_var(self) -> dict[str, FloatArray]:
        """Prediction-error variance Var(b̂ − b): β is estimated, θ and σ are taken as known.

        Never smaller than `cond_var`, and what an interval for b should be made of (Henderson
        1975).

        Returns
        -------
        dict
            For each grouping an array of shape (m, S, S), levels in the order of `ranef`, in
            squared units of y.

        Examples
        --------
        >>> import mmlib as mm
        >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
        >>> round(float(fit.prediction_error_var()["operator"][0, 0, 0]), 5)
        0.02917
        """
        return self._variances(beta_estimated=True)

    def cond_sd(self) -> dict[str, pd.DataFrame]:
        """Conditional standard deviations of the random effects: β, θ and σ are taken as known.

        Returns
        -------
        dict
            Tables like those of `ranef`, in units of y.

        Examples
        --------
        >>> import mmlib as mm
        >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
        >>> round(float(fit.cond_sd()["operator"].loc["a", "Intercept"]), 4)
        0.1273
        """
        return self._standard_deviations(self.cond_var())

    def prediction_error_sd(self) -> dict[str, pd.DataFrame]:
        """Standard deviations of b̂ − b: β is estimated, θ and σ are taken as known.

        Returns
        -------
        dict
            Tables like those of `ranef`, in units of y.

        Examples
        --------
        >>> import mmlib as mm
        >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
        >>> round(float(fit.prediction_error_sd()["operator"].loc["a", "Intercept"]), 4)
        0.1708
        """
        return self._standard_deviations(self.prediction_error_var())

    def _variances(self, *, beta_estimated: bool) -> dict[str, FloatArray]:
        with single_threaded():
            variances = self.optimum.factor.conditional_variances(beta_estimated=beta_estimated)
        return {
            grouping.name: self.sigma**2 * variance
            for grouping, variance in zip(self.blocks.groupings, variances, strict=True)
        }

    def _standard_deviations(self, variances: dict[str, FloatArray]) -> dict[str, pd.DataFrame]:
        # A variance that is exactly zero may come out as minus a rounding error.
        diagonals = [np.diagonal(v, axis1=1, axis2=2) for v in variances.values()]
        return as_tables(self.blocks.groupings, [np.sqrt(np.maximum(d, 0.0)) for d in diagonals])

    @cached_property
    def effects_covariance(self) -> EffectsCovariance:
        """Joint covariance of (b̂ − b, β̂ − β) over σ², as an operator."""
        return EffectsCovariance(self.optimum.factor)

    @cached_property
    def population_mean(self) -> FloatArray:
        """Xβ̂, plus any offset: the mean of each row over the levels of all groupings, (n,)."""
        mean = self.design.X @ self.beta
        if self.design.offset is not None:
            mean += self.design.offset
        return read_only(mean)

    @cached_property
    def _fitted(self) -> FloatArray:
        fitted = self.population_mean.copy()
        for grouping, modes in zip(self.blocks.groupings, self._modes.b, strict=True):
            fitted += (grouping.model_matrix * modes[grouping.codes]).sum(axis=1)
        return fitted

    @property
    def fitted(self) -> pd.Series:
        """Fitted values that include the conditional modes: Xβ̂ + Zb̂, plus any offset."""
        return pd.Series(self._fitted.copy(), index=self.design.index, name="fitted")

    @property
    def resid(self) -> pd.Series:
        """Conditional residuals, y less `fitted`."""
        return pd.Series(self.design.y - self._fitted, index=self.design.index, name="resid")

    # ---- other data, other criterion ---------------------------------------------------------

    def refit(self, y: ArrayLike | None = None, *, reml: bool | None = None) -> Self:
        """Fit the same design to another response, or by the other criterion.

        Parameters
        ----------
        y : array, shape (nobs,), optional
            The new response on the scale of the formula's left side; by default the old one.
        reml : bool, optional
            By default as this fit.

        Returns
        -------
        LMMResult

        Raises
        ------
        DataError
            If `y` has another shape or another index than the rows of the fit, or cannot be a
            response.

        Examples
        --------
        >>> import mmlib as mm
        >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
        >>> round(fit.refit(reml=False).objective, 4)
        16.5117
        """
        reml = self.reml if reml is None else reml
        with single_threaded():
            if y is None:
                return self.of(self.blocks, reml=reml)
            values = as_array("y", y)
            if values.shape != (self.nobs,):
                raise DataError(
                    f"y must have one value for each of the {self.nobs} rows of the fit; "
                    f"it has shape {values.shape}."
                )
            require_own_rows("y", y, self.design.index)
            response = as_response(pd.Series(values, name="y"))
            return self.of(self.blocks.with_response(response), reml=reml)

    def simulate(
        self,
        nsim: int = 1,
        *,
        rng: np.random.Generator | int | None = None,
        conditional: bool = False,
        beta: Beta | None = None,
        theta: ArrayLike | None = None,
        sd: Sds | None = None,
        corr: Correlations | None = None,
        sigma: float | None = None,
    ) -> FloatArray:
        """Draw new responses from the fitted model, or from the same design with other parameters.

        Each replicate draws the spherical effects u (terms in the order of `Design.terms`, levels
        in order), then the errors; so the first k of n replicates do not depend on n. The numbers
        come from `rng` one after the other: a second call with the same Generator continues where
        the first ended, and a bootstrap with the same `rng` draws others.

        Parameters
        ----------
        nsim : int
            Number of replicates.
        rng : Generator, int or None
            Passed to `numpy.random.default_rng`.
        conditional : bool, default False
            Keep the levels of the data at their conditional modes and draw the errors only: more
            observations of the same groups, instead of new groups.
        beta, theta, sd, corr, sigma
            As for `mmlib.simulate`: what is given takes the place of the estimate. Standard
            deviations that are not given stay as estimated, whatever `sigma` is.

        Returns
        -------
        ndarray, shape (nsim, nobs)
            In units of y.

        Raises
        ------
        DataError
            If `nsim` is not a positive whole number, or numpy does not accept `rng`.

        Examples
        --------
        >>> import mmlib as mm
        >>> fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
        >>> fit.simulate(3, rng=1).shape
        (3, 20)
        """
        nsim = require_count("nsim", nsim)
        rng, truth = as_generator(rng), self.truth
        other = {"beta": beta, "theta": theta, "sd": sd, "corr": corr, "sigma": sigma}
        given: dict[str, Any] = {name: v for name, v in other.items() if v is not None}
        if conditional and set(given) - {"sigma"}:
            raise DataError(
                f"{next(iter(given))}= changes the effects, which conditional=True keeps: "
                "leave one out."
            )
        if given:
            truth = truth_of(self.design, truth, **given)
        if conditional:
            spherical = rng.standard_normal((nsim, self.nobs))
            return self._fitted + errors_of(self.design, truth, spherical)
        spherical = rng.standard_normal((nsim, n_spherical(self.design)))
        return responses_to(self.design, truth, spherical)

    @property
    def truth(self) -> Truth:
        """The estimates as parameters to draw responses from."""
        return Truth(self.beta, self.theta, self.sigma)


def as_tables(
    groupings: Sequence[Grouping], values: Sequence[FloatArray]
) -> dict[str, pd.DataFrame]:
    """Arrays of shape (ℓ, S), one for each grouping, as tables of levels × columns."""
    return {
        grouping.name: pd.DataFrame(
            table.copy(),
            index=grouping.terms[0].levels,
            columns=[name for term in grouping.terms for name in term.columns],
        )
        for grouping, table in zip(groupings, values, strict=True)
    }
