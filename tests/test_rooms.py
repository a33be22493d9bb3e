"""The rooms of mmlib: each imports only from the floors below it, and nothing goes in a circle.

Every import counts: those for type checkers only, and those inside functions.
"""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

import pytest

from tools import ROOT

FLOORS = {
    "arrays": 0,
    "errors": 0,
    "frozen": 0,
    "design": 1,
    "engine": 2,
    "results": 3,
    "inference": 4,
    "datasets": 5,
    "model": 5,
    "oneway": 5,
    "plots": 6,
    "saved": 6,
    "sklearn": 6,
}
"""The rooms and the files beside them, from the ground up."""


def imports(source: str) -> Iterator[tuple[str, bool]]:
    """Modules that a source imports, and whether it does so only when a function is called."""
    tree = ast.parse(source)
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    lazy = {id(inner) for function in functions for inner in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from ((name, id(node) in lazy) for name in names)


def room(module: str) -> str:
    return module.split(".")[1]


def graph(sources: dict[str, str]) -> dict[str, set[str]]:
    """The modules of the library that each of its modules imports."""
    edges: dict[str, set[str]] = {}
    for module, source in sources.items():
        names = [name for name, _ in imports(source)]
        found = {name if name in sources else name.rpartition(".")[0] for name in names}
        edges[module] = found & sources.keys() - {module}
    return edges


def climbs(sources: dict[str, str]) -> list[str]:
    """Imports that go up, or along a floor into another room."""
    return [
        f"{module} imports {other}"
        for module, others in graph(sources).items()
        for other in sorted(others)
        if room(other) != room(module) and FLOORS[room(other)] >= FLOORS[room(module)]
    ]


def lazy_imports(sources: dict[str, str]) -> list[str]:
    return [
        f"{module} imports {name} inside a function"
        for module, source in sources.items()
        for name, lazy in imports(source)
        if lazy and name.split(".")[0] == "mmlib"
    ]


@pytest.fixture(scope="module")
def library() -> dict[str, str]:
    """The source of every module of the library but its face, by name."""
    files = sorted((ROOT / "mmlib").rglob("*.py"))
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files}
    return {
        name.removesuffix(".__init__"): path.read_text(encoding="utf-8")
        for path, name in names.items()
        if room(name) not in ("__init__", "styles")
    }


def test_every_import_goes_down(library: dict[str, str]) -> None:
    assert len(library) > 30
    assert climbs(library) == []


def test_no_import_waits_in_a_function(library: dict[str, str]) -> None:
    assert lazy_imports(library) == []


def test_no_imports_go_in_a_circle(library: dict[str, str]) -> None:
    TopologicalSorter(graph(library)).prepare()


def test_the_ground_floor_is_small() -> None:
    assert len(list((ROOT / "mmlib").glob("*.py"))) <= 12


EXAMPLE = {
    "mmlib.design": "",
    "mmlib.engine": "",
    "mmlib.design.build": "if TYPE_CHECKING:\n    from mmlib.engine.blocks import Blocks",
    "mmlib.engine.blocks": "def f():\n    from mmlib.design.build import Design",
    "mmlib.oneway": "from mmlib import model",
    "mmlib.model": "import mmlib.engine.blocks",
}


def test_breaks_of_the_order_are_found() -> None:
    assert climbs(EXAMPLE) == [
        "mmlib.design.build imports mmlib.engine.blocks",
        "mmlib.oneway imports mmlib.model",
    ]
    assert lazy_imports(EXAMPLE) == [
        "mmlib.engine.blocks imports mmlib.design.build.Design inside a function"
    ]
    with pytest.raises(CycleError):
        TopologicalSorter(graph(EXAMPLE)).prepare()
