"""What boosted trees have in common, whichever library grows them.

Shapes: N rows, F numbers, C categories; x_ND has D = F + C columns.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from raypipe.core.tensors import LabelledTensors, Tensors, TensorSpecs
from raypipe.models._protocols import Loop

PATIENCE, CHECKPOINT_EVERY = 30, 50
"""In rounds, where the recipe says nothing."""
WAY_OUT = "lower model.learning_rate, or look for extreme labels"
_SLICE_CELLS = 2**21
PREDICT_ROWS = 65_536


@runtime_checkable
class Sized(Protocol):
    """A model that knows beforehand what memory its training takes."""

    def peak_bytes(self, num_rows: int, num_validation_rows: int, specs: TensorSpecs) -> int:
        """Predicted peak of one process beyond the tensors it is given, when its share has `num_rows`."""


@dataclass(frozen=True)
class Slices:
    """Rows as a sequence of matrices of one fixed size.

    The size follows from the number of columns alone, never from the memory at hand: libraries that sketch the data
    slice by slice then find the same cuts wherever the data lies.
    """

    rows: LabelledTensors

    @property
    def size(self) -> int:
        """Rows of each slice but the last."""
        return max(1, _SLICE_CELLS // max(1, num_columns(self.rows.inputs)))

    def __iter__(self) -> Iterator[slice]:
        """The slices in order."""
        return (slice(start, start + self.size) for start in range(0, len(self.rows), self.size))


def num_columns(inputs: Tensors) -> int:
    """D."""
    return int(inputs["numbers_NF"].shape[1] + inputs["categories_NC"].shape[1])


def matrix(inputs: Tensors, part: slice = slice(None)) -> NDArray[np.float32]:
    """x_ND of the rows in `part`: the numbers, then the category indices; numbers alone are not copied."""
    numbers_NF, categories_NC = inputs["numbers_NF"][part], inputs["categories_NC"][part]
    num_numbers = numbers_NF.shape[1]
    if categories_NC.shape[1] == 0:
        return numbers_NF
    x_ND = np.empty((len(numbers_NF), num_numbers + categories_NC.shape[1]), dtype=np.float32)
    x_ND[:, :num_numbers] = numbers_NF
    x_ND[:, num_numbers:] = categories_NC
    return x_ND


def share(rows: LabelledTensors, loop: Loop) -> LabelledTensors:
    """The rows of this process: a run of them, sizes differ by one at most; of mapped files it reads no others."""
    start, stop = (number * len(rows) // loop.world_size for number in (loop.rank, loop.rank + 1))
    return rows.take(slice(start, stop))


def shares(gains: Mapping[str, Any], specs: TensorSpecs) -> dict[str, float]:
    """Gain of each input column as a share of all; columns that are not in `gains` have 0."""
    total = float(sum(gains.values())) or 1.0
    return {name: float(gains.get(name, 0.0)) / total for name in (*specs.numbers, *specs.categories)}
