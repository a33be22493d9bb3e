"""The spectral engine against closed forms, refits by the general engine, and brute force."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mmlib as mm
from mmlib.engine import spectral
from mmlib.engine.spectral import SpectralModel, Spectrum
from tests.helpers.inference import fit_packaged

MODELS = {
    "balanced": ("pulp", "bright ~ 1 + (1 | operator)"),
    "blocks": ("penicillin", "yield ~ treat + (1 | blend)"),
    "unbalanced": ("mississippi", "y ~ Type + (1 | influent)"),
    "slope": ("sleepstudy", "Reaction ~ Days + (0 + Days | Subject)"),
    "slope, shared": ("sleepstudy", "Reaction ~ 1 + (0 + Days | Subject)"),
    "confounded": ("irrigation", "yield ~ irrigation * variety + (1 | field)"),
    "incomplete blocks": ("pbib", "response ~ Treatment + (1 | Block)"),
    "no fixed effect": ("dyestuff", "Yield ~ 0 + (1 | Batch)"),
    "no random term": ("pulp", "bright ~ operator"),
}


def spline_like() -> Spectrum:
    """Eigenvalues that fall fast, as those of a penalized spline: many maxima are possible."""
    mu = 1.0 / np.arange(1, 31) ** 4
    return Spectrum(
        n=40,
        p=2,
        mu=mu[::-1],
        mu_counts=np.ones(30, dtype=int),
        xi=mu[::-1],
        xi_counts=np.ones(30, dtype=int),
    )


def gains_on_grid(spectrum: Spectrum, energies: np.ndarray, lam: np.ndarray) -> np.ndarray:
    """2 (restricted log-likelihood − that at λ = 0) as the formula has it, shape (L, B)."""
    x = 1 / (1 + lam[:, None] * spectrum.mu)
    rss = energies[0] + x @ energies[1:]
    dof = spectrum.n - spectrum.p
    cost = np.log1p(lam[:, None] * spectrum.mu) @ spectrum.mu_counts
    return dof * np.log(energies.sum(axis=0) / rss) - cost[:, None]


@settings(max_examples=25)
@given(
    levels=st.integers(2, 8),
    each=st.integers(2, 6),
    ratio=st.sampled_from([0.0, 0.3, 2.0, 50.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_balanced_one_way_has_the_closed_forms(levels, each, ratio, seed):
    rng = np.random.default_rng(seed)
    data = pd.DataFrame({"g": np.repeat([f"g{k}" for k in range(levels)], each), "y": 0.0})
    effects = np.repeat(rng.normal(0, np.sqrt(ratio), (4, levels)), each, axis=1)
    responses = 1000 + effects + rng.standard_normal((4, levels * each))
    model = SpectralModel(mm.build_design("y ~ 1 + (1 | g)", data.assign(y=responses[0])))
    for reml, method in [(True, "reml"), (False, "ml")]:
        profile = model.fit(responses, reml=reml)
        for y, gain, lam in zip(responses, profile.gain, profile.lam, strict=True):
            layout = mm.oneway("y ~ g", data.assign(y=y))
            closed = layout.exact_rlrt() if reml else layout.exact_lrt()
            assert gain == pytest.approx(closed.statistic, rel=1e-10, abs=1e-10)
            variances = layout.variance_components(method)
            expected = variances.sigma2_group / variances.sigma2_resid
            assert lam == pytest.approx(expected, rel=1e-9, abs=1e-9)
            assert (lam == 0) == variances.at_boundary


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weights and offset"])
@pytest.mark.parametrize("model", MODELS)
def test_refits_agree_with_the_general_engine(model, weighted, reml):
    fit = fit_packaged(*MODELS[model], reml=reml, weighted=weighted)
    responses = fit.simulate(4, rng=2)
    profile = SpectralModel(fit.design).fit(responses, reml=reml)
    refits = [fit.refit(y) for y in responses]
    np.testing.assert_allclose(
        profile.objective, [refit.objective for refit in refits], rtol=1e-11, atol=1e-9
    )
    theta = [refit.theta[0] if refit.theta.size else 0.0 for refit in refits]
    np.testing.assert_allclose(np.sqrt(profile.lam), theta, rtol=1e-6, atol=1e-7)


def test_equal_eigenvalues_are_found():
    pulp = SpectralModel(
        mm.build_design("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))
    ).spectrum
    assert pulp.single
    np.testing.assert_allclose(pulp.mu, 5)
    np.testing.assert_array_equal(pulp.mu_counts, 3)
    assert pulp.rest == 16


@pytest.mark.parametrize("model", MODELS)
def test_eigenvalues_are_those_of_the_dense_matrix(model):
    dataset, formula = MODELS[model]
    data = mm.load_dataset(dataset)
    weights = np.random.default_rng(2).integers(1, 3, len(data)).astype(float)
    design = mm.build_design(formula, data, weights=weights)
    spectrum = SpectralModel(design).spectrum
    root = np.sqrt(weights)[:, None]
    X = root * design.X
    Z = root * design.terms[0].Z.toarray() if design.terms else np.zeros((design.n, 0))
    outside = Z - X @ np.linalg.lstsq(X, Z)[0]
    mu = np.linalg.eigvalsh(outside.T @ outside)
    xi = np.linalg.eigvalsh(Z.T @ Z)
    positive = mu > 1e-9 * xi.max(initial=0)
    np.testing.assert_allclose(np.repeat(spectrum.mu, spectrum.mu_counts), mu[positive], rtol=1e-8)
    np.testing.assert_allclose(np.repeat(spectrum.xi, spectrum.xi_counts), xi, rtol=1e-12)
    assert spectrum.rest == design.n - np.linalg.matrix_rank(np.hstack([X, Z]))


def test_the_unit_of_a_slope_does_not_matter():
    sleep = mm.load_dataset("sleepstudy")
    fits = []
    for unit in (1.0, 1e-4):
        data = sleep.assign(time=unit * sleep["Days"])
        design = mm.build_design("Reaction ~ 1 + (0 + time | Subject)", data)
        fits.append(SpectralModel(design).fit(design.y[None], reml=True))
    np.testing.assert_allclose(fits[1].gain, fits[0].gain, rtol=1e-12)
    np.testing.assert_allclose(fits[1].lam, 1e8 * fits[0].lam, rtol=1e-8)


def test_the_highest_of_several_maxima_is_found():
    spectrum, rng = spline_like(), np.random.default_rng(3)
    energies = spectrum.draw_energies(4000, rng)
    profile = spectrum.maximize(energies, reml=True)
    lam = np.append(0.0, np.geomspace(1e-4, 1e9, 4000))
    gains = gains_on_grid(spectrum, energies, lam)
    highest = gains.max(axis=0)
    assert (profile.gain >= highest - 1e-12).all()
    np.testing.assert_allclose(profile.gain, highest, atol=2e-4)
    # Climbing from zero, as RLRsim does, stops at the first maximum, and that is often too early.
    falls = np.diff(gains, axis=0) < 0
    first = gains[np.where(falls.any(axis=0), falls.argmax(axis=0), -1), np.arange(4000)]
    assert np.count_nonzero(highest > first + 0.01) >= 5


def test_the_gain_is_that_of_the_profile_at_its_lambda():
    spectrum = spline_like()
    energies = spectrum.draw_energies(50, np.random.default_rng(4))
    profile = spectrum.maximize(energies, reml=True)
    there = np.diag(gains_on_grid(spectrum, energies, profile.lam))
    np.testing.assert_allclose(profile.gain, there, rtol=1e-10, atol=1e-12)
    assert (profile.gain[profile.lam == 0] == 0).all()


def test_a_small_statistic_keeps_its_digits():
    spectrum = Spectrum(20, 1, np.array([5.0]), np.array([3]), np.array([5.0]), np.array([4]))
    excess = 1e-6
    energies = np.array([[16.0], [3.0 * (1 + excess)]])
    profile = spectrum.maximize(energies, reml=True)
    # Around F = 1 the statistic is (F − 1)² times 3·16/(2·19).
    assert profile.gain[0] == pytest.approx(48 / 38 * excess**2, rel=1e-5)


def test_many_levels_of_few_sizes_need_no_large_eigenproblem(monkeypatch):
    monkeypatch.setattr(spectral, "MAX_RANK", 10)
    rng = np.random.default_rng(5)
    counts = rng.integers(1, 6, 2000)
    data = pd.DataFrame(
        {"g": np.repeat(np.arange(2000), counts), "x": rng.normal(size=counts.sum())}
    )
    data["y"] = rng.normal(size=len(data)) + rng.normal(size=2000)[data["g"]]
    fit = mm.lmm("y ~ x + (1 | g)", data)
    profile = SpectralModel(fit.design).fit(fit.design.y[None], reml=True)
    assert profile.objective[0] == pytest.approx(fit.objective, rel=1e-11)
    assert not spectral.suits(
        mm.build_design("y ~ x + (1 | g)", data, weights=rng.uniform(1, 2, len(data)))
    )


def test_an_exact_fit_has_no_likelihood():
    pulp = mm.load_dataset("pulp")
    model = SpectralModel(mm.build_design("bright ~ 1 + (1 | operator)", pulp))
    levels = pulp["operator"].cat.codes.to_numpy(dtype=float)
    profile = model.fit(np.stack([60 + levels, pulp["bright"]]), reml=True)
    assert np.isnan(profile.objective[0])
    assert np.isfinite(profile.objective[1])


def test_designs_that_do_not_suit_are_refused():
    sleep = mm.load_dataset("sleepstudy")
    design = mm.build_design("Reaction ~ Days + (Days | Subject)", sleep)
    assert not spectral.suits(design)
    with pytest.raises(mm.RankError, match="one scalar random term"):
        SpectralModel(design)


def test_a_saturated_design_is_refused():
    data = pd.DataFrame(
        {"g": list("aabbcc"), "x": list("uvuwvw"), "z": [0.1, 0.9, 0.5, 0.2, 0.7, 0.4]}
    )
    data["y"] = [1.0, 2.0, 4.0, 3.0, 6.0, 5.0]
    design = mm.build_design("y ~ x + z + (1 | g)", data)
    with pytest.raises(mm.RankError, match="nothing is left"):
        SpectralModel(design)
