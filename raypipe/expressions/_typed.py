"""From a syntax tree and the kinds of its columns to a tree of operations: every type is known before any row."""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from raypipe.expressions._choices import AND, IF, NOT
from raypipe.expressions._functions import FUNCTIONS, OPERATORS
from raypipe.expressions._grammar import literal_of, literals_of
from raypipe.expressions._kinds import KINDS, TypesDoNotFit
from raypipe.expressions._numbers import AS_FLOAT
from raypipe.expressions._operation import LITERAL, Function, Operation

_NULL = "null"
_KIND_OF_LITERAL: Mapping[type, str] = {bool: "bool", int: "int64", float: "float64", str: "string", type(None): _NULL}


@dataclass(frozen=True, kw_only=True, eq=False)
class ColumnNode:
    """A column of the table."""

    name: str
    kind: str


@dataclass(frozen=True, kw_only=True, eq=False)
class LiteralNode:
    """A value written in the expression; of kind `literal` when an operation takes it as it is."""

    value: object
    kind: str


@dataclass(frozen=True, kw_only=True, eq=False)
class ApplyNode:
    """An operation and its operands, whose kinds are those it takes."""

    operation: Operation
    operands: tuple["Node", ...]

    @property
    def kind(self) -> str:
        """Kind of the result."""
        return self.operation.gives


Node = ColumnNode | LiteralNode | ApplyNode


def typed(tree: ast.expr, kinds: Mapping[str, str]) -> Node:
    """The operations of a checked syntax tree, for columns of these kinds.

    Raises:
        TypesDoNotFit: naming the first operation that has no meaning for the kinds of its operands.
    """
    return _Typing(kinds).node(tree)


@dataclass(frozen=True)
class _Typing:
    kinds: Mapping[str, str]
    columns: dict[str, ColumnNode] = field(default_factory=dict)

    def node(self, tree: ast.expr) -> Node:
        match tree:
            case ast.Name(id=name):
                return self._column(name)
            case ast.Constant(value=value):
                return LiteralNode(value=value, kind=_KIND_OF_LITERAL[type(value)])
            case ast.BinOp(op=op) | ast.UnaryOp(op=op) | ast.BoolOp(op=op):
                operands = (child for child in ast.iter_child_nodes(tree) if isinstance(child, ast.expr))
                return _applied(OPERATORS[type(op)], [self.node(operand) for operand in operands])
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return _conditional([self.node(part) for part in (test, body, orelse)])
            case ast.Compare():
                return self._comparison(tree)
            case ast.Call(func=ast.Name(id=name), args=arguments):
                return self._call(FUNCTIONS[name], arguments)
        raise AssertionError(f"the grammar let {type(tree).__name__} through")

    def _column(self, name: str) -> Node:
        kind = self.kinds[name]
        if kind not in KINDS:
            raise TypesDoNotFit(f"column {name} is {kind}, which expressions do not take")
        return self.columns.setdefault(name, ColumnNode(name=name, kind=kind))

    def _call(self, function: Function, arguments: Sequence[ast.expr]) -> Node:
        operands = [
            LiteralNode(value=literal_of(argument), kind=LITERAL) if position in function.options else self.node(argument)
            for position, argument in enumerate(arguments)
        ]
        return _applied(function, operands)

    def _comparison(self, tree: ast.Compare) -> Node:
        if isinstance(tree.ops[0], (ast.In, ast.NotIn)):
            found = _membership(self.node(tree.left), literals_of(tree.comparators[0]))
            return found if isinstance(tree.ops[0], ast.In) else _applied(NOT, [found])
        sides = [self.node(side) for side in (tree.left, *tree.comparators)]
        pairs = zip(tree.ops, sides[:-1], sides[1:], strict=True)
        parts = [_applied(OPERATORS[type(op)], [left, right]) for op, left, right in pairs]
        return _applied(AND, parts) if len(parts) > 1 else parts[0]


def _applied(function: Function, operands: Sequence[Node]) -> Node:
    for candidate in (operands, [_floated(operand) for operand in operands]):
        found = _folded(function, candidate) if function.is_variadic else _picked(function, candidate)
        if found:
            return found
    kinds = [operand.kind for operand in operands if operand.kind != LITERAL]
    raise TypesDoNotFit(function.misfit.format(*kinds, kinds=" and ".join(kinds)))


def _picked(function: Function, operands: Sequence[Node]) -> Node | None:
    kinds = tuple(operand.kind for operand in operands)
    for operation in function.operations:
        if operation.takes == kinds:
            return ApplyNode(operation=operation, operands=tuple(operands))
    return None


def _folded(function: Function, operands: Sequence[Node]) -> Node | None:
    """Two operands at a time, by halves: a long list makes no deep tree."""
    if len({operand.kind for operand in operands}) > 1:
        return None
    if len(operands) == 1:
        return operands[0]
    middle = len(operands) // 2
    halves = _folded(function, operands[:middle]), _folded(function, operands[middle:])
    return _picked(function, [half for half in halves if half])


def _floated(operand: Node) -> Node:
    if operand.kind != "int64":
        return operand
    return ApplyNode(operation=AS_FLOAT, operands=(operand,))


def _conditional(parts: Sequence[Node]) -> Node:
    condition, *branches = parts
    kinds = {branch.kind for branch in branches} - {_NULL}
    if not kinds:
        raise TypesDoNotFit("both values of `if` are None")
    for kind in kinds:
        branches = [LiteralNode(value=None, kind=kind) if branch.kind == _NULL else branch for branch in branches]
    return _applied(IF, [condition, *branches])


def _membership(value: Node, choices: Sequence[object]) -> Node:
    function = OPERATORS[ast.In]
    kinds = {_KIND_OF_LITERAL[type(choice)] for choice in choices}
    if value.kind == "int64" and "float64" in kinds:
        value = _floated(value)
    for kind in sorted(kinds):
        if kind != value.kind and (kind, value.kind) != ("int64", "float64"):
            raise TypesDoNotFit(function.misfit.format(value.kind, kind))
    # Of the two zeros 0.0 is taken: Arrow's `is_in` tells them apart, and a set of Python's does not.
    members = (float(choice) + 0.0 if value.kind == "float64" else choice for choice in choices)  # type: ignore[arg-type]
    return _applied(function, [value, LiteralNode(value=frozenset(members), kind=LITERAL)])
