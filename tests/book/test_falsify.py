"""The promise, tried: numbers of the book are falsified, and the checks find them."""

import random

import pytest

from tools import ROOT
from tools.book import falsify
from tools.book.falsify import another, chapter_places, form, group, page_places, places_in

CHAPTER = ROOT / "book" / "01-pulp.md"


@pytest.fixture(scope="module")
def places():
    return list(chapter_places(CHAPTER))


def test_what_is_true_has_no_complaints(places):
    texts = {place.text: place for place in places}
    assert [place.around() for text, place in texts.items() if place.judge(text)] == []


def test_nearly_every_false_decimal_is_found(places):
    rng = random.Random(1960)
    decimals = [place for place in places if form(place.number) == "a decimal"]
    drawn = rng.sample(decimals, 60)
    missed = [place.around() for place in drawn if not place.judge(place.falsified(rng))]
    assert len(missed) <= 4, missed


def test_a_false_number_in_a_tab_of_r_is_found(places):
    rng = random.Random(1960)
    tabs = [place for place in places if place.kind == "tab (R)"]
    drawn = rng.sample(tabs, 12)
    assert [place.around() for place in drawn if not place.judge(place.falsified(rng))] == []


@pytest.mark.parametrize(("kind", "missed"), [("inline code", 0), ("tab (Python)", 2)])
def test_false_numbers_in_code_are_found(places, kind, missed):
    rng = random.Random(1960)
    code = [place for place in places if place.kind == kind]
    assert len(code) >= 6
    drawn = rng.sample(code, min(len(code), 12))
    green = [place.around() for place in drawn if not place.judge(place.falsified(rng))]
    assert len(green) <= missed, green


def test_false_counts_of_what_was_measured_are_found(places):
    counts = [
        place
        for place in places
        if place.text[place.end :].lstrip().startswith(("operators", "sheets", "readings"))
        and place.number.lower() not in ("a", "two", "one")
    ]
    assert len(counts) > 20
    changed = [place for place in counts if place.judge(place.falsified(random.Random(3)))]
    assert len(changed) >= 0.7 * len(counts)


def test_false_figures_of_pages_without_cells_are_found():
    rng = random.Random(1960)
    figures = [place for place in page_places() if "." in place.number]
    assert figures
    assert [place.around() for place in figures if not place.judge(place.falsified(rng))] == []


def test_another_number_has_the_same_form():
    rng = random.Random(1)
    assert all(another("0.16", rng)[:-1] == "0.1" for _ in range(20))
    assert all(another("Four", rng) not in ("Four", "four") for _ in range(20))


def test_labels_citations_and_options_are_no_places():
    text = ":label: ex-2\n{cite}`a2000` and {doc}`chapter 3 <03-a>`, [4](page-5.md), 6.5"
    assert [place.number for place in places_in("p", "prose", text, lambda _: [])] == ["6.5"]


@pytest.mark.parametrize(
    ("kind", "number", "row"),
    [
        ("table", "5", "single digits"),
        ("tab (R)", "0.5", "numbers in tabs of R"),
        ("inline code", "5", "numbers in code within a sentence"),
        ("prose", "0.39", "decimals"),
        ("exponent", "3", "exponents, and single digits as values in formulas"),
        ("shape of a formula", "1", "the shape of a formula, the number of an item"),
    ],
)
def test_each_place_is_counted_in_a_row_of_how_checked(kind, number, row):
    (place,) = places_in("p", kind, f"So {number} here.", lambda _: [])
    assert group(place) == row
    assert f"| {row} | " in (ROOT / "book" / "how-checked.md").read_text(encoding="utf-8")


def test_what_was_found_is_stored(tmp_path, monkeypatch):
    monkeypatch.setattr(falsify, "STORED_RATES", tmp_path / "rates.csv")
    found, missed = places_in("p", "prose", "So 0.39 or 0.41.", lambda _: [])
    falsify.store_rates([(found, True), (missed, False)])
    assert (tmp_path / "rates.csv").read_text() == 'group,found,places\n"decimals",1,2\n'


def test_a_tab_that_fails_with_another_number_is_found(places):
    (place,) = [
        place
        for place in places
        if place.kind == "tab (Python)" and place.text[: place.end].endswith("bright ~ 1")
    ][:1]
    changed = place.text[: place.start] + "7" + place.text[place.end :]
    assert any("a tab of Python fails" in line for line in place.judge(changed))
