"""Versions of tables: their history, as of a time, tags, restored, and vacuumed without losing what somebody uses."""

import datetime as dt
import os
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from table_parts import SCHEMA, Writer, read, rows

from raypipe.core.errors import StorageError, TableNotFound
from raypipe.core.storage import Storage, exists
from raypipe.tables import Tables, write_part

HOUR = dt.timedelta(hours=1)


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def writer(request: pytest.FixtureRequest, storage: Storage, tmp_path: Path) -> Writer:
    if request.param == "local":
        return Writer(storage)
    return Writer(Storage(root=f"{request.getfixturevalue('s3')}/{tmp_path.name}"))


def test_the_history_says_when_who_what_and_how_many_rows(storage: Storage) -> None:
    writer = Writer(storage)
    began = dt.datetime.now(dt.UTC) - HOUR / 3600
    writer.commit("ingest-1", (1, 2), (3,), rows={"in": 3})
    writer.commit("ingest-2", (4,), mode="append", remove=["part-ingest-1-0.parquet"], digest="d2")
    writer.commit("score-1", (9,))
    writer.tables.tag("t", "gold", 1)
    third, second, first = writer.tables.history("t")
    assert [(c.version, c.num_rows, c.parts_added, c.parts_removed) for c in (first, second, third)] == [
        (0, 3, 2, 0),
        (1, 2, 1, 1),
        (2, 1, 1, 2),
    ]
    assert [c.operation for c in (first, second, third)] == ["CREATE TABLE ErrorIfExists", "WRITE Append", "WRITE Overwrite"]
    assert [c.transaction for c in (first, second, third)] == ["ingest-1", "ingest-2", "score-1"]
    assert [c.tags for c in (first, second, third)] == [(), ("gold",), ()]
    assert began <= first.at <= second.at <= third.at <= dt.datetime.now(dt.UTC)
    assert first.by
    assert second.to_dict()["facts"] == {"digest": "d2", "label": "ingest-2", "transaction": "ingest-2"}
    assert first.to_dict()["facts"] == {"label": "ingest-1", "transaction": "ingest-1"}


def test_commits_of_other_writers_are_told_too(storage: Storage) -> None:
    writer = Writer(storage)
    writer.commit("a", (1, 2))
    DeltaTable(writer.uri).delete("id = 1")
    assert [(c.num_rows, c.transaction) for c in writer.tables.history("t")] == [(1, ""), (2, "a")]
    assert writer.tables.open("t").facts == {}
    assert writer.tables.open("t", 0).facts["label"] == "a"


def test_a_version_is_found_by_number_tag_and_time(storage: Storage) -> None:
    writer = Writer(storage)
    for i, label in enumerate("abc"):
        writer.commit(label, (i,))
    tables = writer.tables
    tables.tag("t", "gold", 1)
    at = {commit.version: commit.at for commit in tables.history("t")}
    named: list[tuple[str, Any, int]] = [
        ("t", None, 2),
        ("t@latest", None, 2),
        ("t", 0, 0),
        ("t", "0", 0),
        ("t@v1", None, 1),
        ("t@gold", None, 1),
        ("t", "gold", 1),
        ("t", at[0], 0),
        ("t", at[1].isoformat(), 1),
        ("t", at[1].replace(tzinfo=None), 1),
        ("t", at[2] - HOUR / 3_600_000_000, 1),
        ("t", at[2] + HOUR, 2),
        ("t", (at[2] + 48 * HOUR).date(), 2),
        (f"t@{(at[2] + 48 * HOUR).date()}", None, 2),
    ]
    assert [tables.select(name, which).version for name, which, _ in named] == [version for _, _, version in named]


@pytest.mark.parametrize(
    ("which", "problem"),
    [
        (9, r"t@9 does not exist \(versions 0 to 0; tags gold\)"),
        (-1, r"t@-1 does not exist"),
        ("v9", r"t@9 does not exist"),
        ("silver", r"t@silver does not exist \(versions 0 to 0; tags gold\)"),
        ("1999-01-01", r"t@1999-01-01T00:00:00\+00:00 does not exist \(its first version is of "),
        ("../gold", r"t@\.\./gold does not exist"),
    ],
)
def test_a_version_that_is_not_there_is_refused_with_those_that_are(which: Any, problem: str, storage: Storage) -> None:
    writer = Writer(storage)
    writer.commit("a", (1,))
    writer.tables.tag("t", "gold")
    with pytest.raises(TableNotFound, match=problem):
        writer.tables.select("t", which)
    with pytest.raises(TableNotFound, match="nothing at"):
        writer.tables.select("nowhere", which)


def test_a_tag_stays_where_it_is_until_it_is_removed(writer: Writer) -> None:
    tables = writer.tables
    writer.commit("a", (1,))
    writer.commit("b", (2,))
    assert tables.tag("t", "gold", 0, note="agreed with finance, ü").label == "t@0"
    assert tables.tag("t", "gold", 0).version == 0
    with pytest.raises(StorageError, match="tag gold names version 0 already; untag it first"):
        tables.tag("t", "gold", 1)
    assert tables.tags("t") == {"gold": 0}
    assert tables.untag("t", "gold") == 0
    assert tables.tags("t") == {}
    with pytest.raises(TableNotFound, match="t@gold does not exist"):
        tables.untag("t", "gold")
    assert [c.version for c in tables.history("t")] == [1, 0]
    assert tables.tag("t", "gold").version == 1


@pytest.mark.parametrize("tag", ["3", "v3", "latest", "2020-01-01", "", "a/b", "../x", "a b", "ü", "x" * 101])
def test_a_tag_that_means_something_else_or_is_no_name_is_refused(tag: str, storage: Storage) -> None:
    writer = Writer(storage)
    writer.commit("a", (1,))
    with pytest.raises(StorageError, match="cannot be a tag"):
        writer.tables.tag("t", tag)
    assert not (Path(writer.uri) / "_tags").exists()


def test_tags_of_a_table_or_version_that_is_not_there_are_refused(storage: Storage) -> None:
    writer = Writer(storage)
    with pytest.raises(TableNotFound):
        writer.tables.tag("t", "gold")
    writer.commit("a", (1,))
    with pytest.raises(TableNotFound):
        writer.tables.tag("t", "gold", 7)
    (Path(writer.uri) / "part-a-0.parquet").unlink()
    with pytest.raises(StorageError, match=r"1 of 1 files of version 0 are gone, for example part-a-0\.parquet"):
        writer.tables.tag("t", "gold")
    assert writer.tables.tags("t") == {}


def test_a_restored_version_has_its_rows_schema_and_facts_again(writer: Writer) -> None:
    writer.commit("a", (1, 2), digest="first")
    schema = pa.schema([("new", pa.list_(pa.string()))])
    part = write_part(writer.uri, "n.parquet", pa.table({"new": [["x"]]}, schema=schema))
    writer.tables.commit("t", [part], schema, mode="overwrite", transaction="b", facts={"digest": "second"})
    ref = writer.tables.restore("t", 0)
    assert (ref.version, sorted(read(ref)), ref.schema) == (2, [1, 2], SCHEMA)
    assert (ref.facts["digest"], ref.facts["restored"]) == ("first", 0)
    assert writer.tables.restore("t", "0") == ref
    assert writer.tables.history("t")[0].operation == "RESTORE"
    assert writer.tables.open("t", 1).schema == schema
    again = writer.commit("c", (3,), mode="append", after=2)
    assert sorted(read(again)) == [1, 2, 3]


def test_facts_are_those_of_the_rows_whatever_was_done_to_the_log_since(storage: Storage) -> None:
    writer = Writer(storage)
    writer.commit("a", (1,), (2,), digest="first")
    delta = DeltaTable(writer.uri)
    delta.alter.set_table_properties({"delta.checkpointInterval": "5"})
    delta.optimize.compact()
    assert writer.tables.open("t").version == 2
    assert writer.tables.open("t").facts["digest"] == "first"
    writer.commit("b", (3,), digest="second")
    DeltaTable(writer.uri).restore(0)  # by another tool, without our facts
    ref = writer.tables.open("t")
    assert (sorted(read(ref)), ref.facts["digest"]) == ([1, 2], "first")


def test_nothing_is_restored_when_files_are_gone_or_the_version_is_not_there(storage: Storage) -> None:
    writer = Writer(storage)
    writer.commit("a", (1,))
    writer.commit("b", (2,))
    with pytest.raises(TableNotFound):
        writer.tables.restore("t", "gold")
    (Path(writer.uri) / "part-a-0.parquet").unlink()
    with pytest.raises(StorageError, match="1 of 1 files of version 0 are gone"):
        writer.tables.restore("t", 0)
    assert writer.tables.open("t").version == 1


def aged(storage: Storage) -> Writer:
    """Five versions of one part each, the second tagged, and a file that no commit names; all written long ago."""
    writer = Writer(storage)
    for i, label in enumerate("abcde"):
        writer.commit(label, (i,))
    writer.tables.tag("t", "gold", 1)
    write_part(writer.uri, "killed.parquet", rows(77))
    return writer


def test_vacuum_removes_what_nobody_uses_and_looks_first(writer: Writer) -> None:
    for i, label in enumerate("abcde"):
        writer.commit(label, (i,))
    tables, later = writer.tables, dt.datetime.now(dt.UTC) + 2 * HOUR
    tables.tag("t", "gold", 1)
    write_part(writer.uri, "killed.parquet", rows(77))
    assert tables.vacuum("t", keep_versions=[2]).files == ()  # nothing is a week old
    looked = tables.vacuum("t", keep_versions=[2, 99], retention=dt.timedelta(), now=later)
    gone = [f"{writer.uri}/{name}.parquet" for name in ("killed", "part-a-0", "part-d-0")]
    assert list(looked.files) == gone
    assert looked.kept == (1, 2, 4)
    assert looked.num_bytes > 0
    assert all(exists(uri) for uri in gone)
    done = tables.vacuum("t", keep_versions=[2, 99], retention=dt.timedelta(), mode="remove", now=later)
    assert done == looked
    assert not any(exists(uri) for uri in gone)
    assert [read(tables.open("t", version)) for version in (1, 2, 4)] == [[1], [2], [4]]
    assert tables.open("t").version == 4
    assert tables.tags("t") == {"gold": 1}
    assert tables.vacuum("t", keep_versions=[2], retention=dt.timedelta(), mode="remove", now=later).files == ()
    with pytest.raises(StorageError, match="files of version 0 are gone"):
        tables.tag("t", "old", 0)


def test_vacuum_spares_what_was_written_within_the_retention(storage: Storage) -> None:
    writer, now = aged(storage), dt.datetime.now(dt.UTC)
    young = Path(writer.uri) / "young.parquet"
    young.write_bytes(b"being written")
    old = (now - 10 * HOUR).timestamp()
    for path in Path(writer.uri).glob("*.parquet"):
        if path != young:
            os.utime(path, (old, old))
    found = writer.tables.vacuum("t", retention=5 * HOUR, mode="remove", now=now)
    assert [Path(uri).name for uri in found.files] == ["killed.parquet"]  # the rest left the table just now
    assert young.exists()


def test_vacuum_keeps_restored_rows_and_every_reader_reads_on(storage: Storage) -> None:
    writer = aged(storage)
    writer.tables.restore("t", 0)
    later = dt.datetime.now(dt.UTC) + 2 * HOUR
    writer.tables.vacuum("t", retention=dt.timedelta(), mode="remove", now=later)
    assert read(writer.tables.open("t")) == [0]
    assert pl.read_delta(writer.uri)["id"].to_list() == [0]
    assert pl.read_delta(writer.uri, version=1)["id"].to_list() == [1]


def test_vacuum_of_a_table_that_is_not_there_is_refused(storage: Storage) -> None:
    with pytest.raises(TableNotFound):
        Tables(storage).vacuum("nowhere")


def test_versions_are_read_across_checkpoints_and_the_log_is_kept(storage: Storage) -> None:
    writer = Writer(storage)
    writer.commit("a", (0,))
    DeltaTable(writer.uri).alter.set_table_properties(
        {"delta.checkpointInterval": "3", "delta.logRetentionDuration": "interval 0 seconds"}
    )
    for i in range(1, 9):
        writer.commit(f"w{i}", (i,), mode="append", remove=[f"part-{'a' if i == 1 else f'w{i - 1}'}-0.parquet"])
    assert list(Path(writer.uri).glob("_delta_log/*.checkpoint.parquet"))
    assert [read(writer.tables.open("t", version)) for version in range(2, 10)] == [[i] for i in range(1, 9)]
    assert len(writer.tables.history("t")) == 10
    assert writer.tables.committed("t", "w1")
