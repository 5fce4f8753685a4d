"""A compiled expression: text and tree in, one Arrow array a table out."""

import ast
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa

from raypipe.core.errors import FeatureError
from raypipe.core.naming import did_you_mean
from raypipe.expressions import _kernels as kernels
from raypipe.expressions._grammar import columns_of, literals_of, one_line, parse

_ARITHMETIC = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_LOGIC: dict[type[ast.boolop], Literal["and", "or"]] = {ast.And: "and", ast.Or: "or"}
_COMPARISON = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}


@dataclass(frozen=True)
class Expression:
    """An expression over columns; make one with `compile_expression`.

    Attributes:
        text: As written.
        columns: Columns it reads, in order of appearance.
    """

    text: str
    columns: tuple[str, ...]
    _tree: ast.expr = field(repr=False, compare=False)

    def evaluate(self, table: pa.Table) -> pa.Array:
        """The value of each row. Rows are independent, and null in gives null out, as in SQL.

        ``and`` and ``or`` know three values (null or true is true). A result without an exact or finite value is null:
        a division by zero, an int64 overflow. ``/`` always gives float64; timestamps are microseconds in UTC.

        Raises:
            FeatureError: when a column is not in the table, or types do not fit.
        """
        for name in self.columns:
            if name not in table.column_names:
                suggestion = did_you_mean(name, table.column_names)
                raise FeatureError(self.text, f"unknown column {name}{suggestion}", "correct the expression or the table")
        return _Evaluation(self.text, table).value(self._tree)

    def type_in(self, schema: pa.Schema) -> pa.DataType:
        """Type of the result for tables of `schema`.

        Raises:
            FeatureError: as `evaluate` would.
        """
        return self.evaluate(schema.empty_table()).type


def compile_expression(text: str) -> Expression:
    """Compile an expression such as ``time_hour + minutes(minute) - hours(1)`` or ``arr_delay > 15``.

    Raises:
        ConfigError: with a caret under what is not in the grammar.
    """
    line = one_line(text)
    tree = parse(line)
    return Expression(line, columns_of(tree), tree)


@dataclass(frozen=True)
class _Evaluation:
    text: str
    table: pa.Table

    def value(self, node: ast.expr) -> pa.Array:
        try:
            return self._value(node)
        except kernels.TypesDoNotFit as error:
            raise FeatureError(self.text, str(error), "compare and compute with values of one kind") from error

    def _value(self, node: ast.expr) -> pa.Array:
        match node:
            case ast.Name(id=name):
                return kernels.normal(self.table.column(name).combine_chunks(), name)
            case ast.Constant(value=bool() | int() | float() | str() as literal):
                return kernels.literal(literal, self.table.num_rows)
            case ast.BinOp(left=left, op=op, right=right):
                return kernels.arithmetic(_ARITHMETIC[type(op)], self._value(left), self._value(right))
            case ast.UnaryOp(op=op, operand=operand):
                return kernels.unary("not" if isinstance(op, ast.Not) else "-", self._value(operand))
            case ast.BoolOp(op=op, values=operands):
                return kernels.logic(_LOGIC[type(op)], [self._value(operand) for operand in operands])
            case ast.Compare():
                return self._comparison(node)
            case ast.Call(func=ast.Name(id=name), args=arguments):
                return kernels.call(name, [self._value(argument) for argument in arguments])
        raise AssertionError(f"the grammar let {type(node).__name__} through")

    def _comparison(self, node: ast.Compare) -> pa.Array:
        if isinstance(node.ops[0], (ast.In, ast.NotIn)):
            found = kernels.is_in(self._value(node.left), literals_of(node.comparators[0]))
            return found if isinstance(node.ops[0], ast.In) else kernels.unary("not", found)
        sides = [self._value(side) for side in (node.left, *node.comparators)]
        parts = [
            kernels.compare(_COMPARISON[type(op)], left, right)
            for op, left, right in zip(node.ops, sides[:-1], sides[1:], strict=True)
        ]
        return parts[0] if len(parts) == 1 else kernels.logic("and", parts)
