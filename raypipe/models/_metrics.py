"""Metrics that a model watches while it trains; the full evaluation is `raypipe.evaluate`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def roc_auc(y_N: NDArray[Any], scores_N: NDArray[Any]) -> float:
    """Area under the ROC curve for labels 0/1: the share of (positive, negative) pairs in the right order, ties half.

    NaN when one of the classes has no row. O(N log N), counted in whole numbers.
    """
    positive_N = y_N > 0.5
    positives, negatives = np.sort(scores_N[positive_N]), np.sort(scores_N[~positive_N])
    if len(positives) == 0 or len(negatives) == 0:
        return float("nan")
    below = int(np.searchsorted(negatives, positives, side="left").sum())
    not_above = int(np.searchsorted(negatives, positives, side="right").sum())
    return (below + not_above) / (2 * len(positives) * len(negatives))


def has_both_classes(y_N: NDArray[Any]) -> bool:
    """True when labels 0 and 1 both occur, so that an AUC exists."""
    return bool((y_N > 0.5).any()) and bool((y_N <= 0.5).any())
