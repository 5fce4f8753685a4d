"""The network of `Mlp`.

Shapes: N rows, F numbers, C categories, O outputs (1, or K classes).
"""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

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
            layers += [nn.Linear(width, next_width), _ACTIVATIONS[shape.activation](), Dropout(shape.dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], shape.num_outputs))

    def forward(self, numbers_NF: Tensor, categories_NC: Tensor) -> Tensor:
        """Raw outputs (logits, or a scaled value) of shape (N, O)."""
        embedded = [embedding(categories_NC[:, i]) for i, embedding in enumerate(self.embeddings)]
        outputs: Tensor = self.layers(torch.cat([numbers_NF, *embedded], dim=1))
        return outputs


class Dropout(nn.Module):
    """Dropout with its share rounded to 1/256, eight decisions from one 64-bit draw.

    One draw per unit, as in `nn.Dropout`, was 19 % of the time of an epoch on a CPU.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self._cut = min(255, round(share * 256))

    def forward(self, x: Tensor) -> Tensor:
        """In training, zero for the dropped units and the others scaled up; else `x`."""
        if not self.training or self._cut == 0:
            return x
        draws = torch.randint(-(2**63), 2**63 - 1, ((x.numel() + 7) // 8,), device=x.device).view(torch.uint8)
        keep = draws[: x.numel()].view(x.shape) >= self._cut
        return x * keep * (256 / (256 - self._cut))


def _embedding(size: int, dim: int) -> nn.Embedding:
    embedding = nn.Embedding(size, dim)
    nn.init.normal_(embedding.weight, std=0.05)
    with torch.no_grad():
        embedding.weight[0].zero_()
    return embedding
