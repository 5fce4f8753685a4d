"""Batches of the training rows on the device, in an order that is a function of (seed, epoch, batch size) alone.

Shapes: N rows, F numbers, C categories, B rows of a batch, over all processes.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raypipe.core.tensors import LabelledTensors
from raypipe.models._protocols import Loop

_GPU_SHARE = 0.4
_UPLOAD_ROWS = 1_048_576


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The part of one batch that this process computes, on the device.

    Attributes:
        num_rows: Rows of the batch over all processes.
        mine: Rows of this process. Where a batch has fewer rows than there are processes it may be 0; the tensors then
            hold the first row of the batch, to be computed with weight 0, as each process takes part in each batch.
    """

    numbers_NF: Tensor
    categories_NC: Tensor
    y_N: Tensor
    num_rows: int
    mine: int


class Batches:
    """The rows of a training, each exactly once in an epoch; the last batch is uneven.

    Attributes:
        num: Batches in an epoch.
        waited_s: Time that the training has waited for batches so far.
    """

    def __init__(self, rows: LabelledTensors, loop: Loop, batch_size: int) -> None:
        self._loop, self._num_rows, self._batch_size = loop, len(rows), batch_size
        self.num, self.waited_s = -(-len(rows) // batch_size), 0.0
        self._rows = _DeviceRows(rows, loop.device) if _fits_gpu(rows, loop.device) else _HostRows(rows, loop.device)

    def epoch(self, epoch: int, *, first: int, end: int) -> Iterator[Batch]:
        """Batches `first` to `end` of an epoch, counted from 0.

        Rows on the host are gathered by a thread while the batch before is computed. From memory that is 0.4 % of the time
        of an epoch otherwise (embeddings of 8, two cores), and rows per CPU second are no fewer with the thread; from
        files on a disk, and to a GPU, there is more to hide.
        """
        order_N = self._rows.placed(self._order(epoch))
        if isinstance(self._rows, _DeviceRows):
            yield from (self._gather(order_N, number) for number in range(first, end))
            return
        with ThreadPoolExecutor(max_workers=1) as thread:
            following = thread.submit(self._gather, order_N, first)
            for number in range(first, end):
                started_s = time.perf_counter()
                batch = following.result()
                self.waited_s += time.perf_counter() - started_s
                if number + 1 < end:
                    following = thread.submit(self._gather, order_N, number + 1)
                yield self._rows.ready(batch)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        """All rows, shuffled; within a batch in the order of the data, so that a file is read forwards."""
        order_N = np.random.default_rng([self._loop.seed, epoch]).permutation(self._num_rows)
        whole = self._num_rows // self._batch_size * self._batch_size
        order_N[:whole].reshape(-1, self._batch_size).sort(axis=1)
        order_N[whole:].sort()
        return order_N

    def _gather(self, order_N: Any, number: int) -> Batch:
        batch_B = order_N[number * self._batch_size : (number + 1) * self._batch_size]
        mine = batch_B[self._loop.rank :: self._loop.world_size]
        numbers_NF, categories_NC, y_N = self._rows.take(mine if len(mine) else batch_B[:1])
        return Batch(numbers_NF=numbers_NF, categories_NC=categories_NC, y_N=y_N, num_rows=len(batch_B), mine=len(mine))


class _HostRows:
    """Rows in memory or in files mapped into it: a batch is copied out of them."""

    def __init__(self, rows: LabelledTensors, device: str) -> None:
        self._arrays = [np.asarray(array) for array in _arrays(rows)]
        self._stream = torch.cuda.Stream() if device == "cuda" else None  # type: ignore[no-untyped-call]

    def placed(self, order_N: NDArray[np.int64]) -> NDArray[np.int64]:
        return order_N

    def take(self, rows_B: NDArray[np.int64]) -> list[Tensor]:
        tensors = [torch.from_numpy(np.take(array, rows_B, axis=0)) for array in self._arrays]
        if self._stream is None:
            return tensors
        with torch.cuda.stream(self._stream):
            return [tensor.pin_memory().to("cuda", non_blocking=True) for tensor in tensors]

    def ready(self, batch: Batch) -> Batch:
        """`batch` once its copy to the GPU, which ran beside the computation, is done."""
        if self._stream is not None:
            current = torch.cuda.current_stream()
            current.wait_stream(self._stream)
            for tensor in (batch.numbers_NF, batch.categories_NC, batch.y_N):
                tensor.record_stream(current)
        return batch


class _DeviceRows:
    """Rows that are all in the memory of the GPU."""

    def __init__(self, rows: LabelledTensors, device: str) -> None:
        self._tensors = [_uploaded(array, device) for array in _arrays(rows)]

    def placed(self, order_N: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(order_N).to(self._tensors[0].device)

    def take(self, rows_B: Tensor) -> list[Tensor]:
        return [tensor.index_select(0, rows_B) for tensor in self._tensors]


def _arrays(rows: LabelledTensors) -> tuple[NDArray[Any], ...]:
    return rows.inputs["numbers_NF"], rows.inputs["categories_NC"], rows.y_N


def _uploaded(array: NDArray[Any], device: str) -> Tensor:
    """A tensor on `device`, copied a part at a time: the array may be larger than memory."""
    found = torch.from_numpy(np.empty((0, *array.shape[1:]), dtype=array.dtype)).to(device).new_empty(array.shape)
    for start in range(0, len(array), _UPLOAD_ROWS):
        part = slice(start, start + _UPLOAD_ROWS)
        found[part] = torch.from_numpy(np.array(array[part])).to(device)
    return found


def _fits_gpu(rows: LabelledTensors, device: str) -> bool:
    """Whether the rows take up no more than a share of the free memory of the GPU, which the network needs too."""
    return device == "cuda" and rows.num_bytes <= _GPU_SHARE * torch.cuda.mem_get_info()[0]
