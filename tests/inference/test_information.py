"""What the F tests are computed from, against n×n matrices."""

import gc
import weakref

import numpy as np
import pytest

import mmlib as mm
from mmlib.inference.information import Information, once_per_fit, pseudo_inverse
from tests.helpers.fixed_theta import at_point
from tests.helpers.inference import patterns, relative_covariances
from tests.helpers.structures import STRUCTURES

# Traces and forms of well-conditioned matrices, relative to the largest that could arise.
TOLERANCE = 1e-9

WITH_RANDOM_TERMS = [name for name, each in STRUCTURES.items() if "|" in each.formula]
each_point = pytest.mark.parametrize(
    ("name", "kind"),
    [(name, kind) for name in WITH_RANDOM_TERMS for kind in ("inside", "some zeros", "zero")],
)


class Dense:
    """X in the engine's basis, V, P and the G_r at a point."""

    def __init__(self, name, kind):
        self.point = at_point(name, kind)
        self.design = self.point.design
        rho = relative_covariances(self.design, self.point.theta)
        V = sum(r * G for r, G in zip(rho, patterns(self.design), strict=True))
        self.G = patterns_of_scaled_columns(self.point.blocks)
        R = self.point.blocks.R
        self.X = self.design.X @ np.linalg.inv(R) if self.design.p else self.design.X
        self.V_inverse = np.linalg.inv(V)
        self.Phi = np.linalg.inv(self.X.T @ self.V_inverse @ self.X)
        half = self.V_inverse @ self.X
        self.P = self.V_inverse - half @ self.Phi @ half.T


def patterns_of_scaled_columns(blocks):
    """Return the n×n matrices G_r, in the order of θ, with Z as the engine has it."""
    found = np.empty((blocks.n_entries, blocks.n, blocks.n))
    for grouping in blocks.groupings:
        values = grouping.model_matrix @ grouping.basis
        same_level = grouping.codes[:, None] == grouping.codes
        for place, i, j in zip(grouping.positions, *grouping.triangle, strict=True):
            product = np.outer(values[:, i], values[:, j])
            found[place] = same_level * (product if i == j else product + product.T)
    return found


def close(found, wanted, scale):
    np.testing.assert_allclose(found, wanted, atol=TOLERANCE * max(np.abs(scale).max(), 1e-300))


@pytest.mark.parametrize("kind", ["inside", "some zeros", "zero"])
@pytest.mark.parametrize("name", sorted({*WITH_RANDOM_TERMS} - {"no fixed effect"}))
def test_slopes_of_vcov(name, kind):
    dense = Dense(name, kind)
    known = Information(dense.point)
    half = dense.V_inverse @ dense.X @ dense.Phi
    close(known.Phi, dense.Phi, dense.Phi)
    slopes = np.array([half.T @ G @ half for G in dense.G])
    close(known.vcov_slopes, slopes, slopes)
    products = np.array([[half.T @ G @ dense.P @ H @ half for H in dense.G] for G in dense.G])
    without_projection = np.array([half.T @ G @ dense.V_inverse @ G @ half for G in dense.G])
    close(known.slope_products, (products + products.swapaxes(2, 3)) / 2, without_projection)


@each_point
def test_traces(name, kind):
    dense = Dense(name, kind)
    single, double = Information(dense.point).traces
    products = [dense.P @ G for G in dense.G]
    close(single, [np.trace(product) for product in products], single)
    close(double, [[np.sum(one * two.T) for two in products] for one in products], double)


def test_without_random_terms():
    dense = Dense("no random term", "identity")
    known = Information(dense.point)
    np.testing.assert_allclose(known.Phi, np.eye(dense.design.p), atol=1e-12)
    assert known.vcov_slopes.shape == (0, dense.design.p, dense.design.p)
    assert known.slope_products.shape == (0, 0, dense.design.p, dense.design.p)
    assert [part.shape for part in known.traces] == [(0,), (0, 0)]


def test_the_origin_of_a_random_slope_does_not_matter():
    """Scaled columns of (1, Days) and of (1, year) are the same, and so is all that follows."""
    sleep = mm.load_dataset("sleepstudy").assign(year=lambda d: 2000 + d["Days"])
    one = Information(mm.lmm("Reaction ~ Days + (Days | Subject)", sleep))
    two = Information(mm.lmm("Reaction ~ Days + (year | Subject)", sleep))
    np.testing.assert_allclose(one.Phi, two.Phi, rtol=1e-4, atol=1e-8)
    for traces in zip(one.traces, two.traces, strict=True):
        np.testing.assert_allclose(*traces, rtol=1e-4, atol=1e-4)


def test_pseudo_inverse():
    rng = np.random.default_rng(1)
    root = rng.normal(size=(4, 4)) * [1, 1e6, 1e-6, 10]  # scales do not decide what is flat
    full = root.T @ root
    scale = np.sqrt(np.outer(np.diag(full), np.diag(full)))
    np.testing.assert_allclose(
        pseudo_inverse(full) * scale, np.linalg.inv(full / scale), rtol=1e-9, atol=1e-9
    )
    thin = np.diag([1.0, 0.0, 4.0])
    np.testing.assert_allclose(pseudo_inverse(thin), np.diag([1.0, 0.0, 0.25]))


def test_once_per_fit_remembers_and_forgets():
    calls = []

    @once_per_fit
    def count(fit):
        calls.append(fit.nobs)
        return len(calls)

    fit, other = (mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp")) for _ in range(2))
    assert [count(fit), count(fit), count(other), count(fit)] == [1, 1, 2, 1]
    seen = weakref.ref(fit)
    del fit
    gc.collect()
    assert seen() is None
