"""L-BFGS, and OWL-QN where an L1 penalty asks for it: the minimum of a convex function of many weights.

Andrew and Gao, "Scalable training of L1-regularized log-linear models", 2007. Steps start from the inverse of the
diagonal `curvature`, so that a category of ten rows moves as fast as one of a million. Shapes: W weights, M past steps.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MEMORY = 10
_ENOUGH_FALL = 1e-4
_MAX_HALVINGS = 30


@dataclass(frozen=True, kw_only=True)
class Point:
    """Weights with the value and the gradient of the smooth part there, and what else was computed on the way."""

    weights_W: NDArray[np.float64]
    value: float
    gradient_W: NDArray[np.float64]
    train_loss: float = 0.0


Evaluate = Callable[[NDArray[np.float64]], Point]


class Descent:
    """A descent from `point`; `l1_W` is the penalty of each weight.

    Attributes:
        point: Where it is.
    """

    def __init__(self, evaluate: Evaluate, *, l1_W: NDArray[np.float64], curvature_W: NDArray[np.float64]) -> None:
        self._evaluate, self._l1_W, self._inverse_W = evaluate, l1_W, 1.0 / curvature_W
        self._steps_MW, self._changes_MW = np.empty((0, len(l1_W))), np.empty((0, len(l1_W)))
        self.point = evaluate(np.zeros(len(l1_W)))

    def step(self, tolerance: float) -> bool:
        """Go one step down; returns False, and stays, when it promises a fall below `tolerance`, or nothing falls."""
        slope_W = self._slope()
        direction_W = self._direction(slope_W)
        promise = -float((direction_W * slope_W).sum())
        if promise < 2 * tolerance:
            return False
        before, share = self._penalised(self.point), 1.0
        signs_W = np.where(self.point.weights_W != 0, np.sign(self.point.weights_W), -np.sign(slope_W))
        for _ in range(_MAX_HALVINGS):
            weights_W = self.point.weights_W + share * direction_W
            weights_W = np.where((self._l1_W > 0) & (weights_W * signs_W < 0), 0.0, weights_W)
            found = self._evaluate(weights_W)
            if self._penalised(found) <= before - _ENOUGH_FALL * share * promise:
                self._remember(found)
                return True
            share /= 2
        return False

    def _penalised(self, point: Point) -> float:
        return point.value + float((self._l1_W * np.abs(point.weights_W)).sum())

    def _slope(self) -> NDArray[np.float64]:
        """The gradient with the penalty; at a weight of 0 what is left of it beyond the penalty."""
        weights_W, gradient_W, l1_W = self.point.weights_W, self.point.gradient_W, self._l1_W
        beyond_W = np.sign(gradient_W) * np.maximum(np.abs(gradient_W) - l1_W, 0.0)
        return np.where(weights_W == 0, beyond_W, gradient_W + l1_W * np.sign(weights_W))

    def _direction(self, slope_W: NDArray[np.float64]) -> NDArray[np.float64]:
        """Minus the inverse Hessian, as the last steps know it, times the slope."""
        direction_W, pairs = -slope_W, list(zip(self._steps_MW, self._changes_MW, strict=True))
        shares = []
        for step_W, change_W in reversed(pairs):
            shares.append(float((step_W * direction_W).sum() / (step_W * change_W).sum()))
            direction_W = direction_W - shares[-1] * change_W
        direction_W = direction_W * self._inverse_W
        if pairs:
            step_W, change_W = pairs[-1]
            direction_W *= float((step_W * change_W).sum() / (change_W * change_W * self._inverse_W).sum())
        for (step_W, change_W), share in zip(pairs, reversed(shares), strict=True):
            direction_W = direction_W + (share - float((change_W * direction_W).sum() / (step_W * change_W).sum())) * step_W
        return np.where((self._l1_W > 0) & (direction_W * slope_W >= 0), 0.0, direction_W)

    def _remember(self, found: Point) -> None:
        step_W, change_W = found.weights_W - self.point.weights_W, found.gradient_W - self.point.gradient_W
        if float((step_W * change_W).sum()) > 1e-12 * float((change_W * change_W).sum()):
            self._steps_MW = np.vstack([self._steps_MW, step_W])[-_MEMORY:]
            self._changes_MW = np.vstack([self._changes_MW, change_W])[-_MEMORY:]
        self.point = found

    def state(self) -> dict[str, NDArray[np.float64]]:
        """All that is needed to go on from here."""
        facts = np.array([self.point.value, self.point.train_loss])
        point = {"weights_W": self.point.weights_W, "gradient_W": self.point.gradient_W, "facts": facts}
        return {**point, "steps_MW": self._steps_MW, "changes_MW": self._changes_MW}

    def restore(self, state: Mapping[str, NDArray[np.float64]]) -> None:
        """The inverse of `state`."""
        self._steps_MW, self._changes_MW = state["steps_MW"], state["changes_MW"]
        value, train_loss = (float(fact) for fact in state["facts"])
        self.point = Point(weights_W=state["weights_W"], value=value, gradient_W=state["gradient_W"], train_loss=train_loss)
