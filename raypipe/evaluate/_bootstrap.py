"""Bootstrap: how much a number would move with other rows of the same kind.

Rows are drawn with replacement, B resamples of N at a time. A sample turns the drawn row indices into metrics; the
point estimate is the draw of every row once. Percentile intervals; resamples in which a metric is undefined (no
positive drawn) are left out of its interval.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[Any]
_DRAWS_AT_ONCE = 1 << 18  # bounds the memory of a block: 1 MB of indices, some 10 MB with the counts


class Sample(Protocol):
    """Labels and predictions of N rows, in the form that metrics are computed from quickly."""

    def __len__(self) -> int:
        """Number of rows N."""

    def measure(self, draw_BN: Rows, names: Sequence[str]) -> dict[str, Floats]:
        """Metrics `names` of each of B draws of row indices, as arrays of B; NaN where undefined."""


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """How intervals are made: `num_resamples` draws from `seed`, and the share of them an interval covers."""

    num_resamples: int
    seed: int
    confidence: float

    def draws(self, num_rows: int) -> Iterator[Rows]:
        """All draws of `num_rows` rows as blocks of shape (B,N); the same for the same seed and number of rows."""
        random = np.random.default_rng(self.seed)
        per_block = max(1, _DRAWS_AT_ONCE // num_rows)
        for start in range(0, self.num_resamples, per_block):
            num = min(per_block, self.num_resamples - start)
            yield random.integers(0, num_rows, size=(num, num_rows), dtype=np.int32)

    def interval(self, values_B: Floats) -> tuple[float | None, float | None]:
        """Lower and upper end over the defined `values_B`; None when none is defined."""
        defined = values_B[np.isfinite(values_B)]
        if len(defined) == 0:
            return None, None
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(defined, [tail, 1 - tail])
        return float(low), float(high)


def point(sample: Sample, names: Sequence[str]) -> dict[str, float | None]:
    """Metrics of the rows as they are; None where undefined."""
    draw_BN = np.arange(len(sample), dtype=np.int32)[None]
    return {name: number(values_B[0]) for name, values_B in sample.measure(draw_BN, names).items()}


def resample(sample: Sample, names: Sequence[str], resampling: Resampling) -> Mapping[str, Floats]:
    """Metrics `names` of every resample."""
    blocks = [sample.measure(draw_BN, names) for draw_BN in resampling.draws(len(sample))]
    return {name: np.concatenate([block[name] for block in blocks]) for name in names}


def number(value: float | np.floating[Any]) -> float | None:
    """`value` as a plain number; None for NaN and infinities."""
    return float(value) if np.isfinite(value) else None
