"""Give the scripts of interactive figures to the pages that have such figures, and to no other.

A chapter writes `<div data-interactive="name" …>`; `book/_static/interactive/name.js` draws it.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes

from tools import ROOT

FIGURES = ROOT / "book" / "_static" / "interactive"
_NAME = re.compile(r'<div\b[^>]*\bdata-interactive="([^"]*)"')


def setup(app: Any) -> dict[str, bool]:
    """Tell Sphinx to look at each page before it is written."""
    app.connect("html-page-context", add_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def add_scripts(app: Any, page: str, _template: str, _context: Any, doctree: Any) -> None:
    """Add what the page's figures need.

    Raises
    ------
    ValueError
        If there is no figure of a name that the page uses.
    """
    names = interactive_figures(doctree) if doctree else []
    for name in names:
        if not (FIGURES / f"{name}.js").is_file():
            raise ValueError(f"{page}: no interactive figure {name!r} in book/_static/interactive")
    if names:
        app.add_css_file("interactive/interactive.css")
    for name in ["figure", *names] if names else []:
        app.add_js_file(f"interactive/{name}.js", loading_method="defer")


def interactive_figures(doctree: nodes.document) -> list[str]:
    """List the names of a page's interactive figures, each once."""
    found = [name for raw in doctree.findall(nodes.raw) for name in _NAME.findall(raw.astext())]
    return list(dict.fromkeys(found))
