"""Numbers from R about effect sizes, robust errors, sequences of models and power."""

from functools import cache
from typing import Any

import pandas as pd

import mmlib as mm
from tests.helpers import oracle


def sizes(group: str) -> dict[str, dict[str, Any]]:
    """Return the cases of a group by their ids."""
    return {case["id"]: case for case in _everything()["groups"][group]}


def meta_data(name: str) -> pd.DataFrame:
    """Return a data set of studies with known variances."""
    data = pd.DataFrame(_everything()["data"][name])
    return data.apply(_numbers_or_text)


@cache
def fit_case(group: str, case_id: str):
    """Return the fit of a case; tests share it."""
    case = sizes(group)[case_id]
    data = oracle.load_data(case["dataset"])
    formula = oracle.translate(case["formula"], case["dataset"])
    return mm.lmm(formula, data, reml=case["fit"]["REML"], weights=case["weights"])


def _numbers_or_text(column: pd.Series) -> pd.Series:
    try:
        return pd.to_numeric(column)
    except ValueError:
        return column.astype("category")


def _everything() -> dict[str, Any]:
    return oracle.read_json("practice_sizes.json.gz")
