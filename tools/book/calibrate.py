"""How often tests at 5 % reject a true null hypothesis: the table of the chapter on calibration.

    make calibrate

For each design, responses are drawn from its null hypothesis, and every test is done on each by
the functions that a user calls. That takes 20 minutes of one processor. The numbers depend on the
seed alone, not on the number of workers.
"""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import chdtrc, fdtrc
from scipy.stats import chi2
from tqdm import tqdm

import mmlib as mm
from mmlib.arrays import FloatArray
from mmlib.design.terms import templates
from mmlib.engine.spectral import SpectralModel, suits
from mmlib.engine.threads import single_threaded
from mmlib.inference.exact import NullDistribution
from mmlib.inference.term_hypotheses import term_hypotheses
from tools import ROOT
from tools.book.datasets import write_checksums

TABLE = ROOT / "mmlib" / "data" / "test_sizes.csv"

LEVEL = 0.05
REPLICATES = 6000  # a standard error of 0.28 % where the size is 5 %
SEED = 2026
CHUNK = 50
EXACT_DRAWS = 999
BOOTSTRAP_DRAWS = 199
COLUMNS = ("design", "hypothesis", "test", "replicates", "failed", "size", "mcse", "exact_size")


@dataclass(frozen=True)
class Study:
    """A design, and a hypothesis that is true of the responses drawn for it.

    Attributes
    ----------
    name : str
    small, large : str
        Formulas of the null model, from which the responses come, and of the other.
    data : DataFrame
        The layout; its response, which tells the formulas where theirs goes, is replaced.
    theta : tuple of float
        The null model's relative covariance parameters.
    term : str
        The fixed effect that is tested; empty where a variance is.
    """

    name: str
    small: str
    large: str
    data: Callable[[], pd.DataFrame]
    theta: tuple[float, ...] = ()
    term: str = ""

    @property
    def hypothesis(self) -> str:
        """What is true of every response."""
        return f"no effect of {self.term}" if self.term else "group variance is zero"


# ---- designs --------------------------------------------------------------------------------


def one_way(*sizes: int) -> Callable[[], pd.DataFrame]:
    """Groups of these sizes."""

    def layout() -> pd.DataFrame:
        group = [f"g{number:02d}" for number, size in enumerate(sizes) for _ in range(size)]
        return pd.DataFrame({"y": np.arange(len(group)) % 7, "group": pd.Categorical(group)})

    return layout


def litters() -> pd.DataFrame:
    """Three treatments of 5, 4 and 3 litters with 2 to 9 young each, 58 in all."""
    sizes = {"a": (2, 3, 4, 6, 9), "b": (3, 4, 5, 8), "c": (2, 5, 7)}
    rows = [
        (treat, f"{treat}{litter}")
        for treat, counts in sizes.items()
        for litter, count in enumerate(counts)
        for _ in range(count)
    ]
    table = pd.DataFrame(rows, columns=["treat", "litter"], dtype="category")
    return table.assign(y=np.arange(len(table)) % 7)


def short_sleepstudy() -> pd.DataFrame:
    """The first eight people of sleepstudy, on the first five days."""
    data = mm.load_dataset("sleepstudy")
    people = data["Subject"].unique()[:8]
    data = data[data["Subject"].isin(people) & (data["Days"] < 5)]
    return data.assign(Subject=data["Subject"].cat.remove_unused_categories())


def _variance(name: str, *sizes: int) -> Study:
    return Study(name, "y ~ 1", "y ~ 1 + (1 | group)", one_way(*sizes))


STUDIES = (
    _variance("one-way, 4 groups of 5 (pulp)", *[5] * 4),
    _variance("one-way, 6 groups of 5", *[5] * 6),
    _variance("one-way, 10 groups of 3", *[3] * 10),
    _variance("one-way, 30 groups of 4", *[4] * 30),
    _variance("one-way, unbalanced: 2, 2, 3, 4, 12, 17", 2, 2, 3, 4, 12, 17),
    Study(
        "blocks: 4 treatments in 5 blocks (penicillin)",
        "yield ~ 1 + (1 | blend)",
        "yield ~ treat + (1 | blend)",
        lambda: mm.load_dataset("penicillin"),
        theta=(0.8,),
        term="treat",
    ),
    Study(
        "random slopes: 8 people on 5 days (sleepstudy)",
        "Reaction ~ 1 + (Days | Subject)",
        "Reaction ~ Days + (Days | Subject)",
        short_sleepstudy,
        theta=(0.97, 0.02, 0.23),
        term="Days",
    ),
    Study(
        "split plot: 3 varieties in 6 blocks, 4 subplots (oats)",
        "yield ~ nitro + (1 | Block/Variety)",
        "yield ~ nitro + Variety + (1 | Block/Variety)",
        lambda: mm.load_dataset("oats"),
        theta=(0.8, 1.1),
        term="Variety",
    ),
    Study(
        "nested, unbalanced: 3 treatments of 12 litters",
        "y ~ 1 + (1 | litter)",
        "y ~ treat + (1 | litter)",
        litters,
        theta=(0.8,),
        term="treat",
    ),
)


# ---- one response ---------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Fits:
    """Both models, ready to be refitted."""

    small: mm.LMMResult
    large: mm.LMMResult
    L: FloatArray | None

    @classmethod
    def of(cls, study: Study) -> Fits:
        """Fits to the layout's own response, from which the refits start."""
        data = study.data()
        small, large = (mm.lmm(each, data, reml=False) for each in (study.small, study.large))
        L = term_hypotheses(large.design, type=1)[study.term] if study.term else None
        return cls(small, large, L)

    def null_response(self, theta: FloatArray, rng: np.random.Generator) -> FloatArray:
        """A response of the null model with β = 0 and σ = 1; the tests do not depend on them."""
        y = rng.standard_normal(self.small.nobs)
        terms = self.small.design.terms
        for term, lam in zip(terms, templates(terms, theta), strict=True):
            b = rng.standard_normal((term.n_levels, term.width)) @ lam.T
            y += (term.model_matrix * b[term.codes]).sum(axis=1)
        return y

    def tests(self, y: FloatArray, rng: np.random.Generator) -> dict[str, Callable[[], float]]:
        """Each test's p-value, still to be computed."""
        small, large = self.small.refit(y), self.large.refit(y)
        return (
            _tests_of_a_variance(small, large, rng)
            if self.L is None
            else _tests_of_an_effect(small, large, self.L, rng)
        )


def _tests_of_a_variance(
    small: mm.LMMResult, large: mm.LMMResult, rng: np.random.Generator
) -> dict[str, Callable[[], float]]:
    small_restricted, restricted = small.refit(reml=True), large.refit(reml=True)
    by_ml = cache(lambda: mm.lrt(small, large))
    by_reml = cache(lambda: mm.lrt(small_restricted, restricted))
    return {
        "LRT, χ²": lambda: by_ml().pvalue,
        "LRT, mixture": lambda: _mixture(by_ml()),
        "LRT, exact": lambda: mm.exact_lrt(small, large, nsim=EXACT_DRAWS, rng=rng).pvalue,
        "LRT, bootstrap": lambda: _bootstrap(small, large, rng),
        "RLRT, χ²": lambda: by_reml().pvalue,
        "RLRT, mixture": lambda: _mixture(by_reml()),
        "RLRT, exact": lambda: mm.exact_rlrt(restricted, nsim=EXACT_DRAWS, rng=rng).pvalue,
    }


def _tests_of_an_effect(
    small: mm.LMMResult, large: mm.LMMResult, L: FloatArray, rng: np.random.Generator
) -> dict[str, Callable[[], float]]:
    restricted = large.refit(reml=True)
    distance = L @ restricted.beta
    wald = distance @ np.linalg.solve(L @ restricted.vcov().to_numpy() @ L.T, distance)
    ell, rest = L.shape[0], restricted.nobs - restricted.design.p
    tests: dict[str, Callable[[], float]] = {
        "LRT, χ²": lambda: mm.lrt(small, large).pvalue,
        "Wald, χ²": lambda: float(chdtrc(ell, wald)),
        "Wald, F with n − p df": lambda: float(fdtrc(ell, rest, wald / ell)),
        "Satterthwaite": lambda: mm.satterthwaite(restricted, L).pvalue,
        "Kenward–Roger": lambda: mm.kenward_roger(restricted, L).pvalue,
    }
    if suits(large.design):  # a few milliseconds; elsewhere it would take most of the study
        tests["LRT, bootstrap"] = lambda: _bootstrap(small, large, rng)
    return tests


def _mixture(test: mm.LikelihoodRatioTest) -> float:
    return np.nan if test.pvalue_mixture is None else test.pvalue_mixture


def _bootstrap(small: mm.LMMResult, large: mm.LMMResult, rng: np.random.Generator) -> float:
    test = mm.parametric_bootstrap(small, large, nsim=BOOTSTRAP_DRAWS, rng=rng, progress=False)
    return test.pvalue


# ---- many responses -------------------------------------------------------------------------


def count(study: str, seed: np.random.SeedSequence, size: int) -> pd.DataFrame:
    """Rejections and failures of each test, a row, among `size` responses.

    The study goes by its name, which every process can look up.
    """
    fits, theta, rng = _fits(study), np.array(_study(study).theta), np.random.default_rng(seed)
    pvalues = []
    with single_threaded():
        for _ in range(size):
            tests = fits.tests(fits.null_response(theta, rng), rng)
            pvalues.append({name: _or_nan(test) for name, test in tests.items()})
    table = pd.DataFrame(pvalues)
    return pd.DataFrame({"rejected": (table <= LEVEL).sum(), "failed": table.isna().sum()})


def _or_nan(test: Callable[[], float]) -> float:
    with contextlib.suppress(mm.MMError):
        return test()
    return np.nan


def _study(name: str) -> Study:
    return next(study for study in STUDIES if study.name == name)


@cache
def _fits(name: str) -> Fits:
    return Fits.of(_study(name))


def calibrate(
    study: Study,
    *,
    replicates: int = REPLICATES,
    seed: int = SEED,
    executor: Executor | None = None,
) -> pd.DataFrame:
    """The size of each test in one design.

    Parameters
    ----------
    study : Study
        One of `STUDIES`.
    replicates, seed : int
        Responses drawn, and where they come from.
    executor : concurrent.futures.Executor, optional
        Does not change the numbers.

    Returns
    -------
    DataFrame
        A row for each test, columns `COLUMNS`. A test that gives no p-value has failed, and counts
        as not rejecting. ``exact_size`` is known where the statistic is a function of an F ratio.
    """
    sizes = [min(CHUNK, replicates - done) for done in range(0, replicates, CHUNK)]
    entropy = np.random.default_rng([seed, *study.name.encode()]).integers(
        2**32, size=4, dtype=np.uint32
    )
    seeds = np.random.SeedSequence(entropy.tolist()).spawn(len(sizes))
    run = map if executor is None else executor.map
    chunks = run(count, [study.name] * len(sizes), seeds, sizes)
    counts = sum(tqdm(chunks, total=len(sizes), desc=study.name, disable=None))
    rows = []
    for name, rejected, failed in counts.itertuples():
        size = rejected / replicates
        mcse = np.sqrt(size * (1 - size) / replicates)
        exact = _exact_size(study, name)
        rows.append((study.name, study.hypothesis, name, replicates, failed, size, mcse, exact))
    return pd.DataFrame(rows, columns=COLUMNS)


def _exact_size(study: Study, test: str) -> float:
    """The probability that the test rejects, where it is known; otherwise nan."""
    if study.term or "bootstrap" in test:
        return np.nan
    spectrum = SpectralModel(_fits(study.name).large.design).spectrum
    null = NullDistribution(spectrum, reml=test.startswith("RLRT"))
    if "exact" in test:
        return LEVEL
    limit = chi2.isf(LEVEL if "χ²" in test else 2 * LEVEL, 1)
    return null.tail(limit) if null.closed_form else np.nan


# ---- the table of the book ------------------------------------------------------------------


def write_table(sizes: pd.DataFrame, file: Path = TABLE) -> None:
    """Write the sizes as CSV, and the checksums of the data beside it."""
    sizes.round(6).to_csv(file, index=False, quoting=csv.QUOTE_MINIMAL, lineterminator="\n")
    write_checksums(file.parent)


def main() -> None:
    """Run the studies on all processors, and write their table."""
    tables = []
    with ProcessPoolExecutor() as executor:
        for study in STUDIES:
            sizes = calibrate(study, executor=executor)
            tables.append(sizes)
            shown = sizes[["test", "size", "mcse", "exact_size", "failed"]]
            percent = "{:.2%}".format
            print(study.name, shown.to_string(index=False, float_format=percent), sep="\n")
    write_table(pd.concat(tables, ignore_index=True))
    print(f"calibrate: {TABLE}")


if __name__ == "__main__":
    main()
