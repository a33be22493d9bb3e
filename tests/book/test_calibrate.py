"""The calibration study: reproducible, honest, its table right where one can know."""

import hashlib
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq
from scipy.stats import chi2
from scipy.stats import f as f_distribution

import mmlib as mm
from mmlib.design.terms import templates
from tests.helpers.inference import patterns
from tools.book import calibrate

PULP, *_ = calibrate.STUDIES
BALANCED = {"4 groups of 5": (4, 5), "6 groups of 5": (6, 5), "10 groups of 3": (10, 3)}


@pytest.fixture(scope="module", autouse=True)
def small_chunks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibrate, "CHUNK", 10)
        yield


@pytest.fixture(scope="module")
def small_run():
    """Two chunks and a half of the pulp study, on one worker."""
    return calibrate.calibrate(PULP, replicates=25)


def test_two_workers_count_the_same(small_run):
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as executor:
        again = calibrate.calibrate(PULP, replicates=25, executor=executor)
    assert again.equals(small_run)


def test_counts_do_not_depend_on_how_many_more_are_drawn(monkeypatch):
    monkeypatch.setattr(calibrate, "LEVEL", 0.5)
    few, more = (calibrate.calibrate(PULP, replicates=n, seed=1) for n in (10, 20))
    assert (few["size"] * 10 <= more["size"] * 20).all()
    assert (more["size"] * 20 <= few["size"] * 10 + 10).all()
    assert few["size"].sum() > 1


def test_a_test_without_pvalue_is_counted_as_failed(monkeypatch):
    def fails():
        raise mm.DataError("no p-value")

    tests = {"fails": fails, "missing": lambda: np.nan, "always": lambda: 0.0}
    monkeypatch.setattr(calibrate, "_tests_of_a_variance", lambda *_: tests)
    monkeypatch.setattr(calibrate, "_exact_size", lambda *_: np.nan)
    sizes = calibrate.calibrate(PULP, replicates=10, seed=1).set_index("test")
    assert sizes["failed"].to_dict() == {"fails": 10, "missing": 10, "always": 0}
    assert sizes["size"].to_dict() == {"fails": 0.0, "missing": 0.0, "always": 1.0}


@pytest.mark.parametrize("study", calibrate.STUDIES, ids=lambda study: study.name)
def test_every_design_gives_a_pvalue_for_every_test(study):
    fits, rng = calibrate.Fits.of(study), np.random.default_rng(3)
    tests = fits.tests(fits.null_response(np.array(study.theta), rng), rng)
    assert len(tests) >= 5
    assert all(0 <= test() <= 1 for test in tests.values())


@pytest.mark.parametrize("study", calibrate.STUDIES[5:], ids=lambda study: study.name)
def test_responses_have_the_covariance_of_the_null_model(study):
    fits, rng = calibrate.Fits.of(study), np.random.default_rng(4)
    design, theta = fits.small.design, np.array(study.theta)
    draws = np.array([fits.null_response(theta, rng) for _ in range(3000)])
    entries = np.concatenate(
        [(lam @ lam.T)[np.tril_indices(len(lam))] for lam in templates(design.terms, theta)]
    )
    *groups, residual = patterns(design)
    V = sum((e * G for e, G in zip(entries, groups, strict=True)), residual)
    error = np.sqrt((V**2 + np.outer(np.diag(V), np.diag(V))) / len(draws))
    assert (np.abs(draws.T @ draws / len(draws) - V) < 6 * error).all()


# ---- the table of the book ------------------------------------------------------------------


@pytest.fixture(scope="module")
def table():
    return mm.load_dataset("test_sizes")


def size_by_f_quantiles(a, n, *, limit, reml):
    """P(statistic > limit) in a balanced one-way layout, where it is a function of F alone."""
    N = a * n

    def statistic(F):
        ssa, sse = (a - 1) * F, N - a  # the statistic does not depend on the unit
        dof, effects = (N - 1, a - 1) if reml else (N, a)
        return (
            dof * np.log((ssa + sse) / dof)
            - (N - a) * np.log(sse / (N - a))
            - effects * np.log(ssa / effects)
        )

    boundary = 1.0 if reml else a / (a - 1)
    return f_distribution.sf(brentq(lambda F: statistic(F) - limit, boundary, 1e4), a - 1, N - a)


@pytest.mark.parametrize("name", BALANCED)
@pytest.mark.parametrize("criterion", ["LRT", "RLRT"])
def test_exact_sizes_are_those_of_f_quantiles(table, name, criterion):
    rows = table[table["design"].str.contains(name)].set_index("test")["exact_size"]
    for test, tail in {"χ²": 0.05, "mixture": 0.10}.items():
        limit = chi2.isf(tail, 1)
        expected = size_by_f_quantiles(*BALANCED[name], limit=limit, reml=criterion == "RLRT")
        assert rows[f"{criterion}, {test}"] == pytest.approx(expected, abs=1e-6)
        assert expected < 0.05, "the asymptotic tests are conservative here"


def test_simulated_sizes_agree_with_exact_ones(table):
    known = table.dropna(subset="exact_size")
    assert len(known) >= 26
    error = np.sqrt(known["exact_size"] * (1 - known["exact_size"]) / known["replicates"])
    assert (abs(known["size"] - known["exact_size"]) < 4 * error).all()


def test_exact_and_bootstrap_tests_of_a_variance_have_their_level(table):
    right = table[
        table["test"].str.contains("exact|bootstrap") & table["hypothesis"].str.contains("variance")
    ]
    assert len(right) == 15
    assert (abs(right["size"] - 0.05) < 4 * np.sqrt(0.05 * 0.95 / right["replicates"])).all()


def test_the_table_is_complete_and_precise_enough(table):
    assert list(table.columns) == list(calibrate.COLUMNS)
    assert set(table["design"]) == {study.name for study in calibrate.STUDIES}
    assert np.sqrt(0.05 * 0.95 / table["replicates"]).max() <= 0.003
    spread = np.sqrt(table["size"] * (1 - table["size"]) / table["replicates"])
    assert np.allclose(table["mcse"], spread, atol=2e-6)
    assert (table["failed"] == 0).all()
    assert set(table["hypothesis"]) == {study.hypothesis for study in calibrate.STUDIES}
    assert {row.test for row in table.itertuples()} == set(table["test"].cat.categories)


def test_a_new_table_gets_its_checksum(tmp_path):
    file = tmp_path / "test_sizes.csv"
    calibrate.write_table(pd.DataFrame({"size": [0.05]}), file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert (tmp_path / "SHA256SUMS").read_text() == f"{digest}  test_sizes.csv\n"
