"""A feature view and its join onto events. Every event keeps its row and its place; what is not found is null.

An exact view has one row an entity. An as-of view has one row an entity and event time; an event gets the latest row
that is not after its prediction time and not older than `ttl`. A joined column is named ``VIEW_COLUMN``.
"""

from datetime import timedelta

import polars as pl
import pyarrow as pa

from raypipe.core.config import config
from raypipe.core.durations import Duration
from raypipe.core.errors import ConfigError, DuplicateKeys, ViewTooLarge

_ORDER = "__order"


@config
class FeatureView:
    """Columns of a table, looked up by entity and, with `event_time`, as of the prediction time.

    Attributes:
        table: The table that holds the view's rows.
        entity: Event column -> column of `table`; together they identify the entity.
        columns: What is joined.
        event_time: When a row became true and known; null for an exact view.
        ttl: Oldest age of a row that still counts, such as ``3h``; null for any age.
    """

    table: str
    entity: dict[str, str]
    columns: tuple[str, ...]
    event_time: str | None = None
    ttl: Duration | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """Columns of the table that must be unique."""
        return (*self.entity.values(), *((self.event_time,) if self.event_time else ()))

    @property
    def table_columns(self) -> tuple[str, ...]:
        """Columns that the view reads of its table."""
        return tuple(dict.fromkeys((*self.key, *self.columns)))


@config
class Joins:
    """How views are joined.

    Attributes:
        broadcast_bytes: Largest view in memory (Arrow bytes of its selected columns); every worker maps it once.
    """

    broadcast_bytes: int = 256 << 20


def view_column(view: str, column: str) -> str:
    """Name of a joined column, for example ``planes_year``."""
    return f"{view}_{column}"


def check_view(name: str, view: FeatureView, rows: pa.Table, *, limit_bytes: int) -> pa.Table:
    """`rows` of the view in join order, when they can be joined.

    Raises:
        ViewTooLarge: when they hold more than `limit_bytes`.
        DuplicateKeys: when an entity (at one event time) has more than one row.
    """
    if view.ttl is not None and view.event_time is None:
        raise ConfigError([f"task.views.{name}.ttl needs event_time: an exact view has no age"])
    rows = rows.select(list(view.table_columns))
    if rows.nbytes > limit_bytes:
        raise ViewTooLarge(name, rows.nbytes, limit_bytes)
    frame = pl.DataFrame(pl.from_arrow(rows))
    repeated = frame.group_by(list(view.key)).len().filter(pl.col("len") > 1)
    if repeated.height:
        example = ", ".join(f"{k}={v}" for k, v in repeated.sort(list(view.key)).row(0, named=True).items() if k != "len")
        raise DuplicateKeys(f"{view.table} (view {name})", view.key, int(repeated["len"].sum()) - repeated.height, example)
    return frame.sort(view.event_time).to_arrow() if view.event_time else rows


def join_view(events: pa.Table, name: str, view: FeatureView, rows: pa.Table, *, at: str | None) -> pa.Table:
    """`events` with the view's columns appended, in the order of `events`.

    Args:
        events: Rows with the entity columns and, for an as-of view, the column `at`.
        name: The view's name, prefix of its columns.
        view: The view.
        rows: What `check_view` gave.
        at: Column with the instant that a prediction is made, timestamp[us, UTC].
    """
    left = pl.DataFrame(pl.from_arrow(events)).with_row_index(_ORDER)
    right = pl.DataFrame(pl.from_arrow(rows))
    payload = {column: f"__{name}.{column}" for column in view.table_columns}
    right = right.rename(payload)
    on_left, on_right = list(view.entity), [payload[c] for c in view.entity.values()]
    if view.event_time is None:
        joined = left.join(right, left_on=on_left, right_on=on_right, how="left", coalesce=False, maintain_order="left")
    else:
        joined = _as_of(left, right, view, at or "", payload)
    out = [joined[payload[column]].alias(view_column(name, column)) for column in view.columns]
    result = events
    for series in out:
        result = result.append_column(series.name, series.to_arrow())
    return result


def _as_of(left: pl.DataFrame, right: pl.DataFrame, view: FeatureView, at: str, payload: dict[str, str]) -> pl.DataFrame:
    joined = (
        left.filter(pl.col(at).is_not_null())
        .sort(at)
        .join_asof(
            right.sort(payload[str(view.event_time)]),
            left_on=at,
            right_on=payload[str(view.event_time)],
            by_left=list(view.entity),
            by_right=[payload[c] for c in view.entity.values()],
            strategy="backward",
            tolerance=view.ttl if view.ttl is not None else timedelta(days=365_000),
            coalesce=False,
            check_sortedness=False,
        )
    )
    return left.select(_ORDER).join(joined, on=_ORDER, how="left", maintain_order="left")
