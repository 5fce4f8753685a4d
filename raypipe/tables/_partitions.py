"""Rows of many files brought together by the values of some columns, in bounded memory.

Each task reads one file batch by batch and writes the rows of each batch ordered by partition, as one Arrow file with a
record batch for each partition; whoever works on a partition then reads its record batch of every such file. Rows keep
their order within a partition, so what comes out does not depend on who ran when. The files are scratch: they lie below the
storage root, which all workers share, and go at the end.
"""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from raypipe.core.errors import StorageError
from raypipe.core.fragments import map_fragments
from raypipe.core.storage import Storage, arrow_filesystem, join, path_of, remove, write_bytes
from raypipe.tables._part import read_part
from raypipe.tables._store import TableRef

_BATCH_ROWS = 131_072
PARTITION_BYTES = 16 << 20
"""Of a partition as compressed Parquet; in memory it is some five to ten times that."""

_MAX_PARTITIONS = 1024


@dataclass(frozen=True, kw_only=True)
class Scattered:
    """Rows of one input by partition: Arrow files, each with one record batch a partition."""

    uris: tuple[str, ...]
    schema: pa.Schema

    def partition(self, index: int) -> pa.Table:
        """Rows of one partition, in the order of the input.

        Raises:
            StorageError: when a scratch file is gone.
        """
        return pa.Table.from_batches([_batch(uri, index) for uri in self.uris], self.schema)


@dataclass(frozen=True, kw_only=True)
class _Scatter:
    """Writes the rows of the file at a URI by partition; gives the URIs of the scratch files."""

    schema: pa.Schema
    by: tuple[str, ...]
    num: int
    folder: str

    def __call__(self, item: tuple[int, str]) -> tuple[str, ...]:
        index, uri = item
        out = []
        for i, rows in enumerate(read_part(uri, self.schema, batch_rows=_BATCH_ROWS)):
            out.append(join(self.folder, f"{index:06d}-{i:04d}.arrow"))
            write_bytes(out[-1], _by_partition(rows, partitions_of(rows.select(list(self.by)), self.num), self.num))
        return tuple(out)


def num_partitions(num_bytes: int) -> int:
    """Partitions for inputs of so many bytes of Parquet together."""
    return min(_MAX_PARTITIONS, max(1, -(-num_bytes // PARTITION_BYTES)))


def scatter(ref: TableRef, paths: Sequence[str], *, by: Sequence[str], num: int, folder: str) -> Scattered:
    """The rows of some parts of a table by `num` partitions of equal values in `by`; equal values of inputs meet.

    Args:
        ref: The table.
        paths: Which of its parts, in the order in which their rows shall be.
        by: Columns; of one type each in all inputs that shall meet.
        num: Partitions.
        folder: An empty folder that all workers share.

    Raises:
        StorageError: when a part is gone or damaged.
    """
    work = _Scatter(schema=ref.schema, by=tuple(by), num=num, folder=folder)
    items = [(i, join(ref.uri, path)) for i, path in enumerate(paths)]
    found = map_fragments(work, items, title=f"{ref.label} by {', '.join(by)}")
    return Scattered(uris=tuple(uri for uris in found for uri in uris), schema=ref.schema)


@contextmanager
def scratch(storage: Storage) -> Iterator[str]:
    """A folder of its own below the root, removed at the end; of a killed job the collection of old data removes it."""
    folder = storage.uri("scratch", f"{uuid.uuid4().hex}.partial")
    try:
        yield folder
    finally:
        remove(folder)


def partitions_of(keys: pa.Table, num: int) -> NDArray[np.int64]:
    """The partition of each row: equal for equal values, whatever the columns are called; nulls, NaN and zeros are equal."""
    return (pl.DataFrame(pl.from_arrow(keys)).hash_rows(seed=0) % num).to_numpy().astype(np.int64)


def _by_partition(rows: pa.Table, partitions: NDArray[np.int64], num: int) -> bytes:
    order = np.argsort(partitions, kind="stable")
    ends = np.searchsorted(partitions[order], np.arange(num), side="right")
    (whole,) = rows.take(pa.array(order)).combine_chunks().to_batches() or [pa.RecordBatch.from_pylist([], rows.schema)]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, rows.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        start = 0
        for end in ends.tolist():
            writer.write_batch(whole.slice(start, end - start))
            start = end
    return bytes(sink.getvalue().to_pybytes())


def _batch(uri: str, index: int) -> pa.RecordBatch:
    try:
        with arrow_filesystem(uri).open_input_file(path_of(uri)) as source:
            return pa.ipc.open_file(source).get_batch(index)
    except (OSError, pa.ArrowInvalid) as error:
        raise StorageError(uri, f"is gone or damaged while it is used ({error})", "run the job again") from error
