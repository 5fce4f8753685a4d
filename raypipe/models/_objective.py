"""What a training makes small: the loss, and how much each class weighs in it."""

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from raypipe.core.config import config
from raypipe.core.errors import TrainingError
from raypipe.core.naming import did_you_mean
from raypipe.core.tensors import Target, TrainingData

ClassWeight = Annotated[float, Field(gt=0)]


@config
class Objective:
    """The loss of a model. Classes: log loss, with weights. Regression: squared, absolute or quantile loss.

    Attributes:
        loss: For regression; null is squared for it, and log loss for classes. The answer is then the mean, the median,
            or the quantile.
        quantile: The share of labels below the answer, with loss=quantile.
        class_weights: "balanced" gives every class the same weight in all; or a weight by label, 1 for those not named.
            Scores are then no probabilities of the data any more, until they are calibrated.
    """

    loss: Literal["squared", "absolute", "quantile"] | None = None
    quantile: Annotated[float, Field(gt=0, lt=1)] | None = None
    class_weights: Literal["balanced"] | dict[str, ClassWeight] | None = None

    @model_validator(mode="after")
    def _settings_fit_together(self) -> "Objective":
        if (self.loss == "quantile") != (self.quantile is not None):
            raise ValueError("loss=quantile and quantile=SHARE are set together")
        if self.loss is not None and self.class_weights is not None:
            raise ValueError("loss is for regression and class_weights are for classes; set one of them")
        return self

    def check(self, kind: str, data: TrainingData) -> None:
        """Refuse settings that have no effect on this target, and labels that it does not have.

        Raises:
            TrainingError: naming the setting or the label.
        """
        target = data.target
        if target.kind == "regression" and self.class_weights is not None:
            raise TrainingError(kind, "class_weights have no effect on regression", "take model.objective.class_weights out")
        if target.kind != "regression" and self.loss is not None:
            raise TrainingError(
                kind, f"loss={self.loss} is for regression, this is {target.kind}", "take model.objective.loss out"
            )
        known = target.classes or ("false", "true")
        for label in self.class_weights if isinstance(self.class_weights, dict) else ():
            if label not in known:
                way_out = f"the classes are {', '.join(known)}"
                raise TrainingError(kind, f"class_weights name {label!r}{did_you_mean(label, known)}", way_out)
        for split, rows in (("train", data.train), ("validation", data.validation)):
            _check_labels(kind, target, split, rows.y_N)

    @property
    def regression_loss(self) -> Literal["squared", "absolute", "quantile"]:
        """The loss of a regression."""
        return self.loss or "squared"

    def weight_of_class(self, target: Target, y_N: NDArray[Any]) -> NDArray[np.float32] | None:
        """Weight of each class index, (K,), from the training labels `y_N`; None when all weigh 1."""
        if self.class_weights is None:
            return None
        classes = target.classes or ("false", "true")
        if self.class_weights == "balanced":
            counts_K = np.bincount(y_N.astype(np.int64), minlength=len(classes))
            # a class without a training row decides nothing there, and weighs 1 among the validation rows
            return np.where(counts_K, len(y_N) / (len(classes) * np.maximum(counts_K, 1)), 1.0).astype(np.float32)
        return np.array([self.class_weights.get(name, 1.0) for name in classes], dtype=np.float32)

    def weights(self, target: Target, train_y_N: NDArray[Any], y_N: NDArray[Any]) -> NDArray[np.float32] | None:
        """Weight of each row with label `y_N`, (N,), by the classes of the training labels; None when all weigh 1."""
        weight_K = self.weight_of_class(target, train_y_N)
        return None if weight_K is None else weight_K[y_N.astype(np.int64)]


def _check_labels(kind: str, target: Target, split: str, y_N: NDArray[Any]) -> None:
    if len(y_N) == 0:
        raise TrainingError(kind, f"there are no {split} rows", "look at the split and at the rows it sets aside")
    bad_N = ~np.isfinite(y_N)
    if target.kind != "regression":
        num = len(target.classes) if target.kind == "multiclass" else 2
        bad_N |= (y_N < 0) | (y_N >= num) | (y_N != np.floor(y_N))
    if bad_N.any():
        first = float(y_N[bad_N][0])
        expected = "a number" if target.kind == "regression" else f"a class index from 0 to {num - 1}"
        problem = f"{int(bad_N.sum()):,} of {len(y_N):,} {split} labels are outside their range, such as {first}"
        raise TrainingError(kind, problem, f"each must be {expected}")
    if split == "train" and target.kind != "regression" and y_N.min() == y_N.max():
        raise TrainingError(kind, f"all {len(y_N):,} training rows have one class", "look at the label and at the split")
