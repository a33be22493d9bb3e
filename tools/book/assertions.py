"""Assertions in cells, read without running them: what they compare, and whether they can fail.

An assertion holds a number only if it compares it with something computed. A literal beside a
literal, `assert f"{20.3151:.1f}" == "20.3"`, holds whatever the data are; so does `x == x`.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator
from decimal import Decimal

_MODULES = {"np", "pd", "math", "stats", "mm", *dir(builtins)}
_COMPARING = {"isclose", "allclose", "array", "approx", "array_equal"}
_TOLERANCES = {"atol", "rtol", "rel_tol", "abs_tol", "decimal", "digits"}
_DRAWING = {"ax", "axes", "fig", "plt", "axis", "panel", "left", "right"}
_DECORATION = {
    *("figsize", "linewidth", "linewidths", "lw", "alpha", "color", "edgecolor", "xytext"),
    *("zorder", "fontsize", "markersize", "ms", "s", "width_ratios", "height_ratios", "hspace"),
    "wspace",
}


def idle(code: str) -> list[str]:
    """Return the assertions, or parts of them joined by `and`, that nothing can make false.

    Examples
    --------
    >>> idle('assert f"{20.3151:.1f}" == "20.3" and x == 1')
    ["f'{20.3151:.1f}' == '20.3'"]
    >>> idle("x = [1, 2]; assert x == [1, 2]"), idle("assert y == y or True")
    (['x == [1, 2]'], ['y == y or True'])
    """
    tree = parse(code)
    literal = _literal_names(tree)
    return [
        ast.unparse(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert)
        for part in _joined(node.test)
        if _cannot_fail(part, literal)
    ]


def _joined(test: ast.expr) -> Iterator[ast.expr]:
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        for value in test.values:
            yield from _joined(value)
    else:
        yield test


def _cannot_fail(test: ast.expr, literal: set[str]) -> bool:
    if isinstance(test, ast.BoolOp):
        return any(_cannot_fail(value, literal) for value in test.values)
    if isinstance(test, ast.Compare):
        sides = [ast.dump(side) for side in (test.left, *test.comparators)]
        if len(set(sides)) < len(sides):
            return True
    return not any(computes(node, literal) for node in ast.walk(test))


def computes(node: ast.AST, literal: Iterable[str] = ()) -> bool:
    """Tell whether a part of an assertion is more than a literal beside another.

    Parameters
    ----------
    node : ast.AST
        A part of an assertion.
    literal : iterable of str, optional
        Names that are given as literals, so that they are no better than these.
    """
    match node:
        case ast.Name(id=name):
            return name not in _MODULES and name not in literal
        case ast.BinOp() | ast.Call(func=ast.Name(id="sum")):
            return True
        case ast.Call(func=ast.Attribute(attr=name)):
            return _root(node) in _MODULES and name not in _COMPARING
    return False


def _literal_names(tree: ast.AST) -> set[str]:
    """Return the names that a cell binds to literals and to nothing else."""
    bound: dict[str, bool] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[*targets], value=value):
                pass
            case ast.For(target=target, iter=value) | ast.comprehension(target=target, iter=value):
                targets = [target]
            case ast.arg(arg=name):
                bound[name] = False
                continue
            case ast.AugAssign(target=ast.Name(id=name)) | ast.Attribute(value=ast.Name(id=name)):
                bound[name] = False  # x += 1, x.append(1)
                continue
            case _:
                continue
        for target in targets:
            for name in _bound_names(target):
                bound[name] = bound.get(name, True) and _is_literal(value)
    return {name for name, only in bound.items() if only}


def _bound_names(target: ast.AST) -> Iterator[str]:
    return (node.id for node in ast.walk(target) if isinstance(node, ast.Name))


def _is_literal(node: ast.AST) -> bool:
    return not any(
        isinstance(inner, ast.Name | ast.Call | ast.BinOp | ast.Lambda) for inner in ast.walk(node)
    )


def literals(code: str, *, inputs: bool, drawing: bool) -> Iterator[tuple[str, bool]]:
    """Yield the literals of a cell that hold a number, and whether each is the text of one.

    Such are those that an assertion compares with something computed, and inputs. One of several
    texts, `in ("29%", "30%")`, need not be what a sentence says.
    """
    tree = parse(code)
    assigned = _plain_assignments(tree)
    for node in ast.walk(tree):
        for compared in _compared(node, assigned):
            equates = isinstance(compared, ast.Compare) and all(
                isinstance(operator, ast.Eq) for operator in compared.ops
            )
            for text, quoted in _constants(compared, texts=True):
                yield text, quoted and equates
    if inputs:
        yield from _inputs(tree, drawing=drawing)


def parse(code: str) -> ast.Module:
    """Parse the code of a cell, without what is a command to IPython."""
    lines = code.splitlines()
    return ast.parse("\n".join("" if line.startswith(("%", "!")) else line for line in lines))


def _compared(node: ast.AST, assigned: dict[str, ast.expr]) -> Iterator[ast.AST]:
    """Yield what an assertion compares with something computed."""
    match node:
        case ast.Assert(test=ast.BoolOp(values=tests)):
            checks: list[ast.AST] = list(tests)
        case ast.Assert(test=test):
            checks = [test]
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr=name)) as call) if name.startswith(
            "assert_"
        ):
            checks = [call]
        case ast.For(iter=iterated, body=body) if any(
            isinstance(inner, ast.Assert) for statement in body for inner in ast.walk(statement)
        ):
            yield iterated
            return
        case _:
            return
    for check in checks:
        names = {name.id for name in ast.walk(check) if isinstance(name, ast.Name)}
        if any(map(computes, ast.walk(check))):
            yield check
            yield from (assigned[name] for name in names & assigned.keys())


def _plain_assignments(tree: ast.Module) -> dict[str, ast.expr]:
    """Return what names are given as literals, such as the list `expected = [0.1, 0.2]`."""
    return {
        node.targets[0].id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.List | ast.Dict | ast.Tuple)
    }


def _constants(node: ast.AST, *, texts: bool) -> Iterator[tuple[str, bool]]:
    """Yield the constants below a node, with their signs; tolerances and formats are left out."""
    match node:
        case ast.keyword(arg=name) if name in _TOLERANCES | _DECORATION:
            return
        case ast.FormattedValue(value=value):
            yield from _constants(value, texts=texts)
            return
        case ast.Subscript(value=value):
            yield from _constants(value, texts=texts)
            return
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            yield _decimal(-value), False
            return
        case ast.Constant(value=bool()):
            return
        case ast.Constant(value=int() | float() as value):
            yield _decimal(value), False
        case ast.Constant(value=str(text)) if texts:
            yield text, True
    for child in ast.iter_child_nodes(node):
        yield from _constants(child, texts=texts)


def _decimal(value: float) -> str:
    return f"{Decimal(repr(value)):f}" if abs(value) < 1e15 else repr(value)


def _inputs(tree: ast.Module, *, drawing: bool) -> Iterator[tuple[str, bool]]:
    """Yield the numbers that shown code starts from; how a figure is drawn is none."""
    for statement in ast.walk(tree):
        if not isinstance(statement, ast.Assign | ast.Expr | ast.Return):
            continue
        calls = [node for node in ast.walk(statement) if isinstance(node, ast.Call)]
        if drawing and any(_root(call) in _DRAWING for call in calls):
            continue
        yield from _constants(statement, texts=False)


def _root(call: ast.Call) -> str:
    node: ast.AST = call.func
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""
