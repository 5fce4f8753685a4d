"""Wall-clock time: the same for a column and for one instant, and the standard library's."""

import zoneinfo
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from raypipe.core.zones import FIRST_AND_LAST, ZoneOffsets, offsets, part_columns, part_function

ZONES = (
    "UTC",
    "America/New_York",
    "Europe/London",
    "Europe/Moscow",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Africa/Freetown",
    "Asia/Gaza",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Kiritimati",
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
US = timedelta(microseconds=1)
MIN, MAX = -(2**63), 2**63 - 1
FIRST, LAST = (datetime.min.replace(tzinfo=UTC) - EPOCH) // US, (datetime.max.replace(tzinfo=UTC) - EPOCH) // US
DAY = 86_400_000_000


def us_of(text: str) -> int:
    return (datetime.fromisoformat(text) - EPOCH) // US


def expected_local(us: int, zone: str) -> datetime:
    return (EPOCH + us * US).astimezone(zoneinfo.ZoneInfo(zone)).replace(tzinfo=None)


def as_datetime(local_us: int) -> datetime:
    return datetime(1970, 1, 1) + local_us * US


def parts_of(at: datetime) -> dict[str, int]:
    return {
        "second": at.second,
        "minute": at.minute,
        "hour": at.hour,
        "weekday": at.weekday(),
        "day": at.day,
        "dayofyear": at.timetuple().tm_yday,
        "week": at.isocalendar().week,
        "month": at.month,
        "quarter": (at.month + 2) // 3,
        "year": at.year,
    }


def around_changes(table: ZoneOffsets) -> list[int]:
    inside = [us for us in table.starts_K.tolist() if FIRST + 2 * DAY < us < LAST - 2 * DAY]
    return [us + nudge for us in inside for nudge in (-1_000_000, -1, 0, 1)]


def instants_of(years: range) -> st.SearchStrategy[int]:
    return st.integers(us_of(f"{years.start}-01-01T00:00Z"), us_of(f"{years.stop}-01-01T00:00Z"))


instants = instants_of(range(1830, 2150)) | st.integers(FIRST + 2 * DAY, LAST - 2 * DAY)


@pytest.mark.parametrize("zone", ZONES)
def test_around_every_change_the_clock_is_the_standard_librarys(zone: str) -> None:
    table = offsets(zone)
    many = around_changes(table)[:2000] + around_changes(table)[-200:]
    assert [as_datetime(table.local(us)) for us in many] == [expected_local(us, zone) for us in many]


@given(zone=st.sampled_from(ZONES), us_N=st.lists(instants, min_size=1))
@example(zone="America/New_York", us_N=[us_of("1883-11-18T12:03:57Z"), us_of("1883-11-18T17:00:00Z")])
@example(zone="Europe/London", us_N=[us_of(f"{year}-06-30T23:59:59.999999Z") for year in (1900, 2037, 2038, 2100, 9000)])
def test_at_any_instant_the_clock_is_the_standard_librarys(zone: str, us_N: list[int]) -> None:
    local_N = offsets(zone).local_columns(np.array(us_N, np.int64)).tolist()
    assert [as_datetime(us) for us in local_N] == [expected_local(us, zone) for us in us_N]


@pytest.mark.parametrize("zone", sorted(zoneinfo.available_timezones())[::8])
def test_every_ten_days_of_three_centuries_many_zones_have_their_offset(zone: str) -> None:
    us_N = np.arange(us_of("1840-01-01T00:00Z"), us_of("2120-01-01T00:00Z"), 10 * DAY + 3_599_999_999)
    local_N = offsets(zone).local_columns(us_N).tolist()
    assert [as_datetime(us) for us in local_N] == [expected_local(us, zone) for us in us_N.tolist()]


@pytest.mark.parametrize(
    ("zone", "at", "wall"),
    [
        ("America/New_York", "1883-11-18T16:59:59Z", "1883-11-18T12:03:57"),
        ("America/New_York", "1883-11-18T17:00:00Z", "1883-11-18T12:00:00"),
        ("America/New_York", "2013-11-03T06:00:00Z", "2013-11-03T01:00:00"),
        ("Africa/Cairo", "2010-08-15T12:00:00Z", "2010-08-15T14:00:00"),
        ("Africa/Cairo", "2010-09-15T12:00:00Z", "2010-09-15T15:00:00"),
        ("Africa/Freetown", "1939-09-03T12:00:00Z", "1939-09-03T11:20:00"),
        ("Asia/Kathmandu", "2020-01-01T00:00:00Z", "2020-01-01T05:45:00"),
        ("Australia/Lord_Howe", "2020-01-01T00:00:00Z", "2020-01-01T11:00:00"),
        ("Pacific/Apia", "2011-12-30T09:59:59Z", "2011-12-29T23:59:59"),
        ("Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-31T00:00:00"),
        ("Europe/London", "9999-07-01T00:00:00Z", "9999-07-01T01:00:00"),
        ("Pacific/Kiritimati", "9999-12-31T12:00:00Z", "+10000-01-01T02:00:00"),
    ],
)
def test_clocks_known_from_history(zone: str, at: str, wall: str) -> None:
    local = offsets(zone).local(us_of(at))
    assert local == int(np.datetime64(wall.removeprefix("+"), "us").astype(np.int64))


@given(zone=st.sampled_from(ZONES), us_N=st.lists(st.integers(MIN, MAX) | instants))
@example(zone="Pacific/Kiritimati", us_N=[MIN, MAX, FIRST - 1, FIRST, LAST, LAST + 1])
@example(zone="America/New_York", us_N=[MIN])
@example(zone="America/New_York", us_N=[MAX, MAX])
def test_columns_and_single_instants_agree_on_any_int64(zone: str, us_N: list[int]) -> None:
    table = offsets(zone)
    local_N = table.local_columns(np.array(us_N, np.int64))
    assert local_N.dtype == np.int64
    assert local_N.tolist() == [table.local(us) for us in us_N]


@given(us_N=st.lists(st.integers(MIN, MAX) | st.integers(FIRST, LAST), min_size=1))
@example(us_N=[MIN, MAX, 0, -1, FIRST - 1, FIRST, LAST, LAST + 1])
def test_parts_of_columns_and_of_single_instants_agree_on_any_int64(us_N: list[int]) -> None:
    for part in FIRST_AND_LAST:
        column_N = part_columns(part, np.array(us_N, np.int64))
        assert column_N.dtype == np.int64
        assert column_N.tolist() == [part_function(part)(us) for us in us_N]


@given(us=st.integers(FIRST, LAST))
def test_parts_are_those_of_datetime_and_within_their_range(us: int) -> None:
    for part, expected in parts_of(as_datetime(us)).items():
        low, high = FIRST_AND_LAST[part]
        assert low <= part_function(part)(us) == expected <= high


def test_every_day_of_four_centuries_has_the_parts_of_datetime() -> None:
    us_N = np.arange(us_of("1799-12-25T00:00Z"), us_of("2200-01-08T00:00Z"), DAY)
    days = [parts_of(as_datetime(us)) for us in us_N.tolist()]
    for part in FIRST_AND_LAST:
        assert part_columns(part, us_N).tolist() == [day[part] for day in days]


def test_the_calendar_goes_on_outside_of_the_years_of_a_date() -> None:
    assert (part_function("year")(LAST + 1), part_function("month")(LAST + 1), part_function("day")(LAST + 1)) == (10_000, 1, 1)
    assert (part_function("year")(FIRST - 1), part_function("month")(FIRST - 1), part_function("day")(FIRST - 1)) == (0, 12, 31)
    assert part_function("weekday")(MIN) == int(part_columns("weekday", np.array([MIN], np.int64))[0])


@pytest.mark.parametrize("zone", ZONES)
def test_the_hours_and_days_are_those_of_arrow_from_1970_to_2037(zone: str) -> None:
    us_N = np.arange(us_of("1970-01-01T00:00Z"), us_of("2037-12-31T00:00Z"), 7 * 3_600_000_000 + 61_000_003)
    cells = pa.array(us_N, pa.timestamp("us", "UTC")).cast(pa.timestamp("us", zone))
    local_N = offsets(zone).local_columns(us_N)
    arrow = {"hour": pc.hour, "minute": pc.minute, "weekday": pc.day_of_week, "dayofyear": pc.day_of_year, "week": pc.iso_week}
    for part, kernel in arrow.items():
        np.testing.assert_array_equal(part_columns(part, local_N), kernel(cells).to_numpy())


def test_a_column_is_left_as_it_is() -> None:
    us_N = np.array([0, 1], np.int64)
    us_N.flags.writeable = False
    for zone in ("UTC", "America/New_York"):
        local_N = offsets(zone).local_columns(us_N)
        assert not np.shares_memory(local_N, us_N)
    assert offsets("UTC").local_columns(us_N[:0]).tolist() == []


def test_a_zone_is_built_once() -> None:
    assert offsets("America/New_York") is offsets("America/New_York")


@pytest.mark.parametrize("name", ["America/New_Yorc", "", "../etc/passwd", "America"])
def test_an_unknown_zone_is_refused_with_the_nearest_name(name: str) -> None:
    with pytest.raises(ValueError, match="unknown time zone") as caught:
        offsets(name)
    if name == "America/New_Yorc":
        assert "did you mean America/New_York" in str(caught.value)
