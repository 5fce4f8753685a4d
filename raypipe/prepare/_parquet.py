"""Parquet in and out: pieces of files, read with text dictionary-encoded and in one thread, written whole or not at all.

Text as dictionaries makes the work of features one of distinct values instead of rows, and reading three times as fast (250,000
rows of 39 columns: 271 ms as text, 80 ms as dictionaries). One thread, because Ray runs one task per core.
"""

import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raypipe.core.errors import SourceError
from raypipe.core.storage import arrow_filesystem, is_remote, list_files, path_of, write_bytes

CHUNK_ROWS = 250_000
_FOOTER_THREADS = 8
_TEXTS = (pa.string(), pa.large_string())
_STORED: Mapping[str, Any] = {"compression": "zstd"}


@dataclass(frozen=True, kw_only=True)
class Fragment:
    """Neighbouring row groups of one Parquet file."""

    uri: str
    row_groups: tuple[int, ...]
    num_rows: int


@dataclass(frozen=True, kw_only=True)
class Fragments:
    """Parquet files as pieces of work.

    Attributes:
        schemas: Of each file, by URI.
        pieces: In the order of files and rows.
    """

    schemas: Mapping[str, pa.Schema]
    pieces: tuple[Fragment, ...]

    @property
    def schema(self) -> pa.Schema:
        """That of the first file."""
        return next(iter(self.schemas.values()))

    def check(self, columns: Sequence[str]) -> None:
        """Refuse files that lack one of `columns`, or give it another type than the first file does.

        Raises:
            SourceError: naming file and column.
        """
        first = next(iter(self.schemas))
        for uri, found in self.schemas.items():
            for name in columns:
                if name not in found.names:
                    raise SourceError(uri, f"has no column {name}", f"its columns are {', '.join(found.names)}")
                if found.field(name).type != self.schema.field(name).type:
                    problem = f"column {name} is {found.field(name).type}, and {self.schema.field(name).type} in {first}"
                    raise SourceError(uri, problem, "give the column one type in all files")


def list_fragments(uris: Sequence[str]) -> Fragments:
    """Cut files, or all ``*.parquet`` files of folders in order of their names, into pieces; only footers are read.

    A piece has at most `CHUNK_ROWS` rows, or is one row group where that is larger.

    Args:
        uris: Files and folders, here or in a bucket.

    Raises:
        SourceError: when there is no file, or one cannot be read.
    """
    files = [file for uri in uris for file in _files_of(uri)]
    with ThreadPoolExecutor(_FOOTER_THREADS) as pool:
        footers = list(pool.map(_footer, files))
    pieces = [piece for uri, (_, footer) in zip(files, footers, strict=True) for piece in _cut(uri, footer)]
    return Fragments(schemas=dict(zip(files, (schema for schema, _ in footers), strict=True)), pieces=tuple(pieces))


def read_fragment(fragment: Fragment, columns: Sequence[str]) -> pa.Table:
    """The rows of a piece: `columns` in their order, text dictionary-encoded."""
    return _read(fragment.uri, columns, list(fragment.row_groups))


def read_rows(uri: str, columns: Sequence[str]) -> pa.Table:
    """The rows of a file: `columns` in their order, text dictionary-encoded."""
    return _read(uri, columns, None)


def chunks_of(rows: pa.Table) -> Iterator[pa.Table]:
    """`rows` in slices of `CHUNK_ROWS`; an empty table is one slice."""
    for start in range(0, max(1, rows.num_rows), CHUNK_ROWS):
        yield rows.slice(start, CHUNK_ROWS)


def write_rows(uri: str, rows: pa.Table, options: Mapping[str, Any] = _STORED, *, to_disk: bool = True) -> None:
    """Write `rows` as the Parquet file at `uri`, whole or not at all.

    Args:
        uri: Here or in a bucket.
        rows: The rows.
        options: Those of ``pq.write_table``.
        to_disk: Wait until a local file would survive a power cut.
    """
    if is_remote(uri):
        sink = pa.BufferOutputStream()
        pq.write_table(rows, sink, **options)
        write_bytes(uri, sink.getvalue().to_pybytes())
        return
    path = Path(path_of(uri))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("wb") as file:
            pq.write_table(rows, file, **options)
            file.flush()
            if to_disk:
                os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _files_of(uri: str) -> list[str]:
    found = list_files(uri)
    if found != [uri]:
        found = [file for file in found if file.endswith(".parquet")]
    if not found:
        raise SourceError(uri, "no Parquet file is there", "name a file, or a folder with files *.parquet")
    return found


def _footer(uri: str) -> tuple[pa.Schema, pq.FileMetaData]:
    try:
        with arrow_filesystem(uri).open_input_file(path_of(uri)) as source:
            file = pq.ParquetFile(source)
            return file.schema_arrow, file.metadata
    except (pa.ArrowInvalid, OSError) as error:
        raise SourceError(uri, f"is not a whole Parquet file ({str(error).splitlines()[0]})") from error


def _cut(uri: str, footer: pq.FileMetaData) -> Iterator[Fragment]:
    groups: list[int] = []
    num_rows = 0
    for i in range(footer.num_row_groups):
        size = footer.row_group(i).num_rows
        if groups and num_rows + size > CHUNK_ROWS:
            yield Fragment(uri=uri, row_groups=tuple(groups), num_rows=num_rows)
            groups, num_rows = [], 0
        groups.append(i)
        num_rows += size
    if num_rows:
        yield Fragment(uri=uri, row_groups=tuple(groups), num_rows=num_rows)


def _read(uri: str, columns: Sequence[str], row_groups: list[int] | None) -> pa.Table:
    with arrow_filesystem(uri).open_input_file(path_of(uri)) as source:
        plain = pq.ParquetFile(source)
        texts = [field.name for field in plain.schema_arrow if field.name in columns and field.type in _TEXTS]
        file = pq.ParquetFile(source, metadata=plain.metadata, read_dictionary=texts, pre_buffer=is_remote(uri))
        groups = list(range(file.num_row_groups)) if row_groups is None else row_groups
        return file.read_row_groups(groups, columns=list(columns), use_threads=False).select(list(columns))
