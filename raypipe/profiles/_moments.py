"""Mean and variance in one pass: the moments of tiles of a column, merged in order.

N rows, M of them present and finite. Two states merge by the formula of Chan, Golub and LeVeque ("Updating formulae and a
pairwise algorithm for computing sample variances", 1979); within a tile the corrected two-pass algorithm of the same authors
("Algorithms for computing the sample variance", 1983) is used. Bits depend on the values, on their order and on `TILE_ROWS`,
and not on the processor: NumPy adds pairwise with eight fixed partial sums, and all other steps are elementwise or exact.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

TILE_ROWS = 32_768  # 256 KiB, which stays in the second cache with its temporary; part of the definition of the bits


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Moments of the values that are present and finite, and how many others there are.

    `m2` is the sum of squared deviations from the mean; it is infinite, never NaN, where values are too large to square.
    Without values `mean` and `m2` are 0, `min` and `max` None. There is no -0.0 in `min` and `max`.
    """

    count: int = 0
    nulls: int = 0
    infinite: int = 0
    mean: float = 0.0
    m2: float = 0.0
    min: float | None = None
    max: float | None = None

    @classmethod
    def of(cls, x_N: NDArray[np.float64]) -> "Moments":
        """Moments of one chunk; NaN is a missing value."""
        x_N = np.ascontiguousarray(x_N)
        with np.errstate(over="ignore", invalid="ignore"):
            tiles = [_of_tile(x_N[start : start + TILE_ROWS]) for start in range(0, len(x_N), TILE_ROWS)]
        return cls.merge(tiles)

    @classmethod
    def of_counts(cls, values_D: NDArray[np.float64], counts_D: NDArray[np.int64]) -> "Moments":
        """Moments of finite values that each occur `counts_D` times (at least once)."""
        if not len(values_D):
            return cls()
        low, high, n = float(values_D.min()) + 0.0, float(values_D.max()) + 0.0, int(counts_D.sum())
        some = cls(count=n, mean=low, min=low, max=high)
        if low == high:
            return some
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(np.add.reduce(values_D * (counts_D / n)))
            delta_D = values_D - mean
            rest = float(np.add.reduce(delta_D * counts_D))
            m2 = float(np.add.reduce(delta_D * delta_D * counts_D)) - rest * rest / n
        return replace(some, mean=mean + rest / n if math.isfinite(rest) else mean, m2=_squares(m2))

    @classmethod
    def merge(cls, states: Iterable["Moments"]) -> "Moments":
        """Moments of all states, merged in their order; floating-point sums depend on it."""
        return reduce(cls.merged, states, cls())

    def merged(self, other: "Moments") -> "Moments":
        """Moments of these values followed by the others'; counts, `min` and `max` do not depend on the order."""
        nulls, infinite = self.nulls + other.nulls, self.infinite + other.infinite
        if not self.count or not other.count:
            return replace(self if self.count else other, nulls=nulls, infinite=infinite)
        n = self.count + other.count
        share, delta = other.count / n, other.mean - self.mean
        mean = self.mean + delta * share if math.isfinite(delta) else self.mean * (1 - share) + other.mean * share
        return Moments(
            count=n,
            nulls=nulls,
            infinite=infinite,
            mean=mean,
            m2=_squares(self.m2 + other.m2 + delta * delta * (self.count * share)),
            min=min(v for v in (self.min, other.min) if v is not None),
            max=max(v for v in (self.max, other.max) if v is not None),
        )

    def with_fill(self, fill: float) -> "Moments":
        """Moments of the column once every missing value is `fill`: scaling after imputing needs no second pass."""
        filled = Moments(count=self.nulls, mean=fill, min=fill, max=fill) if self.nulls else Moments()
        return replace(self, nulls=0).merged(filled)

    @property
    def deviation(self) -> float:
        """Standard deviation over N (not N - 1); 0 without values."""
        return math.sqrt(self.m2 / self.count) if self.count else 0.0

    def to_plain(self) -> dict[str, Any]:
        """JSON scalars; `m2` may be infinite."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Moments":
        """The inverse of `to_plain`."""
        return cls(**plain)


def _of_tile(x_T: NDArray[np.float64]) -> Moments:
    total = float(np.add.reduce(x_T))
    if math.isfinite(total):  # so is every value: neither NaN nor an infinity leaves a finite sum
        return _of_finite(x_T, total)
    present_M = x_T[~np.isnan(x_T)]
    x_M = present_M[np.isfinite(present_M)]
    others = Moments(nulls=len(x_T) - len(present_M), infinite=len(present_M) - len(x_M))
    return _of_finite(x_M, float(np.add.reduce(x_M))).merged(others) if len(x_M) else others


def _of_finite(x_M: NDArray[np.float64], total: float) -> Moments:
    low, high, n = float(np.minimum.reduce(x_M)) + 0.0, float(np.maximum.reduce(x_M)) + 0.0, len(x_M)
    if low == high:  # its mean is itself, which a sum divided by a count need not be
        return Moments(count=n, mean=low, min=low, max=high)
    mean = total / n if math.isfinite(total) else float(np.add.reduce(x_M / n))
    delta_M = x_M - mean
    rest = float(np.add.reduce(delta_M))
    np.multiply(delta_M, delta_M, out=delta_M)
    m2 = _squares(float(np.add.reduce(delta_M)) - rest * rest / n)
    mean = mean + rest / n if math.isfinite(rest) else mean
    return Moments(count=n, mean=mean, m2=m2, min=low, max=high)


def _squares(m2: float) -> float:
    """A sum of squares: not negative by rounding, infinite where it overflows."""
    return math.inf if math.isnan(m2) else max(m2, 0.0)
