"""Gradient boosted trees by XGBoost's native API, straight from tensors.

Shapes: N rows, F numbers, C categories, K classes; x_ND has D = F + C columns.
"""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from raypipe.core.config import config
from raypipe.core.errors import BundleError, TrainingError
from raypipe.core.tensors import Target, Tensors, TensorSpecs, TrainingData
from raypipe.models._files import read_facts, write_facts
from raypipe.models._metrics import has_both_classes
from raypipe.models._protocols import Framework, Loop

if TYPE_CHECKING:
    import xgboost as xgb

_OBJECTIVE = {"binary": "binary:logistic", "multiclass": "multi:softprob", "regression": "reg:squarederror"}
_LOSS = {"binary": "logloss", "multiclass": "mlogloss", "regression": "rmse"}
_CHUNK_ROWS = 65_536
_BOOSTER = "model.ubj"
_PROGRESS = "progress.json"


@config
class Xgboost:
    """Boosted trees. Missing numbers stay missing; training stops when the validation loss stops falling.

    The loss is log loss, multiclass log loss, or RMSE. The rounds up to the best one are kept. Same seed, data and
    number of workers give the same bytes, also when training was interrupted.

    Attributes:
        num_rounds: Most boosting rounds.
        max_depth: Depth of a tree.
        learning_rate: Share of a tree's answer that is added.
        min_child_weight: Smallest sum of second derivatives in a leaf.
        min_split_loss: Least gain of a split.
        subsample: Share of the rows that each tree sees.
        colsample: Share of the columns that each tree sees.
        reg_lambda: L2 penalty on leaf values.
        reg_alpha: L1 penalty on leaf values.
        max_bin: Histogram bins per column.
        categorical: "native" splits sets of categories; "codes" treats the index as a number.
        max_cat_to_onehot: With "native", columns with fewer categories are split one against the rest.
        max_cat_threshold: With "native", most categories on one side of a split.
        early_stopping_rounds: Rounds without a lower validation loss before training stops.
        evaluate_train: Also report ``train_loss`` each round.
        checkpoint_rounds: Rounds between checkpoints. With `subsample` or `colsample` below 1 the sampling starts anew
            after each, so there it is one of the settings that shape the model.
    """

    kind: ClassVar[str] = "xgboost"
    framework: ClassVar[Framework] = "xgboost"

    num_rounds: Annotated[int, Field(ge=1)] = 500
    max_depth: Annotated[int, Field(ge=1, le=32)] = 6
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    min_child_weight: Annotated[float, Field(ge=0)] = 1.0
    min_split_loss: Annotated[float, Field(ge=0)] = 0.0
    subsample: Annotated[float, Field(gt=0, le=1)] = 1.0
    colsample: Annotated[float, Field(gt=0, le=1)] = 1.0
    reg_lambda: Annotated[float, Field(ge=0)] = 1.0
    reg_alpha: Annotated[float, Field(ge=0)] = 0.0
    max_bin: Annotated[int, Field(ge=2, le=65_535)] = 256
    categorical: Literal["native", "codes"] = "native"
    max_cat_to_onehot: Annotated[int, Field(ge=1)] = 4
    max_cat_threshold: Annotated[int, Field(ge=1)] = 64
    early_stopping_rounds: Annotated[int, Field(ge=1)] = 30
    evaluate_train: bool = True
    checkpoint_rounds: Annotated[int, Field(ge=1)] = 50

    def train(self, data: TrainingData, loop: Loop) -> "FittedXgboost":
        """Boost until the validation loss has not fallen for `early_stopping_rounds`.

        Raises:
            TrainingError: when the loss is no longer a number.
        """
        return _Boosting(self, data, loop).run()


class _Boosting:
    """One training: the booster, how far it is, and the best round so far."""

    def __init__(self, model: Xgboost, data: TrainingData, loop: Loop) -> None:
        import xgboost as xgb

        self._model, self._loop, self._specs, self._target = model, loop, data.specs, data.target
        self._params = _params(model, data, loop)
        types = ["q"] * len(data.specs.numbers)
        types += ["c" if model.categorical == "native" else "q"] * len(data.specs.categories)
        shared: dict[str, Any] = {"feature_types": types, "max_bin": model.max_bin, "nthread": loop.num_threads}
        mine = data.train.take(slice(loop.rank, None, loop.world_size)) if loop.world_size > 1 else data.train
        self._train = xgb.QuantileDMatrix(_matrix(mine.inputs), label=mine.y_N, **shared)
        # every process holds all validation rows: a distributed AUC is the mean over processes, exact only like this
        self._validation = xgb.QuantileDMatrix(
            _matrix(data.validation.inputs), label=data.validation.y_N, ref=self._train, **shared
        )
        saved = loop.restore()
        self.booster = self._from(bytearray(saved.state[_BOOSTER]) if saved else None)
        self.step, self.best_step, self.best_loss = 0, 0, math.inf
        if saved is not None:
            progress = json.loads(saved.state[_PROGRESS])
            self.step, self.best_step, self.best_loss = saved.step, progress["best_step"], progress["best_loss"]

    def _from(self, start: bytearray | None) -> "xgb.Booster":
        import xgboost as xgb

        return xgb.Booster(self._params, [self._train, self._validation], model_file=start)

    def run(self) -> "FittedXgboost":
        """Add rounds until enough of them brought nothing."""
        patience = self._model.early_stopping_rounds
        while self.step < self._model.num_rounds and self.step - self.best_step < patience:
            self.booster.update(self._train, self.step)
            self.step += 1
            metrics = self._evaluate()
            self._loop.report(self.step, metrics)
            self._note(metrics["validation_loss"])
            if self.step % self._model.checkpoint_rounds == 0:
                self._save()
        return FittedXgboost(
            booster=self.booster[: self.best_step], target=self._target, specs=self._specs, best_step=self.best_step
        )

    def _evaluate(self) -> dict[str, float]:
        sets = [(self._validation, "validation")] + ([(self._train, "train")] if self._model.evaluate_train else [])
        loss = _LOSS[self._target.kind]
        text = self.booster.eval_set(sets, self.step - 1)
        found = dict(part.rsplit(":", 1) for part in text.split("\t")[1:])
        names = {f"{name}-{loss}": f"{name}_loss" for _, name in sets} | {"validation-auc": "validation_auc"}
        return {names[name]: float(value) for name, value in found.items() if name in names}

    def _note(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise TrainingError(
                "xgboost",
                f"the validation loss is {loss} after round {self.step}",
                "lower model.learning_rate, or look for extreme labels",
            )
        if loss < self.best_loss:
            self.best_step, self.best_loss = self.step, loss

    def _save(self) -> None:
        booster = self.booster.save_raw("ubj")
        progress = json.dumps({"best_step": self.best_step, "best_loss": self.best_loss}).encode()
        self._loop.save(self.step, {_BOOSTER: bytes(booster), _PROGRESS: progress})
        if self._model.subsample < 1 or self._model.colsample < 1:
            # XGBoost does not save the state of its sampling: going on from here must be the same with or without a stop
            self.booster = self._from(booster)


def _params(model: Xgboost, data: TrainingData, loop: Loop) -> dict[str, Any]:
    metrics = [_LOSS[data.target.kind]]
    if data.target.kind == "binary" and has_both_classes(data.validation.y_N):
        metrics.append("auc")
    params: dict[str, Any] = {
        "objective": _OBJECTIVE[data.target.kind],
        "eval_metric": metrics,
        "tree_method": "hist",
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
    if model.categorical == "native" and data.specs.categories:
        params |= {"max_cat_to_onehot": model.max_cat_to_onehot, "max_cat_threshold": model.max_cat_threshold}
    if data.target.kind == "multiclass":
        params["num_class"] = data.target.num_outputs
    return params


def _matrix(inputs: Tensors) -> NDArray[np.float32]:
    """x_ND: the numbers, then the category indices; without categories the numbers as they are, not copied."""
    numbers_NF, categories_NC = inputs["numbers_NF"], inputs["categories_NC"]
    num_numbers = numbers_NF.shape[1]
    if categories_NC.shape[1] == 0:
        return numbers_NF
    x_ND = np.empty((len(numbers_NF), num_numbers + categories_NC.shape[1]), dtype=np.float32)
    x_ND[:, :num_numbers] = numbers_NF
    x_ND[:, num_numbers:] = categories_NC
    return x_ND


@dataclass(frozen=True, kw_only=True)
class FittedXgboost:
    """Boosted trees that answer.

    Attributes:
        booster: The rounds up to the best one.
        target: What is predicted.
        specs: Names of the input columns.
        best_step: The round with the lowest validation loss.
    """

    kind: ClassVar[str] = "xgboost"

    booster: "xgb.Booster" = field(repr=False)
    target: Target
    specs: TensorSpecs
    best_step: int

    def predict(self, inputs: Tensors) -> NDArray[np.float32]:
        """Answers of shape (N,), or (N, K) for multiclass."""
        num_rows = len(inputs["numbers_NF"])
        shape = (num_rows, self.target.num_outputs) if self.target.kind == "multiclass" else (num_rows,)
        out = np.empty(shape, dtype=np.float32)
        for start in range(0, num_rows, _CHUNK_ROWS):
            part = slice(start, start + _CHUNK_ROWS)
            out[part] = self.booster.inplace_predict(
                _matrix({name: tensor[part] for name, tensor in inputs.items()}), validate_features=False
            )
        return out

    def importance(self) -> dict[str, float]:
        """Total gain of the splits on each input column, as a share of all; columns never used have 0."""
        names = (*self.specs.numbers, *self.specs.categories)
        gains: dict[str, Any] = self.booster.get_score(importance_type="total_gain")
        total = sum(gains.values()) or 1.0
        return {name: float(gains.get(f"f{i}", 0.0)) / total for i, name in enumerate(names)}

    def save(self, folder: Path) -> None:
        """Write ``model.ubj`` (XGBoost's own UBJSON) and ``model.json``."""
        (folder / _BOOSTER).write_bytes(self.booster.save_raw("ubj"))
        write_facts(folder, {"target": self.target.to_dict(), "specs": self.specs.to_dict(), "best_step": self.best_step})

    @classmethod
    def load(cls, folder: Path) -> "FittedXgboost":
        """The inverse of `save`.

        Raises:
            BundleError: when a file is missing or damaged.
        """
        import xgboost as xgb

        facts, path = read_facts(folder), folder / _BOOSTER
        if not path.exists():
            raise BundleError(str(path), "the file is missing")
        booster = xgb.Booster()
        try:
            booster.load_model(bytearray(path.read_bytes()))
        except xgb.core.XGBoostError as error:
            raise BundleError(str(path), f"XGBoost cannot read it ({str(error).splitlines()[-1]})") from error
        return cls(
            booster=booster,
            target=Target.from_dict(facts["target"]),
            specs=TensorSpecs.from_dict(facts["specs"]),
            best_step=facts["best_step"],
        )
