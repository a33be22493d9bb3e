"""Results at any θ, with no optimiser in the way."""

from types import SimpleNamespace

from mmlib.blocks import Blocks
from mmlib.model import LMMResult
from tests.structures import STRUCTURES, thetas


def result_at(design, theta, *, reml=True):
    """Return the result that a fit of this design would be if its minimum were at θ."""
    blocks = Blocks(design)
    log = SimpleNamespace(theta=theta, factor=blocks.factorize(theta), converged=True)
    return LMMResult(design=design, blocks=blocks, reml=reml, log=log)


def at_point(name, kind):
    """Return the result of one of the structures at one kind of θ."""
    return result_at(STRUCTURES[name].design(), thetas(STRUCTURES[name])[kind])
