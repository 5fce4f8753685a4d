"""Small real data sets as tensors, and a loop that remembers: shared by the tests of models and of training."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn import datasets

from raypipe.core.config import config
from raypipe.core.errors import TrainingError
from raypipe.core.tensors import LabelledTensors, Target, Tensors, TrainingData
from raypipe.core.tensors import TensorSpecs as Specs
from raypipe.models import Checkpoint, Framework, Loop, Recipe

KINDS = ("binary", "multiclass", "regression")
_LOADERS = {"binary": datasets.load_breast_cancer, "multiclass": datasets.load_wine, "regression": datasets.load_diabetes}


def data(kind: str = "binary", *, num_rows: int | None = None) -> TrainingData:
    """A real data set of `kind`: scaled numbers, and two category columns made of the first two numbers' quartiles."""
    raw = _LOADERS[kind]()
    order = np.random.default_rng(0).permutation(len(raw.target))[:num_rows]
    x_NF = np.asarray(raw.data)[order]
    numbers_NF = ((x_NF - x_NF.mean(0)) / x_NF.std(0)).astype(np.float32)
    cuts = [np.quantile(x_NF[:, i], [0.25, 0.5, 0.75]) for i in (0, 1)]
    categories_NC = np.stack([np.digitize(x_NF[:, i], cuts[i]) + 1 for i in (0, 1)], axis=1).astype(np.int32)
    rows = LabelledTensors(
        inputs={"numbers_NF": numbers_NF, "categories_NC": categories_NC},
        y_N=np.asarray(raw.target)[order].astype(np.float32),
    )
    cut = len(order) * 3 // 4
    classes = {"binary": ("false", "true"), "multiclass": ("a", "b", "c"), "regression": ()}[kind]
    return TrainingData(
        train=rows.take(slice(0, cut)),
        validation=rows.take(slice(cut, None)),
        specs=Specs(numbers=tuple(f"n{i}" for i in range(numbers_NF.shape[1])), categories=("c0", "c1"), cardinalities=(5, 5)),
        target=Target(kind=kind, name="y", classes=classes),
    )


class Interrupted(BaseException):
    """The process was killed."""


@dataclass
class MemoryLoop:
    """A loop of one process that keeps its checkpoint in memory and can be interrupted after a step."""

    rank: int = 0
    world_size: int = 1
    seed: int = 0
    num_threads: int = 1
    device: str = "cpu"
    interrupt_after: int | None = None
    recipe: Recipe = field(default_factory=Recipe)
    memory_bytes: int = 2**33
    core_hours: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)
    saved: Checkpoint | None = None
    measured: list[tuple[int, float, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @cached_property
    def scratch(self) -> Path:
        self._scratch = tempfile.TemporaryDirectory(prefix="raypipe-")
        return Path(self._scratch.name)

    def measure(self, *, rows: int, seconds: float, waited_s: float = 0.0) -> None:
        self.measured.append((rows, seconds, waited_s))

    def note(self, text: str) -> None:
        self.notes.append(text)

    def network_params(self) -> Mapping[str, Any]:
        return {}

    def report(self, step: int, metrics: Mapping[str, float]) -> None:
        self.curve.append({"step": step, **metrics})

    def save(self, step: int, state: Mapping[str, bytes]) -> None:
        self.saved = Checkpoint(step=step, state=dict(state))
        if step == self.interrupt_after:
            raise Interrupted

    def restore(self) -> Checkpoint | None:
        return self.saved

    def wrap(self, module):
        return module

    def total(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values


@config
class Centroids:
    """A user's own model: the nearest class centroid."""

    kind: ClassVar[str] = "centroids"
    framework: ClassVar[Framework] = "none"
    problem: str = ""

    def train(self, data: TrainingData, loop: Loop) -> "FittedCentroids":
        """One mean per class."""
        if self.problem == "raypipe":
            raise TrainingError("centroids", "the loss is nan", "lower it")
        if self.problem == "bug":
            raise ZeroDivisionError("a bug of the user")
        numbers_NF, y_N = data.train.inputs["numbers_NF"], data.train.y_N
        loop.report(1, {"train_rows": float(len(y_N))})
        return FittedCentroids(np.stack([numbers_NF[y_N == k].mean(0) for k in range(len(data.target.classes))]))


class FittedCentroids:
    """What `Centroids` learned."""

    kind: ClassVar[str] = "model_data:FittedCentroids"

    def __init__(self, centroids_KF: NDArray[np.float32]) -> None:
        self.centroids_KF = centroids_KF

    def predict(self, inputs: Tensors) -> NDArray[np.float32]:
        """Shares by inverse distance."""
        distance_NK = np.linalg.norm(inputs["numbers_NF"][:, None, :] - self.centroids_KF, axis=2) + 1e-6
        return (1 / distance_NK) / (1 / distance_NK).sum(1, keepdims=True)

    def save(self, folder: Path) -> None:
        """As JSON."""
        (folder / "centroids.json").write_text(json.dumps(self.centroids_KF.tolist()))

    @classmethod
    def load(cls, folder: Path) -> "FittedCentroids":
        """The inverse of `save`."""
        return cls(np.array(json.loads((folder / "centroids.json").read_text()), dtype=np.float32))
