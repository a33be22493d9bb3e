"""The inference that is timed: tests, bootstraps and intervals, each from a fit to its answer."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

import mmlib as mm
from benchmarks.cases import growth_curves, oracle_cases

ORACLE = Path(__file__).parent.parent / "tests" / "oracle"
Answer = Mapping[str, float]

PULP_P = 0.022609
"""The exact p-value of pulp's variance: that of the F test of the analysis of variance."""

PENICILLIN_P = 0.34868
"""The bootstrap p-value of penicillin's treatments, ± 0.00015, from ten million draws."""

SLEEPSTUDY_POWER = 0.448746
"""By the noncentral F distribution: 17 degrees of freedom, a slope of 3 ms per day."""

TOLD = ("action", "formula", "null", "reml", "nsim", "term", "effect")
"""What a program is told of a case; inference.R takes it in this order."""

SIMULATED = 5
"""Monte Carlo standard errors by which a simulated answer may be off."""


@dataclass(frozen=True)
class Inference:
    """One question to a fit.

    Attributes
    ----------
    name : str
    action : str
        The function of the peers' modules, and the branch of inference.R, that is timed.
    formula : str
        In lme4's notation.
    load : callable
        Returns the data.
    peers : tuple of str
        Python packages other than mmlib that can do it.
    null : str
        The smaller model, where there is one.
    reml : bool
        The criterion of the fit.
    nsim : int
        Replicates or draws.
    term : str
        The fixed effect that is tested.
    effect : float
        What it is supposed to be, for power.
    truth : callable
        Returns the right value of each number of the answer, and how far it may be off.
    cannot : dict
        Why a program that could do it is not asked.
    """

    name: str
    action: str
    formula: str
    load: Callable[[], pd.DataFrame]
    peers: tuple[str, ...] = ()
    null: str = ""
    reml: bool = True
    nsim: int = 0
    term: str = ""
    effect: float = 0.0
    truth: Callable[[], dict[str, tuple[float, float]]] = dict
    cannot: Mapping[str, str] = field(default_factory=dict)
    is_small: bool = True

    def packages(self, available: Iterable[str]) -> list[str]:
        """Those of the available packages that can be asked, mmlib first and R last."""
        return [name for name in available if name in ("mmlib", *self.peers, "lme4")]

    def task(self) -> dict[str, Any]:
        """What the peers' modules need to know."""
        return {name: getattr(self, name) for name in TOLD}


def unbalanced_pulp() -> pd.DataFrame:
    """Pulp without its last three sheets: the exact test has no closed form."""
    return mm.load_dataset("pulp").iloc[:-3]


def _simulated(name: str, value: float, nsim: int) -> Callable[[], dict[str, tuple[float, float]]]:
    tolerance = SIMULATED * math.sqrt(value * (1 - value) / nsim)
    return lambda: {name: (value, tolerance)}


def _f_test(case: str, kind: str, term: str) -> Callable[[], dict[str, tuple[float, float]]]:
    """R's F and its denominator degrees of freedom, of type III."""

    def truth() -> dict[str, tuple[float, float]]:
        table = oracle_cases()[case][kind]
        row = table["term"].index(term)
        return {key: (value[row], 1e-3 * value[row]) for key, value in _columns(table).items()}

    return truth


def _columns(table: Mapping[str, list[float]]) -> dict[str, list[float]]:
    return {"F": table["F"], "df": table["ddf"]}


def _limits() -> dict[str, tuple[float, float]]:
    """Exact profile limits of sleepstudy, to 1e-3 of their width."""
    file = ORACLE / "profile.json"
    exact = json.loads(file.read_text(encoding="utf-8"))["sleep_corr"]["exact"]
    return {
        f"{name} {end}": (exact[name][end], 1e-3 * (exact[name]["upper"] - exact[name]["lower"]))
        for name in ("sigma", "Days")
        for end in ("lower", "upper")
    }


def _classic(name: str) -> Callable[[], pd.DataFrame]:
    return lambda: mm.load_dataset(name)


def _exact(criterion: str, nsim: int, layout: str) -> Inference:
    balanced = layout == "pulp"
    return Inference(
        f"exact {criterion}, {layout}, {nsim:,} draws",
        "exact_rlrt" if criterion == "RLRT" else "exact_lrt",
        "bright ~ 1 + (1 | operator)",
        _classic("pulp") if balanced else unbalanced_pulp,
        null="bright ~ 1",
        reml=criterion == "RLRT",
        nsim=nsim,
        truth=_simulated("p", PULP_P, nsim) if balanced else dict,
    )


SLEEPSTUDY = "Reaction ~ Days + (Days | Subject)"
PENICILLIN = "yield ~ treat + (1 | blend)"

INFERENCE = (
    Inference(
        "bootstrap test, pulp, 1,000 replicates",
        "bootstrap_test",
        "bright ~ 1 + (1 | operator)",
        _classic("pulp"),
        null="bright ~ 1",
        reml=False,
        nsim=1000,
        truth=_simulated("p", PULP_P, 1000),
    ),
    Inference(
        "bootstrap test, penicillin, 1,000 replicates",
        "bootstrap_test",
        PENICILLIN,
        _classic("penicillin"),
        peers=("lme_python",),
        null="yield ~ 1 + (1 | blend)",
        reml=False,
        nsim=1000,
        truth=_simulated("p", PENICILLIN_P, 1000),
    ),
    Inference(
        "bootstrap, sleepstudy, 1,000 refits",
        "bootstrap_refits",
        SLEEPSTUDY,
        _classic("sleepstudy"),
        peers=("lme_python", "mixedlm"),
        nsim=1000,
        term="Days",
        # The standard error of the fit, which the bootstrap's estimates.
        truth=lambda: {"se": (1.5458, SIMULATED * 1.5458 / math.sqrt(2000))},
    ),
    *(
        _exact(criterion, nsim, layout)
        for layout in ("pulp", "unbalanced pulp")
        for criterion in ("RLRT", "LRT")
        for nsim in (10**4, 10**6)
    ),
    Inference(
        "Kenward–Roger, penicillin",
        "kenward_roger",
        PENICILLIN,
        _classic("penicillin"),
        peers=("lme_python",),
        null="yield ~ 1 + (1 | blend)",
        term="treat",
        truth=_f_test("penicillin_rcbd", "KR_type3", "treat"),
    ),
    Inference(
        "Kenward–Roger, sleepstudy",
        "kenward_roger",
        SLEEPSTUDY,
        _classic("sleepstudy"),
        peers=("lme_python", "mixedlm"),
        null="Reaction ~ 1 + (Days | Subject)",
        term="Days",
        truth=_f_test("sleep_corr", "KR_type3", "Days"),
    ),
    Inference(
        "Kenward–Roger, nlschools, 2,287 rows",
        "kenward_roger",
        "lang ~ IQ + SES + COMB + (1 | class)",
        _classic("nlschools"),
        peers=("lme_python", "mixedlm"),
        null="lang ~ IQ + SES + (1 | class)",
        term="COMB",
        truth=_f_test("nlschools_ri", "KR_type3", "COMB"),
    ),
    Inference(
        "Kenward–Roger, 20,000 rows",
        "kenward_roger",
        "y ~ t + (1 + t | g)",
        lambda: growth_curves(20_000),
        peers=("mixedlm",),
        term="t",
        # Balanced growth curves: as many degrees of freedom as groups, less one.
        truth=lambda: {"df": (199.0, 0.2)},
        cannot={"lme4": "cannot: pbkrtest needs rows × rows matrices"},
    ),
    Inference(
        "Satterthwaite, sleepstudy",
        "satterthwaite",
        SLEEPSTUDY,
        _classic("sleepstudy"),
        peers=("glmm", "lme_python", "mixedlm"),
        term="Days",
        truth=_f_test("sleep_corr", "satterthwaite_type3", "Days"),
    ),
    Inference(
        "power of Kenward–Roger's test, sleepstudy, 1,000 replicates",
        "power",
        SLEEPSTUDY,
        _classic("sleepstudy"),
        peers=("lme_python",),
        null="Reaction ~ 1 + (Days | Subject)",
        nsim=1000,
        term="Days",
        effect=3.0,
        truth=_simulated("power", SLEEPSTUDY_POWER, 1000),
    ),
    Inference(
        "profile intervals, sleepstudy",
        "profile_intervals",
        SLEEPSTUDY,
        _classic("sleepstudy"),
        peers=("lme_python", "mixedlm"),
        reml=False,
        truth=_limits,
    ),
)


# ---- right or wrong --------------------------------------------------------------------------


def verdicts(case: Inference, answers: Sequence[Answer | None]) -> list[str]:
    """Compare each answer with the truth, or, where none is known, with that of the last one.

    The last is R, where it took part. Two simulated p-values may both be off.
    """
    truth = case.truth()
    known = [answer for answer in answers if answer]
    if not truth and len(known) > 1:
        p = known[-1]["p"]
        truth = {"p": (p, 2 * SIMULATED * math.sqrt(p * (1 - p) / case.nsim))}
    return ["" if not answer else _verdict(answer, truth) for answer in answers]


def _verdict(answer: Answer, truth: Mapping[str, tuple[float, float]]) -> str:
    wrong = [
        f"WRONG {name} ({answer[name]:.4g}, not {value:.4g})"
        for name, (value, tolerance) in truth.items()
        if name in answer and not abs(answer[name] - value) <= tolerance
    ]
    return ", ".join(wrong) or ("right" if truth.keys() & answer.keys() else "")


def as_text(answer: Answer | None) -> str:
    """The numbers of an answer, at most three."""
    return ", ".join(f"{name} {value:.4g}" for name, value in list((answer or {}).items())[:3])
