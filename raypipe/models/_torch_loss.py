"""The loss of a network's outputs, with class weights, and its mean in the unit that people read.

Shapes: N rows, O outputs (1, or K classes).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from raypipe.core.tensors import TrainingData
from raypipe.models._objective import Objective


@dataclass(frozen=True, kw_only=True)
class LossSum:
    """Losses of some rows, each times its weight, and the weights; 0-dimensional tensors."""

    loss: Tensor
    weight: Tensor


class Loss:
    """Log loss, squared, absolute or quantile loss of raw outputs.

    Attributes:
        label_mean: A regression learns the label less this mean of the training rows...
        label_std: ... over this deviation of theirs; (0, 1) for classes.
        mean_weight: Mean weight of the training rows.
    """

    def __init__(self, objective: Objective, data: TrainingData, device: str) -> None:
        self._kind, self._objective = data.target.kind, objective
        self.label_mean, self.label_std, self.mean_weight = 0.0, 1.0, 1.0
        y_N = data.train.y_N
        if self._kind == "regression":
            self.label_mean = float(y_N.mean(dtype="float64"))
            self.label_std = float(y_N.std(dtype="float64")) or 1.0
        weight_K = objective.weight_of_class(data.target, y_N)
        self._weight_K = None if weight_K is None else torch.from_numpy(weight_K).to(device)
        if weight_K is not None:
            self.mean_weight = float(weight_K[y_N.astype("int64")].mean(dtype="float64"))

    def sum(self, outputs_NO: Tensor, y_N: Tensor) -> LossSum:
        """The sum over rows; `y_N` as in the data, outputs of a regression in deviations from the mean label."""
        losses_N = self._losses(outputs_NO, y_N)
        if self._weight_K is None:
            return LossSum(loss=losses_N.sum(), weight=losses_N.new_full((), len(y_N)))
        weights_N = self._weight_K[y_N.long()].to(losses_N.dtype)
        return LossSum(loss=(losses_N * weights_N).sum(), weight=weights_N.sum())

    def _losses(self, outputs_NO: Tensor, y_N: Tensor) -> Tensor:
        if self._kind == "multiclass":
            return functional.cross_entropy(outputs_NO, y_N.long(), reduction="none")
        if self._kind == "binary":
            return functional.binary_cross_entropy_with_logits(outputs_NO[:, 0], y_N.to(outputs_NO.dtype), reduction="none")
        below_N = (y_N.to(outputs_NO.dtype) - self.label_mean) / self.label_std - outputs_NO[:, 0]
        if self._objective.regression_loss == "squared":
            return below_N.square()
        if self._objective.regression_loss == "absolute":
            return below_N.abs()
        quantile = self._objective.quantile or 0.5
        return torch.maximum(quantile * below_N, (quantile - 1) * below_N)

    def in_label_unit(self, mean: float) -> float:
        """A mean loss as people read it: RMSE, mean absolute error or mean quantile loss in the label's unit, or log loss."""
        if self._kind == "regression" and self._objective.regression_loss == "squared":
            return math.sqrt(mean) * self.label_std
        return mean * self.label_std
