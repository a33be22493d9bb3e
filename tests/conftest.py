"""Settings of the property tests, and the fits that many tests look at."""

import os

import pytest
from hypothesis import settings

import mmlib as mm

# A busy machine must not fail a test; in CI the same examples are drawn in every run.
settings.register_profile("mmlib", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("mmlib")


@pytest.fixture(scope="session")
def pulp_fit():
    """The lecture's first model, by REML."""
    return mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))


@pytest.fixture(scope="session")
def penicillin_fit():
    """Treatments in blocks, by REML."""
    return mm.lmm("yield ~ treat + (1 | blend)", mm.load_dataset("penicillin"))


@pytest.fixture(scope="session")
def sleep_fit():
    """Correlated intercepts and slopes, by REML."""
    return mm.lmm("Reaction ~ Days + (Days | Subject)", mm.load_dataset("sleepstudy"))


@pytest.fixture(scope="session")
def pulp_pair():
    """Without and with operators, by maximum likelihood."""
    return pair("pulp", "bright ~ 1", "bright ~ 1 + (1 | operator)")


@pytest.fixture(scope="session")
def penicillin_pair():
    """Without and with treatments, by maximum likelihood."""
    return pair("penicillin", "yield ~ 1 + (1 | blend)", "yield ~ treat + (1 | blend)")


def pair(dataset, small, large):
    data = mm.load_dataset(dataset)
    return tuple(mm.lmm(formula, data, reml=False) for formula in (small, large))
