"""What an expression in a formula may compute: each row from that row alone.

Formulaic leaves expressions to Python. Here they are read first, and only what is listed below is
let through: so a formula can neither run other code, nor compute what would be another number among
other rows (a mean, a rank, the row before). `scale`, `center`, `poly` and the splines may look at
all rows, for they remember what they found. Flags count 0 and 1 in arithmetic, and every column has
an alias, so that one called ``log`` hides no function.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn

import numpy as np
from formulaic.transforms import TRANSFORMS, poly
from formulaic.utils.stateful_transforms import stateful_transform

from mmlib.design.columns import counted
from mmlib.design.names import alias, as_written, name_of
from mmlib.design.words import CONSTANTS, CONTRASTS, FUNCTIONS, NaturalSpline, unknown_function
from mmlib.errors import FormulaError

METHODS = {"abs", "between", "clip", "isin", "round"}
"""What may be asked of a column, as in ``x.clip(0, 5)``."""

OF_NUMPY = {"around", "clip", "digitize", "interp", "isin", "nan_to_num", "round", "where"}
"""Functions of numpy beside the ufuncs, which compute each value from that value."""

WITH_A_LIST = {"digitize", "interp", "isin"}
"""Those whose further arguments must be lists."""

_CONTRASTS = {"Treatment", "Poly", "Sum", "Helmert", "Diff"}
_FUNCTIONS = TRANSFORMS.keys() - {"np", "contr", "lag", "Q", *_CONTRASTS}
_AS_IT_IS = {"C", "I", "hashed"}
_ALLOWED = (
    *(ast.Expression, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Constant, ast.List, ast.Tuple),
    *(ast.operator, ast.unaryop, ast.cmpop, ast.Load, ast.keyword),
)
_REFUSED: dict[type[ast.AST], str] = {
    ast.BitXor: "has ^, an operation on bits: a power is written ** here",
    ast.MatMult: "has @, which mixes rows: compute the column first",
    ast.BoolOp: "has and/or: write & and |, with brackets around what they join",
    ast.Not: "has not: write ~",
    ast.In: "has in: write np.isin(x, [...])",
    ast.NotIn: "has in: write ~np.isin(x, [...])",
    ast.IfExp: "has if/else: write np.where(condition, yes, no)",
    ast.Subscript: "picks by [...]: compute the column first",
}


@stateful_transform  # type: ignore[untyped-decorator]
def _poly(x: Any, degree: Any = 1, raw: bool = False, _state: Any = None) -> Any:
    """Formulaic's, of the degrees that R's takes."""
    n = np.inf if raw or _state else len(np.unique(x))
    if not (isinstance(degree, int) and 0 < degree < n):
        below = "" if n == np.inf else f", and below {n}, the number of distinct values"
        raise FormulaError(f"poly's degree must be a whole number from 1{below}, not {degree!r}.")
    return poly(x, degree, raw, _state=_state)


ENVIRONMENT: Mapping[str, Any] = {**TRANSFORMS, "poly": _poly, "_counted": counted}
"""What the names of an expression stand for once it has been read, besides its columns."""


@dataclass(frozen=True)
class Code:
    """A Python expression of a formula that has been read.

    Attributes
    ----------
    text : str
        What is to be evaluated, every column under its alias.
    columns, labels : frozenset of str
        The columns that it takes, and those of them that it takes as labels, as ``C(x)`` does.
    """

    text: str
    columns: frozenset[str]
    labels: frozenset[str]


@lru_cache(maxsize=512)
def read_code(code: str) -> Code:
    """Read one expression.

    Raises
    ------
    FormulaError
        If it uses anything that is not listed here, or no column.
    """
    try:
        tree = ast.parse(code, mode="eval")
    except (SyntaxError, ValueError):
        raise unreadable(code) from None
    reader = _Reader(as_written(code))
    tree = ast.fix_missing_locations(reader.visit(tree))
    if not reader.columns:
        reader.refuse("has no column in it: it is the same in every row; leave it out")
    return Code(ast.unparse(tree), frozenset(reader.columns), frozenset(reader.labels))


def unreadable(code: str) -> FormulaError:
    """The error for code that is not Python, such as R's names with dots."""
    code = as_written(code)
    if "Boundary.knots" in code:
        return FormulaError(f"{code!r}: write lower_bound= and upper_bound= for Boundary.knots.")
    for name, argument in re.findall(r"([\w.]+)\(([^,()]*)", code):
        if name in FUNCTIONS:
            return unknown_function(name, code, argument)
    return FormulaError(f"cannot read {code!r} in the formula.")


class _Reader(ast.NodeTransformer):
    """Lets through what is allowed, and rewrites it for evaluation."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.columns: set[str] = set()
        self.labels: set[str] = set()

    def refuse(self, why: str) -> NoReturn:
        raise FormulaError(f"{self.code!r} {why}.")

    def generic_visit(self, node: ast.AST) -> Any:
        if type(node) in _REFUSED:
            self.refuse(_REFUSED[type(node)])
        if not isinstance(node, _ALLOWED):
            what = type(node).__name__
            self.refuse(f"holds a {what}, which formulas do not know: compute the column first")
        return super().generic_visit(node)

    def visit_Name(self, node: ast.Name) -> Any:
        if node.id in CONSTANTS:
            self.refuse(f"has {node.id}, which is written {CONSTANTS[node.id]} here")
        name = name_of(node.id)
        self.columns.add(name)
        return ast.Name(alias(name), ast.Load())

    def visit_Constant(self, node: ast.Constant) -> Any:
        if not isinstance(node.value, (int, float, str, type(None))):
            self.refuse(f"has {node.value!r}, which is no number")
        return node

    def visit_Attribute(self, node: ast.Attribute) -> Any:
        is_number = isinstance(getattr(np, node.attr, None), float)
        return node if is_number and _is_name(node.value, "np") else self._unknown(node)

    def visit_BinOp(self, node: ast.BinOp) -> Any:
        node = self.generic_visit(node)
        if not isinstance(node.op, (ast.BitAnd, ast.BitOr)):
            node.left, node.right = _number(node.left), _number(node.right)
        return node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:
        node = self.generic_visit(node)
        if not isinstance(node.op, ast.Invert):
            node.operand = _number(node.operand)
        return node

    def visit_Compare(self, node: ast.Compare) -> Any:
        if len(node.ops) > 1:
            self.refuse("compares twice in a row: write (0 < x) & (x < 5)")
        return self.generic_visit(node)

    # ---- calls -----------------------------------------------------------------------------

    def visit_Call(self, node: ast.Call) -> Any:
        function = node.func
        if any(keyword.arg in (None, "out") for keyword in node.keywords):
            self.refuse("has arguments that formulas do not pass on (**, out=)")
        if isinstance(function, ast.Name):
            return self._call_by_name(node, name_of(function.id))
        if not isinstance(function, ast.Attribute):
            self.refuse("calls what is no function")
        if _is_name(function.value, "np"):
            return self._call_of_numpy(node, function)
        if function.attr not in METHODS:
            self._unknown(function)
        value = self.visit(function.value)
        function.value = value if function.attr == "isin" else _number(value)
        return self._with_arguments(node, 0 if function.attr == "isin" else None)

    def _call_by_name(self, node: ast.Call, name: str) -> ast.Call:
        if name not in _FUNCTIONS:
            raise self._no_function(node, name)
        if isinstance(TRANSFORMS[name], np.ufunc) or name in ("I", "exp10"):
            self._require_arguments(node, name, 1)
        else:
            self._require_keywords(node, name)
        if name in ("C", "hashed") and node.args and isinstance(node.args[0], ast.Name):
            self.labels.add(name_of(node.args[0].id))
        return self._with_arguments(node, 1, as_it_is=name in _AS_IT_IS)

    def _no_function(self, node: ast.Call, name: str) -> FormulaError:
        first = as_written(ast.unparse(node.args[0])) if node.args else "x"
        given = [*node.args[1:], *(keyword.value for keyword in node.keywords)]
        df = given[0].value if len(given) == 1 and isinstance(given[0], ast.Constant) else None
        if name == "ns" and isinstance(node.args[0], ast.Name) and isinstance(df, int):
            return NaturalSpline(self.code, first, df)
        return unknown_function(name, self.code, first)

    def _call_of_numpy(self, node: ast.Call, function: ast.Attribute) -> ast.Call:
        ufunc = getattr(np, function.attr, None)
        if isinstance(ufunc, np.ufunc) and ufunc.signature is None and ufunc.nout == 1:
            self._require_arguments(node, f"np.{function.attr}", ufunc.nin)
        elif function.attr == "where":
            self._require_arguments(node, "np.where", 3)
        elif function.attr not in OF_NUMPY:
            self._unknown(function)
        return self._with_arguments(node, 1 if function.attr in WITH_A_LIST else None)

    def _require_keywords(self, node: ast.Call, name: str) -> None:
        known = [word for word in inspect.signature(TRANSFORMS[name]).parameters if word[0] != "_"]
        for keyword in node.keywords:
            if keyword.arg not in known:
                ours = " (it is include_intercept here)" * (keyword.arg == "intercept")
                self.refuse(
                    f"gives {name} the argument {keyword.arg!r}{ours}; it has {', '.join(known)}"
                )

    def _require_arguments(self, node: ast.Call, name: str, count: int) -> None:
        if len(node.args) != count or node.keywords:
            base = "; another base is written I(log(x) / np.log(3))" * name.endswith("log")
            self.refuse(f"does not give {name} its {count} argument(s){base}")

    def _with_arguments(
        self, node: ast.Call, limit: int | None, *, as_it_is: bool = False
    ) -> ast.Call:
        """Visit the arguments; those after the first `limit`, and named ones, hold no column."""
        for position, argument in enumerate(node.args):
            if limit is not None and position >= limit:
                self._require_constant(argument)
                bare = _is_name(argument, "Treatment")  # which is no class, unlike its like
                node.args[position] = ast.Call(argument, [], []) if bare else argument
            else:
                visited = self.visit(argument)
                node.args[position] = visited if as_it_is else _number(visited)
        for keyword in node.keywords:
            if limit is not None:
                self._require_constant(keyword.value)
            else:
                keyword.value = _number(self.visit(keyword.value))
        return node

    def _require_constant(self, node: ast.AST) -> None:
        """Check that an argument is made of numbers, texts and contrasts."""
        if isinstance(node, ast.Call):
            self._require_constant(node.func)
            below = [*node.args, *(keyword.value for keyword in node.keywords)]
        elif isinstance(node, (ast.List, ast.Tuple, ast.Dict, ast.UnaryOp)):
            below = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
        else:
            self._require_atom(node, as_written(ast.unparse(node)))
            below = []
        for child in below:
            self._require_constant(child)

    def _require_atom(self, node: ast.AST, written: str) -> None:
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str) and node.value.startswith("contr."):
                self.refuse(f"has contrasts as text: write {node.value} without quotes")
        elif isinstance(node, ast.Attribute) and _is_name(node.value, "contr"):
            if not hasattr(TRANSFORMS["contr"], node.attr):
                known = ", ".join(f"contr.{name}" for name in CONTRASTS)
                sdif = " (contr.sdif of MASS is contr.diff)" * (node.attr == "sdif")
                self.refuse(f"has contrasts {written}; there are {known}{sdif}")
        elif written in CONSTANTS:
            self.refuse(f"has {written}, which is written {CONSTANTS[written]} here")
        elif written not in _CONTRASTS:
            self.refuse(f"has {written} where a number, a list or contrasts are expected")

    def _unknown(self, node: ast.Attribute) -> NoReturn:
        written = as_written(ast.unparse(node))
        is_column = isinstance(node.value, ast.Name) and node.value.id not in ("np", "contr")
        dotted = f" (a column of that name goes in backticks: `{written}`)" if is_column else ""
        self.refuse(
            f"uses {written}, but formulas compute each row from that row alone, so that a new row "
            "means what it meant in the fit: use center(x) or scale(x), which remember the mean "
            f"and the sd of the fit, or compute the column first{dotted}"
        )


class _Unread(ast.NodeTransformer):
    """Takes out what reading put in."""

    def visit_Call(self, node: ast.Call) -> Any:
        self.generic_visit(node)
        return node.args[0] if _is_name(node.func, "_counted") else node


def as_typed(text: str) -> str:
    """The text of code that has been read, as its author might have written it."""
    return as_written(ast.unparse(_Unread().visit(ast.parse(text, mode="eval"))))


def _is_name(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _number(node: ast.expr) -> ast.expr:
    """An operand of arithmetic, made to count."""
    if isinstance(node, (ast.Constant, ast.List, ast.Tuple)):
        return node
    return ast.Call(ast.Name("_counted", ast.Load()), [node], [])
