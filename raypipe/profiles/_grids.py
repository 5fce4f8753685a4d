"""Two small histograms that need no range beforehand and no order: even bins, and bins of a float's leading bits.

M values, B bins. A state is a function of the set of values alone: coarser even bins are unions of finer ones, because their
width is a power of two and they start at a multiple of it; a leading-bits bin is a function of the value. Together they place
a value within a thousandth of the range, and within 1/32 of itself, whichever is better.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_BINS = 1024
FINEST = -1000
_SIGN = 1 << 15
_SHIFT = np.uint64(48)  # leaves sign, 11 bits of exponent and 4 of the mantissa


@dataclass(frozen=True, kw_only=True)
class Bins:
    """Non-empty bins in ascending order: `count_B` values from `lower_B` to `upper_B`."""

    lower_B: NDArray[np.float64]
    upper_B: NDArray[np.float64]
    count_B: NDArray[np.int64]

    def within(self, low: float, high: float) -> "Bins":
        """The same with bounds no wider than the range of the values."""
        return replace(self, lower_B=np.maximum(self.lower_B, low), upper_B=np.minimum(self.upper_B, high))


@dataclass(frozen=True, kw_only=True)
class EvenBins:
    """Counts in at most `max_bins` bins of width 2**exponent; bin i holds i * width <= x < (i + 1) * width.

    The exponent is the smallest, from `finest` on, for which the range fits and places are whole numbers below 2**53.
    """

    max_bins: int
    finest: int
    exponent: int
    first: int
    count_B: NDArray[np.int64]

    @classmethod
    def of(cls, x_M: NDArray[np.float64], *, max_bins: int = MAX_BINS, finest: int = FINEST) -> "EvenBins":
        """Counts of finite values."""
        if not len(x_M):
            return cls(max_bins=max_bins, finest=finest, exponent=finest, first=0, count_B=np.empty(0, np.int64))
        low, high = float(x_M.min()), float(x_M.max())
        exponent = _exponent(low, high, max_bins, finest)
        place_M = np.floor(x_M * math.ldexp(1.0, -exponent)).astype(np.int64)
        if low < 0:
            place_M[(x_M < 0) & (place_M == 0)] = -1  # a product too small for a float
        first = _place(low, exponent)
        return cls(max_bins=max_bins, finest=finest, exponent=exponent, first=first, count_B=np.bincount(place_M - first))

    @classmethod
    def merge(cls, states: Sequence["EvenBins"]) -> "EvenBins":
        """Counts of all states; their order does not matter."""
        some = [state for state in states if len(state.count_B)]
        if not some:
            return states[0]
        exponent = max(state.exponent for state in some)
        while _last(some, exponent) - _first(some, exponent) >= some[0].max_bins:
            exponent += 1
        first = _first(some, exponent)
        count_B = np.zeros(_last(some, exponent) - first + 1, np.int64)
        for state in some:
            place_B = (state.first + np.arange(len(state.count_B))) >> (exponent - state.exponent)
            np.add.at(count_B, place_B - first, state.count_B)
        return replace(some[0], exponent=exponent, first=first, count_B=count_B)

    def bins(self) -> Bins:
        """Those that are not empty."""
        place_B = np.flatnonzero(self.count_B)
        with np.errstate(over="ignore"):
            lower_B = np.ldexp((self.first + place_B).astype(np.float64), self.exponent)
            upper_B = np.ldexp((self.first + place_B + 1).astype(np.float64), self.exponent)
        return Bins(lower_B=lower_B, upper_B=upper_B, count_B=self.count_B[place_B])

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "EvenBins":
        """Of the fields by name."""
        return cls(**plain)


@dataclass(frozen=True, kw_only=True)
class LeadingBits:
    """Counts by sign, exponent and 4 bits of the mantissa, which are `key_B`, ascending; `zeros` are counted apart."""

    zeros: int
    key_B: NDArray[np.int64]
    count_B: NDArray[np.int64]

    @classmethod
    def of(cls, x_M: NDArray[np.float64]) -> "LeadingBits":
        """Counts of finite values without -0.0."""
        zeros = len(x_M) - int(np.count_nonzero(x_M))
        count_A = np.bincount((x_M.view(np.uint64) >> _SHIFT).view(np.int64), minlength=1)
        count_A[0] -= zeros  # the others with this key are the least denormal numbers
        key_B = np.flatnonzero(count_A)
        return cls(zeros=zeros, key_B=key_B, count_B=count_A[key_B])

    @classmethod
    def merge(cls, states: Sequence["LeadingBits"]) -> "LeadingBits":
        """Counts of all states; their order does not matter."""
        count_A = np.zeros(1 << 16, np.int64)
        for state in states:
            count_A[state.key_B] += state.count_B
        key_B = np.flatnonzero(count_A)
        return cls(zeros=sum(state.zeros for state in states), key_B=key_B, count_B=count_A[key_B])

    def bins(self) -> Bins:
        """Those that are not empty."""
        inner_B, outer_B = (((self.key_B % _SIGN + more).astype(np.uint64) << _SHIFT).view(np.float64) for more in (0, 1))
        num_positive = int(np.searchsorted(self.key_B, _SIGN))
        above, below = slice(0, num_positive), slice(None, None if not num_positive else num_positive - 1, -1)
        zero = np.zeros(1 if self.zeros else 0)
        return Bins(
            lower_B=np.concatenate([-outer_B[below], zero, inner_B[above]]),
            upper_B=np.concatenate([-inner_B[below], zero, outer_B[above]]),
            count_B=np.concatenate([self.count_B[below], np.array([self.zeros][: len(zero)], np.int64), self.count_B[above]]),
        )

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "LeadingBits":
        """Of the fields by name."""
        return cls(**plain)


def quantiles(grids: Sequence[Bins], shares: Sequence[float]) -> list[float]:
    """Values below which these shares lie: between the middles of the narrowest bins that hold the two order statistics."""
    position_Q = np.array(shares) * (int(grids[0].count_B.sum()) - 1)
    below_Q = np.floor(position_Q)
    first_Q, second_Q = (_ordered(grids, rank_Q) for rank_Q in (below_Q, np.ceil(position_Q)))
    part_Q = position_Q - below_Q
    return (first_Q * (1 - part_Q) + second_Q * part_Q).tolist()  # type: ignore[no-any-return]


def counts_below(grids: Sequence[Bins], edge_E: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many values are below each of the ascending edges, evenly spread within the narrowest bin that holds an edge."""
    below_E, width_E = zip(*(_below(bins, edge_E) for bins in grids), strict=True)
    narrowest_E = np.argmin(width_E, axis=0)
    count_E = np.rint(np.choose(narrowest_E, below_E)).astype(np.int64)
    return np.maximum.accumulate(count_E)


def even_edges(low: float, high: float, *, max_bins: int, finest: int) -> NDArray[np.float64]:
    """Edges of the narrowest bins, at most `max_bins`, that hold `low` and `high`: multiples of a power of two."""
    exponent = _exponent(low, high, max_bins, finest)
    place_E = np.arange(_place(low, exponent), _place(high, exponent) + 2, dtype=np.float64)
    with np.errstate(over="ignore"):  # the last edge of the largest floats
        edge_E: NDArray[np.float64] = np.ldexp(place_E, exponent)
    return edge_E


def roundest(low: float, high: float, *, finest: int) -> float | None:
    """A multiple of a large power of two, from 2**`finest` on, between two numbers: the middle of an even bin."""
    if not low < high:
        return None
    coarsest = math.frexp(high / 2 - low / 2)[1]  # no more than their distance
    for exponent in range(coarsest, max(finest, coarsest - 55) - 1, -1):
        x = math.ldexp(math.floor(math.ldexp(low, -exponent)) + 1, exponent)
        if low < x < high:
            return x
    return None


def _exponent(low: float, high: float, max_bins: int, finest: int) -> int:
    top, span = max(-low, high), high / 2 - low / 2
    exponent = max(finest, math.frexp(top)[1] - 53) if top else finest
    if span:  # below this one the range cannot fit
        exponent = max(exponent, math.frexp(span)[1] - max_bins.bit_length() + 1)
    while _place(high, exponent) - _place(low, exponent) >= max_bins:
        exponent += 1
    return exponent


def _place(x: float, exponent: int) -> int:
    place = math.floor(math.ldexp(x, -exponent))
    return min(place, -1) if x < 0 else place


def _first(states: Sequence[EvenBins], exponent: int) -> int:
    return min(state.first >> (exponent - state.exponent) for state in states)


def _last(states: Sequence[EvenBins], exponent: int) -> int:
    return max((state.first + len(state.count_B) - 1) >> (exponent - state.exponent) for state in states)


def _ordered(grids: Sequence[Bins], rank_Q: NDArray[np.float64]) -> NDArray[np.float64]:
    places = [np.searchsorted(np.cumsum(bins.count_B), rank_Q, side="right") for bins in grids]
    lower_Q = reduce(np.maximum, [bins.lower_B[place_Q] for bins, place_Q in zip(grids, places, strict=True)])
    upper_Q = reduce(np.minimum, [bins.upper_B[place_Q] for bins, place_Q in zip(grids, places, strict=True)])
    middle_Q: NDArray[np.float64] = lower_Q / 2 + upper_Q / 2
    return middle_Q


def _below(bins: Bins, edge_E: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values below each edge, and the width of the bin that holds the edge: 0 where it is between bins."""
    place_E = np.searchsorted(bins.lower_B, edge_E, side="left") - 1  # the last bin that begins below the edge
    before_E = np.append(0, np.cumsum(bins.count_B))[np.maximum(place_E, 0)]
    bin_E = np.maximum(place_E, 0)
    width_E = bins.upper_B[bin_E] - bins.lower_B[bin_E]
    is_inside_E = (place_E >= 0) & (edge_E < bins.upper_B[bin_E])
    with np.errstate(over="ignore"):  # far from its bin, where an edge is not inside
        part_E = np.where(is_inside_E, (edge_E - bins.lower_B[bin_E]) / np.where(width_E > 0, width_E, 1.0), 1.0)
    below_E = np.where(place_E < 0, 0.0, before_E + bins.count_B[bin_E] * part_E)
    return below_E, np.where(is_inside_E, width_E, 0.0)
