"""One training of XGBoost, round by round, from tensors that stay where they are. Imports XGBoost."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from raypipe.core.tensors import LabelledTensors, TrainingData
from raypipe.models._course import Course
from raypipe.models._metrics import has_both_classes, roc_auc
from raypipe.models._protocols import Loop
from raypipe.models._trees import CHECKPOINT_EVERY, PATIENCE, WAY_OUT, Slices, matrix, share
from raypipe.models._xgboost_fitted import BOOSTER, FittedXgboost

if TYPE_CHECKING:
    from raypipe.models._xgboost import Xgboost

_CLASSES = {"binary": ("binary:logistic", "logloss"), "multiclass": ("multi:softprob", "mlogloss")}
_VALUES = {
    "squared": ("reg:squarederror", "rmse"),
    "absolute": ("reg:absoluteerror", "mae"),
    "quantile": ("reg:quantileerror", "quantile"),
}


class Boosting:
    """One training: the booster, the two matrices, and how far it is."""

    def __init__(self, model: "Xgboost", data: TrainingData, loop: Loop) -> None:
        self._model, self._loop, self._specs, self._target = model, loop, data.specs, data.target
        self._mine, self._validation_rows = share(data.train, loop), data.validation
        self._objective, self._metric = _names(model, data)
        self._samples = model.subsample < 1 or model.colsample < 1
        self._has_auc = data.target.kind == "binary" and has_both_classes(data.validation.y_N)
        weigh = model.objective.weights
        on_disk = model.peak_bytes(len(self._mine), len(data.validation), data.specs) > loop.memory_bytes
        self._folder = loop.scratch if on_disk else None
        train_weights = weigh(data.target, data.train.y_N, self._mine.y_N)
        self._train = self._matrix("train", self._mine, train_weights)
        # every process holds all validation rows: their losses and the AUC are then those of one process, whatever their number
        validation_weights = weigh(data.target, data.train.y_N, data.validation.y_N)
        self._validation = self._matrix("validation", data.validation, validation_weights, ref=self._train)

    def run(self) -> FittedXgboost:
        """Add rounds until enough of them brought nothing."""
        way = {"patience": PATIENCE, "checkpoint_every": CHECKPOINT_EVERY, "way_out": WAY_OUT}
        course = Course("xgboost", self._loop, max_steps=self._model.num_rounds, **way)
        saved = course.restore()
        start = bytearray(saved[BOOSTER]) if saved else None
        booster = xgb.Booster(self._params(), [self._train, self._validation], model_file=start)
        while course.goes_on:
            if self._samples:
                _sample_afresh(booster)
            booster.update(self._train, course.step)
            course.advance(self._evaluate(booster, course.step))
            if course.saves:
                course.save({BOOSTER: bytes(booster.save_raw("ubj"))})
        return FittedXgboost(
            booster=booster[: course.best_step], target=self._target, specs=self._specs, best_step=course.best_step
        )
