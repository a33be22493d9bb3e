"""Models with structured covariances: nlme's and glmmTMB's numbers, and our calls of them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd

import mmlib as mm
from tests.helpers.oracle import load_data, read_json

NLME: dict[str, dict[str, str]] = {
    "orthodont_gls_cs": {"residual": "cs(Subject)"},
    "orthodont_gls_ar1": {"residual": "ar1(visit | Subject)"},
    "orthodont_gls_symm": {"residual": "symm(visit | Subject)"},
    "orthodont_gls_unstructured": {"residual": "us(visit | Subject)"},
    "orthodont_gls_unstructured_gaps": {"residual": "us(visit | Subject)"},
    "orthodont_gls_toep_het": {"residual": "ar1(visit | Subject)", "dispersion": "visit"},
    "orthodont_lme_sex": {"random": "(1 | Subject)", "dispersion": "Sex"},
    "orthodont_lme_slopes_sex": {"random": "(age11 | Subject)", "dispersion": "Sex"},
    "bodyweight_lme_plain": {"random": "(Time | Rat)"},
    "bodyweight_lme_corexp": {"random": "(Time | Rat)", "residual": "car1(Time | Rat)"},
    "bodyweight_lme_car1": {"random": "(Time | Rat)", "residual": "car1(Time | Rat)"},
    "bodyweight_lme_car1_diet": {
        "random": "(Time | Rat)",
        "residual": "car1(Time | Rat)",
        "dispersion": "Diet",
    },
    "oxboys_lme_plain": {"random": "(age | Subject)"},
    "sleep_gls_ar1": {"residual": "ar1(Days | Subject)"},
    "sleep_lme_ar1": {"random": "(1 | Subject)", "residual": "ar1(Days | Subject)"},
    "sleep_lme_slopes_plain": {"random": "(Days | Subject)"},
    "ovary_lme_ar1": {"random": "(1 | Mare)", "residual": "ar1(t | Mare)"},
    "ovary_lme_plain": {"random": "(1 | Mare)"},
}
"""Arguments of `lmm` for nlme's cases; variances that are functions of a number are not ours."""

GLMMTMB: dict[str, dict[str, str]] = {
    "tmb_sleep_us": {"random": "us(Days | Subject)"},
    "tmb_sleep_diag": {"random": "diag(Days | Subject)"},
    "tmb_sleep_ar1": {"random": "ar1(0 + C(t) | Subject)"},
    "tmb_ovary_ar1": {"random": "ar1(0 + C(t) | Mare)"},
    "tmb_machines_cs": {"random": "cs(0 + Machine | Worker)"},
    "tmb_machines_us": {"random": "us(0 + Machine | Worker)"},
    "tmb_machines_diag": {"random": "diag(0 + Machine | Worker)"},
    "tmb_orthodont_un_nodisp": {"residual": "us(t | Subject)"},
    "tmb_orthodont_cs_nodisp": {"residual": "cs(Subject)", "dispersion": "t"},
    "tmb_orthodont_ar1_nodisp": {"residual": "ar1(t | Subject)"},
    "tmb_orthodont_disp_sex": {"random": "(1 | Subject)", "dispersion": "Sex"},
}


def numbers(package: str, case_id: str) -> dict[str, Any]:
    """Return a case as exported from R."""
    cases = read_json("practice_structures.json.gz")["groups"][package]["cases"]
    return next(case for case in cases if case["id"] == case_id)


@cache
def data_of(name: str) -> pd.DataFrame:
    """Return a data set with the columns that the cases add to it."""
    if name == "Ovary":
        data = pd.DataFrame(read_json("practice_structures.json.gz")["data"]["Ovary"])
        angle = 2 * np.pi * data["Time"]
        order = data.groupby("Mare").cumcount() + 1
        return data.assign(s=np.sin(angle), c=np.cos(angle), t=order)
    data = load_data(name)
    if name == "Orthodont":
        visit = (data["age"] - 6) // 2
        return data.assign(visit=visit, t=visit)
    return data.assign(t=data["Days"]) if name == "sleepstudy" else data


@cache
def fit_case(package: str, case_id: str, *, reml: bool):
    """Return our fit of a case; tests share it."""
    case = numbers(package, case_id)
    options = dict((NLME if package == "nlme_structures" else GLMMTMB)[case_id])
    data = data_of(case["dataset"])
    if "seq(7" in (case["prep"] or ""):
        data = data.drop(index=data.index[np.arange(6, 108, 7)])
    fixed = case["formula"].replace("factor(visit)", "C(visit)")
    for bar in ("us", "diag", "ar1", "cs", "toep", "(1 |"):
        fixed = fixed.split(f" + {bar}(")[0].split(f" + {bar}")[0]
    random = options.pop("random", "")
    formula = f"{fixed} + {random}" if random else fixed
    return mm.lmm(formula, data, reml=reml, **options)
