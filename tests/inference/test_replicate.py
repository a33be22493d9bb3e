"""Random streams, executors, interrupts and progress of a bootstrap."""

import multiprocessing
import os
import threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
from scipy import stats

import mmlib as mm
import mmlib.inference.bootstrap as module
from mmlib.inference import refits
from mmlib.inference.bootstrap import bootstrap, parametric_bootstrap
from mmlib.inference.replicate import BootstrapError, BootstrapWarning, normals


def sigma(fit):
    return fit.sigma


def die(fit):
    if multiprocessing.parent_process() is None:
        return fit.sigma
    os._exit(1)


class Refused(Executor):
    """Runs the first tasks at once and breaks down after them."""

    def __init__(self, runs: int) -> None:
        self.runs = runs

    def submit(self, function, /, *args, **kwargs):
        future: Future = Future()
        if self.runs > 0:
            future.set_result(function(*args, **kwargs))
        else:
            future.set_exception(BrokenProcessPool("a worker died"))
        self.runs -= 1
        return future


# ---- streams and executors ------------------------------------------------------------------


def test_each_replicate_has_a_stream_of_its_own():
    seed = np.random.SeedSequence(1)
    everything = normals(seed, range(20_000), 7)
    np.testing.assert_array_equal(normals(seed, range(11, 300), 7), everything[11:300])
    assert stats.kstest(everything.ravel(), "norm").pvalue > 0.001
    neighbours = np.corrcoef(everything[:-1].ravel(), everything[1:].ravel())[0, 1]
    assert abs(neighbours) < 4 / np.sqrt(everything.size)
    others = normals(np.random.SeedSequence(2), range(20_000), 7)
    assert abs(np.corrcoef(everything.ravel(), others.ravel())[0, 1]) < 4 / np.sqrt(others.size)


def test_a_uniform_number_of_zero_is_not_infinite(monkeypatch):
    class Zero:
        def __init__(self, _):
            pass

        def random(self, shape):
            return np.zeros(shape)

    monkeypatch.setattr(np.random, "Generator", Zero)
    assert np.isfinite(normals(np.random.SeedSequence(1), range(2), 3)).all()


def test_any_executor_gives_the_same_numbers(penicillin_pair, sleep_fit, monkeypatch):
    monkeypatch.setattr(refits, "NUMBERS_AT_ONCE", 2000)  # many small chunks
    expected = parametric_bootstrap(*penicillin_pair, nsim=640, rng=1).sample
    replicates = bootstrap(sleep_fit, sigma, nsim=33, rng=1).replicates
    for workers in (1, 3):
        with ThreadPoolExecutor(workers) as pool:
            found = parametric_bootstrap(*penicillin_pair, nsim=640, rng=1, executor=pool)
            again = bootstrap(sleep_fit, sigma, nsim=33, rng=1, executor=pool)
        np.testing.assert_array_equal(found.sample, expected)
        np.testing.assert_array_equal(again.replicates, replicates)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = parametric_bootstrap(*penicillin_pair, nsim=640, rng=1, executor=pool)
        again = bootstrap(sleep_fit, sigma, nsim=33, rng=1, executor=pool)
    np.testing.assert_array_equal(found.sample, expected)
    np.testing.assert_array_equal(again.replicates, replicates)


@pytest.mark.landing
def test_a_dask_cluster_gives_the_same_numbers(penicillin_pair, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(refits, "NUMBERS_AT_ONCE", 2000)
    expected = parametric_bootstrap(*penicillin_pair, nsim=640, rng=1).sample
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        found = parametric_bootstrap(
            *penicillin_pair, nsim=640, rng=1, executor=client.get_executor()
        )
        again = bootstrap(
            penicillin_pair[0], lambda f: f.sigma, nsim=50, rng=1, executor=client.get_executor()
        )
    np.testing.assert_array_equal(found.sample, expected)
    np.testing.assert_array_equal(
        again.replicates, bootstrap(penicillin_pair[0], sigma, nsim=50, rng=1).replicates
    )


def test_the_first_replicates_do_not_depend_on_nsim(sleep_fit):
    few, many = (bootstrap(sleep_fit, sigma, nsim=nsim, rng=2).replicates for nsim in (130, 210))
    np.testing.assert_allclose(many[:130], few, rtol=1e-6)


def test_generators_are_advanced_and_seeds_are_not(pulp_pair):
    rng = np.random.default_rng(3)
    one, two = (parametric_bootstrap(*pulp_pair, nsim=50, rng=rng).sample for _ in range(2))
    assert not np.array_equal(one, two)
    again = parametric_bootstrap(*pulp_pair, nsim=50, rng=3).sample
    np.testing.assert_array_equal(again, one)
    legacy = np.random.Generator(np.random.MT19937(3))
    assert parametric_bootstrap(*pulp_pair, nsim=50, rng=legacy).nsim == 50


def test_more_replicates_can_be_added(pulp_pair, monkeypatch):
    monkeypatch.setattr(refits, "NUMBERS_AT_ONCE", 2000)
    short = parametric_bootstrap(*pulp_pair, nsim=250, rng=4)
    longer = parametric_bootstrap(*pulp_pair, nsim=600, resume=short)
    np.testing.assert_array_equal(
        longer.sample, parametric_bootstrap(*pulp_pair, nsim=600, rng=4).sample
    )
    result = bootstrap(pulp_pair[1], sigma, nsim=130, rng=4)
    more = bootstrap(pulp_pair[1], sigma, nsim=260, resume=result)
    np.testing.assert_array_equal(
        more.replicates, bootstrap(pulp_pair[1], sigma, nsim=260, rng=4).replicates
    )


def test_only_a_run_of_the_same_models_can_be_resumed(pulp_pair, penicillin_pair):
    test, result = (
        parametric_bootstrap(*pulp_pair, nsim=20),
        bootstrap(pulp_pair[1], sigma, nsim=20),
    )
    with pytest.raises(mm.DataError, match="other data"):
        parametric_bootstrap(*penicillin_pair, nsim=40, resume=test)
    with pytest.raises(mm.DataError, match="another fit or statistic"):
        bootstrap(penicillin_pair[1], sigma, nsim=40, resume=result)
    with pytest.raises(mm.DataError, match="another fit or statistic"):
        bootstrap(pulp_pair[1], lambda fit: {"sigma": fit.sigma}, nsim=40, resume=result)
    with pytest.raises(mm.DataError, match="not BootstrapResult"):
        parametric_bootstrap(*pulp_pair, nsim=40, resume=result)


def other(formula="bright ~ 1 + (1 | operator)", *, reml=True, **options):
    return mm.lmm(formula, options.pop("data", mm.load_dataset("pulp")), reml=reml, **options)


OTHERS = {
    "criterion": lambda: other(reml=False),
    "weights": lambda: other(weights=np.append(np.ones(19), 1 + 1e-9)),
    "offset": lambda: other(offset=np.full(20, 1.0)),
    "design": lambda: other("bright ~ operator"),
    "data": lambda: other(data=mm.load_dataset("pulp").assign(bright=lambda d: d["bright"] + 1e-9)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_draws_of_another_fit_are_not_resumed(name):
    def one(_):  # of every fit: only the fits themselves tell them apart
        return 1.0

    result = bootstrap(other(), one, nsim=5, rng=1)
    with pytest.raises(mm.DataError, match="other data, weights or criterion"):
        bootstrap(OTHERS[name](), one, nsim=10, resume=result)
    again = bootstrap(other(), one, nsim=10, resume=result)  # fitted anew, but the same
    assert again.nsim == 10


def test_a_longer_run_keeps_what_is_drawn(pulp_pair):
    short = bootstrap(pulp_pair[1], sigma, nsim=130, rng=4)
    longer = bootstrap(pulp_pair[1], sigma, nsim=260, resume=short)
    assert set(short.draws.parts) < set(longer.draws.parts)
    assert longer.draws.drawn == longer.nsim == 260


def interrupt_after(n: int):
    def progress(done: int, _: int) -> None:
        if done >= n:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("pool", [None, 2], ids=["here", "threads"])
def test_an_interrupt_loses_nothing(pulp_pair, pool, monkeypatch):
    monkeypatch.setattr(refits, "NUMBERS_AT_ONCE", 2000)
    executor = None if pool is None else ThreadPoolExecutor(pool)
    with pytest.warns(BootstrapWarning, match="200 of 1000 replicates were drawn"):
        part = parametric_bootstrap(
            *pulp_pair, nsim=1000, rng=5, executor=executor, progress=interrupt_after(200)
        )
    if executor is not None:
        executor.shutdown()
    assert part.nsim == len(part.sample) == 200
    assert "Stopped early: 1000" in part.notes[1]
    assert part.pvalue == (1 + np.count_nonzero(part.sample >= part.statistic)) / 201
    whole = parametric_bootstrap(*pulp_pair, nsim=1000, resume=part)
    np.testing.assert_array_equal(
        whole.sample, parametric_bootstrap(*pulp_pair, nsim=1000, rng=5).sample
    )
    with pytest.warns(BootstrapWarning, match="100 of 400"):
        part = bootstrap(pulp_pair[1], sigma, nsim=400, rng=5, progress=interrupt_after(100))
    assert part.replicates.shape == (100, 1)
    assert "Stopped early" in str(part)


def test_an_interrupt_before_the_first_replicate_is_an_interrupt(pulp_pair, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "responses_to", interrupted)
    with pytest.raises(KeyboardInterrupt):
        parametric_bootstrap(*pulp_pair, nsim=10)


def test_an_executor_that_dies_leaves_what_was_drawn(pulp_pair, monkeypatch):
    monkeypatch.setattr(refits, "NUMBERS_AT_ONCE", 2000)
    with pytest.raises(BootstrapError, match=r"after 300 of 1000 .*a worker died") as info:
        parametric_bootstrap(*pulp_pair, nsim=1000, rng=6, executor=Refused(3))
    part = info.value.result
    assert len(part.sample) == 300
    whole = parametric_bootstrap(*pulp_pair, nsim=1000, resume=part)
    np.testing.assert_array_equal(
        whole.sample, parametric_bootstrap(*pulp_pair, nsim=1000, rng=6).sample
    )
    with pytest.raises(BootstrapError, match="after 0 of 1000") as info:
        parametric_bootstrap(*pulp_pair, nsim=1000, rng=6, executor=Refused(0))
    assert info.value.result is None


def test_an_executor_that_is_shut_down_midway_leaves_what_was_drawn(pulp_pair, monkeypatch):
    monkeypatch.setattr(refits, "NUMBERS_AT_ONCE", 200)
    pool, calls = ThreadPoolExecutor(1), []
    begun, closed = threading.Event(), threading.Event()
    plain = module.responses_to

    def responses_to(*args):
        calls.append(1)
        if len(calls) > 2:  # the third chunk waits for the end
            begun.set()
            closed.wait(30)
        return plain(*args)

    def close(done: int, _: int) -> None:
        if done == 20:
            assert begun.wait(30)
            pool.shutdown(wait=False, cancel_futures=True)
            closed.set()

    monkeypatch.setattr(module, "responses_to", responses_to)
    with pytest.raises(BootstrapError, match="CancelledError") as info:
        parametric_bootstrap(*pulp_pair, nsim=5000, rng=7, executor=pool, progress=close)
    part = info.value.result
    assert len(part.sample) == 30
    whole = parametric_bootstrap(*pulp_pair, nsim=5000, resume=part)
    np.testing.assert_array_equal(
        whole.sample, parametric_bootstrap(*pulp_pair, nsim=5000, rng=7).sample
    )


def test_a_closed_executor_is_an_error(pulp_pair):
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(BootstrapError, match=r"after 0 of 10 .*shutdown"):
        parametric_bootstrap(*pulp_pair, nsim=10, executor=pool)


def test_processes_that_die_or_cannot_be_reached_are_errors(pulp_pair):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        with pytest.raises(BootstrapError, match=r"picklable: .* a function of a module, not a l"):
            bootstrap(pulp_pair[1], lambda fit: fit.sigma, nsim=10, executor=pool)
        with pytest.raises(BootstrapError, match="BrokenProcessPool"):
            bootstrap(pulp_pair[1], die, nsim=10, executor=pool)


def test_an_error_in_the_engine_keeps_what_was_drawn(pulp_pair, monkeypatch):
    monkeypatch.setattr(refits, "NUMBERS_AT_ONCE", 2000)
    plain, calls = module.responses_to, []

    def fails_later(*args):
        calls.append(1)
        if len(calls) > 2:
            raise MemoryError("too large")
        return plain(*args)

    monkeypatch.setattr(module, "responses_to", fails_later)
    with pytest.raises(BootstrapError, match=r"after 200 of 1000 .*MemoryError") as info:
        parametric_bootstrap(*pulp_pair, nsim=1000)
    assert len(info.value.result.sample) == 200


# ---- progress -------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", [None, 2], ids=["here", "threads"])
def test_a_progress_function_that_fails_loses_nothing(pulp_pair, pool, monkeypatch):
    monkeypatch.setattr(refits, "NUMBERS_AT_ONCE", 2000)

    def fails(done: int, _: int) -> None:
        if done >= 300:
            raise ZeroDivisionError("no disk space")

    executor = None if pool is None else ThreadPoolExecutor(pool)
    with pytest.raises(BootstrapError, match=r"after 300 of 1000 .*no disk space") as info:
        parametric_bootstrap(*pulp_pair, nsim=1000, rng=8, executor=executor, progress=fails)
    if executor is not None:
        executor.shutdown()
    assert isinstance(info.value.__cause__, ZeroDivisionError)
    part = info.value.result
    assert len(part.sample) == 300
    whole = parametric_bootstrap(*pulp_pair, nsim=1000, resume=part)
    np.testing.assert_array_equal(
        whole.sample, parametric_bootstrap(*pulp_pair, nsim=1000, rng=8).sample
    )


def test_nothing_is_printed_unless_asked_for(pulp_pair, capfd):
    parametric_bootstrap(*pulp_pair, nsim=100)
    parametric_bootstrap(*pulp_pair, nsim=100, progress=False)
    captured = capfd.readouterr()
    assert captured.err == captured.out == ""
    parametric_bootstrap(*pulp_pair, nsim=100, progress=True)
    assert "100/100" in capfd.readouterr().err


def test_progress_can_be_a_function(pulp_pair, monkeypatch):
    monkeypatch.setattr(refits, "NUMBERS_AT_ONCE", 2000)
    seen = []
    parametric_bootstrap(
        *pulp_pair, nsim=250, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(100, 250), (200, 250), (250, 250)]
