"""The benchmark harness works and tells right from wrong. Nothing here is timed."""

import argparse
import dataclasses
import importlib
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield importlib.import_module("run")
    finally:
        sys.path.remove(str(BENCHMARKS))
        for name in ("run", "cases"):
            sys.modules.pop(name, None)


@pytest.fixture
def options():
    return argparse.Namespace(budget=0.01, memory=8192, limit=120)


def case_named(bench, name):
    return next(case for case in bench.CASES if case.name == name)


@pytest.fixture(scope="module")
def pulp_run(bench):
    options = argparse.Namespace(budget=0.01, memory=8192, limit=120)
    [run] = bench.run_case(case_named(bench, "pulp"), {"mmlib": sys.executable}, options)
    return run


def test_a_package_is_measured_in_a_process_of_its_own(pulp_run):
    assert pulp_run.problem == ""
    measured = pulp_run.measured
    assert measured["objective"] == pytest.approx(18.62620097237, abs=1e-8)
    assert measured["refit_objective"] != pytest.approx(measured["objective"], abs=1e-3)
    assert measured["memory"] >= measured["memory_before"] > 10
    for stage in ("fit", "refit"):
        assert measured[stage]["repeats"] >= 1
        assert measured[stage]["seconds"] >= measured[stage]["best"] > 0


def test_a_right_answer_is_right(bench, pulp_run):
    [judged] = bench.judge(case_named(bench, "pulp"), [pulp_run])
    assert judged.verdict == "right"


@pytest.mark.parametrize("off", [1e-3, -1e-3, float("nan")])
@pytest.mark.parametrize(
    ("key", "word"), [("objective", "objective"), ("refit_objective", "refit")]
)
def test_a_fast_wrong_answer_is_marked(bench, pulp_run, key, word, off):
    measured = {**pulp_run.measured, key: pulp_run.measured[key] + off}
    [judged] = bench.judge(
        case_named(bench, "pulp"), [dataclasses.replace(pulp_run, measured=measured)]
    )
    assert judged.verdict.startswith(f"WRONG {word}")


def test_time_limit_is_reported_and_what_came_before_it_kept(bench):
    waiting = """import time; print('{"version": "1"}', flush=True); time.sleep(60)"""
    run = bench.measure(case_named(bench, "pulp"), "mmlib", [sys.executable, "-c", waiting], 2)
    assert run.problem == "over 2 s"
    assert run.measured == {"version": "1"}


def test_failure_is_reported_with_its_last_line(bench):
    failing = [sys.executable, "-c", "raise MemoryError('no room')"]
    run = bench.measure(case_named(bench, "pulp"), "mmlib", failing, 60)
    assert run.problem == "failed: MemoryError: no room"


def test_statsmodels_is_not_asked_for_a_matrix_of_rows_by_rows(bench, options):
    case = dataclasses.replace(case_named(bench, "pulp"), statsmodels=None)
    [run] = bench.run_case(case, {"statsmodels": "no-such-program"}, options)
    assert run.problem.startswith("cannot")


def test_a_package_that_cannot_be_installed_is_named_with_its_reason(bench, monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "PEERS_PYTHON", tmp_path / "python")
    monkeypatch.setattr(bench, "PEERS_VENV", tmp_path)
    refused = bench.subprocess.CompletedProcess([], 1, "", "first line\nno network here\n")
    monkeypatch.setattr(bench, "quietly", lambda _command: refused)
    programs, absent = bench.find_packages(["mmlib", "glmm"])
    assert list(programs) == ["mmlib"]
    assert absent["glmm"].endswith("no network here")


def test_every_peer_is_pinned_and_has_its_module(bench):
    pins = bench.REQUIREMENTS.read_text(encoding="utf-8").split()
    assert [pin.split("==")[0] for pin in pins] == sorted(bench.PEERS.values())
    for module in (*bench.PEERS, "mmlib"):
        assert (BENCHMARKS / "peers" / f"{module}.py").exists()


def test_growth_curves_have_a_hundred_rows_for_each_group(bench):
    data = bench.CASES[-4].load()
    assert len(data) == 1000
    assert (data["g"].value_counts() == 100).all()
    assert data.equals(bench.CASES[-4].load())


def test_table_sets_each_package_beside_ours(bench, pulp_run):
    slow = json.loads(json.dumps(pulp_run.measured))
    slow["fit"]["seconds"] *= 10
    runs = [pulp_run, dataclasses.replace(pulp_run, package="glmm", measured=slow)]
    table = bench.case_table(case_named(bench, "pulp"), runs)
    assert [row[0] for row in table.rows] == ["mmlib", "glmm"]
    assert [row[2] for row in table.rows] == ["1.00", "10.0"]


def test_results_are_saved_with_what_they_were_measured_on(bench, pulp_run, tmp_path):
    bench.save([pulp_run], {"lme4": "there is no Rscript here"}, tmp_path)
    saved = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert saved["about"]["versions"]["mmlib"] == pulp_run.measured["version"]
    assert saved["runs"][0]["measured"] == pulp_run.measured
    assert "| mmlib |" in (tmp_path / "results.md").read_text(encoding="utf-8")
