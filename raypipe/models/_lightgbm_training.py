"""One training of LightGBM, round by round, from tensors that stay where they are. Imports LightGBM."""

import time
from typing import TYPE_CHECKING, Any

import lightgbm as lgb
import numpy as np
from lightgbm.basic import _LIB, LightGBMError, _safe_call
from numpy.typing import NDArray

from raypipe.core.errors import TrainingError
from raypipe.core.sizes import size_text
from raypipe.core.tensors import LabelledTensors, Tensors, TrainingData
from raypipe.models._course import Course
from raypipe.models._lightgbm_fitted import FittedLightgbm
from raypipe.models._metrics import has_both_classes, roc_auc
from raypipe.models._protocols import Loop
from raypipe.models._trees import CHECKPOINT_EVERY, PATIENCE, WAY_OUT, in_parts, matrix, num_columns, share, slice_rows

if TYPE_CHECKING:
    from raypipe.models._lightgbm import Lightgbm

_CLASSES = {"binary": ("binary", "binary_logloss"), "multiclass": ("multiclass", "multi_logloss")}
_VALUES = {"squared": ("regression", "rmse"), "absolute": ("regression_l1", "l1"), "quantile": ("quantile", "quantile")}
_TREES, _BEST_TREES = "model.txt", "best_trees"
_NO_SPLIT = 1_000_000_000


class Boosting:
    """One training: the two data sets in LightGBM's bins, and the rounds."""

    def __init__(self, model: "Lightgbm", data: TrainingData, loop: Loop) -> None:
        self._model, self._loop, self._data = model, loop, data
        self._has_auc = data.target.kind == "binary" and has_both_classes(data.validation.y_N)
        # where nothing is drawn, a round without a split is the last; else the next may split, so trees are fewer than rounds
        self._samples = model.subsample < 1 or model.colsample < 1
        self._mine = share(data.train, loop)
        self._params = _params(model, data, loop)
        peak_bytes = model.peak_bytes(len(self._mine), len(data.validation), data.specs)
        if peak_bytes > loop.memory_bytes:
            loop.note(f"LightGBM keeps its bins in memory, about {size_text(peak_bytes)}; model=xgboost can learn from disk")
        self._train = self._dataset(self._mine)
        weight_N = self._train.weight
        self._weight = len(self._mine) if weight_N is None else float(weight_N.sum(dtype=np.float64))
        # every process holds all validation rows: LightGBM's metrics are those of one process
        self._validation = self._dataset(data.validation, reference=self._train)

    def _dataset(self, rows: LabelledTensors, reference: lgb.Dataset | None = None) -> lgb.Dataset:
        num_numbers, columns = rows.inputs["numbers_NF"].shape[1], num_columns(rows.inputs)
        native = list(range(num_numbers, columns)) if self._model.categorical == "native" else []
        weight_N = self._model.objective.weights(self._data.target, self._data.train.y_N, rows.y_N)
        return lgb.Dataset(
            _Rows(rows.inputs),
            label=rows.y_N,
            weight=weight_N,
            reference=reference,
            categorical_feature=native,
            params=dict(self._params),
        )

    def run(self) -> FittedLightgbm:
        """Add rounds until enough of them brought nothing."""
        model, loop = self._model, self._loop
        defaults: dict[str, Any] = {"patience": PATIENCE, "checkpoint_every": CHECKPOINT_EVERY, "way_out": WAY_OUT}
        course = Course(model.kind, loop, max_steps=model.num_rounds, **defaults)
        saved = course.restore()
        best_trees = int(saved[_BEST_TREES]) if saved else 0
        try:
            booster = self._booster(saved[_TREES].decode() if saved else None, course.step)
        except LightGBMError as error:
            way_out = "set trainer.use_gpu=false" if loop.device == "cuda" else "look at the settings of the model"
            raise TrainingError(model.kind, f"LightGBM refuses: {str(error).splitlines()[0]}", way_out) from error
        while course.goes_on:
            started_s = time.perf_counter()
            booster.reset_parameter({"feature_fraction_seed": _seed(loop.seed, course.step)})
            if booster.update() and course.step and not self._samples:
                loop.note(f"stopped after round {course.step}: no leaf can be split any further")
                break
            metrics = self._evaluate(booster)
            loop.measure(rows=len(self._mine), seconds=time.perf_counter() - started_s)
            if course.advance(metrics):
                best_trees = booster.current_iteration()
            if course.saves:
                trees = _text(booster, booster.current_iteration()).encode()
                course.save({_TREES: trees, _BEST_TREES: str(best_trees).encode()})
        # of a tree without a split LightGBM writes a weight that it does not read back: a resumed training no longer has it
        kept = lgb.Booster(model_str=_text(booster, best_trees))
        return FittedLightgbm(
            text=_text(kept, best_trees),
            target=self._data.target,
            specs=self._data.specs,
            best_step=course.best_step,
        )

    def _booster(self, text: str | None, num_rounds: int) -> lgb.Booster:
        """A booster at its start, or as it was after `num_rounds`."""
        if text is None:
            return lgb.Booster(self._params, self._train).add_valid(self._validation, "validation")
        before = lgb.Booster(model_str=text)
        for rows, dataset in ((self._mine, self._train), (self._data.validation, self._validation)):
            dataset.init_score = self._scores(before, rows.inputs)
        booster = lgb.Booster(self._params, self._train)
        _safe_call(_LIB.LGBM_BoosterMerge(booster._handle, before._handle))  # as lightgbm.train(init_model=...) does
        booster.add_valid(self._validation, "validation")
        if self._model.subsample < 1:
            # the state of the row sampling is not part of a saved model: draw as often as was drawn, and split nothing
            booster.reset_parameter({"min_data_in_leaf": _NO_SPLIT})
            for _ in range(num_rounds):
                booster.update()
            booster.reset_parameter({"min_data_in_leaf": self._model.min_leaf_rows})
        return booster

    def _scores(self, booster: lgb.Booster, inputs: Tensors) -> NDArray[np.float64]:
        """Raw scores (N,), or (N, K)."""
        classes = (self._data.target.num_outputs,) if self._data.target.kind == "multiclass" else ()
        out = np.empty((len(inputs["numbers_NF"]), *classes), dtype=np.float64)
        return in_parts(out, lambda part: booster.predict(matrix(inputs, part), raw_score=True, num_threads=1))

    def _evaluate(self, booster: lgb.Booster) -> dict[str, float]:
        """The losses by LightGBM; the AUC here, because LightGBM would also sort the training rows for one."""
        own = self._auc if self._has_auc else None
        found = {f"validation_{name}": value for _, name, value, _ in booster.eval_valid(own)}
        metrics = {"validation_loss": found.pop(f"validation_{self._params['metric']}"), **found}
        if self._model.evaluate_train:
            metrics["train_loss"] = self._over_all(booster.eval_train()[0][2])
        return metrics

    def _over_all(self, loss: float) -> float:
        """The loss of the training rows of all processes, from that of the rows of each."""
        power = 2 if self._params["metric"] == "rmse" else 1
        total, weight = self._loop.total(np.array([loss**power * self._weight, self._weight]))
        return float((total / weight) ** (1 / power))

    def _auc(self, score_N: NDArray[np.float64], _: lgb.Dataset) -> tuple[str, float, bool]:
        return "auc", roc_auc(self._data.validation.y_N, score_N), True


class _Rows(lgb.Sequence):  # type: ignore[misc]  # LightGBM is not typed
    """The rows as LightGBM reads them: first some by their number, to choose the bins, then all, slice by slice."""

    def __init__(self, inputs: Tensors) -> None:
        self._inputs, self.batch_size = inputs, slice_rows(inputs)
        self._start, self._x_ND = -1, np.empty((0, 0))

    def __len__(self) -> int:
        return len(self._inputs["numbers_NF"])

    def __getitem__(self, index: int | slice) -> NDArray[np.float64]:
        if isinstance(index, slice):
            return matrix(self._inputs, index).astype(np.float64)
        start = index - index % self.batch_size  # rows are asked for in order: a slice is made once, not a row at a time
        if start != self._start:
            self._start, self._x_ND = start, self[start : start + self.batch_size]
        row_D: NDArray[np.float64] = self._x_ND[index - start]
        return row_D


def _params(model: "Lightgbm", data: TrainingData, loop: Loop) -> dict[str, Any]:
    kind = data.target.kind
    objective, metric = _VALUES[model.objective.regression_loss] if kind == "regression" else _CLASSES[kind]
    params: dict[str, Any] = {
        "objective": objective,
        "metric": metric,
        "device_type": "cuda" if loop.device == "cuda" else "cpu",
        "num_threads": loop.num_threads,
        "seed": loop.seed,
        "deterministic": True,
        "force_row_wise": True,
        "feature_pre_filter": False,
        "verbosity": -1,
        "num_leaves": model.num_leaves,
        "max_depth": model.max_depth or -1,
        "learning_rate": model.learning_rate,
        "min_data_in_leaf": model.min_leaf_rows,
        "min_sum_hessian_in_leaf": model.min_child_weight,
        "min_gain_to_split": model.min_split_loss,
        "bagging_fraction": model.subsample,
        "bagging_freq": 1 if model.subsample < 1 else 0,
        "feature_fraction": model.colsample,
        "lambda_l2": model.reg_lambda,
        "lambda_l1": model.reg_alpha,
        "max_bin": model.max_bin,
        "max_cat_to_onehot": model.max_cat_to_onehot,
        "max_cat_threshold": model.max_cat_threshold,
        "cat_l2": model.cat_l2,
        "cat_smooth": model.cat_smooth,
    }
    if kind == "multiclass":
        params["num_class"] = data.target.num_outputs
    if model.objective.quantile is not None:
        params["alpha"] = model.objective.quantile
    if loop.world_size > 1:
        params |= {"tree_learner": "data_parallel", "pre_partition": True, **loop.network_params()}
    return params


def _seed(seed: int, step: int) -> int:
    """Of the columns of one round, so that they do not depend on the rounds before in the same process."""
    return int(np.random.SeedSequence((seed, step)).generate_state(1)[0] >> 1)


def _text(booster: lgb.Booster, num_trees: int) -> str:
    """The first trees, without the parameters that LightGBM appends: threads, ports and seeds are no part of a model."""
    text = str(booster.model_to_string(num_iteration=num_trees))
    before, _, rest = text.partition("\nparameters:\n")
    return before + rest.partition("\nend of parameters\n")[2]
