"""Tables of F tests of the terms of the fixed part: types I, II and III, as in lmerTest.

Kuznetsova, Brockhoff & Christensen (2017), lmerTest, Journal of Statistical Software 82(13),
doi:10.18637/jss.v082.i13; types of hypotheses after SAS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from mmlib.arrays import FloatArray, weigh
from mmlib.design.build import Design, FixedTerm
from mmlib.design.checks import require_choice, require_fit
from mmlib.errors import DataError
from mmlib.inference.kenward_roger import adjusted_vcov, kenward_roger
from mmlib.inference.report import HypothesisTest
from mmlib.inference.satterthwaite import satterthwaite
from mmlib.results.display import Summary, Table
from mmlib.results.fit import Fit

ROUNDING = 1e-10
"""Entries of a hypothesis matrix below this share of the largest are rounding."""

Ddf = Literal["kenward-roger", "satterthwaite"]

_TYPES = {1: "I", 2: "II", 3: "III"}
_METHODS = {
    "kenward-roger": "degrees of freedom by Kenward and Roger",
    "satterthwaite": "degrees of freedom by Satterthwaite",
    None: "without denominator degrees of freedom",
}


@dataclass(frozen=True, eq=False, repr=False)
class AnovaTable:
    """F tests of the terms of the fixed part.

    Attributes
    ----------
    title : str
        The type of hypotheses and the method.
    tests : dict of str to HypothesisTest
        The test of each term; its ``df`` has no denominator where none was asked for.
    sigma2 : float
        Residual variance σ̂², by which F is multiplied to give the mean square.
    notes : tuple of str
        What a reader must know before trusting the p-values.
    """

    title: str
    tests: dict[str, HypothesisTest]
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
        frame = self.to_frame()
        formats = {"DenDF": ".2f", "Pr(>F)": ".4g", "NumDF": "d"}
        cells = [
            [f"{value:{formats.get(str(name), '.4f')}}" for value in frame[name]]
            for name in frame.columns
        ]
        rows = tuple(zip(frame.index, *cells, strict=True))
        return Summary((Table(self.title, ("", *frame.columns), rows), *self.notes))

    def __repr__(self) -> str:
        return str(self.summary())

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()


def anova(
    fit: Fit,
    *,
    ddf: Ddf | None = "kenward-roger",
    type: Literal[1, 2, 3] = 3,  # noqa: A002 - the name that users of R and of SAS know
) -> AnovaTable:
    """Test every term of the fixed part by an F test.

    Parameters
    ----------
    fit : LMMResult
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
    AnovaTable

    Raises
    ------
    DataError
        If `ddf` or `type` is another value, or the fixed part has nothing but the intercept.

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


def coef_table(fit: Fit, *, ddf: Ddf | None) -> pd.DataFrame:
    """What `LMMResult.coef_table` gives."""
    require_choice("ddf", ddf, tuple(_METHODS))
    if ddf == "kenward-roger" and not fit.reml:
        raise DataError(
            "the estimates are by maximum likelihood, but Kenward and Roger's standard errors are "
            "for REML: use fit.refit(reml=True).coef_table(ddf='kenward-roger')."
        )
    covariance = adjusted_vcov(fit) if ddf == "kenward-roger" else fit.vcov()
    se = np.sqrt(np.diag(covariance))
    columns = {"Estimate": fit.beta, "Std. Error": se, "t value": fit.beta / se}
    if ddf is not None:
        tests = [_tester(ddf)(fit, row) for row in np.eye(fit.design.p)]
        columns["df"] = np.array([test.df[1] for test in tests])
        columns["t value"] = columns.pop("t value")
        columns["Pr(>|t|)"] = np.array([test.pvalue for test in tests])
    return pd.DataFrame(columns, index=list(fit.design.fixed_names))


def term_hypotheses(design: Design, *, type: Literal[1, 2, 3]) -> dict[str, FloatArray]:  # noqa: A002
    """The hypothesis matrix of each term of the fixed part, the intercept excepted.

    With a single term all types are one. The rows are those of lmerTest, up to their order.

    Returns
    -------
    dict of str to ndarray, shape (ℓ, p)
    """
    terms = [term for term in design.fixed_terms if term.columns]
    tested = [term for term in terms if term.name != "1"]
    if type == 1 or len(tested) == 1:
        return {term.name: _sequential(design, term, terms) for term in tested}
    containing = {term: [other for other in terms if _contains(other, term)] for term in tested}
    functions = _functions_of_cells(design) if type == 3 and any(containing.values()) else None
    matrices = {}
    for term, higher in containing.items():
        if not higher:
            matrices[term.name] = np.eye(design.p)[list(term.columns)]
        elif functions is None:
            lower = [each for each in terms if each not in (term, *higher)]
            matrices[term.name] = _sequential(design, term, [*lower, term, *higher])
        else:
            matrices[term.name] = _averaged(functions, term, higher)
    return matrices


def _contains(other: FixedTerm, term: FixedTerm) -> bool:
    return other.factors > term.factors and other.covariates == term.covariates


def _sequential(design: Design, term: FixedTerm, order: Sequence[FixedTerm]) -> FloatArray:
    """The hypothesis that adding `term` after those before it in `order` explains nothing.

    With X = QR in that order, the term's rows of R, scaled to a diagonal of one.
    """
    columns = [column for each in order for column in each.columns]
    R = np.linalg.qr(weigh(design.root_weights, design.X[:, columns]), mode="r")
    L = np.zeros_like(R)
    L[:, columns] = R / np.diag(R)[:, None]
    return _without_rounding(L[[columns.index(column) for column in term.columns]])


def _functions_of_cells(design: Design) -> FloatArray:
    """The coefficients as functions of those of the design with all indicator columns: X⁺D."""
    solution = np.linalg.lstsq(design.X, design.dummy_coded(), rcond=None)[0]
    return np.asarray(solution, dtype=np.float64)


def _averaged(
    functions: FloatArray, term: FixedTerm, containing: Sequence[FixedTerm]
) -> FloatArray:
    """The term's functions of the cells, made orthogonal to those of the terms that contain it."""
    p = len(functions)
    L = np.eye(p)[list(term.columns)]
    higher = [column for other in containing for column in other.columns]
    shares, *_ = np.linalg.lstsq(functions[higher].T, functions[list(term.columns)].T, rcond=None)
    L[:, higher] = -shares.T
    return _without_rounding(L)


def _without_rounding(L: FloatArray) -> FloatArray:
    return np.where(np.abs(L) > ROUNDING * np.abs(L).max(), L, 0.0)


def _tester(ddf: str | None) -> Callable[[Fit, FloatArray], HypothesisTest]:
    if ddf == "kenward-roger":
        return kenward_roger
    if ddf == "satterthwaite":
        return satterthwaite
    return _wald


def _wald(fit: Fit, L: FloatArray) -> HypothesisTest:
    """Wald's F, without a reference distribution."""
    distance = L @ fit.beta
    quadratic = distance @ np.linalg.solve(L @ fit.vcov().to_numpy() @ L.T, distance)
    return HypothesisTest(
        method="Wald F",
        hypothesis="Lβ = 0",
        statistic_name="F",
        statistic=float(quadratic) / len(L),
        df=(len(L),),
        pvalue=float("nan"),
    )
