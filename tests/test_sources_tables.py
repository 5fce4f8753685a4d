"""Parquet as a source: typed columns, partitions, and what a condition leaves out; Delta beside it on S3."""

import hashlib
import os
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from source_rows import one_line, read, write

from raypipe.core.errors import ConfigError, InputError, SchemaMismatch, SourceError
from raypipe.core.storage import arrow_filesystem, delta_options, path_of
from raypipe.sources import ROW, Delta, Parquet
from raypipe.sources._prune import may_hold

NOON = datetime(2013, 1, 1, 12, tzinfo=UTC)
TYPED = pa.table(
    {
        "i": pa.array([1, None, 3], pa.int32()),
        "x": [0.5, float("nan"), None],
        "s": pa.array(["a", "ä日", None]).dictionary_encode(),
        "b": [True, None, False],
        "d": [date(2013, 1, 1), None, date(1969, 12, 31)],
        "t": pa.array([NOON, None, NOON], pa.timestamp("us", "UTC")),
        "l": pa.array([["a"], [], None], pa.large_list(pa.large_string())),
    }
)


def parquet(folder: Path, name: str, table: pa.Table, **settings: Any) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **settings)
    return path


def test_parquet_keeps_types_but_for_encodings(tmp_path: Path) -> None:
    path = parquet(tmp_path, "a.parquet", TYPED)
    found = read(Parquet(uri=str(path)))
    assert [str(field.type) for field in found.schemas[str(path)]] == [
        "int32",
        "double",
        "string",
        "bool",
        "date32[day]",
        "timestamp[us, tz=UTC]",
        "list<item: string>",
    ]
    plain = TYPED.cast(found.schemas[str(path)])
    assert (
        found.table.drop_columns([ROW]).to_pydict().items() >= {k: v for k, v in plain.to_pydict().items() if k != "x"}.items()
    )
    assert found.sha256s == {str(path): hashlib.sha256(path.read_bytes()).hexdigest()}
    assert set(found.lines.values()) == {None}


def test_folders_give_columns_and_hidden_ones_are_passed_over(tmp_path: Path) -> None:
    parquet(tmp_path, "year=2013/month=a%2Fb/1.parquet", pa.table({"x": [1]}))
    parquet(tmp_path, "year=__HIVE_DEFAULT_PARTITION__/month=2/1.parquet", pa.table({"x": [2]}))
    parquet(tmp_path, "_delta_log/1.parquet", pa.table({"x": [3]}))
    write(tmp_path, "year=2013/_SUCCESS", b"")
    found = read(Parquet(uri=str(tmp_path)))
    assert found.rows == [{"x": 1, "year": "2013", "month": "a/b"}, {"x": 2, "year": None, "month": "2"}]
    assert read(Parquet(uri=str(tmp_path), where='year == "2013"'), columns=["x"]).rows == [{"x": 1}]
    assert read(Parquet(uri=str(tmp_path), where='year == "2013"'), columns=["year"]).rows == [{"year": "2013"}]


def test_a_condition_leaves_out_row_groups_and_rows_and_rows_keep_their_numbers(tmp_path: Path) -> None:
    path = parquet(tmp_path, "a.parquet", pa.table({"x": range(100), "s": [f"{i:03}" for i in range(100)]}), row_group_size=10)
    source = Parquet(uri=str(path), where='x > 57 and x < 61 and s != "059"')
    found = read(source, columns=["s"])
    assert found.table.to_pydict() == {"s": ["058", "060"], ROW: [58, 60]}
    meta = pq.ParquetFile(path).metadata
    assert [g for g in range(10) if may_hold(str(source.where), meta.row_group(g), {})] == [5, 6]


@settings(max_examples=50)
@given(
    rows=st.lists(st.one_of(st.none(), st.integers(-5, 5), st.floats(-5, 5)), min_size=1, max_size=30),
    texts=st.lists(st.sampled_from(["", "a", "ä", "b", None]), min_size=30, max_size=30),
    where=st.sampled_from(
        [
            "x > -1",
            "1 <= x",
            "x == 2",
            "x != 2",
            "x < 3 and s == 'a'",
            "x > 4 or s < 'b'",
            "not (x > 1)",
            "is_null(x)",
            "-2 < x",
        ]
    ),
)
def test_a_row_group_is_only_left_out_when_none_of_its_rows_is_wanted(
    tmp_path_factory: pytest.TempPathFactory, rows: Sequence[float | None], texts: Sequence[str | None], where: str
) -> None:
    table = pa.table({"x": pa.array(rows, pa.float64()), "s": pa.array(texts[: len(rows)], pa.string())})
    folder = tmp_path_factory.mktemp("pruned")
    pruned = parquet(folder, "a.parquet", table, row_group_size=3)
    whole = parquet(folder, "b.parquet", table, write_statistics=False)
    found = [read(Parquet(uri=str(path), where=where)).table.to_pylist() for path in (pruned, whole)]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        pytest.param("a.parquet", b"", "the file is empty", id="empty"),
        pytest.param("a.parquet", b"PAR1 but nothing else", "not a readable Parquet file", id="no Parquet"),
        pytest.param("a.parquet", None, "not a readable Parquet file", id="truncated"),
    ],
)
def test_a_damaged_parquet_file_is_one_line(tmp_path: Path, name: str, data: bytes | None, words: str) -> None:
    path = parquet(tmp_path, name, TYPED)
    path.write_bytes(path.read_bytes()[:-20] if data is None else data)
    with pytest.raises(SourceError, match=words) as caught:
        read(Parquet(uri=str(path)))
    assert one_line(caught.value).startswith(str(path))


def test_each_parquet_file_has_the_schema_that_it_has(tmp_path: Path) -> None:
    parquet(tmp_path, "a.parquet", pa.table({"id": [1], "x": [1]}))
    b = parquet(tmp_path, "b.parquet", pa.table({"id": [2], "xx": ["2"]}))
    source = Parquet(uri=str(tmp_path))
    assert [schema.names for schema in read(source, columns=["id"]).schemas.values()] == [["id", "x"], ["id", "xx"]]
    with pytest.raises(SchemaMismatch, match="xx is perhaps the renamed x") as caught:
        read(source, columns=["id", "x"])
    assert caught.value.uri == str(b)


def test_conditions_that_cannot_be_are_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path, "a.parquet", pa.table({"x": [1]}))
    with pytest.raises((ConfigError, ValidationError)):
        Parquet(uri=str(path), where="x >")
    for where in ("y > 1", 'x == "1"'):
        with pytest.raises(InputError) as caught:
            read(Parquet(uri=str(path), where=where))
        one_line(caught.value)


def test_a_parquet_file_replaced_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path, "a.parquet", TYPED)
    source = Parquet(uri=str(path))
    (fragment,) = source.scan({}).fragments
    with (  # noqa: PT012
        pytest.raises(SourceError, match="changed while it was read"),
        source.open(fragment) as reading,
    ):
        parquet(tmp_path, "b.parquet", pa.table({"i": [1]})).replace(path)
        os.utime(path, ns=(1, 1))
        list(reading.tables(["i"]))


def test_parquet_and_delta_on_s3(s3: str) -> None:
    for i in (1, 2):
        place = f"{s3}/pq/year=201{i}/a.parquet"
        pq.write_table(pa.table({"x": [i]}), path_of(place), filesystem=arrow_filesystem(place))
        write_deltalake(f"{s3}/delta", pa.table({"x": [i]}), mode="append", storage_options=delta_options(s3))
    found = read(Parquet(uri=f"{s3}/pq"))
    assert found.rows == [{"x": 1, "year": "2011"}, {"x": 2, "year": "2012"}]
    assert set(found.sha256s.values()) == {None}
    first = read(Delta(uri=f"{s3}/delta"))
    assert sorted(row["x"] for row in first.rows) == [1, 2]
    write_deltalake(f"{s3}/delta", pa.table({"x": [3]}), mode="append", storage_options=delta_options(s3))
    assert read(Delta(uri=f"{s3}/delta"), first.state).rows == [{"x": 3}]
    with pytest.raises(SourceError, match="cannot be opened as a Delta table"):
        Delta(uri=f"{s3}/no-table").scan({})
