"""A search that tells how far it is, and one that is interrupted."""

import pytest
from threadpoolctl import threadpool_info

import mmlib as mm

PULP = ("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))


def test_a_function_hears_of_every_evaluation():
    heard = []
    fit = mm.lmm(*PULP, progress=lambda count, value: heard.append((count, value)))
    counts = [count for count, _ in heard]
    assert counts == list(range(1, len(counts) + 1))
    assert fit.optimum.evaluations == len(counts) + 1  # the last one is of the estimates
    assert min(value for _, value in heard) == pytest.approx(fit.objective, abs=1e-8)


def test_a_counter_is_shown_on_demand(capsys):
    mm.lmm(*PULP, progress=True)
    assert "evaluation" in capsys.readouterr().err
    mm.lmm(*PULP, progress=False)
    mm.lmm(*PULP)  # stderr is no terminal here
    assert capsys.readouterr().err == ""


def test_the_keyboard_leaves_nothing_half_done():
    def interrupt(*_):
        raise KeyboardInterrupt

    before = [library["num_threads"] for library in threadpool_info()]
    with pytest.raises(KeyboardInterrupt):
        mm.lmm(*PULP, progress=interrupt)
    assert [library["num_threads"] for library in threadpool_info()] == before
    assert mm.lmm(*PULP).converged
