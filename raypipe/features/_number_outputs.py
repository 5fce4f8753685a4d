"""Fitted numbers: ``(x - shift) / scale`` after log1p, clip and fill, computed for many columns at once or in plain Python."""

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from raypipe.core.config import config
from raypipe.features._cells import Cells
from raypipe.features._protocols import OfSource, TensorName
from raypipe.features._rowcode import RowCode
from raypipe.features._sources import NumberSource

_TILE = 8192  # rows at a time: 13 columns of float64 stay in a core's cache


@config
class FittedNumber(OfSource):
    """A column of ``numbers_NF``: float32 of (x - shift) / scale, computed in float64."""

    kind: Literal["number"] = "number"
    tensor: ClassVar[TensorName] = "numbers_NF"
    name: str
    source: NumberSource
    log1p: bool = False
    low: float | None = None
    high: float | None = None
    fill: float | None = None
    shift: float = 0.0
    scale: float = 1.0
    count: int
    missing: int
    min: float
    max: float

    @property
    def statistics(self) -> str:
        """Formula, then what the training rows held."""
        x = f"log1p({self.source})" if self.log1p else str(self.source)
        if self.low is not None:
            x = f"clip({x}, {self.low:g}, {self.high:g})"
        filled = "missing stays NaN" if self.fill is None else f"missing -> {self.fill:g}"
        scaled = x if (self.shift, self.scale) == (0.0, 1.0) else f"({x} - {self.shift:g}) / {self.scale:g}"
        span = f"{self.min:g} to {self.max:g}" if self.min < self.max else f"constant {self.min:g} in training"
        return f"{scaled}, {filled}; {span}, {self.missing} of {self.count + self.missing} missing"

    def compute(self, cells: Cells) -> NDArray[np.float32]:
        """float32 of each row."""
        out_1N = np.empty((1, cells.num_rows), np.float32)
        NumberBlock([(self, 0)]).compute(cells, out_1N)
        out_N: NDArray[np.float32] = out_1N[0]
        return out_N

    def emit(self, code: RowCode) -> list[str]:
        """The same in plain arithmetic."""
        x = self.source.number(code)
        if self.log1p:
            x = code.let(f"float({code.bind(np.log1p)}({x})) if {x} > -1.0 else nan")
        if self.low is not None:
            x = code.let(f"{self.low!r} if {x} < {self.low!r} else {self.high!r} if {x} > {self.high!r} else {x}")
        if self.fill is not None:
            x = code.let(f"{x} if {x} == {x} else {_literal(self.fill)}")
        else:
            x = code.let(f"{x} if {x} == {x} else nan")
        return [x if (self.shift, self.scale) == (0.0, 1.0) else f"({x} - {_literal(self.shift)}) / {_literal(self.scale)}"]


@config
class FittedIndicator(OfSource):
    """A column of ``numbers_NF``: 1 where the value is missing, else 0."""

    kind: Literal["indicator"] = "indicator"
    tensor: ClassVar[TensorName] = "numbers_NF"
    name: str
    source: NumberSource
    log1p: bool = False

    @property
    def statistics(self) -> str:
        """For a report."""
        return f"1 where {self.source} is missing{' or not larger than -1' if self.log1p else ''}"

    def compute(self, cells: Cells) -> NDArray[np.float32]:
        """float32 of each row."""
        x_N = self.source.numbers(cells)
        return (~(x_N > -1.0) if self.log1p else np.isnan(x_N)).astype(np.float32)

    def emit(self, code: RowCode) -> list[str]:
        """The same of one row."""
        x = self.source.number(code)
        return [f"(0.0 if {f'{x} > -1.0' if self.log1p else f'{x} == {x}'} else 1.0)"]


class NumberBlock:
    """Several `FittedNumber` at once: the arithmetic is done for all of them, on tiles of rows that stay in the cache.

    Args:
        placed: F outputs, and the row of the result that each of them fills.
    """

    def __init__(self, placed: Sequence[tuple[FittedNumber, int]]) -> None:
        numbers = [number for number, _ in placed]
        self._numbers, self._places = numbers, [place for _, place in placed]
        self._all_at_once = self._places == list(range(len(placed)))
        self._logs = [f for f, number in enumerate(numbers) if number.log1p]
        self._clips = [
            (f, number.low, number.high)
            for f, number in enumerate(numbers)
            if number.low is not None and number.high is not None
        ]
        self._fill_F1 = _column([math.nan if number.fill is None else number.fill for number in numbers])
        self._shift_F1 = _column([number.shift for number in numbers])
        self._scale_F1 = _column([number.scale for number in numbers])

    def compute(self, cells: Cells, out_CN: NDArray[np.float32]) -> None:
        """Fill the rows of `out_CN` at the places of the numbers."""
        sources = [number.source.numbers(cells) for number in self._numbers]
        if not sources:
            return
        for start in range(0, cells.num_rows, _TILE):
            tile = slice(start, start + _TILE)
            x_FN = np.array([source[tile] for source in sources])
            self._treat(x_FN)
            with np.errstate(over="ignore"):  # beyond float32 is infinite
                if self._all_at_once:
                    out_CN[: len(sources), tile] = x_FN
                    continue
                for f, place in enumerate(self._places):
                    out_CN[place, tile] = x_FN[f]

    def _treat(self, x_FN: NDArray[np.float64]) -> None:
        for f in self._logs:
            x_FN[f] = log1p_columns(x_FN[f])
        for f, low, high in self._clips:
            np.copyto(x_FN[f], low, where=x_FN[f] < low)
            np.copyto(x_FN[f], high, where=x_FN[f] > high)
        np.copyto(x_FN, self._fill_F1, where=np.isnan(x_FN))
        with np.errstate(over="ignore", invalid="ignore"):  # infinities are the caller's values
            x_FN -= self._shift_F1
            x_FN /= self._scale_F1


def log1p_columns(x_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(1 + x), NaN for -1 and less."""
    y_N = np.full(len(x_N), np.nan)
    return np.log1p(x_N, out=y_N, where=x_N > -1.0)


def _column(values: Sequence[float]) -> NDArray[np.float64]:
    return np.array(values, np.float64)[:, None]


def _literal(value: float) -> str:
    return f"({value!r})" if value < 0 else repr(value)
