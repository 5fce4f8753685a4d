"""Networks and training loops of users, good and bad."""

from typing import Any

import numpy as np
import torch
from model_data import FittedCentroids, MemoryLoop
from torch import Tensor, nn

from raypipe.core.tensors import LabelledTensors, TensorSpecs, TrainingData
from raypipe.models import TrainContext


class Twice(nn.Module):
    """A linear layer, with a constant of its own and sizes that are computed."""

    def __init__(self, specs: TensorSpecs, num_outputs: int) -> None:
        super().__init__()
        self.linear, self.twice = nn.Linear(len(specs.numbers), num_outputs), torch.full((1,), 2.0)

    def forward(self, numbers_NF: Tensor, categories_NC: Tensor) -> Tensor:  # noqa: ARG002
        repeated = torch.cat([numbers_NF, numbers_NF]).reshape(2 * numbers_NF.shape[0], -1)
        return self.linear(repeated[: numbers_NF.shape[0]]) * self.twice


class DependsOnValues(Twice):
    """Python that looks at a value: no program can say what it does for others."""

    def forward(self, numbers_NF: Tensor, categories_NC: Tensor) -> Tensor:
        if numbers_NF.sum() > 0:
            return super().forward(numbers_NF, categories_NC)
        return super().forward(-numbers_NF, categories_NC)


class OfFixedSize(Twice):
    """Only for batches of four rows."""

    def forward(self, numbers_NF: Tensor, categories_NC: Tensor) -> Tensor:
        return super().forward(numbers_NF.reshape(4, -1), categories_NC)


def not_a_module(specs: TensorSpecs, num_outputs: int) -> nn.Module:
    return Twice(specs, num_outputs)


def centroids(context: TrainContext) -> FittedCentroids:
    rows = context.share
    return FittedCentroids(np.stack([rows.inputs["numbers_NF"][rows.y_N == k].mean(axis=0) for k in range(3)]))


def gives_nothing(context: TrainContext) -> Any:
    return None


def gives_too_few(context: TrainContext) -> nn.Module:
    return Twice(context.data.specs, 2)


def has_a_bug(context: TrainContext) -> nn.Module:
    return Twice(context.data.specs, 1 // 0)


def share_of(rows: TrainingData, *, rank: int, world_size: int) -> LabelledTensors:
    return TrainContext(data=rows, loop=MemoryLoop(rank=rank, world_size=world_size)).share


def full_batch(context: TrainContext) -> nn.Module:
    """Ten steps of gradient descent over all rows, each worker over its share of them."""
    data, loop, share = context.data, context.loop, context.share
    torch.manual_seed(loop.seed)
    net = Twice(data.specs, data.target.num_outputs)
    wrapped, optimizer = loop.wrap(net), torch.optim.SGD(net.parameters(), lr=0.2)
    numbers_NF, categories_NC = (torch.from_numpy(np.array(share.inputs[name])) for name in ("numbers_NF", "categories_NC"))
    y_N = torch.from_numpy(np.array(share.y_N))
    for step in range(1, 11):
        optimizer.zero_grad()
        logits_N = wrapped(numbers_NF, categories_NC)[:, 0]
        loss = nn.functional.binary_cross_entropy_with_logits(logits_N, y_N, reduction="sum")
        (loss * loop.world_size / len(data.train)).backward()
        optimizer.step()
        total = loop.total(np.array([float(loss.detach())]))[0]
        loop.report(step, {"train_loss": total / len(data.train), "validation_loss": total / len(data.train)})
    return net
