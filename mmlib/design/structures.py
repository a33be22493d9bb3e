"""Structures of a random term: its relative covariance template as a function of few parameters.

A level's effects have the covariance σ²TTᵀ. Without a structure T is any lower triangle, and its
entries are θ. With one, T = diag(s)·root(ρ): relative standard deviations s, one for each effect or
one for all, and a root of a correlation matrix that one ρ rules, so that θ = (s, ρ).

ρ has bounds, at which √(1 − ρ) has no derivative. So a search moves an angle instead, in which the
root is smooth everywhere, the bounds included: ρ = sin a for AR(1), and for compound symmetry of S
effects, with J the matrix of ones,

    1 − ρ = S/(S − 1)·sin²a,   root = √(S/(S − 1)) sin a (I − J/S) + √S cos a·J/S.

Where effects share a correlation but not a variance, s must not change its sign alone, so there the
search moves √s. In all of these numbers the gradient vanishes at a bound, minimum or not, as it
does where a column of a triangle is zero; only the curvature tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mmlib.arrays import (
    TINY,
    FloatArray,
    IntArray,
    Numbers,
    lower_triangle,
    slopes_off_the_real_line,
)

AT_BOUND = 1e-9
"""A correlation this close to its bound is there."""


@dataclass(frozen=True)
class Structure:
    """A structure by its word in formulas.

    Attributes
    ----------
    word : str
    title : str
        What it is, in words.
    common : bool
        Whether all effects have one standard deviation.
    correlation : {"none", "exchangeable", "ar1", "free"}
    """

    word: str
    title: str
    common: bool = False
    correlation: Literal["none", "exchangeable", "ar1", "free"] = "none"

    @property
    def is_free(self) -> bool:
        """Whether T is any lower triangle, and θ its entries."""
        return self.correlation == "free"

    @property
    def has_rho(self) -> bool:
        """Whether one ρ rules the correlations."""
        return self.correlation in ("exchangeable", "ar1")

    @property
    def needs_levels(self) -> bool:
        """Whether the effects must be those of the levels of a factor."""
        return self.common or self.correlation == "ar1"

    def n_sds(self, width: int) -> int:
        """Number of standard deviations in θ."""
        return 1 if self.common else width

    def size(self, width: int) -> int:
        """Number of entries of θ for a term of S columns."""
        if self.is_free:
            return width * (width + 1) // 2
        return self.n_sds(width) + self.has_rho

    def lowest_correlation(self, width: int) -> float:
        """The lower bound of ρ."""
        return -1.0 if self.correlation == "ar1" else -1.0 / (width - 1)

    def template(self, theta: FloatArray, width: int) -> FloatArray:
        """T, shape (S, S)."""
        return self._template(self.to_smooth(theta, width), width)

    def to_smooth(self, theta: FloatArray, width: int) -> FloatArray:
        """The numbers that a search moves, from θ; of a triangle, its entries."""
        moved = np.array(theta, dtype=float)
        if not self.has_rho:
            return moved
        if not self.common:
            moved[:-1] = np.sqrt(moved[:-1])
        if self.correlation == "ar1":
            moved[-1] = np.arcsin(np.clip(theta[-1], -1, 1))
        else:
            share = (1 - theta[-1]) * (width - 1) / width
            moved[-1] = np.arcsin(np.sqrt(np.clip(share, 0, 1)))
        return moved

    def to_theta(self, smooth: FloatArray, width: int) -> FloatArray:
        """(s, ρ) from the numbers that a search moves; s is positive, and ρ on a bound or off."""
        theta, n = self._signed(smooth, width), self.n_sds(width)
        theta[:n] = np.abs(theta[:n])
        for bound in (self.lowest_correlation(width), 1.0) if self.has_rho else ():
            if abs(theta[-1] - bound) < AT_BOUND:
                theta[-1] = bound
        return theta

    def _signed(self, smooth: Numbers, width: int) -> Numbers:
        """(s, ρ), but for the signs of s, which makes it smooth."""
        theta = smooth.copy()
        if not self.has_rho:
            return theta
        if not self.common:
            theta[:-1] = smooth[:-1] ** 2
        if self.correlation == "ar1":
            theta[-1] = np.sin(smooth[-1])
        else:
            theta[-1] = 1 - width / (width - 1) * np.sin(smooth[-1]) ** 2
        return theta

    def theta_slopes(self, smooth: FloatArray, width: int) -> FloatArray:
        """Derivative of each entry of θ in its own number, shape (k,)."""
        if self.is_free:
            return np.ones_like(smooth)
        moved, n = self._signed(smooth + TINY * 1j, width), self.n_sds(width)
        slopes = moved.imag / TINY
        slopes[:n] *= np.where(moved[:n].real < 0, -1.0, 1.0)
        return slopes

    def at(self, smooth: FloatArray, width: int) -> tuple[FloatArray, FloatArray]:
        """T and its derivatives in the numbers that a search moves, shapes (S, S), (k, S, S)."""
        slopes = slopes_off_the_real_line(lambda x: self._template(x, width), smooth)
        return self._template(smooth, width), np.reshape(slopes, (-1, width, width))

    def _template(self, smooth: Numbers, width: int) -> Numbers:
        """T from the numbers that a search moves."""
        if self.is_free:
            T = np.zeros((width, width), dtype=smooth.dtype)
            T[lower_triangle(width)] = smooth
            return T
        sds = np.broadcast_to(self._signed(smooth, width)[: self.n_sds(width)], width)
        if not self.has_rho:
            return np.diag(sds)
        root = _ar1_root if self.correlation == "ar1" else _exchangeable_root
        return sds[:, None] * root(smooth[-1], width)

    def sign_free(self, width: int) -> list[IntArray]:
        """Positions of the numbers that may change their sign, or be zero, together."""
        if self.is_free:
            column = lower_triangle(width)[1]
            return [np.flatnonzero(column == c) for c in range(width)]
        return [np.array([k], dtype=np.intp) for k in range(self.n_sds(width))]


def _ar1_root(angle: complex, width: int) -> Numbers:
    """Cholesky factor of ρ^|i−j| with ρ = sin a."""
    lag = np.subtract.outer(np.arange(width), np.arange(width))
    powers = np.vander([np.sin(angle)], width, increasing=True)[0]
    root = np.tril(powers[lag])
    root[:, 1:] *= np.cos(angle)
    return root


def _exchangeable_root(angle: complex, width: int) -> Numbers:
    """Symmetric root of (1 − ρ)I + ρJ."""
    mean = np.full((width, width), 1 / width)
    apart = np.sqrt(width / (width - 1)) * (np.eye(width) - mean)
    return np.sin(angle) * apart + np.cos(angle) * np.sqrt(width) * mean


US = Structure("us", "unstructured", correlation="free")
STRUCTURES = {
    structure.word: structure
    for structure in (
        US,
        Structure("diag", "diagonal"),
        Structure("cs", "compound symmetry, a variance for each", correlation="exchangeable"),
        Structure("homcs", "compound symmetry, one variance", True, "exchangeable"),
        Structure("ar1", "AR(1), one variance", True, "ar1"),
        Structure("hetar1", "AR(1), a variance for each", correlation="ar1"),
    )
}
"""The structures by their words."""
