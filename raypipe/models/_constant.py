"""The best answer that looks at no input: what a training has to beat.

Shapes: N rows, K classes.
"""

import numpy as np
from numpy.typing import NDArray

from raypipe.core.tensors import TrainingData
from raypipe.models._course import Course
from raypipe.models._objective import Objective
from raypipe.models._protocols import Loop


def constant_loss(objective: Objective, data: TrainingData) -> float:
    """Validation loss, as models report it, of the best constant answer for the training rows."""
    target, y_N, validation_y_N = data.target, data.train.y_N.astype(np.float64), data.validation.y_N.astype(np.float64)
    if target.kind == "regression":
        return _regression_loss(objective, y_N, validation_y_N)
    weight_K = objective.weight_of_class(target, y_N)
    num_classes = len(target.classes) if target.kind == "multiclass" else 2
    weight_K = np.ones(num_classes, dtype=np.float32) if weight_K is None else weight_K
    total_K = np.bincount(y_N.astype(np.int64), minlength=num_classes) * weight_K.astype(np.float64)
    share_K = np.maximum(total_K / total_K.sum(), 1e-12)
    count_K = np.bincount(validation_y_N.astype(np.int64), minlength=num_classes) * weight_K.astype(np.float64)
    return float(-(count_K * np.log(share_K)).sum() / count_K.sum())


def _regression_loss(objective: Objective, y_N: NDArray[np.float64], validation_y_N: NDArray[np.float64]) -> float:
    if objective.regression_loss == "squared":
        return float(np.sqrt(np.mean((validation_y_N - y_N.mean()) ** 2)))
    if objective.regression_loss == "absolute":
        return float(np.mean(np.abs(validation_y_N - np.median(y_N))))
    quantile = objective.quantile or 0.5
    below_N = validation_y_N - np.quantile(y_N, quantile)
    return float(np.mean(np.maximum(quantile * below_N, (quantile - 1) * below_N)))


def note_without_improvement(objective: Objective, data: TrainingData, course: Course, loop: Loop, *, way_out: str) -> None:
    """Tell people when no step was better than a constant answer; `way_out` is a setting of the model that may help."""
    constant = constant_loss(objective, data)
    if course.best_loss >= constant:
        loop.note(
            f"no improvement: the lowest validation loss is {course.best_loss:.4g} (step {course.best_step}), "
            f"and one answer for all rows has {constant:.4g}; look at the features, or {way_out}"
        )
