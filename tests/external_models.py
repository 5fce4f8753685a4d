"""Models that were made elsewhere, written by the libraries that people use."""

import io
import json
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import skl2onnx
import skops.io
import torch
from model_data import MemoryLoop, data
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from raypipe.core.config import build, config
from raypipe.core.tensors import TrainingData
from raypipe.models import External, FittedModel, Model, load_model

SWITCH = "RAYPIPE_ALLOW_PICKLE"


@config
class Holder:
    model: Model


def taken(path: Path, form: str, **settings: Any) -> External:
    model = {"_target_": "raypipe.models.External", "path": str(path), "format": form, **settings}
    found = build({"model": model}, Holder).model
    assert isinstance(found, External)
    return found


def x_of(rows: TrainingData) -> np.ndarray:
    """All columns as a model gets them: numbers, then indices."""
    return np.hstack([rows.train.inputs["numbers_NF"], rows.train.inputs["categories_NC"].astype(np.float32)])


def estimator(kind: str = "binary", labels: Any = None) -> Any:
    """A pipeline fitted elsewhere; `labels` names the classes, in any order."""
    rows = data(kind)
    y_N = rows.train.y_N if kind == "regression" else rows.train.y_N.astype(int)
    last = LinearRegression() if kind == "regression" else LogisticRegression()
    return make_pipeline(StandardScaler(), last).fit(x_of(rows), y_N if labels is None else np.array(labels)[y_N])


def as_skops(found: Any, path: Path) -> Path:
    path.write_bytes(skops.io.dumps(found))
    return path


def as_onnx(found: Any, path: Path, **options: Any) -> Path:
    width = found.n_features_in_
    path.write_bytes(skl2onnx.to_onnx(found, np.zeros((1, width), np.float32), options=options or None).SerializeToString())
    return path


class Net(torch.nn.Module):
    """What someone trained: logits of both tensors."""

    def __init__(self, num_numbers: int, num_outputs: int) -> None:
        super().__init__()
        self.numbers, self.embedding = torch.nn.Linear(num_numbers, num_outputs), torch.nn.Embedding(5, num_outputs)

    def forward(self, numbers_NF: torch.Tensor, categories_NC: torch.Tensor) -> torch.Tensor:
        return self.numbers(numbers_NF) + self.embedding(categories_NC.long()).sum(dim=1)


def as_torch_onnx(path: Path, num_outputs: int = 3) -> Path:
    """By the exporter that writes a graph at once."""
    rows = data("multiclass")
    torch.manual_seed(0)
    net, buffer = Net(rows.train.inputs["numbers_NF"].shape[1], num_outputs), io.BytesIO()
    example = (torch.zeros(2, len(rows.specs.numbers)), torch.zeros(2, 2, dtype=torch.int32))
    names = ["numbers_NF", "categories_NC"]
    axes = {name: {0: "N"} for name in (*names, "logits")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # its successor takes three seconds
        torch.onnx.export(net, example, buffer, dynamo=False, input_names=names, output_names=["logits"], dynamic_axes=axes)
    path.write_bytes(buffer.getvalue())
    return path


def as_mlflow(found: Any, folder: Path, flavor: str) -> Path:
    """The files that `mlflow.sklearn.save_model` (3.17) or `mlflow.onnx.save_model` writes, as far as they are read."""
    folder.mkdir()
    flavors = {
        "skops": {"sklearn": {"pickled_model": "model.skops", "serialization_format": "skops"}},
        "pickle": {"sklearn": {"pickled_model": "model.pkl", "serialization_format": "cloudpickle"}},
        "onnx": {"onnx": {"data": "model.onnx"}},
    }
    (folder / "MLmodel").write_text(json.dumps({"flavors": {"python_function": {}, **flavors[flavor]}}))
    write = {"skops": as_skops, "pickle": as_joblib, "onnx": lambda f, p: as_onnx(f, p, zipmap=False)}[flavor]
    write(found, folder / {"skops": "model.skops", "pickle": "model.pkl", "onnx": "model.onnx"}[flavor])
    return folder


def as_joblib(found: Any, path: Path) -> Path:
    joblib.dump(found, path)
    return path


def fitted_and_loaded(model: External, kind: str, folder: Path) -> tuple[FittedModel, FittedModel, MemoryLoop]:
    loop = MemoryLoop()
    fitted = model.train(data(kind), loop)
    folder.mkdir()
    fitted.save(folder)
    return fitted, load_model(fitted.kind, folder), loop
