"""A feature view and its join onto events. Every event keeps its row and its place; what is not found is null.

An exact view has one row an entity. An as-of view has one row an entity and event time; an event gets the latest row
that is not after its prediction time and not older than `ttl`, both ends included. A null never matches anything, a
null neither. A joined column is named ``VIEW_COLUMN`` and has the type that it has in the view.
"""

from datetime import timedelta
from typing import Annotated

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from raypipe.core.config import config
from raypipe.core.durations import Duration
from raypipe.core.errors import DuplicateKeys, ViewTooLarge

_ORDER = "__order"
_ANY_AGE = timedelta(days=365_000)


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
    entity: Annotated[dict[str, str], Field(min_length=1)]
    columns: Annotated[tuple[str, ...], Field(min_length=1)]
    event_time: str | None = None
    ttl: Duration | None = None

    @model_validator(mode="after")
    def _settings_have_effect(self) -> "FeatureView":
        if self.ttl is not None and self.event_time is None:
            raise ValueError("ttl needs event_time: an exact view has no age")
        if self.ttl is not None and self.ttl < timedelta(0):
            raise ValueError("ttl is less than nothing; expected an age such as 3h")
        if len({*self.columns}) < len(self.columns):
            raise ValueError(f"columns holds a name twice: {', '.join(self.columns)}")
        return self

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
    """`rows` of the view in join order, without those that nothing can match, when they can be joined.

    Raises:
        ViewTooLarge: when they hold more than `limit_bytes`.
        DuplicateKeys: when an entity (at one event time) has more than one row.
    """
    rows = rows.select(list(view.table_columns))
    if rows.nbytes > limit_bytes:
        raise ViewTooLarge(name, rows.nbytes, limit_bytes)
    for column in view.key:
        rows = rows.filter(pc.is_valid(rows.column(column)))
    frame = pl.DataFrame(pl.from_arrow(rows))
    repeated = frame.group_by(list(view.key)).len().filter(pl.col("len") > 1)
    if repeated.height:
        example = ", ".join(f"{k}={v}" for k, v in repeated.sort(list(view.key)).row(0, named=True).items() if k != "len")
        raise DuplicateKeys(f"{view.table} (view {name})", view.key, int(repeated["len"].sum()) - repeated.height, example)
    return rows.sort_by(view.event_time) if view.event_time else rows


def join_view(events: pa.Table, name: str, view: FeatureView, rows: pa.Table, *, at: str | None) -> pa.Table:
    """`events` with the view's columns appended, in the order of `events`.

    Args:
        events: Rows with the entity columns and, for an as-of view, the column `at`.
        name: The view's name, prefix of its columns.
        view: The view.
        rows: What `check_view` gave.
        at: Column with the instant that a prediction is made, timestamp[us, UTC].
    """
    keys = [*view.entity, *([at] if at else [])]
    left = pl.DataFrame(pl.from_arrow(events.select(keys))).with_row_index(_ORDER)
    right = pl.DataFrame(pl.from_arrow(rows))
    right = right.select(pl.all().name.prefix("key."), pl.all().name.prefix("value."))
    on_right = [f"key.{column}" for column in view.entity.values()]
    if view.event_time is None:
        joined = left.join(right, left_on=list(view.entity), right_on=on_right, how="left", maintain_order="left")
    else:
        joined = _as_of(left, right, view, at=str(at))
    for column in view.columns:
        values = joined[f"value.{column}"].to_arrow().cast(rows.schema.field(column).type)
        events = events.append_column(view_column(name, column), pa.chunked_array([values]))
    return events


def _as_of(left: pl.DataFrame, right: pl.DataFrame, view: FeatureView, *, at: str) -> pl.DataFrame:
    joined = (
        left.drop_nulls()
        .sort(at)
        .join_asof(
            right,
            left_on=at,
            right_on=f"key.{view.event_time}",
            by_left=list(view.entity),
            by_right=[f"key.{column}" for column in view.entity.values()],
            strategy="backward",
            tolerance=view.ttl if view.ttl is not None else _ANY_AGE,
            check_sortedness=False,
        )
    )
    return left.select(_ORDER).join(joined, on=_ORDER, how="left", maintain_order="left")
