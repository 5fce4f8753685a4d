"""A saved MLflow model: which of its files is the model, read from its ``MLmodel``. MLflow itself is not needed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from raypipe.core import storage
from raypipe.core.errors import TrainingError
from raypipe.models._external_wiring import KIND

FileFormat = Literal["skops", "onnx", "pickle"]
_NAME = "MLmodel"


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """One file that is a whole model."""

    uri: str
    format: FileFormat


def find_model(uri: str) -> ModelFile:
    """The model file in the folder of an MLflow model, of its flavor onnx or sklearn.

    Raises:
        TrainingError: when there is no ``MLmodel``, or it has neither flavor.
        StorageError: when nothing is at `uri`.
    """
    content = storage.read_bytes(storage.join(uri, _NAME))
    try:
        facts = yaml.safe_load(content)
        flavors: Mapping[str, Mapping[str, Any]] = facts["flavors"]
        found = _of_flavors(flavors)
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise TrainingError(
            KIND, f"{uri}/{_NAME} is not the description of an MLflow model ({error})", "save it anew"
        ) from error
    if found is None:
        way_out = "save it by mlflow.sklearn or mlflow.onnx"
        raise TrainingError(KIND, f"the MLflow model has the flavors {', '.join(sorted(flavors))}", way_out)
    return ModelFile(uri=storage.join(uri, found[0]), format=found[1])


def _of_flavors(flavors: Mapping[str, Mapping[str, Any]]) -> tuple[str, FileFormat] | None:
    if "onnx" in flavors:
        return _inside(flavors["onnx"]["data"]), "onnx"
    if "sklearn" in flavors:
        of_sklearn = flavors["sklearn"]
        return _inside(of_sklearn["pickled_model"]), "skops" if of_sklearn.get("serialization_format") == "skops" else "pickle"
    return None


def _inside(path: Any) -> str:
    """A path that does not leave the folder of the model."""
    if not isinstance(path, str) or not path or path.startswith("/") or ".." in path.split("/"):
        raise ValueError(f"{path!r} is no file of the folder")
    return path
