"""Expressions of a contract, over the columns of a table and over one row: conditions, and values that they compute."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.contract._column import Column
from raypipe.contract._reasons import explain_row
from raypipe.contract._table_rules import RowRule
from raypipe.core.errors import ConfigError, FeatureError
from raypipe.core.kinds import ARROW
from raypipe.expressions import Expression, compile_expression

Cells = Mapping[str, object]
_EPOCH, _EPOCH_DAY, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), date(1970, 1, 1), timedelta(microseconds=1)


@dataclass(frozen=True)
class OverRow:
    """An expression over the typed columns of a contract."""

    text: str
    columns: Mapping[str, Column]

    @cached_property
    def expression(self) -> Expression:
        """Compiled."""
        return compile_expression(self.text)

    @property
    def kinds(self) -> dict[str, str]:
        """Kinds of the columns."""
        return {name: column.type for name, column in self.columns.items()}

    def problem(self, wanted: str) -> str:
        """Why it does not compile over these columns, or gives another type than `wanted`; else an empty text."""
        try:
            found = self.expression.kind_in(self.kinds)
        except (ConfigError, FeatureError) as error:
            return str(error)
        return "" if found == wanted else f"expression {self.text} gives {found}, not {wanted}"

    def over_columns(self, values: Mapping[str, pa.Array], num_rows: int) -> pa.Array:
        """Its value in each row."""
        names = self.expression.columns
        table = pa.Table.from_arrays([values[name] for name in names], names=list(names))
        return self.expression.evaluate(table if names else pa.table({"": pa.nulls(num_rows)}))

    @cached_property
    def over_row(self) -> Callable[[Cells], object]:
        """Its value in one row of natural values, in the plain form of expressions."""
        names, function = self.expression.columns, self.expression.row_function(self.kinds)
        if any(self.columns[name].type in ("timestamp", "date") for name in names):
            return lambda row: function(*(_to_plain(row[name]) for name in names))
        return lambda row: function(*(row[name] for name in names))


@dataclass(frozen=True)
class Condition:
    """A row rule, compiled."""

    name: str
    rule: RowRule
    over: OverRow

    def broken(self, values: Mapping[str, pa.Array], num_rows: int) -> pa.Array:
        """Rows that do not meet it: null is not true."""
        return pc.invert(pc.fill_null(self.over.over_columns(values, num_rows), fill_value=False))

    def explain(self, row: Cells) -> str:
        """Why a row of natural values does not meet it."""
        found = {name: row[name] for name in self.over.expression.columns}
        return explain_row(self.rule.expect, found, self.over.columns)


def natural(value: object, kind: str) -> object:
    """A plain value of an expression as rows have it.

    Raises:
        OverflowError: a time that Python has no value for.
    """
    if value is None or kind not in ("timestamp", "date"):
        return value
    assert isinstance(value, int)
    return _EPOCH + timedelta(microseconds=value) if kind == "timestamp" else _EPOCH_DAY + timedelta(days=value)


def as_type(values: pa.Array, column: Column) -> pa.Array:
    """What an expression gave, as the column's own type."""
    return values if values.type == column.arrow_type else values.cast(ARROW[column.type])


def _to_plain(value: object) -> object:
    if isinstance(value, datetime):
        return (value - _EPOCH) // _MICROSECOND
    return (value - _EPOCH_DAY).days if isinstance(value, date) else value
