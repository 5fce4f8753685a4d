"""Versioned tables: whole or absent, once, read at a version, and readable by anyone who reads Delta Lake."""

import json
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from table_parts import SCHEMA, Writer, read, rows

from raypipe.core.errors import SchemaMismatch, TableNotFound
from raypipe.core.storage import Storage, delta_options, list_files
from raypipe.tables import Tables, part_of, write_part


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def writer(request: pytest.FixtureRequest, storage: Storage, tmp_path: Path) -> Writer:
    if request.param == "local":
        return Writer(storage)
    return Writer(Storage(root=f"{request.getfixturevalue('s3')}/{tmp_path.name}"))


def test_each_version_keeps_its_rows_schema_and_facts(writer: Writer) -> None:
    first = writer.commit("a", (1, 2), (3,), rows={"in": 3})
    second = writer.commit("b", (9,))
    third = writer.commit("c", (10, 11), mode="append")
    assert [(r.version, r.label, r.num_rows) for r in (first, second, third)] == [(0, "t@0", 3), (1, "t@1", 1), (2, "t@2", 3)]
    for version, ids, label in ((0, [1, 2, 3], "a"), (1, [9], "b"), (2, [9, 10, 11], "c"), (None, [9, 10, 11], "c")):
        found = writer.tables.open("t", version)
        assert (read(found), found.facts["label"], found.schema) == (ids, label, SCHEMA)
    assert writer.tables.open("t", 0) == first
    assert first.facts["rows"] == {"in": 3}


def test_others_read_the_table_at_its_versions(writer: Writer) -> None:
    first = writer.commit("a", (1, 2), (3,))
    writer.commit("b", (9,))
    options = delta_options(first.uri)
    frame = pl.scan_delta(first.uri, version=0, storage_options=options).sort("id").collect()
    assert frame["id"].to_list() == [1, 2, 3]
    assert frame["s"].to_list() == ["ü1", "ü2", "ü3"]
    assert pl.scan_delta(first.uri, storage_options=options).filter(pl.col("id") > 8).collect().height == 1
    assert DeltaTable(first.uri, storage_options=options).to_pyarrow_table().num_rows == 1


def test_a_transaction_is_committed_once(writer: Writer) -> None:
    writer.commit("a", (1, 2), mode="append")
    writer.commit("b", (3,), mode="append")
    assert not writer.tables.committed("t", "c")
    again = writer.commit("a", (1, 2), mode="append")
    assert again.version == 1
    assert sorted(read(again)) == [1, 2, 3]
    assert writer.tables.committed("t", "a")
    assert not writer.tables.committed("nowhere", "a")


def test_the_facts_of_any_transaction_are_found(writer: Writer) -> None:
    writer.commit("a", (1,), mode="append", num=1)
    writer.commit("b", (2,), mode="append", num=2)
    found = {label: writer.tables.facts_of("t", label) for label in ("a", "b", "c")}
    assert [facts and facts["num"] for facts in found.values()] == [1, 2, None]


def test_parts_that_are_not_committed_are_not_rows_and_are_written_again_under_the_same_names(writer: Writer) -> None:
    writer.commit("a", (1,))
    writer.parts("b", (2,), (3,))
    assert read(writer.tables.open("t")) == [1]
    done = writer.commit("b", (2,), (3,), mode="append")
    assert sorted(read(done)) == [1, 2, 3]
    uri = writer.tables.uri("t")
    assert len([name for name in list_files(uri) if name.endswith(".parquet")]) == 3
    part = part_of(uri, "part-b-0.parquet")
    assert (part.path, part.num_rows) == ("part-b-0.parquet", 1)
    assert part == writer.parts("b", (2,))[0]


@pytest.mark.parametrize("version", [None, 0, 7, -1])
def test_a_table_that_was_never_written_is_not_found(version: int | None, storage: Storage) -> None:
    with pytest.raises(TableNotFound, match=r"nowhere.*nothing at.*ingest"):
        Tables(storage).open("nowhere", version)
    assert Tables(storage).find("nowhere") is None


@pytest.mark.parametrize("version", [2, 99, -1])
def test_a_version_that_was_never_written_is_not_found_and_the_known_ones_are_named(version: int, writer: Writer) -> None:
    writer.commit("a", (1,))
    writer.commit("b", (2,))
    with pytest.raises(TableNotFound, match=rf"t@{version} does not exist \(versions 0 to 1\)") as caught:
        writer.tables.open("t", version)
    assert "\n" not in str(caught.value)


def test_a_commit_carries_statistics_that_let_readers_skip_files(storage: Storage) -> None:
    table = pa.table({"id": [3, 1, None], "x": [float("nan"), -0.5, 2.0], "b": [True, None, False], "s": ["a", None, "b"]})
    part = write_part(Tables(storage).uri("t"), "p.parquet", table)
    stats = json.loads(part.stats)
    assert stats["numRecords"] == part.num_rows == 3
    assert stats["nullCount"] == {"id": 1, "x": 0, "b": 1, "s": 1}
    assert stats["minValues"] == {"id": 1, "x": -0.5, "s": "a"}
    assert stats["maxValues"] == {"id": 3, "s": "b"}


def test_a_part_without_rows_has_statistics_too(storage: Storage) -> None:
    part = write_part(Tables(storage).uri("t"), "p.parquet", rows())
    assert json.loads(part.stats)["numRecords"] == 0
    ref = Tables(storage).commit("t", [part], SCHEMA, mode="overwrite", transaction="a", facts={})
    assert (ref.num_rows, read(ref)) == (0, [])


def test_a_table_may_be_committed_without_parts(storage: Storage) -> None:
    ref = Tables(storage).commit("t", [], SCHEMA, mode="append", transaction="a", facts={})
    assert (ref.version, ref.num_rows, ref.schema) == (0, 0, SCHEMA)


def test_an_overwrite_may_change_the_schema_and_older_versions_keep_theirs(storage: Storage) -> None:
    tables, writer = Tables(storage), Writer(storage)
    writer.commit("a", (1,))
    schema = pa.schema([("id", pa.string()), ("new", pa.bool_())])
    part = write_part(tables.uri("t"), "n.parquet", pa.table({"id": ["x"], "new": [True]}, schema=schema))
    assert tables.commit("t", [part], schema, mode="overwrite", transaction="b", facts={}).schema == schema
    assert tables.open("t", 0).schema == SCHEMA


def test_an_append_may_bring_columns_that_are_null_in_older_rows(storage: Storage) -> None:
    tables = Tables(storage)
    Writer(storage).commit("a", (1,))
    schema = pa.schema([("id", pa.int64()), ("new", pa.bool_())])
    part = write_part(tables.uri("t"), "n.parquet", pa.table({"id": [2], "new": [True]}, schema=schema))
    ref = tables.commit("t", [part], schema, mode="append", transaction="b", facts={"k": 1})
    assert ref.schema.names == [*SCHEMA.names, "new"]
    assert ref.facts["k"] == 1
    frame = pl.read_delta(ref.uri).sort("id")
    assert frame["new"].to_list() == [None, True]
    assert frame["x"].to_list() == [0.5, None]


def test_an_append_of_another_type_is_refused(storage: Storage) -> None:
    tables = Tables(storage)
    Writer(storage).commit("a", (1,))
    with pytest.raises(SchemaMismatch, match="id"):
        tables.commit("t", [], pa.schema([("id", pa.string())]), mode="append", transaction="b", facts={})
    assert tables.open("t").version == 0


@pytest.mark.parametrize("mode", ["append", "overwrite"])
@pytest.mark.parametrize("exists", [False, True])
def test_writers_of_the_same_transaction_at_the_same_time_commit_it_once(storage: Storage, mode: str, exists: bool) -> None:  # noqa: FBT001
    writer, problems = Writer(storage), []
    if exists:
        writer.commit("before", (0,))
    parts = writer.parts("a", (1, 2))
    gate = threading.Barrier(4)

    def commit() -> None:
        gate.wait()
        try:
            Tables(storage).commit("t", parts, SCHEMA, mode=mode, transaction="a", facts={})  # type: ignore[arg-type]
        except Exception as error:  # noqa: BLE001  # shown by the assertion
            problems.append(error)

    threads = [threading.Thread(target=commit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = writer.tables.open("t")
    assert not problems
    assert found.version == int(exists)
    assert sorted(read(found)) == ([0, 1, 2] if exists and mode == "append" else [1, 2])


KILLED = """
import os, signal, sys
import pyarrow as pa
from raypipe.core.storage import Storage
from raypipe.tables import Tables, write_part
tables = Tables(Storage(root=sys.argv[1]))
parts = [write_part(tables.uri("t"), f"part-b-{i}.parquet", pa.table({"id": [i]})) for i in range(3)]
if sys.argv[2] == "before":
    os.kill(os.getpid(), signal.SIGKILL)
tables.commit("t", parts, pa.schema([("id", pa.int64())]), mode="append", transaction="b", facts={})
if sys.argv[2] == "after":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_writer_that_is_killed_around_its_commit_is_run_again_and_doubles_nothing(moment: str, storage: Storage) -> None:
    Writer(storage).commit("a", (100,))
    command = [sys.executable, "-c", textwrap.dedent(KILLED), storage.root]
    assert subprocess.run([*command, moment], check=False).returncode == -signal.SIGKILL
    assert len(read(Tables(storage).open("t"))) == (1 if moment == "before" else 4)
    assert subprocess.run([*command, "never"], check=False).returncode == 0
    assert sorted(read(Tables(storage).open("t"))) == [0, 1, 2, 100]
