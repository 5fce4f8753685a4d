"""Delta and Iceberg tables as sources: a version, and what is new since the version that was read before."""

import base64
import json
import os
import string
import struct
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pydantic import ValidationError
from pyiceberg.catalog import Catalog, load_catalog
from source_rows import one_line, read

from raypipe.core.errors import ConfigError, SourceError
from raypipe.sources import Delta, Iceberg, Postgres

BASE85 = string.digits + string.ascii_uppercase + string.ascii_lowercase + "!#$%&()*+-;<=>?@^_`{|}~"
Z85 = string.digits + string.ascii_lowercase + string.ascii_uppercase + ".-:+=^!/*?&<>()[]{}@%$#"
NOON = datetime(2013, 1, 1, 12, tzinfo=UTC)


def rows(*numbers: int, part: str | None = "a b") -> pa.Table:
    num = len(numbers)
    times = pa.array([NOON] * num, pa.timestamp("us", "UTC"))
    return pa.table({"x": pa.array(numbers, pa.int64()), "p": pa.array([part] * num, pa.string()), "t": times})


def look(source: Delta | Iceberg, seen: Mapping[str, Any]) -> tuple[str, list[int], Mapping[str, Any]]:
    """How the rows are to be taken, their numbers, and the state after."""
    found = read(source, seen)
    return found.scan.takes, sorted(row["x"] for row in found.rows), found.state


def test_a_delta_table_is_read_with_its_partitions_and_types(tmp_path: Path) -> None:
    uri = str(tmp_path / "t")
    for part in ("a b", "x=y/z%", None):
        write_deltalake(uri, rows(1, part=part), partition_by=["p"], mode="append")
    found = read(Delta(uri=uri))
    assert sorted(str(row["p"]) for row in found.rows) == ["None", "a b", "x=y/z%"]
    assert {row["t"] for row in found.rows} == {NOON}
    assert read(Delta(uri=uri, version=1), columns=["x"]).rows == [{"x": 1}, {"x": 1}]
    assert found.scan.fragments == Delta(uri=uri).scan({}).fragments


@pytest.mark.parametrize(
    "value",
    [pa.scalar(3), pa.scalar(0.5), pa.scalar(True), pa.scalar(NOON.date()), pa.scalar(NOON, pa.timestamp("us", "UTC"))],
    ids=lambda value: str(value.type),
)
def test_partitions_of_any_type_keep_it(tmp_path: Path, value: pa.Scalar) -> None:
    table = pa.table({"p": pa.array([value.as_py()], value.type), "x": [1]})
    write_deltalake(tmp_path / "t", table, partition_by=["p"])
    assert read(Delta(uri=str(tmp_path / "t"))).rows == table.to_pylist()


def test_only_files_that_a_delta_table_added_are_read_again(tmp_path: Path) -> None:
    uri = str(tmp_path / "t")
    write_deltalake(uri, rows(1, 2))
    source = Delta(uri=uri)
    takes, numbers, state = look(source, {})
    assert (takes, numbers) == ("all", [1, 2])
    assert source.scan(state).fragments == ()
    write_deltalake(uri, rows(3), mode="append")
    write_deltalake(uri, rows(4), mode="append")
    takes, numbers, state = look(source, state)
    assert (takes, numbers, state["version"]) == ("new", [3, 4], 2)
    DeltaTable(uri).optimize.compact()  # changes files, not rows
    assert look(source, state)[:2] == ("new", [])


def delete(uri: str) -> None:
    DeltaTable(uri).delete("x = 1")


def overwrite(uri: str) -> None:
    write_deltalake(uri, rows(2), mode="overwrite")


def add_a_column_and_update(uri: str) -> None:
    write_deltalake(uri, rows(3).append_column("more", pa.array([1])), mode="append", schema_mode="merge")
    DeltaTable(uri).update(updates={"x": "2"}, predicate="x in (1, 3)")
    DeltaTable(uri).delete("more is null")


def append_and_compact(uri: str) -> None:
    write_deltalake(uri, rows(2), mode="append")
    DeltaTable(uri).optimize.compact()
    DeltaTable(uri).delete("x = 1")


def lose_the_log(uri: str) -> None:
    overwrite(uri)
    DeltaTable(uri).create_checkpoint()
    (Path(uri) / "_delta_log" / f"{1:020d}.json").unlink()


def make_anew(uri: str) -> None:
    Path(uri).rename(f"{uri}.old")
    write_deltalake(uri, rows(2))


@pytest.mark.parametrize("change", [delete, overwrite, add_a_column_and_update, append_and_compact, lose_the_log, make_anew])
def test_a_delta_table_that_changed_otherwise_is_read_anew(tmp_path: Path, change: Callable[[str], None]) -> None:
    uri = str(tmp_path / "t")
    write_deltalake(uri, rows(1))
    write_deltalake(uri, rows(2), mode="append") if change is delete else None
    source = Delta(uri=uri)
    state = look(source, {})[2]
    change(uri)
    assert look(source, state)[:2] == ("all", [2])


def test_columns_that_came_later_are_null_in_older_files(tmp_path: Path) -> None:
    write_deltalake(tmp_path / "t", pa.table({"x": [1]}))
    write_deltalake(tmp_path / "t", pa.table({"x": [2], "y": ["b"]}), mode="append", schema_mode="merge")
    found = read(Delta(uri=str(tmp_path / "t")))
    assert sorted(found.rows, key=lambda row: row["x"]) == [{"x": 1, "y": None}, {"x": 2, "y": "b"}]


@pytest.mark.parametrize(
    ("version", "words"), [(None, "cannot be opened as a Delta table"), (7, "cannot be opened as a Delta table")]
)
def test_a_delta_table_that_is_not_there_is_one_line(tmp_path: Path, version: int | None, words: str) -> None:
    uri = str(tmp_path / "t")
    if version is not None:
        write_deltalake(uri, rows(1))
    with pytest.raises(SourceError, match=words) as caught:
        Delta(uri=uri, version=version).scan({})
    assert one_line(caught.value).startswith(uri)


def test_a_data_file_that_was_vacuumed_is_one_line(tmp_path: Path) -> None:
    uri = str(tmp_path / "t")
    write_deltalake(uri, rows(1))
    source = Delta(uri=uri)
    (fragment,) = source.scan({}).fragments
    Path(fragment.uri).unlink()
    with pytest.raises(SourceError, match=r"cannot be read .*was the table vacuumed\?") as caught, source.open(fragment):
        pass
    one_line(caught.value)


def test_a_delta_table_with_deletion_vectors_is_refused_once_it_has_any(tmp_path: Path) -> None:
    path = tmp_path / "t"
    write_deltalake(path, rows(*range(40)), configuration={"delta.enableDeletionVectors": "true"})
    assert look(Delta(uri=str(path)), {})[1] == list(range(40))
    (log,) = (path / "_delta_log").glob("*.json")
    (add,) = [json.loads(line)["add"] for line in log.read_text().splitlines() if '"add"' in line]
    bitmap = struct.pack("<IQIIIHHIHH", 1681511377, 1, 0, 12346, 1, 0, 1, 16, 3, 4)  # a Roaring bitmap of rows 3 and 4
    vector = base64.b85encode(bitmap).decode().translate(str.maketrans(BASE85, Z85))
    deleted = {"storageType": "i", "pathOrInlineDv": vector, "sizeInBytes": len(bitmap), "cardinality": 2}
    removed = {"path": add["path"], "dataChange": True, "deletionTimestamp": 1, "extendedFileMetadata": False}
    actions = [{"remove": removed}, {"add": {**add, "deletionVector": deleted}}]
    log.with_name(f"{1:020d}.json").write_text("".join(json.dumps(action) + "\n" for action in actions))
    with pytest.raises(SourceError, match="uses deletionVectors, which raypipe does not read") as caught:
        Delta(uri=str(path)).scan({})
    one_line(caught.value)


@pytest.fixture
def lake(tmp_path: Path) -> tuple[Catalog, Iceberg]:
    properties = {"type": "sql", "uri": f"sqlite:///{tmp_path}/catalog.db", "warehouse": f"file://{tmp_path}"}
    catalog = load_catalog("lake", **properties)
    catalog.create_namespace("shop")
    catalog.create_table("shop.sales", schema=rows(1).schema)
    return catalog, Iceberg(table="shop.sales", catalog="lake", properties=properties)


def test_an_iceberg_table_is_read_by_snapshot(lake: tuple[Catalog, Iceberg]) -> None:
    catalog, source = lake
    table = catalog.load_table("shop.sales")
    with pytest.raises(SourceError, match="was never written"):
        source.scan({})
    table.append(rows(1, 2))
    first = table.current_snapshot()
    table.append(rows(3))
    assert first is not None
    found = read(source)
    assert sorted(row["x"] for row in found.rows) == [1, 2, 3]
    assert {field.name: str(field.type) for field in next(iter(found.schemas.values()))} == {
        "x": "int64",
        "p": "string",
        "t": "timestamp[us, tz=UTC]",
    }
    pinned = Iceberg(table=source.table, catalog=source.catalog, properties=source.properties, snapshot=first.snapshot_id)
    assert look(pinned, {})[1] == [1, 2]


def test_only_files_that_an_iceberg_table_appended_are_read_again(lake: tuple[Catalog, Iceberg]) -> None:
    catalog, source = lake
    table = catalog.load_table("shop.sales")
    table.append(rows(1, 2))
    takes, numbers, state = look(source, {})
    assert (takes, numbers) == ("all", [1, 2])
    table.append(rows(3))
    table.append(rows(4))
    takes, numbers, state = look(source, state)
    assert (takes, numbers) == ("new", [3, 4])
    assert source.scan(state).fragments == ()
    table.delete("x = 2")
    assert look(source, state)[:2] == ("all", [1, 3, 4])


@pytest.mark.parametrize(
    ("changed", "words"),
    [({"table": "shop.nothing"}, "NoSuchTable"), ({"snapshot": 5}, "no snapshot 5"), ({"properties": {}}, "URI missing")],
)
def test_an_iceberg_table_that_is_not_there_is_one_line(
    lake: tuple[Catalog, Iceberg], changed: Mapping[str, Any], words: str
) -> None:
    _, source = lake
    settings = {"table": source.table, "catalog": source.catalog, "properties": source.properties}
    with pytest.raises(SourceError, match=words) as caught:
        Iceberg(**{**settings, **changed}).scan({})
    one_line(caught.value)


@pytest.mark.parametrize(
    "properties",
    [
        {"s3.secret-access-key": "x"},
        {"uri": "postgresql://me:secret@host/db"},
        {"token": "x"},
        {"header.Authorization": "x"},
        {"adls.account-key": "x"},
    ],
)
def test_settings_of_a_catalog_hold_no_secrets(properties: Mapping[str, str]) -> None:
    with pytest.raises(ValidationError, match="names code to run: set it in the environment"):
        Iceberg(table="shop.stock", properties={"py-catalog-impl": "os.system"})
    with pytest.raises(ValidationError, match="holds a secret: set it in the environment"):
        Iceberg(table="a.b", properties=properties)


def test_an_iceberg_table_on_s3_is_read_with_the_credentials_of_the_environment(s3: str, tmp_path: Path) -> None:
    properties = {"type": "sql", "uri": f"sqlite:///{tmp_path}/catalog.db", "warehouse": f"{s3}/lake"}
    endpoint = {"s3.endpoint": os.environ["AWS_ENDPOINT_URL"], "s3.region": os.environ["AWS_REGION"]}
    catalog = load_catalog("lake", **properties, **endpoint)
    catalog.create_namespace("shop")
    catalog.create_table("shop.sales", schema=rows(1).schema).append(rows(1, 2))
    found = read(Iceberg(table="shop.sales", catalog="lake", properties=properties))
    assert [row["x"] for row in found.rows] == [1, 2]
    assert found.scan.fragments[0].uri.startswith(f"{s3}/lake/")


@pytest.mark.parametrize(
    ("source", "package", "words"),
    [
        (Iceberg(table="a.b"), "pyiceberg.catalog", r"needs the package pyiceberg.* pip install 'raypipe\[iceberg\]'"),
        (
            Postgres(table="t", key="id", database="d"),
            "adbc_driver_postgresql",
            r"needs the package adbc-driver-postgresql.* pip install 'raypipe\[postgres\]'",
        ),
    ],
    ids=["iceberg", "postgres"],
)
def test_a_missing_extra_is_one_line(
    monkeypatch: pytest.MonkeyPatch, source: Iceberg | Postgres, package: str, words: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    with pytest.raises(ConfigError, match=words) as caught:
        source.scan({})
    one_line(caught.value)
