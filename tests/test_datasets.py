"""The packaged data: what is promised, what is checked, what is refused."""

import csv
import gzip
import hashlib
import io
import shutil
from html.parser import HTMLParser

import pandas as pd
import pytest

import mmlib as mm
from mmlib import datasets

NAMES = mm.list_datasets()
ORDERED = {
    ("cake", "temperature"),
    ("gun", "Physique"),
    ("inst_eval", "studage"),
    ("inst_eval", "lectage"),
    ("oxboys", "Occasion"),
}


def raw_rows(name):
    """Return the rows of a packaged file, every value as text, without pandas."""
    path = next(datasets._DATA.glob(f"{name}.csv*"))
    content = path.read_bytes()
    text = gzip.decompress(content) if path.suffix == ".gz" else content
    return list(csv.DictReader(io.StringIO(text.decode())))


def test_all_sets_are_listed_in_alphabetical_order():
    assert len(NAMES) == 45
    assert sorted(NAMES) == NAMES
    assert {"pulp", "penicillin", "dyestuff", "sleepstudy", "pastes", "inst_eval"} <= set(NAMES)


def test_every_file_is_listed_and_described():
    files = {path.name for path in datasets._DATA.iterdir()} - {"SHA256SUMS"}
    data = {file for file, _ in datasets._files().values()}
    assert files == data | {f"{name}.toml" for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_values_are_those_of_the_file_and_levels_those_described(name):
    frame, info, rows = mm.load_dataset(name), mm.dataset_info(name), raw_rows(name)
    assert frame.shape == (info.nrows, len(info.columns)) == (len(rows), len(rows[0]))
    assert list(frame.columns) == list(info.columns)
    for key, column in info.columns.items():
        written = [row[key] for row in rows]
        if column.levels is None:
            numbers = [float(value) if value else None for value in written]
            assert frame[key].astype(object).where(frame[key].notna(), None).tolist() == numbers
            continue
        assert frame[key].tolist() == written
        assert frame[key].cat.ordered == ((name, key) in ORDERED)
        levels = list(frame[key].cat.categories)
        if isinstance(column.levels, tuple):
            assert levels == list(column.levels)
        else:
            key_function = float if column.levels == "numeric" else None
            assert levels == sorted(set(written), key=key_function)


@pytest.mark.parametrize("name", NAMES)
def test_every_description_is_complete(name):
    info = mm.dataset_info(name)
    assert info.name == name
    assert hashlib.sha256(next(datasets._DATA.glob(f"{name}.csv*")).read_bytes()).hexdigest() == (
        info.sha256
    )
    assert not info.title.endswith(".")
    assert len(info.description) > 60
    assert "R" in info.source.split("As in ")[-1] or name in {"inst_eval", "packages", "test_sizes"}
    for column in info.columns.values():
        assert column.meaning
        assert (column.unit is None) == (column.levels is not None)


def test_pulp_is_the_data_of_the_lecture():
    pulp = mm.load_dataset("pulp")
    assert pulp.dtypes.astype(str).to_dict() == {"bright": "float64", "operator": "category"}
    assert pulp["bright"].tolist()[:6] == [59.8, 60.0, 60.8, 60.8, 59.8, 59.8]
    assert pulp.groupby("operator", observed=True).size().to_dict() == dict.fromkeys("abcd", 5)


def test_a_label_that_reads_none_is_not_a_missing_value():
    assert mm.load_dataset("alfalfa")["Date"].value_counts()["None"] == 18


def test_each_call_gives_a_copy_of_its_own():
    first = mm.load_dataset("pulp")
    first.loc[0, "bright"] = -1.0
    first["operator"] = first["operator"].cat.rename_categories(str.upper)
    second = mm.load_dataset("pulp")
    assert second.loc[0, "bright"] == 59.8
    assert list(second["operator"].cat.categories) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("function", [mm.load_dataset, mm.dataset_info])
@pytest.mark.parametrize(
    ("asked", "offered"), [("penicilin", "'penicillin'"), ("Sleepstudy", "'sleepstudy'")]
)
def test_an_unknown_name_is_refused_with_the_nearest_names(function, asked, offered):
    with pytest.raises(mm.DatasetError, match=rf"{asked}.*Did you mean {offered}.*list_datasets"):
        function(asked)


@pytest.mark.parametrize("asked", ["", "../pulp", "zzzz", None, ["pulp"], 3])
def test_what_is_no_name_is_refused(asked):
    with pytest.raises(mm.DatasetError, match="there is no data set named"):
        mm.load_dataset(asked)


@pytest.fixture
def data_folder(tmp_path, monkeypatch):
    """Serve data sets from a copy that a test may spoil."""
    shutil.copytree(datasets._DATA, tmp_path / "data")
    monkeypatch.setattr(datasets, "_DATA", tmp_path / "data")
    datasets._frame.cache_clear()
    yield tmp_path / "data"
    datasets._frame.cache_clear()


@pytest.mark.parametrize("file", ["pulp.csv", "hsb82.csv.gz"])
def test_an_altered_file_is_refused(data_folder, file):
    path = data_folder / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(mm.DatasetError, match=rf"{file}\) has been altered"):
        mm.load_dataset(file.split(".")[0])


def test_info_prints_what_a_reader_needs():
    printed = repr(mm.dataset_info("pulp"))
    for part in ["20 rows", "reflectance meter", "levels a, b, c, d", "Sheldon", "SHA-256"]:
        assert part in printed
    assert max(map(len, printed.splitlines())) <= 79


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("milk", "factor, 79 levels"),
        ("gun", "ordered factor, levels Slight, Average, Heavy"),
        ("inst_eval", "factor, numeric order"),
        ("sleepstudy", "number, milliseconds"),
    ],
)
def test_info_tells_each_kind_of_column(name, kind):
    assert f"({kind})" in " ".join(repr(mm.dataset_info(name)).split())


class Cells(HTMLParser):
    """Collects the text of table headers and cells."""

    def __init__(self):
        super().__init__()
        self.cells, self.inside = [], False

    def handle_starttag(self, tag, attrs):
        self.inside = self.inside or tag in {"th", "td"}
        if tag in {"th", "td"}:
            self.cells.append("")
            assert tag == "td" or dict(attrs)["scope"] in {"row", "col"}

    def handle_endtag(self, tag):
        self.inside = self.inside and tag not in {"th", "td"}

    def handle_data(self, data):
        if self.inside:
            self.cells[-1] += data


@pytest.mark.parametrize("name", ["pulp", "bond", "sims"])
def test_info_as_html_is_a_table_with_headers_for_its_columns(name):
    info = mm.dataset_info(name)
    parser = Cells()
    parser.feed(info._repr_html_())
    wanted = ["Column", "Meaning", "Kind and unit"]
    for key, column in info.columns.items():
        wanted += [key, column.meaning, column.kind]
    assert parser.cells == wanted


def test_html_is_escaped():
    column = mm.DatasetColumn("a < b & c", "m/s")
    info = datasets.DatasetInfo("x", "<t>", "d", "s", 1, {"<k>": column}, "0")
    assert "<t>" not in info._repr_html_()
    assert "a &lt; b &amp; c" in info._repr_html_()


def test_categories_are_text_even_where_they_look_like_numbers():
    students = mm.load_dataset("inst_eval")["s"].cat.categories
    assert students[:3].tolist() == ["1", "2", "3"]
    assert isinstance(mm.load_dataset("inst_eval")["dept"].dtype, pd.CategoricalDtype)
