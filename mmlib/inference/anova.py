"""Tables of F tests of the terms of the fixed part: types I, II and III, as in lmerTest.

Kuznetsova, Brockhoff & Christensen (2017), lmerTest, Journal of Statistical Software 82(13),
doi:10.18637/jss.v082.i13; types of hypotheses after SAS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, overload

import numpy as np
import pandas as pd

from mmlib.design.checks import require_choice, require_fit
from mmlib.design.words import by_our_words
from mmlib.errors import DataError
from mmlib.frozen import Frozen
from mmlib.inference.compare import Comparison, compare
from mmlib.inference.ddf import CHOICES, Ddf, f_test
from mmlib.inference.kenward_roger import by_reml
from mmlib.inference.pvalues import HypothesisTest
from mmlib.inference.term_hypotheses import term_hypotheses
from mmlib.results.display import Shown, Summary, Table
from mmlib.results.estimates import Fit
from mmlib.results.summary import DDF

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
        If `ddf` or `type` has another value, or is given with several fits; if the fixed part is
        only the intercept; or if several fits cannot be compared.

    Notes
    -----
    A term A is contained in B if B has all factors of A and more, and the same covariates, however
    these are written. (In type II lmerTest takes ``scale(x)``, ``poly(x, 2)`` and splines for
    factors, though not ``x``: beside their product it tests a factor as if there were none.) Type I
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
    require_choice("ddf", ddf, CHOICES)
    require_choice("type", type, tuple(_TYPES))
    matrices = term_hypotheses(fit.design, type=type)
    if not matrices:
        raise DataError(
            "the fixed part has no term besides the intercept: there is nothing to test."
        )
    tests = {name: f_test(fit, L, ddf=ddf) for name, L in matrices.items()}
    if ddf is None:  # as in lme4, no reference distribution at all
        tests = {k: replace(test, df=test.df[:1], pvalue=np.nan) for k, test in tests.items()}
    notes = tuple(dict.fromkeys(note for each in tests.values() for note in each.notes))
    tested = fit if fit.reml or ddf != "kenward-roger" else by_reml(fit)
    return AnovaTable(
        title=f"Analysis of variance of type {_TYPES[type]}, {_METHODS[ddf]}",
        tests=tests,
        sigma2=tested.sigma**2,
        notes=notes,
    )
