"""What a contract says of one column, and the words for what breaks it.

Text is read by one grammar a type, the same for CSV cells and JSON strings, without trimming:
int64 ``-?[0-9]+``; float64 a decimal number that is finite; bool ``true false 1 0`` in any case; timestamp ISO-8601 with
a zone (``2013-01-01T10:00:00Z``, ``...+01:00``, up to microseconds); date ``2013-01-01``. Instants, in UTC, and dates lie in
the years 1000 to 9999, typed ones too: what a table may hold, a request can say.
"""

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime
from types import MappingProxyType
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import BeforeValidator, FiniteFloat, model_validator

from raypipe.core.config import config

ColumnType = Literal["string", "int64", "float64", "bool", "timestamp", "date"]
Known = Literal["before", "later"]
Rule = Literal["type", "null", "min", "max", "one_of"]

ARROW_TYPES: Mapping[str, pa.DataType] = MappingProxyType(
    {
        "string": pa.string(),
        "int64": pa.int64(),
        "float64": pa.float64(),
        "bool": pa.bool_(),
        "timestamp": pa.timestamp("us", "UTC"),
        "date": pa.date32(),
    }
)
_CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?"
_DAY = r"[1-9][0-9]{3}-[01][0-9]-[0-3][0-9]"
NAIVE_TIMESTAMP = rf"{_DAY}([T ]{_CLOCK})?"
TEXT_GRAMMAR: Mapping[str, str] = MappingProxyType(
    {
        "int64": r"-?[0-9]+",
        "float64": r"-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?",
        "bool": r"[tT][rR][uU][eE]|[fF][aA][lL][sS][eE]|1|0",
        "timestamp": rf"{_DAY}[T ]{_CLOCK}(Z|[-+]([01][0-9]|2[0-3]):?[0-5][0-9])",
        "date": _DAY,
    }
)
_EXPECTED = {
    "string": "text",
    "int64": "a whole number (int64)",
    "float64": "a finite number (float64)",
    "bool": "true or false",
    "timestamp": "a timestamp such as 2013-01-01T10:00:00Z",
    "date": "a date such as 2013-01-01",
}
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
EXACT_INTEGERS = 2**53
FIRST_INSTANT, LAST_INSTANT = datetime(1000, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
FIRST_DATE, LAST_DATE = date(1000, 1, 1), date.max


def _from_shorthand(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


@config
class Column:
    """One declared column. In YAML, ``carrier: string`` is short for ``carrier: {type: string}``.

    Attributes:
        type: Type of the values; timestamps are microseconds in UTC.
        nullable: Whether null is allowed. A key column is never null, whatever this says.
        known: `later` for a value known only after the prediction time: never a feature.
        min: Smallest allowed number.
        max: Largest allowed number.
        one_of: The allowed values; null is allowed beside them when nullable.
    """

    type: ColumnType
    nullable: bool = True
    known: Known = "before"
    min: FiniteFloat | None = None
    max: FiniteFloat | None = None
    one_of: tuple[str | int | float | bool, ...] | None = None

    @model_validator(mode="after")
    def _settings_have_effect(self) -> "Column":
        if self.type not in ("int64", "float64") and (self.min is not None or self.max is not None):
            raise ValueError(f"min and max are for int64 and float64 columns, not {self.type}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is larger than max {self.max:g}")
        if self.one_of is not None:
            _check_choices(self.type, self.one_of)
        return self

    @property
    def arrow_type(self) -> pa.DataType:
        """Type of the checked column."""
        return ARROW_TYPES[self.type]

    @property
    def lowest(self) -> int | float | None:
        """`min` as a value of the column's own type, so that comparisons are exact."""
        if self.min is None or self.type == "float64":
            return self.min
        return max(math.ceil(self.min), INT64_MIN)

    @property
    def highest(self) -> int | float | None:
        """`max` as a value of the column's own type, so that comparisons are exact."""
        if self.max is None or self.type == "float64":
            return self.max
        return min(math.floor(self.max), INT64_MAX)

    @property
    def choices(self) -> tuple[str | int | float | bool, ...] | None:
        """`one_of` as values of the column's own type."""
        if self.one_of is None or self.type != "float64":
            return self.one_of
        return tuple(float(value) for value in self.one_of)

    def to_dict(self) -> dict[str, Any]:
        """As written in YAML, defaults left out."""
        out: dict[str, Any] = {"type": self.type}
        out |= {} if self.nullable else {"nullable": False}
        out |= {} if self.known == "before" else {"known": self.known}
        out |= {name: value for name, value in (("min", self.min), ("max", self.max)) if value is not None}
        return out | ({} if self.one_of is None else {"one_of": list(self.one_of)})


ColumnSetting = Annotated[Column, BeforeValidator(_from_shorthand)]


def _check_choices(kind: ColumnType, one_of: tuple[str | int | float | bool, ...]) -> None:
    allowed: dict[str, tuple[type, ...]] = {"string": (str,), "int64": (int,), "float64": (int, float), "bool": (bool,)}
    if kind not in allowed:
        raise ValueError(f"one_of is not for {kind} columns")
    if not one_of:
        raise ValueError("one_of is empty: no value would be allowed")
    wrong = [value for value in one_of if type(value) not in allowed[kind]]
    if wrong:
        raise ValueError(f"one_of holds {wrong[0]!r}, which is not a value of type {kind}")


def explain(rule: Rule, column: Column, value: object) -> str:
    """Why `value` breaks `rule`: what was found, and what was expected."""
    if rule == "null":
        return "is null"
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    if rule == "min":
        return f"{shown} is less than {column.min:g}"
    if rule == "max":
        return f"{shown} is more than {column.max:g}"
    if rule == "one_of":
        choices = column.one_of or ()
        listed = ", ".join(str(choice) for choice in choices[:5]) + (", ..." if len(choices) > 5 else "")
        return f"{shown} is not one of {listed}"
    return f"{shown} is not {_EXPECTED[column.type]}"
