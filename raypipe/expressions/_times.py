"""Operations on timestamps, dates and durations. A clock is that of a named zone, UTC where none is named."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raypipe.core.instants import check_zone
from raypipe.core.zones import CalendarPart, offsets, part_columns, part_function
from raypipe.expressions import _numbers as numbers
from raypipe.expressions._kinds import DAY_US, HIGHEST, multiplied
from raypipe.expressions._operation import LITERAL, Function, Operation, numpy_values, where_valid

_UNITS = {"seconds": 1_000_000, "minutes": 60_000_000, "hours": 3_600_000_000, "days": DAY_US}
_LAST_DAY = HIGHEST // DAY_US  # a date later or earlier than this has no microseconds in int64
_CLOCK_PARTS: tuple[CalendarPart, ...] = ("second", "minute", "hour")
_DAY_PARTS: Mapping[CalendarPart, str] = {
    "weekday": "day of the week, 0 for Monday to 6",
    "day": "day of the month, 1 to 31",
    "dayofyear": "day of the year, 1 to 366",
    "week": "week of the year by ISO 8601, 1 to 53",
    "month": "month, 1 to 12",
    "quarter": "quarter, 1 to 4",
    "year": "year",
}


def _zone_problem(value: object) -> str:
    if not isinstance(value, str):
        return "expected the zone as a text literal, such as 'America/New_York'"
    try:
        check_zone(value)
    except ValueError as error:
        return str(error)
    return ""


def _local_columns(instants: pa.Array, zone: str) -> NDArray[np.int64]:
    return offsets(zone).local_columns(numpy_values(instants).astype(np.int64, copy=False))


def _of_timestamp(part: CalendarPart) -> tuple[Operation, ...]:
    one = part_function(part)

    def columns(instants: pa.Array, zone: str = "UTC") -> pa.Array:
        return where_valid(part_columns(part, _local_columns(instants, zone)), instants)

    def row(us: int, zone: str) -> int:
        return one(offsets(zone).local(us))

    return (
        Operation(takes=("timestamp",), gives="int64", columns=columns, row=one),
        Operation(takes=("timestamp", LITERAL), gives="int64", columns=columns, row=row),
    )


def _of_date(part: CalendarPart) -> Operation:
    one = part_function(part)

    def columns(days: pa.Array) -> pa.Array:
        instants = multiplied(days, DAY_US)
        return where_valid(part_columns(part, numpy_values(instants).astype(np.int64, copy=False)), instants)

    def row(days: int) -> int | None:
        return one(days * DAY_US) if -_LAST_DAY <= days <= _LAST_DAY else None

    return Operation(takes=("date",), gives="int64", columns=columns, row=row)


def _part(part: CalendarPart, *, meaning: str, operations: tuple[Operation, ...], of: str) -> Function:
    return Function(
        signature=f"{part}(t, 'zone')",
        gives="int64",
        meaning=f"{meaning}; a zone is for timestamps, UTC when left out",
        misfit=f"{part} needs a {of}, not {{kinds}}",
        operations=operations,
        options={1: _zone_problem},
    )


def _day_columns(instants: pa.Array, zone: str = "UTC") -> pa.Array:
    return where_valid(_local_columns(instants, zone) // DAY_US, instants)


def _day_row(us: int, zone: str) -> int:
    return offsets(zone).local(us) // DAY_US


def _duration(unit: str, microseconds: int) -> Function:
    def columns(counts: pa.Array) -> pa.Array:
        return multiplied(counts, microseconds)

    return Function(
        signature=f"{unit}(n)",
        gives="duration",
        meaning=f"a duration of n {unit}; null when too long",
        misfit=f"{unit} needs a whole number, not {{kinds}}",
        operations=(
            Operation(takes=("int64",), gives="duration", columns=columns, row=f"{{0}} * {microseconds}", valid="int64"),
        ),
    )


_DATE = Function(
    signature="date(t, 'zone')",
    gives="date",
    meaning="the day of a timestamp on the clock of the zone, UTC when left out",
    misfit="date needs a timestamp, not {kinds}",
    operations=(
        Operation(takes=("timestamp",), gives="date", columns=_day_columns, row=f"{{0}} // {DAY_US}"),
        Operation(takes=("timestamp", LITERAL), gives="date", columns=_day_columns, row=_day_row),
    ),
    options={1: _zone_problem},
)
TIME_FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {unit: _duration(unit, microseconds) for unit, microseconds in _UNITS.items()}
    | {"date": _DATE}
    | {
        part: _part(part, meaning=f"{part} on the clock", operations=_of_timestamp(part), of="timestamp")
        for part in _CLOCK_PARTS
    }
    | {
        part: _part(
            part, meaning=meaning, operations=(*_of_timestamp(part), _of_date(part)), of="timestamp, or a date and no zone"
        )
        for part, meaning in _DAY_PARTS.items()
    }
)


def _exactly(kernel: Callable[..., pa.Array], takes: tuple[str, ...], gives: str, row: str) -> Operation:
    return Operation(takes=takes, gives=gives, columns=kernel, row=row, valid="int64")


def _days_between(later: pa.Array, earlier: pa.Array) -> pa.Array:
    return multiplied(numbers.subtract_exactly(later, earlier), DAY_US)


def _ratio(left: pa.Array, right: pa.Array) -> pa.Array:
    return numbers.DIVIDE.columns(numbers.AS_FLOAT.columns(left), numbers.AS_FLOAT.columns(right))


_SPANS = ("duration", "duration")
ADD = (
    _exactly(numbers.add_exactly, ("timestamp", "duration"), "timestamp", "{0} + {1}"),
    _exactly(numbers.add_exactly, ("duration", "timestamp"), "timestamp", "{0} + {1}"),
    _exactly(numbers.add_exactly, _SPANS, "duration", "{0} + {1}"),
)
SUBTRACT = (
    _exactly(numbers.subtract_exactly, ("timestamp", "duration"), "timestamp", "{0} - {1}"),
    _exactly(numbers.subtract_exactly, ("timestamp", "timestamp"), "duration", "{0} - {1}"),
    _exactly(numbers.subtract_exactly, _SPANS, "duration", "{0} - {1}"),
    _exactly(_days_between, ("date", "date"), "duration", f"({{0}} - {{1}}) * {DAY_US}"),
)
DIVIDE = (
    Operation(takes=_SPANS, gives="float64", columns=_ratio, row="float({0}) / float({1}) if {1} else nan", valid="finite"),
)
WHOLE_DIVIDE = (Operation(takes=_SPANS, gives="int64", columns=numbers.divide_whole, row=numbers.whole_quotient),)
MODULO = (Operation(takes=_SPANS, gives="duration", columns=numbers.remainder_whole, row=numbers.REMAINDER),)
NEGATE = (_exactly(numbers.negate_exactly, ("duration",), "duration", "-{0}"),)
