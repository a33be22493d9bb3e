"""Results at any θ, with no optimiser in the way."""

from types import SimpleNamespace

from mmlib.engine.blocks import Blocks
from mmlib.engine.factor import factorize
from mmlib.model import LMMResult
from tests.helpers.structures import STRUCTURES, thetas


def result_at(design, theta, *, reml=True):
    """Return the result that a fit of this design would be if its minimum were at θ."""
    factor = factorize(Blocks(design), theta)
    optimum = SimpleNamespace(theta=theta, factor=factor, converged=True)
    return LMMResult(reml=reml, optimum=optimum)


def at_point(name, kind):
    """Return the result of one of the structures at one kind of θ."""
    return result_at(STRUCTURES[name].design(), thetas(STRUCTURES[name])[kind])
