"""The network of `Mlp`, and the fitted model that answers.

Shapes: N rows, F numbers, C categories, O outputs (1, or K classes).
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from raypipe.core.errors import BundleError, FeatureError
from raypipe.core.tensors import Target, Tensors, TensorSpecs
from raypipe.models._files import read_facts, write_facts

CHUNK_ROWS = 16_384
_WEIGHTS = "model.safetensors"
_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU}


@dataclass(frozen=True, kw_only=True)
class NetworkShape:
    """All that is needed to build the network again."""

    num_numbers: int
    cardinalities: tuple[int, ...]
    embedding_dims: tuple[int, ...]
    hidden_dims: tuple[int, ...]
    activation: str
    dropout: float
    num_outputs: int

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "NetworkShape":
        """The inverse of `dataclasses.asdict`, also after JSON made lists of tuples."""
        listed: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in data.items()}
        return cls(**listed)


def embedding_dim(cardinality: int) -> int:
    """Width of an embedding of `cardinality` indices: min(50, round(1.6 * cardinality ** 0.56)) (fast.ai's rule)."""
    return max(1, min(50, round(1.6 * math.pow(cardinality, 0.56))))


class Network(nn.Module):
    """Embeddings beside the numbers, then the layers. Index 0 (unknown or null) starts as zeros."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        sizes = zip(shape.cardinalities, shape.embedding_dims, strict=True)
        self.embeddings = nn.ModuleList([_embedding(size, dim) for size, dim in sizes])
        widths = (shape.num_numbers + sum(shape.embedding_dims), *shape.hidden_dims)
        layers: list[nn.Module] = []
        for width, next_width in itertools.pairwise(widths):
            layers += [nn.Linear(width, next_width), _ACTIVATIONS[shape.activation](), nn.Dropout(shape.dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], shape.num_outputs))

    def forward(self, numbers_NF: Tensor, categories_NC: Tensor) -> Tensor:
        """Raw outputs (logits, or a scaled value) of shape (N, O)."""
        embedded = [embedding(categories_NC[:, i]) for i, embedding in enumerate(self.embeddings)]
        outputs: Tensor = self.layers(torch.cat([numbers_NF, *embedded], dim=1))
        return outputs


def _embedding(size: int, dim: int) -> nn.Embedding:
    embedding = nn.Embedding(size, dim)
    nn.init.normal_(embedding.weight, std=0.05)
    with torch.no_grad():
        embedding.weight[0].zero_()
    return embedding


def as_tensor(array: NDArray[Any]) -> Tensor:
    """`array` as a tensor, sharing memory where the array may be written to."""
    return torch.from_numpy(array if array.flags.writeable and array.flags.c_contiguous else array.copy())


def outputs_in_chunks(network: nn.Module, numbers_NF: Tensor, categories_NC: Tensor) -> Iterator[Tensor]:
    """Outputs of `CHUNK_ROWS` rows at a time, in evaluation mode and without gradients; leaves the mode as it was."""
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(numbers_NF), CHUNK_ROWS):
                part = slice(start, start + CHUNK_ROWS)
                yield network(numbers_NF[part], categories_NC[part])
    finally:
        network.train(was_training)


@dataclass(frozen=True, kw_only=True)
class FittedMlp:
    """A trained network that answers.

    Attributes:
        network: In evaluation mode, on the CPU.
        shape: How the network is built.
        target: What is predicted.
        specs: Names of the input columns.
        label_mean: For regression: mean of the training label.
        label_std: For regression: its standard deviation.
        best_step: The epoch with the lowest validation loss.
    """

    kind: ClassVar[str] = "mlp"

    network: Network = field(repr=False)
    shape: NetworkShape
    target: Target
    specs: TensorSpecs
    label_mean: float
    label_std: float
    best_step: int

    def predict(self, inputs: Tensors) -> NDArray[np.float32]:
        """Answers of shape (N,), or (N, K) for multiclass.

        Raises:
            FeatureError: when a number is missing.
        """
        missing = missing_numbers(inputs["numbers_NF"], self.specs)
        if missing:
            raise FeatureError(missing[0], "is missing in a row, and this model takes no missing numbers", "impute it")
        if len(inputs["numbers_NF"]) == 0:
            return np.empty((0, self.target.num_outputs)[: 1 + (self.target.kind == "multiclass")], dtype=np.float32)
        tensors = (as_tensor(inputs["numbers_NF"]), as_tensor(inputs["categories_NC"]))
        return np.concatenate([self._answer(part).numpy() for part in outputs_in_chunks(self.network, *tensors)])

    def _answer(self, outputs_NO: Tensor) -> Tensor:
        if self.target.kind == "multiclass":
            return torch.softmax(outputs_NO, dim=1)
        if self.target.kind == "binary":
            return torch.sigmoid(outputs_NO[:, 0])
        return outputs_NO[:, 0] * self.label_std + self.label_mean

    def save(self, folder: Path) -> None:
        """Write ``model.safetensors`` and ``model.json``."""
        save_file(dict(self.network.state_dict()), folder / _WEIGHTS)
        facts = {"label_mean": self.label_mean, "label_std": self.label_std, "best_step": self.best_step}
        write_facts(
            folder,
            {"shape": asdict(self.shape), "target": self.target.to_dict(), "specs": self.specs.to_dict(), **facts},
        )

    @classmethod
    def load(cls, folder: Path) -> "FittedMlp":
        """The inverse of `save`.

        Raises:
            BundleError: when a file is missing or damaged, or the weights do not fit the network.
        """
        facts, path = read_facts(folder), folder / _WEIGHTS
        shape = NetworkShape.from_dict(facts["shape"])
        with torch.random.fork_rng(devices=[]):
            network = Network(shape)
        try:
            network.load_state_dict(load_file(path))
        except FileNotFoundError as error:
            raise BundleError(str(path), "the file is missing") from error
        except (SafetensorError, RuntimeError) as error:
            raise BundleError(str(path), f"the weights cannot be read ({str(error).splitlines()[0]})") from error
        return cls(
            network=network.eval(),
            shape=shape,
            target=Target.from_dict(facts["target"]),
            specs=TensorSpecs.from_dict(facts["specs"]),
            label_mean=facts["label_mean"],
            label_std=facts["label_std"],
            best_step=facts["best_step"],
        )


def missing_numbers(numbers_NF: NDArray[np.float32], specs: TensorSpecs) -> list[str]:
    """Names of the number columns with a NaN in some row."""
    missing_NF = np.isnan(numbers_NF)
    if not missing_NF.any():
        return []
    return [name for name, missing_N in zip(specs.numbers, missing_NF.T, strict=True) if missing_N.any()]
