"""When two outputs of a notebook cell count as the same: exactly, but for rounding noise.

Another machine, or another release of LAPACK, moves the last digits of a result. So, of two
outputs, the text must be equal, integers must be equal, and other numbers may differ by

* one part in a million: a drift of 1e-9 passes, one of 1e-3 fails;
* 1e-12 in absolute terms: a printed number that small is usually an exact zero with rounding
  noise, whose digits and sign mean nothing.

A number that changes its printed width moves the columns of a table; only then is the amount of
white space ignored. In an SVG figure every number is a coordinate printed to six decimals, so it
may move by a thousandth of a point, which nobody can see; names made by hashing such coordinates
are left out, since what they name is compared. Bitmaps are never compared and not allowed.
"""

from __future__ import annotations

import math
import re
from typing import Any

RELATIVE = 1e-6
ABSOLUTE = 1e-12
POINTS = 1e-3

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_INTEGER = re.compile(r"[-+]?\d+")
_HASHED_NAME = re.compile(r"\b[a-zA-Z][0-9a-f]{10}\b")


def same_text(one: str, other: str) -> bool:
    """Tell whether two printed outputs differ by rounding noise at most."""
    return _same(one, other, ABSOLUTE, exact_integers=True)


def same_svg(one: str, other: str) -> bool:
    """Tell whether two SVG figures look the same."""
    one, other = (_HASHED_NAME.sub("", figure) for figure in (one, other))
    return _same(one, other, POINTS, exact_integers=False)


def without_noise(outputs: list[Any], reference: list[Any]) -> list[Any]:
    """Copy a cell's outputs, taking the reference's text wherever only noise tells them apart.

    Parameters
    ----------
    outputs, reference : list of dict
        Outputs in the notebook format, as computed now and as committed.
    """
    paired = zip(outputs, reference, strict=False)
    settled = [_settled(output, committed) for output, committed in paired]
    return settled + outputs[len(settled) :]


def _settled(output: Any, reference: Any) -> Any:
    settled = type(reference)(output)
    if "text" in output and "text" in reference and same_text(output["text"], reference["text"]):
        settled["text"] = reference["text"]
    if "data" in output:
        committed = reference.get("data", {})
        settled["data"] = {
            kind: committed[kind] if _same_data(kind, content, committed.get(kind)) else content
            for kind, content in output["data"].items()
        }
    return settled


def _same_data(kind: str, one: Any, other: Any) -> bool:
    if not (isinstance(one, str) and isinstance(other, str)):
        return False
    return same_svg(one, other) if kind == "image/svg+xml" else same_text(one, other)


def _same(one: str, other: str, absolute: float, *, exact_integers: bool) -> bool:
    if one == other:
        return True
    numbers = [_NUMBER.findall(text) for text in (one, other)]
    words = [_NUMBER.split(text) for text in (one, other)]
    if list(map(len, numbers[0])) != list(map(len, numbers[1])):
        words = [[" ".join(word.split()) for word in text] for text in words]
    return words[0] == words[1] and all(
        _close(a, b, absolute, exact_integers=exact_integers) for a, b in zip(*numbers, strict=True)
    )


def _close(one: str, other: str, absolute: float, *, exact_integers: bool) -> bool:
    if exact_integers and _INTEGER.fullmatch(one) and _INTEGER.fullmatch(other):
        return one == other
    return math.isclose(float(one), float(other), rel_tol=RELATIVE, abs_tol=absolute)
