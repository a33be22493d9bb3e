"""The site of the book is built: one build, and one test that fails if it does not succeed."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.site


def test_the_site_builds(built):
    assert isinstance(built, Path), f"`make book` fails; tests of the site are skipped.\n{built}"
