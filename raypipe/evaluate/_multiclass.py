"""Multiclass metrics. Macro averages run over the classes that occur among the labels or the predictions.

Shapes: N rows, K classes, B draws. Macro ROC AUC is one-vs-rest, over the classes for which it is defined.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raypipe.evaluate._binary import BinarySample, roc_curve, share_bins
from raypipe.evaluate._bootstrap import Floats, Rows, number
from raypipe.evaluate._evaluation import ClassRow, Curve, Histogram, MulticlassDetail

_NUM_BARS = 40


class MulticlassSample:
    """Labels and class probabilities of N rows."""

    def __init__(self, y_N: NDArray[Any], scores_NK: NDArray[Any]) -> None:
        self.y_N = y_N.astype(np.int64)
        self.scores_NK = scores_NK
        self.num_classes = scores_NK.shape[1]
        self.predicted_N = np.argmax(scores_NK, axis=1)
        self._cell_N = self.y_N * self.num_classes + self.predicted_N
        tiny = float(np.finfo(scores_NK.dtype).eps)
        self._loss_N = -np.log(np.clip(scores_NK[np.arange(len(y_N)), self.y_N].astype(np.float64), tiny, 1 - tiny))
        self._one_vs_rest = [BinarySample(self.y_N == k, scores_NK[:, k]) for k in range(self.num_classes)]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.y_N)

    def confusion(self, draw_BN: Rows) -> Floats:
        """Rows of each draw by actual, then predicted class: (B,K,K)."""
        num_draws, num_cells = len(draw_BN), self.num_classes**2
        cell_BN = self._cell_N[draw_BN] + (np.arange(num_draws) * num_cells)[:, None]
        counts = np.bincount(cell_BN.ravel(), minlength=num_draws * num_cells)
        return counts.reshape(num_draws, self.num_classes, self.num_classes).astype(np.float64)

    def roc_auc(self, draw_BN: Rows) -> Floats:
        """One-vs-rest ROC AUC of each draw and class, (B,K); NaN for a class that is absent or alone."""
        return np.stack([s.measure(draw_BN, ("roc_auc",))["roc_auc"] for s in self._one_vs_rest], axis=1)

    def measure(self, draw_BN: Rows, names: Sequence[str]) -> dict[str, Floats]:
        """Metrics of each draw; NaN where undefined."""
        wanted, out = set(names), {}
        if wanted - {"log_loss", "macro_roc_auc"}:
            out.update(_from_confusion(self.confusion(draw_BN)))
        if "log_loss" in wanted:
            out["log_loss"] = np.asarray(self._loss_N[draw_BN].mean(axis=1))
        if "macro_roc_auc" in wanted:
            out["macro_roc_auc"] = _mean_of_defined(self.roc_auc(draw_BN))
        return {name: out[name] for name in names}

    def one_vs_rest_curves(self, classes: Sequence[str]) -> dict[str, Curve]:
        """ROC curve of every class that occurs beside another."""
        counts = {name: s.every_row() for name, s in zip(classes, self._one_vs_rest, strict=True)}
        return {name: roc_curve(c) for name, c in counts.items() if c.pos_B[0] and c.neg_B[0]}


def _from_confusion(confusion_BKK: Floats) -> dict[str, Floats]:
    hits_BK = np.diagonal(confusion_BKK, axis1=1, axis2=2)
    actual_BK, predicted_BK = confusion_BKK.sum(axis=2), confusion_BKK.sum(axis=1)
    num_occurring_B = ((actual_BK + predicted_BK) > 0).sum(axis=1)

    def macro(share_BK: Floats) -> Floats:
        return np.asarray(share_BK.sum(axis=1) / num_occurring_B)

    return {
        "accuracy": hits_BK.sum(axis=1) / actual_BK.sum(axis=1),
        "macro_f1": macro(2 * hits_BK / np.maximum(actual_BK + predicted_BK, 1)),
        "macro_precision": macro(hits_BK / np.maximum(predicted_BK, 1)),
        "macro_recall": macro(hits_BK / np.maximum(actual_BK, 1)),
    }


def _mean_of_defined(values_BK: Floats) -> Floats:
    defined_BK = np.isfinite(values_BK)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(defined_BK, values_BK, 0).sum(axis=1) / defined_BK.sum(axis=1))


def detail_of(sample: MulticlassSample, classes: Sequence[str]) -> MulticlassDetail:
    """Curves, bins and tables of the rows as they are."""
    every = np.arange(len(sample))[None]
    confusion_KK, auc_K = sample.confusion(every)[0], sample.roc_auc(every)[0]
    top_N = sample.scores_NK.max(axis=1)
    right_N = sample.predicted_N == sample.y_N
    edges = np.linspace(0, 1, _NUM_BARS + 1)
    groups = {"right": top_N[right_N], "wrong": top_N[~right_N]}
    return MulticlassDetail(
        classes=tuple(_class_row(name, k, confusion_KK, float(auc_K[k])) for k, name in enumerate(classes)),
        confusion=tuple(tuple(int(v) for v in row) for row in confusion_KK),
        roc=sample.one_vs_rest_curves(classes),
        calibration=share_bins(top_N, right_N),
        histogram=Histogram(
            edges=tuple(edges.tolist()),
            counts={name: tuple(np.histogram(v, edges)[0].tolist()) for name, v in groups.items()},
        ),
    )


def _class_row(name: str, k: int, confusion_KK: Floats, roc_auc: float) -> ClassRow:
    hits, actual, predicted = confusion_KK[k, k], confusion_KK[k].sum(), confusion_KK[:, k].sum()
    return ClassRow(
        name=name,
        num_rows=int(actual),
        num_predicted=int(predicted),
        precision=float(hits / predicted) if predicted else None,
        recall=float(hits / actual) if actual else None,
        f1=float(2 * hits / (actual + predicted)) if actual + predicted else None,
        roc_auc=number(roc_auc),
    )
