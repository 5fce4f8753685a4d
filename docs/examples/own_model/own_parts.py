"""Two parts of one's own: a source (JSON lines) and a model (nearest class centroid), as an experiment names them.

Shapes: N rows, F numbers, K classes.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from raypipe.core.config import config
from raypipe.core.digest import digest_file
from raypipe.core.errors import SourceError, TrainingError
from raypipe.core.tensors import Tensors, TrainingData
from raypipe.models import FittedModel, Framework, Loop
from raypipe.sources import ArrowReading, Fragment, Scan


@config
class JsonLines:
    """One JSON object a line, in all files ``*.jsonl`` of a folder.

    Attributes:
        folder: Where the files are.
    """

    folder: str

    def scan(self, seen: Mapping[str, Any]) -> Scan:  # noqa: ARG002
        """Each file a fragment, all of them anew each time; runs in the driver."""
        paths = sorted(Path(self.folder).absolute().glob("*.jsonl"))
        if not paths:
            raise SourceError(self.folder, "holds no *.jsonl file", "correct the source's folder")
        return Scan(takes="all", fragments=tuple(Fragment(uri=str(p), identity=digest_file(p)) for p in paths))

    @contextmanager
    def open(self, fragment: Fragment) -> Iterator[ArrowReading]:
        """All rows of a file; runs on a worker. The contract checks and casts them afterwards."""
        rows = [json.loads(line) for line in Path(fragment.uri).read_text(encoding="utf-8").splitlines()]
        table = pa.Table.from_pylist(rows)
        yield ArrowReading(fragment.uri, table.schema, lambda _: [table])


@config
class Centroids:
    """The nearest class centroid of the numeric features; categories are left out.

    Attributes:
        temperature: How soft the probabilities are: scores are softmax(-squared distance / temperature).
    """

    kind: ClassVar[str] = "centroids"
    framework: ClassVar[Framework] = "none"

    temperature: Annotated[float, Field(gt=0)] = 1.0

    def train(self, data: TrainingData, loop: Loop) -> FittedModel:
        """One mean per class of the training rows."""
        if data.target.kind == "regression":
            raise TrainingError(self.kind, "there are no classes in a regression", "choose another model")
        x_NF, y_N = data.train.inputs["numbers_NF"], data.train.y_N
        centroids_KF = np.stack([x_NF[y_N == k].mean(axis=0) for k in range(len(data.target.classes))])
        fitted = FittedCentroids(centroids_KF, temperature=self.temperature, binary=data.target.kind == "binary")
        p_NK = fitted.probabilities(data.validation.inputs)
        p_N = p_NK[np.arange(len(p_NK)), data.validation.y_N.astype(np.intp)]
        loop.report(1, {"validation_loss": float(-np.log(np.maximum(p_N, 1e-12)).mean())})
        return fitted


class FittedCentroids:
    """What `Centroids` learned: plain numbers, saved as JSON."""

    kind: ClassVar[str] = "own_parts:FittedCentroids"

    def __init__(self, centroids_KF: NDArray[np.float32], *, temperature: float, binary: bool) -> None:
        self.centroids_KF, self.temperature, self.binary = centroids_KF, temperature, binary

    def probabilities(self, inputs: Tensors) -> NDArray[np.float32]:
        """Shape (N, K)."""
        distance_NK = ((inputs["numbers_NF"][:, None, :] - self.centroids_KF) ** 2).sum(axis=2)
        weight_NK = np.exp((distance_NK.min(axis=1, keepdims=True) - distance_NK) / self.temperature)
        out_NK: NDArray[np.float32] = weight_NK / weight_NK.sum(axis=1, keepdims=True)
        return out_NK

    def predict(self, inputs: Tensors) -> NDArray[np.float32]:
        """The probability of the second class, shape (N,); for more classes all of them, shape (N, K)."""
        p_NK = self.probabilities(inputs)
        return p_NK[:, 1] if self.binary else p_NK

    def save(self, folder: Path) -> None:
        """Write ``centroids.json``."""
        facts = {"centroids": self.centroids_KF.tolist(), "temperature": self.temperature, "binary": self.binary}
        (folder / "centroids.json").write_text(json.dumps(facts), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The inverse of `save`."""
        facts = json.loads((folder / "centroids.json").read_text(encoding="utf-8"))
        centroids_KF = np.array(facts["centroids"], dtype=np.float32)
        return cls(centroids_KF, temperature=facts["temperature"], binary=facts["binary"])
