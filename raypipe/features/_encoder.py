"""The kind encoder: columns, such as the bytes of an image, as a vector by the user's own function."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from raypipe.core.config import config
from raypipe.core.functions import FunctionPath
from raypipe.core.kinds import Kind
from raypipe.features._cells import Cells
from raypipe.features._columns import Names
from raypipe.features._function import Encoding, load_function
from raypipe.features._protocols import FittedOutput, Labels, State, TensorName
from raypipe.features._rowcode import RowCode


@config
class Encoder:
    """A vector of numbers from your own vectorised function over NumPy columns, called with one row online.

    It gets what functions of the kind `python` get; bytes come as objects (None for null). It returns an array (N, size) of
    numbers, each row from that row alone, and NaN for what it cannot read: a damaged image must not stop the others.

    Attributes:
        function: ``package.module:name``; its package is in `core.allowed_targets`.
        columns: The columns it takes, in the order of its arguments; by default the one with the feature's name.
        size: Numbers for each row.
        fill: What takes the place of NaN; null leaves it, for models that take it.
    """

    needs_labels: ClassVar[bool] = False
    kind: Literal["encoder"] = "encoder"
    function: FunctionPath
    columns: Names | None = None
    size: Annotated[int, Field(ge=1, le=100_000)]
    fill: float | None = None

    def columns_of(self, feature: str) -> tuple[str, ...]:
        """The columns."""
        return self.columns or (feature,)

    def names_of(self, feature: str) -> tuple[str, ...]:
        """The feature's name."""
        return (feature,)

    def outputs_of(self, feature: str) -> tuple[str, ...]:
        """NAME_0, NAME_1 and so on."""
        return tuple(name for output in self.solve(feature, {}) for name in output.names)

    def check(self, feature: str, kinds: Mapping[str, Kind]) -> None:  # noqa: ARG002  # protocol
        """Any columns; the function must be there."""
        load_function(self.function)

    def fit(self, feature: str, cells: Cells, labels: Labels | None) -> dict[str, State]:  # noqa: ARG002  # protocol
        """Nothing is kept."""
        return {}

    def solve(self, feature: str, states: Mapping[str, Any]) -> tuple[FittedOutput, ...]:  # noqa: ARG002  # protocol
        """The output."""
        columns = self.columns_of(feature)
        return (FittedEncoder(name=feature, function=self.function, arguments=columns, size=self.size, fill=self.fill),)


@config
class FittedEncoder:
    """`size` neighbouring columns of ``numbers_NF``."""

    kind: Literal["encoder"] = "encoder"
    tensor: ClassVar[TensorName] = "numbers_NF"
    name: str
    function: FunctionPath
    arguments: tuple[str, ...]
    size: int
    fill: float | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """NAME_0, NAME_1 and so on."""
        return tuple(f"{self.name}_{i}" for i in range(self.size))

    @property
    def columns(self) -> tuple[str, ...]:
        """What the function takes."""
        return self.arguments

    @property
    def statistics(self) -> str:
        """For a report."""
        missing = "NaN stays" if self.fill is None else f"NaN -> {self.fill:g}"
        return f"{self.size} numbers of {self.function}({', '.join(self.arguments)}); {missing}"

    def compute(self, cells: Cells) -> NDArray[np.float32]:
        """(N, size)."""
        return self._encoding.of_columns(cells)

    def emit(self, code: RowCode) -> list[str]:
        """The same of one row."""
        return [f"*{self._encoding.of_row(code)}"]

    @property
    def _encoding(self) -> Encoding:
        return Encoding(self.function, self.arguments, self.size, self.fill)
