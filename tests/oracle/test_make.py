"""What R writes gets into the right file; R itself is not run here."""

import gzip
import json

import pytest

from tests.helpers.oracle import HERE
from tests.oracle.make import SCRIPTS, update


@pytest.fixture
def home(tmp_path):
    """Two files as they stand, and what R has written."""
    (tmp_path / "cases.json.gz").write_bytes(
        gzip.compress(b'{"about": "R", "cases": {"a": {"x": 1}, "b": {"x": 2}}}')
    )
    (tmp_path / "bootstrap_lrt.json").write_text('{"a": 1, "b": 2, "versions": {}}')
    (tmp_path / "cases").mkdir()
    for name in "bc":
        (tmp_path / "cases" / f"{name}.json").write_text('{"x": 0.1}')
    (tmp_path / "pboot_reference.json").write_text('{"a": 3, "new": 4, "versions": {"R": 4}}')
    (tmp_path / "pboot1_reference.json").write_text('{"b": 5}')
    return tmp_path


def test_new_cases_replace_old_ones_and_no_others(home):
    update("cases", home, [], home)
    content = json.loads(gzip.decompress((home / "cases.json.gz").read_bytes()))
    assert content == {"about": "R", "cases": {"a": {"x": 1}, "b": {"x": 0.1}}}
    before = (home / "cases.json.gz").read_bytes()
    update("cases", home, [], home)
    assert (home / "cases.json.gz").read_bytes() == before


def test_two_scripts_write_one_file(home):
    update("bootstrap_lrt", home, [], home)
    content = json.loads((home / "bootstrap_lrt.json").read_text())
    assert content == {"a": 3, "b": 5, "versions": {"R": 4}}


@pytest.mark.parametrize("entry", ["a", "c", "typo"])
def test_an_entry_that_does_not_arrive_is_named(home, entry):
    with pytest.raises(SystemExit, match=f"{entry}: not in cases"):
        update("cases", home, ["b", entry], home)


def test_every_file_has_its_scripts():
    stored = {path.name.split(".")[0] for path in HERE.glob("*.json*")}
    practice = {name for name in stored if name.startswith("practice_")}  # each by R/practice
    assert stored - practice == SCRIPTS.keys()
    assert all((HERE / "R" / "practice" / script).is_file() for script in ["means.R", "power.R"])
    scripts = [script for found in SCRIPTS.values() for script in found]
    assert all((HERE / "R" / script).is_file() for script in [*scripts, "read_data.R"])
