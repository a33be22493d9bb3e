"""The workflows run the same targets as everybody, and publish what these make."""

import re

import pytest
import yaml

from tools import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def steps(text: str) -> list[dict]:
    return [step for job in yaml.safe_load(text)["jobs"].values() for step in job["steps"]]


def problems(text: str) -> list[str]:
    """Find targets and scripts that a workflow runs and that are not there."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = " ; ".join(step.get("run", "") for step in steps(text))
    return [
        *(
            f"make {target}"
            for target in re.findall(r"\bmake (\w+)", commands)
            if f"\n{target}:" not in makefile
        ),
        *(
            f"bash {script}"
            for script in re.findall(r"\bbash (\S+)", commands)
            if not (ROOT / script).is_file()
        ),
    ]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_run_what_is_there(path):
    assert problems(path.read_text(encoding="utf-8")) == []


def test_the_two_workflows_are_there_and_do_their_job():
    texts = {path.stem: path.read_text(encoding="utf-8") for path in WORKFLOWS}
    assert texts.keys() == {"check", "publish"}
    assert {"run": "bash .ci/run"} in steps(texts["check"])
    upload = next(s for s in steps(texts["publish"]) if "upload-pages" in s.get("uses", ""))
    assert upload["with"]["path"] == "_build/html"


@pytest.mark.parametrize("command", ["make nothing", "bash .ci/nothing"])
def test_a_command_that_is_not_there_is_found(command):
    workflow = f"jobs: {{one: {{steps: [{{run: {command}}}]}}}}"
    assert problems(workflow) == [command]
