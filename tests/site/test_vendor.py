"""The vendored files are those of the released packages, with their licences."""

import io
import tarfile

import pytest

from tools.site.pages import SiteError
from tools.site.vendor import ASSETS, FOR_TESTS, FOR_THE_SITE, Asset, checksums, fetch, unpack


@pytest.mark.parametrize("asset", ASSETS, ids=lambda asset: asset.name)
def test_the_files_are_complete_and_unchanged(asset):
    folder = asset.folder
    assert (folder / "LICENSE").is_file()
    assert (folder / "SHA256SUMS").read_text(encoding="utf-8") == checksums(folder)
    assert all((folder / name).exists() for name in asset.files)


def test_every_vendored_folder_has_an_entry():
    folders = {path for home in (FOR_THE_SITE, FOR_TESTS) for path in home.iterdir()}
    assert folders == {asset.folder for asset in ASSETS}


def test_only_what_is_listed_is_unpacked(tmp_path):
    archive = tmp_path / "a.tgz"
    with tarfile.open(archive, "w:gz") as package:
        for name in (
            "package/LICENSE",
            "package/dist/a.js",
            "package/dist/fonts/b.woff",
            "package/x",
        ):
            member = tarfile.TarInfo(name)
            member.size = len(name)
            package.addfile(member, io.BytesIO(name.encode()))
    asset = Asset("a", "1", "", ("fonts/",), root="package/dist/")
    unpack(asset, archive, tmp_path / "a")
    found = {p.relative_to(tmp_path / "a").as_posix() for p in (tmp_path / "a").rglob("*")}
    assert found == {"LICENSE", "SHA256SUMS", "fonts", "fonts/b.woff"}
    assert (tmp_path / "a" / "SHA256SUMS").read_text() == checksums(tmp_path / "a")


def test_another_archive_than_the_one_checked_is_refused(tmp_path, monkeypatch):
    (tmp_path / "a-1.tgz").write_bytes(b"something else")
    monkeypatch.setattr("subprocess.run", lambda *_, **__: None)
    with pytest.raises(SiteError, match=r"a@1: SHA-256 is .*, not 00"):
        fetch(Asset("a", "1", "00", ()), tmp_path)
