"""A seeded hash of category values: the same 64 bits on every machine, in every process and in both back ends, for ever.

Text: BLAKE2b (RFC 7693) of its UTF-8 bytes, 8 bytes of digest read as a little-endian number; the seed is the salt (8
bytes, little-endian, then zeros), and ``raypipe string`` the personalisation. Whole numbers and booleans: the output of
SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014) at step `value` from a
state that is the BLAKE2b of nothing, with the same salt and ``raypipe int64`` or ``raypipe bool``. So "1", 1 and True
have nothing in common, and no two whole numbers have the same hash. N rows, D distinct values.
"""

import hashlib
from collections.abc import Iterable
from functools import cache
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

_GAMMA, _MIX_1, _MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MASK = 2**64 - 1
_FEW = 32  # below this many rows plain Python is faster than Arrow's dictionaries


def hash_value(value: str | int, *, seed: int) -> int:
    """Hash of one value, 0 to 2**64 - 1.

    Args:
        value: Text, a whole number of 64 bits, or a boolean.
        seed: 0 to 2**64 - 1; hashes under different seeds are unrelated.

    Raises:
        UnicodeEncodeError: for text with a lone surrogate, which has no UTF-8 bytes; Arrow refuses it too.
        OverflowError: for a seed out of range.
    """
    if isinstance(value, str):
        hasher = _hasher("string", seed).copy()
        hasher.update(value.encode())
        return int.from_bytes(hasher.digest(), "little")
    z = (_start("bool" if isinstance(value, bool) else "int64", seed) + (value + 1) * _GAMMA) & _MASK
    z = (z ^ (z >> 30)) * _MIX_1 & _MASK
    z = (z ^ (z >> 27)) * _MIX_2 & _MASK
    return z ^ (z >> 31)


def hash_columns(cells: pa.Array, *, seed: int) -> NDArray[np.uint64]:
    """`hash_value` of each cell, text once per distinct value; 0 for null, which is the caller's to handle.

    Args:
        cells: Text, int64 or booleans, perhaps dictionary-encoded.
        seed: As of `hash_value`.

    Raises:
        TypeError: for other types.
        OverflowError: for a seed out of range.
    """
    if pt.is_dictionary(cells.type) and len(cells) < len(cells.dictionary):
        cells = cells.dictionary_decode()  # a few rows of a large table may share its whole dictionary
    elif _is_text(cells.type) and len(cells) > _FEW:
        cells = cells.dictionary_encode()
    if not pt.is_dictionary(cells.type):
        return _hash_each(cells, seed)
    hash_D = np.append(_hash_each(cells.dictionary, seed), np.uint64(0))
    position_N = pc.fill_null(cells.indices.cast(pa.int64()), len(cells.dictionary)).to_numpy(zero_copy_only=False)
    hash_N: NDArray[np.uint64] = hash_D[position_N]
    return hash_N


def bucket(hashed: int, num: int) -> int:
    """``hash % num``, 0 to `num` - 1; uneven by at most `num` / 2**64."""
    return hashed % num


def buckets(hashed_N: NDArray[np.uint64], num: int) -> NDArray[np.int64]:
    """`bucket` of each hash."""
    return (hashed_N % np.uint64(num)).astype(np.int64)


def _hash_each(cells: pa.Array, seed: int) -> NDArray[np.uint64]:
    if _is_text(cells.type):
        return _hash_texts(cells.to_pylist(), _hasher("string", seed))
    if not (pt.is_boolean(cells.type) or pt.is_int64(cells.type)):
        raise TypeError(f"only text, int64 and booleans have a hash, not {cells.type}")
    value_N = pc.fill_null(cells.cast(pa.int64()), 0).to_numpy(zero_copy_only=False).astype(np.uint64)
    z_N = np.uint64(_start("bool" if pt.is_boolean(cells.type) else "int64", seed)) + (value_N + np.uint64(1)) * np.uint64(
        _GAMMA
    )
    z_N = (z_N ^ (z_N >> np.uint64(30))) * np.uint64(_MIX_1)
    z_N = (z_N ^ (z_N >> np.uint64(27))) * np.uint64(_MIX_2)
    return np.where(cells.is_valid().to_numpy(zero_copy_only=False), z_N ^ (z_N >> np.uint64(31)), np.uint64(0))


def _hash_texts(texts: Iterable[str | None], hasher: "hashlib.blake2b") -> NDArray[np.uint64]:
    def digest(text: str | None) -> bytes:
        if text is None:
            return bytes(8)
        one = hasher.copy()
        one.update(text.encode())
        return one.digest()

    return np.frombuffer(b"".join(map(digest, texts)), "<u8").astype(np.uint64)


def _is_text(found: pa.DataType) -> bool:
    return bool(pt.is_string(found) or pt.is_large_string(found) or pt.is_string_view(found))


@cache
def _hasher(kind: Literal["string", "int64", "bool"], seed: int) -> "hashlib.blake2b":
    """Only ever copied: a copy takes half the time of a new one with a salt."""
    return hashlib.blake2b(digest_size=8, salt=seed.to_bytes(8, "little"), person=f"raypipe {kind}".encode())


@cache
def _start(kind: Literal["int64", "bool"], seed: int) -> int:
    return int.from_bytes(_hasher(kind, seed).digest(), "little")
