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


def _each_word(answers: dict[str, str]) -> dict[str, str]:
    """A table with a key for each word, from one in which words of one answer stand together."""
    return {word: answer for words, answer in answers.items() for word in words.split()}


ARGUMENTS = _each_word(
    {
        "REML method": "write reml=True or reml=False",
        "groups": "write the grouping into the formula: y ~ x + (1 | group)",
        "re_formula exog_re random": "write the random part into the formula: y ~ x + (x | group)",
        "vc_formula": "write the random part into the formula: y ~ x + (1 | a) + (1 | b)",
        "family": "there are linear models with normal errors only",
        "control start": "there is nothing to tune; fit.optimum says how the minimum was found",
        "subset": "pass data[condition]",
        "na_action missing": "rows with missing values are left out, with a warning",
        "contrasts": "write them into the formula: C(x, contr.sum)",
        "correlation": "write residual='ar1(time | group)', 'cs(group)' or 'us(visit | group)'",
        "dispformula": "write dispersion='column', a variance for each of its levels",
        "newdata exog": "it is the first argument: fit.predict(new)",
        "re_form": "write random=False for NA, random=None (the default) for NULL",
        "allow_new_levels": "write new_levels='population'",
        "se_fit": "write interval='confidence'; its column se has the standard errors",
        "refit": "nothing is refitted in silence: pass fits by maximum likelihood, reml=False",
        "test mode lmer_df": "write ddf='kenward-roger', ddf='satterthwaite' or ddf=None",
        "typ": "write type=1, 2 or 3",
        "var": "the covariate is the second argument: emtrends(fit, 'x', by='a')",
        "type": "write back=True for the scale of the response",
        "adjust": "it belongs to .contrasts(adjust=...)",
    }
)
"""Arguments of other packages."""

ATTRIBUTES = _each_word(
    {
        "params fe_params coef_ fixed_effects": "fit.fixef()",
        "coefs": "fit.coef_table()",
        "intercept_": "fit.fixef()['Intercept']",
        "bse bse_fe": "fit.coef_table()['Std. Error']",
        "tvalues": "fit.coef_table()['t value']",
        "pvalues": "fit.coef_table(ddf='satterthwaite')['Pr(>|t|)']",
        "conf_int": "fit.coef_table(level=0.95), or fit.confint() for the variances too",
        "cov_params vcov_": "fit.vcov()",
        "random_effects ranefs": "fit.ranef()",
        "random_effects_cov": "fit.cond_var()",
        "cov_re vcomp VarCorr ranef_var": "fit.varcorr()",
        "scale": "fit.sigma ** 2",
        "llf logLik loglike": "fit.loglik",
        "AIC": "fit.aic",
        "BIC": "fit.bic",
        "deviance REMLcrit": "fit.objective",
        "fittedvalues fits": "fit.fitted",
        "get_prediction": "fit.predict(interval='confidence')",
        "df_residual": "fit.df_resid",
        "n": "fit.nobs",
        "isSingular singular": "fit.is_singular",
        "rsquared": "fit.r2()",
        "coefficients": "fit.coef()",
        "model": "fit.design",
        "data": "fit.design.frame",
        "formula": "fit.design.formula",
        "weights": "fit.design.weights",
        "model_matrix exog": "fit.design.X",
        "endog": "fit.design.y",
        "getME": "fit.design or fit.blocks",
        "method": "fit.reml",
        "t_test f_test wald_test": "mm.satterthwaite(fit, 'x = 0')",
        "anova anova_lm": "mm.anova(fit)",
        "emmeans": "mm.emmeans(fit, 'f')",
        "bootstrap": "mm.bootstrap(fit, lambda refit: refit.sigma)",
        "profile profile_re": "mm.profile(fit)",
        "save": "mm.save(fit, 'fit.npz')",
        "plot": "mm.plots.residuals_vs_fitted(fit)",
    }
)
"""Attributes of a fit in other packages, with what is written here."""

NAMES = _each_word(
    {
        "lmer lme mixedlm MixedLM Lmer": "lmm(formula, data)",
        "glmer GLMM glmmTMB nlmer": "lmm(formula, data): there are linear models only",
        "fixef ranef coef vcov confint predict summary": "",
        "r2 icc tidy glance refit residuals influence": "",
        "sigma": "fit.sigma",
        "fitted": "fit.fitted",
        "resid": "fit.resid",
        "nobs": "fit.nobs",
        "bootMer": "bootstrap(fit, lambda refit: refit.sigma)",
        "PBmodcomp": "parametric_bootstrap(small, large)",
        "KRmodcomp": "kenward_roger(fit, 'f')",
        "SATmodcomp": "satterthwaite(fit, 'f')",
        "vcovAdj": "adjusted_vcov(fit)",
        "vcovCR": "fit.vcov('CR2')",
        "Anova drop1": "anova(fit, type=2)",
        "exactLRT": "exact_lrt(small, large)",
        "exactRLRT": "exact_rlrt(fit)",
        "lsmeans ls_means": "emmeans(fit, 'f')",
        "contrast pairs": "emmeans(fit, 'f').contrasts()",
        "powerSim": "power(design, test)",
    }
)
"""Functions of other packages, beside those; of no text, a method of that name."""


def no_attribute(name: str, known: Iterable[str]) -> UnknownAttributeError:
    """The error for an attribute that a fit does not have."""
    return _unknown("a fit has no attribute", name, ATTRIBUTES.get(name), known)


def no_name(name: str, known: Iterable[str]) -> UnknownAttributeError:
    """The error for a name that the library does not have."""
    ours = NAMES.get(name, ATTRIBUTES.get(name))
    return _unknown("mmlib has no", name, f"fit.{name}()" if ours == "" else ours, known)


def _unknown(
    start: str, name: str, ours: str | None, known: Iterable[str]
) -> UnknownAttributeError:
    hint = f": write {ours}" if ours else ""
    offer = "" if ours or name.startswith("_") else did_you_mean(name, known)
    return UnknownAttributeError(f"{start} {name!r}{hint}.{offer}")


FUNCTIONS = _each_word(
    {
        "factor as.factor as_factor": "write C({0}); its levels are in the order of code points, "
        "not of a locale",
        "ordered": "write C({0}, contr.poly)",
        "relevel": "write C({0}, contr.treatment('level')), or order the categories of the column",
        "offset": "pass offset='column' to the fit",
        "ns": "write cr({0}, knots=[...], constraints='center') for the natural spline",
        "lag": "it depends on the order of the rows; compute the column first",
        "Q": "a name of any kind goes in backticks, `{0}`",
        "ifelse": "write np.where(condition, yes, no)",
        "pmin": "write np.minimum(a, b)",
        "pmax": "write np.maximum(a, b)",
        "as.numeric as.integer": "numbers are numbers; for codes of a factor compute the column "
        "first",
        "cut": "compute the column first, by pandas.cut",
        "interaction": "write a:b",
        "dummy": "write np.where({0} == 'level', 1, 0)",
        "s": "smoothing splines are not here; write cr({0}, df=5) for a natural spline",
        "ar1 hetar1 cs homcs us diag": "a structure stands around a random term: "
        "ar1(0 + f | group), f being a factor",
        "car1": "it is a structure of residuals: residual='car1(time | group)'",
        "ou": "write residual='car1(time | group)'",
        "toep rr mat gau homdiag": "of structures there are us, diag, cs, homcs, ar1 and hetar1",
        "hetdiag": "write diag(0 + f | group)",
        "c": "a list is written [a, b]",
    }
)
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
