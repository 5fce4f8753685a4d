"""Files of tables - Parquet, Delta, Iceberg - that are wrong in every way that we could think of, and what becomes of each."""

import io
import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from bad_files import GOOD, NOON, TWO
from bad_inputs import case, kept, refused
from deltalake import write_deltalake
from pyiceberg.catalog import load_catalog

from raypipe.core.errors import ConfigError, ContractViolation, SchemaMismatch

table = partial(case, kind="Parquet")
lake = partial(case, kind="Delta")
ice = partial(case, kind="Iceberg")


def parquet(data: Mapping[str, Any] | pa.Table, **settings: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(data if isinstance(data, pa.Table) else pa.table(dict(data)), out, **settings)
    return out.getvalue()


def no_groups() -> bytes:
    out = io.BytesIO()
    pq.ParquetWriter(out, pa.schema([("a", pa.int64()), ("b", pa.string())])).close()
    return out.getvalue()


def flipped(data: bytes) -> bytes:
    """`data` with 40 bytes of its first half inverted."""
    return data[:60] + bytes(byte ^ 0xFF for byte in data[60:100]) + data[100:]


MANY = parquet({"a": list(range(2000)), "b": [str(i * 7919) for i in range(2000)]})
NS = pa.array([1_357_041_600_000_000_000, 1_357_041_600_000_000_001], pa.timestamp("ns", "UTC"))
NAIVE, IN_UTC = NOON.replace(tzinfo=None), {"type": "timestamp", "zone": "UTC"}
DEEP = pa.array([{"t": 10**18}], pa.struct([("t", pa.timestamp("us", "UTC"))]))
SPAN = pa.array([10**18], pa.duration("s"))
NOWHERE = pa.array([1_357_041_600_000_000], pa.timestamp("us", "Nowhere/Land"))
FAR = pa.array([0, 10**18], pa.timestamp("us", "UTC"))

PARQUET = [
    table("truncated", MANY[:-40], refused("not a readable Parquet file")),
    table("damaged pages", flipped(MANY), refused("not a readable Parquet file")),
    table("no Parquet", GOOD, refused("not a readable Parquet file")),
    table("text for numbers", parquet({"a": ["1", "zwei"], "b": ["x", "y"]}), kept(TWO[:1], "'zwei' is not a whole", type_a=1)),
    table("numbers for text", parquet({"a": [1], "b": [7]}), kept([], "7 is not text", type_b=1)),
    table(
        "fractions, NaN, and numbers too large",
        parquet({"a": [1.0, 2.5, float("nan"), 1e19], "b": list("xxxx")}),
        kept(TWO[:1], "2.5 is not a whole", type_a=3),
    ),
    table(
        "unsigned and too large", parquet({"a": pa.array([1, 2**63], pa.uint64()), "b": ["x", "y"]}), kept(TWO[:1], type_a=1)
    ),
    table("decimals", parquet({"a": [Decimal("1.00"), Decimal("2.50")], "b": ["x", "y"]}), kept(TWO[:1], type_a=1)),
    table(
        "times without a zone",
        parquet({"a": [1], "b": [NOON.replace(tzinfo=None)]}),
        kept([], "has no time zone", type_b=1),
        b="timestamp",
    ),
    table("nanoseconds that a timestamp loses", parquet({"a": [1, 2], "b": NS}), kept([(1, NOON)], type_b=1), b="timestamp"),
    table(
        "times after the year 9999",
        parquet({"a": [1, 2], "b": FAR}),
        kept([(1, datetime(1970, 1, 1, tzinfo=UTC))], type_b=1),
        b="timestamp",
    ),
    table("bytes for text", parquet({"a": [1], "b": [b"x"]}), kept([], "is not text", type_b=1)),
    table(
        "dictionaries", parquet({"a": [1, 2, 3], "b": pa.array(["x", "y", None]).dictionary_encode()}), kept([*TWO, (3, None)])
    ),
    table("a column of type null", parquet({"a": [1], "b": pa.nulls(1)}), kept([(1, None)])),
    table(
        "no rows",
        parquet({"a": pa.array([], pa.int64()), "b": pa.array([], pa.string())}),
        refused("rows: 0 rows, expected at least 1", ContractViolation),
        rows={"min": 1},
    ),
    table("no row groups", no_groups(), kept([])),
    table(
        "a file without a column",
        {"1.parquet": parquet({"a": [1], "b": ["x"]}), "2.parquet": parquet({"a": [2]})},
        refused("2.parquet: 1 declared", SchemaMismatch),
        uri="*.parquet",
    ),
    table(
        "a file of other types",
        {"1.parquet": parquet({"a": [1], "b": ["x"]}), "2.parquet": parquet({"a": ["2"], "b": ["y"]})},
        kept(TWO),
        uri="*.parquet",
    ),
    table(
        "new columns that differ",
        {"1.parquet": parquet({"a": [1], "b": ["x"], "c": [1]}), "2.parquet": parquet({"a": [2], "b": ["y"], "c": ["z"]})},
        refused("c as string here and as int64 in another", SchemaMismatch),
        uri="*.parquet",
        drift="add",
    ),
    table(
        "times of Spark", parquet({"a": [1], "b": [NAIVE]}, use_deprecated_int96_timestamps=True), kept([(1, NOON)]), b=IN_UTC
    ),
    table("a time in a structure that no calendar has", parquet({"a": [1], "b": DEEP}), kept([], "is not text", type_b=1)),
    table("a span that no calendar has", parquet({"a": [1], "b": SPAN}), kept([], "is not text", type_b=1)),
    table("times of an unknown zone", parquet({"a": [1], "b": NOWHERE}), kept([], "12:00:00.000000Z' is not text", type_b=1)),
    table(
        "types that nobody declared, and other ones later",
        {"1.parquet": parquet({"a": [1], "b": ["x"], "t": [NOON], "l": [[1]], "d": [Decimal("1.5")], "s": [{"k": 1}]})},
        kept(TWO, told="column s was struct<k: int64>, and is struct<k: string>"),
        then={
            "2.parquet": parquet({"a": [2], "b": ["y"], "t": [NOON], "l": [["x"]], "d": [Decimal("1.55")], "s": [{"k": "1"}]})
        },
        uri="*.parquet",
    ),
    table(
        "a new column of no type",
        parquet({"a": [1], "b": ["x"], "c": [{"k": 1}]}),
        refused("column c is struct.*cast it in the source", ConfigError),
        drift="add",
    ),
]


def delta(folder: Path, spoil: Callable[[Path, Path], object] = lambda *_: None) -> None:
    write_deltalake(folder / "t", pa.table({"a": range(2000), "b": [str(i * 7919) for i in range(2000)]}))
    spoil(folder / "t" / "_delta_log", next((folder / "t").glob("*.parquet")))


def spoiled(spoil: Callable[[Path, Path], object]) -> Callable[[Path], None]:
    return partial(delta, spoil=spoil)


LAKES = [
    lake("no table", lambda _: None, refused("cannot be opened as a Delta table.*correct the source's uri")),
    lake("no log", spoiled(lambda log, _: shutil.rmtree(log)), refused("cannot be opened as a Delta table")),
    lake(
        "a log cut short", spoiled(lambda log, _: cut(next(log.glob("*.json")))), refused("cannot be opened as a Delta table")
    ),
    lake("no such version", delta, refused("cannot be opened as a Delta table"), source={"version": 7}),
    lake("a file is missing", spoiled(lambda _, part: part.unlink()), refused("cannot be read.*was the table vacuumed")),
    lake("a file is cut short", spoiled(lambda _, part: cut(part)), refused("cannot be read")),
    lake("damaged pages", spoiled(lambda _, part: part.write_bytes(flipped(part.read_bytes()))), refused("cannot be read")),
    lake(
        "a file of other types",
        spoiled(lambda _, part: pq.write_table(pa.table({"a": ["1", "zwei"], "b": ["x", "y"]}), part)),
        refused("cannot be read.*zwei"),
    ),
]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


PROPERTIES = {"type": "sql", "uri": "sqlite:///{folder}/catalog.db", "warehouse": "file://{folder}"}
SALES = {"table": "shop.sales", "catalog": "lake", "properties": PROPERTIES}


def iceberg(folder: Path) -> None:
    catalog = load_catalog("lake", **{name: text.format(folder=folder) for name, text in PROPERTIES.items()})
    catalog.create_namespace("shop")
    rows = pa.table({"a": [1, 2], "b": ["x", "y"]})
    catalog.create_table("shop.sales", schema=rows.schema).append(rows)


def iceberg_without_files(folder: Path) -> None:
    iceberg(folder)
    for path in folder.rglob("*.parquet"):
        path.unlink()


LAKES += [
    ice("no such table", iceberg, refused("NoSuchTable.*correct the source's catalog"), source={**SALES, "table": "shop.none"}),
    ice("no such snapshot", iceberg, refused("has no snapshot 5; correct"), source={**SALES, "snapshot": 5}),
    ice(
        "a file is missing",
        iceberg_without_files,
        refused("cannot be read .FileNotFoundError.*correct"),
        source=SALES,
    ),
]
