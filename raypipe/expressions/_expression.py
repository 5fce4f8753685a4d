"""A compiled expression: a text and its tree, and the two back ends that compute it."""

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from raypipe.core.errors import FeatureError
from raypipe.core.naming import did_you_mean
from raypipe.expressions._columns import evaluated
from raypipe.expressions._grammar import columns_of, one_line, parse
from raypipe.expressions._kinds import ARROW_TYPES, TypesDoNotFit, kinds_of
from raypipe.expressions._rows import RowFunction, row_function
from raypipe.expressions._typed import Node, typed


@dataclass(frozen=True)
class Expression:
    """An expression over columns; make one with `compile_expression`.

    The value of a row depends on that row alone, and is the same to the last bit in both back ends. Null in gives null
    out, as in SQL; ``and``, ``or``, ``if``, `is_null` and `coalesce` say what else. A result without an exact or finite
    value is null: a division by zero, an int64 overflow, a logarithm of 0. ``/`` always gives float64. NaN is a value.

    Attributes:
        text: As written.
        columns: Columns it reads, in order of appearance.
    """

    text: str
    columns: tuple[str, ...]
    _tree: ast.expr = field(repr=False, compare=False)

    def evaluate(self, table: pa.Table) -> pa.Array:
        """The value of each row; timestamps are microseconds in UTC.

        Raises:
            FeatureError: when a column is not in the table, or types do not fit.
        """
        return evaluated(self._typed_by(table.schema), table)

    def type_in(self, schema: pa.Schema) -> pa.DataType:
        """Type of the result for tables of `schema`.

        Raises:
            FeatureError: as `evaluate` would.
        """
        return ARROW_TYPES[self._typed_by(schema).kind]

    def kind_in(self, kinds: Mapping[str, str]) -> str:
        """Kind of the result for columns of these kinds: bool, int64, float64, string, date, timestamp or duration.

        Raises:
            FeatureError: when a column is not among them, or kinds do not fit.
        """
        return self._typed(kinds).kind

    def row_function(self, kinds: Mapping[str, str]) -> RowFunction:
        """The expression as a fast function of one row, for columns of these kinds.

        It takes the values of `columns` by position, in that order, and gives the value, in plain form: a timestamp as int
        microseconds since the epoch in UTC, a date as int days since the epoch, a duration as int microseconds, and
        bool, int, float and str as they are; null is None.

        Raises:
            FeatureError: when a column is not among them, or kinds do not fit.
        """
        return row_function(self._typed(kinds), self.columns)

    def _typed_by(self, schema: pa.Schema) -> Node:
        self._check_columns(schema.names)
        try:
            kinds = kinds_of(schema, self.columns)
        except TypesDoNotFit as error:
            raise self._refused(error) from error
        return self._typed(kinds)

    def _typed(self, kinds: Mapping[str, str]) -> Node:
        self._check_columns(kinds)
        try:
            return typed(self._tree, kinds)
        except TypesDoNotFit as error:
            raise self._refused(error) from error

    def _check_columns(self, known: Iterable[str]) -> None:
        names = list(known)
        for name in self.columns:
            if name not in names:
                problem = f"unknown column {name}{did_you_mean(name, names)}"
                raise FeatureError(self.text, problem, "correct the expression or the table")

    def _refused(self, error: TypesDoNotFit) -> FeatureError:
        return FeatureError(self.text, str(error), "correct the expression, or the types of its columns")


def compile_expression(text: str) -> Expression:
    """Compile an expression such as ``time_hour + minutes(minute) - hours(1)`` or ``arr_delay > 15``.

    Raises:
        ConfigError: with a caret under what is not in the grammar.
    """
    line = one_line(text)
    tree = parse(line)
    return Expression(line, columns_of(tree), tree)
