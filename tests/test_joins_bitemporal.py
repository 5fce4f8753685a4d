"""What was known when: corrections, late news, delays and ties, against an oracle over all pairs of rows and against DuckDB."""

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.core.config import build
from raypipe.core.errors import ConfigError, DuplicateKeys
from raypipe.joins import WHY, WHYS, FeatureView, check_view, counts_of, look_up

INSTANT = pa.timestamp("us", "UTC")
START = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
EVENTS = pa.schema([("k", pa.string()), ("n", pa.int64()), ("at", INSTANT)])
ROWS = pa.schema(
    [("key", pa.string()), ("num", pa.int64()), ("since", INSTANT), ("known", INSTANT), ("rank", pa.int64()), ("x", pa.int64())]
)
HOUR = dt.timedelta(hours=1)

keys, numbers = st.sampled_from(["a", "b", None]), st.sampled_from([0, 1, None])
times = st.one_of(st.none(), st.integers(0, 8).map(lambda hour: START + hour * HOUR))
events = st.lists(st.fixed_dictionaries({"k": keys, "n": numbers, "at": times}), max_size=20)
ranks = st.sampled_from([None, 0, 1, 2, 3])
rows = st.lists(
    st.fixed_dictionaries({"key": keys, "num": numbers, "since": times, "known": times, "rank": ranks}), max_size=30
)
hours = st.sampled_from([None, 0 * HOUR, HOUR, 2 * HOUR])
Row = Mapping[str, Any]


def view_of(**settings: Any) -> FeatureView:
    base = {"table": "t", "entity": {"k": "key", "n": "num"}, "columns": ["x"], "event_time": "since", "known_time": "known"}
    return build({**base, **settings}, FeatureView)


def unique(found: Sequence[Row], key: Sequence[str]) -> pa.Table:
    """One row for each `key`; `x` says which row it is."""
    kept = {
        tuple(row[name] for name in key) + ((i,) if None in [row[name] for name in key[:3]] else ()): row
        for i, row in enumerate(found)
    }
    return pa.Table.from_pylist([{**row, "x": i} for i, row in enumerate(kept.values())], schema=ROWS)


def oracle(event: Row, found: Sequence[Row], view: FeatureView) -> Row | str:
    """The row that was known at the time of the event, or why there is none; looks at every row."""
    valid = [row for row in found if None not in [row[name] for name in view.key]]
    its = [row for row in valid if all(event[ours] == row[theirs] for ours, theirs in view.entity.items())]
    if None in (event["k"], event["n"]):
        return "no row of the entity"
    if event["at"] is None:
        return "no prediction time"
    lead = view.lead_time or dt.timedelta(0)
    usable = [r for r in its if r["since"] <= event["at"] - lead and (view.known_time is None or r["known"] <= event["at"])]
    if not usable:
        return "not known yet" if its else "no row of the entity"
    best = max(usable, key=lambda r: (r["since"], r["known"] if view.known_time else 0))
    return "older than ttl" if view.ttl is not None and event["at"] - best["since"] > view.ttl else best


def agrees(event_rows: Sequence[Row], view_rows: pa.Table, view: FeatureView) -> None:
    table = pa.Table.from_pylist(list(event_rows), schema=EVENTS)
    found = look_up(table, view, check_view("v", view, view_rows, limit_bytes=1 << 30), at="at").to_pylist()
    for event, got in zip(event_rows, found, strict=True):
        expected = oracle(event, view_rows.to_pylist(), view)
        assert (got["x"], WHYS[got[WHY]]) == ((None, expected) if isinstance(expected, str) else (expected["x"], "found"))


@given(events, rows, hours, hours)
def test_an_event_sees_what_was_known_at_its_time(event_rows: Any, view_rows: Any, ttl: Any, lead: Any) -> None:
    if ttl is not None and lead is not None and ttl < lead:
        ttl, lead = lead, ttl
    view = view_of(ttl=ttl, lead_time=lead)
    agrees(event_rows, unique(view_rows, view.key), view)


@given(events, rows, hours)
def test_a_view_without_known_time_is_known_at_its_event_time_after_the_lead(
    event_rows: Any, view_rows: Any, lead: Any
) -> None:
    view = view_of(known_time=None, lead_time=lead)
    agrees(event_rows, unique(view_rows, view.key), view)


@given(events, rows)
def test_what_is_learned_later_changes_nothing_before(event_rows: Any, view_rows: Any) -> None:
    view, cutoff = view_of(), START + 4 * HOUR
    all_rows = unique(view_rows, view.key)
    known = [row for row in all_rows.to_pylist() if row["known"] is not None and row["known"] <= cutoff]
    table = pa.Table.from_pylist([row for row in event_rows if row["at"] is not None and row["at"] <= cutoff], schema=EVENTS)
    ready = [
        check_view("v", view, found, limit_bytes=1 << 30) for found in (all_rows, pa.Table.from_pylist(known, schema=ROWS))
    ]
    now, then = (look_up(table, view, found, at="at").column("x") for found in ready)
    assert now.equals(then)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (1.0, None),
        (2.0, "first"),
        (4.9, "first"),
        (5.0, "newer"),
        (6.0, "newer"),
        (7.0, "newer, corrected"),
        (9, "newer, corrected"),
    ],
    ids=[
        "not known yet",
        "known",
        "before the next",
        "a newer one",
        "a late correction of the old one",
        "corrected",
        "for ever",
    ],
)
def test_a_late_correction_of_an_old_value_does_not_hide_a_newer_one(at: float, expected: str | None) -> None:
    found = [(1, 2, "first"), (4, 5, "newer"), (1, 6, "first, corrected"), (4, 7, "newer, corrected")]
    lines = [{"key": "a", "since": START + since * HOUR, "known": START + known * HOUR, "x": x} for since, known, x in found]
    view = build(
        {"table": "t", "entity": {"k": "key"}, "columns": ["x"], "event_time": "since", "known_time": "known"}, FeatureView
    )
    view_rows = pa.Table.from_pylist(lines).cast(
        pa.schema([("key", pa.string()), ("since", INSTANT), ("known", INSTANT), ("x", pa.string())])
    )
    event = pa.table({"k": ["a"], "at": pa.array([START + at * HOUR], INSTANT)})
    ready = check_view("v", view, view_rows, limit_bytes=1 << 30)
    assert look_up(event, view, ready, at="at").column("x").to_pylist() == [expected]
    assert ready.num_rows == 3  # the correction of the first came when a newer one was known: nobody ever sees it


def test_an_oracle_that_forgets_known_time_would_leak() -> None:
    """The same rows, joined by event time alone, give an event the value that was corrected after it."""
    lines = [{"key": "a", "num": 0, "since": START, "known": START + known * HOUR, "rank": 0, "x": known} for known in (0, 5)]
    event = pa.Table.from_pylist([{"k": "a", "n": 0, "at": START + HOUR}], schema=EVENTS)
    table = pa.Table.from_pylist(lines, schema=ROWS)
    careless = view_of(known_time=None, ties={"last": "known"})
    assert look_up(event, careless, check_view("v", careless, table, limit_bytes=1 << 20), at="at").column("x").to_pylist() == [
        5
    ]
    careful = view_of()
    assert look_up(event, careful, check_view("v", careful, table, limit_bytes=1 << 20), at="at").column("x").to_pylist() == [0]


@given(rows, st.sampled_from(["first", "last"]), st.booleans())
def test_ties_take_the_first_or_last_by_a_column_and_refuse_what_it_does_not_decide(found: Any, way: str, as_of: bool) -> None:  # noqa: FBT001
    settings = {"known_time": None} if as_of else {"event_time": None, "known_time": None}
    view = view_of(ties={way: "rank"}, **settings)
    table = pa.Table.from_pylist([{**row, "x": i} for i, row in enumerate(found)], schema=ROWS)
    groups: dict[Any, list[Row]] = {}
    for row in table.to_pylist():
        key = tuple(row[name] for name in view.key)
        if None not in key:
            groups.setdefault(key, []).append(row)
    best = {}
    for key, its in groups.items():
        ranked = [row["rank"] for row in its if row["rank"] is not None]
        wanted = None if not ranked else max(ranked) if way == "last" else min(ranked)
        best[key] = [row["x"] for row in its if row["rank"] == wanted]
    if any(len(x) > 1 for x in best.values()):
        with pytest.raises(DuplicateKeys, match="rank") as caught:
            check_view("v", view, table, limit_bytes=1 << 30)
        assert caught.value.num_duplicates == sum(len(x) - 1 for x in best.values())
    else:
        ready = check_view("v", view, table, limit_bytes=1 << 30)
        assert sorted(ready.column("x").to_pylist()) == sorted(x for (x,) in best.values())


def made(seed: int, num: int) -> tuple[pa.Table, pa.Table]:
    """Events, and rows with ties in neither, but equal event times and equal known times of different ones."""
    rng = np.random.default_rng(seed)
    hour_us = 3_600_000_000
    view = {
        "key": rng.integers(0, 60, num),
        "since": rng.integers(0, 400, num) * hour_us,
        "known": rng.integers(0, 500, num) * hour_us,
    }
    table = pa.table({"key": view["key"], **{name: pa.array(view[name], INSTANT) for name in ("since", "known")}})
    table = table.group_by(["key", "since", "known"], use_threads=False).aggregate([])
    table = table.append_column("x", pa.array(np.arange(table.num_rows)))
    at = pa.array(rng.integers(0, 600, num) * hour_us, INSTANT)
    return pa.table({"id": np.arange(num), "k": rng.integers(0, 66, num), "at": at}), table


def duckdb_says(sql: str, event_rows: pa.Table, view_rows: pa.Table) -> pa.Table:
    with duckdb.connect() as connection:
        connection.register("events", event_rows)
        connection.register("rows", view_rows)
        return connection.sql(sql).to_arrow_table()


def test_duckdb_gives_the_same_bitemporal_join() -> None:
    event_rows, view_rows = made(1, 4000)
    view = build(
        {"table": "t", "entity": {"k": "key"}, "columns": ["x", "since"], "event_time": "since", "known_time": "known"}
        | {"ttl": "60h", "lead_time": "3h"},
        FeatureView,
    )
    sql = """
        SELECT id, CASE WHEN "at" - since <= INTERVAL 60 HOUR THEN x END AS x FROM (
            SELECT e.id, v.x, v.since, e."at",
                ROW_NUMBER() OVER (PARTITION BY e.id ORDER BY v.since DESC NULLS LAST, v.known DESC NULLS LAST) AS place
            FROM events e LEFT JOIN rows v
                ON e.k = v.key AND v.since <= e."at" - INTERVAL 3 HOUR AND v.known <= e."at")
        WHERE place = 1 ORDER BY id
    """
    expected = duckdb_says(sql, event_rows, view_rows)
    found = look_up(event_rows, view, check_view("v", view, view_rows, limit_bytes=1 << 30), at="at")
    assert found.column("x").to_pylist() == expected.column("x").to_pylist()
    why = counts_of(found.column(WHY))
    assert set(why) == {"no row of the entity", "not known yet", "older than ttl"}
    assert sum(why.values()) == found.column("x").null_count < 0.9 * event_rows.num_rows


def test_duckdb_gives_the_same_plain_as_of_join() -> None:
    event_rows, view_rows = made(2, 4000)
    view_rows = (
        view_rows.group_by(["key", "since"], use_threads=False).aggregate([("x", "min")]).rename_columns(["key", "since", "x"])
    )
    view = build({"table": "t", "entity": {"k": "key"}, "columns": ["x"], "event_time": "since"}, FeatureView)
    sql = 'SELECT e.id, v.x FROM events e ASOF LEFT JOIN rows v ON e.k = v.key AND e."at" >= v.since ORDER BY e.id'
    expected = duckdb_says(sql, event_rows, view_rows)
    found = look_up(event_rows, view, check_view("v", view, view_rows, limit_bytes=1 << 30), at="at")
    assert found.column("x").to_pylist() == expected.column("x").to_pylist()


def test_a_row_that_was_found_and_holds_nulls_counts_apart() -> None:
    view = build({"table": "t", "entity": {"k": "key"}, "columns": ["x", "y"]}, FeatureView)
    table = pa.table({"key": ["a", "b"], "x": pa.array([1, None]), "y": pa.array([None, None], pa.int64())})
    event = pa.table({"k": ["a", "b", "c", None]})
    found = look_up(event, view, check_view("v", view, table, limit_bytes=1 << 20), at=None)
    assert counts_of(found.column(WHY)) == Counter({"no row of the entity": 2, "only nulls": 1})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"event_time": None, "known_time": "known"}, "has it as event_time"),
        ({"event_time": None, "lead_time": "1h"}, "lead_time"),
        ({"known_time": "since"}, "known_time is event_time"),
        ({"lead_time": dt.timedelta(-1)}, "lead_time is less than nothing"),
        ({"lead_time": "3h", "ttl": "2h"}, "too old before it can be used"),
        ({"ties": "latest"}, "ties"),
        ({"ties": {"latest": "x"}}, "ties"),
        ({"ties": {}}, "expected refuse"),
        ({"ties": {"first": "x", "last": "x"}}, "expected refuse"),
    ],
)
def test_views_that_cannot_be_are_refused(settings: dict[str, Any], words: str) -> None:
    base = {"table": "t", "entity": {"k": "key"}, "columns": ["x"], "event_time": "since"}
    with pytest.raises(ConfigError, match=words):
        build({**base, **settings}, FeatureView)
