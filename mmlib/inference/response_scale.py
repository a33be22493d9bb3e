"""Back from a transformed response, such as log(y), to the response itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from mmlib.arrays import FloatArray
from mmlib.errors import DataError

Function = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class ResponseScale:
    """How to undo a transformation of the response.

    Attributes
    ----------
    name : str
        The transformation, such as ``"log"``.
    response : str
        What was transformed.
    constant : float
        What was added to it first.
    """

    name: str
    response: str
    constant: float = 0.0

    def back(self, eta: FloatArray) -> FloatArray:
        """Values of the response from those of its transform."""
        return _INVERSES[self.name][0](eta) - self.constant

    def slope(self, eta: FloatArray) -> FloatArray:
        """The derivative of `back`, by which standard errors are multiplied (delta method)."""
        return _INVERSES[self.name][1](eta)

    def differences(self) -> ResponseScale | None:
        """The scale of differences: of logarithms, ratios; of other transforms, there is none."""
        if self.name not in ("log", "log2", "log10"):
            return None
        sign = "-" if self.constant < 0 else "+"
        added = f" {sign} {abs(self.constant):g}" if self.constant else ""
        return replace(self, response=self.response + added, constant=0.0)


def _square(eta: FloatArray) -> FloatArray:
    """The square of a root, which is not negative (a limit of an interval may be)."""
    return np.maximum(eta, 0.0) ** 2


_INVERSES: dict[str, tuple[Function, Function]] = {
    "log": (np.exp, np.exp),
    "log2": (np.exp2, lambda eta: np.log(2) * np.exp2(eta)),
    "log10": (lambda eta: 10.0**eta, lambda eta: np.log(10) * 10.0**eta),
    "log1p": (np.expm1, np.exp),
    "sqrt": (_square, lambda eta: 2 * np.maximum(eta, 0.0)),
    "cbrt": (lambda eta: eta**3, lambda eta: 3 * eta**2),
    "arcsinh": (np.sinh, np.cosh),
    "exp": (np.log, lambda eta: 1 / eta),
}


def response_scale(response: str) -> ResponseScale:
    """How to undo the transformation in the response of a formula.

    A constant that is added first, as in ``log(y + 1)``, is taken away again.

    Raises
    ------
    DataError
        If the response is not transformed, or by a function without a known inverse.

    Examples
    --------
    >>> scale = response_scale("np.log(height + 1)")
    >>> scale.response, round(float(scale.back(np.log(5.0))), 6)
    ('height', 4.0)
    """
    match = re.fullmatch(r"(?:np\.)?(\w+)\((.*)\)", response.strip())
    if match is None or match[1] not in _INVERSES:
        raise DataError(
            f"back=True undoes a transformation of the response, but the response is {response!r}; "
            f"transformations that can be undone are {', '.join(_INVERSES)}."
        )
    name, inner = match[1], match[2].strip()
    # A sign after an operator, or in 1e-3, adds nothing.
    added = re.fullmatch(r"(.*[^\s*/+-])\s*(?<![\d.][eE])([-+])\s*(\d+(?:\.\d*)?|\.\d+)", inner)
    if added is None:
        return ResponseScale(name, inner)
    return ResponseScale(name, added[1], float(added[2] + added[3]))
