"""Names in code, and tests divided among the names that they are about."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence

from tools.homework.text import HomeworkError

DATASET = re.compile(r'(?:\w+\.)?load_dataset\(\s*"(\w+)"\s*\)')
"""How code loads a data set, whose name is the group."""


def names(code: str | ast.AST, context: type[ast.expr_context]) -> set[str]:
    """Name all that code loads (`ast.Load`) or stores (`ast.Store`)."""
    nodes = ast.walk(_tree(code))
    return {node.id for node in nodes if isinstance(node, ast.Name) and type(node.ctx) is context}


def bound(code: str | ast.AST) -> set[str]:
    """Name all that code gives a value: variables, parameters, imports, functions."""
    given = set()
    for node in ast.walk(_tree(code)):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                given.add(name)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                given.add(name)
            case ast.alias(name=name, asname=other):
                given.add((other or name).split(".")[0])
    return given


def defined(code: str | ast.AST) -> Iterator[str]:
    """Name what a cell defines at its top level, in order and once."""
    tree = _tree(code)
    found: dict[str, None] = {}
    for statement in tree.body if isinstance(tree, ast.Module) else [tree]:
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            found[statement.name] = None
            continue
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            found.update(dict.fromkeys(alias.asname or alias.name for alias in statement.names))
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found[node.id] = None
    yield from found


def _tree(code: str | ast.AST) -> ast.AST:
    return ast.parse(code) if isinstance(code, str) else code


# --- One check for each answer -------------------------------------------------------------------


def split(code: str, groups: Sequence[tuple[str, ...]]) -> list[str]:
    """Give each group of names the statements that test it, and those on which these rest.

    A statement with an assertion tests the last group on which it depends, be it through other
    statements: by then the names before it are right, or have been complained of.

    Raises
    ------
    HomeworkError
        If a test depends on none of the names.
    """
    statements = _statements(code)
    tests: list[set[int]] = [set() for _ in groups]
    for position, (_, node) in enumerate(statements):
        if any(isinstance(inner, ast.Assert) for inner in ast.walk(node)):
            before = _rests_on(position, statements)
            used = {name for one in before for name in names(statements[one][1], ast.Load)}
            about = [number for number, group in enumerate(groups) if used & set(group)]
            if not about:
                raise HomeworkError(f"a test of nothing that is asked: {ast.unparse(node)}")
            tests[about[-1]] |= before
    return ["\n".join(statements[one][0] for one in sorted(chosen)) for chosen in tests]


def _statements(code: str) -> list[tuple[str, ast.stmt]]:
    """Cut code into its statements, each with the comment above it."""
    lines = code.splitlines()
    found, start = [], 0
    for node in ast.parse(code).body:
        end = node.end_lineno or node.lineno
        found.append(("\n".join(lines[start:end]).strip("\n"), node))
        start = end
    return found


def _rests_on(position: int, statements: Sequence[tuple[str, ast.stmt]]) -> set[int]:
    """Find the statements without which one cannot run, itself included."""
    chosen, wanted = {position}, names(statements[position][1], ast.Load)
    for earlier in range(position - 1, -1, -1):
        node = statements[earlier][1]
        is_test = any(isinstance(inner, ast.Assert) for inner in ast.walk(node))
        if not is_test and wanted & bound(node):
            chosen.add(earlier)
            wanted |= names(node, ast.Load)
    return chosen
