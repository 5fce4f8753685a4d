"""The spec of features, as written in YAML: derived columns, and kinds of features over columns."""

import graphlib
import zoneinfo
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import AliasChoices, Field, FiniteFloat, TypeAdapter, model_validator

from raypipe.core.config import config
from raypipe.core.errors import ConfigError, FeatureError
from raypipe.core.naming import did_you_mean
from raypipe.expressions import Expression, compile_expression
from raypipe.features._kernels import check_type

CalendarPart = Literal["hour", "weekday", "month", "day", "dayofyear"]
Names = Annotated[tuple[str, ...], Field(min_length=1)]


@config
class Number:
    """Numbers: missing values filled, then scaled; float32 of float64 arithmetic. Booleans count as 0 and 1.

    Attributes:
        column: The column; by default the feature's name.
        columns: Several columns with the same treatment; their features have the columns' names.
        impute: What stands for null or NaN; `median` is exact up to 100,000 distinct values (see `FitState`);
            `none` leaves NaN, for models that take it.
        fill: The value of ``impute: constant``.
        scale: `standard` is (x - mean) / standard deviation of the imputed training rows (divided by N; 1 if constant).
    """

    kind: Literal["number"] = "number"
    column: str | None = None
    columns: Names | None = None
    impute: Literal["mean", "median", "constant", "none"] = "mean"
    fill: FiniteFloat | None = None
    scale: Literal["standard", "none"] = "standard"

    @model_validator(mode="after")
    def _settings_have_effect(self) -> "Number":
        _check_columns(self.column, self.columns)
        if self.impute == "constant" and self.fill is None:
            raise ValueError("impute: constant needs fill")
        if self.impute != "constant" and self.fill is not None:
            raise ValueError(f"fill has no effect with impute: {self.impute}")
        return self


@config
class Category:
    """Text, whole numbers or booleans as an int32 index, 0 for unknown or null.

    Attributes:
        column: The column; by default the feature's name.
        columns: Several columns with the same treatment; their features have the columns' names.
        min_count: Values seen less often in training are unknown.
        max_size: Only so many of the most frequent values are known.
    """

    kind: Literal["category"] = "category"
    column: str | None = None
    columns: Names | None = None
    min_count: Annotated[int, Field(ge=1)] = 1
    max_size: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _one_column_setting(self) -> "Category":
        _check_columns(self.column, self.columns)
        return self


@config
class Calendar:
    """Parts of a timestamp on the clock of a zone; each is an output named FEATURE_part. Null gives NaN or index 0.

    Attributes:
        column: The timestamp column; by default the feature's name.
        zone: IANA name, such as ``America/New_York``.
        parts: hour 0-23, weekday 0-6 from Monday, month 1-12, day 1-31, dayofyear 1-366.
        as_: Written ``as`` in YAML: `number`, or `category` with a fixed index for each value of the part.
        scale: As for numbers; only with ``as: number``.
    """

    kind: Literal["calendar"] = "calendar"
    column: str | None = None
    zone: str
    parts: Annotated[tuple[CalendarPart, ...], Field(min_length=1)]
    as_: Annotated[
        Literal["number", "category"], Field(validation_alias=AliasChoices("as", "as_"), serialization_alias="as")
    ] = "number"
    scale: Literal["standard", "none"] = "none"

    @model_validator(mode="after")
    def _zone_is_known(self) -> "Calendar":
        if self.as_ == "category" and self.scale != "none":
            raise ValueError("scale has no effect with as: category")
        try:
            zoneinfo.ZoneInfo(self.zone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
            near = did_you_mean(self.zone, sorted(zoneinfo.available_timezones()))
            raise ValueError(f"unknown time zone {self.zone!r}{near}") from error
        return self


FeatureSpec = Annotated[Number | Category | Calendar, Field(discriminator="kind")]


@config
class FeatureSet:
    """Derived columns and features.

    Attributes:
        derive: Expressions by the name of the column they make; they may use other derived columns.
        features: Specs by feature name.

    Raises:
        ConfigError: an expression outside of the grammar, with a caret.
        FeatureError: a cycle among derived columns, or an output named twice.
    """

    derive: dict[str, str] = Field(default_factory=dict)
    features: Annotated[dict[str, FeatureSpec], Field(min_length=1)]

    def __post_init__(self) -> None:
        """Compile, order, and look for names given twice."""
        seen: set[str] = set()
        for feature in self.features:
            for name in self.names_of(feature):
                if name in seen:
                    raise FeatureError(name, "is defined twice", "remove one, or give it another name with `column:`")
                seen.add(name)
        _ = self.order

    def names_of(self, feature: str) -> tuple[str, ...]:
        """Names of the outputs of a feature."""
        spec = self.features[feature]
        if isinstance(spec, Calendar):
            return tuple(f"{feature}_{part}" for part in spec.parts)
        return spec.columns or (feature,)

    def columns_of(self, feature: str) -> tuple[str, ...]:
        """Columns that a feature reads, raw or derived."""
        spec = self.features[feature]
        many = None if isinstance(spec, Calendar) else spec.columns
        return many or (spec.column or feature,)

    @cached_property
    def order(self) -> tuple[tuple[str, Expression], ...]:
        """Compiled derived columns, each after those it uses."""
        compiled = {}
        for name, text in self.derive.items():
            try:
                compiled[name] = compile_expression(text)
            except ConfigError as error:
                raise ConfigError([f"derive.{name}: {problem}" for problem in error.problems]) from error
        graph = {name: [c for c in expression.columns if c in compiled] for name, expression in compiled.items()}
        try:
            return tuple((name, compiled[name]) for name in graphlib.TopologicalSorter(graph).static_order())
        except graphlib.CycleError as error:
            path = " -> ".join(reversed(error.args[1]))
            raise FeatureError(error.args[1][0], f"derived columns need each other: {path}", "break the cycle") from error

    @cached_property
    def sources(self) -> Mapping[str, tuple[str, ...]]:
        """Raw columns behind each derived column."""
        out: dict[str, tuple[str, ...]] = {}
        for name, expression in self.order:
            raw = [source for column in expression.columns for source in out.get(column, (column,))]
            out[name] = tuple(dict.fromkeys(raw))
        return out

    @cached_property
    def input_columns(self) -> tuple[str, ...]:
        """Raw columns that the features need, derived ones resolved to theirs, in order of first use."""
        return tuple(dict.fromkeys(raw for feature in self.features for raw in self.raw_columns_of(feature)))

    def check(self, schema: pa.Schema) -> None:
        """Refuse what cannot work on tables of `schema`, before any row is read.

        Raises:
            FeatureError: an unknown column, a type that the feature does not take, a derived column that cannot be
                computed or hides a column of the table.
        """
        for feature in self.features:
            for raw in self.raw_columns_of(feature):
                if raw not in schema.names:
                    problem = f"unknown column {raw}{did_you_mean(raw, schema.names)}"
                    raise FeatureError(feature, problem, f"columns are {', '.join(schema.names)}")
        for name in self.derive:
            if name in schema.names:
                raise FeatureError(name, "is derived, and also a column of the table", "give the derived column another name")
        known = self.derived(schema.empty_table())
        for feature, spec in self.features.items():
            for column in self.columns_of(feature):
                check_type(spec.kind, feature, column, known.schema.field(column).type)

    def derived(self, table: pa.Table) -> pa.Table:
        """The columns that features need: raw ones of `table`, and derived ones; other columns are left out.

        Raises:
            FeatureError: naming a column that is missing, or a derived one that cannot be computed.
        """
        for name in self.input_columns:
            if name not in table.column_names:
                raise FeatureError(name, "is not a column of the rows to transform", "pass all of `input_columns`")
        table = table.select(self.input_columns)
        for name, expression in self.order:
            if name not in self._needed:
                continue
            try:
                table = table.append_column(name, expression.evaluate(table))
            except FeatureError as error:
                raise FeatureError(name, error.problem, f"it is derived as {error.feature}; {error.way_out}") from error
        return table

    def raw_columns_of(self, feature: str) -> tuple[str, ...]:
        """Raw columns that a feature needs, derived ones resolved to theirs."""
        return tuple(raw for column in self.columns_of(feature) for raw in self.sources.get(column, (column,)))

    @cached_property
    def _needed(self) -> frozenset[str]:
        needed = {column for feature in self.features for column in self.columns_of(feature)}
        for name, expression in reversed(self.order):
            if name in needed:
                needed.update(expression.columns)
        return frozenset(needed)

    def to_dict(self) -> dict[str, Any]:
        """As written in YAML, defaults spelt out; what `core.config.build` takes."""
        plain: dict[str, Any] = TypeAdapter(FeatureSet).dump_python(self, mode="json", by_alias=True, exclude_none=True)
        return plain


def _check_columns(column: str | None, columns: tuple[str, ...] | None) -> None:
    if column is not None and columns is not None:
        raise ValueError("give column or columns, not both")
