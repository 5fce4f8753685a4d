"""The distribution of a number: exact counts of distinct values while these are few, else counts over bins.

N rows, M of them present and finite, D distinct values or bins. A bin is what a float shares
with others in its leading bits: sign, exponent and 10 bits of the mantissa. A value differs from its bin's middle by at most
2^-11 of itself (by 2^-1033 below the least normal number, 2^-1022). A bin is a function of the value alone, so binning after
merging is merging after binning; and counts are whole numbers, so that no order and no splitting of rows changes a state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raypipe.profiles import Moments

MAX_EXACT_VALUES = 100_000
_BIN_SHIFT = 42  # leaves sign, 11 bits of exponent and 10 of the mantissa
_MANTISSA_BITS = 10
_NEAR_INTEGERS = 2**20  # whole numbers within so wide a range are counted by place
_SLOT_BITS = 20
_GOLDEN = np.int64(-0x61C8864680B583EB)  # 2^64 / golden ratio: Fibonacci hashing, Knuth, TAOCP 3, 6.4


@dataclass(frozen=True, kw_only=True)
class ValueCounts:
    """Sorted distinct finite values and how often each occurs; middles of bins in their place if `binned`.

    A state is binned if and only if the values that it has seen, in any order and through any merges, are more than
    `MAX_EXACT_VALUES` distinct ones. `low` and `high` are the exact range then, and None before.
    """

    values_D: NDArray[np.float64]
    counts_D: NDArray[np.int64]
    binned: bool = False
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, x_N: NDArray[np.float64]) -> "ValueCounts":
        """Counts of one chunk; NaN and infinities are left out, and -0.0 is 0.0."""
        with np.errstate(over="ignore", invalid="ignore"):
            x_M = np.add(x_N, 0.0)
            all_finite = np.isfinite(np.add.reduce(x_M))  # neither NaN nor an infinity leaves a finite sum
        if not all_finite:
            x_M = x_M[np.isfinite(x_M)]
        if not len(x_M):
            return cls(values_D=x_M, counts_D=np.empty(0, np.int64))
        low, high = float(x_M.min()), float(x_M.max())
        if high - low < _NEAR_INTEGERS and max(-low, high) < 2**52:
            place_M = x_M.astype(np.int64)
            if np.array_equal(place_M, x_M):
                return _of_integers(place_M, int(low))._bounded()
        if _surely_many(x_M):
            return _in_bins(x_M, low, high)
        coded = pa.array(x_M).dictionary_encode()
        values_D, count_D = coded.dictionary.to_numpy(), np.bincount(coded.indices.to_numpy())
        order = np.argsort(values_D)
        return cls(values_D=values_D[order], counts_D=count_D[order])._bounded()

    @classmethod
    def merge(cls, states: Sequence["ValueCounts"]) -> "ValueCounts":
        """Counts of all states; their order does not matter."""
        if len(states) == 1:
            return states[0]
        binned = any(state.binned for state in states)
        states = [state._in_bins() for state in states] if binned else states
        values_A = np.concatenate([state.values_D for state in states])
        order = np.argsort(values_A, kind="stable")  # merges runs that are sorted already
        counts_A = np.concatenate([state.counts_D for state in states])[order]
        low = min((state.low for state in states if state.low is not None), default=None)
        high = max((state.high for state in states if state.high is not None), default=None)
        return _summed(values_A[order], counts_A, replace(states[0], binned=binned, low=low, high=high))._bounded()

    def merged(self, other: "ValueCounts") -> "ValueCounts":
        """Counts of both; of many states at once, `merge` is faster."""
        return ValueCounts.merge([self, other])

    @property
    def count(self) -> int:
        """How many values there are, each as often as it occurs."""
        return int(self.counts_D.sum())

    def quantile(self, q: float) -> float:
        """The value below which a share `q` lies: NumPy's `linear` interpolation between order statistics; NaN without any.

        Exact to rounding, or if `binned` between values that are each within 2^-11 of the true ones; the least and the
        largest are exact.
        """
        if not len(self.values_D):
            return float("nan")
        upto_D = np.cumsum(self.counts_D)
        position = q * (int(upto_D[-1]) - 1)
        below = int(position)
        share = position - below
        last = int(upto_D[-1]) - 1
        first, second = self._shown()[np.searchsorted(upto_D, [below, min(below + 1, last)], side="right")].tolist()
        if self.low is not None and self.high is not None:  # the least and the largest are known exactly
            first = self.low if below == 0 else self.high if below == last else first
            second = self.high if below + 1 >= last else second
        return _between(first, second, share)

    def median(self) -> float:
        """The middle value, or the middle between the two middle ones; NaN without values."""
        return self.quantile(0.5)

    def moments(self, low: float, high: float) -> Moments:
        """Moments of the values clipped to `low` to `high`; their range is exact."""
        kept = self.clipped(low, high)
        found = Moments.of_counts(kept.values_D, kept.counts_D)
        return found if kept.low is None or kept.high is None else replace(found, min=kept.low, max=kept.high)

    def clipped(self, low: float, high: float) -> "ValueCounts":
        """The values clipped to `low` to `high`."""
        ends = [None if end is None else float(np.clip(end, low, high)) + 0.0 for end in (self.low, self.high)]
        return replace(self, values_D=np.clip(self._shown(), low, high), low=ends[0], high=ends[1])

    def to_plain(self) -> dict[str, Any]:
        """JSON scalars and arrays."""
        return dict(vars(self))

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "ValueCounts":
        """The inverse of `to_plain`."""
        return cls(**plain)

    def _shown(self) -> NDArray[np.float64]:
        """Values, and for bins their middles within the range."""
        return self.values_D if self.low is None else np.clip(self.values_D, self.low, self.high)

    def _bounded(self) -> "ValueCounts":
        return self._in_bins() if len(self.values_D) > MAX_EXACT_VALUES else self

    def _in_bins(self) -> "ValueCounts":
        if self.binned or not len(self.values_D):
            return replace(self, binned=True)
        middle_D = _middle(self.values_D.view(np.uint64) >> np.uint64(_BIN_SHIFT))
        middle_D[self.values_D == 0] = 0.0
        low, high = float(self.values_D[0]), float(self.values_D[-1])
        return _summed(middle_D, self.counts_D, replace(self, binned=True, low=low, high=high))


def _of_integers(place_M: NDArray[np.int64], low: int) -> ValueCounts:
    place_M -= low
    count_A = np.bincount(place_M)
    place_D = np.flatnonzero(count_A)
    return ValueCounts(values_D=(place_D + low).astype(np.float64), counts_D=count_A[place_D])


def _surely_many(x_M: NDArray[np.float64]) -> bool:
    """Whether there are more than `MAX_EXACT_VALUES` distinct values for sure: so many slots of a hash table are taken."""
    if len(x_M) <= MAX_EXACT_VALUES:
        return False
    taken = np.zeros(1 << _SLOT_BITS, np.bool_)
    taken[((x_M.view(np.int64) * _GOLDEN).view(np.uint64) >> np.uint64(64 - _SLOT_BITS)).view(np.int64)] = True
    return int(np.count_nonzero(taken)) > MAX_EXACT_VALUES


def _in_bins(x_M: NDArray[np.float64], low: float, high: float) -> ValueCounts:
    """What `ValueCounts._in_bins` gives, without sorting: counts over the mantissas of those exponents that occur."""
    key_M = (x_M.view(np.uint64) >> np.uint64(_BIN_SHIFT)).view(np.int64)
    exponent_M = key_M >> _MANTISSA_BITS
    used_K = np.flatnonzero(np.bincount(exponent_M))
    slot_E = np.zeros(1 << 12, np.int64)
    slot_E[used_K] = (np.arange(len(used_K)) - used_K) << _MANTISSA_BITS
    count_A = np.bincount(key_M + slot_E[exponent_M])
    place_D = np.flatnonzero(count_A)
    key_D = (used_K[place_D >> _MANTISSA_BITS] << _MANTISSA_BITS) | (place_D & ((1 << _MANTISSA_BITS) - 1))
    values_D, count_D = _middle(key_D.view(np.uint64)), count_A[place_D]
    zeros = len(x_M) - int(np.count_nonzero(x_M))
    if zeros:  # the first bin holds the least denormal numbers, too
        values_D, count_D = np.append(0.0, values_D), np.append(zeros, count_D)
        count_D[1] -= zeros
    num_positive = len(values_D) - int(np.count_nonzero(values_D < 0))  # negative ones follow, from 0 downwards
    order = np.append(np.arange(len(values_D) - 1, num_positive - 1, -1), np.arange(num_positive))
    order = order[count_D[order] > 0]
    return ValueCounts(values_D=values_D[order], counts_D=count_D[order], binned=True, low=low, high=high)


def _middle(key_D: NDArray[np.uint64]) -> NDArray[np.float64]:
    return ((key_D << np.uint64(_BIN_SHIFT)) | np.uint64(1 << (_BIN_SHIFT - 1))).view(np.float64)


def _summed(values_A: NDArray[np.float64], counts_A: NDArray[np.int64], like: ValueCounts) -> ValueCounts:
    """Counts of equal neighbours added up."""
    if not len(values_A):
        return replace(like, values_D=values_A, counts_D=counts_A)
    first_D = np.flatnonzero(np.append(True, values_A[1:] != values_A[:-1]))
    return replace(like, values_D=values_A[first_D], counts_D=np.add.reduceat(counts_A, first_D))


def _between(first: float, second: float, share: float) -> float:
    """Linear interpolation as NumPy's `quantile` does it, and without overflow: within both, from either end."""
    step = second - first
    if abs(step) == float("inf"):
        return first * (1 - share) + second * share
    return first + step * share if share < 0.5 else second - step * (1 - share)
