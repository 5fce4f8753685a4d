"""Where workers find what views hold: a small view whole in the object store, a large one joined to the events on files."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from raypipe.core.errors import ViewTooLarge
from raypipe.core.fragments import share
from raypipe.core.storage import join, remove
from raypipe.expressions import compile_expression
from raypipe.joins import FeatureView, Joins, Partitioned, PartitionedJoin, check_view, look_up, read_columns, rows_schema
from raypipe.prepare._derive import chunked, raw_columns, with_derived
from raypipe.prepare._joined import JOINED_AT
from raypipe.prepare._plan import Plan
from raypipe.prepare._task import Task
from raypipe.tables import Part, TableRef

MAX_PARTITIONS = 4096
_INSTANT = pa.timestamp("us", "UTC")
_TEXT_BYTES = 32
_THREADS = 8


@contextmanager
def placed_views(plan: Plan, tables: Mapping[str, TableRef], joins: Joins, *, scratch: str) -> Iterator[dict[str, Any]]:
    """The views of the task, each checked: references into the object store, which every worker maps, or `Partitioned` files.

    Args:
        plan: The checked task.
        tables: The versions that are joined; the parts of the events are numbered in their order.
        joins: How views are joined.
        scratch: Folder that all workers reach and nobody else uses; it is gone at the end.

    Raises:
        ViewTooLarge: naming the view, where `joins` want it broadcast.
        DuplicateKeys: naming the view.
    """
    limit_bytes = -1 if joins.strategy == "distributed" else joins.broadcast_bytes
    with ThreadPoolExecutor(_THREADS) as pool:
        loads = [_LoadView.of(name, view, tables[view.table], limit_bytes) for name, view in plan.task.views.items()]
        placed = dict(zip(plan.task.views, pool.map(_shared, loads), strict=True))
    too_large = {name: found for name, found in placed.items() if isinstance(found, ViewTooLarge)}
    if too_large and joins.strategy == "broadcast":
        raise next(iter(too_large.values()))
    try:
        for name, found in too_large.items():
            placed[name] = _partitioned(plan, tables, joins, name, found.num_bytes, join(scratch, name)).run()
        yield placed
    finally:
        if too_large:
            remove(scratch)


def found_in(source: Any, events: pa.Table, view: FeatureView, part: int) -> pa.Table:
    """What the events of a whole part, by its number, find in a view that was placed: its columns, and `joins.WHY`."""
    if isinstance(source, Partitioned):
        return source.found(events, part)
    return look_up(events, view, _fetch(source), at=JOINED_AT if view.event_time else None)


def timed(events: pa.Table, task: Task) -> pa.Table:
    """`events` with the prediction time, when the task has one."""
    if not task.prediction_time:
        return events
    at = compile_expression(task.prediction_time).evaluate(events)
    return events.append_column(JOINED_AT, chunked(at).cast(_INSTANT))


def _fetch(rows: Any) -> pa.Table:
    """The table behind a Ray object reference, or the table itself."""
    import ray

    return ray.get(rows) if isinstance(rows, ray.ObjectRef) else rows


def _shared(load: "_LoadView") -> Any:
    """A reference to the rows, or why there is none."""
    try:
        return share({load.name: load})[load.name]
    except ViewTooLarge as error:
        return error


@dataclass(frozen=True, kw_only=True)
class _LoadView:
    """Worker: all rows of one view, when they are not too large; no more than that is held to know it."""

    name: str
    view: FeatureView
    parts: tuple[tuple[str, Part], ...]
    schema: pa.Schema
    limit_bytes: int

    @classmethod
    def of(cls, name: str, view: FeatureView, table: TableRef, limit_bytes: int) -> "_LoadView":
        """That of `view` of `table`."""
        parts = tuple((table.part_uri(part), part) for part in table.parts)
        return cls(name=name, view=view, parts=parts, schema=rows_schema(view, table.schema), limit_bytes=limit_bytes)

    def __call__(self) -> pa.Table:
        read = [self.schema.empty_table()]
        held = seen = 0
        for uri, part in self.parts:
            read.append(read_columns(uri, self.schema))
            held, seen = held + read[-1].nbytes, seen + part.num_rows
            if held > self.limit_bytes:
                of_all = held * sum(part.num_rows for _, part in self.parts) // max(seen, 1)
                raise ViewTooLarge(self.name, of_all, self.limit_bytes)
        return check_view(self.name, self.view, pa.concat_tables(read), limit_bytes=self.limit_bytes)


@dataclass(frozen=True, kw_only=True)
class _EventKeys:
    """Worker: reads the columns of a file of the events that a view is joined by."""

    task: Task
    by: tuple[str, ...]
    schema: pa.Schema

    def __call__(self, uri: str) -> pa.Table:
        return timed(with_derived(read_columns(uri, self.schema), self.task.derive, self.by), self.task)


def _partitioned(
    plan: Plan, tables: Mapping[str, TableRef], joins: Joins, name: str, view_bytes: int, uri: str
) -> PartitionedJoin:
    task, view, events = plan.task, plan.task.views[name], tables[plan.task.events]
    table = tables[view.table]
    time = compile_expression(task.prediction_time).columns if task.prediction_time else ()
    by = (*view.entity, *time)
    raw = pa.schema([(column, events.schema.field(column).type) for column in raw_columns(task.derive, by)])
    most = max(view_bytes, events.num_rows * (16 + _TEXT_BYTES * len(view.entity)))
    return PartitionedJoin(
        name=name,
        view=view,
        schema=table.schema,
        view_uris=tuple(table.part_uri(part) for part in table.parts),
        event_uris=tuple(events.part_uri(part) for part in events.parts),
        keys_of=_EventKeys(task=task, by=by, schema=raw),
        at=JOINED_AT if view.event_time else None,
        uri=uri,
        num_partitions=min(MAX_PARTITIONS, max(1, -(-most // joins.partition_bytes))),
        partition_bytes=joins.partition_bytes,
    )
