"""How well one column alone tells the label: areas under ROC curves and rank correlations, from sums over groups of rows.

Sums of a group are (rows, rows of each class), and for a regression (rows, sum of label ranks, sum of their squares). G groups
in ascending order of a score, K classes, V sums, D values of a column, F folds.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raypipe.core.tensors import TargetKind

_SIGMAS, _INTERVAL_SIGMAS = 4.0, 2.576
_PRIOR_ROWS = 1.0
_MAX_BINS, _ROWS_PER_BIN = 32, 100


@dataclass(frozen=True, kw_only=True)
class Strength:
    """What a column tells.

    Attributes:
        value: Area under the ROC curve, 0.5 to 1 (of several classes each against the rest, weighted by their rows); or the
            absolute rank correlation, 0 to 1.
        noise: What a column that tells nothing exceeds in one of 30,000 cases.
        margin: Half of the 99 % interval of the value.
    """

    value: float
    noise: float
    margin: float


def by_order(kind: TargetKind, sums_GV: NDArray[np.float64]) -> Strength:
    """Of the order of the groups itself, upwards or downwards; groups are ties."""
    if kind == "regression":
        return _of_correlation(abs(_correlation(sums_GV)), float(sums_GV[:, 0].sum()))
    auc_K = np.array([_auc(sums_GV[:, 0], sums_GV[:, k]) for k in range(1, sums_GV.shape[1])])
    return _of_classes(np.maximum(auc_K, 1 - auc_K), sums_GV)


def by_rate(kind: TargetKind, sums_DFV: NDArray[np.float64]) -> Strength:
    """Of the mean label of each value in the folds that a row is not in: the order of values is not used."""
    total_V = sums_DFV.sum(axis=(0, 1))
    others_DFV = sums_DFV.sum(axis=1, keepdims=True) - sums_DFV
    rate_DFV = (others_DFV + _PRIOR_ROWS * total_V / total_V[0]) / (others_DFV[..., :1] + _PRIOR_ROWS)
    flat_GV, rate_GV = sums_DFV.reshape(-1, len(total_V)), rate_DFV.reshape(-1, len(total_V))
    if kind == "regression":
        return _of_correlation(max(0.0, _correlation(_in_order(rate_GV[:, 1], flat_GV))), float(total_V[0]))
    auc_K = np.array([_auc_of(rate_GV[:, k], flat_GV, k) for k in range(1, len(total_V))])
    return _of_classes(auc_K, flat_GV)


def binned(sums_DFV: NDArray[np.float64]) -> NDArray[np.float64]:
    """Neighbouring values of a number put together: at most 32 bins of about equally many rows, 100 at least."""
    rows_D = sums_DFV[..., 0].sum(axis=1)
    num_rows = float(rows_D.sum())
    num_bins = int(min(_MAX_BINS, max(2, num_rows // _ROWS_PER_BIN)))
    bin_D = np.minimum((np.cumsum(rows_D) - rows_D / 2) * num_bins // num_rows, num_bins - 1)
    first_G = np.flatnonzero(np.append(True, bin_D[1:] != bin_D[:-1]))
    return np.add.reduceat(sums_DFV, first_G, axis=0)


def _of_classes(auc_K: NDArray[np.float64], sums_GV: NDArray[np.float64]) -> Strength:
    total_V = sums_GV.sum(axis=0)
    num_rows, rows_K = float(total_V[0]), total_V[1:]
    pairs_K = rows_K * (num_rows - rows_K)
    noise_K = _SIGMAS * np.sqrt((num_rows + 1) / (12 * np.maximum(pairs_K, 1e-9)))
    weight_K = np.where(pairs_K > 0, rows_K, 0.0)
    if not weight_K.sum():
        return Strength(value=0.5, noise=float("inf"), margin=0.0)
    auc_K = np.where(pairs_K > 0, auc_K, 0.5)
    margin_K = _margin(auc_K, rows_K, num_rows - rows_K)
    return Strength(
        value=float(np.average(auc_K, weights=weight_K)),
        noise=0.5 + float(np.average(np.where(pairs_K > 0, noise_K, 0.0), weights=weight_K)),
        margin=float(np.average(margin_K, weights=weight_K)),
    )


def _of_correlation(value: float, num_rows: float) -> Strength:
    root = max(1.0, num_rows - 1) ** 0.5
    return Strength(value=value, noise=_SIGMAS / root, margin=_INTERVAL_SIGMAS * (1 - min(1.0, value) ** 2) / root)


def _margin(
    auc_K: NDArray[np.float64], positives_K: NDArray[np.float64], negatives_K: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Half of the interval of an area under a ROC curve (Hanley and McNeil, 1982)."""
    square_K = auc_K**2
    variance_K = auc_K * (1 - auc_K) + (positives_K - 1) * (auc_K / (2 - auc_K) - square_K)
    variance_K += (negatives_K - 1) * (2 * square_K / (1 + auc_K) - square_K)
    margin_K: NDArray[np.float64] = np.sqrt(np.maximum(variance_K, 0) / np.maximum(positives_K * negatives_K, 1))
    return _INTERVAL_SIGMAS * margin_K


def _auc(rows_G: NDArray[np.float64], positives_G: NDArray[np.float64]) -> float:
    """Mann and Whitney: the share of pairs (positive, negative) in order, ties half."""
    positives, negatives = float(positives_G.sum()), float(rows_G.sum() - positives_G.sum())
    if not positives or not negatives:
        return 0.5
    below_G = np.cumsum(rows_G) - rows_G / 2
    return float((positives_G @ below_G - positives**2 / 2) / (positives * negatives))


def _auc_of(rate_G: NDArray[np.float64], sums_GV: NDArray[np.float64], k: int) -> float:
    ordered = _in_order(rate_G, sums_GV)
    return _auc(ordered[:, 0], ordered[:, k])


def _correlation(sums_GV: NDArray[np.float64]) -> float:
    """Spearman: Pearson's correlation of middle ranks and label ranks."""
    rows_G, label_G = sums_GV[:, 0], sums_GV[:, 1]
    num_rows = float(rows_G.sum())
    if num_rows < 2:
        return 0.0
    rank_G = (np.cumsum(rows_G) - rows_G / 2) / num_rows
    label_mean = float(label_G.sum()) / num_rows
    rank_variance = float(rows_G @ (rank_G - 0.5) ** 2)
    label_variance = float(sums_GV[:, 2].sum()) - num_rows * label_mean**2
    if rank_variance <= 0 or label_variance <= 1e-12 * num_rows:
        return 0.0
    return float(label_G @ (rank_G - 0.5)) / float((rank_variance * label_variance) ** 0.5)


def _in_order(score_G: NDArray[np.float64], sums_GV: NDArray[np.float64]) -> NDArray[np.float64]:
    """The groups by score, those of equal score as one."""
    order = np.argsort(score_G, kind="stable")
    score_G = score_G[order]
    first = np.flatnonzero(np.append(True, score_G[1:] != score_G[:-1]))
    return np.add.reduceat(sums_GV[order], first, axis=0)
