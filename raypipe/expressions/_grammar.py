"""The grammar: Python's own parser, then an allow-list of its nodes. Nothing is ever executed as Python.

Columns are names; literals are numbers, text and booleans; ``+ - * /``, comparisons (chained ones too), ``and or not``,
unary minus, ``in`` and ``not in`` with a list of literals, and calls of `FUNCTIONS`.
"""

import ast
import warnings
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from raypipe.core.errors import ConfigError
from raypipe.core.naming import did_you_mean

FUNCTIONS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"minutes": (1, 1), "hours": (1, 1), "days": (1, 1), "is_null": (1, 1), "lower": (1, 1), "coalesce": (2, 20)}
)
_MAX_LENGTH, _MAX_DEPTH = 2000, 40
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.And, ast.Or, ast.Not, ast.USub)
_COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn)
Scalar = bool | int | float | str


def one_line(text: str) -> str:
    """The text of an expression that YAML may have spread over lines."""
    return " ".join(text.split("\n")).strip()


def parse(text: str) -> ast.expr:
    """The checked syntax tree of an expression on one line.

    Raises:
        ConfigError: with a caret under the first thing that is not in the grammar.
    """
    if len(text) > _MAX_LENGTH:
        raise ConfigError([f"expression has {len(text)} characters, more than {_MAX_LENGTH}; split it into derived columns"])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # an invalid escape in a literal is an error, not a line on stderr
            tree = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        offset = error.offset - 1 if error.offset else len(text)
        raise refusal(text, offset, f"syntax error: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise ConfigError([f"expression cannot be parsed ({error})"]) from error
    _check(tree, text, 0)
    return tree


def columns_of(tree: ast.expr) -> tuple[str, ...]:
    """Columns that the expression reads, in order of appearance."""
    return tuple(dict.fromkeys(_names(tree)))


def literals_of(items: ast.expr) -> list[Scalar]:
    """The values of a checked list of literals."""
    return [ast.literal_eval(item) for item in items.elts] if isinstance(items, (ast.List, ast.Tuple)) else []


def refusal(text: str, offset: int, problem: str) -> ConfigError:
    """An error that shows where in the text the problem is."""
    return ConfigError([f"{problem}\n    {text}\n    {' ' * min(offset, len(text))}^"])


def _names(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Name):
        yield node.id
    children = node.args if isinstance(node, ast.Call) else ast.iter_child_nodes(node)
    for child in children:
        if isinstance(child, ast.expr):
            yield from _names(child)


def _check(node: ast.expr, text: str, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise _refuse(node, text, f"nested deeper than {_MAX_DEPTH} levels")
    match node:
        case ast.Name():
            return
        case ast.Constant():
            _check_literal(node, text)
        case ast.Call():
            _check_call(node, text)
        case ast.Compare():
            _check_comparison(node, text)
        case ast.BinOp(op=op) | ast.UnaryOp(op=op) | ast.BoolOp(op=op):
            _check_operator(node, op, text)
        case _:
            raise _refuse(node, text, f"{type(node).__name__} is not in the grammar")
    for child in _operands(node):
        _check(child, text, depth + 1)


def _check_operator(node: ast.expr, op: ast.AST, text: str) -> None:
    if not isinstance(op, _OPERATORS):
        raise _refuse(node, text, f"operator {type(op).__name__} is not in the grammar")


def _operands(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.Call):
        return node.args
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.In, ast.NotIn)):
        return [node.left]
    return [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]


def _check_literal(node: ast.Constant, text: str) -> None:
    if not isinstance(node.value, (bool, int, float, str)):
        raise _refuse(node, text, f"{node.value!r} is not a number, text or boolean")
    if isinstance(node.value, int) and not -(2**63) < node.value < 2**63:
        raise _refuse(node, text, "whole number outside of int64")
    if isinstance(node.value, float) and abs(node.value) == float("inf"):
        raise _refuse(node, text, "number too large")
    if isinstance(node.value, str) and not node.value.isascii():
        try:
            node.value.encode()
        except UnicodeEncodeError as error:
            raise _refuse(node, text, "text holds a lone surrogate") from error


def _check_call(node: ast.Call, text: str) -> None:
    if not isinstance(node.func, ast.Name):
        raise _refuse(node, text, "methods are not in the grammar")
    name = node.func.id
    if name not in FUNCTIONS:
        known = ", ".join(FUNCTIONS)
        raise _refuse(node, text, f"unknown function {name}{did_you_mean(name, list(FUNCTIONS))} (functions: {known})")
    least, most = FUNCTIONS[name]
    if node.keywords or not least <= len(node.args) <= most:
        takes = f"{least} argument" if most == 1 else f"{least} to {most} arguments"
        raise _refuse(node, text, f"{name} takes {takes}")


def _check_comparison(node: ast.Compare, text: str) -> None:
    for op in node.ops:
        if not isinstance(op, _COMPARISONS):
            raise _refuse(node, text, "`is` is not in the grammar; use is_null(x) or ==")
    if not any(isinstance(op, (ast.In, ast.NotIn)) for op in node.ops):
        return
    if len(node.ops) > 1:
        raise _refuse(node, text, "`in` cannot be chained")
    items = node.comparators[0]
    if not isinstance(items, (ast.List, ast.Tuple)) or not items.elts:
        raise _refuse(items, text, "`in` takes a list of literals, such as ['UA', 'AA']")
    for item in items.elts:
        _check_item(item, text)


def _check_item(item: ast.expr, text: str) -> None:
    negative = isinstance(item, ast.UnaryOp) and isinstance(item.op, ast.USub)
    value = item.operand if isinstance(item, ast.UnaryOp) and negative else item
    if not isinstance(value, ast.Constant):
        raise _refuse(item, text, "`in` takes a list of literals only")
    _check_literal(value, text)
    if negative and type(value.value) not in (int, float):
        raise _refuse(item, text, "`-` needs a number")


def _refuse(node: ast.expr, text: str, problem: str) -> ConfigError:
    return refusal(text, len(text.encode()[: node.col_offset].decode()), problem)
