"""Join look-ahead: joined values that nobody could have known at the prediction time.

The join is not trusted. For joined rows of a sample the rows of their entity are gone through one by one, in each file of the
view: which of them could be used at the prediction time, and is the last one what the joined row holds? S rows of a sample,
R rows of a view.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.types as pt
from numpy.typing import NDArray

from raypipe.audit._check import Chunk, merge_columns
from raypipe.audit._keys import code, row_hashes
from raypipe.audit._report import CheckName, Measure

_INSTANT = pa.timestamp("us", "UTC")
_ROW, _ENTITY = "__row", "__entity"
_NEVER, _BEFORE_ALL = np.iinfo(np.int64).max, np.iinfo(np.int64).min
_HOUR_US = 3_600_000_000


@dataclass(frozen=True, kw_only=True)
class AsOf:
    """How a view is joined, and where.

    Attributes:
        entity: Column of the sample -> column of the view.
        values: Joined column of the sample -> column of the view.
        at: Column of the sample with the prediction time.
        event_time: Column of the view with the instant at which a row became true.
        known_time: Column of the view with the instant at which it became known; None where that is the event time.
        lead_time: How long after its event time a row can be used.
        ttl: Oldest age that still counts; None for any.
    """

    entity: dict[str, str]
    values: dict[str, str]
    at: str
    event_time: str
    known_time: str | None = None
    lead_time: timedelta = timedelta(0)
    ttl: timedelta | None = None


@dataclass(frozen=True, kw_only=True)
class Held:
    """What some rows of a view held for each row of a sample; microseconds.

    Attributes:
        at_S: Prediction time.
        event_S: Event time of the last row that could be used then; the least integer for none.
        known_S: When it was known.
        same_S: Whether it, or one of several with these times, has the joined values.
        since_S: When a row with the joined values could first be used; the largest integer for never.
    """

    at_S: NDArray[np.int64]
    event_S: NDArray[np.int64]
    known_S: NDArray[np.int64]
    same_S: NDArray[np.bool_]
    since_S: NDArray[np.int64]

    @classmethod
    def merge(cls, parts: Sequence["Held"]) -> "Held":
        """What all files of a view held."""
        event_S = np.max([part.event_S for part in parts], axis=0)
        known_S = np.max([np.where(part.event_S == event_S, part.known_S, _BEFORE_ALL) for part in parts], axis=0)
        last_PS = np.array([(part.event_S == event_S) & (part.known_S == known_S) for part in parts])
        return cls(
            at_S=parts[0].at_S,
            event_S=event_S,
            known_S=known_S,
            same_S=(last_PS & np.array([part.same_S for part in parts])).any(axis=0),
            since_S=np.min([part.since_S for part in parts], axis=0),
        )


def look_up(sample: pa.Table, rows: pa.Table, as_of: AsOf) -> Held:
    """What `rows` of a view hold for the sample.

    Args:
        sample: Joined rows with the columns that `as_of` names, prediction times among them.
        rows: Some rows of the view.
        as_of: How they were joined.
    """
    at_S, event_R = _microseconds(sample.column(as_of.at)), _microseconds(rows.column(as_of.event_time))
    known_R = event_R if as_of.known_time is None else _microseconds(rows.column(as_of.known_time))
    usable_R = np.maximum(event_R + as_of.lead_time // timedelta(microseconds=1), known_R)
    there_R = rows.column(as_of.event_time).is_valid().to_numpy()
    there_R = there_R if as_of.known_time is None else there_R & rows.column(as_of.known_time).is_valid().to_numpy()
    hash_S, hash_R = _hashes(sample, list(as_of.values)), _hashes(rows, list(as_of.values.values()))
    event_S, known_S = np.full(len(at_S), _BEFORE_ALL), np.full(len(at_S), _BEFORE_ALL)
    same_S, since_S = np.zeros(len(at_S), np.bool_), np.full(len(at_S), _NEVER)
    of_entity = _rows_by_entity(sample, rows, as_of)
    for s, of_row in of_entity.items():
        near = of_row[there_R[of_row]]
        alike = near[hash_R[near] == hash_S[s]]
        since_S[s] = usable_R[alike].min(initial=_NEVER)
        near = near[usable_R[near] <= at_S[s]]
        if len(near):
            last = near[event_R[near] == event_R[near].max()]
            last = last[known_R[last] == known_R[last].max()]
            event_S[s], known_S[s], same_S[s] = event_R[last[0]], known_R[last[0]], bool((hash_R[last] == hash_S[s]).any())
    return Held(at_S=at_S, event_S=event_S, known_S=known_S, same_S=same_S, since_S=since_S)


def looked_ahead(view: str, held: Held, ttl: timedelta | None) -> Measure:
    """The measure of a view: the share of sampled rows that hold other values than the view had at their prediction time."""
    old_S = np.zeros(len(held.at_S), np.bool_)
    if ttl is not None:
        old_S = held.event_S < held.at_S - ttl // timedelta(microseconds=1)
    wrong_S = ~held.same_S | old_S
    later_S = wrong_S & (held.since_S > held.at_S) & (held.since_S != _NEVER)
    text = (
        f"{int(wrong_S.sum()):,} of {len(wrong_S):,} sampled rows hold other values than the view had at their prediction time"
    )
    if later_S.any():
        ahead_h = float(np.median((held.since_S - held.at_S)[later_S])) / _HOUR_US
        text += f"; {int(later_S.sum()):,} of them hold values from after it (median {ahead_h:.3g} h)"
    return Measure(check="look_ahead", column=view, value=float(wrong_S.mean()) if len(wrong_S) else 0.0, text=text)


@dataclass(frozen=True, kw_only=True)
class LaterInstants:
    """Columns with instants that are later than the prediction time of their row.

    Attributes:
        joined: Columns that say from when the joined values of a row are: later is a leak. Any other column with instants is a
            hint only: a flight knows its scheduled arrival.
    """

    joined: tuple[str, ...] = ()
    name: CheckName = "look_ahead"

    def look(self, chunk: Chunk) -> dict[str, NDArray[np.int64]] | None:
        """Rows, and rows that are later, by column."""
        if chunk.split is None or chunk.at is None:
            return None
        at_N, _ = _instants(chunk.rows.column(chunk.at))
        out = {}
        for name in dict.fromkeys((*self.joined, *chunk.features)):
            if _is_instant(chunk.rows.schema.field(name).type):
                value_N, valid_N = _instants(chunk.rows.column(name))
                out[name] = np.array([valid_N.sum(), (valid_N & (value_N > at_N)).sum()])
        return out

    def merge(self, states: Sequence[dict[str, NDArray[np.int64]]]) -> dict[str, NDArray[np.int64]]:
        """Of all chunks."""
        return merge_columns(states, lambda found: np.sum(found, axis=0))

    def measure(self, state: dict[str, NDArray[np.int64]]) -> Sequence[Measure]:
        """The share of rows of each column."""
        return [self._of_column(name, int(rows), int(later)) for name, (rows, later) in state.items()]

    def _of_column(self, name: str, rows: int, later: int) -> Measure:
        share = later / max(1, rows)
        text = f"later than the prediction time in {share:.1%} of {rows:,} rows"
        if name in self.joined:
            return Measure(check=self.name, column=name, value=share, text=f"{text}: the join looked ahead")
        return Measure(check=self.name, column=name, value=share, text=f"{text}; was it known then?", weight="hint")


def _is_instant(found: pa.DataType) -> bool:
    return bool(pt.is_timestamp(found) or pt.is_date(found))


def _instants(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Microseconds, and where there are any."""
    us = column.cast(pa.timestamp("us", column.type.tz if pt.is_timestamp(column.type) else None), safe=False).cast(pa.int64())
    return us.fill_null(0).to_numpy(), us.is_valid().to_numpy()


def _microseconds(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Of timestamps; 0 for null."""
    us: NDArray[np.int64] = column.cast(_INSTANT, safe=False).cast(pa.int64()).fill_null(0).to_numpy()
    return us


def _hashes(rows: pa.Table, columns: Sequence[str]) -> NDArray[np.uint64]:
    return row_hashes([code(rows.column(name)) for name in columns], rows.num_rows)


def _rows_by_entity(sample: pa.Table, rows: pa.Table, as_of: AsOf) -> dict[int, NDArray[np.int64]]:
    """Rows of the view with the entity of each row of the sample that has any; a null is no entity."""
    left = _frame(sample.select(list(as_of.entity))).with_row_index(_ROW)
    right = _frame(rows.select(list(as_of.entity.values()))).with_row_index(_ENTITY)
    wanted = left.select(list(as_of.entity)).unique()
    found = wanted.join(right, left_on=list(as_of.entity), right_on=list(as_of.entity.values()))
    grouped = found.group_by(list(as_of.entity)).agg(pl.col(_ENTITY))
    pairs = left.join(grouped, on=list(as_of.entity)).select(_ROW, _ENTITY)
    return {int(row): np.asarray(places, np.int64) for row, places in zip(pairs[_ROW], pairs[_ENTITY], strict=True)}


def _frame(rows: pa.Table) -> pl.DataFrame:
    """A frame of plain columns."""
    plain = {name: rows.column(name) for name in rows.column_names}
    texts = {name: c.cast(c.type.value_type) if pt.is_dictionary(c.type) else c for name, c in plain.items()}
    return pl.DataFrame(pl.from_arrow(pa.table(texts)))
