"""How many distinct values a column has, in one pass and a few KB: the smallest hashes of its values.

Bar-Yossef et al., "Counting distinct elements in a data stream", 2002: where the hashes of all distinct values are even in 0 to
1, the k-th smallest is about k / their number. N values, K kept hashes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.types as pt
from numpy.typing import NDArray

_MAX_KEPT = 1024
_TILE = 8192  # values looked at together: a sort of so many costs less than a hash table of all
_SHIFT, _MIX = np.uint64(32), np.uint64(0xD6E8FEB86659FD93)


@dataclass(frozen=True, kw_only=True, eq=False)
class Distincts:
    """The 1,024 smallest hashes of a column's values; neither the order of rows nor of chunks matters.

    The hashes are those of one version of Polars: states of one pass merge, and none is kept in a file.
    """

    hash_K: NDArray[np.uint64]

    @classmethod
    def of(cls, cells: pa.Array) -> "Distincts":
        """Of one chunk of scalars; nulls and NaN are no values."""
        plain = cells.dictionary_decode() if pt.is_dictionary(cells.type) else cells
        values = pl.Series(pl.from_arrow(plain.drop_null()))
        values = values.filter(values.is_not_nan()) if values.dtype.is_float() else values
        hash_N = _mixed(values.hash().to_numpy()) if len(values) else np.empty(0, np.uint64)
        return cls(hash_K=_smallest(hash_N[start : start + _TILE] for start in range(0, len(hash_N), _TILE)))

    @classmethod
    def merge(cls, states: Sequence["Distincts"]) -> "Distincts":
        """Of all chunks."""
        return cls(hash_K=_smallest(state.hash_K for state in states))

    @property
    def is_exact(self) -> bool:
        """Whether `estimate` is the number itself: up to 1,023 values."""
        return len(self.hash_K) < _MAX_KEPT

    @property
    def estimate(self) -> int:
        """Distinct values; beyond 1,023 within about 3 % of their number two times in three, never less than 1,024."""
        if self.is_exact:
            return len(self.hash_K)
        largest = (float(self.hash_K[-1]) + 1) / 2.0**64
        return max(_MAX_KEPT, round((_MAX_KEPT - 1) / largest))


def _smallest(tiles: Iterator[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    hash_K = np.empty(0, np.uint64)
    for hash_T in tiles:
        new = hash_T if len(hash_K) < _MAX_KEPT else hash_T[hash_T < hash_K[-1]]
        if len(new):  # np.unique hashes first, which takes longer than the sort
            sorted_T = np.sort(np.concatenate([hash_K, new]))
            hash_K = sorted_T[np.append(True, sorted_T[1:] != sorted_T[:-1])][:_MAX_KEPT]
    return hash_K


def _mixed(hash_N: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """All bits of each hash in all its bits: Polars promises different hashes, not even ones."""
    for _ in range(2):
        hash_N = (hash_N ^ (hash_N >> _SHIFT)) * _MIX
    mixed_N: NDArray[np.uint64] = hash_N ^ (hash_N >> _SHIFT)
    return mixed_N
