"""What a profile says of a column's values, by kind: small, plain, readable."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from raypipe.core.config import config
from raypipe.core.kinds import Kind
from raypipe.profiles._details import Detail, ListDetail, NumberDetail, TimeDetail, ValueDetail
from raypipe.profiles._grids import FINEST, Bins, counts_below, even_edges, quantiles, roundest

SHARES = (0.0, 0.01, *(i / 20 for i in range(1, 20)), 0.99, 1.0)
_INNER_BINS = 48
_CUTS, _HEAVY, _ALL = 16, 1 / 20, 0.98
_LARGEST_WHOLE = 2.0**53
_TOP_VALUES, _TOP_BYTES, _LONG_TEXT = 50, 3000, 64


@config
class NumberProfile:
    """Numbers; a duration is in seconds.

    Attributes:
        nan: Rows with NaN, which are not counted among the null ones.
        infinite: Rows with an infinity, left out of what follows.
        min: The least value.
        max: The largest value.
        mean: Their mean.
        std: Standard deviation over N; none where it is too large for a float.
        quantiles: At `SHARES`: each of values within a thousandth of the range, and within 1/32 of themselves.
        edges: Of a histogram: multiples of a power of two from the 1 % to the 99 % quantile, and one bin on either side; a bin
            of more than a twentieth is halved, up to 16 times in all. So edges of two profiles of a column fall on each other.
            A bin holds edge <= x < next edge, the last one its upper edge too.
        counts: Of the bins; estimated where an edge is within a bin of what was kept.
    """

    nan: int
    infinite: int
    min: float | None
    max: float | None
    mean: float | None
    std: float | None
    quantiles: tuple[float, ...]
    edges: tuple[float, ...]
    counts: tuple[int, ...]


@config
class ValueProfile:
    """Categories.

    Attributes:
        top: Values and counts, most frequent first: 50, fewer if long. A text of more than 64 characters is cut, and has its
            digest at its end.
        other: Rows that `top` does not count.
        error: A value of `top` may occur so many times more; 0 unless there are more than 1,000 values.
        distinct: At least and at most so many distinct values.
    """

    top: tuple[tuple[str | int | bool, int], ...]
    other: int
    error: int
    distinct: tuple[int, int]


@config
class TimeProfile:
    """Timestamps in UTC, or dates: range, and counts by spans of `days_per_bin` days from `first_day` on."""

    min: str | None
    max: str | None
    first_day: str | None
    days_per_bin: int
    counts: tuple[int, ...]


@config
class ListProfile:
    """Lengths of the lists or bytes that are there, and how many elements there are and are missing (null or NaN).

    `counts` are of lists by their length, in steps of `lengths_per_bin` from `first_length` on.
    """

    min_length: int | None
    max_length: int | None
    mean_length: float | None
    elements: int
    missing_elements: int
    first_length: int | None = None
    lengths_per_bin: int = 1
    counts: tuple[int, ...] = ()


Report = NumberProfile | ValueProfile | TimeProfile | ListProfile
REPORTS: Mapping[Kind, type[Report]] = MappingProxyType(
    {
        "float64": NumberProfile,
        "int64": NumberProfile,
        "duration": NumberProfile,
        "string": ValueProfile,
        "bool": ValueProfile,
        "date": TimeProfile,
        "timestamp": TimeProfile,
        "list<string>": ListProfile,
        "list<int64>": ListProfile,
        "vector": ListProfile,
        "binary": ListProfile,
    }
)


def report(detail: Detail, *, kind: Kind, nulls: int) -> Report:
    """The report of one column's values."""
    if isinstance(detail, NumberDetail):
        return _of_numbers(detail, nulls)
    if isinstance(detail, ValueDetail):
        return _of_values(detail)
    return _of_times(detail, kind) if isinstance(detail, TimeDetail) else _of_lists(detail)


def _of_numbers(detail: NumberDetail, nulls: int) -> NumberProfile:
    m = detail.moments
    head = {"nan": m.nulls - nulls, "infinite": m.infinite}
    if m.min is None or m.max is None:
        return NumberProfile(**head, min=None, max=None, mean=None, std=None, quantiles=(), edges=(), counts=())
    whole = detail.whole and max(-m.min, m.max) < _LARGEST_WHOLE
    quantile_Q = quantiles_of(detail, SHARES)
    edge_E = _edges(quantile_Q, whole=whole)
    bins = [grid.bins().within(m.min, m.max + 1 if whole else m.max) for grid in (detail.even, detail.leading)]
    below_E = counts_below(bins, edge_E)
    below_E[0], below_E[-1] = 0, m.count
    edge_E, below_E = _finer(bins, edge_E, below_E, finest=0 if whole else FINEST)
    return NumberProfile(
        **head,
        min=m.min,
        max=m.max,
        mean=m.mean,
        std=m.deviation if math.isfinite(m.deviation) else None,
        quantiles=tuple(quantile_Q),
        edges=tuple(edge_E.tolist()),
        counts=tuple(np.diff(below_E).tolist()),
    )


def quantiles_of(detail: NumberDetail, shares: Sequence[float]) -> list[float]:
    """Values below which these shares of the numbers lie, as near as `NumberProfile.quantiles`; none without numbers."""
    low, high = detail.moments.min, detail.moments.max
    if low is None or high is None:
        return []
    even = detail.even.bins()
    if detail.whole:  # a bin ends with its last whole number
        even = replace(even, upper_B=np.maximum(np.ceil(even.upper_B) - 1, even.lower_B))
    found = quantiles([even.within(low, high), detail.leading.bins().within(low, high)], shares)
    ends = {0.0: low, 1.0: high}
    return [ends[share] if share in ends else _rounded(x, low, high) for share, x in zip(shares, found, strict=True)]


def _edges(quantile_Q: list[float], *, whole: bool) -> NDArray[np.float64]:
    low, first, last, high = (quantile_Q[i] for i in (0, 1, -2, -1))
    inner_E = even_edges(first, last, max_bins=_INNER_BINS, finest=0 if whole else FINEST)
    end = high + 1 if whole else high
    return np.concatenate([[low], inner_E[(inner_E > low) & (inner_E < end)], [end]])


def _finer(
    grids: Sequence[Bins], edge_E: NDArray[np.float64], below_E: NDArray[np.int64], *, finest: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The same edges and counts below them, with the heaviest bins cut in two; not where nearly all stays on one side."""
    whole: set[float] = set()
    for _ in range(_CUTS):
        count_B = np.where(np.isin(edge_E[:-1], list(whole)), 0, np.diff(below_E))
        heaviest = int(count_B.argmax())
        if count_B[heaviest] <= _HEAVY * below_E[-1]:
            break
        lower, upper = float(edge_E[heaviest]), float(edge_E[heaviest + 1])
        middle = roundest(lower, upper, finest=finest)
        if middle is None:
            whole.add(lower)
            continue
        below = int(np.clip(counts_below(grids, np.array([middle]))[0], below_E[heaviest], below_E[heaviest + 1]))
        edge_E, below_E = np.insert(edge_E, heaviest + 1, middle), np.insert(below_E, heaviest + 1, below)
        left, right = (int(below_E[i + 1] - below_E[i]) for i in (heaviest, heaviest + 1))
        whole |= {edge for edge, num in ((lower, left), (middle, right)) if num > _ALL * (left + right)}
    return edge_E, below_E


def _rounded(x: float, low: float, high: float) -> float:
    """Nine digits, unless the range is small beside the values."""
    return float(f"{x:.9g}") if abs(x) / 1000 <= high - low else x


def _of_values(detail: ValueDetail) -> ValueProfile:
    found = detail.kept.most_frequent(max_size=_TOP_VALUES)
    top, size = [], 0
    for value, count in zip(found.values.to_pylist(), found.counts_D.tolist(), strict=True):
        shown = _shortened(value) if isinstance(value, str) else value
        size += len(json.dumps([shown, count])) + 2
        if size > _TOP_BYTES:
            break
        top.append((shown, count))
    other = detail.rows - sum(count for _, count in top)
    distinct = (detail.distinct_low, detail.distinct_high)
    return ValueProfile(top=tuple(top), other=other, error=detail.error, distinct=distinct)


def _shortened(text: str) -> str:
    if len(text) <= _LONG_TEXT:
        return text
    return f"{text[:40]}... sha256:{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _of_times(detail: TimeDetail, kind: Kind) -> TimeProfile:
    days = detail.days
    return TimeProfile(
        min=_instant(detail.low_us, kind),
        max=_instant(detail.high_us, kind),
        first_day=None if detail.low_us is None else str(np.datetime64(days.first << days.exponent, "D")),
        days_per_bin=1 << days.exponent,
        counts=tuple(days.count_B.tolist()),
    )


def _instant(us: int | None, kind: Kind) -> str | None:
    if us is None:
        return None
    instant = np.datetime64(us, "us")
    return str(instant.astype("datetime64[D]")) if kind == "date" else f"{instant}Z"


def _of_lists(detail: ListDetail) -> ListProfile:
    lengths, bins = detail.lengths, detail.bins
    return ListProfile(
        min_length=None if lengths.min is None else int(lengths.min),
        max_length=None if lengths.max is None else int(lengths.max),
        mean_length=lengths.mean if lengths.count else None,
        elements=detail.elements,
        missing_elements=detail.missing_elements,
        first_length=None if lengths.min is None else bins.first << bins.exponent,
        lengths_per_bin=1 << bins.exponent,
        counts=tuple(bins.count_B.tolist()),
    )
