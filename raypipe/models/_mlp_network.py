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
        index_CN = categories_NC.t().to(torch.int64).contiguous()
        if self.training and index_CN.device.type == "cpu" and not torch.compiler.is_compiling():
            inputs_ND: Tensor = _Beside.apply(numbers_NF, index_CN, *self.embeddings.parameters())  # type: ignore[no-untyped-call]
        else:
            embedded = [embedding(index_N) for embedding, index_N in zip(self.embeddings, index_CN, strict=True)]
            inputs_ND = torch.cat([numbers_NF, *embedded], dim=1)
        outputs: Tensor = self.layers(inputs_ND)
        return outputs


class _Beside(torch.autograd.Function):
    """Numbers and embeddings, side by side, with the gradient of the embeddings counted by cell instead of added row by row.

    The bits are those of `nn.Embedding`; an update of a network with 26 of them took 1.17 times as long with it on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, numbers_NF: Tensor, index_CN: Tensor, *weights: Tensor) -> Tensor:
        ctx.save_for_backward(index_CN)
        ctx.first, ctx.shapes = numbers_NF.shape[1], [weight.shape for weight in weights]
        embedded = [weight.index_select(0, index_N) for weight, index_N in zip(weights, index_CN, strict=True)]
        return torch.cat([numbers_NF, *embedded], dim=1)

    @staticmethod
    def backward(ctx: Any, gradient_ND: Tensor) -> tuple[Tensor | None, ...]:
        (index_CN,), start, found = ctx.saved_tensors, ctx.first, list[Tensor]()
        for (size, dim), index_N in zip(ctx.shapes, index_CN, strict=True):
            cells = torch.add(torch.arange(dim), index_N[:, None], alpha=dim)
            shares = gradient_ND[:, start : start + dim]
            found.append(torch.bincount(cells.reshape(-1), shares.reshape(-1), minlength=size * dim).view(size, dim))
            start += dim
        return None, None, *found


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
