"""What puts the answers of an ensemble's members together, fitted.

Shapes: N rows, J columns of answers.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from raypipe.core.tensors import TrainingData
from raypipe.models._ensemble_fitted import Stacked, Weighted, scores
from raypipe.models._losses import loss_of

_UNSEEN = -30.0  # log odds of a class without training rows


def fit_weights(data: TrainingData, answers: list[NDArray[Any]]) -> Weighted:
    """Weights of at least 0 that add up to 1, with the lowest loss on the validation rows."""
    from scipy.optimize import minimize  # type: ignore[import-untyped]

    num = len(answers)
    scale = float(data.validation.y_N.std()) or 1.0 if data.target.kind == "regression" else 1.0

    def loss(weights: NDArray[np.float64]) -> float:
        mixed = Weighted(weights=tuple(weights)).combine(answers)
        return loss_of(data.target, data.validation.y_N, np.asarray(mixed, dtype=np.float64)) / scale

    start = np.full(num, 1 / num)
    whole = {"type": "eq", "fun": lambda weights: weights.sum() - 1}
    found = minimize(loss, start, method="SLSQP", bounds=[(0, 1)] * num, constraints=[whole], options={"eps": 1e-3})
    weights = np.clip(found.x if np.isfinite(found.x).all() and loss(found.x) <= loss(start) else start, 0, 1)
    return Weighted(weights=tuple((weights / weights.sum()).tolist()))


def fit_stack(data: TrainingData, answers: list[NDArray[Any]], penalty: float) -> Stacked:
    """A linear model of the members' `answers` for all training rows, each by a training that did not see it."""
    from sklearn.linear_model import LogisticRegression, Ridge

    target, y_N = data.target, data.train.y_N.astype(np.float64)
    mean, std = (float(y_N.mean()), float(y_N.std()) or 1.0) if target.kind == "regression" else (0.0, 1.0)
    score_NJ = scores(target, answers, mean=mean, std=std)
    if target.kind == "regression":
        ridge = Ridge(alpha=penalty).fit(score_NJ, (y_N - mean) / std)
        coefficients, intercept = ridge.coef_.reshape(1, -1), np.array([ridge.intercept_])
    else:
        found = LogisticRegression(C=1 / penalty, max_iter=1000).fit(score_NJ, y_N.astype(int))
        coefficients, intercept = found.coef_, found.intercept_
        if target.kind == "multiclass":
            coefficients, intercept = _all_classes(found, target.num_outputs)
    return Stacked(target=target, coefficients_OJ=coefficients, intercept_O=intercept, mean=mean, std=std)


def _all_classes(found: Any, num_classes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coefficients and intercept of every class; two that were seen have one row between them."""
    seen = found.classes_.astype(int)
    coefficients, intercept = np.zeros((num_classes, found.coef_.shape[1])), np.full(num_classes, _UNSEEN)
    if len(seen) == 2:
        coefficients[seen[1]], intercept[seen] = found.coef_[0], (0.0, found.intercept_[0])
    else:
        coefficients[seen], intercept[seen] = found.coef_, found.intercept_
    return coefficients, intercept
