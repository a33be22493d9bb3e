"""A fit without rows as names and numbers: how columns are coded, levels, sums over rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any

import numpy as np
import pandas as pd
from formulaic import ModelSpec
from formulaic.materializers.base import EncodedTermStructure
from formulaic.materializers.types import EvaluatedFactor, FactorValues, ScopedFactor, ScopedTerm
from formulaic.parser.types import Factor

from mmlib.arrays import Meeting
from mmlib.design import slim
from mmlib.design.facts import Facts
from mmlib.design.formula import MixedFormula, RandomPart, parse_formula, parse_with_formulaic
from mmlib.design.names import shown
from mmlib.design.parts import DesignOfParts, terms_without_rows
from mmlib.design.terms import RandomTerm
from mmlib.engine.grouping import term_triangles
from mmlib.engine.parts import CrossProducts, RowlessBlocks
from mmlib.errors import DataError
from mmlib.model import LMMResult

OF_SLIM = ("log_det_weights", *slim.OF_ROWS, "residual_quantiles")
"""What a design has that had rows."""

OF_INTERCEPT = {"factors": {}, "transforms": {}, "terms": [[[[[], 1]], ["Intercept"]]]}
"""How a random intercept is coded, which some files leave out."""

IN_FILES = {
    "functions_of_cells": "functions",
    "residual_quantiles": "quantiles",
    "lowest_correlation": "lowest",
}
"""What files call by a shorter name."""


def rowless(fit: LMMResult) -> dict[str, Any]:
    """What a fit without rows is made of: numbers, texts, arrays and columns.

    The names are the file's: ``design`` and ``facts`` have counts and what means average over,
    ``fixed`` and ``terms`` how columns are coded, with R of each term's columns, and ``sums`` the
    `CrossProducts`.
    """
    design, blocks = fit.design, fit.blocks
    is_slim = isinstance(design, slim.SlimDesign)
    triangles, sums = term_triangles(blocks.groupings), CrossProducts.of(blocks)
    meetings = [[g, h, *vars(met).values()] for (g, h), met in sums.meetings.items()]
    return {
        "design": _to_file(design, (*slim.OF_DESIGN, *OF_SLIM * is_slim)),
        "facts": vars(design.facts) if is_slim else None,
        "residual": design.residual and _to_file(design.residual, slim.OF_RESIDUAL),
        "fixed": {"coding": _coding(design.spec), "kept": design.kept},
        "kinds": design.kinds,
        "terms": [_term(term, design.formula.random, triangles[term]) for term in design.terms],
        "sums": {**vars(sums), "meetings": meetings},
    }


def _to_file(owner: object, names: Sequence[str]) -> dict[str, Any]:
    return {IN_FILES.get(name, name): getattr(owner, name) for name in names}


def _of_file(saved: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    in_file = {name: IN_FILES.get(name, name) for name in names}
    # Older files of data in parts lack how columns depend on each other.
    return {name: saved[key] for name, key in in_file.items() if key in saved}


def _term(term: RandomTerm, parts: Sequence[RandomPart], triangle: np.ndarray) -> dict[str, Any]:
    own = term.part  # that of the formula, or one of the columns of a part with ``||``
    found = [part == own or (bool(part.whole) and part.group == own.group) for part in parts]
    return {
        "part": found.index(True),
        "expr": term.part.expr,
        "columns": term.columns,
        "positions": vars(term)["_positions"],
        "levels": term.levels,
        "coding": _coding(term.spec),
        "triangle": triangle,
    }


def _coding(spec: ModelSpec) -> dict[str, Any]:
    """How formulaic codes the columns: what it remembers, and its terms in factors."""
    return {
        "factors": {
            code: [kind.value, {key: each for key, each in state.items() if key != "contrasts"}]
            for code, (kind, state) in spec.encoder_state.items()
        },
        "transforms": spec.transform_state,
        "terms": [
            [
                [
                    [[[each.factor.expr, each.reduced] for each in scoped.factors], scoped.scale]
                    for scoped in term.scoped_terms
                ],
                term.columns,
            ]
            for term in spec.structure
        ],
    }


def restored(formula: str, saved: Mapping[str, Any], theta: np.ndarray) -> RowlessBlocks:
    """The cross-products that a file holds, of a design without rows."""
    parsed, residual, facts = parse_formula(formula), saved["residual"], saved["facts"]
    spec, kept = _spec(parsed.fixed, saved["fixed"]["coding"]), saved["fixed"]["kept"]
    terms = [_restored_term(each, parsed) for each in saved["terms"]]
    known = {
        "formula": parsed,
        "fixed_names": tuple(compress(shown(spec.column_names), kept)),
        "kept": kept,
        "kinds": saved["kinds"],
        "terms": terms_without_rows(terms, [each["triangle"] for each in saved["terms"]]),
        "residual": residual and slim.SlimResidual.of(**_of_file(residual, slim.OF_RESIDUAL)),
        "spec": spec,
    }
    design: DesignOfParts
    if facts is None:
        design = DesignOfParts.of(**known, **_of_file(saved["design"], slim.OF_DESIGN))
    else:
        design = slim.SlimDesign.of(
            **known,
            **_of_file(saved["design"], (*slim.OF_DESIGN, *OF_SLIM)),
            facts=Facts(**facts),
        )
    sums = saved["sums"]
    meetings = {(g, h): Meeting(*met) for g, h, *met in sums["meetings"]}
    sums = CrossProducts(**{**sums, "meetings": meetings})
    return RowlessBlocks(design, sums, design.phi(theta))


def _restored_term(saved: Mapping[str, Any], formula: MixedFormula) -> RandomTerm:
    part = formula.random[saved["part"]]
    labels: pd.DataFrame = saved["levels"]
    levels = (
        pd.Index(labels.iloc[:, 0], name=labels.columns[0])
        if labels.shape[1] == 1
        else pd.MultiIndex.from_frame(labels)
    )
    text = part.whole or part.expr
    return RandomTerm(
        part if saved["expr"] == part.expr else RandomPart(saved["expr"], part.factors),
        saved["columns"],
        levels,
        np.zeros(0, dtype=np.intp),
        np.zeros((0, len(saved["columns"]))),
        _spec(text, saved["coding"] or OF_INTERCEPT),
        saved["positions"],
    )


def _spec(text: str, coding: Mapping[str, Any]) -> ModelSpec:
    """Formulaic's specification of an expression, as the fit had it.

    Raises
    ------
    DataError
        If the file says other terms than the formula.
    """
    formula = parse_with_formulaic(text)
    factors = {factor.expr: factor for term in formula for factor in term.factors}
    try:
        structure = [
            EncodedTermStructure(
                term,
                [
                    ScopedTerm([_scoped(factors[code], reduced) for code, reduced in each], scale)
                    for each, scale in scoped
                ],
                columns,
            )
            for term, (scoped, columns) in zip(formula, coding["terms"], strict=True)
        ]
    except (KeyError, ValueError):
        raise DataError(f"the file does not say how {text!r} is coded: it is damaged.") from None
    return ModelSpec(
        formula=formula,
        materializer="mmlib",
        materializer_params={},
        na_action="ignore",
        output="numpy",
        structure=structure,
        transform_state=coding["transforms"],
        encoder_state={
            code: (Factor.Kind(kind), state) for code, (kind, state) in coding["factors"].items()
        },
    )


def _scoped(factor: Factor, reduced: bool) -> ScopedFactor:
    return ScopedFactor(EvaluatedFactor(factor, FactorValues(None)), reduced)
