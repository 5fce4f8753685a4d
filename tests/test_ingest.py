"""Ingest: every row counted, bad ones set aside with their reason, keys unique, the same source once, killed and run again."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shops import NUM_FILES, TABLES, orders, specs, write_all, write_csv, write_orders

from raypipe.contract import Contract, key_hashes
from raypipe.core.config import build
from raypipe.core.errors import ContractViolation, DuplicateKeys, SchemaMismatch, SourceError
from raypipe.core.fragments import map_fragments
from raypipe.core.storage import Storage
from raypipe.ingest import ROWS_PER_PART, Ingested, TableSpec, ingest_tables
from raypipe.tables import Quarantine, TableRef, Tables

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]
ONLY_ORDERS = {"orders": TABLES["orders"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "sources"
    path.mkdir()
    return path


def ingest_orders(folder: Path, storage: Storage, **contract: Any) -> Ingested:
    return ingest_tables(specs(folder, ONLY_ORDERS, orders=contract), storage)["orders"]


def csv_table(path: Path, storage: Storage, **settings: Any) -> Ingested:
    """Ingest one file of columns a (key, int64) and b (float64, at most 10)."""
    columns = {"a": "int64", "b": {"type": "float64", "max": 10}}
    contract = {"key": ["a"], "columns": columns, **settings.pop("contract", {})}
    source = {"_target_": "raypipe.sources.Csv", "uri": str(path), **settings}
    return ingest_tables({"t": build({"source": source, "contract": contract}, TableSpec)}, storage)["t"]


def ids(ref: TableRef, column: str = "id") -> list[Any]:
    return [i for part in ref.parts for i in pq.read_table(ref.part_uri(part)).column(column).to_pylist()]


def quarantined(storage: Storage, table: str = "t") -> list[Mapping[str, Any]]:
    uri = Quarantine(storage, table).uri
    return pl.read_delta(uri).to_dicts() if Path(uri).exists() else []


def test_all_tables_are_read_typed_and_counted_and_rows_keep_their_order(folder: Path, storage: Storage) -> None:
    rows = orders()
    write_all(folder, rows)
    done = ingest_tables(specs(folder), storage)
    assert {name: (i.ref.version, i.rows.to_dict()) for name, i in done.items()} == {
        name: (0, {"in": num, "out": num, "set_aside": {}}) for name, num in (("orders", 600), ("shops", 3), ("prices", 900))
    }
    assert {i.reason for i in done.values()} == {"first ingest"}
    ref = done["orders"].ref
    assert len(ref.parts) == NUM_FILES
    assert ids(ref) == [row["id"] for row in rows]
    frame = pl.read_delta(ref.uri).sort("id")
    assert frame["amount"].to_list() == [row["amount"] if row["amount"] != "" else None for row in rows]
    assert [t.isoformat() for t in frame["placed"].to_list()] == [row["placed"] for row in rows]
    assert ref.schema == Contract(columns=specs(folder)["orders"].contract.columns).schema
    assert not quarantined(storage, "orders")


def test_the_same_source_again_does_nothing_and_says_so(folder: Path, storage: Storage) -> None:
    write_all(folder)
    first = ingest_tables(specs(folder), storage)
    files = {p: p.stat().st_mtime_ns for p in Path(storage.root).rglob("*") if p.is_file()}
    again = ingest_tables(specs(folder), storage)
    assert all(i.reused and i.reason == f"source unchanged since {name}@0" for name, i in again.items())
    assert {name: (i.ref, i.rows) for name, i in again.items()} == {name: (i.ref, i.rows) for name, i in first.items()}
    assert {p: p.stat().st_mtime_ns for p in Path(storage.root).rglob("*") if p.is_file()} == files


def test_a_changed_source_gives_a_new_version_of_its_table_alone(folder: Path, storage: Storage) -> None:
    write_all(folder, orders(60))
    ingest_tables(specs(folder), storage)
    write_orders(folder, orders(90))
    done = ingest_tables(specs(folder), storage)
    assert {name: (i.ref.version, i.reused) for name, i in done.items()} == {
        "orders": (1, False),
        "shops": (0, True),
        "prices": (0, True),
    }
    assert done["orders"].reason == "3 fragments replaced since orders@0"
    assert ids(done["orders"].ref) == list(range(90))
    assert ids(Tables(storage).open("orders", 0)) == list(range(60))


def test_a_source_changed_there_and_back_gives_its_rows_and_leaves_old_versions_alone(folder: Path, storage: Storage) -> None:
    for num in (60, 90, 60, 90):
        write_orders(folder, orders(num))
        assert len(ids(ingest_orders(folder, storage).ref)) == num
    tables = Tables(storage)
    assert [len(ids(tables.open("orders", version))) for version in range(4)] == [60, 90, 60, 90]
    names = [{part.path for part in tables.open("orders", version).parts} for version in range(4)]
    assert len(set.union(*names)) == 4 * NUM_FILES  # no committed file was ever written again


def test_a_changed_contract_reads_the_source_again(folder: Path, storage: Storage) -> None:
    write_orders(folder, orders(60))
    ingest_orders(folder, storage)
    columns = {**TABLES["orders"]["contract"]["columns"], "amount": "string"}
    done = ingest_orders(folder, storage, columns=columns)
    assert (done.ref.version, done.reused) == (1, False)
    assert done.ref.schema.field("amount").type == pa.string()


def test_rows_that_break_the_contract_are_set_aside_with_reason_place_and_payload(tmp_path: Path, storage: Storage) -> None:
    path = tmp_path / "ü.csv"
    path.write_text("a,b\n1,1.5\n2,abc\n3\n,2\n5,99\n6,6\n7,x,y\n8,\n")
    done = csv_table(path, storage, contract={"max_bad_share": 0.7})
    aside = {"broken line": 2, "max of b": 1, "null of a": 1, "type of b": 1}
    assert done.rows.to_dict() == {"in": 8, "out": 3, "set_aside": aside}
    assert ids(done.ref, "a") == [1, 6, 8]
    rows = {row["location"]["row"]: row for row in quarantined(storage)}
    assert {row: (found["rule"], found["column"]) for row, found in rows.items()} == {
        1: ("type", "b"),
        2: ("line", ""),
        3: ("null", "a"),
        4: ("max", "b"),
        6: ("line", ""),
    }
    assert rows[1]["reason"] == "'abc' is not a finite number (float64)"
    assert json.loads(rows[1]["payload"]) == {"a": "2", "b": "abc"}
    assert "7,x,y" in rows[6]["payload"]
    assert {(row["stage"], row["location"]["uri"]) for row in rows.values()} == {("ingest", str(path))}
    assert {row: found["location"]["line"] for row, found in rows.items()} == {1: 3, 2: 4, 3: 5, 4: 6, 6: 8}
    again = csv_table(path, storage, contract={"max_bad_share": 0.7})
    assert again.reused
    assert again.rows == done.rows
    assert len(quarantined(storage)) == 5


def test_more_bad_rows_than_allowed_stop_with_one_line_and_no_new_version(tmp_path: Path, storage: Storage) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,1\n2,2\n")
    csv_table(path, storage)
    path.write_text("a,b\n1,1\n2,two\n3,3\n4,four\n")
    for _ in range(2):
        with pytest.raises(ContractViolation, match=r"2 of 4 rows.*row 1 of .*t.csv, column b: 'two' is not") as caught:
            csv_table(path, storage, contract={"max_bad_share": 0.4})
        assert "\n" not in str(caught.value)
        assert "max_bad_share: 2 of 4 rows" in str(caught.value)
        assert "data.tables.t.contract" in str(caught.value)
    assert Tables(storage).open("t").version == 0
    assert Quarantine(storage, "t").counts() == {"refused": {"type of b": 2}}
    assert csv_table(path, storage, contract={"max_bad_share": 0.5}).rows.rows_out == 2


def test_a_line_of_many_lines_makes_a_message_of_one(tmp_path: Path, storage: Storage) -> None:
    path = tmp_path / "t.csv"
    path.write_text('a,b\n1,1\n2,"' + "long\n" * 500 + '",3\n')
    with pytest.raises(ContractViolation, match="expected 2 fields, got 3") as caught:
        csv_table(path, storage)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


def test_a_table_may_lose_all_its_rows_when_that_is_allowed(tmp_path: Path, storage: Storage) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1\n2\n")
    done = csv_table(path, storage, contract={"max_bad_share": 1})
    assert (done.rows.rows_in, done.rows.rows_out, done.ref.num_rows) == (2, 0, 0)


def test_one_wrong_table_keeps_all_tables_as_they_were(folder: Path, storage: Storage) -> None:
    write_all(folder, orders(60))
    ingest_tables(specs(folder), storage)
    write_orders(folder, orders(90))
    write_csv(folder / "shops.csv", [{"name": "north", "staff": "many", "rating": 1}])
    with pytest.raises(ContractViolation, match="shops"):
        ingest_tables(specs(folder), storage)
    assert {name: Tables(storage).open(name).version for name in TABLES} == dict.fromkeys(TABLES, 0)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("", SourceError, "empty"),
        ("a,b\n", SourceError, "no rows"),
        ("a,c\n1,2\n", SchemaMismatch, "b"),
        ("a;b\n1;2\n", SchemaMismatch, "a;b"),
        ('a,b\n1,"2\n3,4\n', SourceError, "never closed"),
    ],
)
def test_a_file_that_is_wrong_as_a_whole_is_refused_on_the_driver_in_one_line(
    text: str, error: type[Exception], words: str, tmp_path: Path, storage: Storage
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(error, match=words) as caught:
        csv_table(path, storage)
    assert type(caught.value) is error
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert Tables(storage).find("t") is None


def test_keys_that_repeat_across_files_and_parts_are_refused_with_an_example(folder: Path, storage: Storage) -> None:
    rows = orders(60)
    write_orders(folder, [*rows, rows[7], rows[7], rows[50]])
    with pytest.raises(DuplicateKeys, match=r"orders: key \(id\).*3 row\(s\).*id=7") as caught:
        ingest_orders(folder, storage)
    assert caught.value.num_duplicates == 3
    assert Tables(storage).find("orders") is None


def test_a_key_of_several_columns_repeats_only_as_a_whole(tmp_path: Path, storage: Storage) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,1\n1,2\n2,1\n")
    assert csv_table(path, storage, contract={"key": ["a", "b"]}).rows.rows_out == 3
    path.write_text("a,b\n1,1\n1,2\n2,1\n1,2.0\n")
    with pytest.raises(DuplicateKeys, match=r"a=1, b=2\.0"):
        csv_table(path, storage, contract={"key": ["a", "b"]})


def test_the_hash_of_a_key_is_the_same_in_other_processes_and_chunks() -> None:
    table = pa.table({"a": [1, 2, 1], "b": ["ü", None, "ü"]})
    whole = key_hashes(table, ["a", "b"]).tolist()
    slices = [table.slice(i, 1) for i in range(3)]
    apart = list(map_fragments(lambda rows: int(key_hashes(rows, ["a", "b"])[0]), slices, title="t"))
    assert whole == apart
    assert whole[0] == whole[2] != whole[1]


def test_a_table_without_a_key_may_repeat_rows(tmp_path: Path, storage: Storage) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,1\n1,1\n")
    assert csv_table(path, storage, contract={"key": []}).rows.rows_out == 2


def test_rows_of_a_large_file_are_written_in_parts_of_a_fixed_number_of_rows(tmp_path: Path, storage: Storage) -> None:
    num = ROWS_PER_PART + 1000
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "".join(f"{i},1\n" for i in range(num)))
    done = csv_table(path, storage, row_number="n", contract={"columns": {"a": "int64", "n": "int64"}})
    assert [part.num_rows for part in done.ref.parts] == [ROWS_PER_PART, 1000]
    assert ids(done.ref, "a") == ids(done.ref, "n") == list(range(num))
