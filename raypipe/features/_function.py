"""The user's own function as a source of values: called over NumPy columns, and with one row online."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raypipe.core.config import config
from raypipe.core.errors import FeatureError
from raypipe.core.functions import FunctionPath
from raypipe.core.kinds import ARROW, Kind, to_numbers
from raypipe.features._cells import Cells
from raypipe.features._rowcode import RowCode


@config
class FunctionSource:
    """The user's own function over NumPy columns: `function` is ``package.module:name``."""

    kind: Literal["function"] = "function"
    function: FunctionPath
    arguments: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """What it reads."""
        return self.arguments

    def __str__(self) -> str:
        return f"{self.function}({', '.join(self.arguments)})"

    def numbers(self, cells: Cells) -> NDArray[np.float64]:
        """Float64 of each row.

        Raises:
            FeatureError: when the function changes the number of rows, or gives something else than numbers.
        """
        return cells.shared(self, lambda: self._call(cells))

    def number(self, code: RowCode) -> str:
        """Variable with the function's answer for one row."""
        return code.shared(("number", self), lambda: self._emit(code))

    def _call(self, cells: Cells) -> NDArray[np.float64]:
        if not cells.num_rows:  # such as a part without training rows: many functions fail on nothing
            return np.empty(0)
        arrays = [_argument(cells.column(name)) for name in self.arguments]
        return _checked(self.function, load_function(self.function)(*arrays), (cells.num_rows,))

    def _emit(self, code: RowCode) -> str:
        values = [(code.kind(name), code.value(name)) for name in self.arguments]
        makers = [f"{code.bind(_One(kind))}({v})" for kind, v in values]
        check, function = code.bind(_checked), code.bind(load_function(self.function))
        return code.let(f"float({check}({self.function!r}, {function}({', '.join(makers)}), (1,))[0])")


@dataclass(frozen=True)
class Encoding:
    """The user's own function of columns to vectors of `size` numbers; `fill` takes the place of what is missing."""

    function: str
    arguments: tuple[str, ...]
    size: int
    fill: float | None

    def of_columns(self, cells: Cells) -> NDArray[np.float32]:
        """(N, size).

        Raises:
            FeatureError: when the function gives another shape, or something else than numbers.
        """
        if not cells.num_rows:
            return np.empty((0, self.size), np.float32)
        return self._encoded([_argument(cells.column(name)) for name in self.arguments], cells.num_rows)

    def of_row(self, code: RowCode) -> str:
        """An expression that gives the numbers of one row."""
        makers = [f"{code.bind(_One(code.kind(name)))}({code.value(name)})" for name in self.arguments]
        return f"{code.bind(self._encoded)}([{', '.join(makers)}], 1)[0].tolist()"

    def _encoded(self, arrays: list[NDArray[np.generic]], num_rows: int) -> NDArray[np.float32]:
        found = _checked(self.function, load_function(self.function)(*arrays), (num_rows, self.size))
        with np.errstate(over="ignore"):
            return np.where(np.isnan(found), np.nan if self.fill is None else self.fill, found).astype(np.float32)


def load_function(path: str) -> Callable[..., object]:
    """The function named ``package.module:name``.

    Raises:
        FeatureError: when it cannot be imported, or is not a function.
    """
    module, _, name = path.partition(":")
    try:
        found = vars(importlib.import_module(module)).get(name)
    except ImportError as error:
        raise FeatureError(path, f"cannot be imported ({error})", "put its package on PYTHONPATH") from error
    if not callable(found):
        raise FeatureError(path, f"{module} has no such function", "name a function over NumPy columns")
    return found  # type: ignore[no-any-return]  # checked to be callable


class _One:
    """An array of one value, as the column would give it."""

    def __init__(self, kind: Kind) -> None:
        self._type = ARROW[kind]

    def __call__(self, value: object) -> NDArray[np.generic]:
        return _argument(pa.array([value], self._type))


def _argument(cells: pa.Array) -> NDArray[np.generic]:
    """A column as the user's function takes it: read-only; float64 (NaN for null) for numbers, booleans too; objects for text
    and bytes (None for null), and lists (an array each); datetime64[us] in UTC and datetime64[D] (NaT for null)."""
    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    if pa.types.is_integer(cells.type) or pa.types.is_floating(cells.type) or pa.types.is_boolean(cells.type):
        values: NDArray[Any] = to_numbers(cells).view()
    elif pa.types.is_list(cells.type):
        values = _arrays(cells)
    else:
        values = cells.to_numpy(zero_copy_only=False).view()
    values.flags.writeable = False
    return values


def _arrays(lists: pa.Array) -> NDArray[np.object_]:
    """Each list on its own: Arrow makes all int64 lists of a column float64 when one of them holds a null."""
    arrays_N = np.full(len(lists), None, np.object_)
    for i, cell in enumerate(lists):
        if cell.is_valid:
            arrays_N[i] = cell.values.to_numpy(zero_copy_only=False)
    return arrays_N


def _checked(path: str, found: object, shape: tuple[int, ...]) -> NDArray[np.float64]:
    if isinstance(found, np.ma.MaskedArray):
        raise FeatureError(path, "gave a masked array, whose mask would be lost", "return NaN where a value is missing")
    values = np.asarray(found)
    if values.shape != shape:
        problem = f"gave shape {list(values.shape)} for {shape[0]} row(s)"
        wanted = "one value" if len(shape) == 1 else f"{shape[1]} numbers"
        raise FeatureError(path, problem, f"return {wanted} for each row, in order")
    if values.dtype.kind not in "fiub":
        raise FeatureError(path, f"gave {values.dtype}", "return numbers or booleans (a NumPy array of floats or integers)")
    return values.astype(np.float64)
