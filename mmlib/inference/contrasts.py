"""Coefficients of contrasts between means, with the names that users of emmeans know."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import combinations
from math import gcd, lcm
from operator import mul
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mmlib.arrays import FloatArray
from mmlib.design.checks import require_names
from mmlib.errors import DataError

FAMILIES = ("pairwise", "reference", "consecutive", "polynomial", "deviation")
DEGREES = ("linear", "quadratic", "cubic", "quartic", "degree 5", "degree 6")


def coefficients(
    how: str | Mapping[str, ArrayLike],
    names: Sequence[str],
    *,
    ref: str | None = None,
    sign: str = "-",
) -> dict[str, FloatArray]:
    """The contrasts of a family, by name.

    Parameters
    ----------
    how : str or mapping of str to array
        A family of `FAMILIES`, or your own coefficients.
    names : sequence of str
        Of the means that are compared.
    ref : str, optional
        With ``"reference"``, the name that the others are compared with; by default the first.
    sign : str
        What stands between two names.

    Returns
    -------
    dict of str to ndarray, shape (number of means,)

    Raises
    ------
    DataError
        If your own coefficients are of the wrong number or kind, `ref` names no mean, or there
        are too few means to compare.

    Examples
    --------
    >>> coefficients("polynomial", ["A", "B", "C", "D"])["linear"]
    array([-3., -1.,  1.,  3.])
    >>> list(coefficients("reference", ["A", "B", "C"], ref="B"))
    ['A - B', 'C - B']
    """
    if isinstance(how, Mapping):
        return {str(name): _own(str(name), row, names) for name, row in how.items()}
    if len(names) < 2:
        raise DataError(
            f"contrasts compare two means or more, but there is only {names[0]!r} to compare; "
            "name a factor in specs, or leave one out of by."
        )
    if len(set(names)) < len(names):
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise DataError(f"two of the means that are compared are called {twice!r}; rename levels.")
    if how == "polynomial":
        rows = _polynomials(len(names), len(DEGREES))
        return dict(zip(DEGREES, rows, strict=False))
    units = np.eye(len(names))
    if how == "deviation":
        return {
            f"{name} effect": unit - 1 / len(names) for name, unit in zip(names, units, strict=True)
        }
    if ref is not None:
        require_names("ref", [ref], names, "mean that is compared here")
    place = 0 if ref is None else list(names).index(ref)
    differences = {
        "pairwise": lambda: list(combinations(range(len(names)), 2)),
        "consecutive": lambda: [(i + 1, i) for i in range(len(names) - 1)],
        "reference": lambda: [(i, place) for i in range(len(names)) if i != place],
    }[how]()
    shown = [_bracketed(name) for name in names]
    return {f"{shown[i]} {sign} {shown[j]}": units[i] - units[j] for i, j in differences}


def _own(name: str, row: ArrayLike, names: Sequence[str]) -> FloatArray:
    try:
        numbers = np.array(row, dtype=float)
    except (TypeError, ValueError):
        raise DataError(f"contrast {name!r} must be numbers, not {row!r:.60}.") from None
    if numbers.shape != (len(names),):
        raise DataError(
            f"contrast {name!r} must have one coefficient for each of the {len(names)} means "
            f"({', '.join(names)}); its shape is {numbers.shape}."
        )
    if not np.isfinite(numbers).all() or not numbers.any():
        raise DataError(f"contrast {name!r} must have finite coefficients, and not only zeros.")
    return numbers


def _bracketed(name: str) -> str:
    """A level in brackets where its own signs would read as part of a difference."""
    return f"({name})" if re.search(r"[-+*/−]", name) else name


def _polynomials(k: int, most: int) -> list[FloatArray]:
    """Orthogonal polynomials of k equally spaced points: whole numbers without common divisor."""
    points = [Fraction(2 * i + 1 - k) for i in range(k)]
    found: list[list[Fraction]] = [[Fraction(1)] * k]
    for degree in range(1, min(k - 1, most) + 1):
        row = [point**degree for point in points]
        for lower in found:
            share = sum(map(mul, row, lower)) / sum(map(mul, lower, lower))
            row = [a - share * b for a, b in zip(row, lower, strict=True)]
        found.append(row)
    whole = []
    for row in found[1:]:
        scale = lcm(*(value.denominator for value in row))
        numbers = [int(value * scale) for value in row]
        whole.append(np.array(numbers, dtype=float) / gcd(*numbers))
    return whole


def text_of(value: Any, digits: int = 6) -> str:
    """A level or a number as text, 8.0 as 8."""
    return f"{value:.{digits}g}" if isinstance(value, (float, np.floating)) else str(value)


def texts_of(labels: pd.DataFrame) -> dict[str, list[str]]:
    """The labels of each column as texts, with as many digits as tell them apart."""
    return {str(name): _told_apart(list(values)) for name, values in labels.items()}


def _told_apart(values: list[Any]) -> list[str]:
    for digits in (6, 9, 12, 17):
        texts = [text_of(value, digits) for value in values]
        if len(set(texts)) >= len(set(values)):
            break
    return texts
