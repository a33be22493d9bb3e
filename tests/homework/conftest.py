"""The homework of the book, and one kernel to try it in."""

from collections.abc import Iterator

import nbformat
import pytest
from nbclient import NotebookClient

from tests.helpers import book
from tools.homework.chapter import Chapter


@pytest.fixture(scope="session")
def chapters() -> list[Chapter]:
    """Return every chapter of the book with its exercises."""
    return list(book.chapters().values())


@pytest.fixture(scope="session")
def client() -> Iterator[NotebookClient]:
    """Return a client whose kernel is kept: a trial empties it, which is faster than a new one."""
    client = NotebookClient(
        nbformat.v4.new_notebook(), timeout=300, kernel_name="python3", allow_errors=True
    )
    with client.setup_kernel():
        yield client
