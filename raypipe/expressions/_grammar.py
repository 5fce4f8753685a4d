"""The grammar: Python's own parser, then an allow-list of its nodes. Nothing that a user writes is executed as Python.

Columns are names; literals are numbers, text and booleans; ``+ - * / // %``, comparisons (chained ones too), ``and or
not``, unary minus, ``in`` and ``not in`` with a list of literals, ``a if condition else b`` (chained ones too, and ``None``
for null in place of a or b), and calls of `FUNCTIONS`.
"""

import ast
import warnings
from collections.abc import Iterator

from raypipe.core.errors import ConfigError
from raypipe.core.naming import did_you_mean
from raypipe.expressions._functions import FUNCTIONS, OPERATORS
from raypipe.expressions._operation import Option, Scalar

_MAX_LENGTH, _MAX_DEPTH = 2000, 40


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
    names = sorted(_names(tree), key=lambda name: name.col_offset)
    return tuple(dict.fromkeys(name.id for name in names))


def literals_of(items: ast.expr) -> list[Scalar]:
    """The values of a checked list of literals."""
    return [ast.literal_eval(item) for item in items.elts] if isinstance(items, (ast.List, ast.Tuple)) else []


def literal_of(node: ast.expr) -> Scalar | None:
    """The value of a literal, a negative number included; None for anything else."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, (bool, int, float, str)) else None
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = literal_of(node.operand)
        return None if value is None or isinstance(value, (bool, str)) else -value
    return None


def refusal(text: str, offset: int, problem: str) -> ConfigError:
    """An error that shows where in the text the problem is."""
    return ConfigError([f"{problem}\n    {text}\n    {' ' * min(offset, len(text))}^"])


def _names(node: ast.expr) -> Iterator[ast.Name]:
    if isinstance(node, ast.Name):
        yield node
    children = node.args if isinstance(node, ast.Call) else ast.iter_child_nodes(node)
    for child in children:
        if isinstance(child, ast.expr):
            yield from _names(child)


def _check(node: ast.expr, text: str, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise _refuse(node, text, f"nested deeper than {_MAX_DEPTH} levels")
    match node:
        case ast.Name() | ast.IfExp():
            pass
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
    if type(op) not in OPERATORS:
        raise _refuse(node, text, f"operator {type(op).__name__} is not in the grammar")


def _operands(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.Call):
        return node.args
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.In, ast.NotIn)):
        return [node.left]
    if isinstance(node, ast.IfExp):
        return [node.test, *(branch for branch in (node.body, node.orelse) if not _is_none(branch))]
    return [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _check_literal(node: ast.Constant, text: str) -> None:
    if node.value is None:
        raise _refuse(node, text, "None stands for null as a value of `a if condition else b` only; ask with is_null(x)")
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
        hint = did_you_mean(name, list(FUNCTIONS)) or f" (functions: {', '.join(FUNCTIONS)})"
        raise _refuse(node, text, f"unknown function {name}{hint}")
    function = FUNCTIONS[name]
    least, most = function.num_arguments
    if node.keywords or not least <= len(node.args) <= most:
        count = f"{least}" if least == most else f"{least} to {most}"
        raise _refuse(node, text, f"{name} takes {count} argument{'s' if most > 1 else ''}: {function.signature}")
    for position, problem in function.options.items():
        for argument in node.args[position : position + 1]:
            _check_option(argument, problem, f"{name}: ", text)


def _check_option(argument: ast.expr, problem_of: Option, where: str, text: str) -> None:
    problem = problem_of(literal_of(argument))
    if problem:
        raise _refuse(argument, text, where + problem)


def _check_comparison(node: ast.Compare, text: str) -> None:
    for op in node.ops:
        if type(op) not in OPERATORS:
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
