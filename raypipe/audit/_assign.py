"""The split of an audit that stands alone: a column, a day from which rows are test rows, or one of the audit's own."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from raypipe.audit._keys import code, mix, row_hashes
from raypipe.core.errors import ConfigError, SourceError

TRAIN_SHARE = 0.8
NAMES: Mapping[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "eval"), "validation"),
    **dict.fromkeys(("test", "testing", "holdout"), "test"),
}
"""What the values of a split column mean, in lower case."""
AT = "__at"
INSTANT = pa.timestamp("us")
_LAST_S = 61_000_000_000


class Assignment(Protocol):
    """Gives each row its split."""

    @property
    def text(self) -> str:
        """How, in words."""

    def assign(self, rows: pa.Table, first_row: int) -> pa.ChunkedArray | pa.Array:
        """The split of each row; null for rows in none. `first_row` is the place of the first one in the table."""


@dataclass(frozen=True, kw_only=True)
class ByColumn:
    """The values of a column."""

    column: str

    @property
    def text(self) -> str:
        """How, in words."""
        return f"column {self.column}"

    def assign(self, rows: pa.Table, first_row: int) -> pa.ChunkedArray | pa.Array:  # noqa: ARG002  # protocol
        """By the names of splits."""
        cells = rows.column(self.column)
        cells = cells.cast(cells.type.value_type) if pt.is_dictionary(cells.type) else cells
        place = pc.index_in(pc.utf8_lower(cells.cast(pa.string())), pa.array(list(NAMES)))
        return pa.array(list(NAMES.values())).take(place.combine_chunks())


@dataclass(frozen=True, kw_only=True)
class ByTime:
    """Train rows are earlier than an instant, test rows are not."""

    cut: datetime
    own: bool = False

    @property
    def text(self) -> str:
        """How, in words."""
        own = f"the audit's own, since none is named: the first {TRAIN_SHARE:.0%} of rows in time, " if self.own else ""
        return f"{own}test from {self.cut.isoformat(sep=' ')}"

    def assign(self, rows: pa.Table, first_row: int) -> pa.ChunkedArray | pa.Array:  # noqa: ARG002  # protocol
        """By the time; null has no split."""
        return pc.if_else(pc.less(rows.column(AT), pa.scalar(self.cut, INSTANT)), "train", "test")


@dataclass(frozen=True, kw_only=True)
class ByHash:
    """A hash of the entity, else of the number of the row."""

    entity: tuple[str, ...]

    @property
    def text(self) -> str:
        """How, in words."""
        of = " and ".join(self.entity) or "the row number"
        return f"the audit's own, since none is named: {TRAIN_SHARE:.0%} of rows by a hash of {of}"

    def assign(self, rows: pa.Table, first_row: int) -> pa.ChunkedArray | pa.Array:
        """By the hash."""
        if self.entity:
            hash_N = mix(row_hashes([code(rows.column(name)) for name in self.entity], rows.num_rows))
        else:
            hash_N = mix(np.arange(first_row + 1, first_row + 1 + rows.num_rows, dtype=np.uint64))
        return pa.array(np.where(hash_N < np.uint64(TRAIN_SHARE * 2**64), "train", "test"), pa.string())


def instants_of(cells: pa.ChunkedArray, *, uri: str, name: str) -> pa.ChunkedArray:
    """Times in microseconds, UTC: of timestamps, dates, ISO-8601 text, and of whole numbers, which are seconds since 1970.

    Raises:
        SourceError: for anything else, with an example.
    """
    cells = cells.cast(cells.type.value_type) if pt.is_dictionary(cells.type) else cells
    if pt.is_timestamp(cells.type):
        return cells.cast(pa.timestamp("us", cells.type.tz), safe=False).cast(INSTANT)
    if pt.is_integer(cells.type):
        if (pc.max(cells).as_py() or 0) > _LAST_S or (pc.min(cells).as_py() or 0) < -_LAST_S:
            problem = f"column {name} holds whole numbers, which are seconds since 1970, after the year 3900"
            raise SourceError(uri, problem, "convert them to timestamps")
        return cells.cast(pa.int64()).cast(pa.timestamp("s")).cast(INSTANT)
    if not (pt.is_date(cells.type) or pt.is_string(cells.type) or pt.is_large_string(cells.type)):
        raise SourceError(uri, f"column {name} is {cells.type}, not a time", "name a column of timestamps with --time")
    for target in (INSTANT, pa.timestamp("us", "UTC")):
        try:
            return cells.cast(target).cast(INSTANT)
        except pa.ArrowInvalid as error:
            problem = str(error).splitlines()[0]
    raise SourceError(uri, f"column {name} is text that is no time ({problem})", "write ISO-8601, such as 2013-10-01T06:00:00Z")


def day(text: str) -> datetime:
    """An instant as people write it, without a zone and in UTC.

    Raises:
        ConfigError: for other text.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError([f"--test-from: expected a day or an instant such as 2013-10-01, got {text!r}"]) from error
    return at.astimezone(UTC).replace(tzinfo=None) if at.tzinfo else at
