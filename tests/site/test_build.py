"""`tools/site/build.py` on a book of two pages: what it shows, and what it refuses."""

import shutil
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools import ROOT
from tools.site import build as build_site
from tools.site.build import build
from tools.site.pages import SiteError

pytestmark = pytest.mark.site


@pytest.fixture
def book(tmp_path) -> Path:
    """Lay out a small book with the project's own configuration."""
    folder = tmp_path / "source"
    (folder / "book").mkdir(parents=True)
    shutil.copy(ROOT / "_config.yml", folder)
    shutil.copytree(ROOT / "book" / "_static", folder / "book" / "_static")
    (folder / "book" / "references.bib").write_text("")
    (folder / "book" / "index.md").write_text("# Front\n\nSee {doc}`01-one`.\n")
    (folder / "book" / "01-one.md").write_text("# The text twin\n")
    toc = {"format": "jb-book", "root": "book/index", "chapters": [{"file": "book/01-one.ipynb"}]}
    (folder / "_toc.yml").write_text(yaml.safe_dump(toc))
    notebook = new_notebook(
        cells=[
            new_markdown_cell("# The notebook"),
            new_code_cell(
                "1 + 1", execution_count=1, outputs=[new_output("stream", text="committed\n")]
            ),
        ],
        metadata={
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
        },
    )
    nbformat.write(notebook, folder / "book" / "01-one.ipynb")
    return folder


def test_pages_show_the_committed_notebook_and_an_image_without_words_is_named(book, tmp_path):
    with (book / "book" / "index.md").open("a") as page:
        page.write("\n```{image} _static/logo.svg\n```\n")
    with pytest.raises(SiteError, match=r"book/index\.html: no alt text on .*logo\.svg"):
        build(tmp_path, book)
    shown = (tmp_path / "_build" / "html" / "book" / "01-one.html").read_text(encoding="utf-8")
    assert "The notebook" in shown
    assert "committed" in shown
    assert "The text twin" not in shown


def test_any_warning_fails_and_leaves_no_site(book, tmp_path, capfd):
    with (book / "book" / "index.md").open("a") as page:
        page.write("\nSee {ref}`fig-nowhere` and {func}`mmlib.nowhere`.\n")
    with pytest.raises(SiteError, match="see the warnings above"):
        build(tmp_path, book)
    warnings = "".join(line for line in capfd.readouterr().err.splitlines() if "WARNING" in line)
    assert warnings.count("WARNING") == 2
    assert "undefined label: 'fig-nowhere'" in warnings
    assert "py:func reference target not found: mmlib.nowhere" in warnings
    assert not (tmp_path / "_build" / "html").exists()


def test_the_end_says_where_the_site_lies(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(build_site, "build", lambda output, **_: output / "_build" / "html")
    build_site.main(["--output", str(tmp_path)])
    assert "Open _build/html/index.html in a browser, or run `make serve`." in (
        capsys.readouterr().out
    )
