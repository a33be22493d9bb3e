"""From a formula and a DataFrame to a design, with every row accounted for."""

from __future__ import annotations

from itertools import compress
from typing import Any

import pandas as pd
from numpy.typing import ArrayLike

from mmlib.design.build_residual import build_residual, residual_columns
from mmlib.design.checks import (
    as_numbers,
    as_response,
    complete_columns,
    refuse_saturated,
    require_columns,
    require_frame,
    require_positive,
)
from mmlib.design.columns import kind_of, usable_columns
from mmlib.design.design import Design
from mmlib.design.formula import (
    MixedFormula,
    coded_columns,
    only_column,
    parse_formula,
    parse_with_formulaic,
)
from mmlib.design.identify import refuse_unidentified
from mmlib.design.matrix import independent_columns, model_matrix
from mmlib.design.names import unquoted
from mmlib.design.terms import check_structure, group_codes, random_terms
from mmlib.design.words import NaturalSpline
from mmlib.errors import DataError


def build_design(
    formula: str | MixedFormula,
    data: pd.DataFrame,
    *,
    weights: str | ArrayLike | None = None,
    offset: str | ArrayLike | None = None,
    sigma: float | None = None,
    dispersion: str | None = None,
    residual: str | None = None,
) -> Design:
    """Evaluate a formula on data.

    Rows with a missing value in a column that the model uses are left out and counted; the
    caller's data are never changed.

    Parameters
    ----------
    formula : str or MixedFormula
    data : DataFrame
    weights, offset : column name or array, shape (rows of `data`,), optional
    sigma : float, optional
        The residual standard deviation, if it is known.
    dispersion, residual : str, optional
        A column with a residual variance for each level, and the correlation of residuals.

    Returns
    -------
    Design

    Raises
    ------
    FormulaError, DataError, RankError
        If the formula cannot be evaluated, a column cannot be used, or the design cannot identify
        the parameters; the message names the culprit.

    Examples
    --------
    >>> import mmlib as mm
    >>> design = mm.build_design("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    >>> design.X.shape, design.terms[0].Z.shape
    ((20, 1), (20, 4))
    """
    formula, data = parse_formula(formula), require_frame(data)
    response = parse_with_formulaic(f"0 + {formula.response}")
    coded, grouping = columns_needed(formula, data)
    grouping |= residual_columns(dispersion, residual)
    frame, row_weights, row_offset = complete_columns(data, coded | grouping, weights, offset)
    frame = usable_columns(frame, coded - {only_column(response)})

    y = as_response(response_of(response, frame, formula.response))
    fixed = parse_with_formulaic(formula.fixed)
    X, names, spec = model_matrix(fixed, frame, "fixed part", formula.fixed)
    kept = independent_columns(X, row_weights)
    terms = [
        term
        for part in formula.random
        for term in random_terms(part, frame, *group_codes(frame, part.factors))
    ]
    terms.sort(key=lambda term: -term.n_levels)
    of_residuals = build_residual(frame, dispersion, residual)
    for term in terms:
        check_structure(term)
        if of_residuals is not None:
            of_residuals.refuse_crossed(term.codes, str(term.part))
    design = Design(
        formula=formula,
        y=y,
        X=X if kept.all() else X[:, kept],
        fixed_names=tuple(compress(names, kept)),
        terms=tuple(terms),
        weights=row_weights,
        offset=row_offset,
        offset_column=offset if isinstance(offset, str) else None,
        frame=frame,
        n_missing=len(data) - len(frame),
        spec=spec,
        kept=kept,
        kinds={name: kind for name in coded if (kind := kind_of(frame[name]))},
        sigma=None if sigma is None else require_positive("sigma", sigma),
        residual=of_residuals,
    )
    refuse_unidentified(design)
    refuse_saturated(design.n, design.p)
    return design


def columns_needed(formula: MixedFormula, data: pd.DataFrame) -> tuple[set[str], set[str]]:
    """The columns that the expressions of a formula compute with, and those of groupings."""
    try:
        return coded_columns(formula), {name for part in formula.random for name in part.factors}
    except NaturalSpline as error:
        require_columns(data, [unquoted(error.column)])
        raise error.with_knots(as_numbers("x", data[unquoted(error.column)].dropna())) from None


def response_of(expression: Any, frame: pd.DataFrame, text: str) -> pd.Series:
    """The response of a formula, which must be one column."""
    if column := only_column(expression):
        return frame[column]
    values, names, _ = model_matrix(expression, frame, "response", text)
    if len(names) != 1:
        raise DataError(
            f"the response {text!r} must be one numeric column, but gives "
            f"{len(names)}: {', '.join(names[:4])}."
        )
    return pd.Series(values[:, 0], name=text)
