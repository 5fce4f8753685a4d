"""The rows of a view, checked and in join order: made once, looked up by every event.

Event time and known time bound a row by the same instant t, so a row is *available* from the later of
``event_time + lead_time`` and ``known_time`` on. A row that becomes available when a better one (of a later event time, or a
later correction) has been available before is never the best and goes. Of what stays, the best row at t is the latest available
one: a bitemporal join is an as-of join on availability. O(n log n) in the rows of the view.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from raypipe.core.errors import DuplicateKeys, ViewTooLarge
from raypipe.joins._view import FeatureView

AVAILABLE = "__available"
_RANK = "__rank"


@dataclass(frozen=True, kw_only=True)
class Repeated:
    """Rows of a view that no rule decides between.

    Attributes:
        num_rows: How many there are beside the first of each key.
        example: The lowest key with its values; empty where there is none.
    """

    num_rows: int = 0
    example: tuple[Any, ...] = ()

    @classmethod
    def together(cls, found: Sequence["Repeated"]) -> "Repeated":
        """Of several partitions."""
        examples = [one.example for one in found if one.example]
        return cls(num_rows=sum(one.num_rows for one in found), example=min(examples, default=()))

    def refuse(self, name: str, view: FeatureView) -> None:
        """Raise when there is one.

        Raises:
            DuplicateKeys: with the example.
        """
        if self.num_rows:
            key = (*view.key, *([view.tie_column] if view.tie_column else []))
            example = ", ".join(f"{column}={value}" for column, value in zip(view.key, self.example, strict=True))
            raise DuplicateKeys(f"{view.table} (view {name})", key, self.num_rows, example)


@dataclass(frozen=True, kw_only=True)
class Indexed:
    """Rows of a view in join order, and those that are repeated, which must be refused."""

    rows: pa.Table
    repeated: Repeated


def check_view(name: str, view: FeatureView, rows: pa.Table, *, limit_bytes: int) -> pa.Table:
    """`rows` of the view in join order, without those that nothing can match, when they can be joined.

    Raises:
        ViewTooLarge: when they hold more than `limit_bytes`.
        DuplicateKeys: when no rule decides between rows of one entity (and event time, and known time).
    """
    rows = rows.select(list(view.table_columns))
    if rows.nbytes > limit_bytes:
        raise ViewTooLarge(name, rows.nbytes, limit_bytes)
    indexed = index_view(view, rows)
    indexed.repeated.refuse(name, view)
    return indexed.rows


def index_view(view: FeatureView, rows: pa.Table) -> Indexed:
    """`rows` in join order, without those that nothing can match: where the key has a null, or a better row is there."""
    rows = rows.select(list(view.table_columns))
    for column in view.key:
        if rows.column(column).null_count:
            rows = rows.filter(pc.is_valid(rows.column(column)))
    keys = [*view.key, *([view.tie_column] if view.tie_column else [])]
    frame = pl.DataFrame(pl.from_arrow(rows.select(list(dict.fromkeys(keys))))).with_row_index(_RANK)
    frame = _undecided(frame, view)
    repeated = _repeated(frame, view)
    if view.known_time is not None:
        frame = _best_on_arrival(frame, view)
    elif view.event_time is not None:
        frame = frame.with_columns(_available(view)).sort(AVAILABLE, _RANK)
    rows = rows.take(frame[_RANK].to_arrow())
    if delayed(view):
        rows = rows.append_column(AVAILABLE, frame[AVAILABLE].to_arrow().cast(pa.timestamp("us", "UTC")))
    return Indexed(rows=rows.combine_chunks(), repeated=repeated)


def delayed(view: FeatureView) -> bool:
    """Whether rows of the view are available later than at their event time; they have a column `AVAILABLE` then."""
    return view.event_time is not None and (view.known_time is not None or bool(view.lead_time))


def _undecided(frame: pl.DataFrame, view: FeatureView) -> pl.DataFrame:
    """The rows that `ties` leaves: where it refuses, all."""
    if view.ties == "refuse":
        return frame
    ((way, column),) = view.ties.items()
    best = pl.col(column).max() if way == "last" else pl.col(column).min()
    return frame.filter(pl.col(column).eq_missing(best.over(list(view.key))))


def _repeated(frame: pl.DataFrame, view: FeatureView) -> Repeated:
    key = list(view.key)
    if not frame.select(pl.struct(key).is_duplicated().any()).item():
        return Repeated()
    repeated = frame.group_by(key).len().filter(pl.col("len") > 1).sort(key)
    return Repeated(num_rows=int(repeated["len"].sum()) - repeated.height, example=repeated.select(key).row(0))


def _available(view: FeatureView) -> pl.Expr:
    at = pl.col(str(view.event_time)) + (view.lead_time or timedelta(0))
    return (at if view.known_time is None else pl.max_horizontal(at, view.known_time)).alias(AVAILABLE)


def _best_on_arrival(frame: pl.DataFrame, view: FeatureView) -> pl.DataFrame:
    """Rows that are better than all of their entity that are available before them, or at the same instant.

    Ranks grow with entity, event time and known time, so those of an entity are above all of the entities before: one running
    maximum serves all.
    """
    entity, rank = list(view.entity.values()), pl.col("__order")
    ordered = frame.sort([*view.key, _RANK]).with_row_index("__order").with_columns(_available(view))
    arriving = ordered.sort([*entity, AVAILABLE, "__order"])
    best = arriving.filter(rank == rank.cum_max())
    last = pl.struct([*entity, AVAILABLE])
    return best.filter((last != last.shift(-1)).fill_null(True)).sort(AVAILABLE, _RANK)
