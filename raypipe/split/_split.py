"""Two splits: by time (half-open instants in a named zone) and by a hash of the row key (stable when data grows)."""

import hashlib
from datetime import datetime
from typing import Annotated, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from raypipe.core.config import config
from raypipe.core.digest import row_texts
from raypipe.core.instants import Moment, Zone, to_utc

SPLITS = ("train", "validation", "test")
_INSTANT = pa.timestamp("us", "UTC")
Bounds = tuple[Moment, Moment]


@runtime_checkable
class Split(Protocol):
    """Assigns every row to one of `SPLITS`, or to none (null): such a row is set aside and counted."""

    def assign(self, rows: pa.Table, *, key: tuple[str, ...], at: str | None) -> pa.Array:
        """Split name of each row, from the row alone.

        Args:
            rows: Rows with the `key` columns and, for a split by time, the column `at`.
            key: The row key.
            at: Column with the prediction time, or None when the task has none.
        """

    @property
    def by_time(self) -> bool:
        """True when test rows are later than all others."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that `assign` reads beside the key and the prediction time."""


@config
class TimeSplit:
    """Split by prediction time into half-open windows: `from <= t < until`, read in `zone`.

    Attributes:
        train: First instant to learn from, and the first that is no longer learned from.
        validation: The window to stop and choose on.
        test: The window that nothing sees before the gate.
        zone: Time zone of bounds that are written without one.
    """

    train: Bounds
    validation: Bounds
    test: Bounds
    zone: Zone = "UTC"

    @model_validator(mode="after")
    def _ordered(self) -> "TimeSplit":
        windows = self.windows()
        for name, (low, high) in windows.items():
            if low >= high:
                raise ValueError(f"window {name} is empty: it must end after it begins")
        if not windows["train"][1] <= windows["validation"][0] < windows["validation"][1] <= windows["test"][0]:
            raise ValueError("windows must follow each other: train, then validation, then test, none overlapping")
        return self

    @property
    def by_time(self) -> bool:
        """True."""
        return True

    @property
    def columns(self) -> tuple[str, ...]:
        """None."""
        return ()

    def windows(self) -> dict[str, tuple[datetime, datetime]]:
        """The instants of every window, in UTC."""
        named = zip(SPLITS, (self.train, self.validation, self.test), strict=True)
        return {name: (to_utc(low, self.zone), to_utc(high, self.zone)) for name, (low, high) in named}

    def assign(self, rows: pa.Table, *, key: tuple[str, ...], at: str | None) -> pa.Array:  # noqa: ARG002  # protocol
        """Split of each row by the window that its prediction time falls in; null outside all of them."""
        times = rows.column(str(at))
        out = pa.nulls(rows.num_rows, pa.string())
        for name, (low, high) in self.windows().items():
            inside = pc.and_(pc.greater_equal(times, pa.scalar(low, _INSTANT)), pc.less(times, pa.scalar(high, _INSTANT)))
            out = pc.if_else(pc.fill_null(inside, False), name, out)  # PyArrow's order
        return out.combine_chunks() if isinstance(out, pa.ChunkedArray) else out


@config
class HashSplit:
    """Split by a seeded hash of columns (default the row key): a row never changes its split when data grows.

    Attributes:
        train: Share of rows to learn from; the three shares sum to 1.
        validation: Share of rows to stop and choose on.
        test: Share of rows that nothing sees before the gate.
        by: Columns that are hashed, for example a group whose rows must stay together; null takes the row key.
        seed: Changes the assignment.
    """

    train: float = 0.6
    validation: float = 0.2
    test: float = 0.2
    by: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _sums_to_one(self) -> "HashSplit":
        if min(self.train, self.validation, self.test) <= 0 or abs(self.train + self.validation + self.test - 1) > 1e-9:
            raise ValueError("shares must be positive and sum to 1")
        return self

    @property
    def by_time(self) -> bool:
        """False."""
        return False

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of `by`."""
        return self.by or ()

    def assign(self, rows: pa.Table, *, key: tuple[str, ...], at: str | None) -> pa.Array:  # noqa: ARG002  # protocol
        """Split of each row by where its hash falls in [0, 1)."""
        texts = row_texts(rows, self.by or key)
        points = np.fromiter((self._point(text) for text in texts), np.float64, rows.num_rows)
        index = np.searchsorted([self.train, self.train + self.validation], points, side="right")
        return pa.array(np.array(SPLITS, dtype=object)[index], pa.string())

    def _point(self, text: str) -> float:
        digest = hashlib.blake2b(f"{self.seed}|{text}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) / 2**64
