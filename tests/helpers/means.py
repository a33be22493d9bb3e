"""Questions about marginal means with the answers of emmeans, and the same asked of mmlib."""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import numpy as np
import pandas as pd

import mmlib as mm
from tests.helpers.oracle import load_data, read_json

HOW = {
    "pairwise": "pairwise",
    "trt.vs.ctrl": "reference",
    "consec": "consecutive",
    "poly": "polynomial",
    "eff": "deviation",
}
DDF = {
    "kenward-roger": "kenward-roger",
    "satterthwaite": "satterthwaite",
    "asymptotic": None,
}
POLYNOMIALS = {"linear", "quadratic", "cubic", "quartic"}


def cases() -> list[str]:
    """Return the ids of the models of practice_means.json.gz."""
    return [case["id"] for case in read_json("practice_means.json.gz")["cases"]]


def load(case_id: str) -> dict[str, Any]:
    """Return a model with its questions."""
    by_id = {case["id"]: case for case in read_json("practice_means.json.gz")["cases"]}
    return cast("dict[str, Any]", by_id[case_id])


@cache
def fit_of(case_id: str) -> mm.LMMResult:
    """Fit a model as R did."""
    case = load(case_id)
    # Python reserves the word, so that formulas cannot use it inside a function.
    return mm.lmm(
        case["formula"].replace("log(yield)", "log(grain)"),
        data_of(case),
        reml=case["fit"]["REML"],
        weights=case["weights"],
        offset=case["offset"],
    )


def data_of(case: dict[str, Any]) -> pd.DataFrame:
    """Return the data of a case, prepared as its R code says."""
    data = load_data(case["dataset"])
    for name in data.select_dtypes("category"):
        if data[name].cat.ordered:
            data = data.assign(**{name: data[name].cat.as_unordered()})
    prepare = {
        None: lambda d: d,
        "d[-c(1, 5, 6, 14, 20), ]": lambda d: d.drop(index=[0, 4, 5, 13, 19]),
        "d[!(d$Inoc == levels(d$Inoc)[3] & d$Cult == levels(d$Cult)[2]), ]": lambda d: d[
            ~((d["Inoc"] == _level(d, "Inoc", 3)) & (d["Cult"] == _level(d, "Cult", 2)))
        ],
        "transform(d, half = factor(ifelse(as.integer(Subject) <= 9, 'first', 'second')))": (
            lambda d: d.assign(half=np.where(d["Subject"].cat.codes < 9, "first", "second"))
        ),
    }
    data = prepare[case["prep"]](data)
    return data.rename(columns={"yield": "grain"}) if "log(" in case["formula"] else data


def _level(data: pd.DataFrame, name: str, number: int) -> Any:
    return data[name].cat.categories[number - 1]


def ask(fit: mm.LMMResult, query: dict[str, Any], **options: Any) -> mm.LinearFunctions:
    """Ask mmlib for the means or slopes of a question."""
    specs, _, by = query["specs"].lstrip("~ ").partition("|")
    options |= {"ddf": DDF[query["lmer_df"]], "weights": query["weights"]}
    if query["at"]:
        options["at"] = query["at"]
    by = by.strip() or None
    if query["kind"] == "trends":
        return mm.emtrends(fit, query["var"], by=by or specs.strip(), **options)
    if query["query"] == "overall_offset_fixed":
        options["offset"] = 50
    return mm.emmeans(fit, specs.strip(), by=by, **options)


def contrasts(means: mm.LinearFunctions, query: dict[str, Any], adjust: str) -> mm.LinearFunctions:
    """Contrast the means as a question says."""
    how = query["contrast"]
    if query["kind"] == "interaction":
        first, second = (HOW[each] for each in how.removeprefix("interaction: ").split(" x "))
        # The first factor's contrasts within each level of the second, and then these.
        inner = means.contrasts(first, by=str(means.labels.columns[1]), adjust="none")
        return inner.contrasts(second, adjust=adjust)
    if isinstance(how, dict):
        return means.contrasts(how, adjust=adjust)
    options = {}
    if query.get("contrast_options"):
        place = query["contrast_options"]["ref"][0] - 1
        options["ref"] = means.labels.iloc[place, 0]
    return means.contrasts(HOW[how], adjust=adjust, **options)


def numbers(values: list[Any]) -> np.ndarray:
    """Return R's numbers as an array, missing ones as NaN."""
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def texts(column: pd.Series) -> list[str]:
    """Return labels as R writes them."""
    return [f"{v:g}" if isinstance(v, float) else str(v) for v in column]
