"""Tables of F tests of the terms of the fixed part: types I, II and III, as in lmerTest.

Kuznetsova, Brockhoff & Christensen (2017), lmerTest, Journal of Statistical Software 82(13),
doi:10.18637/jss.v082.i13; types of hypotheses after SAS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, overload

import numpy as np
import pandas as pd

from mmlib.arrays import FloatArray
from mmlib.design.checks import check_level, require_choice, require_fit
from mmlib.design.words import by_our_words
from mmlib.errors import DataError
from mmlib.frozen import Frozen
from mmlib.inference.compare import Comparison, compare
from mmlib.inference.kenward_roger import adjusted_vcov, kenward_roger
from mmlib.inference.pvalues import HypothesisTest, t_quantile, two_sided_t, wald_f
from mmlib.inference.robust import Robust, robust_covariance
from mmlib.inference.satterthwaite import satterthwaite
from mmlib.inference.term_hypotheses import term_hypotheses
from mmlib.results.display import Shown, Summary, Table
from mmlib.results.estimates import Fit
from mmlib.results.summary import DDF

Ddf = Literal["kenward-roger", "satterthwaite"]

_TYPES = {1: "I", 2: "II", 3: "III"}
_METHODS: dict[str | None, str] = dict(DDF) | {None: "without denominator degrees of freedom"}


@dataclass(frozen=True, eq=False, repr=False)
class AnovaTable(Shown, Frozen):
    """F tests of the terms of the fixed part.

    Attributes
    ----------
    title : str
        The type of hypotheses and the method.
    tests : mapping of str to HypothesisTest
        The test of each term; its ``df`` has no denominator where none was asked for.
    sigma2 : float
        Residual variance σ̂², by which F is multiplied to give the mean square.
    notes : tuple of str
        What a reader must know before trusting the p-values.
    """

    title: str
    tests: Mapping[str, HypothesisTest]
    sigma2: float
    notes: tuple[str, ...]

    def to_frame(self) -> pd.DataFrame:
        """The table, one row for each term.

        Returns
        -------
        DataFrame
            Columns ``Sum Sq, Mean Sq, NumDF, DenDF, F value, Pr(>F)``. The mean square is F·σ̂², as
            in lmerTest, and the sum of squares NumDF times that: in balanced designs those of
            the classical table. ``DenDF`` and ``Pr(>F)`` are left out with ``ddf=None``.
        """
        rows = [
            {
                "Sum Sq": test.df[0] * test.statistic * self.sigma2,
                "Mean Sq": test.statistic * self.sigma2,
                "NumDF": int(test.df[0]),
                **({"DenDF": test.df[1]} if len(test.df) > 1 else {}),
                "F value": test.statistic,
                **({"Pr(>F)": test.pvalue} if len(test.df) > 1 else {}),
            }
            for test in self.tests.values()
        ]
        return pd.DataFrame(rows, index=list(self.tests))

    def __getitem__(self, column: str) -> pd.Series[Any]:
        return self.to_frame()[column]

    def summary(self) -> Summary:
        """The table with its notes; text when printed, HTML in a notebook."""
        formats = {"DenDF": ".2f", "Pr(>F)": ".4g", "NumDF": "d"}
        return Summary((Table.of(self.title, self.to_frame(), formats), *self.notes))


@overload
def anova(
    fit: Fit,
    *,
    ddf: Ddf | None = "kenward-roger",
    type: Literal[1, 2, 3] = 3,
) -> AnovaTable: ...


@overload
def anova(fit: Fit, other: Fit, /, *others: Fit) -> Comparison: ...


@by_our_words
def anova(
    fit: Fit,
    *others: Fit,
    ddf: Ddf | None = "kenward-roger",
    type: Literal[1, 2, 3] = 3,  # noqa: A002 - the name that users of R and of SAS know
) -> AnovaTable | Comparison:
    """Test every term of the fixed part by an F test; or compare several fits.

    Parameters
    ----------
    fit : LMMResult
    *others : LMMResult
        More fits to the same data: the result is that of `compare`, and the options below, which
        are for one fit, do not apply.
    ddf : {"kenward-roger", "satterthwaite"} or None
        Where the denominator degrees of freedom come from; with None there are neither these nor
        p-values, as in lme4's ``anova``.
    type : {3, 2, 1}
        Which hypotheses. Type I: each term after those before it. Type II: each term after all
        that do not contain it. Type III (the default, as in lmerTest): each term averaged with
        equal weight over the levels of the factors in the terms that contain it, whatever
        contrasts the fit has. Without interactions, II and III are the same.

    Returns
    -------
    AnovaTable, or with several fits Comparison

    Raises
    ------
    DataError
        If `ddf` or `type` is another value, or goes with several fits; if the fixed part has
        nothing but the intercept; or if several fits cannot be compared.

    Notes
    -----
    A term A is contained in B if B has all factors of A and more, and the same covariates. Type I
    uses the weighted rows where the fit has prior weights, as ``lm`` does.

    References
    ----------
    Kuznetsova, Brockhoff & Christensen (2017), Journal of Statistical Software 82(13),
    doi:10.18637/jss.v082.i13.

    Examples
    --------
    >>> import mmlib as mm
    >>> fit = mm.lmm("yield ~ treat + (1 | blend)", mm.load_dataset("penicillin"))
    >>> mm.anova(fit).to_frame().round(4).loc["treat"].tolist()
    [70.0, 23.3333, 3.0, 12.0, 1.2389, 0.3387]
    """
    if others:
        if (ddf, type) != ("kenward-roger", 3):
            raise DataError("ddf= and type= are for the terms of one fit; leave them out.")
        return compare(fit, *others)
    require_fit(fit)
    require_choice("ddf", ddf, tuple(_METHODS))
    require_choice("type", type, tuple(_TYPES))
    matrices = term_hypotheses(fit.design, type=type)
    if not matrices:
        raise DataError(
            "the fixed part has no term besides the intercept: there is nothing to test."
        )
    test = _tester(ddf)
    tests = {name: test(fit, L) for name, L in matrices.items()}
    notes = tuple(dict.fromkeys(note for each in tests.values() for note in each.notes))
    tested = fit if fit.reml or ddf != "kenward-roger" else fit.refit(reml=True)
    return AnovaTable(
        title=f"Analysis of variance of type {_TYPES[type]}, {_METHODS[ddf]}",
        tests=tests,
        sigma2=tested.sigma**2,
        notes=notes,
    )


def coef_table(
    fit: Fit,
    *,
    ddf: Ddf | None,
    level: float | None = None,
    robust: Robust | None = None,
    cluster: str | None = None,
) -> pd.DataFrame:
    """What `LMMResult.coef_table` gives."""
    require_choice("ddf", ddf, tuple(_METHODS))
    if level is not None:
        check_level(level)
    if robust is not None:
        table = _robust_table(fit, ddf, robust, cluster)
    elif cluster is not None:
        raise DataError("cluster= belongs to robust=: coef_table(robust='CR2', cluster=...).")
    else:
        table = _model_table(fit, ddf)
    if level is None:
        return table
    dfs = table["df"].to_numpy() if "df" in table else np.inf
    reach = t_quantile((1 + level) / 2, dfs) * table["Std. Error"]
    return table.assign(lower=table["Estimate"] - reach, upper=table["Estimate"] + reach)


def _model_table(fit: Fit, ddf: Ddf | None) -> pd.DataFrame:
    """Estimates with the model's own standard errors."""
    if ddf == "kenward-roger" and not fit.reml:
        raise DataError(
            "the estimates are by maximum likelihood, but Kenward and Roger's standard errors are "
            "for REML: use fit.refit(reml=True).coef_table(ddf='kenward-roger')."
        )
    covariance = adjusted_vcov(fit) if ddf == "kenward-roger" else fit.vcov()
    dfs = None
    if ddf is not None:
        dfs = np.array([_tester(ddf)(fit, row).df[1] for row in np.eye(fit.design.p)])
    return _t_table(fit, np.sqrt(np.diag(covariance)), dfs)


def _robust_table(fit: Fit, ddf: Ddf | None, robust: Robust, cluster: str | None) -> pd.DataFrame:
    """Estimates with cluster-robust standard errors and their own degrees of freedom."""
    if ddf is not None:
        raise DataError(
            "robust= has degrees of freedom of its own (Pustejovsky and Tipton): leave ddf= out."
        )
    known = robust_covariance(fit, robust, cluster)
    dfs = np.array([known.df(row) for row in np.eye(fit.design.p)])
    return _t_table(fit, np.sqrt(np.diag(known.vcov)), dfs)


def _t_table(fit: Fit, se: FloatArray, dfs: FloatArray | None) -> pd.DataFrame:
    columns = {"Estimate": fit.beta, "Std. Error": se}
    if dfs is not None:
        columns["df"] = dfs
    columns["t value"] = fit.beta / se
    if dfs is not None:
        columns["Pr(>|t|)"] = two_sided_t(np.abs(columns["t value"]), dfs)
    table = pd.DataFrame(columns, index=list(fit.design.fixed_names))
    return table.reindex(fit.design.all_names) if fit.design.aliased else table


def _tester(ddf: str | None) -> Callable[[Fit, FloatArray], HypothesisTest]:
    if ddf == "kenward-roger":
        return kenward_roger
    if ddf == "satterthwaite":
        return satterthwaite
    return _wald


def _wald(fit: Fit, L: FloatArray) -> HypothesisTest:
    """Wald's F, without a reference distribution."""
    return HypothesisTest(
        method="Wald F",
        hypothesis="Lβ = 0",
        statistic_name="F",
        statistic=wald_f(L, L @ fit.beta, fit.vcov().to_numpy()),
        df=(len(L),),
        pvalue=float("nan"),
    )
