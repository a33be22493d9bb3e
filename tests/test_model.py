"""The fit: closed forms, the lecture, brute force, and the symmetries of the model."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import mmlib as mm
from tests.helpers import oracle
from tests.helpers.dense import Dense, positions
from tests.helpers.structures import STRUCTURES, simulated

BALANCED = {
    "pulp": ("bright ~ 1 + (1 | operator)", "bright ~ operator"),
    "dyestuff": ("Yield ~ 1 + (1 | Batch)", "Yield ~ Batch"),
    "rail": ("travel ~ 1 + (1 | Rail)", "travel ~ Rail"),
}
both_criteria = pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
few_examples = settings(max_examples=8, derandomize=True)
seeds = st.integers(0, 10**6)


def fit_structure(name, data=None, *, reml=True):
    s = STRUCTURES[name]
    data = simulated() if data is None else data
    return mm.lmm(s.formula, data, reml=reml, weights=s.weights, offset=s.offset)


# --- closed forms --------------------------------------------------------------------------------


@both_criteria
@pytest.mark.parametrize("dataset", BALANCED)
def test_balanced_one_way_layout_has_closed_forms(dataset, reml):
    formula, anova = BALANCED[dataset]
    data = mm.load_dataset(dataset)
    layout = mm.oneway(anova, data)
    wanted = layout.variance_components("reml" if reml else "ml")
    fit = mm.lmm(formula, data, reml=reml)
    n = layout.counts.iloc[0]
    between = wanted.sigma2_group + wanted.sigma2_resid / n
    shrinkage = wanted.sigma2_group / between
    [(_, effects)] = fit.ranef().items()
    [variance] = fit.cond_var().values()

    np.testing.assert_allclose(fit.theta**2, wanted.sigma2_group / wanted.sigma2_resid, rtol=1e-7)
    np.testing.assert_allclose(fit.sigma**2, wanted.sigma2_resid, rtol=1e-8)
    np.testing.assert_allclose(fit.varcorr().terms[0].covariance, wanted.sigma2_group, rtol=1e-7)
    np.testing.assert_allclose(fit.beta, wanted.mu, rtol=1e-12)
    np.testing.assert_allclose(fit.vcov(), between / len(layout.counts), rtol=1e-7)
    np.testing.assert_allclose(
        effects["Intercept"], shrinkage * layout.effects(), rtol=1e-7, atol=1e-12
    )
    np.testing.assert_allclose(variance, wanted.sigma2_resid / n * shrinkage, rtol=1e-7)


@both_criteria
@pytest.mark.parametrize("weights", [None, "w"])
def test_without_a_random_term_it_is_least_squares(reml, weights):
    data = simulated()
    fit = mm.lmm("y ~ x + f", data, reml=reml, weights=weights)
    w = np.ones(len(data)) if weights is None else data[weights].to_numpy()
    root = np.sqrt(w)
    beta = np.linalg.lstsq(fit.design.X * root[:, None], data["y"] * root)[0]
    residual = (data["y"] - fit.design.X @ beta).to_numpy()
    variance = (w * residual**2).sum() / (len(data) - (fit.design.p if reml else 0))
    information = fit.design.X.T @ (fit.design.X * w[:, None])
    np.testing.assert_allclose(fit.beta, beta, rtol=1e-10)
    np.testing.assert_allclose(fit.sigma**2, variance, rtol=1e-12)
    np.testing.assert_allclose(fit.vcov(), variance * np.linalg.inv(information), rtol=1e-10)
    np.testing.assert_allclose(fit.resid, residual, rtol=1e-9)
    if not reml:
        scale = fit.sigma / root
        np.testing.assert_allclose(fit.loglik, stats.norm.logpdf(residual, scale=scale).sum())
    assert (fit.ranef(), fit.cond_var(), fit.theta.size, fit.is_singular) == ({}, {}, 0, False)
    assert fit.converged


@both_criteria
def test_the_numbers_of_the_lecture(reml):
    name = "pulp_REML" if reml else "pulp_ML"
    wanted = oracle.load_lecture()[name]["polished"]
    fit = mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"), reml=reml)
    table = fit.coef_table().loc["Intercept"]
    components = fit.varcorr().to_frame()
    found = {
        "theta": fit.theta,
        "beta": fit.beta,
        "se": table["Std. Error"],
        "t": table["t value"],
        "sigma": fit.sigma,
        "sigma2": fit.sigma**2,
        "re_var": components["vcov"][0],
        "re_sd": components["sdcor"][0],
        "logLik": fit.loglik,
        "AIC": fit.aic,
        "BIC": fit.bic,
        "deviance_or_REMLcrit": fit.objective,
        "df_resid": fit.df_resid,
        "npar": fit.n_parameters,
        "scaled_resid_quantiles": np.quantile(fit.resid / fit.sigma, np.linspace(0, 1, 5)),
        "fitted": fit.fitted,
        "resid": fit.resid,
        "ranef": fit.ranef()["operator"]["Intercept"],
        "ranef_condsd": np.sqrt(fit.cond_var()["operator"].ravel()),
    }
    assert set(wanted) - set(found) <= {"vcov"}
    for key, value in found.items():
        np.testing.assert_allclose(np.ravel(value), values_of(wanted[key]), rtol=1e-8, err_msg=key)
    np.testing.assert_allclose(fit.vcov(), wanted["vcov"], rtol=1e-8)


def values_of(nested):
    """Return the numbers of R's named vectors and lists, in order."""
    if isinstance(nested, dict):
        nested = [values_of(value) for value in nested.values()]
    return np.ravel(nested)


# --- brute force ---------------------------------------------------------------------------------


@both_criteria
@pytest.mark.parametrize("name", STRUCTURES)
def test_the_fit_is_that_of_brute_force_at_its_theta(name, reml):
    fit = fit_structure(name, reml=reml)
    dense = Dense.at(fit.design, fit.theta)
    b, place = dense.b(), positions(fit.design)
    variance = dense.variance(reml=reml)
    of_b = variance * dense.variance_of_b(beta_estimated=False)
    tight = {"rtol": 1e-8, "atol": 1e-10}
    np.testing.assert_allclose(fit.objective, dense.objective(reml=reml), rtol=1e-11)
    np.testing.assert_allclose(fit.sigma**2, variance, **tight)
    np.testing.assert_allclose(fit.beta, dense.beta, **tight)
    if fit.design.p:
        np.testing.assert_allclose(fit.vcov(), variance * np.linalg.inv(dense.information), **tight)
    for group, table in fit.ranef().items():
        where = place[group]
        np.testing.assert_allclose(table, b[where], **tight)
        np.testing.assert_allclose(
            fit.cond_var()[group], of_b[where[:, :, None], where[:, None, :]], **tight
        )
    np.testing.assert_allclose(fit.resid, dense.residual - dense.Z @ b, **tight)
    np.testing.assert_allclose(fit.fitted + fit.resid, fit.design.y, **tight)


@pytest.mark.parametrize("name", STRUCTURES)
def test_criteria_count_every_parameter(name):
    fit = fit_structure(name, reml=False)
    k = fit.design.p + len(fit.theta) + 1
    assert (fit.n_parameters, fit.df_resid, fit.nobs) == (k, 48 - k, 48)
    np.testing.assert_allclose(fit.loglik, -fit.objective / 2)
    np.testing.assert_allclose(fit.aic, fit.objective + 2 * k)
    np.testing.assert_allclose(fit.bic, fit.objective + np.log(48) * k)


def test_tables_are_labelled(pulp_fit):
    fit = fit_structure("crossed vectors")
    names = ["Intercept", "x", "f[T.low]", "f[T.mid]", "x:f[T.low]", "x:f[T.mid]"]
    assert fit.fixef().index.tolist() == names
    assert fit.vcov().index.tolist() == fit.vcov().columns.tolist() == names
    assert fit.coef_table().columns.tolist() == ["Estimate", "Std. Error", "t value"]
    assert list(fit.ranef()) == ["g", "h"]
    assert fit.ranef()["g"].columns.tolist() == ["Intercept", "x"]
    assert fit.ranef()["g"].index.tolist() == list("abcdef")
    assert pulp_fit.ranef()["operator"].index.name == "operator"
    nested = fit_structure("nested").ranef()["g:m"]
    assert nested.index.names == ["g", "m"]


@pytest.mark.parametrize("reml", ["ML", "REML", 1, None])
def test_reml_is_true_or_false(pulp_fit, reml):
    with pytest.raises(mm.DataError, match="reml must be True or False"):
        mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"), reml=reml)
    if reml is not None:  # for a refit: as the fit was
        with pytest.raises(mm.DataError, match="reml must be True or False"):
            pulp_fit.refit(reml=reml)


# --- refit and simulate --------------------------------------------------------------------------


@pytest.mark.parametrize("name", STRUCTURES)
@both_criteria
def test_refit_is_a_fit(name, reml):
    data = simulated()
    other = data.assign(y=data["y"] ** 2 / 10 + data["z"])
    fit = fit_structure(name, data)
    wanted = fit_structure(name, other, reml=reml)
    found = fit.refit(list(other["y"]), reml=reml)
    assert found.reml == reml
    np.testing.assert_allclose(found.objective, wanted.objective, rtol=1e-10)
    np.testing.assert_allclose(found.theta, wanted.theta, atol=1e-5)
    np.testing.assert_allclose(found.beta, wanted.beta, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.fitted + found.resid, other["y"])
    np.testing.assert_array_equal(fit.design.y, data["y"])


def test_a_refit_may_be_refitted():
    data = simulated()
    other = data["y"] ** 2 / 10 + data["z"]
    fit = fit_structure("vector", data)
    wanted = fit.refit(other, reml=False)
    found = fit.refit(reml=False).refit(other)
    assert found.reml is False
    np.testing.assert_allclose(found.objective, wanted.objective, rtol=1e-12)
    np.testing.assert_allclose(found.beta, wanted.beta, rtol=1e-9)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.ones(20), "constant"),
        (np.arange(19.0), "one value for each of the 20 rows of the fit; it has"),
        (np.ones((20, 2)), "20 rows"),
        (5.0, "20 rows"),
        ([np.nan, *range(19)], "1 infinite or missing"),
        (["a"] * 20, "must be numeric|must be real numbers"),
        (np.arange(20) * 1j, "must be numeric|must be real numbers"),
    ],
)
def test_refit_to_a_bad_response_is_refused(pulp_fit, y, message):
    with pytest.raises(mm.DataError, match=message):
        pulp_fit.refit(y)


@pytest.mark.parametrize("name", ["vector", "everything", "nested", "weights", "no random term"])
def test_simulated_responses_have_the_moments_of_the_model(name):
    fit, draws = fit_structure(name), 4000
    simulated_y = fit.simulate(draws, rng=1)
    assert simulated_y.shape == (draws, fit.nobs)
    dense = Dense.at(fit.design, fit.theta)
    V = fit.sigma**2 * dense.V
    mean = fit.design.X @ fit.beta + (0 if fit.design.offset is None else fit.design.offset)
    z = (simulated_y.mean(axis=0) - mean) / np.sqrt(np.diag(V) / draws)
    assert np.abs(z).max() < 4.5  # of 48 standard normals
    covariance = np.cov(simulated_y, rowvar=False)
    sd = np.sqrt((V**2 + np.outer(np.diag(V), np.diag(V))) / draws)
    assert np.abs((covariance - V) / sd).max() < 5.5  # of 1,176
    whitened = np.linalg.solve(np.linalg.cholesky(V), (simulated_y - mean).T)
    assert stats.kstest(whitened.ravel(), "norm").pvalue > 1e-3


def test_simulation_is_reproducible_and_its_beginning_does_not_depend_on_its_end(pulp_fit):
    ten = pulp_fit.simulate(10, rng=42)
    np.testing.assert_array_equal(pulp_fit.simulate(10, rng=np.random.default_rng(42)), ten)
    np.testing.assert_array_equal(pulp_fit.simulate(3, rng=42), ten[:3])
    rng = np.random.default_rng(42)
    in_turn = np.vstack([pulp_fit.simulate(4, rng=rng), pulp_fit.simulate(6, rng=rng)])
    np.testing.assert_array_equal(in_turn, ten)
    assert not np.array_equal(pulp_fit.simulate(1), pulp_fit.simulate(1))
    assert pulp_fit.simulate().shape == (1, 20)


def test_simulation_draws_effects_before_errors(pulp_fit):
    z = np.random.default_rng(0).standard_normal(4 + 20)
    wanted = pulp_fit.beta[0] + pulp_fit.sigma * (pulp_fit.theta[0] * np.repeat(z[:4], 5) + z[4:])
    np.testing.assert_allclose(pulp_fit.simulate(1, rng=0)[0], wanted, rtol=1e-14)


@pytest.mark.parametrize("name", ["vector", "everything", "no random term"])
def test_conditional_simulation_draws_errors_around_the_fitted_values(name):
    fit = fit_structure(name)
    weights = np.ones(fit.nobs) if fit.design.weights is None else fit.design.weights
    z = np.random.default_rng(6).standard_normal((3, fit.nobs))
    wanted = fit.fitted.to_numpy() + fit.sigma * z / np.sqrt(weights)
    np.testing.assert_allclose(fit.simulate(3, rng=6, conditional=True), wanted, rtol=1e-12)


@pytest.mark.parametrize("nsim", [0, -1, 1.5, True, None, "3"])
def test_bad_number_of_simulations(pulp_fit, nsim):
    with pytest.raises(mm.DataError, match="nsim must be a whole number of at least 1"):
        pulp_fit.simulate(nsim)


# --- a result does not change --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["design", "reml", "log", "theta", "beta", "sigma", "new"])
def test_no_attribute_of_a_fit_can_be_set(pulp_fit, name):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(pulp_fit, name, 1)


@pytest.mark.parametrize("get", [lambda f: f.theta, lambda f: f.beta, lambda f: f.design.y])
def test_arrays_of_a_fit_cannot_be_written_to(pulp_fit, get):
    with pytest.raises(ValueError, match="read-only"):
        get(pulp_fit)[0] = 99.0


def test_tables_of_a_fit_are_the_users_own(pulp_fit):
    before = (pulp_fit.vcov().copy(), pulp_fit.ranef()["operator"].copy(), pulp_fit.fitted.copy())
    tables = (
        pulp_fit.vcov(),
        pulp_fit.ranef()["operator"],
        pulp_fit.fitted,
        pulp_fit.resid,
        pulp_fit.fixef(),
    )
    for table in tables:
        table[:] = 99.0
    pulp_fit.cond_var()["operator"][0] = 99.0
    pd.testing.assert_frame_equal(pulp_fit.vcov(), before[0])
    pd.testing.assert_frame_equal(pulp_fit.ranef()["operator"], before[1])
    pd.testing.assert_series_equal(pulp_fit.fitted, before[2])
    assert pulp_fit.fixef().iloc[0] == pulp_fit.beta[0]
    assert (pulp_fit.cond_var()["operator"] < 1).all()


# --- what must not matter, and what must ---------------------------------------------------------


def same_fit(found, wanted, *, atol=1e-8):
    np.testing.assert_allclose(found.objective, wanted.objective, atol=atol)
    np.testing.assert_allclose(found.sigma, wanted.sigma, rtol=1e-5)
    np.testing.assert_allclose(found.fixef()[wanted.fixef().index], wanted.fixef(), atol=1e-5)


@few_examples
@given(seed=seeds, name=st.sampled_from(list(STRUCTURES)))
def test_the_order_of_the_rows_does_not_matter(seed, name):
    data = simulated(seed=seed)
    wanted = fit_structure(name, data)
    found = fit_structure(name, data.sample(frac=1, random_state=seed))
    same_fit(found, wanted)
    np.testing.assert_allclose(found.fitted.sort_index(), wanted.fitted, atol=1e-4)


@pytest.mark.landing
@few_examples
@given(seed=seeds, name=st.sampled_from(["vector", "nested", "crossed vectors", "everything"]))
def test_the_labels_of_the_levels_do_not_matter(seed, name):
    data = simulated(seed=seed)
    codes = np.random.default_rng(seed).permutation(6)
    relabelled = data.assign(
        g=data["g"].map(dict(zip("abcdef", codes.tolist(), strict=True))),
        m=data["m"].map({"first": "z", "second": "a"}),
        h=pd.Categorical(data["h"], sorted(data["h"].unique(), reverse=True)),
    )
    wanted, found = fit_structure(name, data), fit_structure(name, relabelled)
    same_fit(found, wanted)
    np.testing.assert_allclose(found.fitted, wanted.fitted, atol=1e-4)


@pytest.mark.landing
@few_examples
@given(seed=seeds, terms=st.permutations(["(1 + x | g)", "(1 | h)", "(0 + z | g)", "(1 | f)", "x"]))
def test_the_order_of_the_terms_does_not_matter(seed, terms):
    data = simulated(seed=seed)
    wanted = mm.lmm("y ~ x + (1 + x | g) + (1 | h) + (0 + z | g) + (1 | f)", data)
    same_fit(mm.lmm(f"y ~ {' + '.join(terms)}", data), wanted)


@few_examples
@given(
    seed=seeds,
    shift=st.floats(-1e4, 1e4),
    scale=st.floats(1e-3, 1e3),
    name=st.sampled_from(["vector", "crossed", "nested", "weights"]),
    reml=st.booleans(),
)
def test_a_response_in_other_units(seed, shift, scale, name, reml):
    data = simulated(seed=seed)
    wanted = fit_structure(name, data, reml=reml)
    found = fit_structure(name, data.assign(y=shift + scale * data["y"]), reml=reml)
    dof = 48 - (wanted.design.p if reml else 0)
    np.testing.assert_allclose(
        found.objective, wanted.objective + 2 * dof * np.log(scale), atol=1e-6
    )
    np.testing.assert_allclose(found.sigma, scale * wanted.sigma, rtol=1e-4)
    np.testing.assert_allclose(
        found.fitted, shift + scale * wanted.fitted, atol=1e-3 * scale, rtol=1e-9
    )


@few_examples
@given(seed=seeds, reml=st.booleans())
def test_an_offset_is_taken_from_the_response(seed, reml):
    data = simulated(seed=seed)
    data = data.assign(rest=data["y"] - data["shift"])
    wanted = mm.lmm("rest ~ x + (x | g)", data, reml=reml)
    found = mm.lmm("y ~ x + (x | g)", data, reml=reml, offset="shift")
    same_fit(found, wanted)
    np.testing.assert_allclose(found.fitted, wanted.fitted + data["shift"], atol=1e-5)


@few_examples
@given(seed=seeds, reml=st.booleans())
def test_other_columns_for_the_same_fixed_effects(seed, reml):
    data = simulated(seed=seed)
    R = np.random.default_rng(seed).normal(size=(3, 3)) + 2 * np.eye(3)
    wanted = mm.lmm("y ~ x + z + (1 | g)", data, reml=reml)
    X = pd.DataFrame(wanted.design.X @ R, columns=["a", "b", "c"])
    found = mm.lmm("y ~ 0 + a + b + c + (1 | g)", data.join(X), reml=reml)
    change = 2 * np.linalg.slogdet(R)[1] if reml else 0.0
    np.testing.assert_allclose(found.objective, wanted.objective + change, atol=1e-8)
    np.testing.assert_allclose(R @ found.beta, wanted.beta, atol=1e-5)
    np.testing.assert_allclose(R @ found.vcov() @ R.T, wanted.vcov(), atol=1e-5)
    np.testing.assert_allclose(found.fitted, wanted.fitted, atol=1e-5)


NESTED_FIXED = ["1", "x", "x + z", "x * z", "x * z + f"]
NESTED_RANDOM = [
    "x",
    "x + (1 | g)",
    "x + (1 + x || g)",
    "x + (1 + x | g)",
    "x + (1 + x | g) + (1 | h)",
    "x + (1 + x | g) + (1 | g:m) + (1 | h)",
    "x + (1 + x + z | g) + (1 | g:m) + (1 | h)",
]


@pytest.mark.landing
@settings(max_examples=4, derandomize=True)
@given(seed=seeds)
def test_a_larger_model_never_fits_worse(seed):
    data = simulated(seed=seed)
    for random in ("(1 | g)", "(1 + x | g) + (1 | h)"):
        ml = [mm.lmm(f"y ~ {x} + {random}", data, reml=False).objective for x in NESTED_FIXED]
        assert (np.diff(ml) <= 1e-8).all()
    for reml in (True, False):
        fits = [mm.lmm(f"y ~ {right}", data, reml=reml).objective for right in NESTED_RANDOM]
        assert (np.diff(fits) <= 1e-8).all()
