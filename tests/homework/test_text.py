"""`tools/homework/text.py`: plain Markdown out of MyST, judged by parsers."""

import re
from itertools import pairwise

import nbformat
import pytest
from markdown_it import MarkdownIt

from tools import ROOT
from tools.homework.text import HomeworkError, References, parser, plain

REFERENCES = References(
    titles={"03-estimation": "How big?"},
    labels={"fig-a": "Figure 1.2", "eq-a": "(1.4)", "ex-a": "Exercise 1.1"},
    citations={"x1960": ("Sheldon", "1960"), "y2016": ("Faraway and Wu", "2016")},
    terms=frozenset({"variance component", "fixed effect", "code", "b", "it"}),
)
NOTEBOOKS = [
    path
    for folder in ("student", "solution", "course/source")
    for path in sorted((ROOT / "homework" / folder).rglob("*.ipynb"))
]


def myst_left(text: str) -> list[str]:
    """Find, with MyST's parser and with CommonMark's, what a plain notebook would show raw."""
    complaints = [
        token.type
        for outer in parser().parse(text)
        for token in [outer, *(outer.children or [])]
        if token.type.startswith(("myst", "substitution", "colon", "dl_", "span", "math_block_l"))
        or (token.type == "fence" and token.info.startswith("{"))
    ]
    for block in MarkdownIt("commonmark").enable("table").parse(text):
        for token, following in pairwise([*(block.children or []), None]):
            is_role = following and following.type == "code_inline"
            if token.type == "text" and is_role and re.search(r"\{[a-z:]+\}$", token.content):
                complaints.append(token.content)
            if token.type == "text" and token.content.startswith((":::", "```", "%", "+++")):
                complaints.append(token.content)
    return complaints


@pytest.mark.parametrize(
    ("myst", "markdown"),
    [
        ("See {doc}`03-estimation`.", "See *How big?*."),
        ("{doc}`there <03-estimation>`", "*there*"),
        ("a {term}`fixed\neffect <fixed effect>`", "a fixed effect"),
        ("{numref}`fig-a` and {eq}`eq-a`", "Figure 1.2 and (1.4)"),
        ("{cite}`x1960,y2016`", "(Sheldon, 1960; Faraway and Wu, 2016)"),
        ("{cite:t}`x1960`", "Sheldon (1960)"),
        ("{func}`~mmlib.lmm`", "`lmm()`"),
        ("`{term}` is {term}`code`", "`{term}` is code"),
        ("| a |\n|---|\n| {term}`b` `c \\| d` |", "| a |\n|---|\n| b `c \\| d` |"),
        ("$$\ny = x\n$$ (eq-a)", "$$\ny = x \\tag{1.4}\n$$"),
        ("```{math}\n:label: eq-a\ny = x\n```", "$$\ny = x \\tag{1.4}\n$$"),
        (
            "```{admonition} In words\n:class: tip\nSay {term}`it`.\n```",
            "> **In words**\n> \n> Say it.",
        ),
        ("% a comment\n\n(label)=\ntext", "text"),
        (
            "`````{tab-set}\n````{tab-item} R\n:sync: r\n\n```r\nlm(y ~ x)\n```\n````\n`````",
            "**R**\n\n```r\nlm(y ~ x)\n```",
        ),
    ],
)
def test_plain_form(myst, markdown):
    assert myst_left(myst), "the example has nothing to convert"
    assert plain(myst, REFERENCES) == markdown
    assert myst_left(markdown) == []


def test_markdown_and_maths_stay_as_they_are():
    text = "# A *title*\n\n- $x_i$ and `code`\n\n$$\n\\{x\\}\n$$\n\n| a |\n|---|\n| 1 |"
    assert plain(text, REFERENCES) == text


@pytest.mark.parametrize(
    ("myst", "reason"),
    [
        ("{doc}`nowhere`", "refers to nothing"),
        ("{cite}`x1961`", "refers to nothing in the book: did you mean x1960?"),
        ("{term}`variance xomponent`", "did you mean variance component?"),
        ("{numref}`so <fig-b>`", "refers to nothing in the book: did you mean fig-a?"),
        ("{kbd}`x`", "role {kbd} has no plain form"),
        ("```{figure} x.png\n```", "directive {figure} has no plain form"),
        (":::{note}\nx\n:::", "line 1: colon_fence"),
        ("one\n\n{{ name }}", "line 3: substitution_block"),
        ("term\n: definition", "dl_open"),
        ("- ```{note}\n  x\n  ```", "fence has no plain form here"),
    ],
)
def test_what_has_no_plain_form_is_an_error(myst, reason):
    with pytest.raises(HomeworkError, match=re.escape(reason)):
        plain(myst, REFERENCES)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: "/".join(path.parts[-2:]))
def test_no_myst_is_left_in_the_notebooks(path):
    cells = nbformat.read(path, as_version=4).cells
    texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
    assert texts
    assert [left for text in texts for left in myst_left(text)] == []
