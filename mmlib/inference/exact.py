"""Exact likelihood-ratio tests of one variance component: no χ² approximation at the boundary.

Under the null hypothesis λ = σ_b²/σ² = 0 the energies of a response (`mmlib.engine.spectral`) are
independent χ² variables times σ², so the statistic has the distribution of

    RLRT ~ sup_λ { (n − p) log[r²(0)/r²(λ)] − Σ log(1 + λμ) }
    LRT  ~ sup_λ {  n      log[r²(0)/r²(λ)] − Σ log(1 + λξ) } + n log(1 + χ²_q / r²(0)),

q being the number of fixed effects that the null hypothesis also sets to zero. It is free of
unknown parameters: drawn as often as one likes, or, where there is a single μ and q = 0, in closed
form, since the statistic is then a rising function of an F ratio.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from scipy.optimize import brentq

from mmlib.arrays import FloatArray
from mmlib.design.checks import as_generator, require_count, require_estimated_sigma, require_fit
from mmlib.design.terms import RandomTerm
from mmlib.engine.blocks import Blocks
from mmlib.engine.spectral import SpectralModel, Spectrum
from mmlib.engine.threads import single_threaded
from mmlib.errors import DataError
from mmlib.inference.lrt import lrt
from mmlib.inference.pvalues import HypothesisTest, f_tail, simulated_pvalue
from mmlib.inference.refits import ROUNDING
from mmlib.inference.replicate import warn_interrupted
from mmlib.results.estimates import Fit

TIE = 1e-9
"""Simulated statistics this close below the observed one count as equal to it."""

DRAWN_AT_ONCE = 2**16


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ExactTest(HypothesisTest):
    """Outcome of an exact (restricted) likelihood-ratio test.

    Attributes
    ----------
    sample : ndarray
        The simulated null distribution; empty where the p-value has a closed form.
    """

    sample: FloatArray
    _null: NullDistribution = field(repr=False)

    @cached_property
    def mass_at_zero(self) -> float:
        """Probability, under the null hypothesis, that the likelihood does not rise at λ = 0.

        It is that of a statistic of zero, unless the profile has a second maximum.
        """
        return self._null.mass_at_zero()

    def draw(self, nsim: int, *, rng: np.random.Generator | int | None = None) -> FloatArray:
        """Draw statistics from the null distribution, for a picture of it.

        Parameters
        ----------
        nsim : int
            Number of draws.
        rng : Generator, int or None
            Passed to `numpy.random.default_rng`.

        Returns
        -------
        ndarray, shape (nsim,)

        Examples
        --------
        >>> import mmlib as mm
        >>> test = mm.oneway("bright ~ operator", mm.load_dataset("pulp")).exact_lrt()
        >>> test.draw(1000, rng=1).shape
        (1000,)
        """
        with single_threaded():
            return self._null.draw(require_count("nsim", nsim), as_generator(rng))


@dataclass(frozen=True)
class NullDistribution:
    """Distribution of the statistic when λ = 0.

    Attributes
    ----------
    spectrum : Spectrum
    reml : bool
        RLRT or LRT.
    restrictions : int
        Fixed effects that the null hypothesis sets to zero as well (LRT only).
    """

    spectrum: Spectrum
    reml: bool
    restrictions: int = 0

    def draw(self, nsim: int, rng: np.random.Generator) -> FloatArray:
        """Independent draws, shape (nsim,); fewer if the keyboard interrupts, with a warning.

        One draw after the other takes its numbers from `rng`: the first k do not depend on `nsim`.
        """
        drawn: list[FloatArray] = []
        try:
            for done in range(0, nsim, DRAWN_AT_ONCE):
                drawn += [self._draw_some(min(DRAWN_AT_ONCE, nsim - done), rng)]
        except KeyboardInterrupt:
            if not drawn:
                raise
            warn_interrupted(sum(map(len, drawn)), nsim)
        return np.concatenate(drawn)

    def _draw_some(self, nsim: int, rng: np.random.Generator) -> FloatArray:
        if not self.restrictions:
            energies = self.spectrum.draw_energies(nsim, rng)
            return self.spectrum.maximize(energies, reml=self.reml).gain
        *parts, extra = self.spectrum.draw_energies(nsim, rng, self.restrictions)
        energies = np.stack(parts)
        gain = self.spectrum.maximize(energies, reml=self.reml).gain
        return gain + self.spectrum.n * np.log1p(extra / energies.sum(axis=0))

    @property
    def name(self) -> str:
        """The statistic's, in short."""
        return "RLRT" if self.reml else "LRT"

    @property
    def test(self) -> str:
        """The test, in words."""
        return "restricted likelihood-ratio test" if self.reml else "likelihood-ratio test"

    @property
    def closed_form(self) -> bool:
        """Whether the statistic is a function of one F ratio."""
        return self.spectrum.single and not self.restrictions

    def tail(self, statistic: float) -> float:
        """P(statistic or more) in closed form: the p-value of the F ratio that gives it."""
        if statistic <= 0:
            return 1.0
        df, df_rest = int(self.spectrum.mu_counts[0]), self.spectrum.rest

        def excess(log_f: float) -> float:
            energies = np.array([[df_rest], [df * np.exp(log_f)]])
            gain = self.spectrum.maximize(energies, reml=self.reml).gain[0]
            # Below the boundary the gain is flat at zero, and still less than any statistic.
            return float(gain) - statistic

        highest = 1.0
        while excess(highest) < 0:
            highest *= 2
        log_f = brentq(excess, -highest, highest, xtol=1e-13, rtol=1e-14)
        return float(f_tail(df, df_rest, np.exp(log_f)))

    def mass_at_zero(self) -> float:
        """P(slope of the log-likelihood at λ = 0 is not positive)."""
        if self.restrictions:
            return 0.0
        spectrum = self.spectrum
        trace, dof = float(spectrum.xi @ spectrum.xi_counts), spectrum.n
        if self.reml:
            trace, dof = float(spectrum.mu @ spectrum.mu_counts), spectrum.n - spectrum.p
        weights = np.append(spectrum.mu, 0.0) - trace / dof
        return probability_negative(weights, np.append(spectrum.mu_counts, spectrum.rest))


def probability_negative(weights: FloatArray, counts: FloatArray) -> float:
    """P(Σ weights · χ²_counts ≤ 0) for independent χ², by numerical inversion.

    Parameters
    ----------
    weights, counts : ndarray, shape (G,)

    References
    ----------
    Imhof, J. P. (1961). Computing the distribution of quadratic forms in normal variables.
    Biometrika, 48, 419–426.

    Examples
    --------
    >>> import numpy as np
    >>> round(probability_negative(np.array([1.0, -1.0]), np.array([3, 3])), 10)
    0.5
    """
    from scipy.integrate import quad  # takes long to import, and is rarely needed

    weights = weights / np.abs(weights).max()

    def integrand(log_u: float) -> float:
        u = np.exp(log_u)
        angle = (counts * np.arctan(weights * u)).sum() / 2
        log_size = (counts * np.log1p((weights * u) ** 2)).sum() / 4
        return float(np.sin(angle) * np.exp(-log_size))

    # In log u the integrand is smooth and dies out on both sides: as u, and as a power of 1/u.
    total = counts[weights != 0].sum()
    end = 80 / total + 5
    integral, _ = quad(integrand, -40.0, end, epsabs=1e-13, epsrel=1e-13, limit=1000)
    return float(np.clip(0.5 - integral / np.pi, 0.0, 1.0))


def exact_lrt(
    small: Fit,
    large: Fit,
    *,
    nsim: int = 10_000,
    rng: np.random.Generator | int | None = None,
) -> ExactTest:
    """Exact likelihood-ratio test of a linear model against one with a random term.

    Parameters
    ----------
    small : LMMResult
        ML fit without a random term; its fixed effects are those of `large`, or fewer.
    large : LMMResult
        ML fit with one scalar random term.
    nsim : int
        Draws from the null distribution; none are needed where the p-value has a closed form.
    rng : Generator, int or None
        Passed to `numpy.random.default_rng`. The first k of n draws do not depend on n.

    Returns
    -------
    ExactTest
        ``pvalue`` is exact and ``mcse`` None for a design with one distinct eigenvalue, such as a
        balanced one; otherwise simulated, (1 + #{T* ≥ T})/(nsim + 1). A keyboard interrupt leaves
        what was drawn by then, with a `BootstrapWarning`.

    Raises
    ------
    DataError
        If `small` has a random term or `large` has not exactly one, scalar; if they are not nested
        or not both ML fits; or if `nsim` is not a positive whole number.

    References
    ----------
    Crainiceanu, C. M. and Ruppert, D. (2004). Likelihood ratio tests in linear mixed models with
    one variance component. Journal of the Royal Statistical Society B, 66, 165–185.

    Examples
    --------
    >>> import mmlib as mm
    >>> pulp = mm.load_dataset("pulp")
    >>> null = mm.lmm("bright ~ 1", pulp, reml=False)
    >>> test = mm.exact_lrt(null, mm.lmm("bright ~ 1 + (1 | operator)", pulp, reml=False))
    >>> round(test.statistic, 4), round(test.pvalue, 6)
    (2.5684, 0.022609)
    """
    nsim = require_count("nsim", nsim)
    require_fit(small, large)
    if small.design.terms:
        raise DataError(
            f"the smaller model {small.design.formula} has a random term; exact_lrt compares a "
            "model with one random term to one with none. Use exact_rlrt(fit, term=...), or "
            "parametric_bootstrap(small, large)."
        )
    if len(large.design.terms) > 1:
        raise DataError(
            f"{large.design.formula} has {len(large.design.terms)} random terms; exact_lrt takes "
            "one. Use exact_rlrt(fit, term=...), or parametric_bootstrap(small, large)."
        )
    term = _named_term(large, None)
    if small.reml or large.reml:
        raise DataError("exact_lrt compares ML fits; fit both models with reml=False.")
    restrictions = int(lrt(small, large).df[0]) - 1
    with single_threaded():
        model = SpectralModel(large.design)
        energies = model.energies(large.design.y[None])
        statistic = float(model.spectrum.maximize(energies, reml=False).gain[0])
        if restrictions:
            null_rss = SpectralModel(small.design).energies(small.design.y[None]).sum()
            statistic += large.nobs * float(np.log(null_rss / energies.sum()))
    hypothesis = f"σ({_label(term)}) = 0"
    if restrictions:
        hypothesis += f", and {restrictions} fixed effect(s) are zero: {small.design.formula}"
    distribution = NullDistribution(model.spectrum, reml=False, restrictions=restrictions)
    return _test(hypothesis, statistic, distribution, nsim, rng)


def exact_rlrt(
    fit: Fit,
    term: str | None = None,
    *,
    nsim: int = 10_000,
    rng: np.random.Generator | int | None = None,
) -> ExactTest:
    """Exact restricted likelihood-ratio test that the variance of a random term is zero.

    With one random term the test is exact. With several, the null distribution is that of the
    model with the tested term alone (Greven et al. 2008): an approximation, named in the notes.

    Parameters
    ----------
    fit : LMMResult
        Fit by REML.
    term : str, optional
        Which term is tested, where `fit` has several: its grouping, such as ``"batch"``, or the
        term as written, such as ``"(0 + Days | Subject)"``.
    nsim, rng
        As for `exact_lrt`.

    Returns
    -------
    ExactTest

    Raises
    ------
    DataError
        If there is no random term, the tested one is not scalar or not named, the fit is by ML, or
        `nsim` is not a positive whole number.

    References
    ----------
    Crainiceanu and Ruppert (2004), see `exact_lrt`; Greven, S., Crainiceanu, C. M., Küchenhoff, H.
    and Peters, A. (2008). Restricted likelihood ratio testing for zero variance components in
    linear mixed models. Journal of Computational and Graphical Statistics, 17, 870–891.

    Examples
    --------
    >>> import mmlib as mm
    >>> test = mm.exact_rlrt(mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp")))
    >>> round(test.statistic, 4), round(test.pvalue, 6)
    (3.4701, 0.022609)
    """
    nsim = require_count("nsim", nsim)
    require_fit(fit)
    tested = _named_term(fit, term)
    if not fit.reml:
        raise DataError("exact_rlrt needs a REML fit; use fit.refit(reml=True).")
    with single_threaded():
        model = SpectralModel(replace(fit.design, terms=(tested,)))
    others = tuple(other for other in fit.design.terms if other is not tested)
    notes: tuple[str, ...] = ()
    if others:
        small = replace(fit.design, terms=others)
        with single_threaded():
            statistic = Fit.of(Blocks(small), reml=True).objective - fit.objective
        if statistic < ROUNDING * (1 + abs(fit.objective)):
            statistic = 0.0
        names = ", ".join(_label(other) for other in others)
        notes = (
            f"The null distribution is that of the model without the other random term(s) ({names})"
            ": an approximation.",
        )
    else:
        statistic = float(model.fit(fit.design.y[None], reml=True).gain[0])
    hypothesis = f"σ({_label(tested)}) = 0"
    distribution = NullDistribution(model.spectrum, reml=True)
    return _test(hypothesis, statistic, distribution, nsim, rng, notes)


def _test(
    hypothesis: str,
    statistic: float,
    distribution: NullDistribution,
    nsim: int,
    rng: np.random.Generator | int | None,
    notes: tuple[str, ...] = (),
) -> ExactTest:
    title = "Approximate" if notes else "Exact"
    sample, mcse = np.zeros(0), None
    if distribution.closed_form:
        pvalue = distribution.tail(statistic)
        notes += ("The statistic is a rising function of an F ratio: no simulation is needed.",)
    else:
        with single_threaded():
            sample = distribution.draw(nsim, as_generator(rng))
        pvalue, mcse = map(float, simulated_pvalue(statistic, sample, tie=TIE * (1 + statistic)))
        notes += (f"{len(sample)} draws from the null distribution.",)
        if len(sample) < nsim:
            notes += (f"Stopped early: {nsim} draws had been asked for.",)
    return ExactTest(
        method=f"{title} {distribution.test}",
        hypothesis=hypothesis,
        statistic_name=distribution.name,
        statistic=statistic,
        pvalue=pvalue,
        mcse=mcse,
        notes=notes,
        sample=sample,
        _null=distribution,
    )


def _named_term(fit: Fit, name: str | None) -> RandomTerm:
    """The term to test, by its grouping or as it is written; a scalar one."""
    require_estimated_sigma(fit.design, "an exact test")
    terms = fit.design.terms
    if not terms:
        raise DataError(f"{fit.design.formula} has no random term, so there is nothing to test.")
    plain = str(name).replace(" ", "")
    chosen = [
        term
        for term in terms
        if name is None or plain in (term.group.replace(" ", ""), str(term.part).replace(" ", ""))
    ]
    if len(chosen) != 1:
        found = "no random term" if not chosen else f"{len(chosen)} random terms"
        choices = " or ".join(repr(str(term.part)) for term in terms)
        raise DataError(f"term={name!r} leaves {found} of the fit; choose one: term={choices}.")
    if chosen[0].width > 1:
        raise DataError(
            f"{chosen[0].part} has {chosen[0].width} effects for each level, so several variances "
            "would be zero at once; the exact test takes one. Use parametric_bootstrap."
        )
    return chosen[0]


def _label(term: RandomTerm) -> str:
    """The standard deviation's name, as in the summary of a fit."""
    return term.group if term.columns == ("Intercept",) else f"{term.group}: {term.columns[0]}"
