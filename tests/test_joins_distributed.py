"""Broadcast and distributed joins: the same to the row, whatever the partitions, the skew, and the files."""

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shops import START, Shop, orders, write_csv

from raypipe.core.config import build
from raypipe.core.errors import DuplicateKeys
from raypipe.core.storage import Storage, list_files, write_bytes
from raypipe.joins import FeatureView, Joins, PartitionedJoin, check_view, look_up, read_columns
from raypipe.joins._distributed import _batch, _write_cut, cut
from raypipe.prepare import Collection, Joined, Prepared, collect, enrich, placed_views

INSTANT = pa.timestamp("us", "UTC")
HOUR_US = 3_600_000_000
KEYS = pa.schema([("k", pa.string()), ("n", pa.int64()), ("at", INSTANT)])
ENTITY = {"k": "key", "n": "num"}
EXACT = FeatureView(table="t", entity=ENTITY, columns=("x", "text"))
AS_OF = build(
    {"table": "t", "entity": ENTITY, "columns": ["x", "text", "since"], "event_time": "since", "known_time": "known"}
    | {"ttl": "100h", "lead_time": "2h", "ties": {"last": "x"}},
    FeatureView,
)


def events(num: int, seed: int, names: int = 30) -> pa.Table:
    """Keys of every kind: of the view and not, null, one of them half of all."""
    rng = np.random.default_rng(seed)
    texts = [None if i == 0 else "hot" if i < names // 2 else f"e{i}" for i in rng.integers(0, names, num)]
    numbers = pa.array(rng.integers(0, 3, num), mask=rng.random(num) < 0.1)
    at = pa.array(rng.integers(0, 500, num) * HOUR_US, INSTANT, mask=rng.random(num) < 0.1)
    return pa.table({"k": pa.array(texts, pa.string()), "n": numbers, "at": at})


def view_rows(num: int, seed: int) -> pa.Table:
    keys = events(num, seed, names=34)
    rng = np.random.default_rng(seed + 1)
    known = pa.array(rng.integers(0, 500, num) * HOUR_US, INSTANT)
    text = pa.array([f"text {i}" for i in range(num)], mask=rng.random(num) < 0.3)
    return pa.table(
        {"key": keys["k"], "num": keys["n"], "since": keys["at"], "known": known, "x": np.arange(num), "text": text}
    )


def files(folder: Path, rows: pa.Table, bounds: list[int]) -> tuple[str, ...]:
    folder.mkdir()
    uris = []
    for i, (start, stop) in enumerate(zip([0, *bounds], [*bounds, rows.num_rows], strict=True)):
        pq.write_table(rows.slice(start, stop - start), folder / f"{i}.parquet")
        uris.append(str(folder / f"{i}.parquet"))
    return tuple(uris)


def read_keys(uri: str) -> pa.Table:
    return read_columns(uri, KEYS)


def partitioned(folder: Path, view: FeatureView, event_rows: pa.Table, rows: pa.Table, **settings: Any) -> PartitionedJoin:
    return PartitionedJoin(
        name="v",
        view=view,
        schema=rows.schema,
        view_uris=files(folder / "view", rows, [100, 100, 700]) if rows.num_rows else (),
        event_uris=files(folder / "events", event_rows, [0, 500, 1400]),
        keys_of=read_keys,
        at="at" if view.event_time else None,
        uri=str(folder / "scratch"),
        **{"num_partitions": 7, "partition_bytes": 4096, **settings},
    )


@pytest.mark.parametrize("num", [1, 7], ids=["one partition", "seven"])
@pytest.mark.parametrize("view", [EXACT, AS_OF], ids=["exact", "bitemporal"])
def test_partitions_give_each_row_what_one_place_gives(view: FeatureView, num: int, tmp_path: Path, ray_cluster: None) -> None:
    event_rows, rows = events(2000, 1), view_rows(1500, 2)
    if view is EXACT:
        rows = rows.group_by(["key", "num"], use_threads=False).aggregate([("x", "first"), ("text", "first")])
        rows = rows.rename_columns(["key", "num", "x", "text"])
    done = partitioned(tmp_path, view, event_rows, rows, num_partitions=num)
    found, at = done.run(), done.at
    parts = [read_keys(uri) for uri in done.event_uris]
    assert [part.num_rows for part in parts] == [0, 500, 900, 600]
    expected = look_up(event_rows, view, check_view("v", view, rows, limit_bytes=1 << 30), at=at)
    assert pa.concat_tables([found.found(part, i) for i, part in enumerate(parts)]).equals(expected)
    assert 200 < expected.column("text").null_count < 1900
    assert expected.column("__why").value_counts().to_pylist()


def test_a_view_without_rows_finds_nothing_in_partitions_either(tmp_path: Path, ray_cluster: None) -> None:
    event_rows, rows = events(2000, 1), view_rows(0, 2)
    found = partitioned(tmp_path, AS_OF, event_rows, rows).run()
    expected = look_up(event_rows, AS_OF, check_view("v", AS_OF, rows, limit_bytes=1 << 30), at="at")
    parts = [event_rows.slice(0, 0), event_rows.slice(0, 500), event_rows.slice(500, 900), event_rows.slice(1400)]
    assert pa.concat_tables([found.found(part, i) for i, part in enumerate(parts)]).equals(expected)


def test_repeated_rows_are_refused_as_in_one_place(tmp_path: Path, ray_cluster: None) -> None:
    event_rows, rows = events(2000, 1), view_rows(1500, 2)
    with pytest.raises(DuplicateKeys) as one_place:
        check_view("v", EXACT, rows, limit_bytes=1 << 30)
    with pytest.raises(DuplicateKeys) as partitions:
        partitioned(tmp_path, EXACT, event_rows, rows).run()
    assert str(partitions.value) == str(one_place.value)


keys = st.lists(st.tuples(st.sampled_from(["a", "b", "ü", "", None]), st.sampled_from([0, -1, 2**62, None])), max_size=30)


@given(keys, st.integers(1, 9))
def test_each_row_with_a_whole_key_is_in_one_partition_and_equal_keys_are_together(rows: Any, num: int) -> None:
    left = pa.table({"k": pa.array([k for k, _ in rows], pa.string()), "n": pa.array([n for _, n in rows], pa.int64())})
    right = left.rename_columns(["key", "num"]).append_column("place", pa.array(range(left.num_rows), pa.int64()))
    pieces = [list(cut(left, ["k", "n"], num, valid=["k", "n"])), list(cut(right, ["key", "num"], num, valid=["key", "num"]))]
    assert [len(piece) for piece in pieces] == [num, num]
    for ours, theirs in zip(*pieces, strict=True):
        assert [(row["k"], row["n"]) for row in ours.to_pylist()] == [(row["key"], row["num"]) for row in theirs.to_pylist()]
        places = theirs.column("place").to_pylist()
        assert places == sorted(places)
    assert sorted(place for piece in pieces[1] for place in piece.column("place").to_pylist()) == [
        i for i, row in enumerate(rows) if None not in row
    ]


def joined_rows(prepared: Prepared) -> dict[str, bytes]:
    root = prepared.joined.uri
    return {uri.removeprefix(root): Path(uri).read_bytes() for uri in list_files(f"{root}/rows")}


def test_prepared_data_do_not_depend_on_the_strategy(shop: Shop, tmp_path: Path, ray_cluster: None) -> None:
    placed = {"broadcast": Joins(strategy="broadcast"), "distributed": Joins(strategy="distributed", partition_bytes=2000)}
    placed["auto"] = Joins(broadcast_bytes=2000)  # prices are larger, shops are not
    made = {}
    for name, joins in placed.items():
        one = Shop(shop.folder, Storage(root=str(tmp_path / name)))
        made[name] = one.prepared(joins=joins)
    wanted = made["broadcast"]
    for name in ("distributed", "auto"):
        assert made[name].digest == wanted.digest
        assert made[name].joined.to_dict() == wanted.joined.to_dict()
        assert joined_rows(made[name]) == joined_rows(wanted)
        assert not [uri for uri in list_files(made[name].joined.uri) if "/aside/" in uri]
    assert made["auto"].features.digest == wanted.features.digest


def test_events_to_score_get_the_same_from_either_strategy(shop: Shop, ray_cluster: None) -> None:
    plan, tables, scratch = shop.plan(), shop.tables(), shop.storage.uri("joined", "score-1")
    orders = tables["orders"]
    rows = [pq.read_table(orders.part_uri(part), columns=list(plan.scoring_columns)) for part in orders.parts]
    found = {}
    for strategy in ("broadcast", "distributed"):
        with placed_views(plan, tables, build({"strategy": strategy}, Joins), scratch=scratch) as views:
            found[strategy] = pa.concat_tables([enrich(part, plan, views, i) for i, part in enumerate(rows)])
    assert found["distributed"].equals(found["broadcast"])
    assert found["broadcast"].num_rows == 600
    assert not list_files(scratch)


def test_a_column_that_is_younger_than_a_file_is_null_there(tmp_path: Path) -> None:
    pq.write_table(pa.table({"old": pa.array([1, 2], pa.int32()), "more": [3, 4]}), tmp_path / "a.parquet")
    found = read_columns(str(tmp_path / "a.parquet"), pa.schema([("new", pa.string()), ("old", pa.int64())]))
    assert found.equals(pa.table({"new": pa.nulls(2, pa.string()), "old": [1, 2]}))


def test_what_was_not_found_is_counted_by_reason(shop: Shop, ray_cluster: None) -> None:
    prices = [{"shop": name, "since": (START + dt.timedelta(days=40)).isoformat(), "price": 3} for name in ("north", "south")]
    write_csv(shop.folder / "prices.csv", prices)
    joined: Joined = shop.prepared().joined
    why = joined.unmatched_why["prices"]
    assert set(why) == {"no row of the entity", "not known yet", "older than ttl"}
    assert sum(why.values()) == joined.unmatched["prices"]
    without = sum(row["shop"] not in ("north", "south") for row in orders())
    assert why["no row of the entity"] == without
    assert joined.unmatched_why["shops"] == {"no row of the entity": joined.unmatched["shops"]}
    assert Joined.open(joined.uri) == joined


def test_a_join_that_fails_leaves_nothing_aside(shop: Shop, ray_cluster: None) -> None:
    rows = [{"shop": "north", "since": START.isoformat(), "price": i} for i in range(2)]
    write_csv(shop.folder / "prices.csv", rows)
    with pytest.raises(DuplicateKeys, match=r"prices \(view prices\).*shop=north"):
        shop.prepared(joins=Joins(strategy="distributed"))
    assert not [uri for uri in list_files(shop.storage.uri("joined")) if "/aside/" in uri]


def test_what_a_killed_join_left_is_collected_when_nobody_writes_it_any_more(storage: Storage) -> None:
    left = [
        storage.uri("joined", "0123", "aside", "4567", "prices", "rows-89.arrow"),
        storage.uri("joined", "score-89", "a.arrow"),
    ]
    for uri in left:
        write_bytes(uri, b"rows")
    assert collect(storage, Collection()).collected == ()
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=2)
    assert collect(storage, Collection(), now=later).num_bytes == 8
    assert not list_files(storage.uri())


def test_partitions_can_be_in_a_bucket(s3: str, tmp_path: Path) -> None:
    join = replace(partitioned(tmp_path, AS_OF, events(2000, 1), view_rows(1500, 2)), uri=f"{s3}/partitions")
    rows = events(300, 3)
    uri = _write_cut(join, "events", rows, on=["k", "n", "at"])
    assert uri.startswith(f"{s3}/partitions/events-")
    assert [_batch(uri, i) for i in range(7)] == [*cut(rows, ["k", "n"], 7, valid=["k", "n", "at"])]
