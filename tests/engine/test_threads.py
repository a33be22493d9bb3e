"""BLAS keeps to one thread while mmlib computes, and gets its threads back afterwards."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import mmlib as mm
from mmlib.engine import threads
from mmlib.engine.factor import Factor
from mmlib.engine.threads import single_threaded
from tests.helpers.structures import simulated


def blas_threads():
    """Return how many threads each BLAS that is loaded would use."""
    np.ones((2, 2)) @ np.ones((2, 2))
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def two_threads():
    with threadpool_limits(2, user_api="blas"):
        if blas_threads() != {2}:
            pytest.skip("this BLAS has no second thread to limit")
        yield


def test_one_thread_inside_and_as_before_outside():
    with single_threaded():
        assert blas_threads() == {1}
        with single_threaded():
            assert blas_threads() == {1}
        assert blas_threads() == {1}
    assert blas_threads() == {2}


def test_threads_come_back_after_an_error():
    with pytest.raises(ZeroDivisionError), single_threaded():
        _ = 1 / 0
    assert blas_threads() == {2}


def test_threads_come_back_when_those_who_limited_them_overlap():
    """The first to come leaves before the last: what the second found is not what to restore."""
    both, first_left = threading.Barrier(2), threading.Event()

    def first():
        with single_threaded():
            both.wait()
        first_left.set()

    def second():
        both.wait()
        with single_threaded():
            assert first_left.wait(10)
            return blas_threads()

    with ThreadPoolExecutor(2) as pool:
        one, two = pool.submit(first), pool.submit(second)
        one.result()
        assert two.result() == {1}
    assert blas_threads() == {2}


def test_threads_come_back_after_fits_in_a_pool():
    data = simulated()
    with ThreadPoolExecutor(8) as pool:
        fits = list(pool.map(lambda _: mm.lmm("y ~ x + (1 | g)", data), range(60)))
    assert len({fit.objective for fit in fits}) == 1
    assert blas_threads() == {2}


def test_fits_refits_and_objectives_use_one_thread(monkeypatch):
    seen = []

    class Watched(Factor):
        def __init__(self, *arguments):
            seen.append(blas_threads())
            super().__init__(*arguments)

    fit = mm.lmm("y ~ x + (1 | g)", simulated())
    monkeypatch.setattr("mmlib.engine.coordinates.Factor", Watched)
    monkeypatch.setattr("mmlib.engine.factor.Factor", Watched)
    mm.lmm("y ~ x + (1 | g)", simulated())
    first = len(seen)
    fit.refit(simulated()["z"])
    after_refit = len(seen)
    objective = mm.Objective(fit.design)
    objective(fit.theta)
    objective.value_and_gradient(fit.theta)
    assert first > 3
    assert after_refit > first + 3
    assert len(seen) == after_refit + 2
    assert all(threads == {1} for threads in seen)
    assert blas_threads() == {2}


@pytest.mark.parametrize(
    ("idle", "order", "wanted"), [(True, threads.LARGE, 2), (False, threads.LARGE, 1), (True, 9, 1)]
)
def test_a_large_matrix_gets_all_threads_on_an_idle_machine(idle, order, wanted, monkeypatch):
    monkeypatch.setattr(threads, "_idle", lambda: idle)
    with single_threaded():
        with threads.threads_for(order):
            assert blas_threads() == {wanted}
        assert blas_threads() == {1}
    assert blas_threads() == {2}


def test_while_others_compute_there_is_one_thread(monkeypatch):
    monkeypatch.setattr(threads, "_idle", lambda: True)
    with single_threaded(), single_threaded(), threads.threads_for(threads.LARGE):
        assert blas_threads() == {1}
