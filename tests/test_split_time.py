"""Gaps between windows, and labels that are known only later: exact to the microsecond, each row counted by its reason."""

import datetime as dt
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.core.config import build
from raypipe.core.errors import ConfigError
from raypipe.split import SPLITS, TimeSplit

WINDOWS = {
    "train": ["2020-01-01", "2020-01-11"],
    "validation": ["2020-01-12", "2020-01-16"],
    "test": ["2020-01-16", "2020-01-21"],
}
INSTANT = pa.timestamp("us", "UTC")
START = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
DAY, TICK = dt.timedelta(days=1), dt.timedelta(microseconds=1)
LATE = "label not known at the end of the {} window"
CLOSE = "in the gap before the {} window"


def split_of(**settings: Any) -> TimeSplit:
    return build({**WINDOWS, **settings}, TimeSplit)


def assigned(split: TimeSplit, *times: dt.datetime | None) -> list[str | None]:
    return split.assign(pa.table({"at": pa.array(times, INSTANT)}), key=("id",), at="at").to_pylist()


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (START + 8 * DAY, "train"),
        (START + 8 * DAY + TICK, LATE.format("train")),
        (START + 10 * DAY - TICK, LATE.format("train")),
        (START + 10 * DAY, None),
        (START + 11 * DAY, "validation"),
        (START + 13 * DAY, "validation"),
        (START + 13 * DAY + TICK, LATE.format("validation")),
        (START + 15 * DAY, "test"),
        (START + 20 * DAY - TICK, "test"),
    ],
)
def test_a_row_shapes_the_model_only_when_its_label_is_known_at_the_end_of_its_window(at: dt.datetime, expected: Any) -> None:
    assert assigned(split_of(label_delay="2d"), at) == [expected]


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (START + 9 * DAY, "train"),
        (START + 9 * DAY + TICK, CLOSE.format("validation")),
        (START + 10 * DAY, None),
        (START + 13 * DAY, "validation"),
        (START + 13 * DAY + TICK, CLOSE.format("test")),
        (START + 15 * DAY, "test"),
    ],
)
def test_rows_less_than_a_gap_before_the_next_window_are_set_aside(at: dt.datetime, expected: Any) -> None:
    assert assigned(split_of(gap="2d"), at) == [expected]  # a day of it lies between train and validation already


times = st.integers(-2 * 24 * 60, 23 * 24 * 60).map(lambda minutes: START + dt.timedelta(minutes=minutes))
waits = st.sampled_from([0, 1, 90, 1440, 2880]).map(lambda minutes: dt.timedelta(minutes=minutes))


@given(st.lists(times, min_size=1, max_size=40), waits, waits)
def test_no_label_and_no_gap_is_crossed(instants: list[dt.datetime], gap: dt.timedelta, delay: dt.timedelta) -> None:
    split, plain = split_of(gap=gap, label_delay=delay), split_of()
    windows = split.windows()
    for at, name, before in zip(instants, assigned(split, *instants), assigned(plain, *instants), strict=True):
        if name in ("train", "validation"):
            following = windows[SPLITS[SPLITS.index(name) + 1]][0]
            assert at + delay <= windows[name][1]
            assert following - at >= gap
        assert name == before or (name is not None and name not in SPLITS and before in ("train", "validation"))
        if before in ("train", "validation") and name != before:
            following = windows[SPLITS[SPLITS.index(before) + 1]][0]
            assert at + delay > windows[before][1] or following - at < gap


def test_a_row_without_a_time_is_in_no_window() -> None:
    assert assigned(split_of(gap="1d", label_delay="1d"), None) == [None]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"gap": dt.timedelta(-1)}, "gap is less than nothing"),
        ({"label_delay": "-1h"}, "label_delay"),
        ({"label_delay": "4d"}, "window validation is no longer than label_delay"),
        ({"label_delay": "10d"}, "window train is no longer than label_delay"),
        ({"gap": "4d"}, "window validation is all in the gap before the test window"),
        ({"gap": "2 weeks"}, "90m, 3h or 7d"),
    ],
)
def test_gaps_and_delays_that_leave_no_rows_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        split_of(**settings)
