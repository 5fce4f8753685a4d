"""What a bundle answers: scores and labels of N rows.

Shapes: N rows, K classes. Binary and regression have one score a row, multiclass has one for each class.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raypipe.core.tensors import Target


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Scores of N rows and the labels that follow from them.

    Attributes:
        target: What was predicted.
        scores: (N,) for binary (the probability of ``classes[1]``) and regression (the value), (N,K) for multiclass.
        labels: The predicted class as text, (N,); for regression the value itself.
        raw: What the model said before calibration, shaped as `scores`; None when the bundle does not calibrate.
    """

    target: Target
    scores: NDArray[Any]
    labels: NDArray[Any]
    raw: NDArray[Any] | None = None

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.scores)

    def columns(self) -> dict[str, NDArray[Any]]:
        """One array a column: ``score`` and ``label``; multiclass has ``score_CLASS`` for each class; regression no label."""
        if self.target.kind == "regression":
            return {"score": self.scores}
        if self.target.kind == "binary":
            return {"score": self.scores, "label": self.labels}
        scores = {f"score_{name}": self.scores[:, k] for k, name in enumerate(self.target.classes)}
        return {**scores, "label": self.labels}

    def to_table(self) -> pa.Table:
        """The same columns as an Arrow table, scores as float64 and labels as string."""
        return pa.table(
            {
                name: pa.array(values.tolist(), pa.string()) if name == "label" else pa.array(values.astype(np.float64))
                for name, values in self.columns().items()
            }
        )

    def records(self) -> list[dict[str, Any]]:
        """One JSON-able mapping a row: ``score`` and ``label``; multiclass has ``scores`` by class; regression no label."""
        if self.target.kind == "regression":
            return [{"score": float(score)} for score in self.scores]
        labels = self.labels.tolist()
        if self.target.kind == "binary":
            return [{"score": score, "label": label} for score, label in zip(self.scores.tolist(), labels, strict=True)]
        classes = self.target.classes
        return [
            {"scores": dict(zip(classes, row, strict=True)), "label": label}
            for row, label in zip(self.scores.tolist(), labels, strict=True)
        ]


def label_scores(target: Target, scores: NDArray[Any], threshold: float | None) -> NDArray[Any]:
    """The labels of `scores`: at or above `threshold` is ``classes[1]``; the most probable class; or the value itself.

    Raises:
        ValueError: when a binary target has no threshold.
    """
    if target.kind == "regression":
        return scores
    names = np.array(target.classes, dtype=object)
    if target.kind == "multiclass":
        return np.asarray(names[np.argmax(scores, axis=1)])
    if threshold is None:
        raise ValueError(f"binary target {target.name} has no threshold; choose one on validation rows")
    return np.asarray(names[(scores >= threshold).astype(np.intp)])
