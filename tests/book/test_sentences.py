"""`tools/book/sentences.py`: what holds a number, and what does not."""

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools.book.sentences import UNHELD, Allowed, allow_list, allowed_on, unheld


def hidden(code):
    return new_code_cell(code, metadata={"tags": ["remove-cell"]})


def shown(code, printed=""):
    outputs = [new_output("stream", text=printed)] if printed else []
    return new_code_cell(code, outputs=outputs)


R_TAB = "```r\nlmer(nsim = 9)\n#> 7\n```"


def page(text, *cells, allowed=(), spoken=()):
    lists = Allowed(unheld=tuple(allowed), spoken=tuple(spoken))
    return unheld(new_notebook(cells=[*cells, new_markdown_cell(text)]), lists)


@pytest.mark.parametrize(
    "cell",
    [
        shown("print(p)", "p = 0.0226\n"),
        shown("print(p)", "p = 0.02261\n"),
        hidden('assert f"{p:.4f}" == "0.0226"'),
        hidden("assert np.isclose(p, 0.0226)"),
        hidden("np.testing.assert_allclose(p, [0.0226, 1])"),
        hidden('for line in ("p is 0.0226",):\n    assert line in text'),
        hidden("expected = [0.0226, 1]\nassert computed == expected"),
        hidden("assert 0.02 + 0.0026 == 0.0226"),
        shown("level = 0.0226"),
    ],
)
def test_what_holds_a_number(cell):
    assert page("Here $p = 0.0226$.", cell) == []
    (complaint,) = page("Here $p = 0.0227$.", cell)
    assert "0.0227 (formula) in “Here p = 0.0227.”: no cell gives it; the nearest is" in complaint


@pytest.mark.parametrize(
    "cell",
    [
        hidden("level = 0.0226"),
        hidden("0.0226"),
        hidden('assert f"{0.0226:.4f}" == "0.0226"'),
        hidden("assert np.isclose(0.0226, 0.0226)"),
        hidden("assert np.isclose(p, 1, atol=0.0226)"),
        hidden('assert f"{p:.4f}" == "0.0225"  # 0.0226'),
        shown("print(p)", "0.10226"),
        shown("# 0.0226\nprint(p)"),
    ],
)
def test_what_holds_nothing(cell):
    assert len(page("Here $p = 0.0226$.", cell)) == 1


def test_a_short_number_is_held_by_its_own_section():
    far = [shown("print(r)", "0.39"), new_markdown_cell("## Next"), shown("print(s)", "7.25")]
    (complaint,) = page("It is 0.39.", *far)
    assert (
        "no cell of this section gives it; the nearest is 7.25 in the output of cell 3" in complaint
    )
    assert page("It is 7.25. Before it was 0.391.", *far, shown("print(r)", "0.3912")) == []
    assert page("It is 0.39.", far[0]) == []


def test_what_is_asserted_beside_a_sentence_comes_first():
    cells = [shown("data", "60.1 60.4 60.7"), hidden('assert f"{y.mean():.1f}" == "60.4"')]
    assert page("The mean is 60.4.", *cells) == []
    cells[1].source += '\nassert f"{b:.1f}" == "60.7"'
    wrong, unsaid = page("The mean is 60.1.", *cells)[:2]
    assert "cell 2 is nearer than what gives it, and has 60.4: if the sentence is right" in wrong
    assert unsaid.startswith("cell 2: no sentence beside it says 60.4, which it asserts, and 60.7")


def test_shown_code_beside_a_sentence_holds_but_does_not_object():
    assert page("Draw 2000 times.", shown("nsim = 2000")) == []
    assert page("Draw 3000 times.", shown("nsim = 2000"), shown("print(n)", "3000")) == []


def test_a_number_after_a_macro_is_read():
    assert len(page(r"From $-0.34\ldots0.28$.", hidden("assert np.isclose(x, -0.34)"))) == 1


def test_code_in_a_sentence_stands_in_a_cell_an_output_or_a_tab():
    cells = [shown("f(n_subjects = 12,\n  rng=3)", "Residual  4.340"), new_markdown_cell(R_TAB)]
    assert page("`f(n_subjects=12, rng=3)`, `Residual 4.340`, `lmer(nsim = 9)`", *cells) == []
    assert page("`f(n_subjects=12, … =3)`", *cells) == []
    (complaint,) = page("`f(n_subjects=12, rng=8)`", *cells)[:1]
    assert "`f(n_subjects=12, rng=8)` stands in no cell, output or tab" in complaint
    assert page("`rng=3`", shown("f(rng=33)")) != []


def test_code_that_is_nowhere_may_be_listed_and_its_short_numbers_too():
    assert page("`(1 | g)`", allowed=["(1 |"]) == []
    assert page("`(3 | g)`", allowed=["(1 |"]) != []
    assert page("`Residual 18.83`", shown("print(v)", "18.83")) == []


def test_a_percentage_counts_nothing():
    held_by = hidden('assert f"{share:.0%}" == "15%"')
    assert page("So 15% between batches.", counting({"batches": 10}), held_by) == []


def test_a_percentage_is_held_by_its_hundredth():
    assert page("So 39 % and $39$ % of it.", shown("print(x)", "0.39")) == []
    assert page("So 39 of it.", shown("print(x)", "0.39")) != []


def test_a_minus_sign_is_held():
    assert page("It is $-1.25$.", shown("print(x)", "1.25")) != []
    assert page("It is lower by 1.25.", shown("print(x)", "-1.25")) == []


def counting(values):
    output = new_output("execute_result", {"text/plain": repr(values)}, execution_count=1)
    return new_code_cell("counts", outputs=[output], metadata={"tags": ["remove-cell", "counts"]})


def test_counts_are_held_with_what_they_count():
    counts = counting({"operators": 4, "sheets": 5, "degrees of freedom": [3, 16], "n =": 5})
    right = (
        "Four operators made five *handmade* sheets each, on 3 and 16 degrees of freedom, $n = 5$."
    )
    assert page(right, counts) == []
    for word, other in [("Four", "Five"), ("five", "four"), ("16", "12"), ("n = 5", "n = 4")]:
        (complaint,) = page(right.replace(word, other), counts)
        assert "the page counts" in complaint


def test_counts_may_be_numpy_integers():
    counts = counting({"operators": 4})
    counts.outputs[0].data["text/plain"] = "{'operators': np.int64(4), 'sheets': [np.int64(5), 2]}"
    assert page("Four operators, five sheets, $n = 1$.", counts) == []
    assert len(page("Five operators, four sheets.", counts)) == 2


@pytest.mark.parametrize("shown", ["[4]", "{'operators': four}", "{'operators': 'four'}", "4"])
def test_what_is_no_dictionary_of_counts_is_said(shown):
    counts = counting({})
    counts.outputs[0].data["text/plain"] = shown
    (complaint,) = page("It is so.", counts)
    assert complaint.startswith("cell 1: the cell with the tag counts shows")
    assert "it should show a dictionary of whole numbers" in complaint


def test_what_a_data_set_counts_must_be_counted():
    (complaint,) = page("Four operators.", shown('pulp = mm.load_dataset("pulp")'))
    assert complaint.endswith("the page counts no operators (in its cell with the tag counts)")


def test_captions_and_alternative_texts_are_held():
    figure = {"mystnb": {"figure": {"caption": "It is 1.25."}, "image": {"alt": "A line at 2.75."}}}
    cell = new_code_cell("draw()", metadata=figure)
    assert len(unheld(new_notebook(cells=[cell]))) == 2
    assert unheld(new_notebook(cells=[cell, shown("print(x)", "1.25 2.75")])) == []


def test_words_in_a_figure_hold_a_number_but_its_ticks_do_not():
    drawing = '<svg><g id="xtick_1"><!-- 1.25 --></g><g id="text_9"><!-- θ = 2.75 --></g></svg>'
    cell = new_code_cell("f()", outputs=[new_output("display_data", {"image/svg+xml": drawing})])
    assert page("It is 2.75.", cell) == []
    assert len(page("It is 1.25.", cell)) == 1


def test_an_allowed_phrase_stands_and_no_other():
    assert page("In 1935 Yates", allowed=["In 1935 Yates"]) == []
    wrong, unneeded = page("In 1936 Yates", allowed=["In 1935 Yates"])
    assert wrong.startswith("cell 1: 1936 (prose)")
    assert "“In 1935 Yates” is not needed" in unneeded


def test_an_exception_for_what_is_held_is_not_needed():
    (unneeded,) = page("So 39.5 of it.", shown("print(x)", "39.5"), allowed=["39.5 of it"])
    assert unneeded.endswith("is not needed: the page does not say it, or it is held: take it out")


def test_a_phrase_elsewhere_in_the_sentence_allows_nothing():
    text = "There are three reasons and two kinds."
    (complaint,) = page(text, spoken=["two kinds"])
    assert "three (prose)" in complaint
    assert "list “three reasons” in" in complaint
    assert page(text, spoken=["three reasons", "two kinds"]) == []


def test_a_count_that_nothing_holds_is_told_how_to_be_held():
    (complaint,) = page("A design of two.")
    assert (
        "count it in the cell with the tag counts; if the text does, list “of two.”"
        not in complaint
    )
    assert complaint.endswith("list “design of two” in book/data/spoken.toml")
    assert page("One of them is zero.") == []


def test_words_and_digits_do_not_come_from_the_figures_of_an_output():
    assert page("It has five ends.", shown("print(5)", "5")) != []
    assert page("It has 5 ends.", shown("print(5)", "5")) != []
    assert page("It has 5 ends.", hidden("assert len(ends) == 5")) == []
    assert page("It has five ends.", hidden("assert len(ends) == 5")) != []


def test_a_name_alone_in_the_cell_of_a_table_is_shown_by_an_output():
    table = "| design | groups |\n|---|---|\n| {} | some |"
    output = shown("print(sizes)", "four  0.049\nsix  0.051")
    assert page(table.format("four"), output) == []
    assert page(table.format("five"), output) != []


@pytest.mark.parametrize("formula", [r"\sigma^2/2", r"(1 - k)^{-1}", r"\mathbf{X}_0", "y_{31}"])
def test_the_shape_of_a_formula_is_free(formula):
    assert page(f"Let ${formula}$ be.") == []


@pytest.mark.parametrize(
    "formula", [r"\sigma^7", r"\sigma/7", r"\mathbf{X}_8", r"\chi^2_3", "t_{19}"]
)
def test_other_digits_of_a_formula_are_held(formula):
    assert len(page(f"Let ${formula}$ be.")) == 1


def test_degrees_of_freedom_below_a_letter_are_counts():
    assert page(r"By $\chi^2_3$.", counting({"degrees of freedom": 3})) == []
    assert len(page(r"By $\chi^2_2$.", counting({"degrees of freedom": 3}))) == 1


def test_a_section_without_cells_may_repeat_what_is_asserted():
    cells = [hidden('assert f"{p:.2f}" == "0.39"'), shown("print(q)", "0.25")]
    assert page("## Summary\n\nIt is 0.39.", *cells) == []
    assert page("## Summary\n\nIt is 0.25.", *cells) != []


def test_every_exception_gives_its_reason():
    assert all(reason.strip() for page in allow_list(UNHELD).values() for reason in page.values())
    assert "95%" in allowed_on("01-pulp").everywhere
