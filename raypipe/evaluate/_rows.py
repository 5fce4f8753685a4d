"""What is judged: the rows of one split with their labels and a model's predictions, and the metrics that exist.

Shapes: N rows, K classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from raypipe.core.errors import ConfigError, EmptySplit, LabelError, ScoreError
from raypipe.core.naming import did_you_mean
from raypipe.core.tensors import Target, TargetKind
from raypipe.evaluate._costs import BY_F1, COST, Choice, Costs

Better = Literal["higher", "lower"]

METRICS: Mapping[TargetKind, Mapping[str, Better]] = {
    "binary": {
        "roc_auc": "higher",
        "pr_auc": "higher",
        "log_loss": "lower",
        "brier": "lower",
        "accuracy": "higher",
        "precision": "higher",
        "recall": "higher",
        "f1": "higher",
    },
    "multiclass": {
        "accuracy": "higher",
        "macro_f1": "higher",
        "macro_precision": "higher",
        "macro_recall": "higher",
        "macro_roc_auc": "higher",
        "log_loss": "lower",
    },
    "regression": {"rmse": "lower", "mae": "lower", "r2": "higher"},
}
_SUM_TOLERANCE = 1e-3


def main_metric(kind: TargetKind) -> str:
    """The metric that speaks for a model when the configuration names none: the first of its kind."""
    return next(iter(METRICS[kind]))


def check_metric(metric: str, *, kind: TargetKind, setting: str) -> Better:
    """Which direction of `metric` is better.

    Raises:
        ConfigError: when a target of this kind has no such metric; it names `setting` and the metrics that exist.
    """
    known = METRICS[kind]
    if metric == COST and kind == "binary":
        return "lower"  # where costs are set
    if metric not in known:
        hint = did_you_mean(metric, tuple(known))
        raise ConfigError([f"{setting}: a {kind} target has no metric {metric!r}{hint} (metrics: {', '.join(known)})"])
    return known[metric]


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredRows:
    """Rows of one split with the predictions of one model.

    Attributes:
        target: What is predicted.
        split: Name of the split; every number computed from these rows carries it.
        y_N: Labels: 0/1 for binary, the class index for multiclass, the value for regression.
        scores: Predictions: (N,) probability of ``classes[1]`` for binary, (N,K) probabilities for multiclass,
            (N,) values for regression.
        threshold: Binary only: a score at or above it is predicted positive. Never chosen on these rows.
        choice: How it was chosen.
        costs: Binary only: what its decisions cost.
        raw: The predictions before calibration; None when the model is not calibrated.
        calibrator: The kind of calibrator behind `scores`; "" without one.
        slices: Per declared column, its value in each row (any scalar; None and NaN are shown as null).

    Raises:
        EmptySplit: without rows.
        LabelError: when a label is null, is not a class, or all rows have the same class.
        ScoreError: when a prediction is not finite, not a probability, or the shapes do not match.
        ValueError: when a slice column has another number of rows.
    """

    target: Target
    split: str
    y_N: NDArray[Any]
    scores: NDArray[Any]
    threshold: float | None = None
    choice: Choice = BY_F1
    costs: Costs | None = None
    raw: NDArray[Any] | None = None
    calibrator: str = ""
    slices: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.y_N) == 0:
            raise EmptySplit(self.split, {self.split: 0})
        self._check_labels()
        self._check_scores()
        wrong = [name for name, values in self.slices.items() if len(values) != len(self.y_N)]
        if wrong:
            raise ValueError(f"slice column(s) {', '.join(wrong)} have another number of rows than the labels")

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.y_N)

    def _check_labels(self) -> None:
        name, num = self.target.name, len(self)
        num_null = int(np.count_nonzero(~np.isfinite(self.y_N)))
        if num_null:
            raise LabelError(name, f"{num_null} of {num} rows of split {self.split} have no finite label", "set them aside")
        if self.target.kind == "regression":
            return
        num_classes = max(len(self.target.classes), 2)
        num_bad = int(np.count_nonzero((self.y_N != np.floor(self.y_N)) | (self.y_N < 0) | (self.y_N >= num_classes)))
        if num_bad:
            raise LabelError(
                name,
                f"{num_bad} of {num} rows of split {self.split} hold no class index below {num_classes}",
                "encode the label",
            )
        if np.all(self.y_N == self.y_N[0]):
            index = int(self.y_N[0])
            shown = self.target.classes[index] if index < len(self.target.classes) else str(index)
            problem = f"all {num} rows of split {self.split} have the one class {shown!r}, so a model cannot be judged on them"
            raise LabelError(name, problem, "change the bounds or shares under split")

    def _check_scores(self) -> None:
        num = len(self)
        width = (len(self.target.classes),) if self.target.kind == "multiclass" else ()
        if self.scores.shape != (num, *width):
            raise ScoreError(self.split, num, num, f"have predictions of shape {self.scores.shape}, not {(num, *width)}")
        by_row = self.scores.reshape(num, -1)
        num_bad = int(np.count_nonzero(~np.isfinite(by_row).all(axis=1)))
        if num_bad:
            raise ScoreError(self.split, num_bad, num, "have a prediction that is not a finite number")
        if self.target.kind == "regression":
            return
        outside = ((by_row < 0) | (by_row > 1)).any(axis=1)
        if self.target.kind == "multiclass":
            outside |= np.abs(by_row.sum(axis=1) - 1) > _SUM_TOLERANCE
        num_bad = int(np.count_nonzero(outside))
        if num_bad:
            raise ScoreError(self.split, num_bad, num, "have a prediction that is not a probability between 0 and 1")
