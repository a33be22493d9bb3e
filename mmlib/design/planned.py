"""Designs of studies that have not been made yet: without a response, or of another size."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mmlib.arrays import IntArray
from mmlib.design.build import build_design, columns_needed
from mmlib.design.checks import require_columns, require_count, require_frame
from mmlib.design.design import Design
from mmlib.design.formula import MixedFormula, parse_formula
from mmlib.design.terms import RandomTerm, check_identifiable, group_codes
from mmlib.errors import DataError, RankError


def plan(
    formula: str | MixedFormula,
    frame: pd.DataFrame,
    *,
    weights: str | ArrayLike | None = None,
    offset: str | ArrayLike | None = None,
) -> Design:
    """Evaluate a formula on the design of a study whose response has not been measured.

    Parameters
    ----------
    formula : str or MixedFormula
        As for `lmm`. Its left side names what will be measured; `frame` need not have it.
    frame : DataFrame
        One row for each observation that is planned.
    weights, offset : column name or array, optional
        As for `lmm`.

    Returns
    -------
    Design
        For `power`. Its ``y`` is noise that stands for a response.

    Raises
    ------
    FormulaError, DataError, RankError
        As `lmm`.

    Examples
    --------
    >>> import mmlib as mm
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"arm": [0, 0, 1, 1] * 3, "site": list("abcdef") * 2})
    >>> mm.plan("score ~ arm + (1 | site)", frame).X.shape
    (12, 2)
    """
    formula, frame = parse_formula(formula), require_frame(frame, "frame")
    name = "response"
    while name in frame.columns or name in str(formula):
        name += "_"
    noise = np.random.default_rng(0).standard_normal(len(frame))
    asked = dataclasses.replace(formula, response=name)
    beside = {given for given in (weights, offset) if isinstance(given, str)}
    needed = beside.union(*columns_needed(asked, frame))
    require_columns(frame, sorted(needed - {name}), "frame")
    design = build_design(
        asked,
        frame.assign(**{name: noise}),
        weights=weights,
        offset=offset,
    )
    return dataclasses.replace(
        design, formula=formula, frame=design.frame.drop(columns=name), y=design.y
    )


@dataclass(frozen=True, eq=False)
class Selection:
    """Rows of a design to take, some of them as a new group.

    Attributes
    ----------
    rows : ndarray of int
        Positions of the rows.
    copies : dict of str to ndarray of int
        For each column whose levels were multiplied, which copy of its level a row belongs to, 0
        being the level itself.
    """

    rows: IntArray
    copies: dict[str, IntArray]

    def apply(self, design: Design) -> Design:
        """The design of these rows; the groups of a copy are new ones.

        Raises
        ------
        RankError, DataError
            If the rows are too few for the model.
        """
        if design.residual is not None:
            raise DataError(
                "a design whose residuals have a structure cannot be extended yet (power, plans of "
                "other sizes); write the structure as a random term, or simulate by fit.simulate."
            )
        X = design.X[self.rows]
        if np.linalg.matrix_rank(X) < design.p or len(X) <= design.p:
            raise RankError(
                f"{len(X)} rows are too few for the {design.p} fixed effects of {design.formula}: "
                "plan more groups or more rows."
            )
        return dataclasses.replace(
            design,
            y=design.y[self.rows],
            X=X,
            terms=tuple(self._term(term, design) for term in design.terms),
            weights=None if design.weights is None else design.weights[self.rows],
            offset=None if design.offset is None else design.offset[self.rows],
            frame=design.frame.iloc[self.rows].reset_index(drop=True),
            n_missing=0,
        )

    def _term(self, term: RandomTerm, design: Design) -> RandomTerm:
        """The term in these rows: its levels within a copy of a level are others."""
        codes = term.codes[self.rows]
        for column, copy in self.copies.items():
            if any(_follows(design.frame, factor, column) for factor in term.part.factors):
                codes = codes * (copy.max() + 1) + copy
        new_codes, levels = pd.factorize(codes)
        if len(levels) < 2:
            raise DataError(
                f"grouping {term.group!r} would have one level: a variance between levels needs at "
                "least two."
            )
        taken = dataclasses.replace(
            term,
            levels=pd.Index(levels, name=term.group),
            codes=new_codes.astype(np.intp),
            model_matrix=term.model_matrix[self.rows],
        )
        if design.sigma is None and not design.structured:
            check_identifiable(taken, len(self.rows))
        return taken

    def with_levels(self, design: Design, column: str, n: int) -> Selection:
        """As many levels of a column as `n`: copies of those there are, or some of them.

        Whole copies of all levels first, then levels evenly spread over those there are, so that
        what alternates between the levels stays as balanced as it can.
        """
        n = require_count(f"n_{column}", n, least=2)
        codes, _ = group_codes(design.frame, [column])
        here = codes[self.rows]
        occurring = np.unique(here)
        whole, rest = divmod(n, len(occurring))
        spread = occurring[np.arange(rest) * len(occurring) // max(rest, 1)]
        chosen = [(level, copy) for copy in range(whole) for level in occurring]
        chosen += [(level, whole) for level in spread]
        positions = [np.flatnonzero(here == level) for level, _ in chosen]
        taken = np.concatenate(positions)
        copies = np.concatenate(
            [np.full(len(p), copy) for p, (_, copy) in zip(positions, chosen, strict=True)]
        )
        kept = {name: values[taken] for name, values in self.copies.items()}
        return Selection(self.rows[taken], {**kept, column: copies})

    def with_rows_per(self, design: Design, column: str, n: int) -> Selection:
        """`n` rows in each level of a column: its rows again and again, or the first of them."""
        n = require_count(f"rows_per_{column}", n)
        codes, _ = group_codes(design.frame, [column])
        here = codes[self.rows] + (codes.max() + 1) * self.copies.get(column, np.intp(0))
        taken = np.concatenate([np.resize(np.flatnonzero(here == k), n) for k in np.unique(here)])
        return Selection(
            self.rows[taken], {name: values[taken] for name, values in self.copies.items()}
        )


def everything(design: Design) -> Selection:
    """All rows of a design as they are."""
    return Selection(np.arange(design.n), {})


def _follows(frame: pd.DataFrame, factor: str, column: str) -> bool:
    """Whether the levels of `factor` lie within levels of `column`, or are those."""
    return len(frame[[factor, column]].drop_duplicates()) == frame[factor].nunique()
