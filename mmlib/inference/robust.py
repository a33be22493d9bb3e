"""Cluster-robust covariance of the fixed effects, with small-sample corrections.

Let V be the variance of y that the fit estimates, M = (XᵀV⁻¹X)⁻¹, and e = y − Xβ̂. If rows of
different clusters are independent, whatever holds within them, Var(β̂) is estimated by

    Σ_i s_i s_iᵀ,   s_i = F_iᵀ e_i,   F_i = A_iᵀ V_i⁻¹ X_i M,

with A_i = I (CR0), √(m/(m − 1)) I (CR1, of m clusters), √(m/(m − p)) I (CR1p), a matrix that makes
the estimate unbiased if V is right (CR2; Bell & McCaffrey 2002), or (I − H_ii)⁻¹, which is close to
the jackknife (CR3). CR2 and degrees of freedom are those of Pustejovsky & Tipton (2018), Small-
sample methods for cluster-robust variance estimation and hypothesis testing in fixed effects
models, Journal of Business & Economic Statistics 36, 672–683, doi:10.1080/07350015.2016.1247004.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.linalg import eigh

from mmlib.arrays import FloatArray, IntArray, nested
from mmlib.design.checks import require_choice
from mmlib.engine.threads import single_threaded
from mmlib.errors import DataError
from mmlib.frozen import Frozen
from mmlib.inference.clusters import rows_by, variance_among
from mmlib.inference.hypothesis import hypothesis_matrix
from mmlib.inference.pvalues import HypothesisTest, f_tail, wald_f
from mmlib.results.diagnostics import levels_named
from mmlib.results.estimates import Fit

Robust = Literal["CR0", "CR1", "CR1p", "CR2", "CR3"]

NOTHING_LEFT = 1e-10
"""Directions of a cluster of which less than this share is left beside X count as held by X, and so
do combinations of β̂ whose robust variance is expected to be less than this share of the model's."""


@dataclass(frozen=True, eq=False)
class RobustCovariance(Frozen):
    """A cluster-robust covariance of β̂, and what its degrees of freedom are made of.

    Attributes
    ----------
    vcov : ndarray, shape (p, p)
        NaN for coefficients that the rows of one cluster alone determine.
    cluster : str
        Which rows were taken together.
    n_clusters : int
    """

    vcov: FloatArray
    cluster: str
    n_clusters: int
    _M: FloatArray
    _own: FloatArray
    _through: FloatArray

    def df(self, combination: FloatArray) -> float:
        """Satterthwaite's degrees of freedom of the variance of one combination of β̂.

        Twice the square of its expectation over its variance, if V is right; NaN if that is zero.
        """
        means, variances = self.moments(combination[None])
        if means[0, 0] <= NOTHING_LEFT * combination @ self._M @ combination:
            return np.nan
        return 2 * float(means[0, 0]) ** 2 / float(variances[0, 0])

    def moments(self, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Expectation and variance, if V is right, of each entry of the covariance of Cβ̂.

        Its entry (s, t) is the sum over clusters of e_sᵢe_tᵢ, of normal variables with the
        covariances P_st = D_st − X_sMX_tᵀ, D diagonal: so the expectation is tr P_st, and the
        variance Σ_ij (P_ss∘P_tt + P_st∘P_ts)_ij, in which nothing is m×m.
        """
        own = np.einsum("ai,kij,bj->abk", rows, self._own, rows)
        through = np.einsum("kpj,aj->akp", self._through, rows)
        crossed = through @ self._M
        diagonal = np.einsum("akp,bkp->abk", crossed, through)
        back = np.einsum("akp,bkq->abpq", through, crossed)
        singles = own - 2 * diagonal

        def summed(s: int, t: int, u: int, v: int) -> float:
            """Σ_ij of P_st∘P_uv."""
            mixed = own[s, t] @ singles[u, v] + singles[s, t] @ own[u, v]
            return float(mixed / 2 + np.sum(back[s, u] * back[v, t].T))

        q = len(rows)
        variances = np.empty((q, q))
        for s, t in np.ndindex(q, q):
            variances[s, t] = summed(s, s, t, t) + summed(s, t, t, s)
        return (own - diagonal).sum(axis=2), variances


def robust_covariance(fit: Fit, kind: Robust, cluster: str | None = None) -> RobustCovariance:
    """The covariance of one kind, by one pass over the clusters.

    Parameters
    ----------
    fit : LMMResult
    kind : {"CR0", "CR1", "CR1p", "CR2", "CR3"}
    cluster : str, optional
        A grouping, or a column that the model uses; by default the one grouping in which all
        others are nested.

    Raises
    ------
    DataError
        If there is no such cluster, or rows of different clusters share a random effect.
    """
    require_choice("kind", kind, get_args(Robust))
    residual = fit.design.y - fit.population_mean
    name, codes = _clusters(fit, cluster)
    m, p = int(codes.max()) + 1, fit.design.p
    if kind == "CR1p" and m <= p:
        raise DataError(f"CR1p divides by m − p, but there are {m} clusters for {p} fixed effects.")
    scale = {"CR1": m / (m - 1), "CR1p": m / (m - p) if m > p else np.nan}.get(kind, 1.0)
    M = fit.vcov().to_numpy()
    scores, own, through = np.zeros((m, p)), np.zeros((m, p, p)), np.zeros((m, p, p))
    with single_threaded():
        for k, rows in enumerate(rows_by(codes)):
            X, V = fit.design.X[rows], fit.sigma**2 * variance_among(fit, rows)
            F = np.sqrt(scale) * _adjusted(kind, X, V, M, name) @ M
            scores[k] = F.T @ residual[rows]
            own[k] = F.T @ V @ F
            through[k] = X.T @ F
    vcov = scores.T @ scores
    expected = np.einsum("kjj->j", own) - np.einsum("kpj,kpj->j", M @ through, through)
    vcov[nothing := expected <= NOTHING_LEFT * np.diag(M)] = np.nan
    vcov[:, nothing] = np.nan
    return RobustCovariance(
        vcov=vcov,
        cluster=name,
        n_clusters=m,
        _M=M,
        _own=own,
        _through=through,
    )


def _adjusted(kind: str, X: FloatArray, V: FloatArray, M: FloatArray, cluster: str) -> FloatArray:
    """A_iᵀV_i⁻¹X_i of one cluster."""
    weighted = np.asarray(np.linalg.solve(V, X), dtype=np.float64)
    if kind == "CR3":
        left = np.eye(len(V)) - weighted @ M @ X.T  # (I − H_ii)ᵀ
        if np.linalg.cond(left) > 1 / NOTHING_LEFT:
            raise DataError(
                f"a cluster of {cluster!r} alone determines a fixed effect, so that CR3, which "
                "leaves it out, has no value; use 'CR2'."
            )
        return np.asarray(np.linalg.solve(left, weighted), dtype=np.float64)
    if kind != "CR2":
        return weighted
    sizes, directions = np.linalg.eigh(V)
    root = directions * np.sqrt(sizes) @ directions.T
    shares, axes = np.linalg.eigh(root @ (V - X @ M @ X.T) @ root)
    kept = shares > NOTHING_LEFT * shares[-1]
    half = root @ axes[:, kept]
    return (half / np.sqrt(shares[kept])) @ (half.T @ weighted)


def _clusters(fit: Fit, cluster: str | None) -> tuple[str, IntArray]:
    """Name and codes of the clusters, which hold every level of every grouping as a whole."""
    terms = fit.design.terms
    if cluster is None and fit.design.residual is not None and fit.design.residual.kind:
        cluster = fit.design.residual.group if not terms else None
    if cluster is None:
        for term in reversed(terms):  # those with fewest levels last
            if all(nested(other.codes, term.codes) for other in terms):
                return term.group, term.codes
        groups = " and ".join(dict.fromkeys(repr(term.group) for term in terms))
        reason = f"no grouping holds all the others ({groups})" if terms else "the fit has none"
        raise DataError(f"name the cluster, cluster='column': {reason}.")
    cluster, codes, _ = levels_named(fit, "cluster", cluster)
    if fit.design.residual is not None:
        fit.design.residual.refuse_crossed(codes, f"cluster={cluster!r}")
    for term in terms:
        if not nested(term.codes, codes):
            raise DataError(
                f"the clusters {cluster!r} share levels of {term.group!r}, so their rows are not "
                "independent; a cluster must hold every level of every grouping as a whole."
            )
    return cluster, codes


def wald_test(
    fit: Fit,
    L: str | Sequence[str] | ArrayLike,
    *,
    rhs: ArrayLike | None = None,
    robust: Robust = "CR2",
    cluster: str | None = None,
) -> HypothesisTest:
    """Test Lβ = β_H by a cluster-robust F test that holds with few clusters (HTZ).

    Wald's statistic Q with the robust covariance D of Lβ̂ is taken as Hotelling's T²: D, scaled by
    its expectation under the fitted model, has the mean and the total variance of a Wishart matrix
    with η degrees of freedom over η, so that (η − h + 1)/(ηh) Q has an F distribution on h and
    η − h + 1 degrees of freedom. For one row it is the t test of ``coef_table(robust=...)``.

    Parameters
    ----------
    fit : LMMResult
    L : str, sequence of str, or array of shape (p,) or (h, p)
        A term's name, equations, or the hypothesis matrix; see `hypothesis_matrix`.
    rhs : float or array, shape (h,), optional
        Right-hand sides β_H for a matrix, by default 0.
    robust : {"CR0", "CR1", "CR1p", "CR2", "CR3"}
        The kind of covariance.
    cluster : str, optional
        Which rows belong together: as for `LMMResult.vcov`.

    Returns
    -------
    HypothesisTest

    Raises
    ------
    FormulaError, DataError, RankError
        As `hypothesis_matrix`, or where the clusters are too few for so many rows at once.

    References
    ----------
    Tipton & Pustejovsky (2015), Journal of Educational and Behavioral Statistics 40, 604–634,
    doi:10.3102/1076998615606099.

    Examples
    --------
    >>> import mmlib as mm
    >>> fit = mm.lmm("yield ~ treat + (1 | blend)", mm.load_dataset("penicillin"))
    >>> test = mm.wald_test(fit, "treat")
    >>> round(test.statistic, 4), [round(df, 4) for df in test.df]
    (3.5767, [3, 2.0])
    """
    hypothesis = hypothesis_matrix(fit, L, rhs=rhs)
    known = robust_covariance(fit, robust, cluster)
    rows, q = hypothesis.L, len(hypothesis.L)
    expected, _ = known.moments(rows)
    sizes, axes = eigh(expected, rows @ known._M @ rows.T)
    if sizes[0] <= NOTHING_LEFT:
        raise DataError(
            f"the clusters of {known.cluster!r} leave nothing to estimate a variance from: the "
            f"rows of one alone determine a side of {hypothesis.description!r}."
        )
    standard = (axes / np.sqrt(sizes)).T @ rows
    eta = q * (q + 1) / float(known.moments(standard)[1].sum())
    if eta <= q - 1:
        raise DataError(
            f"{known.n_clusters} clusters of {known.cluster!r} are too few to test {q} rows at "
            f"once ({eta:.1f} degrees of freedom): test fewer, or use a parametric bootstrap."
        )
    distance = rows @ fit.beta - hypothesis.rhs
    df = eta - q + 1
    statistic = df / eta * wald_f(rows, distance, known.vcov)
    return HypothesisTest(
        method=f"Cluster-robust F test ({robust}, HTZ)",
        hypothesis=hypothesis.description,
        statistic_name="F",
        statistic=statistic,
        df=(q, df),
        pvalue=float(f_tail(q, df, statistic)),
        notes=(f"Clusters: {known.n_clusters} levels of {known.cluster}.",),
    )


def vcov(fit: Fit, kind: Robust | None = None, *, cluster: str | None = None) -> pd.DataFrame:
    """Covariance matrix of the fixed effects: σ²(XᵀV⁻¹X)⁻¹, or a cluster-robust one.

    Parameters
    ----------
    kind : {"CR0", "CR1", "CR1p", "CR2", "CR3"}, optional
        By default the model's own covariance, given θ. The others hold even where the model's
        variances are wrong, as long as rows of different clusters are independent: without
        correction, times m/(m − 1) or m/(m − p) for m clusters, unbiased if the model is right
        (the one to use with few clusters), and close to the jackknife.
    cluster : str, optional
        A grouping, or a column that the model uses, such that every level of every grouping
        lies in one cluster. By default the grouping that holds all the others.

    Returns
    -------
    DataFrame, shape (p, p)
        A robust one has NaN for coefficients that the rows of one cluster alone determine.

    Raises
    ------
    DataError
        If `kind` is another value, or `cluster` is unknown or shares levels of a grouping with
        another cluster.

    References
    ----------
    Pustejovsky & Tipton (2018), Journal of Business & Economic Statistics 36, 672–683,
    doi:10.1080/07350015.2016.1247004.

    Examples
    --------
    >>> import mmlib as mm
    >>> fit = mm.lmm("Reaction ~ Days + (1 | Subject)", mm.load_dataset("sleepstudy"))
    >>> robust = fit.vcov("CR2").loc["Days", "Days"] ** 0.5
    >>> round(float(robust), 4), round(float(fit.vcov().loc["Days", "Days"] ** 0.5), 4)
    (1.5458, 0.8042)
    """
    if kind is None:
        if cluster is not None:
            raise DataError("cluster= belongs to a robust kind: vcov('CR2', cluster=...).")
        return Fit.vcov(fit)
    names = list(fit.design.fixed_names)
    return pd.DataFrame(robust_covariance(fit, kind, cluster).vcov, index=names, columns=names)
