"""Wall-clock time, defined once for columns and for single values: offsets of a zone, and parts of a local instant.

A local instant is microseconds since 1970-01-01T00:00 on the clock of the zone (us_N: int64, N instants). Everything
is integer arithmetic in the proleptic Gregorian calendar, so a value gives the same part alone and in a column.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cache
from types import MappingProxyType
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from raypipe.core.instants import check_zone

CalendarPart = Literal["second", "minute", "hour", "weekday", "day", "dayofyear", "week", "month", "quarter", "year"]
FIRST_AND_LAST: Mapping[CalendarPart, tuple[int, int]] = MappingProxyType(
    {
        "second": (0, 59),
        "minute": (0, 59),
        "hour": (0, 23),
        "weekday": (0, 6),
        "day": (1, 31),
        "dayofyear": (1, 366),
        "week": (1, 53),
        "month": (1, 12),
        "quarter": (1, 4),
        "year": (1, 9999),
    }
)
"""Smallest and largest value of each part; weekday 0 is Monday, week is of ISO 8601. Years are those that a date has."""

_SECOND = 1_000_000
_MINUTE = 60 * _SECOND
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_EPOCH = date(1970, 1, 1).toordinal()
_LAST = date.max.toordinal()
_CYCLE_DAYS = 146_097  # days of 400 Gregorian years, a whole number of weeks: the calendar repeats after them
_MIN = -(2**63)
_ONE_SECOND = timedelta(seconds=1)
_STEP = timedelta(days=3)  # Freetown had four days of summer time in 1939, Gaza will have seven days of winter in 2040
_RULES_STEP = timedelta(days=28)  # by 2100 only rules with two changes a year are left, months apart


@dataclass(frozen=True, kw_only=True, eq=False)
class ZoneOffsets:
    """What the clocks of a zone are ahead of UTC, for any int64 instant; made by `offsets`.

    Attributes:
        zone: IANA name.
        starts_K: UTC instants in microseconds, ascending, at which an offset begins to hold; the first is the smallest int64.
        offsets_K: The offset from each start to the next, in microseconds.
    """

    zone: str
    starts_K: NDArray[np.int64]
    offsets_K: NDArray[np.int64]
    _starts: tuple[int, ...] = field(init=False, repr=False)
    _offsets: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Keep both as tuples too: bisecting those is several times faster than NumPy for one instant."""
        object.__setattr__(self, "_starts", tuple(self.starts_K.tolist()))
        object.__setattr__(self, "_offsets", tuple(self.offsets_K.tolist()))

    def local(self, us: int) -> int:
        """Local instant of one UTC instant."""
        return us + self._offsets[bisect_right(self._starts, us) - 1]

    def local_columns(self, us_N: NDArray[np.int64]) -> NDArray[np.int64]:
        """Local instants of UTC instants; a new array."""
        if not len(us_N):
            return us_N.copy()
        low, high = (bisect_right(self._starts, int(us)) - 1 for us in (us_N.min(), us_N.max()))
        # Only changes between the extremes are searched: a table of all years is much larger than the caches like.
        local_N: NDArray[np.int64]
        if low == high:
            local_N = us_N + self.offsets_K[low]
        else:
            at_N = np.searchsorted(self.starts_K[low + 1 : high + 1], us_N, side="right")
            local_N = us_N + self.offsets_K[low : high + 1][at_N]
        return local_N


@cache
def offsets(zone: str) -> ZoneOffsets:
    """Offsets of a zone, as `zoneinfo` has them: exact for the years 1 to 9999, and 0 outside of these.

    The clock is looked at every few days from 1800 to 2500, and each change is then found to the second. Before 1800
    every zone keeps its local mean time; after 2500 the 400 years from 2100 repeat, as calendar and yearly rules do.

    Raises:
        ValueError: an unknown zone, with the nearest known names.
    """
    changes = [(_MIN, 0), (_us(date.min), _offset_s(ZoneInfo(check_zone(zone)), date(1800, 1, 1)) * _SECOND)]
    changes += ((second * _SECOND, offset * _SECOND) for second, offset in _changes(ZoneInfo(zone)))
    cycle = [change for change in changes if change[0] >= _us(date(2100, 1, 1))]
    end = (_LAST + 1 - _EPOCH) * _DAY
    for repeat in range(1, 20):
        shift = repeat * _CYCLE_DAYS * _DAY
        changes += ((us + shift, offset) for us, offset in cycle if us + shift < end)
    changes.append((end, 0))
    table = np.array(changes, np.int64)
    starts_K, offsets_K = np.ascontiguousarray(table.T)
    return ZoneOffsets(zone=zone, starts_K=starts_K, offsets_K=offsets_K)


def part_columns(part: CalendarPart, local_us_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """One part of each local instant; any int64 has one, with the calendar continued before year 1 and after 9999."""
    return _COLUMNS[part](local_us_N)


def part_function(part: CalendarPart) -> Callable[[int], int]:
    """`part_columns` of one instant, with the part looked up already."""
    return _SCALARS[part]


def _us(day: date) -> int:
    return (day.toordinal() - _EPOCH) * _DAY


def _offset_s(clock: ZoneInfo, day: date) -> int:
    at = datetime(day.year, day.month, day.day, tzinfo=clock)
    return (clock.fromutc(at) - at) // _ONE_SECOND


def _changes(clock: ZoneInfo) -> Iterator[tuple[int, int]]:
    """Seconds since the epoch, and the offset in seconds that holds from then, for each change from 1800 to 2500."""
    at, epoch, rules, end = (datetime(year, 1, 1, tzinfo=clock) for year in (1800, 1970, 2100, 2500))
    before = clock.fromutc(at) - at
    while at < end:
        at_next = min(at + (_STEP if at < rules else _RULES_STEP), end)
        after = clock.fromutc(at_next) - at_next
        while before != after:  # a step may hold more than one change
            at += _holds(clock, at, at_next - at)
            before = clock.fromutc(at) - at
            yield (at - epoch) // _ONE_SECOND, before // _ONE_SECOND
        at = at_next


def _holds(clock: ZoneInfo, at: datetime, span: timedelta) -> timedelta:
    """How long the offset of `at` holds, to the second; at the end of `span` it is another."""
    before = clock.fromutc(at) - at

    def changed(after_s: int) -> bool:
        probe = at + timedelta(seconds=after_s)
        return clock.fromutc(probe) - probe != before

    span_s = span // _ONE_SECOND
    hour_s = 3600 * bisect_left(range(0, span_s, 3600), True, key=changed)
    high_s = min(hour_s, span_s)
    if changed(high_s - 1):  # else the change is on the hour, as nearly all are
        high_s = bisect_left(range(high_s), True, lo=hour_s - 3600, key=changed)
    return timedelta(seconds=high_s)


def _days_of(unit: str, years_or_months_N: NDArray[np.int64]) -> NDArray[np.int64]:
    return years_or_months_N.astype(f"M8[{unit}]").astype("M8[D]").astype(np.int64)


def _since(unit: str, days_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """Whole months or years since 1970, through days: the smallest int64 is a day too, and not NaT."""
    return days_N.astype("M8[D]").astype(f"M8[{unit}]").astype(np.int64)


def _of_clock(larger: int, smaller: int) -> Callable[[NDArray[np.int64]], NDArray[np.int64]]:
    # x - x // m * m in place of x % m: NumPy vectorises the division by a constant, and not the remainder.
    return lambda us_N: (us_N - us_N // larger * larger) // smaller


def _months(days_N: NDArray[np.int64]) -> NDArray[np.int64]:
    months_N = _since("M", days_N)
    return months_N - months_N // 12 * 12 + 1


def _week(days_N: NDArray[np.int64]) -> NDArray[np.int64]:
    thursday_N = (days_N + 3) // 7 * 7  # an ISO week belongs to the year of its Thursday, and 1970 began on one
    return (thursday_N - _days_of("Y", _since("Y", thursday_N))) // 7 + 1


_COLUMNS: Mapping[CalendarPart, Callable[[NDArray[np.int64]], NDArray[np.int64]]] = {
    "second": _of_clock(_MINUTE, _SECOND),
    "minute": _of_clock(_HOUR, _MINUTE),
    "hour": _of_clock(_DAY, _HOUR),
    "weekday": lambda us_N: _of_clock(7, 1)(us_N // _DAY + 3),
    "day": lambda us_N: us_N // _DAY - _days_of("M", _since("M", us_N // _DAY)) + 1,
    "dayofyear": lambda us_N: us_N // _DAY - _days_of("Y", _since("Y", us_N // _DAY)) + 1,
    "week": lambda us_N: _week(us_N // _DAY),
    "month": lambda us_N: _months(us_N // _DAY),
    "quarter": lambda us_N: (_months(us_N // _DAY) + 2) // 3,
    "year": lambda us_N: _since("Y", us_N // _DAY) + 1970,
}


def _date(us: int) -> date:
    """The day of a local instant, moved by whole cycles of 400 years into the years that `date` has."""
    ordinal = us // _DAY + _EPOCH
    return date.fromordinal(ordinal if 0 < ordinal <= _LAST else ordinal % _CYCLE_DAYS + _CYCLE_DAYS)


def _year(us: int) -> int:
    day = _date(us)
    return day.year + 400 * ((us // _DAY + _EPOCH - day.toordinal()) // _CYCLE_DAYS)


def _dayofyear(us: int) -> int:
    day = _date(us)
    return day.toordinal() - date(day.year, 1, 1).toordinal() + 1


_SCALARS: Mapping[CalendarPart, Callable[[int], int]] = {
    "second": lambda us: us // _SECOND % 60,
    "minute": lambda us: us // _MINUTE % 60,
    "hour": lambda us: us // _HOUR % 24,
    "weekday": lambda us: (us // _DAY + 3) % 7,
    "day": lambda us: _date(us).day,
    "dayofyear": _dayofyear,
    "week": lambda us: _date(us).isocalendar()[1],
    "month": lambda us: _date(us).month,
    "quarter": lambda us: (_date(us).month + 2) // 3,
    "year": _year,
}
