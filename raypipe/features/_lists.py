"""Kinds over lists: multi_hot (which known values a list holds) and vector (numbers passed through)."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field, InstanceOf

from raypipe.core.config import config
from raypipe.core.errors import FeatureError
from raypipe.core.kinds import Kind, to_numbers
from raypipe.features._categories import MAX_ONE_HOT, known_values
from raypipe.features._cells import Cells
from raypipe.features._kinds import need_kind
from raypipe.features._protocols import FittedOutput, Labels, State, TensorName
from raypipe.features._rowcode import RowCode
from raypipe.profiles import CategoryCounts, Vocabulary


@config
class MultiHot:
    """A list of text or whole numbers as a number for each known value: 1 where the list holds it, however often.

    Attributes:
        column: The column; by default the feature's name.
        min_count: Values that occur less often in the lists of the training rows are unknown.
        max_size: Only so many of the most frequent values are known.
    """

    needs_labels: ClassVar[bool] = False
    kind: Literal["multi_hot"] = "multi_hot"
    column: str | None = None
    min_count: Annotated[int, Field(ge=1)] = 1
    max_size: Annotated[int, Field(ge=1, le=MAX_ONE_HOT)] = 100

    def columns_of(self, feature: str) -> tuple[str, ...]:
        """The column."""
        return (self.column or feature,)

    def names_of(self, feature: str) -> tuple[str, ...]:
        """The feature's name."""
        return (feature,)

    def outputs_of(self, feature: str) -> tuple[str, ...]:  # noqa: ARG002  # protocol
        """They are known by the fit."""
        return ()

    def check(self, feature: str, kinds: Mapping[str, Kind]) -> None:
        """Lists of text or whole numbers only."""
        for column in self.columns_of(feature):
            need_kind(feature, column, kinds[column], ("list<string>", "list<int64>"), self.kind)

    def fit(self, feature: str, cells: Cells, labels: Labels | None) -> dict[str, State]:  # noqa: ARG002  # protocol
        """Counts of the values in all lists."""
        return {feature: CategoryCounts.of(cells.column(self.column or feature).flatten())}

    def solve(self, feature: str, states: Mapping[str, Any]) -> tuple[FittedOutput, ...]:
        """The fitted output."""
        column = self.column or feature
        found = states[feature].ranked(min_count=self.min_count, max_size=self.max_size)
        return (FittedMultiHot(name=feature, column=column, vocabulary=known_values(feature, column, found, self.min_count)),)


@config
class FittedMultiHot:
    """A column of ``numbers_NF`` for each known value: 1 where the list holds it. All 0 for null."""

    kind: Literal["multi_hot"] = "multi_hot"
    tensor: ClassVar[TensorName] = "numbers_NF"
    name: str
    column: str
    vocabulary: InstanceOf[Vocabulary]

    @property
    def names(self) -> tuple[str, ...]:
        """NAME_value."""
        return tuple(f"{self.name}_{value}" for value in self.vocabulary.values.to_pylist())

    @property
    def columns(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    @property
    def statistics(self) -> str:
        """For a report."""
        return f"1 where {self.column} holds the value, of {len(self.vocabulary)} known ones"

    def compute(self, cells: Cells) -> NDArray[np.float32]:
        """(N, K)."""
        lists = cells.column(self.column)
        hot_NK = np.zeros((len(lists), len(self.vocabulary) + 1), np.float32)
        index_M = self.vocabulary.index_of(lists.flatten())
        lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()  # null lists may have items in memory
        hot_NK[np.repeat(np.arange(len(lists)), lengths), index_M] = 1.0
        return hot_NK[:, 1:]

    def emit(self, code: RowCode) -> list[str]:
        """The same of one row."""
        v = code.value(self.column)
        marked = _Marks(self.vocabulary)
        return [f"*{code.bind(marked)}({v})"]


class _Marks:
    """1.0 and 0.0 for each known value, of one list."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._lookup, self._size = vocabulary.lookup, len(vocabulary)

    def __call__(self, values: list[Any] | None) -> list[float]:
        marks = [0.0] * (self._size + 1)
        for value in values or ():
            marks[self._lookup.get(value, 0)] = 1.0
        return marks[1:]


@config
class Vector:
    """A list of exactly `size` numbers, passed through as float32: an embedding, for example. Null gives NaN.

    Attributes:
        column: The column; by default the feature's name.
        size: Length of every list.
    """

    needs_labels: ClassVar[bool] = False
    kind: Literal["vector"] = "vector"
    column: str | None = None
    size: Annotated[int, Field(ge=1, le=100_000)]

    def columns_of(self, feature: str) -> tuple[str, ...]:
        """The column."""
        return (self.column or feature,)

    def names_of(self, feature: str) -> tuple[str, ...]:
        """The feature's name."""
        return (feature,)

    def outputs_of(self, feature: str) -> tuple[str, ...]:
        """NAME_0, NAME_1 and so on."""
        return tuple(name for output in self.solve(feature, {}) for name in output.names)

    def check(self, feature: str, kinds: Mapping[str, Kind]) -> None:
        """Lists of numbers only."""
        for column in self.columns_of(feature):
            need_kind(feature, column, kinds[column], ("vector",), self.kind)

    def fit(self, feature: str, cells: Cells, labels: Labels | None) -> dict[str, State]:  # noqa: ARG002  # protocol
        """Nothing is kept; a list of another length is refused here already."""
        FittedVector(name=feature, column=self.column or feature, size=self.size).compute(cells)
        return {}

    def solve(self, feature: str, states: Mapping[str, Any]) -> tuple[FittedOutput, ...]:  # noqa: ARG002  # protocol
        """The output."""
        return (FittedVector(name=feature, column=self.column or feature, size=self.size),)


@config
class FittedVector:
    """`size` neighbouring columns of ``numbers_NF``."""

    kind: Literal["vector"] = "vector"
    tensor: ClassVar[TensorName] = "numbers_NF"
    name: str
    column: str
    size: int

    @property
    def names(self) -> tuple[str, ...]:
        """NAME_0, NAME_1 and so on."""
        return tuple(f"{self.name}_{i}" for i in range(self.size))

    @property
    def columns(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    @property
    def statistics(self) -> str:
        """For a report."""
        return f"{self.size} numbers of {self.column}; null -> NaN"

    def compute(self, cells: Cells) -> NDArray[np.float32]:
        """(N, size).

        Raises:
            FeatureError: for a list of another length.
        """
        lists = cells.column(self.column)
        lengths = pc.list_value_length(lists)
        wrong = pc.filter(lengths, pc.fill_null(pc.not_equal(lengths, self.size), False))
        if len(wrong):
            raise _wrong_length(self.name, wrong[0].as_py(), self.size)
        x_ND = np.full((len(lists), self.size), np.nan, np.float32)
        with np.errstate(over="ignore"):
            x_ND[lists.is_valid().to_numpy(zero_copy_only=False)] = _quiet(to_numbers(lists.flatten())).reshape(-1, self.size)
        return x_ND

    def emit(self, code: RowCode) -> list[str]:
        """The same of one row."""
        return [f"*{code.bind(_Exactly(self.name, self.size))}({code.value(self.column)})"]


class _Exactly:
    """A list of the right length, or NaN."""

    def __init__(self, name: str, size: int) -> None:
        self._name, self._size = name, size

    def __call__(self, values: list[float] | None) -> list[float]:
        if values is None:
            return [np.nan] * self._size
        if len(values) != self._size:
            raise _wrong_length(self._name, len(values), self._size)
        return [x if x == x else np.nan for x in values]


def _quiet(x_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """One NaN for all."""
    return np.where(np.isnan(x_N), np.nan, x_N)


def _wrong_length(name: str, found: int, size: int) -> FeatureError:
    return FeatureError(name, f"a list has {found} numbers, not {size}", f"pass lists of {size}, or correct size")
