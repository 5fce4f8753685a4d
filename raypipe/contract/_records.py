"""The check of one cell of a JSON record in plain Python: the same verdicts as for columns.

JSON types are strict: ``"3"`` is not 3, true is not 1, 3.0 is not a whole number; 3 is fine for a float. NaN and infinities
are refused. A key that is absent is a null.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from types import MappingProxyType

from raypipe.contract._rules import (
    EXACT_INTEGERS,
    FIRST_INSTANT,
    LAST_INSTANT,
    NAIVE_TIMESTAMP,
    TEXT_GRAMMAR,
    Column,
    Rule,
    explain,
)

Reader = Callable[[object], object]
_TIMESTAMP = re.compile(TEXT_GRAMMAR["timestamp"])
_DATE = re.compile(TEXT_GRAMMAR["date"])
_NAIVE = re.compile(NAIVE_TIMESTAMP)


class Refused(Exception):  # a verdict that travels between two functions of this package, not an error of ours
    """A cell breaks a rule."""

    def __init__(self, column: str, rule: Rule, reason: str) -> None:
        super().__init__(column, rule, reason)
        self.column, self.rule, self.reason = column, rule, reason


@dataclass(frozen=True, kw_only=True)
class RecordColumn:
    """How the cells of the column `name` are read from records."""

    name: str
    column: Column
    nullable: bool
    read: Reader
    bounded: bool

    @classmethod
    def of(cls, name: str, column: Column, *, nullable: bool) -> "RecordColumn":
        """The reader of a declared column."""
        bounded = not (column.lowest is None and column.highest is None and column.choices is None)
        return cls(name=name, column=column, nullable=nullable, read=_READERS[column.type], bounded=bounded)

    def value(self, cell: object) -> object:
        """The typed value of a cell.

        Raises:
            Refused: with the first rule that the cell breaks.
        """
        if cell is None:
            if self.nullable:
                return None
            raise Refused(self.name, "null", "is null or missing")
        try:
            value = self.read(cell)
        except (ValueError, OverflowError) as error:
            raise Refused(self.name, "type", self._why(cell)) from error
        if self.bounded:
            self._check_bounds(value)
        return value

    def _check_bounds(self, value: object) -> None:
        column = self.column
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if column.lowest is not None and value < column.lowest:
                raise Refused(self.name, "min", explain("min", column, value))
            if column.highest is not None and value > column.highest:
                raise Refused(self.name, "max", explain("max", column, value))
        if column.choices is not None and value not in column.choices:
            raise Refused(self.name, "one_of", explain("one_of", column, value))

    def _why(self, cell: object) -> str:
        if self.column.type == "timestamp" and isinstance(cell, str) and _NAIVE.fullmatch(cell):
            return f"{cell!r} has no time zone; expected a timestamp such as 2013-01-01T10:00:00Z"
        return explain("type", self.column, cell)


def _string(cell: object) -> object:
    if type(cell) is not str:
        raise ValueError
    if not cell.isascii():
        cell.encode()  # a lone surrogate is not text; UnicodeEncodeError is a ValueError
    return cell


def _int64(cell: object) -> object:
    if type(cell) is not int or not -(2**63) <= cell < 2**63:
        raise ValueError
    return cell


def _float64(cell: object) -> object:
    if type(cell) is float and math.isfinite(cell):
        return cell
    if type(cell) is int and -EXACT_INTEGERS <= cell <= EXACT_INTEGERS:
        return float(cell)
    raise ValueError


def _bool(cell: object) -> object:
    if type(cell) is not bool:
        raise ValueError
    return cell


def _timestamp(cell: object) -> object:
    if type(cell) is not str or not _TIMESTAMP.fullmatch(cell):
        raise ValueError
    at = datetime.fromisoformat(cell)
    if at.tzinfo is not UTC:
        at = at.astimezone(UTC)
        if not FIRST_INSTANT <= at <= LAST_INSTANT:
            raise ValueError
    return at


def _date(cell: object) -> object:
    if type(cell) is not str or not _DATE.fullmatch(cell):
        raise ValueError
    return date.fromisoformat(cell)


_READERS: Mapping[str, Reader] = MappingProxyType(
    {"string": _string, "int64": _int64, "float64": _float64, "bool": _bool, "timestamp": _timestamp, "date": _date}
)
