"""The grammar of values, and the words for what breaks a rule.

Text is read by one grammar a type, the same for CSV cells and JSON strings, without trimming:
int64 ``-?[0-9]+``; float64 a decimal number that is finite; bool ``true false 1 0`` in any case; timestamp ISO-8601 with
a zone (``2013-01-01T10:00:00Z``, ``...+01:00``, up to microseconds); date ``2013-01-01``; lists as JSON; bytes (binary) in
base64, with its padding. Instants, in UTC, and dates lie in the years 1000 to 9999, typed ones too: what a table may hold, a
request can say. A list holds no nulls.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from types import MappingProxyType
from typing import Literal

ColumnType = Literal[
    "string", "int64", "float64", "bool", "timestamp", "date", "list<string>", "list<int64>", "vector", "binary"
]  # the kinds of `core.kinds` that text and JSON can say
Known = Literal["before", "later"]
Severity = Literal["quarantine", "fail", "warn"]
Rule = Literal["type", "null", "min", "max", "min_length", "max_length", "one_of", "regex", "outliers"]
Scalar = str | int | float | bool
HIDDEN = "***"

_CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?"
_DAY = r"[1-9][0-9]{3}-[01][0-9]-[0-3][0-9]"
NAIVE_TIMESTAMP = rf"{_DAY}([T ]{_CLOCK})?"
LOCAL_TIMESTAMP = rf"{_DAY}[T ]{_CLOCK}"
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
    "list<string>": 'a list of texts such as ["a", "b"]',
    "list<int64>": "a list of whole numbers such as [1, 2]",
    "vector": "a list of finite numbers such as [0.5, 1]",
    "binary": "bytes, in text as base64 such as iVBORw==",
}
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
EXACT_INTEGERS = 2**53
FIRST_INSTANT, LAST_INSTANT = datetime(1000, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
FIRST_DATE, LAST_DATE = date(1000, 1, 1), date.max
_SHOWN, _LISTED = 60, 5


def shown(value: object) -> str:
    """A value in a reason: short."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def not_of_type(kind: ColumnType, cell: str, *, naive: bool = False) -> str:
    """Why a cell, shown as `cell`, is not a value; `naive` for a time that lacks only its zone."""
    if naive:
        return f"{cell} has no time zone; expected a timestamp such as 2013-01-01T10:00:00Z"
    return f"{cell} is not {_EXPECTED[kind]}"


def listed(choices: tuple[Scalar, ...]) -> str:
    """The first few of the allowed values."""
    return ", ".join(str(choice) for choice in choices[:_LISTED]) + (", ..." if len(choices) > _LISTED else "")
