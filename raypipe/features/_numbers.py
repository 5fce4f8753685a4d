"""Kinds that give numbers by a `Treatment`: number, boolean, elapsed, python."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from raypipe.core.config import config
from raypipe.core.functions import FunctionPath
from raypipe.core.kinds import NUMERIC, Kind
from raypipe.features._cells import Cells
from raypipe.features._columns import Columns, Names
from raypipe.features._function import FunctionSource, load_function
from raypipe.features._kinds import need_kind
from raypipe.features._protocols import FittedOutput, Labels, State
from raypipe.features._sources import ColumnSource, ElapsedSource, NumberSource, Unit
from raypipe.features._treatment import MISSING, NumberState, Treatment, solve_number


class _Numbers:
    """What the kinds of this module share: sources by output name, each with one treatment."""

    needs_labels: ClassVar[bool] = False

    def sources_of(self, feature: str) -> dict[str, NumberSource]:
        """Source of each output."""
        raise NotImplementedError

    @property
    def treatment(self) -> Treatment:
        """What is done to the numbers."""
        raise NotImplementedError

    def columns_of(self, feature: str) -> tuple[str, ...]:
        """Columns of the sources."""
        return tuple(dict.fromkeys(c for source in self.sources_of(feature).values() for c in source.columns))

    def names_of(self, feature: str) -> tuple[str, ...]:
        """Names of the outputs, indicators apart."""
        return tuple(self.sources_of(feature))

    def outputs_of(self, feature: str) -> tuple[str, ...]:
        """Names of the outputs, each followed by its indicator's where one is wanted."""
        ends = ("", MISSING) if self.treatment.indicator else ("",)
        return tuple(f"{name}{end}" for name in self.names_of(feature) for end in ends)

    def fit(self, feature: str, cells: Cells, labels: Labels | None) -> dict[str, State]:  # noqa: ARG002  # protocol
        """The state of each output."""
        sources = self.sources_of(feature)
        return {name: NumberState.of(source.numbers(cells), self.treatment) for name, source in sources.items()}

    def solve(self, feature: str, states: Mapping[str, Any]) -> tuple[FittedOutput, ...]:
        """The fitted outputs."""
        sources = self.sources_of(feature)
        return tuple(out for n, source in sources.items() for out in solve_number(n, source, self.treatment, states[n]))


class _ColumnNumbers(Columns, _Numbers):
    """Numbers that are columns."""

    def sources_of(self, feature: str) -> dict[str, NumberSource]:
        """The columns."""
        pairs = zip(self.names_of(feature), self.columns_of(feature), strict=True)
        return {name: ColumnSource(column=column) for name, column in pairs}

    def outputs_of(self, feature: str) -> tuple[str, ...]:
        """Indicators included."""
        return _Numbers.outputs_of(self, feature)


@config
class Number(_ColumnNumbers, Treatment):
    """Numbers: log1p, clipped, missing values filled, scaled. Booleans count as 0 and 1.

    Attributes:
        column: The column; by default the feature's name.
        columns: Several columns with the same treatment; their features have the columns' names.
    """

    kind: Literal["number"] = "number"
    column: str | None = None
    columns: Names | None = None

    @property
    def treatment(self) -> Treatment:
        """These settings."""
        return self

    def check(self, feature: str, kinds: Mapping[str, Kind]) -> None:
        """Numbers or booleans only."""
        for column in self.columns_of(feature):
            need_kind(feature, column, kinds[column], NUMERIC, self.kind)


@config
class Boolean(_ColumnNumbers):
    """Booleans as 0 and 1.

    Attributes:
        column: The column; by default the feature's name.
        columns: Several columns with the same treatment; their features have the columns' names.
        missing: What null becomes; `none` leaves NaN, for models that take it.
        indicator: Adds an output NAME_missing, 1 where the value is missing.
    """

    kind: Literal["boolean"] = "boolean"
    column: str | None = None
    columns: Names | None = None
    missing: Literal["false", "true", "none"] = "false"
    indicator: bool = False

    @property
    def treatment(self) -> Treatment:
        """A constant for null, no scaling."""
        if self.missing == "none":
            return Treatment(impute="none", scale="none", indicator=self.indicator)
        return Treatment(impute="constant", fill=float(self.missing == "true"), scale="none", indicator=self.indicator)

    def check(self, feature: str, kinds: Mapping[str, Kind]) -> None:
        """Booleans only."""
        for column in self.columns_of(feature):
            need_kind(feature, column, kinds[column], ("bool",), self.kind)


@config
class Elapsed(_Numbers, Treatment):
    """Time from one timestamp or date to another, negative when it is before.

    Attributes:
        column: The later one; by default the feature's name.
        since: The earlier one.
        unit: Unit of the number.
    """

    kind: Literal["elapsed"] = "elapsed"
    column: str | None = None
    since: str
    unit: Unit = "hours"

    @property
    def treatment(self) -> Treatment:
        """These settings."""
        return self

    def sources_of(self, feature: str) -> dict[str, NumberSource]:
        """The time between."""
        return {feature: ElapsedSource(column=self.column or feature, since=self.since, unit=self.unit)}

    def check(self, feature: str, kinds: Mapping[str, Kind]) -> None:
        """Timestamps and dates only."""
        for column in self.columns_of(feature):
            need_kind(feature, column, kinds[column], ("timestamp", "date"), self.kind)


@config
class Python(_Numbers, Treatment):
    """Numbers from your own vectorised function over NumPy columns, called with one row online.

    It gets read-only arrays: float64 (NaN for null) for numbers and booleans, objects (None for null) for text and lists,
    datetime64 (NaT for null) for timestamps in UTC and dates. It returns a number or boolean for each row, from that row
    alone, and NaN for missing.

    Attributes:
        function: ``package.module:name``; its package is in `core.allowed_targets`.
        columns: The columns it takes, in the order of its arguments.
    """

    kind: Literal["python"] = "python"
    function: FunctionPath
    columns: Names

    @property
    def treatment(self) -> Treatment:
        """These settings."""
        return self

    def sources_of(self, feature: str) -> dict[str, NumberSource]:
        """The function."""
        return {feature: FunctionSource(function=self.function, arguments=self.columns)}

    def check(self, feature: str, kinds: Mapping[str, Kind]) -> None:  # noqa: ARG002  # protocol
        """Any columns; the function must be there."""
        load_function(self.function)
