"""Tests and intervals of fits whose covariances have structure, against n×n matrices and R."""

import io

import numpy as np
import pandas as pd
import pytest

import mmlib as mm
from tests.engine.test_structured import MODELS, small_data
from tests.helpers.covariances import data_of
from tests.helpers.dense import Dense


def slopes_by_sex(psi):
    """A term with two columns beside a residual variance for each sex."""
    v1, c, v2, boys, girls = psi
    L = np.linalg.cholesky(np.array([[v1, c], [c, v2]]) / boys)
    return [L[0, 0], L[1, 0], L[1, 1], np.sqrt(girls / boys)], np.sqrt(boys)


def us_residual(psi):
    """θ and σ from the covariances of four visits."""
    C = np.zeros((4, 4))
    rows, columns = np.triu_indices(4)
    C[rows, columns] = C[columns, rows] = psi
    sds = np.sqrt(np.diag(C))
    lower = [(i, j) for j in range(4) for i in range(j + 1, 4)]
    return [*sds[1:] / sds[0], *(C[i, j] / sds[i] / sds[j] for i, j in lower)], sds[0]


def cs_term(psi):
    *variances, rho, residual = psi
    return [*np.sqrt(np.array(variances) / residual), rho], np.sqrt(residual)


# For each model θ and σ as functions of the parameters of Kenward and Roger.
PARAMETERS = {
    "dispersion": lambda psi: (
        [np.sqrt(psi[0] / psi[1]), np.sqrt(psi[2] / psi[1])],
        np.sqrt(psi[1]),
    ),
    "children": slopes_by_sex,
    "us": us_residual,
    "ar1, weights": lambda psi: ([psi[1]], np.sqrt(psi[0])),
    "cs by arms": lambda psi: ([np.sqrt(psi[1] / psi[0]), psi[2]], np.sqrt(psi[0])),
    "ar1 term": lambda psi: ([np.sqrt(psi[0] / psi[2]), psi[1]], np.sqrt(psi[2])),
    "cs term": cs_term,
}


def psi_of(name, fit):
    """The parameters at the estimates: the inverse of the functions above."""
    theta, s2 = fit.theta, fit.sigma**2
    if name == "dispersion":
        return np.array([theta[0] ** 2 * s2, s2, theta[1] ** 2 * s2])
    if name == "children":
        C = fit.varcorr().terms[0].covariance
        return np.array([C[0, 0], C[0, 1], C[1, 1], s2, theta[-1] ** 2 * s2])
    if name == "us":
        V = fit.varcorr().to_frame()["vcov"].to_numpy()
        C = np.diag(V[:4])
        pairs = [(i, j) for j in range(4) for i in range(j + 1, 4)]
        for (i, j), value in zip(pairs, V[4:], strict=True):
            C[i, j] = C[j, i] = value
        return C[np.triu_indices(4)]
    if name == "ar1, weights":
        return np.array([s2, theta[0]])
    if name == "cs by arms":
        return np.array([s2, theta[0] ** 2 * s2, theta[1]])
    if name == "ar1 term":
        return np.array([theta[0] ** 2 * s2, theta[1], s2])
    return np.array([*(theta[:-1] ** 2 * s2), theta[-1], s2])


def bigger():
    """Enough data that no variance is estimated as zero."""
    few = small_data()
    data = pd.concat(
        [few.assign(id=few["id"] + f"-{k}", site=few["site"] + f"-{k}") for k in range(2)],
        ignore_index=True,
    )
    rng = np.random.default_rng(8)
    shared = pd.Series(rng.normal(size=data["site"].nunique()), data["site"].unique())
    slow = rng.normal(size=len(data))
    slow[1:] += 0.6 * slow[:-1]
    return data.assign(
        x=rng.normal(size=len(data)),
        y=data["y"] + 1.5 * data["site"].map(shared) + slow + 0.5 * rng.normal(size=len(data)),
    )


@pytest.fixture(scope="module")
def fits():
    data = bigger()
    found = {
        name: mm.lmm(MODELS[name][0], data, **MODELS[name][1])
        for name in PARAMETERS
        if name in MODELS and "term" not in name
    }
    sleep, machines = data_of("sleepstudy"), data_of("Machines")
    found["ar1 term"] = mm.lmm("Reaction ~ Days + ar1(0 + C(Days) | Subject)", sleep)
    found["cs term"] = mm.lmm("score ~ Machine + cs(0 + Machine | Worker)", machines)
    children = data_of("Orthodont")
    formula = "distance ~ age * Sex + (age | Subject)"
    return found | {"children": mm.lmm(formula, children, dispersion="Sex")}


class BruteForce:
    """V(ψ) and its derivatives by differences, n×n."""

    def __init__(self, name, fit):
        self.fit, self.name = fit, name
        self.psi = psi_of(name, fit)
        self.X = fit.design.X
        np.testing.assert_allclose(PARAMETERS[name](self.psi)[0], fit.theta, rtol=1e-8)
        self.steps = 1e-4 * np.maximum(np.abs(self.psi), 0.1)
        k = len(self.psi)
        self.unit = np.eye(k) * self.steps
        V = self.V(self.psi)
        self.inverse = np.linalg.inv(V)
        self.G = [
            (self.V(self.psi + e) - self.V(self.psi - e)) / (2 * h)
            for e, h in zip(self.unit, self.steps, strict=True)
        ]
        self.Phi = np.linalg.inv(self.X.T @ self.inverse @ self.X)

    def V(self, psi):
        theta, sigma = PARAMETERS[self.name](psi)
        return sigma**2 * Dense.at(self.fit.design, np.asarray(theta)).V

    def bent(self, r, s):
        """∂²V/∂ψ_r∂ψ_s."""
        e, f = 30 * self.unit[r], 30 * self.unit[s]
        corners = self.V(self.psi + e + f) - self.V(self.psi + e - f)
        corners -= self.V(self.psi - e + f) - self.V(self.psi - e - f)
        return corners / (4 * 900 * self.steps[r] * self.steps[s])

    def kenward_roger(self):
        """Φ_A, and the degrees of freedom of each coefficient."""
        half, k = self.inverse @ self.X, len(self.G)
        P = [-half.T @ G @ half for G in self.G]
        VG = [self.inverse @ G for G in self.G]
        information = np.empty((k, k))
        Q = [[half.T @ a @ self.inverse @ b @ half for b in self.G] for a in self.G]
        for r in range(k):
            for s in range(k):
                information[r, s] = (
                    np.sum(VG[r] * VG[s].T)
                    - 2 * np.trace(self.Phi @ Q[r][s])
                    + np.trace(self.Phi @ P[r] @ self.Phi @ P[s])
                ) / 2
        W = np.linalg.inv(information)
        total = sum(
            W[r, s] * (Q[r][s] - P[r] @ self.Phi @ P[s] - half.T @ self.bent(r, s) @ half / 4)
            for r in range(k)
            for s in range(k)
        )
        slopes = np.array([np.diag(self.Phi @ p @ self.Phi) for p in P])
        df = 2 * np.diag(self.Phi) ** 2 / np.einsum("rp,rs,sp->p", slopes, W, slopes)
        return self.Phi + 2 * self.Phi @ total @ self.Phi, df

    def gradient(self, psi):
        """Of the objective, profiled over β only."""
        V_inverse = np.linalg.inv(self.V(psi))
        Phi = np.linalg.inv(self.X.T @ V_inverse @ self.X)
        P = V_inverse - V_inverse @ self.X @ Phi @ self.X.T @ V_inverse
        Py = P @ self.fit.design.y
        M = P if self.fit.reml else V_inverse
        found = []
        for e, h in zip(self.unit, self.steps, strict=True):
            G = (self.V(psi + e) - self.V(psi - e)) / (2 * h)
            found.append(np.sum(M * G) - Py @ G @ Py)
        return np.array(found)

    def satterthwaite(self):
        """Degrees of freedom of each coefficient."""
        H = np.array(
            [
                (self.gradient(self.psi + e) - self.gradient(self.psi - e)) / (2 * h)
                for e, h in zip(self.unit, self.steps, strict=True)
            ]
        )
        half = self.inverse @ self.X
        slopes = np.array([np.diag(self.Phi @ half.T @ G @ half @ self.Phi) for G in self.G])
        A = 2 * np.linalg.inv((H + H.T) / 2)
        return 2 * np.diag(self.Phi) ** 2 / np.einsum("rp,rs,sp->p", slopes, A, slopes)


@pytest.mark.parametrize("name", PARAMETERS)
def test_kenward_roger_is_that_of_brute_force(name, fits):
    brute = BruteForce(name, fits[name])
    adjusted, df = brute.kenward_roger()
    table = fits[name].coef_table(ddf="kenward-roger")
    np.testing.assert_allclose(table["df"], df, rtol=1e-5)
    np.testing.assert_allclose(mm.adjusted_vcov(fits[name]), adjusted, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", PARAMETERS)
def test_satterthwaite_is_that_of_brute_force(name, fits):
    table = fits[name].coef_table(ddf="satterthwaite")
    np.testing.assert_allclose(table["df"], BruteForce(name, fits[name]).satterthwaite(), rtol=1e-4)


def test_an_mmrm_in_a_balanced_design_has_the_degrees_of_freedom_of_its_subjects():
    """With one mean for each visit and sex, differences at a visit are two-sample t tests."""
    data = data_of("Orthodont")
    fit = mm.lmm("distance ~ C(visit) * Sex", data, residual="us(visit | Subject)")
    for ddf in ("kenward-roger", "satterthwaite"):
        table = fit.coef_table(ddf=ddf)
        np.testing.assert_allclose(table["df"], 25, rtol=1e-6)
    first = data[data["visit"] == 1]
    girls, boys = (first.loc[first["Sex"] == sex, "distance"] for sex in ("Female", "Male"))
    pooled = (girls.var() * 10 + boys.var() * 15) / 25
    assert fit.sigma**2 == pytest.approx(pooled, rel=1e-6)
    means = mm.emmeans(fit, "Sex", by="visit").to_frame()
    assert means["df"].to_numpy() == pytest.approx(25, rel=1e-6)


# ---- likelihood ratios -------------------------------------------------------------------------


def test_girls_and_boys_have_different_residual_variances():
    data = data_of("Orthodont")
    formula = "distance ~ age11 * Sex + (age11 | Subject)"
    test = mm.lrt(mm.lmm(formula, data), mm.lmm(formula, data, dispersion="Sex"))
    assert test.statistic == pytest.approx(21.0592, abs=1e-3)
    assert test.df == (1,)
    assert test.valid


def test_structures_within_each_other():
    data = data_of("Orthodont")

    def fit(reml=True, formula="distance ~ age * Sex", **options):
        return mm.lmm(formula, data, reml=reml, **options)

    cs, us = fit(residual="cs(Subject)"), fit(residual="us(visit | Subject)")
    symm, ar1 = fit(residual="symm(visit | Subject)"), fit(residual="ar1(visit | Subject)")
    assert mm.lrt(cs, symm).statistic == pytest.approx(7.586615636734507, abs=1e-6)
    assert mm.lrt(symm, us).df == (3,)
    assert mm.lrt(fit(formula="distance ~ age * Sex + (1 | Subject)"), us).df == (8,)
    with pytest.raises(mm.DataError, match="not nested"):
        mm.lrt(cs, ar1)
    with pytest.raises(mm.DataError, match="swap them"):
        mm.lrt(us, cs)
    plain = fit(formula="distance ~ age * Sex")
    assert mm.lrt(plain, cs).valid  # a correlation of 0 is within its bounds
    car1 = fit(residual="car1(visit | Subject)")
    assert not mm.lrt(plain, car1).valid  # here it is one of them


def two_or_three(share, k=2):
    """Twenty levels of g; what those of f, two or three, share in each may be negative."""
    rng = np.random.default_rng(1)
    g, f = np.repeat(np.arange(20), 6), np.tile(np.repeat(np.arange(k), 6 // k), 20)
    means = np.outer(rng.standard_normal(20), [1, share, 0][:k])
    means += 0.5 * rng.standard_normal((20, k))
    data = pd.DataFrame({"g": g, "h": rng.integers(0, 5, 120), "f": np.array(list("abc"))[f]})
    return data.assign(y=means[g, f] + rng.standard_normal(120))


@pytest.mark.parametrize(
    ("one", "other", "k"),
    [
        ("us(f | g)", "(1 | g) + diag(0 + f | g)", 2),
        ("us(0 + f | g)", "(1 | g) + diag(0 + f | g)", 2),
        ("homcs(0 + f | g)", "(1 | g) + (1 | g:f)", 2),
        ("homcs(0 + f | g)", "(1 | g) + (1 | g:f)", 3),
    ],
)
@pytest.mark.parametrize("share", [0.9, -0.9], ids=["alike", "opposite"])
def test_models_that_differ_by_a_bound_are_told_one_thing(one, other, k, share):
    """Whichever comes first: the second has no covariance below zero."""
    fits = [mm.lmm(f"y ~ f + {part}", two_or_three(share, k)) for part in (one, other)]
    gap = fits[1].objective - fits[0].objective
    message = "allows what is beyond a bound" if gap > 1e-3 else "the same model"
    assert share > 0 or gap > 1
    for pair in (fits, fits[::-1]):
        with pytest.raises(mm.DataError, match=message):
            mm.lrt(*pair)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("homcs(0 + f | g)", "(1 | g) + (1 | g:f) + (1 | h)"),
        ("us(f | g)", "(1 | g) + diag(0 + f | g) + (1 | h)"),
        ("(f | g)", "(1 | g) + (0 + f || g) + (1 | h)"),
    ],
)
def test_a_larger_model_that_bounds_what_a_smaller_one_does_not_is_none(one, other):
    """Their covariances are among those of the other only where none is below zero."""
    for share in (0.9, -0.9):
        fits = [mm.lmm(f"y ~ f + {part}", two_or_three(share)) for part in (one, other)]
        for pair in (fits, fits[::-1]):
            with pytest.raises(
                mm.DataError, match=r"not nested: the random part .* allows covariances"
            ):
                mm.lrt(*pair)


def test_one_covariance_for_all_pairs_is_within_any():
    for share in (0.9, -0.9):
        data = two_or_three(share, 3)
        small = mm.lmm("y ~ f + (1 | g) + diag(0 + f | g)", data)
        test = mm.lrt(small, mm.lmm("y ~ f + (0 + f | g)", data))
        assert test.df == (2,)
        assert mm.lrt(mm.lmm("y ~ f + (1 | g) + (1 | g:f)", data), small).df == (2,)


def test_a_variance_at_zero_is_on_the_boundary():
    data = data_of("Machines")
    small = mm.lmm("score ~ Machine + (1 | Worker)", data)
    large = mm.lmm("score ~ Machine + homcs(0 + Machine | Worker)", data)
    test = mm.lrt(small, large)
    assert test.df == (1,)
    assert not test.valid
    assert test.pvalue_mixture is not None


# ---- profiles, bootstrap -----------------------------------------------------------------------


def test_a_profile_reaches_its_quantile_at_its_ends():
    """With a parameter held at an end of its interval the objective has risen by χ²."""
    data = data_of("Orthodont")
    fit = mm.lmm("distance ~ age * Sex + (1 | Subject)", data, dispersion="Sex", reml=False)
    low, high = fit.confint(parameters="residual_ratio_Female|Sex").to_numpy()[0]
    objective = mm.Objective(fit.design, reml=False)
    for end in (low, high):
        best = min(objective([theta, end]) for theta in np.linspace(0.5, 2.5, 400))
        assert best - fit.objective == pytest.approx(3.841459, abs=1e-3)


def test_profiles_of_correlations():
    data = data_of("sleepstudy")
    fit = mm.lmm("Reaction ~ Days", data, residual="ar1(Days | Subject)", reml=False)
    low, high = fit.confint(parameters="residual_cor|Subject").to_numpy()[0]
    objective = mm.Objective(fit.design, reml=False)
    assert objective([low]) - fit.objective == pytest.approx(3.841459, abs=1e-5)
    assert objective([high]) - fit.objective == pytest.approx(3.841459, abs=1e-5)
    visits = data_of("Orthodont")
    us = mm.lmm("distance ~ age", visits, residual="us(visit | Subject)", reml=False)
    profile = mm.profile(us)
    name = "residual_cor_4.2|Subject"
    assert profile.zeta(name, float(profile.estimates[name])) == pytest.approx(0, abs=1e-4)
    low, high = profile.confint(parameters=name).to_numpy()[0]
    assert low < profile.estimates[name] < high


def test_a_bootstrap_of_a_fit_with_structure():
    data = data_of("Orthodont")
    fit = mm.lmm("distance ~ age * Sex + (1 | Subject)", data, dispersion="Sex")
    drawn = fit.confint("boot", nsim=30, rng=1, parameters="residual_ratio_Female|Sex")
    low, high = drawn.to_numpy()[0]
    assert 0.2 < low < fit.theta[-1] < high < 1
    null = mm.lmm("distance ~ age * Sex + (1 | Subject)", data)
    assert mm.parametric_bootstrap(null, fit, nsim=19, rng=1, progress=False).pvalue == 0.05


# ---- residuals, influence, prediction, files ---------------------------------------------------


@pytest.mark.parametrize("name", ["us", "cs by arms", "ar1, weights", "ar1 term"])
def test_leaving_out_a_row_is_that_of_brute_force(name):
    formula, options = MODELS[name]
    fit = mm.lmm(formula, small_data(), **options)
    dense = Dense.at(fit.design, fit.theta)
    influence = fit.influence()
    for row in (0, 5, 17):
        keep = np.arange(fit.nobs) != row
        inverse = np.linalg.inv(dense.V[np.ix_(keep, keep)])
        X, y = dense.X[keep], dense.y[keep]
        without = np.linalg.solve(X.T @ inverse @ X, X.T @ inverse @ y)
        np.testing.assert_allclose(influence.dfbeta.iloc[row], dense.beta - without, atol=1e-9)
    R = dense.V - dense.Z @ dense.G @ dense.Z.T
    P = dense.V_inverse - dense.V_inverse @ dense.X @ np.linalg.solve(
        dense.information, dense.X.T @ dense.V_inverse
    )
    np.testing.assert_allclose(fit.leverage(), np.diag(np.eye(len(R)) - R @ P), atol=1e-9)
    expected = np.sqrt(np.diag(R @ P @ R)) * fit.sigma
    found = fit.resid / fit.residuals(scaled="standardized")
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_normalized_residuals_are_whitened_by_the_whole_covariance():
    fit = mm.lmm(MODELS["us"][0], small_data(), **MODELS["us"][1])
    dense = Dense.at(fit.design, fit.theta)
    scaled = fit.residuals(scaled="normalized").to_numpy()
    e = fit.resid.to_numpy()
    expected = e @ dense.V_inverse @ e / fit.sigma**2
    assert scaled @ scaled == pytest.approx(expected, rel=1e-9)


def test_leaving_out_a_subject_and_what_splits_subjects():
    fit = mm.lmm(MODELS["us"][0], small_data(), **MODELS["us"][1])
    dense = Dense.at(fit.design, fit.theta)
    influence = fit.influence(group="id")
    keep = (fit.design.frame["id"] != "s3").to_numpy()
    inverse = np.linalg.inv(dense.V[np.ix_(keep, keep)])
    X, y = dense.X[keep], dense.y[keep]
    without = np.linalg.solve(X.T @ inverse @ X, X.T @ inverse @ y)
    np.testing.assert_allclose(influence.dfbeta.loc["s3"], dense.beta - without, atol=1e-9)
    with pytest.raises(mm.DataError, match="crosses residual="):
        fit.influence(group="visit")


def test_a_new_observation_has_the_variance_of_its_level():
    data = data_of("Orthodont")
    fit = mm.lmm("distance ~ age * Sex + (1 | Subject)", data, dispersion="Sex")
    new = data.groupby("Sex", observed=True).head(1)
    confidence = fit.predict(new, interval="confidence")["se"].to_numpy()
    prediction = fit.predict(new, interval="prediction")["se"].to_numpy()
    sds = [fit.varcorr().sd("Residual", sex) for sex in new["Sex"]]
    np.testing.assert_allclose(prediction**2 - confidence**2, np.square(sds), rtol=1e-9)
    with pytest.raises(mm.DataError, match="no column 'Sex'"):
        fit.predict(new.drop(columns="Sex"), interval="prediction")


@pytest.mark.parametrize("name", MODELS)
def test_a_file_holds_the_structure(name):
    formula, options = MODELS[name]
    if "weights" in options:
        options = {**options, "weights": small_data()["w"]}
    fit = mm.lmm(formula, small_data(), **options)
    file = io.BytesIO()
    mm.save(fit, file)
    again = mm.load(file)
    assert again.objective == fit.objective
    assert str(again) == str(fit)
    np.testing.assert_allclose(again.vcov(), fit.vcov(), rtol=1e-9)


def test_a_summary_speaks_of_the_structure():
    data = data_of("Orthodont")
    text = str(mm.lmm("distance ~ age", data, residual="us(visit | Subject)"))
    assert "Correlation of residuals within Subject, unstructured over visit" in text
    assert "relative to 1" in text
    text = str(mm.lmm("distance ~ age + (1 | Subject)", data, dispersion="Sex"))
    assert "Residual standard deviations by Sex, relative to Male" in text
    text = str(mm.lmm("Reaction ~ Days + ar1(0 + C(Days) | Subject)", data_of("sleepstudy")))
    assert "0.88 (ar1)" in text


def test_what_is_not_there_is_refused_by_name():
    data = small_data()
    fit = mm.lmm("y ~ x + (1 | id)", data, dispersion="arm")
    with pytest.raises(mm.MMError, match="residuals with a structure"):
        mm.exact_rlrt(fit)
    with pytest.raises(mm.DataError, match="cannot be extended yet"):
        mm.power(fit, "x", nsim=3, rng=1, along={"n_id": [20]}, progress=False)
    with pytest.raises(mm.DataError, match="give theta="):
        fit.simulate(1, sd={"id": 2.0})
    with pytest.raises(mm.DataError, match="crosses residual="):
        mm.lmm("y ~ x + (1 | item)", data, residual="ar1(visit | id)")
