"""Kind calendar: parts of timestamps on the clock of a zone, as numbers, categories or points on a circle."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AliasChoices, Field, model_validator

from raypipe.core.config import config
from raypipe.core.instants import Zone
from raypipe.core.kinds import Kind
from raypipe.core.zones import FIRST_AND_LAST, CalendarPart
from raypipe.features._cells import Cells
from raypipe.features._kinds import need_kind
from raypipe.features._protocols import FittedOutput, Labels, OfSource, State, TensorName
from raypipe.features._rowcode import RowCode
from raypipe.features._sources import PartSource
from raypipe.features._treatment import NumberState, Treatment, solve_number


@config
class Calendar:
    """Parts of a timestamp or date; each is an output named FEATURE_part. Null gives NaN or index 0.

    Attributes:
        column: The column; by default the feature's name.
        zone: IANA name of the clock, such as ``America/New_York``; dates have no clock.
        parts: second, minute, hour 0-23, weekday 0-6 from Monday, day 1-31, dayofyear 1-366, week 1-53 (ISO), month 1-12,
            quarter 1-4, year.
        as_: Written ``as`` in YAML: `number`, `category` with a fixed index for each value, or `cyclic`: two numbers
            FEATURE_part_sin and FEATURE_part_cos of 2 pi (part - first) / values.
        scale: As for numbers; only with ``as: number``.
    """

    needs_labels: ClassVar[bool] = False
    kind: Literal["calendar"] = "calendar"
    column: str | None = None
    zone: Zone
    parts: Annotated[tuple[CalendarPart, ...], Field(min_length=1)]
    as_: Annotated[
        Literal["number", "category", "cyclic"],
        Field(validation_alias=AliasChoices("as", "as_"), serialization_alias="as"),
    ] = "number"
    scale: Literal["standard", "min_max", "robust", "max_abs", "none"] = "none"

    @model_validator(mode="after")
    def _settings_have_effect(self) -> "Calendar":
        if self.as_ != "number" and self.scale != "none":
            raise ValueError(f"scale has no effect with as: {self.as_}")
        if self.as_ != "number" and "year" in self.parts:
            raise ValueError(f"part year has no fixed number of values; use it with as: number, not as: {self.as_}")
        return self

    def sources_of(self, feature: str) -> dict[str, PartSource]:
        """Each part."""
        column = self.column or feature
        return {f"{feature}_{part}": PartSource(column=column, zone=self.zone, part=part) for part in self.parts}

    def columns_of(self, feature: str) -> tuple[str, ...]:
        """The column."""
        return (self.column or feature,)

    def names_of(self, feature: str) -> tuple[str, ...]:
        """FEATURE_part."""
        return tuple(f"{feature}_{part}" for part in self.parts)

    def outputs_of(self, feature: str) -> tuple[str, ...]:
        """FEATURE_part, or FEATURE_part_sin and FEATURE_part_cos."""
        if self.as_ == "number":
            return self.names_of(feature)
        return tuple(name for output in self.solve(feature, {}) for name in output.names)

    def check(self, feature: str, kinds: Mapping[str, Kind]) -> None:
        """Timestamps and dates only."""
        for column in self.columns_of(feature):
            need_kind(feature, column, kinds[column], ("timestamp", "date"), self.kind)

    def fit(self, feature: str, cells: Cells, labels: Labels | None) -> dict[str, State]:  # noqa: ARG002  # protocol
        """Nothing but for numbers."""
        if self.as_ != "number":
            return {}
        return {n: NumberState.of(source.numbers(cells), self._treatment) for n, source in self.sources_of(feature).items()}

    def solve(self, feature: str, states: Mapping[str, Any]) -> tuple[FittedOutput, ...]:
        """The fitted outputs."""
        sources = self.sources_of(feature)
        if self.as_ == "category":
            return tuple(FittedPart(name=name, source=source) for name, source in sources.items())
        if self.as_ == "cyclic":
            return tuple(FittedCyclic(name=name, source=source) for name, source in sources.items())
        return tuple(out for n, source in sources.items() for out in solve_number(n, source, self._treatment, states[n]))

    @property
    def _treatment(self) -> Treatment:
        return Treatment(impute="none", scale=self.scale)


@config
class FittedPart(OfSource):
    """A column of ``categories_NC``: the part counted from 1; 0 for null."""

    kind: Literal["part"] = "part"
    tensor: ClassVar[TensorName] = "categories_NC"
    name: str
    source: PartSource

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of indices, 0 included."""
        first, last = FIRST_AND_LAST[self.source.part]
        return (last - first + 2,)

    @property
    def statistics(self) -> str:
        """For a report."""
        return f"{self.source}, {self.cardinalities[0] - 1} values; null -> 0"

    def compute(self, cells: Cells) -> NDArray[np.int32]:
        """int32 index of each row."""
        before = FIRST_AND_LAST[self.source.part][0] - 1
        return (self.source.integers(cells, before) - before).astype(np.int32)

    def emit(self, code: RowCode) -> list[str]:
        """The same of one row."""
        v = code.shared(self.source, lambda: self.source.integer(code))
        return [f"(0 if {v} is None else {v} - {FIRST_AND_LAST[self.source.part][0] - 1})"]


@config
class FittedCyclic(OfSource):
    """Two columns of ``numbers_NF``: sine and cosine of the part on its circle, NaN for null; from one table of values."""

    kind: Literal["cyclic"] = "cyclic"
    tensor: ClassVar[TensorName] = "numbers_NF"
    name: str
    source: PartSource

    @property
    def names(self) -> tuple[str, ...]:
        """NAME_sin and NAME_cos."""
        return (f"{self.name}_sin", f"{self.name}_cos")

    @property
    def statistics(self) -> str:
        """For a report."""
        first, last = FIRST_AND_LAST[self.source.part]
        return f"sin, cos of 2 pi ({self.source} - {first}) / {last - first + 1}; null -> NaN"

    def compute(self, cells: Cells) -> NDArray[np.float32]:
        """(N, 2)."""
        first = FIRST_AND_LAST[self.source.part][0]
        circle = np.array(self._circle(), np.float32)
        return circle[self.source.integers(cells, first - 1) - first]

    def emit(self, code: RowCode) -> list[str]:
        """The same of one row, from the same table."""
        v = code.shared(self.source, lambda: self.source.integer(code))
        first = FIRST_AND_LAST[self.source.part][0]
        point = code.let(f"{code.bind(self._circle())}[-1 if {v} is None else {v} - {first}]")
        return [f"{point}[0]", f"{point}[1]"]

    def _circle(self) -> list[tuple[float, float]]:
        """A point for each value of the part, and one at the end, where null finds it."""
        first, last = FIRST_AND_LAST[self.source.part]
        period = last - first + 1
        angles = [2 * math.pi * i / period for i in range(period)]
        return [*((math.sin(angle), math.cos(angle)) for angle in angles), (math.nan, math.nan)]
