"""Evaluate a formula that formulaic has parsed: our columns and our language, its coding."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from formulaic import Formula, ModelSpec
from formulaic.errors import DataMismatchWarning, FormulaicError
from formulaic.materializers import PandasMaterializer
from formulaic.utils.stateful_transforms import stateful_eval
from interface_meta import override

from mmlib.arrays import FloatArray
from mmlib.design.columns import as_factor, for_computing
from mmlib.design.language import ENVIRONMENT, Code, as_typed, read_code
from mmlib.design.names import alias, as_written, name_of
from mmlib.errors import DataError, FormulaError


class _Materializer(PandasMaterializer):  # type: ignore[misc]
    """Formulaic's own, but for what a name and a Python expression stand for."""

    REGISTER_NAME = "mmlib"
    REGISTER_INPUTS = ()
    REGISTER_PRECEDENCE = -1.0

    @override
    def _lookup(self, name: str) -> tuple[Any, set[str]]:
        return as_factor(for_computing(self.data[name_of(name)])), set()

    @override
    def _evaluate(self, expr: str, metadata: Any, spec: ModelSpec) -> tuple[Any, set[str]]:
        code = read_code(expr)
        names = dict(ENVIRONMENT)
        for name in code.columns:
            column = self.data[name]
            names[alias(name)] = column if name in code.labels else for_computing(column)
        try:
            value = stateful_eval(code.text, names, {expr: metadata}, spec.transform_state, spec)
        except (ValueError, FormulaicError):
            _refuse_outside(code.text, names, spec)
            raise
        return as_factor(value), set()


def _refuse_outside(text: str, names: dict[str, Any], spec: ModelSpec) -> None:
    """Say which value lies outside the range of a spline, where one does."""
    for call, state in spec.transform_state.items():
        if call in text and "lower_bound" in state:
            node: Any = ast.parse(call, mode="eval").body
            argument = ast.unparse(node.args[0])
            values = stateful_eval(argument, names, {}, spec.transform_state, spec)
            low, high = state["lower_bound"], state["upper_bound"]
            outside = np.asarray(values)[(np.asarray(values) < low) | (np.asarray(values) > high)]
            if len(outside):
                value = f"{as_typed(argument)} = {outside[0]:g}"
                raise DataError(
                    f"{value} lies outside {low:g}…{high:g}, the range of the fit: the spline is "
                    "not known there; leave such rows out."
                )


def evaluate(expression: Any, frame: pd.DataFrame) -> tuple[FloatArray, ModelSpec]:
    """Evaluate a formulaic formula or specification on usable columns.

    Raises
    ------
    FormulaError
        If the expression fails.
    DataError
        If new data have a level, or a value, that the specification does not know.
    """
    if not isinstance(expression, ModelSpec):
        products = _products(tuple(expression))
        if products is not None and all(frame[n].dtype.kind in "iuf" for n in products.names):
            return products.of(frame), products.spec
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("error", DataMismatchWarning)
            matrix = _materialized(expression, frame)
    except DataMismatchWarning:
        raise DataError(_unseen_levels(expression, frame)) from None
    except (FormulaicError, LookupError, TypeError, ValueError, NotImplementedError) as error:
        if isinstance(error.__cause__, (FormulaError, DataError)):
            raise error.__cause__ from None
        reason = as_written(str(error)).split("[", 1)[-1].rstrip("]")
        raise FormulaError(f"Cannot evaluate {as_written(str(expression))}: {reason}") from None
    return np.asarray(matrix, dtype=float).reshape(len(frame), -1), matrix.model_spec


def _materialized(expression: Any, frame: pd.DataFrame) -> Any:
    return _Materializer(frame).get_model_matrix(expression, output="numpy", na_action="ignore")


@dataclass(frozen=True, eq=False)
class _Products:
    """An expression that only multiplies columns: where they hold numbers, one column a term.

    Its specification is the same for all such data, so that formulaic, which takes as long as the
    fit of a small data set, is asked once.
    """

    factors: tuple[tuple[str, ...], ...]
    names: frozenset[str]
    spec: ModelSpec

    def of(self, frame: pd.DataFrame) -> FloatArray:
        columns = {name: frame[name].to_numpy(dtype=float) for name in self.names}
        matrix = np.ones((len(frame), len(self.factors)))
        with np.errstate(all="ignore"):
            for column, factors in zip(matrix.T, self.factors, strict=True):
                for name in factors:
                    column *= columns[name]
        return matrix


@lru_cache(maxsize=256)
def _products(terms: tuple[Any, ...]) -> _Products | None:
    """The terms, if all that they do is to multiply columns."""
    factors = [[f for f in term.factors if f.expr != "1"] for term in terms]
    if not terms or any(f.eval_method.value != "lookup" for each in factors for f in each):
        return None
    by_term = tuple(tuple(name_of(f.expr) for f in each) for each in factors)
    names = frozenset(name for each in by_term for name in each)
    row = pd.DataFrame(1.0, index=[0], columns=list(names))
    spec = _materialized(Formula(list(terms), _ordering="none"), row).model_spec
    return _Products(by_term, names, spec)


def factors_of(expression: Iterable[Any]) -> Iterator[tuple[str, Code]]:
    """The factors of a parsed expression, and what each takes from the data.

    (formulaic's ``required_variables`` forgets the columns inside ``poly()`` and its like, forgets
    those that are called like one of its functions, and cuts names at a dot.)
    """
    for factor in (factor for term in expression for factor in term.factors):
        if factor.eval_method.value == "lookup":
            name = name_of(factor.expr)
            yield factor.expr, Code(name, frozenset([name]), frozenset())
        elif factor.eval_method.value == "python":
            yield factor.expr, read_code(factor.expr)


def _unseen_levels(spec: ModelSpec, frame: pd.DataFrame) -> str:
    """What is wrong with new data that have levels of a factor which the fit has not."""
    for factor, code in factors_of(spec.formula):
        known = spec.encoder_state.get(factor, (None, {}))[1].get("categories", ())
        for name in code.columns:
            unseen = [str(level) for level in frame[name].unique() if level not in known]
            if len(known) and unseen:
                return (
                    f"column {name!r} of the new data has level(s) the fit has not seen: "
                    f"{', '.join(unseen[:3])}; it has estimates for "
                    f"{', '.join(map(str, known[:12]))} only."
                )
    return "the new data have levels of a factor that the fit has not seen."
