"""What a student does: a bare Python, the archive of a chapter, its notebook run from the top.

It gets, from the package index, the versions that these tests run with: pinned ones by `.ci/run`,
and those that `make lowest` and `make newest` try. In CI only.
"""

import os
import subprocess
import sys
import zipfile
from importlib.metadata import version

import pytest

from tools import ROOT
from tools.site.downloads import FOLDER, offer_homework
from tools.site.pages import Page, parse
from tools.site.wheel import build_wheel

pytestmark = [
    pytest.mark.landing,
    pytest.mark.skipif(os.environ.get("CI") != "true", reason="installs from the package index"),
]

PACKAGES = ("numpy", "pandas", "scipy", "matplotlib", "statsmodels")
RUN = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
print(*(o.text for c in notebook.cells for o in c.get("outputs", []) if o.output_type == "stream"))
"""


def test_the_archive_of_a_chapter_is_all_that_a_student_needs(tmp_path):
    site, chapter = tmp_path / "site", "01-pulp"
    (site / "book").mkdir(parents=True)
    page = Page(site, site / "book" / f"{chapter}.html")
    page.path.write_text("<article><h1>Title</h1></article>")
    notebooks, wheel = ROOT / "homework" / "student", build_wheel(site / FOLDER)
    offer_homework(parse(page.path), page, notebooks=notebooks, wheel=wheel)
    with zipfile.ZipFile(site / "downloads" / f"{chapter}.zip") as archive:
        archive.extractall(tmp_path / "student")
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    plain["PIP_COMPILE"] = "0"  # of what is installed, little is imported
    packages = [f"{name}=={version(name)}" for name in PACKAGES]
    subprocess.run([*pip, "ipykernel", "nbclient", *packages], env=plain, check=True)
    notebook = tmp_path / "student" / chapter / f"{chapter}.ipynb"
    done = subprocess.run(
        [python, "-c", RUN, notebook],
        cwd=notebook.parent,
        env=plain,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Installing mmlib" in done.stdout
    assert "Not defined yet" in done.stdout
