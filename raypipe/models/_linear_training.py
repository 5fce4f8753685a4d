"""Training of `Linear`: each process sums the loss and its gradient over its part of the rows.

Shapes as in _linear_fitted.py.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors import numpy as safetensors

from raypipe.core.tensors import LabelledTensors, TrainingData
from raypipe.models._constant import note_without_improvement
from raypipe.models._course import Course
from raypipe.models._linear import Linear
from raypipe.models._linear_descent import Descent, Point
from raypipe.models._linear_fitted import FittedLinear, num_weights, split_weights
from raypipe.models._metrics import has_both_classes, roc_auc
from raypipe.models._missing import check_no_missing
from raypipe.models._protocols import Loop

_CHUNK_ROWS = 65_536
_ROUNDED = 0.01
_CHECKPOINT_EVERY = 10
_WAY_OUT = "look for extreme numbers, or raise model.l2"


class LinearTraining:
    """One training."""

    def __init__(self, model: Linear, data: TrainingData, loop: Loop) -> None:
        model.objective.check(model.kind, data)
        check_no_missing(model.kind, data)
        self._model, self._data, self._loop = model, data, loop
        bounds = np.linspace(0, len(data.train), loop.world_size + 1).astype(np.int64)
        self._mine = slice(int(bounds[loop.rank]), int(bounds[loop.rank + 1]))
        self._mean, self._std = 0.0, 1.0
        if data.target.kind == "regression":
            self._mean = float(data.train.y_N.mean(dtype="float64"))
            self._std = float(data.train.y_N.std(dtype="float64")) or 1.0
        self._weight_K = model.objective.weight_of_class(data.target, data.train.y_N)
        self._total_weight = float(self._row_weights(data.train.y_N).sum())
        self._shape = (num_weights(data.specs), data.target.num_outputs)
        self._has_auc = data.target.kind == "binary" and has_both_classes(data.validation.y_N)
        self._penalised_PO = np.ones(self._shape)
        self._penalised_PO[-1] = 0.0
        self._moments = self._sum_moments()
        self._course = Course(
            model.kind,
            loop,
            max_steps=model.max_steps,
            patience=0,
            checkpoint_every=_CHECKPOINT_EVERY,
            way_out=_WAY_OUT,
        )

    def run(self) -> FittedLinear:
        """Go down until nothing is promised, then validate."""
        course, loop, model = self._course, self._loop, self._model
        curvature_P = np.append(self._moments.square_P, 1.0) + model.l2 + 1.0 / len(self._data.train)
        curvature_W = np.broadcast_to(curvature_P[:, None], self._shape).ravel()
        descent = Descent(self._evaluate, l1_W=(model.l1 * self._penalised_PO).ravel(), curvature_W=curvature_W)
        state = course.restore()
        if state is not None:
            descent.restore(safetensors.load(state["linear.safetensors"]))
        started_s = time.perf_counter()
        while course.goes_on and course.step < model.max_iterations and descent.step(model.tolerance):
            course.advance({"train_loss": self._in_label_unit(descent.point.train_loss)})
            seconds, started_s = time.perf_counter() - started_s, time.perf_counter()
            loop.measure(rows=self._mine.stop - self._mine.start, seconds=seconds)
            if course.saves:
                course.save({"linear.safetensors": safetensors.save(descent.state())})
        weights_W = descent.point.weights_W
        course.advance({"train_loss": self._in_label_unit(descent.point.train_loss), **self._validate(weights_W)}, updates=0)
        note_without_improvement(model.objective, self._data, course, loop, way_out="raise model.l2")
        return self._fitted(weights_W)

    def _fitted(self, weights_W: NDArray[np.float64]) -> FittedLinear:
        weights_PO = weights_W.reshape(self._shape) * self._std
        weights_PO[-1] += self._mean
        specs, num_numbers = self._data.specs, len(self._data.specs.numbers)
        average_PO = weights_PO[:-1] * self._moments.mean_P[:, None]
        starts = [*range(num_numbers), *(num_numbers + np.cumsum([0, *specs.cardinalities])[:-1])]
        means_DO = np.add.reduceat(average_PO, starts) if starts else np.zeros((0, self._shape[1]))
        return FittedLinear(
            weights_PO=weights_PO,
            means_DO=means_DO,
            target=self._data.target,
            specs=specs,
            best_step=self._course.best_step,
        )

    def _evaluate(self, weights_W: NDArray[np.float64]) -> Point:
        """Mean loss of the training rows with the L2 penalty, and its gradient: one pass over all rows."""
        weights_PO = weights_W.reshape(self._shape)
        gradient_PO, loss = np.zeros(self._shape), 0.0
        for rows in _chunks(self._data.train, self._mine):
            found = self._losses(self._scores(weights_PO, rows), rows.y_N, rounded=_ROUNDED)
            loss += found.loss
            self._add_gradient(gradient_PO, rows, found.slope_NO)
        sums = self._loop.total(np.append(gradient_PO.ravel(), loss)) / self._total_weight
        penalised_W = self._model.l2 * self._penalised_PO.ravel() * weights_W
        train_loss = float(sums[-1])
        return Point(
            weights_W=weights_W,
            value=train_loss + 0.5 * float((penalised_W * weights_W).sum()),
            gradient_W=sums[:-1] + penalised_W,
            train_loss=train_loss,
        )

    def _scores(self, weights_PO: NDArray[np.float64], rows: LabelledTensors) -> NDArray[np.float64]:
        parts = split_weights(weights_PO, self._data.specs)
        # einsum adds in one order on any number of threads, a matrix product does not
        scores_NO: NDArray[np.float64] = np.einsum("nf,fo->no", rows.inputs["numbers_NF"].astype(np.float64), parts.numbers_FO)
        scores_NO += parts.intercept_O
        for table_SO, index_N in zip(parts.categories, rows.inputs["categories_NC"].T, strict=True):
            scores_NO += table_SO[index_N]
        return scores_NO

    def _add_gradient(self, gradient_PO: NDArray[np.float64], rows: LabelledTensors, slope_NO: NDArray[np.float64]) -> None:
        parts = split_weights(gradient_PO, self._data.specs)
        parts.numbers_FO[...] += np.einsum("nf,no->fo", rows.inputs["numbers_NF"].astype(np.float64), slope_NO)
        parts.intercept_O[...] += slope_NO.sum(axis=0)
        for table_SO, index_N in zip(parts.categories, rows.inputs["categories_NC"].T, strict=True):
            for o in range(slope_NO.shape[1]):
                table_SO[:, o] += np.bincount(index_N, weights=slope_NO[:, o], minlength=len(table_SO))

    def _losses(self, scores_NO: NDArray[np.float64], y_N: NDArray[np.float32], *, rounded: float) -> "_Losses":
        """Sum of the losses, and the slope of each row's; a kink is a parabola within `rounded`."""
        weights_N = self._row_weights(y_N)
        if self._data.target.kind == "regression":
            losses_N, slope_N = self._regression(scores_NO[:, 0], (y_N.astype(np.float64) - self._mean) / self._std, rounded)
            return _Losses(loss=float((losses_N * weights_N).sum()), slope_NO=(slope_N * weights_N)[:, None])
        if self._data.target.kind == "binary":
            score_N = scores_NO[:, 0]
            losses_N = np.logaddexp(0.0, score_N) - y_N * score_N
            slope_NO = (0.5 * (1.0 + np.tanh(0.5 * score_N)) - y_N)[:, None]
        else:
            each, index_N = np.arange(len(y_N)), y_N.astype(np.int64)
            scores_NO = scores_NO - scores_NO.max(axis=1, keepdims=True)
            slope_NO = np.exp(scores_NO)
            total_N = slope_NO.sum(axis=1)
            losses_N = np.log(total_N) - scores_NO[each, index_N]
            slope_NO /= total_N[:, None]
            slope_NO[each, index_N] -= 1.0
        return _Losses(loss=float((losses_N * weights_N).sum()), slope_NO=slope_NO * weights_N[:, None])

    def _regression(
        self, score_N: NDArray[np.float64], y_N: NDArray[np.float64], rounded: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        below_N, objective = y_N - score_N, self._model.objective
        if objective.regression_loss == "squared":
            return below_N**2, -2.0 * below_N
        flat_N = np.clip(below_N / rounded, -1.0, 1.0) if rounded else np.sign(below_N)
        absolute_N = np.abs(below_N) - np.abs(flat_N) * rounded + 0.5 * rounded * flat_N**2
        if objective.regression_loss == "absolute":
            return absolute_N, -flat_N
        lean = (objective.quantile or 0.5) - 0.5
        return 0.5 * absolute_N + lean * below_N, -0.5 * flat_N - lean

    def _row_weights(self, y_N: NDArray[np.float32]) -> NDArray[np.float64]:
        if self._weight_K is None:
            return np.ones(len(y_N))
        return self._weight_K[y_N.astype(np.int64)].astype(np.float64)

    def _validate(self, weights_W: NDArray[np.float64]) -> dict[str, float]:
        rows, loss, scores = self._data.validation, 0.0, []
        for part in _chunks(rows, slice(0, len(rows))):
            scores_NO = self._scores(weights_W.reshape(self._shape), part)
            loss += self._losses(scores_NO, part.y_N, rounded=0.0).loss
            scores.append(scores_NO[:, 0])
        metrics = {"validation_loss": self._in_label_unit(loss / float(self._row_weights(rows.y_N).sum()))}
        return metrics | ({"validation_auc": roc_auc(rows.y_N, np.concatenate(scores))} if self._has_auc else {})

    def _in_label_unit(self, loss: float) -> float:
        is_squared = self._data.target.kind == "regression" and self._model.objective.regression_loss == "squared"
        return (math.sqrt(loss) if is_squared else loss) * self._std

    def _sum_moments(self) -> "_Moments":
        """Mean of each input that has a weight, and of its square, over all training rows."""
        num_inputs = self._shape[0] - 1
        sums_PO = np.zeros((num_inputs + 1, 2))
        num_numbers = len(self._data.specs.numbers)
        for rows in _chunks(self._data.train, self._mine):
            numbers_NF = rows.inputs["numbers_NF"].astype(np.float64)
            self._add_gradient(sums_PO, rows, np.ones((len(rows), 2)))
            sums_PO[:num_numbers, 1] += (numbers_NF**2 - numbers_NF).sum(axis=0)
        mean_P, square_P = self._loop.total(sums_PO[:-1].ravel()).reshape(-1, 2).T / len(self._data.train)
        return _Moments(mean_P=mean_P, square_P=square_P)


@dataclass(frozen=True, kw_only=True)
class _Losses:
    loss: float
    slope_NO: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class _Moments:
    mean_P: NDArray[np.float64]
    square_P: NDArray[np.float64]


def _chunks(rows: LabelledTensors, part: slice) -> Iterator[LabelledTensors]:
    """The rows in `part`, some at a time, as views."""
    for start in range(part.start, part.stop, _CHUNK_ROWS):
        yield rows.take(slice(start, min(part.stop, start + _CHUNK_ROWS)))
