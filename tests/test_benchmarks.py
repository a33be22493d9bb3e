"""The benchmark harness works and tells right from wrong. Nothing here is timed."""

import argparse
import ast
import dataclasses
import json
import sys

import pytest

from benchmarks import run as bench
from benchmarks.measure import timed_anew
from benchmarks.peers import mmlib as ours


@pytest.fixture
def options():
    return argparse.Namespace(budget=0.01, memory=8192, limit=120)


def case_named(name):
    return next(case for case in (*bench.CASES, *bench.INFERENCE) if case.name == name)


@pytest.fixture(scope="module")
def pulp_run():
    options = argparse.Namespace(budget=0.01, memory=8192, limit=120)
    [run] = bench.run_case(case_named("pulp"), {"mmlib": sys.executable}, options)
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


def test_a_right_answer_is_right(pulp_run):
    [judged] = bench.judge(case_named("pulp"), [pulp_run])
    assert judged.verdict == "right"


@pytest.mark.parametrize("off", [1e-3, -1e-3, float("nan")])
@pytest.mark.parametrize(
    ("key", "word"), [("objective", "objective"), ("refit_objective", "refit")]
)
def test_a_fast_wrong_answer_is_marked(pulp_run, key, word, off):
    measured = {**pulp_run.measured, key: pulp_run.measured[key] + off}
    [judged] = bench.judge(case_named("pulp"), [dataclasses.replace(pulp_run, measured=measured)])
    assert judged.verdict.startswith(f"WRONG {word}")


def test_time_limit_is_reported_and_what_came_before_it_kept():
    waiting = """import time; print('{"version": "1"}', flush=True); time.sleep(60)"""
    run = bench.measure(case_named("pulp"), "mmlib", [sys.executable, "-c", waiting], 2)
    assert run.problem == "over 2 s"
    assert run.measured == {"version": "1"}


def test_failure_is_reported_with_its_last_line():
    failing = [sys.executable, "-c", "raise MemoryError('no room')"]
    run = bench.measure(case_named("pulp"), "mmlib", failing, 60)
    assert run.problem == "failed: MemoryError: no room"


def test_statsmodels_is_not_asked_for_a_matrix_of_rows_by_rows(options):
    case = dataclasses.replace(case_named("pulp"), statsmodels=None)
    [run] = bench.run_case(case, {"statsmodels": "no-such-program"}, options)
    assert run.problem.startswith("cannot")


def test_a_package_that_cannot_be_installed_is_named_with_its_reason(monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "PEERS_PYTHON", tmp_path / "python")
    monkeypatch.setattr(bench, "PEERS_VENV", tmp_path)
    refused = bench.subprocess.CompletedProcess([], 1, "", "first line\nno network here\n")
    monkeypatch.setattr(bench, "quietly", lambda _command: refused)
    programs, absent = bench.find_packages(["mmlib", "glmm"])
    assert list(programs) == ["mmlib"]
    assert absent["glmm"].endswith("no network here")


def test_every_peer_is_pinned_and_has_its_module():
    pins = bench.REQUIREMENTS.read_text(encoding="utf-8").split()
    assert [pin.split("==")[0] for pin in pins] == sorted(bench.PEERS.values())
    for module in (*bench.PEERS, "mmlib"):
        assert (bench.HERE / "peers" / f"{module}.py").exists()


def test_growth_curves_have_a_hundred_rows_for_each_group():
    data = bench.CASES[-4].load()
    assert len(data) == 1000
    assert (data["g"].value_counts() == 100).all()
    assert data.equals(bench.CASES[-4].load())


def test_table_sets_each_package_beside_ours(pulp_run):
    slow = json.loads(json.dumps(pulp_run.measured))
    slow["fit"]["seconds"] *= 10
    runs = [pulp_run, dataclasses.replace(pulp_run, package="glmm", measured=slow)]
    table = bench.case_table(case_named("pulp"), runs)
    assert [row[0] for row in table.rows] == ["mmlib", "glmm"]
    assert [row[2] for row in table.rows] == ["1.00", "10.0"]


def test_results_are_saved_with_what_they_were_measured_on(pulp_run, tmp_path):
    bench.save([pulp_run], {"lme4": "there is no Rscript here"}, tmp_path)
    saved = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert saved["about"]["versions"]["mmlib"] == pulp_run.measured["version"]
    assert saved["runs"][0]["measured"] == pulp_run.measured
    assert "| mmlib |" in (tmp_path / "results.md").read_text(encoding="utf-8")


# ---- inference ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [case.name for case in bench.INFERENCE if case.nsim <= 10**4])
def test_our_answer_is_right(name):
    case = case_named(name)
    answer = getattr(ours, case.action)(case.task(), ours.frame(case.load()))()
    [verdict] = bench.verdicts(case, [answer])
    assert verdict == ("right" if case.truth() else "")


def functions_of(package):
    tree = ast.parse((bench.HERE / "peers" / f"{package}.py").read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_package_offers_what_it_is_asked_for():
    script = (bench.HERE / "inference.R").read_text(encoding="utf-8")
    for case in bench.INFERENCE:
        for package in ("mmlib", *case.peers):
            assert case.action in functions_of(package), (case.name, package)
        assert f"  {case.action} = " in script


def test_inference_is_measured_in_a_process_of_its_own(options):
    case = case_named("Kenward–Roger, penicillin")
    [run] = bench.run_case(case, {"mmlib": sys.executable, "glmm": "not asked"}, options)
    [judged] = bench.judge(case, [run])
    assert (judged.problem, judged.verdict) == ("", "right")
    assert judged.measured["run"]["seconds"] > 0
    [row] = bench.table_of(case, [judged]).rows
    assert row[0] == "mmlib"
    assert row[2] == "1.00"
    assert "F 1.239, df 12" in row


def test_what_a_fit_remembers_is_not_timed():
    prepared, done = [], []

    def prepare():
        prepared.append(1)
        return lambda: done.append(len(prepared))

    _, times = timed_anew(prepare, budget=1e-9)
    assert times["repeats"] >= 1
    assert done == list(range(1, len(done) + 1))


@pytest.mark.parametrize("off", [0.01, -0.01, float("nan")])
def test_a_wrong_number_is_marked(off):
    case = case_named("Kenward–Roger, penicillin")
    right = {"F": 1.238938, "df": 12.0}
    wrong = {"F": 1.238938, "df": 12.0 * (1 + off)}
    found = bench.verdicts(case, [right, wrong, None])
    assert found[0] == "right"
    assert found[1].startswith("WRONG df")
    assert found[2] == ""


def test_simulated_answers_without_a_known_truth_are_held_against_r():
    case = case_named("exact RLRT, unbalanced pulp, 10,000 draws")
    assert bench.verdicts(case, [{"p": 0.031}, {"p": 0.030}]) == ["right", "right"]
    near_and_far = bench.verdicts(case, [{"p": 0.20}, {"p": 0.030}])
    assert near_and_far[0].startswith("WRONG p")


def test_a_program_that_cannot_is_not_started(options):
    case = case_named("Kenward–Roger, 20,000 rows")
    [run] = bench.run_case(case, {"lme4": "no-such-program"}, options)
    assert run.problem.startswith("cannot")


def test_saved_results_hold_inference_too(tmp_path):
    case = case_named("Satterthwaite, sleepstudy")
    measured = {"version": "1", "run": {"seconds": 0.002, "cpu": 0.001}, "answer": {"F": 45.853}}
    bench.save([bench.Run(case.name, "mmlib", measured)], {}, tmp_path)
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "## Satterthwaite, sleepstudy" in text
    assert "| mmlib | 2.00 ms | 1.00 | 1.00 ms | 1.00 |" in text
