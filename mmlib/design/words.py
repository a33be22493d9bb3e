"""Words of R, lme4 and statsmodels, each with what is written here instead."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from typing import ParamSpec, TypeVar

import numpy as np

from mmlib.design.checks import did_you_mean
from mmlib.errors import DataError, FormulaError, UnknownAttributeError

P = ParamSpec("P")
T = TypeVar("T")

ONE_TOO_MANY = {
    "lmm": "the grouping stands in the formula, and options are keywords: reml=False",
    "lrt": "it compares two fits; call it for each pair",
    "predict": "options are keywords: interval='confidence'",
    "emmeans": "factors are one text or list, 'a*b', and options are keywords: by='b'",
    "emtrends": "factors are a keyword, by='a'",
}
"""What is meant by one argument more than a function takes, by its name."""

ARGUMENTS = {
    "REML": "write reml=True or reml=False",
    "groups": "write the grouping into the formula: y ~ x + (1 | group)",
    "re_formula": "write the random part into the formula: y ~ x + (x | group)",
    "vc_formula": "write the random part into the formula: y ~ x + (1 | a) + (1 | b)",
    "exog_re": "write the random part into the formula: y ~ x + (x | group)",
    "random": "write the random part into the formula: y ~ x + (x | group)",
    "family": "there are linear models with normal errors only",
    "control": "there is nothing to tune; fit.optimum says how the minimum was found",
    "start": "there is nothing to tune; fit.optimum says how the minimum was found",
    "method": "write reml=True or reml=False",
    "subset": "pass data[condition]",
    "na_action": "rows with missing values are left out, with a warning",
    "missing": "rows with missing values are left out, with a warning",
    "contrasts": "write them into the formula: C(x, contr.sum)",
    "correlation": "write residual='ar1(time | group)', 'cs(group)' or 'us(visit | group)'",
    "dispformula": "write dispersion='column', a variance for each of its levels",
    "newdata": "it is the first argument: fit.predict(new)",
    "exog": "it is the first argument: fit.predict(new)",
    "re_form": "write random=False for NA, random=None (the default) for NULL",
    "allow_new_levels": "write new_levels='population'",
    "se_fit": "write interval='confidence'; its column se has the standard errors",
    "refit": "nothing is refitted in silence: pass fits by maximum likelihood, reml=False",
    "test": "write ddf='kenward-roger', ddf='satterthwaite' or ddf=None",
    "typ": "write type=1, 2 or 3",
    "var": "the covariate is the second argument: emtrends(fit, 'x', by='a')",
    "type": "write back=True for the scale of the response",
    "mode": "write ddf='kenward-roger', ddf='satterthwaite' or ddf=None",
    "lmer_df": "write ddf='kenward-roger', ddf='satterthwaite' or ddf=None",
    "adjust": "it belongs to .contrasts(adjust=...)",
}
"""Arguments of other packages."""

ATTRIBUTES = {
    "params": "fit.fixef()",
    "fe_params": "fit.fixef()",
    "coefs": "fit.coef_table()",
    "coef_": "fit.fixef()",
    "intercept_": "fit.fixef()['Intercept']",
    "fixed_effects": "fit.fixef()",
    "bse": "fit.coef_table()['Std. Error']",
    "bse_fe": "fit.coef_table()['Std. Error']",
    "tvalues": "fit.coef_table()['t value']",
    "pvalues": "fit.coef_table(ddf='satterthwaite')['Pr(>|t|)']",
    "conf_int": "fit.coef_table(level=0.95), or fit.confint() for the variances too",
    "cov_params": "fit.vcov()",
    "vcov_": "fit.vcov()",
    "random_effects": "fit.ranef()",
    "random_effects_cov": "fit.cond_var()",
    "ranefs": "fit.ranef()",
    "cov_re": "fit.varcorr()",
    "vcomp": "fit.varcorr()",
    "VarCorr": "fit.varcorr()",
    "ranef_var": "fit.varcorr()",
    "scale": "fit.sigma ** 2",
    "llf": "fit.loglik",
    "logLik": "fit.loglik",
    "loglike": "fit.loglik",
    "AIC": "fit.aic",
    "BIC": "fit.bic",
    "deviance": "fit.objective",
    "REMLcrit": "fit.objective",
    "fittedvalues": "fit.fitted",
    "fits": "fit.fitted",
    "get_prediction": "fit.predict(interval='confidence')",
    "df_residual": "fit.df_resid",
    "n": "fit.nobs",
    "isSingular": "fit.is_singular",
    "singular": "fit.is_singular",
    "rsquared": "fit.r2()",
    "coefficients": "fit.coef()",
    "model": "fit.design",
    "data": "fit.design.frame",
    "formula": "fit.design.formula",
    "weights": "fit.design.weights",
    "model_matrix": "fit.design.X",
    "exog": "fit.design.X",
    "endog": "fit.design.y",
    "getME": "fit.design or fit.blocks",
    "method": "fit.reml",
    "t_test": "mm.satterthwaite(fit, 'x = 0')",
    "f_test": "mm.satterthwaite(fit, 'x = 0')",
    "wald_test": "mm.satterthwaite(fit, 'x = 0')",
    "anova": "mm.anova(fit)",
    "anova_lm": "mm.anova(fit)",
    "emmeans": "mm.emmeans(fit, 'f')",
    "bootstrap": "mm.bootstrap(fit, lambda refit: refit.sigma)",
    "profile": "mm.profile(fit)",
    "profile_re": "mm.profile(fit)",
    "save": "mm.save(fit, 'fit.npz')",
    "plot": "mm.plots.residuals_vs_fitted(fit)",
}
"""Attributes of a fit in other packages, with what is written here."""

NAMES = {
    **dict.fromkeys(("lmer", "lme", "mixedlm", "MixedLM", "Lmer"), "lmm(formula, data)"),
    **dict.fromkeys(
        ("glmer", "GLMM", "glmmTMB", "nlmer"), "lmm(formula, data): there are linear models only"
    ),
    **dict.fromkeys(("fixef", "ranef", "coef", "vcov", "confint", "predict", "summary"), ""),
    **dict.fromkeys(("r2", "icc", "tidy", "glance", "refit", "residuals", "influence"), ""),
    "fixed_effects": "fit.fixef()",
    "logLik": "fit.loglik",
    "AIC": "fit.aic",
    "BIC": "fit.bic",
    "deviance": "fit.objective",
    "isSingular": "fit.is_singular",
    "sigma": "fit.sigma",
    "fitted": "fit.fitted",
    "resid": "fit.resid",
    "nobs": "fit.nobs",
    "getME": "fit.design or fit.blocks",
    "bootMer": "bootstrap(fit, lambda refit: refit.sigma)",
    "PBmodcomp": "parametric_bootstrap(small, large)",
    "KRmodcomp": "kenward_roger(fit, 'f')",
    "SATmodcomp": "satterthwaite(fit, 'f')",
    "vcovAdj": "adjusted_vcov(fit)",
    "vcovCR": "fit.vcov('CR2')",
    "Anova": "anova(fit, type=2)",
    "drop1": "anova(fit, type=2)",
    "exactLRT": "exact_lrt(small, large)",
    "exactRLRT": "exact_rlrt(fit)",
    "lsmeans": "emmeans(fit, 'f')",
    "ls_means": "emmeans(fit, 'f')",
    "contrast": "emmeans(fit, 'f').contrasts()",
    "pairs": "emmeans(fit, 'f').contrasts()",
    "powerSim": "power(design, test)",
}
"""Functions of other packages, with what is written here; of no text, a method of that name."""


def no_attribute(name: str, known: Iterable[str]) -> UnknownAttributeError:
    """The error for an attribute that a fit does not have."""
    hint = f": write {ATTRIBUTES[name]}" if name in ATTRIBUTES else ""
    offer = "" if hint or name.startswith("_") else did_you_mean(name, known)
    return UnknownAttributeError(f"a fit has no attribute {name!r}{hint}.{offer}")


def no_name(name: str, known: Iterable[str]) -> UnknownAttributeError:
    """The error for a name that the library does not have."""
    hint = f": write {NAMES[name] or f'fit.{name}()'}" if name in NAMES else ""
    offer = "" if hint or name.startswith("_") else did_you_mean(name, known)
    return UnknownAttributeError(f"mmlib has no {name!r}{hint}.{offer}")


_AS_FACTOR = "write C({0}); its levels are in the order of code points, not of a locale"
_TERM = "a structure stands around a random term: ar1(0 + f | group), f being a factor"
_NO_STRUCTURE = "of structures there are us, diag, cs, homcs, ar1 and hetar1"
_SPLINE = "write cr({0}, knots=[...], constraints='center') for the natural spline"
FUNCTIONS = {
    "factor": _AS_FACTOR,
    "as.factor": _AS_FACTOR,
    "as_factor": _AS_FACTOR,
    "ordered": "write C({0}, contr.poly)",
    "relevel": "write C({0}, contr.treatment('level')), or order the categories of the column",
    "offset": "pass offset='column' to the fit",
    "ns": _SPLINE,
    "lag": "it depends on the order of the rows; compute the column first",
    "Q": "a name of any kind goes in backticks, `{0}`",
    "ifelse": "write np.where(condition, yes, no)",
    "pmin": "write np.minimum(a, b)",
    "pmax": "write np.maximum(a, b)",
    "as.numeric": "numbers are numbers; for codes of a factor compute the column first",
    "as.integer": "numbers are numbers; for codes of a factor compute the column first",
    "cut": "compute the column first, by pandas.cut",
    "interaction": "write a:b",
    "dummy": "write np.where({0} == 'level', 1, 0)",
    "s": "smoothing splines are not here; write cr({0}, df=5) for a natural spline",
    "ar1": _TERM,
    "hetar1": _TERM,
    "cs": _TERM,
    "homcs": _TERM,
    "us": _TERM,
    "diag": _TERM,
    "car1": "it is a structure of residuals: residual='car1(time | group)'",
    "ou": "write residual='car1(time | group)'",
    "toep": _NO_STRUCTURE,
    "rr": _NO_STRUCTURE,
    "mat": _NO_STRUCTURE,
    "gau": _NO_STRUCTURE,
    "homdiag": _NO_STRUCTURE,
    "hetdiag": "write diag(0 + f | group)",
    "c": "a list is written [a, b]",
}
"""Functions of R that formulas do not have; {0} is the first argument."""

CONSTANTS = {"TRUE": "True", "FALSE": "False", "NULL": "None", "NA": "None"}

CONTRASTS = ("treatment", "sum", "helmert", "poly", "diff", "SAS")
"""Contrasts that formulas know; ``contr.sdif`` of MASS is ``contr.diff``."""


def unknown_function(name: str, code: str, argument: str = "x") -> FormulaError:
    """The error for a function that formulas do not have."""
    hint = FUNCTIONS.get(name, "").format(argument.strip("'\""))
    if not hint:
        ours = f"np.{name}" if hasattr(np, name) else "a function of numpy, as in np.sqrt(x)"
        hint = f"write {ours}, or compute the column first"
    return FormulaError(f"Formulas have no function {name!r} (in {code!r}): {hint}.")


class NaturalSpline(FormulaError):
    """``ns(x, df)`` of R, whose knots are quantiles of x: what to write depends on the data."""

    def __init__(self, code: str, column: str, df: int) -> None:
        super().__init__(str(unknown_function("ns", code, column)))
        self.code, self.column, self.df = code, column, df

    def with_knots(self, values: np.ndarray) -> FormulaError:
        """The error that names the call with the knots of R."""
        knots = np.quantile(values, np.arange(1, self.df) / self.df)
        if not (np.diff([values.min(), *knots, values.max()]) > 0).all():
            return self
        call = f"cr({self.column}, knots={[float(k) for k in knots]}, constraints='center')"
        return FormulaError(
            f"Formulas have no function 'ns' (in {self.code!r}): write {call}, which has the knots "
            "of R and spans the same curves."
        )


def by_our_words(function: Callable[P, T]) -> Callable[P, T]:
    """Answer arguments that `function` does not have with what to write instead."""
    parameters = inspect.signature(function).parameters
    most = sum(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters.values())
    takes_many = any(p.kind is p.VAR_POSITIONAL for p in parameters.values())

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        name = function.__name__
        if len(args) > most and not takes_many:
            raise DataError(f"{name} takes fewer arguments by position: {ONE_TOO_MANY[name]}.")
        for word in kwargs:
            if word not in parameters:
                hint = ARGUMENTS.get(word) or f"it has {', '.join(parameters)}"
                raise DataError(f"{name} has no argument {word!r}: {hint}.")
        return function(*args, **kwargs)

    return checked
