"""Join look-ahead: joined values that nobody could have known at the prediction time.

The join is not trusted: for joined rows of a sample, `usable_since` looks in the rows of the view for the first instant at
which those values were known of that entity, with an equality join that knows nothing of as-of joins. S rows of a sample.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.types as pt
from numpy.typing import NDArray

from raypipe.audit._check import Chunk, merge_columns
from raypipe.audit._keys import kind_of
from raypipe.audit._report import CheckName, Measure

NEVER = np.iinfo(np.int64).max
_INSTANT = pa.timestamp("us", "UTC")
_USABLE, _ROW = "__usable", "__row"


@dataclass(frozen=True, kw_only=True)
class Usable:
    """When a row of a view can be used.

    Attributes:
        event_time: Column with the instant at which it became true.
        lead_time: How long after that it can be used.
        known_time: Column with the instant at which it became known; None where that is the event time.
    """

    event_time: str
    lead_time: timedelta = timedelta(0)
    known_time: str | None = None


def usable_since(sample: pa.Table, rows: pa.Table, on: Mapping[str, str], usable: Usable) -> NDArray[np.int64]:
    """For each row of the sample the first instant, in microseconds, at which a row with its values could be used; or `NEVER`.

    Args:
        sample: Joined rows, or some columns of them.
        rows: Some rows of the view; of several parts the minimum is the answer.
        on: Column of the sample -> column of the view: entity and joined values, nulls equal nulls. Lists are left out.
        usable: Which columns say when a row can be used.
    """
    on = {left: right for left, right in on.items() if kind_of(rows.schema.field(right).type) != "other"}
    since_S = np.full(sample.num_rows, NEVER, np.int64)
    instants = [rows.column(usable.event_time).cast(_INSTANT).cast(pa.int64())]
    instants += [rows.column(usable.known_time).cast(_INSTANT).cast(pa.int64())] if usable.known_time else []
    known = rows.select(list(dict.fromkeys(on.values())))
    right = _frame(known).with_columns(
        pl.Series(_USABLE, instants[0]) + usable.lead_time // timedelta(microseconds=1),
        *(pl.Series("__known", instant) for instant in instants[1:]),
    )
    if usable.known_time:
        right = right.filter(pl.col("__known").is_not_null()).with_columns(pl.max_horizontal(_USABLE, "__known").alias(_USABLE))
    left = _frame(sample.select(list(on))).with_row_index(_ROW)
    matched = left.join(right.drop_nulls(_USABLE), left_on=list(on), right_on=list(on.values()), nulls_equal=True)
    first = matched.group_by(_ROW).agg(pl.col(_USABLE).min())
    since_S[first[_ROW].to_numpy()] = first[_USABLE].to_numpy()
    return since_S


def looked_ahead(view: str, at_S: NDArray[np.int64], since_S: NDArray[np.int64]) -> Measure:
    """The measure of a view: the share of sampled rows with values from after their prediction, or from nowhere.

    Args:
        view: Its name.
        at_S: Prediction times in microseconds.
        since_S: What `usable_since` found in the whole view.
    """
    unknown_S = since_S == NEVER
    later_S = (since_S > at_S) & ~unknown_S
    ahead = float(np.median((since_S - at_S)[later_S])) / 3_600_000_000 if later_S.any() else 0.0
    text = (
        f"{int(later_S.sum()):,} of {len(at_S):,} sampled rows hold values of the view from after their prediction time "
        f"(median {ahead:.3g} h), {int(unknown_S.sum()):,} values that the view does not hold"
    )
    share = float((later_S | unknown_S).mean()) if len(at_S) else 0.0
    return Measure(check="look_ahead", column=view, value=share, text=text)


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


def _frame(rows: pa.Table) -> pl.DataFrame:
    """A frame of plain columns."""
    plain = {name: rows.column(name) for name in rows.column_names}
    texts = {name: c.cast(c.type.value_type) if pt.is_dictionary(c.type) else c for name, c in plain.items()}
    return pl.DataFrame(pl.from_arrow(pa.table(texts)))
