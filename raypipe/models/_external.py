"""An existing model, taken through contract, evaluation, gate and serving as if it had been trained here."""

import hashlib
import math
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from raypipe.core import storage
from raypipe.core.config import config
from raypipe.core.errors import StorageError, TrainingError
from raypipe.core.tensors import LabelledTensors, Target, TrainingData
from raypipe.models._constant import constant_loss
from raypipe.models._external_mlflow import ModelFile, find_model
from raypipe.models._external_wiring import KIND, LIMITS, ExternalOutput, Terms
from raypipe.models._losses import metrics_of
from raypipe.models._objective import Objective
from raypipe.models._protocols import FittedModel, Framework, Loop

_PROBE_ROWS, _ALONE_ROWS = 1000, 5
_TOLERANCE = 1e-5
_SUM_TOLERANCE = 1e-3


@config
class External:
    """A model that was made elsewhere: loaded, checked on training rows, judged and served like any other.

    It takes a matrix of the columns that the features give: numbers as they are, categories as their indices. An ONNX
    model may also take ``numbers_NF`` and ``categories_NC``, or one input a column. The bundle keeps the file, so the
    original may go. Its answers do not depend on which rows are asked together (within 1e-5), which is checked.

    Attributes:
        path: The file, or the folder of an MLflow model: a local path or a URI, which every process that trains can read.
        format: "skops" is scikit-learn without pickle, "onnx" any model as one ONNX file. "mlflow" is the folder of a
            model saved by `mlflow.sklearn` or `mlflow.onnx`. "pickle" is a file of pickle or joblib, see `allow_pickle`.
        columns: What the model takes, in its order; null takes the order that it states, else numbers then categories.
        output: How its output becomes the answer.
        trusted_types: For skops: types beyond those that it trusts, by their full name. They are built when the model loads.
        allow_pickle: Take a model that is a pickle. Loading one runs whatever code is in it, with the rights of the
            process: of this job, of its workers, of the endpoint. Each of them also needs RAYPIPE_ALLOW_PICKLE=1.
    """

    kind: ClassVar[str] = KIND
    framework: ClassVar[Framework] = "none"
    step_name: ClassVar[str] = "step"
    follows: ClassVar[frozenset[str]] = frozenset()
    ignores: ClassVar[frozenset[str]] = frozenset({"keep_best", "use_gpu"})
    max_steps: ClassVar[int] = 1

    path: Annotated[str, Field(min_length=1)]
    format: Literal["skops", "onnx", "mlflow", "pickle"]
    columns: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    output: ExternalOutput = ExternalOutput()
    trusted_types: tuple[str, ...] = ()
    allow_pickle: bool = False

    @model_validator(mode="after")
    def _settings_have_an_effect(self) -> "External":
        if self.trusted_types and self.format not in ("skops", "mlflow"):
            raise ValueError(f"trusted_types have no effect on format={self.format}")
        if self.allow_pickle and self.format not in ("pickle", "mlflow"):
            raise ValueError(f"allow_pickle has no effect on format={self.format}")
        if self.output.name is not None and self.format not in ("onnx", "mlflow"):
            raise ValueError(f"output.name has no effect on format={self.format}")
        return self

    def files_digest(self) -> str:
        """Sha256 of the model's file.

        Raises:
            StorageError: when it is not there.
        """
        return hashlib.sha256(_read(self._file().uri)).hexdigest()

    def train(self, data: TrainingData, loop: Loop) -> FittedModel:
        """Load the model and ask it about some training rows; nothing is learned. One step, with the validation loss.

        Raises:
            StorageError: when the file is not there.
            TrainingError: when it cannot be read, does not fit the features and the target, or answers wrong shapes,
                numbers that are not finite, or no probabilities.
        """
        Objective().check(self.kind, data)
        rows = data.train.take(slice(0, _PROBE_ROWS))
        fitted = self._fit(data, rows)
        check_answers(fitted, data.target, rows)
        metrics = metrics_of(data.target, data.validation, fitted.predict(data.validation.inputs))
        if not math.isfinite(metrics["validation_loss"]):
            raise TrainingError(self.kind, "the validation loss is not a number", "look at what the model answers")
        without = constant_loss(Objective(), data)
        if metrics["validation_loss"] > without:
            said = f"the validation loss is {metrics['validation_loss']:.4f}, and {without:.4f} of one answer for all rows"
            loop.note(f"{said}: are features, columns and classes those that it was fitted with?")
        loop.note(f"the model {LIMITS[0].removeprefix('It ')}")
        loop.report(1, metrics)
        return fitted

    def _file(self) -> ModelFile:
        if self.format == "mlflow":
            return find_model(self.path)
        return ModelFile(uri=self.path, format=self.format)

    def _fit(self, data: TrainingData, rows: LabelledTensors) -> FittedModel:
        file = self._file()
        terms = Terms(specs=data.specs, target=data.target, columns=self.columns, output=self.output)
        if file.format == "onnx":
            from raypipe.models._external_onnx import fit_onnx

            return fit_onnx(_read(file.uri), terms, rows.inputs)
        if file.format == "skops":
            from raypipe.models._external_skops import fit_skops

            return fit_skops(_read(file.uri), self.trusted_types, terms)
        from raypipe.models._external_pickle import fit_pickle, refuse_pickle

        if not self.allow_pickle:
            raise refuse_pickle(file.uri)
        return fit_pickle(_read(file.uri), terms)


def _read(uri: str) -> bytes:
    try:
        return storage.read_bytes(uri)
    except IsADirectoryError as error:
        raise StorageError(uri, "is a folder, not a file", "name the file, or set model.format=mlflow") from error
    except StorageError as error:
        raise StorageError(uri, error.problem, "set model.path") from error


def check_answers(fitted: FittedModel, target: Target, rows: LabelledTensors) -> None:
    """Refuse a model whose answers for `rows` are not what a fitted model may answer.

    Raises:
        TrainingError: with the first thing that is wrong.
    """
    try:
        answers = fitted.predict(rows.inputs)
        alone = np.concatenate([fitted.predict(rows.take(slice(i, i + 1)).inputs) for i in range(min(_ALONE_ROWS, len(rows)))])
    except Exception as error:  # of the model's own code
        said = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
        problem = f"the model fails on training rows ({said})"
        raise TrainingError(fitted.kind, problem, "give it the features that it was fitted with") from error
    problem = _problem(target, answers, len(rows)) or _differs(answers, alone)
    if problem:
        way_out = "look at model.output" if "probab" in problem else "look at the model's own code"
        raise TrainingError(fitted.kind, problem, way_out)


def _problem(target: Target, answers: NDArray[Any], num_rows: int) -> str:
    """What is wrong with the answers, in words; "" when nothing is."""
    expected = (num_rows, target.num_outputs) if target.kind == "multiclass" else (num_rows,)
    if answers.shape != expected:
        return f"the answers for {num_rows} rows have shape {list(answers.shape)}, not {list(expected)}"
    bad = int((~np.isfinite(answers)).sum())
    if bad:
        return f"{bad} of {answers.size} answers are not finite"
    if target.kind == "regression":
        return ""
    if (answers < 0).any() or (answers > 1).any():
        return f"answers from {answers.min():.3g} to {answers.max():.3g} are no probabilities; set scale=logit if they are such"
    if target.kind == "multiclass" and np.abs(answers.sum(axis=1) - 1).max() > _SUM_TOLERANCE:
        return f"the probabilities of a row add up to {answers.sum(axis=1).max():.4g}, not 1"
    return ""


def _differs(together: NDArray[Any], alone: NDArray[Any]) -> str:
    off = float(np.max(np.abs(together[: len(alone)] - alone), initial=0.0))
    bound = _TOLERANCE * max(1.0, float(np.max(np.abs(alone), initial=0.0)))
    return f"a row alone is answered {off:.3g} off from the same row in company" if off > bound else ""
