"""Rows in the form that the metrics of their kind of target are computed from."""

from typing import Any

from numpy.typing import NDArray

from raypipe.core.tensors import Target
from raypipe.evaluate._binary import BinarySample
from raypipe.evaluate._bootstrap import Sample
from raypipe.evaluate._costs import Costs
from raypipe.evaluate._multiclass import MulticlassSample
from raypipe.evaluate._regression import RegressionSample
from raypipe.evaluate._rows import ScoredRows


def sample_of_rows(rows: ScoredRows) -> Sample:
    """All rows in the form that metrics are computed from."""
    return sample_of(rows.target, rows.y_N, rows.scores, rows.threshold, rows.costs)


def sample_of(
    target: Target, y_N: NDArray[Any], scores: NDArray[Any], threshold: float | None = None, costs: Costs | None = None
) -> Sample:
    """Some rows in the form that the metrics of this kind of target are computed from."""
    if target.kind == "binary":
        return BinarySample(y_N, scores, threshold, costs)
    if target.kind == "multiclass":
        return MulticlassSample(y_N, scores)
    return RegressionSample(y_N, scores)
