"""Answers of a network: what it gives for rows in memory, as probabilities or values.

Shapes: N rows, F numbers, C categories, O outputs (1, or K classes).
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raypipe.core.tensors import Target, Tensors

CHUNK_ROWS = 16_384
Forward = Callable[[Tensor, Tensor], Tensor]
"""A network, or what remains of one: (numbers_NF, categories_NC) -> (N, O)."""


def as_tensor(array: NDArray[Any]) -> Tensor:
    """`array` as a tensor, sharing memory where the array may be written to."""
    return torch.from_numpy(array if array.flags.writeable and array.flags.c_contiguous else np.array(array, order="C"))


def outputs_in_chunks(forward: Forward, inputs: Tensors, *, device: str = "cpu") -> Iterator[Tensor]:
    """Outputs of `CHUNK_ROWS` rows at a time on `device`, without gradients; a network is in evaluation mode."""
    numbers_NF, categories_NC = inputs["numbers_NF"], inputs["categories_NC"]
    for start in range(0, len(numbers_NF), CHUNK_ROWS):
        part = slice(start, start + CHUNK_ROWS)
        with torch.inference_mode():
            yield forward(as_tensor(numbers_NF[part]).to(device), as_tensor(categories_NC[part]).to(device))


def answers(
    forward: Forward,
    inputs: Tensors,
    *,
    target: Target,
    label_mean: float = 0.0,
    label_std: float = 1.0,
    device: str = "cpu",
) -> NDArray[np.float32]:
    """Answers of shape (N,), or (N, K) for multiclass: probabilities, or values in the unit of the label."""
    parts = [_answer(part, target).cpu().numpy() for part in outputs_in_chunks(forward, inputs, device=device)]
    if not parts:
        return np.empty((0, target.num_outputs)[: 1 + (target.kind == "multiclass")], dtype=np.float32)
    found: NDArray[np.float32] = np.concatenate(parts)
    return found * np.float32(label_std) + np.float32(label_mean) if target.kind == "regression" else found


def _answer(outputs_NO: Tensor, target: Target) -> Tensor:
    if target.kind == "multiclass":
        return outputs_NO.softmax(dim=1)
    return outputs_NO[:, 0].sigmoid() if target.kind == "binary" else outputs_NO[:, 0]
