"""Regression metrics. A residual is prediction minus label; R2 is undefined when all labels are equal.

Shapes: N rows, B draws.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raypipe.evaluate._binary import quantile_bins
from raypipe.evaluate._bootstrap import Floats, Rows
from raypipe.evaluate._evaluation import Bin, Histogram, RegressionDetail

_QUANTILES = {"p01": 0.01, "p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99}
_NUM_BINS = 20
_NUM_BARS = 40


class RegressionSample:
    """Labels and predictions of N rows."""

    def __init__(self, y_N: NDArray[Any], scores_N: NDArray[Any]) -> None:
        self.y_N, self.scores_N = y_N.astype(np.float64), scores_N.astype(np.float64)
        self.residual_N = self.scores_N - self.y_N
        self._absolute_N, self._square_N = np.abs(self.residual_N), self.residual_N**2

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.y_N)

    def measure(self, draw_BN: Rows, names: Sequence[str]) -> dict[str, Floats]:
        """Metrics of each draw; NaN where undefined."""
        out: dict[str, Floats] = {}
        mse_B = self._square_N[draw_BN].mean(axis=1)
        for name in names:
            if name == "mae":
                out[name] = np.asarray(self._absolute_N[draw_BN].mean(axis=1))
            elif name == "rmse":
                out[name] = np.sqrt(mse_B)
            else:
                y_BN = self.y_N[draw_BN]
                constant_B = y_BN.min(axis=1) == y_BN.max(axis=1)
                variance_B = np.where(constant_B, np.nan, y_BN.var(axis=1))
                out[name] = 1 - mse_B / variance_B
        return out


def detail_of(sample: RegressionSample) -> RegressionDetail:
    """Residuals and bins of the rows as they are."""
    residual_N = sample.residual_N
    low, high = np.quantile(residual_N, [0.005, 0.995])
    edges = np.linspace(low, high if high > low else low + 1, _NUM_BARS + 1)
    counts = np.histogram(np.clip(residual_N, edges[0], edges[-1]), edges)[0]
    quantiles = np.quantile(residual_N, list(_QUANTILES.values()))
    return RegressionDetail(
        residual_quantiles=dict(zip(_QUANTILES, quantiles.tolist(), strict=True)),
        bins=tuple(_bin(sample, index) for index in quantile_bins(sample.scores_N, _NUM_BINS)),
        histogram=Histogram(edges=tuple(edges.tolist()), counts={"residual": tuple(counts.tolist())}),
    )


def _bin(sample: RegressionSample, index: NDArray[np.int64]) -> Bin:
    actual = sample.y_N[index]
    low, high = np.quantile(actual, [0.1, 0.9])
    return Bin(
        predicted=float(sample.scores_N[index].mean()),
        actual=float(actual.mean()),
        low=float(low),
        high=float(high),
        num_rows=len(index),
    )
