"""Kinds of values that features read: one name for the Arrow types that mean the same."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal, get_args

import pyarrow as pa
import pyarrow.types as pt

from raypipe.core.errors import FeatureError

Kind = Literal["bool", "int64", "float64", "string", "date", "timestamp", "duration", "list<string>", "list<int64>", "vector"]
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
    }
)
_LISTS: Mapping[Kind, Kind] = MappingProxyType({"string": "list<string>", "int64": "list<int64>", "float64": "vector"})
_TAKES = {
    NUMERIC: "numbers or booleans",
    CATEGORICAL: "text, whole numbers or booleans",
    ("timestamp",): "timestamps with a zone",
    ("bool",): "booleans",
    ("timestamp", "date"): "timestamps with a zone, or dates",
    ("list<string>", "list<int64>"): "lists of text or whole numbers",
    ("vector",): "lists of numbers",
}


def kind_of(found: pa.DataType) -> Kind | None:
    """The kind of an Arrow type, or None for a type that features do not take."""
    value = found.value_type if pt.is_dictionary(found) else found
    for belongs, kind in _SCALARS:
        if belongs(value):
            return kind
    if pt.is_list(value) or pt.is_large_list(value) or pt.is_fixed_size_list(value):
        inner = kind_of(value.value_type)
        return _LISTS.get(inner) if inner else None
    return None


def kinds_of(schema: pa.Schema) -> dict[str, Kind]:
    """The kind of each column that features can take."""
    found = {field.name: kind_of(field.type) for field in schema}
    return {name: kind for name, kind in found.items() if kind is not None}


def need_kind(feature: str, column: str, found: Kind, wanted: tuple[Kind, ...], spec: str) -> None:
    """Refuse a column of a kind that a feature does not take.

    Raises:
        FeatureError: naming the feature and the column.
    """
    if found not in wanted:
        problem = f"kind {spec} takes {_TAKES[wanted]}, and column {column} is {found}"
        raise FeatureError(feature, problem, "use another kind, or derive a column of that type")


def _is_text(found: pa.DataType) -> bool:
    return bool(pt.is_string(found) or pt.is_large_string(found) or pt.is_string_view(found))


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
)
