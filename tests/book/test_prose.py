"""`tools/book/prose.py`: which numbers a text states."""

import pytest

from tools.book.prose import numbers


def found(markdown):
    return [(number.text, number.kind, number.form) for number in numbers(markdown)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the mean is 60.4.", [("60.4", "prose", "figure")]),
        (
            "Twenty sheets, 10,000 draws",
            [("Twenty", "prose", "word"), ("10,000", "prose", "figure")],
        ),
        ("39 % or 40%", [("39", "prose", "percent"), ("40", "prose", "percent")]),
        ("R 4.2.2, lme4 1.1-31", [("4.2.2", "prose", "version"), ("1.1-31", "prose", "version")]),
        ("falls by −0.34", [("-0.34", "prose", "figure")]),
        ("from 0.2–0.4", [("0.2", "prose", "figure"), ("0.4", "prose", "figure")]),
        (
            r"$\hat\alpha_1 = -0.16$",
            [("-0.16", "formula", "figure"), ("1", "formula", "index")],
        ),
        (r"$p < 2 \cdot 10^{-16}$", [("2e-16", "formula", "figure")]),
        (
            r"$\chi^2_3$, $x_{12}$ and $n^{-1}$",
            [
                *(("2", "formula", "exponent"), ("3", "formula", "df")),
                *(("12", "formula", "index"), ("-1", "formula", "exponent")),
            ],
        ),
        (r"$30 / 77 = 39$ %", [("30", "formula", "figure"), ("77", "formula", "figure")]),
        ("{doc}`chapter 3 <03-estimation>`, {cite}`sheldon1960`, {numref}`fig-2`", []),
        ("{term}`five sheets <sheet>`", [("five", "prose", "word")]),
        ("`default_rng(1960)`", [("1960", "code", "figure")]),
        ("`x1` and mmlib2", []),
        (
            "| a | 20 |\n|---|---|\n| 7.5 | b |",
            [("20", "prose", "figure"), ("7.5", "prose", "figure")],
        ),
        ("```python\nf(3)  # 60.4\n```", [("60.4", "tab", "figure")]),
        ("```r\nf(3)\n#> 60.4\n```", [("3", "R", "figure"), ("60.4", "R", "figure")]),
        ("```r\nf(3)  # 60.4\n```", [("60.4", "tab", "figure")]),
        (
            "```{admonition} In 12 words\nand 14\n```",
            [("12", "prose", "figure"), ("14", "prose", "figure")],
        ),
        (
            "```{figure} a.svg\n:alt: 15 dots\n\nof 16\n```",
            [("15", "alt text", "figure"), ("16", "caption", "figure")],
        ),
    ],
)
def test_numbers_of_a_text(text, expected):
    assert [item for item in found(text) if item[0] != "39" or item[1] != "formula"] == expected


def test_a_percentage_may_follow_its_formula():
    assert found(r"$30 / 77 = 39$ %")[-1] == ("39", "formula", "percent")


def test_a_number_carries_its_sentence():
    first, second = numbers("It is 1.5. Then it\nis 2.5 again.")
    assert (first.sentence, second.sentence) == ("It is 1.5.", "Then it is 2.5 again.")
