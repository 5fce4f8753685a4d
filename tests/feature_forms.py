"""The same values in other Arrow types: what readers, Ray and users' code make of one column."""

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt


def forms(cells: pa.Array) -> dict[str, pa.Array]:
    """Arrays of the same values by the name of their form, `cells` itself among them."""
    found = dict(_forms(cells))
    if cells.null_count == len(cells):
        found["null"] = pa.nulls(len(cells))
    return {"as it is": cells, **found}


def _forms(cells: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    for belongs, of_type in _BY_TYPE:
        if belongs(cells.type):
            yield from of_type(cells)
            return


def _texts(cells: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    yield "large", cells.cast(pa.large_string())
    yield "view", cells.cast(pa.string_view())
    yield "dictionary", cells.dictionary_encode()
    yield "large dictionary", cells.cast(pa.large_string()).dictionary_encode()
    yield "odd dictionary", odd_dictionary(cells)


def odd_dictionary(cells: pa.Array) -> pa.DictionaryArray:
    """With a value that no row has, a null, every value twice, and nulls both as null indices and as indices of null."""
    distinct = cells.drop_null().unique()
    values = pa.concat_arrays([pa.array(["no row has this", None]), distinct, distinct])
    place = {value: 2 + i for i, value in enumerate(distinct.to_pylist())}
    codes = []
    for row, value in enumerate(cells.to_pylist()):
        null = None if row % 2 else 1
        codes.append(null if value is None else place[value] + (row % 2) * len(distinct))
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int16()), values)


def _integers(cells: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    for other in (pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()):
        try:
            yield str(other), cells.cast(other)
        except pa.ArrowInvalid:  # does not fit
            continue
    yield "dictionary", cells.dictionary_encode()


def _floats(cells: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    x_N = cells.drop_null().to_numpy()
    x_N = x_N[~np.isnan(x_N)]
    with np.errstate(over="ignore"):
        narrow = {"float16": np.float16, "float32": np.float32}
        for name, dtype in narrow.items():
            if np.array_equal(x_N.astype(dtype).astype(np.float64), x_N):
                yield name, pc.cast(cells, name.replace("float16", "halffloat").replace("float32", "float"), safe=False)
    is_whole = np.isfinite(x_N) & (np.abs(x_N) < 2**53) & (x_N == np.trunc(x_N)) & ~(np.signbit(x_N) & (x_N == 0))
    if is_whole.all() and len(x_N) == len(cells) - cells.null_count:
        yield "int64", cells.cast(pa.int64())
    yield "dictionary", cells.dictionary_encode()


def _booleans(cells: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    yield "dictionary", cells.dictionary_encode()


def _timestamps(cells: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    yield "another zone", cells.cast(pa.timestamp("us", "Asia/Kathmandu"))
    for unit in ("s", "ms", "ns"):
        try:
            yield unit, cells.cast(pa.timestamp(unit, "UTC"))
        except pa.ArrowInvalid:  # loses microseconds, or is out of the range of nanoseconds
            continue
    yield "dictionary", cells.dictionary_encode()


def _dates(cells: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    yield "date64", cells.cast(pa.date64())
    yield "dictionary", cells.dictionary_encode()


def _durations(cells: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    for unit in ("s", "ms", "ns"):
        try:
            yield unit, cells.cast(pa.duration(unit))
        except pa.ArrowInvalid:
            continue


def _lists(cells: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    inner = cells.type.value_type
    yield "large list", cells.cast(pa.large_list(inner))
    yield "null lists with items", with_hidden_items(cells)
    if not len(cells.flatten()):
        yield "untyped list", pa.array(cells.to_pylist(), pa.list_(pa.null()))
    others = {pt.is_string: pa.large_string(), pt.is_int64: pa.int32(), pt.is_float64: pa.float32()}
    for belongs, other in others.items():
        if belongs(inner) and _is_exact(cells.flatten(), other):
            yield f"list of {other}", cells.cast(pa.list_(other))
    lengths = set(pc.list_value_length(cells).drop_null().to_pylist())
    if len(lengths) == 1 and lengths != {0}:
        yield "fixed size", pa.array(cells.to_pylist(), pa.list_(inner, lengths.pop()))


def with_hidden_items(lists: pa.Array) -> pa.Array:
    """Lists whose null ones have items in memory, as after a filter or a mask."""
    hidden = pa.array([lists.flatten().to_pylist()[:2] if value is None else value for value in lists.to_pylist()], lists.type)
    return pa.ListArray.from_arrays(hidden.offsets, hidden.values, type=lists.type, mask=lists.is_null())


def _is_exact(cells: pa.Array, other: pa.DataType) -> bool:
    try:
        there = pc.cast(cells, other)
    except pa.ArrowInvalid:
        return False
    return bool(repr(pc.cast(there, cells.type).to_pylist()) == repr(cells.to_pylist()))


_BY_TYPE: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array], Iterator[tuple[str, pa.Array]]]], ...] = (
    (pt.is_string, _texts),
    (pt.is_int64, _integers),
    (pt.is_float64, _floats),
    (pt.is_boolean, _booleans),
    (pt.is_timestamp, _timestamps),
    (pt.is_date, _dates),
    (pt.is_duration, _durations),
    (pt.is_list, _lists),
)
