"""Kinds over categorical values: category (index, one-hot, frequency), cross and hash."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from raypipe.core.config import config
from raypipe.core.errors import FeatureError
from raypipe.core.kinds import CATEGORICAL, Kind
from raypipe.features._category_outputs import FittedCategory, FittedFrequency, FittedHash, FittedOneHot
from raypipe.features._cells import Cells
from raypipe.features._columns import Columns, Names
from raypipe.features._kinds import need_kind
from raypipe.features._protocols import FittedOutput, Labels, State
from raypipe.features._sources import ColumnSource, CrossSource, ValueSource
from raypipe.features._threads import in_threads
from raypipe.profiles import MAX_DISTINCT, CategoryCounts, Vocabulary

Encode = Literal["index", "one_hot", "frequency"]
MAX_ONE_HOT = 1000


class Categorical:
    """What kinds over categorical values say of themselves."""

    def names_of(self, feature: str) -> tuple[str, ...]:
        """Names of the outputs."""
        raise NotImplementedError


@config
class Known(Categorical):
    """Which values are known: those of the training rows, without rare ones.

    Attributes:
        encode: `index` an int32 category, 0 for unknown or null; `one_hot` a number for each known value, all 0 for unknown
            or null; `frequency` the share of training rows with the value, 0 for unknown or null.
        min_count: Values seen less often in training are unknown.
        max_size: Only so many of the most frequent values are known (ties by value).
        partitions: More than 1 for columns with over a million distinct values: a second pass counts them exactly, in so
            many partitions by hash.
    """

    encode: Encode = "index"
    min_count: Annotated[int, Field(ge=1)] = 1
    max_size: Annotated[int, Field(ge=1, le=MAX_DISTINCT)] | None = None
    partitions: Annotated[int, Field(ge=1, le=1024)] = 1

    def vocabulary(self, name: str, source: str, state: CategoryCounts | Vocabulary) -> Vocabulary:
        """The known values.

        Raises:
            FeatureError: when there is none.
        """
        found = state if isinstance(state, Vocabulary) else self.ranked(state)
        return known_values(name, source, found, self.min_count)

    def ranked(self, state: CategoryCounts) -> Vocabulary:
        """The known values of a column, possibly none."""
        return state.ranked(min_count=self.min_count, max_size=self.limit)

    @property
    def limit(self) -> int:
        """Most values that are known."""
        return self.max_size or MAX_DISTINCT


def known_values(name: str, source: str, vocabulary: Vocabulary, min_count: int) -> Vocabulary:
    """`vocabulary`, when it holds a value.

    Raises:
        FeatureError: saying why it is empty.
    """
    if not len(vocabulary) and not vocabulary.rare:
        raise FeatureError(name, f"column {source} is null in all training rows", "remove the feature")
    if not len(vocabulary):
        raise FeatureError(name, f"no value occurs {min_count} times in training", "lower min_count")
    return vocabulary


def encoded(name: str, source: ValueSource, encode: Encode, vocabulary: Vocabulary) -> FittedOutput:
    """The fitted output of a vocabulary.

    Raises:
        FeatureError: when it is too large for one-hot.
    """
    if encode == "one_hot" and len(vocabulary) > MAX_ONE_HOT:
        problem = f"has {len(vocabulary):,} values, more than the {MAX_ONE_HOT} that one_hot makes columns of"
        raise FeatureError(name, problem, "set max_size or min_count, or use encode: index")
    if encode == "one_hot":
        return FittedOneHot(name=name, source=source, vocabulary=vocabulary)
    if encode == "frequency":
        return FittedFrequency(name=name, source=source, vocabulary=vocabulary)
    return FittedCategory(name=name, source=source, vocabulary=vocabulary)


@config
class Category(Columns, Known):
    """Text, whole numbers or booleans as an index, one-hot columns or a frequency.

    Attributes:
        column: The column; by default the feature's name.
        columns: Several columns with the same treatment; their features have the columns' names.
    """

    needs_labels: ClassVar[bool] = False
    kind: Literal["category"] = "category"
    column: str | None = None
    columns: Names | None = None

    def check(self, feature: str, kinds: Mapping[str, Kind]) -> None:
        """Text, whole numbers or booleans only."""
        for column in self.columns_of(feature):
            need_kind(feature, column, kinds[column], CATEGORICAL, self.kind)

    def outputs_of(self, feature: str) -> tuple[str, ...]:
        """An output of each name; those of one-hot are known by its fit."""
        return () if self.encode == "one_hot" else self.names_of(feature)

    def fit(self, feature: str, cells: Cells, labels: Labels | None) -> dict[str, State]:  # noqa: ARG002  # protocol
        """Counts of each column."""
        pairs = zip(self.names_of(feature), self.columns_of(feature), strict=True)
        return {name: CategoryCounts.of(cells.column(column)) for name, column in pairs}

    def solve(self, feature: str, states: Mapping[str, Any]) -> tuple[FittedOutput, ...]:
        """The fitted outputs."""
        columns = list(zip(self.names_of(feature), self.columns_of(feature), strict=True))
        known = in_threads(lambda column: self.vocabulary(*column, states[column[0]]), columns)
        return tuple(
            encoded(name, ColumnSource(column=column), self.encode, vocabulary)
            for (name, column), vocabulary in zip(columns, known, strict=True)
        )


@config
class Cross(Known):
    """The combination of several columns as one category, such as carrier and airport; null where one of them is null.

    Attributes:
        columns: The columns; a combination is their texts joined by " | ", a bar or backslash within them escaped.
    """

    needs_labels: ClassVar[bool] = False
    kind: Literal["cross"] = "cross"
    columns: Annotated[tuple[str, ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _columns_differ(self) -> "Cross":
        if len(set(self.columns)) < len(self.columns):
            raise ValueError("a column is crossed with itself, which has no effect")
        return self

    @property
    def source(self) -> CrossSource:
        """The combination."""
        return CrossSource(crossed=self.columns)

    def columns_of(self, feature: str) -> tuple[str, ...]:  # noqa: ARG002  # protocol
        """The columns."""
        return self.columns

    def names_of(self, feature: str) -> tuple[str, ...]:
        """The feature's name."""
        return (feature,)

    def outputs_of(self, feature: str) -> tuple[str, ...]:
        """The feature's name; those of one-hot are known by its fit."""
        return () if self.encode == "one_hot" else (feature,)

    def check(self, feature: str, kinds: Mapping[str, Kind]) -> None:
        """Text, whole numbers or booleans only."""
        for column in self.columns:
            need_kind(feature, column, kinds[column], CATEGORICAL, self.kind)

    def fit(self, feature: str, cells: Cells, labels: Labels | None) -> dict[str, State]:  # noqa: ARG002  # protocol
        """Counts of the combinations."""
        return {feature: CategoryCounts.of(self.source.array(cells))}

    def solve(self, feature: str, states: Mapping[str, Any]) -> tuple[FittedOutput, ...]:
        """The fitted output."""
        return (encoded(feature, self.source, self.encode, self.vocabulary(feature, str(self.source), states[feature])),)


@config
class Hash(Columns):
    """Text, whole numbers or booleans in a fixed number of buckets by a seeded hash; nothing is fitted. Null has index 0.

    Attributes:
        column: The column; by default the feature's name.
        columns: Several columns with the same treatment; their features have the columns' names.
        buckets: Number of buckets, indices 1 to `buckets`; values share them by chance.
        seed: Another seed, other collisions.
    """

    needs_labels: ClassVar[bool] = False
    kind: Literal["hash"] = "hash"
    column: str | None = None
    columns: Names | None = None
    buckets: Annotated[int, Field(ge=2, le=2**31 - 2)]
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    def check(self, feature: str, kinds: Mapping[str, Kind]) -> None:
        """Text, whole numbers or booleans only."""
        for column in self.columns_of(feature):
            need_kind(feature, column, kinds[column], CATEGORICAL, self.kind)

    def fit(self, feature: str, cells: Cells, labels: Labels | None) -> dict[str, State]:  # noqa: ARG002  # protocol
        """Nothing."""
        return {}

    def solve(self, feature: str, states: Mapping[str, Any]) -> tuple[FittedOutput, ...]:  # noqa: ARG002  # protocol
        """The outputs."""
        return tuple(
            FittedHash(name=name, source=ColumnSource(column=column), buckets=self.buckets, seed=self.seed)
            for name, column in zip(self.names_of(feature), self.columns_of(feature), strict=True)
        )
