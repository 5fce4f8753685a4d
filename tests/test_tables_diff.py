"""What differs between two versions: exactly the rows that do, without reading parts that both have."""

from collections import Counter
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pyarrow as pa
import pytest
from hypothesis import given
from table_parts import SCHEMA, Writer, rows

from raypipe.core.errors import DuplicateKeys, SchemaMismatch, StorageError
from raypipe.core.storage import Storage, remove
from raypipe.tables import (
    ColumnFacts,
    RowDiff,
    Scattered,
    Tables,
    _partitions,
    column_facts,
    compare,
    diff,
    num_partitions,
    write_part,
)
from raypipe.tables import _diff as internals
from raypipe.tables._partitions import PARTITION_BYTES, partitions_of

NAN = float("nan")
VALUES = st.one_of(st.none(), st.sampled_from([0.0, -0.0, 1.5, NAN]))
TABLES = st.dictionaries(
    st.one_of(st.none(), st.integers(0, 9)), st.tuples(VALUES, st.lists(st.sampled_from("aé"), max_size=2))
)
TYPES = pa.schema([("k", pa.int64()), ("v", pa.float64()), ("l", pa.list_(pa.string()))])


def as_table(found: dict[int | None, tuple[float | None, list[str]]]) -> pa.Table:
    return pa.Table.from_pylist([{"k": k, "v": v, "l": w} for k, (v, w) in found.items()], schema=TYPES)


def shown(value: Any) -> str:
    return str(value).replace("-0.0", "0.0")


@given(TABLES, TABLES)
def test_rows_are_told_apart_by_key_as_a_dictionary_tells_them(before: Any, after: Any) -> None:
    found = compare(as_table(before), as_table(after), key=["k"], name="t")
    both = before.keys() & after.keys()
    assert found.added == len(after.keys() - before.keys())
    assert found.removed == len(before.keys() - after.keys())
    assert found.changed == sum(shown(before[k]) != shown(after[k]) for k in both)
    assert found.columns.get("v", 0) == sum(shown(before[k][0]) != shown(after[k][0]) for k in both)
    for example in found.examples.get("changed", ()):
        k = example.key["k"]
        assert set(example.columns) == {name for i, name in enumerate("vl") if shown(before[k][i]) != shown(after[k][i])}


@given(st.lists(st.tuples(st.integers(0, 2), VALUES)), st.lists(st.tuples(st.integers(0, 2), VALUES)))
def test_rows_without_a_key_are_counted_as_often_as_they_are_there(before: Any, after: Any) -> None:
    counts = [Counter(shown(row) for row in found) for found in (before, after)]
    tables = [pa.table({"k": [k for k, _ in f], "v": pa.array([v for _, v in f], pa.float64())}) for f in (before, after)]
    found = compare(*(table.cast(pa.schema([TYPES.field("k"), TYPES.field("v")])) for table in tables), key=(), name="t")
    assert (found.added, found.removed) == ((counts[1] - counts[0]).total(), (counts[0] - counts[1]).total())


@given(TABLES, st.integers(1, 5))
def test_equal_values_are_in_the_same_partition(found: Any, num: int) -> None:
    table = as_table(found)
    once, again = (partitions_of(part, num) for part in (table, table.rename_columns(["x", "y", "z"])))
    assert once.tolist() == again.tolist()
    zeros = pa.table({"v": [0.0, -0.0]}), pa.table({"v": [NAN, -NAN]})
    assert all(len(set(partitions_of(table, num).tolist())) == 1 for table in zeros)


def test_a_key_that_repeats_is_refused() -> None:
    table = pa.table({"k": [1, 1, 2], "v": [1, 2, 3]})
    with pytest.raises(DuplicateKeys, match=r"table t: key \(k\) is not unique, 1 row.*k=1"):
        compare(table, table.slice(2), key=["k"], name="t")


def test_partitions_bound_what_a_task_holds() -> None:
    assert [num_partitions(size) for size in (0, 1, PARTITION_BYTES, PARTITION_BYTES + 1)] == [1, 1, 1, 2]


@pytest.mark.parametrize("place", ["local", pytest.param("s3", marks=pytest.mark.s3)])
def test_rows_are_scattered_whole_and_in_their_order(
    place: str, storage: Storage, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = storage if place == "local" else Storage(root=f"{request.getfixturevalue('s3')}/{tmp_path.name}")
    monkeypatch.setattr(_partitions, "_BATCH_ROWS", 4)
    ids = tuple(range(10))
    part = write_part(root.uri("tables", "t"), "p.parquet", rows(*ids))
    work = _partitions._Scatter(schema=SCHEMA, by=("s",), num=3, folder=root.uri("scratch"))
    found = Scattered(uris=work((0, root.uri("tables", "t", part.path))), schema=SCHEMA)
    pieces = [found.partition(i)["id"].to_pylist() for i in range(3)]
    assert len(found.uris) == 3
    assert sorted(i for piece in pieces for i in piece) == list(ids)
    assert all(piece == sorted(piece) for piece in pieces)
    remove(found.uris[0])
    with pytest.raises(StorageError, match="is gone or damaged while it is used"):
        found.partition(0)


@pytest.fixture
def writer(storage: Storage) -> Writer:
    writer = Writer(storage)
    writer.commit("a", (1, 2, 3), (4, 5))
    return writer


@pytest.mark.usefixtures("ray_cluster")
def test_two_versions_are_compared_without_reading_the_parts_that_both_have(
    writer: Writer, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(internals, "num_partitions", lambda _: 3)
    changed = rows(2, 3, 7).set_column(2, SCHEMA.field("s"), pa.array(["ü2", "other", None]))
    part = write_part(writer.uri, "part-b-0.parquet", changed)
    writer.tables.commit("t", [part], SCHEMA, mode="append", transaction="b", facts={}, remove=["part-a-0.parquet"])
    (Path(writer.uri) / "part-a-1.parquet").unlink()
    found = diff(writer.tables.open("t", 0), writer.tables.open("t", 1), storage, key=["id"])
    assert (found.before, found.after, found.num_rows, found.parts) == ("t@0", "t@1", (5, 5), (1, 1, 1))
    assert (found.rows.added, found.rows.removed, found.rows.changed, found.rows.columns) == (1, 1, 1, {"s": 1})
    examples = {kind: [(e.key, e.columns) for e in found] for kind, found in found.rows.examples.items()}
    assert examples == {
        "added": [({"id": 7}, {})],
        "removed": [({"id": 1}, {})],
        "changed": [({"id": 3}, {"s": ("ü3", "other")})],
    }
    assert found.statistics["s"] == (ColumnFacts(nulls=0, low="ü1", high="ü5"), ColumnFacts(nulls=1, low="other", high="ü5"))
    assert found.to_dict()["rows"]["changed"] == 1
    whole = diff(writer.tables.open("t", 0), writer.tables.open("t", 1), storage)
    assert (whole.rows.added, whole.rows.removed, whole.rows.changed) == (2, 2, 0)
    assert not list((Path(storage.root) / "scratch").iterdir())


@pytest.mark.usefixtures("ray_cluster")
def test_a_part_that_is_gone_is_named_and_leaves_no_scratch_behind(writer: Writer, storage: Storage) -> None:
    writer.commit("b", (1,))
    (Path(writer.uri) / "part-a-1.parquet").unlink()
    with pytest.raises(StorageError, match=r"part-a-1\.parquet: cannot be read as a part"):
        diff(writer.tables.open("t", 0), writer.tables.open("t", 1), storage, key=["id"])
    assert not list((Path(storage.root) / "scratch").iterdir())


def test_the_same_version_differs_in_nothing(writer: Writer, storage: Storage) -> None:
    found = diff(writer.tables.open("t"), writer.tables.open("t"), storage, key=["id"])
    assert (found.rows, found.statistics, found.parts) == (RowDiff(), {}, (0, 0, 2))


def test_schemas_are_compared_too(writer: Writer, storage: Storage) -> None:
    schema = pa.schema([("id", pa.string()), ("new", pa.bool_())])
    part = write_part(writer.uri, "n.parquet", pa.table({"id": ["x"], "new": [True]}, schema=schema))
    writer.tables.commit("t", [part], schema, mode="overwrite", transaction="b", facts={})
    found = diff(writer.tables.open("t", 0), writer.tables.open("t", 1), storage)
    assert (dict(found.schema.added), dict(found.schema.retyped)) == ({"new": "bool"}, {"id": ("int64", "string")})
    assert list(found.schema.removed) == ["x", "s", "t"]
    assert (found.rows.added, found.rows.removed) == (1, 5)
    for key in (["id"], ["nowhere"]):
        with pytest.raises(SchemaMismatch, match=key[0]):
            diff(writer.tables.open("t", 0), writer.tables.open("t", 1), storage, key=key)


def test_facts_of_columns_say_nothing_where_a_part_does_not(writer: Writer) -> None:
    part = write_part(writer.uri, "n.parquet", rows(9).set_column(1, SCHEMA.field("x"), pa.array([NAN])))
    writer.tables.commit("t", [part], SCHEMA, mode="append", transaction="b", facts={})
    empty = write_part(writer.uri, "e.parquet", rows())
    ref = writer.tables.commit("t", [empty], SCHEMA, mode="append", transaction="c", facts={})
    found = column_facts(ref)
    assert found["x"] == ColumnFacts(nulls=0, low=None, high=None)
    assert found["id"] == ColumnFacts(nulls=0, low=1, high=9)
    assert column_facts(Tables(Storage(root=writer.uri.removesuffix("/tables/t"))).open("t", 0))["x"].high == 2.5
