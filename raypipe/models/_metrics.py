"""Metrics that a model watches while it trains; the full evaluation is `raypipe.evaluate`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def roc_auc(y_N: NDArray[Any], scores_N: NDArray[Any]) -> float:
    """Area under the ROC curve for labels 0/1: the share of (positive, negative) pairs in the right order, ties half.

    NaN when one of the classes has no row. Mann-Whitney U by average ranks, O(N log N).
    """
    positive_N = y_N > 0.5
    num_positive = int(positive_N.sum())
    num_negative = len(y_N) - num_positive
    if num_positive == 0 or num_negative == 0:
        return float("nan")
    _, group_N, counts = np.unique(scores_N, return_inverse=True, return_counts=True)
    rank_of_group = np.cumsum(counts) - (counts - 1) / 2
    rank_sum = float(rank_of_group[group_N[positive_N]].sum())
    return (rank_sum - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative)


def has_both_classes(y_N: NDArray[Any]) -> bool:
    """True when labels 0 and 1 both occur, so that an AUC exists."""
    return bool((y_N > 0.5).any()) and bool((y_N <= 0.5).any())
