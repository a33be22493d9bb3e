"""Every figure is closed when its test ends."""

import matplotlib.pyplot as plt
import pytest

import mmlib as mm


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="session")
def pulp_profile(pulp_fit):
    return mm.profile(pulp_fit)
