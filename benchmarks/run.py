"""Time mmlib, other Python packages and R side by side: ``make bench``.

Every package does every case in a process of its own, with the threads it takes by default. What
the columns mean and how to read them is told in README.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import math
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy

import mmlib as mm
from benchmarks.cases import CASES, NEW_RESPONSE, Case
from benchmarks.inference import INFERENCE, TOLD, Inference, as_text, verdicts
from mmlib.results.display import Table

HERE = Path(__file__).parent
PEERS_VENV = HERE / ".venv"
PEERS_PYTHON = PEERS_VENV / "bin" / "python"
REQUIREMENTS = HERE / "requirements.txt"
PEERS = {
    "statsmodels": "statsmodels",
    "glmm": "glmm",
    "lme_python": "lme-python",
    "mixedlm": "mixedlm",
}
"""Python packages to compare with: module in peers/ → distribution."""

OURS, R = "mmlib", "lme4"
PACKAGES = (OURS, *PEERS, R)
TOLERANCE = 1e-6
"""Relative difference in the objective above which an answer counts as wrong."""

THREAD_VARIABLES = re.compile(r"(OMP|OPENBLAS|MKL|BLIS|VECLIB|NUMEXPR|RAYON|POLARS)\w*_THREADS$")


@dataclass(frozen=True)
class Run:
    """What one package did on one case: its measurements, or why there are none."""

    case: str
    package: str
    measured: Mapping[str, Any]
    problem: str = ""
    verdict: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    pythons, absent = find_packages(options.packages)
    for package, reason in absent.items():
        print(f"bench: without {package}: {reason}", file=sys.stderr)
    runs = []
    for case in chosen_cases(options):
        judged = judge(case, run_case(case, pythons, options))
        print(f"{table_of(case, judged).to_text()}\n", flush=True)
        runs += judged
    if options.save:
        save(runs, absent, options.save)
        print(f"bench: saved results.json and results.md in {options.save}", file=sys.stderr)
    return 0


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="only the small cases")
    add("--cases", nargs="+", metavar="TEXT", help="only cases whose name contains a TEXT")
    add("--packages", nargs="+", choices=PACKAGES, default=PACKAGES, help="only these packages")
    add("--limit", type=float, default=120, help="seconds for each package and case (120)")
    add("--budget", type=float, default=3, help="seconds to spend on repeats (3)")
    add("--memory", type=int, default=8192, help="MiB that a Python package may take (8192)")
    add("--save", nargs="?", type=Path, const=HERE, metavar="FOLDER", help="save the results")
    return parser.parse_args(arguments)


def chosen_cases(options: argparse.Namespace) -> list[Case | Inference]:
    wanted = options.cases or [""]
    every: tuple[Case | Inference, ...] = (*CASES, *INFERENCE)
    return [
        case
        for case in every
        if (case.is_small or not options.quick)
        and any(text.casefold() in case.name.casefold() for text in wanted)
    ]


# ---- the packages ---------------------------------------------------------------------------


def find_packages(wanted: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """The program that runs each package, and the reason for each that cannot be run."""
    programs, absent = {}, {}
    for package in wanted:
        if package == OURS:
            programs[package], reason = sys.executable, ""
        elif package == R:
            programs[package], reason = "Rscript", lme4_is_missing()
        else:
            programs[package], reason = str(PEERS_PYTHON), install(package)
        if reason:
            del programs[package]
            absent[package] = reason
    return programs, absent


def install(package: str) -> str:
    """Install a package at its pin in the bench's own environment; returns what went wrong."""
    pins = dict(line.split("==") for line in REQUIREMENTS.read_text(encoding="utf-8").split())
    pin = f"{PEERS[package]}=={pins[PEERS[package]]}"
    if not PEERS_PYTHON.exists():
        print(f"bench: making {PEERS_VENV} for the other packages …", file=sys.stderr)
        made = quietly([sys.executable, "-m", "venv", "--clear", str(PEERS_VENV)])
        if made.returncode:
            return f"no environment for it: {last_line(made)}"
    pip = [str(PEERS_PYTHON), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    if installed_version(PEERS[package]) == pins[PEERS[package]]:
        return ""
    print(f"bench: installing {pin} …", file=sys.stderr)
    versions = [f"{name}=={pins_of_ours()[name]}" for name in ("numpy", "scipy", "pandas")]
    installed = quietly([*pip, "install", pin, *versions])
    return f"{pin} cannot be installed: {last_line(installed)}" if installed.returncode else ""


def installed_version(distribution: str) -> str:
    """Version in the bench's environment, or an empty string."""
    code = f"from importlib.metadata import version; print(version({distribution!r}))"
    found = quietly([str(PEERS_PYTHON), "-c", code])
    return found.stdout.strip() if found.returncode == 0 else ""


def pins_of_ours() -> dict[str, str]:
    """The versions of numpy, scipy and pandas that mmlib itself runs with."""
    return {module.__name__: module.__version__ for module in (np, scipy, pd)}


def lme4_is_missing() -> str:
    if shutil.which("Rscript") is None:
        return "there is no Rscript here"
    found = quietly(["Rscript", "-e", "library(lme4)"])
    return "R has no package lme4 (on Debian: r-cran-lme4)" if found.returncode else ""


def quietly(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def last_line(process: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in (process.stderr or process.stdout).splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"exit status {process.returncode}"


# ---- one case --------------------------------------------------------------------------------


def run_case(
    case: Case | Inference, programs: Mapping[str, str], options: argparse.Namespace
) -> list[Run]:
    """Measure one case by every package, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        task = write_task(case, Path(folder), options)
        runs = []
        for package in case.packages(programs):
            program = programs[package]
            print(f"bench: {case.name}: {package} …", file=sys.stderr)
            if package in case.cannot:
                run = Run(case.name, package, {}, case.cannot[package])
            else:
                run = measure(case, package, command(package, program, task), options.limit)
            runs.append(run)
        return runs


def write_task(case: Case | Inference, folder: Path, options: argparse.Namespace) -> Path:
    """Write the data, and what to do with them."""
    data = with_new_response(case) if isinstance(case, Case) else case.load()
    data.to_csv(folder / "data.csv", index=False)
    task = {
        **case.task(),
        "data": str(folder / "data.csv"),
        "factors": list(data.select_dtypes("category").columns),
        "budget": options.budget,
        "memory_limit": options.memory,
    }
    path = folder / "task.json"
    path.write_text(json.dumps(task), encoding="utf-8")
    return path


def with_new_response(case: Case) -> pd.DataFrame:
    """The columns that the formula uses, and the response with noise added as another one."""
    data = case.load()
    data = data[[name for name in data.columns if re.search(rf"\b{name}\b", case.words)]]
    y = data[case.response]
    noise = np.random.default_rng(0).standard_normal(len(y))
    return data.assign(**{NEW_RESPONSE: y + y.std() / 4 * noise})


def command(package: str, program: str, task_file: Path) -> list[str]:
    if package != R:
        return [program, "-m", "benchmarks.measure", package, str(task_file)]
    task = json.loads(task_file.read_text(encoding="utf-8"))
    factors = ",".join(task["factors"])
    common = [task["data"], factors, str(task["budget"])]
    if "action" in task:
        return [program, str(HERE / "inference.R"), *common, *(str(task[name]) for name in TOLD)]
    responses = [task["response"], task["new_response"]]
    return [program, str(HERE / "lme4.R"), *common, task["formula"], *responses, task["nlme"]]


def measure(case: Case | Inference, package: str, command: Sequence[str], limit: float) -> Run:
    """Run one measurement; what it printed before a failure or the time limit is kept."""
    environment = {k: v for k, v in os.environ.items() if not THREAD_VARIABLES.search(k)}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=HERE.parent,
    ) as process:
        try:
            output, errors = process.communicate(timeout=limit)
            problem = "" if process.returncode == 0 else failure(errors, process.returncode)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            problem = f"over {limit:g} s"
    measured: dict[str, Any] = {}
    for line in output.splitlines():
        if line.startswith("{"):
            measured |= json.loads(line)
    return Run(case.name, package, measured, problem)


def failure(errors: str, status: int) -> str:
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return f"failed: {(lines[-1] if lines else f'exit status {status}')[:60]}"


# ---- right or wrong --------------------------------------------------------------------------


def judge(case: Case | Inference, runs: Sequence[Run]) -> list[Run]:
    """Mark each answer: a fit by its objective, see `right_objectives`; others by their numbers."""
    if isinstance(case, Inference):
        found = verdicts(case, [run.measured.get("answer") for run in runs])
        return [dataclasses.replace(run, verdict=v) for run, v in zip(runs, found, strict=True)]
    right, right_again = right_objectives(case, runs)
    return [dataclasses.replace(run, verdict=verdict(run, right, right_again)) for run in runs]


def right_objectives(case: Case, runs: Sequence[Run]) -> tuple[float | None, float | None]:
    """The objective of the data and of the second response.

    R has the first word: its stored optimum, else what lme4 reached in this run. The second
    response has no stored optimum: a fit from the formula is the measure of a refit (lme4's own
    refit of a REML fit minimises another criterion, see README.md).
    """
    by_package = {run.package: run.measured for run in runs}
    by_r, ours = by_package.get(R, {}), by_package.get(OURS, {})
    right = case.objective() or by_r.get("objective", ours.get("objective"))
    if not any("refit_objective" in run.measured for run in runs):
        return right, None
    again = by_r.get("fresh_objective")
    if again is None:
        data = with_new_response(case)
        data[case.response] = data.pop(NEW_RESPONSE)
        again = mm.lmm(case.formula, data, residual=case.residual or None).objective
    return right, again


def verdict(run: Run, right: float | None, right_again: float | None) -> str:
    """``right``, or which objective is off by how much, relative to its size."""
    found = {
        "objective": (run.measured.get("objective"), right),
        "refit": (run.measured.get("refit_objective"), right_again),
    }
    errors = {
        what: relative_error(value, truth)
        for what, (value, truth) in found.items()
        if value is not None and truth is not None
    }
    wrong = [
        f"WRONG {what} ({error:+.0e})"
        for what, error in errors.items()
        if not abs(error) <= TOLERANCE
    ]
    return ", ".join(wrong) or ("right" if errors else "")


def relative_error(value: float, truth: float) -> float:
    return (value - truth) / max(1.0, abs(truth))


# ---- what is shown and kept ------------------------------------------------------------------


HEADER = ("", "fit", "× ours", "refit", "× ours", "CPU", "MiB", "objective", "")


def case_table(case: Case, runs: Sequence[Run]) -> Table:
    """Times, their ratio to ours, CPU time of a fit, peak memory, and the verdict."""
    ours = next((run.measured for run in runs if run.package == OURS), {})
    rows = []
    for run in runs:
        measured = run.measured
        objective = measured.get("objective")
        rows.append(
            (
                "nlme" if run.package == R and case.nlme else PEERS.get(run.package, run.package),
                duration(seconds(measured, "fit")),
                ratio(seconds(measured, "fit"), seconds(ours, "fit")),
                duration(seconds(measured, "refit")),
                ratio(seconds(measured, "refit"), seconds(ours, "refit")),
                duration(seconds(measured, "fit", "cpu")),
                memory_of(measured),
                "–" if objective is None else f"{objective:.6f}",
                "; ".join(filter(None, (run.verdict, run.problem))),
            )
        )
    model = f"{case.formula}, {case.residual}" if case.residual else case.formula
    return Table(f"{case.name}, {model}", HEADER, tuple(rows))


INFERENCE_HEADER = ("", "time", "× ours", "CPU", "× ours", "MiB", "answer", "")


def inference_table(case: Inference, runs: Sequence[Run]) -> Table:
    """Time and CPU time from the fit to the answer, their ratios to ours, and the answer."""
    ours = next((run.measured for run in runs if run.package == OURS), {})
    rows = []
    for run in runs:
        measured = run.measured
        wall, cpu = (seconds(measured, "run", key) for key in ("seconds", "cpu"))
        our_wall, our_cpu = (seconds(ours, "run", key) for key in ("seconds", "cpu"))
        rows.append(
            (
                "R" if run.package == R else PEERS.get(run.package, run.package),
                *(duration(wall), ratio(wall, our_wall), duration(cpu), ratio(cpu, our_cpu)),
                memory_of(measured),
                as_text(measured.get("answer")),
                "; ".join(filter(None, (run.verdict, run.problem))),
            )
        )
    return Table(case.name, INFERENCE_HEADER, tuple(rows))


def table_of(case: Case | Inference, runs: Sequence[Run]) -> Table:
    return inference_table(case, runs) if isinstance(case, Inference) else case_table(case, runs)


def memory_of(measured: Mapping[str, Any]) -> str:
    memory = measured.get("memory")
    return "–" if memory is None else f"{memory:.0f}"


def seconds(measured: Mapping[str, Any], stage: str, key: str = "seconds") -> float | None:
    return measured[stage][key] if stage in measured else None


def duration(value: float | None) -> str:
    """A duration to three digits, in milliseconds below a second."""
    if value is None:
        return "–"
    return f"{value:.2f} s" if value >= 1 else f"{three_digits(1e3 * value)} ms"


def three_digits(value: float) -> str:
    decimals = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:.{decimals}f}"


def ratio(value: float | None, ours: float | None) -> str:
    return "–" if value is None or not ours else three_digits(value / ours)


def save(runs: Sequence[Run], absent: Mapping[str, str], folder: Path) -> None:
    """Write results.json and results.md, with what they were measured on."""
    about = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **pins_of_ours(),
        "versions": {run.package: run.measured.get("version") for run in runs if run.measured},
        "absent": dict(absent),
    }
    content = {"about": about, "runs": [vars(run) for run in runs]}
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (folder / "results.json").write_text(text + "\n", encoding="utf-8")
    (folder / "results.md").write_text(as_markdown(about, runs), encoding="utf-8")


def as_markdown(about: Mapping[str, Any], runs: Sequence[Run]) -> str:
    versions = ", ".join(f"{PEERS.get(k, k)} {v}" for k, v in about["versions"].items())
    parts = [
        "# Timings",
        f"{about['date']}, {about['cpu']}, {about['cores']} cores, Python {about['python']}, "
        f"numpy {about['numpy']}, scipy {about['scipy']}; {versions}.",
        "What the columns mean is told in [README.md](README.md).",
    ]
    every: tuple[Case | Inference, ...] = (*CASES, *INFERENCE)
    for case in every:
        of_case = [run for run in runs if run.case == case.name]
        if of_case:
            table = table_of(case, of_case)
            lines = [table.header, ("---",) * len(table.header), *table.rows]
            parts += [f"## {case.name}", f"`{case.formula}`"]
            parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(parts) + "\n"


def cpu_model() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\nbench: stopped.", file=sys.stderr)
        sys.exit(130)
