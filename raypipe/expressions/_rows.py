"""The row back end: a tree of operations becomes the source of one Python function, compiled once.

No text of the user's is in the source: columns are arguments ``c0 c1 ...``, results ``t0 t1 ...``, literals and kernels are
bound to ``k0 k1 ...``, and the rest are templates of `Operation.row`. For ``minutes(minute) - hours(1)``::

    def row(c0):
        if c0 is None: t1 = None
        else:
            t1 = c0 * 60000000
            if not -9223372036854775808 <= t1 <= 9223372036854775807: t1 = None
        if t1 is None: t4 = None
        else:
            t4 = t1 - k1
            if not -9223372036854775808 <= t4 <= 9223372036854775807: t4 = None
        return t4
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from raypipe.expressions._kinds import HIGHEST, LOWEST
from raypipe.expressions._operation import Operation
from raypipe.expressions._typed import ApplyNode, ColumnNode, LiteralNode, Node

RowFunction = Callable[..., object]
_NAMES: Mapping[str, object] = MappingProxyType({"abs": abs, "float": float, "len": len, "str": str, "nan": math.nan})
_IS_INVALID = {"int64": f"not {LOWEST} <= {{0}} <= {HIGHEST}", "finite": "{0} - {0} != 0.0"}  # inf - inf is NaN


def row_function(node: Node, columns: Sequence[str]) -> RowFunction:
    """A function of the plain values of `columns`, in that order, that gives the plain value of `node`."""
    source = _Source({name: f"c{position}" for position, name in enumerate(columns)})
    result = source.name_of(node)
    return _compiled(list(source.arguments.values()), source.lines, result, source.constants)


@dataclass(frozen=True)
class _Source:
    """Lines of a function body, each result in a variable of its own."""

    arguments: Mapping[str, str]
    lines: list[str] = field(default_factory=list)
    constants: dict[str, object] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)  # by identity: a node that is used twice is computed once

    def name_of(self, node: Node) -> str:
        """The variable that holds the value of `node` after the lines so far."""
        if id(node) not in self.names:
            self.names[id(node)] = self._written(node)
        return self.names[id(node)]

    def _written(self, node: Node) -> str:
        match node:
            case ColumnNode(name=name):
                return self.arguments[name]
            case LiteralNode(value=value):
                return self._constant(value)
            case ApplyNode(operation=operation, operands=operands):
                return self._applied(operation, [self.name_of(operand) for operand in operands])

    def _applied(self, operation: Operation, operands: Sequence[str]) -> str:
        result = f"t{len(self.names)}"
        lines = self._lines(operation, operands, result)
        if all(name in self.constants for name in operands):  # computed now, in place of once a row
            return self._constant(_compiled([], lines, result, self.constants)())
        self.lines.extend(lines)
        return result

    def _lines(self, operation: Operation, operands: Sequence[str], result: str) -> list[str]:
        row = operation.row
        value = row.format(*operands) if isinstance(row, str) else f"{self._constant(row)}({', '.join(operands)})"
        lines = [f"{result} = {value}"]
        if operation.valid != "all":
            lines.append(f"if {_IS_INVALID[operation.valid].format(result)}: {result} = None")
        nullable = [name for name in operands if self.constants.get(name) is None]
        if operation.nulls == "own" or not nullable:
            return lines
        is_null = " or ".join(f"{name} is None" for name in nullable)
        return [f"if {is_null}: {result} = None", "else:", *(f" {line}" for line in lines)]

    def _constant(self, value: object) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = value
        return name


def _compiled(arguments: Sequence[str], lines: Sequence[str], result: str, constants: Mapping[str, object]) -> RowFunction:
    body = "".join(f" {line}\n" for line in (*lines, f"return {result}"))
    namespace: dict[str, object] = {"__builtins__": {}, **_NAMES, **constants}
    exec(compile(f"def row({', '.join(arguments)}):\n{body}", "<expression>", "exec"), namespace)
    function = namespace["row"]
    assert callable(function)
    return function
