"""Many tests at once give what one test after the other gives."""

import numpy as np
import pytest

import mmlib as mm
from mmlib.inference.kenward_roger_many import ManyKenwardRoger, suits
from mmlib.inference.refits import Refitter, refitted
from tests.helpers.structures import STRUCTURES, simulated

CASES = {
    "scalar": ["x", "x = 1"],
    "slope alone": ["x"],
    "vector": [["x", "Intercept"]],
    "factor effects": ["f"],
    "uncorrelated": ["x"],
    "two terms on a factor": ["x"],
    "weights": ["x"],
}


@pytest.mark.parametrize(("name", "L"), [(n, L) for n, each in CASES.items() for L in each])
def test_they_are_the_single_tests(name, L):
    structure = STRUCTURES[name]
    fit = mm.lmm(structure.formula, simulated(), weights=structure.weights, offset=structure.offset)
    responses = fit.simulate(30, rng=1)
    fits = Refitter(fit)(responses)
    tested = mm.hypothesis_matrix(fit, L)
    together = ManyKenwardRoger(fit.blocks, tested)(responses, fits.theta)
    singly = [
        mm.kenward_roger(refitted(fit, y, fits, row), tested).pvalue
        for row, y in enumerate(responses)
    ]
    np.testing.assert_allclose(together, singly, rtol=1e-7)


def test_a_boundary_and_an_offset_are_no_exceptions():
    data = simulated()
    fit = mm.lmm("y ~ x * f + (1 + x | g)", data, weights="w", offset="shift")
    responses = fit.simulate(50, rng=1, sd={"g": [0.1, 0.1]})
    fits = Refitter(fit)(responses)
    assert (fits.theta[:, 2] == 0).any()
    tested = mm.hypothesis_matrix(fit, "x:f")
    singly = [
        mm.kenward_roger(refitted(fit, y, fits, row), tested).pvalue
        for row, y in enumerate(responses)
    ]
    together = ManyKenwardRoger(fit.blocks, tested)(responses, fits.theta)
    np.testing.assert_allclose(together, singly, rtol=1e-6)


def test_designs_with_several_groupings_do_not_suit():
    assert not suits(mm.lmm("y ~ x + (1 | g) + (1 | h)", simulated()).blocks)
    assert not suits(mm.lmm("y ~ x", simulated()).blocks)
