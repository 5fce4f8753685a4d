"""Sums by key in bounded memory: what every rank statistic and every target rate of a column is made of.

A key is 64 bits whose order, or hash, is that of a value. With more distinct keys than `limit` their last bits are cut off, as
many as are needed and no more, so numbers that are near each other, or categories by chance, share a key. That is a function of
the set of keys alone: no order and no cut of the rows changes a state (Karnin, Lang and Liberty's sketches bound the rank
error as well, but depend on the order). N rows, D keys, F folds, V values.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

MAX_CELLS = 1 << 17
"""Numbers that a table holds at most: 1 MiB; of a binary label, with four folds, 16,384 values."""


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Sums of V values by key and fold.

    Attributes:
        keys_D: Distinct keys in order, without their last `shift` bits.
        sums_DFV: Sums of the rows with that key.
        shift: Bits that were cut off.
        limit: Most keys.
    """

    keys_D: NDArray[np.uint64]
    sums_DFV: NDArray[np.float64]
    shift: int
    limit: int

    @classmethod
    def of(
        cls, keys_N: NDArray[np.uint64], values_NV: NDArray[np.float64], folds_N: NDArray[np.int64], num_folds: int
    ) -> "Sums":
        """The sums of one chunk."""
        coded = pa.array(keys_N).dictionary_encode()
        found_D = coded.dictionary.to_numpy()
        order = np.argsort(found_D)
        place_D = np.empty_like(order)
        place_D[order] = np.arange(len(order))
        cells, num_values = len(order) * num_folds, values_NV.shape[1]
        cell_N = place_D[coded.indices.to_numpy()] * num_folds + folds_N
        sums_VC = [np.bincount(cell_N, weights=values_NV[:, v], minlength=cells) for v in range(num_values)]
        sums_DFV = np.stack(sums_VC, axis=-1).astype(np.float64).reshape(len(order), num_folds, num_values)
        limit = MAX_CELLS // (num_folds * num_values)
        return cls(keys_D=found_D[order], sums_DFV=sums_DFV, shift=0, limit=limit)._bounded()

    @classmethod
    def merge(cls, states: Sequence["Sums"]) -> "Sums":
        """The sums of all chunks."""
        shift = max(state.shift for state in states)
        keys_A = np.concatenate([state.keys_D >> np.uint64(shift - state.shift) for state in states])
        sums_AFV = np.concatenate([state.sums_DFV for state in states])
        order = np.argsort(keys_A, kind="stable")  # merges runs that are sorted already
        return _summed(keys_A[order], sums_AFV[order], shift=shift, limit=states[0].limit)._bounded()

    @property
    def exact(self) -> bool:
        """Whether each key stands for one value, hashes that collide apart."""
        return self.shift == 0

    def _bounded(self) -> "Sums":
        shift = 0
        while _num_distinct(self.keys_D >> np.uint64(shift)) > self.limit:
            shift += 1
        if not shift:
            return self
        return _summed(self.keys_D >> np.uint64(shift), self.sums_DFV, shift=self.shift + shift, limit=self.limit)


def _num_distinct(sorted_A: NDArray[np.uint64]) -> int:
    return int(np.count_nonzero(sorted_A[1:] != sorted_A[:-1])) + min(1, len(sorted_A))


def _summed(keys_A: NDArray[np.uint64], sums_AFV: NDArray[np.float64], *, shift: int, limit: int) -> Sums:
    """Sums of equal neighbours added up."""
    if len(keys_A):
        first_D = np.flatnonzero(np.append(True, keys_A[1:] != keys_A[:-1]))
        keys_A, sums_AFV = keys_A[first_D], np.add.reduceat(sums_AFV, first_D, axis=0)
    return Sums(keys_D=keys_A, sums_DFV=sums_AFV, shift=shift, limit=limit)
