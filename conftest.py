"""Settings for every test: which are run, how nbval runs the chapters, what is the same output."""

import gc
import os
from typing import Any

# Workers and kernels share the processors: a second thread of BLAS only waits for its turn there,
# and where mmlib is not what limits it, 48 rows took twenty times as long.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from hypothesis import find, strategies
from nbval.kernel import RunningKernel
from nbval.plugin import IPyNbCell

# Before pytest imports a single module of it, which it would then set as an attribute of the
# package: over the function `mmlib.oneway`, for instance.
import mmlib  # noqa: F401
from tools.book.tolerance import without_noise

_compare_exactly = IPyNbCell.compare_outputs


def _compare(cell: IPyNbCell, outputs: list[Any], reference: list[Any], skip: Any = None) -> bool:
    """Compare exactly once rounding noise is out; LaTeX, which nbval skips, is compared too."""
    skipped = skip or tuple(key for key in cell.parent.skip_compare if key != "text/latex")
    return bool(_compare_exactly(cell, without_noise(outputs, reference), reference, skipped))


def _execute(kernel: RunningKernel, code: str, allow_stdin: bool | None = None) -> str:
    """Run a cell as a notebook does: with a history, without which a final `;` does not count."""
    return str(kernel.kc.execute(code, allow_stdin=allow_stdin, stop_on_error=False))


IPyNbCell.compare_outputs = _compare
RunningKernel.execute_cell_input = _execute


_LANDING = {"browser", "landing", "site"}
_HINT = "left out: what must hold when a change lands; `make test ARGS=--all` runs it, and CI does"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let all tests be asked for, as CI does."""
    in_ci = os.environ.get("CI") == "true"
    parser.addoption("--all", action="store_true", default=in_ci, help="leave no test out")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: while a kernel or a browser works, its worker waits."""
    return min(os.cpu_count() or 1, 8) + 1


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes long, or begin with it if all is asked for."""
    long = [i for i in items if any(mark.name in _LANDING for mark in i.iter_markers())]
    others = [item for item in items if item not in set(long)]
    if config.option.all:
        items[:] = long + others
    else:
        config.hook.pytest_deselected(items=long)
        items[:] = others


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say what was not run, and how it is."""
    if not config.option.all:
        terminalreporter.write_line(_HINT)


def pytest_collection_finish() -> None:
    """Leave what was collected, which is much and stays, out of every search for garbage.

    Hypothesis makes its random numbers at the first use, and older versions look for who refers to
    them among what is not frozen: so it is used before.
    """
    find(strategies.none(), lambda _: True)
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Let hypothesis, which may be imported for the summary only, see all that there is."""
    gc.unfreeze()
