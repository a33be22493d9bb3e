"""Fit a model: the θ that minimises its objective, and how it was found."""

from __future__ import annotations

from mmlib.engine.blocks import Blocks
from mmlib.engine.objective import Objective
from mmlib.engine.optimize import Optimum, minimize_objective
from mmlib.engine.progress import Progress, watching
from mmlib.errors import ConvergenceWarning, warn


def fit_model(blocks: Blocks, *, reml: bool, progress: Progress = False) -> Optimum:
    """Fit the model of these cross-products by REML or maximum likelihood.

    Warns
    -----
    ConvergenceWarning
        If the search ended before it reached a minimum.
    """
    objective = Objective(blocks, reml=reml)
    with watching(progress, "evaluation") as watch:
        optimum = minimize_objective(objective, watch=watch)
    if not optimum.converged:
        warn(
            f"the fit of {blocks.design.formula} has not converged: {optimum.shortfall}.",
            ConvergenceWarning,
        )
    return optimum
