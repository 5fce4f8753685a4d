"""The spec of features, as written in YAML: derived columns, and kinds of features over columns."""

import copy
import graphlib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import cached_property
from typing import Annotated, Any, cast

import pyarrow as pa
from pydantic import Field, TypeAdapter

from raypipe.core.config import config
from raypipe.core.digest import digest_json
from raypipe.core.errors import ConfigError, FeatureError
from raypipe.core.kinds import Kind, kinds_of
from raypipe.core.naming import did_you_mean
from raypipe.expressions import Expression, compile_expression
from raypipe.features._bucket import Bucket
from raypipe.features._calendar import Calendar
from raypipe.features._categories import Category, Cross, Hash, Known
from raypipe.features._encoder import Encoder
from raypipe.features._lists import MultiHot, Vector
from raypipe.features._numbers import Boolean, Elapsed, Number, Python
from raypipe.features._target import Target

FeatureSpec = Annotated[
    Number | Boolean | Elapsed | Bucket | Category | Cross | Hash | Target | MultiHot | Vector | Calendar | Python | Encoder,
    Field(discriminator="kind"),
]


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
        _refuse_repeated(name for feature, spec in self.features.items() for name in spec.names_of(feature))
        _refuse_repeated(name for feature, spec in self.features.items() for name in spec.outputs_of(feature))
        _ = self.derived

    def __getstate__(self) -> dict[str, Any]:
        """The settings; what is made of them is made again."""
        return {f.name: vars(self)[f.name] for f in fields(self)}

    @cached_property
    def derived(self) -> Mapping[str, Expression]:
        """Compiled derived columns by name, each after those it uses."""
        compiled = {}
        for name, text in self.derive.items():
            try:
                compiled[name] = compile_expression(text)
            except ConfigError as error:
                raise ConfigError([f"derive.{name}: {problem}" for problem in error.problems]) from error
        graph = {name: [c for c in expression.columns if c in compiled] for name, expression in compiled.items()}
        try:
            return {name: compiled[name] for name in graphlib.TopologicalSorter(graph).static_order()}
        except graphlib.CycleError as error:
            path = " -> ".join(reversed(error.args[1]))
            raise FeatureError(error.args[1][0], f"derived columns need each other: {path}", "break the cycle") from error

    @property
    def order(self) -> tuple[tuple[str, Expression], ...]:
        """`derived` as pairs."""
        return tuple(self.derived.items())

    @cached_property
    def sources(self) -> Mapping[str, tuple[str, ...]]:
        """Raw columns behind each derived column."""
        out: dict[str, tuple[str, ...]] = {}
        for name, expression in self.derived.items():
            raw = [source for column in expression.columns for source in out.get(column, (column,))]
            out[name] = tuple(dict.fromkeys(raw))
        return out

    @cached_property
    def input_columns(self) -> tuple[str, ...]:
        """Raw columns that the features need, derived ones resolved to theirs, in order of first use."""
        return tuple(dict.fromkeys(raw for feature in self.features for raw in self.raw_columns_of(feature)))

    @property
    def needs_labels(self) -> bool:
        """Whether a feature is fitted with the label."""
        return any(spec.needs_labels for spec in self.features.values())

    @property
    def modules(self) -> tuple[str, ...]:
        """The user's modules that features call."""
        own = [spec for spec in self.features.values() if isinstance(spec, (Python, Encoder))]
        return tuple(sorted({spec.function.partition(":")[0] for spec in own}))

    @property
    def partitioned(self) -> Mapping[str, tuple[str, Known]]:
        """Outputs whose values are counted in a second pass: the feature and its settings."""
        return {
            name: (feature, spec)
            for feature, spec in self.features.items()
            if isinstance(spec, Known) and spec.partitions > 1
            for name in spec.names_of(feature)
        }

    def columns_of(self, feature: str) -> tuple[str, ...]:
        """Columns that a feature reads, raw or derived."""
        return self.features[feature].columns_of(feature)

    def raw_columns_of(self, feature: str) -> tuple[str, ...]:
        """Raw columns that a feature needs, derived ones resolved to theirs."""
        raw = [raw for column in self.columns_of(feature) for raw in self.sources.get(column, (column,))]
        return tuple(dict.fromkeys(raw))

    def check(self, schema: pa.Schema) -> None:
        """Refuse what cannot work on tables of `schema`, before any row is read.

        Raises:
            FeatureError: an unknown column, a type that the feature does not take, a derived column that cannot be
                computed or hides a column of the table, a function that cannot be imported.
        """
        for feature in self.features:
            for raw in self.raw_columns_of(feature):
                if raw not in schema.names:
                    problem = f"unknown column {raw}{did_you_mean(raw, schema.names)}"
                    raise FeatureError(feature, problem, f"columns are {', '.join(schema.names)}")
        for name in self.derive:
            if name in schema.names:
                raise FeatureError(name, "is derived, and also a column of the table", "give the derived column another name")
        kinds = self.kinds(schema)
        for feature, spec in self.features.items():
            spec.check(feature, kinds)

    def kinds(self, schema: pa.Schema) -> dict[str, Kind]:
        """The kind of each column that features read, raw or derived.

        Raises:
            FeatureError: a column of a type that features do not take, or a derived column that cannot be computed.
        """
        kinds = kinds_of(schema)
        for name in self.input_columns:
            if name not in kinds:
                found = schema.field(name).type
                raise FeatureError(name, f"is {found}, which no feature takes", "give timestamps a zone, or cast the column")
        for name, expression in self.derived.items():
            if set(expression.columns) <= kinds.keys():  # else it needs a column that no feature needs
                try:
                    kinds[name] = cast("Kind", expression.kind_in({column: kinds[column] for column in expression.columns}))
                except FeatureError as error:
                    raise FeatureError(name, error.problem, f"it is derived as {error.subject}; {error.way_out}") from error
        return kinds

    def only(self, features: tuple[str, ...]) -> "FeatureSet":
        """The same with some of the features."""
        return FeatureSet(derive=self.derive, features={name: self.features[name] for name in features})

    def digest_of(self, feature: str) -> str:
        """Sha256 of the spec of one feature and of the derived columns it needs: equal ones keep equal states."""
        needed = dict.fromkeys(self.columns_of(feature))
        for name, expression in reversed(self.order):
            if name in needed:
                needed.update(dict.fromkeys(expression.columns))
        derive = {name: self.derive[name] for name in sorted(needed) if name in self.derive}
        return digest_json({"name": feature, "spec": self._plain["features"][feature], "derive": derive})

    def to_dict(self) -> dict[str, Any]:
        """As written in YAML, defaults spelt out; what `core.config.build` takes."""
        return copy.deepcopy(self._plain)

    @cached_property
    def _plain(self) -> dict[str, Any]:
        # Kept, since `digest_of` reads it for each feature of each chunk.
        plain: dict[str, Any] = TypeAdapter(FeatureSet).dump_python(self, mode="json", by_alias=True, exclude_none=True)
        return plain


def _refuse_repeated(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise FeatureError(name, "is defined twice", "remove one, or give it another name with `column:`")
        seen.add(name)
