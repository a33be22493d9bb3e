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
    data = mm.load_dataset("pulp")
    return (
        mm.lmm("bright ~ 1", data, reml=False),
        mm.lmm("bright ~ 1 + (1 | operator)", data, reml=False),
    )


@pytest.fixture(scope="session")
def penicillin_pair():
    """Without and with treatments, by maximum likelihood."""
    data = mm.load_dataset("penicillin")
    return (
        mm.lmm("yield ~ 1 + (1 | blend)", data, reml=False),
        mm.lmm("yield ~ treat + (1 | blend)", data, reml=False),
    )
