"""Fitted outputs: one column of a tensor each, with the statistics that it needs, and how it is computed from its column."""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, StrictBool, StrictInt, StrictStr

from raypipe.core.config import config
from raypipe.core.errors import FeatureError
from raypipe.features._kernels import (
    CategoryType,
    CategoryValue,
    calendar_part,
    category_type,
    check_type,
    impute_and_scale,
    indices,
    numbers,
    part_indices,
)
from raypipe.features._specs import CalendarPart

FIRST_AND_LAST: dict[CalendarPart, tuple[int, int]] = {
    "hour": (0, 23),
    "weekday": (0, 6),
    "month": (1, 12),
    "day": (1, 31),
    "dayofyear": (1, 366),
}


@dataclass(frozen=True, kw_only=True)
class OutputDescription:
    """One output for a report: its name, tensor, kind, the raw columns it comes from, and its statistics as text."""

    name: str
    tensor: Literal["numbers_NF", "categories_NC"]
    kind: str
    sources: tuple[str, ...]
    statistics: str


@config
class FittedNumber:
    """A column of ``numbers_NF``: (x - mean) / scale after null became `fill`."""

    kind: Literal["number"] = "number"
    name: str
    column: str
    fill: float | None
    mean: float
    scale: float
    count: int
    nulls: int
    min: float
    max: float

    def compute(self, cells: pa.Array) -> NDArray[np.float32]:
        """float32 value of each row."""
        check_type("number", self.name, self.column, cells.type)
        return impute_and_scale(numbers(cells), fill=self.fill, mean=self.mean, scale=self.scale)

    @property
    def statistics(self) -> str:
        """For a report."""
        filled = "null stays NaN" if self.fill is None else f"null -> {self.fill:g}"
        scaled = "" if (self.mean, self.scale) == (0.0, 1.0) else f", (x - {self.mean:g}) / {self.scale:g}"
        return f"{filled}{scaled}; {self.min:g} to {self.max:g}, {self.nulls} of {self.count + self.nulls} null"


@config
class FittedCalendarNumber:
    """A column of ``numbers_NF``: a part of a timestamp on the clock of a zone, NaN for null."""

    kind: Literal["calendar_number"] = "calendar_number"
    name: str
    column: str
    zone: str
    part: CalendarPart
    mean: float
    scale: float

    def compute(self, cells: pa.Array) -> NDArray[np.float32]:
        """float32 value of each row."""
        check_type("calendar", self.name, self.column, cells.type)
        values_N = numbers(calendar_part(cells, self.zone, self.part))
        return impute_and_scale(values_N, fill=None, mean=self.mean, scale=self.scale)

    @property
    def statistics(self) -> str:
        """For a report."""
        scaled = "" if (self.mean, self.scale) == (0.0, 1.0) else f", (x - {self.mean:g}) / {self.scale:g}"
        return f"{self.part} in {self.zone}{scaled}"


@config
class FittedCategory:
    """A column of ``categories_NC``: the place of the value in the vocabulary, from 1; 0 for unknown and null."""

    kind: Literal["category"] = "category"
    name: str
    column: str
    type: CategoryType
    vocabulary: tuple[StrictStr, ...] | tuple[StrictBool, ...] | tuple[StrictInt, ...]
    counts: tuple[int, ...]
    nulls: int
    rare: int

    @property
    def cardinality(self) -> int:
        """Number of indices, 0 included."""
        return len(self.vocabulary) + 1

    @cached_property
    def _lookup(self) -> dict[CategoryValue, int]:
        values: tuple[CategoryValue, ...] = self.vocabulary
        return {value: i for i, value in enumerate(values, start=1)}

    def compute(self, cells: pa.Array) -> NDArray[np.int32]:
        """int32 index of each row."""
        if category_type(cells.type) != self.type:
            problem = f"was fitted on {self.type} values, and column {self.column} now is {cells.type}"
            raise FeatureError(self.name, problem, "pass rows of the type that was fitted")
        return indices(cells, self._lookup)

    @property
    def statistics(self) -> str:
        """For a report."""
        top = ", ".join(f"{v} {n}" for v, n in zip(self.vocabulary[:3], self.counts[:3], strict=True))
        return f"{len(self.vocabulary)} values (most frequent: {top}), {self.rare} rare rows, {self.nulls} null"


@config
class FittedCalendarCategory:
    """A column of ``categories_NC``: a part of a timestamp on the clock of a zone, from 1; 0 for null."""

    kind: Literal["calendar_category"] = "calendar_category"
    name: str
    column: str
    zone: str
    part: CalendarPart

    @property
    def cardinality(self) -> int:
        """Number of indices, 0 included."""
        first, last = FIRST_AND_LAST[self.part]
        return last - first + 2

    def compute(self, cells: pa.Array) -> NDArray[np.int32]:
        """int32 index of each row."""
        check_type("calendar", self.name, self.column, cells.type)
        return part_indices(calendar_part(cells, self.zone, self.part), FIRST_AND_LAST[self.part][0])

    @property
    def statistics(self) -> str:
        """For a report."""
        return f"{self.part} in {self.zone}, {self.cardinality - 1} values"


FittedOutput = Annotated[
    FittedNumber | FittedCalendarNumber | FittedCategory | FittedCalendarCategory, Field(discriminator="kind")
]
NUMBERS = (FittedNumber, FittedCalendarNumber)
CATEGORIES = (FittedCategory, FittedCalendarCategory)
