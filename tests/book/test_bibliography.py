"""The works in `book/references.bib` have what is needed to find them in a library."""

import re

import pytest
from pybtex.database import parse_file, parse_string

from tools import ROOT

# What an entry needs to be found in a library; an editor stands for an author.
_NEEDED = {
    "article": ("title", "journal", "year", "volume", "pages"),
    "book": ("title", "publisher", "year"),
    "inproceedings": ("title", "booktitle", "year"),
}
_FORMS = {
    "doi": re.compile(r"10\.\d{4,9}/[-.;()/:\w]+"),
    "year": re.compile(r"(?:19|20)\d\d"),
    "pages": re.compile(r"[A-Z]?\d+(?:--[A-Z]?\d+)?"),
    "volume": re.compile(r"\d+"),
}


# Papers without a DOI, and why; a book needs none.
WITHOUT_DOI = {
    "bozivich1956": "none could be confirmed",
    "holm1979": "the journal gave none that year",
    "sheldon1960": "none could be confirmed",
    "stein1956": "the proceedings have none",
}


def faulty_entries(works):
    """Find entries that lack what their type needs, or whose DOI, year or pages are misshapen."""
    return [
        f"{key}: {complaint}"
        for key, entry in works.entries.items()
        for complaint in _faults(key, entry)
    ]


def _faults(key, entry):
    if entry.type not in _NEEDED:
        yield f"the type {entry.type} is not among {', '.join(_NEEDED)}"
    if not entry.persons.get("author") and not entry.persons.get("editor"):
        yield "no author or editor"
    for field in _NEEDED.get(entry.type, ()):
        if not entry.fields.get(field):
            yield f"no {field}"
    if entry.type != "book" and ("doi" in entry.fields) == (key in WITHOUT_DOI):
        yield "no doi" if key not in WITHOUT_DOI else "a doi, although WITHOUT_DOI names it"
    for field, form in _FORMS.items():
        if field in entry.fields and not form.fullmatch(entry.fields[field]):
            yield f"{field} = {entry.fields[field]!r} is not well formed"
    if not key.endswith(entry.fields.get("year", "")):
        yield f"the key does not end with the year {entry.fields['year']}"
    pages = re.fullmatch(r"(\d+)--(\d+)", entry.fields.get("pages", ""))
    if pages and int(pages[1]) > int(pages[2]):
        yield f"pages {entry.fields['pages']} run backwards"


ARTICLE = """@article{efron1956,
  author = {Efron, Bradley}, title = {A title}, journal = {A journal},
  year = {1956}, volume = {1}, pages = {197--206}, doi = {10.1000/182},
}"""


def entry(old="", new=""):
    return faulty_entries(parse_string(ARTICLE.replace(old, new), "bibtex"))


def test_the_bibliography_is_complete():
    assert faulty_entries(parse_file(ROOT / "book" / "references.bib")) == []
    assert entry() == []


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("year = {1956}", "year = {1965}", "the key does not end with the year"),
        ("year = {1956}", "year = {56}", "year = '56'"),
        ("10.1000/182", "10.1000", "doi = '10.1000' is not well formed"),
        ("10.1000/182", "https://doi.org/10.1000/182", "is not well formed"),
        ("doi = {10.1000/182}", "", "no doi"),
        ("{efron1956", "{efron1956b", "the key does not end"),
        ("volume = {1}, ", "", "no volume"),
        ("author = {Efron, Bradley}, ", "", "no author"),
        ("197--206", "197-206", "pages = '197-206'"),
        ("197--206", "206--197", "run backwards"),
        ("@article", "@misc", "the type misc"),
    ],
)
def test_a_faulty_entry_is_found(old, new, complaint):
    assert any(complaint in found for found in entry(old, new))


def test_a_paper_without_doi_must_be_named_and_no_other():
    assert entry("efron1956,", "stein1956,") == ["stein1956: a doi, although WITHOUT_DOI names it"]
