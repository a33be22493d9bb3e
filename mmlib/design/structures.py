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

from mmlib.arrays import FloatArray, IntArray, lower_triangle

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
        if self.is_free:
            T = np.zeros((width, width))
            T[lower_triangle(width)] = theta
            return T
        return self.at(self.to_smooth(theta, width), width)[0]

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
        theta = np.abs(smooth)
        if not self.has_rho:
            return theta
        if not self.common:
            theta[:-1] = smooth[:-1] ** 2
        if self.correlation == "ar1":
            theta[-1] = np.sin(smooth[-1])
        else:
            theta[-1] = 1 - width / (width - 1) * np.sin(smooth[-1]) ** 2
        for bound in (self.lowest_correlation(width), 1.0):
            if abs(theta[-1] - bound) < AT_BOUND:
                theta[-1] = bound
        return theta

    def theta_slopes(self, smooth: FloatArray, width: int) -> FloatArray:
        """Derivative of each entry of θ in its own number, shape (k,)."""
        if self.is_free:
            return np.ones_like(smooth)
        slopes = np.where(smooth < 0, -1.0, 1.0)
        if not self.has_rho:
            return slopes
        if not self.common:
            slopes[:-1] = 2 * smooth[:-1]
        if self.correlation == "ar1":
            slopes[-1] = np.cos(smooth[-1])
        else:
            slopes[-1] = -width / (width - 1) * np.sin(2 * smooth[-1])
        return slopes

    def at(self, smooth: FloatArray, width: int) -> tuple[FloatArray, FloatArray]:
        """T and its derivatives in the numbers that a search moves, shapes (S, S), (k, S, S)."""
        if self.is_free:
            row, column = lower_triangle(width)
            units = np.zeros((len(row), width, width))
            units[np.arange(len(row)), row, column] = 1.0
            return self.template(smooth, width), units
        n = self.n_sds(width)
        moved = smooth[:n]
        squared = self.has_rho and not self.common
        sds, sd_slopes = (moved**2, 2 * moved) if squared else (moved, np.ones(n))
        root, turn = np.eye(width), np.zeros((0, width, width))
        if self.correlation == "ar1":
            root, turn = _ar1_root(smooth[-1], width)
        elif self.correlation == "exchangeable":
            root, turn = _exchangeable_root(smooth[-1], width)
        each = np.broadcast_to(sds, width)[:, None]
        grown = np.zeros((n, width, width))
        if self.common:
            grown[0] = root
        else:
            grown[np.arange(width), np.arange(width)] = sd_slopes[:, None] * root
        return each * root, np.concatenate([grown, each * turn])

    def sign_free(self, width: int) -> list[IntArray]:
        """Positions of the numbers that may change their sign, or be zero, together."""
        if self.is_free:
            column = lower_triangle(width)[1]
            return [np.flatnonzero(column == c) for c in range(width)]
        return [np.array([k], dtype=np.intp) for k in range(self.n_sds(width))]


def _ar1_root(angle: float, width: int) -> tuple[FloatArray, FloatArray]:
    """Cholesky factor of ρ^|i−j| with ρ = sin a, and its derivative in a."""
    rho, rest = np.sin(angle), np.cos(angle)
    lag = np.subtract.outer(np.arange(width), np.arange(width))
    below = lag >= 0
    lag = np.where(below, lag, 0)
    power = np.where(below, rho**lag, 0.0)
    slope = np.where(below, lag * rho ** np.maximum(lag - 1, 0), 0.0) * rest
    root, turn = power * rest, slope * rest - power * rho
    root[:, 0], turn[:, 0] = power[:, 0], slope[:, 0]
    return root, turn[None]


def _exchangeable_root(angle: float, width: int) -> tuple[FloatArray, FloatArray]:
    """Symmetric root of (1 − ρ)I + ρJ, and its derivative in the angle."""
    mean = np.full((width, width), 1 / width)
    apart = np.sqrt(width / (width - 1)) * (np.eye(width) - mean)
    together = np.sqrt(width) * mean
    sine, cosine = np.sin(angle), np.cos(angle)
    return sine * apart + cosine * together, (cosine * apart - sine * together)[None]


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
