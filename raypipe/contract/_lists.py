"""Lists: text and whole numbers of any length, vectors of finite numbers. No element is null."""

import json
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from raypipe.contract._rules import EXACT_INTEGERS, INT64_MAX, INT64_MIN, ColumnType
from raypipe.core.kinds import ARROW, cast_each


def is_list(found: pa.DataType) -> bool:
    """True for Arrow's lists of any length or of one."""
    return bool(pt.is_list(found) or pt.is_large_list(found) or pt.is_fixed_size_list(found))


def lists_of(cells: pa.Array, kind: ColumnType) -> pa.Array:
    """Typed lists as the column's type; null where an element is missing, or is not exactly of that type."""
    to = ARROW[kind]
    if pt.is_fixed_size_list(cells.type):
        cells = cells.cast(pa.list_(cells.type.value_type))
    cast = cast_each(cells, to)
    elements = cast.values if isinstance(cast, pa.ListArray) else cast.flatten()
    good = pc.is_finite(elements) if kind == "vector" else elements.is_valid()
    if pc.all(pc.fill_null(good, fill_value=False)).as_py() is not False:
        return cast
    below_E = np.concatenate([[0], np.cumsum(~pc.fill_null(good, fill_value=False).to_numpy(zero_copy_only=False))])
    start_N, end_N = cast.offsets.to_numpy()[:-1], cast.offsets.to_numpy()[1:]
    return pc.if_else(pa.array(below_E[end_N] == below_E[start_N]), cast, pa.scalar(None, to))


def lists_in(texts: pa.Array, kind: ColumnType) -> pa.Array:
    """Lists written as JSON; null where a text is no such list."""
    read = list_reader(kind)

    def one(text: str | None) -> object:
        try:
            return None if text is None else read(json.loads(text))
        except (ValueError, RecursionError):
            return None

    return pa.array([one(text) for text in texts.to_pylist()], ARROW[kind])


def list_reader(kind: ColumnType) -> Callable[[object], object]:
    """A function that takes a list of JSON to the list of values, or raises ValueError."""
    element = _ELEMENTS[kind]

    def read(cell: object) -> object:
        if type(cell) is not list:
            raise ValueError
        return [element(value) for value in cell]

    return read


def _text(value: object) -> object:
    if type(value) is not str:
        raise ValueError
    value.encode()  # a lone surrogate is not text; UnicodeEncodeError is a ValueError
    return value


def _whole(value: object) -> object:
    if type(value) is not int or not INT64_MIN <= value <= INT64_MAX:
        raise ValueError
    return value


def _number(value: object) -> object:
    if type(value) is int and -EXACT_INTEGERS <= value <= EXACT_INTEGERS:
        return float(value)
    if type(value) is not float or not math.isfinite(value):
        raise ValueError
    return value


_ELEMENTS: Mapping[str, Callable[[object], object]] = MappingProxyType(
    {"list<string>": _text, "list<int64>": _whole, "vector": _number}
)
