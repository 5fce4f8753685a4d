"""From a class of the user's own to a trained program. PyTorch is imported here."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from raypipe.core.errors import ConfigError, TrainingError
from raypipe.core.functions import import_function
from raypipe.core.tensors import TrainingData
from raypipe.models._external import check_answers
from raypipe.models._protocols import Loop
from raypipe.models._torch_module_fitted import FittedTorchModule
from raypipe.models._torch_module_program import export_network, forward_of, to_files
from raypipe.models._torch_training import Descends, TrainedNetwork, train_network

_PROBE_ROWS = 100


def train_module(model: Descends, path: str, settings: Mapping[str, Any], data: TrainingData, loop: Loop) -> FittedTorchModule:
    """Train the class at `path`, after it has proved that it can be built and exported.

    Raises:
        ConfigError: when there is no such class.
        TrainingError: when it cannot be built or exported, or its training fails.
    """
    build = builder(model.kind, path, settings, data)
    with torch.random.fork_rng(devices=[]):
        export_network(model.kind, build(), data.specs)  # before any training: what cannot be stored is not worth it
    return as_program(model.kind, train_network(model, build, data, loop), data)


def builder(kind: str, path: str, settings: Mapping[str, Any], data: TrainingData) -> Callable[[], nn.Module]:
    """What makes a fresh network of the class at `path`."""
    found = import_function(path)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ConfigError([f"model.module: {path} is not a subclass of torch.nn.Module"])

    def build() -> nn.Module:
        try:
            network: nn.Module = found(data.specs, data.target.num_outputs, **settings)
        except Exception as error:  # of the user's own code
            problem = f"{path}(specs, num_outputs, **settings) fails ({type(error).__name__}: {error})"
            raise TrainingError(kind, problem, "look at model.settings and at its __init__") from error
        return network

    return build


def as_program(kind: str, trained: TrainedNetwork, data: TrainingData) -> FittedTorchModule:
    """The trained network as a program, which answers some training rows as a fitted model may.

    Raises:
        TrainingError: when it cannot be exported, or the program answers wrong shapes, or rows differently in company.
    """
    files = to_files(export_network(kind, trained.network, data.specs))
    fitted = FittedTorchModule(
        files=files,
        forward=forward_of(files),
        target=data.target,
        specs=data.specs,
        label_mean=trained.label_mean,
        label_std=trained.label_std,
        best_step=trained.best_step,
    )
    check_answers(fitted, data.target, data.train.take(slice(0, _PROBE_ROWS)))
    return fitted
