"""What a kind of feature is: a spec that keeps statistics and solves them, and fitted outputs that both back ends execute."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from raypipe.core.kinds import Kind
from raypipe.features._cells import Cells
from raypipe.features._rowcode import RowCode

TensorName = Literal["numbers_NF", "categories_NC"]


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Labels of the rows of a chunk, and the fold of each row, for encodings that use the label.

    Attributes:
        y_N: float64; 0 and 1 for binary.
        fold_N: int64, 0 to `num_folds` - 1.
        num_folds: Number of folds.
        past_only: Folds are in order of time, and a row is encoded by earlier folds only.
    """

    y_N: NDArray[np.float64]
    fold_N: NDArray[np.int64]
    num_folds: int
    past_only: bool = False


class State(Protocol):
    """What one pass keeps for an output."""

    def to_plain(self) -> dict[str, Any]: ...


class Spec(Protocol):
    """A kind of feature as written in YAML: a `@config` class."""

    needs_labels: ClassVar[bool]

    @property
    def kind(self) -> str:
        """What it is called in YAML."""

    def columns_of(self, feature: str) -> tuple[str, ...]:
        """Raw or derived columns that it reads."""

    def names_of(self, feature: str) -> tuple[str, ...]:
        """Names of its states, of which the names of its outputs are made: unique within a feature set."""

    def outputs_of(self, feature: str) -> tuple[str, ...]:
        """Names of those columns of its outputs that are known before a fit: unique within a feature set."""

    def check(self, feature: str, kinds: Mapping[str, Kind]) -> None:
        """Refuse columns of kinds that it does not take.

        Raises:
            FeatureError: naming the column.
        """

    def fit(self, feature: str, cells: Cells, labels: Labels | None) -> dict[str, State]:
        """States of one chunk by name."""

    def solve(self, feature: str, states: Mapping[str, Any]) -> tuple["FittedOutput", ...]:
        """The fitted outputs.

        Raises:
            FeatureError: when the statistics do not allow it.
        """


class FittedOutput(Protocol):
    """One or several neighbouring columns of a tensor: a `@config` class, plain data."""

    tensor: ClassVar[TensorName]

    @property
    def kind(self) -> str:
        """What it is called where it is stored."""

    @property
    def name(self) -> str:
        """The output, of which `names` are made."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Raw or derived columns that it reads."""

    @property
    def statistics(self) -> str:
        """Formula and statistics for a report."""

    def compute(self, cells: Cells) -> NDArray[Any]:
        """Columns back end: (N,) for one name, (N, K) for K names."""

    def emit(self, code: RowCode) -> list[str]:
        """Row back end: one expression for each name."""


class OfSource:
    """What most fitted outputs say of themselves: one column with the output's name, from the columns of its source."""

    name: str
    source: Any

    @property
    def names(self) -> tuple[str, ...]:
        """One name."""
        return (self.name,)

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of the source."""
        columns: tuple[str, ...] = self.source.columns
        return columns
