"""Ingest, again and again: only what is new is read; replaced and missing files, drift and changed contracts by policy."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from ingest_parts import COLUMNS, Files

from raypipe.contract import Contract
from raypipe.core.config import build, config
from raypipe.core.errors import ContractViolation, RaypipeError, SchemaMismatch, SourceError, StorageError
from raypipe.core.storage import Storage
from raypipe.ingest import TableSpec, ingest_tables, replay_table
from raypipe.ingest._plan import plan_intakes
from raypipe.sources import ArrowReading, Fragment, Scan
from raypipe.tables import Tables, write_part

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


@pytest.fixture
def files(tmp_path: Path, storage: Storage) -> Files:
    (tmp_path / "in").mkdir()
    made = Files(tmp_path / "in", storage)
    made.write("1.csv", "a,b\n1,1\n2,2\n")
    return made


def test_new_files_come_on_top_and_the_others_are_not_read_again(files: Files) -> None:
    first = files.ingest()
    files.write("2.csv", "a,b\n3,3\n4,99\n")
    done = files.ingest()
    assert (done.reason, done.rows.to_dict()) == ("1 new fragment since t@0", {"in": 2, "out": 1, "set_aside": {"max of b": 1}})
    assert files.rows() == {1: 1, 2: 2, 3: 3}
    assert set(first.ref.parts) < set(done.ref.parts)
    state = done.ref.facts["source"]["files"]
    assert len(state) == 2
    assert all(len(entry["sha256"]) == 64 for entry in state.values())
    again = files.ingest()
    assert (again.reused, again.ref, again.rows) == (True, done.ref, done.rows)


def test_a_file_that_was_touched_but_not_changed_is_not_read_again(files: Files) -> None:
    files.ingest()
    files.write("1.csv", "a,b\n1,1\n2,2\n", after=60)
    assert files.ingest().reused


def test_a_file_replaced_in_place_takes_its_rows_and_its_quarantined_ones_with_it(files: Files) -> None:
    files.write("2.csv", "a,b\n3,3\n4,99\n5,98\n")
    files.ingest()
    files.write("2.csv", "a,b\n4,4\n5,97\n6,6\n", after=60)
    done = files.ingest()
    assert done.reason == "1 fragment replaced since t@0"
    assert done.ref.facts["withdrew"] == 1
    assert files.rows() == {1: 1, 2: 2, 4: 4, 6: 6}
    assert files.quarantine.counts() == {"open": {"max of b": 1}, "withdrawn": {"max of b": 2}}
    assert files.rows(0) == {1: 1, 2: 2, 3: 3}


def test_a_file_replaced_in_a_table_whose_files_were_written_together_is_read_with_all_others(files: Files) -> None:
    files.write("2.csv", "a,b\n3,3\n")
    first = files.ingest().ref
    tables = Tables(files.storage)
    whole = write_part(first.uri, "part-together.parquet", pa.table({"a": [1, 2, 3], "b": [1.0, 2.0, 3.0]}))
    paths = [part.path for part in first.parts]
    tables.commit("t", [whole], first.schema, mode="append", transaction="x", facts=first.facts, remove=paths)
    files.write("2.csv", "a,b\n4,4\n5,5\n", after=60)
    files.ingest()
    assert files.rows() == {1: 1, 2: 2, 4: 4, 5: 5}


def test_replaced_files_are_appended_or_refused_when_asked(files: Files) -> None:
    files.ingest()
    files.write("1.csv", "a,b\n3,3\n", after=60)
    with pytest.raises(SourceError, match=r"1.csv: 1 file\(s\) that are in table t changed since.*data.tables.t.replaced"):
        files.ingest(table={"replaced": "refuse"})
    files.ingest(table={"replaced": "append"})
    assert files.rows() == {1: 1, 2: 2, 3: 3}


def test_files_that_are_gone_are_told_and_their_rows_stay(files: Files) -> None:
    path = files.write("2.csv", "a,b\n3,3\n")
    files.ingest()
    path.unlink()
    done = files.ingest()
    assert (done.reused, done.gone) == (True, (str(path),))
    assert files.rows() == {1: 1, 2: 2, 3: 3}


def test_a_changed_contract_reads_everything_anew_or_holds_for_new_rows(files: Files) -> None:
    files.ingest()
    stricter: dict[str, Any] = {**COLUMNS, "b": {"type": "float64", "max": 1}}
    files.write("2.csv", "a,b\n3,3\n4,0\n")
    files.ingest(columns=stricter, table={"changed_contract": "new_rows"})
    assert files.rows() == {1: 1, 2: 2, 4: 0}
    assert files.open() == {"max of b": 1}
    files.ingest(columns=stricter)
    assert files.rows() == {1: 1, 4: 0}
    assert files.open() == {"max of b": 2}


def test_a_table_is_not_built_anew_without_a_file_that_it_was_made_of(files: Files) -> None:
    path = files.write("2.csv", "a,b\n3,3\n")
    files.ingest()
    path.unlink()
    with pytest.raises(SourceError, match=r"1 file\(s\) that it was made of are gone.*changed_contract=new_rows"):
        files.ingest(columns={**COLUMNS, "b": "float64"})
    assert files.rows() == {1: 1, 2: 2, 3: 3}


@pytest.mark.parametrize("drift", ["ignore", "add"])
def test_new_columns_are_ignored_or_join_the_table_and_are_remembered(files: Files, drift: str) -> None:
    files.ingest(drift=drift)
    files.write("2.csv", "c,a,b\nx,3,3\n")
    done = files.ingest(drift=drift)
    assert done.drift == (f"new column c (string) (first in {files.folder}/2.csv)",)
    files.write("3.csv", "a,b\n4,4\n")
    done = files.ingest(drift=drift)
    assert done.ref.schema.names == (["a", "b", "c"] if drift == "add" else ["a", "b"])
    assert files.rows() == {1: 1, 2: 2, 3: 3, 4: 4}
    if drift == "add":
        assert pl.read_delta(done.ref.uri).sort("a")["c"].to_list() == [None, None, "x", None]


def test_new_columns_are_refused_when_asked_and_missing_ones_always(files: Files) -> None:
    files.ingest()
    files.write("2.csv", "a,b,c\n3,3,x\n")
    with pytest.raises(SourceError, match=r"2.csv: has 1 column\(s\) that are not declared: c; .*data.tables.t"):
        files.ingest(drift="refuse")
    files.write("2.csv", "a,bb\n3,3\n")
    with pytest.raises(SchemaMismatch, match=r"missing: b.*bb is perhaps the renamed b"):
        files.ingest()
    columns: dict[str, Any] = {**COLUMNS, "b": {"type": "float64", "optional": True}}
    done = files.ingest(columns=columns)
    assert files.rows() == {1: 1, 2: 2, 3: None}
    assert any("optional column b is missing" in line for line in done.drift)


def test_two_ingests_at_once_both_succeed_or_one_is_told(files: Files) -> None:
    files.ingest()
    files.write("2.csv", "a,b\n3,3\n")
    outcomes: list[str] = []

    def ingest() -> None:
        try:
            files.ingest()
            outcomes.append("done")
        except RaypipeError as error:
            outcomes.append(type(error).__name__)

    threads = [threading.Thread(target=ingest) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(outcomes) <= {"done", "StorageError"}
    assert "done" in outcomes
    assert files.rows() == {1: 1, 2: 2, 3: 3}


def test_an_ingest_that_saw_another_state_of_the_source_is_refused_not_mixed(files: Files) -> None:
    files.ingest()
    files.write("2.csv", "a,b\n3,3\n")
    tables = Tables(files.storage)
    slow = plan_intakes({"t": files.spec()}, tables)["t"]
    files.write("3.csv", "a,b\n4,4\n")
    files.ingest()
    assert slow.base is not None
    late: dict[str, Any] = {"mode": "append", "transaction": slow.transaction, "facts": {}, "after": slow.base.version}
    with pytest.raises(StorageError, match=r"another writer .* at the same time"):
        tables.commit("t", [], slow.contract.schema, **late)
    assert files.rows() == {1: 1, 2: 2, 3: 3, 4: 4}


def test_typed_files_are_read_again_and_a_changed_type_is_told(files: Files) -> None:
    source = {"_target_": "raypipe.sources.Parquet", "uri": f"{files.folder}/*.parquet"}
    columns = {"a": "int64", "at": "timestamp", "day": "date", "v": "vector"}
    spec = build({"source": source, "contract": {"columns": columns}}, TableSpec)
    at, day, vector = pa.array([0], pa.timestamp("ns", "UTC")), pa.array([0], pa.date32()), pa.array([[1.0]])
    pq.write_table(pa.table({"a": pa.array([1], pa.int32()), "at": at, "day": day, "v": vector}), files.folder / "1.parquet")
    assert ingest_tables({"t": spec}, files.storage)["t"].drift == ()
    pq.write_table(pa.table({"a": [2], "at": at, "day": day, "v": vector}), files.folder / "2.parquet")
    done = ingest_tables({"t": spec}, files.storage)["t"]
    assert done.drift == (f"column a was int32, and is int64 (first in {files.folder}/2.parquet)",)
    assert pl.read_delta(done.ref.uri).sort("a")["a"].to_list() == [1, 2]


def test_rows_that_left_a_table_by_versions_leave_ours(files: Files) -> None:
    uri = str(files.folder / "delta")
    spec = build(
        {"source": {"_target_": "raypipe.sources.Delta", "uri": uri}, "contract": {"columns": {"a": "int64"}}}, TableSpec
    )
    found = []
    for numbers, mode in (([1], "append"), ([2], "append"), ([], "delete")):
        if mode == "delete":
            DeltaTable(uri).delete("a = 1")
        else:
            write_deltalake(uri, pa.table({"a": pa.array(numbers, pa.int64())}), mode="append")
        found.append(ingest_tables({"t": spec}, files.storage)["t"].ref)
    assert [sorted(pl.read_delta(ref.uri, version=ref.version)["a"]) for ref in found] == [[1], [1, 2], [2]]
    assert len({ref.facts["digest"] for ref in found}) == 3
    assert len(found[1].facts["uris"]) == 2  # it is made of both files
    assert ingest_tables({"t": spec}, files.storage)["t"].reused


def test_times_that_python_does_not_have_are_set_aside_and_come_back(files: Files) -> None:
    source = {"_target_": "raypipe.sources.Parquet", "uri": f"{files.folder}/*.parquet"}
    rules = {"columns": {"a": {"type": "int64", "max": 3}, "at": "timestamp"}, "max_bad_share": 1}
    made = pa.array([253_402_300_800 * 10**6, 0, 1_356_998_400_123_456], pa.timestamp("us", "UTC"))  # the first in year 10000
    pq.write_table(pa.table({"a": [1, 2, 4], "at": made}), files.folder / "1.parquet")
    done = ingest_tables({"t": build({"source": source, "contract": rules}, TableSpec)}, files.storage)["t"]
    assert done.rows.set_aside == {"max of a": 1, "type of at": 1}
    wider = build({"source": source, "contract": {**rules, "columns": {"a": "int64", "at": "timestamp"}}}, TableSpec)
    back = replay_table("t", wider, files.storage)
    assert back.rows.set_aside == {"type of at": 1}
    assert str(pl.read_delta(back.ref.uri).filter(a=4)["at"][0]) == "2013-01-01 00:00:00.123456+00:00"


# --- sources that are the whole table ---


@config
class Snapshot:
    """Rows of a file of `a` and `b`, read whole each time; it does not know whether they changed."""

    path: str

    def scan(self, seen: Any) -> Scan:  # noqa: ARG002
        stamp = str(Path(self.path).stat().st_mtime_ns)
        return Scan(takes="all", fragments=(Fragment(uri="snapshot", identity=stamp.zfill(64)),), state={})

    @contextmanager
    def open(self, fragment: Fragment) -> Iterator[ArrowReading]:
        table = pacsv.read_csv(self.path)
        yield ArrowReading(fragment.uri, table.schema, lambda _: [table])


def snapshot(path: Path, storage: Storage, **contract: Any) -> Any:
    rules = build({"key": ["a"], "columns": COLUMNS, "max_bad_share": 1, **contract}, Contract)
    return ingest_tables({"t": TableSpec(source=Snapshot(path=str(path)), contract=rules)}, storage)["t"]


def test_a_snapshot_takes_the_place_of_the_one_before(files: Files) -> None:
    path = files.write("snapshot", "a,b\n1,1\n2,99\n")
    assert snapshot(path, files.storage).rows.rows_out == 1
    files.write("snapshot", "a,b\n2,2\n3,98\n", after=1)
    done = snapshot(path, files.storage)
    assert (done.ref.version, done.reason) == (1, "the source changed since t@0")
    assert files.rows() == {2: 2}
    assert files.quarantine.counts() == {"open": {"max of b": 1}, "withdrawn": {"max of b": 1}}


def test_a_snapshot_with_the_same_rows_commits_nothing(files: Files) -> None:
    path = files.write("snapshot", "a,b\n1,1\n2,99\n")
    snapshot(path, files.storage)
    files.write("snapshot", "a,b\n1,1\n2,99\n", after=1)
    done = snapshot(path, files.storage)
    assert (done.reused, done.ref.version, done.reason) == (True, 0, "the source has the same content as t@0")
    assert snapshot(path, files.storage).reused
    assert files.quarantine.counts() == {"open": {"max of b": 1}}
    files.write("snapshot", "a,b\n1,1\n2,98\n", after=2)
    assert not snapshot(path, files.storage).reused  # what is set aside counts, too


# --- when the newest row is too old ---


def test_the_newest_row_of_a_snapshot_is_none_of_the_snapshot_before(files: Files) -> None:
    fresh: dict[str, Any] = {
        "columns": {"a": "int64", "at": "date"},
        "freshness": {"column": "at", "max_age": "2d", "severity": "warn"},
    }
    path = files.write("snapshot", "a,at\n1,2999-01-01\n")
    assert snapshot(path, files.storage, **fresh).findings == ()
    files.write("snapshot", "a,at\n1,2020-01-01\n", after=1)
    done = snapshot(path, files.storage, **fresh)
    assert "the newest at is 2020-01-01" in done.findings[0].message
    assert done.ref.facts["latest"] == {"at": "2020-01-01"}


def test_a_source_that_brings_nothing_new_becomes_stale(files: Files) -> None:
    columns = {**COLUMNS, "at": "timestamp"}
    fresh: dict[str, Any] = {"columns": columns, "freshness": {"column": "at", "max_age": "36500d"}}
    files.write("1.csv", "a,b,at\n1,1,2020-01-01T00:00:00Z\n2,2,2020-01-02T00:00:00Z\n", after=1)
    assert files.ingest(**fresh).findings == ()
    stale: dict[str, Any] = {**fresh, "freshness": {"column": "at", "max_age": "2d", "severity": "warn"}}
    for _ in range(2):
        done = files.ingest(**stale)
        (found,) = done.findings
        assert (found.rule, found.severity) == ("freshness", "warn")
        assert "the newest at is 2020-01-02" in found.message
    assert done.reused
    with pytest.raises(ContractViolation, match="t breaks its contract: freshness: the newest at"):
        files.ingest(**{**stale, "freshness": {"column": "at", "max_age": "2d"}})
    assert Tables(files.storage).open("t").version == 1
