"""From cells to values of a declared type: exactly, and null where a cell has none.

Text goes to Arrow's own cast as a whole where a look at the bytes shows that the cast takes nothing beyond our grammar
(12 to 50 ns a cell); else the grammar says which texts are values, as a pattern over the column (another 60 ns).
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from raypipe.contract._bytes import bytes_in
from raypipe.contract._lists import is_list, lists_in, lists_of
from raypipe.contract._rules import (
    FIRST_DATE,
    FIRST_INSTANT,
    LAST_DATE,
    LAST_INSTANT,
    LOCAL_TIMESTAMP,
    TEXT_GRAMMAR,
    ColumnType,
)
from raypipe.core.kinds import ARROW, LISTS, cast_each, kind_of

_SHORTEST_INSTANT = len("2013-01-01T10:00Z")
_T, _COLON, _ZULU, _ZERO = 10, ord(":"), ord("Z"), ord("0")


def values_of(cells: pa.Array, kind: ColumnType) -> pa.Array:
    """Values of type `kind`; null where a cell is null or has no exact value of that type.

    Args:
        cells: Of any Arrow type; text is parsed, other types are cast where they mean the same.
        kind: The declared type.
    """
    if is_text(cells.type):
        if kind == "string":
            return cells if cells.type == pa.string() else cast_each(cells, pa.string())
        if kind == "binary":
            return bytes_in(cells)
        return lists_in(cells, kind) if kind in LISTS else in_range(_parsed(plain(cells), kind))
    if pt.is_decimal(cells.type) and kind == "float64":  # the nearest, as of the same number in text
        return in_range(_parsed(cells.cast(pa.string()), kind))
    if not _convertible(cells.type, kind):
        return pa.nulls(len(cells), ARROW[kind])
    if kind in LISTS and not pt.is_null(cells.type):
        return lists_of(cells, kind)
    return in_range(cast_each(cells, ARROW[kind]))


def plain(cells: pa.Array) -> pa.Array:
    """The same cells in a type that Arrow's kernels take."""
    if pt.is_dictionary(cells.type):
        return plain(cells.dictionary_decode())
    if pt.is_run_end_encoded(cells.type):
        return plain(pc.run_end_decode(cells))
    if pt.is_string_view(cells.type):
        return cells.cast(pa.large_string())
    if pt.is_binary_view(cells.type):
        return cells.cast(pa.large_binary())
    return cells.cast(pa.float32()) if pt.is_float16(cells.type) else cells


def in_utc(cells: pa.Array) -> pa.Array:
    """Times without a zone as instants of UTC; other cells as they are."""
    if pt.is_timestamp(cells.type) and cells.type.tz is None:
        return cells.cast(pa.timestamp(cells.type.unit, "UTC"))
    if not is_text(cells.type):
        return cells
    is_local = pc.match_substring_regex(cells, f"^(?:{LOCAL_TIMESTAMP})$")
    return pc.if_else(is_local, pc.binary_join_element_wise(cells, *(pa.scalar(text, cells.type) for text in ("Z", ""))), cells)


def is_text(found: pa.DataType) -> bool:
    """True for Arrow's types of text."""
    return bool(pt.is_string(found) or pt.is_large_string(found) or pt.is_string_view(found))


def in_range(values: pa.Array) -> pa.Array:
    """The values, null where a number is not finite or a time lies in a year that text cannot say."""
    if pt.is_floating(values.type):
        inside = pc.is_finite(values)
    elif pt.is_temporal(values.type):
        first, last = (FIRST_DATE, LAST_DATE) if pt.is_date(values.type) else (FIRST_INSTANT, LAST_INSTANT)
        least, most = pa.scalar(first, values.type), pa.scalar(last, values.type)
        inside = pc.and_(pc.greater_equal(values, least), pc.less_equal(values, most))
    else:
        return values
    return values if pc.all(inside).as_py() is not False else pc.if_else(inside, values, pa.scalar(None, values.type))


def _parsed(texts: pa.Array, kind: ColumnType) -> pa.Array:
    to = ARROW[kind]
    if kind in _AS_GRAMMAR and _AS_GRAMMAR[kind](texts):
        try:
            return pc.cast(texts, to)
        except pa.ArrowInvalid:
            pass  # some cell is no value: find out which
    fits = pc.match_substring_regex(texts, rf"^(?:{TEXT_GRAMMAR[kind]})$")
    return cast_each(pc.if_else(fits, texts, pa.scalar(None, texts.type)), to)


def _is_int_grammar(texts: pa.Array) -> bool:
    """Arrow also takes hexadecimal numbers."""
    data = _bytes(texts)
    return b"x" not in data and b"X" not in data


def _is_float_grammar(texts: pa.Array) -> bool:
    """Arrow also takes a leading plus; of NaN and infinities `in_range` thinks as the grammar does."""
    return b"+" not in _bytes(texts)


def _is_instant_grammar(texts: pa.Array) -> bool:
    """Arrow also takes hours without minutes, in the time and in the zone, and years before 1000."""
    texts = texts.drop_null()
    if not len(texts):
        return True
    offset_N, data = _offsets(texts), np.frombuffer(_bytes(texts), np.uint8)
    start_N, end_N = offset_N[:-1] - offset_N[0], offset_N[1:] - offset_N[0]
    if (end_N - start_N).min() < _SHORTEST_INSTANT:
        return False
    named = data[end_N - 1] == _ZULU
    for length in (len("+05:30"), len("+0530")):
        sign_N = data[end_N - length]
        named |= (sign_N == ord("+")) | (sign_N == ord("-"))
    return bool(named.all() and (data[start_N + _T + 3] == _COLON).all() and (data[start_N] != _ZERO).all())


def _is_date_grammar(texts: pa.Array) -> bool:
    """Arrow also takes years before 1000."""
    texts = texts.drop_null()
    offset_N = _offsets(texts)
    data, start_N = np.frombuffer(_bytes(texts), np.uint8), offset_N[:-1] - offset_N[0]
    return bool((np.diff(offset_N) == len("2013-01-01")).all() and (data[start_N] != _ZERO).all())


_AS_GRAMMAR: Mapping[str, Callable[[pa.Array], bool]] = MappingProxyType(
    {
        "int64": _is_int_grammar,
        "float64": _is_float_grammar,
        "timestamp": _is_instant_grammar,
        "date": _is_date_grammar,
    }
)
"""Whether every text that Arrow casts is one of the grammar; False where a look does not tell."""


def _offsets(texts: pa.Array) -> NDArray[Any]:
    width = np.int64 if pt.is_large_string(texts.type) else np.int32
    _, offsets, _ = texts.buffers()
    if offsets is None or not offsets.size:
        return np.zeros(1, width)
    found: NDArray[Any] = np.frombuffer(offsets, width)[texts.offset : texts.offset + len(texts) + 1]
    return found


def _bytes(texts: pa.Array) -> bytes:
    """The text of all cells; that of nulls is empty in practice, and at worst sends the column the longer way."""
    offset_N, data = _offsets(texts), texts.buffers()[2]
    if data is None:
        return b""
    return bytes(memoryview(data)[int(offset_N[0]) : int(offset_N[-1])])


def _convertible(found: pa.DataType, kind: ColumnType) -> bool:
    if pt.is_null(found):
        return True
    inner = found.value_type if is_list(found) else pa.null()
    number, numbers = pt.is_integer(found) or pt.is_floating(found), pt.is_integer(inner) or pt.is_floating(inner)
    return bool(
        {
            "string": is_text(found),
            "int64": number or pt.is_decimal(found),
            "float64": number,
            "bool": pt.is_boolean(found),
            "timestamp": pt.is_timestamp(found) and found.tz is not None,
            "date": pt.is_date(found),
            "list<string>": is_list(found) and (is_text(inner) or pt.is_null(inner)),
            "list<int64>": is_list(found) and (numbers or pt.is_null(inner)),
            "vector": is_list(found) and (numbers or pt.is_null(inner)),
            "binary": kind_of(found) == "binary",
        }[kind]
    )


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """The cells of a column as one array, of large text where one of text would be too long."""
    found = column.combine_chunks()
    return found if isinstance(found, pa.Array) else pa.concat_arrays([chunk.cast(pa.large_string()) for chunk in found.chunks])
