"""Moment estimates: REML in balanced designs, and sums that have the expectations they claim."""

from __future__ import annotations

import numpy as np
import pytest

import mmlib as mm
from mmlib.engine.blocks import Blocks
from mmlib.engine.moments import LARGEST, SMALLEST
from mmlib.engine.optimize import minimize_objective
from tests.helpers.oracle import load_case
from tests.helpers.structures import STRUCTURES, simulated

BALANCED = [
    "pulp_ri",
    "penicillin_rcbd",
    "dyestuff",
    "sleep_corr",
    "penicillin_crossed",
    "machines_slopes",
]
UNBALANCED = [name for name, structure in STRUCTURES.items() if "|" in structure.formula]


def start_theta(blocks: Blocks) -> np.ndarray:
    """The start as relative covariances of the model's own columns, entry by entry."""
    templates = blocks.moment_templates()
    covariances = [
        g.basis @ lam @ lam.T @ g.basis.T
        for g, lam in zip(blocks.groupings, templates, strict=True)
    ]
    return np.concatenate([covariance.ravel() for covariance in covariances])


def fitted(blocks: Blocks, theta: np.ndarray) -> np.ndarray:
    lams = [g.template(theta) for g in blocks.groupings]
    return np.concatenate([(lam @ lam.T).ravel() for lam in lams])


@pytest.mark.parametrize("case_id", BALANCED)
def test_in_balanced_designs_the_start_is_the_reml_estimate(case_id: str) -> None:
    case = load_case(case_id)
    blocks = Blocks(mm.build_design(case.formula, case.data))
    log = minimize_objective(mm.Objective(blocks))
    np.testing.assert_allclose(start_theta(blocks), fitted(blocks, log.theta), rtol=1e-6, atol=1e-8)
    assert log.evaluations <= 2 * len(log.theta) + 4


@pytest.mark.parametrize("name", UNBALANCED)
def test_the_equations_give_back_the_expected_sums(name: str) -> None:
    """E(rrᵀ) = M V M, summed as the module does, by dense algebra; solved, it gives Σ and σ²."""
    design = STRUCTURES[name].on(simulated())
    blocks = Blocks(design)
    rng = np.random.default_rng(3)
    covariances = [
        root @ root.T + 0.2 * np.eye(len(root))
        for root in (rng.normal(size=(g.width, g.width)) for g in blocks.groupings)
    ]
    w = np.ones(design.n) if design.weights is None else design.weights
    Z = [
        np.sqrt(w)[:, None]
        * np.hstack(
            [
                (g.codes == level)[:, None] * (g.model_matrix @ g.basis)
                for level in range(g.n_levels)
            ]
        )
        for g in blocks.groupings
    ]
    V = np.eye(design.n) + sum(
        z @ np.kron(np.eye(g.n_levels), covariance) @ z.T
        for z, g, covariance in zip(Z, blocks.groupings, covariances, strict=True)
    )
    X = np.sqrt(w)[:, None] * design.X
    M = np.eye(design.n) - X @ np.linalg.pinv(X)
    moments = M @ V @ M

    equations = blocks._moment_equations
    sums = []
    for z, g, weights, triangle in zip(
        Z, blocks.groupings, equations._weights, equations._triangles, strict=True
    ):
        second = (z.T @ moments @ z).reshape((g.n_levels, g.width) * 2)
        blocks_of = np.einsum("isit->ist", second)
        sums.append((weights * blocks_of).sum(axis=0)[triangle])
    solution = equations._inverse @ np.concatenate([*sums, [np.trace(moments)]])
    wanted = [c[t] for c, t in zip(covariances, equations._triangles, strict=True)]
    np.testing.assert_allclose(solution, np.concatenate([*wanted, [1.0]]), rtol=1e-7, atol=1e-8)


def test_a_start_never_lies_on_the_boundary() -> None:
    """A negative moment estimate is drawn up, one without end is drawn down."""
    data = simulated()
    alternating = data.assign(y=data.groupby("g").cumcount() % 2 + 1e-3 * data["x"])
    levels = data.assign(y=data["g"].map(ord) + 1e-6 * data["x"])
    for frame, bound in ((alternating, SMALLEST), (levels, LARGEST)):
        (template,) = Blocks(mm.build_design("y ~ 1 + (1 | g)", frame)).moment_templates()
        assert template[0, 0] == pytest.approx(bound)


def test_equations_serve_every_response() -> None:
    data = mm.load_dataset("sleepstudy")
    blocks = Blocks(mm.build_design("Reaction ~ Days + (Days | Subject)", data))
    y = 500 - 2 * data["Reaction"].to_numpy()
    again = Blocks(mm.build_design("y ~ Days + (Days | Subject)", data.assign(y=y)))
    for found, wanted in zip(
        blocks.with_response(y).moment_templates(), again.moment_templates(), strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-9)
