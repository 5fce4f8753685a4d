"""The seven kinds of values, and the plain form in which both back ends compute with them.

In the plain form a timestamp is an int64 of microseconds since the epoch in UTC, a duration an int64 of microseconds, a
date an int64 of days since the epoch; bool, int64, float64 and string are themselves. Null is null, and NaN a value.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from raypipe.core.kinds import ARROW, LISTS

ARROW_TYPES: Mapping[str, pa.DataType] = MappingProxyType(
    {kind: ARROW[kind] for kind in ARROW if kind not in (*LISTS, "binary")}
)
KINDS = tuple(ARROW_TYPES)
LOWEST, HIGHEST = -(2**63), 2**63 - 1
DAY_US = 86_400_000_000
_IN_MICROSECONDS = {"s": 1_000_000, "ms": 1_000}


class TypesDoNotFit(Exception):  # becomes a FeatureError that names the expression
    """An operation is not defined for the kinds of its operands."""


def plain_type(kind: str) -> pa.DataType:
    """Arrow type of the plain form of a kind."""
    return pa.int64() if kind in ("date", "timestamp", "duration") else ARROW_TYPES[kind]


def kind_of(found: pa.DataType, name: str) -> str:
    """The kind of a column of an Arrow type.

    Raises:
        TypesDoNotFit: a type that no kind holds exactly: a list, a decimal, uint64, a timestamp without a zone.
    """
    if pt.is_dictionary(found):
        return kind_of(found.value_type, name)
    if pt.is_timestamp(found) and found.tz is None:
        raise TypesDoNotFit(f"column {name} holds timestamps without a zone")
    for belongs, kind in (
        (pt.is_boolean, "bool"),
        (_is_int64, "int64"),
        (pt.is_floating, "float64"),
        (_is_text, "string"),
        (pt.is_date, "date"),
        (pt.is_timestamp, "timestamp"),
        (pt.is_duration, "duration"),
    ):
        if belongs(found):
            return kind
    raise TypesDoNotFit(f"column {name} is {found}, which expressions do not take")


def kinds_of(schema: pa.Schema, names: Iterable[str]) -> dict[str, str]:
    """The kind of each of the named columns of `schema`.

    Raises:
        TypesDoNotFit: as `kind_of`.
    """
    return {name: kind_of(schema.field(name).type, name) for name in names}


def to_plain(column: pa.Array, kind: str) -> pa.Array:
    """A column in plain form: text decoded, the widest number, microseconds; an instant out of their range is null."""
    if pt.is_dictionary(column.type):
        column = column.dictionary_decode()
    factor = _IN_MICROSECONDS.get(column.type.unit) if kind in ("timestamp", "duration") else None
    if factor:
        return multiplied(column.cast(pa.int64()), factor)
    cells = column if column.type == ARROW_TYPES[kind] else pc.cast(column, ARROW_TYPES[kind], safe=False)
    if kind == "date":
        return cells.cast(pa.int32()).cast(pa.int64())
    return cells.cast(plain_type(kind))


def from_plain(cells: pa.Array, kind: str) -> pa.Array:
    """Plain values as a column of their kind."""
    return (cells.cast(pa.int32()) if kind == "date" else cells).cast(ARROW_TYPES[kind])


def multiplied(cells: pa.Array, factor: int) -> pa.Array:
    """Int64 values times a positive constant, null where that overflows."""
    fits = pc.and_(pc.greater_equal(cells, -(2**63 // factor)), pc.less_equal(cells, HIGHEST // factor))
    return pc.multiply(pc.if_else(fits, cells, pa.scalar(None, pa.int64())), factor)


def _is_int64(found: pa.DataType) -> bool:
    return bool(pt.is_integer(found)) and found != pa.uint64()


def _is_text(found: pa.DataType) -> bool:
    return bool(pt.is_string(found) or pt.is_large_string(found) or pt.is_string_view(found))
