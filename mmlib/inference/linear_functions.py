"""Linear functions of the fixed effects, with labels: means, slopes, and contrasts of either.

A matrix L whose rows have labels, and Lβ̂ with its covariance. Contrasts are again such functions,
their rows combinations of rows of L; tests, tables and figures read what is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.linalg import null_space

from mmlib.arrays import BoolArray, FloatArray
from mmlib.design.checks import names_in, require_choice, require_names
from mmlib.errors import DataError, RankError
from mmlib.frozen import Frozen, gives_copies
from mmlib.inference.adjust import ADJUSTMENTS, Adjusted, adjusted
from mmlib.inference.contrasts import FAMILIES, coefficients, text_of, texts_of
from mmlib.inference.ddf import Ddf, errors_of, f_test
from mmlib.inference.hypothesis import independent_rows
from mmlib.inference.joint_tests import JointTests
from mmlib.inference.pvalues import HypothesisTest
from mmlib.inference.response_scale import ResponseScale
from mmlib.results.display import Shown, Summary, Table, decimals_for, fixed_point
from mmlib.results.estimates import Fit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Adjust = Literal["none", "tukey", "mvt", "dunnett", "holm", "bonferroni", "bh"]

ESTIMABLE = 1e-8
"""A function is estimable when it is so up to this share of its largest coefficient."""

RESULTS = ("contrast", "mean", "estimate", "se", "df", "lower", "upper", "t", "pvalue")
"""Columns of the tables, whose names no factor can have."""

_METHODS = {
    "kenward-roger": "Degrees of freedom by Kenward and Roger",
    "satterthwaite": "Degrees of freedom by Satterthwaite",
    None: "Normal quantiles, as if the variances were known",
}
_ADJUSTED = {
    "tukey": "by Tukey's studentised range",
    "mvt": "by the distribution of the largest |t| of the family",
    "dunnett": "by the distribution of the largest |t| of the family (Dunnett)",
    "holm": "by Holm; the limits are Bonferroni's",
    "bonferroni": "by Bonferroni",
    "bh": "by Benjamini and Hochberg; the limits are Bonferroni's",
}
_DEFAULT_ADJUST = {"pairwise": "tukey", "reference": "dunnett"}


class _Estimates(NamedTuple):
    """Lβ̂ + shift with its errors; NaN where it is not estimable."""

    estimate: FloatArray
    se: FloatArray
    df: FloatArray
    correlation: FloatArray
    notes: tuple[str, ...]


@gives_copies("labels")
@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class LinearFunctions(Shown, Frozen):
    """Linear functions Lβ of the fixed effects: marginal means, slopes, or contrasts of either.

    Attributes
    ----------
    fit : LMMResult
        The fit that they are functions of; for Kenward and Roger's method one by REML.
    labels : DataFrame
        What each function is: the levels of factors, or the name of a contrast.
    L : ndarray, shape (m, columns of X and those left out of the fit)
        The functions, in the coefficients as the formula gives them.
    kind : {"mean", "slope", "contrast"}
    by : tuple of str
        Labels whose values make families: contrasts, adjustments and tests are within each.
    ddf : {"kenward-roger", "satterthwaite"} or None
    level : float
        Nominal coverage, between 0 and 1.
    caption : str
        What the table is of.
    told : tuple of str
        What was averaged over, where covariates stand, and the like.
    shift : ndarray, shape (m,)
        What is added to Lβ: the offset.
    scale : ResponseScale or None
        How the estimates are taken back to the response, if they are.
    adjust : str
        The adjustment of p-values and limits in each family.
    n_means : int
        How many means a family of contrasts compares.
    over : str
        The factors that the column ``contrast`` compares.
    contrasted : tuple of str
        Factors that were compared before, whose columns hold contrasts.
    """

    fit: Fit
    labels: pd.DataFrame
    L: FloatArray
    kind: Literal["mean", "slope", "contrast"]
    by: tuple[str, ...]
    ddf: Ddf | None
    level: float
    caption: str
    told: tuple[str, ...] = ()
    shift: FloatArray
    scale: ResponseScale | None = None
    adjust: str = "none"
    n_means: int = 1
    over: str = ""
    contrasted: tuple[str, ...] = ()

    # ---- estimates -------------------------------------------------------------------------------

    def to_frame(self) -> pd.DataFrame:
        """The estimates with standard errors and intervals, one row for each function.

        Returns
        -------
        DataFrame
            For means and slopes the factors, then ``mean, se, df, lower, upper``; for contrasts
            ``contrast``, the factors of `by`, then ``estimate, se, df, lower, upper, t, pvalue``.
            What cannot be estimated is NaN; without degrees of freedom ``df`` is infinite.
            ``.attrs["error"]`` bounds the error of p-values that are sums over random points; it is
            0 for all that are computed exactly or by quadrature.

        Examples
        --------
        >>> import mmlib as mm
        >>> fit = mm.lmm("yield ~ treat + (1 | blend)", mm.load_dataset("penicillin"))
        >>> mm.emmeans(fit, "treat").to_frame().round(2)
          treat  mean    se     df  lower  upper
        0     A  84.0  2.47  11.07  78.56  89.44
        1     B  85.0  2.47  11.07  79.56  90.44
        2     C  89.0  2.47  11.07  83.56  94.44
        3     D  86.0  2.47  11.07  80.56  91.44
        """
        known, family = self._estimates, self._adjusted
        reach = family.critical * known.se
        values, lower, upper = known.estimate, known.estimate - reach, known.estimate + reach
        se = known.se
        if self.scale is not None:
            se = se * np.abs(self.scale.slope(values))
            values, lower, upper = (self.scale.back(each) for each in (values, lower, upper))
        name = "estimate" if self.kind == "contrast" else "mean"
        columns = {name: values, "se": se, "df": known.df, "lower": lower, "upper": upper}
        if self.kind == "contrast":
            columns |= {"t": self._t, "pvalue": family.pvalue}
        frame = self.labels.assign(**columns)
        frame.attrs["error"] = family.error
        return frame

    @cached_property
    def _estimates(self) -> _Estimates:
        """Lβ̂ + shift with its errors, NaN where it is not estimable."""
        known = np.asarray(np.isfinite(self.L).all(axis=1))
        known[known] = ~self._strays(self.L[known]).any(axis=1)
        rows = np.where(known[:, None], self.L, 0.0)[:, self.fit.design.kept]
        covariance, df, notes = errors_of(self.fit, rows, self.ddf)
        gap = np.where(known, 0.0, np.nan)
        se = np.sqrt(np.diag(covariance))
        size = np.where(se > 0, se, 1.0) + gap
        estimate = rows @ self.fit.beta + self.shift
        correlation = covariance / np.outer(size, size)
        return _Estimates(estimate + gap, se + gap, df + gap, correlation, notes)

    def _strays(self, L: FloatArray) -> BoolArray:
        """For each row its coefficients of left-out columns, in excess of what X says of them."""
        size = np.abs(L).max(axis=1, initial=0.0, keepdims=True)
        return np.abs(self.fit.design.excess(L)) > ESTIMABLE * size

    @property
    def _t(self) -> FloatArray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return self._estimates.estimate / self._estimates.se

    @cached_property
    def _adjusted(self) -> Adjusted:
        known = self._estimates
        m = len(self.L)
        pvalue, critical, error = np.full(m, np.nan), np.full(m, np.nan), 0.0
        for _, rows in self.families():
            family = adjusted(
                self.adjust,
                self._t[rows],
                known.df[rows],
                known.correlation[np.ix_(rows, rows)],
                level=self.level,
                n_means=self.n_means,
            )
            pvalue[rows], critical[rows] = family.pvalue, family.critical
            error = max(error, family.error)
        return Adjusted(pvalue, critical, error)

    def families(self, by: Sequence[str] | None = None) -> Iterator[tuple[Any, np.ndarray]]:
        """Yield the values of `by` and the rows of each family, in the order of the table."""
        by = list(self.by if by is None else by)
        if not by:
            yield (), np.arange(len(self.L))
            return
        keys = list(self.labels[by].itertuples(index=False, name=None))
        for key in dict.fromkeys(keys):
            yield key, np.array([row for row, other in enumerate(keys) if other == key])

    # ---- contrasts -------------------------------------------------------------------------------

    def contrasts(
        self,
        how: str | Mapping[str, ArrayLike] = "pairwise",
        *,
        adjust: Adjust | None = None,
        by: str | Sequence[str] | None = None,
        ref: Any = None,
    ) -> LinearFunctions:
        r"""Compare the means with each other.

        Parameters
        ----------
        how : str or dict
            ``"pairwise"``: each with each; ``"reference"``: each with `ref`; ``"consecutive"``:
            each with the one before it; ``"polynomial"``: trends over equally spaced levels, in
            whole numbers; ``"deviation"``: each with the average of all. Or a dict of coefficients,
            one for each mean, by the name of the contrast.
        adjust : str, optional
            How p-values and limits allow for the number of comparisons in a family: ``"tukey"``
            (studentised range; the default for ``"pairwise"``), ``"dunnett"`` (the default for
            ``"reference"``), ``"mvt"`` (the distribution of the largest \|t\| of any family),
            ``"bonferroni"``, ``"holm"``, ``"bh"`` (false discoveries), or ``"none"``.
        by : str or sequence of str, optional
            Labels within whose values the means are compared, by default those of the means.
            Contrasts of contrasts (interactions) by default compare the same contrast between the
            values of the remaining factors, as one family.
        ref : optional
            With ``"reference"``, the level that the others are compared with, by default the first;
            several factors as a tuple.

        Returns
        -------
        LinearFunctions
            These have `contrasts` in turn.

        Raises
        ------
        DataError
            If an option is unknown or does not fit the contrasts, or coefficients are too few or
            too many.

        References
        ----------
        Hsu (1996), Multiple Comparisons: Theory and Methods; Tukey (1953) and Kramer (1956) for
        all pairs, Dunnett (1955) for one reference.

        Examples
        --------
        >>> import mmlib as mm
        >>> fit = mm.lmm("yield ~ treat + (1 | blend)", mm.load_dataset("penicillin"))
        >>> mm.emmeans(fit, "treat").contrasts("reference").to_frame().round(3).iloc[1]
        contrast     C - A
        estimate       5.0
        se           2.745
        df            12.0
        lower       -2.364
        upper       12.364
        t            1.822
        pvalue       0.214
        Name: 1, dtype: object
        """
        if not isinstance(how, Mapping):
            require_choice("how", how, FAMILIES)
        elif not how:
            raise DataError("how is an empty dict: it has no contrast.")
        if ref is not None and how != "reference":
            raise DataError("ref goes with how='reference'.")
        within, families = self._compared_within(by)
        adjustment = self._adjustment(how, adjust, merged=len(within) > len(families))
        compared = [str(name) for name in self.labels.columns if name not in within]
        pieces = [
            self._contrasts_of(rows, how, compared, within, ref)
            for _, rows in self.families(within)
        ]
        labels = pd.concat([piece[0] for piece in pieces], ignore_index=True)
        C = np.vstack([piece[1] for piece in pieces])
        scale, notes = self._scale_of(C)
        caption = self.caption
        if self.kind != "contrast":
            caption = f"Contrasts of {caption[0].lower()}{caption[1:]}"
        return replace(
            self,
            labels=labels.astype({"contrast": object}),
            L=_combined(C, self.L),
            shift=C @ self.shift,
            kind="contrast",
            by=tuple(self.over if name == "contrast" else name for name in families),
            caption=caption,
            told=(*self.told, *notes),
            scale=scale,
            adjust=adjustment,
            n_means=max(len(rows) for _, rows in self.families(within)),
            over=":".join(compared),
            contrasted=tuple(
                self.over if name == "contrast" else name
                for name in within
                if name == "contrast" or name in self.contrasted
            ),
        )

    def _compared_within(
        self, by: str | Sequence[str] | None
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The labels within which to compare, and those of the families."""
        known = [str(name) for name in self.labels.columns]
        if by is None:
            left = [name for name in self.by if name not in self.contrasted]
            if self.kind == "contrast" and left:
                return tuple(name for name in known if name not in left), ()
            return self.by, self.by
        wanted = tuple(names_in("by", by))
        require_names("by", wanted, known, "label here")
        if known and set(wanted) == set(known):
            raise DataError("by names every label, so that nothing is left to compare.")
        return wanted, wanted

    def _adjustment(
        self, how: str | Mapping[str, ArrayLike], adjust: str | None, *, merged: bool
    ) -> str:
        if adjust is None:
            family = how if isinstance(how, str) and not merged else ""
            return _DEFAULT_ADJUST.get(family, "none")
        require_choice("adjust", adjust, ADJUSTMENTS)
        for name, needed in (("tukey", "pairwise"), ("dunnett", "reference")):
            if adjust == name and (how != needed or merged):
                raise DataError(
                    f"adjust={name!r} is for one family of contrasts how={needed!r}; "
                    "adjust='mvt' is right for any family."
                )
        return adjust

    def _contrasts_of(
        self,
        rows: np.ndarray,
        how: str | Mapping[str, ArrayLike],
        compared: Sequence[str],
        within: Sequence[str],
        ref: Any,
    ) -> tuple[pd.DataFrame, FloatArray]:
        """The contrasts of one family: their labels, and coefficients of all rows of L."""
        names = self._names(rows, compared)
        if ref is not None:
            ref = self._reference(rows, compared, ref, names)
        sign = "-" if self.scale is None or self.scale.differences() is None else "/"
        found = coefficients(how, names, ref=ref, sign=sign)
        C = np.zeros((len(found), len(self.L)))
        C[:, rows] = list(found.values())
        labels = self.labels.iloc[[rows[0]] * len(found)][list(within)].reset_index(drop=True)
        labels = labels.rename(columns={"contrast": self.over})
        labels.insert(0, "contrast", list(found))
        return labels, C

    def _names(self, rows: np.ndarray, compared: Sequence[str]) -> list[str]:
        """A name for each of some means; a number is preceded by the name of its factor."""
        parts = []
        for name in compared:
            texts = self._texts[name]
            numbers = all(_is_number(text) for text in texts)
            parts.append([f"{name}{texts[row]}" if numbers else texts[row] for row in rows])
        for between in (" ", ", "):  # levels may hold blanks
            names = [between.join(each) for each in zip(*parts, strict=True)]
            if len(set(names)) == len(names):
                break
        return names or ["overall"]

    @cached_property
    def _texts(self) -> dict[str, list[str]]:
        """The labels as texts, by column."""
        return texts_of(self.labels)

    def _reference(
        self, rows: np.ndarray, compared: Sequence[str], ref: Any, names: list[str]
    ) -> str:
        """The name of the mean that `ref` says."""
        wanted = ref if isinstance(ref, tuple) else (ref,)
        table = self.labels.iloc[rows][list(compared)]
        for row, name, values in zip(
            rows, names, table.itertuples(index=False, name=None), strict=True
        ):
            texts = [self._texts[column][row] for column in compared]
            if name == ref or values == wanted or texts == [*map(text_of, wanted)]:
                return name
        return str(ref)

    def _scale_of(self, C: FloatArray) -> tuple[ResponseScale | None, tuple[str, ...]]:
        if self.scale is None:
            return None, ()
        scale = self.scale.differences()
        if scale is None or np.abs(C.sum(axis=1)).max() > ESTIMABLE:
            fitted = self.fit.design.formula.response
            return None, (f"The contrasts are on the fitted scale, {fitted}.",)
        return scale, (
            f"The contrasts are ratios of {scale.response}: their logarithms are tested.",
        )

    # ---- tests, tables, figures ------------------------------------------------------------------

    def joint_test(self) -> JointTests:
        """Test by one F test that the means are equal, or that the contrasts are all zero.

        Kenward and Roger's F with its own scaling and degrees of freedom, or Satterthwaite's; with
        ``ddf=None`` Wald's, with a χ² distribution. There is a test for each value of `by`. If some
        functions cannot be estimated, the part that can is tested.

        Returns
        -------
        JointTests

        Raises
        ------
        RankError
            If nothing of what is to be tested can be estimated.
        DataError
            If there is only one mean.

        Examples
        --------
        >>> import mmlib as mm
        >>> fit = mm.lmm("score ~ Machine + (Machine | Worker)", mm.load_dataset("machines"))
        >>> test = mm.emmeans(fit, "Machine").joint_test()
        >>> round(test.statistic, 3), [round(df, 3) for df in test.df], round(test.pvalue, 5)
        (32.803, [2, 4.0], 0.0033)
        """
        keys, tests = [], []
        for key, rows in self.families():
            keys.append(key)
            tests.append(self._test_of(rows))
        labels = pd.DataFrame(keys, columns=list(self.by), index=range(len(keys)))
        return JointTests(labels=labels, tests=tuple(tests), told=self.told)

    def _test_of(self, rows: np.ndarray) -> HypothesisTest:
        L, shift = self.L[rows], self.shift[rows]
        what = f"all {len(rows)} contrasts are 0"
        if self.kind != "contrast":
            if len(rows) < 2:
                raise DataError(f"there is only one {self.kind}: nothing to test it against.")
            differences = np.eye(len(rows))[1:] - np.eye(len(rows))[0]
            L, shift = _combined(differences, L), differences @ shift
            what = f"all {len(rows)} {self.kind}s are equal"
        L, shift, whole = self._estimable_part(L, shift)
        notes = () if whole else ("Only the part that can be estimated is tested.",)
        test = f_test(self.fit, L[:, self.fit.design.kept], rhs=-shift, ddf=self.ddf)
        return replace(test, hypothesis=what, notes=(*notes, *test.notes))

    def _estimable_part(
        self, L: FloatArray, shift: FloatArray
    ) -> tuple[FloatArray, FloatArray, bool]:
        """Independent rows that span what can be estimated, and whether that is all."""
        defined = np.isfinite(L).all(axis=1)
        L, shift = L[defined], shift[defined]
        whole = bool(defined.all()) and not self._strays(L).any()
        if self._strays(L).any():
            combinations = null_space(self.fit.design.excess(L).T).T
            L, shift = combinations @ L, combinations @ shift
        chosen = independent_rows(L[:, self.fit.design.kept])
        if not len(chosen):
            raise RankError(
                "none of these differences can be estimated from the data, so there is nothing to "
                "test; look at the cells with emmeans(...).to_frame()."
            )
        return L[chosen], shift[chosen], whole

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of the estimates."""
        family = self._adjusted
        lines = [*self.told, f"{_METHODS[self.ddf]}; intervals of {100 * self.level:g}%."]
        several = any(len(rows) > 1 for _, rows in self.families())
        if self.adjust != "none" and several:  # one comparison is adjusted for nothing
            lines.append(f"p-values and limits are adjusted {_ADJUSTED[self.adjust]}.")
        if family.error:
            lines.append(f"The error of the p-values is below {family.error:.1g}.")
        missing = np.flatnonzero(np.isnan(self._estimates.estimate))
        if len(missing):
            names = "; ".join(self.name(int(row)) for row in missing[:6])
            more = f" and {len(missing) - 6} more" if len(missing) > 6 else ""
            lines.append(f"Cannot be estimated from these data: {names}{more}.")
        return (*lines, *self._estimates.notes)

    def name(self, row: int) -> str:
        """What a row is, in words: its contrast or its levels, those of `by` with their factor."""
        texts = {name: column[row] for name, column in self._texts.items()}
        bare = [text for name, text in texts.items() if name not in self.by]
        within = [f"{name} {texts[name]}" for name in self.by]
        return ", ".join([*bare, *within]) or "overall"

    def summary(self) -> Summary:
        """The table with its notes; text when printed, HTML in a notebook.

        Examples
        --------
        >>> import mmlib as mm
        >>> fit = mm.lmm("yield ~ treat + (1 | blend)", mm.load_dataset("penicillin"))
        >>> print(mm.emmeans(fit, "treat").contrasts("consecutive").summary())
        Contrasts of estimated marginal means of yield:
         contrast estimate    se    df  lower upper      t p-value
         B - A         1.0 2.745 12.00 -4.980 6.980  0.364  0.7219
         C - B         4.0 2.745 12.00 -1.980 9.980  1.457  0.1707
         D - C        -3.0 2.745 12.00 -8.980 2.980 -1.093   0.296
        <BLANKLINE>
        Degrees of freedom by Kenward and Roger; intervals of 95%.
        """
        frame = self.to_frame()
        decimals = decimals_for(frame["se"].to_numpy())
        columns: dict[str, Sequence[str]] = dict(self._texts)
        for name in frame.columns[len(self.labels.columns) :]:
            values = frame[name].to_numpy()
            columns[str(name)] = {
                "df": lambda v: [f"{value:.2f}" for value in v],
                "t": lambda v: fixed_point(v, 3),
                "pvalue": lambda v: [f"{value:.4g}" for value in v],
            }.get(str(name), lambda v: fixed_point(v, decimals))(values)
        header = tuple("p-value" if name == "pvalue" else name for name in columns)
        rows = tuple(zip(*columns.values(), strict=True))
        table = Table(self.caption, header, rows, n_labels=len(self.labels.columns))
        return Summary((table, *self.notes))

    def plot(self, *, unit: str | None = None, ax: Axes | None = None) -> Axes:
        """Draw the estimates with their intervals, contrasts beside zero (ratios beside 1).

        Parameters
        ----------
        unit : str, optional
            Unit of the response, for the axis.
        ax : Axes, optional
            Where to draw; by default a new figure.

        Returns
        -------
        Axes

        Examples
        --------
        >>> import mmlib as mm
        >>> fit = mm.lmm("yield ~ treat + (1 | blend)", mm.load_dataset("penicillin"))
        >>> ax = mm.emmeans(fit, "treat").plot()
        >>> [tick.get_text() for tick in ax.get_yticklabels()]
        ['A', 'B', 'C', 'D']
        """
        # Figures stand above inference, and matplotlib is loaded when the first one is asked for.
        drawn: Axes = import_module("mmlib.plots.means").linear_functions(self, unit=unit, ax=ax)
        return drawn


def _combined(C: FloatArray, L: FloatArray) -> FloatArray:
    """CL, in which undefined rows of L spoil only the rows of C that take them."""
    undefined = np.asarray(np.isnan(L).any(axis=1))
    product = C @ np.where(undefined[:, None], 0.0, L)
    product[(C[:, undefined] != 0).any(axis=1)] = np.nan
    return product


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
