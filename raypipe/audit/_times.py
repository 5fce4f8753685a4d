"""Time overlap: under a split by time, train rows that are not older than what the model is judged on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raypipe.audit._check import Chunk, merge_columns
from raypipe.audit._report import CheckName, Measure

_DAY_US = 86_400_000_000
_ORDER = ("train", "validation", "calibration", "test")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Times:
    """The times of some rows: the first and the last in microseconds, and rows by day. D days."""

    first: int
    last: int
    days_D: NDArray[np.int64]
    rows_D: NDArray[np.int64]

    @classmethod
    def of(cls, at: pa.ChunkedArray) -> "Times | None":
        """Of one chunk; None without any."""
        us_N = microseconds(at)
        if not len(us_N):
            return None
        days_D, rows_D = np.unique(us_N // _DAY_US, return_counts=True)
        return cls(first=int(us_N.min()), last=int(us_N.max()), days_D=days_D, rows_D=rows_D)

    @classmethod
    def merge(cls, states: Sequence["Times"]) -> "Times":
        """Of all chunks."""
        days_A = np.concatenate([state.days_D for state in states])
        days_D, place_A = np.unique(days_A, return_inverse=True)
        rows_D = np.bincount(place_A, weights=np.concatenate([state.rows_D for state in states])).astype(np.int64)
        first, last = min(state.first for state in states), max(state.last for state in states)
        return cls(first=first, last=last, days_D=days_D, rows_D=rows_D)

    def since_day_of(self, instant: int) -> int:
        """Rows of the day of `instant`, or later."""
        return int(self.rows_D[self.days_D >= instant // _DAY_US].sum())


@dataclass(frozen=True, kw_only=True)
class TimeOverlap:
    """Rows of a split that are not older than all rows of the splits after it.

    Attributes:
        gap: Shortest time between them.
    """

    gap: timedelta
    name: CheckName = "time_overlap"

    def look(self, chunk: Chunk) -> dict[str, Times] | None:
        """The times of the rows."""
        if chunk.split is None or chunk.at is None:
            return None
        times = Times.of(chunk.rows.column(chunk.at))
        return None if times is None else {chunk.split: times}

    def merge(self, states: Sequence[dict[str, Times]]) -> dict[str, Times]:
        """Of all rows."""
        return merge_columns(states, Times.merge)

    def measure(self, state: Mapping[str, Times]) -> Sequence[Measure]:
        """For each split and one after it: how long the one reaches into the other, or into the gap before it, in days."""
        there = [split for split in _ORDER if split in state]
        pairs = [(before, after) for i, before in enumerate(there) for after in there[i + 1 :]]
        return [self._compare(state, before, after) for before, after in pairs]

    def _compare(self, state: Mapping[str, Times], before: str, after: str) -> Measure:
        last, first = state[before].last, state[after].first
        gap_us = self.gap // timedelta(microseconds=1)
        over_us = last + max(gap_us, 1) - first
        rows = state[before].since_day_of(first)
        text = f"{before} ends {_text(last)} and {after} begins {_text(first)}"
        if last >= first:
            text += f": {rows:,} {before} rows are of the day on which {after} begins, or later; move the bounds of the split"
        elif over_us > 0:
            text += f": nearer than the gap of {self.gap}; end {before} earlier"
        return Measure(check=self.name, column="", value=max(0, over_us) / _DAY_US, text=text)


def microseconds(at: pa.ChunkedArray) -> NDArray[np.int64]:
    """Instants without nulls, since 1970."""
    known: NDArray[np.int64] = at.drop_null().cast(pa.int64()).to_numpy()
    return known


def _text(us: int) -> str:
    try:
        return (_EPOCH + timedelta(microseconds=us)).isoformat(sep=" ").removesuffix("+00:00")
    except OverflowError:
        return f"{us / _DAY_US / 365.2425 + 1970:,.0f}"
