"""A view joined partition by partition: neither its rows nor those of the events are in one place.

Three passes over files, each a Ray task per file or partition:

1. each file of the events gives the keys of its rows, and each file of the view its rows, cut by a hash of the entity;
2. each partition is joined by itself, and what was found is cut by the files of the events again;
3. whoever reads a file of the events takes what was found for its rows, in their order (`Partitioned.found`).

A worker holds the view's rows of one partition and about as many bytes of keys, or one file's where that is more. Skew: events
of a frequent entity are one partition's work, but are looked up a few files at a time; events with a null in their key are in
no partition; rows of one entity of the view stay together, so that the largest entity must fit. Files are Arrow's, with a
record batch for each partition, respectively file.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from uuid import uuid4

import numpy as np
import polars as pl
import pyarrow as pa

from raypipe.core.fragments import map_fragments
from raypipe.core.storage import arrow_filesystem, is_remote, join, path_of
from raypipe.joins._index import Indexed, Repeated, index_view
from raypipe.joins._look_up import WHY, look_up, nothing_found
from raypipe.joins._rows import read_columns, rows_schema
from raypipe.joins._view import FeatureView

_SEED = 0x6A6F696E
"""Polars' hash: the same for all workers of one job, which is all that partitions are for."""
_POSITION = "__position"
_LZ4 = pa.ipc.IpcWriteOptions(compression="lz4")


@dataclass(frozen=True, kw_only=True)
class PartitionedJoin:
    """What is joined, and where it is put for a while.

    Attributes:
        name: The view's name.
        view: The view.
        schema: Of the view's table.
        view_uris: Parquet files of the view.
        event_uris: Files of the events.
        keys_of: Reads a file of the events: the entity columns and `at`, of all rows in their order.
        at: Column with the prediction time, for an as-of view.
        uri: Folder that all workers reach.
        num_partitions: At least 1.
        partition_bytes: About how many bytes of keys are looked up together.
    """

    name: str
    view: FeatureView
    schema: pa.Schema
    view_uris: tuple[str, ...]
    event_uris: tuple[str, ...]
    keys_of: Callable[[str], pa.Table]
    at: str | None
    uri: str
    num_partitions: int
    partition_bytes: int

    def run(self) -> "Partitioned":
        """Join; the files below `uri` are the caller's to remove.

        Raises:
            DuplicateKeys: as `check_view` does, with the counts of all partitions.
        """
        cut_events, cut_rows = _CutEvents(join=self), _CutRows(join=self)
        events = list(map_fragments(cut_events, self.event_uris, title=f"partition the events for view {self.name}"))
        rows = list(map_fragments(cut_rows, self.view_uris, title=f"partition view {self.name}"))
        work = _JoinPartition(join=self, events=tuple(events), rows=tuple(rows))
        done = list(map_fragments(work, range(self.num_partitions), title=f"join view {self.name}"))
        Repeated.together([one.repeated for one in done]).refuse(self.name, self.view)
        return Partitioned(view=self.view, schema=self.schema, at=self.at, uris=tuple(one.uri for one in done))

    def new_file(self, kind: str) -> str:
        """A file that no other task writes, not even one that does the same work again."""
        return join(self.uri, f"{kind}-{uuid4().hex}.arrow")


@dataclass(frozen=True, kw_only=True)
class Partitioned:
    """What a partitioned join found, on files.

    Attributes:
        view: The view.
        schema: Of its table.
        at: Column with the prediction time, for an as-of view.
        uris: One file a partition, with a record batch for each file of the events.
    """

    view: FeatureView
    schema: pa.Schema
    at: str | None
    uris: tuple[str, ...]

    def found(self, events: pa.Table, part: int) -> pa.Table:
        """What `look_up` gives for `events`, which are all rows of the file with number `part`."""
        nothing = nothing_found(events, self.view, self.schema, at=self.at)
        pieces = pa.Table.from_batches([_batch(uri, part) for uri in self.uris])
        place_N = pieces.column(_POSITION).to_numpy()
        index_N = np.arange(events.num_rows) + pieces.num_rows  # rows that are in no partition find nothing
        index_N[place_N] = np.arange(pieces.num_rows)
        return pa.concat_tables([pieces.select(nothing.column_names), nothing]).take(pa.array(index_N)).combine_chunks()


@dataclass(frozen=True, kw_only=True)
class _CutEvents:
    """Worker: the keys of one file, partitioned."""

    join: PartitionedJoin

    def __call__(self, uri: str) -> str:
        names = [*self.join.view.entity, *([self.join.at] if self.join.at else [])]
        keys = self.join.keys_of(uri).select(names)
        keys = keys.append_column(_POSITION, pa.array(np.arange(keys.num_rows)))
        return _write_cut(self.join, "events", keys, on=names)


@dataclass(frozen=True, kw_only=True)
class _CutRows:
    """Worker: the rows of one file of the view, partitioned."""

    join: PartitionedJoin

    def __call__(self, uri: str) -> str:
        view = self.join.view
        return _write_cut(self.join, "rows", read_columns(uri, rows_schema(view, self.join.schema)), on=view.key)


@dataclass(frozen=True, kw_only=True)
class _Joined:
    """A joined partition; no file where rows are repeated."""

    uri: str
    repeated: Repeated


@dataclass(frozen=True, kw_only=True)
class _JoinPartition:
    """Worker: one partition of all files of events and view."""

    join: PartitionedJoin
    events: tuple[str, ...]
    rows: tuple[str, ...]

    def __call__(self, number: int) -> _Joined:
        join = self.join
        indexed = self._indexed(number)
        if indexed.repeated.num_rows:
            return _Joined(uri="", repeated=indexed.repeated)
        uri = join.new_file("found")
        types = [(name, join.schema.field(name).type) for name in join.view.columns]
        with _writer(uri, pa.schema([*types, (WHY, pa.int8()), (_POSITION, pa.int64())])) as writer:
            for keys in _together((_batch(one, number) for one in self.events), join.partition_bytes):
                events = pa.Table.from_batches(keys)
                found = look_up(events, join.view, indexed.rows, at=join.at)
                found = found.append_column(_POSITION, events.column(_POSITION))
                for start, stop in pairwise(accumulate((len(one) for one in keys), initial=0)):
                    writer.write_batch(_as_batch(found.slice(start, stop - start)))
        return _Joined(uri=uri, repeated=indexed.repeated)

    def _indexed(self, number: int) -> Indexed:
        empty = rows_schema(self.join.view, self.join.schema)
        return index_view(self.join.view, pa.Table.from_batches([_batch(uri, number) for uri in self.rows], empty))


def _write_cut(join: PartitionedJoin, kind: str, rows: pa.Table, *, on: Sequence[str]) -> str:
    """Write `rows`, those with a null in `on` apart, as one record batch a partition."""
    uri = join.new_file(kind)
    entity = list(join.view.entity) if kind == "events" else list(join.view.entity.values())
    with _writer(uri, rows.schema) as writer:
        for batch in cut(rows, entity, join.num_partitions, valid=on):
            writer.write_batch(batch)
    return uri


def cut(rows: pa.Table, by: Sequence[str], num: int, *, valid: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """`num` batches of `rows` by a hash of the columns `by`, in their order; those with a null in `valid` are in none."""
    frame = pl.DataFrame(pl.from_arrow(rows.select(list(dict.fromkeys((*by, *valid))))))
    keys = frame.with_row_index("__row").drop_nulls(list(valid))
    part_N = keys.select([pl.col(name).alias(str(i)) for i, name in enumerate(by)]).hash_rows(_SEED).to_numpy() % np.uint64(num)
    order_N = np.argsort(part_N, kind="stable")
    bounds = np.searchsorted(part_N[order_N], np.arange(num + 1, dtype=np.uint64)).tolist()
    rows = rows.take(pa.array(keys["__row"].to_numpy()[order_N]))
    for start, stop in pairwise(bounds):
        yield _as_batch(rows.slice(start, stop - start))


def _together(batches: Iterable[pa.RecordBatch], num_bytes: int) -> Iterator[list[pa.RecordBatch]]:
    """Runs of `batches` with about so many bytes."""
    held: list[pa.RecordBatch] = []
    held_bytes = 0
    for batch in batches:
        held.append(batch)
        held_bytes += batch.nbytes
        if held_bytes >= num_bytes:
            yield held
            held, held_bytes = [], 0
    if held:
        yield held


def _as_batch(rows: pa.Table) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([column.combine_chunks() for column in rows.columns], schema=rows.schema)


@contextmanager
def _writer(uri: str, schema: pa.Schema) -> Iterator[pa.ipc.RecordBatchFileWriter]:
    if not is_remote(uri):
        Path(path_of(uri)).parent.mkdir(parents=True, exist_ok=True)
    with (
        arrow_filesystem(uri).open_output_stream(path_of(uri)) as sink,
        pa.ipc.new_file(sink, schema, options=_LZ4) as writer,
    ):
        yield writer


def _batch(uri: str, number: int) -> pa.RecordBatch:
    with arrow_filesystem(uri).open_input_file(path_of(uri)) as source:
        return pa.ipc.open_file(source).get_batch(number)
