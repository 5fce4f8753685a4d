"""Events look up the rows of a view. Every event keeps its row and its place; what is not found is null, and says why.

A null never matches anything, a null neither. A joined column has the type that it has in the view. N events.
"""

from typing import Literal

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from raypipe.joins._index import AVAILABLE, delayed, index_view
from raypipe.joins._view import FeatureView, view_column

WHY = "__why"
"""Column of int8: the place in `WHYS` of what an event met."""
Why = Literal["found", "no row of the entity", "not known yet", "older than ttl", "no prediction time", "only nulls"]
FOUND: Why = "found"
NO_ENTITY: Why = "no row of the entity"
NOT_YET: Why = "not known yet"
TOO_OLD: Why = "older than ttl"
NO_TIME: Why = "no prediction time"
ONLY_NULLS: Why = "only nulls"
WHYS: tuple[Why, ...] = (FOUND, NO_ENTITY, NOT_YET, TOO_OLD, NO_TIME, ONLY_NULLS)
_ORDER, _PLACE, _SINCE, _ON = "__order", "__place", "__since", "__on"


def join_view(events: pa.Table, name: str, view: FeatureView, rows: pa.Table, *, at: str | None) -> pa.Table:
    """`events` with the view's columns appended under ``NAME_COLUMN``, in the order of `events`; arguments as of `look_up`."""
    found = look_up(events, view, rows, at=at)
    for column in view.columns:
        events = events.append_column(view_column(name, column), found.column(column))
    return events


def look_up(events: pa.Table, view: FeatureView, rows: pa.Table, *, at: str | None) -> pa.Table:
    """The view's columns for each of `events`, in their order, and `WHY`.

    Args:
        events: Rows with the entity columns and, for an as-of view, the column `at`.
        view: The view.
        rows: What `check_view` gave.
        at: Column with the instant that a prediction is made, timestamp[us, UTC].
    """
    place_N, why_N = np.full(events.num_rows, -1, np.int64), np.full(events.num_rows, _code(NO_ENTITY), np.int8)
    if view.event_time is None:
        _exact(events, view, rows, place_N)
    else:
        _as_of(events, view, rows, at=str(at), place_N=place_N, why_N=why_N)
    why_N[place_N >= 0] = _code(FOUND)
    places = pa.array(place_N, mask=place_N < 0)
    found = {column: rows.column(column).take(places) for column in view.columns}
    why_N[(place_N >= 0) & _all_null(found)] = _code(ONLY_NULLS)
    return pa.table({**found, WHY: why_N})


def nothing_found(events: pa.Table, view: FeatureView, schema: pa.Schema, *, at: str | None) -> pa.Table:
    """What `look_up` gives in a view without rows, whose columns have the types in `schema`."""
    return look_up(events, view, index_view(view, schema.empty_table()).rows, at=at)


def counts_of(why: pa.ChunkedArray | pa.Array) -> dict[str, int]:
    """How many events met which of `WHYS`, those that found something apart."""
    counts = np.bincount(np.asarray(why), minlength=len(WHYS)).tolist()
    return {name: count for name, count in zip(WHYS, counts, strict=True) if count and name != FOUND}


def _code(why: Why) -> int:
    return WHYS.index(why)


def _all_null(found: dict[str, pa.ChunkedArray]) -> NDArray[np.bool_]:
    null_N: NDArray[np.bool_] = np.logical_and.reduce([pc.is_null(column).to_numpy() for column in found.values()])
    return null_N


def _frames(events: pa.Table, view: FeatureView, rows: pa.Table, at: str | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Keys of the events that may match, and of the view; entity columns have their event names on both sides."""
    names = [*view.entity, *([at] if at else [])]
    left = pl.DataFrame(pl.from_arrow(events.select(names))).with_row_index(_ORDER).drop_nulls(list(view.entity))
    columns = {ours: rows.column(theirs) for ours, theirs in view.entity.items()}
    if view.event_time is not None:
        on = AVAILABLE if delayed(view) else view.event_time
        columns |= {_ON: rows.column(on), _SINCE: rows.column(view.event_time)}
    right = pl.DataFrame(pl.from_arrow(pa.table(columns))).with_row_index(_PLACE)
    return left, right


def _exact(events: pa.Table, view: FeatureView, rows: pa.Table, place_N: NDArray[np.int64]) -> None:
    left, right = _frames(events, view, rows, None)
    joined = left.join(right, on=list(view.entity), how="inner")
    place_N[joined[_ORDER].to_numpy()] = joined[_PLACE].to_numpy()


def _as_of(
    events: pa.Table, view: FeatureView, rows: pa.Table, *, at: str, place_N: NDArray[np.int64], why_N: NDArray[np.int8]
) -> None:
    left, right = _frames(events, view, rows, at)
    entity = list(view.entity)
    timeless = left.filter(pl.col(at).is_null())
    why_N[timeless[_ORDER].to_numpy()] = _code(NO_TIME)
    left = left.drop_nulls(at).sort(at)
    joined = left.join_asof(right, left_on=at, right_on=_ON, by=entity, strategy="backward", check_sortedness=False)
    lost = joined.filter(pl.col(_PLACE).is_null())
    if lost.height:
        early = lost.join(right, on=entity, how="semi")
        why_N[early[_ORDER].to_numpy()] = _code(NOT_YET)
    joined = joined.drop_nulls(_PLACE)
    if view.ttl is not None:
        too_old = pl.col(at) - pl.col(_SINCE) > view.ttl
        why_N[joined.filter(too_old)[_ORDER].to_numpy()] = _code(TOO_OLD)
        joined = joined.filter(~too_old)
    place_N[joined[_ORDER].to_numpy()] = joined[_PLACE].to_numpy()
