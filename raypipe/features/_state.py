"""What one pass over the training rows keeps: mergeable statistics, computed per chunk and merged in chunk order.

Moments merge by Chan, Golub and LeVeque's formula; counts are exact. Medians come from counts of distinct values: exact up
to 100,000 of them, beyond that counts over bins of a float's leading bits (relative error at most 2^-11, 0.05 %), whose
result does not depend on the order of merging.
"""

import base64
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from raypipe.core.errors import FeatureError
from raypipe.features._kernels import CategoryType, CategoryValue, category_type

MAX_EXACT_VALUES = 100_000
MAX_CATEGORIES = 1_000_000
_BIN_SHIFT = 42  # keeps sign, 11 bits of exponent and 10 of the mantissa


@dataclass(frozen=True, kw_only=True)
class ValueCounts:
    """Sorted distinct values and how often each occurs; bins' middles in place of values once there are too many."""

    values_D: NDArray[np.float64]
    counts_D: NDArray[np.int64]
    binned: bool = False

    @classmethod
    def of(cls, x_N: NDArray[np.float64]) -> "ValueCounts":
        """Counts of a chunk without NaN."""
        values_D, counts_D = np.unique(x_N + 0.0, return_counts=True)  # -0.0 and 0.0 are one value
        return cls(values_D=values_D, counts_D=counts_D.astype(np.int64))._bounded()

    def merged(self, other: "ValueCounts") -> "ValueCounts":
        """Counts of both."""
        a, b = (self._in_bins(), other._in_bins()) if self.binned or other.binned else (self, other)
        return _summed(np.concatenate([a.values_D, b.values_D]), np.concatenate([a.counts_D, b.counts_D]), a.binned)._bounded()

    def median(self) -> float:
        """The middle value, or the middle between the two middle ones."""
        upto_D = np.cumsum(self.counts_D)
        total = int(upto_D[-1])
        low, high = np.searchsorted(upto_D, [(total - 1) // 2, total // 2], side="right")
        return float(self.values_D[low] / 2 + self.values_D[high] / 2)

    def _bounded(self) -> "ValueCounts":
        return self._in_bins() if len(self.values_D) > MAX_EXACT_VALUES else self

    def _in_bins(self) -> "ValueCounts":
        if self.binned:
            return self
        key_D = self.values_D.view(np.int64) >> _BIN_SHIFT
        middle_D = ((key_D << _BIN_SHIFT) | (1 << (_BIN_SHIFT - 1))).view(np.float64)
        return _summed(np.where(self.values_D == 0, 0.0, middle_D), self.counts_D, binned=True)


@dataclass(frozen=True, kw_only=True)
class NumberState:
    """Moments of the values that are present and finite, and counts of the others."""

    count: int = 0
    nulls: int = 0
    infinite: int = 0
    mean: float = 0.0
    m2: float = 0.0
    min: float | None = None
    max: float | None = None
    values: ValueCounts | None = None

    @classmethod
    def of(cls, x_N: NDArray[np.float64], *, with_values: bool) -> "NumberState":
        """State of one chunk; NaN is null."""
        present_M = x_N[~np.isnan(x_N)]
        x_M = present_M[np.isfinite(present_M)]
        absent = cls(
            nulls=len(x_N) - len(present_M),
            infinite=len(present_M) - len(x_M),
            values=ValueCounts.of(x_M) if with_values else None,
        )
        return replace(absent, **_moments(x_M)) if len(x_M) else absent

    def merged(self, other: "NumberState") -> "NumberState":
        """State of this chunk followed by the other."""
        some = self if self.count else other
        merged = replace(
            some,
            nulls=self.nulls + other.nulls,
            infinite=self.infinite + other.infinite,
            values=self.values.merged(other.values) if self.values and other.values else None,
        )
        if not self.count or not other.count:
            return merged
        n = self.count + other.count
        delta = other.mean - self.mean
        return replace(
            merged,
            count=n,
            mean=self.mean + delta * (other.count / n),
            m2=self.m2 + other.m2 + delta * delta * (self.count * (other.count / n)),
            min=min(v for v in (self.min, other.min) if v is not None),
            max=max(v for v in (self.max, other.max) if v is not None),
        )


@dataclass(frozen=True, kw_only=True)
class CategoryState:
    """How often each value occurs."""

    type: CategoryType
    counts: Mapping[CategoryValue, int]
    nulls: int = 0

    @classmethod
    def of(cls, cells: pa.Array, name: str) -> "CategoryState":
        """State of one chunk."""
        coded = cells if pt.is_dictionary(cells.type) else cells.dictionary_encode()
        kind = category_type(coded.type)
        if kind is None:
            raise AssertionError(f"column {name} of type {cells.type} was not refused")
        position_M = pc.cast(coded.indices, pa.int64()).drop_null().to_numpy()
        values = coded.dictionary.to_pylist()
        counts_D = np.bincount(position_M, minlength=len(values)).tolist()
        counts = {value: count for value, count in zip(values, counts_D, strict=True) if count and value is not None}
        return cls(type=kind, counts=_bounded(counts, name), nulls=len(cells) - sum(counts.values()))

    def merged(self, other: "CategoryState", name: str) -> "CategoryState":
        """Counts of both.

        Raises:
            FeatureError: when the column changes its type between chunks, or has too many distinct values.
        """
        if self.type != other.type:
            raise FeatureError(name, f"is {self.type} in one chunk and {other.type} in another", "check the table's schema")
        counts = Counter(self.counts)
        counts.update(other.counts)
        return CategoryState(type=self.type, counts=_bounded(counts, name), nulls=self.nulls + other.nulls)


@dataclass(frozen=True, kw_only=True)
class FitState:
    """State of all features over the rows seen, by output name; `spec` is the digest of the feature set."""

    spec: str
    rows: int
    numbers: Mapping[str, NumberState] = field(default_factory=dict)
    categories: Mapping[str, CategoryState] = field(default_factory=dict)

    def merged(self, other: "FitState") -> "FitState":
        """State of these rows followed by the others.

        Raises:
            FeatureError: when the other state is of another feature set.
        """
        if self.spec != other.spec:
            raise FeatureError("*", "fitted states are of different feature sets", "fit all chunks with one spec")
        return FitState(
            spec=self.spec,
            rows=self.rows + other.rows,
            numbers={name: state.merged(other.numbers[name]) for name, state in self.numbers.items()},
            categories={name: state.merged(other.categories[name], name) for name, state in self.categories.items()},
        )

    def to_bytes(self) -> bytes:
        """JSON; floats and counts are exact."""
        numbers = {name: vars(s) | {"values": _values_to_json(s.values)} for name, s in self.numbers.items()}
        categories = {
            name: {"type": s.type, "nulls": s.nulls, "values": list(s.counts), "counts": list(s.counts.values())}
            for name, s in self.categories.items()
        }
        return json.dumps({"spec": self.spec, "rows": self.rows, "numbers": numbers, "categories": categories}).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "FitState":
        """The inverse of `to_bytes`."""
        plain = json.loads(data)
        numbers = {n: NumberState(**{**s, "values": _values_from_json(s["values"])}) for n, s in plain["numbers"].items()}
        categories = {
            name: CategoryState(type=s["type"], nulls=s["nulls"], counts=dict(zip(s["values"], s["counts"], strict=True)))
            for name, s in plain["categories"].items()
        }
        return cls(spec=plain["spec"], rows=plain["rows"], numbers=numbers, categories=categories)


def _moments(x_M: NDArray[np.float64]) -> dict[str, Any]:
    low, high = float(x_M.min()), float(x_M.max())
    known = {"count": len(x_M), "min": low, "max": high}
    if low == high:
        return known | {"mean": low, "m2": 0.0}
    with np.errstate(over="ignore", invalid="ignore"):  # an overflow is refused by `solve`
        mean = float(np.mean(x_M))
        delta_M = x_M - mean
        rest = float(np.sum(delta_M))
        m2 = float(np.sum(delta_M * delta_M)) - rest * rest / len(x_M)
    return known | {"mean": mean + rest / len(x_M), "m2": m2 if not m2 < 0 else 0.0}


def _summed(values: NDArray[np.float64], counts: NDArray[np.int64], binned: bool) -> ValueCounts:  # noqa: FBT001
    values_D, inverse = np.unique(values, return_inverse=True)
    counts_D = np.zeros(len(values_D), np.int64)
    np.add.at(counts_D, inverse, counts)
    return ValueCounts(values_D=values_D, counts_D=counts_D, binned=binned)


def _bounded(counts: Mapping[CategoryValue, int], name: str) -> Mapping[CategoryValue, int]:
    if len(counts) > MAX_CATEGORIES:
        problem = f"has more than {MAX_CATEGORIES:,} distinct values"
        raise FeatureError(name, problem, "it looks like a key; leave it out or derive a coarser column")
    return counts


def _values_to_json(values: ValueCounts | None) -> dict[str, Any] | None:
    if values is None:
        return None
    arrays = {"values": values.values_D.astype("<f8"), "counts": values.counts_D.astype("<i8")}
    return {"binned": values.binned} | {k: base64.b64encode(a.tobytes()).decode() for k, a in arrays.items()}


def _values_from_json(data: dict[str, Any] | None) -> ValueCounts | None:
    if data is None:
        return None
    values_D = np.frombuffer(base64.b64decode(data["values"]), "<f8").astype(np.float64)
    counts_D = np.frombuffer(base64.b64decode(data["counts"]), "<i8").astype(np.int64)
    return ValueCounts(values_D=values_D, counts_D=counts_D, binned=data["binned"])
