"""`tools/site/wheel.py`: the same wheel from the same files, with all that mmlib needs."""

import hashlib
import zipfile

import mmlib as mm
from tools import ROOT
from tools.site.wheel import build_wheel


def test_the_wheel_is_the_same_each_time_and_its_checksum_is_beside_it(tmp_path):
    first, second = (build_wheel(tmp_path / name) for name in ("first", "second"))
    assert first.name == f"mmlib-{mm.__version__}-py3-none-any.whl"
    assert first.read_bytes() == second.read_bytes()
    digest = hashlib.sha256(first.read_bytes()).hexdigest()
    assert (first.parent / "SHA256SUMS").read_text() == f"{digest}  {first.name}\n"


def test_every_module_and_data_set_is_in_the_wheel_and_nothing_else(tmp_path):
    names = set(zipfile.ZipFile(build_wheel(tmp_path)).namelist())
    files = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "mmlib").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files <= names
    assert {name for name in names - files if ".dist-info/" not in name} == set()
