"""One training of XGBoost, round by round, from tensors that stay where they are. Imports XGBoost."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from raypipe.core.errors import TrainingError
from raypipe.core.tensors import LabelledTensors, TrainingData
from raypipe.models._course import Course
from raypipe.models._metrics import has_both_classes, roc_auc
from raypipe.models._protocols import Loop
from raypipe.models._trees import CHECKPOINT_EVERY, PATIENCE, WAY_OUT, matrix, share, slices
from raypipe.models._xgboost_fitted import BOOSTER, FittedXgboost

if TYPE_CHECKING:
    from raypipe.models._xgboost import Xgboost

_METHOD = "hist"
_CLASSES = {"binary": ("binary:logistic", "logloss"), "multiclass": ("multi:softprob", "mlogloss")}
_VALUES = {
    "squared": ("reg:squarederror", "rmse"),
    "absolute": ("reg:absoluteerror", "mae"),
    "quantile": ("reg:quantileerror", "quantile"),
}


class Boosting:
    """One training: the two matrices, and the rounds."""

    def __init__(self, model: "Xgboost", data: TrainingData, loop: Loop) -> None:
        if loop.device == "cuda" and not xgb.build_info()["USE_CUDA"]:
            way_out = "install xgboost in place of xgboost-cpu, or set trainer.use_gpu=false"
            raise TrainingError(model.kind, "this build of XGBoost has no support for GPUs", way_out)
        self._model, self._loop, self._data = model, loop, data
        self._samples = model.subsample < 1 or model.colsample < 1
        self._has_auc = data.target.kind == "binary" and has_both_classes(data.validation.y_N)
        self._loss, self._metric = _names(model, data)
        self._folder: Path | None = None
        mine = share(data.train, loop)
        self._num_rows = len(mine)
        self._train, self._validation = self._known() or self._made(mine)

    @property
    def _made_of(self) -> tuple[Any, ...]:
        """What the matrices are a function of, beside the rows."""
        model, loop = self._model, self._loop
        return (model.max_bin, model.categorical, model.objective, loop.rank, loop.world_size, loop.num_threads)

    def _known(self) -> tuple[xgb.DMatrix, xgb.DMatrix] | None:
        """The matrices that a training before this one kept, if it wanted the same."""
        made_of, found = (self._data.kept or {}).get(self._model.kind, (None, None))
        return found if made_of == self._made_of else None

    def _made(self, mine: LabelledTensors) -> tuple[xgb.DMatrix, xgb.DMatrix]:
        """New matrices, in memory or on disk; those in memory stay with data that keep."""
        model, loop, data = self._model, self._loop, self._data
        if data.kept is not None:
            data.kept.clear()  # its memory is free before these are made
        largest = -(-len(data.train) // loop.world_size)
        too_large = model.peak_bytes(largest, len(data.validation), data.specs) > loop.memory_bytes
        if loop.total(np.array([float(too_large)]))[0] > 0:  # all processes must decide alike
            self._folder = loop.scratch
        train = self._matrix("train", mine)
        # every process holds all validation rows: an AUC is not a sum over processes
        validation = self._matrix("validation", data.validation, ref=train)
        if data.kept is not None and self._folder is None:
            data.kept[model.kind] = (self._made_of, (train, validation))
        return train, validation

    def _matrix(self, name: str, rows: LabelledTensors, ref: xgb.DMatrix | None = None) -> xgb.DMatrix:
        weight_N = self._model.objective.weights(self._data.target, self._data.train.y_N, rows.y_N)
        pages = _Pages(rows, weight_N, self._model.column_types(self._data.specs), self._folder and self._folder / name)
        make = xgb.ExtMemQuantileDMatrix if self._folder else xgb.QuantileDMatrix
        options = {"max_bin": self._model.max_bin, "nthread": self._loop.num_threads, "enable_categorical": True}
        return make(pages, ref=ref, **options)

    def run(self) -> FittedXgboost:
        """Add rounds until enough of them brought nothing."""
        model, loop = self._model, self._loop
        defaults: dict[str, Any] = {"patience": PATIENCE, "checkpoint_every": CHECKPOINT_EVERY, "way_out": WAY_OUT}
        course = Course(model.kind, loop, max_steps=model.num_rounds, **defaults)
        saved = course.restore()
        start = bytearray(saved[BOOSTER]) if saved else None
        booster = xgb.Booster(self._params(), [self._train, self._validation], model_file=start)
        while course.goes_on:
            started_s = time.perf_counter()
            if self._samples:
                _sample_afresh(booster)
            booster.update(self._train, course.step)
            metrics = self._evaluate(booster)
            loop.measure(rows=self._num_rows, seconds=time.perf_counter() - started_s)
            course.advance(metrics)
            if course.saves:
                course.save({BOOSTER: bytes(booster.save_raw("ubj"))})
        kept = booster[: course.best_step]
        return FittedXgboost(booster=kept, target=self._data.target, specs=self._data.specs, best_step=course.best_step)

    def _evaluate(self, booster: xgb.Booster) -> dict[str, float]:
        """The losses by XGBoost; the AUC here, because XGBoost would also sort the training rows for one."""
        sets = [(self._validation, "validation")] + ([(self._train, "train")] if self._model.evaluate_train else [])
        found = (part.rsplit(":", 1) for part in booster.eval_set(sets).split("\t")[1:])
        metrics = {f"{name.split('-')[0]}_loss": float(value) for name, value in found}
        if self._has_auc:
            score_N = booster.predict(self._validation, output_margin=True, validate_features=False)
            metrics["validation_auc"] = roc_auc(self._data.validation.y_N, score_N)
        return metrics

    def _params(self) -> dict[str, Any]:
        model, loop = self._model, self._loop
        params: dict[str, Any] = {
            "objective": self._loss,
            "eval_metric": self._metric,
            "tree_method": _METHOD,
            "device": loop.device,
            "nthread": loop.num_threads,
            "seed": loop.seed,
            "seed_per_iteration": True,
            "max_depth": model.max_depth,
            "learning_rate": model.learning_rate,
            "min_child_weight": model.min_child_weight,
            "min_split_loss": model.min_split_loss,
            "subsample": model.subsample,
            "colsample_bytree": model.colsample,
            "reg_lambda": model.reg_lambda,
            "reg_alpha": model.reg_alpha,
            "max_bin": model.max_bin,
        }
        if model.categorical == "native" and self._data.specs.categories:
            params |= {"max_cat_to_onehot": model.max_cat_to_onehot, "max_cat_threshold": model.max_cat_threshold}
        if self._data.target.kind == "multiclass":
            params["num_class"] = self._data.target.num_outputs
        if model.objective.quantile is not None:
            params["quantile_alpha"] = model.objective.quantile
        return params


class _Pages(xgb.DataIter):  # type: ignore[misc]  # XGBoost is not typed
    """The slices of some rows with labels and weights, as often as XGBoost asks for them: four times."""

    def __init__(
        self, rows: LabelledTensors, weight_N: NDArray[np.float32] | None, types: list[str], cache: Path | None
    ) -> None:
        super().__init__(cache_prefix=None if cache is None else str(cache))
        self._rows, self._weight_N, self._types = rows, weight_N, types
        self._left: Iterator[slice] = iter(())

    def reset(self) -> None:
        """Begin anew."""
        self._left = slices(self._rows)

    def next(self, input_data: Callable[..., Any]) -> bool:
        """Give the next slice; False when there is none."""
        part = next(self._left, None)
        if part is None:
            return False
        weight = {} if self._weight_N is None else {"weight": self._weight_N[part]}
        input_data(data=matrix(self._rows.inputs, part), label=self._rows.y_N[part], feature_types=self._types, **weight)
        return True


def _names(model: "Xgboost", data: TrainingData) -> tuple[str, str]:
    """XGBoost's names of the objective and of its metric."""
    kind = data.target.kind
    return _VALUES[model.objective.regression_loss] if kind == "regression" else _CLASSES[kind]


def _sample_afresh(booster: xgb.Booster) -> None:
    """Make the sampling of the next round a function of the seed and its number alone.

    XGBoost seeds the rows of a round by its number, but the state of its column sampler is not part of a saved
    model. Another tree method drops the sampler, and coming back makes a new one; the booster keeps its predictions,
    which building it anew would lose (at 400,000 rows no measurable time, against a fifth for a rebuild every 10 rounds).
    """
    booster.set_param({"tree_method": "approx"})
    booster.num_features()  # XGBoost follows its settings when it is next asked for something
    booster.set_param({"tree_method": _METHOD})
