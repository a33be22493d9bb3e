"""Fits that several tests of inference share."""

import pytest

import mmlib as mm


@pytest.fixture(scope="module")
def no_batches():
    """Dyestuff with the batches' means made equal: the variance between them is estimated as 0."""
    data = mm.load_dataset("dyestuff")
    means = data.groupby("Batch", observed=True)["Yield"].transform("mean")
    return data.assign(Yield=data["Yield"] - means + data["Yield"].mean())
