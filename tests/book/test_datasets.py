"""The derivation of the packaged data from an export out of R."""

import gzip
import json

import pandas as pd
import pytest

from tools.book import datasets as make_datasets

DESCRIPTION = """
exported_as = "Toy"
nrows = 3
[columns.group]
levels = {levels}
[columns.value]
"""


@pytest.fixture
def exported(tmp_path, monkeypatch):
    """Make an export of one small data set, and an empty target with its description."""
    folder, target = tmp_path / "exported", tmp_path / "data"
    folder.mkdir()
    target.mkdir()
    (folder / "Toy.csv").write_text('"value","group","extra"\n0.10,"b",1\n2,"a",2\n1e-3,"b",3\n')
    levels = {"Toy": {"group": {"levels": ["b", "a"], "ordered": False}}}
    (folder / "levels.json").write_text(json.dumps(levels))
    (target / "toy.toml").write_text(DESCRIPTION.format(levels='["b", "a"]'))
    monkeypatch.setattr(make_datasets, "DATA", target)
    return folder


def test_described_columns_are_copied_digit_by_digit(exported):
    make_datasets.main(exported)
    written = make_datasets.DATA / "toy.csv"
    assert written.read_bytes() == b"group,value\nb,0.10\na,2\nb,1e-3\n"
    digest, name = (make_datasets.DATA / "SHA256SUMS").read_text().split()
    assert (len(digest), name) == (64, "toy.csv")


def test_a_set_of_our_own_is_left_alone_and_listed(exported):
    (make_datasets.DATA / "ours.csv").write_text("x\n1\n")
    (make_datasets.DATA / "ours.toml").write_text("nrows = 1\n[columns.x]\n")
    make_datasets.main(exported)
    assert (make_datasets.DATA / "ours.csv").read_text() == "x\n1\n"
    lines = (make_datasets.DATA / "SHA256SUMS").read_text().splitlines()
    assert [line.split()[1] for line in lines] == ["ours.csv", "toy.csv"]


def test_large_files_are_compressed_and_kept_when_unchanged(exported, monkeypatch):
    monkeypatch.setattr(make_datasets, "COMPRESS_ABOVE", 10)
    make_datasets.main(exported)
    written = make_datasets.DATA / "toy.csv.gz"
    recompressed = gzip.compress(gzip.decompress(written.read_bytes()), compresslevel=1)
    written.write_bytes(recompressed)
    make_datasets.main(exported)
    assert written.read_bytes() == recompressed


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('["b", "a"]', '["a", "b"]', "toy.group: levels"),
        ('["b", "a"]', '"alphabetical"', "toy.group: levels"),
        ('levels = ["b", "a"]', "", "toy.group: levels None described"),
        ("nrows = 3", "nrows = 4", "toy: 3 rows exported, 4 described"),
    ],
)
def test_a_description_that_disagrees_with_r_stops_the_tool(exported, old, new, message):
    about = make_datasets.DATA / "toy.toml"
    about.write_text(about.read_text().replace(old, new))
    with pytest.raises(SystemExit, match=message):
        make_datasets.main(exported)


def test_raven_scores_are_restored_from_centred_ones():
    scores = [36, 4, 23, 29]
    table = pd.DataFrame({"craven": [repr(score - 23.1) for score in scores]})
    make_datasets.restore_raven(table)
    assert table["raven"].tolist() == [str(score) for score in scores]
