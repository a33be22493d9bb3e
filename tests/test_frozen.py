"""Nothing that is done to what a result gives out changes the result, or a copy of it."""

import copy
import dataclasses
import functools
import inspect
import pickle
import warnings
from collections.abc import Mapping
from contextlib import suppress

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import mmlib as mm
from mmlib.frozen import Frozen, gives_copies
from tests.helpers.structures import simulated

FORMULA = "y ~ x + (1 | g) + (1 | h)"


@functools.cache
def data():
    return simulated(n=120)


@functools.cache
def fit(*, reml=True):
    rows = np.arange(len(data()))
    return mm.lmm(FORMULA, data(), reml=reml, weights=1 + rows % 3, offset=rows / 10)


@functools.cache
def pulp(formula, *, reml=True):
    return mm.lmm(formula, mm.load_dataset("pulp").iloc[1:], reml=reml)


@functools.cache
def oats():
    return mm.lmm("yield ~ Variety + nitro + (1 | Block)", mm.load_dataset("oats"))


def sigma(refit):
    return {"sigma": refit.sigma, "β": refit.beta[0]}


RESULTS = {
    "a fit": fit,
    "its variances": lambda: fit().varcorr(),
    "influence of rows": lambda: fit().influence(),
    "influence of groups": lambda: fit().influence(group="g"),
    "anova": lambda: mm.anova(fit()),
    "Kenward–Roger": lambda: mm.kenward_roger(fit(), "x"),
    "Satterthwaite": lambda: mm.satterthwaite(fit(), "x"),
    "LRT": lambda: mm.lrt(pulp("bright ~ 1"), pulp("bright ~ 1 + (1 | operator)")),
    "bootstrap test": lambda: mm.parametric_bootstrap(
        pulp("bright ~ 1"), pulp("bright ~ 1 + (1 | operator)"), nsim=20, rng=1
    ),
    "bootstrap": lambda: mm.bootstrap(fit(), sigma, nsim=10, rng=1),
    "exact test": lambda: mm.exact_rlrt(pulp("bright ~ 1 + (1 | operator)"), nsim=100, rng=1),
    "profile": lambda: mm.profile(pulp("bright ~ 1 + (1 | operator)")),
    "joint profile": lambda: mm.joint_profile(
        pulp("bright ~ 1 + (1 | operator)"), "sigma", "Intercept", n=3
    ),
    "one-way layout": lambda: mm.oneway("bright ~ operator", mm.load_dataset("pulp")),
    "variance components": lambda: made("one-way layout").variance_components(),
    "a data set's description": lambda: mm.dataset_info("pulp"),
}


@functools.cache
def made(name):
    return RESULTS[name]()


ARGUMENTS = {
    "zeta": ("sigma", 0.4),
    "grid": ("sigma",),
    "sd": ("Residual",),
}
"""What methods with required arguments are called with; others of them are left out."""

LEFT_OUT = {
    "simulate": "draws at random",
    "draw": "draws at random",
    "refit": "another fit",
    "slim": "another fit, without much of what others show",
    "fit": "a fit, which is walked by itself",
    "of": "makes a fit",
    "blocks": "workings of the engine, not results",
    "factor": "workings of the engine, not results",
    "effects_covariance": "workings of the engine, not results",
}


def attributes(result):
    """The public attributes of a result, and its methods."""
    names = {*dir(type(result)), *vars(result)} if hasattr(result, "__dict__") else set()
    for name in sorted(names - LEFT_OUT.keys()):
        if not name.startswith("_"):
            yield name, getattr(result, name)


def looks(result):
    """All that a result shows: its public attributes, and what its methods return."""
    for name, value in attributes(result):
        if not callable(value):
            yield name, value
            continue
        given = ARGUMENTS.get(name, ())
        required = [
            parameter
            for parameter in inspect.signature(value).parameters.values()
            if parameter.default is parameter.empty and parameter.kind < parameter.VAR_POSITIONAL
        ]
        if len(required) == len(given):
            yield name, value(*given)


def is_result(value):
    return isinstance(value, Frozen) or type(value).__module__.startswith("mmlib.")


@functools.singledispatch
def spoil(value):
    """Write into whatever can be written to."""
    if is_result(value):
        for _, each in looks(value):
            spoil(each)


@spoil.register
def _(value: np.ndarray):
    with suppress(ValueError, TypeError):  # read-only, or text
        value[...] = 0


@spoil.register
def _(value: pd.Index):
    value.name = "spoilt"


@spoil.register
def _(value: pd.Series):
    value.iloc[:] = value.iloc[-1]
    spoil(value.to_numpy())
    spoil(np.asarray(value.values))
    value.name = value.index.name = "spoilt"


@spoil.register
def _(value: pd.DataFrame):
    with warnings.catch_warnings():  # pandas 2 warns of what is tried here
        warnings.simplefilter("ignore")
        for number in range(value.shape[1]):
            spoil(value.iloc[:, number])
    spoil(value.values)
    value.columns.name = value.index.name = "spoilt"
    value.insert(0, "another", 0)


@spoil.register(list)
@spoil.register(tuple)
def _(value):
    for each in value:
        spoil(each)
    if isinstance(value, list):
        value.clear()


@spoil.register
def _(value: Mapping):
    for each in value.values():
        spoil(each)
    if isinstance(value, dict):
        value.clear()


def picture(value):
    """All that a value shows; results as what each of their attributes and methods gives."""
    if is_result(value):
        return {name: picture(each) for name, each in looks(value)}
    if isinstance(value, Mapping):
        return {key: picture(each) for key, each in value.items()}
    return [picture(each) for each in value] if isinstance(value, list | tuple) else value


def agree(one, other):
    if isinstance(one, np.ndarray):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    elif isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other)
    elif isinstance(one, pd.Series):
        pd.testing.assert_series_equal(one, other)
    elif isinstance(one, Mapping):
        assert [*map(str, one)] == [*map(str, other)]
        agree(list(one.values()), list(other.values()))
    elif isinstance(one, list | tuple):
        for each, its_other in zip(one, other, strict=True):
            agree(each, its_other)
    else:
        assert repr(one) == repr(other)


@functools.cache
def reference(name):
    return picture(pickle.loads(pickle.dumps(made(name))))


COPIES = {
    "itself": lambda result: result,
    "copied": copy.copy,
    "deeply copied": copy.deepcopy,
    "unpickled": lambda result: pickle.loads(pickle.dumps(result)),
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("name", RESULTS)
def test_writing_into_what_a_result_gives_changes_nothing(name, how):
    result = made(name)
    copied = COPIES[how](result)
    spoil(copied)
    for each in {id(result): result, id(copied): copied}.values():
        agree(picture(each), reference(name))


TABLES = {
    "adjusted covariance": lambda: mm.adjusted_vcov(fit()),
    "coefficients": lambda: fit().coef_table(ddf="kenward-roger"),
    "predictions": lambda: fit().predict(interval="prediction"),
    "new predictions": lambda: pulp("bright ~ 1 + (1 | operator)").predict(
        mm.load_dataset("pulp").head(3), interval="confidence"
    ),
    "marginal residuals": lambda: fit().residuals("marginal", scaled="standardized"),
    "replicates": lambda: made("bootstrap").confint("basic"),
    "intervals": lambda: made("profile").grid("sigma", n=3),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_that_functions_give_are_the_callers_own(name):
    expected = copy.deepcopy(TABLES[name]())
    spoil(TABLES[name]())
    agree(TABLES[name](), expected)


def test_labels_and_functions_of_means_cannot_be_written_to():
    means = mm.emmeans(oats(), "Variety")
    for each in (means, copy.deepcopy(means), pickle.loads(pickle.dumps(means))):
        for labelled in (each, each.contrasts("pairwise"), each.joint_test()):
            expected = str(labelled.summary())
            spoil(labelled.labels)
            assert str(labelled.summary()) == expected
        with pytest.raises(ValueError, match="read-only"):
            each.L[...] = 0


def workings():
    """What computes, and stays at the values that it was made with."""
    parts = [data().iloc[:60], data().iloc[60:]]
    for each in (fit(), fit().slim(), mm.lmm(FORMULA, parts)):
        yield from (each.blocks, each.optimum.factor, each.effects_covariance)
        yield mm.Objective(each.blocks)
        yield from (each.blocks.plan, each.blocks.cross, *each.blocks.groupings)
        yield each.blocks.whiten
    yield fit().blocks._moment_equations
    yield fit().blocks.with_response(data()["y"].to_numpy() + 1.0)


def inside(value):
    """The arrays in a value, and that it has no list or dict that could be written to."""
    assert not isinstance(value, list | dict)
    if isinstance(value, np.ndarray):
        yield value
    elif sparse.issparse(value):
        yield from (value.data, value.indices, value.indptr)
    elif isinstance(value, tuple | Mapping):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from inside(each)
    elif dataclasses.is_dataclass(value) and not isinstance(value, Frozen):
        for each in vars(value).values():
            yield from inside(each)


@pytest.mark.parametrize("how", COPIES)
def test_the_workings_of_a_fit_are_read_only_too(how):
    for each in workings():
        copied = COPIES[how](each)
        computed_later = {
            name
            for name in vars(copied)
            if isinstance(getattr(type(copied), name, None), functools.cached_property)
        }
        for name in vars(copied).keys() - computed_later:
            for array in inside(vars(copied)[name]):
                assert not array.flags.writeable, (type(copied), name)


@pytest.mark.parametrize("how", COPIES)
def test_no_attribute_of_the_workings_can_be_set(how):
    for each in workings():
        copied = COPIES[how](each)
        for attribute in [*vars(copied), "something_new"]:
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(copied, attribute, None)


def arrays_in(result, path=""):
    """Every array that is an attribute, or stands in one, with where it was found."""
    for name, value in attributes(result):
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, np.ndarray):
                yield f"{path}.{name}", each
            elif is_result(each):
                yield from arrays_in(each, f"{path}.{name}")


FRESH = {"row_weights", "root_weights", "sd", "correlation"}
"""Computed each time they are asked for: nobody else sees them."""


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("name", RESULTS)
def test_arrays_that_a_result_holds_are_read_only(name, how):
    for path, array in arrays_in(COPIES[how](made(name))):
        if path.rsplit(".")[-1] not in FRESH:
            assert not array.flags.writeable, path
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0


def test_the_walk_meets_the_arrays_of_a_design():
    found = {path for path, _ in arrays_in(fit())}
    for name in ("y", "X", "weights", "offset", "terms.codes", "terms.model_matrix"):
        assert f".design.{name}" in found
    assert {".theta", ".beta", ".population_mean", ".optimum.theta"} <= found


@pytest.mark.parametrize("name", RESULTS)
def test_no_attribute_can_be_set(name):
    result = made(name)
    for attribute in [*vars(result), "something_new"]:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(result, attribute, None)


def test_a_hypothesis_stays_one_where_a_part_is_replaced():
    L = np.eye(2)
    hypothesis = mm.hypothesis_matrix(fit(), L)._replace(L=L, rhs=L[0])
    for each in (hypothesis, *(again(hypothesis) for again in COPIES.values())):
        assert type(each) is mm.Hypothesis
        for array in (each.L, each.rhs):
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0
    L[...] = 7
    assert hypothesis.L[0, 1] == 0


def test_the_callers_arrays_stay_the_callers():
    given = {name: np.linspace(1, 2, 120) for name in ("weights", "offset")}
    given["y"] = data()["y"].to_numpy(copy=True) ** 2
    made = mm.lmm(FORMULA, data(), weights=given["weights"], offset=given["offset"])
    again = made.refit(given["y"])
    before = made.design.weights.sum(), made.design.offset.sum(), again.design.y.sum()
    for array in given.values():
        array[:] = 7  # they have not become read-only
    after = made.design.weights.sum(), made.design.offset.sum(), again.design.y.sum()
    assert after == before
    frame = data().copy()
    made = mm.lmm(FORMULA, frame)
    before = made.design.y.sum(), made.design.frame["x"].sum()
    frame.loc[:, "y"] = 0.0
    frame.loc[:, "x"] = 0.0
    assert (made.design.y.sum(), made.design.frame["x"].sum()) == before


def test_a_pickle_holds_little_more_than_the_data():
    n = 20_000
    rng = np.random.default_rng(1)
    g, h = rng.integers(0, 1000, n), rng.integers(0, 50, n)
    frame = pd.DataFrame({"y": rng.normal(size=n) + g % 7, "x": rng.normal(size=n), "g": g, "h": h})
    made = mm.lmm("y ~ x + (x | g) + (1 | h)", frame)
    _ = made.fitted, made.design.terms[0].Z, made.effects_covariance
    pickled = pickle.dumps(made)
    assert len(pickled) < 3.5 * frame.memory_usage(index=False).sum()
    again = pickle.loads(pickled)
    assert again.objective == made.objective
    pd.testing.assert_series_equal(again.fitted, made.fitted)
    pd.testing.assert_frame_equal(again.vcov(), made.vcov())


@gives_copies("table")
@dataclasses.dataclass(frozen=True, eq=False)
class Example(Frozen):
    array: np.ndarray
    numbers: dict
    table: pd.DataFrame

    @functools.cached_property
    def total(self):
        return self.array.sum()


def test_a_frozen_class_takes_copies_and_pickles_what_is_not_cached():
    array, numbers = np.ones(3), {"one": np.ones(1)}
    example = Example(array, numbers, pd.DataFrame({"a": [1.0]}))
    array[0] = numbers["one"][0] = 5
    assert example.total == 3
    assert example.numbers["one"] == 1
    with pytest.raises(TypeError):
        example.numbers["two"] = 2
    table = example.table
    table.loc[0, "a"] = 9
    assert example.table.loc[0, "a"] == 1
    for again in (pickle.loads(pickle.dumps(example)), copy.deepcopy(example), copy.copy(example)):
        assert "total" not in vars(again)
        assert again.total == 3
        with pytest.raises(ValueError, match="read-only"):
            again.array[0] = 1
        with pytest.raises(TypeError):
            again.numbers["two"] = 2
    assert copy.copy(example).array is example.array
    kept = dataclasses.replace(example, numbers={})
    assert kept.array is example.array
