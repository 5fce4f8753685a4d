"""Kind target: a category as the smoothed mean label of its training rows, out of fold for these rows themselves."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat, InstanceOf

from raypipe.core.config import config
from raypipe.core.errors import FeatureError
from raypipe.core.kinds import CATEGORICAL, Kind
from raypipe.features._cells import Cells
from raypipe.features._columns import Columns, Names
from raypipe.features._kinds import need_kind
from raypipe.features._protocols import FittedOutput, Labels, OfSource, State, TensorName
from raypipe.features._rowcode import RowCode
from raypipe.features._sources import ColumnSource, ValueSource
from raypipe.features._targets import TargetEncoding, TargetSums
from raypipe.profiles import Vocabulary


@config
class Target(Columns):
    """Text, whole numbers or booleans as the smoothed mean label: (sum of y + smoothing * prior) / (rows + smoothing).

    The prior is the mean label of all training rows; null and unknown values are the prior. A training row is encoded by the
    rows of other folds only: folds are by a hash of the row key, or of the split's groups, and under a split by time they
    are blocks of time of which only earlier ones count. For binary and regression tasks. (Micci-Barreca 2001.)

    Attributes:
        column: The column; by default the feature's name.
        columns: Several columns with the same treatment; their features have the columns' names.
        smoothing: How many rows the prior counts for.
    """

    needs_labels: ClassVar[bool] = True
    kind: Literal["target"] = "target"
    column: str | None = None
    columns: Names | None = None
    smoothing: Annotated[FiniteFloat, Field(ge=0)] = 20.0

    def check(self, feature: str, kinds: Mapping[str, Kind]) -> None:
        """Text, whole numbers or booleans only."""
        for column in self.columns_of(feature):
            need_kind(feature, column, kinds[column], CATEGORICAL, self.kind)

    def fit(self, feature: str, cells: Cells, labels: Labels | None) -> dict[str, State]:
        """Rows and sums of labels of each value and fold.

        Raises:
            FeatureError: without labels.
        """
        if labels is None:
            raise FeatureError(feature, "target encoding needs the label and the folds of the training rows", "pass labels")
        pairs = zip(self.names_of(feature), self.columns_of(feature), strict=True)
        return {name: TargetSums.of(cells.column(column), labels) for name, column in pairs}

    def solve(self, feature: str, states: Mapping[str, Any]) -> tuple[FittedOutput, ...]:
        """The fitted outputs: encodings by all folds."""
        out: list[FittedOutput] = []
        for name, column in zip(self.names_of(feature), self.columns_of(feature), strict=True):
            found = self.encoding(states[name])
            if not len(found.vocabulary):
                raise FeatureError(name, f"column {column} is null in all training rows", "remove the feature")
            source = ColumnSource(column=column)
            out.append(FittedTarget(name=name, source=source, vocabulary=found.vocabulary, means_D=found.full_D))
        return tuple(out)

    def encoding(self, sums: TargetSums) -> TargetEncoding:
        """Encodings of one output, those of the folds too."""
        return sums.encoding(self.smoothing)


@config
class FittedTarget(OfSource):
    """A column of ``numbers_NF``: the smoothed mean label of the value.

    `means_D` holds the prior first, for unknown and null, then the encoding of each known value.
    """

    kind: Literal["target"] = "target"
    tensor: ClassVar[TensorName] = "numbers_NF"
    name: str
    source: ValueSource
    vocabulary: InstanceOf[Vocabulary]
    means_D: InstanceOf[np.ndarray]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FittedTarget):
            return NotImplemented
        same = (self.name, self.source, self.vocabulary) == (other.name, other.source, other.vocabulary)
        return same and np.array_equal(self.means_D, other.means_D)

    @property
    def statistics(self) -> str:
        """For a report."""
        return (
            f"smoothed mean label by {self.source}, {len(self.vocabulary)} values; "
            f"null, unknown -> {self.means_D[0]:g}; training rows out of fold"
        )

    def compute(self, cells: Cells) -> NDArray[np.float32]:
        """float32 of each row."""
        return self.means_D[self.vocabulary.index_of(self.source.array(cells))].astype(np.float32)

    def emit(self, code: RowCode) -> list[str]:
        """The same of one row."""
        index = f"{code.bind(self.vocabulary.lookup)}.get({self.source.value(code)}, 0)"
        return [f"{code.bind(self.means_D.tolist())}[{index}]"]
