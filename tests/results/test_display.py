"""One table builder for text, HTML and LaTeX, and R's rule for decimals."""

import re

import pytest
from bs4 import BeautifulSoup

from mmlib.results.display import Summary, Table, decimals_for, fixed_point

TABLE = Table(
    "Random effects",
    ("Groups", "Name", "Variance"),
    (("g", "Intercept", "612.09"), ("", "x_1 & <z>", "-35.07"), ("Residual", "", "1.50")),
    n_labels=2,
)


# What R prints for format(c(...), digits = 4).
@pytest.mark.parametrize(
    ("values", "printed"),
    [
        ([0.06808333, 0.10625], ["0.06808", "0.10625"]),
        ([612.0899, 35.07166, 654.94], ["612.09", "35.07", "654.94"]),
        ([24.7404, 5.922133, 25.59179], ["24.740", "5.922", "25.592"]),
        ([1, 10, 100], ["1", "10", "100"]),
        ([3.14159, 2.71828], ["3.142", "2.718"]),
        ([60.4, 0.1494434], ["60.4000", "0.1494"]),
        ([0.1, 0.12, 0.123], ["0.100", "0.120", "0.123"]),
        ([99.9996, 1], ["100", "1"]),
        ([9.9996], ["10"]),
        ([123456.7, 1], ["123457", "1"]),
        ([0, 5.0529], ["0.000", "5.053"]),
        ([0.5, 0], ["0.5", "0.0"]),
        ([-1.50554083, -0.06353217, 0.6585024], ["-1.50554", "-0.06353", "0.65850"]),
        ([404.16636], ["404.2"]),
        ([36.8378, 6.7714], ["36.838", "6.771"]),
        ([1234.5, 0.5], ["1234.5", "0.5"]),
        ([-0.44, -0.195], ["-0.440", "-0.195"]),
    ],
)
def test_decimals_are_those_of_r(values, printed):
    assert fixed_point(values, decimals_for(values)) == printed


def test_what_is_not_finite_does_not_count():
    assert decimals_for([float("nan"), 1.25, float("inf")]) == 2
    assert decimals_for([]) == 0
    assert fixed_point([float("nan"), 1.25], 2) == ["nan", "1.25"]


def test_tiny_numbers_are_in_scientific_notation():
    assert fixed_point([1.234567e-12], decimals_for([1.234567e-12])) == ["1.235e-12"]


def test_text():
    assert TABLE.to_text().splitlines() == [
        "Random effects:",
        " Groups   Name      Variance",
        " g        Intercept   612.09",
        "          x_1 & <z>   -35.07",
        " Residual               1.50",
    ]


def test_html_is_a_table_with_a_caption_and_scoped_headers():
    table = BeautifulSoup(TABLE.to_html(), "html.parser").find("table")
    assert table.caption.text == "Random effects"
    columns = table.thead.find_all("th")
    assert [(th["scope"], th.text) for th in columns] == [
        ("col", "Groups"),
        ("col", "Name"),
        ("col", "Variance"),
    ]
    rows = table.tbody.find_all("tr")
    assert [[cell.text for cell in row.find_all(["th", "td"])] for row in rows] == [
        list(row) for row in TABLE.rows
    ]
    assert [[th.text for th in row.find_all("th", scope="row")] for row in rows] == [
        ["g", "Intercept"],
        ["x_1 & <z>"],
        ["Residual"],
    ]
    assert not [th for th in table.find_all("th") if not th.text], "no header is empty"


def test_latex_is_a_balanced_tabular():
    lines = TABLE.to_latex().splitlines()
    assert lines[0] == r"\begin{tabular}{llr}"
    assert lines[-1] == r"\end{tabular}"
    rules = [line for line in lines if line in {r"\toprule", r"\midrule", r"\bottomrule"}]
    assert len(rules) == 3
    body = [line for line in lines if line.endswith(r"\\") and "multicolumn" not in line]
    assert len(body) == 4
    for line in body:
        assert len(re.findall(r"(?<!\\)&", line)) == 2
    assert r"x\_1 \& " in TABLE.to_latex()


@pytest.mark.parametrize(
    ("character", "latex"),
    [
        ("_", r"\_"),
        ("%", r"\%"),
        ("&", r"\&"),
        ("#", r"\#"),
        ("$", r"\$"),
        ("{", r"\{"),
        ("}", r"\}"),
        ("~", r"\textasciitilde{}"),
        ("^", r"\textasciicircum{}"),
        ("\\", r"\textbackslash{}"),
        ("|", r"\textbar{}"),
        ("<", r"\textless{}"),
        (">", r"\textgreater{}"),
        ("σ", r"$\sigma$"),
        ("−", "$-$"),
    ],
)
def test_latex_spells_its_special_characters(character, latex):
    table = Table("", ("a",), ((f"x{character}y",),))
    assert f"x{latex}y" in table.to_latex()
    assert Summary((f"x{character}y",)).to_latex() == f"x{latex}y"


def test_a_summary_is_its_parts_in_order():
    summary = Summary(("first <line>\nsecond", TABLE, "last"))
    assert str(summary) == repr(summary)
    assert str(summary) == f"first <line>\nsecond\n\n{TABLE.to_text()}\n\nlast"
    html = BeautifulSoup(summary._repr_html_(), "html.parser")
    assert [tag.name for tag in html.find_all(recursive=False)] == ["p", "table", "p"]
    assert html.p.get_text("|") == "first <line>|second"
    assert summary.to_latex().startswith("first \\textless{}line\\textgreater{} \\\\\nsecond\n\n")


def test_a_table_without_a_caption():
    table = Table("", ("a",), (("1",),), n_labels=0)
    assert table.to_text() == " a\n 1"
    assert "caption" not in table.to_html()
    assert "multicolumn" not in table.to_latex()


def test_a_long_note_is_broken_into_lines_and_a_laid_out_text_is_not():
    note = "word " * 30
    laid_out = f"first\n{'x' * 100}"
    lines = str(Summary((note, laid_out))).splitlines()
    assert " ".join(lines[:2]).split() == note.split()
    assert max(map(len, lines[:2])) <= 80
    assert lines[-1] == "x" * 100


def test_a_zero_has_no_sign():
    assert fixed_point([-1e-9, 0.0, -0.5], 3) == ["0.000", "0.000", "-0.500"]
