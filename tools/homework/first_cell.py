"""What the first cells of every notebook hold: installing what is missing, and marking answers.

A student has the notebook and nothing else of this project, so `install` and `marking` stand in the
notebook itself, each with the imports that `source` puts before it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import inspect
import linecache
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import numpy as np

_IMPORTS = re.findall(r"(?m)^(?:import|from) .*$", Path(__file__).read_text(encoding="utf-8"))


def install(wheel: str, *packages: str) -> None:
    """Install what this notebook needs and this Python lacks; where all is there, do nothing."""
    address, mark, checksum = wheel.partition("#")
    name = address.rpartition("/")[2]
    sources = {"mmlib": wheel, **{package: package for package in packages}}
    missing = [module for module in sources if importlib.util.find_spec(module) is None]
    if "mmlib" in missing:
        if Path(name).is_file():
            sources["mmlib"] = Path(name).resolve().as_uri() + mark + checksum
        elif "://" not in address:
            raise ModuleNotFoundError(
                f"mmlib is not installed. Put {name}, which lies beside this notebook where you"
                " downloaded it, into the folder of the notebook, and run this cell again."
            )
    elif (found := importlib.metadata.version("mmlib")) != (wanted := name.split("-")[1]):
        print(f"mmlib {found} is installed; this notebook was written for {wanted}.")
    if missing:
        print(f"Installing {', '.join(missing)} for {sys.executable} ...", flush=True)
        command = [sys.executable, "-m", "pip", "install", *(sources[one] for one in missing)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"pip could not install it:\n{done.stdout}{done.stderr}")
        importlib.invalidate_caches()
        print("Done.")


class marking:
    """Run the tests of an answer, and say what came of them without stopping the notebook.

    Where nbgrader grades, they do fail. `needs` names what the tests use of the cells above, and
    each answer comes with its kind: `with marking("1.2", needs="y", se="number"): assert se > 0`.
    """

    def __init__(self, exercise: str, needs: str = "", **answers: str) -> None:
        self.title = f"Exercise {exercise}, {', '.join(answers)}"
        self.needs = needs.split()
        self.answers = answers
        self.names = sys._getframe(1).f_globals

    def __enter__(self) -> None:
        self.quiet = warnings.catch_warnings()
        self.quiet.__enter__()
        warnings.simplefilter("ignore")

    def __exit__(
        self, kind: object, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.quiet.__exit__(None, None, None)
        if error is not None and not isinstance(error, Exception):
            return False  # the student has stopped it
        problem = self.absent() or self.unfit() or self.explain(error, trace)
        if problem and "NBGRADER_EXECUTION" in os.environ:
            raise AssertionError(problem) from None
        print(f"✗ {self.title}: {problem}" if problem else f"✓ {self.title}")
        return True

    def absent(self) -> str:
        """Name what is not there: what the test needs of the chapter, then the answer."""
        if above := [name for name in self.needs if name not in self.names]:
            return f"Run the cells above first. Not defined: {', '.join(above)}."
        if own := [name for name in self.answers if name not in self.names]:
            return f"Not defined yet: {', '.join(own)}."
        return ""

    def unfit(self) -> str:
        """Tell which answer is not the kind of thing that is asked for."""
        for name, kind in self.answers.items():
            value = self.names[name]
            word, _, shape = kind.partition(" ")
            article = "an" if kind[:1] == "a" else "a"
            if value is None:
                return f"{name} is None. Does a function print its result instead of returning it?"
            if not self.fits(value, word):
                hint = " Did you forget .fit()?" if word == "fit" and hasattr(value, "fit") else ""
                found = type(value).__name__
                return f"{name} should be {article} {kind}, and is of type {found}.{hint}"
            found = " x ".join(map(str, np.shape(value)))
            if shape and found != shape:
                return f"{name} should have the shape {shape}; it has {found or 'a single value'}."
        return ""

    @staticmethod
    def fits(value: object, kind: str) -> bool:
        """Tell whether a value is of a kind."""
        match kind:
            case "function":
                return callable(value)
            case "number" | "array":
                try:
                    numbers = np.asarray(value, dtype=float)
                except (TypeError, ValueError):
                    return False
                is_text = np.asarray(value).dtype.kind in "US"
                return not is_text and (numbers.ndim == 0) == (kind == "number")
            case "table":
                return hasattr(value, "columns") or hasattr(value, "to_frame")
            case "test":
                return hasattr(value, "statistic")
            case "dictionary":
                return hasattr(value, "keys")
            case "fit":
                return hasattr(value, "resid")
            case "tuple":
                return isinstance(value, tuple | list | np.ndarray)
        return True

    def explain(self, error: Exception | None, trace: TracebackType | None) -> str:
        """Say what a failed test means."""
        if error is None or isinstance(error, AssertionError):
            return str(error or "")
        if isinstance(error, NameError):
            return f"Run the cells above first: {error}."
        if "NoneType" in str(error):
            return (
                f"your answer gives None where a value is needed ({error})."
                " Does a function print its result instead of returning it?"
            )
        code, line = (trace.tb_frame.f_code, trace.tb_lineno) if trace else (None, 0)
        tried = linecache.getline(code.co_filename, line).strip() if code else ""
        place = f" in “{tried}”" if tried else ""
        return f"the test could not use your answer{place}. {type(error).__name__}: {error}"


def source(thing: Callable[..., object]) -> str:
    """Return the code of `install` or `marking`, ready to stand in a cell of its own."""
    code = inspect.getsource(thing)
    imports = [line for line in _IMPORTS if re.search(rf"\b{line.split()[-1]}\b", code)]
    return "\n".join([*imports, "\n", code.rstrip()])
