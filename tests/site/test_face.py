"""The face of the book: its pictures show the numbers of mmlib, its colophon what built it."""

import re
import struct
import subprocess

import pytest
from docutils.core import publish_doctree
from docutils.parsers.rst import directives
from packaging.version import Version

import mmlib as mm
from tools import ROOT
from tools.site import directives as ours
from tools.site import preview


def test_the_picture_of_the_front_page_is_the_one_that_mmlib_gives():
    committed = (ROOT / "book" / "_static" / "front.svg").read_text(encoding="utf-8")
    assert committed == preview.front(), "run `python -m tools.site.preview`"


def test_the_picture_changes_with_the_data(monkeypatch):
    changed = mm.load_dataset("pulp")
    changed.loc[0, "bright"] += 0.1
    before = preview.front()
    monkeypatch.setattr(mm, "load_dataset", lambda _: changed)
    assert preview.front() != before


def test_the_picture_for_messengers_has_their_size():
    start = (ROOT / "book" / "_static" / "preview.png").read_bytes()[:24]
    assert start[1:4] == b"PNG"
    assert struct.unpack(">II", start[16:24]) == (1200, 630)


def test_the_version_in_the_colophon_is_the_projects():
    text = (ROOT / "book" / "colophon.md").read_text(encoding="utf-8")
    assert set(re.findall(r"[Vv]ersion (\d[\d.]*\d)", text)) == {mm.__version__}


@pytest.fixture
def _versions():
    directives.register_directive("versions", ours.Versions)


@pytest.mark.usefixtures("_versions")
def test_versions_are_those_at_hand():
    text = publish_doctree(".. versions:: python\n   numpy mmlib").astext().split()
    assert text[0:2] == ["what", "version"]
    assert Version(text[text.index("numpy") + 1]) >= Version("2")
    assert text[text.index("mmlib") + 1] == mm.__version__


@pytest.mark.usefixtures("_versions")
def test_a_package_that_is_not_there_is_an_error():
    quiet = {"report_level": 5, "halt_level": 5}
    text = publish_doctree(".. versions:: nowhere-to-be-found", settings_overrides=quiet).astext()
    assert "versions: 'nowhere-to-be-found' is not installed" in text


def test_the_commit_is_named_or_its_absence_told(tmp_path):
    assert ours.commit(tmp_path) == "not built from a git checkout"
    git = ["git", "-C", str(tmp_path), "-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "First"], check=True)
    ours.commit.cache_clear()
    assert re.fullmatch(r"[0-9a-f]{7,} of \d{4}-\d\d-\d\d", ours.commit(tmp_path))
