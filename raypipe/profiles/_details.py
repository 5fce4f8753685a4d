"""What a profile keeps of a column's values, by kind: numbers, categories, times, lists. All merge; M values are present."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from raypipe.core.kinds import kind_of
from raypipe.profiles._counts import CategoryCounts
from raypipe.profiles._grids import EvenBins, LeadingBits
from raypipe.profiles._moments import Moments

MAX_KEPT = 1000
MAX_DAY_BINS = 64
_MAX_LENGTH_BINS = 64
_DAY_US = 86_400_000_000


@dataclass(frozen=True, kw_only=True)
class NumberDetail:
    """Moments in chunk order, and two histograms that know no order. `whole` is true where all values are whole numbers."""

    moments: Moments
    whole: bool
    even: EvenBins
    leading: LeadingBits

    @classmethod
    def of(cls, x_N: NDArray[np.float64]) -> "NumberDetail":
        """Of one chunk; NaN is a missing value."""
        moments = Moments.of(x_N)
        x_M = x_N + 0.0 if moments.count == len(x_N) else x_N[np.isfinite(x_N)] + 0.0  # -0.0 is 0.0
        whole = bool((np.floor(x_M) == x_M).all())
        return cls(moments=moments, whole=whole, even=EvenBins.of(x_M), leading=LeadingBits.of(x_M))

    @classmethod
    def merge(cls, states: Sequence["NumberDetail"]) -> "NumberDetail":
        """Of all chunks."""
        return cls(
            moments=Moments.merge(state.moments for state in states),
            whole=all(state.whole for state in states),
            even=EvenBins.merge([state.even for state in states]),
            leading=LeadingBits.merge([state.leading for state in states]),
        )

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "NumberDetail":
        """Of the fields by name."""
        return cls(
            moments=Moments.from_plain(plain["moments"]),
            whole=plain["whole"],
            even=EvenBins.from_plain(plain["even"]),
            leading=LeadingBits.from_plain(plain["leading"]),
        )


@dataclass(frozen=True, kw_only=True)
class ValueDetail:
    """Counts of at most `max_kept` values: those of Misra and Gries, merged as in Agarwal et al., "Mergeable summaries", 2012.

    A value that is kept occurs `counts` to `counts + error` times, any other one at most `error` times, and `error` is at most
    rows / (max_kept + 1). Without an error nothing was dropped, and the order of chunks does not matter.
    """

    kept: CategoryCounts
    rows: int
    error: int
    distinct_low: int
    distinct_high: int
    max_kept: int = MAX_KEPT

    @classmethod
    def of(cls, cells: pa.Array, *, max_kept: int = MAX_KEPT) -> "ValueDetail":
        """Of one chunk, dictionary-encoded or not."""
        found = CategoryCounts.of(cells)
        if pa.types.is_dictionary(cells.type):  # which may hold a value twice
            coded = found.values.dictionary_encode()
            count_D = np.zeros(len(coded.dictionary), np.int64)
            np.add.at(count_D, coded.indices.to_numpy(), found.counts_D)
            found = replace(found, values=coded.dictionary, counts_D=count_D)
        num = len(found.counts_D)
        kept = replace(found, distinct=True)
        return _bounded(cls(kept=kept, rows=found.rows, error=0, distinct_low=num, distinct_high=num, max_kept=max_kept))

    @classmethod
    def merge(cls, states: Sequence["ValueDetail"]) -> "ValueDetail":
        """Of all chunks."""
        kept = CategoryCounts.merge([state.kept for state in states], name="*")
        error = sum(state.error for state in states)
        merged = cls(
            kept=kept,
            rows=sum(state.rows for state in states),
            error=error,
            distinct_low=max(len(kept.counts_D), *(state.distinct_low for state in states)),
            distinct_high=sum(state.distinct_high for state in states) if error else len(kept.counts_D),
            max_kept=states[0].max_kept,
        )
        return _bounded(merged)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "ValueDetail":
        """Of the fields by name."""
        return cls(**{**plain, "kept": CategoryCounts.from_plain(plain["kept"])})


@dataclass(frozen=True, kw_only=True)
class TimeDetail:
    """Range in microseconds (dates: of midnight) since 1970 UTC, and counts by spans of days; no order matters."""

    low_us: int | None
    high_us: int | None
    days: EvenBins

    @classmethod
    def of(cls, cells: pa.Array) -> "TimeDetail":
        """Of one chunk of timestamps or dates."""
        if pa.types.is_date(cells.type):
            us_M = cells.drop_null().cast(pa.date32()).cast(pa.int32()).to_numpy().astype(np.int64) * _DAY_US
        else:
            us_M = cells.drop_null().cast(pa.timestamp("us", cells.type.tz), safe=False).cast(pa.int64()).to_numpy()
        days = EvenBins.of((us_M // _DAY_US).astype(np.float64), max_bins=MAX_DAY_BINS, finest=0)
        some = len(us_M) > 0
        return cls(low_us=int(us_M.min()) if some else None, high_us=int(us_M.max()) if some else None, days=days)

    @classmethod
    def merge(cls, states: Sequence["TimeDetail"]) -> "TimeDetail":
        """Of all chunks."""
        return cls(
            low_us=min((state.low_us for state in states if state.low_us is not None), default=None),
            high_us=max((state.high_us for state in states if state.high_us is not None), default=None),
            days=EvenBins.merge([state.days for state in states]),
        )

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "TimeDetail":
        """Of the fields by name."""
        return cls(**{**plain, "days": EvenBins.from_plain(plain["days"])})


@dataclass(frozen=True, kw_only=True)
class ListDetail:
    """Lengths of the lists that are there, and how many elements are missing (null or NaN)."""

    lengths: Moments
    bins: EvenBins
    elements: int
    missing_elements: int

    @classmethod
    def of(cls, cells: pa.Array) -> "ListDetail":
        """Of one chunk of lists, vectors or bytes."""
        is_bytes = kind_of(cells.type) == "binary"
        lengths = (pc.binary_length if is_bytes else pc.list_value_length)(cells).drop_null().cast(pa.float64()).to_numpy()
        bins = EvenBins.of(lengths, max_bins=_MAX_LENGTH_BINS, finest=0)
        if is_bytes:
            return cls(lengths=Moments.of(lengths), bins=bins, elements=int(lengths.sum()), missing_elements=0)
        elements = cells.flatten()
        missing = int(pc.sum(elements.is_null(nan_is_null=True), min_count=0).as_py())
        return cls(lengths=Moments.of(lengths), bins=bins, elements=len(elements), missing_elements=missing)

    @classmethod
    def merge(cls, states: Sequence["ListDetail"]) -> "ListDetail":
        """Of all chunks."""
        return cls(
            lengths=Moments.merge(state.lengths for state in states),
            bins=EvenBins.merge([state.bins for state in states]),
            elements=sum(state.elements for state in states),
            missing_elements=sum(state.missing_elements for state in states),
        )

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "ListDetail":
        """Of the fields by name."""
        lengths, bins = Moments.from_plain(plain["lengths"]), EvenBins.from_plain(plain["bins"])
        return cls(**{**plain, "lengths": lengths, "bins": bins})


Detail = NumberDetail | ValueDetail | TimeDetail | ListDetail


def _bounded(detail: ValueDetail) -> ValueDetail:
    """At most `max_kept` counts, by taking the largest one that must go from all."""
    kept = detail.kept
    excess = len(kept.counts_D) - detail.max_kept
    if excess <= 0:
        return detail
    taken = int(np.partition(kept.counts_D, excess - 1)[excess - 1])
    places = np.flatnonzero(kept.counts_D > taken)
    fewer = replace(kept, values=kept.values.take(pa.array(places)), counts_D=kept.counts_D[places] - taken)
    return replace(detail, kept=fewer, error=detail.error + taken)
