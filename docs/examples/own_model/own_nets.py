"""A network of one's own: `model=torch_module model.module=own_nets:WideAndDeep` trains, stores and serves it.

Shapes: N rows, F numbers, C categories, O outputs.
"""

import torch
from torch import Tensor, nn

from raypipe.core.tensors import TensorSpecs


class WideAndDeep(nn.Module):
    """A linear part over everything, and a small deep one over numbers and embeddings."""

    def __init__(self, specs: TensorSpecs, num_outputs: int, *, width: int = 32, embedding_dim: int = 4) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(size, embedding_dim) for size in specs.cardinalities)
        self.biases = nn.ModuleList(nn.Embedding(size, num_outputs) for size in specs.cardinalities)
        num_inputs = len(specs.numbers) + embedding_dim * len(specs.cardinalities)
        self.deep = nn.Sequential(nn.Linear(num_inputs, width), nn.ReLU(), nn.Linear(width, num_outputs))
        self.wide = nn.Linear(len(specs.numbers), num_outputs)

    def forward(self, numbers_NF: Tensor, categories_NC: Tensor) -> Tensor:
        """Logits (N, O); for a regression the label in deviations from its mean."""
        columns = [categories_NC[:, i].long() for i in range(len(self.embeddings))]
        embedded = [embedding(column) for embedding, column in zip(self.embeddings, columns, strict=True)]
        out_NO: Tensor = self.wide(numbers_NF) + self.deep(torch.cat([numbers_NF, *embedded], dim=1))
        for bias, column in zip(self.biases, columns, strict=True):
            out_NO = out_NO + bias(column)
        return out_NO
