"""Numbers from R, and the data and formulas they belong to. README.md tells how they were made."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import mmlib as mm

HERE = Path(__file__).parents[1] / "oracle"
RANDOM_TERM = re.compile(r"\([^()|]*\|[^()]*\)")
# R codes these ordered factors by orthogonal polynomials where they are fixed effects.
POLYNOMIAL_FACTORS = {"cake": ["temperature"], "Gun": ["Physique"]}


@dataclass(frozen=True, eq=False)
class Case:
    """One model on one data set, and what R says about it.

    `formula` is written for mmlib, `numbers` is the case as exported from R, and `weights` and
    `offset` name a column of `data` or are None.
    """

    id: str
    dataset: str
    formula: str
    data: pd.DataFrame
    weights: str | None
    offset: str | None
    numbers: dict[str, Any]

    def __getitem__(self, key: str) -> Any:
        return self.numbers[key]


def cases() -> list[str]:
    """Return the ids of all cases of cases.json.gz; `insteval` is the only large one."""
    return list(read_json("cases.json.gz")["cases"])


@cache
def load_case(case_id: str) -> Case:
    """Return a case; its data and numbers are shared between tests, so do not change them."""
    numbers = read_json("cases.json.gz")["cases"][case_id]
    return Case(
        id=case_id,
        dataset=numbers["dataset"],
        formula=translate(numbers["formula"], numbers["dataset"], numbers["contrasts"]),
        data=load_data(numbers["dataset"]),
        weights=numbers["weights"],
        offset=numbers["offset"],
        numbers=numbers,
    )


def load_lecture() -> dict[str, Any]:
    """Return every number that the lecture computes, at full precision."""
    return read_json("lecture.json")


def load_printed_values() -> list[dict[str, str]]:
    """Return every number that the lecture prints: where, printed, value, reproduced, note."""
    printed = pd.read_csv(HERE / "lecture_printed_values.csv", dtype=str, keep_default_na=False)
    return printed.to_dict("records")


def load_exact_lrt() -> dict[str, Any]:
    """Return p-values of RLRsim's exactLRT and exactRLRT and quantiles of their null samples."""
    return read_json("exact_lrt.json")


def load_bootstrap_lrt() -> dict[str, Any]:
    """Return parametric-bootstrap p-values of likelihood-ratio tests, with standard errors."""
    return read_json("bootstrap_lrt.json")


def load_profile() -> dict[str, Any]:
    """Return profile limits by root finding, beside lme4's interpolated ones."""
    return read_json("profile.json")


def translate(formula: str, dataset: str, contrasts: str = "contr.treatment") -> str:
    """Return R's formula with R's contrasts spelt out, as mmlib wants them.

    >>> translate("angle ~ recipe + temperature + (1 | recipe:replicate)", "cake")
    'angle ~ recipe + C(temperature, contr.poly) + (1 | recipe:replicate)'
    """
    coded = dict.fromkeys(POLYNOMIAL_FACTORS.get(dataset, []), "contr.poly")
    if contrasts != "contr.treatment":
        factors = load_data(dataset).select_dtypes("category").columns
        coded |= {name: contrasts for name in factors if name not in coded}
    response, right = formula.split("~", 1)
    random = RANDOM_TERM.findall(right)
    fixed = RANDOM_TERM.sub("{}", right)
    for name, contrast in coded.items():
        fixed = re.sub(rf"\b{re.escape(name)}\b", f"C({name}, {contrast})", fixed)
    return f"{response}~{fixed.format(*random)}"


def load_data(exported: str) -> pd.DataFrame:
    """Return a data set under R's name, with the columns that the R scripts added to it."""
    if exported == "OrthoFem":
        boys_and_girls = load_data("Orthodont")
        girls = boys_and_girls[boys_and_girls["Sex"] == "Female"].reset_index(drop=True)
        return girls.apply(_drop_unused_levels)
    if exported == "sleepstudy_wtrans":
        return _weighted_rows(load_data("sleepstudy"))
    if exported == "synth_crossnest":
        factors = dict.fromkeys(["cond", "subj", "item", "cls"], "category")
        return pd.read_csv(HERE / "synth_crossnest.csv", dtype=factors)
    data = mm.load_dataset(re.sub("(?<=[a-z])(?=[A-Z])", "_", exported).lower())
    return _add_derived(data, exported)


def _add_derived(data: pd.DataFrame, exported: str) -> pd.DataFrame:
    """Add the columns that prep_data.R adds."""
    if exported == "sleepstudy":
        days = data["Days"]
        return data.assign(Days2=days**2, w=1 + days % 3, off=10 * days)
    if exported == "Oats":
        return data.assign(nitroF=data["nitro"].map("{:g}".format).astype("category"))
    if exported == "Orthodont":
        return data.assign(age11=data["age"] - 11)
    if exported == "Oxboys":
        return data.assign(age2=data["age"] ** 2)
    if exported == "jspr":
        return data.assign(craven=data["raven"] - data["raven"].mean())
    if exported == "psid":
        return data.assign(cyear=data["year"] - 78, lincome=np.log(data["income"]))
    return data


def _weighted_rows(sleep: pd.DataFrame) -> pd.DataFrame:
    """Return rows times sqrt(w): their unweighted fit is the weighted fit of sleepstudy."""
    root = np.sqrt(sleep["w"])
    return pd.DataFrame(
        {
            "yw": root * sleep["Reaction"],
            "sw": root,
            "dw": root * sleep["Days"],
            "Subject": sleep["Subject"],
        }
    )


def _drop_unused_levels(column: pd.Series) -> pd.Series:
    is_factor = isinstance(column.dtype, pd.CategoricalDtype)
    return column.cat.remove_unused_categories() if is_factor else column


@cache
def read_json(name: str) -> dict[str, Any]:
    path = HERE / name
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return json.loads(content)


def load_report(name: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the data of a situation from a public report, and what R says of them."""
    numbers = json.loads((HERE / "reports" / "reports.json").read_text(encoding="utf-8"))
    return pd.read_csv(HERE / "reports" / f"{name}.csv"), numbers.get(name, {})
