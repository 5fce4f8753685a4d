"""Kinds of values: one name for the Arrow types that mean the same, in contracts, features and profiles."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

Kind = Literal[
    "bool", "int64", "float64", "string", "date", "timestamp", "duration", "list<string>", "list<int64>", "vector", "binary"
]
KINDS: tuple[Kind, ...] = get_args(Kind)
NUMERIC: tuple[Kind, ...] = ("float64", "int64", "bool")
CATEGORICAL: tuple[Kind, ...] = ("string", "int64", "bool")
LISTS: tuple[Kind, ...] = ("list<string>", "list<int64>", "vector")
ARROW: Mapping[Kind, pa.DataType] = MappingProxyType(
    {
        "bool": pa.bool_(),
        "int64": pa.int64(),
        "float64": pa.float64(),
        "string": pa.string(),
        "date": pa.date32(),
        "timestamp": pa.timestamp("us", "UTC"),
        "duration": pa.duration("us"),
        "list<string>": pa.list_(pa.string()),
        "list<int64>": pa.list_(pa.int64()),
        "vector": pa.list_(pa.float64()),
        "binary": pa.binary(),
    }
)
_MANY_ROWS = 10_000  # from here on Arrow's kernel is faster than its conversion
_LISTS: Mapping[Kind, Kind] = MappingProxyType({"string": "list<string>", "int64": "list<int64>", "float64": "vector"})


def kind_of(found: pa.DataType) -> Kind | None:
    """The kind of an Arrow type, or None for a type of no kind."""
    value = found.value_type if pt.is_dictionary(found) else found
    for belongs, kind in _SCALARS:
        if belongs(value):
            return kind
    if pt.is_list(value) or pt.is_large_list(value) or pt.is_fixed_size_list(value):
        inner = kind_of(value.value_type)
        return _LISTS.get(inner) if inner else None
    return None


def kinds_of(schema: pa.Schema) -> dict[str, Kind]:
    """The kind of each column that has one."""
    found = {field.name: kind_of(field.type) for field in schema}
    return {name: kind for name, kind in found.items() if kind is not None}


def to_numbers(cells: pa.Array) -> NDArray[np.float64]:
    """float64 of numbers and booleans, NaN for null; without a copy where there is no null."""
    cells = cells if cells.type == pa.float64() else pc.cast(cells, pa.float64(), safe=False)
    if len(cells) > _MANY_ROWS and cells.null_count:
        cells = pc.fill_null(cells, math.nan)
    values: NDArray[np.float64] = cells.to_numpy(zero_copy_only=False)
    return values


def python_values(cells: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Values to show and to write as JSON: times as text, instants in UTC, for Python has none after the year 9999, nor
    nanoseconds; lists and structs of such times as the name of their type.
    """
    if pt.is_timestamp(cells.type) and cells.type.tz is not None:  # no look into a table of zones, which may lack it
        cells = cells.cast(pa.timestamp(cells.type.unit, "UTC"))
    if pt.is_temporal(cells.type):
        cells = cells.cast(pa.string())
    try:
        found: list[Any] = cells.to_pylist()
    except (OverflowError, ValueError):
        return [f"<{cells.type}>" if valid else None for valid in cells.is_valid().to_pylist()]
    return found


def cast_each(cells: pa.Array, to: pa.DataType) -> pa.Array:
    """Cast exactly; a cell that does not cast becomes null. Halves are tried apart, so bad cells cost and good ones do not."""
    if cells.type == to:
        return cells
    try:
        return pc.cast(cells, to)
    except pa.ArrowInvalid:
        if len(cells) == 1:
            return pa.nulls(1, to)
        middle = len(cells) // 2
        return pa.concat_arrays([cast_each(cells[:middle], to), cast_each(cells[middle:], to)])


def _is_text(found: pa.DataType) -> bool:
    return bool(pt.is_string(found) or pt.is_large_string(found) or pt.is_string_view(found))


def _is_bytes(found: pa.DataType) -> bool:
    return bool(pt.is_binary(found) or pt.is_large_binary(found) or pt.is_fixed_size_binary(found) or pt.is_binary_view(found))


def _is_instant(found: pa.DataType) -> bool:
    return bool(pt.is_timestamp(found) and found.tz is not None)


_SCALARS: tuple[tuple[Callable[[pa.DataType], bool], Kind], ...] = (
    (pt.is_boolean, "bool"),
    (pt.is_integer, "int64"),
    (pt.is_floating, "float64"),
    (_is_text, "string"),
    (pt.is_date, "date"),
    (_is_instant, "timestamp"),
    (pt.is_duration, "duration"),
    (_is_bytes, "binary"),
)
