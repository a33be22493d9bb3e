"""`tools/book/citations.py`: citations name works that there are, and the works are complete."""

import pytest
from nbformat.v4 import new_markdown_cell, new_notebook
from pybtex.database import parse_string

from tools.book.citations import bibliography, cited, faulty_entries, unknown_citations

ARTICLE = """@article{{efron1956,
  author = {{Efron, Bradley}}, title = {{A title}}, journal = {{A journal}},
  year = {{1956}}, volume = {{1}}, pages = {{197--206}}, doi = {{10.1000/182}},
}}"""


def entry(old="", new=""):
    return faulty_entries(
        parse_string(ARTICLE.replace("{{", "{").replace("}}", "}").replace(old, new), "bibtex")
    )


def test_a_mistyped_citation_is_named_with_the_nearest_key():
    notebook = new_notebook(cells=[new_markdown_cell("After {cite:t}`bates2015, sheldan1960`.")])
    (found,) = unknown_citations(notebook)
    assert found == (
        "cell 1: {cite}`sheldan1960` is not in references.bib: did you mean sheldon1960?"
    )


def test_citations_are_found_inside_of_directives():
    assert cited("```{admonition} a\nas in {cite}`b2000`\n```") == ["b2000"]


def test_the_bibliography_is_complete():
    assert faulty_entries(bibliography()) == []
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
