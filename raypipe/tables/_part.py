"""Parquet parts of a table, each with the statistics that let readers skip it.

Statistics are computed from the rows while they are written and kept in the Parquet footer too, so that a part that an
earlier run wrote has the same ones: a footer's own bounds leave out NaN and say nothing of long texts and of lists.
"""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raypipe.core.errors import StorageError
from raypipe.core.storage import arrow_filesystem, filesystem, join, path_of, write_bytes

_STATS = b"raypipe.stats"
_TEXT_LENGTH = 32
_LAST_CHARACTER = chr(0x10FFFF)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A Parquet file below a table's URI, not yet or already part of a version."""

    path: str
    num_rows: int
    num_bytes: int
    stats: str = "{}"


def write_part(uri: str, path: str, table: pa.Table) -> Part:
    """Write `table` as Parquet file `path` below table `uri`, whole or not at all, with statistics for the commit."""
    sink, stats = pa.BufferOutputStream(), stats_of(table)
    pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), _STATS: stats}), sink, compression="zstd")
    data = sink.getvalue()
    write_bytes(join(uri, path), data.to_pybytes())
    return Part(path=path, num_rows=table.num_rows, num_bytes=data.size, stats=stats)


def part_of(uri: str, path: str) -> Part:
    """The part that an earlier run wrote as `path` below table `uri`."""
    fs, found = filesystem(join(uri, path)), path_of(join(uri, path))
    metadata = pq.read_metadata(found, filesystem=arrow_filesystem(uri))
    stats = (metadata.metadata or {}).get(_STATS, json.dumps({"numRecords": metadata.num_rows}).encode())
    return Part(path=path, num_rows=metadata.num_rows, num_bytes=fs.size(found), stats=stats.decode())


def read_part(uri: str, schema: pa.Schema, *, batch_rows: int) -> Iterator[pa.Table]:
    """Rows of the Parquet file at `uri` in tables of at most `batch_rows` rows and of `schema`.

    Columns that the file lacks are null: it was written before they joined the table.

    Raises:
        StorageError: when the file is gone or damaged.
    """
    try:
        with arrow_filesystem(uri).open_input_file(path_of(uri)) as source:
            file = pq.ParquetFile(source)
            names = [name for name in schema.names if name in file.schema_arrow.names]
            for batch in file.iter_batches(batch_rows, columns=names):
                yield _conformed(pa.Table.from_batches([batch]), schema)
    except (OSError, pa.ArrowInvalid) as error:
        problem = f"cannot be read as a part of its table ({' '.join(str(error).split())})"
        raise StorageError(uri, problem, "restore a version that is whole, or write the table again") from error


def _conformed(found: pa.Table, schema: pa.Schema) -> pa.Table:
    cells = [
        found.column(f.name).cast(f.type) if f.name in found.column_names else pa.nulls(found.num_rows, f.type) for f in schema
    ]
    return pa.table(cells, schema=schema)


def stats_of(table: pa.Table) -> str:
    """Delta's statistics of `table` as JSON: rows, nulls of every column, bounds of numbers, texts, dates and timestamps.

    Bounds hold for every value: long texts are cut to 32 characters, the greatest one rounded up; timestamps are whole
    milliseconds, rounded outwards; a column with a NaN, which is greater than all numbers, has no greatest value.
    """
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        lowest, highest = _bounds(column)
        low |= {name: lowest} if lowest is not None else {}
        high |= {name: highest} if highest is not None else {}
    plain = [name for name in table.column_names if not pa.types.is_struct(table.schema.field(name).type)]  # Delta nests theirs
    nulls = {name: table.column(name).null_count for name in plain}
    return json.dumps({"numRecords": table.num_rows, "nullCount": nulls, "minValues": low, "maxValues": high})


def _bounds(cells: pa.ChunkedArray) -> tuple[Any, Any]:
    kind = cells.type
    if pa.types.is_floating(kind):
        numbers = pc.filter(cells, pc.invert(pc.fill_null(pc.is_nan(cells), False)))
        found = pc.min_max(numbers).as_py()
        has_nan = len(numbers) < len(cells)
        return _finite(found["min"]), None if has_nan else _finite(found["max"])
    if not (pa.types.is_integer(kind) or pa.types.is_date(kind) or pa.types.is_timestamp(kind) or pa.types.is_string(kind)):
        return None, None
    found = pc.min_max(cells)
    return _said(found["min"], _lowest), _said(found["max"], _highest)


def _said(bound: pa.Scalar, in_words: Callable[[Any], Any]) -> Any:
    """A bound; none where it is a time that Python has not, whose years end with 9999."""
    try:
        return in_words(bound.as_py())
    except OverflowError:
        return None


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _lowest(value: Any) -> Any:
    if isinstance(value, str):
        return value[:_TEXT_LENGTH]
    return _instant(value) if isinstance(value, datetime) else value.isoformat() if isinstance(value, date) else value


def _highest(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _TEXT_LENGTH:
        return None if value[_TEXT_LENGTH] == _LAST_CHARACTER else value[:_TEXT_LENGTH] + _LAST_CHARACTER
    if isinstance(value, datetime):
        return _instant(value + timedelta(microseconds=-value.microsecond % 1000))
    return _lowest(value)


def _instant(value: datetime) -> str:
    """In whole milliseconds, rounded down; one without a zone says none, as Delta's own type of such timestamps."""
    text = value.replace(tzinfo=None).isoformat(timespec="milliseconds")
    return f"{text}Z" if value.tzinfo else text
