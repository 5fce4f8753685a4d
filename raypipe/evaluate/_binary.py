"""Binary metrics from counts: rows with the same score and label are one cell, so a resample is a vector of counts.

Shapes: N rows, B draws, G distinct scores in descending order.
Sources: ROC AUC is the Mann-Whitney statistic with ties counted half; PR AUC is average precision, the sum of
precision at each distinct score times the recall gained there; both equal scikit-learn's.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raypipe.evaluate._bootstrap import Floats, Rows
from raypipe.evaluate._costs import COST, Choice, Costs
from raypipe.evaluate._evaluation import Bin, BinaryDetail, Curve, Histogram

_NUM_POINTS = 240
_NUM_BINS = 10
_NUM_BARS = 40
_WILSON_Z = 1.959963984540054


class Counts:
    """Rows of each of B draws, by distinct score (descending) and label."""

    def __init__(self, neg_BG: Floats, pos_BG: Floats, num_predicted: int) -> None:
        self.neg_BG, self.pos_BG = neg_BG, pos_BG
        self.neg_B, self.pos_B = neg_BG.sum(axis=1), pos_BG.sum(axis=1)
        self.num_B = self.neg_B + self.pos_B
        self._num_predicted = num_predicted

    @cached_property
    def tp_by_score(self) -> Floats:
        """Positives with this score or a higher one, (B,G)."""
        return np.cumsum(self.pos_BG, axis=1)

    @cached_property
    def fp_by_score(self) -> Floats:
        """Negatives with this score or a higher one, (B,G)."""
        return np.cumsum(self.neg_BG, axis=1)

    @cached_property
    def tp(self) -> Floats:
        """Positives at or above the threshold, (B,)."""
        return np.asarray(self.pos_BG[:, : self._num_predicted].sum(axis=1))

    @cached_property
    def fp(self) -> Floats:
        """Negatives at or above the threshold, (B,)."""
        return np.asarray(self.neg_BG[:, : self._num_predicted].sum(axis=1))


class BinarySample:
    """Labels and scores of N rows as cells. Without a threshold the threshold metrics cannot be measured, nor costs."""

    def __init__(
        self, y_N: NDArray[Any], scores_N: NDArray[Any], threshold: float | None = None, costs: Costs | None = None
    ) -> None:
        ascending_G, group_N = np.unique(scores_N, return_inverse=True)
        self.scores_G = ascending_G[::-1].astype(np.float64)
        self._cell_N = (len(ascending_G) - 1 - group_N + y_N.astype(np.int64) * len(ascending_G)).astype(np.int64)
        tiny = float(np.finfo(scores_N.dtype).eps) if scores_N.dtype.kind == "f" else float(np.finfo(np.float64).eps)
        clipped_G = np.clip(self.scores_G, tiny, 1 - tiny)
        self.loss_pos_G, self.loss_neg_G = -np.log(clipped_G), -np.log1p(-clipped_G)
        self.threshold, self.costs = threshold, costs

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._cell_N)

    def counts(self, draw_BN: Rows) -> Counts:
        """Counts of each draw."""
        num_draws, num_groups = len(draw_BN), len(self.scores_G)
        cell_BN = self._cell_N[draw_BN]
        cell_BN += (np.arange(num_draws) * 2 * num_groups)[:, None]
        counts = np.bincount(cell_BN.ravel(), minlength=num_draws * 2 * num_groups).astype(np.float64)
        by_label = counts.reshape(num_draws, 2, num_groups)
        num_predicted = 0 if self.threshold is None else int(np.count_nonzero(self.scores_G >= self.threshold))
        return Counts(by_label[:, 0], by_label[:, 1], num_predicted)

    def every_row(self) -> Counts:
        """Counts of the rows as they are."""
        return self.counts(np.arange(len(self))[None])

    def measure(self, draw_BN: Rows, names: Sequence[str]) -> dict[str, Floats]:
        """Metrics of each draw; NaN where undefined.

        Raises:
            ValueError: for a threshold metric without a threshold.
        """
        if self.threshold is None and not _THRESHOLD_METRICS.isdisjoint(names):
            those = ", ".join(sorted(_THRESHOLD_METRICS))
            raise ValueError(f"{those} of a binary target need a threshold chosen on validation")
        counts = self.counts(draw_BN)
        with np.errstate(divide="ignore", invalid="ignore"):
            return {name: _FORMULAS[name](self, counts) for name in names}


def _roc_auc(_: BinarySample, c: Counts) -> Floats:
    below_BG = c.neg_B[:, None] - c.fp_by_score
    below_BG += 0.5 * c.neg_BG
    return np.asarray(np.einsum("bg,bg->b", c.pos_BG, below_BG) / (c.pos_B * c.neg_B))


def _pr_auc(_: BinarySample, c: Counts) -> Floats:
    precision_BG = c.tp_by_score / np.maximum(c.tp_by_score + c.fp_by_score, 1)
    return np.asarray(np.einsum("bg,bg->b", c.pos_BG, precision_BG) / c.pos_B)


def _log_loss(s: BinarySample, c: Counts) -> Floats:
    return np.asarray((c.pos_BG @ s.loss_pos_G + c.neg_BG @ s.loss_neg_G) / c.num_B)


def _brier(s: BinarySample, c: Counts) -> Floats:
    return np.asarray((c.pos_BG @ (1 - s.scores_G) ** 2 + c.neg_BG @ s.scores_G**2) / c.num_B)


def _mean_cost(s: BinarySample, c: Counts) -> Floats:
    if s.costs is None:
        raise ValueError("mean_cost needs evaluator.costs")
    return cost_of(s.costs, c.tp, c.fp, c.pos_B, c.neg_B)


def cost_of(costs: Costs, tp: Floats, fp: Floats, pos: Floats, neg: Floats) -> Floats:
    """Mean cost of decisions with `tp` and `fp` among `pos` positive and `neg` negative rows."""
    hits, alarms = tp * costs.true_positive, fp * costs.false_positive
    misses, rests = (pos - tp) * costs.false_negative, (neg - fp) * costs.true_negative
    return np.asarray((hits + alarms + misses + rests) / (pos + neg))


_FORMULAS: Mapping[str, Callable[[BinarySample, Counts], Floats]] = {
    "roc_auc": _roc_auc,
    "pr_auc": _pr_auc,
    "log_loss": _log_loss,
    "brier": _brier,
    "accuracy": lambda _, c: (c.tp + c.neg_B - c.fp) / c.num_B,
    "precision": lambda _, c: c.tp / (c.tp + c.fp),
    "recall": lambda _, c: c.tp / c.pos_B,
    "f1": lambda _, c: 2 * c.tp / (c.tp + c.fp + c.pos_B),
    COST: _mean_cost,
}
_THRESHOLD_METRICS = frozenset({"accuracy", "precision", "recall", "f1", COST})


def detail_of(
    sample: BinarySample, *, y_N: NDArray[Any], scores_N: NDArray[Any], classes: Sequence[str], choice: Choice
) -> BinaryDetail:
    """Curves, bins and tables of the rows as they are.

    Raises:
        ValueError: without a threshold.
    """
    if sample.threshold is None:
        raise ValueError("a binary target is judged at a threshold chosen on validation or calibration; give ScoredRows one")
    c = sample.every_row()
    tp, fp, pos, neg = (int(v[0]) for v in (c.tp, c.fp, c.pos_B, c.neg_B))
    edges = np.linspace(0, 1, _NUM_BARS + 1)
    by_class = {name: np.histogram(scores_N[y_N == i], edges)[0].tolist() for i, name in enumerate(classes)}
    return BinaryDetail(
        threshold=sample.threshold,
        confusion=((neg - fp, fp), (pos - tp, tp)),
        roc=roc_curve(c),
        pr=_pr_curve(c),
        calibration=share_bins(scores_N, y_N),
        histogram=Histogram(edges=tuple(edges.tolist()), counts={name: tuple(num) for name, num in by_class.items()}),
        by_threshold=_by_threshold(sample, c),
        choice=choice,
        cost_by_threshold=_cost_by_threshold(sample, c),
    )


def roc_curve(c: Counts) -> Curve:
    """False positive rate and recall of the first draw, from (0,0) to (1,1)."""
    x = np.concatenate([[0.0], c.fp_by_score[0] / c.neg_B[0]])
    y = np.concatenate([[0.0], c.tp_by_score[0] / c.pos_B[0]])
    return _thinned(x, y)


def _pr_curve(c: Counts) -> Curve:
    x = c.tp_by_score[0] / c.pos_B[0]
    y = c.tp_by_score[0] / (c.tp_by_score[0] + c.fp_by_score[0])
    first = int(np.argmax(x > 0))  # above the first positive, precision and recall are both 0
    return _thinned(x[first:], y[first:])


def _by_threshold(sample: BinarySample, c: Counts) -> dict[str, Curve]:
    grid = np.linspace(sample.scores_G[-1], sample.scores_G[0], _NUM_POINTS // 2)
    last = np.searchsorted(-sample.scores_G, -grid, side="right") - 1
    tp, fp, pos = c.tp_by_score[0][last], c.fp_by_score[0][last], c.pos_B[0]
    lines = {"precision": tp / (tp + fp), "recall": tp / pos, "f1": 2 * tp / (tp + fp + pos)}
    return {name: Curve(x=tuple(grid.tolist()), y=tuple(line.tolist())) for name, line in lines.items()}


def _cost_by_threshold(sample: BinarySample, c: Counts) -> Curve | None:
    if sample.costs is None:
        return None
    grid = np.linspace(sample.scores_G[-1], sample.scores_G[0], _NUM_POINTS // 2)
    last = np.searchsorted(-sample.scores_G, -grid, side="right") - 1
    cost = cost_of(sample.costs, c.tp_by_score[0][last], c.fp_by_score[0][last], c.pos_B[0], c.neg_B[0])
    return Curve(x=tuple(grid.tolist()), y=tuple(cost.tolist()))


def _thinned(x: Floats, y: Floats) -> Curve:
    """At most `_NUM_POINTS` points, evenly along the line; the ends stay."""
    if len(x) > _NUM_POINTS:
        along = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
        keep = np.unique(np.searchsorted(along, np.linspace(0, along[-1], _NUM_POINTS)))
        keep = np.unique(np.concatenate([[0], np.minimum(keep, len(x) - 1), [len(x) - 1]]))
        x, y = x[keep], y[keep]
    return Curve(x=tuple(x.tolist()), y=tuple(y.tolist()))


def share_bins(scores_N: NDArray[Any], hit_N: NDArray[Any]) -> tuple[Bin, ...]:
    """Up to ten quantile bins of the score; in each the share of hits with its Wilson interval."""
    scores_N = scores_N.astype(np.float64)
    bins = []
    for index in quantile_bins(scores_N, _NUM_BINS):
        num, share = len(index), float(hit_N[index].mean())
        centre = (share + _WILSON_Z**2 / (2 * num)) / (1 + _WILSON_Z**2 / num)
        half = _WILSON_Z / (1 + _WILSON_Z**2 / num) * np.sqrt(share * (1 - share) / num + _WILSON_Z**2 / (4 * num**2))
        low, high = max(0.0, float(centre - half)), min(1.0, float(centre + half))
        bins.append(Bin(predicted=float(scores_N[index].mean()), actual=share, low=low, high=high, num_rows=num))
    return tuple(bins)


def quantile_bins(values_N: Floats, num_bins: int) -> list[NDArray[np.int64]]:
    """Row indices by quantile bin of the value, lowest first; equal values share a bin, empty bins are left out."""
    edges = np.quantile(values_N, np.linspace(0, 1, num_bins + 1))
    bin_N = np.searchsorted(edges[1:-1], values_N)
    return [np.flatnonzero(bin_N == b) for b in np.unique(bin_N)]


def choose_threshold(y_N: NDArray[Any], scores_N: NDArray[Any], costs: Costs | None = None) -> float:
    """The threshold with the largest F1 on these rows, or with the least mean cost; of equals the highest.

    The rows must not be those that the model is judged on. It lies halfway to the next lower score, in the precision of the
    scores, so that a last-bit difference between machines flips no prediction. By costs it may be above 1, which no score
    reaches: then no row is worth a yes.

    Raises:
        ValueError: when there is no positive row.
    """
    sample = BinarySample(y_N, scores_N)
    c = sample.every_row()
    if c.pos_B[0] == 0:
        raise ValueError("a threshold cannot be chosen without a positive row")
    tp_G, fp_G = c.tp_by_score[0], c.fp_by_score[0]
    if costs is None:
        best = int(np.argmax(2 * tp_G / (tp_G + fp_G + c.pos_B[0])))
    else:
        none, cost_G = np.zeros(1), cost_of(costs, tp_G, fp_G, c.pos_B[0], c.neg_B[0])
        if cost_of(costs, none, none, c.pos_B[0], c.neg_B[0])[0] <= cost_G.min():
            return float(np.nextafter(np.float32(1), np.float32(2)))  # float32: else a score of 1 in that precision reaches it
        best = int(np.argmin(cost_G))
    return _halfway(sample.scores_G, best, scores_N.dtype)


def _halfway(scores_G: Floats, best: int, dtype: np.dtype[Any]) -> float:
    """Between the score at `best` and the next lower one."""
    score = float(scores_G[best])
    if best + 1 == len(scores_G):
        return score
    lower = float(scores_G[best + 1])
    halfway = float(dtype.type((score + lower) / 2)) if dtype.kind == "f" else (score + lower) / 2
    return halfway if halfway > lower else score
