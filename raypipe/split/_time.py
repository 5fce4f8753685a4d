"""By time: half-open windows on the clock of a zone, with a gap between them, of rows whose label is known in time."""

from datetime import datetime, timedelta
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import model_validator

from raypipe.core.config import config
from raypipe.core.durations import Duration
from raypipe.core.instants import Moment, Zone, to_utc
from raypipe.split._protocol import declared

_INSTANT = pa.timestamp("us", "UTC")
_NONE = timedelta(0)
Bounds = tuple[Moment, Moment]


@config
class TimeSplit:
    """Split by prediction time into half-open windows: `from <= t < until`, read in `zone`.

    A model is shaped by the rows of all windows before the test window. So with `label_delay` a row of theirs whose label is
    not known at the end of its window, which is ``t + label_delay > until``, is set aside; test rows may wait for theirs.

    Attributes:
        train: First instant to learn from, and the first that is no longer learned from.
        validation: The window to stop and choose on.
        test: The window that nothing sees before the gate.
        calibration: The window to calibrate scores on and choose the threshold, between validation and test; null keeps none.
        zone: Time zone of bounds that are written without one.
        gap: Rows less than this before the next window are set aside, so that what lasts, such as a trip, is not in two.
        label_delay: How long after the prediction time the label is known.
    """

    train: Bounds
    validation: Bounds
    test: Bounds
    calibration: Bounds | None = None
    zone: Zone = "UTC"
    gap: Duration = _NONE
    label_delay: Duration = _NONE

    @model_validator(mode="after")
    def _ordered(self) -> "TimeSplit":
        windows = self.windows()
        for name, (low, high) in windows.items():
            if low >= high:
                raise ValueError(f"window {name} is empty: it must end after it begins")
        if any(windows[name][1] > windows[following][0] for name, following in pairwise(windows)):
            raise ValueError(f"windows must follow each other: {', then '.join(windows)}, none overlapping")
        return self

    @model_validator(mode="after")
    def _rows_are_left(self) -> "TimeSplit":
        for name, value in (("gap", self.gap), ("label_delay", self.label_delay)):
            if value < _NONE:
                raise ValueError(f"{name} is less than nothing; expected a time such as 3h")
        for window, next_window in pairwise(self.windows()):
            low, high = self.windows()[window]
            if self.label_delay >= high - low:
                raise ValueError(f"window {window} is no longer than label_delay: no label would be known at its end")
            if self.gap >= self.windows()[next_window][0] - low:
                raise ValueError(f"window {window} is all in the gap before the {next_window} window")
        return self

    @property
    def by_time(self) -> bool:
        """True."""
        return True

    @property
    def columns(self) -> tuple[str, ...]:
        """None."""
        return ()

    @property
    def groups(self) -> tuple[str, ...]:
        """None."""
        return ()

    def windows(self) -> dict[str, tuple[datetime, datetime]]:
        """The instants of every window, in UTC, in their order."""
        named = declared(train=self.train, validation=self.validation, calibration=self.calibration, test=self.test)
        return {name: (to_utc(low, self.zone), to_utc(high, self.zone)) for name, (low, high) in named.items()}

    def assign(self, rows: pa.Table, *, key: tuple[str, ...], at: str | None) -> pa.Array:  # noqa: ARG002  # protocol
        """Split of each row by the window that its prediction time falls in; null outside all of them."""
        times, windows = rows.column(str(at)), self.windows()
        out = pa.nulls(rows.num_rows, pa.string())
        for name, (low, high) in windows.items():
            inside = pc.and_(_not_before(times, low), _before(times, high))
            out = pc.if_else(pc.fill_null(inside, False), name, out)  # PyArrow's order
        for name, following in pairwise(windows):
            inside = pc.equal(out, name)
            if self.label_delay:
                late = pc.greater(times, pa.scalar(windows[name][1] - self.label_delay, _INSTANT))
                out = _set_aside(out, pc.and_(inside, late), f"label not known at the end of the {name} window")
            if self.gap:
                close = _not_before(times, _gap_begins(windows[following][0], self.gap))
                out = _set_aside(out, pc.and_(inside, close), f"in the gap before the {following} window")
        return out.combine_chunks() if isinstance(out, pa.ChunkedArray) else out


def _gap_begins(following: datetime, gap: timedelta) -> datetime:
    """The first instant that is less than `gap` before `following`: instants are whole microseconds."""
    return following - gap + timedelta(microseconds=1)


def _not_before(times: pa.ChunkedArray, low: datetime) -> pa.ChunkedArray:
    return pc.greater_equal(times, pa.scalar(low, _INSTANT))


def _before(times: pa.ChunkedArray, high: datetime) -> pa.ChunkedArray:
    return pc.less(times, pa.scalar(high, _INSTANT))


def _set_aside(out: pa.ChunkedArray, which: pa.ChunkedArray, reason: str) -> pa.ChunkedArray:
    return pc.if_else(pc.fill_null(which, False), reason, out)  # PyArrow's order
