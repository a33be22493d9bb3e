"""A fit without rows as names and numbers: how columns are coded, levels, sums over rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from formulaic import ModelSpec
from formulaic.materializers.base import EncodedTermStructure
from formulaic.materializers.types import (
    EvaluatedFactor,
    FactorValues,
    ScopedFactor,
    ScopedTerm,
)
from formulaic.parser.types import Factor

from mmlib.arrays import Meeting
from mmlib.design.facts import Facts
from mmlib.design.formula import MixedFormula, RandomPart, parse_formula, parse_with_formulaic
from mmlib.design.names import shown
from mmlib.design.parts import DesignOfParts
from mmlib.design.slim import SlimDesign, SlimResidual, slim_terms
from mmlib.design.terms import RandomTerm
from mmlib.engine.grouping import term_triangles
from mmlib.engine.parts import CrossProducts, RowlessBlocks
from mmlib.errors import DataError
from mmlib.frozen import read_only
from mmlib.model import LMMResult

PLAIN = ("n_missing", "offset_column", "sigma", "_n", "_sum_log_weights")
"""What every design without rows has,"""

OF_SLIM = ("_log_det_weights", "_mean_offset", "_dependence", "_functions", "_R", "_quantiles")
"""and what one has that had them."""

OF_RESIDUAL = (
    *("dispersion", "kind", "time", "group", "levels", "visits"),
    *("_lowest", "_n_subjects"),
)
"""The structure of the residuals."""


def rowless(fit: LMMResult) -> dict[str, Any]:
    """What a fit without rows is made of: numbers, texts, arrays and columns.

    The names are the file's: ``design`` and ``facts`` have counts and what means average over,
    ``fixed`` and ``terms`` how columns are coded, with R of each term's columns, and ``sums`` the
    `CrossProducts`.
    """
    design, blocks = fit.design, fit.blocks
    names = (*PLAIN, *OF_SLIM) if isinstance(design, SlimDesign) else PLAIN
    triangles = term_triangles(blocks.groupings)
    return {
        "design": {name.lstrip("_"): vars(design)[name] for name in names},
        "facts": vars(design.facts) if isinstance(design, SlimDesign) else None,
        "residual": design.residual
        and {name.lstrip("_"): vars(design.residual)[name] for name in OF_RESIDUAL},
        "fixed": {"coding": _coding(vars(design)["_spec"]), "kept": design.kept},
        "kinds": design.kinds,
        "terms": [_term(term, design.formula.random, triangles[term]) for term in design.terms],
        "sums": _sums(CrossProducts.of(blocks)),
    }


def _term(term: RandomTerm, parts: Sequence[RandomPart], triangle: np.ndarray) -> dict[str, Any]:
    same = [part.group == term.group and _covers(part, term.part) for part in parts]
    return {
        "part": same.index(True),
        "expr": term.part.expr,
        "columns": term.columns,
        "positions": vars(term)["_positions"],
        "levels": term.levels,
        "coding": _coding(term.spec) if isinstance(term.spec, ModelSpec) else None,
        "triangle": triangle,
    }


def _covers(part: RandomPart, own: RandomPart) -> bool:
    """Whether a term is that of a part of the formula, or one of the columns of ``||``."""
    return part == own or bool(part.whole)


def _sums(sums: CrossProducts) -> dict[str, Any]:
    meetings = [[g, h, *vars(met).values()] for (g, h), met in sums.meetings.items()]
    return {**vars(sums), "meetings": meetings}


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


def restored(
    formula: str, saved: Mapping[str, Any], theta: np.ndarray
) -> tuple[DesignOfParts, RowlessBlocks]:
    """The design and the cross-products that a file holds."""
    parsed = parse_formula(formula)
    is_slim = saved["facts"] is not None
    design: DesignOfParts = object.__new__(SlimDesign if is_slim else DesignOfParts)
    values = saved["design"]
    spec = _spec(parsed.fixed, saved["fixed"]["coding"])
    kept, names = saved["fixed"]["kept"], shown(spec.column_names)
    terms = [_restored_term(each, parsed) for each in saved["terms"]]
    vars(design).update(
        {name: read_only(values[name.lstrip("_")]) for name in (*PLAIN, *OF_SLIM * is_slim)},
        formula=parsed,
        fixed_names=tuple(name for name, keep in zip(names, kept, strict=True) if keep),
        aliased=tuple(name for name, keep in zip(names, kept, strict=True) if not keep),
        kept=read_only(kept),
        kinds=read_only(saved["kinds"]),
        terms=slim_terms(terms, [each["triangle"] for each in saved["terms"]]),
        weights=None,
        offset=None,
        residual=saved["residual"] and _restored_residual(saved["residual"]),
        _spec=spec,
    )
    if is_slim:
        facts = saved["facts"]
        covariates = {name: tuple(each) for name, each in facts["covariates"].items()}
        vars(design)["_facts"] = Facts(
            tuple(facts["names"]), facts["cells"], facts["counts"], covariates
        )
    sums = saved["sums"]
    meetings = {(g, h): Meeting(*met) for g, h, *met in sums["meetings"]}
    blocks = RowlessBlocks(
        design,
        CrossProducts(**{**sums, "meetings": meetings}),
        theta if design.residual is not None else None,
    )
    return design, blocks


def _restored_residual(saved: Mapping[str, Any]) -> SlimResidual:
    residual = object.__new__(SlimResidual)
    values = {name: saved[name.lstrip("_")] for name in OF_RESIDUAL}
    values |= {name: tuple(values[name]) for name in ("levels", "visits")}
    vars(residual).update(values)
    return residual


def _restored_term(saved: Mapping[str, Any], formula: MixedFormula) -> RandomTerm:
    part = formula.random[saved["part"]]
    labels: pd.DataFrame = saved["levels"]
    levels = (
        pd.Index(labels.iloc[:, 0], name=labels.columns[0])
        if labels.shape[1] == 1
        else pd.MultiIndex.from_frame(labels)
    )
    text = part.whole or part.expr
    coding = saved["coding"]
    return RandomTerm(
        part if saved["expr"] == part.expr else RandomPart(saved["expr"], part.factors),
        tuple(saved["columns"]),
        levels,
        np.zeros(0, dtype=np.intp),
        np.zeros((0, len(saved["columns"]))),
        parse_with_formulaic(text) if coding is None else _spec(text, coding),
        tuple(saved["positions"]),
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
