"""How far a column moved from one profile to another: the one implementation, for contracts, pages and monitoring.

G groups of values, E edges. The population stability index is the sum over groups of (q - p) * ln(q / p), with p and q the
shares of a group before and after; by custom, below 0.1 nothing moved, and above 0.25 much did. It is taken over the values
that are there: nulls have a figure of their own. Two samples of n rows of one source give about 2 (G - 1) / n by chance.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from raypipe.core.errors import ConfigError
from raypipe.profiles._grids import FINEST, even_edges
from raypipe.profiles._profile import ColumnProfile
from raypipe.profiles._reports import ListProfile, NumberProfile, Report, TimeProfile, ValueProfile

_GROUPS = 10
_LEAST_SHARE = 1e-4  # of an empty group, as is the custom: its logarithm stays finite
_GUESS = 0.04  # an edge that the other side knows is taken over one that is so much nearer to a decile
_MAX_BINS = 48
_CROWDED, _CLEARER = 0.5, 0.7

Value = str | int | bool
Scale = Literal["even", "doubling"]


@dataclass(frozen=True, kw_only=True)
class Change:
    """What changed in a column.

    Attributes:
        psi: Population stability index, 0 or more: by deciles of before for numbers, with a group below and one above its
            range and one of infinities; by value for text and booleans, by length for lists. None for dates and timestamps,
            which move with the table's age, and where a side has no values.
        null_change: Share of rows that are null or NaN, after less before: -1 to 1.
        mean_shift: Mean after less mean before, in standard deviations of before; 0 where they are the same, infinite where
            before had no spread. None for what has no mean, and where a side has no values.
        new_values: Most frequent first, of text and booleans; known only where the profile of before counts all its values.
        gone_values: Likewise of before, where the profile of after counts all.
    """

    psi: float | None
    null_change: float
    mean_shift: float | None = None
    new_values: tuple[Value, ...] = ()
    gone_values: tuple[Value, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For records; an infinite shift stays one."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Share of `num` values below each of the ascending edges: 0 at the first one, 1 at the last one, which is above all."""

    edge_E: NDArray[np.float64]
    below_E: NDArray[np.float64]
    num: int

    def below(self, edge_E: NDArray[np.float64]) -> NDArray[np.float64]:
        """Share of the values below other edges: as if even between the histogram's own."""
        share_E: NDArray[np.float64] = np.interp(edge_E, self.edge_E, self.below_E)
        return share_E

    def is_exact_at(self, edge_E: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether `below` knows each edge."""
        exact_E: NDArray[np.bool_] = np.isin(edge_E, self.edge_E) | (edge_E <= self.edge_E[0]) | (edge_E >= self.edge_E[-1])
        return exact_E


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """Shares of the values of two profiles in the same bins, which are even or each twice as wide as the one before."""

    scale: Scale
    edge_E: NDArray[np.float64]
    before_B: NDArray[np.float64]
    after_B: NDArray[np.float64]

    @property
    def highest(self) -> float:
        """The largest share of a bin."""
        return float(max(self.before_B.max(), self.after_B.max()))


def compare(before: ColumnProfile, after: ColumnProfile) -> Change:
    """How far a column moved between two profiles of it.

    Raises:
        ConfigError: when the profiles are of kinds that have nothing in common, such as text and numbers.
    """
    null_change = _missing_share(after) - _missing_share(before)
    old, new = before.values, after.values
    if isinstance(old, ValueProfile) and isinstance(new, ValueProfile):
        return Change(
            psi=_psi_of_values(old, new), null_change=null_change, new_values=_only(new, old), gone_values=_only(old, new)
        )
    if type(old) is not type(new):
        raise ConfigError([f"a column of kind {before.kind} cannot be compared with one of kind {after.kind}"])
    shift = _mean_shift(old, new) if isinstance(old, NumberProfile) and isinstance(new, NumberProfile) else None
    return Change(psi=_psi_of_numbers(old, new), null_change=null_change, mean_shift=shift)


def histogram_of(report: Report) -> Histogram | None:
    """The histogram of numbers, lengths, or times in days since 1970; None for text, and where there are no values."""
    if isinstance(report, ValueProfile) or not report.counts:
        return None
    edge_E, num = _edges(report), sum(report.counts)
    below_E = np.append(0, np.cumsum(report.counts)) / num
    if isinstance(report, NumberProfile) and edge_E[-1] == report.max:  # the last bin holds its upper edge, too
        with np.errstate(over="ignore"):  # of the largest float
            edge_E[-1] = np.nextafter(edge_E[-1], np.inf)
    return Histogram(edge_E=edge_E, below_E=below_E, num=num)


def side_by_side(before: Report, after: Report) -> SideBySide | None:
    """The histograms of two reports in common bins: even ones, or where most values would be in one of them, doubling ones.

    None where a side has no histogram.
    """
    old, new = histogram_of(before), histogram_of(after)
    if old is None or new is None:
        return None
    edges = [_edges(report) for report in (before, after)]  # type: ignore[arg-type]  # a report with a histogram
    first, last = float(min(x_E[min(1, len(x_E) - 2)] for x_E in edges)), float(max(x_E[-2] for x_E in edges))
    whole = all(bool((np.floor(x_E[:-1]) == x_E[:-1]).all()) for x_E in edges)
    even_E = even_edges(first, last, max_bins=_MAX_BINS, finest=0 if whole else FINEST)
    found = _in_bins(old, new, even_E, "even")
    positive_E = np.concatenate([x_E[x_E > 0] for x_E in edges])
    if found.highest <= _CROWDED or min(old.edge_E[0], new.edge_E[0]) < 0 or not 0 < positive_E.min() < last:
        return found
    exponents = range(math.frexp(positive_E.min())[1] - 1, math.frexp(last)[1] + 1)
    doubling = _in_bins(old, new, np.ldexp(1.0, np.array(exponents[-_MAX_BINS:])), "doubling")
    return doubling if doubling.highest < _CLEARER * found.highest else found


def _in_bins(old: Histogram, new: Histogram, inner_E: NDArray[np.float64], scale: Scale) -> SideBySide:
    low, end = min(old.edge_E[0], new.edge_E[0]), max(old.edge_E[-1], new.edge_E[-1])
    edge_E = np.concatenate([[low], inner_E[(inner_E > low) & (inner_E < end)], [end]])
    return SideBySide(scale=scale, edge_E=edge_E, before_B=np.diff(old.below(edge_E)), after_B=np.diff(new.below(edge_E)))


def _edges(report: NumberProfile | TimeProfile | ListProfile) -> NDArray[np.float64]:
    if isinstance(report, NumberProfile):
        return np.array(report.edges, np.float64)
    if isinstance(report, TimeProfile):
        first, step = float(np.datetime64(report.first_day or 0, "D").astype(np.int64)), report.days_per_bin
    else:
        first, step = float(report.first_length or 0), report.lengths_per_bin
    edge_E: NDArray[np.float64] = first + step * np.arange(len(report.counts) + 1, dtype=np.float64)
    return edge_E


def _missing_share(profile: ColumnProfile) -> float:
    nan = profile.values.nan if isinstance(profile.values, NumberProfile) else 0
    return (profile.nulls + nan) / profile.rows if profile.rows else 0.0


def _mean_shift(before: NumberProfile, after: NumberProfile) -> float | None:
    if before.mean is None or after.mean is None or before.std is None:
        return None
    shift = after.mean - before.mean
    if shift == 0 or before.std == 0:
        return math.copysign(math.inf, shift) if shift else 0.0
    return shift / before.std


def _psi_of_numbers(before: Report, after: Report) -> float | None:
    if isinstance(before, TimeProfile):
        return None
    old, new = histogram_of(before), histogram_of(after)
    counts = [] if old is None or new is None else _grouped(old, new)
    infinite = [report.infinite if isinstance(report, NumberProfile) else 0 for report in (before, after)]
    if not counts:  # a side has infinities only, or nothing
        counts = [np.array([0.0 if h is None else h.num]) for h in (old, new)]
    return _psi(*(np.append(count_G, num) for count_G, num in zip(counts, infinite, strict=True)))


def _grouped(old: Histogram, new: Histogram) -> list[NDArray[np.float64]]:
    """Counts of both in about ten groups that are even before, and in one group on either side."""
    edge_E = old.edge_E
    guess_E = np.where(new.is_exact_at(edge_E), 0.0, _GUESS)
    below_E = old.below_E
    nearest = [int((np.abs(below_E - i / _GROUPS) + guess_E).argmin()) for i in range(1, _GROUPS)]
    bound_G = edge_E[np.unique([0, *nearest, len(edge_E) - 1])]
    new_G = new.below(bound_G)
    if bound_G[0] < new.edge_E[1]:  # nothing is known of how the outermost bins are filled, and they are often long
        new_G[0] = 0.0
    if bound_G[-1] > new.edge_E[-2]:
        new_G[-1] = 1.0
    return [np.diff(share_G, prepend=0.0, append=1.0) * h.num for h, share_G in ((old, old.below(bound_G)), (new, new_G))]


def _psi_of_values(before: ValueProfile, after: ValueProfile) -> float | None:
    old, new = dict(before.top), dict(after.top)
    old_rows, new_rows = (sum(count for _, count in side.top) + side.other for side in (before, after))
    if not old_rows or not new_rows:
        return None
    old_G, new_G = [], []
    for value in dict.fromkeys([*old, *new]):
        p, q = old.get(value, 0) / old_rows, new.get(value, 0) / new_rows
        old_G.append(p if value in old else min(q, _unlisted(before) / old_rows))
        new_G.append(q if value in new else min(p, _unlisted(after) / new_rows))
    rest = [max(0.0, 1.0 - sum(share_G)) for share_G in (old_G, new_G)]
    return _psi(np.array([*old_G, rest[0]]), np.array([*new_G, rest[1]]))


def _unlisted(side: ValueProfile) -> int:
    """At most so often does a value occur that is not in `top`."""
    return min(side.other, min((count for _, count in side.top), default=0) + side.error)


def _psi(before_G: NDArray[np.float64], after_G: NDArray[np.float64]) -> float | None:
    """Of counts or shares; None where a side has none."""
    if not before_G.sum() or not after_G.sum():
        return None
    p_G, q_G = (np.maximum(group_G / group_G.sum(), _LEAST_SHARE) for group_G in (before_G, after_G))
    return float(((q_G - p_G) * np.log(q_G / p_G)).sum())


def _only(here: ValueProfile, there: ValueProfile) -> tuple[Value, ...]:
    if there.other:
        return ()
    known = {(type(value), value) for value, _ in there.top}
    return tuple(value for value, _ in here.top if (type(value), value) not in known)
