"""One pass over the parts of a version: each task reads a part in batches, and small states come back."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any

import pyarrow as pa

from raypipe.core.fragments import map_fragments
from raypipe.overview._columns import ColumnOverview, Passes, merge_passes, pass_over
from raypipe.tables import TableRef, read_part

MASK = "***"
_BATCH_ROWS = 131_072
_MAX_CHARACTERS, _MAX_ELEMENTS = 120, 8

SampleRow = Mapping[str, str | None]


@dataclass(frozen=True, kw_only=True)
class TableOverview:
    """One version of a table.

    Attributes:
        name: Of the table.
        version: Of the table.
        uri: Where it lives.
        written_at: When the version was committed, if the log still says so.
        num_rows: Its rows.
        num_files: Its Parquet files.
        num_bytes: Their size.
        columns: In the order of the table.
        samples: A few rows, evenly over the table, as text; None for null, and personal data masked.
    """

    name: str
    version: int
    uri: str
    written_at: datetime | None
    num_rows: int
    num_files: int
    num_bytes: int
    columns: Mapping[str, ColumnOverview]
    samples: tuple[SampleRow, ...]

    @property
    def label(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, kw_only=True)
class _Found:
    passes: Passes
    samples: tuple[SampleRow, ...]


@dataclass(frozen=True, kw_only=True)
class _Item:
    """A part, and the places of its rows that are shown."""

    uri: str
    places: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """Reads one part on a worker."""

    schema: pa.Schema
    masked: frozenset[str]

    def __call__(self, item: _Item) -> _Found:
        samples: list[SampleRow] = []

        def passes() -> Iterator[Passes]:
            start = 0
            for rows in chain(read_part(item.uri, self.schema, batch_rows=_BATCH_ROWS), [self.schema.empty_table()]):
                here = [place - start for place in item.places if 0 <= place - start < rows.num_rows]
                samples.extend(shown_rows(rows.take(here), self.masked) if here else ())
                start += rows.num_rows
                yield pass_over(rows, self.masked)

        return _Found(passes=merge_passes(passes()), samples=tuple(samples))


def look_over(ref: TableRef, *, masked: Collection[str], num_samples: int, written_at: datetime | None = None) -> TableOverview:
    """Overview of one version of a table, by one pass over its parts.

    Args:
        ref: The version.
        masked: Columns whose values are never shown.
        num_samples: Rows to show.
        written_at: When it was committed.

    Raises:
        StorageError: when a part is gone or damaged.
    """
    reader = _Reader(schema=ref.schema, masked=frozenset(masked))
    items = _items(ref, num_samples)
    samples: list[SampleRow] = []

    def passes() -> Iterator[Passes]:
        yield pass_over(ref.schema.empty_table(), reader.masked)
        for found in map_fragments(reader, items, title=f"profile {ref.label}"):
            samples.extend(found.samples)
            yield found.passes

    merged = merge_passes(passes())
    return TableOverview(
        name=ref.name,
        version=ref.version,
        uri=ref.uri,
        written_at=written_at,
        num_rows=next((one.rows for one in merged.values()), 0),
        num_files=len(ref.parts),
        num_bytes=sum(part.num_bytes for part in ref.parts),
        columns={name: one.overview() for name, one in merged.items()},
        samples=tuple(samples),
    )


def _items(ref: TableRef, num_samples: int) -> list[_Item]:
    wanted = sample_places(ref.num_rows, num_samples)
    items, start = [], 0
    for part in ref.parts:
        places = tuple(place - start for place in wanted if start <= place < start + part.num_rows)
        items.append(_Item(uri=ref.part_uri(part), places=places))
        start += part.num_rows
    return items


def sample_places(num_rows: int, num_samples: int) -> list[int]:
    """Places of at most `num_samples` rows, evenly over all."""
    num = min(num_rows, num_samples)
    return [(2 * i + 1) * num_rows // (2 * num) for i in range(num)]


def shown_rows(rows: pa.Table, masked: Collection[str]) -> list[SampleRow]:
    """Rows as short texts; null is None, and what is masked is masked whether null or not."""
    columns: dict[str, Sequence[str | None]] = {
        name: [MASK] * rows.num_rows if name in masked else [_shown(value) for value in column.to_pylist()]
        for name, column in zip(rows.column_names, rows.columns, strict=True)
    }
    return [{name: cells[i] for name, cells in columns.items()} for i in range(rows.num_rows)]


def _shown(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    if isinstance(value, list):
        first = ", ".join("null" if cell is None else str(cell) for cell in value[:_MAX_ELEMENTS])
        more = f", … {len(value):,} in all" if len(value) > _MAX_ELEMENTS else ""
        return _cut(f"[{first}{more}]")
    return _cut(value.isoformat(sep=" ").removesuffix("+00:00") if isinstance(value, datetime) else str(value))


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_CHARACTERS else f"{text[: _MAX_CHARACTERS - 1]}…"
