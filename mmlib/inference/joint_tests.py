"""F tests that several linear functions are equal or zero, as a table."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from mmlib.errors import DataError
from mmlib.frozen import Frozen, gives_copies
from mmlib.inference.contrasts import texts_of
from mmlib.inference.pvalues import HypothesisTest
from mmlib.results.display import Shown, Summary, Table


@gives_copies("labels")
@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class JointTests(Shown, Frozen):
    """F tests that means are equal or contrasts zero, one for each value of ``by``.

    Attributes
    ----------
    labels : DataFrame
        The values of ``by``, a row for each test.
    tests : tuple of HypothesisTest
    """

    labels: pd.DataFrame
    tests: tuple[HypothesisTest, ...]
    told: tuple[str, ...] = ()

    @property
    def statistic(self) -> float:
        """F, where there is one test."""
        return self._only.statistic

    @property
    def df(self) -> tuple[float, ...]:
        """Degrees of freedom, where there is one test."""
        return self._only.df

    @property
    def pvalue(self) -> float:
        """The p-value, where there is one test."""
        return self._only.pvalue

    @property
    def _only(self) -> HypothesisTest:
        if len(self.tests) > 1:
            raise DataError(f"there are {len(self.tests)} tests; use tests or to_frame().")
        return self.tests[0]

    def to_frame(self) -> pd.DataFrame:
        """The tests, one row for each.

        Returns
        -------
        DataFrame
            The values of ``by``, then ``df1, df2, F, pvalue``.

        Examples
        --------
        >>> import mmlib as mm
        >>> data = mm.load_dataset("oats")
        >>> fit = mm.lmm("yield ~ Variety * C(nitro) + (1 | Block/Variety)", data)
        >>> mm.emmeans(fit, "nitro", by="Variety").joint_test().to_frame().round(4)
               Variety  df1   df2        F  pvalue
        0  Golden Rain    3  45.0  13.0227     0.0
        1   Marvellous    3  45.0   9.9529     0.0
        2      Victory    3  45.0  15.3157     0.0
        """
        return self.labels.assign(
            df1=[int(test.df[0]) for test in self.tests],
            df2=[float(test.df[1]) for test in self.tests],
            F=[test.statistic for test in self.tests],
            pvalue=[test.pvalue for test in self.tests],
        )

    def summary(self) -> Summary:
        """The tests as a table; text when printed, HTML in a notebook."""
        formats = {"df1": "d", "df2": ".2f", "F": ".4f", "pvalue": ".4g"}
        labels = texts_of(self.labels)
        frame = self.to_frame()[list(formats)].rename(columns={"pvalue": "p-value"})
        first = self.tests[0]
        notes = dict.fromkeys(note for test in self.tests for note in test.notes)
        return Summary(
            (
                Table.of(first.method, frame, {**formats, "p-value": ".4g"}, labels=labels),
                f"Null hypothesis: {first.hypothesis}",
                *self.told,
                *notes,
            )
        )
