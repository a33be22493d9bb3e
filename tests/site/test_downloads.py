"""What the pages of chapters offer to download, and what the site does not give away."""

import hashlib
import zipfile
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from bs4 import BeautifulSoup

import mmlib as mm
from tests.helpers.book import chapters
from tools import ROOT
from tools.homework.notebooks import WHEEL

pytestmark = pytest.mark.site

STUDENT = ROOT / "homework" / "student"
CHAPTERS = [path.stem for path in sorted(STUDENT.glob("*.ipynb"))]


def offered(site: Path, name: str) -> list[Path]:
    page = site / "book" / f"{name}.html"
    html = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    return [(page.parent / str(link["href"])).resolve() for link in html.select("a[download]")]


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_offers_its_notebook_and_its_data(site, name):
    together, notebook, *data = [path for path in offered(site, name) if path.suffix != ".gift"]
    digest = (site / "downloads" / "SHA256SUMS").read_text(encoding="utf-8").split()[0]
    student = (STUDENT / f"{name}.ipynb").read_text(encoding="utf-8")
    given = notebook.read_text(encoding="utf-8")
    assert given != student, "the first cell should know the checksum of the wheel"
    assert given.replace(f"#sha256={digest}", "") == student
    nbformat.validate(nbformat.read(notebook, as_version=4))
    wheel = site / "downloads" / WHEEL
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() == digest
    with zipfile.ZipFile(together) as archive:
        packed = {Path(member).name: archive.read(member) for member in archive.namelist()}
    assert packed == {file.name: file.read_bytes() for file in (notebook, *data, wheel)}
    code = (ROOT / "book" / f"{name}.md").read_text(encoding="utf-8")
    for path in data:
        dataset = path.name.split(".")[0]
        assert f'load_dataset("{dataset}")' in code
        assert len(pd.read_csv(path)) == mm.dataset_info(dataset).nrows
    assert data or "load_dataset" not in code


def test_no_solution_can_be_downloaded(site):
    notebooks = [path.relative_to(site).as_posix() for path in site.rglob("*.ipynb")]
    assert sorted(notebooks) == [f"downloads/{name}.ipynb" for name in CHAPTERS]
    downloads = [path.read_text(encoding="utf-8") for path in site.rglob("*.ipynb")]
    for exercise in (exercise for chapter in chapters().values() for exercise in chapter.exercises):
        for secret in filter(None, [exercise.code, exercise.hidden]):
            quoted = secret.replace('"', '\\"').replace("\n", "\\n")
            assert not any(secret in text or quoted in text for text in downloads), exercise.label


def test_the_course_is_nowhere_on_the_site(site):
    for path in site.rglob("*"):
        if path.suffix in (".html", ".js", ".ipynb", ".json", ".txt"):
            text = path.read_text(encoding="utf-8")
            assert "HIDDEN TESTS" not in text
            assert "BEGIN SOLUTION" not in text
