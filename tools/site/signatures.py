"""Signatures on the reference pages, as a reader needs them.

Results are made by functions, not by hand, so their pages show no constructor. The rooms below
`model` know a fit as Fit, whose public name is LMMResult.
"""

from __future__ import annotations

import re
from typing import Any

CONSTRUCTED = {"mmlib.Objective"}
"""Classes that readers call."""


def setup(app: Any) -> dict[str, bool]:
    """Tell Sphinx about it."""
    app.connect("autodoc-process-signature", as_read)
    return {"parallel_read_safe": True}


def as_read(
    _app: Any, what: str, name: str, _obj: Any, _options: Any, signature: str | None, returns: str
) -> tuple[str, str] | None:
    """The signature and what comes back, in public names."""
    if signature is None:  # of an attribute
        return None
    if what in ("class", "exception") and name not in CONSTRUCTED:
        return "", returns
    return public_names(signature), public_names(returns or "")


def public_names(text: str) -> str:
    """Annotations without the modules and the names that have no page."""
    short = re.sub(r"\bpd\.(?=DataFrame|Series)|: [~\w.]*Unpack\[[^]]*\]", "", text)
    return re.sub(r"\bFit\b|~?\btyping\.Self\b|\bSelf\b", "LMMResult", short)
