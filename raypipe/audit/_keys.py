"""Keys of 64 bits for the values of a column: in the order of numbers and times, or a hash of categories.

Keys are for comparing rows of one audit with each other; they are not kept. NaN is a null, -0.0 is 0.0. N rows.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

ColumnKind = Literal["number", "category", "other"]
_SIGN, _NULL = np.uint64(1 << 63), np.uint64(0xD1B54A32D192ED03)
_MIX_1, _MIX_2, _STEP = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB), np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, kw_only=True)
class Coded:
    """A column as keys.

    Attributes:
        kind: What the keys are: ordered (``number``) or hashes.
        keys_N: Keys; anything where the value is null.
        valid_N: Where it is not null.
    """

    kind: ColumnKind
    keys_N: NDArray[np.uint64]
    valid_N: NDArray[np.bool_]


def kind_of(found: pa.DataType) -> ColumnKind:
    """``number`` has an order (numbers, booleans, dates, times), ``category`` is text or bytes, ``other`` is nested."""
    if pt.is_dictionary(found):
        return kind_of(found.value_type)
    if pt.is_nested(found) or pt.is_null(found):
        return "other"
    texts = (pt.is_string, pt.is_large_string, pt.is_string_view, pt.is_binary, pt.is_large_binary, pt.is_fixed_size_binary)
    return "category" if any(test(found) for test in texts) else "number"


def code(column: pa.ChunkedArray | pa.Array) -> Coded:
    """The keys of a column of any type."""
    cells = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    cells = cells.dictionary_decode() if pt.is_dictionary(cells.type) and kind_of(cells.type) == "number" else cells
    kind, valid_N = kind_of(cells.type), cells.is_valid().to_numpy(zero_copy_only=False)
    if kind == "category":
        return Coded(kind=kind, keys_N=_hashes_of_texts(cells), valid_N=valid_N)
    if kind == "other":
        return Coded(kind=kind, keys_N=_hashes_of_nested(cells), valid_N=valid_N)
    if pt.is_floating(cells.type) or pt.is_decimal(cells.type):
        x_N = cells.cast(pa.float64()).fill_null(float("nan")).to_numpy(zero_copy_only=False) + 0.0
        return Coded(kind=kind, keys_N=order_floats(x_N), valid_N=~np.isnan(x_N))
    return Coded(kind=kind, keys_N=_order_integers(cells), valid_N=valid_N)


def order_floats(x_N: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Keys in the order of floats: the bits of negative ones reversed, the sign of others set."""
    bits_N = np.ascontiguousarray(x_N).view(np.uint64)
    return np.where(bits_N >= _SIGN, ~bits_N, bits_N | _SIGN)


def row_hashes(columns: Iterable[Coded], num_rows: int) -> NDArray[np.uint64]:
    """One hash for the values of each row; a null is a value of its own."""
    hash_N = np.zeros(num_rows, np.uint64)
    for one in columns:
        hash_N = mix(hash_N * _STEP + np.where(one.valid_N, one.keys_N, _NULL))
    return hash_N


def mix(z_N: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's output function: each bit depends on all."""
    z_N = (z_N ^ (z_N >> np.uint64(30))) * _MIX_1
    z_N = (z_N ^ (z_N >> np.uint64(27))) * _MIX_2
    return z_N ^ (z_N >> np.uint64(31))


def _order_integers(cells: pa.Array) -> NDArray[np.uint64]:
    """Whole numbers, booleans, dates and times."""
    if pt.is_uint64(cells.type):
        keys_N: NDArray[np.uint64] = cells.fill_null(0).to_numpy(zero_copy_only=False)
        return keys_N
    narrow = pt.is_date32(cells.type) or pt.is_time32(cells.type)
    whole = cells.cast(pa.int32()) if narrow else cells
    values_N = whole.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    signed_N: NDArray[np.uint64] = values_N.view(np.uint64) ^ _SIGN
    return signed_N


def _hashes_of_texts(cells: pa.Array) -> NDArray[np.uint64]:
    coded = cells if pt.is_dictionary(cells.type) else cells.dictionary_encode()
    hash_D = np.append(pl.Series(coded.dictionary).hash(seed=1).to_numpy(), np.uint64(0))
    place_N = pc.fill_null(coded.indices.cast(pa.int64()), len(coded.dictionary)).to_numpy(zero_copy_only=False)
    hash_N: NDArray[np.uint64] = hash_D[place_N]
    return hash_N


def _hashes_of_nested(cells: pa.Array) -> NDArray[np.uint64]:
    """Lists by their length and the hashes of their values in order, structs by those of their fields."""
    num_rows = len(cells)
    if pt.is_struct(cells.type):
        return row_hashes([code(pc.struct_field(cells, i)) for i in range(cells.type.num_fields)], num_rows)
    if pt.is_null(cells.type) or not (
        pt.is_list(cells.type) or pt.is_large_list(cells.type) or pt.is_fixed_size_list(cells.type)
    ):
        return np.zeros(num_rows, np.uint64)
    length_N = pc.fill_null(pc.list_value_length(cells), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    inner = code(pc.list_flatten(cells))
    row_A = np.repeat(np.arange(num_rows), length_N)
    place_A = np.arange(len(row_A)) - np.repeat(np.cumsum(length_N) - length_N, length_N)
    hash_A = mix(np.where(inner.valid_N, inner.keys_N, _NULL) + place_A.astype(np.uint64) * _STEP)
    hash_N = length_N.astype(np.uint64)
    np.add.at(hash_N, row_A, hash_A)
    return mix(hash_N)
