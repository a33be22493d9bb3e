"""Run the code that the book prints for other Python packages, and store the answers.

    python tests/oracle/python_tabs.py NAME ...

The code is in `tabs/NAME.py`. `NAME.txt` gets it, with what each statement prints or gives below,
behind "#> ". It is run by the Python of `tabs/.venv`; `python -m tools.book.tabs --run NAME` makes
that and calls this. `versions-python.txt` says which versions gave the answers, and when.
"""

import ast
import contextlib
import datetime
import io
import os
import platform
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

TABS = Path(__file__).parent / "tabs"


def answer(code: str) -> str:
    """Return code with what its statements give."""
    lines, last, told, names = code.splitlines(), 0, [], {}
    for statement in ast.parse(code).body:
        end = statement.end_lineno
        told += lines[last:end]
        last = end
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            if isinstance(statement, ast.Expr):
                value = eval(compile(ast.Expression(statement.value), "tab", "eval"), names)  # noqa: S307
                if value is not None:
                    print(value)
            else:
                exec(compile(ast.Module([statement], []), "tab", "exec"), names)
        told += [f"#> {line}".rstrip() for line in output.getvalue().splitlines() if line.strip()]
    return "\n".join([*told, ""])


def main(names: list[str]) -> None:
    """Run the scripts, from the folder of the data."""
    warnings.simplefilter("ignore")
    os.environ["COLUMNS"] = "80"
    os.chdir(TABS.parents[2] / "mmlib" / "data")
    for name in names:
        script = TABS / f"{name}.py"
        script.with_suffix(".txt").write_text(answer(script.read_text(encoding="utf-8")))
    pins = (TABS / "requirements.txt").read_text(encoding="utf-8").splitlines()
    packages = [line.partition("==")[0] for line in pins if "==" in line]
    told = [f"{datetime.date.today()}", f"Python {platform.python_version()}"]
    told += [f"{package} {version(package)}" for package in packages]
    (TABS / "versions-python.txt").write_text("\n".join([*told, ""]))


if __name__ == "__main__":
    main(sys.argv[1:])
