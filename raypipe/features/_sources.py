"""Where the values of a feature come from: a column, or something computed from columns of the same row.

Each source is executed by both back ends: `numbers` and `array` over columns, `number` and `value` in the row function.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray
from pydantic import Field

from raypipe.core.config import config
from raypipe.core.kinds import Kind
from raypipe.core.zones import CalendarPart, offsets, part_columns, part_function
from raypipe.features._cells import Cells, to_int64
from raypipe.features._function import FunctionSource
from raypipe.features._rowcode import RowCode

Unit = Literal["seconds", "minutes", "hours", "days"]
_MICROSECONDS: Mapping[Unit, float] = {"seconds": 1e6, "minutes": 6e7, "hours": 3.6e9, "days": 8.64e10}
_DAY = 86_400_000_000
_NULL = -(2**63)  # no part is so small
_SEPARATOR = " | "
_ESCAPED = {"\\": "\\\\", "|": "\\|"}


@config
class ColumnSource:
    """A raw or derived column."""

    kind: Literal["column"] = "column"
    column: str

    @property
    def columns(self) -> tuple[str, ...]:
        """What it reads."""
        return (self.column,)

    def __str__(self) -> str:
        return self.column

    def array(self, cells: Cells) -> pa.Array:
        """The column."""
        return cells.column(self.column)

    def numbers(self, cells: Cells) -> NDArray[np.float64]:
        """The column as float64, NaN for null; read-only."""
        return cells.numbers(self.column)

    def value(self, code: RowCode) -> str:
        """Variable with the value, None for null."""
        return code.value(self.column)

    def number(self, code: RowCode) -> str:
        """Variable with the value as float, NaN for null."""
        return code.number(self.column)


@config
class ElapsedSource:
    """Time from `since` to `column` in `unit`, as float64; dates count from midnight UTC."""

    kind: Literal["elapsed"] = "elapsed"
    column: str
    since: str
    unit: Unit

    @property
    def columns(self) -> tuple[str, ...]:
        """What it reads."""
        return (self.column, self.since)

    def __str__(self) -> str:
        return f"{self.unit} from {self.since} to {self.column}"

    def numbers(self, cells: Cells) -> NDArray[np.float64]:
        """Float64 of each row, NaN where an end is null."""
        end, start = cells.column(self.column), cells.column(self.since)
        x_N = _difference(_microseconds(end), _microseconds(start)) / _MICROSECONDS[self.unit]
        if end.null_count or start.null_count:
            x_N[pc.or_(end.is_null(), start.is_null()).to_numpy(zero_copy_only=False)] = np.nan
        return x_N

    def number(self, code: RowCode) -> str:
        """Variable with the time as float."""
        end, start = ((name, code.value(name)) for name in self.columns)
        terms = [v if code.kind(name) == "timestamp" else f"{v} * {_DAY}" for name, v in (end, start)]
        missing = f"{end[1]} is None or {start[1]} is None"
        return code.let(f"nan if {missing} else float({terms[0]} - {terms[1]}) / {_MICROSECONDS[self.unit]!r}")


@config
class PartSource:
    """A part of a timestamp on the clock of a zone, or of a date."""

    kind: Literal["part"] = "part"
    column: str
    zone: str
    part: CalendarPart

    @property
    def columns(self) -> tuple[str, ...]:
        """What it reads."""
        return (self.column,)

    def __str__(self) -> str:
        return f"{self.part} of {self.column} in {self.zone}"

    def integers(self, cells: Cells, null: int) -> NDArray[np.int64]:
        """The part of each row; `null` for null."""
        instants = cells.column(self.column)
        local_N = cells.shared(("local", self.column, self.zone), lambda: self._local(instants))
        part_N = part_columns(self.part, local_N)
        if instants.null_count:
            part_N = np.where(instants.is_null().to_numpy(zero_copy_only=False), null, part_N)
        return part_N

    def numbers(self, cells: Cells) -> NDArray[np.float64]:
        """Float64 of each row, NaN for null."""
        part_N = self.integers(cells, _NULL)
        return np.where(part_N == _NULL, np.nan, part_N.astype(np.float64))

    def integer(self, code: RowCode) -> str:
        """Variable with the part as int, None for null."""
        v = code.value(self.column)
        local = code.shared(("local", self.column, self.zone), lambda: self._local_code(code, v))
        return code.let(f"None if {v} is None else {code.bind(part_function(self.part))}({local})")

    def number(self, code: RowCode) -> str:
        """Variable with the part as float, NaN for null."""
        v = code.shared(self, lambda: self.integer(code))
        return code.let(f"nan if {v} is None else float({v})")

    def _local(self, instants: pa.Array) -> NDArray[np.int64]:
        us_N = _microseconds(instants)
        return us_N if pa.types.is_date(instants.type) else offsets(self.zone).local_columns(us_N)

    def _local_code(self, code: RowCode, v: str) -> str:
        if code.kind(self.column) == "date":
            return code.let(f"None if {v} is None else {v} * {_DAY}")
        return code.let(f"None if {v} is None else {code.bind(offsets(self.zone).local)}({v})")


@config
class CrossSource:
    """Values of several columns as one text, null where one of them is null.

    The texts are joined by " | ", after a backslash is set before each bar and backslash in them: so different values never
    give one text.
    """

    kind: Literal["cross"] = "cross"
    crossed: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """What it reads."""
        return self.crossed

    def __str__(self) -> str:
        return " x ".join(self.crossed)

    def array(self, cells: Cells) -> pa.Array:
        """Text of each row."""
        parts = [pc.cast(_escaped(cells.column(name)), pa.string()) for name in self.crossed]
        return pc.binary_join_element_wise(*parts, _SEPARATOR, null_handling="emit_null")

    def value(self, code: RowCode) -> str:
        """Variable with the text, None for null."""
        values = {name: code.value(name) for name in self.crossed}
        missing = " or ".join(f"{v} is None" for v in values.values())
        texts = [_TEXT[code.kind(name)].format(v) for name, v in values.items()]
        return code.let(f"None if {missing} else {' + '.join(f'{t}' for t in _between(texts))}")


def _escaped(values: pa.Array) -> pa.Array:
    """Text with its bars and backslashes escaped; other values as they are."""
    if pt.is_dictionary(values.type):
        return pa.DictionaryArray.from_arrays(values.indices, _escaped(values.dictionary))
    if values.type != pa.string() or not _holds_escaped(values):
        return values
    for sign, escaped in _ESCAPED.items():
        values = pc.replace_substring(values, sign, escaped)
    return values


def _holds_escaped(texts: pa.Array) -> bool:
    """Whether there is something to escape: to look at the bytes takes a hundredth of the time of replacing nothing."""
    _, bounds, data = texts.buffers()
    if not len(texts) or data is None:
        return False
    bounds_N = np.frombuffer(bounds, np.int32)
    bytes_B = np.frombuffer(data, np.uint8)[bounds_N[texts.offset] : bounds_N[texts.offset + len(texts)]]
    return any(bool((bytes_B == ord(sign)).any()) for sign in _ESCAPED)


def _microseconds(cells: pa.Array) -> NDArray[np.int64]:
    """Instants or dates as int64 microseconds, 0 for null."""
    if pa.types.is_date(cells.type):
        return to_int64(cells.cast(pa.int32()), 0) * _DAY
    return to_int64(cells, 0)


def _difference(end_N: NDArray[np.int64], start_N: NDArray[np.int64]) -> NDArray[np.float64]:
    """Float64 of the exact difference, as Python's integers give it."""
    us_N = end_N - start_N
    x_N = us_N.astype(np.float64)
    for i in np.flatnonzero(((end_N ^ start_N) & (end_N ^ us_N)) < 0):  # signs that an int64 overflow leaves
        x_N[i] = float(int(end_N[i]) - int(start_N[i]))
    return x_N


def _between(texts: list[str]) -> list[str]:
    out: list[str] = []
    for text in texts:
        out += [repr(_SEPARATOR), text] if out else [text]
    return out


_TEXT: Mapping[Kind, str] = {
    "int64": "str({})",
    "bool": "('true' if {} else 'false')",
    "string": "{}" + "".join(f".replace({sign!r}, {escaped!r})" for sign, escaped in _ESCAPED.items()),
}

NumberSource = Annotated[ColumnSource | ElapsedSource | PartSource | FunctionSource, Field(discriminator="kind")]
ValueSource = Annotated[ColumnSource | CrossSource, Field(discriminator="kind")]
