"""Splits: half-open instants on the clock of a zone, and hashes that neither growth nor order of rows moves."""

import datetime as dt
from collections import Counter
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.core.config import build
from raypipe.core.digest import row_texts
from raypipe.core.errors import ConfigError
from raypipe.split import SPLITS, HashSplit, Split, TimeSplit

INSTANT = pa.timestamp("us", "UTC")
NEW_YORK = ZoneInfo("America/New_York")
WINDOWS = {  # over both changes of clocks of 2013 in New York: March 10 and November 3
    "train": ["2013-03-09", "2013-03-11"],
    "validation": ["2013-03-11", "2013-11-03"],
    "test": ["2013-11-03", "2013-11-04"],
}
SPLIT = build({**WINDOWS, "zone": "America/New_York"}, TimeSplit)


def at(*instants: dt.datetime | None) -> pa.Table:
    return pa.table({"at": pa.array(instants, INSTANT)})


def assigned(split: Split, rows: pa.Table, **names: Any) -> list[str | None]:
    found = split.assign(rows, key=names.get("key", ("id",)), at="at")
    assert isinstance(found, pa.Array)
    return found.to_pylist()


def local(text: str, fold: int = 0) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=NEW_YORK, fold=fold).astimezone(dt.UTC)


@pytest.mark.parametrize(
    ("instant", "expected"),
    [
        (local("2013-03-09T00:00:00"), "train"),
        (local("2013-03-08T23:59:59.999999"), None),
        (dt.datetime(2013, 3, 9, 5, tzinfo=dt.UTC), "train"),
        (dt.datetime(2013, 3, 9, 4, 59, 59, tzinfo=dt.UTC), None),
        (local("2013-03-10T23:59:59.999999"), "train"),
        (local("2013-03-11T00:00:00"), "validation"),
        (dt.datetime(2013, 3, 11, 4, tzinfo=dt.UTC), "validation"),  # summer time by now: four hours behind
        (dt.datetime(2013, 3, 11, 3, 59, tzinfo=dt.UTC), "train"),
        (local("2013-11-03T00:00:00"), "test"),
        (local("2013-11-03T01:30:00", fold=0), "test"),
        (local("2013-11-03T01:30:00", fold=1), "test"),
        (local("2013-11-03T23:59:59"), "test"),
        (dt.datetime(2013, 11, 4, 4, 59, tzinfo=dt.UTC), "test"),  # a day of 25 hours
        (dt.datetime(2013, 11, 4, 5, tzinfo=dt.UTC), None),
        (None, None),
    ],
)
def test_windows_are_half_open_on_the_clock_of_their_zone(instant: dt.datetime | None, expected: str | None) -> None:
    assert assigned(SPLIT, at(instant)) == [expected]


@given(st.lists(st.datetimes(dt.datetime(2013, 3, 8), dt.datetime(2013, 11, 5), timezones=st.just(dt.UTC)), max_size=30))
def test_each_row_is_judged_by_its_own_time(instants: list[dt.datetime]) -> None:
    def expected(instant: dt.datetime) -> str | None:
        clock = instant.astimezone(NEW_YORK).replace(tzinfo=None)
        found = [
            n for n, (low, high) in WINDOWS.items() if dt.datetime.fromisoformat(low) <= clock < dt.datetime.fromisoformat(high)
        ]
        return found[0] if found else None

    rows = at(*instants)
    assert assigned(SPLIT, rows) == [expected(i) for i in instants]
    chunks = pa.concat_tables([rows.slice(0, 0), *(rows.slice(i, 3) for i in range(0, rows.num_rows, 3))])
    assert assigned(SPLIT, chunks) == [expected(i) for i in instants]


@pytest.mark.parametrize(
    ("bound", "utc"),
    [
        ("2013-10-01", "2013-10-01T04:00:00+00:00"),
        ("2013-10-01T00:00:00Z", "2013-10-01T00:00:00+00:00"),
        ("2013-10-01T00:00:00", "2013-10-01T04:00:00+00:00"),
        ("2013-10-01T00:00:00+02:00", "2013-09-30T22:00:00+00:00"),
        ("2013-10-01 06:30", "2013-10-01T10:30:00+00:00"),
        (dt.date(2013, 10, 1), "2013-10-01T04:00:00+00:00"),
    ],
)
def test_a_bound_is_a_day_or_an_instant_and_a_zone_of_its_own_counts(bound: str | dt.date, utc: str) -> None:
    windows = {"train": ["2013-01-01", bound], "validation": [bound, "2013-11-01"], "test": ["2013-11-01", "2014-01-01"]}
    split = build({**windows, "zone": "America/New_York"}, TimeSplit)
    assert split.windows()["train"][1].isoformat() == utc


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"validation": ["2013-03-10", "2013-11-03"]}, "none overlapping"),
        ({"test": ["2013-11-02", "2013-11-04"]}, "none overlapping"),
        ({"train": ["2013-11-05", "2013-11-06"]}, "none overlapping"),
        ({"train": ["2013-03-11", "2013-03-09"]}, "train is empty"),
        ({"test": ["2013-11-03", "2013-11-03"]}, "test is empty"),
        ({"zone": "America/NewYork"}, "did you mean America/New_York"),
        ({"zone": ""}, "unknown time zone"),
        ({"train": ["2013-03-09", "tomorrow"]}, "expected a day or an instant"),
        ({"train": ["2013-02-30", "2013-03-11"]}, "expected a day or an instant"),
        ({"train": ["2013-03-09"]}, "train"),
        ({"validaton": ["2013-03-11", "2013-11-03"]}, "did you mean validation"),
    ],
)
def test_windows_that_cannot_be_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build({**WINDOWS, "zone": "America/New_York", **changes}, TimeSplit)


def test_there_may_be_gaps_between_windows() -> None:
    split = build({**WINDOWS, "validation": ["2013-03-20", "2013-04-01"]}, TimeSplit)
    assert assigned(split, at(dt.datetime(2013, 3, 15, tzinfo=dt.UTC), dt.datetime(2013, 3, 21, tzinfo=dt.UTC))) == [
        None,
        "validation",
    ]
    assert split.by_time
    assert split.columns == ()


def keyed(ids: list[Any], groups: list[Any] | None = None) -> pa.Table:
    return pa.table({"id": pa.array(ids), "group": pa.array(groups if groups is not None else ["g"] * len(ids))})


ids = st.lists(st.integers(-(2**62), 2**62), unique=True, min_size=1, max_size=40)


@given(ids, st.randoms(use_true_random=False))
def test_a_row_keeps_its_split_when_rows_come_go_and_move(values: list[int], random: Any) -> None:
    split = HashSplit()
    where = dict(zip(values, assigned(split, keyed(values)), strict=True))
    assert set(where.values()) <= set(SPLITS)
    moved = random.sample(values, random.randint(1, len(values)))
    assert assigned(split, keyed(moved)) == [where[value] for value in moved]


def test_shares_are_what_was_asked_for() -> None:
    found = Counter(assigned(HashSplit(train=0.7, validation=0.1, test=0.2), keyed(list(range(20_000)))))
    assert {name: round(num / 20_000, 2) for name, num in found.items()} == pytest.approx(
        {"train": 0.7, "validation": 0.1, "test": 0.2}, abs=0.011
    )


def test_the_assignment_is_the_same_on_every_machine_and_version() -> None:
    times = pa.array([dt.datetime(2013, 1, 1, hour, tzinfo=dt.UTC) for hour in range(8)], INSTANT)
    rows = pa.table({"id": pa.array([f"ü{i}" for i in range(8)]), "time": times})
    short = "".join(str(name)[0] for name in assigned(HashSplit(), rows, key=("id", "time")))
    assert short == "tvttvttt"


def test_the_seed_moves_rows() -> None:
    rows = keyed(list(range(500)))
    assert assigned(HashSplit(seed=1), rows) != assigned(HashSplit(seed=2), rows)
    assert assigned(HashSplit(seed=1), rows) == assigned(HashSplit(seed=1), rows)


@given(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=40))
def test_rows_of_a_group_stay_together(groups: list[str | None]) -> None:
    split = HashSplit(by=("group",))
    rows = keyed(list(range(len(groups))), pa.array(groups, pa.string()).to_pylist())
    where = assigned(split, rows.set_column(1, "group", pa.array(groups, pa.string())))
    assert len(set(zip(groups, where, strict=True))) == len(set(groups))
    assert split.columns == ("group",)
    assert not split.by_time


@pytest.mark.parametrize(
    "settings",
    [
        {"train": 0.5},
        {"train": 0.8, "validation": 0.2, "test": 0.0},
        {"train": 1.2, "validation": -0.4, "test": 0.2},
        {"by": []},
    ],
)
def test_shares_that_cannot_be_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        build(settings, HashSplit)


cells = st.one_of(st.none(), st.text(max_size=4))


@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=20, unique=True))
def test_different_keys_have_different_texts(rows: list[tuple[str | None, str | None]]) -> None:
    first, second = zip(*rows, strict=True)
    table = pa.table({"a": pa.array(first, pa.string()), "b": pa.array(second, pa.string())})
    assert len(set(row_texts(table, ["a", "b"]))) == len(rows)


def test_the_text_of_a_key_does_not_depend_on_how_arrow_holds_it() -> None:
    instants = [dt.datetime(2013, 1, 1, tzinfo=dt.UTC), None]
    texts = [
        row_texts(
            pa.table({"t": pa.array(instants, kind), "s": pa.array(["x", None], text), "n": pa.array([1, -2], number)}),
            ["t", "s", "n"],
        )
        for kind in (INSTANT, pa.timestamp("ms", "UTC"), pa.timestamp("ns", "UTC"), pa.timestamp("us", "America/New_York"))
        for text in (pa.string(), pa.large_string())
        for number in (pa.int64(), pa.int32())
    ]
    assert {tuple(t) for t in texts} == {("16:1356998400000000,1:x,1:1", "-,-,2:-2")}
