"""The models that are timed: classic data, and growth curves of any length."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import mmlib as mm

ORACLE = Path(__file__).parent.parent / "tests" / "oracle" / "cases.json.gz"
ROWS_PER_GROUP = 100
NEW_RESPONSE = "another_response"
NESTED = "y ~ x + (1 | school) + (1 | class)"
CROSSED = "y ~ x + (1 | g) + (1 | h)"
NO_STATSMODELS = "cannot: needs a rows × rows matrix"


@dataclass(frozen=True)
class Case:
    """One model on one data set, fitted by REML.

    Attributes
    ----------
    name : str
    formula : str
        In lme4's notation, which every package but statsmodels reads.
    load : callable
        Returns the data.
    statsmodels : dict or None
        The same model as arguments of ``statsmodels.formula.api.mixedlm``; None where it would
        need a dense matrix of rows × rows.
    oracle : str or None
        The case of tests/oracle whose REML criterion, from R, is the right objective.
    is_small : bool
        Whether ``--quick`` keeps it.
    residual : str
        Correlation of the residuals, as `lmm` takes it.
    nlme : str
        The same model as an expression of R's nlme, which then takes lme4's place; other packages
        are not asked.
    """

    name: str
    formula: str
    load: Callable[[], pd.DataFrame]
    statsmodels: dict[str, Any] | None = field(default=None, repr=False)
    oracle: str | None = None
    is_small: bool = True
    residual: str = ""
    nlme: str = ""

    @property
    def response(self) -> str:
        """The column on the left of the formula."""
        return self.formula.split("~")[0].strip()

    def packages(self, available: Iterable[str]) -> list[str]:
        """The packages that are asked: all, or those that have such residuals."""
        return [name for name in available if not self.nlme or name in ("mmlib", "lme4")]

    @property
    def words(self) -> str:
        """The text that names the columns."""
        return f"{self.formula} {self.residual} {self.nlme}"

    @property
    def cannot(self) -> dict[str, str]:
        """Why a package is not asked after all."""
        return {"statsmodels": NO_STATSMODELS} if self.statsmodels is None else {}

    def task(self) -> dict[str, Any]:
        """What the peers' modules need to know."""
        return {
            "formula": self.formula,
            "statsmodels": self.statsmodels,
            "response": self.response,
            "new_response": NEW_RESPONSE,
            "residual": self.residual,
            "nlme": self.nlme,
        }

    def objective(self) -> float | None:
        """R's REML criterion at a tightly converged optimum, where there is one."""
        if self.oracle is None:
            return None
        return float(oracle_cases()[self.oracle]["REML"]["crit"])


@cache
def oracle_cases() -> dict[str, Any]:
    """R's numbers by case."""
    cases: dict[str, Any] = json.loads(gzip.decompress(ORACLE.read_bytes()))["cases"]
    return cases


def growth_curves(n_rows: int) -> pd.DataFrame:
    """Simulate `n_rows` of growth curves, 100 for each group, with correlated slopes."""
    rng = np.random.default_rng(n_rows)
    n_groups = n_rows // ROWS_PER_GROUP
    t = np.tile(np.linspace(-1, 1, ROWS_PER_GROUP), n_groups)
    group = np.repeat(np.arange(n_groups), ROWS_PER_GROUP)
    effects = rng.standard_normal((n_groups, 2)) @ np.array([[1.0, 0.3], [0.0, 0.5]])
    y = 10 + 2 * t + effects[group, 0] + effects[group, 1] * t + rng.standard_normal(n_rows)
    names = [f"g{number:05d}" for number in range(n_groups)]
    return pd.DataFrame({"y": y, "t": t, "g": pd.Categorical.from_codes(group, pd.Index(names))})


def trial_visits(n_subjects: int, n_visits: int = 10) -> pd.DataFrame:
    """Simulate a trial of two arms: each subject at every visit, later ones more variable."""
    rng = np.random.default_rng(n_subjects)
    visit = np.tile(np.arange(n_visits), n_subjects)
    subject = np.repeat(np.arange(n_subjects), n_visits)
    arm = rng.integers(0, 2, n_subjects)[subject]
    lag = np.abs(np.subtract.outer(np.arange(n_visits), np.arange(n_visits)))
    correlations = 0.35 + 0.5 * 0.8**lag + 0.15 * np.eye(n_visits)
    root = np.linalg.cholesky(correlations) * (1 + 0.1 * np.arange(n_visits))[:, None]
    errors = rng.standard_normal((n_subjects, n_visits)) @ root.T
    labels = {
        "arm": pd.Categorical.from_codes(arm, pd.Index(["old", "new"])),
        "visit": pd.Categorical.from_codes(visit, pd.Index([f"v{k}" for k in range(n_visits)])),
        "id": pd.Categorical.from_codes(subject, pd.Index([f"s{k}" for k in range(n_subjects)])),
    }
    return pd.DataFrame({"y": 10 + 0.3 * visit + 0.1 * visit * arm + errors.ravel()} | labels)


def nested(schools: int, *, first: int = 0, slopes: bool = False) -> pd.DataFrame:
    """Schools of ten classes of ten pupils; from school number `first` on."""
    rng = np.random.default_rng([1, first])
    row = np.arange(schools * 100)
    pupil_class, school = row // 10, row // 100
    x = rng.normal(size=len(row))
    y = 1 + x / 2 + rng.normal(size=schools)[school] / 2 + rng.normal(size=len(row))
    y += 0.7 * rng.normal(size=schools * 10)[pupil_class]
    if slopes:
        y += x * (0.3 * rng.normal(size=schools)[school])
        y += x * (0.4 * rng.normal(size=schools * 10)[pupil_class])
    columns = {"y": y, "x": x, "school": school + first, "class": pupil_class + 10 * first}
    return pd.DataFrame(columns)


def crossed(g: int, h: int, rows: int) -> pd.DataFrame:
    """Rows of two groupings that meet at random."""
    rng = np.random.default_rng(1)
    one, two, x = rng.integers(0, g, rows), rng.integers(0, h, rows), rng.normal(size=rows)
    y = 1 + x / 2 + 0.7 * rng.normal(size=g)[one] + rng.normal(size=h)[two] / 2
    return pd.DataFrame({"y": y + rng.normal(size=rows), "x": x, "g": one, "h": two})


def _classic(name: str) -> Callable[[], pd.DataFrame]:
    return lambda: mm.load_dataset(name)


def _nested(schools: int) -> Case:
    return Case(
        f"pupils in classes in {schools:,} schools",
        NESTED,
        lambda: nested(schools),
        {
            "formula": "y ~ x",
            "groups": "school",
            "re_formula": "1",
            "vc_formula": {"class": "0 + C(Q('class'))"},
        },
        is_small=False,
    )


def _growth(n_rows: int) -> Case:
    return Case(
        f"growth curves, {n_rows:,} rows",
        "y ~ t + (1 + t | g)",
        lambda: growth_curves(n_rows),
        {"formula": "y ~ t", "re_formula": "~t", "groups": "g"},
        is_small=n_rows <= 10**4,
    )


CASES = (
    Case(
        "pulp",
        "bright ~ 1 + (1 | operator)",
        _classic("pulp"),
        {"formula": "bright ~ 1", "groups": "operator"},
        "pulp_ri",
    ),
    Case(
        "penicillin",
        "yield ~ treat + (1 | blend)",
        _classic("penicillin"),
        {"formula": "Q('yield') ~ treat", "groups": "blend"},
        "penicillin_rcbd",
    ),
    Case(
        "sleepstudy",
        "Reaction ~ Days + (Days | Subject)",
        _classic("sleepstudy"),
        {"formula": "Reaction ~ Days", "re_formula": "~Days", "groups": "Subject"},
        "sleep_corr",
    ),
    Case(
        "penicillin assay",
        "diameter ~ 1 + (1 | plate) + (1 | sample)",
        _classic("penicillin_assay"),
        {
            "formula": "diameter ~ 1",
            "groups": None,
            "vc_formula": {"plate": "0 + C(plate)", "sample": "0 + C(sample)"},
        },
        "penicillin_crossed",
    ),
    Case(
        "pastes",
        "strength ~ 1 + (1 | batch/cask)",
        _classic("pastes"),
        {
            "formula": "strength ~ 1",
            "groups": "batch",
            "re_formula": "1",
            "vc_formula": {"cask": "0 + C(cask)"},
        },
        "pastes_nested",
    ),
    Case(
        "InstEval",
        "y ~ 1 + service + (1 | s) + (1 | d) + (1 | dept)",
        _classic("inst_eval"),
        None,
        "insteval",
        is_small=False,
    ),
    _nested(1000),
    _nested(8000),
    Case(
        "crossed, 6,000 × 3,000 levels",
        CROSSED,
        lambda: crossed(6000, 3000, 10**6),
        is_small=False,
    ),
    Case(
        "repeated measures, 1,000 subjects × 10 visits",
        "y ~ visit * arm",
        lambda: trial_visits(1000),
        is_small=False,
        residual="us(visit | id)",
        nlme="gls(y ~ visit * arm, data, corSymm(form = ~ as.integer(visit) | id), "
        "varIdent(form = ~ 1 | visit))",
    ),
    *(_growth(10**power) for power in (3, 4, 5, 6)),
)
