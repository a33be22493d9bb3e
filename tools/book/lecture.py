"""Our values of the numbers that the lecture prints: by mmlib, or statsmodels for least squares.

`quantities` returns them by name, such as `reml.effect`; each function below gives one group of
names and shows by what call a number comes about. `tools/book/verify.py` holds them against the
lecture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import statsmodels.formula.api as smf
from numpy.typing import ArrayLike, NDArray
from statsmodels.stats.anova import anova_lm

import mmlib as mm

# How many data sets are drawn for a p-value that has no closed form, by its name.
DRAWS = {"penicillin.bootstrap_p": 200_000}
# The lecture's own simulation, whose standard error it prints.
LECTURE_P, LECTURE_DRAWS = 0.352, 1000
QUARTILES = (0, 0.25, 0.5, 0.75, 1)

Values = Mapping[str, ArrayLike]


def quantities() -> dict[str, NDArray[np.float64]]:
    """Return every value by its name, `group.name`: an array of one or more numbers."""
    return {
        f"{group}.{name}": np.atleast_1d(np.asarray(value, dtype=float))
        for group, values in _GROUPS.items()
        for name, value in values().items()
    }


def pulp_data() -> Values:
    """The data, and their counts."""
    pulp = mm.load_dataset("pulp")
    layout = _layout()
    return {
        "rows": len(pulp),
        "columns": pulp.shape[1],
        "operators": len(layout.levels),
        "sheets": layout.n0,
        "brightness": pulp["bright"],
        "mean": layout.grand_mean,
    }


def least_squares() -> Values:
    """Operators as fixed effects that sum to zero."""
    fit = smf.ols("bright ~ C(operator, Sum)", mm.load_dataset("pulp")).fit()
    return {
        "residual": np.quantile(fit.resid, QUARTILES),
        "estimate": fit.params,
        "se": fit.bse,
        "t": fit.tvalues,
        "p": fit.pvalues,
        "sigma": np.sqrt(fit.scale),
        "df_resid": fit.df_resid,
        "r2": fit.rsquared,
        "adj_r2": fit.rsquared_adj,
        "f": fit.fvalue,
        "f_df": [fit.df_model, fit.df_resid],
        "f_p": fit.f_pvalue,
        "last_effect": -fit.params.iloc[1:].sum(),
    }


def one_way_anova() -> Values:
    """The one-way layout in closed form."""
    layout = _layout()
    components = layout.variance_components("anova")
    return {
        "df": [layout.df_a, layout.df_e],
        "ss": [layout.ssa, layout.sse],
        "ms": [layout.msa, layout.mse],
        "f": layout.f,
        "p": layout.pvalue,
        "effect": layout.effects(),
        "variance": [components.sigma2_group, components.sigma2_resid],
    }


def mixed_model(*, reml: bool) -> Values:
    """Operators as random effects."""
    fit = _pulp_fit(reml=reml)
    intercept = fit.coef_table().loc["Intercept"]
    components = fit.varcorr().to_frame()
    effects = fit.ranef()["operator"]["Intercept"]
    new = mm.load_dataset("pulp").iloc[:1]
    return {
        "criterion": fit.objective,
        "loglik": fit.loglik,
        "aic": fit.aic,
        "bic": fit.bic,
        "df_resid": fit.df_resid,
        "nobs": fit.nobs,
        "groups": len(effects),
        "scaled_residual": np.quantile(fit.resid / fit.sigma, QUARTILES),
        "variance": components["vcov"],
        "sd": components["sdcor"],
        "intercept": intercept["Estimate"],
        "se": intercept["Std. Error"],
        "t": intercept["t value"],
        "effect": effects,
        "shrinkage": _layout().effects() / effects,
        "blup": fit.fixef()["Intercept"] + effects,
        "predicted_a": fit.predict(new),
        "predicted_new": fit.predict(new.assign(operator="e"), new_levels="population"),
    }


def likelihood_ratio() -> Values:
    """The likelihood ratio of operators, judged by chi-square."""
    null = _pulp_null()
    test = mm.lrt(null, _pulp_fit(reml=False))
    return {"statistic": test.statistic, "p": test.pvalue, "null_loglik": null.loglik}


def exact_lrt() -> Values:
    """The same ratio, judged by its exact distribution."""
    test = mm.exact_lrt(_pulp_null(), _pulp_fit(reml=False))
    return {"statistic": test.statistic, "p": test.pvalue}


def exact_rlrt() -> Values:
    """The ratio of restricted likelihoods, judged by its exact distribution."""
    test = mm.exact_rlrt(_pulp_fit(reml=True))
    return {"statistic": test.statistic, "p": test.pvalue}


def penicillin_data() -> Values:
    """The data."""
    yields = mm.load_dataset("penicillin")["yield"]
    return {"yields": yields, "ends": yields.iloc[[0, -1]]}


def penicillin_anova() -> Values:
    """Treatments and blends, both as fixed effects."""
    fit = smf.ols("Q('yield') ~ blend + treat", mm.load_dataset("penicillin")).fit()
    table = anova_lm(fit)
    return {
        "df": table["df"],
        "ss": table["sum_sq"],
        "ms": table["mean_sq"],
        "f": table["F"],
        "p": table["PR(>F)"],
    }


def penicillin_tests() -> Values:
    """Treatments as fixed effects, blends as random ones."""
    penicillin = mm.load_dataset("penicillin")
    fit = mm.lmm("yield ~ treat + (1 | blend)", penicillin)
    small = mm.lmm("yield ~ 1 + (1 | blend)", penicillin, reml=False)
    large = fit.refit(reml=False)
    test = mm.lrt(small, large)
    draws = DRAWS["penicillin.bootstrap_p"]
    kenward_roger = mm.kenward_roger(fit, "treat")
    return {
        "lrt": test.statistic,
        "lrt_p": test.pvalue,
        "bootstrap_p": mm.parametric_bootstrap(small, large, nsim=draws, rng=1928).pvalue,
        "bootstrap_se": standard_error(LECTURE_P, LECTURE_DRAWS),
        "kr_f": kenward_roger.statistic,
        "kr_df": kenward_roger.df[1],
        "kr_p": kenward_roger.pvalue,
        "satterthwaite_p": mm.satterthwaite(fit, "treat").pvalue,
    }


def standard_error(p: float, draws: int) -> float:
    """Return the standard error of a proportion among independent draws."""
    return float(np.sqrt(p * (1 - p) / draws))


@cache
def _layout() -> mm.OneWayLayout:
    return mm.oneway("bright ~ operator", mm.load_dataset("pulp"))


@cache
def _pulp_fit(*, reml: bool) -> mm.LMMResult:
    return mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"), reml=reml)


@cache
def _pulp_null() -> mm.LMMResult:
    return mm.lmm("bright ~ 1", mm.load_dataset("pulp"), reml=False)


_GROUPS: dict[str, Callable[[], Values]] = {
    "pulp": pulp_data,
    "ols": least_squares,
    "anova": one_way_anova,
    "ml": lambda: mixed_model(reml=False),
    "reml": lambda: mixed_model(reml=True),
    "lrt": likelihood_ratio,
    "exact_lrt": exact_lrt,
    "exact_rlrt": exact_rlrt,
    "penicillin": lambda: {**penicillin_data(), **penicillin_anova(), **penicillin_tests()},
}
