"""The check of one cell of a JSON record in plain Python: the same verdicts as for columns.

JSON types are strict: ``"3"`` is not 3, true is not 1, 3.0 is not a whole number; 3 is fine for a float. NaN and infinities
are refused. A key that is absent is a null.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType

from raypipe.contract._bytes import bytes_of
from raypipe.contract._cleaning import WHITESPACE, normalized, takes_nan, whole_bound
from raypipe.contract._column import Column, sentinels
from raypipe.contract._lists import list_reader
from raypipe.contract._patterns import fits
from raypipe.contract._reasons import explain
from raypipe.contract._rules import (
    EXACT_INTEGERS,
    FIRST_DATE,
    FIRST_INSTANT,
    LAST_DATE,
    LAST_INSTANT,
    LOCAL_TIMESTAMP,
    NAIVE_TIMESTAMP,
    TEXT_GRAMMAR,
    Rule,
)
from raypipe.contract._steps import NullIf, OutlierBounds, Outliers, Step, Unicode

Reader = Callable[[object], object]
Breaks = Callable[[object], bool]
_TIMESTAMP = re.compile(TEXT_GRAMMAR["timestamp"])
_DATE = re.compile(TEXT_GRAMMAR["date"])
_NAIVE, _LOCAL = re.compile(NAIVE_TIMESTAMP), re.compile(LOCAL_TIMESTAMP)
_AN_OUTLIER = object()
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_TIMES: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "timestamp": ((FIRST_INSTANT - _EPOCH) // _MICROSECOND, (LAST_INSTANT - _EPOCH) // _MICROSECOND),
        "date": ((FIRST_DATE - _EPOCH.date()).days, (LAST_DATE - _EPOCH.date()).days),
    }
)
"""First and last values in the plain form of expressions: microseconds, and days, since 1970."""


class Refused(Exception):  # a verdict that travels between two functions of this package, not an error of ours
    """A cell breaks a rule."""

    def __init__(self, column: str, rule: str, reason: str) -> None:
        super().__init__(column, rule, reason)
        self.column, self.rule, self.reason = column, rule, reason


@dataclass(frozen=True, kw_only=True)
class RecordColumn:
    """How the cells of the column `name` are read from records.

    Attributes:
        name: Name of the column.
        column: What the contract says of it.
        nullable: Whether null is allowed.
        key: Whether it is in the key, where null is never kept.
        read: From a cell to a value; raises ValueError for a cell that is none.
        before: Steps on cells before they are read.
        after: Steps on values.
        rules: What a value that is there may break, in order.
    """

    name: str
    column: Column
    nullable: bool
    key: bool
    read: Reader
    before: tuple[Reader, ...]
    after: tuple[Reader, ...]
    rules: tuple[tuple[Rule, Breaks], ...]

    @classmethod
    def of(cls, name: str, column: Column, *, nullable: bool, key: bool = False) -> "RecordColumn":
        """The reader of a declared column."""
        early = column.early_steps
        return cls(
            name=name,
            column=column,
            nullable=nullable,
            key=key,
            read=_in_utc if column.zone else _READERS.get(column.type) or list_reader(column.type),
            before=tuple(clean for step in early if (clean := _of_cells(step, column))),
            after=() if column.type == "string" else value_steps(column, early),
            rules=() if column.severity == "warn" else _rules(column),
        )

    @property
    def is_plain(self) -> bool:
        """Whether type, null, bounds and allowed values are all that is asked, so that a line of code settles most cells."""
        return not self.before and not self.after and all(rule in ("min", "max", "one_of") for rule, _ in self.rules)

    def value(self, cell: object) -> object:
        """The typed value of a cell.

        Raises:
            Refused: with the first rule that the cell breaks.
        """
        return self.judged(self.typed(cell))

    def typed(self, cell: object) -> object:
        """The value of a cell after the steps before an expression, by no rule but the type.

        Raises:
            Refused: a cell that is no value of the type.
        """
        for step in self.before:
            cell = step(cell)
        if cell is None:
            return None
        try:
            value = self.read(cell)
        except (ValueError, OverflowError) as error:
            naive = isinstance(cell, str) and self.column.type == "timestamp" and bool(_NAIVE.fullmatch(cell))
            raise Refused(self.name, "type", explain("type", self.column, cell, naive=naive)) from error
        return self.stepped(value, self.after)

    def stepped(self, value: object, steps: Sequence[Reader]) -> object:
        """The value after steps.

        Raises:
            Refused: an outlier that is set aside.
        """
        for step in steps:
            after = step(value) if value is not None else None
            if after is _AN_OUTLIER:
                raise Refused(self.name, "outliers", explain("outliers", self.column, value))
            value = after
        return value

    def judged(self, value: object) -> object:
        """The value, if it keeps the rules.

        Raises:
            Refused: with the first rule that it breaks.
        """
        if value is None:
            if self.nullable or (self.column.severity == "warn" and not self.key):
                return None
            raise Refused(self.name, "null", "is null or missing")
        for rule, breaks in self.rules:
            if breaks(value):
                raise Refused(self.name, rule, explain(rule, self.column, value))
        return value


def value_steps(column: Column, steps: Sequence[Step]) -> tuple[Reader, ...]:
    """Steps on values as functions; an outlier that is set aside becomes a mark."""
    return tuple(clean for step in steps if (clean := _of_values(step, column)))


def is_value(plain: object, kind: str) -> bool:
    """Whether what an expression gave, in its plain form, is a value that a table may hold: times have years 1000 to 9999."""
    if kind not in _TIMES or not isinstance(plain, int):
        return True
    first, last = _TIMES[kind]
    return first <= plain <= last


def _of_cells(step: Step, column: Column) -> Reader | None:
    match step:
        case "trim":
            return lambda cell: cell.strip(WHITESPACE) if type(cell) is str else cell
        case Unicode(unicode=form):
            return lambda cell: normalized(cell, form) if type(cell) is str else cell
        case NullIf():
            texts, nan = frozenset(sentinels(column, step)[0]), takes_nan(step)
            return lambda cell: None if _is_sentinel(cell, texts) or (nan and cell != cell) else cell  # NaN
    return None


def _is_sentinel(cell: object, texts: frozenset[str]) -> bool:
    return type(cell) is str and cell in texts


def _of_values(step: Step, column: Column) -> Reader | None:
    match step:
        case NullIf():
            texts, found = sentinels(column, step)
            taken = frozenset(texts if column.type == "string" else found)
            return (lambda value: None if value in taken else value) if taken else None
        case Outliers(outliers=bounds) if bounds.quantiles is None:
            return _outliers(bounds, column)
    return None


def _outliers(bounds: OutlierBounds, column: Column) -> Reader:
    own = {"float64": lambda bound, _: bound, "int64": whole_bound}[column.type]
    low = -math.inf if bounds.below is None else own(bounds.below, "below")
    high = math.inf if bounds.above is None else own(bounds.above, "above")
    below, above = {"cap": (low, high), "null": (None, None), "quarantine": (_AN_OUTLIER, _AN_OUTLIER)}[bounds.then]
    return lambda value: below if value < low else above if value > high else value  # type: ignore[operator]  # a number


def _rules(column: Column) -> tuple[tuple[Rule, Breaks], ...]:
    low, high, choices, pattern = column.lowest, column.highest, column.choices, column.regex
    shortest, longest = column.min_length, column.max_length
    rules: list[tuple[Rule, Breaks]] = []
    if low is not None:
        rules.append(("min", lambda value: value < low))
    if high is not None:
        rules.append(("max", lambda value: value > high))
    if shortest is not None:
        rules.append(("min_length", lambda value: len(value) < shortest))  # type: ignore[arg-type]  # a text or list
    if longest is not None:
        rules.append(("max_length", lambda value: len(value) > longest))  # type: ignore[arg-type]  # a text or list
    if choices is not None:
        rules.append(("one_of", lambda value: value not in choices))
    if pattern is not None:
        rules.append(("regex", lambda value: not fits(pattern)(value)))  # type: ignore[arg-type]  # a text
    return tuple(rules)


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


def _in_utc(cell: object) -> object:
    return _timestamp(f"{cell}Z" if type(cell) is str and _LOCAL.fullmatch(cell) else cell)


def _date(cell: object) -> object:
    if type(cell) is not str or not _DATE.fullmatch(cell):
        raise ValueError
    return date.fromisoformat(cell)


_READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "string": _string,
        "int64": _int64,
        "float64": _float64,
        "bool": _bool,
        "timestamp": _timestamp,
        "date": _date,
        "binary": bytes_of,
    }
)
