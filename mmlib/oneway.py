"""The one-way layout: ANOVA table, variance components, exact intervals and tests.

The model is y_ij = mu + alpha_i + e_ij with a levels and N observations, alpha_i ~ N(0,
sigma2_group) and e_ij ~ N(0, sigma2_resid). All that has a closed form is here; `lmm` fits the
rest by numerical optimisation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np
import pandas as pd
from scipy import special  # scipy.stats has the same functions, but takes long to import

from mmlib.design.checks import (
    as_response,
    check_level,
    require_choice,
    require_columns,
    require_frame,
)
from mmlib.design.labels import levels_of
from mmlib.design.names import unquoted
from mmlib.engine.spectral import Spectrum
from mmlib.errors import DataError, FormulaError
from mmlib.frozen import Frozen, gives_copies
from mmlib.inference.exact import ExactTest, NullDistribution
from mmlib.inference.pvalues import f_tail
from mmlib.results.display import Shown, Summary, Table

_NAME = r"(?:`(?:[^`]|``)+`|(?:[^\W\d]|[^\x00-\x7f\s])(?:[\w.]|[^\x00-\x7f\s])*)"
_FORMULA = re.compile(rf"\s*({_NAME})\s*~\s*({_NAME})\s*")


@dataclass(frozen=True, repr=False)
class VarianceComponents(Shown):
    """Estimates of mu, sigma2_group and sigma2_resid in a one-way layout.

    Attributes
    ----------
    factor : str
        Name of the grouping factor.
    mu : float
        The mean of all observations, in the unit of the response.
    sigma2_group, sigma2_resid : float
        Variances between and within levels, in the squared unit of the response. The ANOVA
        estimate of `sigma2_group` is negative where MSA < MSE.
    method : str
        "anova", "ml" or "reml".
    at_boundary : bool
        Whether the likelihood is largest at sigma2_group = 0 (always False for "anova", which
        does not know the boundary).
    """

    factor: str
    mu: float
    sigma2_group: float
    sigma2_resid: float
    method: str
    at_boundary: bool

    @property
    def icc(self) -> float:
        """Intraclass correlation: the share of the variance that lies between levels."""
        return self.sigma2_group / (self.sigma2_group + self.sigma2_resid)

    def to_frame(self) -> pd.DataFrame:
        """The two variances.

        Returns
        -------
        DataFrame, shape (2, 1)
            Rows: the factor and Residual. Column ``Variance``, in squared units of the response.
        """
        variances = [self.sigma2_group, self.sigma2_resid]
        return pd.DataFrame({"Variance": variances}, index=[self.factor, "Residual"])

    def summary(self) -> Summary:
        """The variances, with a remark where an estimate needs one."""
        title = f"Variance components ({self.method.upper()}), mean {self.mu:.6g}"
        notes = []
        if self.sigma2_group < 0:
            notes.append(
                "A variance cannot be negative: the levels differ by less than the residual "
                "variance alone would make them (MSA < MSE). Read it as an estimate of zero."
            )
        if self.at_boundary:
            notes.append(f"Boundary estimate: the variance of {self.factor} is 0.")
        return Summary((Table.of(title, self.to_frame(), default=".6g"), *notes))


@gives_copies("counts", "means")
@dataclass(frozen=True, eq=False, repr=False)
class OneWayLayout(Shown, Frozen):
    """Sums of squares of a one-way layout, and what follows from them in closed form.

    Attributes
    ----------
    response, factor : str
        Column names.
    counts, means : Series, indexed by level
        Number and mean of the observations of each level.
    grand_mean : float
        Mean of all observations.
    ssa, sse, sst : float
        Sums of squares between levels, within levels and in total, about the means.
    n_missing : int
        Rows left out because the response or the factor is missing.
    """

    response: str
    factor: str
    counts: pd.Series
    means: pd.Series
    grand_mean: float
    ssa: float
    sse: float
    sst: float
    n_missing: int

    @property
    def levels(self) -> tuple[object, ...]:
        """Levels of the factor, in their order."""
        return tuple(self.counts.index)

    @property
    def nobs(self) -> int:
        """Number of observations, N."""
        return int(self.counts.sum())

    @property
    def balanced(self) -> bool:
        """Whether every level has the same number of observations."""
        return bool(self.counts.min() == self.counts.max())

    @property
    def n0(self) -> float:
        """Effective number of observations in a level, (N - sum n_i^2 / N) / (a - 1).

        E(MSA) = n0 sigma2_group + sigma2_resid; in a balanced layout n0 is the common count.
        """
        total = self.nobs
        return (total - float((self.counts**2).sum()) / total) / self.df_a

    @property
    def df_a(self) -> int:
        """Degrees of freedom between levels, a - 1."""
        return len(self.counts) - 1

    @property
    def df_e(self) -> int:
        """Degrees of freedom within levels, N - a."""
        return self.nobs - len(self.counts)

    @property
    def msa(self) -> float:
        """Mean square between levels."""
        return self.ssa / self.df_a

    @property
    def mse(self) -> float:
        """Mean square within levels, the estimate of the residual variance."""
        return self.sse / self.df_e

    @property
    def f(self) -> float:
        """F statistic, MSA / MSE."""
        return self.msa / self.mse

    @property
    def pvalue(self) -> float:
        """Probability of an F at least this large if all levels are the same."""
        return float(f_tail(self.df_a, self.df_e, self.f))

    def to_frame(self) -> pd.DataFrame:
        """The ANOVA table in the shape of R's `anova`.

        Returns
        -------
        DataFrame, shape (2, 5)
            Rows: the factor and Residuals. Columns ``Df, Sum Sq, Mean Sq, F value, Pr(>F)``.
        """
        return pd.DataFrame(
            {
                "Df": [self.df_a, self.df_e],
                "Sum Sq": [self.ssa, self.sse],
                "Mean Sq": [self.msa, self.mse],
                "F value": [self.f, np.nan],
                "Pr(>F)": [self.pvalue, np.nan],
            },
            index=[self.factor, "Residuals"],
        )

    def summary(self) -> Summary:
        """The counts and the ANOVA table; text when printed, HTML in a notebook."""
        counts = f"{self.counts.iloc[0]} each" if self.balanced else "unbalanced"
        missing = f", {self.n_missing} rows with missing values left out" if self.n_missing else ""
        title = (
            f"One-way layout: {self.response} by {self.factor}, {len(self.counts)} levels, "
            f"{self.nobs} observations ({counts}){missing}"
        )
        return Summary((Table.of(title, self.to_frame(), default=".6g"),))

    def effects(self) -> pd.Series:
        """Each level's mean less the mean of all observations.

        Returns
        -------
        Series, indexed by level

        Examples
        --------
        >>> import mmlib as mm
        >>> layout = mm.oneway("bright ~ operator", mm.load_dataset("pulp"))
        >>> layout.effects().round(2).tolist()
        [-0.16, -0.34, 0.22, 0.28]
        """
        return (self.means - self.grand_mean).rename("effect")

    def variance_components(
        self, method: Literal["anova", "ml", "reml"] = "anova"
    ) -> VarianceComponents:
        """Estimate the variances between and within levels in closed form.

        Parameters
        ----------
        method : {"anova", "ml", "reml"}
            "anova" equates the mean squares to their expectations (Henderson's method 1 if
            unbalanced) and may give a negative variance between levels; it is kept, not cut.
            "ml" and "reml" maximise the likelihoods over variances >= 0 and need a balanced layout.

        Returns
        -------
        VarianceComponents

        Raises
        ------
        DataError
            For another method, or for "ml" or "reml" in an unbalanced layout.

        Notes
        -----
        With n observations in each level, ML gives sigma2_group = (SSA / a - MSE) / n and REML
        gives (MSA - MSE) / n, both with sigma2_resid = MSE, while these are positive. Otherwise
        sigma2_group = 0 and sigma2_resid is SST / N or SST / (N - 1).

        References
        ----------
        Searle, S. R., Casella, G. and McCulloch, C. E. (1992). Variance Components. Wiley,
        chapter 3; Henderson, C. R. (1953). Estimation of variance and covariance components.
        Biometrics, 9, 226-252.

        Examples
        --------
        >>> import mmlib as mm
        >>> layout = mm.oneway("bright ~ operator", mm.load_dataset("pulp"))
        >>> round(layout.variance_components("ml").sigma2_group, 5)
        0.04575
        """
        require_choice("method", method, ("anova", "ml", "reml"))
        if method == "anova":
            return self._components(method, (self.msa - self.mse) / self.n0, self.mse)
        per_level = self._common_count(f"the closed form of {method.upper()}")
        lost = int(method == "reml")  # by the mean, for which maximum likelihood does not count
        divisor, total = len(self.counts) - lost, self.nobs - lost
        between = (self.ssa / divisor - self.mse) / per_level
        if between > 0:
            return self._components(method, between, self.mse)
        return self._components(method, 0.0, self.sst / total)

    def confint(self, *, level: float = 0.95) -> pd.DataFrame:
        """Return confidence intervals of a balanced layout, without simulation or asymptotics.

        Parameters
        ----------
        level : float
            Nominal coverage, between 0 and 1.

        Returns
        -------
        DataFrame
            Columns ``lower`` and ``upper``. Rows ``mu`` (by t), ``sigma2_resid`` (by
            chi-squared), ``ratio`` = sigma2_group / sigma2_resid and ``icc`` (both by F): all
            exact; and ``sigma2_group``, by the method of Williams and Tukey, whose coverage may
            exceed the level a little. Limits below zero are set to zero; where F is very small,
            even the upper limit may be zero.

        Raises
        ------
        DataError
            If the layout is unbalanced, or the level is not between 0 and 1.

        References
        ----------
        Searle, S. R., Casella, G. and McCulloch, C. E. (1992). Variance Components. Wiley,
        chapter 3; Williams, J. S. (1962). A confidence interval for variance components.
        Biometrika, 49, 278-281.

        Examples
        --------
        >>> import mmlib as mm
        >>> mm.oneway("bright ~ operator", mm.load_dataset("pulp")).confint().round(3)
                       lower   upper
        mu            59.924  60.876
        sigma2_resid   0.059   0.246
        ratio          0.006  11.766
        icc            0.006   0.922
        sigma2_group   0.001   1.221
        """
        check_level(level)
        per_level = self._common_count("an exact interval")
        tails = np.array([1 + level, 1 - level]) / 2  # probabilities below upper and lower point
        half_width = special.stdtrit(self.df_a, tails[0]) * sqrt(self.msa / self.nobs)
        # upper points of F and chi-squared give lower limits, and the other way round
        f_points = special.fdtri(self.df_a, self.df_e, tails)
        ratio = np.maximum((self.f / f_points - 1) / per_level, 0)
        excess = np.maximum(self.ssa - f_points * self.df_a * self.mse, 0)
        limits = {
            "mu": self.grand_mean + half_width * np.array([-1, 1]),
            "sigma2_resid": self.sse / special.chdtri(self.df_e, 1 - tails),
            "ratio": ratio,
            "icc": ratio / (1 + ratio),
            "sigma2_group": excess / special.chdtri(self.df_a, 1 - tails) / per_level,
        }
        return pd.DataFrame.from_dict(limits, orient="index", columns=["lower", "upper"])

    def exact_lrt(self) -> ExactTest:
        """Test sigma2_group = 0 by the likelihood ratio, with its exact null distribution.

        In a balanced layout the statistic is a monotone function of F where it is positive, so its
        p-value is that of the F test, without a chi-squared approximation.

        Returns
        -------
        ExactTest

        Raises
        ------
        DataError
            If the layout is unbalanced.

        References
        ----------
        Crainiceanu, C. M. and Ruppert, D. (2004). Likelihood ratio tests in linear mixed models
        with one variance component. J. R. Statist. Soc. B, 66, 165-185.

        Examples
        --------
        >>> import mmlib as mm
        >>> test = mm.oneway("bright ~ operator", mm.load_dataset("pulp")).exact_lrt()
        >>> round(test.statistic, 4), round(test.pvalue, 6)
        (2.5684, 0.022609)
        """
        return self._exact_test("LRT", reml=False)

    def exact_rlrt(self) -> ExactTest:
        """Test sigma2_group = 0 by the restricted likelihood ratio, with its exact distribution.

        Returns
        -------
        ExactTest
            Its p-value, too, is that of the F test where the statistic is positive.

        Raises
        ------
        DataError
            If the layout is unbalanced.

        Examples
        --------
        >>> import mmlib as mm
        >>> test = mm.oneway("bright ~ operator", mm.load_dataset("pulp")).exact_rlrt()
        >>> round(test.statistic, 4), round(test.pvalue, 6)
        (3.4701, 0.022609)
        """
        return self._exact_test("RLRT", reml=True)

    def _exact_test(self, name: str, *, reml: bool) -> ExactTest:
        null = NullDistribution(self._spectrum(self._common_count(f"the exact {name}")), reml=reml)
        energies = np.array([[self.sse], [self.ssa]])
        statistic = float(null.spectrum.maximize(energies, reml=reml).gain[0])
        return ExactTest(
            method=f"Exact {null.test}",
            hypothesis=f"σ({self.factor}) = 0",
            statistic_name=name,
            statistic=statistic,
            pvalue=self.pvalue if statistic > 0 else 1.0,
            sample=np.zeros(0),
            _null=null,
        )

    def _spectrum(self, per_level: int) -> Spectrum:
        """The eigenvalues of a balanced layout: all are the common count."""
        size = np.array([float(per_level)])
        return Spectrum(
            n=self.nobs,
            p=1,
            mu=size,
            mu_counts=np.array([self.df_a]),
            xi=size,
            xi_counts=np.array([len(self.counts)]),
        )

    def _components(self, method: str, group: float, resid: float) -> VarianceComponents:
        at_boundary = method != "anova" and group == 0
        return VarianceComponents(self.factor, self.grand_mean, group, resid, method, at_boundary)

    def _common_count(self, purpose: str) -> int:
        """Return the number of observations in each level, or say why there is none."""
        if self.balanced:
            return int(self.counts.iloc[0])
        raise DataError(
            f"{purpose} needs a balanced layout, but the levels of {self.factor!r} have "
            f"{self.counts.min()} to {self.counts.max()} observations. Fit "
            f"mmlib.lmm('{self.response} ~ 1 + (1 | {self.factor})', data) instead."
        )


def oneway(formula: str, data: pd.DataFrame) -> OneWayLayout:
    """Take the variation of a response apart into that between and that within levels.

    Parameters
    ----------
    formula : str
        ``"response ~ factor"``, two column names; a name with spaces or signs stands in backticks.
        The factor's column is read as labels, whatever its type.
    data : DataFrame
        Rows in which either column is missing are left out and counted.

    Returns
    -------
    OneWayLayout

    Raises
    ------
    FormulaError
        If the formula is not of this form.
    DataError
        If a column is unknown, the response is not numeric, infinite or constant, or the factor
        has a single level, a level for each row, or no variation within its levels.

    Examples
    --------
    >>> import mmlib as mm
    >>> layout = mm.oneway("bright ~ operator", mm.load_dataset("pulp"))
    >>> round(layout.f, 4), round(layout.pvalue, 5)
    (4.2039, 0.02261)
    """
    response, factor = _parse(formula)
    data = require_frame(data)
    require_columns(data, [response, factor])
    complete = data[[response, factor]].dropna()
    y = as_response(complete[response])
    groups = levels_of(complete[factor]).remove_unused_categories()
    levels, codes = groups.categories, groups.codes
    _require_replication(factor, levels, codes, y)

    counts = np.bincount(codes)
    centre = y.mean()
    deviations = y - centre  # second pass: no digits are lost to a large mean
    shift = deviations.mean()
    level_shifts = np.bincount(codes, weights=deviations) / counts
    return OneWayLayout(
        response=response,
        factor=factor,
        counts=pd.Series(counts, index=levels, name="count"),
        means=pd.Series(centre + level_shifts, index=levels, name="mean"),
        grand_mean=float(centre + shift),
        ssa=float(counts @ (level_shifts - shift) ** 2),
        sse=float(((deviations - level_shifts[codes]) ** 2).sum()),
        sst=float(((deviations - shift) ** 2).sum()),
        n_missing=len(data) - len(complete),
    )


def _parse(formula: str) -> tuple[str, str]:
    """Return the two column names of `response ~ factor`."""
    match = _FORMULA.fullmatch(formula) if isinstance(formula, str) else None
    if match is None:
        raise FormulaError(
            f"oneway cannot read {formula!r}: write 'response ~ factor' with two column names, "
            "for example 'bright ~ operator'. Larger models are for mmlib.lmm."
        )
    response, factor = (unquoted(name) for name in match.groups())
    if response == factor:
        raise FormulaError(f"{formula!r} has one column on both sides; name a factor on the right.")
    return response, factor


def _require_replication(factor: str, levels: pd.Index, codes: np.ndarray, y: np.ndarray) -> None:
    """Check that there is variation to compare, both between and within levels."""
    if len(levels) == 1:
        raise DataError(f"the factor {factor!r} has one level only; at least two are needed.")
    if len(levels) == len(y):
        raise DataError(
            f"the factor {factor!r} has as many levels as there are rows ({len(y)}): with one "
            "observation in each level, the variance within levels cannot be estimated."
        )
    first_of_level = y[np.unique(codes, return_index=True)[1]]
    if np.all(y == first_of_level[codes]):
        raise DataError(
            f"the response is constant within every level of {factor!r}: "
            "there is no variance within levels to compare with."
        )
