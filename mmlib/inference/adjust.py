"""p-values and limits of several comparisons at once: adjustments for multiplicity.

The simultaneous ones are those of the largest |T| of a family, with T_i = Z_i / S, the Z_i normal
with correlations R and νS² independent χ² with ν degrees of freedom. Hsu (1996), Multiple
Comparisons, chapters 3, 5 and 7; Somerville (1997), Computational Statistics 12, 83–99; Holm
(1979), Scand. J. Statist. 6, 65–70; Benjamini & Hochberg (1995), J. R. Statist. Soc. B 57, 289–300.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import scipy
from numpy.polynomial import Chebyshev
from scipy.special import chdtri, ndtr, ndtri

from mmlib.arrays import FloatArray
from mmlib.inference.pvalues import f_tail, t_quantile, two_sided_t

ADJUSTMENTS = ("none", "tukey", "mvt", "dunnett", "holm", "bonferroni", "bh")

TAIL = 1e-14
"""What is left out at either end of the distribution of the scale."""

SCALE_NODES, NORMAL_NODES = 160, 256
SAME = 1e-9
"""Correlations that differ by less are the same."""

NORMAL_END, CHEBYSHEV_DEGREE = 12.0, 240
"""Where the normal tail is zero, and the degree of the polynomial that stands for it before."""

MAX_LOADING = 0.95
"""With larger loadings the normal nodes are too far apart."""

N_EVEN = 2**19
N_SETS, N_RANDOM = 8, 2**17
HALF_CELL = 2.0**-31
"""Sobol's numbers are moved by half of their least distance: the quantile of zero is infinite."""

_RNG = "seed" if scipy.__version__.startswith("1.14.") else "rng"
"""What scipy calls the source of its random numbers."""

N_BINS = 2**10
INFINITE_DF = 1e8
"""Degrees of freedom from which on t is normal, to the accuracy of the integrals."""

_legendre = cache(np.polynomial.legendre.leggauss)
Tail = Callable[[FloatArray, FloatArray], FloatArray]
"""P(max |T_i| > c), given c ≥ 0 and the degrees of freedom ν, element by element."""


@dataclass(frozen=True, eq=False)
class Adjusted:
    """What an adjustment makes of a family of t statistics.

    Attributes
    ----------
    pvalue, critical : ndarray, shape (m,)
        Adjusted p-values, and what standard errors are multiplied by for the limits; NaN for rows
        that cannot be estimated.
    error : float
        Bound of the error of the p-values where they are sums over random points, otherwise 0.
    """

    pvalue: FloatArray
    critical: FloatArray
    error: float = 0.0


def adjusted(
    method: str,
    t: FloatArray,
    df: FloatArray,
    correlation: FloatArray,
    *,
    level: float,
    n_means: int,
) -> Adjusted:
    """Adjust a family of comparisons.

    Parameters
    ----------
    method : str
        One of `ADJUSTMENTS`. Holm, Bonferroni and Benjamini–Hochberg count rows that cannot be
        estimated; limits that go with the first and the last are Bonferroni's, for they have none.
    t, df : ndarray, shape (m,)
        Statistics, NaN where a row cannot be estimated, and their degrees of freedom.
    correlation : ndarray, shape (m, m)
        Correlations of the estimates; for ``"mvt"`` and ``"dunnett"``.
    level : float
        Nominal coverage, between 0 and 1.
    n_means : int
        For ``"tukey"``, how many means are compared.

    Returns
    -------
    Adjusted

    Examples
    --------
    >>> t, df = np.array([3.0, 2.0]), np.array([12.0, 12.0])
    >>> adjusted("bonferroni", t, df, np.eye(2), level=0.95, n_means=3).pvalue.round(4)
    array([0.0221, 0.1373])
    """
    known = np.isfinite(t)
    pvalue, critical = np.full(len(t), np.nan), np.full(len(t), np.nan)
    if not known.any():
        return Adjusted(pvalue, critical)
    size, c, nu, error = len(t), np.abs(t[known]), df[known], 0.0
    if method in ("none", "holm", "bonferroni", "bh"):
        pvalue[known] = _STEPS[method](two_sided_t(c, nu), size)
        share = (1 - level) / (1 if method == "none" else size)
        critical[known] = t_quantile(1 - share / 2, nu)
    else:
        if method == "tukey":
            tail = studentised_range(n_means)
        else:
            tail, error = largest_of(correlation[np.ix_(known, known)])
        pvalue[known] = np.clip(tail(c, nu), 0.0, 1.0)
        critical[known] = _solve(tail, 1 - level, nu)
    return Adjusted(pvalue, critical, error)


def _holm(p: FloatArray, size: int) -> FloatArray:
    order = np.argsort(p)
    stepped = np.maximum.accumulate((size - np.arange(len(p))) * p[order])
    return np.minimum(1.0, stepped[np.argsort(order)])


def _benjamini_hochberg(p: FloatArray, size: int) -> FloatArray:
    order = np.argsort(p)[::-1]
    stepped = np.minimum.accumulate(size / np.arange(len(p), 0, -1) * p[order])
    return np.minimum(1.0, stepped[np.argsort(order)])


_STEPS = {
    "none": lambda p, _: p,
    "holm": _holm,
    "bonferroni": lambda p, size: np.minimum(1.0, size * p),
    "bh": _benjamini_hochberg,
}


# ---- the largest |T| of a family -----------------------------------------------------------------


def studentised_range(k: int) -> Tail:
    """The largest of all pairwise |T| of k independent means, by Tukey's studentised range.

    It is exact where the means have equal variances and correlations; for unequal ones it is Tukey
    and Kramer's approximation, which is conservative (Hayter 1984).
    """
    if k == 2:
        return two_sided_t
    z, weights = _normal_nodes()

    def normal_tail(c: FloatArray) -> FloatArray:
        below = ndtr(z) - ndtr(z - np.sqrt(2) * c[..., None])
        return 1 - k * (below ** (k - 1)) @ weights

    return _over_the_scale(normal_tail)


def largest_of(correlation: FloatArray) -> tuple[Tail, float]:
    """The largest |T_i| with correlations R, and a bound of the error of its probabilities.

    With R_ij = λ_iλ_j, as for comparisons with one reference in balanced designs, the Z_i are
    independent given one normal variable, which is integrated over by quadrature. Otherwise Z = AU
    with U of a length and of a direction that is uniform on a sphere; length and scale are
    integrated over exactly (their ratio squared is F), the direction by points on the sphere. Only
    from four dimensions on are these random, and then always the same.
    """
    if len(correlation) == 1:
        return two_sided_t, 0.0
    loadings = _common_factor(correlation)
    if loadings is not None:
        return _given_one_factor(loadings), 0.0
    return _over_directions(correlation)


def _common_factor(R: FloatArray) -> FloatArray | None:
    """The λ with R_ij = λ_iλ_j up to signs, which do not matter to |T|; None if there are none."""
    if len(R) == 2:
        return None
    if np.abs(R - np.eye(len(R))).max() < SAME:
        return np.zeros(len(R))
    i, j, k = np.argsort(-np.abs(R).sum(axis=1), kind="stable")[:3]
    product = R[i, j] * R[i, k] * R[j, k]
    if product < SAME:
        return None
    lead = np.sqrt(product) / abs(R[j, k])
    loadings = R[i] / lead
    loadings[i] = lead
    error = np.abs(np.outer(loadings, loadings) - R)[~np.eye(len(R), dtype=bool)].max()
    return loadings if error < SAME and np.abs(loadings).max() < MAX_LOADING else None


def _given_one_factor(loadings: FloatArray) -> Tail:
    z, weights = _normal_nodes()
    own = np.sqrt(1 - loadings**2)
    centres = np.multiply.outer(loadings, z) / own[:, None]

    def normal_tail(c: FloatArray) -> FloatArray:
        inside = np.ones((*c.shape, len(z)))
        for centre, scale in zip(centres, own, strict=True):
            edge = c[..., None] / scale
            inside *= ndtr(edge + centre) - ndtr(centre - edge)
        return 1 - inside @ weights

    return _over_the_scale(normal_tail)


def _over_the_scale(normal_tail: Callable[[FloatArray], FloatArray]) -> Tail:
    """The tail of max |Z_i| / S from that of max |Z_i|, for which a polynomial stands."""
    smooth = Chebyshev.interpolate(normal_tail, CHEBYSHEV_DEGREE, domain=[0.0, NORMAL_END])

    def tail(c: FloatArray, df: FloatArray) -> FloatArray:
        scale, weights = _scale_nodes(df)
        place = c[:, None] * scale
        inside = place < NORMAL_END
        return np.sum(weights * np.where(inside, smooth(np.where(inside, place, 0.0)), 0.0), axis=1)

    return tail


def _scale_nodes(df: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights for the expectation over S = √(χ²_ν/ν), a row for each ν."""
    nu = np.minimum(df, INFINITE_DF)[:, None]
    x, w = _legendre(SCALE_NODES)
    low, high = (np.log(chdtri(nu, p) / nu) / 2 for p in (1 - TAIL, TAIL))
    log_scale = low + (high - low) * (x + 1) / 2
    scale = np.exp(log_scale)
    weights = w * np.exp(nu * (log_scale - (scale**2 - 1) / 2))
    return scale, weights / weights.sum(axis=1, keepdims=True)


def _normal_nodes() -> tuple[FloatArray, FloatArray]:
    """Nodes and weights for the expectation over a standard normal variable."""
    x, w = _legendre(NORMAL_NODES)
    z = 9.0 * x
    weights = w * np.exp(-(z**2) / 2)
    return z, weights / weights.sum()


def _over_directions(R: FloatArray) -> tuple[Tail, float]:
    rows = _root(R)
    rank = rows.shape[1]
    reaches = [_largest(directions, rows) for directions in _directions(rank)]
    error = _spread([_radial_tail(reach, rank) for reach in reaches])
    return _radial_tail(np.concatenate(reaches), rank), error


def _root(R: FloatArray) -> FloatArray:
    """A with R = AAᵀ and as many columns as R has dimensions."""
    values, vectors = np.linalg.eigh(R)
    kept = values > SAME * len(R)
    return np.asarray(vectors[:, kept] * np.sqrt(values[kept]))


def _largest(directions: FloatArray, rows: FloatArray) -> FloatArray:
    """The largest |a_iᵀu| for each direction u."""
    reach = np.zeros(len(directions))
    for row in rows:
        np.maximum(reach, np.abs(directions @ row), out=reach)
    return reach


def _radial_tail(reach: FloatArray, rank: int) -> Tail:
    """P(|U| · reach > c · S), averaged over the values of `reach`."""
    places, shares = _binned(reach)

    def tail(c: FloatArray, df: FloatArray) -> FloatArray:
        return f_tail(rank, df[:, None], (c[:, None] / places) ** 2 / rank) @ shares

    return tail


def _spread(tails: list[Tail]) -> float:
    """Three standard errors of the mean of replicated sums, at the worst of some places."""
    if len(tails) == 1:
        return 0.0
    c = np.linspace(0.5, 4.0, 8)
    sums = [tail(c, np.full(8, np.inf)) for tail in tails]
    return float(3 * np.std(sums, axis=0, ddof=1).max() / np.sqrt(len(sums)))


def _binned(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The values in narrow bins: the mean of each bin and its share."""
    counts, edges = np.histogram(values, bins=N_BINS)
    totals, _ = np.histogram(values, bins=edges, weights=values)
    used = counts > 0
    return totals[used] / counts[used], counts[used] / len(values)


def _directions(rank: int) -> list[FloatArray]:
    """Points spread evenly on the sphere, each array a set of its own.

    Equal angles on a circle, Fibonacci's spiral on the sphere of three dimensions, and from there
    on the directions of normal vectors, from Sobol's points with random shifts.
    """
    if rank == 1:
        return [np.ones((1, 1))]
    place = (np.arange(N_EVEN) + 0.5) / N_EVEN
    if rank == 2:
        return [_circle(place / 2)]
    if rank == 3:
        golden = (np.sqrt(5) - 1) / 2
        height = 2 * place - 1
        around = _circle(np.arange(N_EVEN) * golden)
        return [np.column_stack([np.sqrt(1 - height**2)[:, None] * around, height])]
    from scipy.stats import qmc  # slow to load, and rarely needed

    sources: list[dict[str, Any]] = [{_RNG: np.random.default_rng(k)} for k in range(N_SETS)]
    cubes = [qmc.Sobol(rank, **source).random(N_RANDOM) for source in sources]
    normal = [ndtri(cube + HALF_CELL) for cube in cubes]
    return [each / np.linalg.norm(each, axis=1, keepdims=True) for each in normal]


def _circle(turns: FloatArray) -> FloatArray:
    angle = 2 * np.pi * turns
    return np.column_stack([np.cos(angle), np.sin(angle)])


def _solve(tail: Tail, share: float, df: FloatArray) -> FloatArray:
    """The c at which the tail is `share`, for each of the degrees of freedom."""
    nu, back = np.unique(df, return_inverse=True)
    low = t_quantile(1 - share / 2, nu)
    high = 2 * low
    while (above := tail(high, nu) > share).any():
        low, high = np.where(above, high, low), np.where(above, 2 * high, high)
    f_low, f_high = np.log(tail(low, nu) / share), np.log(tail(high, nu) / share)
    for _ in range(60):
        # Illinois: the secant, with the value halved of an end that has stayed.
        middle = np.where(f_low - f_high > 0, low + (high - low) * f_low / (f_low - f_high), low)
        f_middle = np.log(tail(middle, nu) / share)
        up = f_middle > 0
        f_high = np.where(up, f_high / 2, f_middle)
        f_low = np.where(up, f_middle, f_low / 2)
        high, low = np.where(up, high, middle), np.where(up, middle, low)
        if np.abs(f_middle).max() < 1e-10:
            break
    return middle[back]
