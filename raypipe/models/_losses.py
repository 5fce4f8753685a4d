"""The loss of any answers, in the unit of training curves: for models that do not compute it while they train.

Shapes: N rows, K classes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from raypipe.core.tensors import LabelledTensors, Target
from raypipe.models._metrics import has_both_classes, roc_auc

_LEAST = 1e-15


def loss_of(target: Target, y_N: NDArray[Any], answers: NDArray[Any]) -> float:
    """Mean log loss of probabilities (N,) or (N, K); RMSE of values (N,). NaN without rows."""
    if len(y_N) == 0:
        return float("nan")
    if target.kind == "regression":
        return float(np.sqrt(np.mean((answers.astype(np.float64) - y_N) ** 2)))
    if target.kind == "multiclass":
        p_N = answers[np.arange(len(y_N)), y_N.astype(np.intp)]
    else:
        p_N = np.where(y_N > 0.5, answers, 1 - answers.astype(np.float64))
    return float(-np.log(np.maximum(p_N.astype(np.float64), _LEAST)).mean())


def metrics_of(target: Target, rows: LabelledTensors, answers: NDArray[Any]) -> dict[str, float]:
    """``validation_loss``, and ``validation_auc`` for binary labels of both classes."""
    found = {"validation_loss": loss_of(target, rows.y_N, answers)}
    if target.kind == "binary" and has_both_classes(rows.y_N):
        found["validation_auc"] = roc_auc(rows.y_N, answers)
    return found
