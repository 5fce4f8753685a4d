"""Joins against an oracle that looks at every pair of rows: exact, and as of a point in time."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.core.config import build
from raypipe.core.errors import ConfigError, DuplicateKeys, ViewTooLarge
from raypipe.joins import FeatureView, Joins, check_view, join_view, view_column

LIMIT = Joins().broadcast_bytes
INSTANT = pa.timestamp("us", "UTC")
EVENTS = pa.schema([("row", pa.int64()), ("k", pa.string()), ("n", pa.int64()), ("at", INSTANT)])
ROWS = pa.schema([("key", pa.string()), ("num", pa.int64()), ("since", INSTANT), ("x", pa.float64()), ("label", pa.string())])
EXACT = FeatureView(table="t", entity={"k": "key", "n": "num"}, columns=("x", "label", "key"))
AS_OF = FeatureView(
    table="t", entity={"k": "key", "n": "num"}, columns=("x", "label", "since", "key"), event_time="since", ttl="3h"
)

texts = st.sampled_from(["a", "b", "", None])
numbers = st.sampled_from([0, 1, None])
START = dt.datetime(2013, 3, 10, 5, tzinfo=dt.UTC)  # the hours around a change of clocks in New York
times = st.one_of(st.none(), st.integers(0, 16).map(lambda half: START + dt.timedelta(minutes=30 * half)))
events = st.lists(st.fixed_dictionaries({"k": texts, "n": numbers, "at": times}), max_size=25)
views = st.lists(st.fixed_dictionaries({"key": texts, "num": numbers, "since": times}), max_size=25)
ttls = st.sampled_from([None, dt.timedelta(0), dt.timedelta(hours=1), dt.timedelta(hours=3)])


def event_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([{"row": i, **row} for i, row in enumerate(rows)], schema=EVENTS)


def view_table(rows: Sequence[Mapping[str, Any]], unique: Sequence[str]) -> pa.Table:
    """One row a key; null keys may repeat."""
    kept: dict[Any, Mapping[str, Any]] = {}
    for i, row in enumerate(rows):
        key = tuple(row[name] for name in unique)
        kept[(*key, i) if None in key else key] = {**row, "x": i / 2, "label": None if i % 5 == 0 else f"row {i}"}
    return pa.Table.from_pylist(list(kept.values()), schema=ROWS)


def oracle(event: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], view: FeatureView) -> Mapping[str, Any] | None:
    found = [
        row for row in rows if all(event[left] is not None and event[left] == row[right] for left, right in view.entity.items())
    ]
    if view.event_time is None:
        return found[0] if found else None
    if event["at"] is None:
        return None
    past = [row for row in found if row["since"] is not None and row["since"] <= event["at"]]
    if view.ttl is not None:
        past = [row for row in past if event["at"] - row["since"] <= view.ttl]
    return max(past, key=lambda row: row["since"], default=None)


def agrees(event_rows: pa.Table, view_rows: pa.Table, view: FeatureView) -> None:
    ready = check_view("v", view, view_rows, limit_bytes=LIMIT)
    joined = join_view(event_rows, "v", view, ready, at="at" if view.event_time else None)
    assert joined.select(event_rows.column_names).equals(event_rows)
    expected = [oracle(event, view_rows.to_pylist(), view) for event in event_rows.to_pylist()]
    for column in view.columns:
        name = view_column("v", column)
        assert joined.schema.field(name).type == ROWS.field(column).type
        assert joined.column(name).to_pylist() == [None if row is None else row[column] for row in expected], column


@given(events, views)
def test_an_exact_join_finds_the_row_of_the_entity_and_a_null_finds_nothing(event_rows, view_rows) -> None:
    agrees(event_table(event_rows), view_table(view_rows, EXACT.key), EXACT)


@given(events, views, ttls)
def test_an_as_of_join_finds_the_latest_row_that_is_not_later_and_not_too_old(event_rows, view_rows, ttl) -> None:
    view = FeatureView(table="t", entity=AS_OF.entity, columns=AS_OF.columns, event_time="since", ttl=ttl)
    agrees(event_table(event_rows), view_table(view_rows, view.key), view)


@given(events, views, st.integers(1, 7))
def test_an_event_gets_the_same_alone_in_company_and_in_any_chunks(event_rows, view_rows, size) -> None:
    table, ready = event_table(event_rows), check_view("v", AS_OF, view_table(view_rows, AS_OF.key), limit_bytes=LIMIT)
    whole = join_view(table, "v", AS_OF, ready, at="at")
    alone = [join_view(table.slice(i, 1), "v", AS_OF, ready, at="at") for i in range(table.num_rows)]
    assert pa.concat_tables([whole.slice(0, 0), *alone]).equals(whole)
    chunks = pa.concat_tables([table.slice(0, 0), *(table.slice(i, size) for i in range(0, table.num_rows, size))])
    assert join_view(chunks, "v", AS_OF, ready, at="at").equals(whole)


def hours(*values: float) -> list[dt.datetime]:
    return [START + dt.timedelta(hours=value) for value in values]


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (5.0, 1.0),
        (5.0 - 1 / 3600, None),
        (8.0, 1.0),
        (8.0 + 1 / 3600, None),
        (9.0, 2.0),
        (9.5, 3.0),
        (12.5, 3.0),
    ],
    ids=["at once", "a second before", "at the end of its ttl", "a second after", "a newer one", "newest", "last instant"],
)
def test_both_edges_of_the_window_count(at: float, expected: float | None) -> None:
    rows = pa.table({"key": ["a"] * 3, "num": [0] * 3, "since": hours(5, 9, 9.5), "x": [1.0, 2.0, 3.0], "label": [""] * 3})
    event = pa.table({"row": [0], "k": ["a"], "n": [0], "at": pa.array(hours(at), INSTANT)})
    ready = check_view("v", AS_OF, rows.cast(ROWS), limit_bytes=LIMIT)
    assert join_view(event, "v", AS_OF, ready, at="at").column("v_x").to_pylist() == [expected]


@pytest.mark.parametrize("view", [EXACT, AS_OF], ids=["exact", "as of"])
def test_a_key_that_repeats_is_refused_with_an_example(view: FeatureView) -> None:
    row = {"key": "a", "num": 1, "since": START, "x": 1.0, "label": "l"}
    rows = pa.Table.from_pylist([row, {**row, "x": 2.0}, {**row, "num": 2}, {**row, "x": 3.0}], schema=ROWS)
    with pytest.raises(DuplicateKeys, match=r"t \(view v\).*key=a, num=1") as caught:
        check_view("v", view, rows, limit_bytes=LIMIT)
    assert caught.value.num_duplicates == 2
    assert caught.value.key == view.key


def test_one_entity_may_have_many_rows_over_time() -> None:
    row = {"key": "a", "num": 1, "x": 1.0, "label": "l"}
    rows = pa.Table.from_pylist([{**row, "since": at} for at in hours(3, 1, 2)], schema=ROWS)
    assert check_view("v", AS_OF, rows, limit_bytes=LIMIT).column("since").to_pylist() == hours(1, 2, 3)


def test_a_view_over_the_limit_is_refused_with_both_sizes() -> None:
    row = {"key": "a", "num": 1, "since": START, "x": 1.0, "label": "l" * 1000}
    rows = pa.Table.from_pylist([{**row, "num": i} for i in range(100)], schema=ROWS)
    with pytest.raises(ViewTooLarge, match=r"joins.broadcast_bytes=10,000") as caught:
        check_view("v", EXACT, rows, limit_bytes=10_000)
    assert caught.value.num_bytes > 100_000
    small = FeatureView(table="t", entity=EXACT.entity, columns=("x",))
    assert check_view("v", small, rows, limit_bytes=10_000).num_rows == 100  # only the selected columns count


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"ttl": "3h"}, "ttl needs event_time"),
        ({"ttl": "3 fortnights", "event_time": "since"}, "90m, 3h or 7d"),
        ({"ttl": dt.timedelta(-1), "event_time": "since"}, "less than nothing"),
        ({"ttl": 3, "event_time": "since"}, "90m, 3h or 7d"),
        ({"ttl": "9999999999999d", "event_time": "since"}, "less than a billion days"),
        ({"entity": {"k": "key", "j": "key"}}, "entity names a column of the table twice"),
        ({"columns": []}, "columns"),
        ({"columns": ["x", "x"]}, "twice"),
        ({"entity": {}}, "entity"),
        ({"event_tme": "since"}, "did you mean event_time"),
    ],
)
def test_views_that_cannot_be_are_refused_when_they_are_built(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build({"table": "t", "entity": {"k": "key"}, "columns": ["x"], **settings}, FeatureView)
